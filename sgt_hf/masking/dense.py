"""What replaces a dropped value of a dense input: a time series' cell, a pixel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class DenseFacts:
    """What a fill needs to know beside the values (B, N, C): N positions (steps, pixels) of C channels.

    Attributes:
        real: (B, N, 1) bool, False at padding.
        constant: Scalar or (C,), the value of a removed channel: 0, or what black is after normalisation.
        low: Scalar or (C,), lower end of the range of random values, or None for each sample and channel's own.
        high: Upper end of it; None exactly where `low` is.
        size: (height, width) where the positions are an image's pixels, row by row; None elsewhere.
    """

    real: Tensor
    constant: Tensor
    low: Tensor | None = None
    high: Tensor | None = None
    size: tuple[int, int] | None = None


Fill = Callable[[Tensor, Tensor, DenseFacts], Tensor]


def uniform(values: Tensor, drop: Tensor, facts: DenseFacts) -> Tensor:
    """A uniform random value in the range of the sample's channel, or in the data set's range where it is given.

    Drawn from torch's global generator of the device, which `Trainer` checkpoints.
    """
    if facts.low is None or facts.high is None:
        low = values.masked_fill(~facts.real, torch.inf).amin(1, keepdim=True)
        high = values.masked_fill(~facts.real, -torch.inf).amax(1, keepdim=True)
    else:
        low, high = facts.low, facts.high
    return low + torch.rand_like(values) * (high - low)


def channel_mean(values: Tensor, drop: Tensor, facts: DenseFacts) -> Tensor:
    """The mean of the sample's channel, dropped positions included."""
    wide = torch.promote_types(values.dtype, torch.float32)  # the sum of a 224 × 224 image overflows in float16
    total = values.masked_fill(~facts.real, 0.0).sum(1, keepdim=True, dtype=wide)
    return (total / facts.real.sum(1, keepdim=True).clamp(min=1)).to(values.dtype).expand_as(values)


def constant(values: Tensor, drop: Tensor, facts: DenseFacts) -> Tensor:
    """One value per channel.

    Raises:
        ValueError: There are neither as many values as channels nor one for all.
    """
    given, channels = facts.constant.numel(), values.shape[2]
    if given not in (1, channels):
        raise ValueError(
            f"the adapter's constant (black, of images) has {given} values, and its input has {channels} channel(s): "
            "give one value a channel, or one for all"
        )
    return facts.constant.expand_as(values)


def previous(values: Tensor, drop: Tensor, facts: DenseFacts) -> Tensor:
    """The last kept value before it in its channel; before the first kept one, that one; the constant where none is."""
    steps = torch.arange(values.shape[1], device=values.device)[:, None].expand(values.shape[1:])
    kept = facts.real & ~drop
    before = steps.masked_fill(~kept, -1).cummax(1).values
    first = steps.masked_fill(~kept, values.shape[1]).amin(1, keepdim=True).clamp(max=values.shape[1] - 1)
    copied = values.gather(1, torch.where(before < 0, first, before))
    return torch.where(kept.any(1, keepdim=True), copied, facts.constant)


FILLS: dict[str, Fill] = {
    "uniform": uniform,
    "channel_mean": channel_mean,
    "constant": constant,
    "previous": previous,
}


def replace_dropped(values: Tensor, drop: Tensor, fill: Fill, facts: DenseFacts) -> Tensor:
    """Return the values with those under `drop` filled; the given ones are not changed.

    Args:
        values: (B, N, C) real.
        drop: (B, N, C) bool, or (B, N, 1) where a position's channels share fate; never True at padding.
        fill: A function of `FILLS`, (values, drop, facts) → (B, N, C).
        facts: See `DenseFacts`.

    Returns:
        (B, N, C) of the values' dtype.
    """
    drop = drop.expand_as(values)
    return torch.where(drop, fill(values, drop, facts).to(values.dtype), values)
