"""From a data set's rows to the batches of an evaluation: longest first, bounded in features, shared by processes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..adapters import Adapter
from ..adapters.base import Batch, base_of, logits_of, takes_anything
from ..data.other_columns import LABELS, label_column


@dataclass(frozen=True)
class Rows:
    """What one look at every row tells.

    Attributes:
        lengths: (N,) features of each row.
        truncated: (N,) words that `encode_words` cut off each row, or None where the data set does not say.
        labels: (N,) labels of each row, 1 where it has none.
        documents: (N,) ids of each row's first document, or None where a row does not say.
    """

    lengths: list[int]
    truncated: list[int] | None
    labels: list[int]
    documents: list[str] | None

    @property
    def order(self) -> list[int]:
        """Positions, longest row first, so that memory runs out at once or never."""
        return sorted(range(len(self.lengths)), key=lambda i: -self.lengths[i])


def survey_rows(model: nn.Module, dataset: Any, main_input: str) -> Rows:
    """Look at every row once.

    Args:
        model: Whose limit of positions the rows must keep.
        dataset: N rows of features, a map-style data set.
        main_input: The column whose length counts.

    Raises:
        ValueError: A row has more features than the model has positions; names the row and the way out.
    """
    lengths, truncated, labels, documents = [], [], [], []
    for index in range(len(dataset)):
        row = dataset[index]
        labels.append(_count_labels(row))
        lengths.append(len(row[main_input]))
        truncated.append(row.get("truncated_words"))
        documents.append(_first_document(row.get("docids")))
    limit = position_limit(model)
    longest = max(range(len(lengths)), key=lengths.__getitem__, default=0)
    if limit is not None and lengths and lengths[longest] > limit:
        over = sum(length > limit for length in lengths)
        raise ValueError(
            f"row {longest} has {lengths[longest]} tokens and {type(model).__name__} has positions for {limit} "
            f"({over} of {len(lengths)} rows are too long): encode with max_length={limit}, by encode_words so that "
            "the report says how many words were cut; or take a model without a limit"
        )
    return Rows(
        lengths,
        None if None in truncated else [int(words) for words in truncated],
        labels,
        None if None in documents else [str(document) for document in documents],
    )


def refuse_ragged_labels(rows: Rows) -> None:
    """Raise where rows differ in the number of their labels, as in token classification, so that none stack.

    Args:
        rows: See `survey_rows`.

    Raises:
        ValueError: They do; names the first that does, and the way out.
    """
    for index, labels in enumerate(rows.labels):
        if labels != rows.labels[0]:
            raise ValueError(
                f"row {index} has {labels} labels and row 0 has {rows.labels[0]}, and one class of each row is "
                "expected: give class indices, or leave the column of labels out"
            )


def _count_labels(row: Any) -> int:
    """How many labels a row has; 1 where it has none, which may be of some rows alone."""
    name = label_column([name for name in LABELS if row.get(name) is not None], of_texts=True)
    labels = -1 if name is None else row[name]
    if isinstance(labels, list | tuple):
        return len(labels)
    return labels.numel() if isinstance(labels, Tensor) else int(np.size(labels))


def _first_document(docids: Any) -> Any:
    """The first of a row's ids; None where it has none, or a column of that name that is no list of them."""
    if not isinstance(docids, list | tuple | np.ndarray | Tensor) or getattr(docids, "ndim", 1) != 1 or not len(docids):
        return None
    return docids[0].item() if isinstance(docids, Tensor) else docids[0]


def position_limit(model: nn.Module) -> int | None:
    """Return how many positions a model has, or None where its configuration names no limit, or it computes positions.

    RoBERTa and its kin number positions from the padding id on, so the first rows of their table are never used.

    Args:
        model: Any module; only one with a Hugging Face configuration has a known limit.
    """
    limit = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    if not isinstance(limit, int) or limit < 1 or not _has_position_table(model):  # XLNet says −1 for none
        return None
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            return limit - module.padding_idx - 1
    return limit


def _has_position_table(model: nn.Module) -> bool:
    """Whether positions are looked up, learned or not; relative and rotary ones are computed and know no end."""
    paths = [name for name, _ in (*model.named_modules(), *model.named_buffers())]
    names = {path.rpartition(".")[2] for path in paths} - {"position_ids"}
    tables = (name for name in names if not name.startswith("relative"))
    return any("position" in name or name in ("wpe", "pos_encoding") for name in tables)


def cut_batches(order: Sequence[int], lengths: Sequence[int], *, batch_size: int, max_features: int) -> list[list[int]]:
    """Cut positions into batches of at most `batch_size` rows and, but for single rows, `max_features` features.

    Args:
        order: Positions, longest row first.
        lengths: Of all rows.
        batch_size: Rows, ≥ 1.
        max_features: Rows × features of the longest.

    Raises:
        ValueError: The batch size is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be ≥ 1, got {batch_size}")
    batches = []
    start = 0
    while start < len(order):
        fitting = max_features // max(lengths[order[start]], 1)
        end = start + max(1, min(batch_size, fitting))
        batches.append(list(order[start:end]))
        start = end
    return batches


def load_batches(
    model: nn.Module, adapter: Adapter, dataset: Any, batches: Sequence[list[int]], collator: Any = None
) -> Iterator[tuple[list[int], Batch]]:
    """Yield positions and collated batch, on the model's device, labels included where there are any.

    Args:
        model: Whose forward's arguments are the columns that are kept, all where it takes any (`forward(**batch)`).
        adapter: Whose extra columns are kept too.
        dataset: Rows of features.
        batches: Positions of each batch.
        collator: From rows to batch; None for the adapter's own.

    Raises:
        ValueError: The forward requires labels, without which it is called here; or the collator returns something
            other than tensors and None.
    """
    if collator is None:
        collator = adapter.collator()
    arguments = inspect.signature(base_of(model).forward).parameters
    if "labels" in arguments and arguments["labels"].default is inspect.Parameter.empty:
        raise ValueError(
            f"the forward of {type(base_of(model)).__name__} requires labels, and a prediction is explained without "
            "them: give the argument a default, labels=None, and return logits alone then"
        )
    wanted = {*arguments, *adapter.extra_columns, *LABELS}
    takes_all = adapter.main_input not in arguments and takes_anything(model)
    device = next(model.parameters()).device

    def collate(rows: list[dict[str, Any]]) -> Batch:
        batch = collator([{name: value for name, value in row.items() if takes_all or name in wanted} for row in rows])
        given = {name: column for name, column in batch.items() if column is not None}
        for name, column in given.items():
            if not isinstance(column, Tensor):
                raise ValueError(
                    f"the collator's {name!r} is a {type(column).__name__}, and batches are measured as tensors: leave "
                    "it out, or give one value a row as a tensor"
                )
        return {name: column.to(device) for name, column in given.items()}

    # A generator of its own, because a loader draws a seed when it starts: the global one stays as it was.
    loader = DataLoader(dataset, batch_sampler=batches, collate_fn=collate, generator=torch.Generator())
    yield from zip(batches, loader, strict=True)


def class_logits(model: nn.Module, inputs: Batch) -> Tensor:
    """Return (B, K) logits of a model that predicts one of K ≥ 2 classes for each sample.

    Args:
        model: Is run.
        inputs: Of its forward, of B samples.

    Raises:
        ValueError: Its outputs are of another shape, as those of a regression of one output or of every token.
    """
    logits = logits_of(model(**inputs))
    if logits.dim() != 2 or logits.shape[1] < 2:
        samples = len(next(iter(inputs.values())))
        raise ValueError(
            f"{type(model).__name__} gives outputs of shape {tuple(logits.shape)} for {samples} samples: faithfulness "
            "is defined by one predicted class of K ≥ 2 for each, outputs of shape (B, K), which regression and token "
            "classification do not give"
        )
    return logits
