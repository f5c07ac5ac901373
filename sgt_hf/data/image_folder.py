"""A folder of images, one subfolder a class, as a `datasets` data set."""

from __future__ import annotations

import os
from pathlib import Path

import datasets
from datasets.packaged_modules.imagefolder.imagefolder import ImageFolder

# folder → split, by the words that `datasets` knows
_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}


def _is_split(folder: Path) -> bool:
    """Whether a folder has a split's name and class folders."""
    if folder.name.lower() not in _SPLITS or not folder.is_dir():
        return False
    return any(entry.is_dir() and not _is_hidden(entry) for entry in folder.iterdir())


def _is_hidden(path: Path) -> bool:
    """Whether `datasets` passes over it."""
    return path.name.startswith((".", "__"))


def _problem(path: Path, top: Path) -> str | None:
    """Say why an entry below a folder of classes would not be loaded as an image of its class, if it would not."""
    inside = path.relative_to(top)
    *folders, name = inside.parts
    if any(_is_hidden(Path(folder)) for folder in folders) or name.startswith("."):
        return None
    if path.is_dir():
        linked = path.is_symlink() and not _is_hidden(path)
        return "is a link to a folder, which would be left out: put the folder itself there" if linked else None
    if path.name in ImageFolder.METADATA_FILENAMES:
        return "holds labels of its own, and here folders are the classes: move it away, or use datasets.load_dataset"
    if path.suffix.lower() not in ImageFolder.EXTENSIONS:
        return None
    if len(inside.parts) == 1:  # the folder above an image would be its class
        return "is in no class folder: expected CLASS/NAME.jpg or train/CLASS/NAME.jpg"
    if len(inside.parts) > 2:
        return f"is in a folder within a class, and would be of a class {path.parent.name!r}: expected CLASS/NAME.jpg"
    return None if path.exists() else "is a link to a file that is not there: mend or remove it"


def load_image_folder(folder: str | os.PathLike[str]) -> datasets.DatasetDict:
    """Load a folder of images, one subfolder a class, by `datasets`' `imagefolder`.

    Splits are the folders of that name, in upper or lower case, and no others: `imagefolder` itself would take a class
    called `bullet_train` for a part of the training set, and `Test` for one too.

    Args:
        folder: `train/CLASS/NAME.jpg`, `test/CLASS/NAME.jpg` (and `validation`; or another word for one of them that
            `datasets` knows), or without splits `CLASS/NAME.jpg`.

    Returns:
        Splits with columns `image` and `label`, sorted by class; one called `train` where the folder has none.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: It holds no images in class folders, an image outside of them or deeper within, a link to no file or
            to a folder, a file of metadata, a split twice, or splits one level down; names the file.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder")
    splits = {entry.name: _SPLITS[entry.name.lower()] for entry in sorted(folder.iterdir()) if _is_split(entry)}
    if len(set(splits.values())) < len(splits):
        raise ValueError(f"{folder} holds a split twice: {splits}")
    below = () if splits else folder.rglob("*")
    found_below = next((path for path in below if _is_split(path)), None)
    if found_below is not None:
        raise ValueError(f"{folder} holds splits one level down: pass {found_below.parent}")
    tops = [folder / name for name in splits] or [folder]  # what is beside the splits is not loaded
    found = ((path, _problem(path, top)) for top in tops for path in sorted(top.rglob("*")))
    bad = next(((path, problem) for path, problem in found if problem), None)
    if bad is not None:
        raise ValueError(f"{bad[0]} {bad[1]}")
    files = {split: f"{name}/**" for name, split in splits.items()} or {"train": "**"}
    try:
        loaded = datasets.load_dataset("imagefolder", data_dir=str(folder), data_files=files, drop_labels=False)
    except (datasets.exceptions.DatasetGenerationError, FileNotFoundError, ValueError) as error:  # of no file, no image
        raise ValueError(f"{folder} holds no images that can be loaded ({error})") from error
    classes = next(iter(loaded.values())).features["label"].names
    if not splits and {name.lower() for name in classes} <= set(_SPLITS):
        raise ValueError(f"{folder} has no classes: expected CLASS/NAME.jpg or train/CLASS/NAME.jpg")
    return loaded
