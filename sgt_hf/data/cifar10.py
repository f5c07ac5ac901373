"""CIFAR-10 from parquet files with an `Image` column."""

from __future__ import annotations

import os
from pathlib import Path

import datasets

CLASSES = "airplane automobile bird cat deer dog frog horse ship truck".split()
_FILES = {"train": "train.parquet", "test": "test.parquet"}


def load_cifar10(folder: str | os.PathLike[str]) -> datasets.DatasetDict:
    """Load CIFAR-10 from `train.parquet` and `test.parquet`.

    Args:
        folder: Holds the two files, each with the columns `image` (encoded bytes) and `label` (0 to 9).

    Returns:
        Splits `train` and `test` with columns `image` and `label`.

    Raises:
        FileNotFoundError: A file is missing; the message names it.
        ValueError: A file is no parquet of those columns, has no rows, or a label is not from 0 to 9.
    """
    folder = Path(folder).expanduser()
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=CLASSES)})
    splits = {}
    for split, name in _FILES.items():
        path = folder / name
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist: pass the folder with {' and '.join(_FILES.values())}")
        try:
            named = datasets.NamedSplit(split)
            splits[split] = datasets.Dataset.from_parquet(str(path), split=named, features=features)
        except (datasets.exceptions.DatasetGenerationError, ValueError) as error:  # ValueError: it has no rows
            cause = error.__cause__ or error
            raise ValueError(f"{path} is no parquet file of images and labels from 0 to 9 ({cause})") from error
        for row, label in enumerate(splits[split]["label"]):
            if label is None or not 0 <= label < len(CLASSES):
                raise ValueError(f"{path}, row {row}: the label is {label}, and should be from 0 to 9")
    return datasets.DatasetDict(splits)
