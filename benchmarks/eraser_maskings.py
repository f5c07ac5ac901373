"""The maskings of guided training side by side: plain → guided, and whether seeds tell the two apart."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.common import markdown_table
from benchmarks.eraser_maps import gain_of
from benchmarks.eraser_rows import KINDS, Cells, Values, of_shared_seeds, values_of
from benchmarks.eraser_told import told_seeds
from sgt_hf.faithfulness import METHODS


def by_masking(arms: dict[str, Cells]) -> dict[str, tuple[Cells, Cells]]:
    """Return plain's and guided's cells of the seeds that both have, by the masking of the guided ones.

    Args:
        arms: By arm, its finished cells, of one data set and model.
    """
    guided: dict[str, Cells] = {}
    for cell in arms["guided"]:
        guided.setdefault(cell["settings"]["knobs"]["sgt_masking"], []).append(cell)
    return {
        masking: of_shared_seeds({"plain": arms["plain"], "guided": cells}, "plain", "guided")
        for masking, cells in sorted(guided.items())
    }


def table(pairs: dict[str, tuple[Cells, Cells]]) -> str:
    """Lay out accuracy and the AOPC of every method that all cells have, raw, and beyond a random ranking.

    Args:
        pairs: By masking, plain's and guided's cells of the same seeds.
    """
    cells = [cell for pair in pairs.values() for side in pair for cell in side]
    known = [method for method in METHODS if all(method in cell["per_example"] for cell in cells)]
    measured = [(method, kind) for method in known for kind in KINDS]
    header = ["masking", "seeds", "accuracy", *(f"{method} {KINDS[kind]}" for method, kind in measured)]
    raw, beyond = [], []
    for masking, pair in pairs.items():
        first = [masking, f"{len(pair[0])}", _told(*(values_of(side, "accuracy", "").mean(1) for side in pair))]
        raw.append([*first, *(_told(*(values_of(side, *row).mean(1) for side in pair)) for row in measured)])
        beyond.append([*first[:2], *(_told(*_gains(pair, *row)) for row in measured)])
    return "\n\n".join(
        [
            markdown_table(header, raw),
            "Beyond a random ranking of the same model:",
            markdown_table([*header[:2], *header[3:]], beyond),
            "plain → guided, means over seeds; { } is Student's 95 % interval of the difference over seeds, * where it "
            "excludes 0, uncorrected for the number of intervals.",
        ]
    )


def _gains(pair: tuple[Cells, Cells], method: str, kind: str) -> Iterator[Values]:
    return (np.array([gain_of(cell, method, kind) for cell in side], dtype=float) for side in pair)


def _told(plain: Values, guided: Values) -> str:
    return f"{plain.mean():.3f} → {guided.mean():.3f} {told_seeds((guided - plain).round(9), 3)}"
