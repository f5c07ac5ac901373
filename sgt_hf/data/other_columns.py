"""Columns of a batch beside the one that is ranked: what a model reads as well."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor
from transformers import default_data_collator

LABELS = ("labels", "label", "label_ids")  # what transformers calls a row's label


def stack_others(rows: Sequence[Mapping[str, Any]], own: Collection[str]) -> dict[str, Tensor]:
    """Stack the other columns of a batch's rows, as transformers' `default_data_collator` does.

    Args:
        rows: Of one batch, at least one.
        own: Names that the caller sees to itself.

    Returns:
        Each column that holds numbers or tensors, (B, …); texts, pictures and records stay out.

    Raises:
        ValueError: The rows of a column are not of one shape, or one lacks it; names the column.
    """
    names = [name for name, value in rows[0].items() if name not in own and _is_numeric(value)]
    batch: dict[str, Tensor] = {}
    for name in names:
        try:
            batch |= default_data_collator([{name: row[name]} for row in rows])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"the column {name!r} cannot be stacked, for its rows are not of one shape, or one lacks it: pad it, "
                f"or leave it out by remove_columns([{name!r}])"
            ) from error
    return batch


def _is_numeric(value: Any) -> bool:
    """Whether it can be stacked: no text, picture or record, nor a list of such."""
    if isinstance(value, list | tuple):
        return all(_is_numeric(item) for item in value)
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biuf"
    return isinstance(value, Tensor | int | float | np.number | np.bool_)
