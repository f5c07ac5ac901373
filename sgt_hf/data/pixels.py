"""Batches of `pixel_values`: a data set of tensors, and a collator that refuses what would break or poison a step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from .odd_row import RowError
from .other_columns import LABELS, labels_of, stack_others


class PixelTensors(Dataset[dict[str, Any]]):
    """Images that are tensors already: a row costs no decoding.

    Args:
        pixel_values: (N, C, H, W) float, normalised.
        labels: (N,) int64, (N, K) float of a multi-label task, or None.

    Raises:
        ValueError: The numbers of images and labels differ.
    """

    def __init__(self, pixel_values: Tensor, labels: Tensor | None) -> None:
        if labels is not None and len(labels) != len(pixel_values):
            raise ValueError(f"there are {len(pixel_values)} images and {len(labels)} labels")
        self.pixel_values = pixel_values
        self.labels = labels

    def __len__(self) -> int:
        return len(self.pixel_values)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row: dict[str, Any] = {"pixel_values": self.pixel_values[index]}
        return row if self.labels is None else row | {"labels": self.labels[index].tolist()}

    def first(self, count: int) -> PixelTensors:
        """Return the first `count` rows, or all where there are fewer."""
        return PixelTensors(self.pixel_values[:count], None if self.labels is None else self.labels[:count])


class PixelError(RowError):
    """Images that no model should be given; the message names one."""


class PixelCollator:
    """Stack rows into a batch, and refuse what would break or poison a step, while it is still on the CPU.

    Args:
        channels: Expected of every image; None for what most of a batch have.
    """

    def __init__(self, channels: int | None = None) -> None:
        self.channels = channels

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Collate.

        Args:
            rows: With `pixel_values` (C, H, W) float, and a label under `labels`, `label` or `label_ids`. Other columns
                are stacked as transformers' `default_data_collator` does; what is no number or tensor stays out.

        Returns:
            `pixel_values` (B, C, H, W) as `stack_images` makes them, and `labels` (B,) int64, or (B, K) float of a
            multi-label task.

        Raises:
            PixelError: Integer, non-finite, or wrongly shaped images; names the row of the batch.
            ValueError: The rows have no images.
        """
        if any("pixel_values" not in row for row in rows):
            raise ValueError(
                f"the rows have no 'pixel_values', only {sorted(rows[0])}: wrap the data set, PixelDataset(rows, "
                "transform), or use its with_transform and set remove_unused_columns=False"
            )
        images = [row["pixel_values"] for row in rows]
        batch = {"pixel_values": stack_images(images, "image {}".format, channels=self.channels)}
        return batch | labels_of(rows) | stack_others(rows, {"pixel_values", *LABELS})


def stack_images(images: Sequence[Any], name: Callable[[int], str], *, channels: int | None = None) -> Tensor:
    """Stack images, and name the one that is no float image, differs from the most of them, or is not finite.

    Args:
        images: (C, H, W) each, tensors or what becomes one; at least one.
        name: From an image's position to what an error calls it.
        channels: Expected of every image; None for what most have.

    Returns:
        (B, C, H, W) float32, which float64, NumPy's own, and float16, which saves memory, become too. Where all are
        bfloat16 they stay it, for a model of such weights.

    Raises:
        PixelError: An image cannot be stacked, or should not be.
        ValueError: There are none.
    """
    if not images:
        raise ValueError("there are no images")
    tensors = [_tensor(image, name, index) for index, image in enumerate(images)]
    for index, image in enumerate(tensors):
        if not image.is_floating_point():
            advice = "scale it to floats, v2.ToDtype(torch.float32, scale=True), and normalise it"
            raise PixelError(f"{name(index)}: is {image.dtype}: {advice}", index)
        if image.dim() != 3:
            raise PixelError(f"{name(index)}: has shape {tuple(image.shape)} instead of (C, H, W)", index)
    channels = _most_common([image.shape[0] for image in tensors]) if channels is None else channels
    size = _most_common([tuple(image.shape[1:]) for image in tensors])
    for index, image in enumerate(tensors):
        if image.shape[0] != channels:
            advice = f"convert it, PixelRecipe(channels={channels}, …)"
            raise PixelError(f"{name(index)}: has {image.shape[0]} channels instead of {channels}: {advice}", index)
        if image.shape[1:] != size:
            advice = "resize them, PixelRecipe(size=(height, width))"
            raise PixelError(f"{name(index)}: has {tuple(image.shape[1:])} pixels instead of {size}: {advice}", index)
    pixels = torch.stack(tensors)
    pixels = pixels if pixels.dtype == torch.bfloat16 else pixels.float()
    finite = pixels.flatten(1).isfinite().all(1)
    if not finite.all():
        index = int((~finite).long().argmax())
        raise PixelError(f"{name(index)}: holds NaN or infinity after the transform", index)
    return pixels


def _tensor(image: Any, name: Callable[[int], str], index: int) -> Tensor:
    try:
        return torch.as_tensor(image)
    except (RuntimeError, TypeError, ValueError) as error:
        message = f"{name(index)}: is no (C, H, W) tensor ({error}): let the transform end in one"
        raise PixelError(message, index) from error


def _most_common(values: Sequence[Any]) -> Any:
    """The first of them where several are as common."""
    return Counter(values).most_common(1)[0][0]
