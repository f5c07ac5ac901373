"""Files that are there whole or not at all, whenever the process dies."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

# `Trainer` and `hf upload` leave what begins so out of a push, and so does ours.
_STAGING_PREFIX = "_saving-"
# Weights and optimizer states: large, and replaced or removed as a whole, never written on.
_WRITTEN_ONCE = (".safetensors", ".bin", ".pt", ".pth", ".distcp")
_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors|model\.safetensors(\.index\.json)?")


def write_atomically(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write a file.

    Args:
        path: Target; its folder is made. A symbolic link stays one, and a pipe or a device is written to as it is.
        content: Bytes, or a text, written as UTF-8.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    target = Path(path)
    if target.exists() and not target.is_file():
        target.write_bytes(data)
        return
    target = Path(os.path.realpath(target))
    with filled_folder(target.parent) as staging:
        (staging / target.name).write_bytes(data)


def copy_atomically(
    source: str | os.PathLike[str], target: str | os.PathLike[str], *, leave_out: re.Pattern[str]
) -> None:
    """Copy a folder's files over those of another.

    Args:
        source: Folder; what lies in folders below is not copied.
        target: Folder; it is made.
        leave_out: Matches the names, from their beginning, that are not copied.
    """
    with filled_folder(target) as staging:
        for file in Path(source).iterdir():
            if file.is_file() and not leave_out.match(file.name):
                shutil.copy(file, staging / file.name)


def link_or_copy(source: str | os.PathLike[str], target: str | os.PathLike[str], *, leave_out: Iterable[str]) -> None:
    """Keep what a folder holds now in another one, whatever becomes of the first; large files take no second room.

    Args:
        source: Folder, with those below it.
        target: Folder, on the same file system where large files are to be hard links.
        leave_out: Patterns, as of `fnmatch`, of what is not kept; they match names in `source` itself.
    """
    for entry in Path(source).iterdir():
        if any(fnmatch(entry.name, pattern) for pattern in leave_out):
            continue
        for file in [entry, *entry.rglob("*")]:
            if file.is_file():
                kept = Path(target) / file.relative_to(source)
                kept.parent.mkdir(parents=True, exist_ok=True)
                _link_or_copy(file.resolve(), kept)


def _link_or_copy(source: Path, target: Path) -> None:
    if source.suffix in _WRITTEN_ONCE:
        try:
            os.link(source, target)
            return
        except OSError:
            pass  # a file system without hard links, or another one
    shutil.copy(source, target)


@contextmanager
def filled_folder(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty folder, the files of which replace those of `target` when the context ends well.

    Each file is replaced at once; a crash in between leaves old and new whole files beside each other. Weights of an
    earlier save in other shards are removed, as `save_pretrained` would.

    Args:
        target: Folder; it is made.
    """
    folder = Path(target)
    folder.mkdir(parents=True, exist_ok=True)
    # Inside of the target, so that replacing stays within one file system.
    with tempfile.TemporaryDirectory(prefix=_STAGING_PREFIX, dir=folder) as room:
        staging = Path(room)
        yield staging
        files = sorted(path.relative_to(staging) for path in staging.rglob("*") if path.is_file())
        for file in files:
            _flush(staging / file)
        for file in files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            os.replace(staging / file, folder / file)
    new = {file.name for file in files}
    if any(_SHARD.fullmatch(name) for name in new):
        for old in folder.iterdir():
            if _SHARD.fullmatch(old.name) and old.name not in new:
                old.unlink()


def _flush(path: Path) -> None:
    """Bring a file to the disk, so that a power cut cannot leave an empty one under the final name."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
