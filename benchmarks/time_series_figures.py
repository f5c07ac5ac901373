"""Figures of the time-series benchmark: AUP and AUR by the box's place (Figure 6), MNIST maps (Figures 5, 11 to 13).

Draws what there are cells for.

    python benchmarks/time_series_figures.py --results benchmarks/results --output_dir runs/time_series
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from transformers import HfArgumentParser

from benchmarks import time_series_tables
from benchmarks.common import markdown_table
from benchmarks.time_series_tables import AREAS, TITLES, Cells, area_in, chosen, mean
from sgt_hf.atomic import write_atomically
from sgt_hf.data.series import BOX_POSITIONS
from sgt_hf.reporting.plots import localization_by_position, saliency_maps


@dataclass
class FigureArguments:
    """Where from and where to."""

    results: str = field(
        default="benchmarks/results", metadata={"help": "Holds time_series/ and time_series_mnist/ with their cells."}
    )
    output_dir: str = field(default="runs/time_series", metadata={"help": "Where the figures go."})


def main() -> None:
    """Draw what there are cells for."""
    (args,) = HfArgumentParser(FigureArguments).parse_args_into_dataclasses()
    figures = box_figures(cells_in(Path(args.results) / "time_series"))
    figures |= mnist_figures(cells_in(Path(args.results) / "time_series_mnist"))
    if not figures:
        raise SystemExit(f"{args.results} has no cells to draw: run benchmarks/time_series.py --dataset early_box …")
    output = Path(args.output_dir)
    for name, figure in figures.items():
        picture = io.BytesIO()
        figure.savefig(picture, dpi=110)
        write_atomically(output / f"{name}.png", picture.getvalue())
        print(output / f"{name}.png")


def cells_in(folder: Path) -> Cells:
    """Read all cells of a folder."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]


def box_figures(cells: Cells, method: str = "gradient") -> dict[str, Figure]:
    """Draw each network's AUP and AUR by the place of the box, one curve an arm, over seeds (Figure 6)."""
    figures = {}
    for network in TITLES:
        areas: dict[str, dict[str, list[list[float]]]] = {"aup": {}, "aur": {}}
        for arm, seeds in box_seeds(cells, network, method).items():
            for area, curves in areas.items():
                curves[arm] = [
                    [area_in(places[box]["methods"][method], area) for box in BOX_POSITIONS] for places in seeds
                ]
        if areas["aup"]:
            names = [name.removesuffix("_box") for name in BOX_POSITIONS]
            figures[f"time_series_boxes_{network}"] = localization_by_position(
                areas["aup"], areas["aur"], positions=names
            )
    return figures


def box_seeds(cells: Cells, network: str, method: str = "gradient") -> dict[str, list[dict[str, dict[str, Any]]]]:
    """Return, by arm, for each seed that has a method's areas of all three boxes its cell of each."""
    arms: dict[str, dict[int, dict[str, dict[str, Any]]]] = {}
    for cell in cells:
        settings, found = cell["settings"], cell["methods"].get(method)
        measured = np.isfinite([area_in(found, area) for area in AREAS]).all()
        if settings["network"] == network and settings["dataset"] in BOX_POSITIONS and measured:
            arms.setdefault(settings["arm"], {}).setdefault(settings["seed"], {})[settings["dataset"]] = cell
    sets = len(BOX_POSITIONS)
    whole = {arm: [boxes for boxes in seeds.values() if len(boxes) == sets] for arm, seeds in arms.items()}
    return {arm: whole[arm] for arm in sorted(whole, key=lambda arm: arm != "plain") if whole[arm]}


def tables(cells: Cells) -> dict[str, str]:
    """Return all tables of the benchmark: those of the ten sets, and `boxes`."""
    boxes = box_table(cells)
    return time_series_tables.tables(cells) | ({"boxes": boxes} if boxes else {})


def box_table(cells: Cells) -> str:
    """Lay out AUP and AUR of the gradient, and the saliency's share in the last fifth of time, by place of the box."""
    rows = []
    for network in TITLES:
        for arm, seeds in box_seeds(cells, network).items():
            for box in BOX_POSITIONS:
                some = [places[box] for places in seeds]
                found = [mean(cell["methods"]["gradient"][area] for cell in some) for area in ("aup", "aur")]
                late = mean(float(np.sum(cell["mass_by_step"][-len(cell["mass_by_step"]) // 5 :])) for cell in some)
                accuracy = mean(100 * cell["accuracy"]["test"] for cell in some)
                numbers = [f"{accuracy:.1f}", *(f"{value:.3f}" for value in found), f"{100 * late:.0f} %"]
                rows.append([TITLES[network], arm, box.removesuffix("_box"), str(len(some)), *numbers])
    header = ["", "arm", "box", "seeds", "accuracy %", "AUP", "AUR", "saliency in the last fifth"]
    return markdown_table(header, rows) if rows else ""


def mnist_figures(cells: Cells) -> dict[str, Figure]:
    """Draw each network's maps of two digits, by arm and method (Figures 5, 11 to 13)."""
    figures = {}
    for network in dict.fromkeys(cell["settings"]["network"] for cell in cells):
        arms = {cell["settings"]["arm"]: cell for cell in chosen(cells, network=network)}
        first = arms[min(arms, key=lambda arm: arm != "plain")]
        maps = {
            f"{method}\n{arm}": np.array(cell["maps"][method]) / 255
            for method in first["maps"]
            for arm, cell in sorted(arms.items(), reverse=True)
        }
        figures[f"time_series_mnist_{network}"] = saliency_maps(
            np.array(first["inputs"]) / 255, maps, names=[str(label) for label in first["labels"]]
        )
    return figures


def mnist_tables(cells: Cells) -> dict[str, str]:
    """Lay out the accuracy of the networks whose maps are drawn, under `accuracy`."""
    rows = [
        [TITLES[cell["settings"]["network"]], cell["settings"]["arm"], f"{100 * cell['accuracy']:.1f}"]
        for network in TITLES
        for cell in sorted(chosen(cells, network=network), key=lambda cell: cell["settings"]["arm"] != "plain")
    ]
    return {"accuracy": markdown_table(["", "arm", "test accuracy %"], rows)}


if __name__ == "__main__":
    main()
