"""Cells of the ERASER benchmark → report.html: tables, removal curves, gradient distributions, texts side by side."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.eraser_rows import KINDS, Cells
from benchmarks.eraser_tables import dataset_tables
from benchmarks.report_parts import told_settings
from sgt_hf.reporting.html import Picture, Report, TextEntry, View, write_report
from sgt_hf.reporting.plots import aopc_curve, gradient_distribution

Arms = dict[str, Cells]


def write_eraser_report(path: Path, datasets: dict[str, Arms], *, command: Sequence[str]) -> None:
    """Write the page of a run.

    Args:
        path: Target.
        datasets: By data set and arm, the finished cells, seeds in the same order.
        command: The command line that made them, for the page's last section.
    """
    write_report(path, eraser_report(datasets, command=command))


def eraser_report(datasets: dict[str, Arms], *, command: Sequence[str]) -> Report:
    """Put together what the cells have; what they lack is said.

    Args:
        datasets: See `write_eraser_report`.
        command: See `write_eraser_report`.
    """
    tables, figures, texts, missing = [], [], [], []
    for name, arms in datasets.items():
        found = dataset_tables(arms)
        title = found[0].title
        tables += found
        figures += [_removal_picture(title, method, arms) for method in _methods(arms) if method != "random"]
        samples = _samples(arms)
        if samples is None:
            missing.append(f"{Path(name).name}: texts with their words' scores, and so the distribution of gradients")
            continue
        figures.append(_distribution_picture(title, samples))
        texts += [_entry(title, group) for group in _grouped(samples)]
    return Report(
        title=f"ERASER: {', '.join(next(iter(datasets.values())))}",
        lead="Does saliency guided training make explanations more faithful? Arms are paired: they share the initial "
        "weights, the order of the data, and the texts that are measured.",
        tables=tables,
        figures=figures,
        texts=texts,
        provenance=_provenance(datasets, command),
        missing=missing,
    )


def _methods(arms: Arms) -> list[str]:
    return list(next(iter(arms.values()))[0]["summary"]["methods"])


def _per_bin(cells: Cells, method: str, kind: str) -> NDArray[np.float64]:
    """(S, R) means over texts."""
    return np.array([cell["summary"]["methods"][method][f"{kind}_per_bin"] for cell in cells])


def _removal_picture(title: str, method: str, arms: Arms) -> Picture:
    rankings = (method, "random")
    curves = [
        {f"{arm}, {ranking}": _per_bin(cells, ranking, kind) for ranking in rankings for arm, cells in arms.items()}
        for kind in KINDS
    ]
    bins = next(iter(arms.values()))[0]["summary"]["provenance"]["bins"]
    means = (
        f"{kind} of {name}: {', '.join(f'{value:.3f}' for value in values.mean(0))}"
        for kind, by_name in zip(KINDS, curves, strict=True)
        for name, values in by_name.items()
    )
    shares = ", ".join(f"{100 * share:g}" for share in bins)
    return Picture(
        f"{title}: {method}",
        aopc_curve(*curves, bins=bins, band="range"),
        alt=f"Probability lost at {shares} % of the words. {'; '.join(means)}.",
        caption="Mean over the texts, then over seeds; the band is from the lowest seed to the highest."
        if len(next(iter(arms.values()))) > 1
        else "Mean over the texts, of one seed.",
    )


def _samples(arms: Arms) -> dict[str, dict[str, Any]] | None:
    """Of each arm the sample of the first seed, or None where a cell has none (the first cells had none)."""
    samples = {arm: cells[0].get("text_sample", {}) for arm, cells in arms.items()}
    return samples if all(sample.get("texts") for sample in samples.values()) else None


def _distribution_picture(title: str, samples: dict[str, dict[str, Any]]) -> Picture:
    gradients = {
        arm: [np.array([score for score in text["scores"] if score is not None]) for text in sample["texts"]]
        for arm, sample in samples.items()
    }
    method, count = next(iter(samples.values()))["method"], len(next(iter(gradients.values())))
    small = {arm: _share_near_zero(scores) for arm, scores in gradients.items()}
    listed = ", ".join(f"{arm} {100 * share:.0f} %" for arm, share in small.items())
    return Picture(
        f"{title}: distribution of {method} scores",
        gradient_distribution(gradients, pooled=True),
        alt=f"Histogram of the words' {method} scores, each text's divided by its largest magnitude, for every arm.",
        caption=f"{count} texts of the first seed. Words that score below a tenth of their text's largest: {listed}.",
    )


def _share_near_zero(texts: list[NDArray[np.float64]]) -> float:
    near = [np.abs(scores) < 0.1 * np.abs(scores).max(initial=0.0) for scores in texts]
    return float(np.concatenate(near).mean())


def _grouped(samples: dict[str, dict[str, Any]]) -> list[dict[str, dict[str, Any]]]:
    """Text by text, of every arm."""
    by_arm = {arm: {text["id"]: text for text in sample["texts"]} for arm, sample in samples.items()}
    shared = [key for key in next(iter(by_arm.values())) if all(key in texts for texts in by_arm.values())]
    return [{arm: texts[key] for arm, texts in by_arm.items()} for key in shared]


def _entry(title: str, group: dict[str, dict[str, Any]]) -> TextEntry:
    first = next(iter(group.values()))
    marked = [False] * len(first["words"])
    for start, end in first["rationale"]:
        marked[start:end] = [True] * (end - start)
    cut = first["truncated_words"]
    return TextEntry(
        title=f"{first['id']} ({title.partition(':')[0]})",
        words=first["words"],
        views=[
            View(arm, text["scores"], text["predicted"], text["probability"], text["predicted"] == text["label"])
            for arm, text in group.items()
        ],
        label=first["label"],
        rationale=marked,
        context=first["query"],
        notes=[f"{cut} words past the maximal length were cut off"] if cut else [],
    )


def _provenance(datasets: dict[str, Arms], command: Sequence[str]) -> dict[str, str]:
    cells = [cell for arms in datasets.values() for group in arms.values() for cell in group]
    found = {"command": shlex.join(command)}
    for what in ("versions", "machine"):
        kinds = {", ".join(f"{name} {value}" for name, value in cell[what].items()) for cell in cells}
        found[what] = "; ".join(sorted(kinds))
    for name, arms in datasets.items():
        settings = [cell["settings"] for group in arms.values() for cell in group]
        found[f"settings of {Path(name).name}"] = told_settings(settings, without=["arm", "seed", "knobs"])
    return found
