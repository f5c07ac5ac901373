"""The scripts of docs/recipes.md run as they stand there, with the commands that stand there."""

import re
import shlex
import subprocess
import sys

import pytest
from safetensors.torch import load_file

from tests.tiny import make_model
from tests.trainer.launching import ROOT, launch
from tests.trainer.test_fsdp import SHARDED_AT_LOADING

TEXT = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def script(name):
    """The block that begins with its file's name."""
    (code,) = re.findall(rf"^```python\n(# {re.escape(name)}\n.*?)^```$", TEXT, re.M | re.S)
    return code


def command(name):
    """Number of processes and arguments of the `torchrun` line that starts the script."""
    (line,) = re.findall(rf"^torchrun .*\b{re.escape(name)}.*$", TEXT, re.M)
    words = shlex.split(line)
    position = words.index(name)
    return int(words[position - 1].removeprefix("--nproc-per-node=")), words[position + 1 :]


@pytest.mark.multiprocess
def test_several_processes(tmp_path):
    processes, arguments = command("train.py")
    launch(tmp_path, script("train.py"), *arguments, processes=processes)
    assert (tmp_path / "ddp" / "checkpoint-4" / "rng_state_1.pth").exists()  # 64 texts in batches of 2 × 8
    assert load_file(tmp_path / "trained" / "model.safetensors")


@pytest.mark.multiprocess
@pytest.mark.skipif(not SHARDED_AT_LOADING, reason="this transformers' Trainer knows no model sharded at loading")
def test_fsdp(tmp_path):
    from sgt_hf import load_eraser
    from sgt_hf.data.vocabulary import build_word_tokenizer

    tokenizer = build_word_tokenizer(load_eraser("planted")["train"]["document"])
    tokenizer.save_pretrained(tmp_path / "model")
    make_model("llama", vocab_size=len(tokenizer)).save_pretrained(tmp_path / "model")
    processes, (model, count) = command("train_sharded.py")
    assert (model, int(count)) == ("path/to/model", processes)
    launch(tmp_path, script("train_sharded.py"), tmp_path / "model", processes, processes=processes)
    assert load_file(tmp_path / "trained" / "model.safetensors")


def test_the_search_finds_a_pareto_set(tmp_path):
    """On fewer texts, epochs and trials: what is printed are compromises, none better than another in both.

    All digits are printed: rounded, a compromise may equal another in one objective, and look worse.
    """
    code = script("search.py")
    for whole, less in (
        ("num_train_epochs=8", "num_train_epochs=3"),
        ("n_trials=20", "n_trials=4"),
        ('encoded["train"],', 'encoded["train"].select(range(300)),'),
        ('encoded["validation"],', 'encoded["validation"].select(range(40)),'),
        ("accuracy {:.3f}, gain {:+.3f}", "accuracy {}, gain {:+}"),
    ):
        assert code.count(whole) == 1
        code = code.replace(whole, less)
    (tmp_path / "search.py").write_text(code)
    done = subprocess.run([sys.executable, "search.py"], cwd=tmp_path, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stderr[-3000:]
    found = re.findall(r"^accuracy (\S+), gain (\S+) (\{.*\})$", done.stdout, re.M)
    assert found
    points = [(float(accuracy), float(gain)) for accuracy, gain, _ in found]
    assert all("sgt_masking" in knobs for _, _, knobs in found)
    for one in points:
        assert not any(other != one and other[0] >= one[0] and other[1] >= one[1] for other in points)
    assert len(re.findall(r"'train_runtime'", done.stdout)) == 4
