"""Images: ranks pixels, whose channels share fate, and masks them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from transformers import BaseImageProcessor

from ..data.pixels import PixelCollator
from ..masking.blur import blur
from ..masking.dense import FILLS, DenseFacts, Fill
from .base import Batch, Masking, base_of
from .dense import DenseAdapter

_FOR_IMAGES: dict[str, Fill] = {name: FILLS[name] for name in ("uniform", "channel_mean", "constant")} | {"blur": blur}


class ImageAdapter(DenseAdapter):
    """Adapter of a classifier over `pixel_values` (B, C, H, W): a pixel is a feature, and loses all its channels.

    Maskings are `uniform` (random in the range of the sample's channel, the paper's), `channel_mean` (of the sample),
    `constant` (black) and `blur`. What black is after normalising is read off an image processor, or given.

    Args:
        processor: An image processor of transformers, which is run on a black image; or None.
        black: Value of a black pixel after normalising, one a channel or a number for all, `PixelRecipe.black`. Without
            it and without a processor the masking and the baseline `constant` are refused.
        value_range: See `DenseAdapter`.

    Raises:
        ValueError: The processor does not make one value a channel of a black image, and `black` is not given; or
            `black` or `value_range` is not finite, or the range not from low to high in every channel.
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
        if black is not None:
            _numbers("black", black)
        if value_range is not None:
            _refuse_range(value_range)
        self.black = black
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
        facts, channels = super()._facts(batch, values), values.shape[2]
        for end in (facts.low, facts.high):
            if end is not None and end.numel() not in (1, channels):
                raise ValueError(
                    f"value_range has {end.numel()} values a side, and the images have {channels} channel(s): give one "
                    "a channel, or one for all"
                )
        return replace(facts, size=(height, width))

    def _require_black(self, use: str) -> None:
        if self.black is None:
            raise ValueError(
                f"{use} 'constant' paints pixels black, and what black is after normalising is not known: "
                "ImageAdapter(processor), or ImageAdapter(black=[-mean / std of each channel])"
            )


def channels_of(model: nn.Module) -> int | None:
    """Return how many channels a model's images have, or None where its configuration does not tell.

    Args:
        model: Any module; only one with a `config.num_channels` tells.
    """
    channels = getattr(getattr(base_of(model), "config", None), "num_channels", None)
    return channels if isinstance(channels, int) else None


def refuse_channels(images: Tensor, expected: int | None) -> None:
    """Raise where images have other channels than the model's: many a model fails on them without a number.

    Args:
        images: (B, C, H, W)
        expected: What `channels_of` tells; None for any.

    Raises:
        ValueError: C is another number.
    """
    if expected is None or images.dim() != 4 or images.shape[1] == expected:
        return
    channels = images.shape[1]
    raise ValueError(
        f"the images have {channels} channels, (B, C, H, W) being {tuple(images.shape)}, and the model takes "
        f"{expected}: convert them, PixelRecipe(channels={expected}, …), or build it with num_channels={channels}"
    )


def _numbers(name: str, setting: float | Sequence[float]) -> Tensor:
    """Return a number, or one a channel, as a tensor, or say that it is neither."""
    try:
        values = torch.as_tensor(setting, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} must be a finite number, or one a channel, got {setting!r}") from error
    if values.dim() > 1 or not len(values.reshape(-1)) or not values.isfinite().all():
        raise ValueError(f"{name} must be a finite number, or one a channel, got {setting}")
    return values


def _refuse_range(value_range: tuple[float | Sequence[float], float | Sequence[float]]) -> None:
    if not isinstance(value_range, Sequence) or len(value_range) != 2:
        raise ValueError(f"value_range must be (low, high), got {value_range}")
    low, high = (_numbers("each side of value_range", side) for side in value_range)
    if low.dim() == high.dim() == 1 and len(low) != len(high):
        raise ValueError(f"value_range has {len(low)} values for low and {len(high)} for high: give one a channel each")
    if (low > high).any():
        raise ValueError(f"value_range must be (low, high) with low ≤ high in every channel, got {value_range}")


def _memory_format(images: Tensor) -> torch.memory_format:
    """Of channels-last images the same; 1-channel images are both, and count as contiguous."""
    last = images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


def _black_of(processor: Any) -> tuple[float, ...] | None:
    """What an image processor makes of black, one value where all channels agree; None for a processor of other data.

    It is run on a black image, since its mean and standard deviation need not tell: some normalise twice, or put blue
    first.
    """
    normalises, mean = getattr(processor, "do_normalize", None), getattr(processor, "image_mean", None)
    if normalises is None and not isinstance(processor, BaseImageProcessor):
        return None
    if normalises and (mean is None or getattr(processor, "image_std", None) is None):
        raise ValueError(f"{type(processor).__name__} normalises and names no image_mean and image_std: give black=")
    pixels = _black_image(processor, 3 if mean is None or isinstance(mean, int | float) else len(mean))
    low, high = pixels.float().transpose(0, 1).flatten(1).aminmax(dim=1)
    if not torch.allclose(low, high, rtol=0.0, atol=1e-4):
        raise ValueError(
            f"{type(processor).__name__} makes {low.tolist()} to {high.tolist()} of a black image's channels, as where "
            "padding follows normalising: give ImageAdapter(black=...)"
        )
    black = high.tolist()
    return tuple(black[:1] if len(set(black)) == 1 else black)


def _black_image(processor: Any, channels: int) -> Tensor:
    """(1, C, H, W) of a small black image, processed."""
    image = np.zeros((32, 32, channels), dtype=np.uint8)
    layout = {} if channels in (1, 3) else {"input_data_format": "channels_last"}  # which is not guessed
    try:
        pixels = processor(images=image, return_tensors="pt", **layout)["pixel_values"]
    except Exception as error:
        raise ValueError(
            f"{type(processor).__name__} cannot process a black image ({error!r}): give ImageAdapter(black=...)"
        ) from error
    if not isinstance(pixels, Tensor) or pixels.dim() != 4:
        raise ValueError(
            f"{type(processor).__name__} makes no (B, C, H, W) tensor of a black image: give ImageAdapter(black=...)"
        )
    return pixels
