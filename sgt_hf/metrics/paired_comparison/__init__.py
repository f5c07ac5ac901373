"""Two models on the same examples: mean difference, its interval, a test and an effect size."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from sgt_hf.metrics.significance import Interval, bootstrap_mean, rank_biserial, wilcoxon_signed_rank


class PairedComparison(NamedTuple):
    """Of the differences first − second.

    Attributes:
        difference: Mean and paired bootstrap interval, in the unit of the values.
        p_value: Of Wilcoxon's signed-rank test, two-sided.
        effect_size: Rank-biserial correlation in [−1, 1].
    """

    difference: Interval
    p_value: float
    effect_size: float


def compare_paired(
    first: ArrayLike, second: ArrayLike, *, confidence: float = 0.95, resamples: int = 9999, seed: int = 0
) -> PairedComparison:
    """Compare two models' values per example, first − second.

    Args:
        first: (N,) finite.
        second: (N,) finite, the other model's on the same examples in the same order.
        confidence: Of the interval, in (0, 1).
        resamples: Of the bootstrap.
        seed: Of the resampling.

    Returns:
        `PairedComparison`.

    Raises:
        ValueError: See `sgt_hf.metrics.significance.wilcoxon_signed_rank`.
    """
    p_value = wilcoxon_signed_rank(first, second).p_value  # checks shapes before anything is subtracted
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    interval = bootstrap_mean(differences, confidence=confidence, resamples=resamples, seed=seed)
    return PairedComparison(interval, p_value, rank_biserial(first, second))
