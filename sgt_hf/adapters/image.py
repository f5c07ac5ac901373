"""Images: ranks pixels, whose channels share fate, and masks them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..data.pixels import PixelCollator
from ..masking.blur import blur
from ..masking.dense import FILLS, DenseFacts, Fill
from .base import Batch, Masking
from .dense import DenseAdapter

_FOR_IMAGES: dict[str, Fill] = {name: FILLS[name] for name in ("uniform", "channel_mean", "constant")} | {"blur": blur}


class ImageAdapter(DenseAdapter):
    """Adapter of a classifier over `pixel_values` (B, C, H, W): a pixel is a feature, and loses all its channels.

    Maskings are `uniform` (random in the range of the sample's channel, the paper's), `channel_mean` (of the sample),
    `constant` (black) and `blur`. What black is after normalising is read off an image processor, or given.

    Args:
        processor: An image processor of transformers, whose `image_mean` and `image_std` are taken; or None.
        black: Value of a black pixel after normalising, one a channel or a number for all, `PixelRecipe.black`. Without
            it and without a processor the masking and the baseline `constant` are refused.
        value_range: See `DenseAdapter`.

    Raises:
        ValueError: The processor does not say how it normalises, and `black` is not given.
    """

    feature_dim = 1
    fills: ClassVar[Mapping[str, Fill]] = _FOR_IMAGES
    kind: ClassVar[str] = "images"

    def __init__(
        self,
        processor: Any = None,
        *,
        black: float | Sequence[float] | None = None,
        value_range: tuple[float | Sequence[float], float | Sequence[float]] | None = None,
    ) -> None:
        if black is None and processor is not None:
            black = _black_of(processor)
        self.knows_black = black is not None
        super().__init__("pixel_values", constant=0.0 if black is None else black, value_range=value_range)

    def rows(self, values: Tensor) -> Tensor:
        """Return the (B, H·W, C) view of the images.

        Raises:
            ValueError: They are no (B, C, H, W) tensor.
        """
        if values.dim() != 4:
            raise ValueError(f"{self.main_input!r} has shape {tuple(values.shape)} instead of (B, C, H, W)")
        return values.flatten(2).transpose(1, 2)

    def unrows(self, rows: Tensor, like: Tensor) -> Tensor:
        """Undo `rows`, in the memory format of `like`."""
        images = rows.transpose(1, 2).reshape(like.shape)
        return images.contiguous(memory_format=_memory_format(like))

    def check(self, *, masking: Masking, granularity: str) -> None:
        """See `Adapter.check`."""
        super().check(masking=masking, granularity=granularity)
        if masking == "constant":
            self._require_black("masking")

    def baseline_features(self, model: nn.Module, name: str, features: Tensor, eligible: Tensor) -> Tensor:
        """See `DenseAdapter.baseline_features`; `constant` is a black image."""
        if name == "constant":
            self._require_black("baseline")
        return super().baseline_features(model, name, features, eligible)

    def collator(self) -> PixelCollator:
        """Return a collator that stacks images and refuses what no model should be given."""
        return PixelCollator()

    def _facts(self, batch: Batch, values: Tensor) -> DenseFacts:
        height, width = batch[self.main_input].shape[2:]
        return replace(super()._facts(batch, values), size=(height, width))

    def _require_black(self, use: str) -> None:
        if not self.knows_black:
            raise ValueError(
                f"{use} 'constant' paints pixels black, and what black is after normalising is not known: "
                "ImageAdapter(processor), or ImageAdapter(black=[-mean / std of each channel])"
            )


def _memory_format(images: Tensor) -> torch.memory_format:
    """Of channels-last images the same; 1-channel images are both, and count as contiguous."""
    last = images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


def _black_of(processor: Any) -> tuple[float, ...] | None:
    """What an image processor makes of a black pixel; None for a processor of something else."""
    normalises = getattr(processor, "do_normalize", None)
    if normalises is None:
        return None
    if not normalises:
        return (0.0,)
    mean, std = getattr(processor, "image_mean", None), getattr(processor, "image_std", None)
    if mean is None or std is None:
        raise ValueError(f"{type(processor).__name__} normalises and names no image_mean and image_std: give black=")
    means, stds = ((value,) if isinstance(value, int | float) else tuple(value) for value in (mean, std))
    return tuple(-m / s for m, s in zip(means, stds, strict=True))
