import gzip
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sgt_hf.data.idx import IdxFormatError, read_idx

CODES = {"uint8": 0x08, "int8": 0x09, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D, "float64": 0x0E}


def idx_bytes(array):
    """Written from the format's description, value by value."""
    head = bytes([0, 0, CODES[str(array.dtype)], array.ndim]) + b"".join(struct.pack(">I", n) for n in array.shape)
    letter = {"uint8": "B", "int8": "b", "int16": "h", "int32": "i", "float32": "f", "float64": "d"}[str(array.dtype)]
    return head + b"".join(struct.pack(f">{letter}", value) for value in array.ravel().tolist())


def test_a_file_written_by_hand(tmp_path):
    path = tmp_path / "labels"
    path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    assert read_idx(path).tolist() == [7, 2, 1]
    path.write_bytes(bytes([0, 0, 0x0B, 2, 0, 0, 0, 1, 0, 0, 0, 2, 1, 0, 255, 255]))
    assert read_idx(str(path)).tolist() == [[256, -1]]  # stored big-endian


ARRAYS = st.sampled_from(sorted(CODES)).flatmap(
    lambda kind: arrays.arrays(kind, arrays.array_shapes(max_dims=3, max_side=4))
)


@settings(max_examples=30)
@given(ARRAYS, st.booleans())
def test_what_is_written_is_read(tmp_path_factory, array, zipped):
    path = tmp_path_factory.mktemp("idx") / "values"  # no suffix: the content says that it is gzipped
    content = idx_bytes(array)
    path.write_bytes(gzip.compress(content) if zipped else content)
    found = read_idx(path)
    assert found.dtype == array.dtype
    assert found.flags.writeable
    np.testing.assert_array_equal(found, array)


WHOLE = idx_bytes(np.arange(6, dtype=np.uint8).reshape(2, 3))
ZIPPED = gzip.compress(WHOLE, mtime=0)  # no clock in it: the bytes are the tests' names, which every process must find


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (WHOLE[:-1], r"bad\.idx is cut short: shape \(2, 3\) takes 6 bytes and it has 5"),
        (WHOLE + b"x", r"bad\.idx is too long: shape \(2, 3\) takes 6 bytes and it has 7"),
        (WHOLE[:9], r"bad\.idx is cut short: the sizes of its 2 axes are missing"),
        (b"", r"bad\.idx is no idx file: it starts with ''"),
        (b"\x89PNG....", r"bad\.idx is no idx file: it starts with '89 50 4e 47'"),
        (b"\0\0\x07\x01....", r"bad\.idx is no idx file"),
        (ZIPPED[:-6], r"bad\.idx is no whole gzip file: it is corrupt or cut short"),
        (ZIPPED[:14] + b"????" + ZIPPED[18:], r"bad\.idx is no whole gzip file"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, content, message):
    path = tmp_path / "bad.idx"
    path.write_bytes(content)
    with pytest.raises(IdxFormatError, match=message):
        read_idx(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_idx(tmp_path / "nowhere.gz")
