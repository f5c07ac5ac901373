"""What a guided training step costs: seconds as a ratio to a step of `transformers.Trainer`, in one run.

The modes take turns, repeat by repeat, so that a machine that slows down slows all of them; the ratio is taken within a
repeat, and its median is reported. A unit of work is two optimizer steps, so that `every 2nd step` is one of each.

    python benchmarks/cost.py                          # a MiniLM-size BERT, batch 16 × 128 tokens
    python benchmarks/cost.py --model bilstm --length 512
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    HfArgumentParser,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
)
from transformers.utils import logging as transformers_logging

from benchmarks.common import cell_path, markdown_table, run_cell
from sgt_hf import (
    BiLstmConfig,
    BiLstmForSequenceClassification,
    SaliencyGuidedTrainer,
    SaliencyGuidedTrainingArguments,
)
from sgt_hf.data.vocabulary import build_word_tokenizer

STEPS = 2  # of one timed unit
VOCABULARY = 30_000

# mode → knobs and its theoretical cost, a plain step (forward 1, gradient of inputs 1, of weights 1) being 3
MODES: dict[str, tuple[dict[str, Any], float]] = {
    "guided": ({}, 7 / 3),
    "guided, delete k=0.6": ({"sgt_masking": "delete", "sgt_mask_fraction": 0.6}, (4 + 3 * 0.4) / 3),
    "guided, separate ranking": ({"sgt_ranking": "separate"}, 8 / 3),
    "guided every 2nd step": ({"sgt_every_n_steps": 2}, (7 / 3 + 1) / 2),
}


@dataclass
class CostArguments:
    """What to time."""

    model: str = field(
        default="minilm", metadata={"help": "minilm, bert-base (random weights of that size), bilstm, or a folder."}
    )
    batch_size: int = field(default=16, metadata={"help": "Texts a step."})
    length: int = field(default=128, metadata={"help": "Tokens a text."})
    repeats: int = field(default=9, metadata={"help": "Timed units per mode; the median counts."})
    threads: int | None = field(default=None, metadata={"help": "torch's CPU threads."})
    output_dir: str = field(default="runs/cost", metadata={"help": "Where the JSON goes."})


def main() -> None:
    """Time every mode and print the table."""
    (args,) = HfArgumentParser(CostArguments).parse_args_into_dataclasses()
    transformers_logging.set_verbosity_error()
    if args.threads:
        torch.set_num_threads(args.threads)
    settings = {name: value for name, value in asdict(args).items() if name != "output_dir"}
    name = f"cost-{Path(args.model).name}-{args.batch_size}x{args.length}"
    path = cell_path(Path(args.output_dir), name, settings)
    cell = run_cell(path, settings, lambda: measure(args))
    print(f"\n{table(cell)}\n\n{path.resolve()}")


def measure(args: CostArguments) -> dict[str, Any]:
    """Return seconds per unit of every mode and repeat."""
    tokenizer = build_word_tokenizer([[f"w{i}" for i in range(VOCABULARY - 4)]])
    batch = make_batch(args)
    with tempfile.TemporaryDirectory() as folder:
        units = {"plain": unit(args, tokenizer, batch, folder, None)}
        for mode, (knobs, _) in MODES.items():
            units[mode] = unit(args, tokenizer, batch, folder, knobs)
        seconds: dict[str, list[float]] = {mode: [] for mode in units}
        for repeat in tqdm(range(args.repeats + 1), unit="repeat"):
            for mode, work in units.items():
                elapsed = timed(work)
                if repeat:  # the first is a warm-up
                    seconds[mode].append(elapsed)
    return {"seconds": seconds, "steps_per_unit": STEPS}


def make_batch(args: CostArguments) -> dict[str, torch.Tensor]:
    """Full-length random texts: no padding, so that every mode has all of the work."""
    generator = torch.Generator().manual_seed(0)
    shape = (args.batch_size, args.length)
    ids = torch.randint(10, VOCABULARY, shape, generator=generator)
    labels = torch.randint(2, shape[:1], generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}


def make_model(name: str) -> PreTrainedModel:
    """Build a model of the named size, or load a folder."""
    torch.manual_seed(0)
    if name == "bilstm":
        return BiLstmForSequenceClassification(BiLstmConfig(vocab_size=VOCABULARY, num_labels=2))
    if name == "minilm":
        layers = {"num_hidden_layers": 6, "num_attention_heads": 12}
        return BertForSequenceClassification(BertConfig(hidden_size=384, intermediate_size=1536, **layers))
    if name == "bert-base":
        return BertForSequenceClassification(BertConfig())
    return AutoModelForSequenceClassification.from_pretrained(name, num_labels=2)


def unit(
    args: CostArguments,
    tokenizer: PreTrainedTokenizerBase,
    batch: dict[str, torch.Tensor],
    folder: str,
    knobs: dict[str, Any] | None,
) -> Callable[[], None]:
    """Return the timed work of one mode: forward, backward and optimizer, by the trainer's own training step."""
    kind = TrainingArguments if knobs is None else SaliencyGuidedTrainingArguments
    settings = kind(output_dir=folder, report_to="none", max_steps=10**6, **(knobs or {}))
    trainer = (Trainer if knobs is None else SaliencyGuidedTrainer)(
        model=make_model(args.model), args=settings, processing_class=tokenizer
    )
    optimizer = trainer.create_optimizer()
    trainer.current_gradient_accumulation_steps = 1
    trainer.state.max_steps = settings.max_steps

    def work() -> None:
        for step in range(STEPS):
            trainer.state.global_step = step
            trainer.training_step(trainer.model, dict(batch))
            optimizer.step()
            optimizer.zero_grad()

    return work


def timed(work: Callable[[], None]) -> float:
    """Return the seconds of one call, the device waited for."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def table(cell: dict[str, Any]) -> str:
    """Lay out the ratios: median over repeats of the ratio within a repeat, and the range."""
    plain = np.array(cell["seconds"]["plain"])
    rows = []
    for mode, values in cell["seconds"].items():
        ratios = np.array(values) / plain
        theory = MODES[mode][1] if mode in MODES else 1.0
        step = np.median(values) / cell["steps_per_unit"]
        rows.append(
            [
                mode,
                f"{step:.3f}",
                f"{np.median(ratios):.2f}",
                f"{ratios.min():.2f} – {ratios.max():.2f}",
                f"{theory:.2f}",
            ]
        )
    settings = cell["settings"]
    title = (
        f"{Path(settings['model']).name}, batch {settings['batch_size']} × {settings['length']} tokens, "
        f"{cell['machine']['device']}, {cell['machine']['torch_threads']} threads, {settings['repeats']} repeats"
    )
    header = ["step", "seconds", "× Trainer", "range", "in theory"]
    return f"{title}\n\n{markdown_table(header, rows)}"


if __name__ == "__main__":
    main()
