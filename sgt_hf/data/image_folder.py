"""A folder of images, one subfolder a class, as a `datasets` data set."""

from __future__ import annotations

import os
from pathlib import Path

import datasets

_SPLITS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}  # folder → split


def _holds_folders(folder: Path) -> bool:
    return folder.is_dir() and any(entry.is_dir() for entry in folder.iterdir())


def load_image_folder(folder: str | os.PathLike[str]) -> datasets.DatasetDict:
    """Load a folder of images, one subfolder a class, by `datasets`' `imagefolder`.

    Splits are the folders of that name and no others: `imagefolder` itself would take a class called `bullet_train` for
    a part of the training set.

    Args:
        folder: `train/CLASS/NAME.jpg`, `test/CLASS/NAME.jpg` (and `validation` or `val`), or without splits
            `CLASS/NAME.jpg`.

    Returns:
        Splits with columns `image` and `label`, sorted by class; one called `train` where the folder has none.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: It holds no images in class folders.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder")
    splits = {name: split for name, split in _SPLITS.items() if _holds_folders(folder / name)}
    files = {split: f"{name}/**" for name, split in splits.items()} or {"train": "**"}
    try:
        found = datasets.load_dataset("imagefolder", data_dir=str(folder), data_files=files, drop_labels=False)
    except (datasets.exceptions.DatasetGenerationError, FileNotFoundError, ValueError) as error:  # of no file, no image
        raise ValueError(f"{folder} holds no images that can be loaded ({error})") from error
    classes = next(iter(found.values())).features["label"].names
    if set(classes) <= {folder.name, *_SPLITS}:  # the folder above an image is its class
        raise ValueError(f"{folder} has no classes: expected CLASS/NAME.jpg or train/CLASS/NAME.jpg")
    return found
