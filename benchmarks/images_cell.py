"""Cells of the images benchmark: train a classifier and measure its gradient; measure the other methods; ROAR."""

from __future__ import annotations

import math
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import PreTrainedModel, PrinterCallback, set_seed

from benchmarks.common import PLAIN, cell_path
from sgt_hf import SaliencyGuidedTrainer, SaliencyGuidedTrainingArguments
from sgt_hf.adapters import ImageAdapter
from sgt_hf.attribution import AttributionSettings
from sgt_hf.data.images import PixelTensors
from sgt_hf.faithfulness.pixels import pixel_scores, predictions_under_removal, retrained_predictions
from sgt_hf.metrics.accuracy_drop import LEVELS, accuracy_curve, area_under_accuracy
from sgt_hf.metrics.sparsity import gini
from sgt_hf.models.vision import (
    MnistCnnConfig,
    MnistCnnForImageClassification,
    TorchvisionConfig,
    TorchvisionForImageClassification,
)

ARMS = ("plain", "guided", "guided_abs", "fine_tuned", "random_mask", "reversed_mask")
BLACK, MEAN = "constant", "channel_mean"  # the fills of IID, and of OOD and ROAR


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
    test_images: int
    gradient_images: int
    knobs: dict[str, Any]
    start: dict[str, Any] | None  # the cell whose model is fine-tuned

    @property
    def name(self) -> str:
        """Readable part of the cell's file name."""
        return f"{Path(self.dataset).name}-{self.arm}-seed{self.seed}"


@dataclass(frozen=True)
class Methods:
    """How the saliency methods of a trained model are measured."""

    methods: tuple[str, ...]
    images: int
    baseline: str
    ig_steps: int
    smooth_grad_samples: int
    shap_samples: int
    shap_baselines: int

    def settings(self, seed: int) -> AttributionSettings:
        """Return the settings of `sgt_hf.attribution`."""
        return AttributionSettings(
            baseline=self.baseline,
            steps=self.ig_steps,
            samples=self.smooth_grad_samples,
            shap_samples=self.shap_samples,
            shap_baselines=self.shap_baselines,
            seed=seed,
        )


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

    train: Dataset[Any]
    test: PixelTensors
    classes: list[str]
    channels: int
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def black(self) -> tuple[float, ...]:
        """Value of a black pixel, one a channel."""
        return tuple(-mean / std for mean, std in zip(self.mean, self.std, strict=True))

    def picture(self, row: int) -> list[Any]:
        """Return a test image as it was before normalising: (H, W) or (H, W, 3) integers from 0 to 255."""
        pixels = self.test.pixel_values[row].movedim(0, -1) * torch.tensor(self.std) + torch.tensor(self.mean)
        return (255 * pixels).round().clamp(0, 255).to(torch.uint8).squeeze(-1).tolist()


def build_model(cell: Cell, data: Images) -> PreTrainedModel:
    """Return the network of a cell with its seed's initial weights.

    Args:
        cell: `network` is `mnist_cnn`, `resnet18_32` (the stem for small images) or torchvision's own name.
        data: Gives classes, channels and size.
    """
    set_seed(cell.seed)
    shape = {"num_labels": len(data.classes), "num_channels": data.channels}
    if cell.network == "mnist_cnn":
        return MnistCnnForImageClassification(MnistCnnConfig(image_size=data.size, **shape))
    if cell.network == "resnet18_32":
        return TorchvisionForImageClassification(TorchvisionConfig(architecture="resnet18", small_images=True, **shape))
    return TorchvisionForImageClassification.from_torchvision(cell.network, weights=cell.weights, **shape)


def trained_model(cell: Cell, data: Images, weights_dir: Path) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Return the cell's model, trained or from its saved weights, and what is recorded of the training.

    Args:
        cell: What to train.
        data: Its data.
        weights_dir: Where weights are kept, so that another cell need not train again.
    """
    path = cell_path(weights_dir, cell.name, asdict(cell)).with_suffix(".safetensors")
    model = build_model(cell, data)
    if path.exists():
        model.load_state_dict(load_file(path))
        return model, {"loaded": path.name}
    if cell.start is not None:
        first, _ = trained_model(Cell(**cell.start), data, weights_dir)
        model.load_state_dict(first.state_dict())
    facts = train(cell, model, data)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file({name: value.cpu().contiguous() for name, value in model.state_dict().items()}, partial)
    partial.replace(path)
    return model, facts


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


def run_training(cell: Cell, data: Images, weights_dir: Path) -> dict[str, Any]:
    """Train, and measure accuracy and the accuracy drop of the gradient.

    Args:
        cell: What to train.
        data: Its data.
        weights_dir: See `trained_model`.

    Returns:
        JSON-able results.
    """
    model, facts = trained_model(cell, data, weights_dir)
    adapter = ImageAdapter(black=data.black)
    started = time.perf_counter()
    predicted = predictions_under_removal(
        model, data.test, adapter, torch.zeros(len(data.test), data.size**2), levels=(0.0,), batch_size=256
    )
    images = data.test.first(cell.gradient_images)
    gradient = pixel_scores(model, images, adapter, methods=("gradient",), batch_size=256)["gradient"]
    return facts | {
        "accuracy": float(accuracy_curve(predicted, data.test.labels)[0]),
        "test_images": len(data.test),
        "drops": {"gradient": drop(model, images, adapter, gradient)},
        "gini": {"gradient": float(gini(list(gradient.numpy())).mean())},
        "histogram": histogram(gradient),
        "examples": examples(images, gradient, predicted[:, 0], data) if cell.seed == 0 else [],
        "evaluation_seconds": time.perf_counter() - started,
    }


def run_methods(cell: Cell, methods: Methods, data: Images, weights_dir: Path) -> dict[str, Any]:
    """Measure the accuracy drop of every saliency method of a trained model; those that refuse it say why.

    Args:
        cell: The model.
        methods: What to measure.
        data: Its data.
        weights_dir: See `trained_model`; without weights there the model is trained again.

    Returns:
        JSON-able results.
    """
    model, _ = trained_model(cell, data, weights_dir)
    adapter, images = ImageAdapter(black=data.black), data.test.first(methods.images)
    results: dict[str, Any] = {"drops": {}, "gini": {}, "refused": {}, "seconds": {}}
    for method in methods.methods:
        started = time.perf_counter()
        try:
            found = pixel_scores(model, images, adapter, methods=[method], settings=methods.settings(cell.seed))
        except ValueError as error:  # DeepLIFT refuses networks it would be wrong for
            results["refused"][method] = str(error)
            continue
        results["drops"][method] = drop(model, images, adapter, found[method])
        results["gini"][method] = float(gini(list(found[method].numpy())).mean())
        results["seconds"][method] = time.perf_counter() - started
    return results


def run_roar(
    cell: Cell, levels: tuple[float, ...], epochs: float, data: Images, weights_dir: Path
) -> dict[str, Any]:
    """Measure IID, OOD and ROAR of one model's gradient.

    Args:
        cell: The model that is explained.
        levels: Shares of pixels removed.
        epochs: Of each retraining.
        data: Its data, decoded once.
        weights_dir: See `trained_model`.

    Returns:
        JSON-able results.
    """
    model, _ = trained_model(cell, data, weights_dir)
    adapter = ImageAdapter(black=data.black)
    again = replace(cell, arm="plain", epochs=epochs, knobs=PLAIN, start=None)

    def retrain(images: PixelTensors) -> nn.Module:
        fresh = build_model(again, data)
        train(again, fresh, replace(data, train=images))
        return fresh

    def scored(images: Any) -> tuple[Any, Tensor]:
        return images, pixel_scores(model, images, adapter, methods=("gradient",), batch_size=256)["gradient"]

    test = scored(data.test)
    retrained = retrained_predictions(
        retrain, model, adapter, train=scored(data.train), test=test, levels=levels, fill=MEAN
    )
    curves = {
        "IID": drop(model, test[0], adapter, test[1], levels=levels, fill=BLACK),
        "OOD": drop(model, test[0], adapter, test[1], levels=levels, fill=MEAN),
        "ROAR": curve_of(retrained, data.test.labels, levels),
    }
    return {"drops": curves, "levels": list(levels)}


def drop(
    model: nn.Module,
    images: PixelTensors,
    adapter: ImageAdapter,
    scores: Tensor,
    *,
    levels: tuple[float, ...] = LEVELS,
    fill: str = BLACK,
) -> dict[str, Any]:
    """Return area and accuracies of one ranking."""
    predicted = predictions_under_removal(model, images, adapter, scores, levels=levels, fill=fill, batch_size=256)
    return curve_of(predicted, images.labels, levels)


def curve_of(predicted: Any, labels: Any, levels: tuple[float, ...]) -> dict[str, Any]:
    """Return area and accuracies of predictions, rounded."""
    accuracies = accuracy_curve(predicted, labels)
    return {"area": round(area_under_accuracy(accuracies, levels), 2), "accuracies": accuracies.round(5).tolist()}


def histogram(scores: Tensor) -> list[float]:
    """Share of all pixels in 41 bins of gradient / the sample's largest, from −1 to 1 (Figure 2 C)."""
    scaled = scores / scores.abs().amax(1, keepdim=True).clamp(min=1e-30)
    counts, _ = np.histogram(scaled.numpy(), np.linspace(-1, 1, 42))
    return (counts / counts.sum()).round(8).tolist()


def examples(
    images: PixelTensors, scores: Tensor, predicted: Any, data: Images, count: int = 10
) -> list[dict[str, Any]]:
    """Return the first image of each class that was classified correctly, and its gradient, scaled to [−1, 1].

    Of the first seed only, so that the files stay small.
    """
    found: list[dict[str, Any]] = []
    labels = images.labels if images.labels is not None else torch.zeros(0)
    for label in range(min(count, len(data.classes))):
        row = next((i for i in range(len(images)) if labels[i] == label and predicted[i] == label), None)
        if row is not None:
            scaled = scores[row] / scores[row].abs().max().clamp(min=1e-30)
            grid = _rounded(scaled.view(data.size, data.size))
            found.append({"row": row, "label": data.classes[label], "picture": data.picture(row), "map": grid})
    return found


def _rounded(values: Tensor) -> list[list[float]]:
    return [[round(value, 3) for value in row] for row in values.tolist()]
