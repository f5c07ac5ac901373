"""Rows of the ERASER benchmark's tables: what is measured of every text, by arm and seed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Cells = list[dict[str, Any]]
Values = NDArray[np.float64]

KINDS = {"comprehensiveness": "comp ↑", "sufficiency": "suff ↓"}
# Sufficiency below zero says that the kept words convince more than the whole text: its size is how far off they are.
LABELS = KINDS | {"distance": "abs suff ↓"}
# Minus a random ranking of the same words under the same operator, by the same model, the mean over its draws.
BEYOND = {f"{kind} beyond random": f"{label} − random" for kind, label in KINDS.items()}


def first_of(arms: dict[str, Cells]) -> Cells:
    """Return the cells of the first arm.

    Args:
        arms: By arm, its finished cells.
    """
    return next(iter(arms.values()))


def rows_of(arms: dict[str, Cells]) -> list[tuple[str, str]]:
    """Return (name, kind) of every row that all cells have: accuracy, confidence, each method's AOPC.

    Args:
        arms: See `first_of`.
    """
    cells = [cell for group in arms.values() for cell in group]
    names = [name for name in first_of(arms)[0]["per_example"] if name not in ("correct", "confidence")]
    shared = [name for name in names if all(name in cell["per_example"] for cell in cells)]
    rows = [("accuracy", ""), ("mean confidence", "")]
    for name in shared:
        chance = _random_of(name)
        rows += [(name, kind) for kind in (LABELS if name == chance or chance not in shared else LABELS | BEYOND)]
    return rows


def values_of(cells: Cells, name: str, kind: str) -> Values:
    """Return a row's values by seed and text.

    Args:
        cells: Of one arm.
        name: See `rows_of`.
        kind: See `rows_of`.
    """
    return np.stack([_per_example(cell, name, kind) for cell in cells])


def of_shared_seeds(arms: dict[str, Cells], one: str, other: str) -> tuple[Cells, Cells]:
    """Return two arms' cells of the seeds that both have, in the same order.

    Args:
        arms: See `first_of`.
        one: Arm.
        other: Arm.

    Raises:
        ValueError: There is no such seed.
    """
    first, second = ({cell["settings"]["seed"]: cell for cell in arms[arm]} for arm in (one, other))
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        raise ValueError(f"the arms {one} and {other} share no seed: run them with the same --seeds")
    return [first[seed] for seed in seeds], [second[seed] for seed in seeds]


def paired(arms: dict[str, Cells], one: str, other: str, name: str, kind: str) -> Values:
    """Return one arm minus another by seed and text, of the seeds that both have.

    Args:
        arms: See `first_of`.
        one: Arm.
        other: Arm.
        name: See `rows_of`.
        kind: See `rows_of`.
    """
    sides = [values_of(cells, name, kind) for cells in of_shared_seeds(arms, one, other)]
    return np.asarray(sides[0] - sides[1]).round(9)  # equal values differ by nothing at all


def label_of(name: str, kind: str) -> str:
    """Return a row's name in a table.

    Args:
        name: See `rows_of`.
        kind: See `rows_of`.
    """
    return f"{name} {(LABELS | BEYOND)[kind]}".replace(", absolute", " by size") if kind else name


def without_variants(arms: dict[str, Cells]) -> dict[str, Cells]:
    """Return the same cells without what other operators and reductions gave.

    Args:
        arms: See `first_of`.
    """

    def reduced(cell: dict[str, Any]) -> dict[str, Any]:
        return cell | {"per_example": {name: of for name, of in cell["per_example"].items() if "," not in name}}

    return {arm: [reduced(cell) for cell in cells] for arm, cells in arms.items()}


def _random_of(name: str) -> str:
    """The random ranking under the operator of a row; a reduction by size has no other than the usual one."""
    _, comma, variant = name.partition(", ")
    return f"random, {variant}" if comma and variant != "absolute" else "random"


def _per_example(cell: dict[str, Any], name: str, kind: str) -> Values:
    per_example = cell["per_example"]
    if kind == "distance":
        return np.abs(per_example[name]["sufficiency"])
    if kind in BEYOND:
        kind = kind.removesuffix(" beyond random")
        return np.subtract(per_example[name][kind], per_example[_random_of(name)][kind])
    if kind:
        return np.array(per_example[name][kind])
    return np.array(per_example[{"accuracy": "correct", "mean confidence": "confidence"}[name]], dtype=float)
