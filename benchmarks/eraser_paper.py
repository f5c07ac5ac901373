"""The paper's Tables 1 and 5 beside the same numbers of the ERASER benchmark."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.common import markdown_table
from benchmarks.eraser_rows import KINDS, Cells, first_of, label_of, of_shared_seeds, values_of
from benchmarks.eraser_told import digits_of, told_change

PAPER = json.loads((Path(__file__).parent / "paper_tables" / "eraser.json").read_text(encoding="utf-8"))
LIKE_THE_PAPERS = {"paper": "the paper's settings", "guided": "guided"}
OTHER_AGGREGATE = (
    "The paper's AOPC divides the five bins by six and adds the emptied text to sufficiency: of its numbers only "
    "relative changes of comprehensiveness are to be held against these."
)


def in_the_paper(arms: dict[str, Cells]) -> bool:
    """Return whether the paper has numbers of the data set and of the network, which is the BiLSTM.

    Args:
        arms: By arm, its finished cells.
    """
    settings = first_of(arms)[0]["settings"]
    known = Path(settings["dataset"]).name in PAPER["aopc"] and settings["model"] == "bilstm"
    return known and {"plain", "guided"} <= set(arms)


def beside_the_paper(arms: dict[str, Cells]) -> str:
    """Lay out the paper's numbers beside ours; nothing where it has none.

    Args:
        arms: By arm, its finished cells.
    """
    return f"{markdown_table(*rows_beside(arms))}\n\n{OTHER_AGGREGATE}" if in_the_paper(arms) else ""


def rows_beside(arms: dict[str, Cells]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows.

    Args:
        arms: Of which `in_the_paper` holds.
    """
    name = Path(first_of(arms)[0]["settings"]["dataset"]).name
    paper, accuracy = PAPER["aopc"][name], PAPER["accuracy"][name]
    wanted = [("accuracy", "", [accuracy["plain"], accuracy["guided"]])]
    wanted += [(method, kind, paper[method][kind]) for method in paper for kind in KINDS]
    rows, digits = [], digits_of(arms)
    ours = {arm: of_shared_seeds(arms, "plain", arm) for arm in LIKE_THE_PAPERS if arm in arms}
    for name, kind, published in wanted:
        cells = [cell for both in ours.values() for side in both for cell in side]
        if name == "accuracy" or all(name in cell["per_example"] for cell in cells):
            means = [[float(values_of(side, name, kind).mean()) for side in both] for both in ours.values()]
            rows.append(
                [label_of(name, kind), *(told_change(pair, digits) for pair in means), told_change(published, digits)]
            )
    return ["", *(f"here, {LIKE_THE_PAPERS[arm]}" for arm in ours), "paper"], rows
