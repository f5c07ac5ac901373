"""The first texts of a training, looked at before its first step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.utils.data import IterableDataset

from ..adapters import TextAdapter
from ..data.collators import pads_token_columns
from ..faithfulness.padding import refuse_shifted_positions

_LOOKED_AT = 64  # rows


def refuse_bad_texts(
    model: nn.Module, dataset: Any, collator: Any, adapter: TextAdapter, *, drops_columns: bool, moves_padding: bool
) -> None:
    """Raise where the first texts tell that a training would go wrong unseen. Nothing is read of a stream.

    Args:
        model: Unwrapped.
        dataset: What is trained on.
        collator: Of its batches.
        adapter: Of the model's inputs.
        drops_columns: Whether columns that the model does not read are dropped before the collator.
        moves_padding: Whether masking changes how far a text is padded.

    Raises:
        ValueError: Texts have not been encoded, what spares tokens would be lost, or the model's positions count
            padding that moves.
    """
    if pads_token_columns(collator):
        _refuse_raw(_first_rows(dataset, 1))
    if drops_columns:
        _refuse_lost_columns(dataset, collator, adapter)
    rows = _first_rows(dataset) if moves_padding and adapter.tokenizer.padding_side == "left" else []
    if rows and all("input_ids" in row for row in rows):
        refuse_shifted_positions(model, rows, adapter, collator)


def _first_rows(dataset: Any, count: int = _LOOKED_AT) -> list[dict[str, Any]]:
    """Return the first rows of a map-style data set that are dicts; a stream, which may be read only once, has none."""
    if isinstance(dataset, IterableDataset) or not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
        return []
    rows = (dataset[index] for index in range(min(len(dataset), count)))
    return [row for row in rows if isinstance(row, dict)]


def _refuse_raw(rows: Sequence[Any]) -> None:
    """Raise where texts have not been encoded."""
    raw = next((row for row in rows if "input_ids" not in row), None)
    if raw is not None:
        raise ValueError(
            f"the rows have no 'input_ids' (they have {sorted(raw)}): encode the texts first, by the tokenizer or by "
            "sgt_hf.data.rationales.encode_words"
        )


def _refuse_lost_columns(dataset: Any, collator: Any, adapter: TextAdapter) -> None:
    """Raise where what spares tokens would be dropped with the unused columns before a collator sees it."""
    columns = {"word_ids", "protected"}.intersection(*_first_rows(dataset, 1))
    rows = _first_rows(dataset) if columns else []
    lost = sorted(name for name in columns if any(_spares(row, name, adapter.special_ids) for row in rows))
    if lost:
        raise ValueError(
            f"the data set's columns {lost} would not reach {type(collator).__name__}, and tokens that they spare "
            "would be masked: leave data_collator out, so that they are padded; or set remove_unused_columns=False if "
            f"yours pads them; or drop them, remove_columns({lost})"
        )


def _spares(row: Any, name: str, special: set[int]) -> bool:
    """Whether a column keeps a token from being masked that is not special anyway."""
    spared = [value is not None and (value < 0 if name == "word_ids" else value != 0) for value in row[name]]
    return any(kept and index not in special for kept, index in zip(spared, row.get("input_ids", ()), strict=False))
