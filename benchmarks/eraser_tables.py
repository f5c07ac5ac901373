"""Cells of the ERASER benchmark → tables: means over seeds, paired differences with their intervals, the paper's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import counted, markdown_table
from benchmarks.eraser_arms import ARMS
from benchmarks.eraser_rows import (
    KINDS,
    LABELS,
    Cells,
    Values,
    first_of,
    label_of,
    of_shared_seeds,
    paired,
    rows_of,
    values_of,
    without_variants,
)
from sgt_hf.faithfulness import METHODS
from sgt_hf.metrics.significance import (
    Interval,
    bootstrap_mean,
    rank_biserial,
    student_mean,
    wilcoxon_signed_rank,
)
from sgt_hf.reporting.html import Table

PAPER = json.loads((Path(__file__).parent / "paper_tables" / "eraser.json").read_text(encoding="utf-8"))
TWICE, REPEATED = {"plain", "plain_equal_compute"}, ("gradient", "integrated_gradients")
_LIKE_THE_PAPERS = {"paper": "the paper's settings", "guided": "guided"}
_OTHER_AGGREGATE = (
    "The paper's AOPC divides the five bins by six and adds the emptied text to sufficiency: of its numbers only "
    "relative changes of comprehensiveness are to be held against these."
)
MAPS = {"auprc": "AUPRC", "token_f1": "token F1", "iou_f1": "IOU F1", "gini": "Gini", "hoyer": "Hoyer"}


def dataset_table(arms: dict[str, Cells], *, brief: bool = False) -> str:
    """Lay out one data set's tables.

    Args:
        arms: The finished cells of each arm, seeds in the same order; `plain` is the baseline.
        brief: Leave out all but values and differences, of the one operator and reduction.

    Returns:
        Markdown: heading, tables, and the lines that say how it was measured.
    """
    first, *others = dataset_tables(without_variants(arms), brief=True)[:2] if brief else dataset_tables(arms)
    parts = [f"## {first.title}", markdown_table(first.header, first.rows)]
    for table in others:
        parts += [f"{table.title}:", markdown_table(table.header, table.rows)]
    return "\n\n".join([*parts, "\n".join(first.notes)])


def dataset_tables(arms: dict[str, Cells], *, brief: bool = False) -> list[Table]:
    """Return one data set's tables: values, differences, their statistics, maps; and the paper's, where it has any.

    Args:
        arms: See `dataset_table`.
        brief: Whether the notes are of the first two alone.
    """
    first = next(iter(arms.values()))[0]
    settings, n, seeds = first["settings"], first["summary"]["n"], len(first_of(arms))
    split = settings.get("split", "test")  # the first cells had no choice
    title = (
        f"{Path(settings['dataset']).name}, {Path(settings['model']).name}: {n} {split} texts, {counted(seeds, 'seed')}"
    )
    tables = [Table(title, *_values(arms), _notes(arms, brief=brief))]
    if len(arms) > 1:
        focus = focus_of(arms)
        against = [(focus, other) for other in arms if other != focus]
        controls = [(arm, "plain") for arm in arms if arm not in (focus, "plain") and "plain" in arms]
        tables.append(Table(f"{focus} minus another arm", *_differences(arms, against)))
        tables.append(Table(f"Wilcoxon's p and rank-biserial r, {focus} against another arm", *_tests(arms)))
        if controls and focus != "plain":
            tables.append(Table("Another arm minus plain", *_differences(arms, controls)))
    header, rows = _maps(arms)
    if rows:  # the first cells have none
        tables.append(Table("Gain over a random ranking, and the maps", header, rows))
        if len(arms) > 1:
            tables.append(Table(f"The same, {focus_of(arms)} minus another arm", *_map_differences(arms)))
    if _in_the_paper(arms):
        tables.append(Table("Beside the paper's Tables 1 and 5, plain → guided", *_beside_the_paper(arms)))
    return tables


def beside_the_paper(arms: dict[str, Cells]) -> str:
    """Lay out the paper's numbers beside ours; nothing where it has none.

    Args:
        arms: See `dataset_table`.
    """
    return f"{markdown_table(*_beside_the_paper(arms))}\n\n{_OTHER_AGGREGATE}" if _in_the_paper(arms) else ""


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
    gains = [[cell["summary"]["methods"][method][f"{kind}_minus_random"] for cell in side] for side in pair]
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


def focus_of(arms: dict[str, Cells]) -> str:
    """Return the arm that is held against the others: guided, or the last."""
    return "guided" if "guided" in arms else list(arms)[-1]


def _values(arms: dict[str, Cells]) -> tuple[list[str], list[list[str]]]:
    groups, digits = arms.values(), _digits(arms)
    rows = [
        [label_of(*row), *(_mean(values_of(cells, *row).mean(1), digits) for cells in groups)] for row in rows_of(arms)
    ]
    return ["", *arms], rows


def _differences(arms: dict[str, Cells], pairs: list[tuple[str, str]]) -> tuple[list[str], list[list[str]]]:
    documents, digits = _documents(arms), _digits(arms)

    def told(differences: Values) -> str:
        # by example, the seeds averaged first, so that examples are the units resampled; then by seed
        by_text = bootstrap_mean(differences.mean(0), clusters=documents)
        interval = f"[{by_text.low:+.{digits}f}, {by_text.high:+.{digits}f}]{_star(by_text)}"
        return f"{by_text.mean:+.{digits}f} {interval} {_bracketed_seeds(differences.mean(1), digits)}"

    rows = [[label_of(*row), *(told(paired(arms, *pair, *row)) for pair in pairs)] for row in rows_of(arms)]
    return ["", *(f"{one} − {other} [texts] {{seeds}}" for one, other in pairs)], rows


def _tests(arms: dict[str, Cells]) -> tuple[list[str], list[list[str]]]:
    focus, documents = focus_of(arms), _documents(arms)
    others = [arm for arm in arms if arm != focus]
    rows = []
    for row in rows_of(arms):
        texts = [_by_document(paired(arms, focus, other, *row).mean(0), documents) for other in others]
        zero = np.zeros_like(texts[0])
        tests = [(wilcoxon_signed_rank(d, zero).p_value, rank_biserial(d, zero)) for d in texts]
        rows.append([label_of(*row), *(f"{_p(p)}, {r:+.2f}" for p, r in tests)])
    return ["", *others], rows


def _maps(arms: dict[str, Cells]) -> tuple[list[str], list[list[str]]]:
    rows, digits = [], _digits(arms)
    for name, of in _known_measures(arms).items():
        groups = (np.array([of(cell) for cell in group], dtype=float) for group in arms.values())
        rows.append([name, *(_mean(group, digits) for group in groups)])
    return ["", *arms], rows


def _map_differences(arms: dict[str, Cells]) -> tuple[list[str], list[list[str]]]:
    focus, digits = focus_of(arms), _digits(arms)
    others = [arm for arm in arms if arm != focus]
    rows = []
    for name, of in _known_measures(arms).items():
        pairs = ([[of(cell) for cell in group] for group in of_shared_seeds(arms, focus, other)] for other in others)
        differences = [np.subtract(*map(np.array, pair)) for pair in pairs]
        rows.append([name, *(f"{each.mean():+.{digits}f} {_bracketed_seeds(each, digits)}" for each in differences)])
    return ["", *(f"{focus} − {arm} {{seeds}}" for arm in others)], rows


def _known_measures(arms: dict[str, Cells]) -> dict[str, Callable[[dict[str, Any]], float | None]]:
    """What every cell knows of every method's maps, by name."""
    cells = [cell for group in arms.values() for cell in group]
    methods = [method for method in first_of(arms)[0]["summary"]["methods"] if method != "random"]
    found = {f"{method} {name}": of for method in methods for name, of in _measures(method).items()}
    return {name: of for name, of in found.items() if all(of(cell) is not None for cell in cells)}


def _measures(method: str) -> dict[str, Callable[[dict[str, Any]], float | None]]:
    """Of a cell, by name, what its method's maps are worth; None where the cell does not know."""

    def gain(kind: str) -> Callable[[dict[str, Any]], float | None]:
        return lambda cell: cell["summary"]["methods"][method].get(f"{kind}_minus_random")

    def normalized(kind: str) -> Callable[[dict[str, Any]], float | None]:
        return lambda cell: _known(cell["normalized"][method][kind]) if "normalized" in cell else None

    def of_maps(key: str) -> Callable[[dict[str, Any]], float | None]:
        return lambda cell: cell.get("maps", {}).get(method, {}).get(key)

    return (
        {f"{arrow} − random": gain(kind) for kind, arrow in KINDS.items()}
        | {f"{arrow}, NAOPC": normalized(kind) for kind, arrow in KINDS.items()}
        | {name: of_maps(key) for key, name in MAPS.items()}
    )


def _in_the_paper(arms: dict[str, Cells]) -> bool:
    """Whether the paper has numbers of the data set and of the network, which is the BiLSTM."""
    settings = first_of(arms)[0]["settings"]
    known = Path(settings["dataset"]).name in PAPER["aopc"] and settings["model"] == "bilstm"
    return known and {"plain", "guided"} <= set(arms)


def _beside_the_paper(arms: dict[str, Cells]) -> tuple[list[str], list[list[str]]]:
    name = Path(first_of(arms)[0]["settings"]["dataset"]).name
    paper, accuracy = PAPER["aopc"][name], PAPER["accuracy"][name]
    wanted = [("accuracy", "", [accuracy["plain"], accuracy["guided"]])]
    wanted += [(method, kind, paper[method][kind]) for method in paper for kind in KINDS]
    rows, digits = [], _digits(arms)
    ours = {arm: of_shared_seeds(arms, "plain", arm) for arm in _LIKE_THE_PAPERS if arm in arms}
    for name, kind, published in wanted:
        cells = [cell for both in ours.values() for side in both for cell in side]
        if name == "accuracy" or all(name in cell["per_example"] for cell in cells):
            means = [[float(values_of(side, name, kind).mean()) for side in both] for both in ours.values()]
            rows.append([label_of(name, kind), *(_change(pair, digits) for pair in means), _change(published, digits)])
    return ["", *(f"here, {_LIKE_THE_PAPERS[arm]}" for arm in ours), "paper"], rows


def _change(values: list[float], digits: int) -> str:
    """A pair with the relative change, where the first is large enough for it to mean something; or one value."""
    relative = f" ({100 * (values[1] / values[0] - 1):+.0f} %)" if len(values) > 1 and values[0] > 0.05 else ""
    return " → ".join(f"{value:.{digits}f}" for value in values) + relative


def _bracketed_seeds(values: Values, digits: int) -> str:
    """The interval over seeds; of fewer than three there is none worth the name."""
    if len(values) < 3:
        return "{–}"
    interval = student_mean(values)
    return f"{{{interval.low:+.{digits}f}, {interval.high:+.{digits}f}}}{_star(interval)}"


def _star(interval: Interval) -> str:
    return "*" if interval.excludes_zero else ""


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p {value:.3f}"


def _mean(seeds: Values, digits: int) -> str:
    """Mean, and the seeds' standard deviation where there are several."""
    return f"{seeds.mean():.{digits}f}" + (f" ± {seeds.std(ddof=1):.{digits}f}" if len(seeds) > 1 else "")


def _digits(arms: dict[str, Cells]) -> int:
    """After the point: a fourth where no method's mean reaches a tenth, as on FEVER."""
    means = [values_of(cells, *row).mean() for row in rows_of(arms) if row[1] for cells in arms.values()]
    return 4 if np.abs(means).max() < 0.1 else 3


def _documents(arms: dict[str, Cells]) -> list[int] | None:
    """Which texts share a document; None where the cells do not tell."""
    found: list[int] | None = first_of(arms)[0].get("documents")
    return found


def _by_document(values: Values, documents: list[int] | None) -> Values:
    """The mean over each document's texts."""
    if documents is None:
        return values
    return np.asarray(np.bincount(documents, weights=values) / np.bincount(documents))


def _known(values: list[float | None]) -> float:
    return float(np.mean([value for value in values if value is not None]))


def _notes(arms: dict[str, Cells], *, brief: bool = False) -> list[str]:
    cells = [cell for group in arms.values() for cell in group]
    provenance = cells[0]["summary"]["provenance"]
    bins = ", ".join(f"{100 * share:g}" for share in provenance["bins"])
    documents, n = _documents(arms), cells[0]["summary"]["n"]
    shared = documents is not None and len(set(documents)) < n
    units = f"the {len(set(documents))} documents of the {n} texts" if documents and shared else "texts"
    lines = [
        f"AOPC convention {provenance['convention']}, operator {provenance['operator']}, ⌈q·n⌉ {provenance['unit']}s "
        f"at {bins} %, reduction {provenance['reduction']}, random over {provenance['random_draws']} draws. "
        f"± is over seeds; [ ] is the paired 95 % bootstrap over {units}, seeds averaged, {{ }} Student's interval "
        "over seeds; * where it excludes 0, uncorrected for the number of intervals. Only the intervals over seeds say "
        "what another training would give. abs suff is the mean of the texts' absolute sufficiency; random's first "
        "averages its draws, which cancel: compare it across columns, not with other rows.",
    ]
    if not brief:
        lines.append(f"p and r are over {units}, seeds averaged.")
        if _in_the_paper(arms):
            lines.append(_OTHER_AGGREGATE)
    if not brief:
        lines += sorted({_normalized_note(cell) for cell in cells if "normalized" in cell})
    lines += [_arm_note(arm, group) for arm, group in arms.items()]
    operator = provenance["operator"]
    flattered = [
        arm
        for arm, group in arms.items()
        if any(cell["summary"]["provenance"]["trained_masking"] == operator for cell in group)
        and group[0]["settings"]["knobs"].get("sgt_mask_fraction") != 0  # R-Drop masks nothing
    ]
    if flattered:
        lines.append(f"Measured by {operator}, which {', '.join(flattered)} met in training: this favours them.")
    return lines


def _normalized_note(cell: dict[str, Any]) -> str:
    count, settings = len(cell["normalized"]["random"]["comprehensiveness"]), cell["settings"]
    every = settings.get("normalized_every", 1)
    which = f"the first {count} texts" if every == 1 else f"{count} texts, one in {every}"
    return f"NAOPC is of {which}, its limits found by {settings.get('normalize', 'beam')} search."


def _arm_note(arm: str, group: Cells) -> str:
    knobs = ", ".join(f"{name[4:]} {value}" for name, value in group[0]["settings"]["knobs"].items())
    epochs = ", ".join(f"{cell['epoch']}" for cell in group)
    select = group[0]["settings"].get("select", "accuracy")  # the first cells had no choice
    train = np.mean([cell["seconds"]["train"] for cell in group])
    evaluation = np.mean([cell["seconds"]["evaluation"] for cell in group])
    settings = group[0]["settings"]
    precision = "bfloat16, " if settings.get("bf16") else ""
    if settings["model"] != "bilstm" and settings.get("dropout") is not None:
        precision += f"every dropout at {settings['dropout']:g}, "
    return (
        f"{arm}: {ARMS[arm]}; {knobs}, other knobs at their defaults; {precision}"
        f"{counted(len(group), 'seed')}, epoch picked by validation {select}: {epochs}; "
        f"{train:.0f} s of training and {evaluation:.0f} s of evaluation a seed."
    )
