"""Cells of the images benchmark → report.html: tables, accuracy drops, gradient distributions, maps side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.images_figures import PERCENTS, figures, shown
from benchmarks.images_tables import PAPER, Cells, by_arm, tables, training_of
from benchmarks.report_parts import provenance, tables_in, told_curves, told_maps, told_settings
from sgt_hf.reporting.html import Picture, Report, Table, write_report

TITLES = {
    "arm": "Accuracy, and area under it of the gradient",
    "area ↓": "Area of every saliency method",
    "area ↓ beside the controls": "Does the ranking help, or masking alone?",
    "accuracy %": "Three kinds of removal",
}
DROP = "accuracy-drop-"


def write_images_report(path: Path, cells: Cells, *, command: Sequence[str]) -> None:
    """Write the page of a run.

    Args:
        path: Target.
        cells: Of `benchmarks/images.py`, of any kinds.
        command: The command line that made them, for the page's last section.
    """
    write_report(path, images_report(cells, command=command))


def images_report(cells: Cells, *, command: Sequence[str]) -> Report:
    """Put together what the cells have; what they lack is said.

    Args:
        cells: See `write_images_report`.
        command: See `write_images_report`.
    """
    shown, curves, maps, missing = list[Table](), list[Picture](), list[Picture](), list[str]()
    found = provenance(cells, command, PAPER["source"])
    printed = tables(cells)
    for name, text in printed.items():
        mine = [cell for cell in cells if training_of(cell)["dataset"] == name]
        for table in tables_in(text):
            shown.append(replace(table, title=f"{table.title}. {TITLES.get(table.header[0], table.header[0])}"))
        for figure_name, figure in figures(mine).items():
            picture = _picture(name, figure_name, figure, mine)
            (maps if figure_name == "maps" else curves).append(picture)
        missing += _missing(name, mine)
        found |= _settings(name, mine)
    untrained = sorted({training_of(cell)["dataset"] for cell in cells} - set(printed))
    missing += [f"{name}: a finished training, and so any table or figure" for name in untrained]
    return Report(
        title=f"Images: {', '.join(printed)}",
        lead="Does saliency guided training make saliency maps of images more faithful? Accuracy should fall faster as "
        "the pixels that a map ranks highest go black. Arms are paired by seed: initial weights and order of the data.",
        tables=shown,
        figures=curves,
        maps=maps,
        provenance=found,
        missing=missing,
    )


def _picture(dataset: str, name: str, figure: Figure, cells: Cells) -> Picture:
    """Say what a figure of `benchmarks.images_figures` shows, by its name."""
    if name == "maps":
        title, alt = "gradient maps", told_maps(figure)
        caption = (
            f"Gradients of the true class's logit in the network of seed {_first_seed(cells)}, each map divided by its "
            "own largest magnitude. The first test image of each class, where every arm classifies it right."
        )
    elif name == "gradient-distributions":
        title = "gradients of single images"
        classes = ", ".join(axes.get_title() for axes in figure.axes)
        alt = f"Histograms of gradient / the image's largest, one panel for each of the classes {classes}."
        arms = ", ".join(text.get_text() for text in figure.axes[-1].get_legend().get_texts())
        caption = f"Of images of the maps below, in every panel the arms {arms}."
    elif name == "gradient-histogram":
        title, near = "gradients of all images together", _near_zero(cells)
        alt = f"Histogram of gradient / the image's largest. Pixels in the bin around zero: {near}."
        caption = f"Network of seed {_first_seed(cells)}. Share of pixels in the bin around zero: {near}."
    else:
        kinds = not name.startswith(DROP)
        title = "accuracy under three kinds of removal" if kinds else f"accuracy drop, {name.removeprefix(DROP)}"
        levels = next(cell["levels"] for cell in cells if "levels" in cell) if kinds else ()
        percents = ", ".join(f"{percent:g}" for percent in ([100 * level for level in levels] if kinds else PERCENTS))
        alt = told_curves(figure, f"{percents} % of the pixels removed")
        caption = f"The steeper the fall, the better the ranking. Measured: {figure.axes[0].get_title()}."
    return Picture(f"{dataset}: {title}", figure, alt=alt, caption=caption)


def _trained(cells: Cells) -> dict[str, Cells]:
    return by_arm([cell for cell in cells if cell["settings"]["kind"] == "training"])


def _first_seed(cells: Cells) -> str:
    """Of each arm the lowest; the figures of single networks show it."""
    return " or ".join(dict.fromkeys(str(group[0]["settings"]["seed"]) for group in shown(_trained(cells)).values()))


def _near_zero(cells: Cells) -> str:
    shares = {arm: group[0]["histogram"] for arm, group in shown(_trained(cells)).items()}
    around = {arm: sum(bins[(len(bins) - 1) // 2 : len(bins) // 2 + 1]) for arm, bins in shares.items()}
    return ", ".join(f"{arm} {100 * share:.1f} %" for arm, share in around.items())


def _missing(name: str, cells: Cells) -> list[str]:
    """Sentences on what the cells of one data set do not hold."""
    arms, kinds = _trained(cells), {cell["settings"]["kind"] for cell in cells}
    found = [f"the arm {arm}: there is no finished training" for arm in ("plain", "guided") if arm not in arms]
    left_out = [arm for arm in arms if arm not in shown(arms)]
    if left_out:
        found.append(f"figures of {', '.join(left_out)}: so many arms could not be told apart")
    without = [arm for arm, group in arms.items() if not group[0].get("examples")]
    found += [f"maps of {arm}: they are kept for seed 0, of images classified right" for arm in without]
    examples = [{one["row"] for one in group[0]["examples"]} for arm, group in arms.items() if arm not in without]
    if examples and not set.intersection(*examples):
        found.append("maps side by side: no image that is kept was classified right by every arm")
    found.append("maps of other methods than the gradient")
    if "methods" not in kinds:
        found.append("the accuracy drop of other methods than the gradient")
    if "roar" not in kinds:
        found.append("IID, OOD and ROAR (option --roar_levels)")
    return [f"{name}: {line}" for line in found]


def _settings(name: str, cells: Cells) -> dict[str, str]:
    """What decides the numbers of one data set: the trainings', each arm's knobs, the methods'."""
    arms = _trained(cells)
    every = [cell["settings"] for group in arms.values() for cell in group]
    found = {f"settings of {name}": told_settings(every, without=["kind", "arm", "knobs", "start"])}
    for arm, group in arms.items():
        found[f"{name}, knobs of {arm}"] = told_settings([cell["settings"]["knobs"] for cell in group])
    for kind in ("methods", "roar"):
        some = [cell["settings"] for cell in cells if cell["settings"]["kind"] == kind]
        if some:
            found[f"{name}, settings of {kind}"] = told_settings(some, without=["kind", "training"])
    return found
