"""A small MNIST: four idx files of a few images."""

import gzip
import struct

import numpy as np

from sgt_hf.data.mnist import FILES


def small_mnist(folder, *, train=12, test=6, zipped=True, seed=0):
    """Write it; returns images and labels by split."""
    draw = np.random.default_rng(seed)
    written = {}
    for (split, (image_name, label_name)), count in zip(FILES.items(), (train, test), strict=True):
        images = draw.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        written[split] = images, labels
        for name, array in ((image_name, images), (label_name, labels)):
            content = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
            path = folder / (f"{name}.gz" if zipped else name)
            path.write_bytes(gzip.compress(content) if zipped else content)
    return written
