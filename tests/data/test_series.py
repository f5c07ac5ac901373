"""Tests of the synthetic series, and of MNIST as a series."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from datasets import DatasetDict

from sgt_hf.data.mnist import digit_rows
from sgt_hf.data.series import BOX_POSITIONS, REFERENCE_SERIES, SERIES, SeriesSpec, load_series, mnist_series
from sgt_hf.data.series_rows import BOX_COLUMNS, informative_cells

SMALL = {"train_size": 60, "validation_size": 10, "test_size": 20}

# Steps and features of the box, from the paper's Table 6, and where it can start along both, from the released code.
EXPECTED = {
    "middle": (30, 30, {10}, {10}),
    "small_middle": (15, 15, {18}, {18}),
    "moving_middle": (30, 30, range(20), range(20)),
    "moving_small_middle": (15, 15, range(35), range(35)),
    "rare_time": (6, 40, {22}, {5}),
    "moving_rare_time": (6, 40, range(44), range(10)),
    "rare_feature": (40, 6, {5}, {22}),
    "moving_rare_feature": (40, 6, range(10), range(44)),
    "positional_time": (20, 20, range(30), {1, 29}),
    "positional_feature": (20, 20, {1, 29}, range(30)),
    "early_box": (30, 80, {0}, {10}),
    "middle_box": (30, 80, {35}, {10}),
    "late_box": (30, 80, {70}, {10}),
}


def test_the_sets_are_all_there():
    assert set(SERIES) == set(list(EXPECTED)[:10])
    assert set(BOX_POSITIONS) == set(list(EXPECTED)[10:])
    assert all(spec.name == name for name, spec in (SERIES | BOX_POSITIONS | REFERENCE_SERIES).items())


@pytest.mark.parametrize("name", EXPECTED)
def test_boxes_are_where_the_table_says(name):
    steps, features, time_starts, feature_starts = EXPECTED[name]
    side = 50 if name in SERIES else 100
    train = load_series(name, scale=False, **SMALL | {"train_size": 300})["train"][:]
    assert train["input_values"].shape == (300, side, side)
    assert set(train["time_end"] - train["time_start"]) == {steps}
    assert set(train["feature_end"] - train["feature_start"]) == {features}
    for starts, allowed in ((train["time_start"], time_starts), (train["feature_start"], feature_starts)):
        assert set(starts.tolist()) <= set(allowed)
        if len(allowed) <= 20:  # of 300 draws one in 20 is missed with probability 4e-6
            assert set(starts.tolist()) == set(allowed)
    if name.startswith("positional"):
        placed = train["feature_start" if name == "positional_time" else "time_start"]
        assert ((placed == 1) == (train["labels"] == 1)).all()


@pytest.mark.parametrize("name", EXPECTED)
def test_values_have_the_distributions_they_should(name):
    rows = load_series(name, scale=False, **SMALL | {"train_size": 200})["train"]
    batch = rows[:]
    side = batch["input_values"].shape[1]
    inside = informative_cells(rows, steps=side, features=side).numpy()
    noise = batch["input_values"][~inside]
    assert noise.mean() == pytest.approx(0, abs=0.02)
    assert noise.std() == pytest.approx(1, abs=0.02)
    for label in (0, 1):
        own = batch["labels"] == label
        box = batch["input_values"][own][inside[own]]
        assert box.mean() == pytest.approx(1 if name.startswith("positional") or label else -1, abs=0.05)
        assert box.std() == pytest.approx(1, abs=0.05)
    assert 0.35 < batch["labels"].mean() < 0.65


def test_cells_are_scaled_by_their_range_in_train():
    raw, scaled = (load_series("middle", scale=scale, **SMALL) for scale in (False, True))
    train = raw["train"][:]["input_values"]
    low, high = train.min(0), train.max(0)
    for split in ("train", "validation", "test"):
        expected = (raw[split][:]["input_values"] - low) / (high - low)
        np.testing.assert_allclose(scaled[split][:]["input_values"], expected, atol=1e-5)
    values = scaled["train"][:]["input_values"]
    assert (values.min(0) == 0).all()
    assert (values.max(0) == 1).all()
    assert scaled["test"][:]["input_values"].max() > 1  # not clipped


def test_rows_follow_the_seed_and_streams_are_independent():
    def values(name="middle", split="test", **arguments):
        return load_series(name, scale=False, **SMALL | arguments)[split][:]["input_values"]

    assert (values() == values(train_size=1, validation_size=0)).all()
    others = [values(seed=1), values("moving_middle"), values("small_middle"), values(split="train")[:20]]
    outside = np.s_[:, 40:]  # beyond the box of `middle`
    assert all(abs(np.corrcoef(values()[outside].ravel(), other[outside].ravel())[0, 1]) < 0.05 for other in others)


def test_the_rows_of_a_seed_never_change():
    digest = hashlib.sha256()
    for name in SERIES:
        batch = load_series(name, seed=3, train_size=3, validation_size=1, test_size=2)["train"][:]
        # Rounded: the logarithm behind a rare draw may differ in its last bit between platforms.
        digest.update(np.round(batch["input_values"] * 1024).astype("<i2").tobytes())
        digest.update(np.stack([batch[column] for column in ("labels", *BOX_COLUMNS)]).astype("<i4").tobytes())
    assert digest.hexdigest()[:16] == "9b00bdaf9246ef1d"


def test_sizes_and_splits():
    assert {split: len(rows) for split, rows in load_series("middle").items()} == {
        "train": 1000,
        "validation": 100,
        "test": 100,
    }
    assert set(load_series("middle", train_size=2, validation_size=0, test_size=1)) == {"train", "test"}


def test_reference_sizes():
    batch = load_series("small_middle", reference=True, **SMALL)["test"][:]
    assert set(batch["time_end"] - batch["time_start"]) == {14}
    batch = load_series("middle_box", reference=True, train_size=2, validation_size=0, test_size=2)["test"][:]
    assert [set(batch[column].tolist()) for column in BOX_COLUMNS] == [{20}, {80}, {20}, {80}]
    same, other = (load_series("middle", reference=reference, **SMALL)["test"][:] for reference in (False, True))
    assert (same["input_values"] == other["input_values"]).all()


def test_a_set_of_ones_own():
    spec = SeriesSpec("corner", 2, 3, 0, (1, 2), steps=2, features=5)
    batch = load_series(spec, scale=False, train_size=50)["train"][:]
    assert batch["input_values"].shape == (50, 2, 5)
    assert (batch["feature_start"] == np.where(batch["labels"] == 1, 2, 1)).all()
    whole = load_series(replace(spec, time_start=None), train_size=5)["train"]
    assert set(whole["time_start"][:].tolist()) == {0}  # a box as long as the series has one place


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "midle"}, r"unknown set of series 'midle': there are \['middle', 'small_middle'"),
        ({"name": "middle", "train_size": 0}, r"train_size at least 1, got \{'train': 0"),
        ({"name": "middle", "test_size": -1}, r"must not be negative.*'test': -1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_series(**arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"box_steps": 41}, "a box of 41 steps starting at 10 does not fit in the 50 steps of 'middle'"),
        ({"feature_start": (1, 29), "box_features": 22}, "a box of 22 features"),
        ({"time_start": -1}, "a box of 30 steps starting at -1"),
        ({"box_features": 0}, "a box of 0 features"),
    ],
)
def test_a_box_that_does_not_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(SERIES["middle"], **changes)


def test_digits_become_series_row_by_row():
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28)).astype(np.uint8)
    series = mnist_series(DatasetDict(train=digit_rows(images, np.array([3, 1, 4, 1, 5], dtype=np.uint8))))
    batch = series["train"][:]
    np.testing.assert_array_equal(batch["input_values"], images.astype(np.float32) / 255)
    assert batch["labels"].tolist() == [3, 1, 4, 1, 5]
    assert series["train"].features["labels"].num_classes == 10
