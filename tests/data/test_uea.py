"""Tests of reading the UEA/UCR archive's files."""

import re

import numpy as np
import pytest

from sgt_hf.data.uea import TsFormatError, load_uea, read_ts

HEADER = """\
# two features, of unequal length between series
@problemName Walks
@timeStamps false
@missing false
@univariate false
@dimensions 2
@equalLength false
@classLabel true Up down
@data
"""
CASES = "1,2,3:10,20,30:Up\n\n0.5,-1e1:0,0:down\n7,5,6,8:1,1,1,1:Up\n"


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def walks(tmp_path):
    write(tmp_path / "Walks_TRAIN.ts", HEADER + CASES)
    # The test file may name the classes in another order.
    write(tmp_path / "Walks_TEST.ts", HEADER.replace("Up down", "down Up") + "2,9:5,20:down\n3,3,4:0,0,0:Up\n")
    return tmp_path


def test_reads_series_of_unequal_length(walks):
    series, labels, names = read_ts(walks / "Walks_TRAIN.ts")
    assert [values.tolist() for values in series] == [
        [[1, 10], [2, 20], [3, 30]],
        [[0.5, 0], [-10, 0]],
        [[7, 1], [5, 1], [6, 1], [8, 1]],
    ]
    assert (labels, names) == ([0, 1, 0], ["Up", "down"])


def test_loads_splits_scaled_by_the_ranges_of_train(walks):
    loaded = load_uea(walks)
    assert set(loaded) == {"train", "test"}
    assert loaded["test"].features["labels"].names == ["Up", "down"]
    assert loaded["test"][:]["labels"].tolist() == [1, 0]
    # Feature 0 is in −10 … 8 in train, feature 1 in 0 … 30.
    np.testing.assert_allclose(loaded["train"][0]["input_values"], [[11 / 18, 1 / 3], [12 / 18, 2 / 3], [13 / 18, 1]])
    np.testing.assert_allclose(loaded["test"][0]["input_values"], [[12 / 18, 5 / 30], [19 / 18, 2 / 3]], rtol=1e-6)
    raw = load_uea(str(walks), scale=False)
    assert raw["train"][1]["input_values"].tolist() == [[0.5, 0], [-10, 0]]


def test_missing_values(tmp_path):
    path = write(tmp_path / "a.ts", HEADER + "?,1,?,?,4,?:5,6,?,NaN,9,1:Up\n")
    with pytest.raises(TsFormatError, match=r"a\.ts, line 10: a value is missing at step 0 of feature 0; missing="):
        read_ts(path)
    (values,) = read_ts(path, missing="previous").series
    assert values.T.tolist() == [[1, 1, 1, 1, 4, 4], [5, 6, 6, 6, 9, 1]]
    with pytest.raises(TsFormatError, match="missing at every step of feature 1"):
        read_ts(write(path, HEADER + "1,2:?,?:Up\n"), missing="previous")
    with pytest.raises(ValueError, match=r"missing='mean' is unknown; choose one of \('refuse', 'previous'\)"):
        read_ts(path, missing="mean")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + "1,2:3,4,5:Up\n", "line 10: expected 2 values of feature 1, as many as of feature 0, got 3"),
        (HEADER + CASES + "1,2:Up\n", "line 14: the series has 1 features, but the header says 2"),
        (HEADER.replace("@dimensions 2", "#") + "1:2:Up\n3:Up\n", "line 11: .* 1 features, but those before it have 2"),
        (HEADER.replace("Length false", "Length true\n@seriesLength 3") + CASES, "line 13: .* 2 steps, but .* says 3"),
        (HEADER + "1,2:3,x:Up\n", "line 10: expected a number at step 1 of feature 1, got 'x'"),
        (HEADER + "1,2:3,:Up\n", "line 10: expected a number at step 1 of feature 1, got ''"),
        (HEADER + ":1:Up\n", "line 10: expected a number at step 0 of feature 0, got ''"),
        (HEADER + "1,-inf:3,4:Up\n", "line 10: expected a finite number at step 1 of feature 0, got '-inf'"),
        (HEADER + "1,2:3,4:up\n", r"line 10: ends in 'up' instead of ':' and one of the classes \['Up', 'down'\]"),
        (HEADER + "1,2\n", "line 10: ends in '1,2' instead of"),
        (HEADER + "Up\n", "line 10: expected values, separated by commas"),
        (HEADER, "a.ts holds no series after '@data'"),
        ("@problemName x\n", "a.ts has no line '@data'"),
        ("", "a.ts has no line '@data'"),
        ("@data\n", "line 1: the header has no '@classLabel true'"),
        ("@classLabel false\n@data\n1:a", "line 2: the header has no '@classLabel true'"),
        ("@targetLabel true\n@data\n1:0.5", "line 1: '@targetLabel true' is not supported"),
        ("@timeStamps true\n", "line 1: '@timeStamps true' is not supported"),
        ("@dimensions two\n", "line 1: expected a number after @dimensions, got 'two'"),
        ("1,2,3\n", "line 1: expected a header line such as '@classLabel true a b', got '1,2,3'"),
    ],
)
def test_a_malformed_file_is_named_with_its_line(tmp_path, text, message):
    with pytest.raises(TsFormatError, match=message):
        read_ts(write(tmp_path / "a.ts", text))


def test_the_length_of_the_longest_may_be_stated(tmp_path):
    text = HEADER.replace("@equalLength false", "@seriesLength 4\n@equalLength false")
    assert len(read_ts(write(tmp_path / "a.ts", text + CASES)).series) == 3


def test_a_broken_encoding_is_named(tmp_path):
    (tmp_path / "a.ts").write_bytes(HEADER.encode() + b"1,2:3,4:Up\n\xff\n")
    with pytest.raises(TsFormatError, match=r"a\.ts, line 11: invalid UTF-8"):
        read_ts(tmp_path / "a.ts")


def test_a_folder_without_the_files(walks):
    (walks / "Walks_TEST.ts").rename(walks / "Walks_OTHER.ts")
    with pytest.raises(FileNotFoundError, match=r"expected one file '\*_TEST\.ts' in .*Walks_OTHER\.ts"):
        load_uea(walks)


def test_a_class_that_train_has_not(walks):
    write(walks / "Walks_TEST.ts", HEADER.replace("Up down", "Up sideways") + "2,9:5,20:sideways\n")
    with pytest.raises(TsFormatError, match=r"Walks_TEST\.ts: the header names the classes \['sideways'\]"):
        load_uea(walks)


@pytest.mark.parametrize("scale", [True, False])
def test_features_that_train_has_not(walks, scale):
    """One feature would be stretched over train's two without a word."""
    write(walks / "Walks_TEST.ts", HEADER.replace("@dimensions 2\n", "") + "2,9:down\n3,3,4:Up\n")
    with pytest.raises(TsFormatError, match=r"Walks_TEST\.ts: the series have 1 features, and those of train 2"):
        load_uea(walks, scale=scale)


def test_a_constant_series_is_named(walks):
    write(walks / "Walks_TEST.ts", HEADER + "2,9:5,20:down\n4,4:2,2:Up\n")
    with pytest.raises(ValueError, match="test, sample 1 is constant"):
        load_uea(walks)
    assert len(load_uea(walks, allow_constant=True)["test"]) == 2


def test_validation_is_stratified_seeded_and_not_scaled_by(walks):
    rows = [f"{value},{value + 1}:{value},0:{'down' if value % 4 == 0 else 'Up'}\n" for value in range(40)]
    write(walks / "Walks_TRAIN.ts", HEADER + "".join(rows))
    loaded = load_uea(walks, validation_fraction=0.2, scale=False)
    assert [np.bincount(loaded[split][:]["labels"]).tolist() for split in ("train", "validation")] == [[24, 8], [6, 2]]

    def firsts(loaded, split):
        return loaded[split][:]["input_values"][:, 0, 0].tolist()

    assert sorted(firsts(loaded, "train") + firsts(loaded, "validation")) == list(range(40))
    assert firsts(load_uea(walks, validation_fraction=0.2, scale=False), "validation") == firsts(loaded, "validation")
    other = load_uea(walks, validation_fraction=0.2, scale=False, seed=1)
    assert firsts(other, "validation") != firsts(loaded, "validation")
    scaled = load_uea(walks, validation_fraction=0.2)["train"][:]["input_values"]
    assert scaled.min() == 0
    assert scaled.max() == 1


@pytest.mark.parametrize(
    ("fraction", "message"),
    [(1.0, r"must lie in \[0, 1\), got 1.0"), (0.3, "cannot be split at validation_fraction=0.3: .*populated class")],
)
def test_a_split_that_cannot_be(walks, fraction, message):
    with pytest.raises(ValueError, match=message):
        load_uea(walks, validation_fraction=fraction)


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "sizes", "shape", "classes"),
    [
        ("BasicMotions", (40, 40), (100, 6), ["Standing", "Running", "Walking", "Badminton"]),
        ("GunPoint", (50, 150), (150, 1), ["1", "2"]),
        ("ItalyPowerDemand", (67, 1029), (24, 1), ["1", "2"]),
    ],
)
def test_the_released_files(shared_data, name, sizes, shape, classes):
    loaded = load_uea(shared_data / "uea" / name, scale=False)
    assert loaded["train"].features["labels"].names == classes
    for split, part, size in zip(("train", "test"), ("TRAIN", "TEST"), sizes, strict=True):
        batch = loaded[split][:]
        assert batch["input_values"].shape == (size, *shape)
        assert set(batch["labels"].tolist()) == set(range(len(classes)))
        # The file's last row, read by a pattern instead.
        text = (shared_data / "uea" / name / f"{name}_{part}.ts").read_text(encoding="utf-8").strip()
        *features, label = text.splitlines()[-1].split(":")
        values = [[float(word) for word in re.findall(r"[^,\s]+", feature)] for feature in features]
        np.testing.assert_array_equal(batch["input_values"][-1], np.array(values, dtype=np.float32).T)
        assert classes[batch["labels"][-1]] == label
