import json
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from transformers import BertConfig, ResNetConfig

from benchmarks import eraser, eraser_maskings, eraser_overview
from benchmarks.common import cell_path, epochs_of_arm, markdown_table
from benchmarks.eraser_arms import ARMS, knobs_of_arm
from benchmarks.eraser_cell import dropouts_of
from benchmarks.eraser_overview import verdicts
from benchmarks.eraser_paper import beside_the_paper
from benchmarks.eraser_rows import paired
from benchmarks.eraser_settings import Cell
from benchmarks.eraser_tables import dataset_table
from benchmarks.eraser_texts import documents_of, normalized_of
from benchmarks.publish import DOCUMENTS, ROOT, documents, published, tables
from sgt_hf import PRESETS, SaliencyGuidedArguments, load_eraser
from tests.tiny import make_model

FAST = [
    *("--seeds", "0", "--epochs", "1", "--limit", "24", "--ig_steps", "2", "--smooth_grad_samples", "2"),
    *("--random_draws", "2", "--batch_size", "8", "--hidden_size", "4"),
]


def run(output, *arguments):
    command = [sys.executable, str(ROOT / "benchmarks" / "eraser.py"), "--output_dir", str(output), *FAST, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def cells(output):
    return {path.name: json.loads(path.read_text()) for path in sorted(Path(output).glob("*.json"))}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    output = tmp_path_factory.mktemp("eraser")
    result = run(output)
    assert result.returncode == 0, result.stderr
    return output, result


def test_the_arms_are_paired_and_everything_is_recorded(finished):
    output, result = finished
    plain, guided = sorted(cells(output).values(), key=lambda cell: cell["settings"]["arm"], reverse=True)
    for name in set(plain["settings"]) - {"arm", "knobs"}:
        assert plain["settings"][name] == guided["settings"][name], name
    assert plain["settings"]["knobs"] == {"sgt_kl_weight": 0.0}
    assert guided["settings"]["knobs"] == PRESETS["text"]
    assert "bf16" not in guided["settings"]
    # same initial weights in the same order of data: the task loss of the first epoch differs by the guidance alone
    assert plain["log_history"][0]["loss"] == pytest.approx(guided["log_history"][0]["sgt_ce"], abs=0.01)
    assert len(guided["per_example"]["correct"]) == 24
    for method in ("gradient", "integrated_gradients", "smooth_grad", "random"):
        values = np.array(guided["per_example"][method]["comprehensiveness"])
        assert values.mean() == pytest.approx(guided["summary"]["methods"][method]["comprehensiveness"], abs=1e-5)
    assert str(output) in result.stdout
    assert (output / "table.md").read_text().strip() in result.stdout
    assert "guided right (" in (output / "report.html").read_text()
    assert len(plain["text_sample"]["texts"]) == 20


@pytest.mark.slow
def test_a_second_run_resumes_and_prints_the_same(finished):
    output, first = finished
    before = {path.name: path.stat().st_mtime_ns for path in output.glob("*.json")}
    again = run(output)
    assert again.returncode == 0, again.stderr
    assert again.stdout == first.stdout
    assert {path.name: path.stat().st_mtime_ns for path in output.glob("*.json")} == before


@pytest.mark.slow
def test_another_knob_is_another_cell(finished):
    output, _ = finished
    result = run(output, "--arms", "guided", "--sgt_mask_fraction", "0.6", "--methods", "gradient")
    assert result.returncode == 0, result.stderr
    fractions = [c["settings"]["knobs"].get("sgt_mask_fraction") for c in cells(output).values()]
    assert sorted(f for f in fractions if f) == [0.6, 1.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--arms", "magic"], r"unknown arms \['magic'\]: use \['plain', 'guided', 'paper', 'random_mask', "),
        (["--split", "train"], "unknown split 'train': use test or validation"),
        (["--sgt_mask_fraction", "2"], r"sgt_mask_fraction must be in \[0, 1\], got 2.0"),
        (["--select", "luck"], "unknown selection 'luck': use one of"),
        (["--methods", "gradientt"], r"unknown methods \['gradientt'\]: use "),
        (["--operator", "previous_salient"], r"unknown operator 'previous_salient': use one of \['delete', 'mask', "),
        (["--second_operator", "blur"], "unknown operator 'blur'"),
        (["--convention", "mine"], "unknown convention 'mine'"),
        (["--seeds", "0", "1", "0"], r"seeds must be some, and differ, got \[0, 1, 0\]"),
        (["--arms", "plain", "plain"], r"arms must be some, and differ, got \['plain', 'plain'\]"),
        (["--texts", "0"], "texts must be ≥ 1, got 0"),
        (["--epochs", "0"], "epochs must be ≥ 1, got 0"),
        (["--normalized_texts", "-1"], "normalized_texts must be ≥ 0, got -1"),
        (["--learning_rate", "0"], "learning_rate must be > 0, got 0.0"),
        (["--dataset", "imdb", "--data_dir", "/nowhere"], "/nowhere"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_trained(tmp_path, monkeypatch, arguments, message):
    monkeypatch.setattr(sys, "argv", ["eraser.py", "--output_dir", str(tmp_path), *arguments])
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        eraser.main()
    assert not list(tmp_path.glob("*.json"))


def test_texts_of_a_sorted_split_are_refused_when_a_class_is_missing(tmp_path, monkeypatch):
    """As ERASER's Movies, whose first hundred validation texts are all negative."""
    planted = load_eraser("planted")
    by_class = {name: split.select(np.argsort(split["label"][:])) for name, split in planted.items()}
    monkeypatch.setattr(eraser, "load_eraser", lambda *of: DatasetDict(by_class))
    monkeypatch.setattr(sys, "argv", ["eraser.py", "--texts", "20", "--output_dir", str(tmp_path)])
    lacking = planted["test"].features["label"].names[1]
    message = f"first 20 texts of planted's test split have none of the class {lacking}: .*--texts"
    with pytest.raises(ValueError, match=message):
        eraser.main()
    apart = "--normalized-every"
    for every, message in (("2", f"the 4 texts of planted's .* to be normalised have none .*{apart}"), ("0", "≥ 1")):
        argv = ["eraser.py", "--normalized-texts", "4", apart, every, "--output_dir", str(tmp_path)]
        monkeypatch.setattr(sys, "argv", argv)
        with pytest.raises(ValueError, match=message):
            eraser.main()
    assert not list(tmp_path.glob("*.json"))


def test_texts_to_normalise_lie_apart_among_those_that_are_measured():
    planted = load_eraser("planted")["test"]
    unset = dict.fromkeys((field.name for field in fields(Cell)), None)
    cell = Cell(**unset | {"dataset": "planted", "split": "test", "texts": 50, "normalized_every": 9})
    positions = [list(normalized_of(replace(cell, normalized_texts=count), planted)) for count in (0, 4, 9)]
    assert positions == [[], [0, 9, 18, 27], [0, 9, 18, 27, 36, 45]]


@pytest.mark.parametrize(
    "folder", ["eraser", "eraser-movies-maskings", "eraser-movies-paper", "eraser-naopc", "eraser_search"]
)
def test_committed_cells_are_found_by_the_code_of_today(folder):
    """A field that is added to `Cell` must not make a finished sweep start over."""
    paths = sorted((ROOT / "benchmarks" / "results" / folder).glob("*.json"))
    assert paths
    for path in paths:
        settings = json.loads(path.read_text())["settings"]
        cell = Cell(**settings | {"methods": tuple(settings["methods"])})
        assert cell_path(path.parent, cell.name, cell.settings) == path


def made_cell(arm, seed, gradient, correct=(1, 0)):
    number = {"comprehensiveness": gradient, "sufficiency": [value / 2 for value in gradient]}
    provenance = {"convention": "eraser", "operator": "delete", "unit": "word", "bins": [0.5], "reduction": "auto"}
    settings = {"dataset": "movies", "model": "bilstm", "arm": arm, "select": "loss", "seed": seed}
    random = {"comprehensiveness": [0.05, 0.15], "sufficiency": [value / 2 + 0.2 for value in gradient]}
    return {
        "settings": settings | {"knobs": {"sgt_kl_weight": 0.0}},
        "summary": {
            "n": 2,
            "methods": {"gradient": {}, "random": {}},
            "provenance": provenance | {"random_draws": 3, "trained_masking": None},
        },
        "per_example": {"correct": list(correct), "confidence": [0.5, 0.7], "gradient": number, "random": random},
        "maps": {"gradient": {"gini": 0.6, "hoyer": 0.5}},
        "normalized": {
            name: {"comprehensiveness": [0.25, None], "sufficiency": [0.5, 1.0]} for name in ("gradient", "random")
        },
        "seconds": {"train": 1.0, "evaluation": 1.0},
        "epoch": 1,
    }


def row_of(text, start):
    return next(line for line in text.splitlines() if line.startswith(f"| {start}"))


def told(text, start):
    """The first two columns of a row."""
    return [column.strip() for column in row_of(text, start).split("|")[2:4]]


def test_the_tables_on_paper():
    """Differences by seed 0.1, 0.1, 0.4 of both texts: mean 0.2, Student's interval ± 4.303 · 0.1732 / √3 = 0.430."""
    arms = {
        "plain": [made_cell("plain", seed, [0.1, 0.1]) for seed in range(3)],
        "guided": [made_cell("guided", seed, [value] * 2) for seed, value in enumerate((0.2, 0.2, 0.5))],
        "random_mask": [made_cell("random_mask", seed, [0.3, 0.3], (1, 1)) for seed in range(3)],
    }
    text = dataset_table(arms)
    assert "## movies, bilstm: 2 test texts, 3 seeds" in text
    assert told(text, "gradient comp ↑ ") == ["0.100 ± 0.000", "0.300 ± 0.173"]
    assert "+0.200 [+0.200, +0.200]* {-0.230, +0.630}" in text
    statistics = text[text.index("Wilcoxon") :]
    assert told(statistics, "gradient comp ↑") == ["p 0.500, +1.00", "p 1.000, +0.00"]
    assert row_of(text, "gradient comp ↑, NAOPC").split("|")[2].strip() == "0.250 ± 0.000"
    # beyond random rankings of .05 and .15: by text .05 and -.05, .25 and .15 in the mean over guided's seeds
    assert told(text, "gradient comp ↑ − random") == ["0.000 ± 0.000", "0.200 ± 0.173"]
    assert told(text, "gradient suff ↓ − random") == ["-0.200 ± 0.000", "-0.200 ± 0.000"]
    assert "random comp ↑ − random" not in text
    assert row_of(statistics, "gradient comp ↑ − random").split("|")[2].strip() == "p 0.500, +1.00"
    differences = text[text.index("The same, guided minus another arm") : text.index("Beside the paper")]
    assert row_of(differences, "gradient comp ↑, NAOPC").split("|")[2].strip() == "+0.000 {+0.000, +0.000}"
    beyond = row_of(text[text.index("guided minus another arm") :], "gradient comp ↑ − random")
    assert beyond.split("|")[2].strip() == "+0.200 [+0.200, +0.200]* {-0.230, +0.630}"
    beside = text[text.index("Beside the paper") :]
    assert "| 0.100 → 0.300 (+200 %) | 0.200 → 0.240 (+20 %) |" in row_of(beside, "gradient comp ↑")
    controls = text[text.index("Another arm minus plain") : text.index("The maps:")]
    assert "random_mask − plain [texts] {seeds}" in controls
    assert "+0.200 [+0.200, +0.200]* {+0.200, +0.200}*" in row_of(controls, "gradient comp ↑")
    assert "random_mask: guided with words masked at random; " in text
    assert "NAOPC is of the first 2 texts, its limits found by beam search." in text


def test_pairs_are_by_seed_whatever_is_missing():
    """Of guided's seeds 0 to 2 plain has 1 and 2, in another order."""
    arms = {
        "plain": [made_cell("plain", seed, [0.1 * seed] * 2) for seed in (2, 1)],
        "guided": [made_cell("guided", seed, [0.1 * seed + 0.05] * 2) for seed in range(3)],
    }
    difference = paired(arms, "guided", "plain", "gradient", "comprehensiveness")
    assert difference.tolist() == [pytest.approx([0.05, 0.05])] * 2
    with pytest.raises(ValueError, match="the arms guided and plain share no seed"):
        paired(arms | {"plain": [made_cell("plain", 7, [0.0, 0.0])]}, "guided", "plain", "gradient", "sufficiency")


def test_verdicts_are_told_beyond_the_seeds_alone():
    made = {"plain": [made_cell("plain", seed, [0.1, 0.1]) for seed in range(3)]}
    made["random_mask"] = [made_cell("random_mask", seed, [0.5, 0.5]) for seed in range(3)]
    made["guided"] = [made_cell("guided", seed, [value] * 2) for seed, value in enumerate((0.2, 0.21, 0.22))]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in verdicts([made]).splitlines()]
    assert rows[0][:6] == ["", "guided beside", "seeds", "accuracy", "gradient comp ↑", "gradient suff ↓"]
    # comprehensiveness .21 against .1 and .5; sufficiency is half of it, and always .2 below a random ranking's
    assert rows[2][:7] == ["movies, bilstm", "plain", "3", "·", "better / better", "worse / ·", "worse"]
    assert rows[3][:7] == ["movies, bilstm", "random_mask", "3", "·", "worse / worse", "better / ·", "better"]
    assert rows[2][7:] == [""] * 6  # no other method was measured
    made["plain_equal_compute"] = [made_cell("plain_equal_compute", seed, [0.3, 0.3]) for seed in range(3)]
    again = [[cell.strip() for cell in line.split("|")[1:-1]] for line in verdicts([made]).splitlines()]
    assert [row[1] for row in again[2:]] == ["plain", "plain_equal_compute", "random_mask"]
    assert again[3][3:5] == ["·", "worse / worse"]
    few = {arm: cells[:2] for arm, cells in made.items()}
    assert "better" not in verdicts([few])
    assert len(verdicts([{"plain": made["plain"]}]).splitlines()) == 2


def test_every_masking_stands_beside_plain():
    """Guided minus plain by seed 0.1, 0.1, 0.4 with the separator, as on paper above; the mask token has two seeds."""
    made = {"plain": [made_cell("plain", seed, [0.1, 0.1]) for seed in range(3)], "guided": []}
    for masking, gradients in {"sep": (0.2, 0.2, 0.5), "mask": (0.3, 0.3)}.items():
        for seed, value in enumerate(gradients):
            cell = made_cell("guided", seed, [value] * 2)
            cell["settings"]["knobs"] = {"sgt_mask_fraction": 0.6, "sgt_masking": masking}
            made["guided"].append(cell)
    text = eraser_maskings.table(eraser_maskings.by_masking(made))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    assert rows[0] == ["masking", "seeds", "accuracy", "gradient comp ↑", "gradient suff ↓"]  # no other was measured
    assert rows[2][:4] == ["mask", "2", "0.500 → 0.500 {–}", "0.100 → 0.300 {–}"]
    assert rows[3][:4] == ["sep", "3", "0.500 → 0.500 {+0.000, +0.000}", "0.100 → 0.300 {-0.230, +0.630}"]
    assert rows[4] == ["masking", "seeds", "gradient comp ↑", "gradient suff ↓"]  # beyond random, of .1 in the mean
    assert rows[7][2:] == ["0.000 → 0.200 {-0.230, +0.630}", "-0.200 → -0.200 {+0.000, +0.000}"]


def test_texts_of_one_document_are_drawn_together():
    """Two texts of one document tell no more than their mean, of which there is then one alone: nothing to draw."""
    made = {"plain": [made_cell("plain", seed, [0.1, 0.1]) for seed in range(3)]}
    made["guided"] = [made_cell("guided", seed, [0.1, 0.4]) for seed in range(3)]
    apart = dataset_table(made)
    assert "+0.150 [+0.000, +0.300] {+0.150, +0.150}*" in apart
    assert "the paired 95 % bootstrap over texts" in apart
    together = dataset_table({arm: [cell | {"documents": [0, 0]} for cell in group] for arm, group in made.items()})
    assert "+0.150 [+0.150, +0.150]* {+0.150, +0.150}*" in together
    assert "the paired 95 % bootstrap over the 1 documents of the 2 texts" in together
    rows = Dataset.from_dict(
        {"document": [["a", "b"], ["a", "c"], ["b"], ["a", "b"]], "doc_lengths": [[1, 1], [1, 1], [1], [2]]}
    )
    assert documents_of(rows) == [0, 0, 1, 2]


def test_committed_texts_share_the_documents_that_chance_found():
    fever = documents({"dataset": "fever", "limit": None}, 500)
    assert len(fever) == 500
    assert len(set(fever)) < 100
    assert documents({"dataset": "fever", "limit": None, "split": "validation"}, 10) is None
    assert documents({"dataset": "planted", "limit": None, "split": "test"}, 10) is None


def test_the_papers_settings_stand_beside_the_paper_too():
    made = {
        arm: [made_cell(arm, 0, [value] * 2)] for arm, value in (("plain", 0.02), ("guided", 0.03), ("paper", 0.04))
    }
    text = beside_the_paper(made)
    assert "| here, the paper's settings | here, guided" in text
    cells = [cell.strip() for cell in row_of(text, "gradient comp ↑").split("|")[2:5]]
    assert cells == ["0.020 → 0.040", "0.020 → 0.030", "0.200 → 0.240 (+20 %)"]
    assert "divides the five bins by six" in text
    assert beside_the_paper({"plain": made["plain"]}) == ""


def test_the_arms_differ_from_guided_in_one_knob():
    guided = SaliencyGuidedArguments(sgt_mask_fraction=0.9, sgt_masking="delete")
    knobs = {arm: knobs_of_arm(arm, guided, 0.6) for arm in ARMS}
    assert knobs["plain"] == knobs["plain_equal_compute"] == {"sgt_kl_weight": 0.0}
    assert knobs["guided"] == {"sgt_mask_fraction": 0.9, "sgt_masking": "delete"}
    assert knobs["paper"] == {"sgt_mask_fraction": 0.6}
    assert knobs["random_mask"] == knobs["guided"] | {"sgt_drops": "random"}
    assert knobs["reversed_mask"] == knobs["guided"] | {"sgt_drops": "highest"}
    assert knobs["rdrop"] == knobs["guided"] | {"sgt_mask_fraction": 0.0}
    assert [epochs_of_arm(arm, 6) for arm in ("guided", "plain_equal_compute")] == [6, 14]


@pytest.mark.slow
def test_every_arm_and_measure_in_one_run(tmp_path):
    naopc = ("--normalized_texts", "2", "--normalized_every", "3", "--normalize", "greedy")
    result = run(tmp_path, "--arms", *ARMS, "--split", "validation", "--texts", "10", *naopc)
    assert result.returncode == 0, result.stderr
    found = {cell["settings"]["arm"]: cell for cell in cells(tmp_path).values()}
    assert set(found) == set(ARMS)
    for cell in found.values():
        assert len(cell["per_example"]["correct"]) == 10
        assert len(cell["per_example"]["gradient, absolute"]["sufficiency"]) == 10
        assert len(cell["normalized"]["integrated_gradients"]["comprehensiveness"]) == 2
        assert 0 <= cell["maps"]["smooth_grad"]["auprc"] <= 1
    assert len(found["plain_equal_compute"]["validation"]["loss"]) == 2  # of 1 epoch, 7/3 rounded
    assert "guided minus another arm" in result.stdout
    assert "NAOPC is of 2 texts, one in 3, its limits found by greedy search." in result.stdout


def test_documents_carry_what_the_results_say():
    assert "<!-- generated: " in (ROOT / "README.md").read_text(encoding="utf-8")
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        assert published(text) == text, f"{path.name} is stale: python benchmarks/publish.py"
    with pytest.raises(ValueError, match="benchmarks/results has nothing for 'eraser/imdb'"):
        tables("eraser/imdb")
    assert markdown_table(["x"], []) == "| x |\n| - |"


def test_headings_of_tables_stand_below_the_one_before_them(monkeypatch):
    monkeypatch.setattr("benchmarks.publish.tables", lambda name: f"# {name}\n\n## inside")
    block = "<!-- generated: {} -->\n{}<!-- end -->\n"
    text = (
        "# Page\n\n## Part\n\n```bash\n# a comment\n```\n\n"
        + block.format("a", "##### stale\n")
        + block.format("b", "")
    )
    made = [line for line in published(text).splitlines() if line.startswith("#")]
    assert made == ["# Page", "## Part", "# a comment", "### a", "#### inside", "### b", "#### inside"]
    assert published(published(text)) == published(text)


@pytest.mark.slow
@pytest.mark.realdata
def test_real_movies_to_the_table(tmp_path, eraser_dir, shared_data):
    glove = shared_data / "glove" / "union.glove.6B.50d.txt"
    where = ["--dataset", "movies", "--data-dir", str(eraser_dir), "--embeddings", str(glove)]
    result = run(tmp_path, *where, "--max_length", "60")
    assert result.returncode == 0, result.stderr
    assert "## movies, bilstm: 24 test texts, 1 seed" in result.stdout
    for cell in cells(tmp_path).values():
        assert 0.8 < cell["token_coverage"] < 0.95
        assert cell["truncated_words"]["test"] > 0


def test_a_dropout_is_set_wherever_the_configuration_names_one(tmp_path):
    make_model("bert").config.save_pretrained(tmp_path / "bert")
    assert dropouts_of(str(tmp_path / "bert"), 0.0) == {"attention_probs_dropout_prob": 0.0, "hidden_dropout_prob": 0.0}
    BertConfig(hidden_dropout_prob=0, attention_probs_dropout_prob=0).save_pretrained(tmp_path / "whole")
    assert len(dropouts_of(str(tmp_path / "whole"), 0.3)) == 2
    ResNetConfig().save_pretrained(tmp_path / "none")
    with pytest.raises(ValueError, match="names no dropout: leave --dropout out"):
        dropouts_of(str(tmp_path / "none"), 0.0)


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.minilm
@pytest.mark.timeout(600)
def test_real_movies_with_a_pretrained_transformer(tmp_path, eraser_dir, minilm_path):
    where = ["--dataset", "movies", "--data-dir", str(eraser_dir), "--model", str(minilm_path)]
    result = run(tmp_path, *where, "--max_length", "48", "--bf16", "--attn_implementation", "eager")
    assert result.returncode == 0, result.stderr
    assert "## movies, model: 24 test texts, 1 seed" in result.stdout
    assert "other knobs at their defaults; bfloat16, 1 seed" in result.stdout
    assert "the paper's Tables" not in result.stdout  # they are of a BiLSTM
    assert {cell["settings"]["attn_implementation"] for cell in cells(tmp_path).values()} == {"eager"}


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.parametrize("name", ["fever", "esnli"])
def test_the_other_real_sets(tmp_path, eraser_dir, name):
    result = run(tmp_path, "--dataset", name, "--data-dir", str(eraser_dir), "--max_length", "120")
    assert result.returncode == 0, result.stderr
    assert f"## {name}, bilstm: 24 test texts, 1 seed" in result.stdout


def test_a_training_that_was_run_twice_is_told_seed_by_seed():
    def cell(arm, seed, epoch, accuracy):
        methods = {name: {"comprehensiveness": accuracy / 2} for name in ("gradient", "integrated_gradients")}
        settings = {"dataset": "x/toy", "arm": arm, "seed": seed, "epochs": 8 if arm == "plain" else 20}
        return {"settings": settings, "epoch": epoch, "summary": {"accuracy": accuracy, "methods": methods}}

    plain = [cell("plain", seed, 3, 0.8) for seed in (0, 1, 2)]
    again = [cell("plain_equal_compute", 0, 4, 0.9), cell("plain_equal_compute", 1, 9, 0.9)]  # plain has no ninth
    table = eraser_overview.repeats([{"plain": plain, "plain_equal_compute": again}, {"plain": plain}])
    assert [line.split(" | ")[1:3] for line in table.splitlines()[2:]] == [["0   ", "3 / 4"]]
    assert "| 0.800 / 0.900 | 0.400 / 0.450 " in table
