"""Texts whose units, words or single tokens, are numbered: what rankings rank and removal removes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..adapters import TextAdapter
from ..adapters.base import Batch
from ..ranking import group_leaders

_UNITS = "units"  # the column in which units travel through the adapter's `stack` and `take`


@dataclass(frozen=True)
class Texts:
    """Whole texts, their units (words, or tokens) numbered.

    Attributes:
        batch: (B, …) without labels.
        units: (B, F) int64, the number of each feature's unit in its text, from 1 on; 0 where it may not be removed.
        whole: (B, K) float, the class probabilities of the whole texts.
    """

    batch: Batch
    units: Tensor
    whole: Tensor

    @property
    def counts(self) -> Tensor:
        """(B,) int64, n units of each text."""
        return self.units.amax(1)

    def take(self, adapter: TextAdapter, rows: Tensor) -> tuple[Batch, Tensor]:
        """Return batch and units of the texts at `rows` (M,), no wider than the largest of them."""
        batch = adapter.take(self.batch | {_UNITS: self.units}, rows)
        return batch, batch.pop(_UNITS)


def number_units(eligible: Tensor, groups: Tensor | None) -> Tensor:
    """Number the units of each text in their order.

    Args:
        eligible: (B, F) bool.
        groups: (B, F) int64 in [0, F), or None where each feature is a unit.

    Returns:
        (B, F) int64, from 1 on; 0 where not eligible.
    """
    if groups is None:
        return eligible.long().cumsum(1) * eligible
    leaders = group_leaders(groups, eligible)
    numbers = torch.zeros_like(groups).scatter_add_(1, groups, leaders.long().cumsum(1) * leaders)
    return numbers.gather(1, groups) * eligible


def pool_texts(adapter: TextAdapter, parts: Sequence[Texts]) -> Texts:
    """Put several batches of texts into one.

    Args:
        adapter: Of all of them.
        parts: At least one.
    """
    batch = adapter.stack([part.batch | {_UNITS: part.units} for part in parts])
    units = batch.pop(_UNITS)
    return Texts(batch, units, torch.cat([part.whole for part in parts]))
