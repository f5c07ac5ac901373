"""Pushing over real HTTP, with the installed huggingface_hub, to the hub of `tests/hub_server.py`."""

import importlib.util
import json
import logging
import os
import shlex
import subprocess
import sys
from itertools import count
from pathlib import Path

import huggingface_hub
import pytest
import torch
import transformers
from huggingface_hub import ModelCard, constants
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModelForSequenceClassification, Trainer, TrainerCallback, TrainingArguments

from sgt_hf import BiLstmConfig, BiLstmForSequenceClassification, SaliencyGuidedTrainer, SaliencyGuidedTrainingArguments
from sgt_hf.reporting import CardFacts, PushError, load_recipe, model_card
from sgt_hf.reporting.recipe import CONFIG_KEY, RECIPE_FILE
from tests.hub_server import CUT, PATIENCE, TOKEN, USER, serve_hub
from tests.tiny import make_model, make_rows, make_tokenizer

# huggingface_hub's upload hands its HTTP client a file under the old name; PEFT reads a name that transformers renamed.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
]

REPO = f"{USER}/tiny"
LFS_BATCH = r"^POST /.*/objects/batch"  # the client has hashed the file, and has not read it for the upload
LFS_UPLOAD = r"^PUT /objects/"
COMMIT = r"^POST /api/models/.*/commit/"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A running hub, to which the installed client is pointed: it reads its settings when imported, long before."""
    with serve_hub() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.address)
        links = running.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", links)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        # The server speaks LFS, as the client does where hf_xet is not installed.
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(transformers.utils.hub, "_hf_api", None, raising=False)  # made once, for one endpoint
        huggingface_hub.close_session()
        yield running
        huggingface_hub.close_session()


def accuracy(predicted):
    return {"accuracy": float((predicted.predictions.argmax(-1) == predicted.label_ids).mean())}


def make_trainer(
    folder, *, model=None, family="bert", callbacks=(), kind=SaliencyGuidedTrainer, measure=accuracy, **changes
):
    tokenizer = make_tokenizer(family)
    settings = {
        "output_dir": str(folder),
        "max_steps": 2,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "use_cpu": True,
        "hub_token": TOKEN,
        "hub_model_id": REPO,
    }
    arguments = SaliencyGuidedTrainingArguments if kind is SaliencyGuidedTrainer else TrainingArguments
    return kind(
        model=make_model() if model is None else model,
        args=arguments(**settings | changes),
        train_dataset=make_rows(tokenizer),
        eval_dataset=make_rows(tokenizer, seed=1),
        processing_class=tokenizer,
        compute_metrics=measure,
        callbacks=list(callbacks),
    )


def weights(model):
    return torch.cat([value.flatten() for value in model.state_dict().values() if value.is_floating_point()])


def assert_whole(folder, model):
    """The folder holds the model, and nothing half-written beside it."""
    assert torch.equal(weights(AutoModelForSequenceClassification.from_pretrained(folder)), weights(model))
    assert load_recipe(folder).steps == 2
    assert not list(Path(folder).glob("_*"))


def test_the_first_push_creates_the_repository_and_later_ones_commit_changes_only(hub, tmp_path):
    trainer = make_trainer(tmp_path / "out", hub_private_repo=True, sgt_mask_fraction=0.3)
    trainer.train()
    trainer.push_to_hub()
    repository = hub.repositories[REPO]
    assert repository.private
    (first,) = hub.commits(REPO)
    names = ("README.md", "config.json", "model.safetensors", RECIPE_FILE, "tokenizer.json", "tokenizer_config.json")
    assert first.message == "End of training"
    assert first.changed == names
    assert [name for name, file in first.files.items() if file.lfs] == ["model.safetensors"]
    assert f"POST /{REPO}.git/info/lfs/objects/batch" in hub.requests
    assert_whole(tmp_path / "out", trainer.model)
    assert load_recipe(REPO, token=TOKEN).arguments().sgt_mask_fraction == 0.3

    trainer.push_to_hub()
    assert len(hub.commits(REPO)) == 1  # nothing had changed
    trainer.args.max_steps = 3
    trainer.train()
    trainer.push_to_hub(commit_message="More")
    assert hub.commits(REPO)[-1].message == "More"
    assert hub.commits(REPO)[-1].changed == ("README.md", "config.json", "model.safetensors", RECIPE_FILE)


def test_a_repository_is_public_and_a_branch_the_main_one_unless_it_is_asked_for(hub, tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.push_to_hub()
    assert not hub.repositories[REPO].private
    trainer.push_to_hub(revision="next")
    assert hub.files(REPO, "next").keys() == hub.files(REPO).keys()


def test_large_files_go_up_in_parts(hub, tmp_path):
    hub.part_size = 1000
    trainer = make_trainer(tmp_path)
    trainer.push_to_hub()
    assert sum(request.startswith("PUT") for request in hub.requests) > 5
    assert hub.files(REPO)["model.safetensors"] == (tmp_path / "model.safetensors").read_bytes()


class FailAfter(TrainerCallback):
    """Lets every push after the first step meet a broken hub."""

    def __init__(self, hub):
        self.hub = hub

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 1:
            self.hub.break_down(COMMIT, 500)


SAVING = {"push_to_hub": True, "save_strategy": "steps", "save_steps": 1}


@pytest.mark.parametrize(
    ("strategy", "wanted"),
    [
        ("end", []),
        ("every_save", []),
        ("checkpoint", ["last-checkpoint"]),
        ("all_checkpoints", ["checkpoint-1", "checkpoint-2"]),
    ],
)
def test_pushes_while_training(hub, tmp_path, strategy, wanted):
    trainer = make_trainer(tmp_path, hub_strategy=strategy, hub_always_push=True, **SAVING)
    trainer.train()
    trainer._finish_current_push()
    before = [commit.message for commit in hub.commits(REPO)]
    trainer.push_to_hub()
    files = hub.files(REPO)
    folders = {name.split("/")[0] for name in files if "/" in name}
    assert folders == set(wanted)
    ending = ["", ", checkpoint"] if wanted else [""]
    steps = [] if strategy == "end" else [1, 2]
    assert before == [f"Training in progress, step {step}{more}" for step in steps for more in ending]
    assert all(f"{folder}/optimizer.pt" in files for folder in folders)  # resuming needs it
    assert not [name for name in files if name.endswith("training_args.bin")]
    assert {"model.safetensors", "config.json", RECIPE_FILE, "tokenizer.json", "README.md"} <= files.keys()
    assert_whole(tmp_path, trainer.model)


class SlowHub(TrainerCallback):
    """Keeps the first save's upload half done until the second save is over; notes the weights of each."""

    def __init__(self, hub):
        self.hold, self.saved = hub.hold(LFS_BATCH), {}

    def on_save(self, args, state, control, **kwargs):
        step = state.global_step
        self.saved[step] = (Path(args.output_dir) / f"checkpoint-{step}" / "model.safetensors").read_bytes()
        if step == 1:
            assert self.hold.reached.wait(PATIENCE)
        else:
            self.hold.released.set()


@pytest.mark.parametrize("strategy", ["every_save", "checkpoint", "all_checkpoints"])
@pytest.mark.parametrize("always", [True, False])
def test_a_save_while_a_push_is_under_way_changes_nothing_of_it(hub, tmp_path, strategy, always):
    """The second save replaces the weights in the output folder and removes the first checkpoint."""
    slow = SlowHub(hub)
    changes = {"hub_strategy": strategy, "hub_always_push": always, "save_total_limit": 1, "callbacks": [slow]}
    trainer = make_trainer(tmp_path, **SAVING | changes)
    trainer.train()
    trainer._finish_current_push()
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-2"]
    assert slow.saved[1] != slow.saved[2]
    pushed = [
        (commit.message, commit.files[name].content)
        for commit in hub.commits(REPO)
        for name in commit.changed
        if name.endswith("model.safetensors")
    ]
    ending = [""] if strategy == "every_save" else ["", ", checkpoint"]
    assert pushed == [
        (f"Training in progress, step {step}{more}", slow.saved[step])
        for step in ([1, 2] if always else [1])
        for more in ending
    ]
    assert not list(tmp_path.glob("_*"))


def test_a_push_in_the_background_is_of_the_weights_at_its_call(hub, tmp_path):
    trainer = make_trainer(tmp_path)
    hold = hub.hold(LFS_BATCH)
    first = trainer.push_to_hub(blocking=False)
    assert hold.reached.wait(PATIENCE)
    before = (tmp_path / "model.safetensors").read_bytes()
    with torch.no_grad():
        next(trainer.model.parameters()).add_(1)
    second = trainer.push_to_hub(blocking=False)
    hold.released.set()
    trainer._finish_current_push()
    assert first.done()
    assert second.done()
    after = (tmp_path / "model.safetensors").read_bytes()
    assert before != after
    assert [commit.files["model.safetensors"].content for commit in hub.commits(REPO)] == [before, after]


def test_a_failed_push_while_training_is_told_and_training_goes_on(hub, tmp_path, caplog):
    trainer = make_trainer(tmp_path, hub_strategy="every_save", callbacks=[FailAfter(hub)], **SAVING)
    trainer.train()
    trainer._finish_current_push()
    assert trainer.state.global_step == 2
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert any("Push it again with trainer.push_to_hub()" in message for message in told)
    assert hub.commits(REPO) == []


@pytest.mark.parametrize(
    ("pattern", "status", "message"),
    [
        (COMMIT, 500, "HfHubHTTPError: .*500"),
        (COMMIT, CUT, "RemoteProtocolError|ReadError"),
        (r"^POST /api/repos/create", 500, "creating the repository .* failed: .*500"),
        (r"^POST /api/validate-yaml", 403, "HfHubHTTPError: .*403"),
        pytest.param(LFS_UPLOAD, CUT, "uploading 'model.safetensors'.*caused by", marks=pytest.mark.slow),
        pytest.param(LFS_UPLOAD, 500, "uploading 'model.safetensors'.*caused by.*500", marks=pytest.mark.slow),
    ],
)
def test_a_failed_push_leaves_the_model_whole_and_says_how_to_retry(hub, tmp_path, pattern, status, message):
    trainer = make_trainer(tmp_path / "out folder")
    trainer.train()
    hub.break_down(pattern, status)
    with pytest.raises(PushError, match=message) as failure:
        trainer.push_to_hub()
    text = str(failure.value)
    assert f"The model is whole in {str(tmp_path / 'out folder')!r}" in text
    assert f"hf upload {REPO} '{tmp_path}/out folder' . " in text
    assert TOKEN not in text
    assert_whole(tmp_path / "out folder", trainer.model)
    assert not hub.repositories or hub.commits(REPO) == []
    hub.faults.clear()
    trainer.push_to_hub()
    assert hub.files(REPO)["model.safetensors"] == (tmp_path / "out folder" / "model.safetensors").read_bytes()


def test_one_cut_connection_is_not_noticed(hub, tmp_path):
    trainer = make_trainer(tmp_path)
    hub.break_down(LFS_UPLOAD, CUT, times=1)
    trainer.push_to_hub()
    assert hub.files(REPO)["model.safetensors"] == (tmp_path / "model.safetensors").read_bytes()


def test_the_command_of_the_message_pushes(hub, tmp_path):
    trainer = make_trainer(tmp_path / "out", hub_private_repo=True)
    trainer.train()
    (tmp_path / "out" / "checkpoint-1").mkdir()
    (tmp_path / "out" / "checkpoint-1" / "x").write_text("x")
    hub.break_down(r"repos/create", 500)
    with pytest.raises(PushError) as failure:
        trainer.push_to_hub()
    hub.faults.clear()
    command = shlex.split(str(failure.value).splitlines()[-1])
    assert command[:2] == ["hf", "upload"]
    done = subprocess.run(
        [str(Path(sys.executable).with_name("hf")), *command[1:]],
        env=client_environment(hub, tmp_path) | {"HF_TOKEN": TOKEN},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert hub.repositories[REPO].private
    assert {"model.safetensors", "config.json", RECIPE_FILE, "tokenizer.json"} <= hub.files(REPO).keys()
    assert not [name for name in hub.files(REPO) if name.startswith(("checkpoint", "_", "training_args"))]


@pytest.mark.parametrize("pattern", [r"repos/create", COMMIT])
@pytest.mark.parametrize("blocking", [True, False])
def test_the_way_out_keeps_revision_and_privacy_of_the_call(hub, tmp_path, pattern, blocking):
    trainer = make_trainer(tmp_path, hub_revision="another")
    hub.break_down(pattern, 500)
    with pytest.raises(PushError) as failure:
        result = trainer.push_to_hub(revision="next", private=True, blocking=blocking)
        raise result.exception()  # of the background
    text = str(failure.value)
    assert "trainer.push_to_hub(revision='next', private=True)" in text
    assert text.endswith("--revision next --private")


def test_an_older_model_in_the_folder_is_not_said_to_be_of_this_trainer(hub, tmp_path):
    make_trainer(tmp_path).save_model()
    hub.break_down(r"repos/create", 500)
    with pytest.raises(PushError, match="This trainer has saved nothing yet") as failure:
        make_trainer(tmp_path, push_to_hub=True)
    assert "whole" not in str(failure.value)
    assert "hf upload" not in str(failure.value)


def test_an_interrupted_push_leaves_the_model_whole(hub, tmp_path, caplog):
    trainer = make_trainer(tmp_path)
    trainer.train()

    class Interrupt(logging.Handler):
        """Does what Ctrl-C does, at the moment when the client says that it uploads.

        A real signal may arrive a moment later, where Python drops it (in a finaliser), and the test would not repeat.
        """

        def emit(self, record):
            if "/preupload/" in record.getMessage():
                raise KeyboardInterrupt

    log = logging.getLogger("httpx2" if importlib.util.find_spec("httpx2") else "httpx")
    handler, level = Interrupt(), log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        with pytest.raises(KeyboardInterrupt):
            trainer.push_to_hub()
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
    assert_whole(tmp_path, trainer.model)
    assert "was interrupted. The model is whole in" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hub_token": "hf_" + "wrong" * 7}, "creating the repository .* failed: .*(401|Invalid)"),
        ({"hub_model_id": "another/tiny"}, "creating the repository .* failed: .*403"),
    ],
)
def test_a_refused_login_is_told_before_training(hub, tmp_path, changes, message):
    with pytest.raises(PushError, match=message) as failure:
        make_trainer(tmp_path, push_to_hub=True, **changes)
    assert "Log in with `hf auth login` or pass hub_token" in str(failure.value)
    assert "wrongwrong" not in str(failure.value)


def files_with(text, folder):
    return [path.name for path in Path(folder).rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


@pytest.fixture
def verbose():
    """All libraries log all that they can."""
    libraries = (transformers.logging, huggingface_hub.logging)
    before = [library.get_verbosity() for library in libraries]
    for library in libraries:
        library.set_verbosity_debug()
    yield
    for library, level in zip(libraries, before, strict=True):
        library.set_verbosity(level)


def test_no_token_is_written_anywhere(hub, tmp_path, monkeypatch, caplog, verbose):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(sys, "argv", ["train.py", "--hub_token", TOKEN, "--note", f"x{TOKEN}"])
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "train.py", raising=False)  # xdist's workers have none
    trainer = make_trainer(tmp_path / "out", hub_strategy="all_checkpoints", **SAVING)
    trainer.train()
    trainer.evaluate()
    trainer.push_to_hub()
    hub.break_down(COMMIT, 500)
    trainer.args.max_steps = 3
    trainer.train()
    with pytest.raises(PushError):
        trainer.push_to_hub(token=TOKEN)
    assert len(list((tmp_path / "out").rglob("*"))) > 10
    assert files_with(TOKEN, tmp_path) == []
    assert [name for name, content in hub.files(REPO).items() if TOKEN.encode() in content] == []
    assert TOKEN not in caplog.text
    assert "[secret]" in hub.files(REPO)["README.md"].decode()
    assert trainer.args.hub_token == TOKEN  # the user's arguments are as they were
    # The search finds what `transformers.Trainer` writes, so it can fail.
    make_trainer(tmp_path / "plain", kind=Trainer).save_model()
    assert files_with(TOKEN, tmp_path / "plain") == ["training_args.bin"]


def test_the_card_tells_of_the_weights_that_are_pushed(hub, tmp_path):
    trainer = make_trainer(tmp_path, eval_strategy="steps", eval_steps=1)
    trainer.train()
    trainer.evaluate_faithfulness(methods=["gradient"], progress=False)
    trainer.evaluate(make_rows(make_tokenizer(), 8, seed=3), metric_key_prefix="test")
    trainer.push_to_hub(dataset="Tiny words", dataset_tags="somebody/words", license="mit", tags="small")
    card = ModelCard.load(REPO)
    assert {result.dataset_name for result in card.data.eval_results} == {"Tiny words"}
    by_name = {result.metric_name: result for result in card.data.eval_results}
    told = [result for result in card.data.eval_results if result.metric_name == "accuracy"]
    accuracies = {result.metric_args["n"]: result for result in told}
    assert len(told) == len(accuracies) == 2
    reported = accuracies.pop(len(trainer.eval_dataset))
    assert reported.metric_args["interval"][0] <= reported.metric_value  # the report's, not that of `evaluate`
    assert list(accuracies) == [8]
    assert {"loss", "accuracy", "AOPC comprehensiveness (gradient)", "AOPC sufficiency (random)"} <= by_name.keys()
    assert "other weights of this training are left out: 1." in card.text  # the one after the first step
    assert "data set Tiny words, split not recorded, n 8" in card.text
    assert card.data.datasets == ["somebody/words"]
    assert card.data.tags == ["saliency-guided-training", "generated_from_trainer", "small"]
    assert f'pipeline("text-classification", model="{REPO}")' in card.text


def test_evaluations_of_the_best_checkpoint_count_when_it_is_loaded(tmp_path):
    worse = count()
    trainer = make_trainer(
        tmp_path,
        measure=lambda _: {"rank": next(worse)},
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model="rank",
        greater_is_better=False,
    )
    trainer.train()
    assert trainer.state.best_global_step == 1
    trainer.create_model_card()
    text = (tmp_path / "README.md").read_text()
    assert {one.metric_name: one.metric_value for one in ModelCard(text).data.eval_results}["rank"] == 0
    assert "other weights of this training are left out: 1." in text
    assert "The checkpoint was chosen by a metric on data that is reported here" in text


@pytest.mark.skipif(
    int(huggingface_hub.__version__.partition(".")[0]) < 2, reason="huggingface_hub < 2 asks huggingface.co itself"
)
def test_the_hubs_own_validation_accepts_and_refuses(hub):
    card = model_card(CardFacts(model_name="x", license="mit"))
    card.validate()
    card.data.license = 3
    with pytest.raises(ValueError, match="must be a string"):
        card.validate()


def test_the_model_pushes_itself_with_knobs_and_adapter(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    trainer = make_trainer(tmp_path, sgt_mask_fraction=0.25)
    trainer.train()
    trainer.model.push_to_hub(REPO)
    trainer.processing_class.push_to_hub(REPO)
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= hub.files(REPO).keys()
    recipe = load_recipe(REPO)
    assert recipe.arguments().sgt_mask_fraction == 0.25
    assert recipe.build_adapter(trainer.processing_class).special_ids == trainer.adapter.special_ids


class Bag(nn.Module):
    """A model of the user's own."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words, self.head = nn.Embedding(24, 8), nn.Linear(8, 2)

    def forward(self, input_ids, attention_mask):
        return {"logits": self.head((self.words(input_ids) * attention_mask[..., None]).mean(1))}


def test_a_plain_module_is_pushed_with_its_recipe(hub, tmp_path):
    trainer = make_trainer(tmp_path, model=Bag())
    trainer.train()
    trainer.push_to_hub()
    assert {"model.safetensors", RECIPE_FILE, "README.md"} <= hub.files(REPO).keys()
    assert load_recipe(REPO).adapter == "TextAdapter"


def make_peft(folder):
    base = make_model("bert")
    base.save_pretrained(folder / "base")
    base = AutoModelForSequenceClassification.from_pretrained(folder / "base")
    return get_peft_model(base, LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query", "value"]))


def test_a_peft_adapter_is_pushed(hub, tmp_path):
    trainer = make_trainer(tmp_path / "out", model=make_peft(tmp_path))
    trainer.train()
    trainer.push_to_hub()
    names = hub.files(REPO).keys()
    assert {"adapter_model.safetensors", "adapter_config.json", RECIPE_FILE, "README.md", "tokenizer.json"} <= names
    assert "model.safetensors" not in names
    card = ModelCard(hub.files(REPO)["README.md"].decode())
    assert card.data.library_name == "peft"
    assert card.data.base_model is None  # a folder of this disk is no model of the hub
    assert "this repository holds a PEFT adapter of it" in card.text


def client_environment(hub, folder):
    """Of a program that knows nothing of these tests but the hub's address."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    return kept | {"HF_ENDPOINT": hub.address, "HF_HOME": str(folder / "elsewhere"), "HF_HUB_DISABLE_XET": "1"}


DOWNLOAD = """
import json, sys
import torch
{before}
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

model = AutoModelForSequenceClassification.from_pretrained("{repo}")
classifier = pipeline("text-classification", model="{repo}", top_k=None)
with torch.no_grad():
    logits = model(**AutoTokenizer.from_pretrained("{repo}")("good film", return_tensors="pt")).logits
ours = sorted(name for name in sys.modules if name.split(".")[0] == "sgt_hf")
print(json.dumps({{"logits": logits[0].tolist(), "pipeline": classifier(["good film"])[0], "ours": bool(ours)}}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bert", "bilstm", "peft"])
def test_elsewhere_the_repository_is_all_that_is_needed(hub, tmp_path, kind):
    config = BiLstmConfig(vocab_size=24, embedding_dim=8, hidden_size=4, pad_token_id=1)
    models = {
        "bert": make_model,
        "bilstm": lambda: BiLstmForSequenceClassification(config),
        "peft": lambda: make_peft(tmp_path),
    }
    family = "roberta" if kind == "bilstm" else "bert"  # the BiLSTM takes no token types
    trainer = make_trainer(tmp_path / "out", model=models[kind](), family=family)
    trainer.train()
    trainer.push_to_hub()
    before = "import sgt_hf" if kind == "bilstm" else ""
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:sgt_hf", "-c", DOWNLOAD.format(before=before, repo=REPO)],
        env=client_environment(hub, tmp_path) | {"HF_TOKEN": TOKEN},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["ours"] is (kind == "bilstm")
    with torch.no_grad():
        logits = trainer.model.eval()(**trainer.processing_class("good film", return_tensors="pt")).logits[0]
    assert found["logits"] == pytest.approx(logits.tolist(), abs=1e-6)
    assert {entry["label"]: entry["score"] for entry in found["pipeline"]} == pytest.approx(
        {"LABEL_0": logits.softmax(0)[0].item(), "LABEL_1": logits.softmax(0)[1].item()}, abs=1e-5
    )
    config = json.loads(hub.files(REPO).get("config.json", b"{}"))
    assert kind == "peft" or config[CONFIG_KEY]["adapter"] == "TextAdapter"
    assert "auto_map" not in config
