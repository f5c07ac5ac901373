"""What the benchmarks' pages have in common: printed tables, figures told in words, what decides the numbers."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sgt_hf.reporting.html import Table

Cells = list[dict[str, Any]]


def tables_in(text: str) -> list[Table]:
    r"""Read the tables that a benchmark prints, so that its page cannot show other numbers.

    Args:
        text: Blocks with empty lines between: tables of `benchmarks.common.markdown_table`, their notes after them.

    Returns:
        The tables; what stands above the first one is the title of all.

    Examples:
        >>> tables_in("### toy\n\n| a | b |\n| - | - |\n| 1 | 2 |\n\nIn percent.")
        [Table(title='toy', header=['a', 'b'], rows=[['1', '2']], notes=['In percent.'])]
    """
    title, found = "", list[Table]()
    for block in text.split("\n\n"):
        lines = block.strip().splitlines()
        if block.startswith("| "):
            header, _, *rows = ([cell.strip() for cell in line[1:-1].split("|")] for line in lines)
            found.append(Table(title, header, rows, notes := []))
        elif found:
            notes += [line.removeprefix("- ") for line in lines]
        else:
            title = block.strip().lstrip("# ")
    return found


def told_curves(figure: Figure, points: str) -> str:
    """Say what a figure's curves show, from the curves themselves.

    Args:
        figure: With one named line a curve in each panel.
        points: What stands along the x axis, in words.
    """
    panels = []
    for axes in figure.axes:
        curves = [
            f"{line.get_label()} {', '.join(f'{value:.3g}' for value in np.asarray(line.get_ydata()))}"
            for line in axes.get_lines()
            if not str(line.get_label()).startswith("_")
        ]
        panels.append(f"{axes.get_title() or axes.get_ylabel()} at {points}: {'; '.join(curves)}.")
    return " ".join(panels)


def told_maps(figure: Figure) -> str:
    """Say what the rows and columns of `sgt_hf.reporting.plots.saliency_maps` are.

    Args:
        figure: Of that function.
    """
    grid = figure.axes[:-1]  # without the colour bar
    columns = ", ".join(axes.get_title().replace("\n", " ") for axes in grid if axes.get_title())
    rows = ", ".join(axes.get_ylabel() for axes in grid if axes.get_ylabel())
    return f"A grid of maps. Columns: {columns}. Rows: {rows}."


def provenance(cells: Cells, command: Sequence[str], paper: str) -> dict[str, str]:
    """Return the command, the paper's source, and the distinct versions and machines of cells.

    Args:
        cells: Of a benchmark.
        command: The command line that made the page.
        paper: Where its numbers come from.
    """
    found = {"command": shlex.join(command), "the paper's numbers": paper}
    for what in ("versions", "machine"):
        kinds = {", ".join(f"{name} {value}" for name, value in cell[what].items()) for cell in cells}
        found[what] = "; ".join(sorted(kinds))
    return found


def told_settings(settings: Sequence[dict[str, Any]], *, without: Sequence[str] = ()) -> str:
    """Name every setting with the values that occur.

    Args:
        settings: Of cells of one kind.
        without: Names left out.

    Examples:
        >>> told_settings([{"arm": "a", "seed": 0, "k": 0.5}, {"arm": "b", "seed": 1, "k": 0.5}], without=["arm"])
        'seed 0 or 1, k 0.5'
    """
    values: dict[str, dict[str, None]] = {}
    for one in settings:
        for name, value in one.items():
            shown = value if isinstance(value, str) else json.dumps(value)
            values.setdefault(name, {})[shown] = None
    return ", ".join(f"{name} {' or '.join(found)}" for name, found in values.items() if name not in without)
