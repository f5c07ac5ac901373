"""Cells of the images benchmark: a trained classifier's accuracy and gradient; the other saliency methods; ROAR."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.common import PLAIN
from benchmarks.images_training import Cell, Images, build_model, train, trained_model
from sgt_hf.adapters import ImageAdapter
from sgt_hf.attribution import AttributionSettings
from sgt_hf.data.pixels import PixelTensors
from sgt_hf.faithfulness.pixels import pixel_scores, predictions_under_removal, retrained_predictions
from sgt_hf.metrics.accuracy_drop import LEVELS, accuracy_curve, area_under_accuracy
from sgt_hf.metrics.sparsity import gini

BLACK, MEAN = "constant", "channel_mean"  # the fills of IID, and of OOD and ROAR


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


def run_training(cell: Cell, data: Images, weights_dir: Path) -> dict[str, Any]:
    """Train, and measure accuracy and the accuracy drop of the gradient, in the precision of the training.

    Args:
        cell: What to train.
        data: Its data.
        weights_dir: See `trained_model`.

    Returns:
        JSON-able results.
    """
    model, facts = trained_model(cell, data, weights_dir, by_this_code=True)
    adapter = ImageAdapter(black=data.black)
    started = time.perf_counter()
    images = data.test.first(cell.gradient_images)
    with torch.autocast(model.device.type, torch.bfloat16, enabled=cell.bf16):
        predicted = predictions_under_removal(
            model, data.test, adapter, torch.zeros(len(data.test), data.size**2), levels=(0.0,), batch_size=256
        )
        gradient = pixel_scores(model, images, adapter, methods=("gradient",), batch_size=256)["gradient"]
        removal = drop(model, images, adapter, gradient)
    return facts | {
        "accuracy": float(accuracy_curve(predicted, data.test.labels)[0]),
        "test_images": len(data.test),
        "drops": {"gradient": removal},
        "gini": {"gradient": float(gini(list(gradient.numpy())).mean())},
        "histogram": histogram(gradient),
        "examples": examples(images, gradient, predicted[:, 0], data) if cell.seed == 0 else [],
        "evaluation_seconds": time.perf_counter() - started,
    }


def run_methods(cell: Cell, methods: Methods, data: Images, weights_dir: Path) -> dict[str, Any]:
    """Measure the accuracy drop of every saliency method of a trained model in float32.

    Where DeepLIFT is wrong for the network, it and DeepSHAP are left out, and why is kept.

    Args:
        cell: The model.
        methods: What to measure.
        data: Its data.
        weights_dir: See `trained_model`; without weights there the model is trained again.

    Returns:
        JSON-able results.
    """
    model, facts = trained_model(cell, data, weights_dir)
    adapter, images = ImageAdapter(black=data.black), data.test.first(methods.images)
    results: dict[str, Any] = {"drops": {}, "gini": {}, "refused": {}, "seconds": {}} | origin(facts)
    for method in methods.methods:
        started = time.perf_counter()
        try:
            found = pixel_scores(model, images, adapter, methods=[method], settings=methods.settings(cell.seed))
        except ValueError as error:
            if method not in ("deep_lift", "deep_shap") or not str(error).startswith("DeepLIFT"):
                raise  # scores that are not finite, say: no refusal of the network
            results["refused"][method] = str(error)
            continue
        results["drops"][method] = drop(model, images, adapter, found[method])
        results["gini"][method] = float(gini(list(found[method].numpy())).mean())
        results["seconds"][method] = time.perf_counter() - started
    return results


def run_roar(
    cell: Cell, levels: tuple[float, ...], epochs: float, data: Images, decoded: PixelTensors, weights_dir: Path
) -> dict[str, Any]:
    """Measure IID, OOD and ROAR of one model's gradient, in float32.

    Args:
        cell: The model that is explained.
        levels: Shares of pixels removed.
        epochs: Of each retraining.
        data: Its data.
        decoded: Its training images, decoded once: scored and removed are pixels of the same crop.
        weights_dir: See `trained_model`.

    Returns:
        JSON-able results.
    """
    model, facts = trained_model(cell, data, weights_dir)
    adapter = ImageAdapter(black=data.black)
    again = replace(cell, arm="plain", epochs=epochs, knobs=PLAIN, start=None)

    def retrain(images: PixelTensors) -> nn.Module:
        fresh = build_model(again, data)
        train(again, fresh, replace(data, train=images))
        return fresh

    def scored(images: PixelTensors) -> tuple[PixelTensors, Tensor]:
        return images, pixel_scores(model, images, adapter, methods=("gradient",), batch_size=256)["gradient"]

    test = scored(data.test)
    retrained = retrained_predictions(
        retrain, model, adapter, train=scored(decoded), test=test, levels=levels, fill=MEAN
    )
    curves = {
        "IID": drop(model, test[0], adapter, test[1], levels=levels, fill=BLACK),
        "OOD": drop(model, test[0], adapter, test[1], levels=levels, fill=MEAN),
        "ROAR": curve_of(retrained, data.test.labels, levels),
    }
    return {"drops": curves, "levels": list(levels)} | origin(facts)


def origin(facts: dict[str, Any]) -> dict[str, Any]:
    """Return of what is recorded of a training which data and which code it was of."""
    return {name: facts[name] for name in ("data", "trained_by")}


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
