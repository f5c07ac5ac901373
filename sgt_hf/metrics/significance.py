"""Is a difference between two models more than chance? Paired, by SciPy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
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


def bootstrap_mean(values: ArrayLike, *, confidence: float = 0.95, resamples: int = 9999, seed: int = 0) -> Interval:
    """Percentile bootstrap interval of a mean; of paired differences, the paired bootstrap between two models.

    Args:
        values: (N,) finite, one per example: a difference for a paired comparison.
        confidence: In (0, 1).
        resamples: Bootstrap samples.
        seed: Of the resampling.

    Returns:
        Mean and interval; of a single value, or of equal ones, the interval is the value itself.

    Raises:
        ValueError: There are no values, or one is not finite.

    References:
        Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13. `scipy.stats.bootstrap`.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or not len(sample) or not np.isfinite(sample).all():
        raise ValueError(f"expected (N ≥ 1,) finite values, got shape {sample.shape}")
    mean = float(sample.mean())
    if np.ptp(sample) == 0:
        return Interval(mean, mean, mean)
    result = stats.bootstrap(
        (sample,),
        np.mean,
        confidence_level=confidence,
        n_resamples=resamples,
        method="percentile",
        rng=seed,
        batch=1000,
    )
    return Interval(mean, float(result.confidence_interval.low), float(result.confidence_interval.high))
