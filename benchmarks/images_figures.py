"""Cells of the images benchmark → the paper's Figures 2, 7 to 9 (maps), 3, 10 (accuracy drop), 4 (kinds of removal)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.images_tables import Cells, by_arm, training_of
from sgt_hf.metrics.accuracy_drop import LEVELS
from sgt_hf.reporting.plots import PALETTE, accuracy_drop, gradient_distribution, saliency_maps, to_png

PERCENTS = [100 * level for level in LEVELS]


def write_figures(cells: Cells, folder: Path) -> list[Path]:
    """Draw every figure that the cells have the numbers for.

    Args:
        cells: Of `benchmarks/images.py`.
        folder: Is made; `DATASET-FIGURE.png` go there.

    Returns:
        The files written.
    """
    written = []
    for dataset in dict.fromkeys(training_of(cell)["dataset"] for cell in cells):
        mine = [cell for cell in cells if training_of(cell)["dataset"] == dataset]
        for name, figure in figures(mine).items():
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{dataset}-{name}.png"
            path.write_bytes(to_png(figure))
            written.append(path)
    return written


def figures(cells: Cells) -> dict[str, Figure]:
    """Return the figures of one data set by name."""
    trained = by_arm([cell for cell in cells if cell["settings"]["kind"] == "training"])
    methods = by_arm([cell for cell in cells if cell["settings"]["kind"] == "methods"])
    made = {"accuracy-drop-gradient": accuracy_drop(_curves(trained, "gradient"), percents=PERCENTS)}
    for method in dict.fromkeys(name for group in methods.values() for cell in group for name in cell["drops"]):
        made[f"accuracy-drop-{method}"] = accuracy_drop(_curves(methods, method), percents=PERCENTS)
    shown = {arm: group[0]["examples"] for arm, group in trained.items() if group[0].get("examples")}
    rows = sorted(set.intersection(*({one["row"] for one in found} for found in shown.values()))) if shown else []
    if rows:
        made |= _maps(shown, rows)
    made["gradient-histogram"] = _histograms({arm: group[0]["histogram"] for arm, group in trained.items()})
    for cell in cells:
        if cell["settings"]["kind"] == "roar":
            curves = {name: [curve["accuracies"]] for name, curve in cell["drops"].items()}
            made["removal-kinds"] = accuracy_drop(curves, percents=[100 * level for level in cell["levels"]])
    return made


def _curves(arms: dict[str, Cells], method: str) -> dict[str, Any]:
    """By arm (S, R) accuracies, and the plain arm's random ranking where it is there."""
    curves = {
        arm: [cell["drops"][method]["accuracies"] for cell in group if method in cell["drops"]]
        for arm, group in arms.items()
    }
    random = [cell["drops"]["random"]["accuracies"] for cell in arms.get("plain", []) if "random" in cell["drops"]]
    return {name: values for name, values in (curves | {"random, plain": random}).items() if values}


def _maps(shown: dict[str, list[dict[str, Any]]], rows: list[int]) -> dict[str, Figure]:
    """Maps of the images that every arm classified correctly, and how their gradients are distributed."""
    chosen = {arm: [one for one in found if one["row"] in rows] for arm, found in shown.items()}
    first = next(iter(chosen.values()))
    names = [one["label"] for one in first]
    pictures = np.array([one["picture"] for one in first], dtype=np.uint8)
    maps = {arm: np.array([one["map"] for one in found]) for arm, found in chosen.items()}
    return {
        "maps": saliency_maps(pictures, maps, names=names),
        "gradient-distributions": gradient_distribution(
            {arm: list(values[:5]) for arm, values in maps.items()}, names=names[:5]
        ),
    }


def _histograms(histograms: dict[str, list[float]]) -> Figure:
    """How the gradients of all images are distributed, each image's scaled to [−1, 1] (Figure 2 C)."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for i, (arm, shares) in enumerate(histograms.items()):
        axes.stairs(
            100 * np.array(shares), np.linspace(-1, 1, len(shares) + 1), label=arm, color=PALETTE[i % len(PALETTE)]
        )
    axes.set(yscale="log", xlim=(-1, 1), xlabel="gradient / the image's largest", ylabel="pixels (%)")
    axes.legend(frameon=False)
    return figure
