"""Trainings of the images benchmark: what decides one, its data and network, and its weights, trained once."""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, PrinterCallback, set_seed

from benchmarks.common import cell_path, versions
from sgt_hf import SaliencyGuidedTrainer, SaliencyGuidedTrainingArguments
from sgt_hf.adapters import ImageAdapter
from sgt_hf.data.images import PixelDataset
from sgt_hf.data.pixels import PixelTensors
from sgt_hf.models.vision import (
    MnistCnnConfig,
    MnistCnnForImageClassification,
    TorchvisionConfig,
    TorchvisionForImageClassification,
)

WITHOUT_WEIGHTS = ("mnist_cnn", "resnet18_32")


@dataclass(frozen=True)
class Cell:
    """Everything that decides a trained model and its numbers; see the options of `benchmarks/images.py`."""

    dataset: str
    data_dir: str | None
    network: str
    weights: str | None
    arm: str
    seed: int
    epochs: float
    batch_size: int
    learning_rate: float
    optimizer: str
    scheduler: str
    weight_decay: float
    bf16: bool
    train_images: int
    split: str
    test_images: int
    gradient_images: int
    knobs: dict[str, Any]
    start: dict[str, Any] | None  # the cell whose model is fine-tuned

    @property
    def name(self) -> str:
        """Readable part of the cell's file name."""
        return f"{Path(self.dataset).name}-{self.arm}-seed{self.seed}"


@dataclass(frozen=True)
class Images:
    """A data set ready for training.

    Attributes:
        train: Rows of pixel_values and labels.
        test: The same, decoded once.
        classes: Names.
        channels: Of the images.
        size: Height and width in pixels.
        mean: Subtracted from each channel.
        std: Each channel is divided by.
    """

    train: PixelDataset | PixelTensors
    test: PixelTensors
    classes: list[str]
    channels: int
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @cached_property
    def digest(self) -> str:
        """Of all images, labels and classes: what lies under a path can change."""
        digest = hashlib.sha256(json.dumps(self.classes).encode())
        for part in (self.train, self.test):
            for piece in _content(part):
                digest.update(piece)
        return digest.hexdigest()[:10]

    @property
    def black(self) -> tuple[float, ...]:
        """Value of a black pixel, one a channel."""
        return tuple(-mean / std for mean, std in zip(self.mean, self.std, strict=True))

    def picture(self, row: int) -> list[Any]:
        """Return a test image as it was before normalising: (H, W) or (H, W, 3) integers from 0 to 255."""
        pixels = self.test.pixel_values[row].movedim(0, -1) * torch.tensor(self.std) + torch.tensor(self.mean)
        return (255 * pixels).round().clamp(0, 255).to(torch.uint8).squeeze(-1).tolist()


def _content(images: PixelDataset | PixelTensors) -> Iterator[bytes]:
    """The pixels and labels of a data set, or of one that is decoded anew each epoch its encoded images."""
    if isinstance(images, PixelTensors):
        yield images.pixel_values.numpy().tobytes()
        yield b"" if images.labels is None else images.labels.numpy().tobytes()
        return
    for row in images.rows:
        entry = row[images.image_column]
        yield entry["bytes"] if entry["bytes"] is not None else Path(entry["path"]).read_bytes()
        yield json.dumps(row[images.label_column]).encode()


def build_model(cell: Cell, data: Images) -> PreTrainedModel:
    """Return the network of a cell with its seed's initial weights.

    Args:
        cell: `network` is `mnist_cnn`, `resnet18_32` (the stem for small images) or torchvision's own name.
        data: Gives classes, channels and size.

    Raises:
        ValueError: Pretrained weights of a network that has none.
    """
    if cell.weights is not None and cell.network in WITHOUT_WEIGHTS:
        raise ValueError(
            f"there are no weights {cell.weights!r} of {cell.network}: leave --pretrained out, or take a --network of "
            "torchvision's, such as resnet18"
        )
    set_seed(cell.seed)
    shape = {"num_labels": len(data.classes), "num_channels": data.channels}
    if cell.network == "mnist_cnn":
        return MnistCnnForImageClassification(MnistCnnConfig(image_size=data.size, **shape))
    if cell.network == "resnet18_32":
        return TorchvisionForImageClassification(TorchvisionConfig(architecture="resnet18", small_images=True, **shape))
    return TorchvisionForImageClassification.from_torchvision(cell.network, weights=cell.weights, **shape)


def trained_model(
    cell: Cell, data: Images, weights_dir: Path, *, by_this_code: bool = False
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Return the cell's model, trained or from its saved weights, and what is recorded of the training.

    Args:
        cell: What to train.
        data: Its data; other data under the same path are other weights.
        weights_dir: Where weights are kept, so that another cell need not train again.
        by_this_code: Train again where the weights are of other code or packages; else they are taken, as those that
            the finished training was measured with, and what they were trained by is recorded.

    Raises:
        ValueError: The file of the weights is damaged.
    """
    path = cell_path(weights_dir, cell.name, {"data": data.digest, **asdict(cell)}).with_suffix(".safetensors")
    model, now = build_model(cell, data), versions()
    if path.exists():
        made_by = _load(model, path)
        if made_by == now or not by_this_code:
            return model, {"loaded": path.name, "data": data.digest, "trained_by": made_by}
        model = build_model(cell, data)
    start: dict[str, Any] = {}
    if cell.start is not None:  # with the weights that the finished plain training was measured with
        first, known = trained_model(Cell(**cell.start), data, weights_dir)
        model.load_state_dict(first.state_dict())
        start = {"start_trained_by": known["trained_by"]}
    facts = train(cell, model, data) | start
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    state = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
    save_file(state, partial, metadata={"trained_by": json.dumps(now)})
    partial.replace(path)
    return model, facts | {"data": data.digest, "trained_by": now}


def _load(model: PreTrainedModel, path: Path) -> dict[str, str]:
    """Fill in saved weights, and return the versions that trained them."""
    try:
        model.load_state_dict(load_file(path))
        with safe_open(path, "pt") as file:
            return dict(json.loads((file.metadata() or {})["trained_by"]))
    except (SafetensorError, RuntimeError, ValueError, KeyError) as error:
        raise ValueError(f"{path} holds no weights of this network ({error}): remove it and run again") from error


def train(cell: Cell, model: PreTrainedModel, data: Images) -> dict[str, Any]:
    """Train by `SaliencyGuidedTrainer`; plain is λ = 0, which equals `transformers.Trainer`."""
    with tempfile.TemporaryDirectory() as folder:
        args = SaliencyGuidedTrainingArguments(
            output_dir=folder,
            seed=cell.seed,
            data_seed=cell.seed,
            num_train_epochs=cell.epochs,
            per_device_train_batch_size=cell.batch_size,
            learning_rate=cell.learning_rate,
            lr_scheduler_type="constant" if cell.scheduler == "steps" else cell.scheduler,
            optim=cell.optimizer,
            optim_args="momentum=0.9" if cell.optimizer == "sgd" else None,
            weight_decay=cell.weight_decay,
            bf16=cell.bf16,
            use_cpu=not torch.cuda.is_available(),  # Trainer asks for it before bfloat16 on a CPU
            save_strategy="no",
            logging_strategy="steps",
            logging_steps=0.1,
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=torch.cuda.is_available(),
            **cell.knobs,
        )
        trainer = SaliencyGuidedTrainer(
            model=model.to(memory_format=torch.channels_last),
            args=args,
            train_dataset=data.train,
            adapter=ImageAdapter(black=data.black),
        )
        trainer.remove_callback(PrinterCallback)
        if cell.scheduler == "steps":  # a tenth of the learning rate from half of the steps on, a hundredth from 3/4
            steps = math.ceil(len(trainer.get_train_dataloader()) * cell.epochs)
            optimizer = trainer.create_optimizer()
            trainer.lr_scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [steps // 2, 3 * steps // 4])
        started, used = time.perf_counter(), time.process_time()
        trainer.train()
        seconds = {"train_seconds": time.perf_counter() - started, "train_cpu_seconds": time.process_time() - used}
    return seconds | {"log_history": trainer.state.log_history}
