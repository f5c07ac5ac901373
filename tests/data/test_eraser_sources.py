from __future__ import annotations

import io
import socket
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest

from sgt_hf.data.eraser import load_eraser
from sgt_hf.data.eraser_archive import fresh_folder
from sgt_hf.data.eraser_files import EraserFormatError
from tests.data.archive_server import ArchiveServer, serve_archive
from tests.data.eraser_folder import DOCUMENTS, pack, rows, write_eraser


@pytest.fixture(autouse=True)
def no_user_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SGT_HF_ERASER_DIR", raising=False)
    monkeypatch.delenv("SGT_HF_ERASER_URL", raising=False)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_eraser(tmp_path / "tiny", rows(), DOCUMENTS)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ArchiveServer]:
    with serve_archive() as served:
        monkeypatch.setenv("SGT_HF_ERASER_URL", served.address)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield served


def ids(loaded: Any) -> list[list[str]]:
    return [list(shown["annotation_id"]) for shown in loaded.values()]


ALL_IDS = [["r1", "r2"], ["c.txt"], ["r3"]]


def test_own_folder_parent_and_path_are_the_same(tmp_path: Path, tiny: Path, cache: Path) -> None:
    assert ids(load_eraser("tiny", tiny, cache_dir=cache)) == ALL_IDS
    assert ids(load_eraser("tiny", str(tmp_path), cache_dir=cache)) == ALL_IDS
    assert ids(load_eraser(str(tiny), cache_dir=cache)) == ALL_IDS


def test_relative_paths(tmp_path: Path, tiny: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert ids(load_eraser("tiny", cache_dir=cache)) == ALL_IDS
    monkeypatch.chdir(tiny)
    assert ids(load_eraser(".", cache_dir=cache)) == ALL_IDS


def test_archive(tmp_path: Path, tiny: Path, cache: Path) -> None:
    archive = tmp_path / "packed.tar.gz"
    archive.write_bytes(pack(tiny, "data/inner"))
    assert ids(load_eraser(archive, cache_dir=cache)) == ALL_IDS
    assert ids(load_eraser("packed", archive, cache_dir=cache)) == ALL_IDS
    (tiny / "test.jsonl").unlink()
    archive.write_bytes(pack(tiny, "data/inner"))  # the same name with other content is another archive
    with pytest.raises(EraserFormatError, match=r"lacks test\.jsonl"):
        load_eraser(archive, cache_dir=cache)


def test_environment_variable(tmp_path: Path, tiny: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SGT_HF_ERASER_DIR", str(tmp_path))
    assert ids(load_eraser("tiny", cache_dir=cache)) == ALL_IDS
    monkeypatch.setenv("SGT_HF_ERASER_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"SGT_HF_ERASER_DIR=.*nowhere is no folder"):
        load_eraser("tiny", cache_dir=cache)


def test_default_cache_is_that_of_datasets(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "home")
    load_eraser(tiny)
    assert len(list((tmp_path / "home" / "sgt_hf" / "tables").iterdir())) == 1


def test_wrong_paths_are_refused(tmp_path: Path, tiny: Path, cache: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist\. Pass a folder"):
        load_eraser("tiny", tmp_path / "nowhere", cache_dir=cache)
    with pytest.raises(FileNotFoundError, match=r"x\.tar\.gz does not exist"):
        load_eraser("x.tar.gz", cache_dir=cache)
    with pytest.raises(EraserFormatError, match=r"Neither .*docs nor .*docs/tiny holds a split"):
        load_eraser("tiny", tiny / "docs", cache_dir=cache)
    with pytest.raises(ValueError, match=r"Both name=.* are paths\. Pass one of them"):
        load_eraser(tiny, tmp_path, cache_dir=cache)
    with pytest.raises(ValueError, match=r"'what\?' is neither the name of a data set nor an existing folder"):
        load_eraser("what?", cache_dir=cache)


def test_planted_is_generated_once(cache: Path) -> None:
    first = load_eraser("planted", cache_dir=cache)
    assert list(first) == ["train", "validation", "test"]
    assert all(any(rationale) for rationale in first["test"]["rationale"])
    folders = [path for path in cache.iterdir() if path.name.startswith("planted-")]
    assert len(folders) == 1
    assert "seed0" in folders[0].name
    written = (folders[0] / "train.jsonl").stat().st_mtime_ns
    assert load_eraser("planted", cache_dir=cache)["test"].to_list() == first["test"].to_list()
    assert (folders[0] / "train.jsonl").stat().st_mtime_ns == written


def test_download_once(tiny: Path, cache: Path, server: ArchiveServer) -> None:
    server.content = pack(tiny, "movies")
    assert ids(load_eraser("movies", cache_dir=cache)) == ALL_IDS
    assert server.gets == ["/zipped/movies.tar.gz"]
    server.content = None
    assert ids(load_eraser("movies", cache_dir=cache)) == ALL_IDS
    assert len(server.gets) == 1


def test_environment_goes_before_the_download(
    tmp_path: Path, tiny: Path, cache: Path, server: ArchiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SGT_HF_ERASER_DIR", str(tmp_path))
    server.content = pack(tiny, "boolq")
    load_eraser("tiny", cache_dir=cache)
    assert not server.gets
    assert ids(load_eraser("boolq", cache_dir=cache)) == ALL_IDS  # not in the folder, so fetched
    assert server.gets == ["/zipped/boolq.tar.gz"]


def test_cut_connection(tiny: Path, cache: Path, server: ArchiveServer) -> None:
    server.content = pack(tiny, "movies")
    server.cut_after = len(server.content) // 2
    with pytest.raises(ConnectionError, match=r"movies\.tar\.gz could not be downloaded .*call again"):
        load_eraser("movies", cache_dir=cache)
    server.cut_after = None
    assert ids(load_eraser("movies", cache_dir=cache)) == ALL_IDS


def test_not_found(tiny: Path, cache: Path, server: ArchiveServer) -> None:
    with pytest.raises(ConnectionError, match=r"could not be downloaded .*404.*data_dir="):
        load_eraser("movies", cache_dir=cache)
    server.content = pack(tiny, "movies")
    assert ids(load_eraser("movies", cache_dir=cache)) == ALL_IDS


def test_nobody_listens(cache: Path, server: ArchiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("SGT_HF_ERASER_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        with pytest.raises(ConnectionError, match=r"could not be downloaded .*Connect"):
            load_eraser("movies", cache_dir=cache)


def test_offline(cache: Path, server: ArchiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConnectionError, match=r"Offline mode is enabled.*HF_DATASETS_OFFLINE=0"):
        load_eraser("movies", cache_dir=cache)


def flip_a_byte(content: bytes) -> bytes:
    spoilt = bytearray(content)
    spoilt[-6] ^= 0xFF  # in gzip's checksum: all members come out whole, and still it is not what was packed
    return bytes(spoilt)


def file_below_a_file() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name in ("movies", "movies/train.jsonl"):
            archive.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "corrupt",
    [
        pytest.param(lambda content: content[: len(content) // 2], id="cut"),
        pytest.param(lambda content: b"<html>Sorry</html>", id="no archive"),
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: file_below_a_file(), id="file below a file"),
        pytest.param(flip_a_byte, id="checksum"),
    ],
)
def test_corrupt_archive(tiny: Path, cache: Path, server: ArchiveServer, corrupt: Callable[[bytes], bytes]) -> None:
    good = pack(tiny, "movies")
    server.content = corrupt(good)
    message = r"movies\.tar\.gz was downloaded and is not usable: .* is corrupt or cut short .* was removed"
    with pytest.raises(EraserFormatError, match=message):
        load_eraser("movies", cache_dir=cache)
    server.content = good
    assert ids(load_eraser("movies", cache_dir=cache)) == ALL_IDS


def test_archive_without_a_data_set(tmp_path: Path, tiny: Path, cache: Path, server: ArchiveServer) -> None:
    server.content = pack(tiny / "docs", "movies")
    with pytest.raises(EraserFormatError, match=r"holds 0 folders with splits .* instead of one"):
        load_eraser("movies", cache_dir=cache)
    write_eraser(tmp_path / "many" / "one", rows(), DOCUMENTS)
    write_eraser(tmp_path / "many" / "two", rows(), DOCUMENTS)
    server.content = pack(tmp_path / "many", "many")
    with pytest.raises(EraserFormatError, match=r"holds 2 folders with splits"):
        load_eraser("movies", cache_dir=cache)
    server.content = pack(tiny, "movies")
    assert ids(load_eraser("movies", cache_dir=cache)) == ALL_IDS


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        pytest.param(member("../../escaped"), "'../../escaped' leads outside", id="parent"),
        pytest.param(member("movies/../../escaped"), "leads outside", id="parent inside"),
        pytest.param(member("/tmp/sgt_hf_escaped"), "'/tmp/sgt_hf_escaped' leads outside", id="absolute"),
        pytest.param(member("movies/l", tarfile.SYMTYPE, "../../x"), "'movies/l' is a link", id="symbolic link"),
        pytest.param(member("movies/h", tarfile.LNKTYPE, "/etc/passwd"), "is a link", id="hard link"),
        pytest.param(member("movies/f", tarfile.FIFOTYPE), "or a device", id="pipe"),
        pytest.param(member("movies/c", tarfile.CHRTYPE), "or a device", id="device"),
    ],
)
def test_unsafe_archive(
    tmp_path: Path, tiny: Path, cache: Path, server: ArchiveServer, bad: tarfile.TarInfo, message: str
) -> None:
    server.content = pack(tiny, "movies", (bad, b""))
    with pytest.raises(EraserFormatError, match=message + r".* nothing was extracted.*source you trust"):
        load_eraser("movies", cache_dir=cache)
    assert not list(tmp_path.rglob("*escaped"))
    assert not Path("/tmp/sgt_hf_escaped").exists()
    assert not list(cache.glob("movies-*"))
    server.content = pack(tiny, "movies")
    assert ids(load_eraser("movies", cache_dir=cache)) == ALL_IDS


def test_a_users_corrupt_archive_is_kept(tmp_path: Path, tiny: Path, cache: Path) -> None:
    archive = tmp_path / "movies.tar.gz"
    archive.write_bytes(pack(tiny, "movies")[:-20])
    with pytest.raises(EraserFormatError, match=r"movies\.tar\.gz is no readable .*Fetch it again"):
        load_eraser(archive, cache_dir=cache)
    assert archive.exists()


def test_a_mirror_on_disk_is_kept(tmp_path: Path, tiny: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SGT_HF_ERASER_URL", f"file://{tmp_path}")
    archive = tmp_path / "movies.tar.gz"
    archive.write_bytes(pack(tiny, "movies")[:-20])
    with pytest.raises(EraserFormatError, match="is not usable"):
        load_eraser("movies", cache_dir=cache)
    assert archive.exists()
    archive.write_bytes(pack(tiny, "movies"))
    assert ids(load_eraser("movies", cache_dir=cache)) == ALL_IDS


def test_fresh_folder_is_all_or_nothing(tmp_path: Path) -> None:
    target = tmp_path / "cache" / "target"

    def fail_half_way() -> None:
        with fresh_folder(target) as folder:
            (folder / "file").write_text("half")
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        fail_half_way()
    assert not list((tmp_path / "cache").iterdir())
    with fresh_folder(target) as folder, fresh_folder(target) as faster:
        (folder / "file").write_text("slower")
        (faster / "file").write_text("faster")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["target"]
    assert (target / "file").read_text() == "faster"


@pytest.mark.realdata
def test_real_archive_over_http(eraser_dir: Path, cache: Path, server: ArchiveServer) -> None:
    server.content = pack(eraser_dir / "esnli", "esnli")
    server.cut_after = len(server.content) // 2
    with pytest.raises(ConnectionError, match="could not be downloaded"):
        load_eraser("esnli", cache_dir=cache)
    server.cut_after = None
    downloaded = load_eraser("esnli", cache_dir=cache)
    assert [len(shown) for shown in downloaded.values()] == [9842, 2943, 993]
