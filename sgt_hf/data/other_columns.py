"""Columns of a batch beside the one that is ranked: what a model reads as well."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import default_data_collator

from .odd_row import RowError

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


def label_column(names: Collection[str], *, of_texts: bool) -> str | None:
    """Return which of a row's columns a collator takes for its label.

    Where there are several, transformers' `DataCollatorWithPadding` lets the last of `LABELS` overwrite the others; its
    `default_data_collator`, and ours of series and images, take the first.

    Args:
        names: Of the columns.
        of_texts: Whether the collator pads texts.

    Returns:
        The name, or None where there is none.
    """
    return next((name for name in (reversed(LABELS) if of_texts else LABELS) if name in names), None)


def labels_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """Return `labels`, see `stack_labels`, of the first of `LABELS` that a row has; nothing where none has any.

    Args:
        rows: Of one batch.

    Raises:
        RowError: A row has no label and another has one.
    """
    name = label_column(set().union(*rows), of_texts=False)
    if name is None:
        return {}
    for index, row in enumerate(rows):
        if name not in row:
            raise RowError(f"row {index} of the batch has no {name!r}, and others have: leave such rows out", index)
    return {"labels": stack_labels([row[name] for row in rows])}


def stack_labels(labels: Sequence[Any]) -> Tensor:
    """Stack labels, integers of any size as int64.

    Args:
        labels: Numbers, or (K,) each of a multi-label task.

    Returns:
        (B,) int64, or (B, K) float.
    """
    stacked = torch.stack([torch.as_tensor(label) for label in labels])
    return stacked if stacked.is_floating_point() else stacked.long()


def _is_numeric(value: Any) -> bool:
    """Whether it can be stacked: no text, picture or record, nor a list of such."""
    if isinstance(value, list | tuple):
        return all(_is_numeric(item) for item in value)
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biuf"
    return isinstance(value, Tensor | int | float | np.number | np.bool_)
