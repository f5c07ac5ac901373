"""Random numbers of a batch, each sample's from a generator of its own, so that its batch does not matter."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import torch
from torch import Tensor

from .binding import AttributionSettings, Point


def seeded_scores(eligible: Tensor, index: list[int], *, draws: int, seed: int) -> Tensor:
    """Draw uniform scores, each sample's from a generator seeded with its place: the control of every ranking.

    Args:
        eligible: (B, F) bool, the features that are ranked (one per group, where there are groups).
        index: The samples' positions in their data set.
        draws: How many rankings.
        seed: Of all of them.

    Returns:
        (draws, B, F) in [0, 1), 0 where not eligible.
    """
    scores = torch.zeros(draws, *eligible.shape)
    for row, (free, generator) in enumerate(zip(eligible.cpu(), _generators(index, seed, "random"), strict=True)):
        scores[:, row, free] = torch.rand(draws, int(free.sum()), generator=generator)
    return scores.to(eligible.device)


class Draws:
    """A batch's random numbers. How many are taken at a time does not change which they are.

    Noise, baselines and points between them are drawn each from a stream of its own, none of them that of
    `seeded_scores`: a control must share nothing with what it is a control of.

    Args:
        point: The batch.
        dim: Its component axis, see `Adapter.feature_dim`.
        seed: Of all samples.
    """

    def __init__(self, point: Point, dim: int | None, *, seed: int) -> None:
        self.point = point
        self.dim = dim
        self._streams = {name: _generators(point.index, seed, name) for name in ("noise", "baseline", "between")}
        self._free = point.eligible.cpu()  # once: generators are the CPU's, so that a seed is one everywhere
        self.spread = _range(as_rows(point.features.float(), dim), point.eligible)

    def uniform(self, count: int) -> Tensor:
        """Return (count, B, 1, …) in [0, 1), broadcast over a sample's features."""
        drawn = torch.stack([torch.rand(count, generator=generator) for generator in self._streams["between"]], dim=1)
        return drawn.view(count, -1, *[1] * (self.point.features.dim() - 1)).to(self.point.features.device)

    def within_range(self) -> Tensor:
        """Return (B, …) uniform noise in a sample's own range of eligible values, anew a call; 0 where not eligible."""
        rows = as_rows(self.point.features.float(), self.dim)
        low = rows.masked_fill(~self.point.eligible[..., None], torch.inf).amin((1, 2), keepdim=True)
        noise = torch.zeros(rows.shape)
        for row, (free, generator) in enumerate(zip(self._free, self._streams["baseline"], strict=True)):
            noise[row, free] = torch.rand(int(free.sum()), rows.shape[-1], generator=generator)
        placed = torch.where(self.point.eligible[..., None], low + noise.to(rows.device) * self.spread, 0.0)
        return from_rows(placed, self.point.features, self.dim)

    def normal(self, count: int, deviation: float) -> Tensor:
        """Return (count, B, …) Gaussian noise on eligible features, 0 elsewhere.

        Args:
            count: How many draws.
            deviation: Standard deviation, as a share of the sample's own range of eligible values.
        """
        return torch.stack([self._normal() for _ in range(count)]) * deviation

    def _normal(self) -> Tensor:
        rows = as_rows(self.point.features, self.dim)
        noise = torch.zeros(rows.shape)
        for row, (free, generator) in enumerate(zip(self._free, self._streams["noise"], strict=True)):
            noise[row, free] = torch.randn(int(free.sum()), rows.shape[-1], generator=generator)
        return from_rows(noise.to(rows.device) * self.spread, self.point.features, self.dim)


def portions(total: int, point: Point, settings: AttributionSettings) -> Iterator[slice]:
    """Yield runs of `total` draws of a batch that fit into one forward each, at least one draw a run."""
    size = max(1, settings.max_features // max(1, point.eligible.numel()))
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))


def as_rows(features: Tensor, dim: int | None) -> Tensor:
    """Return the (B, F, C) view of a ranked tensor: one row a feature, its components last."""
    return features.flatten(1)[..., None] if dim is None else features.movedim(dim, -1).flatten(1, -2)


def from_rows(rows: Tensor, like: Tensor, dim: int | None) -> Tensor:
    """Undo `as_rows`: return (B, F, C) in the shape of `like`."""
    if dim is None:
        return rows.reshape(like.shape)
    return rows.reshape(like.movedim(dim, -1).shape).movedim(-1, dim)


def _generators(index: list[int], seed: int, stream: str) -> list[torch.Generator]:
    """A generator for each sample; those of another stream draw other numbers."""
    start = (seed + 1) * 1_000_003 + (0 if stream == "random" else zlib.crc32(stream.encode()) << 30)
    return [torch.Generator().manual_seed(start + position) for position in index]


def _range(rows: Tensor, eligible: Tensor) -> Tensor:
    """(B, 1, 1) largest minus smallest eligible value of each sample; 0 where nothing is eligible."""
    outside = ~eligible[..., None]
    high = rows.masked_fill(outside, -torch.inf).amax((1, 2), keepdim=True)
    low = rows.masked_fill(outside, torch.inf).amin((1, 2), keepdim=True)
    return (high - low).clamp(min=0)
