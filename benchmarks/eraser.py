"""Saliency guided training against plain training on ERASER: accuracy, comprehensiveness, sufficiency.

Each cell (data set, model, arm, seed) trains from the same initial weights in the same data order, picks its epoch on
validation, is measured on test, and leaves one JSON. Run again after an interruption, finished cells are skipped.

    python benchmarks/eraser.py                                          # the bundled planted corpus, 3 seeds
    python benchmarks/eraser.py --dataset movies --data-dir ../shared/data/eraser \
        --embeddings ../shared/data/glove/union.glove.6B.50d.txt --seeds 0 1
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from datasets import DatasetDict, disable_progress_bars
from tqdm.auto import tqdm
from transformers import HfArgumentParser
from transformers.utils import logging as transformers_logging

from benchmarks.common import cell_path, epochs_of_arm, run_cell
from benchmarks.eraser_arms import ARMS, knobs_of_arm
from benchmarks.eraser_cell import run
from benchmarks.eraser_report import write_eraser_report
from benchmarks.eraser_settings import SELECTIONS, Cell
from benchmarks.eraser_tables import dataset_table
from sgt_hf import PRESETS, SaliencyGuidedArguments, load_eraser
from sgt_hf.atomic import write_atomically
from sgt_hf.attribution import method_names
from sgt_hf.faithfulness import METHODS
from sgt_hf.faithfulness.evaluate import OPERATORS
from sgt_hf.faithfulness.normalization import check_search
from sgt_hf.metrics.aopc import CONVENTIONS


@dataclass(frozen=True)
class Recipe:
    """What is right for one data set: k is the paper's (Table 5), for the arm `paper`; the rest is for the BiLSTM."""

    mask_fraction: float = 0.5
    epochs: int = 8
    max_length: int = 400
    learning_rate: float = 2e-3
    hidden_size: int = 64
    pooling: str = "max"
    dropout: float = 0.2
    batch_size: int = 16


RECIPES = {
    "planted": Recipe(0.5, 8, 256, learning_rate=4e-3),
    "movies": Recipe(0.6, 8, 1000, pooling="mean"),
    "fever": Recipe(0.8, 8, 400, batch_size=32),
    "esnli": Recipe(0.7, 8, 128, batch_size=32),
}
_COUNTS = ("epochs", "max_length", "batch_size", "hidden_size", "limit", "texts", "normalized_every", "ig_steps")
_LEAST = dict.fromkeys((*_COUNTS, "smooth_grad_samples", "random_draws"), 1) | {"normalized_texts": 0}
FINE_TUNING_EPOCHS = 3
FINE_TUNING_LEARNING_RATE = 5e-5


@dataclass
class EraserArguments:
    """What to run."""

    dataset: list[str] = field(
        default_factory=lambda: ["planted"],
        metadata={"help": "planted, movies, fever, esnli, or a folder in ERASER's layout."},
    )
    data_dir: str | None = field(default=None, metadata={"help": "Folder that holds the data sets; see load_eraser."})
    embeddings: str | None = field(
        default=None, metadata={"help": "GloVe text file or torchtext .pt cache, for the BiLSTM; random without."}
    )
    model: str = field(
        default="bilstm", metadata={"help": "bilstm, or hub id or folder for AutoModelForSequenceClassification."}
    )
    arms: list[str] = field(
        default_factory=lambda: ["plain", "guided"],
        metadata={"help": "; ".join(f"{arm}: {what}" for arm, what in ARMS.items())},
    )
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2], metadata={"help": "One training per seed and arm."})
    methods: list[str] = field(
        default_factory=lambda: list(METHODS), metadata={"help": "Saliency methods; random is always added."}
    )
    output_dir: str = field(default="runs/eraser", metadata={"help": "Where cells and the table go."})
    epochs: int | None = field(default=None, metadata={"help": "By default 8 for the BiLSTM, 3 otherwise."})
    max_length: int | None = field(default=None, metadata={"help": "Tokens per text; by default per data set."})
    batch_size: int | None = field(default=None, metadata={"help": "Texts per training step; 16 or 32 by data set."})
    learning_rate: float | None = field(default=None, metadata={"help": "By default per data set, or 5e-5."})
    hidden_size: int | None = field(default=None, metadata={"help": "Of the BiLSTM, a side; by default 64."})
    pooling: str | None = field(default=None, metadata={"help": "Of the BiLSTM: max, mean or last."})
    dropout: float | None = field(default=None, metadata={"help": "Of the model, by default its own."})
    bf16: bool = field(default=False, metadata={"help": "Train and measure under bfloat16 autocast."})
    attn_implementation: str | None = field(
        default=None, metadata={"help": "As in from_pretrained; eager can be the faster one in bfloat16 on a CPU."}
    )
    limit: int | None = field(default=None, metadata={"help": "At most this many texts a split, drawn at random."})
    select: str = field(
        default="loss",
        metadata={"help": "What picks the epoch on validation: loss, or accuracy (coarse on few texts)."},
    )
    operator: str = field(default="delete", metadata={"help": "How words are removed: delete, unk, mask or sep."})
    second_operator: str | None = field(
        default=None, metadata={"help": "Measured too, to see whether a result hangs on how words are removed."}
    )
    convention: str = field(default="eraser", metadata={"help": "AOPC aggregate: eraser, paper or unirex."})
    ig_steps: int = field(default=20, metadata={"help": "Steps of integrated gradients."})
    smooth_grad_samples: int = field(default=25, metadata={"help": "Noisy copies of SmoothGrad."})
    random_draws: int = field(default=10, metadata={"help": "Random rankings per text."})
    split: str = field(default="test", metadata={"help": "What is measured: test, or validation to choose settings."})
    texts: int | None = field(default=None, metadata={"help": "At most this many texts are measured, the first."})
    normalized_texts: int = field(default=0, metadata={"help": "NAOPC of this many texts, the first."})
    normalized_every: int = field(
        default=1, metadata={"help": "NAOPC of every so many-th text, as of a split that is sorted by class."}
    )
    normalize: str = field(
        default="beam",
        metadata={"help": "How the limits of NAOPC are searched for: beam, or greedy, for long texts."},
    )

    def __post_init__(self) -> None:
        """Refuse what would fail after the training, or be taken for something else."""
        check_search(self.normalize, beam_width=1, longest=0)
        self.methods = method_names(self.methods)
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be ≥ {least}, got {value}")
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be > 0, got {self.learning_rate}")
        for name in ("seeds", "arms"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ValueError(f"{name} must be some, and differ, got {values}: the same training is no second one")
        if self.convention not in CONVENTIONS:
            raise ValueError(f"unknown convention {self.convention!r}: use one of {list(CONVENTIONS)}")
        for operator in (self.operator, self.second_operator):
            if operator is not None and operator not in OPERATORS:
                raise ValueError(f"unknown operator {operator!r}: use one of {list(OPERATORS)}")
        unknown = sorted(set(self.arms) - set(ARMS))
        if unknown:
            raise ValueError(f"unknown arms {unknown}: use {list(ARMS)}")
        if self.select not in SELECTIONS:
            raise ValueError(f"unknown selection {self.select!r}: use one of {list(SELECTIONS)}")
        if self.split not in ("test", "validation"):
            raise ValueError(f"unknown split {self.split!r}: use test or validation")


def main() -> None:
    """Run every cell that is not finished, and print the tables."""
    parser = HfArgumentParser((EraserArguments, SaliencyGuidedArguments))
    parser.set_defaults(**PRESETS["text"])
    args, knobs = parser.parse_args_into_dataclasses()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    disable_progress_bars()
    output = Path(args.output_dir)
    cells = [cell_of(args, knobs, name, arm, seed) for name in args.dataset for arm in args.arms for seed in args.seeds]

    @cache
    def data(name: str) -> DatasetDict:
        return limited(load_eraser(name, args.data_dir), args.limit)

    results: dict[str, dict[str, list[dict[str, Any]]]] = {}
    with tqdm(total=sum(cell.epochs + 1 for cell in cells), unit="epoch") as bar:
        for cell in cells:
            bar.set_description(f"{cell.dataset} {cell.arm} seed {cell.seed}")
            path = cell_path(output, cell.name, cell.settings)
            done = bar.n + cell.epochs + 1
            result = run_cell(path, cell.settings, lambda cell=cell: run(cell, data(cell.dataset), bar.update))
            bar.update(done - bar.n)
            results.setdefault(cell.dataset, {}).setdefault(cell.arm, []).append(result)
    text = "\n\n".join(dataset_table(arms) for arms in results.values())
    write_atomically(output / "table.md", text + "\n")
    write_eraser_report(output / "report.html", results, command=["python", *sys.argv])
    print(f"\n{text}\n\none JSON per cell, table.md and report.html are in {output.resolve()}")


def cell_of(args: EraserArguments, knobs: SaliencyGuidedArguments, name: str, arm: str, seed: int) -> Cell:
    """Fill in what the arguments leave to the data set and the model."""
    recipe, bilstm = RECIPES.get(name, Recipe()), args.model == "bilstm"
    return Cell(
        dataset=name,
        data_dir=args.data_dir,
        model=args.model,
        arm=arm,
        seed=seed,
        embeddings=args.embeddings if bilstm else None,
        hidden_size=(args.hidden_size or recipe.hidden_size) if bilstm else None,
        pooling=(args.pooling or recipe.pooling) if bilstm else None,
        dropout=recipe.dropout if bilstm and args.dropout is None else args.dropout,
        epochs=epochs_of_arm(arm, args.epochs or (recipe.epochs if bilstm else FINE_TUNING_EPOCHS)),
        max_length=args.max_length or recipe.max_length,
        batch_size=args.batch_size or recipe.batch_size,
        learning_rate=args.learning_rate or (recipe.learning_rate if bilstm else FINE_TUNING_LEARNING_RATE),
        limit=args.limit,
        methods=tuple(args.methods),
        select=args.select,
        operator=args.operator,
        second_operator=args.second_operator,
        convention=args.convention,
        ig_steps=args.ig_steps,
        smooth_grad_samples=args.smooth_grad_samples,
        random_draws=args.random_draws,
        split=args.split,
        texts=args.texts,
        normalized_texts=args.normalized_texts,
        knobs=knobs_of_arm(arm, knobs, recipe.mask_fraction),
        bf16=args.bf16,
        attn_implementation=None if bilstm else args.attn_implementation,
        normalize=args.normalize,
        normalized_every=args.normalized_every,
    )


def limited(data: DatasetDict, limit: int | None) -> DatasetDict:
    """Draw at most `limit` rows of each split, always the same ones."""
    if limit is None:
        return data
    return DatasetDict(
        {name: split.shuffle(seed=0).select(range(min(limit, len(split)))) for name, split in data.items()}
    )


if __name__ == "__main__":
    main()
