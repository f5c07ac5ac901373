"""Tests of what series data sets have in common: checks, scaling, rows, boxes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sgt_hf.data.series_rows import (
    BOX_COLUMNS,
    check_labels,
    check_series,
    fit_min_max,
    informative_cells,
    min_max_scale,
    series_dataset,
)

RISING = np.arange(6.0).reshape(3, 2)
NAMES = ["no", "yes"]


def test_scaling_on_paper():
    train = [np.array([[0.0, 5.0], [2.0, 5.0]]), np.array([[4.0, 5.0], [1.0, 5.0]])]
    limits = fit_min_max(train, per="feature")
    assert (limits.low.tolist(), limits.high.tolist()) == ([0, 5], [4, 5])
    # Feature 1 was constant in training: 0 there, and elsewhere what it differs by.
    assert min_max_scale([np.array([[3.0, 5.0], [8.0, 7.0]])], limits)[0].tolist() == [[0.75, 0], [2, 2]]
    cells = fit_min_max(train, per="cell")
    assert (cells.low.tolist(), cells.high.tolist()) == ([[0, 5], [1, 5]], [[4, 5], [2, 5]])
    assert min_max_scale(train, cells)[1].tolist() == [[1, 0], [0, 0]]


@given(arrays(np.float64, (4, 3, 2), elements=st.floats(-1e6, 1e6)), st.sampled_from(["cell", "feature"]))
def test_scaled_training_series_lie_between_0_and_1_in_the_same_order(train, per):
    before = train.copy()
    scaled = np.stack(min_max_scale(train, fit_min_max(train, per=per)))
    assert scaled.dtype == np.float32
    assert ((scaled >= 0) & (scaled <= 1)).all()
    for step, feature in np.ndindex(3, 2):
        values = train[:, step, feature] if per == "cell" else train[..., feature].ravel()
        own = scaled[:, step, feature] if per == "cell" else scaled[..., feature].ravel()
        for value, new in zip(values, own, strict=True):
            spread = values.max() - values.min()
            assert new == pytest.approx((value - values.min()) / spread if spread else 0, rel=1e-6)
    assert (train == before).all()


@pytest.mark.parametrize(
    ("per", "train", "message"),
    [
        ("cell", [RISING, RISING[:2]], r"per cell needs series of one length.*2 to 3 steps; say per='feature'"),
        ("feature", [], "got none"),
        ("step", [RISING], r"per='step' is unknown; choose one of \('cell', 'feature'\)"),
    ],
)
def test_what_cannot_be_fitted(per, train, message):
    with pytest.raises(ValueError, match=message):
        fit_min_max(train, per=per)


def spoiled(value):
    series = RISING.copy()
    series[2, 1] = value
    return series


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (spoiled(np.nan), "train, sample 1 holds nan at step 2, feature 1"),
        (spoiled(-np.inf), "train, sample 1 holds -inf at step 2, feature 1; replace"),
        (spoiled(1e39), r"train, sample 1 holds 1e\+39 at step 2, feature 1, which float32 cannot hold; replace"),
        (np.zeros((0, 2)), r"sample 1 must be \(T ≥ 1 steps, C ≥ 1 features\), got shape \(0, 2\)"),
        (np.zeros((3, 0)), r"sample 1 must be .* got shape \(3, 0\)"),
        (np.zeros(3), r"sample 1 must be .* got shape \(3,\)"),
        (np.ones((3, 2)), "sample 1 is constant: each of its features keeps one value over all 3 steps"),
        (np.array([[1.0, 2.0], [1.0, 2.0]]), "sample 1 is constant"),
        (np.zeros((3, 3)), "sample 1 has 3 features at each step, but the series before it have 2"),
        ([[1.0, 2.0], [3.0]], "sample 1 is no rectangle of steps × features"),
        ([[1.0, None]], "sample 1 holds object instead of numbers; replace missing values"),
    ],
)
def test_a_bad_series_is_named(bad, message):
    with pytest.raises(ValueError, match=message):
        check_series([RISING, bad], source="train")


def test_what_is_no_bad_series():
    check_series([RISING, RISING[:2], RISING[:1]])
    check_series(np.stack([RISING, RISING + 1]))
    check_series([RISING.astype(int).tolist()])
    check_series([np.ones((3, 2))], allow_constant=True)
    check_series([np.array([[1.0, 2.0], [1.0, 3.0]])])  # one feature of the two moves
    check_series([spoiled(3e38)])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 2], "test, sample 1 has the label .*2.*; labels must be integers from 0 to 1, for 2 classes"),
        ([-1, 0], "test, sample 0 has the label .*-1"),
        ([0.0, 1.0], "test, sample 0 has the label .*0.0"),
        ([0], r"test: 2 series need labels \(2,\), got \(1,\)"),
        ([0, None], "test, sample 1 has the label None; labels must be integers"),
        ([0, 0.5], "test, sample 1 has the label 0.5"),
        ([0, "x"], "test, sample 1 has the label 'x'"),
        ([0, True], "test, sample 1 has the label True"),
    ],
)
def test_a_bad_label_is_named(labels, message):
    with pytest.raises(ValueError, match=message):
        check_labels(labels, count=2, num_labels=2, source="test")


@pytest.mark.parametrize("labels", [[0, 1], (1, 0), np.array([0, 1], dtype=np.uint8), torch.tensor([0, 1])])
def test_what_is_no_bad_label(labels):
    check_labels(labels, count=2, num_labels=2)


def test_rows_come_back_as_they_went_in():
    ragged = [RISING, RISING[:2] + 0.5]
    rows = series_dataset(ragged, [1, 0], label_names=NAMES, split="train")
    assert rows.features["labels"].names == NAMES
    assert rows.split == "train"
    for row, values, label in zip(rows, ragged, [1, 0], strict=True):
        assert row["input_values"].dtype == np.float32
        assert row["input_values"].tolist() == values.tolist()
        assert row["labels"] == label
    equal = series_dataset(np.stack([RISING, RISING]), [1, 0], label_names=NAMES)
    assert equal[:]["input_values"].shape == (2, 3, 2)


@pytest.mark.parametrize(
    ("series", "labels", "message"),
    [
        ([RISING, spoiled(np.nan)], [0, 1], "dev, sample 1 holds nan"),
        ([RISING], [7], "dev, sample 0 has the label"),
        ([], np.zeros(0, dtype=int), "dev has no series"),
    ],
)
def test_a_data_set_is_checked(series, labels, message):
    with pytest.raises(ValueError, match=message):
        series_dataset(series, labels, label_names=NAMES, split="dev")


spans = st.integers(0, 4).flatmap(lambda start: st.tuples(st.just(start), st.integers(start + 1, 5)))


@given(st.lists(st.tuples(spans, spans), min_size=1, max_size=4))
def test_cells_of_boxes_agree_with_slices(boxes):
    edges = np.array([[*time, *feature] for time, feature in boxes])
    cells = informative_cells(dict(zip(BOX_COLUMNS, edges.T, strict=True)), steps=5, features=5)
    for (time, feature), own in zip(boxes, cells, strict=True):
        expected = torch.zeros(5, 5, dtype=torch.bool)
        expected[slice(*time), slice(*feature)] = True
        assert torch.equal(own, expected)


@pytest.mark.parametrize("box", [(0, 4, 0, 1), (2, 2, 0, 1), (0, 1, -1, 1), (0, 1, 1, 3)])
def test_a_box_outside_is_named(box):
    rows = {name: [0 if "start" in name else 1, edge] for name, edge in zip(BOX_COLUMNS, box, strict=True)}
    with pytest.raises(ValueError, match=r"box of sample 1 is empty or outside the 3 × 2 cells: \{'time_start': "):
        informative_cells(rows, steps=3, features=2)
