"""One cell of the time-series benchmark: a data set, a network, an arm, a seed; its data, its model, its measures."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from datasets import Dataset, DatasetDict
from torch import Tensor
from transformers import PreTrainedModel

from benchmarks.time_series_training import DEVICE, Member
from sgt_hf.adapters import SeriesAdapter
from sgt_hf.attribution import ATTRIBUTIONS, AttributionSettings, Point
from sgt_hf.data.series import load_series
from sgt_hf.data.series_rows import informative_cells
from sgt_hf.metrics.localization import Localization, column_permutation, iid, weighted_aup_aur
from sgt_hf.models.series import (
    SERIES_MODELS,
    InputCellLstmConfig,
    SeriesConfig,
    SeriesLstmConfig,
    SeriesTransformerConfig,
    TcnConfig,
)
from sgt_hf.modes import evaluating

NETWORKS: dict[str, type[SeriesConfig]] = {
    "lstm": SeriesLstmConfig,
    "input_cell_lstm": InputCellLstmConfig,
    "tcn": TcnConfig,
    "transformer": SeriesTransformerConfig,
}
METHODS = ("gradient", "integrated_gradients", "deep_lift", "gradient_shap", "deep_shap", "smooth_grad")
RANDOM_DRAWS = 10


@dataclass(frozen=True)
class Cell:
    """Everything that decides a cell's numbers, but for the random draws that an ensemble shares.

    Dropout and random masks are drawn for all members of an ensemble at once, so the same cell computed in other
    company has other draws of the same distribution.
    """

    dataset: str
    network: str
    arm: str
    seed: int
    mask_fraction: float
    epochs: int
    methods: tuple[str, ...]
    stop_at: float = 0.99
    train_size: int = 1000
    ig_steps: int = 25
    smooth_grad_samples: int = 10
    shap_samples: int = 10

    @property
    def name(self) -> str:
        """Readable part of the cell's file name."""
        return f"{self.dataset}-{self.network}-{self.arm}-seed{self.seed}"


@cache
def splits(dataset: str, seed: int, train_size: int) -> DatasetDict:
    """Draw a synthetic set; the seed is the cell's, so that a seed is another data set and another training."""
    return load_series(dataset, seed=seed, train_size=train_size)


def tensors(rows: Dataset) -> tuple[Tensor, Tensor]:
    """Return the series (N, T, C) and the labels (N,) of a split, on the device."""
    batch = rows.with_format("numpy")[:]
    values, labels = (torch.from_numpy(np.asarray(batch[name])) for name in ("input_values", "labels"))
    return values.to(DEVICE), labels.to(DEVICE)


def member(cell: Cell) -> Member:
    """Build a cell's training, its initial weights drawn from its seed: the same in every arm."""
    data = splits(cell.dataset, cell.seed, cell.train_size)
    train = tensors(data["train"])
    torch.manual_seed(cell.seed)
    config = NETWORKS[cell.network]
    model = SERIES_MODELS[config](config(num_features=train[0].shape[2])).to(DEVICE)
    return Member(model, train, tensors(data["validation"]), cell.mask_fraction, cell.seed)


def results(cell: Cell, trained: Member) -> dict[str, Any]:
    """Measure a trained member on the test split.

    Args:
        cell: What it was trained for.
        trained: Its model and history.

    Returns:
        JSON-able results; an area that is undefined, as a constant map's are, is None.
    """
    started = time.process_time()
    test = splits(cell.dataset, cell.seed, cell.train_size)["test"]
    values, labels = tensors(test)
    informative = informative_cells(test, steps=values.shape[1], features=values.shape[2]).numpy()
    settings = AttributionSettings(
        baseline="uniform",
        steps=cell.ig_steps,
        samples=cell.smooth_grad_samples,
        shap_samples=cell.shap_samples,
        seed=cell.seed,
    )
    maps, refused = saliency_maps(trained.model, values, labels, cell.methods, settings)
    measured = {
        name: _rounded(weighted_aup_aur(found, informative)) for name, found in maps.items() if name in cell.methods
    }
    return {
        "accuracy": {
            "train": accuracy(trained.model, *trained.train),
            "validation": accuracy(trained.model, *trained.validation),
            "test": accuracy(trained.model, values, labels),
        },
        "test_loss": loss(trained.model, values, labels),
        "mass_by_step": mass_by_step(maps["gradient"]),
        "epochs": len(trained.history),
        "reached": trained.reached,
        "last_epoch": trained.history[-1],
        "methods": measured,
        "random": _random(maps["gradient"], informative, cell.seed),
        "refused": refused,
        "seconds": {"train": round(trained.seconds, 2), "evaluation": round(time.process_time() - started, 2)},
    }


def saliency_maps(
    model: PreTrainedModel, values: Tensor, labels: Tensor, methods: Sequence[str], settings: AttributionSettings
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Explain the true label by every method that is right for the network, and by the gradient in any case.

    Args:
        model: The classifier.
        values: (N, T, C).
        labels: (N,).
        methods: Names of `sgt_hf.attribution.ATTRIBUTIONS`.
        settings: Of the methods.

    Returns:
        By method the maps (N, T, C); and by method that the library refuses for this network, its reason.
    """
    adapter = SeriesAdapter()
    batch = {"input_values": values}
    point = Point(values, adapter.eligible(batch), labels, list(range(len(values))))
    maps, refused = {}, {}
    with evaluating(model), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Setting forward, backward hooks", category=UserWarning)
        for name in dict.fromkeys(["gradient", *methods]):
            try:
                found = ATTRIBUTIONS[name](model, adapter, batch, point, settings)
            except ValueError as error:
                refused[name] = str(error)
            else:
                maps[name] = found.values.cpu().numpy()
    return maps, refused


def accuracy(model: PreTrainedModel, values: Tensor, labels: Tensor) -> float:
    """Return the share of series classified right, in eval mode."""
    return float((predictions(model, values).argmax(-1) == labels).double().mean())


def loss(model: PreTrainedModel, values: Tensor, labels: Tensor) -> float:
    """Return the mean cross-entropy in nats, in eval mode."""
    return float(torch.nn.functional.cross_entropy(predictions(model, values), labels))


@torch.no_grad()
def predictions(model: PreTrainedModel, values: Tensor) -> Tensor:
    """Return the logits (N, K) in eval mode."""
    with evaluating(model):
        return torch.cat([model(input_values=part).logits for part in values.split(200)])


def mass_by_step(saliency: np.ndarray) -> list[float]:
    """Return (T,) the share of a map's absolute mass at each step, the mean over samples: whether it vanishes."""
    sizes = np.abs(saliency).sum(2)
    shares = sizes / np.maximum(sizes.sum(1, keepdims=True), np.finfo(np.float32).tiny)
    return shares.mean(0).round(5).tolist()


def _random(gradient: np.ndarray, informative: np.ndarray, seed: int) -> dict[str, dict[str, float | None]]:
    """Mean AUP and AUR of the two random maps over several draws."""
    generator = torch.Generator().manual_seed(seed)
    draws = {
        "column_permutation": [column_permutation(gradient, generator=generator) for _ in range(RANDOM_DRAWS)],
        "iid": [iid(gradient.shape, generator=generator) for _ in range(RANDOM_DRAWS)],
    }
    found = {name: [weighted_aup_aur(drawn, informative) for drawn in maps] for name, maps in draws.items()}
    return {
        name: {area: _defined(float(np.mean([getattr(each, area) for each in some]))) for area in ("aup", "aur")}
        for name, some in found.items()
    }


def _rounded(found: Localization) -> dict[str, Any]:
    return {
        "aup": _defined(found.aup),
        "aur": _defined(found.aur),
        "precision": [_defined(value) for value in found.precision.round(4).tolist()],
        "recall": [_defined(value) for value in found.recall.round(4).tolist()],
    }


def _defined(value: float) -> float | None:
    """NaN → None, which JSON has; `benchmarks.time_series_tables.area_in` reads it back."""
    return None if math.isnan(value) else value
