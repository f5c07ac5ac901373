"""The idx format of the MNIST family: a magic number, the sizes, and the values in row-major order.

References:
    LeCun, Cortes, Burges. The MNIST database of handwritten digits, "File formats".
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# third byte of the magic number → type; more than one byte is stored big-endian
_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


class IdxFormatError(ValueError):
    """A file that is not what the idx format says."""


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read an idx file, plain or gzipped (told by its content, not by its name).

    Args:
        path: The file, such as `train-images-idx3-ubyte.gz`.

    Returns:
        The array, in the machine's byte order, writable.

    Raises:
        FileNotFoundError: There is no such file.
        IdxFormatError: The file is damaged, cut short, too long, or no idx file; the message says which.
    """
    path = Path(path)
    content = _content(path)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _TYPES or not content[3]:
        first = content[:4].hex(" ")
        raise IdxFormatError(f"{path} is no idx file: it starts with {first!r}, not with 00 00, type, axes")
    axes = content[3]
    start = 4 + 4 * axes
    if len(content) < start:
        raise IdxFormatError(f"{path} is cut short: the sizes of its {axes} axes are missing")
    shape = struct.unpack(f">{axes}I", content[4:start])
    kind = np.dtype(_TYPES[content[2]])
    expected = math.prod(shape) * kind.itemsize
    found = len(content) - start
    if found != expected:
        wrong = "cut short" if found < expected else "too long"
        raise IdxFormatError(f"{path} is {wrong}: shape {shape} takes {expected} bytes and it has {found}")
    return np.frombuffer(content, kind, offset=start).reshape(shape).astype(kind.newbyteorder("="))


def _content(path: Path) -> bytes:
    content = path.read_bytes()
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise IdxFormatError(f"{path} is no whole gzip file: it is corrupt or cut short ({error})") from error
