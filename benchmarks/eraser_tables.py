"""Cells of the ERASER benchmark → tables: means over seeds, paired differences with their bootstrap intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import markdown_table
from sgt_hf.metrics.significance import bootstrap_mean

Cells = list[dict[str, Any]]


def dataset_table(arms: dict[str, Cells]) -> str:
    """Lay out one data set's table.

    Args:
        arms: The finished cells of each arm, seeds in the same order; the first arm is the baseline.

    Returns:
        Markdown: heading, table, and the line that says how it was measured.
    """
    title, header, rows, notes = dataset_rows(arms)
    return "\n\n".join([f"## {title}", markdown_table(header, rows), "\n".join(notes)])


def dataset_rows(arms: dict[str, Cells]) -> tuple[str, list[str], list[list[str]], list[str]]:
    """Return one data set's title, column names, rows, and the lines that say how they were measured.

    Args:
        arms: See `dataset_table`.
    """
    baseline, *others = arms
    first = arms[baseline][0]
    header = ["", *arms, *(f"{arm} − {baseline} [95 %]" for arm in others)]
    rows = [_row("accuracy", "", arms), _row("mean confidence", "", arms)]
    for method in first["summary"]["methods"]:
        rows += [_row(method, "comprehensiveness", arms), _row(method, "sufficiency", arms)]
    settings, n, seeds = first["settings"], first["summary"]["n"], len(arms[baseline])
    title = f"{Path(settings['dataset']).name}, {Path(settings['model']).name}: {n} test texts, {seeds} seeds"
    return title, header, rows, _notes(arms)


def _row(name: str, kind: str, arms: dict[str, Cells]) -> list[str]:
    values = {arm: np.stack([_per_example(cell, name, kind) for cell in cells]) for arm, cells in arms.items()}
    baseline, *others = values
    differences = []
    for arm in others:
        # paired by example; the seeds of an example are averaged first, so that examples are the units resampled
        interval = bootstrap_mean((values[arm] - values[baseline]).mean(0))
        star = "*" if interval.excludes_zero else " "
        differences.append(f"{interval.mean:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]{star}")
    arrow = {"comprehensiveness": " comp ↑", "sufficiency": " suff ↓", "": ""}[kind]
    return [name + arrow, *(_mean(value) for value in values.values()), *differences]


def _mean(values: NDArray[np.float64]) -> str:
    """Mean, and the seeds' standard deviation where there are several."""
    seeds = values.mean(1)
    return f"{seeds.mean():.3f}" + (f" ± {seeds.std(ddof=1):.3f}" if len(seeds) > 1 else "")


def _per_example(cell: dict[str, Any], name: str, kind: str) -> NDArray[np.float64]:
    per_example = cell["per_example"]
    if kind:
        return np.array(per_example[name][kind])
    return np.array(per_example[{"accuracy": "correct", "mean confidence": "confidence"}[name]], dtype=float)


def _notes(arms: dict[str, Cells]) -> list[str]:
    cells = [cell for group in arms.values() for cell in group]
    provenance = cells[0]["summary"]["provenance"]
    bins = ", ".join(f"{100 * share:g}" for share in provenance["bins"])
    lines = [
        f"AOPC convention {provenance['convention']}, operator {provenance['operator']}, ⌈q·n⌉ {provenance['unit']}s "
        f"at {bins} %, reduction {provenance['reduction']}, random over {provenance['random_draws']} draws. "
        "± is over seeds; [ ] is the paired bootstrap over examples, * where it excludes 0.",
    ]
    for arm, group in arms.items():
        knobs = ", ".join(f"{name[4:]} {value}" for name, value in group[0]["settings"]["knobs"].items())
        knobs += "; other knobs at their defaults" if arm == "guided" else ""
        epochs = ", ".join(f"{cell['epoch']}" for cell in group)
        select = group[0]["settings"].get("select", "accuracy")  # the first cells had no choice
        train = np.mean([cell["seconds"]["train"] for cell in group])
        evaluation = np.mean([cell["seconds"]["evaluation"] for cell in group])
        lines.append(
            f"{arm}: {knobs}; epoch picked by validation {select}: {epochs}; "
            f"{train:.0f} s of training and {evaluation:.0f} s of evaluation a seed."
        )
    if any(cell["summary"]["provenance"]["trained_masking"] == provenance["operator"] for cell in cells):
        lines.append(
            f"An arm was trained with the operator of the evaluation ({provenance['operator']}), which flatters it."
        )
    return lines
