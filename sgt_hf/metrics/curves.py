"""Removal curves → numbers: AOPC, its gain over random, normalised AOPC, log-odds.

A curve holds the probability of the class j that a model predicts on the whole input, after removing (or keeping alone)
the top words of a ranking, bin by bin. The functions live here and not in the folders of their `evaluate` modules, that
only hand them on: once a folder's own module (aopc/aopc.py) is imported, it takes the name in the folder's package.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

BINS = (0.01, 0.05, 0.10, 0.20, 0.50)
CONVENTIONS = ("eraser", "paper", "unirex")
FLOOR = 1e-12
# Probabilities come from float32; limits closer than this are the same number computed in two batches.
TOLERANCE = 1e-6

Array = NDArray[np.float64]


def probabilities_of(full: ArrayLike, perturbed: ArrayLike) -> tuple[Array, Array]:
    """Check a removal curve's inputs, which every metric of curves takes.

    Args:
        full: (N,) probability of the predicted class j on the whole input, in [0, 1].
        perturbed: (N, R) probability of the same class without the top words of each bin, or with them alone.

    Returns:
        Both as float64.

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
    return whole, parts


def probability_drops(full: ArrayLike, perturbed: ArrayLike) -> Array:
    """p_j(X) − p_j(perturbed X), bin by bin: comprehensiveness of removed words, sufficiency of kept ones.

    Args:
        full: (N,) in [0, 1]; see `probabilities_of`.
        perturbed: (N, R) in [0, 1].

    Returns:
        (N, R) in [−1, 1].

    Raises:
        ValueError: See `probabilities_of`.
    """
    whole, parts = probabilities_of(full, perturbed)
    return whole[:, None] - parts


def aopc(full: ArrayLike, perturbed: ArrayLike, *, convention: str = "eraser", empty: ArrayLike | None = None) -> Array:
    """Aggregate the drops of each sample over the bins.

    `eraser`: their mean over the R bins. `paper`: (d₀ + Σ d) / (R + 1), where d₀, the zeroth bin, is 0 for
    comprehensiveness and p_j(X) − p_j(empty) for sufficiency. `unirex`: Σ d / (R + 1).

    Args:
        full: (N,) in [0, 1].
        perturbed: (N, R) in [0, 1]; see `probabilities_of`.
        convention: One of `CONVENTIONS`.
        empty: (N,) in [0, 1], probability of class j with no word left; give it for sufficiency, leave it out for
            comprehensiveness. Only `paper` uses it.

    Returns:
        (N,) in [−1, 1]. Comprehensiveness: higher is more faithful; sufficiency: lower is.

    Raises:
        ValueError: An unknown convention, or see `probabilities_of`.

    References:
        DeYoung et al. ERASER: A Benchmark to Evaluate Rationalized NLP Models. ACL 2020, section 4.2; the released
        scorer's mean over bins. Saliency guided training, supplement, Metrics. Chan et al. UNIREX. ICML 2022.
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


def gain_over_random(
    full: ArrayLike,
    perturbed: ArrayLike,
    random: ArrayLike,
    *,
    convention: str = "eraser",
    empty: ArrayLike | None = None,
) -> Array:
    """AOPC of a ranking minus the mean AOPC of random rankings of the same text under the same model.

    Raw AOPC of two models differ also because the models do; each model's own random ranking is the zero to count from.

    Args:
        full: (N,) in [0, 1].
        perturbed: (N, R) in [0, 1]; see `probabilities_of`.
        random: (N, D, R) in [0, 1], the same for each of D random rankings.
        convention: One of `CONVENTIONS`.
        empty: See `aopc`; for sufficiency only.

    Returns:
        (N,) in [−2, 2]. Comprehensiveness: a ranking better than random is above 0; sufficiency: below.

    Raises:
        ValueError: `random` has another shape, or see `aopc`.

    References:
        Edin et al. Normalized AOPC: Fixing Misleading Faithfulness Metrics for Feature Attribution Explainability.
        ACL 2025, on why raw values of different models do not compare.
    """
    draws, parts = np.asarray(random, dtype=np.float64), np.asarray(perturbed, dtype=np.float64)
    if draws.ndim != 3 or draws.shape[::2] != parts.shape or draws.shape[1] == 0:
        raise ValueError(f"expected random (N, D ≥ 1, R) beside perturbed {parts.shape}, got shape {draws.shape}")
    chance = [aopc(full, draws[:, d], convention=convention, empty=empty) for d in range(draws.shape[1])]
    gained = aopc(full, parts, convention=convention, empty=empty) - np.mean(chance, axis=0)
    return np.asarray(gained, dtype=np.float64)


def naopc(values: ArrayLike, low: ArrayLike, high: ArrayLike, *, tolerance: float = TOLERANCE) -> Array:
    """(AOPC − low) / (high − low), input by input.

    Args:
        values: (N,) AOPC, comprehensiveness or sufficiency, in the convention that the limits were found for.
        low: (N,) lowest AOPC that a ranking of that input reaches.
        high: (N,) highest.
        tolerance: Limits no further apart than this leave nothing to normalise, ≥ 0.

    Returns:
        (N,) in [0, 1] where the limits are exact; limits found by a search may be passed by a value, which is not
        clipped, so that a too narrow search shows. NaN where every ranking of the input does alike (a text of one word,
        say): no ranking is better than another, so leave these out of means (`numpy.nanmean`). Of comprehensiveness
        higher is better, of sufficiency lower.

    Raises:
        ValueError: Shapes differ, a value is not finite, or a lower limit exceeds the upper one by more than the
            tolerance.

    References:
        Edin et al. Normalized AOPC: Fixing Misleading Faithfulness Metrics for Feature Attribution Explainability.
        ACL 2025.
    """
    arrays = [np.asarray(array, dtype=np.float64) for array in (values, low, high)]
    shapes = [array.shape for array in arrays]
    if len(set(shapes)) > 1 or arrays[0].ndim != 1:
        raise ValueError(f"expected values, low and high of one shape (N,), got {shapes}")
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError("values, low and high must be finite")
    value, bottom, top = arrays
    span = top - bottom
    if (span < -tolerance).any():
        at = int(np.argmax(span < -tolerance))
        raise ValueError(f"low exceeds high at index {at}: {bottom[at]} > {top[at]}")
    open_to_choice = span > tolerance
    return np.where(open_to_choice, (value - bottom) / np.where(open_to_choice, span, 1.0), np.nan)


def log_odds(full: ArrayLike, perturbed: ArrayLike, *, floor: float = FLOOR) -> Array:
    """log p_j(perturbed X) − log p_j(X), bin by bin, in nats.

    The name is the literature's: it is a difference of log-probabilities, not of logits.

    Args:
        full: (N,) probability of the predicted class j on the whole input, in [0, 1].
        perturbed: (N, R) probability of the same class without the top words of each bin, or with them alone.
        floor: Probabilities below it are raised to it, since a softmax in float32 can be exactly 0. In (0, 1).

    Returns:
        (N, R) in [log floor, −log floor]. Of removed words: the lower, the more faithful; of kept words: the closer to
        0 (or above), the better they suffice.

    Raises:
        ValueError: The floor is outside (0, 1), or see `probabilities_of`.

    References:
        Shrikumar et al. Learning Important Features Through Propagating Activation Differences. ICML 2017, section 4.1,
        the change in log-odds under removal. Sanyal and Ren. Discretized Integrated Gradients for Explaining Language
        Models. EMNLP 2021, for text: the mean of log p_j(perturbed) − log p_j(full), which is what is computed here.
    """
    if not 0 < floor < 1:
        raise ValueError(f"floor must lie in (0, 1), got {floor}")
    whole, parts = probabilities_of(full, perturbed)
    ratio = np.log(np.maximum(parts, floor)) - np.log(np.maximum(whole, floor))[:, None]
    return np.asarray(ratio, dtype=np.float64)
