"""Cells of the images benchmark → the paper's Figures 2, 7 to 9 (maps), 3, 10 (accuracy drop), 4 (kinds of removal).

Every PNG keeps a digest of the numbers that it was drawn from, so that one is drawn anew only when they have changed,
and a test finds one that is stale.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.common import counted
from benchmarks.images_tables import Cells, by_arm, training_of
from sgt_hf.atomic import write_atomically
from sgt_hf.metrics.accuracy_drop import LEVELS
from sgt_hf.reporting.plots import accuracy_drop, gradient_distribution, saliency_maps
from sgt_hf.reporting.plots.style import line_style

PERCENTS = [100 * level for level in LEVELS]
SHOWN = ("plain", "guided", "fine_tuned", "guided_preset", "random_mask")  # of more arms than can be told apart
FEW = SHOWN[:3]  # where curves lie upon one another
DIGEST = "Drawn from"  # of a PNG's texts


class Plan(NamedTuple):
    """A figure before it is drawn: a function of this module, and its JSON-able arguments."""

    draw: Callable[..., Figure]
    content: dict[str, Any]

    @property
    def digest(self) -> str:
        """Of what is drawn."""
        return hashlib.sha256(json.dumps([self.draw.__name__, self.content]).encode()).hexdigest()[:16]

    def figure(self) -> Figure:
        """Draw it."""
        return self.draw(**self.content)


def write_figures(cells: Cells, folder: Path) -> list[Path]:
    """Draw the figures that the cells have the numbers for, but for those that were drawn from the same numbers.

    Args:
        cells: Of `benchmarks/images.py`.
        folder: Is made; `DATASET-FIGURE.png` go there.

    Returns:
        The files written.
    """
    stale = {folder / name: plan for name, plan in planned(cells).items() if drawn_from(folder / name) != plan.digest}
    for path, plan in stale.items():
        picture = io.BytesIO()
        plan.figure().savefig(picture, format="png", dpi=110, metadata={"Software": None, DIGEST: plan.digest})
        write_atomically(path, picture.getvalue())
    return list(stale)


def drawn_from(path: Path) -> str | None:
    """Return the digest that a figure's file keeps, or None where there is no such file or it keeps none.

    Args:
        path: A PNG.
    """
    if not path.exists():
        return None
    with Image.open(path) as image:
        found: str | None = image.info.get(DIGEST)
    return found


def planned(cells: Cells) -> dict[str, Plan]:
    """Return by file name what `write_figures` draws of cells of any data sets."""
    names = dict.fromkeys(training_of(cell)["dataset"] for cell in cells)
    grouped = {name: [cell for cell in cells if training_of(cell)["dataset"] == name] for name in names}
    return {f"{name}-{kind}.png": plan for name, mine in grouped.items() for kind, plan in plans(mine).items()}


def figures(cells: Cells) -> dict[str, Figure]:
    """Draw the figures of one data set, by name."""
    return {name: plan.figure() for name, plan in plans(cells).items()}


def plans(cells: Cells) -> dict[str, Plan]:
    """Return the figures of one data set by name: of all arms, or of `SHOWN` where there are more."""
    trained = shown(by_arm([cell for cell in cells if cell["settings"]["kind"] == "training"]))
    methods = shown(by_arm([cell for cell in cells if cell["settings"]["kind"] == "methods"]))
    made = {}
    if trained:
        made["accuracy-drop-gradient"] = _drops(trained, "gradient")
    for method in dict.fromkeys(name for group in methods.values() for cell in group for name in cell["drops"]):
        if method != "gradient" or not trained:  # which the trainings measure on more images
            made[f"accuracy-drop-{method}"] = _drops(methods, method)
    examples = {arm: group[0]["examples"] for arm, group in trained.items() if group[0].get("examples")}
    rows = set.intersection(*({one["row"] for one in found} for found in examples.values())) if examples else set()
    if rows:
        made |= _maps({arm: [one for one in found if one["row"] in rows] for arm, found in examples.items()})
    if trained:
        shares = {arm: group[0]["histogram"] for arm, group in trained.items()}
        made["gradient-histogram"] = Plan(histograms, {"shares": shares, "title": _one_network(trained)})
    for cell in cells:
        if cell["settings"]["kind"] == "roar":
            made["removal-kinds"] = _kinds(cell)
    return made


def shown(arms: dict[str, Cells]) -> dict[str, Cells]:
    """Return the arms that the figures show.

    Args:
        arms: All that there are.
    """
    return arms if len(arms) <= len(SHOWN) else {arm: arms[arm] for arm in arms if arm in SHOWN}


def _drops(arms: dict[str, Cells], method: str) -> Plan:
    """By arm (S, R) accuracies, and the plain arm's random ranking where it is there."""
    with_it = {arm: [cell for cell in group if method in cell["drops"]] for arm, group in arms.items()}
    chosen = {arm: group for arm, group in with_it.items() if group}
    curves = {arm: [cell["drops"][method]["accuracies"] for cell in group] for arm, group in chosen.items()}
    random = [cell["drops"]["random"]["accuracies"] for cell in arms.get("plain", []) if "random" in cell["drops"]]
    if random and method != "random":
        curves["random, plain"] = random
    first = next(iter(chosen.values()))[0]
    settings, training = first["settings"], training_of(first)
    count = settings["images"] if settings["kind"] == "methods" else settings["gradient_images"]
    title = f"{method}, first {count:,} {training['split']} images"
    return Plan(drops, {"curves": curves, "percents": PERCENTS, "title": title})


def _kinds(cell: dict[str, Any]) -> Plan:
    """IID, OOD and ROAR of one model."""
    training = training_of(cell)
    title = f"gradient of {training['arm']}, {training['test_images']:,} {training['split']} images"
    curves = {name: [curve["accuracies"]] for name, curve in cell["drops"].items()}
    return Plan(drops, {"curves": curves, "percents": [100 * level for level in cell["levels"]], "title": title})


def _maps(chosen: dict[str, list[dict[str, Any]]]) -> dict[str, Plan]:
    """Maps of the images that every arm classified correctly, and how their gradients are distributed."""
    first = next(iter(chosen.values()))
    names = [one["label"] for one in first]
    scores = {arm: [one["map"] for one in found] for arm, found in chosen.items()}
    few = [arm for arm in scores if arm in FEW or len(scores) <= len(FEW)]
    five = {arm: scores[arm][:5] for arm in few}
    return {
        "maps": Plan(maps, {"pictures": [one["picture"] for one in first], "scores": scores, "names": names}),
        "gradient-distributions": Plan(distributions, {"scores": five, "names": names[:5]}),
    }


def _one_network(arms: dict[str, Cells]) -> str:
    settings = next(iter(arms.values()))[0]["settings"]
    seeds = dict.fromkeys(str(group[0]["settings"]["seed"]) for group in arms.values())
    return f"network of seed {' or '.join(seeds)}, first {settings['gradient_images']:,} {settings['split']} images"


def drops(curves: Mapping[str, Any], percents: Sequence[float], title: str) -> Figure:
    """Accuracy as pixels are removed (Figures 3, 4 and 10)."""
    figure = accuracy_drop(curves, percents=percents)
    seeds = sorted({len(values) for values in curves.values()})
    figure.axes[0].set_title(f"{title}, {' or '.join(counted(count, 'seed') for count in seeds)}", fontsize="medium")
    return figure


def maps(pictures: Any, scores: Mapping[str, Any], names: Sequence[str]) -> Figure:
    """Images beside their gradients, arm by arm (Figures 2, 7 to 9)."""
    return saliency_maps(np.array(pictures, dtype=np.uint8), scores, names=names)


def distributions(scores: Mapping[str, Any], names: Sequence[str]) -> Figure:
    """How the gradients of single images are distributed (Figures 2, 7 to 9)."""
    return gradient_distribution(scores, names=names)


def histograms(shares: Mapping[str, Sequence[float]], title: str) -> Figure:
    """How the gradients of all images are distributed, each image's scaled to [−1, 1] (Figure 2 C)."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for i, (arm, values) in enumerate(shares.items()):
        style: dict[str, Any] = line_style(i)
        axes.stairs(100 * np.array(values), np.linspace(-1, 1, len(values) + 1), label=arm, linewidth=1.4, **style)
    axes.set(yscale="log", xlim=(-1, 1), xlabel="gradient / the image's largest", ylabel="pixels (%)")
    axes.set_title(title, fontsize="medium")
    axes.legend(frameon=False)
    return figure
