"""A folder of images, one subfolder a class, as a `datasets` data set."""

from __future__ import annotations

import os
from pathlib import Path

import datasets

# folder → split, by the words that `datasets` knows
_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}


def _holds_folders(folder: Path) -> bool:
    return folder.is_dir() and any(entry.is_dir() for entry in folder.iterdir())


def load_image_folder(folder: str | os.PathLike[str]) -> datasets.DatasetDict:
    """Load a folder of images, one subfolder a class, by `datasets`' `imagefolder`.

    Splits are the folders of that name and no others: `imagefolder` itself would take a class called `bullet_train` for
    a part of the training set.

    Args:
        folder: `train/CLASS/NAME.jpg`, `test/CLASS/NAME.jpg` (and `validation`; or another word for one of them that
            `datasets` knows), or without splits `CLASS/NAME.jpg`.

    Returns:
        Splits with columns `image` and `label`, sorted by class; one called `train` where the folder has none.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: It holds no images in class folders, a split twice, or splits one level down.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder")
    splits = {name: split for name, split in _SPLITS.items() if _holds_folders(folder / name)}
    if len(set(splits.values())) < len(splits):
        raise ValueError(f"{folder} holds a split twice: {splits}")
    below = () if splits else folder.rglob("*")
    found_below = next((path for path in below if path.name in _SPLITS and _holds_folders(path)), None)
    if found_below is not None:
        raise ValueError(f"{folder} holds splits one level down: pass {found_below.parent}")
    files = {split: f"{name}/**" for name, split in splits.items()} or {"train": "**"}
    try:
        found = datasets.load_dataset("imagefolder", data_dir=str(folder), data_files=files, drop_labels=False)
    except (datasets.exceptions.DatasetGenerationError, FileNotFoundError, ValueError) as error:  # of no file, no image
        raise ValueError(f"{folder} holds no images that can be loaded ({error})") from error
    classes = next(iter(found.values())).features["label"].names
    if set(classes) <= {folder.name, *_SPLITS}:  # the folder above an image is its class
        raise ValueError(f"{folder} has no classes: expected CLASS/NAME.jpg or train/CLASS/NAME.jpg")
    return found
