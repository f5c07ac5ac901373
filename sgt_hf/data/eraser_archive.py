"""From an archive to a folder: nothing written outside it, and nothing half-written left behind."""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from sgt_hf.data.eraser_files import EraserFormatError

_DAMAGE = (
    *(tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError),
    *(FileExistsError, NotADirectoryError, IsADirectoryError),  # one name for a file and a folder
)


@contextmanager
def fresh_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes the target when the block ends well, and is removed otherwise.

    The folder is made beside the target, so that it takes the target's name in one step: whoever sees the
    target sees all of it. Where another process was faster, its target stays.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent, ignore_cleanup_errors=True) as room:
        staging = Path(room) / "folder"  # one level down: the temporary one is closed to other users
        staging.mkdir()
        yield staging
        try:
            os.replace(staging, target)
        except OSError:
            if not target.is_dir():
                raise


def extract_archive(archive: Path, folder: Path) -> None:
    """Extract a `.tar.gz` into a folder.

    Only plain files and folders that stay inside the folder are accepted. Owners, permissions and times are
    not taken over. The archive is read to its very end, so that its checksum is verified.

    Args:
        archive: The `.tar.gz`.
        folder: An existing, empty folder.

    Raises:
        EraserFormatError: for a broken or cut archive, and for one with a link, a device or a path that leads
            outside.
    """
    try:
        with gzip.open(archive) as stream:
            with tarfile.open(fileobj=stream, mode="r|") as members:
                for member in members:
                    _extract_member(members, member, archive, folder)
            while stream.read(1 << 20):
                pass
    except EraserFormatError:
        raise
    except (*_DAMAGE, ValueError) as error:  # tarfile lets slip what int() says of a damaged header
        raise EraserFormatError(
            f"{archive} is no readable .tar.gz archive: it is corrupt or cut short ({error}). Fetch it again"
        ) from error


def _extract_member(members: tarfile.TarFile, member: tarfile.TarInfo, archive: Path, folder: Path) -> None:
    path = PurePosixPath(member.name)
    target = folder.joinpath(*path.parts)
    if path.is_absolute() or ".." in path.parts or not target.resolve().is_relative_to(folder.resolve()):
        raise _refusal(archive, member, "leads outside the folder it is extracted to")
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    content = members.extractfile(member) if member.isreg() else None
    if content is None:
        # Links that stay inside would be harmless, but telling them from the others is where extractors fail.
        raise _refusal(archive, member, "is a link or a device, not a file or folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    with content, target.open("wb") as file:
        shutil.copyfileobj(content, file)


def _refusal(archive: Path, member: tarfile.TarInfo, problem: str) -> EraserFormatError:
    return EraserFormatError(
        f"{archive}: the member {member.name!r} {problem}, so nothing was extracted. "
        "Get the archive from a source you trust, or extract it yourself and pass the folder"
    )
