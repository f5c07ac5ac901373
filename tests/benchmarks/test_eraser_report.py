import json

import numpy as np
import pytest
from datasets import Dataset

from benchmarks.eraser_report import eraser_report, write_eraser_report
from benchmarks.eraser_sample import text_sample
from benchmarks.publish import RESULTS, grouped
from sgt_hf import evaluate_faithfulness, load_eraser
from sgt_hf.data.rationales import encode_words
from sgt_hf.faithfulness import word_scores
from sgt_hf.reporting.html import render_report
from tests.tiny import make_model, make_tokenizer

BINS = [0.1, 0.5]


def cell(arm, seed, *, sample=True):
    """A finished cell of two texts; the guided arm is surer, and wrong about the second."""
    guided = arm == "guided"
    values = {"comprehensiveness": [0.1 + guided, 0.3], "sufficiency": [0.2, 0.2]}
    per_bin = {"comprehensiveness_per_bin": [0.1 + seed, 0.3], "sufficiency_per_bin": [0.2, 0.1]}
    provenance = {"convention": "eraser", "operator": "delete", "unit": "word", "bins": BINS, "reduction": "auto"}
    text = {"query": None, "words": ["a", "bad", "film"], "rationale": [[1, 2]], "label": "NEG", "truncated_words": 0}
    texts = [
        text | {"id": "r0", "scores": [0.01, 1.0, None], "predicted": "NEG", "probability": 0.9},
        text
        | {"id": "r1", "scores": [0.5, 0.0, -1.0], "predicted": "POS" if guided else "NEG", "probability": 0.6}
        | {"truncated_words": 7, "query": "the claim"},
    ]
    return {
        "settings": {"dataset": "toy", "model": "bilstm", "arm": arm, "seed": seed, "knobs": {}, "select": "loss"},
        "versions": {"torch": "2"},
        "machine": {"device": "cpu"},
        "summary": {
            "n": 2,
            "methods": {"gradient": per_bin, "random": per_bin},
            "provenance": provenance | {"random_draws": 3, "trained_masking": None},
        },
        "per_example": {"correct": [1, int(not guided)], "confidence": [0.9, 0.6]}
        | {"gradient": values, "random": values},
        "seconds": {"train": 1.0, "evaluation": 1.0},
        "epoch": 1,
    } | ({"text_sample": {"method": "gradient", "texts": texts}} if sample else {})


def arms(**options):
    return {arm: [cell(arm, seed, **options) for seed in (0, 1)] for arm in ("plain", "guided")}


def test_the_page_on_paper(tmp_path):
    report = eraser_report({"toy": arms()}, command=["python", "x.py", "a b"])
    table, *others = report.tables
    assert [other.title.partition(",")[0] for other in others] == [
        "guided minus another arm",
        "Wilcoxon's p and rank-biserial r",
    ]
    assert table.title == "toy, bilstm: 2 test texts, 2 seeds"
    assert table.rows[0][:3] == ["accuracy", "1.000 ± 0.000", "0.500 ± 0.000"]
    removal, distribution = report.figures
    assert "comprehensiveness of plain, gradient: 0.600, 0.300" in removal.alt
    # of 2 + 3 scored words one is below a tenth of its text's largest in each text
    assert "2 texts of the first seed" in distribution.caption
    assert "plain 40 %, guided 40 %" in distribution.caption
    first, second = report.texts
    assert first.title == "r0 (toy, bilstm)"
    assert first.rationale == [False, True, False]
    assert [(view.name, view.predicted, view.correct) for view in second.views] == [
        ("plain", "NEG", True),
        ("guided", "POS", False),
    ]
    assert first.views[0].scores == [0.01, 1.0, None]
    assert (second.context, second.notes) == ("the claim", ["7 words past the maximal length were cut off"])
    assert report.provenance["command"] == "python x.py 'a b'"
    assert report.missing == []
    write_eraser_report(tmp_path / "report.html", {"toy": arms()}, command=["x"])
    assert "flipped (1)" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_split_and_every_setting_are_told():
    shown = arms()
    for one in shown["plain"] + shown["guided"]:
        one["settings"] |= {"split": "validation", "epochs": 8}
    shown["guided"][0]["settings"]["epochs"] = 19
    report = eraser_report({"toy": shown}, command=[])
    assert report.tables[0].title == "toy, bilstm: 2 validation texts, 2 seeds"
    assert "epochs 8 or 19" in report.provenance["settings of toy"]
    assert "test texts" not in report.lead + report.figures[0].caption


def test_one_seed_has_no_band():
    alone = {arm: group[:1] for arm, group in arms().items()}
    report = eraser_report({"toy": alone}, command=[])
    assert report.tables[0].title == "toy, bilstm: 2 test texts, 1 seed"
    assert report.figures[0].caption == "Mean over the texts, of one seed."


def test_only_arms_that_mask_meet_an_operator_in_training():
    shown = arms()
    for arm, fraction in (("plain", 0.0), ("guided", 0.5)):
        for one in shown[arm]:
            one["settings"]["knobs"] = {"sgt_mask_fraction": fraction}
            one["summary"]["provenance"]["trained_masking"] = "delete"
    notes = eraser_report({"toy": shown}, command=[]).tables[0].notes
    assert "Measured by delete, which guided met in training: this favours them." in notes


def test_cells_without_a_sample_say_so():
    report = eraser_report({"toy": arms(sample=False)}, command=["x"])
    assert report.texts == []
    assert len(report.figures) == 1
    assert report.missing == ["toy: texts with their words' scores, and so the distribution of gradients"]


def test_published_cells_can_be_shown():
    paths = sorted((RESULTS / "eraser").glob("planted*.json"))
    cells = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    page = render_report(eraser_report(grouped(cells), command=["x"]))
    assert "planted, bilstm: 200 test texts, " in page
    assert "guided minus another arm" in page


@pytest.mark.filterwarnings("ignore:max_length=")
def test_the_sample_is_what_the_evaluation_scored():
    split = load_eraser("planted")["test"].select(range(3))
    tokenizer, model = make_tokenizer(), make_model()
    encoded = encode_words(split, tokenizer, max_length=32)
    report = evaluate_faithfulness(model, encoded, tokenizer, methods=["gradient"], random_draws=1, progress=False)
    found = text_sample(report, split, encoded["truncated_words"][:], with_query=False, count=2)
    assert found["method"] == "gradient"
    scores, classes = word_scores(model, encoded, tokenizer, methods=["gradient"])
    names = split.features["label"].names
    assert len(found["texts"]) == 2
    for n, text in enumerate(found["texts"]):
        row = split[n]
        np.testing.assert_allclose([s for s in text["scores"] if s is not None], scores["gradient"][n], rtol=2e-3)
        assert text["words"] == row["document"][: len(text["words"])]
        assert len(text["words"]) + text["truncated_words"] == len(row["document"])
        assert (text["id"], text["label"], text["query"]) == (row["annotation_id"], names[row["label"]], None)
        assert text["predicted"] == names[classes[n]]
        marked = np.zeros(len(text["words"]), int)
        for start, end in text["rationale"]:
            marked[start:end] = 1
        assert marked.tolist() == row["rationale"][: len(marked)]
    json.dumps(found, allow_nan=False)


def test_a_report_without_scores_has_no_sample():
    report = type("Report", (), {"predictions": None})()
    assert text_sample(report, Dataset.from_dict({}), [], with_query=False) == {"method": None, "texts": []}
