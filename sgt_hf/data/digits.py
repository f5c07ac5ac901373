"""scikit-learn's 8 × 8 digits, which ship with it: images without a download."""

from __future__ import annotations

import datasets
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from .images import PixelRecipe
from .mnist import digit_rows

DIGITS = PixelRecipe(1, (0.3055,), (0.3760,))  # mean and deviation of the training split
_TEST = 360  # of 1,797


def load_bundled_digits() -> datasets.DatasetDict:
    """Load 1,797 handwritten digits of 8 × 8 pixels, split once and for all, classes in the same proportion.

    Returns:
        Splits `train` (1,437) and `test` (360) with columns `image` (grey) and `label`.
    """
    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)  # 17 levels of grey
    labels = bunch.target.astype(np.uint8)
    train, test = train_test_split(np.arange(len(labels)), test_size=_TEST, random_state=0, stratify=labels)
    return datasets.DatasetDict(
        {name: digit_rows(images[rows], labels[rows], split=name) for name, rows in (("train", train), ("test", test))}
    )
