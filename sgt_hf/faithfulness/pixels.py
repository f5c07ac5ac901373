"""Model + adapter + images → a score for every pixel → predictions with the highest removed: IID, OOD, ROAR.

A series' cells are scored and removed in the same way, and its padding never; only ROAR is of images alone. The scores
are computed once per method and used for every level and every fill.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ..adapters import Adapter
from ..adapters.base import Batch, Masking, logits_of
from ..attribution import (
    ATTRIBUTIONS,
    AttributionSettings,
    Point,
    method_names,
    refuse_double_product,
    refuse_not_finite,
    relative_delta,
    warn_if_incomplete,
)
from ..data.pixels import PixelTensors
from ..masking.draws import seeded
from ..metrics.accuracy_drop import LEVELS
from ..modes import measuring
from ..ranking import ceil_share, select_top
from ..saliency import reduce_scores
from .rows import load_batches

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
        ValueError: An unknown method, no image, labels that are missing or not one class each, or scores that are not
            finite.
    """
    methods = method_names(methods)
    refuse_double_product(methods, reduction)
    settings = settings or AttributionSettings()
    found: dict[str, list[Tensor]] = {method: [] for method in methods}
    deltas: dict[str, list[Tensor]] = {method: [] for method in methods}
    with measuring(model):
        for index, batch in _batches(model, dataset, adapter, batch_size):
            targets = _classes_of(batch)
            point = Point(batch[adapter.main_input], adapter.eligible(batch), targets, index)
            for method in methods:
                attribution = ATTRIBUTIONS[method](model, adapter, batch, point, settings)
                scores = reduce_scores(attribution.values, point.features, reduction, dim=adapter.feature_dim)
                refuse_not_finite(method, scores, point)
                found[method].append(scores.detach().cpu())
                if attribution.delta is not None:
                    deltas[method].append(relative_delta(attribution, dim=adapter.feature_dim).cpu())
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
        ValueError: The adapter does not know the fill, or there are not as many scores as images or as pixels.
    """
    adapter.check(masking=fill, granularity="token")
    _check_scores(dataset, scores)
    rows = []
    with measuring(model), torch.no_grad():
        for index, batch in _batches(model, dataset, adapter, batch_size):
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
        scores: (B, F), or wider: the batch's padding is at the end.
        level: Share of the eligible features, in [0, 1].
        fill: A masking of the adapter.
        seed: Of a fill that draws; torch's global generators are left as they are.

    Raises:
        ValueError: There are fewer scores than features.
    """
    eligible = adapter.eligible(batch)
    if scores.dim() != 2 or scores.shape[1] < eligible.shape[1]:
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
        ValueError: There are not as many scores as images or as pixels, no labels, or series in the place of images.
    """
    _check_scores(dataset, scores)
    if adapter.main_input != "pixel_values":
        raise ValueError(f"ROAR is of images alone, and {type(adapter).__name__} reads {adapter.main_input!r}")
    images, labels = [], []
    for index, batch in _batches(model, dataset, adapter, batch_size):
        labels.append(_classes_of(batch).cpu())
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
        ValueError: There are not as many scores as images or as pixels.
    """
    adapter.check(masking=fill, granularity="token")
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


def _batches(model: nn.Module, dataset: Any, adapter: Adapter, batch_size: int) -> Iterator[tuple[list[int], Batch]]:
    if not len(dataset):
        raise ValueError("the data set is empty: there is nothing to evaluate")
    order = range(len(dataset))
    cuts = [list(order[start : start + batch_size]) for start in range(0, len(dataset), batch_size)]
    return load_batches(model, adapter, dataset, cuts)


def _classes_of(batch: dict[str, Any]) -> Tensor:
    """Take the labels out of a batch: (B,) int64, one class from 0 on each."""
    labels: Tensor | None = batch.pop("labels", None)
    if labels is not None and labels.dim() == 2 and labels.shape[1] == 1:
        labels = labels.squeeze(1)
    if labels is not None and (labels.dim() != 1 or labels.is_floating_point()):
        raise ValueError(
            f"labels are one class each, and these are {labels.dtype} of shape {tuple(labels.shape)}: several labels "
            "train, but are not measured"
        )
    if labels is None or (labels < 0).any():
        raise ValueError(
            "a sample has no label, a class from 0 on, and it is the true label's score that is explained: "
            "leave out samples without"
        )
    return labels


def _predicted(model: nn.Module, adapter: Adapter, batch: Mapping[str, Tensor]) -> Tensor:
    return logits_of(model(**adapter.model_inputs(batch))).argmax(-1)


def _as_wide_as_the_widest(parts: Sequence[Tensor]) -> Tensor:
    """Join the scores of batches (B, F), those of shorter series padded at the end with 0."""
    width = max(part.shape[1] for part in parts)
    return torch.cat([functional.pad(part, (0, width - part.shape[1])) for part in parts])


def _check_scores(dataset: Any, scores: Tensor) -> None:
    if len(scores) != len(dataset):
        raise ValueError(f"there are scores of {len(scores)} images and the data set has {len(dataset)}")
