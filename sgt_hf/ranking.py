"""Which features are kept and which are dropped: ordering scores under eligibility, in groups that share fate."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_PER_UNIT = 10**9  # fractions are counted in billionths, so that ⌈0.7 · 10⌉ is 7 on every device and dtype


def ceil_share(fraction: float | Tensor, counts: Tensor) -> Tensor:
    """Return ⌈fraction · counts⌉ in integer arithmetic, a product just above an integer taken as that integer.

    Args:
        fraction: Share in [0, 1], read to nine decimals; or (B,) floating point, one a sample, whose range is not
            checked, which would wait for the device.
        counts: (B,) non-negative integers.

    Returns:
        (B,) int64.

    Raises:
        ValueError: The fraction is outside [0, 1].
    """
    if not isinstance(fraction, Tensor) and not 0 <= fraction <= 1:
        raise ValueError(f"a fraction must lie in [0, 1], got {fraction}")
    billionths = (fraction * _PER_UNIT).round().long() if isinstance(fraction, Tensor) else round(fraction * _PER_UNIT)
    counts = counts.long()
    # A billionth of the count less, which is what the ninth decimal of 2/3 may be too large by.
    return (billionths * counts - counts + _PER_UNIT - 1) // _PER_UNIT


def group_scores(scores: Tensor, groups: Tensor) -> Tensor:
    """Sum the scores of the features of a group, and give each feature its group's sum.

    Args:
        scores: (B, F) real.
        groups: (B, F) int64 group index in [0, F) of every feature; a whole word's sub-tokens share one.

    Returns:
        (B, F), the sum over the feature's own group.
    """
    return torch.zeros_like(scores).scatter_add_(1, groups, scores).gather(1, groups)


def group_leaders(groups: Tensor, eligible: Tensor) -> Tensor:
    """Mark the first eligible feature of every group, the one that stands for it when groups are counted.

    Args:
        groups: (B, F) int64 group index in [0, F).
        eligible: (B, F) bool.

    Returns:
        (B, F) bool, one True per group that has an eligible feature.
    """
    width = groups.shape[1]
    position = torch.arange(width, device=groups.device).expand_as(groups)
    candidates = position.masked_fill(~eligible, width)
    first = torch.full_like(groups, width).scatter_reduce_(1, groups, candidates, "amin")
    return eligible & (first.gather(1, groups) == position)


def _sorted(values: Tensor) -> Tensor:
    """Sort (B, F) ascending. On CPU by NumPy, in a fifth of torch's time, which also carries the positions along."""
    if values.device.type == "cpu":
        return torch.from_numpy(np.sort(values.detach().numpy(), axis=1))
    return values.sort(dim=1).values


def select_top(scores: Tensor, eligible: Tensor, counts: Tensor, *, groups: Tensor | None = None) -> Tensor:
    """Select the highest-scoring features of each sample; ties go to the earlier feature.

    Args:
        scores: (B, F) real; with groups, already one value per group (see `group_scores`).
        eligible: (B, F) bool; the others are never selected.
        counts: (B,) how many to select: features, or groups where groups are given.
        groups: (B, F) int64 group index in [0, F) of every feature, or None where each is its own.

    Returns:
        (B, F) bool, a subset of eligible.
    """
    leaders = eligible if groups is None else group_leaders(groups, eligible)
    values = scores.float().nan_to_num(torch.inf, torch.inf, -torch.inf).masked_fill(~leaders, -torch.inf)
    counts = counts.clamp(max=values.shape[1])[:, None]
    lowest = _sorted(values).gather(1, (values.shape[1] - counts).clamp(max=values.shape[1] - 1))
    above, level = leaders & (values > lowest), leaders & (values == lowest)
    missing = counts - above.sum(1, keepdim=True)
    selected = (above | (level & (level.cumsum(1, dtype=torch.int32) <= missing))) & (counts > 0)
    if groups is None:
        return selected
    chosen = torch.zeros_like(groups).scatter_add_(1, groups, selected.long()) > 0
    return eligible & chosen.gather(1, groups)


def random_scores(eligible: Tensor, *, groups: Tensor | None = None) -> Tensor:
    """Draw scores by which every feature, or every group, is as likely to be dropped as any other: a control.

    Args:
        eligible: (B, F) bool.
        groups: (B, F) int64 group index in [0, F) of every feature, or None where each is its own. A group's draw
            stands at its first eligible feature and the others have 0, so that large groups' sums are no larger.

    Returns:
        (B, F) float32, uniform in [0, 1), from torch's global generator of the device.
    """
    scores = torch.rand(eligible.shape, device=eligible.device)
    return scores if groups is None else scores.masked_fill(~group_leaders(groups, eligible), 0.0)


def select_lowest(
    scores: Tensor, eligible: Tensor, fraction: float | Tensor, *, groups: Tensor | None = None
) -> Tensor:
    """Select the ⌈fraction · n⌉ lowest of each sample's n eligible features (or groups), never all of them.

    Of equal scores the later feature goes first, so that exactly the features outside `select_top` are dropped.

    Args:
        scores: (B, F) real, one score per feature; summed over groups here where groups are given.
        eligible: (B, F) bool; the others are never selected.
        fraction: Share k of the eligible features in [0, 1], one for all or (B,), see `ceil_share`. At least one of
            them stays.
        groups: (B, F) int64 group index in [0, F) of every feature, or None where each is its own.

    Returns:
        (B, F) bool `drop`, True where the feature is to be replaced.

    Raises:
        ValueError: The fraction is outside [0, 1].
    """
    if groups is not None:
        scores = group_scores(scores.masked_fill(~eligible, 0.0), groups)
    count = (eligible if groups is None else group_leaders(groups, eligible)).sum(1)
    kept = count - torch.minimum(ceil_share(fraction, count), (count - 1).clamp(min=0))
    return eligible & ~select_top(scores, eligible, kept, groups=groups)
