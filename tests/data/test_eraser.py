from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, List, Value

from sgt_hf.data.eraser import load_eraser
from sgt_hf.data.eraser_files import EraserFormatError
from tests.data.eraser_folder import DOCUMENTS, evidence, row, rows, write_eraser, write_jsonl


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Any]:
    """load_eraser on the tiny folder `tiny`, with a cache of the test's own."""

    def call(**arguments: Any) -> Any:
        return load_eraser(tmp_path / "tiny", cache_dir=tmp_path / "cache", **arguments)

    return call


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_eraser(tmp_path / "tiny", rows(), DOCUMENTS)


def spoil(tiny: Path, **splits: list[dict[str, Any]]) -> None:
    for split, records in splits.items():
        write_jsonl(tiny / f"{split}.jsonl", records)


def test_columns_and_features(tiny: Path, load: Callable[..., Any]) -> None:
    loaded = load()
    assert isinstance(loaded, DatasetDict)
    assert list(loaded) == ["train", "validation", "test"]
    features = loaded["train"].features
    assert features["label"] == ClassLabel(names=["NEG", "POS"])
    assert features["rationale"] == List(Value("int8"))
    span = {
        "docid": Value("string"),
        "start_token": Value("int32"),
        "end_token": Value("int32"),
        "text": Value("string"),
    }
    assert features["evidence_groups"] == List(List(span))
    assert loaded["train"][0] == {
        "annotation_id": "r1",
        "document": ["good", "film", "a", "dull", "and", "very", "dull", "story"],
        "query": ["Is", "it", "good", "?"],
        "label": 1,
        "rationale": [1, 0, 0, 0, 0, 0, 0, 0],
        "evidence_groups": [[{"docid": "a", "start_token": 0, "end_token": 1, "text": "good"}]],
        "docids": ["a", "b"],
        "doc_lengths": [2, 6],
    }


def test_rationale_worked_out_on_paper(tiny: Path, load: Callable[..., Any]) -> None:
    # Words:     good film | a dull and very dull story      (document a, then b)
    # Group 1:     1    1  | .  1    1   .    .    .         a[0:2], b[1:3]
    # Group 2:     .    .  | .  .    1   1    1    .         b[2:5], overlapping the first in "and"
    # Group 3:     .    .  | .  .    .   .    .    .         b[4:4]: no word, as 20 spans of Movies
    # Union:       1    1  | 0  1    1   1    1    0
    groups = [
        [evidence("b", 1, 3, "dull and"), evidence("a", 0, 2, "good film")],
        [evidence("b", 2, 5, "and very dull")],
        [evidence("b", 4, 4, "")],
    ]
    spoil(tiny, test=[row("r3", "NEG", *groups, docids=["a", "b"])])
    shown = load(split="test")[0]
    assert shown["rationale"] == [1, 1, 0, 1, 1, 1, 1, 0]
    assert shown["doc_lengths"] == [2, 6]
    assert [len(group) for group in shown["evidence_groups"]] == [2, 1, 1]


@pytest.mark.parametrize(
    ("record", "docids"),
    [
        pytest.param(row("r3", "NEG", docids=["b", "a"]), ["b", "a"], id="docids"),
        pytest.param(
            row("r3", "NEG", [evidence("d", 0, 1, "nothing")], [evidence("a", 0, 1, "good")]),
            ["d", "a"],
            id="evidences in order of appearance",
        ),
        pytest.param(row("d", "NEG", docids=[]), ["d"], id="own id"),
        pytest.param(row("d", "NEG", [], docids=None), ["d"], id="own id, an empty group"),
    ],
)
def test_documents_of_a_row(tiny: Path, load: Callable[..., Any], record: dict[str, Any], docids: list[str]) -> None:
    spoil(tiny, test=[record])
    shown = load(split="test")[0]
    assert shown["docids"] == docids
    assert shown["document"] == [word for docid in docids for word in DOCUMENTS[docid].split()]


@pytest.mark.parametrize("name", ["esnli", "my_pairs"])
def test_pairs_always_show_premise_then_hypothesis(tmp_path: Path, name: str) -> None:
    # Only the hypothesis is named and highlighted: taking its word for it would tell neutral pairs from the others.
    pair = {"p_premise": "a man sleeps", "p_hypothesis": "he dreams"}
    record = row("p", "neutral", [evidence("p_hypothesis", 1, 2, "dreams")], docids=["p_hypothesis"], query="")
    write_eraser(tmp_path / name, {"test": [record]}, pair, one_file=True)
    shown = load_eraser(tmp_path / name, split="test", cache_dir=tmp_path / "cache")[0]
    assert shown["docids"] == ["p_premise", "p_hypothesis"]
    assert shown["rationale"] == [0, 0, 0, 0, 1]
    assert shown["query"] == []


def test_esnli_without_its_pair_is_refused(tmp_path: Path) -> None:
    record = row("p", "neutral", [evidence("p_hypothesis", 1, 2, "dreams")])
    write_eraser(tmp_path / "esnli", {"test": [record]}, {"p_hypothesis": "he dreams"}, one_file=True)
    with pytest.raises(EraserFormatError, match=r"test\.jsonl, line 1, .*no document 'p_premise'"):
        load_eraser("esnli", tmp_path, split="test", cache_dir=tmp_path / "cache")


def test_docs_jsonl_reads_the_same_as_docs(tmp_path: Path, tiny: Path, load: Callable[..., Any]) -> None:
    write_eraser(tmp_path / "one_file", rows(), DOCUMENTS, one_file=True)
    other = load_eraser(tmp_path / "one_file", cache_dir=tmp_path / "cache")
    for split, shown in load().items():
        assert shown.to_list() == other[split].to_list()


def test_labels(tmp_path: Path, tiny: Path, load: Callable[..., Any]) -> None:
    assert load(split="validation").features["label"].names == ["NEG", "POS"]  # val holds POS only
    assert load(label_names=["POS", "NEG"])["train"]["label"][:] == [0, 1]
    (tiny / "train.jsonl").unlink()
    assert load(split="validation").features["label"].names == ["NEG", "POS"]
    write_eraser(tmp_path / "fever", {"val": [row("d", "SUPPORTS")]}, DOCUMENTS)
    fever = load_eraser("fever", tmp_path, split="validation", cache_dir=tmp_path / "cache")
    assert fever.features["label"].names == ["REFUTES", "SUPPORTS"]


def test_one_split(tiny: Path, load: Callable[..., Any]) -> None:
    (tiny / "train.jsonl").unlink()
    loaded = load(split="validation")
    assert isinstance(loaded, Dataset)
    assert loaded["annotation_id"][:] == ["c.txt"]
    with pytest.raises(EraserFormatError, match=r"lacks train\.jsonl; it has the splits 'validation', 'test'"):
        load()
    with pytest.raises(EraserFormatError, match=r"lacks train\.jsonl"):
        load(split="train")
    with pytest.raises(ValueError, match=r"split='val' is unknown.*train, validation, test"):
        load(split="val")


def test_ids_may_not_be_in_two_splits(tiny: Path, load: Callable[..., Any]) -> None:
    spoil(tiny, test=[row("r2", "NEG", docids=["d"])])
    message = r"test\.jsonl, line 1, field 'annotation_id': 'r2' is the duplicate of .*train\.jsonl, line 2"
    with pytest.raises(EraserFormatError, match=message):
        load()
    assert len(load(split="test")) == 1  # the way out that the message names


WRONG_ROWS = {
    "evidence past the end": (
        row("r3", "NEG", [evidence("d", 1, 3, "new")]),
        r"field 'evidences\[0\]\[0\]\.end_token': words 1 to 3 are outside document 'd' of 2 words",
    ),
    "evidence before the start": (
        row("r3", "NEG", [], [evidence("d", 0, 1, "nothing"), evidence("d", -1, 2, "new")]),
        r"field 'evidences\[1\]\[1\]\.start_token': words -1 to 2 are outside",
    ),
    "reversed evidence": (row("r3", "NEG", [evidence("d", 2, 1, "")]), r".*end_token': words 2 to 1 are outside"),
    "evidence text": (
        row("r3", "NEG", [evidence("d", 0, 1, "new")]),
        r"field 'evidences\[0\]\[0\]\.text': 'new' is not what words 0 to 1 of 'd' say.*strict=False",
    ),
    "evidence in a document not shown": (
        row("r3", "NEG", [evidence("a", 0, 1, "good")], docids=["d"]),
        r"field 'evidences\[0\]\[0\]\.docid': 'a' is none of the row's documents \(d\).*docids",
    ),
    "missing document of docids": (row("r3", "NEG", docids=["d", "x"]), r"field 'docids': .*no document 'x'"),
    "missing document of evidence": (
        row("r3", "NEG", [evidence("x", 0, 1, "new")]),
        r"field 'evidences': there is no document 'x'",
    ),
    "no document at all": (row("r3", "NEG"), r"field 'annotation_id': there is no document 'r3'"),
    "document outside docs": (
        row("r3", "NEG", docids=["../secret"]),
        r"field 'docids': there is no document '\.\./secret'",
    ),
    "empty document": (row("r3", "NEG", docids=["empty"]), r"field 'docids': empty has no words"),
    "unknown label": (row("d", "UGLY"), r"field 'classification': 'UGLY' is none of NEG, POS.*label_names="),
    "label that is no text": (row("d", 1), r"field 'classification': is 1\. It must be a string"),
    "query that is no text": (row("d", "NEG", query=["a"]), r"field 'query': is \[\"a\"\]\. It must be a string"),
    "id that is no text": (row(7, "NEG"), r"field 'annotation_id': is 7"),  # type: ignore[arg-type]
    "docids that are no list": (row("r3", "NEG", docids="d"), r"field 'docids': is \"d\"\. It must be a list"),
    "docid that is no text": (row("r3", "NEG", docids=["d", 1]), r"field 'docids\[1\]': is 1"),
    "docid twice": (row("r3", "NEG", docids=["d", "d"]), r"field 'docids': 'd' is a duplicate"),
    "evidences that are no list": (row("d", "NEG", evidences={}), r"field 'evidences': is {}"),
    "group that is no list": (row("d", "NEG", {}), r"field 'evidences\[0\]': is {}"),  # type: ignore[arg-type]
    "evidence that is no object": (row("d", "NEG", ["x"]), r"field 'evidences\[0\]\[0\]': is \"x\""),  # type: ignore[list-item]
    "position that is no integer": (
        row("d", "NEG", [{**evidence("d", 0, 1, "nothing"), "start_token": False}]),
        r"field 'evidences\[0\]\[0\]\.start_token': is false\. It must be an integer",
    ),
    "position missing": (
        row("d", "NEG", [{"docid": "d", "start_token": 0, "text": ""}]),
        r"field 'evidences\[0\]\[0\]\.end_token': is missing",
    ),
}


@pytest.mark.parametrize(("record", "message"), WRONG_ROWS.values(), ids=WRONG_ROWS.keys())
def test_wrong_rows_are_refused(tiny: Path, load: Callable[..., Any], record: dict[str, Any], message: str) -> None:
    (tiny / "secret").write_text("not a document")
    (tiny / "docs" / "empty").write_text(" \n")
    spoil(tiny, test=[row("c2", "POS", docids=["c.txt"]), record])
    with pytest.raises(EraserFormatError, match=r"test\.jsonl, line 2, " + message):
        load(split="test")


@pytest.mark.parametrize("field", ["annotation_id", "classification", "evidences", "query"])
def test_missing_fields_are_refused(tiny: Path, load: Callable[..., Any], field: str) -> None:
    record = row("d", "NEG")
    del record[field]
    spoil(tiny, test=[record])
    with pytest.raises(EraserFormatError, match=rf"test\.jsonl, line 1, field '{field}': is missing\. Add it"):
        load(split="test")


WRONG_LINES = {
    "broken JSON": (b'{"annotation_id": ', r"broken JSON .*fetched again"),
    "no object": (b"[1, 2]", r"\[1, 2\] instead of a JSON object"),
    "invalid UTF-8": (b'{"annotation_id": "\xff"}', r"invalid UTF-8 .*Convert the file"),
    "half a surrogate pair": (rb'{"annotation_id": "\ud800"}', r"invalid UTF-8 "),
    "a number beyond reading": (b'{"x": ' + b"9" * 5000 + b"}", r"broken JSON "),
}


@pytest.mark.parametrize(("line", "message"), WRONG_LINES.values(), ids=WRONG_LINES.keys())
def test_wrong_lines_are_refused(tiny: Path, load: Callable[..., Any], line: bytes, message: str) -> None:
    good = json.dumps(row("d", "NEG")).encode()
    (tiny / "test.jsonl").write_bytes(good + b"\n\n" + line + b"\n")  # the empty line is passed over but counted
    with pytest.raises(EraserFormatError, match=r"test\.jsonl, line 3: " + message):
        load(split="test")


def test_separators_of_other_worlds_end_no_line(tiny: Path, load: Callable[..., Any]) -> None:
    record = row("d", "NEG", query="one\u2028two\x85three")
    (tiny / "test.jsonl").write_bytes(json.dumps(record, ensure_ascii=False).encode() + b"\r\n")
    assert load(split="test")[0]["query"] == ["one", "two", "three"]


def test_duplicate_id_in_a_split_is_refused(tiny: Path, load: Callable[..., Any]) -> None:
    spoil(tiny, test=[row("d", "NEG"), row("d", "POS")])
    with pytest.raises(EraserFormatError, match=r"line 2, field 'annotation_id': 'd' is the duplicate of line 1"):
        load(split="test")


def test_empty_split_is_refused(tiny: Path, load: Callable[..., Any]) -> None:
    spoil(tiny, test=[])
    with pytest.raises(EraserFormatError, match=r"test\.jsonl holds no row"):
        load(split="test")


def test_wrong_documents_are_refused(tiny: Path, load: Callable[..., Any]) -> None:
    (tiny / "docs" / "d").write_bytes(b"one\ntwo \xff")
    with pytest.raises(EraserFormatError, match=r"docs/d, line 2: invalid UTF-8"):
        load()
    twice = [{"docid": "d", "document": "nothing new"}, {"docid": "d", "document": "else"}]
    write_jsonl(tiny / "docs.jsonl", twice)
    with pytest.raises(EraserFormatError, match=r"docs\.jsonl, line 2, field 'docid': 'd' is the duplicate of line 1"):
        load()
    write_jsonl(tiny / "docs.jsonl", [{"docid": "d", "document": ["nothing", "new"]}])
    with pytest.raises(EraserFormatError, match=r"docs\.jsonl, line 1, field 'document': .*It must be a string"):
        load()


def test_folder_without_documents_is_refused(tmp_path: Path, load: Callable[..., Any]) -> None:
    write_eraser(tmp_path / "tiny", rows(), {})
    with pytest.raises(EraserFormatError, match=r"holds neither 'docs\.jsonl' nor a folder 'docs'"):
        load()


def test_lenient_reading_counts_wrong_texts_in_one_warning(tiny: Path, load: Callable[..., Any]) -> None:
    groups = [[evidence("d", 0, 1, "new"), evidence("d", 1, 2, "new")], [evidence("d", 0, 2, "")]]
    spoil(tiny, test=[row("r3", "NEG", *groups)])
    for _ in range(2):  # the second time from the cache, and not in silence
        with pytest.warns(UserWarning, match=r"^2 evidence texts .*test\.jsonl, line 1") as caught:
            loaded = load(strict=False)
        assert [warning.filename for warning in caught] == [__file__]
        assert loaded["test"][0]["rationale"] == [1, 1]
    with pytest.raises(EraserFormatError, match=r"not what words 0 to 1"):
        load()
    spoil(tiny, test=[row("r3", "NEG", [evidence("d", 0, 3, "new")])])
    with pytest.raises(EraserFormatError, match="outside document"):
        load(strict=False)


def test_lenient_reading_of_right_texts_says_nothing(tiny: Path, load: Callable[..., Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(strict=False)["train"].to_list() == load()["train"].to_list()


def test_second_load_is_from_the_cache_and_sees_changes(tiny: Path, load: Callable[..., Any]) -> None:
    first, second = load(), load()
    files = first["train"].cache_files
    assert files
    assert files == second["train"].cache_files
    assert first["train"]._fingerprint == second["train"]._fingerprint  # so that .map() finds its results
    (tiny / "docs" / "a").write_text("good play")  # as long as before, within the same tick of the clock
    assert load()["train"][0]["document"][:2] == ["good", "play"]


def test_nothing_is_left_behind(
    tmp_path: Path, tiny: Path, load: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in tiny.rglob("*") if path.is_file()}
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    load()
    assert not list((tmp_path / "cwd").iterdir())
    assert not list((tmp_path / "cache").rglob(".*"))
    assert before == {path: path.read_bytes() for path in tiny.rglob("*") if path.is_file()}


@pytest.mark.realdata
def test_real_movies(eraser_dir: Path, tmp_path: Path) -> None:
    movies = load_eraser("movies", eraser_dir, cache_dir=tmp_path)
    assert {split: len(shown) for split, shown in movies.items()} == {"train": 1600, "validation": 200, "test": 199}
    spans = empty = 0
    for shown in movies.values():
        assert shown.features["label"].names == ["NEG", "POS"]
        for record in shown:
            assert len(record["document"]) == len(record["rationale"]) == sum(record["doc_lengths"])
            covered = set()
            for span in (span for group in record["evidence_groups"] for span in group):
                words = record["document"][span["start_token"] : span["end_token"]]
                assert words == span["text"].split()
                covered.update(range(span["start_token"], span["end_token"]))
                spans += 1
                empty += not words
            assert {index for index, value in enumerate(record["rationale"]) if value} == covered
    assert (spans, empty) == (17462, 20)
    bare = movies["train"].filter(lambda record: not record["evidence_groups"])
    assert bare["annotation_id"][:] == ["posR_161.txt"]
    assert sum(bare[0]["rationale"]) == 0


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "sizes", "labels"),
    [
        ("fever", [4584, 511, 1027], ["REFUTES", "SUPPORTS"]),
        ("esnli", [9842, 2943, 993], ["contradiction", "entailment", "neutral"]),
    ],
)
def test_real_fever_and_esnli(eraser_dir: Path, tmp_path: Path, name: str, sizes: list[int], labels: list[str]) -> None:
    loaded = load_eraser(name, eraser_dir, cache_dir=tmp_path)
    assert [len(shown) for shown in loaded.values()] == sizes
    for shown in loaded.values():
        assert shown.features["label"].names == labels
        if name == "esnli":
            rows_of_split = zip(shown["annotation_id"][:], shown["docids"][:], strict=True)
            assert all(docids == [f"{id_}_premise", f"{id_}_hypothesis"] for id_, docids in rows_of_split)
        else:
            assert all(shown["query"][:])


def test_every_split_knows_its_data_set_and_its_own_name():
    for split, part in load_eraser("planted").items():
        assert (part.info.dataset_name, str(part.split)) == ("eraser_planted", split)
