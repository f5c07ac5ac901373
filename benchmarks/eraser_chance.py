"""What agreement with human rationales is by chance, and for the human marks themselves: no model is needed.

The tables of `benchmarks/eraser.py` hold each saliency map against the words that people marked. What such a number is
worth shows beside the same number of random scores, over the same texts, words and shares.

    python benchmarks/eraser_chance.py --dataset esnli --data-dir ../shared/data/eraser --texts 500
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from datasets import DatasetDict, disable_progress_bars
from numpy.typing import NDArray
from transformers import HfArgumentParser

from benchmarks.common import cell_path, markdown_table, run_cell
from benchmarks.eraser import EraserArguments, cell_of, limited
from benchmarks.eraser_cell import build, encode
from benchmarks.eraser_settings import Cell
from benchmarks.eraser_texts import count_measured, documents_of
from sgt_hf import SaliencyGuidedArguments, load_eraser
from sgt_hf.data.rationales import query_varies
from sgt_hf.faithfulness.predictions import Predictions, agreement_with_humans, identities_of
from sgt_hf.metrics.aopc import BINS

MEASURES = {"auprc": "AUPRC", "token_f1": "token F1", "iou_f1": "IOU F1"}


@dataclass
class ChanceArguments(EraserArguments):
    """Which texts, as for `benchmarks/eraser.py`."""

    draws: int = field(default=10, metadata={"help": "Random scores per text."})
    output_dir: str = field(default="runs/eraser_chance", metadata={"help": "Where the numbers go."})

    def __post_init__(self) -> None:
        """Refuse too few draws."""
        super().__post_init__()
        if self.draws < 1:
            raise ValueError(f"draws must be ≥ 1, got {self.draws}")


def main() -> None:
    """Measure every data set that is not finished, and print the table."""
    (args,) = HfArgumentParser(ChanceArguments).parse_args_into_dataclasses()
    disable_progress_bars()
    entries = []
    for name in args.dataset:
        cell = cell_of(args, SaliencyGuidedArguments(), name, "plain", 0)
        used = ("dataset", "data_dir", "model", "limit", "split", "texts", "max_length")
        settings = {key: getattr(cell, key) for key in used} | {"draws": args.draws}
        path = cell_path(Path(args.output_dir), f"chance-{Path(name).name}", settings)
        load = partial(load_eraser, name, args.data_dir)
        entries.append(run_cell(path, settings, partial(by_chance, cell, load, args)))
    print("\n\n".join(tables(entries).values()))


def by_chance(cell: Cell, load: Callable[[], DatasetDict], args: ChanceArguments) -> dict[str, Any]:
    """Return the agreement of random scores, and of the human marks as scores, with the human marks.

    Args:
        cell: Which texts, cut how.
        load: Returns what `load_eraser` does.
        args: What was asked for.

    Returns:
        `texts`, `documents` (see `documents_of`), `unmarked` (the share of documents without a mark, whose precision
        counts ½ whatever the scores), and `random` (the mean over the draws) and `human`, each by measure.

    Raises:
        ValueError: The rows hold no human rationale.
    """
    data = limited(load(), args.limit)
    count = count_measured(cell, data[cell.split])
    tokenizer = build(cell, data)[0]
    split = DatasetDict({cell.split: data[cell.split].select(range(count))})
    rows = encode(cell, split, tokenizer, with_query=query_varies(data["train"]))[cell.split]
    words = [np.unique([word for word in row if word >= 0]) for row in rows["word_ids"]]
    identities = identities_of(rows, words)
    if identities is None:
        raise ValueError(f"{cell.dataset} holds no human rationale of words: there is nothing to agree with")
    rng = np.random.default_rng(0)
    found = [_agreement(identities, [rng.random(len(each)) for each in words]) for _ in range(args.draws)]
    marks = [one.rationale for one in identities]  # none is None, or the agreement would have been refused
    human = [mark[each].astype(float) for mark, each in zip(marks, words, strict=True)]
    parts = [part for one, mark in zip(identities, marks, strict=True) for _, part in one.split(mark)]
    return {
        "texts": count,
        "documents": documents_of(split[cell.split]),
        "unmarked": float(np.mean([not part.any() for part in parts])),
        "random": {name: float(np.mean([each[name] for each in found])) for name in found[0]},
        "human": _agreement(identities, human),
    }


def _agreement(identities: list[Any], scores: list[NDArray[np.float64]]) -> dict[str, float]:
    nothing = np.zeros(len(scores))
    predictions = Predictions(
        identities=identities,
        label_names=None,
        predicted=nothing.astype(int),
        full=nothing[:, None],
        removed={},
        kept={},
        scores={"scores": scores},
        bins=BINS,
    )
    found = agreement_with_humans(predictions, method="scores")
    values = {"auprc": found["auprc"], "token_f1": found["token"].macro.f1}
    return values | ({} if found["iou"] is None else {"iou_f1": found["iou"].macro.f1})


def tables(entries: list[dict[str, Any]]) -> dict[str, str]:
    """Return one table of all data sets and models, which differ in the words that they read.

    Args:
        entries: What the folder of results holds.
    """
    header = [
        "",
        "cut as for",
        "texts",
        "of documents",
        "unmarked documents",
        *(f"{name}, random" for name in MEASURES.values()),
    ]
    header += [f"{name}, human marks" for name in MEASURES.values()]
    rows = []
    for entry in sorted(entries, key=lambda one: (one["settings"]["dataset"], one["settings"]["model"] != "bilstm")):
        settings = entry["settings"]
        row = [
            Path(settings["dataset"]).name,
            f"{Path(settings['model']).name}, {settings['max_length']} tokens",
            f"{entry['texts']} {settings['split']}",
            f"{len(set(entry['documents']))}",
            f"{100 * entry['unmarked']:.1f} %",
        ]
        row += [_told(entry[of].get(measure)) for of in ("random", "human") for measure in MEASURES]
        rows.append(row)
    return {"all": markdown_table(header, rows)}


def _told(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    main()
