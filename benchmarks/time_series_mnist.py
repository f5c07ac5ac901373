"""MNIST as a series of 28 steps and 28 features: plain and guided networks, and their maps of two digits.

Each network and arm leaves one JSON; benchmarks/time_series_figures.py draws them.

    python benchmarks/time_series_mnist.py --data_dir ../shared/data/mnist
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import DatasetDict, disable_progress_bars
from tqdm.auto import tqdm
from transformers import HfArgumentParser

from benchmarks.common import cell_path, run_cell
from benchmarks.time_series_cell import METHODS, NETWORKS, accuracy, saliency_maps, tensors
from benchmarks.time_series_training import DEVICE, Member, Recipe, train_together
from sgt_hf.attribution import AttributionSettings
from sgt_hf.data.mnist import load_mnist
from sgt_hf.data.series import mnist_series
from sgt_hf.models.series import SERIES_MODELS

DIGITS = 2  # as many of the test split's first images are kept as maps


@dataclass
class MnistSeriesArguments:
    """What to run."""

    data_dir: str | None = field(default=None, metadata={"help": "Folder of the idx files; downloaded without."})
    network: list[str] = field(default_factory=lambda: list(NETWORKS), metadata={"help": ", ".join(NETWORKS) + "."})
    arms: list[str] = field(default_factory=lambda: ["plain", "guided"], metadata={"help": "plain, guided, …"})
    train_size: int = field(default=6000, metadata={"help": "Of the 60,000 images."})
    epochs: int = field(default=10, metadata={"help": "Of every training."})
    hidden_size: int = field(default=64, metadata={"help": "Of the LSTMs; five units cannot tell ten digits apart."})
    mask_fraction: float = field(default=0.5, metadata={"help": "k; the paper does not give it."})
    output_dir: str = field(default="runs/time_series_mnist", metadata={"help": "Where cells go."})


@dataclass(frozen=True)
class Cell:
    """Everything that decides a cell's numbers."""

    network: str
    arm: str
    seed: int
    train_size: int
    epochs: int
    hidden_size: int
    mask_fraction: float


def main() -> None:
    """Run every cell that is not finished."""
    (args,) = HfArgumentParser(MnistSeriesArguments).parse_args_into_dataclasses()
    disable_progress_bars()
    data = subsets(load_mnist(args.data_dir), args.train_size)
    for network in tqdm(args.network, unit="network"):
        for arm in args.arms:
            fraction = 0.0 if arm == "plain" else args.mask_fraction
            cell = Cell(network, arm, 0, args.train_size, args.epochs, args.hidden_size, fraction)
            path = cell_path(Path(args.output_dir), f"mnist-{network}-{arm}", asdict(cell))
            run_cell(path, asdict(cell), lambda cell=cell: run(cell, data))


def subsets(images: DatasetDict, train_size: int) -> DatasetDict:
    """Return the first of the training images, the 500 after them for validation, and 2,000 of test, as series."""
    train, test = images["train"], images["test"]
    parts = {
        "train": train.select(range(train_size)),
        "validation": train.select(range(train_size, train_size + 500)),
        "test": test.select(range(2000)),
    }
    return mnist_series(DatasetDict(parts))


def run(cell: Cell, data: DatasetDict) -> dict[str, Any]:
    """Train one network, and keep its maps of the first test digits as numbers from −255 to 255."""
    torch.manual_seed(cell.seed)
    settings: dict[str, Any] = {"num_features": 28, "num_labels": 10}
    if "lstm" in cell.network:
        settings["hidden_size"] = cell.hidden_size
    config = NETWORKS[cell.network](**settings)
    trained = Member(
        SERIES_MODELS[type(config)](config).to(DEVICE),
        tensors(data["train"]),
        tensors(data["validation"]),
        cell.mask_fraction,
        cell.seed,
    )
    train_together([trained], Recipe(cell.arm, epochs=cell.epochs, stop_at=2.0))
    values, labels = tensors(data["test"])
    shown, true = values[:DIGITS], labels[:DIGITS]
    found, refused = saliency_maps(trained.model, shown, true, METHODS, AttributionSettings())
    return {
        "accuracy": accuracy(trained.model, values, labels),
        "labels": true.tolist(),
        "inputs": (255 * shown.cpu().numpy()).round().astype(int).tolist(),
        "maps": {method: _in_255(maps).tolist() for method, maps in found.items()},
        "refused": refused,
        "seconds": round(trained.seconds, 1),
    }


def _in_255(maps: np.ndarray) -> np.ndarray:
    """Return each map's magnitudes, its largest being 255."""
    sizes = np.abs(maps)
    largest = sizes.max((1, 2), keepdims=True)
    return (255 * sizes / np.where(largest > 0, largest, 1)).round().astype(int)


if __name__ == "__main__":
    main()
