"""Replacements for dropped tokens: pure functions on ids, vectorised over the batch.

References:
    Saliency guided training, supplement "Saliency Guided Training for Language", Masking: removing, [UNK], [SEP], a
    random word, the previous high salient word (the paper's best).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

Columns = dict[str, Tensor]


@dataclass(frozen=True)
class TokenFacts:
    """What a strategy may know of a batch besides ids and drop.

    Attributes:
        real: (B, L) bool, False on padding.
        source: (B, L) bool, tokens that may be copied from: real and not special.
        segments: (B, L) int64, non-decreasing along L; a copy stays within one value.
        groups: (B, L) int64 in [0, L), tokens of one unit (a word, or each token alone).
        ordinary: (V',) int64, the vocabulary without special tokens.
        token_ids: The tokenizer's ids by role: `unk`, `sep`, `mask`.
        fills: What padding holds in each token column.
        pad_left: Whether padding stands before the text.
    """

    real: Tensor
    source: Tensor
    segments: Tensor
    groups: Tensor
    ordinary: Tensor
    token_ids: dict[str, int]
    fills: dict[str, int]
    pad_left: bool = False


# What padding holds in the columns that models do not read; 0 in every other one.
FILLS = {"word_ids": -1, "segment_ids": -1, "protected": 1, "special_tokens_mask": 1}

Strategy = Callable[[Columns, Tensor, TokenFacts], Columns]


def previous_salient(ids: Tensor, drop: Tensor, *, segments: Tensor, source: Tensor, groups: Tensor) -> Tensor:
    """Replace each dropped unit by the previous kept one of its segment, or by the segment's first kept one.

    The j-th token of a dropped unit takes the j-th of the unit it copies (its last one, where that is shorter), so
    lengths never change. In a segment with nothing kept the tokens stay as they are.

    Args:
        ids: (B, L) int64.
        drop: (B, L) bool.
        segments: (B, L) int64, non-decreasing along L.
        source: (B, L) bool, tokens that may be copied from (real, not special); dropped ones are left out here.
        groups: (B, L) int64 in [0, L), the unit of each token; a unit's tokens are neighbours.

    Returns:
        (B, L) int64.
    """
    length = ids.shape[1]
    position = torch.arange(length, device=ids.device).expand_as(ids)
    kept = source & ~drop
    before = position.masked_fill(~kept, -1).cummax(1).values
    after = length - 1 - (length - 1 - position).masked_fill(~kept, -1).flip(1).cummax(1).values.flip(1)
    has_before = (before >= 0) & (segments.gather(1, before.clamp(min=0)) == segments)
    has_after = (after < length) & (segments.gather(1, after.clamp(max=length - 1)) == segments)
    anchor = torch.where(has_before, before, after.clamp(max=length - 1))
    start, end = _unit_bounds(groups, position)
    offset = position - start
    copied = torch.minimum(start.gather(1, anchor) + offset, end.gather(1, anchor))
    return torch.where(drop & (has_before | has_after), ids.gather(1, copied), ids)


def _unit_bounds(groups: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
    """(B, L) first and last position of each token's unit."""
    length = groups.shape[1]
    first = torch.full_like(groups, length).scatter_reduce_(1, groups, position, "amin")
    last = torch.full_like(groups, -1).scatter_reduce_(1, groups, position, "amax")
    return first.gather(1, groups), last.gather(1, groups)


def constant_token(ids: Tensor, drop: Tensor, *, token_id: int) -> Tensor:
    """Replace every dropped token by one and the same.

    Args:
        ids: (B, L) int64.
        drop: (B, L) bool.
        token_id: [UNK], [SEP] or [MASK] of the tokenizer.

    Returns:
        (B, L) int64.
    """
    return ids.masked_fill(drop, token_id)


def random_token(ids: Tensor, drop: Tensor, *, ordinary: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Replace every dropped token by one drawn uniformly from the vocabulary without special tokens.

    Args:
        ids: (B, L) int64.
        drop: (B, L) bool.
        ordinary: (V',) int64 ids to draw from.
        generator: Source of randomness; None is torch's global one, which the Trainer checkpoints.

    Returns:
        (B, L) int64.
    """
    drawn = torch.randint(len(ordinary), ids.shape, device=ids.device, generator=generator)
    return torch.where(drop, ordinary[drawn], ids)


def delete(columns: Columns, drop: Tensor, *, real: Tensor, fills: dict[str, int], pad_left: bool) -> Columns:
    """Remove the dropped tokens, close the gaps and pad again: the batch becomes as short as its longest row.

    The new length depends on the data, so on an accelerator this waits for the device once.

    Args:
        columns: Token columns, each (B, L): input_ids, attention_mask, …
        drop: (B, L) bool.
        real: (B, L) bool, False on padding.
        fills: What padding holds in each column.
        pad_left: Whether padding stands before the text.

    Returns:
        The columns, each (B, L') with 1 ≤ L' ≤ L.
    """
    stays = real & ~drop
    lengths = stays.sum(1, keepdim=True)
    width = max(int(lengths.max()), 1)
    order = (stays if pad_left else ~stays).to(torch.uint8).argsort(dim=1, stable=True)
    order = order[:, -width:] if pad_left else order[:, :width]
    filled = torch.arange(width, device=drop.device).expand(len(drop), width)
    filled = filled >= width - lengths if pad_left else filled < lengths
    return {name: column.gather(1, order).masked_fill(~filled, fills[name]) for name, column in columns.items()}


def pad_to(column: Tensor, width: int, *, fill: int, pad_left: bool) -> Tensor:
    """Pad a token column to a width.

    Args:
        column: (B, L, …) with L ≤ width.
        width: The new L.
        fill: What padding holds.
        pad_left: Whether padding stands before the text.

    Returns:
        (B, width, …).
    """
    missing = width - column.shape[1]
    after = (0, 0) * (column.dim() - 2)  # axes are named from the last
    return functional.pad(column, (*after, *((missing, 0) if pad_left else (0, missing))), value=fill)


def _constant(role: str) -> Strategy:
    def strategy(columns: Columns, drop: Tensor, facts: TokenFacts) -> Columns:
        return columns | {"input_ids": constant_token(columns["input_ids"], drop, token_id=facts.token_ids[role])}

    return strategy


def _previous_salient(columns: Columns, drop: Tensor, facts: TokenFacts) -> Columns:
    ids = previous_salient(
        columns["input_ids"], drop, segments=facts.segments, source=facts.source, groups=facts.groups
    )
    return columns | {"input_ids": ids}


def _random(columns: Columns, drop: Tensor, facts: TokenFacts) -> Columns:
    return columns | {"input_ids": random_token(columns["input_ids"], drop, ordinary=facts.ordinary)}


def _delete(columns: Columns, drop: Tensor, facts: TokenFacts) -> Columns:
    return delete(columns, drop, real=facts.real, fills=facts.fills, pad_left=facts.pad_left)


STRATEGIES: dict[str, Strategy] = {
    "previous_salient": _previous_salient,
    "unk": _constant("unk"),
    "sep": _constant("sep"),
    "mask": _constant("mask"),
    "random": _random,
    "delete": _delete,
}
NEEDS_TOKEN = ("unk", "sep", "mask")
