"""All data sets and networks of the ERASER benchmark at a glance: who is ahead, and how far one training repeats."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from benchmarks.common import UNGUIDED, markdown_table
from benchmarks.eraser_rows import KINDS, LABELS, Cells, first_of, of_shared_seeds, paired
from sgt_hf.faithfulness import METHODS
from sgt_hf.metrics.significance import student_mean

BESIDE = ("plain", "plain_equal_compute", "random_mask")
REPEATED = ("gradient", "integrated_gradients")


def verdicts(groups: Iterable[dict[str, Cells]]) -> str:
    """Return where guided is better or worse than plain, for its own compute too, and than the random mask.

    Args:
        groups: Arms, each its cells, of every data set and model; those without guided, plain and random mask are
            left out.
    """
    header = ["", "guided beside", "seeds", "accuracy"]
    header += [f"{method} {name}" for method in METHODS for name in LABELS.values()]
    rows = []
    for arms in groups:
        settings = first_of(arms)[0]["settings"]
        for other in BESIDE if {"guided", "plain", "random_mask"} <= set(arms) else ():
            if other not in arms:
                continue
            pair = of_shared_seeds(arms, "guided", other)
            cells = [_verdict(arms, other, "accuracy", "", higher=True)]
            for method in METHODS:
                known = all(method in cell["per_example"] for side in pair for cell in side)
                cells += [_verdicts(arms, other, method, kind) if known else "" for kind in LABELS]
            title = f"{Path(settings['dataset']).name}, {Path(settings['model']).name}"
            rows.append([title, other, f"{len(pair[0])}", *cells])
    return markdown_table(header, rows)


def _verdicts(arms: dict[str, Cells], other: str, method: str, kind: str) -> str:
    """Of the raw number, and after the stroke of what it is beyond a random ranking of the same model."""
    kinds = (kind, f"{kind} beyond random") if kind in KINDS else (kind,)
    return " / ".join(_verdict(arms, other, method, each, higher=kind == "comprehensiveness") for each in kinds)


def _verdict(arms: dict[str, Cells], other: str, name: str, kind: str, *, higher: bool) -> str:
    differences = paired(arms, "guided", other, name, kind).mean(1)
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
        pairs = zip(*of_shared_seeds(arms, *UNGUIDED), strict=True) if set(arms) >= set(UNGUIDED) else ()
        for pair in pairs:
            if pair[1]["epoch"] > pair[0]["settings"]["epochs"]:
                continue
            summaries = [cell["summary"] for cell in pair]
            told = [[f"{cell['epoch']}" for cell in pair], [f"{one['accuracy']:.3f}" for one in summaries]]
            told += [[f"{one['methods'][name]['comprehensiveness']:.3f}" for one in summaries] for name in REPEATED]
            settings = pair[0]["settings"]
            rows.append([Path(settings["dataset"]).name, f"{settings['seed']}", *(" / ".join(each) for each in told)])
    return markdown_table(header, rows)
