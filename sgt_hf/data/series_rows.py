"""What a row of a time-series data set is: checked, scaled and stored in one way, wherever it was read from.

A series is a rectangle of numbers, T steps × C features; a cell is one feature at one step. Rows hold it as float32 in
`input_values`, the main input of the networks in `sgt_hf.models`, beside `labels`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from datasets import Array2D, ClassLabel, Dataset, Features, NamedSplit, Value
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

BOX_COLUMNS = ("time_start", "time_end", "feature_start", "feature_end")

# N series of (T, C), T free; an array (N, T, C) where all have one length.
SeriesLike = Sequence[NDArray[Any]] | NDArray[Any]
Per = Literal["cell", "feature"]


class MinMax(NamedTuple):
    """The range of the training series: (T, C) where it is each cell's own, (C,) where it is each feature's."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]


def check_series(series: Sequence[ArrayLike] | NDArray[Any], *, source: str = "", allow_constant: bool = False) -> None:
    """Refuse series that no network can learn from, naming the first of them.

    Args:
        series: N series of (T, C) real numbers; T may differ between them, C may not.
        source: Where they come from, for the message: a split or a file.
        allow_constant: Accept a series of several steps in which every feature stays at one value.

    Raises:
        ValueError: A series is no rectangle of numbers, has no step or no feature, has another number of features than
            the first, holds a cell that is NaN, infinite or too large for float32, or is constant.
    """
    width = None
    for index, values in enumerate(series):
        try:
            array = np.asarray(values)
        except ValueError as error:  # rows of unequal length
            raise ValueError(f"{_sample(source, index)} is no rectangle of steps × features: {error}") from error
        problem = _problem(array, width, allow_constant)
        if problem:
            raise ValueError(f"{_sample(source, index)} {problem}")
        width = array.shape[1]


def check_labels(labels: ArrayLike, *, count: int, num_labels: int, source: str = "") -> None:
    """Refuse labels that are not the index of a class, naming the first of them.

    Args:
        labels: (N,) integers in [0, num_labels).
        count: N, the number of series they belong to.
        num_labels: K, the number of classes.
        source: Where they come from, for the message.

    Raises:
        ValueError: There are more or fewer labels than series, or one is no integer in [0, num_labels).
    """
    values = np.asarray(labels, dtype=object)  # each keeps its own type: beside None or 0.5, a 0 is still an integer
    if values.shape != (count,):
        raise ValueError(f"{source + ': ' if source else ''}{count} series need labels ({count},), got {values.shape}")
    bad = next((index for index, label in enumerate(values) if not is_class(label, num_labels)), None)
    if bad is not None:
        raise ValueError(
            f"{_sample(source, bad)} has the label {values[bad]!r}; labels must be integers from 0 to "
            f"{num_labels - 1}, for {num_labels} classes"
        )


def is_class(label: Any, num_labels: float) -> bool:
    """Say whether a label is the index of a class: an integer in [0, num_labels); infinity where K is not known."""
    value = np.asarray(label)
    return value.ndim == 0 and value.dtype.kind in "iu" and 0 <= int(value) < num_labels


def _sample(source: str, index: int) -> str:
    return f"{source}, sample {index}" if source else f"sample {index}"


def _problem(array: NDArray[Any], width: int | None, allow_constant: bool) -> str | None:
    """Say what is wrong with a series, or None."""
    if array.dtype.kind not in "fiub":
        return f"holds {array.dtype} instead of numbers; replace missing values first"
    if array.ndim != 2 or 0 in array.shape:
        return f"must be (T ≥ 1 steps, C ≥ 1 features), got shape {array.shape}"
    if width is not None and array.shape[1] != width:
        return f"has {array.shape[1]} features at each step, but the series before it have {width}"
    with np.errstate(over="ignore"):
        finite = np.isfinite(array.astype(np.float32))  # as rows hold it
    if not finite.all():
        step, feature = np.argwhere(~finite)[0]
        value = array[step, feature]
        large = ", which float32 cannot hold" if np.isfinite(value) else ""
        return f"holds {value} at step {step}, feature {feature}{large}; replace or remove it"
    if not allow_constant and len(array) > 1 and bool((array == array[0]).all()):
        return (
            f"is constant: each of its features keeps one value over all {len(array)} steps. Remove the sample, or say "
            "allow_constant=True"
        )
    return None


def fit_min_max(train: SeriesLike, *, per: Per) -> MinMax:
    """Find the range that min-max scaling maps to [0, 1].

    Args:
        train: N ≥ 1 series of (T, C): those of the training split alone.
        per: `cell`: a range of each step's each feature, for series of one length. `feature`: one over all steps.

    Returns:
        The smallest and the largest values seen, in float64.

    Raises:
        ValueError: `per` is unknown, there is no series, or a range per cell is asked for series of unequal length.
    """
    if per not in get_args(Per):
        raise ValueError(f"per={per!r} is unknown; choose one of {get_args(Per)}")
    lengths = {len(values) for values in train}
    if not lengths or (per == "cell" and len(lengths) > 1):
        seen = f"series of {min(lengths)} to {max(lengths)} steps; say per='feature'" if lengths else "none"
        raise ValueError(f"a range per {per} needs series of one length to be fitted on, got {seen}")
    values = np.asarray(train) if per == "cell" else np.concatenate(list(train))
    return MinMax(values.min(0).astype(np.float64), values.max(0).astype(np.float64))


def min_max_scale(series: SeriesLike, limits: MinMax) -> list[NDArray[np.float32]]:
    """Scale series by a range that was fitted on the training split.

    What was constant in training becomes 0 there, and its difference from that constant elsewhere: a range of zero
    divides by 1, as in scikit-learn. Other splits may leave [0, 1]; they are not clipped.

    Args:
        series: N series of (T, C).
        limits: What `fit_min_max` returned.

    Returns:
        N series of (T, C).
    """
    span = np.where(limits.high > limits.low, limits.high - limits.low, 1.0)
    return [((values - limits.low) / span).astype(np.float32) for values in series]


def series_dataset(
    series: SeriesLike,
    labels: ArrayLike,
    *,
    label_names: Sequence[str],
    boxes: Mapping[str, ArrayLike] | None = None,
    split: str | None = None,
    allow_constant: bool = False,
) -> Dataset:
    """Check series and make a data set of them, for the trainer and for measuring alike.

    Args:
        series: N series of (T, C); T may differ between them.
        labels: (N,) integers in [0, K).
        label_names: K names.
        boxes: (N,) integers for each of `BOX_COLUMNS`: where a series is informative, ends exclusive.
        split: The split's name.
        allow_constant: As for `check_series`.

    Returns:
        Rows of `input_values` (T, C) float32, `labels`, and the box where given, formatted as NumPy arrays.
        `Array2D` is what makes reading batches of them fast: ten times as fast as nested lists.

    Raises:
        ValueError: As for `check_series` and `check_labels`.
    """
    check_series(series, source=split or "", allow_constant=allow_constant)
    check_labels(labels, count=len(series), num_labels=len(label_names), source=split or "")
    if not len(series):
        raise ValueError(f"{split or 'the data set'} has no series")
    lengths = {len(values) for values in series}
    shape = (lengths.pop() if len(lengths) == 1 else None, series[0].shape[1])
    features = {"input_values": Array2D(shape, "float32"), "labels": ClassLabel(names=list(label_names))}
    floats = [values.astype(np.float32, copy=False) for values in series]
    columns: dict[str, Any] = {"input_values": floats, "labels": labels}
    if boxes is not None:
        features |= {name: Value("int32") for name in BOX_COLUMNS}
        columns |= {name: boxes[name] for name in BOX_COLUMNS}
    named = NamedSplit(split) if split else None
    return Dataset.from_dict(columns, features=Features(features), split=named).with_format("numpy")


def informative_cells(rows: Mapping[str, Any], *, steps: int, features: int) -> Tensor:
    """Turn the boxes of rows into the cells inside them.

    Args:
        rows: A data set, or a batch of it, with (B,) integers in each of `BOX_COLUMNS`.
        steps: T.
        features: C.

    Returns:
        (B, T, C) bool, True inside the box.

    Raises:
        ValueError: A box is empty or leaves the series; the message names the sample.

    >>> box = {"time_start": [1], "time_end": [3], "feature_start": [0], "feature_end": [1]}
    >>> informative_cells(box, steps=3, features=2).int().tolist()
    [[[0, 0], [1, 0], [1, 0]]]
    """
    edges = np.stack([np.asarray(rows[name][:], dtype=np.int64) for name in BOX_COLUMNS], axis=1)  # `:` reads a Column
    time_start, time_end, feature_start, feature_end = edges.T
    right = (time_start >= 0) & (time_start < time_end) & (time_end <= steps)
    right &= (feature_start >= 0) & (feature_start < feature_end) & (feature_end <= features)
    if not right.all():
        index = int(np.flatnonzero(~right)[0])
        box = dict(zip(BOX_COLUMNS, edges[index].tolist(), strict=True))
        raise ValueError(f"the box of sample {index} is empty or outside the {steps} × {features} cells: {box}")
    in_time = _between(steps, time_start, time_end)
    in_features = _between(features, feature_start, feature_end)
    return torch.from_numpy(in_time[:, :, None] & in_features[:, None, :])


def _between(length: int, start: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return (B, length), True from start to end."""
    position = np.arange(length)
    return (position >= start[:, None]) & (position < end[:, None])
