import io
import json
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from rich.console import Console
from torch import nn
from transformers import AutoModelForSequenceClassification, BertConfig, BertForMaskedLM, PretrainedConfig

import sgt_hf
from sgt_hf import (
    BiLstmConfig,
    BiLstmForSequenceClassification,
    SaliencyGuidedTrainer,
    SaliencyGuidedTrainingArguments,
)
from sgt_hf.__main__ import main
from sgt_hf.data.vocabulary import build_word_tokenizer
from sgt_hf.faithfulness import word_scores
from sgt_hf.reporting.terminal import highlighted
from tests.tiny import make_model, make_rows, make_tokenizer

HOSTILE = "\x1b[31mred\x1b[0m [bold]x[/bold] :smile: \x9b2J \u202egnp \x07"
THREE = {0: "NEG", 1: "POS", 2: "MIXED"}
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Sums(nn.Module):
    """Logits are sums over the embedding, so the gradient of class 1 at a token is known on paper: its weights."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(24, 2)
        self.weights = nn.Parameter(torch.arange(20.0))
        self.config = BertConfig(vocab_size=24, id2label={0: "NEG", 1: "POS"}, max_position_embeddings=20)

    def forward(self, input_ids, attention_mask):
        features = self.embedding(input_ids) * attention_mask[..., None]
        positive = (features.sum(-1) * self.weights[: input_ids.shape[1]]).sum(1)
        return {"logits": torch.stack([positive * 0, positive], dim=1)}


def test_scores_on_paper():
    # [CLS] good film ##ly a [SEP]: the signed sum of the gradient at place i is 2 · i, and a word sums its tokens'
    (found,) = sgt_hf.explain(Sums(), make_tokenizer(), "good filmly\n a", target="POS", reduction="signed_sum")
    expected = [("good", 2.0, 0, 0, 4), ("filmly", 10.0, 0, 5, 11), ("a", 8.0, 0, 13, 14)]
    assert [tuple(word) for word in found.words] == expected
    assert (found.target, found.method, found.truncated_words) == ("POS", "gradient", 0)
    assert found.predicted in ("NEG", "POS")
    assert found.probability >= 0.5
    total = found.target_probability + (found.probability if found.target != found.predicted else 0)
    assert total == pytest.approx(1.0 if found.target != found.predicted else found.probability)


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2", "llama"])
def test_agrees_with_the_evaluation(family):
    model, tokenizer = make_model(family), make_tokenizer(family)
    texts = ["good film", "very dull plot , not great", "a film"]
    found = sgt_hf.explain(model, tokenizer, texts, method="input_x_gradient", batch_size=2)
    rows = [dict(tokenizer(text)) for text in texts]
    scores, classes = word_scores(model, rows, tokenizer, methods=["input_x_gradient"])
    for one, expected, predicted, row in zip(found, scores["input_x_gradient"], classes, rows, strict=True):
        # every word is a token here, but for those that GPT-2's tokenizer does not know, which are special there
        np.testing.assert_allclose([word.score for word in one.words], expected, rtol=1e-4, atol=1e-7)
        assert one.predicted == f"LABEL_{predicted}"
        with torch.no_grad():
            logits = model.eval()(**{name: torch.tensor([column]) for name, column in row.items()}).logits
        assert one.probability == pytest.approx(float(logits.softmax(-1).max()), abs=1e-5)


def test_special_tokens_are_no_words_even_when_the_text_spells_them():
    (found,) = sgt_hf.explain(make_model(), make_tokenizer(), ["good [SEP] film [PAD]"])
    assert [word.text for word in found.words] == ["good", "film"]
    assert str(found).splitlines()[1] == "good [SEP] film [PAD]"


def test_our_bilstm_and_a_pair():
    tokenizer = build_word_tokenizer([["good", "bad", "film"]])
    model = BiLstmForSequenceClassification(BiLstmConfig(vocab_size=len(tokenizer), embedding_dim=4, hidden_size=3))
    model.train()
    single, pair = sgt_hf.explain(model, tokenizer, ["good film", ("bad film", "good")])
    assert model.training
    assert [(word.part, word.text) for word in pair.words] == [(0, "bad"), (0, "film"), (1, "good")]
    assert "bad film\n\ngood" in str(pair)
    assert single.text == ("good film",)


def test_scores_that_miss_their_sum_are_told_once_for_all_texts():
    settings = sgt_hf.attribution.AttributionSettings(steps=2, max_delta=0.0)
    with pytest.warns(UserWarning, match="on 3 of 3 samples the scores miss the sum") as warned:
        sgt_hf.explain(
            make_model(spread=0.5),
            make_tokenizer(),
            ["good film", "a very dull plot", "bad"],
            method="integrated_gradients",
            settings=settings,
            batch_size=1,
        )
    assert len(warned) == 1


def test_truncation_is_said_everywhere():
    tokenizer = make_tokenizer()
    tokenizer.model_max_length = 6
    with pytest.warns(UserWarning, match="1 of 2 texts are longer than the 6 tokens .* 3 words in all were cut off"):
        cut, whole = sgt_hf.explain(make_model(), tokenizer, ["good film a plot the very dull", "a film"])
    assert (cut.truncated_words, whole.truncated_words) == (3, 0)
    assert len(cut.words) == 4
    assert "3 words more than the model takes in were cut off" in str(cut)
    assert "cut off" not in str(whole)
    assert "the very dull" in str(cut)
    assert cut.to_dict()["truncated_words"] == 3
    tokenizer.model_max_length = 1000
    with pytest.warns(UserWarning, match="longer than the 40 tokens"):  # the model's positions, where they are fewer
        sgt_hf.explain(make_model(), tokenizer, "good " * 60)


def test_the_dictionary_is_json_and_points_into_the_text():
    (found,) = sgt_hf.explain(make_model(), make_tokenizer(), ["good — film"], method="integrated_gradients")
    read = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert set(read) == set(found.__dataclass_fields__)
    for word in read["words"]:
        assert read["text"][word["part"]][word["start"] : word["end"]] == word["text"]


def test_hostile_text_does_nothing_in_a_terminal():
    (found,) = sgt_hf.explain(make_model(), make_tokenizer(), [HOSTILE])
    plain = str(found)
    assert not CONTROLS.search(plain)
    assert "⟨U+001B⟩[31mred" in plain
    assert "[bold]x[/bold] :smile:" in plain
    console = Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", width=200)
    console.print(found)
    own = re.sub(r"\x1b\[[0-9;]*m", "", console.file.getvalue())
    assert not CONTROLS.search(own)
    assert own.rstrip("\n") == plain


def test_highlights_grade_and_rank():
    (found,) = sgt_hf.explain(Sums(), make_tokenizer(), "good filmly a", target=1, reduction="signed_sum")
    console = Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", width=200)
    console.print(found)
    styled = console.file.getvalue()
    assert re.search(r"\x1b\[1;4;[\d;]*mfilmly\x1b", styled)  # the largest: bold and underlined, whatever its colour
    assert not re.search(r"\x1b\[1;4;[\d;]*mgood\x1b", styled)
    assert "ranked highest: filmly +10, a +8, good +2" in styled
    entry = found.to_entry("t")
    console = Console(file=io.StringIO(), width=200)
    console.print(highlighted(entry))
    assert console.file.getvalue().startswith("t\ngradient: ")
    assert "\x1b" not in console.file.getvalue()


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        ([], {}, "there is no text to explain"),
        (["good", " \n"], {}, "text 1 is blank"),
        ([("a", "b", "c")], {}, "text 0 is blank, or neither a text nor a pair"),
        (["a", 3], {}, r"text 1 is blank, or neither a text nor a pair of texts: \(3,\)"),
        (["\udcff"], {}, "text 0 is no valid Unicode"),
        (["a"], {"method": "magic"}, r"unknown methods \['magic'\]"),
        (["a"], {"reduction": "magic"}, "magic"),
        (["a"], {"target": "BAD"}, r"unknown class 'BAD': use 'predicted', a number below 2, or one of \['LABEL_0'"),
        (["a"], {"target": 2}, "unknown class 2"),
        (["a"], {"target": True}, "unknown class True"),
        (["a"], {"batch_size": 0}, "batch_size must be ≥ 1, got 0"),
    ],
)
def test_bad_input_is_refused(texts, options, message):
    with pytest.raises(ValueError, match=message):
        sgt_hf.explain(make_model(), make_tokenizer(), texts, **options)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_labels": 1}, "BertForSequenceClassification is no classifier into one of several classes"),
        *(
            ({"problem_type": problem}, f"problem_type of this BertForSequenceClassification is '{problem}'")
            for problem in ("regression", "multi_label_classification")
        ),
    ],
)
def test_models_without_one_class_of_several_are_refused(config, message):
    with pytest.raises(ValueError, match=message):
        sgt_hf.explain(make_model(**config), make_tokenizer(), ["a"])


def test_a_module_of_ones_own_names_its_classes_by_a_config():
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.head = nn.Embedding(len(make_tokenizer()), 4), nn.Linear(4, 2)

        def get_input_embeddings(self):
            return self.table

        def forward(self, input_ids, attention_mask=None):
            return self.head(torch.tanh(self.table(input_ids).sum(1)))

    model = Words()
    with pytest.raises(ValueError, match=r"Words has no config.*: give it one, as in model.config = transformers.Pre"):
        sgt_hf.explain(model, make_tokenizer(), "good")
    model.config = PretrainedConfig(id2label={0: "no", 1: "yes"})
    assert sgt_hf.explain(model, make_tokenizer(), "good")[0].predicted in ("no", "yes")


def test_several_texts_need_padding():
    tokenizer = make_tokenizer("gpt2")
    tokenizer.pad_token = None
    with pytest.raises(ValueError, match=r"no padding token, which several texts need: set one, tokenizer.pad_token"):
        sgt_hf.explain(make_model("gpt2"), tokenizer, ["a", "a film"])


def test_scores_that_are_no_numbers_are_refused():
    model = make_model()
    with torch.no_grad():
        model.classifier.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="the gradient scores of sample 0 are not finite"):
        sgt_hf.explain(model, make_tokenizer(), "good")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    make_model().save_pretrained(path)
    make_tokenizer().save_pretrained(path)
    return str(path)


class Input(io.BytesIO):
    """Standard input as the command reads it."""

    @property
    def buffer(self):
        return self


def run(monkeypatch, capsys, *arguments, stdin=b""):
    monkeypatch.setattr(sys, "stdin", Input(stdin))
    status = main(["explain", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_the_command_prints_highlights(monkeypatch, capsys, folder):
    status, out, err = run(monkeypatch, capsys, folder, "good film", HOSTILE)
    assert (status, err) == (0, "")
    assert out.startswith("gradient: LABEL_")
    assert out.count("ranked highest: ") == 2
    assert not CONTROLS.search(out)


def test_a_class_is_named_before_it_is_numbered(monkeypatch, capsys, tmp_path):
    names = {0: "1", 1: "2", 2: "terrible"}
    make_model("bert", num_labels=3, id2label=names).save_pretrained(tmp_path)
    make_tokenizer("bert").save_pretrained(tmp_path)
    for target, name in (("1", "1"), ("2", "2"), ("0", "1"), ("terrible", "terrible")):
        _, out, _ = run(monkeypatch, capsys, tmp_path, "--json", "--target", target, "good film")
        assert json.loads(out)[0]["target"] == name


def test_the_command_reads_files_and_standard_input(monkeypatch, capsys, folder, tmp_path):
    file = tmp_path / "texts.txt"
    file.write_bytes("\ufeffgood film\n\nvery dull\r\n".encode())
    status, out, _ = run(monkeypatch, capsys, folder, "--json", "--file", file, "a", "-", stdin=b"bad plot\nthe film")
    assert status == 0
    assert [one["text"] for one in json.loads(out)] == [["good film"], ["very dull"], ["a"], ["bad plot"], ["the film"]]
    _, out, _ = run(monkeypatch, capsys, folder, "--json", "--whole", "--file", file)
    assert [one["text"] for one in json.loads(out)] == [["good film\n\nvery dull\r\n"]]
    _, out, _ = run(monkeypatch, capsys, folder, "--json", "--pair", "-", "a", "b", stdin=b"bad plot\tthe film")
    assert [one["text"] for one in json.loads(out)] == [["bad plot", "the film"], ["a", "b"]]


def test_a_line_ends_where_editors_end_it(monkeypatch, capsys, folder):
    text = "good\x0cfilm\u2028dull\x85plot"
    _, out, _ = run(monkeypatch, capsys, folder, "--json", "-", stdin=f"{text}\ra\r\nfilm\n".encode())
    assert [one["text"] for one in json.loads(out)] == [[text], ["a"], ["film"]]


def test_json_is_ascii_and_nothing_else_is_printed(monkeypatch, capsys, folder):
    _, out, _ = run(monkeypatch, capsys, folder, "--json", "--target", "1", "--method", "smooth_grad", HOSTILE)
    assert out.isascii()
    assert not CONTROLS.search(out.replace("\n", ""))
    (one,) = json.loads(out)
    assert (one["target"], one["method"], one["text"]) == ("LABEL_1", "smooth_grad", [HOSTILE])


def test_html_is_the_report(monkeypatch, capsys, folder, tmp_path):
    path = tmp_path / "out" / "page.html"
    status, out, err = run(monkeypatch, capsys, folder, "good <script>film", "--html", path)
    assert (status, out, err) == (0, "", f"sgt_hf: wrote {path}\n")
    page = path.read_text(encoding="utf-8")
    assert "good" in page
    assert "&lt;script&gt;film" in page


def test_warnings_are_one_line_on_stderr(monkeypatch, capsys, folder):
    status, _, err = run(monkeypatch, capsys, folder, "good " * 60)
    assert status == 0
    assert re.fullmatch(r"sgt_hf: warning: 1 of 1 texts are longer than the 32 tokens .*\n", err)


def test_what_is_wrong_is_said_with_status_2(monkeypatch, capsys, folder, tmp_path):
    bare, headless, latin = tmp_path / "bare", tmp_path / "headless", tmp_path / "latin.txt"
    make_model().save_pretrained(bare)
    make_tokenizer().save_pretrained(headless)
    BertForMaskedLM(make_model().config).save_pretrained(headless)
    latin.write_bytes("schön".encode("latin-1"))
    for arguments, message in [
        ((folder,), "no text: give texts, --file FILE, or - for standard input"),
        ((folder, "-"), "no text: the input is empty"),
        ((folder, " "), "text 0 is blank"),
        ((folder, "a", "--pair"), "--pair takes texts two by two"),
        ((folder, "a\tb\tc", "d", "--pair"), r"a pair on a line with a tab between; got 'a\\tb\\tc'"),
        ((folder, "a", "b\tc", "d", "--pair"), r"a pair on a line with a tab between; got 'b\\tc'"),
        ((folder, "a", "--target", "x"), "unknown class 'x'"),
        ((folder, "a", "--reduction", "x"), "'x'"),
        ((folder, "a", "--file", tmp_path / "none.txt"), "none.txt"),
        ((folder, "--file", latin), "latin.txt is not UTF-8: .* at byte 3"),
        ((folder, "a", "--html", folder), re.escape(folder)),
        ((tmp_path / "none", "a"), "none is no folder"),
        ((latin, "a"), "latin.txt is no folder"),
        (("nobody/nothing", "a"), "nobody/nothing is no folder or hub name of a classifier"),
        ((bare, "a"), "bare holds no tokenizer"),
        ((headless, "a"), "headless is no classifier: it has no weights for .*classifier.weight"),
    ]:
        status, out, err = run(monkeypatch, capsys, *arguments)
        assert (status, out) == (2, ""), arguments
        assert re.search(f"^sgt_hf: .*{message}", err, re.S), err
        assert "Traceback" not in err
    with pytest.raises(SystemExit) as caught:
        main(["explain", folder, "a", "--method", "magic"])
    assert caught.value.code == 2


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def spoiled(folder, path, name, content):
    """A copy of the model's folder in which one file says something else."""
    shutil.copytree(folder, path)
    (path / name).write_bytes(content)
    return path


def test_what_is_damaged_pickled_or_code_is_refused(monkeypatch, capsys, folder, tmp_path):
    weights, config = (Path(folder, name).read_bytes() for name in ("model.safetensors", "config.json"))
    changed = json.loads(config)
    larger = json.dumps(changed | {"intermediate_size": 2 * changed["intermediate_size"]}).encode()
    classes = {"AutoConfig": "own.Config", "AutoModelForSequenceClassification": "own.Model"}
    foreign = json.dumps(changed | {"model_type": "own", "auto_map": classes}).encode()
    half = spoiled(folder, tmp_path / "half", "model.safetensors", weights[: len(weights) // 2])
    sizes = spoiled(folder, tmp_path / "sizes", "config.json", larger)
    pickled = spoiled(folder, tmp_path / "pickled", "pytorch_model.bin", pickle.dumps(Touch(tmp_path / "touched")))
    (pickled / "model.safetensors").unlink()
    plain = spoiled(folder, tmp_path / "plain", "x", b"")
    (plain / "model.safetensors").unlink()
    torch.save(make_model().state_dict(), plain / "pytorch_model.bin")  # harmless, and a pickle all the same
    remote = spoiled(folder, tmp_path / "remote", "config.json", foreign)
    (remote / "own.py").write_text(f"open({str(tmp_path / 'touched')!r}, 'w')")
    for path, message in [
        (half, "cannot be loaded as a classifier with its tokenizer: .*header"),
        (sizes, "cannot be loaded as a classifier with its tokenizer: .*mismatched"),
        (pickled, "no file named model.safetensors"),
        (plain, "no file named model.safetensors"),
        (remote, "contains custom code"),
    ]:
        status, out, err = run(monkeypatch, capsys, path, "a", stdin=b"y\n")
        assert (status, out) == (2, ""), path  # nor does anything ask whether to run it
        assert re.search(f"^sgt_hf: .*{message}", err, re.S), err
    assert not (tmp_path / "touched").exists()


@pytest.mark.slow
def test_the_module_runs_and_bears_a_closed_pipe(folder):
    command = [sys.executable, "-m", "sgt_hf", "explain", folder, "-"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    _, err = process.communicate(b"good film\n" * 20)
    assert (process.returncode, err) == (1, b"")


def test_our_architecture_loads_by_the_command(monkeypatch, capsys, tmp_path):
    tokenizer = build_word_tokenizer([["good", "film"]])
    BiLstmForSequenceClassification(
        BiLstmConfig(vocab_size=len(tokenizer), embedding_dim=4, hidden_size=3, id2label={0: "NEG", 1: "POS"})
    ).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    status, out, _ = run(monkeypatch, capsys, tmp_path, "good film")
    assert status == 0
    assert re.match("gradient: (NEG|POS) 0", out)
    assert isinstance(AutoModelForSequenceClassification.from_pretrained(tmp_path), BiLstmForSequenceClassification)


def adapted(tmp_path, family="bert", target="query", *, head=False):
    """A folder with a LoRA adapter of three named classes, whose base knows two or none, and what it predicts."""
    model, base = make_model(family, num_labels=3, id2label=THREE, spread=0.5), make_model(family)
    base.base_model.load_state_dict(model.base_model.state_dict())
    (base if head else base.base_model).save_pretrained(tmp_path / "base")
    model.name_or_path = str(tmp_path / "base")
    settings = LoraConfig(task_type="SEQ_CLS", target_modules=[target], fan_in_fan_out=family == "gpt2")
    whole = get_peft_model(model, settings)
    whole.save_pretrained(tmp_path / "adapter")
    make_tokenizer(family).save_pretrained(tmp_path / "adapter")
    assert not (tmp_path / "adapter" / "config.json").exists()
    (found,) = sgt_hf.explain(whole, make_tokenizer(family), "good film")
    return tmp_path / "adapter", found


@pytest.mark.parametrize(
    ("family", "target"), [("bert", "query"), ("roberta", "query"), ("llama", "q_proj"), ("gpt2", "c_attn")]
)
def test_an_adapter_has_as_many_classes_as_its_head(family, target, monkeypatch, capsys, tmp_path):
    path, expected = adapted(tmp_path, family, target)
    status, out, _ = run(monkeypatch, capsys, path, "--json", "good film")
    assert status == 0
    (one,) = json.loads(out)
    assert one["predicted"] == f"LABEL_{list(THREE.values()).index(expected.predicted)}"
    assert one["probability"] == pytest.approx(expected.probability, abs=1e-5)


@pytest.mark.parametrize("file", ["config.json", "saliency_guided.json"])
def test_the_names_of_an_adapters_classes_are_read_where_they_are_recorded(file, monkeypatch, capsys, tmp_path):
    path, expected = adapted(tmp_path)
    (path / file).write_text(json.dumps({"id2label": THREE}))
    status, out, _ = run(monkeypatch, capsys, path, "--json", "good film")
    assert status == 0
    assert json.loads(out)[0]["predicted"] == expected.predicted


def test_the_trainer_records_the_names_of_an_adapters_classes(monkeypatch, capsys, tmp_path):
    base = make_model(id2label={0: "NEG", 1: "POS"})
    base.save_pretrained(tmp_path / "base")
    tokenizer = make_tokenizer()
    named = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", id2label={0: "ham", 1: "spam"})
    adapter = get_peft_model(named, LoraConfig(task_type="SEQ_CLS", target_modules=["query"]))
    trainer = SaliencyGuidedTrainer(
        adapter,
        SaliencyGuidedTrainingArguments(str(tmp_path / "out"), max_steps=1, report_to="none", use_cpu=True),
        train_dataset=make_rows(tokenizer),
        processing_class=tokenizer,
    )
    trainer.train()
    trainer.save_model(tmp_path / "adapter")
    capsys.readouterr()  # what Trainer prints
    status, out, _ = run(monkeypatch, capsys, tmp_path / "adapter", "--json", "--target", "spam", "good film")
    assert status == 0
    assert json.loads(out)[0]["predicted"] in ("ham", "spam")


def test_names_that_are_not_as_many_as_an_adapters_classes_are_left_out(monkeypatch, capsys, tmp_path):
    """As where a head was replaced, and the configuration was not."""
    path, expected = adapted(tmp_path)
    (path / "saliency_guided.json").write_text(json.dumps({"id2label": {0: "NEG", 1: "POS"}}))
    status, out, _ = run(monkeypatch, capsys, path, "--json", "good film")
    assert status == 0
    assert json.loads(out)[0]["probability"] == pytest.approx(expected.probability, abs=1e-5)


def test_an_adapters_head_takes_the_place_of_its_base_models(monkeypatch, capsys, tmp_path):
    path, expected = adapted(tmp_path, head=True)  # of two classes
    status, out, _ = run(monkeypatch, capsys, path, "--json", "good film")
    assert status == 0
    assert json.loads(out)[0]["probability"] == pytest.approx(expected.probability, abs=1e-5)


def test_an_adapter_that_does_not_fit_is_refused_with_the_reason(monkeypatch, capsys, tmp_path):
    headless, _ = adapted(tmp_path / "bart", "bart", "q_proj")  # its head is not saved unless asked for
    path, _ = adapted(tmp_path / "bert")
    for name in ("ranks", "pickled", "damaged"):
        shutil.copytree(path, tmp_path / name)
    settings = json.loads((path / "adapter_config.json").read_text())
    (tmp_path / "ranks" / "adapter_config.json").write_text(json.dumps(settings | {"r": 4}))
    (tmp_path / "pickled" / "adapter_model.safetensors").unlink()
    torch.save({}, tmp_path / "pickled" / "adapter_model.bin")
    capsys.readouterr()  # what transformers prints when it saves
    (tmp_path / "damaged" / "saliency_guided.json").write_text("[]")
    for folder, message in [
        (
            headless,
            r"neither the adapter nor its base model '.*base' has fitting weights for classification_head.*: name",
        ),
        (tmp_path / "ranks", "mismatched in the sizes of .*lora_A"),
        (tmp_path / "pickled", "file named adapter_model.safetensors"),
        (tmp_path / "damaged", "saliency_guided.json holds a list where an object was expected"),
    ]:
        status, out, err = run(monkeypatch, capsys, folder, "good film")
        assert (status, out) == (2, ""), folder
        assert re.search(f"^sgt_hf: .*{message}", err), err
        assert "above report" not in err


def test_an_adapter_without_its_base_says_so(tmp_path, capsys):
    adapted = get_peft_model(make_model(), LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"]))
    adapted.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings | {"base_model_name_or_path": "no/base"}))
    make_tokenizer().save_pretrained(tmp_path)
    assert main(["explain", str(tmp_path), "good film"]) == 2
    assert "it is an adapter, whose base model 'no/base' is no folder here" in capsys.readouterr().err
