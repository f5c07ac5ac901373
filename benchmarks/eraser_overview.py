"""All data sets and networks of the ERASER benchmark at a glance: who is ahead, and how far one training repeats."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from benchmarks.common import markdown_table
from benchmarks.eraser_maps import gain_of
from benchmarks.eraser_rows import KINDS, LABELS, Cells, Values, first_of, of_shared_seeds, paired
from sgt_hf.faithfulness import METHODS
from sgt_hf.metrics.significance import student_mean

TWICE, REPEATED = {"plain", "plain_equal_compute"}, ("gradient", "integrated_gradients")


def verdicts(groups: Iterable[dict[str, Cells]]) -> str:
    """Return where guided is better or worse than plain and than the random mask, beyond the seeds.

    Args:
        groups: Arms, each its cells, of every data set and model; those without the three arms are left out.
    """
    header = ["", "guided beside", "seeds", "accuracy"]
    header += [f"{method} {name}" for method in METHODS for name in LABELS.values()]
    rows = []
    for arms in groups:
        settings = first_of(arms)[0]["settings"]
        for other in ("plain", "random_mask") if {"guided", "plain", "random_mask"} <= set(arms) else ():
            pair = of_shared_seeds(arms, "guided", other)
            cells = [_verdict(paired(arms, "guided", other, "accuracy", "").mean(1), higher=True)]
            for method in METHODS:
                known = all(method in cell["per_example"] for side in pair for cell in side)
                cells += [_verdict_of(arms, pair, other, method, kind) if known else "" for kind in LABELS]
            title = f"{Path(settings['dataset']).name}, {Path(settings['model']).name}"
            rows.append([title, other, f"{len(pair[0])}", *cells])
    return markdown_table(header, rows)


def _verdict_of(arms: dict[str, Cells], pair: tuple[Cells, Cells], other: str, method: str, kind: str) -> str:
    """Of the raw number, and after the stroke of what it is beyond a random ranking of the same model."""
    higher = kind == "comprehensiveness"
    raw = _verdict(paired(arms, "guided", other, method, kind).mean(1), higher=higher)
    if kind not in KINDS:
        return raw
    gains = [[gain_of(cell, method, kind) for cell in side] for side in pair]
    return f"{raw} / {_verdict(np.subtract(*map(np.array, gains)), higher=higher)}"


def _verdict(differences: Values, *, higher: bool) -> str:
    interval = student_mean(differences) if len(differences) > 2 else None
    if interval is None or not interval.excludes_zero:
        return "·"
    return "better" if (interval.mean > 0) == higher else "worse"


def repeats(groups: Iterable[dict[str, Cells]]) -> str:
    """Return how far one training repeats: plain, and plain for equal compute where it chose one of plain's epochs.

    Up to there both are the same training, run apart.

    Args:
        groups: Arms, each its cells, of every data set and model.
    """
    header = ["data set", "seed", "epoch", "accuracy", *(f"{method}, comp" for method in REPEATED)]
    rows = []
    for arms in groups:
        pairs = zip(*of_shared_seeds(arms, "plain", "plain_equal_compute"), strict=True) if set(arms) >= TWICE else ()
        for pair in pairs:
            if pair[1]["epoch"] > pair[0]["settings"]["epochs"]:
                continue
            summaries = [cell["summary"] for cell in pair]
            told = [[f"{cell['epoch']}" for cell in pair], [f"{one['accuracy']:.3f}" for one in summaries]]
            told += [[f"{one['methods'][name]['comprehensiveness']:.3f}" for one in summaries] for name in REPEATED]
            settings = pair[0]["settings"]
            rows.append([Path(settings["dataset"]).name, f"{settings['seed']}", *(" / ".join(each) for each in told)])
    return markdown_table(header, rows)
