"""Batches of `pixel_values`: a data set of tensors, and a collator that refuses what would break or poison a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

_LABELS = ("labels", "label", "label_ids")


class PixelTensors(Dataset[dict[str, Any]]):
    """Images that are tensors already: a row costs no decoding.

    Args:
        pixel_values: (N, C, H, W) float, normalised.
        labels: (N,) int64, or None.

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
        return row if self.labels is None else row | {"labels": int(self.labels[index])}

    def first(self, count: int) -> PixelTensors:
        """Return the first `count` rows, or all where there are fewer."""
        return PixelTensors(self.pixel_values[:count], None if self.labels is None else self.labels[:count])


class PixelError(ValueError):
    """Images that no model should be given.

    Attributes:
        problem: What is wrong.
        row: The row's position in its batch.
    """

    def __init__(self, problem: str, row: int) -> None:
        super().__init__(f"image {row}: {problem}")
        self.problem = problem
        self.row = row


class PixelCollator:
    """Stack rows into a batch, and refuse what would break or poison a step, while it is still on the CPU.

    Args:
        channels: Expected of every image; None for whatever the first has.
    """

    def __init__(self, channels: int | None = None) -> None:
        self.channels = channels

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Collate.

        Args:
            rows: With `pixel_values` (C, H, W) float, and a label under `labels`, `label` or `label_ids`.

        Returns:
            `pixel_values` (B, C, H, W), and `labels` (B,) int64, or (B, K) float of a multi-label task.

        Raises:
            PixelError: Integer, non-finite, or wrongly shaped images; names the row of the batch.
            ValueError: The rows have no images.
        """
        if any("pixel_values" not in row for row in rows):
            raise ValueError(
                f"the rows have no 'pixel_values', only {sorted(rows[0])}: wrap the data set, PixelDataset(rows, "
                "transform), or use its with_transform and set remove_unused_columns=False"
            )
        images = [torch.as_tensor(row["pixel_values"]) for row in rows]
        for index, image in enumerate(images):
            problem = self._problem(image, images[0])
            if problem:
                raise PixelError(problem, index)
        pixels = torch.stack(images)
        finite = pixels.flatten(1).isfinite().all(1)
        if not finite.all():
            raise PixelError("holds NaN or infinity after the transform", int((~finite).long().argmax()))
        batch = {"pixel_values": pixels}
        name = next((name for name in _LABELS if name in rows[0]), None)
        if name is not None:
            batch["labels"] = torch.stack([torch.as_tensor(row[name]) for row in rows])
        return batch

    def _problem(self, image: Tensor, first: Tensor) -> str | None:
        if not image.is_floating_point():
            return f"is {image.dtype}: scale it to floats, v2.ToDtype(torch.float32, scale=True), and normalise it"
        if image.dim() != 3:
            return f"has shape {tuple(image.shape)} instead of (C, H, W)"
        channels = first.shape[0] if self.channels is None else self.channels
        if image.shape[0] != channels:
            found = image.shape[0]
            return f"has {found} channels instead of {channels}: convert it, PixelRecipe(channels={channels}, …)"
        if image.shape != first.shape:
            sizes = f"{tuple(image.shape[1:])} pixels and the batch's first has {tuple(first.shape[1:])}"
            return f"has {sizes}: resize them, PixelRecipe(size=(height, width))"
        return None
