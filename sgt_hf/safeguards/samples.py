"""Which sample it was: batches are shuffled, so an error looks the row up in the data set. Only ever done for one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def sample_name(index: int, sample: Mapping[str, Any], rows: Any) -> str:
    """Name a sample by its place in the batch, and by its row if the data set tells.

    Args:
        index: Its place in the batch.
        sample: Columns by which it is found in the data set.
        rows: The data set; None where that is not known.
    """
    row = _row_of(sample, rows)
    return f"sample {index} of the batch" + ("" if row is None else f" (row {row} of the data set)")


def _row_of(sample: Mapping[str, Any], rows: Any) -> int | None:
    """Find a sample in a map-style data set; rows that are augmented at random are not found."""
    if not sample or not hasattr(rows, "__getitem__") or not hasattr(rows, "__len__"):
        return None
    return next((index for index in range(len(rows)) if _holds(rows[index], sample)), None)


def _holds(row: Any, sample: Mapping[str, Any]) -> bool:
    return isinstance(row, Mapping) and all(name in row and same(value, row[name]) for name, value in sample.items())


def same(value: Any, other: Any) -> bool:
    """Compare as numbers of the first one's type, NaN being like NaN; whatever is no number as it is.

    Args:
        value: Any.
        other: Any.
    """
    try:
        with np.errstate(all="ignore"):  # a row may be of float64, and hold what the batch's float32 cannot
            array = np.asarray(value)
            return np.array_equal(array, np.asarray(other, dtype=array.dtype), equal_nan=True)
    except (TypeError, ValueError):
        return bool(np.all(value == other))
