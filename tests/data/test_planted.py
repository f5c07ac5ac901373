"""Tests of the bundled corpus."""

import hashlib
import json
import random
from collections import Counter

import pytest

from sgt_hf.data.eraser import load_eraser
from sgt_hf.data.planted import IDIOMS, PLANTED_VERSION, POLAR, SIZES, WORDS, write_planted, write_review

SMALL = {"train": 40, "val": 7, "test": 6}
NEGATIONS = {"not", "never", "hardly", "far", "anything", "by", "nothing"}


def contents(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def read(folder, split):
    rows = [json.loads(line) for line in (folder / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]
    return [(row, (folder / "docs" / row["docids"][0]).read_text(encoding="utf-8")) for row in rows]


def verdict(phrase):
    """The label that a rationale speaks for, read from its words alone."""
    for label, idioms in IDIOMS.items():
        if phrase in idioms:
            return label
    words = phrase.split()
    (label,) = [label for label, known in POLAR.items() if words[-1] in known]
    return {"POS": "NEG", "NEG": "POS"}[label] if words[0] in NEGATIONS else label


def test_the_files_of_this_version_never_change(tmp_path):
    digest = hashlib.sha256()
    for name, content in contents(write_planted(tmp_path, sizes=SMALL)).items():
        digest.update(f"{name}\0".encode() + content)
    # If this fails, the grammar has changed: raise PLANTED_VERSION, which names the caches, and note the new digest.
    assert (PLANTED_VERSION, digest.hexdigest()[:16]) == (1, "69b95079222117c9")


def test_files_follow_the_seed_and_splits_do_not_disturb_each_other(tmp_path):
    first = contents(write_planted(tmp_path / "a", sizes=SMALL))
    assert first == contents(write_planted(str(tmp_path / "b"), sizes=SMALL))
    assert first != contents(write_planted(tmp_path / "c", seed=1, sizes=SMALL))
    other = contents(write_planted(tmp_path / "d", sizes=SMALL | {"train": 2}))
    assert all(other[name] == first[name] for name in other if "train" not in name)


def test_rows_follow_the_released_layout(tmp_path):
    folder = write_planted(tmp_path, sizes=SMALL)
    assert {split: len(read(folder, split)) for split in SMALL} == SMALL
    for row, document in read(folder, "train"):
        lines = [line.split() for line in document.split("\n")]
        words = document.split()
        assert 1 <= len(row["evidences"]) <= 3
        for (evidence,) in row["evidences"]:
            first, last = evidence["start_token"], evidence["end_token"]
            assert words[first:last] == evidence["text"].split()
            before = sum(map(len, lines[: evidence["start_sentence"]]))
            assert evidence["end_sentence"] == evidence["start_sentence"] + 1
            assert before <= first < last <= before + len(lines[evidence["start_sentence"]])


def test_every_rationale_speaks_for_the_label():
    source = random.Random(0)
    for label in ["NEG", "POS"] * 200:
        phrases = [" ".join(words[slice(*span)]) for words, span in write_review(source, label) if span]
        assert phrases
        assert {verdict(phrase) for phrase in phrases} == {label}


def test_reviews_mislead_and_vary(tmp_path):
    folder = write_planted(tmp_path, sizes={"train": 600})
    pairs = read(folder, "train")
    assert Counter(row["classification"] for row, _ in pairs) == {"NEG": 300, "POS": 300}
    lengths = [len(document.split()) for _, document in pairs]
    assert min(lengths) >= WORDS[0]
    assert max(lengths) > 2 * min(lengths)
    assert 250 < len({word for _, document in pairs for word in document.split()}) < 500
    # Quotations are as often for the label as against it, and verdicts are often negated.
    quoted = [
        (label == row["classification"])
        for row, document in pairs
        for quote in document.split('"')[1::2]
        for label, known in POLAR.items()
        if quote.split()[-1] in known
    ]
    assert 0.42 < sum(quoted) / len(quoted) < 0.58
    negated = [group[0]["text"].split()[0] in NEGATIONS for row, _ in pairs for group in row["evidences"]]
    assert 0.2 < sum(negated) / len(negated) < 0.5


def test_passes_through_the_loader_like_any_other_set(tmp_path):
    folder = write_planted(tmp_path / "planted", sizes=SMALL)
    loaded = load_eraser(str(folder), cache_dir=tmp_path / "cache")
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 40, "validation": 7, "test": 6}
    for row in loaded["test"]:
        (group, *_) = row["evidence_groups"]
        marked = row["rationale"][group[0]["start_token"] : group[0]["end_token"]]
        assert set(marked) == {1}
        assert 0 < sum(row["rationale"]) < len(row["document"]) / 2


def test_refuses_negative_sizes(tmp_path):
    with pytest.raises(ValueError, match="negative number of reviews"):
        write_planted(tmp_path, sizes=SIZES | {"val": -1})
