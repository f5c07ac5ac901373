"""Where an ERASER data set comes from: the user's folder or archive, the environment, the official archive.

Two environment variables are the project's own convention: `SGT_HF_ERASER_DIR` is a folder that holds one
folder for each data set, `SGT_HF_ERASER_URL` the address to fetch `<name>.tar.gz` from in place of the official
one.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from pathlib import Path

import aiohttp
from datasets import DownloadConfig, DownloadManager

from sgt_hf.data.eraser_archive import extract_archive, fresh_folder
from sgt_hf.data.eraser_files import EraserFormatError
from sgt_hf.data.planted import PLANTED_VERSION, write_planted

ERASER_URL = "https://www.eraserbenchmark.com/zipped"

SPLIT_FILES = {"train": "train.jsonl", "validation": "val.jsonl", "test": "test.jsonl"}

_ARCHIVE_SUFFIXES = (".tar.gz", ".tgz")
_OWN_NAMES = ("movies", "fever", "esnli", "planted")  # never taken for a folder of the working directory


def find_folder(name: str | os.PathLike[str], data_dir: str | os.PathLike[str] | None, cache: Path) -> tuple[str, Path]:
    """Find or fetch a data set.

    Args:
        name: The data set's name, or the path of its folder or archive.
        data_dir: The data set's folder, the folder around it, or its archive.
        cache: Where downloads and extracted archives go.

    Returns:
        The data set's bare name (of a path: its last part, without `.tar.gz`) and the folder with its splits.

    Raises:
        FileNotFoundError: if a folder or archive that was named does not exist.
        ConnectionError: if the archive cannot be downloaded.
        EraserFormatError: if a folder or archive holds no split, or an archive is corrupt or unsafe.
        ValueError: if the name is a path while `data_dir` is given too, or is neither a name nor a path.
    """
    is_path = _is_path(name)
    if is_path and data_dir is not None:
        raise ValueError(f"Both name={os.fspath(name)!r} and {data_dir=} are paths. Pass one of them")
    path = Path(name if data_dir is None else data_dir).expanduser()
    bare = _bare_name(path) if is_path else os.fspath(name)
    if is_path or data_dir is not None:
        return bare, _given(path, bare, cache)
    found = _from_environment(bare)
    if found is None:
        found = _planted(cache) if bare == "planted" else _official(bare, cache)
    return bare, found


def _is_path(name: str | os.PathLike[str]) -> bool:
    text = os.fspath(name)
    if not isinstance(name, str) or os.path.basename(text) != text or text.endswith(_ARCHIVE_SUFFIXES):
        return True
    return text not in _OWN_NAMES and os.path.isdir(text)


def _bare_name(path: Path) -> str:
    name = path.resolve().name
    for suffix in _ARCHIVE_SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def _given(path: Path, name: str, cache: Path) -> Path:
    if path.is_dir():
        for folder in (path, path / name):
            if _has_split(folder):
                return folder
        raise EraserFormatError(
            f"Neither {path} nor {path / name} holds a split ({', '.join(SPLIT_FILES.values())}). "
            "Pass the folder with the splits, or the folder around it under the data set's name"
        )
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist. Pass a folder in ERASER's layout or its .tar.gz")
    with path.open("rb") as archive:
        content = hashlib.sha256(archive.read()).hexdigest()
    return _extracted(path, cache / f"{name}-{content[:16]}")


def _from_environment(name: str) -> Path | None:
    parent = os.environ.get("SGT_HF_ERASER_DIR")
    if not parent:
        return None
    folder = Path(parent).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"SGT_HF_ERASER_DIR={parent} is no folder. Correct the variable or unset it")
    return folder / name if _has_split(folder / name) else None


def _planted(cache: Path, seed: int = 0) -> Path:
    target = cache / f"planted-v{PLANTED_VERSION}-seed{seed}"
    if not target.is_dir():
        with fresh_folder(target) as folder:
            write_planted(folder, seed=seed)
    return target


def _official(name: str, cache: Path) -> Path:
    if not re.fullmatch(r"\w[\w.-]*", name, flags=re.ASCII):
        raise ValueError(f"{name!r} is neither the name of a data set nor an existing folder or archive")
    url = f"{(os.environ.get('SGT_HF_ERASER_URL') or ERASER_URL).rstrip('/')}/{name}.tar.gz"
    target = cache / f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:16]}"
    if target.is_dir():
        return _data_folder(target, url)
    downloads = cache / "downloads"
    archive = _download(url, downloads)
    try:
        return _extracted(archive, target)
    except EraserFormatError as error:
        if archive.is_relative_to(downloads):  # a file:// address is answered with the user's own file
            archive.unlink(missing_ok=True)
        raise EraserFormatError(
            f"{url} was downloaded and is not usable: {error}. The downloaded file was removed, so the next call "
            "fetches it again; or pass data_dir= or set SGT_HF_ERASER_DIR"
        ) from error


def _download(url: str, folder: Path) -> Path:
    # aiohttp allows a whole download five minutes, which cuts it on slow lines: limit the silence instead.
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)
    config = DownloadConfig(
        cache_dir=folder,
        resume_download=True,
        storage_options={"client_kwargs": {"timeout": timeout}},
    )
    try:
        return Path(DownloadManager(download_config=config).download(url))
    except (OSError, aiohttp.ClientError, asyncio.TimeoutError) as error:
        cause = error.__cause__ or error  # fsspec makes a refused connection a FileNotFoundError
        reason = " ".join(str(cause).split())  # aiohttp breaks its lines
        raise ConnectionError(
            f"{url} could not be downloaded ({type(cause).__name__}: {reason}). Nothing was kept: call again, or "
            "pass data_dir= (a folder or .tar.gz in ERASER's layout) or set SGT_HF_ERASER_DIR. Bundled is 'planted'; "
            "ERASER's own are 'movies', 'fever', 'esnli' and others of its archive. Where the "
            "environment has HF_HUB_OFFLINE=1, HF_DATASETS_OFFLINE=0 allows this download"
        ) from error


def _extracted(archive: Path, target: Path) -> Path:
    if not target.is_dir():
        with fresh_folder(target) as folder:
            extract_archive(archive, folder)
            _data_folder(folder, str(archive))  # an archive without a data set must not become the target
    return _data_folder(target, str(archive))


def _data_folder(root: Path, source: str) -> Path:
    """Return the one folder with splits at or below the root."""
    folders = {path.parent for file in SPLIT_FILES.values() for path in root.rglob(file)}
    if len(folders) != 1:
        raise EraserFormatError(
            f"{source} holds {len(folders)} folders with splits ({', '.join(SPLIT_FILES.values())}) instead of "
            "one. Pass the folder or the archive of a single data set"
        )
    return folders.pop()


def _has_split(folder: Path) -> bool:
    return any((folder / file).is_file() for file in SPLIT_FILES.values())
