"""Is a difference between two models more than chance? Paired, by SciPy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats


class Interval(NamedTuple):
    """A mean and its bootstrap interval, in the unit of the values."""

    mean: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside."""
        return self.low > 0 or self.high < 0


class Wilcoxon(NamedTuple):
    """Result of the signed-rank test: the smaller of the two rank sums, and the two-sided p."""

    statistic: float
    p_value: float


def bootstrap_mean(
    values: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    confidence: float = 0.95,
    resamples: int = 9999,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of a mean; of paired differences, the paired bootstrap between two models.

    Args:
        values: (N,) finite, one per example: a difference for a paired comparison.
        clusters: (N,) what an example belongs to, as several claims to one document: clusters are drawn, and with each
            all of its examples. None where every example stands for itself.
        confidence: In (0, 1).
        resamples: Bootstrap samples.
        seed: Of the resampling.

    Returns:
        Mean over the examples, and interval; of a single value or cluster, or of equal ones, it is the mean itself.

    Raises:
        ValueError: There are no values, one is not finite, or there is not one cluster for each.

    References:
        Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13; of clusters, Davison and Hinkley,
        Bootstrap Methods and their Application, 1997, section 3.8. `scipy.stats.bootstrap`.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or not len(sample) or not np.isfinite(sample).all():
        raise ValueError(f"expected (N ≥ 1,) finite values, got shape {sample.shape}")
    mean = float(sample.mean())
    data = (sample,) if clusters is None else _by_cluster(sample, clusters)
    if np.ptp(sample) == 0 or len(data[0]) == 1:
        return Interval(mean, mean, mean)
    result = stats.bootstrap(
        data,
        np.mean if clusters is None else _mean_of_sums,
        paired=True,
        vectorized=True,
        confidence_level=confidence,
        n_resamples=resamples,
        method="percentile",
        rng=seed,
        batch=1000,
    )
    return Interval(mean, float(result.confidence_interval.low), float(result.confidence_interval.high))


def _by_cluster(sample: NDArray[np.float64], clusters: ArrayLike) -> tuple[NDArray[np.float64], ...]:
    """Sums and counts of the clusters, in the order in which they appear."""
    labels = np.asarray(clusters)
    if labels.shape != sample.shape:
        raise ValueError(f"expected a cluster for each of {len(sample)} values, got shape {labels.shape}")
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    place = np.argsort(np.argsort(first))[inverse]
    counts = np.bincount(place).astype(np.float64)
    return np.asarray(np.bincount(place, weights=sample), dtype=np.float64), counts


def _mean_of_sums(sums: NDArray[np.float64], counts: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    return np.asarray(sums.sum(axis) / counts.sum(axis))


def student_mean(values: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Student's t interval of a mean: of a few paired runs, where a bootstrap is too narrow.

    Args:
        values: (N ≥ 2,) finite, one per run: a difference for a paired comparison.
        confidence: In (0, 1).

    Raises:
        ValueError: There are fewer than two values, or one is not finite.

    References:
        `scipy.stats.ttest_1samp`.

    Example:
        >>> student_mean([1.0, 2.0, 3.0])  # 2 ± 4.303 · 1 / √3
        Interval(mean=2.0, low=-0.484..., high=4.484...)
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or len(sample) < 2 or not np.isfinite(sample).all():
        raise ValueError(f"expected (N ≥ 2,) finite values, got shape {sample.shape}")
    mean = float(sample.mean())
    if np.ptp(sample) <= 1e-12 * np.abs(sample).max():  # equal but for rounding, of which SciPy warns
        return Interval(mean, mean, mean)
    interval = stats.ttest_1samp(sample, 0.0).confidence_interval(confidence)
    return Interval(mean, float(interval.low), float(interval.high))


def wilcoxon_signed_rank(a: ArrayLike, b: ArrayLike) -> Wilcoxon:
    """Two-sided Wilcoxon signed-rank test of paired values, pairs without a difference left out.

    SciPy chooses how p is computed: exactly for few pairs, by the normal approximation for many; from when on, and what
    it does with ties, changes with its version.

    Args:
        a: (N,) finite, one model's value per example.
        b: (N,) finite, the other's on the same examples.

    Returns:
        Statistic and p in (0, 1]; p = 1 where no pair differs.

    Raises:
        ValueError: Shapes differ, there are no values, or one is not finite.

    References:
        Wilcoxon. Individual Comparisons by Ranking Methods. Biometrics Bulletin 1, 1945. `scipy.stats.wilcoxon`.
    """
    differences = _differences(a, b)
    if not differences.any():
        return Wilcoxon(0.0, 1.0)
    result = stats.wilcoxon(differences)
    return Wilcoxon(float(result.statistic), float(result.pvalue))


def rank_biserial(a: ArrayLike, b: ArrayLike) -> float:
    """Matched-pairs rank-biserial correlation (R₊ − R₋) / (R₊ + R₋), the effect size beside Wilcoxon's p.

    R₊ and R₋ are the sums of the ranks of |a − b| (ties share theirs) over the pairs with a > b and with a < b; pairs
    without a difference are left out.

    Args:
        a: (N,) finite.
        b: (N,) finite.

    Returns:
        In [−1, 1]: 1 where a is larger in every pair that differs, 0 where neither side prevails or no pair differs.

    Raises:
        ValueError: As for `wilcoxon_signed_rank`.

    References:
        Kerby. The Simple Difference Formula. Comprehensive Psychology 3, 2014.
    """
    differences = _differences(a, b)
    differences = differences[differences != 0]
    if not len(differences):
        return 0.0
    ranks = stats.rankdata(np.abs(differences))
    return float((ranks * np.sign(differences)).sum() / ranks.sum())


def _differences(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape or not len(first):
        raise ValueError(f"expected two paired samples (N ≥ 1,), got shapes {first.shape} and {second.shape}")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("paired samples must be finite")
    return first - second
