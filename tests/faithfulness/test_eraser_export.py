import json
import os
import random
import warnings
from dataclasses import replace

import numpy as np
import pytest

from sgt_hf import evaluate_faithfulness, load_eraser
from sgt_hf.attribution import AttributionSettings
from sgt_hf.data.rationales import encode_words
from sgt_hf.faithfulness.eraser_export import to_eraser_rows, write_jsonl
from sgt_hf.faithfulness.predictions import Predictions, TextIdentity, agreement_with_humans, label_names_of
from tests import eraser_scorer
from tests.data.eraser_folder import evidence, row, write_eraser
from tests.faithfulness.test_evaluate import CountsGood
from tests.tiny import WORDS, make_model, make_tokenizer

VOCABULARY = [word for word in WORDS if not word.startswith("##")] + ["greatly", "badness"]  # these two are two tokens
LABELS = ["NEG", "POS", "MEH"]
FAST = AttributionSettings(steps=4, samples=2)


def text_of(generator, longest):
    return [generator.choice(VOCABULARY) for _ in range(generator.randint(1, longest))]


def spans_in(generator, docid, words, count):
    """Random evidence groups of a document, overlapping, repeated or empty as they come."""
    for _ in range(count):
        start = generator.randrange(len(words))
        end = min(len(words), start + generator.choice([0, 1, 1, 2, 4]))
        yield [evidence(docid, start, end, " ".join(words[start:end]))]


def write_folder(folder, *, documents_per_row, queries, one_file=True, count=14, longest=30, seed=0):
    """A random data set in ERASER's layout, all of it in the test split but for one row each."""
    generator = random.Random(seed)
    documents, splits = {}, {"train": [], "val": [], "test": []}
    for index in range(count + 2):
        docids = [f"r{index}_{part}" for part in range(documents_per_row)]
        if documents_per_row == 2:  # e-SNLI's names
            docids = [f"r{index}_premise", f"r{index}_hypothesis"]
        groups = []
        for docid in docids:
            words = text_of(generator, longest)
            documents[docid] = "\n".join(" ".join(words[at : at + 7]) for at in range(0, len(words), 7))
            groups += spans_in(generator, docid, words, generator.randint(0, 3))
        query = " ".join(text_of(generator, 4)) if queries else ""
        label = LABELS[index % 3]
        split = ["train", "val"][index] if index < 2 else "test"
        splits[split].append(row(f"r{index}", label, *groups, docids=docids, query=query))
    return write_eraser(folder, splits, documents, one_file=one_file)


def evaluated(folder, **settings):
    tokenizer = make_tokenizer("bert")
    data = load_eraser(folder, label_names=LABELS, cache_dir=folder.parent / "cache")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "max_length=.* tokens cut")
        encoded = encode_words(data["test"], tokenizer)
    model = make_model("bert", num_labels=3, initializer_range=1.0)
    options = {"methods": ["gradient", "input_x_gradient"], "progress": False, "settings": FAST, "random_draws": 2}
    return evaluate_faithfulness(model, encoded, tokenizer, **(options | settings))


LAYOUTS = {
    "single": {"documents_per_row": 1, "queries": False},
    "query": {"documents_per_row": 1, "queries": True, "one_file": False},
    "pair": {"documents_per_row": 2, "queries": False, "longest": 7},
    "several": {"documents_per_row": 3, "queries": True, "longest": 9},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("method", ["gradient", "input_x_gradient"])
def test_erasers_definitions_give_the_same_numbers_on_the_file(tmp_path, layout, method):
    folder = write_folder(tmp_path / "set", **LAYOUTS[layout])
    report = evaluated(folder)
    report.to_eraser_jsonl(tmp_path / "out" / "predictions.jsonl", method=method)
    scores = eraser_scorer.score_file(folder, "test", tmp_path / "out" / "predictions.jsonl")
    assert scores["accuracy"] == pytest.approx(report.accuracy, abs=1e-6)
    assert scores["comprehensiveness_aopc"] == pytest.approx(report[method].comprehensiveness.mean(), abs=1e-6)
    assert scores["sufficiency_aopc"] == pytest.approx(report[method].sufficiency.mean(), abs=1e-6)
    agreement = report.plausibility(method)
    hard = report.provenance.bins.index(agreement["share"])
    per_bin = report[method].comprehensiveness_per_bin[hard], report[method].sufficiency_per_bin[hard]
    assert (scores["comprehensiveness"], scores["sufficiency"]) == pytest.approx(per_bin, abs=1e-6)
    assert scores["auprc"] == pytest.approx(agreement["auprc"], abs=1e-6)
    for name in ("token", "iou"):
        for average, expected in scores[name].items():
            assert getattr(agreement[name], average) == pytest.approx(expected, abs=1e-6), (name, average)


def test_documents_are_known_whatever_the_units_are(tmp_path):
    texts = {name: f"a good plot {name}" for name in ("a", "b")}
    rows = [row(f"r{i}", "POS", docids=[name]) for i, name in enumerate("aba")]
    folder = write_eraser(tmp_path / "set", {"train": [*rows, row("x", "NEG", docids=["a"])], "test": rows}, texts)
    tokenizer = make_tokenizer("gpt2")
    encoded = encode_words(load_eraser(folder, split="test", cache_dir=tmp_path / "cache"), tokenizer)
    for granularity in ("word", "token"):
        report = evaluate_faithfulness(
            CountsGood(tokenizer), encoded, tokenizer, methods=[], granularity=granularity, progress=False
        )
        assert report.documents.tolist() == [0, 1, 0]
    assert report.predictions.identities is None
    pairs = encoded.remove_columns("docids").add_column("docids", [["a", "b"], ["b", "a"], ["a", "c"]])
    how = {"methods": [], "random_draws": 1, "progress": False}
    for form in (None, "numpy", "torch"):  # NumPy's rows hold arrays, which have no truth value
        report = evaluate_faithfulness(CountsGood(tokenizer), pairs.with_format(form), tokenizer, **how)
        assert report.documents.tolist() == [0, 1, 0]
    numbers = encoded.remove_columns("docids").add_column("docids", [[1, 2], [2, 1], [1, 3]]).with_format("torch")
    assert evaluate_faithfulness(CountsGood(tokenizer), numbers, tokenizer, **how).documents.tolist() == [0, 1, 0]
    for own in (["doc1", "doc2", "doc1"], [1, 2, 1], [[], [], []], [["a"], None, ["a"]]):  # no list of ids
        others = encoded.remove_columns("docids").add_column("docids", own).select_columns(["input_ids", "docids"])
        for form in (None, "numpy", "torch"):
            found = evaluate_faithfulness(CountsGood(tokenizer), others.with_format(form), tokenizer, **how)
            assert found.documents is None


def test_a_file_on_paper(tmp_path):
    folder = write_eraser(
        tmp_path / "set",
        {
            "train": [row("x", "POS", docids=["d"]), row("y", "NEG", docids=["d"])],
            "test": [row("r", "POS", [evidence("b", 1, 2, "good")], docids=["a", "b"])],
        },
        {"a": "the film", "b": "a good plot", "d": "film"},
    )
    tokenizer = make_tokenizer("gpt2")
    encoded = encode_words(load_eraser(folder, split="test", cache_dir=tmp_path / "cache"), tokenizer)
    settings = {"methods": ["input_x_gradient"], "bins": (0.2, 0.4), "progress": False}
    report = evaluate_faithfulness(CountsGood(tokenizer), encoded, tokenizer, **settings)
    report.to_eraser_jsonl(tmp_path / "predictions.jsonl")
    (line,) = (tmp_path / "predictions.jsonl").read_text().splitlines()
    full, none = 1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))

    def distribution(positive):
        return {"NEG": pytest.approx(1 - positive), "POS": pytest.approx(positive)}

    bins = {
        "comprehensiveness_classification_scores": distribution(none),
        "sufficiency_classification_scores": distribution(full),
    }
    assert json.loads(line) == {
        "annotation_id": "r",
        # the document with a hard rationale comes first; 20 % of five words is one
        "rationales": [
            {
                "docid": "b",
                "soft_rationale_predictions": [0, pytest.approx(2), 0],
                "hard_rationale_predictions": [{"start_token": 1, "end_token": 2}],
            },
            {"docid": "a", "soft_rationale_predictions": [0, 0], "hard_rationale_predictions": []},
        ],
        "classification": "POS",
        "classification_scores": distribution(full),
        **bins,
        "thresholded_scores": [{"threshold": 0.2, **bins}, {"threshold": 0.4, **bins}],
    }


def predictions(**changes):
    """Two texts of two classes and one bin, the second of two documents and with a word that was cut off."""
    identities = [
        TextIdentity("one", ("a",), (2,), np.array([0, 1]), np.array([False, True])),
        TextIdentity("two", ("b", "c"), (1, 3), np.array([0, 1, 3]), np.array([True, False, False, False])),
    ]
    curve = np.array([[[0.6, 0.4]], [[0.5, 0.5]]])
    return replace(
        Predictions(
            identities=identities,
            label_names=("NEG", "POS"),
            predicted=np.array([1, 0]),
            full=np.array([[0.2, 0.8], [0.7, 0.3]]),
            removed={"gradient": curve},
            kept={"gradient": curve},
            scores={"gradient": [np.array([0.3, 0.1]), np.array([-1.0, 2.0, 1.0])]},
            bins=(0.5,),
        ),
        **changes,
    )


def test_words_that_were_not_scored_come_last_and_are_never_chosen():
    _, second = to_eraser_rows(predictions())
    found = {one["docid"]: one for one in second["rationales"]}
    assert found["b"]["soft_rationale_predictions"] == [-1]
    assert found["c"]["soft_rationale_predictions"] == [2, -1, 1]
    # two of three scored words: the runs do not join over the word that was cut
    assert found["c"]["hard_rationale_predictions"] == [
        {"start_token": 0, "end_token": 1},
        {"start_token": 2, "end_token": 3},
    ]
    assert second["rationales"][0]["docid"] == "c"


def test_a_text_without_any_scored_word_goes_last():
    empty = TextIdentity("one", ("a",), (2,), np.zeros(0, dtype=np.int64))
    known = predictions()
    changed = replace(
        known,
        identities=[empty, known.identities[1]],
        scores={"gradient": [np.zeros(0), known.scores["gradient"][1]]},
    )
    first, last = to_eraser_rows(changed)
    assert (first["annotation_id"], last["annotation_id"]) == ("two", "one")
    assert last["rationales"][0]["soft_rationale_predictions"] == [0, 0]
    with pytest.raises(ValueError, match="the rows have no rationale column"):
        agreement_with_humans(changed)


def test_documents_without_words_are_left_out():
    known = predictions()
    bare = replace(known.identities[0], docids=("void", "a"), doc_lengths=(0, 2))
    first, _ = to_eraser_rows(replace(known, identities=[bare, known.identities[1]]))
    assert [one["docid"] for one in first["rationales"]] == ["a"]


def test_the_hard_rationale_is_the_bin_nearest_to_what_humans_marked():
    bins = (0.01, 0.05, 0.1, 0.2, 0.5)
    known = predictions(bins=bins)
    assert bins[known.bin_of(None)] == 0.5  # marked: a half, and a quarter
    unmarked = [replace(one, rationale=None) for one in known.identities]
    assert bins[replace(known, identities=unmarked).bin_of(None)] == 0.2
    assert bins[known.bin_of(0.05)] == 0.05


def test_iou_needs_the_evidence_as_annotated():
    assert agreement_with_humans(predictions())["iou"] is None


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"identities": None}, {}, r"evaluate rows that keep annotation_id, docids, doc_lengths and word_ids"),
        ({"label_names": None}, {}, "2 classes apart and their names are None: pass label_names="),
        ({}, {"label_names": ["POS"]}, r"their names are \('POS',\): pass label_names="),
        ({}, {"share": 0.3}, r"share=0.3 is none of the bins \(0.5,\)"),
        ({}, {"method": "random"}, r"no word scores of method 'random': the report has those of \['gradient'\]"),
        ({"scores": {}}, {}, r"no word scores of method None: the report has those of \[\]"),
        ({"identities": [predictions().identities[0]] * 2}, {}, "1 rows repeat an annotation_id"),
    ],
)
def test_what_cannot_be_exported_says_the_way_out(changes, options, message):
    with pytest.raises(ValueError, match=message):
        to_eraser_rows(predictions(**changes), **options)


def test_reports_of_other_rows_say_the_way_out(tmp_path):
    tokenizer, model = make_tokenizer("bert"), make_model("bert")
    data = load_eraser("planted", split="test", cache_dir=tmp_path).select(range(3))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "max_length=.* tokens cut")
        encoded = encode_words(data, tokenizer)
    options = {"methods": ["gradient"], "progress": False, "random_draws": 1}
    target = tmp_path / "predictions.jsonl"
    for rows, more in ((encoded.remove_columns("docids"), {}), (encoded, {"granularity": "token"})):
        report = evaluate_faithfulness(model, rows, tokenizer, **options, **more)
        with pytest.raises(ValueError, match=r"encode_words\(load_eraser\(...\)\) makes them"):
            report.to_eraser_jsonl(target)
    with pytest.raises(ValueError, match="this report holds no predictions"):
        replace(report, predictions=None).to_eraser_jsonl(target)
    assert not target.exists()


def test_class_names_are_the_data_sets_then_the_models():
    data = load_eraser("planted", split="test")
    assert label_names_of(data, {0: "no", 1: "yes"}) == tuple(data.features["label"].names)
    rows = [{"input_ids": [1]}]
    assert label_names_of(rows, {1: "yes", 0: "no"}) == ("no", "yes")
    assert label_names_of(rows, {0: "LABEL_0", 1: "LABEL_1"}) is None
    assert label_names_of(rows, None) is None


def test_a_file_is_there_whole_or_not_at_all(tmp_path):
    target = tmp_path / "deep" / "rows.jsonl"
    write_jsonl(target, [{"a": 1}, {"a": 2}])
    assert eraser_scorer.read_jsonl(target) == [{"a": 1}, {"a": 2}]
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_jsonl(target, [{"a": 3}, {"a": float("nan")}])
    assert eraser_scorer.read_jsonl(target) == [{"a": 1}, {"a": 2}]
    assert os.listdir(target.parent) == ["rows.jsonl"]
    (tmp_path / "ordinary").write_text("")
    assert target.stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_the_summary_counts_from_the_random_ranking(tmp_path):
    report = evaluated(write_folder(tmp_path / "set", count=4, **LAYOUTS["single"]))
    summary = report.summary()["methods"]
    for kind in ("comprehensiveness", "sufficiency"):
        expected = summary["gradient"][kind] - summary["random"][kind]
        assert summary["gradient"][f"{kind}_minus_random"] == pytest.approx(expected)
        assert summary["random"][f"{kind}_minus_random"] == 0
