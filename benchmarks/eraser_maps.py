"""What the maps of the ERASER benchmark are worth beside AOPC: NAOPC, agreement with people, sparsity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.eraser_rows import KINDS, Cells, first_of, of_shared_seeds
from benchmarks.eraser_told import digits_of, told_mean, told_seeds

MAPS = {"auprc": "AUPRC", "token_f1": "token F1", "iou_f1": "IOU F1", "gini": "Gini", "hoyer": "Hoyer"}


def maps(arms: dict[str, Cells]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of every arm; no rows where a cell knows nothing of it.

    Args:
        arms: By arm, its finished cells.
    """
    rows, digits = [], digits_of(arms)
    for name, of in _known_measures(arms).items():
        groups = (np.array([of(cell) for cell in group], dtype=float) for group in arms.values())
        rows.append([name, *(told_mean(group, digits) for group in groups)])
    return ["", *arms], rows


def map_differences(arms: dict[str, Cells], focus: str) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of one arm minus each other.

    Args:
        arms: By arm, its finished cells.
        focus: The arm.
    """
    digits = digits_of(arms)
    others = [arm for arm in arms if arm != focus]
    rows = []
    for name, of in _known_measures(arms).items():
        pairs = ([[of(cell) for cell in group] for group in of_shared_seeds(arms, focus, other)] for other in others)
        differences = [np.subtract(*map(np.array, pair)) for pair in pairs]
        rows.append([name, *(f"{each.mean():+.{digits}f} {told_seeds(each, digits)}" for each in differences)])
    return ["", *(f"{focus} − {arm} {{seeds}}" for arm in others)], rows


def _known_measures(arms: dict[str, Cells]) -> dict[str, Callable[[dict[str, Any]], float | None]]:
    """What every cell knows of every method's maps, by name."""
    cells = [cell for group in arms.values() for cell in group]
    methods = [method for method in first_of(arms)[0]["summary"]["methods"] if method != "random"]
    found = {f"{method} {name}": of for method in methods for name, of in _measures(method).items()}
    return {name: of for name, of in found.items() if all(of(cell) is not None for cell in cells)}


def _measures(method: str) -> dict[str, Callable[[dict[str, Any]], float | None]]:
    """Of a cell, by name, what its method's maps are worth; None where the cell does not know."""

    def normalized(kind: str) -> Callable[[dict[str, Any]], float | None]:
        return lambda cell: _known(cell["normalized"][method][kind]) if "normalized" in cell else None

    def of_maps(key: str) -> Callable[[dict[str, Any]], float | None]:
        return lambda cell: cell.get("maps", {}).get(method, {}).get(key)

    return {f"{arrow}, NAOPC": normalized(kind) for kind, arrow in KINDS.items()} | {
        name: of_maps(key) for key, name in MAPS.items()
    }


def _known(values: list[float | None]) -> float:
    return float(np.mean([value for value in values if value is not None]))
