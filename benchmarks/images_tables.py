"""Cells of the images benchmark → tables beside the paper's numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import markdown_table, told_difference

PAPER = json.loads((Path(__file__).parent / "paper_tables" / "images.json").read_text(encoding="utf-8"))
ARMS = (
    *("plain", "guided", "guided_detach", "guided_preset", "guided_abs", "fine_tuned"),
    *("random_mask", "random_detach", "random_preset", "reversed_mask", "rdrop", "plain_equal_compute"),
)
# Guided arm → the arms that it is held against: pixels masked by another rule or none, or plain for the same compute.
CONTROLS_OF = {
    "guided": ("random_mask", "reversed_mask", "rdrop", "plain_equal_compute"),
    "guided_detach": ("random_detach",),
    "guided_preset": ("random_preset",),
    "guided_abs": ("random_mask",),
}

Cells = list[dict[str, Any]]
Measure = Callable[[Cells], dict[int, float]]  # a number of every seed


def tables(cells: Cells) -> dict[str, str]:
    """Lay out the tables of every data set that has a finished training, the paper's data sets first.

    Args:
        cells: Of `benchmarks/images.py`, of any kinds.

    Returns:
        By data set, Markdown.
    """
    found = {training_of(cell)["dataset"] for cell in cells if cell["settings"]["kind"] == "training"}
    order = [name for name in PAPER["table3"] if name in found] + sorted(found - set(PAPER["table3"]))
    return {
        name: dataset_tables(name, [cell for cell in cells if training_of(cell)["dataset"] == name]) for name in order
    }


def search_tables(cells: Cells) -> dict[str, str]:
    """Lay out trainings that were compared on validation images, one row each: the log of how settings were chosen.

    Args:
        cells: Trainings of `benchmarks/images.py --split validation`.

    Returns:
        By data set, Markdown.

    Raises:
        ValueError: A cell was measured on the test split.
    """
    seen = sorted(cell["settings"]["split"] for cell in cells)
    if seen != ["validation"] * len(cells):
        raise ValueError(
            f"settings are chosen on validation images, never on test: the cells are of {sorted(set(seen))}"
        )
    found: dict[str, list[list[str]]] = {}
    for cell in sorted(cells, key=_order_of_search):
        settings = cell["settings"]
        knobs = _told(settings["knobs"])
        numbers = [f"{100 * cell['accuracy']:.2f}", f"{cell['drops']['gradient']['area']:.0f}"]
        row = [knobs, f"{settings['epochs']:g}", str(settings["seed"]), *numbers]
        found.setdefault(settings["dataset"], []).append(row)
    header = ["knobs", "epochs", "seed", "accuracy %", "area, gradient ↓"]
    return {name: markdown_table(header, rows) for name, rows in found.items()}


def _order_of_search(cell: dict[str, Any]) -> tuple[Any, ...]:
    settings = cell["settings"]
    return settings["dataset"], ARMS.index(settings["arm"]), settings["epochs"], -cell["drops"]["gradient"]["area"]


def training_of(cell: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of the training that a cell is of."""
    settings: dict[str, Any] = cell["settings"]
    return settings if settings["kind"] == "training" else settings["training"]


def dataset_tables(name: str, cells: Cells) -> str:
    """Lay out accuracy (Table 3), the area of the gradient (Table 4) and of every method, and IID, OOD, ROAR."""
    trained = by_arm([cell for cell in cells if cell["settings"]["kind"] == "training"])
    parts = [_heading(name, trained), _accuracy(name, trained), _notes(trained)]
    methods = by_arm([cell for cell in cells if cell["settings"]["kind"] == "methods"])
    if methods:
        parts += [_methods(methods), _method_notes(methods)]
    controlled = [(arm, control) for arm, controls in CONTROLS_OF.items() if arm in trained for control in controls]
    pairs = [(arm, control) for arm, control in controlled if control in trained]
    if pairs:
        parts += [_beside_controls(trained, methods, pairs)]
    parts += [_removal(cell) for cell in cells if cell["settings"]["kind"] == "roar"]
    return "\n\n".join(parts)


def by_arm(cells: Cells) -> dict[str, Cells]:
    """Sort cells by arm in the order of `ARMS`, and by seed."""
    groups: dict[str, Cells] = {arm: [] for arm in ARMS}
    for cell in sorted(cells, key=lambda cell: training_of(cell)["seed"]):
        groups[training_of(cell)["arm"]].append(cell)
    return {arm: group for arm, group in groups.items() if group}


def areas(cells: Cells, method: str) -> dict[int, float]:
    """Return the area of a method by seed, of the cells that have it."""
    return {training_of(cell)["seed"]: cell["drops"][method]["area"] for cell in cells if method in cell["drops"]}


def beyond_random(cells: Cells, method: str) -> dict[int, float]:
    """Return a method's area minus that of the same network's random ranking by seed, negative where it tells more."""
    chance = areas(cells, "random")
    return {seed: area - chance[seed] for seed, area in areas(cells, method).items() if seed in chance}


def accuracies(cells: Cells) -> dict[int, float]:
    """Return the accuracy in percent by seed."""
    return {training_of(cell)["seed"]: 100 * cell["accuracy"] for cell in cells}


def ginis(cells: Cells) -> dict[int, float]:
    """Return the mean sparsity of the gradients' maps by seed, in [0, 1], of the cells that have it."""
    return {training_of(cell)["seed"]: cell["gini"]["gradient"] for cell in cells if "gradient" in cell.get("gini", {})}


def _heading(name: str, arms: dict[str, Cells]) -> str:
    first = next(iter(arms.values()))[0]
    settings = first["settings"]
    return (
        f"### {name}: {settings['network']}, {settings['train_images']:,} training images, "
        f"{settings['test_images']:,} {settings['split']} images"
    )


NETWORKS = {"mnist_cnn": "CNN", "resnet18_32": "ResNet-18", "vgg16": "VGG-16"}  # ours → as the paper calls them


def _accuracy(name: str, arms: dict[str, Cells]) -> str:
    """One row an arm: accuracy and the gradient's area, each beside the paper's."""
    gradient = partial(areas, method="gradient")
    network = NETWORKS.get(next(iter(arms.values()))[0]["settings"]["network"])
    theirs = network is not None and PAPER["table3"].get(name, {}).get("network") == network
    rows = []
    for arm, cells in arms.items():
        rows.append(
            [
                arm,
                str(len(cells)),
                _mean(accuracies(cells), 2),
                _paper(PAPER["table3"][name].get(arm) if theirs else None),
                _compared(arms, cells, accuracies, 2),
                _mean(gradient(cells), 0),
                _paper(PAPER["table4"].get(name, {}).get(arm) if theirs else None),
                _compared(arms, cells, gradient),
                _mean(ginis(cells), 3),
                _compared(arms, cells, ginis, 3),
            ]
        )
    header = ["arm", "seeds", "accuracy %", "paper", "− plain", "area, gradient ↓", "paper", "− plain"]
    return markdown_table([*header, "Gini, gradient ↑", "− plain"], rows)


def _notes(arms: dict[str, Cells]) -> str:
    first = next(iter(arms.values()))[0]["settings"]
    lines = [
        "Area under accuracy (%) over pixels blackened (%), 0 to 90 %, pixels ranked by |gradient of the true class's "
        f"logit|, on the first {first['gradient_images']:,} {first['split']} images. ± is the standard deviation over "
        "seeds; − plain is the mean of the paired differences and {its 95 % interval over seeds, Student's}, * where "
        "it excludes zero, uncorrected for the number of intervals. Gini is the maps' mean sparsity. Paper: Tables 3 "
        "and 4 of its supplement."
    ]
    for arm, cells in arms.items():
        settings = cells[0]["settings"]
        knobs = _told(settings["knobs"])
        precision = ", bfloat16" if settings["bf16"] else ""
        # The clock's seconds count what else the machine did.
        seconds = [cell["train_cpu_seconds"] for cell in cells if cell.get("train_cpu_seconds")]
        took = f"; {np.mean(seconds):.0f} s of the processor in training a seed" if seconds else ""
        lines.append(
            f"- {arm}: {settings['epochs']:g} epochs of batch {settings['batch_size']}, {settings['optimizer']} at "
            f"{settings['learning_rate']:g} ({settings['scheduler']}){precision}; {knobs}{took}."
        )
    return "\n".join(lines)


def _told(knobs: dict[str, Any]) -> str:
    """The knobs that are not at their defaults, and k."""
    return ", ".join(f"{name.removeprefix('sgt_')} {value}" for name, value in knobs.items())


def _methods(arms: dict[str, Cells]) -> str:
    """One row a method: its area in each arm, and the paired differences; then the same beside a random ranking."""
    others = [arm for arm in arms if arm != "plain"]
    header = ["area ↓", *arms, *(f"{arm} − plain" for arm in others if "plain" in arms)]
    rows = []
    for name, measure in _measures_of(arms).items():
        means = [_mean(measure(cells), 0) for cells in arms.values()]
        differences = [_compared(arms, arms[arm], measure) for arm in others if "plain" in arms]
        rows.append([name, *means, *differences])
    return markdown_table(header, rows)


def _beside_controls(trained: dict[str, Cells], methods: dict[str, Cells], pairs: list[tuple[str, str]]) -> str:
    """Each guided arm minus its controls: what is left is the doing of the ranking, or of its direction."""
    size = next(iter(trained.values()))[0]["settings"]["gradient_images"]

    def row(name: str, arms: dict[str, Cells], measure: Measure, digits: int = 0) -> list[str]:
        return [name, *(_compared(arms, arms.get(arm, []), measure, digits, base=control) for arm, control in pairs)]

    rows = [row("accuracy %", trained, accuracies, 2)]
    rows += [row(f"gradient, {size:,} images", trained, partial(areas, method="gradient"))]
    rows += [row("Gini, gradient ↑", trained, ginis, 3)]
    rows += [row(name, methods, measure) for name, measure in _measures_of(methods).items()]
    return markdown_table(["area ↓ beside the controls", *(f"{arm} − {control}" for arm, control in pairs)], rows)


def _measures_of(arms: dict[str, Cells]) -> dict[str, Measure]:
    """Every method's area, then what each leaves of it beside the same network's random ranking."""
    names = list(dict.fromkeys(name for cells in arms.values() for cell in cells for name in cell["drops"]))
    found: dict[str, Measure] = {name: partial(areas, method=name) for name in names}
    ranked = [name for name in names if name != "random" and "random" in names]
    return found | {f"{name} − random": partial(beyond_random, method=name) for name in ranked}


def _method_notes(arms: dict[str, Cells]) -> str:
    cells = [cell for group in arms.values() for cell in group]
    settings = cells[0]["settings"]
    text = (
        f"On the first {settings['images']:,} {settings['training']['split']} images. Baseline of integrated "
        f"gradients, DeepLIFT and the SHAPs: {settings['baseline']} (constant is black), the SHAPs' with Gaussian "
        f"noise around it; {settings['ig_steps']} steps, {settings['smooth_grad_samples']} noisy copies, "
        f"{settings['shap_samples']} points and {settings['shap_baselines']} baselines of the SHAPs. A row − random is "
        "the method's area minus that of the same network's random ranking."
    )
    refused = {name: reason for cell in cells for name, reason in cell["refused"].items()}
    return "\n".join([text, *(f"- {name} is not measured: {reason}" for name, reason in refused.items())])


def _removal(cell: dict[str, Any]) -> str:
    """Accuracy by level of one model's gradient: IID, OOD, ROAR (Figure 4)."""
    settings = cell["settings"]
    header = ["accuracy %", *(f"{100 * level:g} %" for level in cell["levels"]), "area"]
    rows = [
        [name, *(f"{100 * value:.1f}" for value in curve["accuracies"]), f"{curve['area']:.0f}"]
        for name, curve in cell["drops"].items()
    ]
    note = (
        f"Gradient of {settings['training']['arm']}, seed {settings['training']['seed']}: pixels black (IID), the "
        f"image's mean (OOD), and the mean with a network retrained for {settings['epochs']:g} epochs (ROAR). Areas "
        f"are over these {len(cell['levels'])} levels: they compare with each other, not with the tables above."
    )
    return f"{markdown_table(header, rows)}\n\n{note}"


def _compared(arms: dict[str, Cells], cells: Cells, measure: Measure, digits: int = 0, *, base: str = "plain") -> str:
    """Mean of the differences to another arm, seed by seed, and its 95 % interval over at least three seeds."""
    if base not in arms or cells is arms[base]:
        return ""
    theirs, own = measure(arms[base]), measure(cells)
    return told_difference([own[seed] - theirs[seed] for seed in own if seed in theirs], digits)


def _mean(by_seed: dict[int, float], digits: int) -> str:
    values = list(by_seed.values())
    if not values:
        return "–"
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


def _paper(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"
