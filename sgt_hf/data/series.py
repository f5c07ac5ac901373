"""Time series whose informative cells are known: the ten synthetic sets, the three of Figure 6; and MNIST as a series.

A synthetic series is N(0, 1) noise in which a box is drawn from N(±1, 1) instead; the sign, or for the positional sets
the place of the box, is the class. Everything else is noise, so a saliency map has a right answer: the box.

References:
    Ismail et al. 2020, Benchmarking Deep Learning Interpretability in Time Series Predictions, and its code
    https://github.com/ayaabdelsalam91/TS-Interpretability-Benchmark (the ten sets).
    Ismail et al. 2019, Input-Cell Attention Reduces Vanishing Saliency of Recurrent Neural Networks, and its code
    https://github.com/ayaabdelsalam91/Input-Cell-Attention (the three).
    Ismail et al. 2021, supplement, Table 6 (sizes) and Figure 6.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from datasets import DatasetDict
from numpy.typing import NDArray

from sgt_hf.data.series_rows import fit_min_max, informative_cells, min_max_scale, series_dataset

LABEL_NAMES = ("negative", "positive")

# Where a box begins: always there, there by class (negative, positive), or anywhere (None).
Start = int | tuple[int, int] | None


@dataclass(frozen=True)
class SeriesSpec:
    """What tells one synthetic set from another.

    Args:
        name: Part of the seed, so that sets differ in their noise.
        box_steps: Steps of the informative box.
        box_features: Features of the informative box.
        time_start: The box's first step. None draws it uniformly from 0 to `steps` − `box_steps` − 1: the last
            possible place is never taken, as in the released code.
        feature_start: The same of features.
        means: Mean inside the box, by class.
        steps: T, of the whole series.
        features: C, of the whole series.

    Raises:
        ValueError: The box does not fit in the series.
    """

    name: str
    box_steps: int
    box_features: int
    time_start: Start
    feature_start: Start
    means: tuple[float, float] = (-1.0, 1.0)
    steps: int = 50
    features: int = 50

    def __post_init__(self) -> None:
        for axis, length, box, start in (
            ("steps", self.steps, self.box_steps, self.time_start),
            ("features", self.features, self.box_features, self.feature_start),
        ):
            starts = start if isinstance(start, tuple) else (start or 0,)
            if box < 1 or min(starts) < 0 or max(starts) + box > length:
                raise ValueError(
                    f"a box of {box} {axis} starting at {start} does not fit in the {length} {axis} of {self.name!r}"
                )


SERIES: dict[str, SeriesSpec] = {
    "middle": SeriesSpec("middle", 30, 30, 10, 10),
    "small_middle": SeriesSpec("small_middle", 15, 15, 18, 18),
    "moving_middle": SeriesSpec("moving_middle", 30, 30, None, None),
    "moving_small_middle": SeriesSpec("moving_small_middle", 15, 15, None, None),
    "rare_time": SeriesSpec("rare_time", 6, 40, 22, 5),
    "moving_rare_time": SeriesSpec("moving_rare_time", 6, 40, None, None),
    "rare_feature": SeriesSpec("rare_feature", 40, 6, 5, 22),
    "moving_rare_feature": SeriesSpec("moving_rare_feature", 40, 6, None, None),
    "positional_time": SeriesSpec("positional_time", 20, 20, None, (29, 1), means=(1.0, 1.0)),
    "positional_feature": SeriesSpec("positional_feature", 20, 20, (29, 1), None, means=(1.0, 1.0)),
}

# Figure 6. The 2021 paper gives no sizes. The 2019 code has 100 × 100 cells, and boxes of 30 × 80 that begin at step 0
# (early) and 70 (late), feature 10; those are taken. Its middle box is 60 × 60 (see REFERENCE_SERIES), which would mix
# size with position, so here the middle one is as large as the others.
BOX_POSITIONS: dict[str, SeriesSpec] = {
    "early_box": SeriesSpec("early_box", 30, 80, 0, 10, steps=100, features=100),
    "middle_box": SeriesSpec("middle_box", 30, 80, 35, 10, steps=100, features=100),
    "late_box": SeriesSpec("late_box", 30, 80, 70, 10, steps=100, features=100),
}

# The sets that the released code draws otherwise than the paper's Table 6 says, or than is chosen above.
REFERENCE_SERIES: dict[str, SeriesSpec] = {
    "small_middle": replace(SERIES["small_middle"], box_steps=14, box_features=14),
    "middle_box": replace(BOX_POSITIONS["middle_box"], box_steps=60, box_features=60, time_start=20, feature_start=20),
}


def load_series(
    name: str | SeriesSpec,
    *,
    seed: int = 0,
    train_size: int = 1000,
    validation_size: int = 100,
    test_size: int = 100,
    scale: bool = True,
    reference: bool = False,
) -> DatasetDict:
    """Draw a synthetic set.

    Training stops at 99 % accuracy on train or validation. The released scripts take test for validation, and keep the
    weights that did best on it. Here validation is a split of its own, drawn as the others are: train keeps its size,
    and test stays unseen.

    Args:
        name: One of `SERIES` or `BOX_POSITIONS`, or a specification of one's own.
        seed: The same seed gives the same rows on every platform. Sets and splits have independent streams, so that a
            split does not depend on the sizes of the others, but for the scaling.
        train_size: Series to draw, at least 1. Their labels are independent and fair.
        validation_size: The same of validation; 0 leaves the split out.
        test_size: The same of test; 0 leaves the split out.
        scale: Min-max scale each cell by its range in train. Otherwise the raw values.
        reference: Take a set's sizes from the released code where they differ (`REFERENCE_SERIES`).

    Returns:
        Splits `train`, `validation` and `test` of rows `input_values` (T, C), `labels`, and the informative box:
        `time_start`, `time_end`, `feature_start`, `feature_end`, ends exclusive (see `informative_cells`).

    Raises:
        ValueError: The name is unknown, a size is negative, or train is empty.
    """
    spec = _specification(name, reference)
    sizes = {"train": train_size, "validation": validation_size, "test": test_size}
    if min(sizes.values()) < 0 or train_size < 1:
        raise ValueError(f"sizes must not be negative, and train_size at least 1, got {sizes}")
    drawn = {split: _draw(spec, size, seed, split) for split, size in sizes.items() if size}
    limits = fit_min_max(drawn["train"][0], per="cell")
    splits = DatasetDict()
    for split, (values, labels, boxes) in drawn.items():
        series = min_max_scale(values, limits) if scale else values
        splits[split] = series_dataset(series, labels, label_names=LABEL_NAMES, boxes=boxes, split=split)
    return splits


def _specification(name: str | SeriesSpec, reference: bool) -> SeriesSpec:
    if isinstance(name, SeriesSpec):
        return name
    known = SERIES | BOX_POSITIONS | (REFERENCE_SERIES if reference else {})
    if name not in known:
        raise ValueError(f"unknown set of series {name!r}: there are {list(known)}")
    return known[name]


def _draw(
    spec: SeriesSpec, size: int, seed: int, split: str
) -> tuple[NDArray[np.float64], NDArray[np.int64], dict[str, NDArray[np.int64]]]:
    """Draw a split: (N, T, C) values, (N,) labels, the boxes."""
    source = np.random.default_rng([seed, *f"{spec.name}/{split}".encode()])
    labels = source.integers(0, 2, size)
    time_start = _starts(source, spec.time_start, spec.steps - spec.box_steps, labels)
    feature_start = _starts(source, spec.feature_start, spec.features - spec.box_features, labels)
    boxes = {
        "time_start": time_start,
        "time_end": time_start + spec.box_steps,
        "feature_start": feature_start,
        "feature_end": feature_start + spec.box_features,
    }
    cells = informative_cells(boxes, steps=spec.steps, features=spec.features).numpy()
    means = np.asarray(spec.means)[labels]
    # N(0, 1) + mean is N(mean, 1): the box needs no second draw.
    values = source.standard_normal((size, spec.steps, spec.features)) + cells * means[:, None, None]
    return values, labels, boxes


def _starts(source: np.random.Generator, start: Start, room: int, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (N,) where the boxes begin along one axis, on which they can be moved by `room`."""
    if start is None:
        return source.integers(0, max(room, 1), len(labels))
    return np.broadcast_to(start, (2,))[labels].astype(np.int64)


def mnist_series(images: DatasetDict) -> DatasetDict:
    """Read MNIST as a multivariate time series: an image's rows are 28 steps, its columns 28 features (Figure 5).

    Args:
        images: What `sgt_hf.data.mnist.load_mnist` returns: rows of a grey `image` and a `label`.

    Returns:
        The same splits of rows `input_values` (28, 28) in [0, 1], and `labels`.
    """
    splits = DatasetDict()
    for split, rows in images.items():
        batch = rows.with_format("numpy")[:]
        pixels = np.asarray(batch["image"], dtype=np.float32) / 255
        splits[split] = series_dataset(pixels, batch["label"], label_names=rows.features["label"].names, split=split)
    return splits
