"""Area over the perturbation curve: how far removing (or keeping) a ranking's top words moves the prediction.

References:
    DeYoung et al. ERASER: A Benchmark to Evaluate Rationalized NLP Models. ACL 2020, section 4.2; the released scorer's
    mean over bins. Saliency guided training, supplement, Metrics. Chan et al. UNIREX. ICML 2022.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

BINS = (0.01, 0.05, 0.10, 0.20, 0.50)
CONVENTIONS = ("eraser", "paper", "unirex")

Array = NDArray[np.float64]


def probability_drops(full: ArrayLike, perturbed: ArrayLike) -> Array:
    """p_j(X) − p_j(perturbed X), bin by bin: comprehensiveness of removed words, sufficiency of kept ones.

    Args:
        full: (N,) probability of the predicted class j on the whole input, in [0, 1].
        perturbed: (N, R) probability of the same class without the top words of each bin, or with them alone.

    Returns:
        (N, R) in [−1, 1].

    Raises:
        ValueError: Shapes do not fit, or a value is no probability.
    """
    whole, parts = np.asarray(full, dtype=np.float64), np.asarray(perturbed, dtype=np.float64)
    if whole.ndim != 1 or parts.ndim != 2 or len(whole) != len(parts) or parts.shape[1] == 0:
        raise ValueError(f"expected full (N,) and perturbed (N, R ≥ 1), got shapes {whole.shape} and {parts.shape}")
    for name, values in (("full", whole), ("perturbed", parts)):
        bad = np.argwhere(~((values >= 0) & (values <= 1)))
        if len(bad):
            raise ValueError(f"{name} holds no probability at index {tuple(map(int, bad[0]))}: {values[tuple(bad[0])]}")
    return whole[:, None] - parts


def aopc(full: ArrayLike, perturbed: ArrayLike, *, convention: str = "eraser", empty: ArrayLike | None = None) -> Array:
    """Aggregate the drops of each sample over the bins.

    `eraser`: their mean over the R bins. `paper`: (d₀ + Σ d) / (R + 1), where d₀, the zeroth bin, is 0 for
    comprehensiveness and p_j(X) − p_j(empty) for sufficiency. `unirex`: Σ d / (R + 1).

    Args:
        full: (N,) in [0, 1].
        perturbed: (N, R) in [0, 1]; see `probability_drops`.
        convention: One of `CONVENTIONS`.
        empty: (N,) in [0, 1], probability of class j with no word left; give it for sufficiency, leave it out for
            comprehensiveness. Only `paper` uses it.

    Returns:
        (N,) in [−1, 1]. Comprehensiveness: higher is more faithful; sufficiency: lower is.

    Raises:
        ValueError: An unknown convention, or see `probability_drops`.
    """
    if convention not in CONVENTIONS:
        raise ValueError(f"unknown convention {convention!r}: use one of {CONVENTIONS}")
    drops = probability_drops(full, perturbed)
    if convention == "eraser":
        return drops.mean(1)
    zeroth: Array | float = 0.0
    if convention == "paper" and empty is not None:
        zeroth = probability_drops(full, np.asarray(empty, dtype=np.float64)[:, None])[:, 0]
    total = drops.sum(1) + zeroth
    return np.asarray(total / (drops.shape[1] + 1), dtype=np.float64)
