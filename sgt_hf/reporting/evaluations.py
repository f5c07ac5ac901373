"""What was measured, on which data and of which weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ..distributed import is_part
from ..faithfulness.report import FaithfulnessReport

# Loaders of files: their names say nothing of the data.
_GENERIC = {
    "arrow",
    "audiofolder",
    "cache",
    "csv",
    "generator",
    "imagefolder",
    "json",
    "pandas",
    "parquet",
    "sql",
    "text",
}
_AT_ONCE = 2**22  # weights
_SPEED = ("runtime", "samples_per_second", "steps_per_second", "jit_compilation_time", "model_preparation_time")

Fingerprint = tuple[float, ...]


@dataclass(frozen=True)
class DatasetFacts:
    """Which data; None is what was not recorded.

    Attributes:
        name: As people know it.
        split: Such as `test`.
        config: Of a data set that has several.
        hub_id: Where it is on the hub.
        n: Examples.
    """

    name: str | None = None
    split: str | None = None
    config: str | None = None
    hub_id: str | None = None
    n: int | None = None


@dataclass(frozen=True)
class Evaluation:
    """One evaluation.

    Attributes:
        dataset: On what.
        metrics: By name, as `Trainer.evaluate` gives them, without prefix.
        report: Of faithfulness.
        selected_on: Whether the checkpoint was chosen by a metric on this data.
        fingerprint: Of the weights, see `fingerprint`.
        source: The data set itself, which tells data of the same name and length apart.
    """

    dataset: DatasetFacts
    metrics: Mapping[str, Any] = field(default_factory=dict)
    report: FaithfulnessReport | None = None
    selected_on: bool = False
    fingerprint: Fingerprint | None = None
    source: Any = field(default=None, repr=False, compare=False)

    def same_data(self, other: Evaluation) -> bool:
        """Whether both were made on the same data, as far as the data sets tell.

        Args:
            other: Another evaluation.
        """
        one, two = (getattr(each.source, "_fingerprint", None) for each in (self, other))  # of `datasets.Dataset`
        same_source = self.source is other.source or (one is not None and one == two)
        return self.dataset == other.dataset and same_source


def dataset_facts(dataset: Any) -> DatasetFacts:
    """Return what a data set says of itself: name, split and configuration of a `datasets.Dataset`, and its length.

    Args:
        dataset: Any data set, or None.
    """
    info = getattr(dataset, "info", None)
    name = getattr(info, "dataset_name", None) or getattr(info, "builder_name", None)
    name, config = (None, None) if name in _GENERIC else (name, getattr(info, "config_name", None))
    split = getattr(dataset, "split", None)
    return DatasetFacts(
        name=name,
        split=None if split is None else str(split),
        config=config,
        n=len(dataset) if hasattr(dataset, "__len__") else None,
    )


def plain_metrics(metrics: Mapping[str, float], prefix: str) -> dict[str, float]:
    """Return the metrics without prefix, and without what is no measurement of the model.

    Args:
        metrics: As `Trainer.evaluate` returns them.
        prefix: Their `metric_key_prefix`.
    """
    named = {name.removeprefix(f"{prefix}_"): value for name, value in metrics.items() if name.startswith(f"{prefix}_")}
    return {name: value for name, value in named.items() if name not in _SPEED}


def fingerprint(model: nn.Module) -> Fingerprint:
    """Return a few numbers that change with the weights, so that an evaluation is told of its own weights alone.

    A checkpoint that is loaded again has the fingerprint that it was saved with. Of a sharded model it is that of this
    process's shard: the main process writes the card alone, and must not wait for the others.

    Args:
        model: Any.

    Returns:
        Sum and norm of each parameter and buffer of floating point.
    """
    tensors = (value for value in model.state_dict().values() if isinstance(value, torch.Tensor))  # extra state is any
    floats = [value.detach() for value in tensors if value.is_floating_point()]
    numbers = [number for value in floats for number in _sum_and_norm(value)]
    devices = {number.device for number in numbers}  # several where a model is spread over GPUs
    told = {d: iter(torch.stack([number for number in numbers if number.device == d]).tolist()) for d in devices}
    return tuple(next(told[number.device]) for number in numbers)


def _sum_and_norm(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    if is_part(values):
        local: Any = values
        values = local.to_local()
    dtype = torch.float32 if values.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
    parts = values.flatten().split(_AT_ONCE)  # each is copied in that precision
    sums = [part.sum(dtype=dtype) for part in parts]
    norms = [torch.linalg.vector_norm(part, dtype=dtype) for part in parts]
    return torch.stack(sums).sum(), torch.linalg.vector_norm(torch.stack(norms))
