"""From encoded texts to batches: transformers' padding collators, and the per-token columns that they cannot pad."""

from dataclasses import dataclass, fields
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DataCollatorForTokenClassification, DataCollatorWithPadding

from ..masking.text import FILLS


class PadsTokenColumns:
    """Pads, around a collator of transformers, the per-token columns that it cannot pad itself.

    Those are `word_ids`, `segment_ids` and `protected` (1 for tokens that masking must spare), wherever features have
    them, padded on the tokenizer's side with the values in `sgt_hf.masking.text.FILLS`. So is None, which a fast
    tokenizer's own `word_ids()` has for special tokens, and NaN, which data sets formatted as tensors make of it.
    """

    def __call__(self, features: list[dict[str, Any]], *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Collate.

        Args:
            features: One mapping per row; unchanged afterwards.
            *args: Of the collator.
            **kwargs: Of the collator.

        Returns:
            Tensors of shape (B, L), and what else the collator makes.
        """
        ordinary = [{name: row[name] for name in row if name not in FILLS} for row in features]
        collator: Any = super()
        batch: dict[str, Any] = collator.__call__(ordinary, *args, **kwargs)
        on_left = cast(Any, self).tokenizer.padding_side == "left"
        for name, fill in FILLS.items():
            if name in features[0]:
                rows = [_whole(row[name], fill) for row in features]
                batch[name] = _pad_rows(rows, fill=fill, width=batch["input_ids"].shape[1], on_left=on_left)
        return batch


@dataclass
class DataCollatorWithWordIds(PadsTokenColumns, DataCollatorWithPadding):
    """Pad a batch as `transformers.DataCollatorWithPadding` does, and `word_ids` and their kin as well."""


@dataclass
class _TokenClassificationWithWordIds(PadsTokenColumns, DataCollatorForTokenClassification):
    """The same around `transformers.DataCollatorForTokenClassification`."""


_PADDING = {
    DataCollatorWithPadding: DataCollatorWithWordIds,
    DataCollatorForTokenClassification: _TokenClassificationWithWordIds,
}


def pads_token_columns(collator: Any) -> bool:
    """Return whether a collator is one of ours, and no subclass that may read other rows.

    Args:
        collator: Any collator.
    """
    return type(collator) in _PADDING.values()


def pads_texts(collator: Any) -> bool:
    """Return whether a collator is one that pads texts, transformers' or ours or a subclass of one.

    Args:
        collator: Any collator.
    """
    return isinstance(collator, tuple(_PADDING))


def with_word_ids(collator: Any) -> Any:
    """Return transformers' own padding collators as ones that pad the per-token columns too; others as they are.

    Args:
        collator: Any collator.
    """
    padding = _PADDING.get(type(collator))
    if padding is None:
        return collator
    return padding(**{part.name: getattr(collator, part.name) for part in fields(collator)})


def _whole(values: Any, fill: int) -> NDArray[np.int64]:
    """A row as integers, None and NaN as the fill."""
    row = np.asarray(values)
    if row.dtype.kind in "biu":
        return row.astype(np.int64)
    numbers = row.astype(np.float64)  # of None too, which becomes NaN
    return np.where(np.isnan(numbers), fill, numbers).astype(np.int64)


def _pad_rows(rows: list[NDArray[np.int64]], *, fill: int, width: int, on_left: bool) -> Tensor:
    """Pad rows of integers to (B, width)."""
    padded = np.full((len(rows), width), fill)
    for row, values in zip(padded, rows, strict=True):
        row[width - len(values) if on_left else 0 :][: len(values)] = values
    return torch.from_numpy(padded)
