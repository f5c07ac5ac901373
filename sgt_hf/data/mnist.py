"""MNIST as a `datasets` data set: from a folder of idx files, or downloaded from the mirrors torchvision knows."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import aiohttp
import datasets
import numpy as np
import torchvision
from numpy.typing import NDArray
from PIL import Image

from .idx import IdxFormatError, read_idx

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
MIRRORS: tuple[str, ...] = tuple(torchvision.datasets.MNIST.mirrors)
_HIGHEST_LABEL = 255  # as the family's labels are bytes
CHECKSUMS: dict[str, str] = dict(torchvision.datasets.MNIST.resources)  # file name → MD5


def load_mnist(
    folder: str | os.PathLike[str] | None = None, *, mirrors: Iterable[str] = MIRRORS
) -> datasets.DatasetDict:
    """Load MNIST, or any data set of its family in idx files of the same names (Fashion-MNIST, KMNIST).

    Args:
        folder: Holds the four idx files, gzipped or not; None to download MNIST into the cache of `datasets`.
        mirrors: Addresses of folders to download from, tried in order. The files' MD5 sums are verified.

    Returns:
        Splits `train` and `test` with columns `image` (`datasets.Image`, grey) and `label` (`datasets.ClassLabel`, of
        the digits `0` to `9`, or up to the highest label of training where that is above 9).

    Raises:
        FileNotFoundError: The folder or one of its files is missing; the message names it.
        IdxFormatError: A file is damaged or empty, or images and labels do not fit together.
        ConnectionError: No mirror gave a file with the right checksum.
    """
    root = None if folder is None else Path(folder).expanduser()
    if root is not None and not root.is_dir():
        raise FileNotFoundError(f"{root} is no folder: pass the one that holds {FILES['train'][0]}.gz and its kin")
    mirrors = tuple(mirrors)
    splits = datasets.DatasetDict()
    classes = 10
    for split, names in FILES.items():
        paths = [_download(f"{name}.gz", mirrors) if root is None else _find(root, name) for name in names]
        images, labels = _read_split(*paths)
        if split == "train":
            classes = max(classes, min(int(labels.max()), _HIGHEST_LABEL) + 1)
        _check_labels(labels, classes, paths[1])
        splits[split] = digit_rows(images, labels, [str(label) for label in range(classes)], split=split)
    return splits


def digit_rows(
    images: NDArray[np.uint8], labels: NDArray[Any], names: list[str] | None = None, *, split: str | None = None
) -> datasets.Dataset:
    """Make rows of grey images and class labels, the images stored as PNG.

    Args:
        images: (N, H, W) uint8, 0 is black.
        labels: (N,) class indices.
        names: Of the classes; by default the digits `0` to `9`.
        split: The split's name.
    """
    names = [str(digit) for digit in range(10)] if names is None else names
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    encoded = [{"bytes": _png(image), "path": None} for image in images]
    named = None if split is None else datasets.NamedSplit(split)
    return datasets.Dataset.from_dict({"image": encoded, "label": labels.tolist()}, features=features, split=named)


def _read_split(image_file: Path, label_file: Path) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    images, labels = read_idx(image_file), read_idx(label_file)
    if images.ndim != 3 or images.dtype != np.uint8:
        raise IdxFormatError(f"{image_file} holds {images.dtype} {images.shape}, no images: expected uint8 (N, H, W)")
    if not images.size:
        raise IdxFormatError(f"{image_file} holds no pixel: its images have the shape {images.shape}")
    if labels.shape != images.shape[:1]:
        raise IdxFormatError(f"{label_file} holds labels {labels.shape} and {image_file} {len(images)} images")
    if labels.dtype.kind not in "iu":
        raise IdxFormatError(f"{label_file} holds labels of {labels.dtype}, which are no classes: expected integers")
    return images, labels


def _check_labels(labels: NDArray[Any], classes: int, label_file: Path) -> None:
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        found, expected = labels[wrong[0]], f"0 to {classes - 1}"
        raise IdxFormatError(f"{label_file} holds the label {found} at row {wrong[0]}: expected {expected}")


def _find(root: Path, name: str) -> Path:
    for path in (root / f"{name}.gz", root / name):
        if path.is_file():
            return path
    raise FileNotFoundError(f"{root} holds neither {name}.gz nor {name}: pass MNIST's folder, or None to download it")


def _download(name: str, mirrors: tuple[str, ...]) -> Path:
    """Fetch a file into the cache of `datasets`, from the first mirror that has it whole."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)  # limits silence, not slow lines
    config = datasets.DownloadConfig(storage_options={"client_kwargs": {"timeout": timeout}})
    failures = []
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{name}"
        try:
            path = Path(datasets.DownloadManager(download_config=config).download(url))
        except (OSError, aiohttp.ClientError, asyncio.TimeoutError) as error:
            cause = error.__cause__ or error
            failures.append(f"{url} ({type(cause).__name__}: {' '.join(str(cause).split())})")
            continue
        found = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        if found == CHECKSUMS[name]:
            return path
        path.unlink()  # or the next call would find it in the cache
        failures.append(f"{url} (MD5 {found} instead of {CHECKSUMS[name]})")
    raise ConnectionError(
        f"{name} could not be downloaded from {'; '.join(failures) or 'any mirror: none is given'}. Pass the folder "
        "that holds the four files. Where the environment has HF_HUB_OFFLINE=1, HF_DATASETS_OFFLINE=0 allows this"
    )


def _png(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()
