"""Does a saliency map point at the cells that are known to be informative? Weighted precision and recall, AUP, AUR.

References:
    Ismail et al. 2020, Benchmarking Deep Learning Interpretability in Time Series Predictions (the metric), and its
    code, https://github.com/ayaabdelsalam91/TS-Interpretability-Benchmark.
    Ismail et al. 2021, section 4.3 and Tables 2, 8-11 (the difference to a random map).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import trapezoid

from sgt_hf.metrics.curves import Array

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
# Sums of float64 are only known to within rounding: a set that misses its share of the mass by less than this has it.
TOLERANCE = 1e-12


class Localization(NamedTuple):
    """Means over the samples that have what they are divided by; NaN where there is none.

    Args:
        precision: (R,) in [0, 1]; of the saliency selected at each level, the share on informative cells.
        recall: (R,) in [0, 1]; of the saliency on informative cells, the share that is selected.
        aup: Area under precision over the levels, by the trapezoid rule: at most 0.8 with the usual levels.
        aur: Area under recall.
        precision_samples: How many samples precision is a mean of: those whose map is not constant.
        recall_samples: How many recall is a mean of: those with saliency on an informative cell.
    """

    precision: Array
    recall: Array
    aup: float
    aur: float
    precision_samples: int
    recall_samples: int


def weighted_aup_aur(
    saliency: ArrayLike,
    informative: ArrayLike,
    *,
    levels: Sequence[float] = LEVELS,
    eligible: ArrayLike | None = None,
) -> Localization:
    """Weighted precision and recall of saliency maps, and the areas under them.

    |saliency| is min-max scaled to [0, 1] over the cells of a sample. A level d selects the smallest set of top cells
    that holds at least the share d of the scaled mass; of cells with the same value, the earlier ones.

    The released scripts select the same cells but in two cases, in which rounding and the sorting algorithm decide for
    them: where a set holds the share d exactly, up to rounding (here it counts as enough), and where equal values stand
    on both sides of the last cell selected.

    Args:
        saliency: (N, …) finite real numbers of any sign and scale, one per cell: (N, T, C) for series.
        informative: The same shape, bool: the cells that decide the class.
        levels: (R ≥ 2,) ascending shares of the mass in (0, 1].
        eligible: The same shape, bool; the others (padding) count for nothing. None counts all.

    Returns:
        Precision and recall per level, AUP and AUR.

    Raises:
        ValueError: Shapes differ, there is no sample, a cell is NaN or infinite, a sample has no eligible cell, one of
            the bool arrays is not, or the levels are not as above.

    >>> result = weighted_aup_aur([[4.0, -3.0, 1.0, 0.0]], [[True, False, True, False]], levels=(0.5, 0.8, 1.0))
    >>> [round(float(value), 3) for value in [*result.precision, *result.recall, result.aup, result.aur]]
    [1.0, 0.571, 0.625, 0.8, 0.8, 1.0, 0.355, 0.42]
    """
    shares = _checked_levels(levels)
    mass, marked = _masses(saliency, informative, eligible)
    order = _descending(mass)
    descending = mass.ravel()[order]
    selected = descending.cumsum(axis=1)
    hits = (descending * marked.ravel()[order]).cumsum(axis=1)
    some, found = selected[:, -1] > 0, hits[:, -1] > 0
    held = selected[some] / selected[some, -1:]
    # (N, R) the place of the last cell selected: argmax finds the first that reaches the share.
    last = np.stack([(held >= share - TOLERANCE).argmax(axis=1) for share in shares], axis=1)
    hits_at = np.take_along_axis(hits[some], last, axis=1)
    precision = _mean(hits_at / np.take_along_axis(selected[some], last, axis=1))
    recall = _mean(hits_at[found[some]] / hits[found, -1:])
    areas = [float(trapezoid(curve, shares)) for curve in (precision, recall)]
    return Localization(precision, recall, areas[0], areas[1], int(some.sum()), int(found.sum()))


def column_permutation(saliency: ArrayLike, *, generator: torch.Generator | None = None) -> NDArray[np.generic]:
    """The released scripts' random map: another map whose feature columns are permuted, alike for all samples.

    It keeps that map's values and its profile over time, so it is not blind. Some differences in Table 8 are larger
    than it allows.

    Args:
        saliency: (N, T, C), the map of any method.
        generator: On the CPU; torch's global one if None.

    Returns:
        (N, T, C), a copy.
    """
    values = np.asarray(saliency)
    return values[..., torch.randperm(values.shape[-1], generator=generator).numpy()]


def iid(shape: Sequence[int], *, generator: torch.Generator | None = None) -> Array:
    """A random map in the strict sense: every cell uniform in [0, 1), independent of all others.

    Args:
        shape: Of the map, such as (N, T, C).
        generator: On the CPU; torch's global one if None.

    Returns:
        The map.
    """
    return torch.rand(tuple(shape), generator=generator, dtype=torch.float64).numpy()


def _masses(saliency: ArrayLike, informative: ArrayLike, eligible: ArrayLike | None) -> tuple[Array, NDArray[np.bool_]]:
    """Return |saliency| scaled to [0, 1] and the informative cells, both (N, F) and 0 where not eligible."""
    sizes = np.abs(np.asarray(saliency, dtype=np.float64))
    cells = [np.asarray(informative)] + ([] if eligible is None else [np.asarray(eligible)])
    for array in cells:
        if array.dtype != np.bool_ or array.shape != sizes.shape or sizes.ndim < 2 or not sizes.size:
            raise ValueError(
                f"expected saliency (N ≥ 1, …) and bool arrays of its shape, got {sizes.shape}, and {array.dtype} "
                f"{array.shape}"
            )
    flat = sizes.reshape(len(sizes), -1)
    marked = cells[0].reshape(flat.shape)
    if eligible is not None:
        counted = cells[1].reshape(flat.shape)
        _refuse(counted.sum(axis=1) == 0, "has no eligible cell")
        marked = marked & counted
        lowest = np.min(flat, axis=1, keepdims=True, where=counted, initial=np.inf)
        flat = np.where(counted, flat, lowest)  # which is scaled to 0
    _refuse(np.isfinite(flat).sum(axis=1) < flat.shape[1], "holds a saliency that is NaN or infinite")
    low, high = flat.min(axis=1, keepdims=True), flat.max(axis=1, keepdims=True)
    return (flat - low) / np.where(high > low, high - low, 1.0), marked


def _descending(mass: Array) -> NDArray[np.int64]:
    """Return the (N, F) places in the flattened mass of each sample's cells, the largest first, equal ones in order.

    NumPy sorts 16-bit integers in linear time, and then what is nearly in order by timsort: together several times
    faster than sorting float64 at once, with the same result.
    """
    start = np.arange(len(mass))[:, None] * mass.shape[1]
    bits = (mass.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)  # exponent, 7 bits more: 0x3F80 is 1.0
    nearly = np.argsort(0x3F80 - bits, axis=1, kind="stable") + start
    exactly = np.argsort(-mass.ravel()[nearly], axis=1, kind="stable") + start
    return nearly.ravel()[exactly]


def _refuse(bad: NDArray[np.bool_], problem: str) -> None:
    if bad.any():
        raise ValueError(f"sample {int(bad.argmax())} {problem}")


def _checked_levels(levels: Sequence[float]) -> Array:
    shares = np.asarray(levels, dtype=np.float64)
    if shares.ndim != 1 or len(shares) < 2 or not (np.diff(shares) > 0).all() or shares[0] <= 0 or shares[-1] > 1:
        raise ValueError(f"levels must be two or more ascending shares in (0, 1], got {levels}")
    return shares


def _mean(values: Array) -> Array:
    return values.mean(axis=0) if len(values) else np.full(values.shape[1], np.nan)
