"""Which texts of a split the ERASER benchmark measures, and which of them share a document."""

from __future__ import annotations

from datasets import Dataset

from benchmarks.eraser_settings import Cell


def count_measured(cell: Cell, split: Dataset) -> int:
    """Return how many texts are measured, the first of the split.

    Args:
        cell: Says at most how many.
        split: That is measured.

    Raises:
        ValueError: They lack a class that the split has, as the first half of a sorted split does.
    """
    count = min(cell.texts or len(split), len(split))
    if lacking := _lacking(split, range(count)):
        raise ValueError(
            f"the first {count} texts of {cell.dataset}'s {cell.split} split have none of the class {lacking}: give a "
            "larger --texts, or leave it out to measure all"
        )
    return count


def normalized_of(cell: Cell, split: Dataset) -> range:
    """Return the positions of the texts whose AOPC is normalised, none of them by default.

    Args:
        cell: Says how many, and how far apart.
        split: That is measured.

    Raises:
        ValueError: They lack a class that the split has.
    """
    chosen = range(0, count_measured(cell, split), cell.normalized_every)[: cell.normalized_texts]
    if chosen and (lacking := _lacking(split, chosen)):
        raise ValueError(
            f"the {len(chosen)} texts of {cell.dataset}'s {cell.split} split that are to be normalised have none of "
            f"the class {lacking}: give a larger --normalized-texts or --normalized-every"
        )
    return chosen


def documents_of(split: Dataset) -> list[int]:
    """Number every text's document: FEVER has several claims to one, and e-SNLI several hypotheses to one premise.

    Args:
        split: Rows of `load_eraser`; of a row's documents the first counts.
    """
    numbers: dict[tuple[str, ...], int] = {}
    rows = zip(split["document"][:], split["doc_lengths"][:], strict=True)
    return [numbers.setdefault(tuple(words[: lengths[0]]), len(numbers)) for words, lengths in rows]


def _lacking(split: Dataset, chosen: range) -> str:
    """The names of the classes that the split has and some of its rows have not."""
    labels = split["label"][:]
    lacking = set(labels) - {labels[row] for row in chosen}
    return ", ".join(split.features["label"].int2str(label) for label in sorted(lacking))
