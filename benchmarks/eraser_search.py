"""The search for the settings of the ERASER benchmark, on validation alone; its log is kept.

Each candidate is a training of `benchmarks/eraser.py` whose numbers are taken on the validation split, with the random
mask beside the guided one, so that what is found is the ranking's and not masking's. Plain training gets every
candidate that changes more than guidance. One small JSON a candidate, arm and seed; finished ones are skipped.

    python benchmarks/eraser_search.py --dataset esnli --data_dir ../shared/data/eraser \
        --embeddings ../shared/data/glove/union.glove.6B.50d.txt --seeds 0 --texts 400

The candidate is chosen by a rule: of those whose accuracy is at most a point below plain's best, the one with the
highest mean of comprehensiveness − sufficiency over the methods. That rule was fixed before the first log, and rewards
a model that is less sure of itself; `beyond random`, the same minus a random ranking's, tells how much of it is the
maps'. The recipe of plain training (learning rate, dropout, width, length) is the one with the lowest loss on the whole
validation split, which is the baseline at its best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from datasets import DatasetDict, disable_progress_bars
from tqdm.auto import tqdm
from transformers import HfArgumentParser
from transformers.utils import logging as transformers_logging

from benchmarks.common import cell_path, markdown_table, run_cell
from benchmarks.eraser import RECIPES, EraserArguments, Recipe, cell_of, limited
from benchmarks.eraser_arms import paper_knobs
from benchmarks.eraser_cell import run
from benchmarks.eraser_rows import KINDS
from benchmarks.eraser_settings import Cell
from sgt_hf import PRESETS, load_eraser

# Name → what it changes: knobs, or options of `benchmarks/eraser.py`.
CANDIDATES: dict[str, dict[str, Any]] = {
    "paper": {},
    "delete": {"sgt_masking": "delete"},
    "unk": {"sgt_masking": "unk"},
    "sep": {"sgt_masking": "sep"},
    "mask": {"sgt_masking": "mask"},
    "random word": {"sgt_masking": "random"},
    "delete, k 0.5": {"sgt_masking": "delete", "sgt_mask_fraction": 0.5},
    "delete, k 0.9": {"sgt_masking": "delete", "sgt_mask_fraction": 0.9},
    "delete, k from 0 to 1": PRESETS["text"],
    "delete, grad × input": {"sgt_masking": "delete", "sgt_reduction": "grad_x_input"},
    "delete, k from 0 to 1, fixed target": PRESETS["text"] | {"sgt_detach_target": True},
    "delete, k from 0 to 1, separate ranking": PRESETS["text"] | {"sgt_ranking": "separate"},
    "delete, k from 0 to 1, absolute sum": PRESETS["text"] | {"sgt_reduction": "abs_sum"},
    "delete, k from 0 to 1, l2": PRESETS["text"] | {"sgt_reduction": "l2"},
    "delete, k from 0 to 1, grad × input": PRESETS["text"] | {"sgt_reduction": "grad_x_input"},
    "delete, k from 0 to 1, λ 3": PRESETS["text"] | {"sgt_kl_weight": 3.0},
    "learning rate 1e-3": {"learning_rate": 1e-3},
    "learning rate 4e-3": {"learning_rate": 4e-3},
    "dropout 0.5": {"dropout": 0.5},
    "hidden size 128": {"hidden_size": 128},
    "pooling mean": {"pooling": "mean"},
    "max length 1000": {"max_length": 1000},
    "pooling mean, dropout 0.5": {"pooling": "mean", "dropout": 0.5},
    "pooling mean, learning rate 1e-3": {"pooling": "mean", "learning_rate": 1e-3},
    "pooling mean, hidden size 128": {"pooling": "mean", "hidden_size": 128},
    "pooling mean, max length 1000": {"pooling": "mean", "max_length": 1000},
    "pooling mean, max length 1000, dropout 0.5": {"pooling": "mean", "max_length": 1000, "dropout": 0.5},
}
ACCURACY_LOST = 0.01  # at most, against plain's best


@dataclass
class SearchArguments(EraserArguments):
    """What to search, as for `benchmarks/eraser.py`."""

    dataset: list[str] = field(default_factory=lambda: ["planted"], metadata={"help": "As for eraser.py."})
    arms: list[str] = field(default_factory=lambda: ["plain", "guided", "random_mask"])
    seeds: list[int] = field(default_factory=lambda: [0])
    candidates: list[str] = field(
        default_factory=lambda: list(CANDIDATES), metadata={"help": "Names of CANDIDATES in eraser_search.py."}
    )
    output_dir: str = field(default="runs/eraser_search", metadata={"help": "Where the log goes."})
    split: str = field(default="validation", metadata={"help": "validation, and nothing else."})

    def __post_init__(self) -> None:
        """Refuse candidates that do not exist, and the test split."""
        super().__post_init__()
        unknown = sorted(set(self.candidates) - set(CANDIDATES))
        if unknown:
            raise ValueError(f"unknown candidates {unknown}: use {list(CANDIDATES)}")
        if self.split != "validation":
            raise ValueError("settings are chosen on validation: leave --split out")


def main() -> None:
    """Run every candidate that is not finished, and print the log as a table."""
    (args,) = HfArgumentParser(SearchArguments).parse_args_into_dataclasses()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    disable_progress_bars()

    @cache
    def data(name: str) -> DatasetDict:
        return limited(load_eraser(name, args.data_dir), args.limit)

    cells = cells_of(args)
    with tqdm(cells, unit="cell") as bar:
        entries = []
        for cell in bar:
            path = cell_path(Path(args.output_dir), cell.name, cell.settings)
            bar.set_description(path.stem)
            found = run_cell(path, cell.settings, lambda cell=cell: means(run(cell, data(cell.dataset), lambda: None)))
            entries.append(found)
    print("\n\n".join(tables(entries).values()))


def cells_of(args: SearchArguments) -> list[Cell]:
    """Return the cells of all candidates, one that equals another left out.

    Args:
        args: What to search.
    """
    names = {field.name for field in fields(EraserArguments)}
    cells = {}
    for dataset in args.dataset:
        for candidate in args.candidates:
            changes = CANDIDATES[candidate]
            options = replace(args, **{name: value for name, value in changes.items() if name in names})
            changed = {name: value for name, value in changes.items() if name not in names}
            knobs = replace(paper_knobs(RECIPES.get(dataset, Recipe()).mask_fraction), **changed)
            for arm in args.arms:
                for seed in args.seeds:
                    cell = cell_of(options, knobs, dataset, arm, seed)
                    cells[cell_path(Path(), cell.name, cell.settings)] = cell
    return list(cells.values())


def means(result: dict[str, Any]) -> dict[str, Any]:
    """Return of a cell's results what the log keeps.

    Args:
        result: Of `eraser_cell.run`.
    """
    values = result["per_example"]
    return {
        "accuracy": float(np.mean(values["correct"])),
        "confidence": float(np.mean(values["confidence"])),
        "methods": {
            name: {kind: round(float(np.mean(of[kind])), 6) for kind in KINDS}
            for name, of in values.items()
            if isinstance(of, dict)
        },
        "texts": len(values["correct"]),
        "epoch": result["epoch"],
        "validation": result["validation"],
        "seconds": result["seconds"],
    }


def tables(entries: list[dict[str, Any]]) -> dict[str, str]:
    """Lay out the log, one table a data set and model, the best by the rule first.

    Args:
        entries: The finished cells.

    Returns:
        By data set and model, Markdown.
    """
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for entry in entries:
        settings = entry["settings"]
        groups.setdefault((Path(settings["dataset"]).name, Path(settings["model"]).name), []).append(entry)
    return {
        f"{dataset}-{model}": f"### {dataset}, {model}: {own[0]['texts']} validation texts\n\n{_table(own)}"
        for (dataset, model), own in sorted(groups.items())
    }


def score(entry: dict[str, Any]) -> float:
    """Return the mean of comprehensiveness − sufficiency over the saliency methods.

    Args:
        entry: A finished cell.
    """
    methods = [name for name in entry["methods"] if name != "random" and "," not in name]
    return float(np.mean([_gap(entry["methods"][name]) for name in methods]))


def accuracy_of(entry: dict[str, Any]) -> float:
    """Return the accuracy of the chosen epoch on the whole validation split, more than the texts that are explained.

    Args:
        entry: A finished cell.
    """
    return float(entry["validation"]["accuracy"][entry["epoch"] - 1])


def _gap(method: dict[str, float]) -> float:
    return method["comprehensiveness"] - method["sufficiency"]


def _table(entries: list[dict[str, Any]]) -> str:
    plain = max((accuracy_of(entry) for entry in entries if entry["settings"]["arm"] == "plain"), default=0.0)
    methods = list(entries[0]["methods"])
    header = ["", "arm", "validation loss", "accuracy", "confidence", "mean comp − suff", "beyond random"]
    header += [f"{name} comp / suff".replace(", absolute", " by size") for name in methods]
    rarer = ("hidden_size", "pooling", "max_length", "epochs")
    varied = [name for name in rarer if len({entry["settings"][name] for entry in entries}) > 1]
    rows = []
    for entry in sorted(entries, key=score, reverse=True):
        settings = entry["settings"]
        numbers = [f"{of['comprehensiveness']:.3f} / {of['sufficiency']:.3f}" for of in entry["methods"].values()]
        lost = " (too low)" if accuracy_of(entry) < plain - ACCURACY_LOST else ""
        rows.append(
            [
                _described(settings, varied),
                f"{settings['arm']}, seed {settings['seed']}",
                f"{min(entry['validation']['loss']):.3f}",
                f"{accuracy_of(entry):.3f}{lost}",
                f"{entry['confidence']:.3f}",
                f"{score(entry):.3f}",
                f"{score(entry) - _gap(entry['methods']['random']):.3f}",
                *numbers,
            ]
        )
    return markdown_table(header, rows)


def _described(settings: dict[str, Any], varied: Sequence[str]) -> str:
    """The knobs that are set, and the options that candidates change; the rarer ones where the log varies them."""
    hidden = ("sgt_kl_weight",) if settings["arm"] == "plain" else ("sgt_drops",)
    knobs = [f"{name[4:]} {value}" for name, value in settings["knobs"].items() if name not in hidden]
    shown = ("learning_rate", "dropout", *varied)
    options = [f"{name} {settings[name]}" for name in shown if settings[name] is not None]
    return ", ".join([*knobs, *options])


if __name__ == "__main__":
    main()
