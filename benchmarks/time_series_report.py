"""Cells of the time-series benchmarks → report.html: tables, localization by the box's place, distributions, maps.

`benchmarks/time_series.py` writes the page of its run; by hand it is made of all that is finished, real series too:

    python benchmarks/time_series_report.py --results benchmarks/results --output runs/time_series/report.html
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from transformers import HfArgumentParser

from benchmarks.report_parts import provenance, tables_in, told_curves, told_maps, told_settings
from benchmarks.time_series_figures import box_figures, box_table, cells_in, mnist_figures
from benchmarks.time_series_real import FILLS
from benchmarks.time_series_real import tables as real_tables
from benchmarks.time_series_sample import distribution_pictures, map_pictures, samples_of
from benchmarks.time_series_tables import PAIR, TITLES, Cells, chosen, datasets_of, networks, paper, tables
from sgt_hf.data.series import BOX_POSITIONS
from sgt_hf.metrics.accuracy_drop import LEVELS
from sgt_hf.reporting.html import Picture, Report, Table, write_report
from sgt_hf.reporting.plots import accuracy_drop

NAMES = {
    "table_2": "AUP and AUR against a random map, mean over data sets (the paper's Table 2)",
    "gain": "What an arm gains over plain",
    "gain_learned": "What an arm gains over plain, where all arms of a seed learned",
    "table_7": "Accuracy on test (the paper's Table 7)",
    "training": "How the trainings went",
}


@dataclass
class ReportArguments:
    """Where from and where to."""

    results: str = field(
        default="benchmarks/results",
        metadata={"help": "Holds time_series/, time_series_real/ and time_series_mnist/ with their cells."},
    )
    output: str = field(default="runs/time_series/report.html", metadata={"help": "The page."})


def main() -> None:
    """Write the page of all finished cells."""
    (args,) = HfArgumentParser(ReportArguments).parse_args_into_dataclasses()
    synthetic, real, mnist = (cells_in(Path(args.results) / f"time_series{kind}") for kind in ("", "_real", "_mnist"))
    if not (synthetic or real or mnist):
        raise SystemExit(f"{args.results} has no cells of time series: run benchmarks/time_series.py first")
    report = time_series_report(synthetic, real=real, mnist=mnist, command=["python", *sys.argv])
    write_report(args.output, report)
    print(f"wrote {args.output}")


def write_time_series_report(path: Path, cells: Cells, *, command: Sequence[str]) -> None:
    """Write the page of a run on synthetic series.

    Args:
        path: Target.
        cells: Of `benchmarks/time_series.py`.
        command: The command line that made them, for the page's last section.
    """
    write_report(path, time_series_report(cells, command=command))


def time_series_report(
    cells: Cells, *, real: Cells | None = None, mnist: Cells | None = None, command: Sequence[str]
) -> Report:
    """Put together what the cells have; what they lack is said.

    Args:
        cells: Of `benchmarks/time_series.py`.
        real: Of `benchmarks/time_series_real.py`.
        mnist: Of `benchmarks/time_series_mnist.py`.
        command: See `write_time_series_report`.
    """
    kinds = {"synthetic": cells, "real": real or [], "MNIST": mnist or []}
    every = [cell for group in kinds.values() for cell in group]
    settings = {
        f"settings, {kind}": told_settings([cell["settings"] for cell in group], without=["arm"])
        for kind, group in kinds.items()
        if group
    }
    samples = samples_of(cells)
    return Report(
        title="Time series: do saliency maps find what is informative?",
        lead="Plain against saliency guided training. The cells of a synthetic series that tell its class lie in a "
        "known box; a map is good where it ranks them first. Arms are paired by seed: data and initial weights.",
        tables=[*_tables(cells), *_real_tables(kinds["real"])],
        figures=[*_box_pictures(cells), *distribution_pictures(samples), *_drops(kinds["real"])],
        maps=[*map_pictures(samples), *_mnist_maps(kinds["MNIST"])],
        provenance=provenance(every, command, paper()["source"]) | settings,
        missing=_missing(cells),
    )


def _tables(cells: Cells) -> list[Table]:
    found = []
    for name, text in tables(cells).items():
        number = name.removeprefix("table_")
        for table in tables_in(text):
            title = NAMES.get(name) or f"{table.title}: AUP and AUR against a random map (the paper's Table {number})"
            found.append(replace(table, title=title))
    if _boxes(cells):
        title = "The gradient's AUP and AUR by the place of the box (the paper's Figure 6)"
        found += [replace(table, title=title) for table in tables_in(box_table(cells))]
    return found


def _real_tables(cells: Cells) -> list[Table]:
    titles = {
        "": "Real series: accuracy, and the area under it as cells are removed",
        "guided − plain": "Real series: guided minus plain, each area beside its own random map's",
    }
    found = [table for text in real_tables(cells).values() for table in tables_in(text)]
    return [replace(table, title=titles[table.header[0]]) for table in found]


def _boxes(cells: Cells) -> dict[str, Any]:
    """Figures by network, of the networks that have cells of all three places."""
    return {name.removeprefix("time_series_boxes_"): figure for name, figure in box_figures(cells).items()}


def _box_pictures(cells: Cells) -> list[Picture]:
    places = ", ".join(name.removesuffix("_box") for name in BOX_POSITIONS)
    return [
        Picture(
            f"{TITLES[network]}: AUP and AUR of the gradient by the place of the box",
            figure,
            alt=told_curves(figure, places),
            caption="The higher, the better. An arm whose saliency vanishes over time loses the early box.",
        )
        for network, figure in _boxes(cells).items()
    ]


def _drops(cells: Cells) -> list[Picture]:
    """Accuracy of real series as cells go, by data set, network and fill."""
    percents = [100 * level for level in LEVELS]
    points = f"{', '.join(f'{percent:g}' for percent in percents)} % of the cells removed"
    pictures = []
    for network in dict.fromkeys(cell["settings"]["network"] for cell in cells):
        for dataset in datasets_of(cells):
            some = chosen(cells, network=network, dataset=dataset)
            for fill in FILLS if some else ():
                curves: dict[str, list[Any]] = {}
                for cell in sorted(some, key=lambda cell: cell["settings"]["arm"] != PAIR[0]):
                    for method, curve in cell["curves"][fill].items():
                        curves.setdefault(f"{method}, {cell['settings']['arm']}", []).append(curve)
                figure = accuracy_drop(curves, percents=percents)
                title = f"{dataset}, {TITLES[network]}: accuracy drop, removed cells set to {fill}"
                pictures.append(Picture(title, figure, alt=told_curves(figure, points)))
    return pictures


def _mnist_maps(cells: Cells) -> list[Picture]:
    """Maps of digits as series of rows, of every method (Figures 5, 11 to 13)."""
    names = {name.removeprefix("time_series_mnist_"): figure for name, figure in mnist_figures(cells).items()}
    pictures = []
    for network, figure in names.items():
        accuracy = [f"{c['settings']['arm']} {100 * c['accuracy']:.1f} %" for c in chosen(cells, network=network)]
        caption = (
            "Digits as series of their rows; magnitudes, each map divided by its largest; there is no box. "
            f"Accuracy on test: {', '.join(sorted(accuracy, reverse=True))}."
        )
        title = f"MNIST as a series, {TITLES[network]}"
        pictures.append(Picture(title, figure, alt=told_maps(figure), caption=caption))
    return pictures


def _missing(cells: Cells) -> list[str]:
    """Sentences on what the cells of synthetic series do not hold."""
    found, samples, boxes = [], samples_of(cells), _boxes(cells)
    for network in networks(cells):
        mine, title = chosen(cells, network=network), TITLES[network]
        for arm in PAIR:
            there = set(datasets_of(chosen(mine, arm=arm)))
            absent = [dataset for dataset in datasets_of(mine) if dataset not in there]
            found += [f"{title}: finished cells of the arm {arm} on {', '.join(absent)}"] if absent else []
        bare = [dataset for dataset in datasets_of(mine) if dataset not in samples.get(network, {})]
        if bare:
            found.append(
                f"{title}: maps, and the distribution of their gradients, on {', '.join(bare)}: only cells of seed 0 "
                "keep a series, and none that are older than this page"
            )
        if network not in boxes:
            found.append(f"{title}: AUP and AUR by the place of the box: no seed has all of {', '.join(BOX_POSITIONS)}")
        refused = {name: why for cell in mine for name, why in cell.get("refused", {}).items()}
        found += [f"{title}: {method}, which the library refuses: {why}" for method, why in refused.items()]
    if cells:
        found.append("Maps of synthetic series by other methods than the gradient, by which guided training ranks")
    return found


if __name__ == "__main__":
    main()
