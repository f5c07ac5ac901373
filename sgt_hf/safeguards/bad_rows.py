"""Rows that make no batch, or whose label is no class: told with the sample's name, while they are on the CPU."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..adapters.base import Collator
from ..data.collators import pads_texts
from ..data.odd_row import OF_ROWS, name_odd_row
from ..data.other_columns import LABELS, label_column
from ..data.series_rows import is_class
from .samples import same, sample_name

Row = Mapping[str, Any]

_NO_LABEL = -100  # cross-entropy leaves it out


class NamingCollator:
    """A collator that says which sample of the data set is at fault, where one is.

    Args:
        collator: Makes the batches.
        dataset: What the rows are from.
        model: Whose labels are class indices, below its `num_labels` if it has that, or K floats if it is multi-label.
        names: `label_names` of the trainer.
        any_labels: Whether a loss of the user's reads them; only soft ones are refused then.
    """

    def __init__(
        self,
        collator: Collator,
        dataset: Any,
        model: nn.Module,
        *,
        names: Sequence[str] = ("labels",),
        any_labels: bool = False,
    ) -> None:
        self._collator = collator
        self._dataset = dataset
        self._name = names[0] if len(names) == 1 else "labels"
        problem = getattr(getattr(model, "config", None), "problem_type", None)
        self._has_one = problem == "single_label_classification"
        self._has_classes = not any_labels and (problem is None or self._has_one)
        self._has_several = not any_labels and problem == "multi_label_classification"
        self._num_labels: float = getattr(model, "num_labels", math.inf)

    def __call__(self, rows: list[Any]) -> Any:
        """Collate.

        Args:
            rows: Of the data set.

        Raises:
            ValueError: A label is missing, is no class, is soft, or is not the K floats of a multi-label model.
            Exception: What the collator raises, its message with the row's number where one row is at fault.
        """
        try:
            batch = self._collator(rows)
        except OF_ROWS as error:
            if all(isinstance(row, Mapping) for row in rows):
                self._refuse_rows(rows, error)
                name_odd_row(error, rows, self._collator, lambda odd: sample_name(odd, rows[odd], self._dataset))
            raise
        labels = batch.get("labels", batch.get(self._name)) if isinstance(batch, Mapping) else None
        self._refuse_soft(labels, rows)
        self._refuse_strange(labels, rows)
        return batch

    def _refuse_strange(self, labels: Any, rows: Sequence[Any]) -> None:
        """Raise where a batch's labels are not all classes, or not K floats of several."""
        told = torch.atleast_1d(labels) if isinstance(labels, Tensor) else None
        strange = None if told is None else self._strange(told)
        if told is None or strange is None or not strange.any():
            return
        first = int(strange.nonzero()[0])
        label = told[first].tolist()
        column = self._column(rows) if all(isinstance(row, Mapping) for row in rows) else None
        # a collator may put the rows in another order, and other labels for theirs
        own = [index for index, row in enumerate(rows) if column in row and same(label, row[column])] if column else []
        named = self._named(own[0], rows) if own else self._named(first, rows, of=len(told))
        where = _where(rows[own[0]], column) if own else ""
        raise ValueError(f"{named} has the label {label}{where}; {self._expected()}")

    def _strange(self, labels: Tensor) -> Tensor | None:
        """Mark (B,) samples, None for no look at them; nothing waits for the device."""
        if self._has_several:
            fits = labels.is_floating_point() and labels.shape[1:] == (self._num_labels,)
            return torch.full((len(labels),), not fits)
        if not self._has_classes or labels.dim() not in (1, 2) or labels.device.type != "cpu":
            return None
        if labels.is_floating_point():
            if labels.dim() == 2:
                return None  # of which `_refuse_soft` tells
            between = labels != labels.round()
            return between if between.any() else torch.ones_like(between)
        return ((labels < 0) & (labels != _NO_LABEL) | (labels >= self._num_labels)).reshape(len(labels), -1).any(1)

    def _refuse_soft(self, labels: Any, rows: Sequence[Any]) -> None:
        """Raise where floats are not 0 and 1 of several classes, for which the loss would take them."""
        if self._has_several or not isinstance(labels, Tensor) or labels.dim() < 2 or labels.device.type != "cpu":
            return
        if not labels.is_floating_point():
            return
        soft = ((labels != 0) & (labels != 1)).flatten(1).any(1) | self._has_one
        if soft.any():
            first = int(soft.nonzero()[0])
            raise ValueError(
                f"{self._named(first, rows, of=len(labels))} has the label {labels[first].tolist()}; floats must be "
                "0.0 or 1.0 for each class of a multi-label task. Of probabilities, as mixup makes, and of regression "
                "the loss is not defined here: give class indices, or use transformers.Trainer"
            )

    def _refuse_rows(self, rows: Sequence[Row], error: Exception) -> None:
        """Raise where a row's label is no class, is not K floats of several, or is missing beside others'."""
        if not (self._has_classes or self._has_several):
            return
        name = self._column(rows)
        if name is None:
            return
        for index, row in enumerate(rows):
            if name not in row or not self._is_label(row[name]):
                found = f"the label {row[name]!r}{_where(row, name)}" if name in row else f"no {name!r}"
                raise ValueError(f"{self._named(index, rows)} has {found}; {self._expected()}") from error

    def _column(self, rows: Sequence[Row]) -> str | None:
        """The column that the collator makes labels of: of texts by its name alone, otherwise one that has numbers."""
        if self._name not in LABELS and any(self._name in row for row in rows):
            return self._name
        of_texts, names = pads_texts(self._collator), set().union(*rows)
        numbers = {name for name in names if any(not isinstance(row.get(name), str | None) for row in rows)}
        return label_column(names if of_texts or not numbers & set(LABELS) else numbers, of_texts=of_texts)

    def _named(self, index: int, rows: Sequence[Any], *, of: int | None = None) -> str:
        """Name a sample by its place among `of`, which tells a row where they are as many."""
        if of not in (None, len(rows)):
            return f"sample {index} of the batch"
        return sample_name(index, rows[index] if isinstance(rows[index], Mapping) else {}, self._dataset)

    def _expected(self) -> str:
        if self._has_several:
            return (
                f"the labels of a multi-label model must be {self._num_labels} floats a sample, 1.0 for each of its "
                "classes and 0.0 for the others: map them so, [float(value) for value in labels]"
            )
        known = math.isfinite(self._num_labels)
        return (
            "labels must be integers from 0"
            f"{f' to {self._num_labels - 1}, for the model has num_labels={self._num_labels}' if known else ''}"
            ": mend or leave out such samples, or build the model for more classes"
        )

    def _is_label(self, label: Any) -> bool:
        if self._has_several:
            values = np.asarray(label)
            return values.dtype.kind == "f" and values.shape == (self._num_labels,)
        labels = np.asarray(label)
        if labels.ndim and labels.dtype.kind not in "iu":
            return True  # of which `_refuse_soft` tells
        return all(is_class(one, self._num_labels) or one == _NO_LABEL for one in labels.reshape(-1).tolist())


def _where(row: Row, name: str | None) -> str:
    """The column of a label, where the row has several."""
    return f" in its column {name!r}" if sum(one in row for one in LABELS) > 1 else ""
