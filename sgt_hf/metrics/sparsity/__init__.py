"""Sparsity of an explanation: is its weight on a few words or spread over all?

References:
    Hurley and Rickard. Comparing Measures of Sparsity. IEEE Transactions on Information Theory 55, 2009
    (both measures).
    Hoyer. Non-negative Matrix Factorization with Sparseness Constraints. JMLR 5, 2004.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from sgt_hf.metrics.curves import Array


def gini(scores: Sequence[ArrayLike]) -> Array:
    """Gini index of |scores|, sample by sample: Σₖ (2k − n − 1)·c₍ₖ₎ / (n·Σ c), with c ascending and k from 1.

    Args:
        scores: N samples of (n,) finite scores each; their lengths may differ, and their signs do not matter.

    Returns:
        (N,) in [0, 1 − 1/n]: 0 where all scores are equal in size, 1 − 1/n where all but one are zero. A sample of
        nothing but zeros favours no word, and is 0 as well.

    Raises:
        ValueError: There is no sample, or one is empty, not one-dimensional or not finite; the message names it.
    """
    return _each(scores, _gini)


def hoyer(scores: Sequence[ArrayLike]) -> Array:
    """Hoyer's sparsity, sample by sample: (√n − ‖s‖₁ / ‖s‖₂) / (√n − 1).

    Args:
        scores: As for `gini`.

    Returns:
        (N,) in [0, 1]: 0 where all scores are equal in size, 1 where all but one are zero. A sample of nothing but
        zeros, or of a single score, for which the formula is 0/0, is 0.

    Raises:
        ValueError: As for `gini`.
    """
    return _each(scores, _hoyer)


def _each(scores: Sequence[ArrayLike], measure: Callable[[Array], float]) -> Array:
    if not len(scores):
        raise ValueError("there are no scores, of no sample")
    values = np.empty(len(scores))
    for index, sample in enumerate(scores):
        sizes = np.abs(np.asarray(sample, dtype=np.float64))
        if sizes.ndim != 1 or not len(sizes) or not np.isfinite(sizes).all():
            raise ValueError(f"sample {index} must be (n ≥ 1,) finite scores, got shape {sizes.shape}")
        largest = sizes.max()
        values[index] = measure(sizes / largest) if largest > 0 else 0.0  # scaled, so that no square underflows
    return values


def _gini(sizes: Array) -> float:
    n = len(sizes)
    weights = 2 * np.arange(1, n + 1) - n - 1
    return max(0.0, float(weights @ np.sort(sizes) / (n * sizes.sum())))


def _hoyer(sizes: Array) -> float:
    root = np.sqrt(len(sizes))
    if root == 1:
        return 0.0
    return float(np.clip((root - sizes.sum() / np.linalg.norm(sizes)) / (root - 1), 0.0, 1.0))
