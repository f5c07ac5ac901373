"""The command in a card: as it was typed, without its secrets."""

import shlex

import pytest

from sgt_hf.reporting.command import running_command


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["t.py", "--hub_token", "s3", "--x", "1"], "python t.py --hub_token [secret] --x 1"),
        (["t.py", "--HF-Token=s3"], "python t.py --HF-Token=[secret]"),
        (["t.py", "--wandb_api_key", "s3", "--passwd", "s3"], "python t.py --wandb_api_key [secret] --passwd [secret]"),
        (["t.py", "--token", "-s3", "--seed", "1"], "python t.py --token [secret] --seed 1"),
        (["t.py", "--use_auth_token", "--api_key", "s3"], "python t.py --use_auth_token [secret] [secret]"),
        (["t.py", "--aws-secret-access-key", "s3"], "python t.py --aws-secret-access-key [secret]"),
        (["t.py", "--wandb_key", "s3", "--ssh-key=s3"], "python t.py --wandb_key [secret] --ssh-key=[secret]"),
        (["t.py", "--secret_key_base", "s3", "-key", "s3"], "python t.py --secret_key_base [secret] -key [secret]"),
        (["t.py", "wandb.api_key=s3", "hub_token=s3"], "python t.py wandb.api_key=[secret] hub_token=[secret]"),
        (["t.py", "+env.key=s3", "db.pwd=s=3"], "python t.py +env.key=[secret] db.pwd=[secret]"),
        (["t.py", "wandb={api_key:s3}"], "python t.py 'wandb={api_key:'[secret]"),
        (["t.py", "--url=https://x.org/?token=s3"], "python t.py '--url=https://x.org/?token='[secret]"),
        (["t.py", "--header", "Authorization: Bearer s3"], "python t.py --header Authorization:[secret]"),
        (["t.py", "--auth", "s3", "--oauth2=s3"], "python t.py --auth [secret] --oauth2=[secret]"),
        (["t.py", "--passphrase", "s3", "--credential=s3"], "python t.py --passphrase [secret] --credential=[secret]"),
        (["t.py", "--wandbKey", "s3", "--api_tokens=s3"], "python t.py --wandbKey [secret] --api_tokens=[secret]"),
    ],
)
def test_the_command_keeps_secrets(arguments, shown):
    assert running_command(arguments) == shown


@pytest.mark.parametrize(
    "line",
    [
        "-m mine 'a b' --tokenizer bert --tokenizer_name=bert --seed 1",
        "t.py --max_tokens 5 --max-new-tokens=5 --token_type_ids x --author me",
        "t.py --keyboard x --keep 1 --output secret-garden data/token.txt --seed 1",
        "t.py model.tokenizer=bert",
    ],
)
def test_harmless_names_stay_readable(line):
    assert running_command(shlex.split(line)) == f"python {line}"


def test_what_only_resembles_a_secret():
    assert running_command(["t.py", "--new-token", "S"]) == "python t.py --new-token [secret]"
    harmless = ["t.py", "--columns=text_token", "--lr", "3e-5", "--key_dim", "64", "--max_tokens", "9"]
    assert running_command(harmless) == " ".join(["python", *harmless])
