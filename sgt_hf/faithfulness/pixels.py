"""Model + adapter + images → a score for every pixel → predictions with the highest removed: IID, OOD, ROAR.

A series' cells are scored and removed in the same way, and its padding never; only ROAR is of images alone. The scores
are computed once per method and used for every level and every fill.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ..adapters import Adapter
from ..adapters.base import Batch, Masking
from ..attribution import (
    AttributionSettings,
    Point,
    method_names,
    refuse_double_product,
    scored,
    warn_if_incomplete,
)
from ..data.pixels import PixelTensors
from ..masking.draws import seeded
from ..metrics.accuracy_drop import LEVELS
from ..modes import measuring
from ..ranking import ceil_share, select_top
from .pixel_rows import check_scores, classes_of, count_classes, pixel_batches, refuse_classes
from .rows import class_logits

Predictions = NDArray[np.int64]


def pixel_scores(
    model: nn.Module,
    dataset: Any,
    adapter: Adapter,
    *,
    methods: Sequence[str],
    settings: AttributionSettings | None = None,
    reduction: str = "signed_sum",
    batch_size: int = 64,
) -> dict[str, Tensor]:
    """Score every image's pixels by every method, for the true label.

    Args:
        model: A classifier; its modes and gradients are left as they were.
        dataset: N labelled rows, a map-style data set of images of one size, or of series.
        adapter: The model's.
        methods: Names of `sgt_hf.attribution.ATTRIBUTIONS`.
        settings: Of the methods; None for the usual ones.
        reduction: How a pixel's channels become one score; the authors take their signed mean, which ranks alike.
        batch_size: Images attributed at once.

    Returns:
        For each method (N, F) float32 on the CPU, signed; rank by their size. Series shorter than the longest have 0 in
        the place of padding.

    Raises:
        ValueError: An unknown method, no image, images that no model should be given or of other channels than the
            model's, labels that are missing or not one of its classes each, or scores that are not finite; names the
            row.
    """
    methods = method_names(methods)
    refuse_double_product(methods, reduction)
    settings = settings or AttributionSettings()
    found: dict[str, list[Tensor]] = {method: [] for method in methods}
    deltas: dict[str, list[Tensor]] = {method: [] for method in methods}
    num_labels = None
    with measuring(model):
        for index, batch in pixel_batches(model, dataset, adapter, batch_size):
            targets = classes_of(batch, index)
            if num_labels is None:
                num_labels = count_classes(model, adapter, batch)
            refuse_classes(targets, index, below=num_labels)
            point = Point(batch[adapter.main_input], adapter.eligible(batch), targets, index)
            for method in methods:
                scores, delta = scored(method, model, adapter, batch, point, settings=settings, reduction=reduction)
                found[method].append(scores.detach().cpu())
                if delta is not None:
                    deltas[method].append(delta.cpu())
    for method, parts in deltas.items():
        if parts:
            warn_if_incomplete(method, torch.cat(parts), settings)
    return {method: _as_wide_as_the_widest(parts) for method, parts in found.items()}


def predictions_under_removal(
    model: nn.Module,
    dataset: Any,
    adapter: Adapter,
    scores: Tensor,
    *,
    levels: Sequence[float] = LEVELS,
    fill: Masking = "constant",
    batch_size: int = 64,
    seed: int = 0,
) -> Predictions:
    """Predict every image at every level of removal, its ⌈level · n⌉ pixels of the largest |score| replaced.

    Args:
        model: A classifier; its modes are left as they were.
        dataset: N rows, as for `pixel_scores`.
        adapter: The model's.
        scores: (N, F), ranked by size; ties go to the earlier pixel.
        levels: R shares of the pixels, in [0, 1].
        fill: A masking of the adapter: `constant` is black (IID on MNIST), `channel_mean` the image's mean (OOD).
        batch_size: Images predicted at once.
        seed: Of a fill that draws, `uniform`: at one batch size every method and level gets the same values.

    Returns:
        (N, R) classes.

    Raises:
        ValueError: The adapter does not know the fill, a score is not finite, there are not as many scores as images or
            as pixels (a series may be shorter than the scores), no model should be given the images, see
            `pixel_scores`, or this one does not predict one of several classes.
    """
    check_scores(dataset, scores)
    rows = []
    with measuring(model), torch.no_grad():
        for index, batch in pixel_batches(model, dataset, adapter, batch_size):
            batch.pop("labels", None)
            own = seed + index[0]  # every batch draws its own
            masked = (remove_top(batch, adapter, scores[index], level, fill, seed=own) for level in levels)
            rows.append(torch.stack([_predicted(model, adapter, one) for one in masked], dim=1).cpu())
    return torch.cat(rows).numpy()


def remove_top(batch: Batch, adapter: Adapter, scores: Tensor, level: float, fill: Masking, *, seed: int = 0) -> Batch:
    """Return the batch with each sample's ⌈level · n⌉ features of the largest |score| replaced.

    Args:
        batch: Without labels.
        adapter: Of its model.
        scores: (B, F), for series also wider: the padding of longer ones is at the end.
        level: Share of the eligible features, in [0, 1].
        fill: A masking of the adapter.
        seed: Of a fill that draws; torch's global generators are left as they are.

    Raises:
        ValueError: The adapter does not know the fill, or there are fewer scores than features, or more than pixels.
    """
    adapter.check(masking=fill, granularity="token")
    eligible = adapter.eligible(batch)
    surplus = scores.shape[-1] > eligible.shape[1] and adapter.main_input == "pixel_values"
    if scores.dim() != 2 or scores.shape[1] < eligible.shape[1] or surplus:
        found, features = tuple(scores.shape[1:]), eligible.shape[1]
        raise ValueError(f"a sample's scores have shape {found} and it has {features} features: score each of them")
    sizes = scores[:, : eligible.shape[1]].abs().to(eligible.device)  # of a batch whose longest series is shorter
    drop = select_top(sizes, eligible, ceil_share(level, eligible.sum(1)))
    with seeded(seed, eligible.device):
        return adapter.mask(batch, drop, fill)


def images_without_top(
    model: nn.Module,
    dataset: Any,
    adapter: Adapter,
    scores: Tensor,
    *,
    level: float,
    fill: Masking = "channel_mean",
    batch_size: int = 256,
    seed: int = 0,
) -> PixelTensors:
    """Return the data set with each image's top pixels replaced, to train and to test on.

    Args:
        model: Whose device is used.
        dataset: N labelled rows.
        adapter: The model's.
        scores: (N, F).
        level: Share of the pixels removed.
        fill: A masking of the adapter.
        batch_size: Images at once.
        seed: See `predictions_under_removal`.

    Raises:
        ValueError: The adapter does not know the fill, there are not as many scores as images or as pixels, one is not
            finite, no labels, or series in the place of images.
    """
    check_scores(dataset, scores)
    if adapter.main_input != "pixel_values":
        raise ValueError(f"ROAR is of images alone, and {type(adapter).__name__} reads {adapter.main_input!r}")
    images, labels = [], []
    for index, batch in pixel_batches(model, dataset, adapter, batch_size):
        labels.append(classes_of(batch, index).cpu())
        removed = remove_top(batch, adapter, scores[index], level, fill, seed=seed + index[0])
        images.append(removed[adapter.main_input].cpu())
    return PixelTensors(torch.cat(images), torch.cat(labels))


def retrained_predictions(
    retrain: Callable[[PixelTensors], nn.Module],
    model: nn.Module,
    adapter: Adapter,
    *,
    train: tuple[Any, Tensor],
    test: tuple[Any, Tensor],
    levels: Sequence[float],
    fill: Masking = "channel_mean",
    batch_size: int = 256,
) -> Predictions:
    """Predict the test images at every level by a model trained anew on images with the same share removed (ROAR).

    Args:
        retrain: From a training set to a model trained on it from scratch.
        model: The one that the scores explain.
        adapter: Of both.
        train: Training images and their scores (N, F).
        test: Test images and their scores (M, F).
        levels: R shares of the pixels.
        fill: What replaces a removed pixel.
        batch_size: Images at once.

    Returns:
        (M, R) classes.

    Raises:
        ValueError: See `images_without_top` and `predictions_under_removal`.
    """
    columns = []
    for level in levels:
        how: dict[str, Any] = {"level": level, "fill": fill, "batch_size": batch_size}
        fresh = retrain(images_without_top(model, train[0], adapter, train[1], **how))
        removed = images_without_top(model, test[0], adapter, test[1], **how)
        nothing = torch.zeros_like(test[1])
        columns.append(
            predictions_under_removal(fresh, removed, adapter, nothing, levels=(0.0,), fill=fill, batch_size=batch_size)
        )
    return np.concatenate(columns, axis=1)


def _predicted(model: nn.Module, adapter: Adapter, batch: Mapping[str, Tensor]) -> Tensor:
    return class_logits(model, adapter.model_inputs(batch)).argmax(-1)


def _as_wide_as_the_widest(parts: Sequence[Tensor]) -> Tensor:
    """Join the scores of batches (B, F), those of shorter series padded at the end with 0."""
    width = max(part.shape[1] for part in parts)
    return torch.cat([functional.pad(part, (0, width - part.shape[1])) for part in parts])
