"""Images to a model's `pixel_values`: decoding, torchvision's transforms; what is wrong is named."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from .other_columns import stack_labels
from .pixels import PixelError, PixelTensors, stack_images

Transform = Callable[[Image.Image], Tensor]

_MODES = {1: "L", 3: "RGB"}
_CONVERTIBLE = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")  # the others hold more than 8 bits


@dataclass(frozen=True)
class PixelRecipe:
    """How a data set's images become `pixel_values`.

    Attributes:
        channels: 1 for grey, 3 for RGB; every image is converted to it.
        mean: One a channel, in [0, 1] of the images' range, subtracted.
        std: One a channel, > 0, divided by.
        size: (height, width) in pixels that every image is resized to, or None to leave it.
        crop_padding: Pixels padded around a training image before a random crop of its own size; 0 for none.
        flip: Whether training images are mirrored at random.

    Example:
        >>> [round(value, 4) for value in PixelRecipe(1, (0.1307,), (0.3081,)).black]
        [-0.4242]
    """

    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: tuple[int, int] | None = None
    crop_padding: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        if self.channels not in _MODES:
            raise ValueError(f"channels must be one of {sorted(_MODES)}, got {self.channels}")
        if not len(self.mean) == len(self.std) == self.channels or min(self.std) <= 0:
            raise ValueError(f"expected {self.channels} means and as many std > 0, got {self.mean} and {self.std}")

    @property
    def black(self) -> tuple[float, ...]:
        """What a black pixel is after normalising, one value a channel."""
        return tuple(-mean / std for mean, std in zip(self.mean, self.std, strict=True))

    def transform(self, *, training: bool = False) -> Transform:
        """Return the image → (C, H, W) float32 transform.

        Args:
            training: Whether to crop and mirror at random, drawing from torch's global generator.
        """
        steps: list[torch.nn.Module] = [v2.ToImage()]
        if self.size is not None:
            steps.append(v2.Resize(self.size, antialias=True))
        if training and self.crop_padding:
            steps.append(_CropOfOwnSize(self.crop_padding))
        if training and self.flip:
            steps.append(v2.RandomHorizontalFlip())
        steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(self.mean), list(self.std))]
        return _Pipeline(_MODES[self.channels], v2.Compose(steps))


@dataclass(frozen=True)
class _Pipeline:
    """No function within a function: workers that are spawned pickle it."""

    mode: str
    steps: v2.Compose

    def __call__(self, image: Image.Image) -> Tensor:
        return self.steps(image.convert(self.mode)).as_subclass(Tensor)


class _CropOfOwnSize(torch.nn.Module):
    """Pads with black and crops back at random, whatever the image's size."""

    def __init__(self, padding: int) -> None:
        super().__init__()
        self.padding = padding

    def forward(self, image: Tensor) -> Tensor:
        return v2.RandomCrop(tuple(image.shape[-2:]), padding=self.padding)(image)


MNIST = PixelRecipe(1, (0.1307,), (0.3081,))
CIFAR10 = PixelRecipe(3, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), crop_padding=4, flip=True)
IMAGENET = PixelRecipe(3, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), size=(224, 224), flip=True)


class PixelDataset(Dataset[dict[str, Any]]):
    """Rows of a `datasets` data set with an `Image` column, decoded and transformed when they are asked for.

    It is no `datasets.Dataset`, so `Trainer` keeps all its columns, and it knows a row's number and file, so that
    errors name them: of images that cannot be read, and of those that cannot make a batch.

    Args:
        rows: With an `Image` column, and usually a label column.
        transform: Image → (C, H, W) float tensor, such as `PixelRecipe.transform`, or any of torchvision's v2. It is
            given what `datasets` decodes: upright by its EXIF orientation, and in the `mode` of the `Image` column.
        image_column: Its name.
        label_column: Its name, or None where there are no labels.

    Raises:
        ValueError: A column is missing, or the image column is of another type.
    """

    def __init__(
        self,
        rows: datasets.Dataset,
        transform: Transform,
        *,
        image_column: str = "image",
        label_column: str | None = "label",
    ) -> None:
        missing = sorted({image_column, *filter(None, [label_column])} - set(rows.column_names))
        if missing:
            raise ValueError(f"the data set has no columns {missing}, only {rows.column_names}")
        if not isinstance(rows.features[image_column], datasets.Image):
            raise ValueError(
                f"column {image_column!r} is {rows.features[image_column]}, no images: cast it, "
                f"dataset.cast_column({image_column!r}, datasets.Image())"
            )
        self.mode = rows.features[image_column].mode
        self.rows = rows.cast_column(image_column, datasets.Image(mode=self.mode, decode=False))
        self.transform = transform
        self.image_column = image_column
        self.label_column = label_column

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Return several rows, as a `DataLoader` asks for a batch.

        Raises:
            ValueError: An image cannot be read or transformed, or the images cannot make a batch; names row and file.
        """
        made = self._transformed(indices)
        stack_images([row["pixel_values"] for row in made], lambda position: self._name(indices[position]))
        return made

    def preloaded(self) -> PixelTensors:
        """Return all rows decoded and transformed once: for a transform without randomness, and images of one size.

        Raises:
            ValueError: An image cannot be read or transformed, or the images cannot make a batch; names row and file.
        """
        made: list[dict[str, Any]] = []
        for start in range(0, len(self), 1000):  # no more than these encoded images are in memory at once
            made += self._transformed(range(start, min(start + 1000, len(self))))
        pixels = stack_images([row["pixel_values"] for row in made], self._name)
        labels = stack_labels([row["labels"] for row in made]) if self.label_column is not None else None
        return PixelTensors(pixels, labels)

    def _transformed(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        columns = self.rows[list(indices)]
        entries = zip(indices, columns[self.image_column], strict=True)
        made = [{"pixel_values": self._pixels(index, entry)} for index, entry in entries]
        if self.label_column is None:
            return made
        labels = columns[self.label_column]
        for index, label in zip(indices, labels, strict=True):
            if label is None:
                raise ValueError(f"{self._name(index)} has no {self.label_column!r}: leave such rows out, filter(...)")
        return [row | {"labels": label} for row, label in zip(made, labels, strict=True)]

    def _pixels(self, index: int, entry: Mapping[str, Any] | None) -> Tensor:
        image = decode_image(entry, f"row {index}", mode=self.mode, split=self.rows.split)
        try:
            return self.transform(image)
        except Exception as error:  # of any kind: it is the user's
            name = _named(f"row {index}", entry, self.rows.split)
            message = f"{name}: the transform fails on it, an image of mode {image.mode!r} and size {image.size}"
            raise PixelError(f"{message} ({error!r})") from error

    def _name(self, index: int) -> str:
        return _named(f"row {index}", self.rows[index][self.image_column], self.rows.split)


def decode_image(
    entry: Mapping[str, Any] | None, where: str, *, mode: str | None = None, split: str | None = None
) -> Image.Image:
    """Open the entry of an undecoded `Image` column as `datasets` would: upright by its EXIF orientation.

    Args:
        entry: `bytes`, or a `path` to read them from.
        where: Names the row in errors.
        mode: Pillow's, which the image is converted to; None to leave it.
        split: Names the data set in errors where the entry has no path.

    Raises:
        ValueError: It is null, no readable image, too large, or one of more than 8 bits a channel; names row and file.
    """
    name = _named(where, entry, split)
    path, content = (entry.get("path"), entry.get("bytes")) if entry else (None, None)
    if path is None and content is None:
        raise ValueError(f"{name} has no image: leave such rows out, dataset.filter(...)")
    try:
        image = Image.open(io.BytesIO(content) if content is not None else str(path))
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
    except FileNotFoundError:
        raise ValueError(f"{name}: there is no such file") from None
    except Image.DecompressionBombError as error:
        raise ValueError(f"{name} is too large ({error}): shrink it, or raise PIL.Image.MAX_IMAGE_PIXELS") from error
    except UnidentifiedImageError:  # whose message holds an address in memory where there is no path
        raise ValueError(f"{name} is no readable image (of no format that Pillow knows): repair or remove it") from None
    except Exception as error:  # of Pillow's readers: OSError, SyntaxError, RuntimeError, NotImplementedError, …
        raise ValueError(f"{name} is no readable image ({error}): repair or remove it") from error
    if image.mode not in _CONVERTIBLE:
        raise ValueError(f"{name} has mode {image.mode!r}, not 8 bits a channel: convert it to 'L' or 'RGB' yourself")
    return image if mode in (None, image.mode) else image.convert(mode)


def _named(where: str, entry: Mapping[str, Any] | None, split: str | None) -> str:
    """Add the entry's file, or else the split of its data set, where either is known."""
    home = (entry.get("path") if entry else None) or (f"split {str(split)!r}" if split else None)
    return f"{where} ({home})" if home else where
