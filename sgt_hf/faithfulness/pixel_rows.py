"""From images or series to the batches of a measurement: what cannot be measured is told by its row of the data set."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..adapters import Adapter, ImageAdapter
from ..adapters.base import Batch, Collator, refuse_other_input
from ..adapters.image import channels_of, refuse_channels
from ..data.odd_row import OF_ROWS, name_odd_row
from .rows import class_logits, cut_batches, load_batches


def pixel_batches(
    model: nn.Module, dataset: Any, adapter: Adapter, batch_size: int
) -> Iterator[tuple[list[int], Batch]]:
    """Yield rows' numbers and their batch, in the order of the data set, on the model's device and in its precision.

    Args:
        model: See `load_batches`.
        dataset: N rows, as for `pixel_scores`.
        adapter: The model's.
        batch_size: Rows at once.

    Raises:
        ValueError: The model does not take what the adapter ranks, there are no rows, the batch size is below 1, no
            model should be given an image or a series, or this model takes other channels; names the row where one is
            at fault.
    """
    refuse_other_input(model, adapter)
    count = len(dataset)
    if not count:
        raise ValueError("the data set is empty: there is nothing to evaluate")
    cuts = cut_batches(range(count), [1] * count, batch_size=batch_size, max_features=count)
    expected = channels_of(model) if isinstance(adapter, ImageAdapter) else None
    dtype = next((each.dtype for each in model.parameters() if each.is_floating_point()), torch.float32)
    for index, batch in load_batches(model, adapter, dataset, cuts, _naming(adapter.collator(), cuts)):
        refuse_channels(batch[adapter.main_input], expected)
        yield index, batch | {adapter.main_input: batch[adapter.main_input].to(dtype)}


def _naming(collator: Collator, cuts: Sequence[list[int]]) -> Collator:
    """Make the batches of `cuts` in their order; an error says which row of the data set it is about."""
    order = iter(cuts)

    def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
        index = next(order)
        try:
            return collator(rows)
        except OF_ROWS as error:
            name_odd_row(error, rows, collator, lambda odd: f"row {index[odd]} of the data set")
            raise

    return collate


def classes_of(batch: dict[str, Any], index: Sequence[int]) -> Tensor:
    """Take the labels out of a batch.

    Args:
        batch: From which they are removed.
        index: The numbers of its rows.

    Returns:
        (B,) int64

    Raises:
        ValueError: There are none, or they are not one class from 0 on each.
    """
    labels: Tensor | None = batch.pop("labels", None)
    if labels is None:
        raise ValueError(
            "a sample has no label, and it is the true label's score that is explained: leave out samples without"
        )
    if labels.dim() == 2 and labels.shape[1] == 1:
        labels = labels.squeeze(1)
    if labels.dim() != 1 or labels.is_floating_point():
        raise ValueError(
            f"labels are one class each, and these are {labels.dtype} of shape {tuple(labels.shape)}: several labels "
            "train, but are not measured"
        )
    refuse_classes(labels, index)
    return labels


def refuse_classes(labels: Tensor, index: Sequence[int], *, below: float = math.inf) -> None:
    """Raise where a label is no class.

    Args:
        labels: (B,)
        index: The numbers of the batch's rows.
        below: K, where it is known.

    Raises:
        ValueError: A label is not in [0, K); names the row.
    """
    wrong = (labels < 0) | (labels >= below)
    if wrong.any():
        first = int(wrong.nonzero()[0])
        classes = "on" if below == math.inf else f"to {below - 1}, for the model has {below} outputs"
        raise ValueError(
            f"row {index[first]} of the data set has the label {int(labels[first])}, and it is the true label's score "
            f"that is explained: labels are classes from 0 {classes}; leave out samples without"
        )


@torch.no_grad()
def count_classes(model: nn.Module, adapter: Adapter, batch: Batch) -> int:
    """Return K, by the logits of one sample: not every model says it.

    Args:
        model: In eval mode.
        adapter: The model's.
        batch: Without labels.

    Raises:
        ValueError: See `class_logits`.
    """
    one = {name: column[:1] for name, column in batch.items()}
    return class_logits(model, adapter.model_inputs(one)).shape[1]


def check_scores(dataset: Any, scores: Tensor) -> None:
    """Raise where the rows do not have finite scores each.

    Args:
        dataset: N rows.
        scores: (N, F)

    Raises:
        ValueError: There are not N of them, or one is not finite.
    """
    if len(scores) != len(dataset):
        raise ValueError(f"there are scores of {len(scores)} images and the data set has {len(dataset)}")
    wrong = (~scores.isfinite()).nonzero()
    if len(wrong):
        raise ValueError(f"a score of row {int(wrong[0, 0])} of the data set is NaN or infinite, which has no rank")
