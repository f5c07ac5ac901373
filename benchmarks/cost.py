"""What a guided training step costs, beside a step of `transformers.Trainer`: time, memory, and where the time goes.

The modes take turns, repeat by repeat, so that a machine that slows down slows all of them; ratios are taken within a
repeat, and their median is reported. A unit of work is two optimizer steps, so that `every 2nd step` is one of each.

    python benchmarks/cost.py                                     # a MiniLM-size BERT, 128 tokens
    python benchmarks/cost.py --models bilstm minilm bert-base --lengths 128 512
    python benchmarks/cost.py --models mnist_cnn resnet18
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import HfArgumentParser, Trainer, TrainingArguments
from transformers.utils import logging as transformers_logging

from benchmarks.common import cell_path, markdown_table, run_cell
from benchmarks.cost_inside import Stopwatch, now, peak_bytes, resident_bytes
from benchmarks.cost_subjects import IMAGES, batch_size_of, knobs_for, make_batch, make_model, make_tokenizer
from benchmarks.processor import emulates_bfloat16, name_of_cpu
from benchmarks.reference_recipe import ReferenceTrainer
from sgt_hf import SaliencyGuidedTrainer, SaliencyGuidedTrainingArguments

STEPS = 2  # of one timed unit
REFERENCE = "reference recipe"

# mode → knobs and its theoretical cost, a plain step (forward 1, gradient of inputs 1, of weights 1) being 3
MODES: dict[str, tuple[dict[str, Any], float]] = {
    "guided": ({}, 7 / 3),
    "guided, delete k=0.6": ({"sgt_masking": "delete", "sgt_mask_fraction": 0.6}, (4 + 3 * 0.4) / 3),
    "guided, separate ranking": ({"sgt_ranking": "separate"}, 8 / 3),
    "guided every 2nd step": ({"sgt_every_n_steps": 2}, (7 / 3 + 1) / 2),
    "guided, save memory": ({"sgt_save_memory": True}, 8 / 3),
    REFERENCE: ({}, 8 / 3),
}


@dataclass
class CostArguments:
    """What to time."""

    models: list[str] = field(
        default_factory=lambda: ["minilm"],
        metadata={"help": "bilstm, minilm, bert-base, mnist_cnn, resnet18 (random weights), or a text model's folder."},
    )
    lengths: list[int] = field(default_factory=lambda: [128], metadata={"help": "Tokens a text."})
    batch_size: int | None = field(default=None, metadata={"help": "Samples a step; by default one for the model."})
    repeats: int = field(default=9, metadata={"help": "Timed units per mode; the median counts."})
    threads: int | None = field(default=None, metadata={"help": "torch's CPU threads."})
    bf16: bool = field(default=False, metadata={"help": "Train under bfloat16 autocast."})
    channels_last: bool = field(default=False, metadata={"help": "Lay images and weights out channels last."})
    output_dir: str = field(default="runs/cost", metadata={"help": "Where the JSON goes."})


class Unit(NamedTuple):
    """One mode's trainer at work."""

    work: Callable[[], None]
    trainer: Trainer
    optimizer: torch.optim.Optimizer


def main() -> None:
    """Time every mode of every model and print the tables."""
    (args,) = HfArgumentParser(CostArguments).parse_args_into_dataclasses()
    transformers_logging.set_verbosity_error()
    if args.bf16 and emulates_bfloat16():
        raise ValueError(f"{name_of_cpu()} emulates bfloat16, and its times are of no other CPU: leave --bf16 out")
    if args.threads:
        torch.set_num_threads(args.threads)
    for model in args.models:
        for length in [None] if model in IMAGES else args.lengths:
            settings = settings_of(args, model, length)
            size = f"{settings['batch_size']}x{length or 'images'}"
            path = cell_path(Path(args.output_dir), f"cost-{Path(model).name}-{size}", settings)
            cell = run_cell(path, settings, lambda settings=settings: measure(settings))
            print(f"\n{table(cell)}\n\n{path.resolve()}", flush=True)


def settings_of(args: CostArguments, model: str, length: int | None) -> dict[str, Any]:
    """Return what decides one cell."""
    shared = {name: value for name, value in asdict(args).items() if name not in ("output_dir", "models", "lengths")}
    return shared | {"model": model, "length": length, "batch_size": batch_size_of(model, length, args.batch_size)}


def measure(settings: dict[str, Any]) -> dict[str, Any]:
    """Return seconds per unit of every mode and repeat, peak bytes, and the share of time outside the model."""
    batch = make_batch(settings["model"], settings["batch_size"], settings["length"])
    with tempfile.TemporaryDirectory() as folder:
        units = {"plain": unit(settings, batch, folder, "plain", {})}
        for mode, (knobs, _) in MODES.items():
            if (usable := knobs_for(settings["model"], knobs)) is not None:
                units[mode] = unit(settings, batch, folder, mode, usable)
        seconds: dict[str, list[float]] = {mode: [] for mode in units}
        outside: dict[str, list[float]] = {mode: [] for mode in units}
        for repeat in tqdm(range(settings["repeats"] + 1), unit="repeat"):
            for mode, one in units.items():
                elapsed, inside = timed(one)
                if repeat:  # the first is a warm-up
                    seconds[mode].append(elapsed)
                    outside[mode].append(1 - inside / elapsed)
        memory = {}
        for mode, one in units.items():
            one.optimizer.zero_grad()
            memory[mode] = peak_bytes(one.work, resident_bytes(one.trainer.model, one.optimizer, batch))
    return {"seconds": seconds, "outside": outside, "peak_bytes": memory, "steps_per_unit": STEPS}


def unit(
    settings: dict[str, Any], batch: dict[str, torch.Tensor], folder: str, mode: str, knobs: dict[str, Any]
) -> Unit:
    """Return one mode's work: forward, backward and optimizer, by the trainer's own training step."""
    guided = mode not in ("plain", REFERENCE)
    kind = SaliencyGuidedTrainingArguments if guided else TrainingArguments
    arguments = kind(output_dir=folder, report_to="none", max_steps=10**6, bf16=settings["bf16"], **knobs)
    host = SaliencyGuidedTrainer if guided else ReferenceTrainer if mode == REFERENCE else Trainer
    model, tokenizer = make_model(settings["model"]), None if settings["model"] in IMAGES else make_tokenizer()
    if settings["channels_last"]:
        model = model.to(memory_format=torch.channels_last)
        batch = batch | {"pixel_values": batch["pixel_values"].contiguous(memory_format=torch.channels_last)}
    trainer = host(model=model, args=arguments, processing_class=tokenizer)
    optimizer = trainer.create_optimizer()
    trainer.current_gradient_accumulation_steps = 1
    trainer.state.max_steps = arguments.max_steps

    def work() -> None:
        for step in range(STEPS):
            trainer.state.global_step = step
            trainer.training_step(trainer.model, dict(batch))
            optimizer.step()
            optimizer.zero_grad()

    return Unit(work, trainer, optimizer)


def timed(one: Unit) -> tuple[float, float]:
    """Return the seconds of one unit: in all, and of the model's forwards, the backwards and the optimizer."""
    watch = Stopwatch()
    step = one.optimizer.step
    one.optimizer.step = watch._counted(step)
    try:
        with watch.watching(one.trainer.model):
            started = now()
            one.work()
            return now() - started, watch.seconds
    finally:
        one.optimizer.step = step


def table(cell: dict[str, Any]) -> str:
    """Lay out the ratios: median over repeats of the ratio within a repeat, and the range."""
    plain = np.array(cell["seconds"]["plain"])
    rows = []
    for mode, values in cell["seconds"].items():
        ratios = np.array(values) / plain
        memory = cell["peak_bytes"][mode]
        rows.append(
            [
                mode,
                f"{np.median(values) / cell['steps_per_unit']:.3f}",
                f"{np.median(ratios):.2f}",
                f"{ratios.min():.2f} – {ratios.max():.2f}",
                f"{MODES[mode][1] if mode in MODES else 1.0:.2f}",
                f"{memory / 2**20:.0f}",
                f"{memory / cell['peak_bytes']['plain']:.2f}",
                f"{100 * np.median(cell['outside'][mode]):.1f} %",
            ]
        )
    header = ["step", "seconds", "× Trainer", "range", "in theory", "peak MiB", "× Trainer's", "outside the model"]
    return f"{title(cell)}\n\n{markdown_table(header, rows)}"


def key(cell: dict[str, Any]) -> str:
    """Return a cell's name among others."""
    settings = cell["settings"]
    return "-".join(str(part) for part in (Path(settings["model"]).name, settings["length"]) if part)


def title(cell: dict[str, Any]) -> str:
    """Return what a cell was measured on."""
    settings, machine = cell["settings"], cell["machine"]
    tokens = f" × {settings['length']} tokens" if settings["length"] else ""
    extras = [name for name in ("bf16", "channels_last") if settings[name]]
    return ", ".join(
        [
            f"**{Path(settings['model']).name}**, batch {settings['batch_size']}{tokens}",
            *extras,
            f"{machine['device']}, {machine['torch_threads']} threads, {settings['repeats']} repeats",
        ]
    )


if __name__ == "__main__":
    main()
