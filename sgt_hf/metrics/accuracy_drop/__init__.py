"""Accuracy drop: how fast a classifier's accuracy falls when the pixels that an explanation ranks highest are removed.

References:
    Ismail et al. Improving Deep Learning Interpretability by Saliency Guided Training. NeurIPS 2021, section 5.1,
    Model Accuracy Drop, and Table 4 of the supplement. Samek et al. Evaluating the Visualization of What a Deep Neural
    Network Has Learned. IEEE TNNLS 2017. Hooker et al. A Benchmark for Interpretability Methods in Deep Neural
    Networks. NeurIPS 2019 (ROAR).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from sgt_hf.metrics.curves import Array

LEVELS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def accuracy_curve(predictions: ArrayLike, labels: ArrayLike) -> Array:
    """Accuracy at each level of removal.

    Args:
        predictions: (N, R) class predicted for each of N samples at each of R levels.
        labels: (N,) true classes.

    Returns:
        (R,) in [0, 1].

    Raises:
        ValueError: Shapes do not fit, or there is no sample.
    """
    predicted, true = np.asarray(predictions), np.asarray(labels)
    if predicted.ndim != 2 or true.shape != predicted.shape[:1] or not predicted.size:
        raise ValueError(f"expected predictions (N, R) and labels (N,), got shapes {predicted.shape} and {true.shape}")
    return np.asarray((predicted == true[:, None]).mean(0), dtype=np.float64)


def area_under_accuracy(accuracies: ArrayLike, levels: Sequence[float] = LEVELS) -> float:
    """Area under the curve of accuracy in percent over pixels removed in percent, by the trapezoid rule.

    Args:
        accuracies: (R,) in [0, 1].
        levels: (R ≥ 2) shares removed, ascending in [0, 1].

    Returns:
        In [0, 10⁴]: with the usual levels, 0 to 90 %, at most 9,000. Lower is better: a ranking that finds what the
        model uses makes it fail early. The unit is that of the paper's Table 4.

    Raises:
        ValueError: Shapes do not fit, or a value is out of its range or order.

    Example:
        >>> area_under_accuracy([1.0, 0.5, 0.1], levels=(0.0, 0.1, 0.2))
        1050.0
    """
    values, shares = np.asarray(accuracies, dtype=np.float64), np.asarray(levels, dtype=np.float64)
    if values.ndim != 1 or values.shape != shares.shape or len(values) < 2:
        raise ValueError(f"expected as many accuracies as levels, at least 2, got {values.shape} and {shares.shape}")
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"accuracies must lie in [0, 1], got {values.tolist()}")
    if not ((shares >= 0) & (shares <= 1)).all() or not (np.diff(shares) > 0).all():
        raise ValueError(f"levels must ascend in [0, 1], got {shares.tolist()}")
    percent = 100 * values
    return float((np.diff(100 * shares) * (percent[1:] + percent[:-1]) / 2).sum())
