"""The maskings of guided training side by side: plain → guided, and whether seeds tell the two apart."""

from __future__ import annotations

from benchmarks.common import markdown_table
from benchmarks.eraser_rows import BEYOND, KINDS, Cells, of_shared_seeds, values_of
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
    header = ["masking", "seeds", "accuracy", *(f"{method} {name}" for method in known for name in KINDS.values())]
    raw, beyond = [], []
    for masking, pair in pairs.items():
        named = [masking, f"{len(pair[0])}"]
        raw.append(
            [*named, _told(pair, "accuracy", ""), *(_told(pair, name, kind) for name in known for kind in KINDS)]
        )
        beyond.append([*named, *(_told(pair, name, kind) for name in known for kind in BEYOND)])
    return "\n\n".join(
        [
            markdown_table(header, raw),
            "Beyond a random ranking of the same model:",
            markdown_table([*header[:2], *header[3:]], beyond),
            "plain → guided, means over seeds; { } is Student's 95 % interval of the difference over seeds, * where it "
            "excludes 0, uncorrected for the number of intervals.",
        ]
    )


def _told(pair: tuple[Cells, Cells], name: str, kind: str) -> str:
    plain, guided = (values_of(side, name, kind).mean(1) for side in pair)
    return f"{plain.mean():.3f} → {guided.mean():.3f} {told_seeds((guided - plain).round(9), 3)}"
