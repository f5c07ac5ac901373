"""Which row of a batch is at fault where its collator raises, added to the error."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

OF_ROWS = (LookupError, RuntimeError, TypeError, ValueError)  # what rows make a collator raise


class RowError(ValueError):
    """Of one row of a batch; the message says what is wrong with it.

    Args:
        message: For the user.
        index: The row's position among those that were to make a batch; None where that is not known.
    """

    def __init__(self, message: str, index: int | None = None) -> None:
        super().__init__(message)
        self.index = index


def name_odd_row(
    error: Exception,
    rows: Sequence[Mapping[str, Any]],
    collator: Callable[[list[Any]], Any],
    name: Callable[[int], str],
) -> None:
    """Add to an error's message the row that it is about: the first that makes no batch alone, or the one it knows.

    Args:
        error: What `collator` raised for the rows; it is left as it is where no row is at fault by itself.
        rows: Of one batch.
        collator: Called again on single rows.
        name: From a row's position in the batch to what the message calls it.
    """
    odd = _first_alone(rows, collator)
    if odd is None and isinstance(error, RowError):  # unlike the others; of other rows where a collator stacks more
        odd = error.index
    if odd is not None and odd < len(rows):
        error.args = (f"{error} [{name(odd)}]",)


def _first_alone(rows: Sequence[Mapping[str, Any]], collator: Callable[[list[Any]], Any]) -> int | None:
    """The first row that makes no batch by itself either."""
    for index, row in enumerate(rows):
        try:
            collator([dict(row)])
        except OF_ROWS:
            return index
    return None
