"""What training as an ensemble saves: seconds of a guided step, one model after the other and all at once.

Alone is the library's model in the plain loop (fused nn.LSTM, torch's dropout); together is `Ensemble`. Both take the
same steps of `saliency_guided_loss`; the two are measured in turn, and the medians of the repeats are kept. Seconds
are the processor's, on a GPU the clock's.

    python benchmarks/time_series_speed.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from transformers import HfArgumentParser, PreTrainedModel

from benchmarks.common import cell_path, markdown_table, run_cell
from benchmarks.cost_inside import now
from benchmarks.time_series_cell import NETWORKS
from benchmarks.time_series_ensemble import Ensemble, EnsembleAdam
from benchmarks.time_series_tables import TITLES
from benchmarks.time_series_training import DEVICE, Member, Recipe, step_loss
from sgt_hf import saliency_guided_loss
from sgt_hf.adapters import SeriesAdapter
from sgt_hf.models.series import SERIES_MODELS

BATCH, STEPS, FEATURES = 50, 50, 50


@dataclass
class SpeedArguments:
    """What to measure."""

    network: list[str] = field(default_factory=lambda: list(NETWORKS), metadata={"help": ", ".join(NETWORKS) + "."})
    members: list[int] = field(default_factory=lambda: [10, 30], metadata={"help": "Models of an ensemble."})
    repeats: int = field(default=3, metadata={"help": "Measurements, after one to warm up."})
    output_dir: str = field(default="runs/time_series_speed", metadata={"help": "Where the cells go."})


def main() -> None:
    """Measure what is not measured yet, and print the table."""
    (args,) = HfArgumentParser(SpeedArguments).parse_args_into_dataclasses()
    found = []
    for network in args.network:
        for members in args.members:
            settings = {"network": network, "members": members, "repeats": args.repeats, "batch": BATCH}
            path = cell_path(Path(args.output_dir), f"{network}-{members}", settings)
            found.append(run_cell(path, settings, lambda s=settings: measure(s["network"], s["members"], s["repeats"])))
    print(table(found))


def measure(network: str, count: int, repeats: int) -> dict[str, Any]:
    """Return the seconds of a guided step a model, alone and together."""
    config = NETWORKS[network]()
    models = [SERIES_MODELS[type(config)](config).to(DEVICE).train() for _ in range(count)]
    values = torch.rand(count * BATCH, STEPS, FEATURES).to(DEVICE)
    labels = torch.randint(0, 2, (count * BATCH,)).to(DEVICE)
    together, alone = step_together(models, values, labels), step_alone(models[0], values[:BATCH], labels[:BATCH])
    seconds: dict[str, list[float]] = {"together": [], "alone": []}
    for _ in range(repeats + 1):
        seconds["together"].append(timed(together) / count)
        seconds["alone"].append(timed(alone))
    return {"seconds": {name: values[1:] for name, values in seconds.items()}}


def timed(step: Callable[[], Any]) -> float:
    """Return the processor's seconds, of all threads; on a GPU those until it is done."""
    clock = time.process_time if DEVICE.type == "cpu" else now
    started = clock()
    step()
    return clock() - started


def step_together(models: list[PreTrainedModel], values: Tensor, labels: Tensor) -> Callable[[], None]:
    """Return a guided step of an ensemble."""
    ensemble, recipe = Ensemble(models), Recipe("guided")
    ensemble.template.train()
    rows = (values[:1], labels[:1])
    members = [Member(model, rows, rows, 0.5, 0) for model in models]
    adam = EnsembleAdam(ensemble, recipe.learning_rate)

    def step() -> None:
        adam.step(step_loss(ensemble, values, labels, members, recipe)[0] * len(models))

    return step


def step_alone(model: PreTrainedModel, values: Tensor, labels: Tensor) -> Callable[[], None]:
    """Return a guided step of one model."""
    adam, adapter = torch.optim.Adam(model.parameters()), SeriesAdapter()
    batch = {"input_values": values}

    def step() -> None:
        with adapter.capture(model, batch) as captured:
            logits = model(**captured.batch).logits
        loss = saliency_guided_loss(
            logits,
            captured.features,
            labels,
            lambda drop: model(**adapter.mask(batch, drop, "uniform")).logits,
            feature_dim=None,
        )
        adam.zero_grad()
        loss.total.backward()
        adam.step()

    return step


def tables(cells: list[dict[str, Any]]) -> dict[str, str]:
    """Return the one table, where there are cells."""
    return {"speed": table(cells)} if cells else {}


def table(cells: list[dict[str, Any]]) -> str:
    """Lay out milliseconds a model and step, and how many times quicker together is."""
    rows = []
    for cell in sorted(cells, key=lambda c: (list(NETWORKS).index(c["settings"]["network"]), c["settings"]["members"])):
        alone, together = (1e3 * median(cell["seconds"][name]) for name in ("alone", "together"))
        network, members = cell["settings"]["network"], cell["settings"]["members"]
        numbers = [f"{alone:.1f}", f"{together:.1f}", f"{alone / together:.2f}"]
        rows.append([TITLES[network], str(members), *numbers])
    machine = cells[0]["machine"]
    header = ["", "models", "alone, ms", "together, ms", "× quicker"]
    clock = "Processor time" if machine["device"] == "cpu" else "Time"
    return (
        f"{markdown_table(header, rows)}\n\n{clock} of a guided step a model, batch {BATCH}, on "
        f"{machine['device']}, {machine['torch_threads']} thread(s)."
    )


if __name__ == "__main__":
    main()
