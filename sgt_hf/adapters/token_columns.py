"""Batches of texts by columns: which hold something of each token, and how texts are joined and cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..masking.text import pad_to
from .base import Batch


def token_columns(batch: Batch) -> Batch:
    """Return the columns of one number a token, (B, L) each, labels of tokens left out.

    Args:
        batch: With `input_ids` (B, L).
    """
    shape = batch["input_ids"].shape
    return {
        name: column for name, column in batch.items() if getattr(column, "shape", None) == shape and name != "labels"
    }


def stacked(batches: Sequence[Batch], fills: Mapping[str, int], *, pad_left: bool) -> Batch:
    """Return one batch of all texts, padded to the longest; columns of no tokens are joined as they are.

    Args:
        batches: With `input_ids` (B, L) each, of any L.
        fills: What padding holds, by column.
        pad_left: Which side is padded.

    Raises:
        ValueError: A column is of another shape in another batch; names it.
    """
    width = max(batch["input_ids"].shape[1] for batch in batches)
    per_token = set.intersection(*(_per_token(batch) for batch in batches))
    joined = {}
    for name in batches[0]:
        parts = [batch[name] for batch in batches]
        if name in per_token:
            parts = [pad_to(part, width, fill=fills[name], pad_left=pad_left) for part in parts]
        shapes = {tuple(part.shape[1:]) for part in parts}
        if len(shapes) > 1:
            raise ValueError(
                f"the column {name!r} has samples of shapes {sorted(shapes)}, and texts of several lengths are run "
                "together: leave the column out, or give it one shape"
            )
        joined[name] = torch.cat(parts)
    return joined


def trimmed(batch: Batch, real: Tensor, *, pad_left: bool) -> Batch:
    """Return the texts without the padding at the end that all of them have (left: at the start).

    Args:
        batch: With `input_ids` (B, L).
        real: (B, L) bool, False at padding.
        pad_left: Which side is cut.
    """
    per_token = _per_token(batch)
    used = real.any(0).nonzero().squeeze(1).tolist() or [0, 0]
    part = slice(used[0], None) if pad_left else slice(used[-1] + 1)
    return {name: column[:, part] if name in per_token else column for name, column in batch.items()}


def refuse_deletion(batch: Batch) -> None:
    """Refuse to delete tokens where a column would not become shorter with the text, or would tell its old place.

    Args:
        batch: With `input_ids` (B, L).

    Raises:
        ValueError: There are `position_ids`, or columns of several axes of which one is the tokens'; names them.
    """
    columns = token_columns(batch)
    if "position_ids" in columns:
        raise ValueError("'delete' cannot renumber explicit position_ids: leave them out of the batch")
    long = sorted(_per_token(batch) - {*columns, "labels"})
    if long:
        raise ValueError(f"'delete' cannot shorten the columns {long}, of several axes: use another masking, as 'mask'")


def changes(values: Tensor) -> Tensor:
    """Return where a value differs from the one to its left, and True at the first.

    Args:
        values: (B, L, …).

    Returns:
        (B, L, …) bool.
    """
    first = torch.ones_like(values[:, :1], dtype=torch.bool)
    return torch.cat([first, values[:, 1:] != values[:, :-1]], dim=1)


def _per_token(batch: Batch) -> set[str]:
    """Names of the columns that hold something of each token: (B, L), or (B, L, …) as boxes on a page."""
    shape = batch["input_ids"].shape
    return {name for name, column in batch.items() if getattr(column, "shape", ())[:2] == shape}
