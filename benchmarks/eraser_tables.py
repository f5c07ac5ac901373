"""Cells of the ERASER benchmark → tables: means over seeds, paired differences with their intervals, the paper's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import counted, markdown_table
from benchmarks.eraser_arms import ARMS
from benchmarks.eraser_maps import map_differences, maps
from benchmarks.eraser_paper import OTHER_AGGREGATE, in_the_paper, rows_beside
from benchmarks.eraser_rows import Cells, Values, first_of, label_of, paired, rows_of, values_of, without_variants
from benchmarks.eraser_told import digits_of, star, told_mean, told_seeds
from sgt_hf.metrics.significance import bootstrap_mean, rank_biserial, wilcoxon_signed_rank
from sgt_hf.reporting.html import Table


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
    header, rows = maps(arms)
    if rows:  # the first cells have none
        tables.append(Table("The maps", header, rows))
        if len(arms) > 1:
            tables.append(
                Table(f"The same, {focus_of(arms)} minus another arm", *map_differences(arms, focus_of(arms)))
            )
    if in_the_paper(arms):
        tables.append(Table("Beside the paper's Tables 1 and 5, plain → guided", *rows_beside(arms)))
    return tables


def focus_of(arms: dict[str, Cells]) -> str:
    """Return the arm that is held against the others: guided, or the last."""
    return "guided" if "guided" in arms else list(arms)[-1]


def _values(arms: dict[str, Cells]) -> tuple[list[str], list[list[str]]]:
    groups, digits = arms.values(), digits_of(arms)
    rows = [
        [label_of(*row), *(told_mean(values_of(cells, *row).mean(1), digits) for cells in groups)]
        for row in rows_of(arms)
    ]
    return ["", *arms], rows


def _differences(arms: dict[str, Cells], pairs: list[tuple[str, str]]) -> tuple[list[str], list[list[str]]]:
    documents, digits = _documents(arms), digits_of(arms)

    def told(differences: Values) -> str:
        # by example, the seeds averaged first, so that examples are the units resampled; then by seed
        by_text = bootstrap_mean(differences.mean(0), clusters=documents)
        interval = f"[{by_text.low:+.{digits}f}, {by_text.high:+.{digits}f}]{star(by_text)}"
        return f"{by_text.mean:+.{digits}f} {interval} {told_seeds(differences.mean(1), digits)}"

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


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p {value:.3f}"


def _documents(arms: dict[str, Cells]) -> list[int] | None:
    """Which texts share a document; None where the cells do not tell."""
    found: list[int] | None = first_of(arms)[0].get("documents")
    return found


def _by_document(values: Values, documents: list[int] | None) -> Values:
    """The mean over each document's texts."""
    if documents is None:
        return values
    return np.asarray(np.bincount(documents, weights=values) / np.bincount(documents))


def _notes(arms: dict[str, Cells], *, brief: bool = False) -> list[str]:
    cells = [cell for group in arms.values() for cell in group]
    provenance = cells[0]["summary"]["provenance"]
    bins = ", ".join(f"{100 * share:g}" for share in provenance["bins"])
    documents, n = _documents(arms), cells[0]["summary"]["n"]
    shared = documents is not None and len(set(documents)) < n
    units = f"the {len(set(documents))} documents of the {n} texts" if documents and shared else "texts"
    lines = [
        f"AOPC convention {provenance['convention']}, operator {provenance['operator']}, ⌈q·n⌉ {provenance['unit']}s "
        f"at {bins} %, reduction {provenance['reduction']}, random over {provenance['random_draws']} draws"
        f"{_effort(cells)}. "
        f"± is over seeds; [ ] is the paired 95 % bootstrap over {units}, seeds averaged, {{ }} Student's interval "
        "over seeds; * where it excludes 0, uncorrected for the number of intervals. Only the intervals over seeds say "
        "what another training would give. abs suff is the mean of the texts' absolute sufficiency; random's first "
        "averages its draws, which cancel: compare it across columns, not with other rows.",
    ]
    if not brief:
        lines.append(f"p and r are over {units}, seeds averaged.")
        if in_the_paper(arms):
            lines.append(OTHER_AGGREGATE)
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


def _effort(cells: Cells) -> str:
    """How many points and copies the methods took, which is the same in all cells."""
    provenance, methods = cells[0]["summary"]["provenance"], cells[0]["summary"]["methods"]
    told = ""
    if "integrated_gradients" in methods and "steps" in provenance:
        told += f", integrated gradients in {provenance['steps']} steps"
    if "smooth_grad" in methods and "smooth_grad_samples" in provenance:
        told += f", SmoothGrad of {provenance['smooth_grad_samples']} copies"
    return told


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
