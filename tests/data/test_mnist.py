import hashlib
import http.server
import threading
from contextlib import contextmanager
from functools import partial

import datasets
import numpy as np
import pytest

from sgt_hf.data import mnist
from sgt_hf.data.idx import IdxFormatError
from sgt_hf.data.images import PixelDataset
from sgt_hf.data.mnist import CHECKSUMS, FILES, load_mnist
from sgt_hf.data.pixels import PixelError
from tests.data.idx_folder import small_mnist


@contextmanager
def served(folder):
    """The folder over HTTP on loopback; yields the address and the paths that were fetched."""
    fetched = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            fetched.append(self.path)
            super().do_GET()

        def log_message(self, format, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", fetched
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_folder_becomes_image_and_label_columns(tmp_path, zipped):
    written = small_mnist(tmp_path, zipped=zipped)
    found = load_mnist(tmp_path)
    assert {name: len(split) for name, split in found.items()} == {"train": 12, "test": 6}
    assert found["train"].features["label"].names == [str(digit) for digit in range(10)]
    for split, (images, labels) in written.items():
        assert found[split]["label"][:] == labels.tolist()
        assert found[split][2]["image"].mode == "L"
        np.testing.assert_array_equal(np.stack([np.asarray(image) for image in found[split]["image"]]), images)


@pytest.fixture
def own_checksums(monkeypatch, tmp_path):
    """The small files' checksums in place of MNIST's, and an empty cache."""
    source = tmp_path / "source"
    source.mkdir()
    small_mnist(source)
    for name in CHECKSUMS:
        digest = hashlib.md5((source / name).read_bytes(), usedforsecurity=False).hexdigest()
        monkeypatch.setitem(CHECKSUMS, name, digest)
    monkeypatch.setattr(datasets.config, "DOWNLOADED_DATASETS_PATH", tmp_path / "cache")
    return source


def test_it_is_downloaded_once_from_the_first_mirror_that_has_it(own_checksums):
    with served(own_checksums) as (address, fetched):
        mirrors = [f"{address}/nothing-here", f"{address}/"]
        first = load_mnist(mirrors=mirrors)
        requests = len(fetched)
        again = load_mnist(mirrors=mirrors)
        assert len([path for path in fetched[requests:] if "nothing" not in path]) == 0
    assert first["train"]["label"][:] == again["train"]["label"][:] == (np.arange(12) % 10).tolist()


def test_a_damaged_download_is_refused_and_not_kept(own_checksums):
    name = f"{FILES['train'][0]}.gz"
    whole = (own_checksums / name).read_bytes()
    (own_checksums / name).write_bytes(whole[:-1] + b"!")
    with served(own_checksums) as (address, _):
        with pytest.raises(ConnectionError, match=rf"{name} could not be downloaded from .*MD5 \w+ instead of"):
            load_mnist(mirrors=[address])
        (own_checksums / name).write_bytes(whole)
        assert len(load_mnist(mirrors=[address])["train"]) == 12


def test_no_mirror_at_all():
    with pytest.raises(ConnectionError, match=r"could not be downloaded from any mirror: none is given"):
        load_mnist(mirrors=[])


def test_the_mirrors_and_checksums_are_torchvisions():
    assert len(CHECKSUMS) == 4
    assert {f"{name}.gz" for names in FILES.values() for name in names} == set(CHECKSUMS)
    assert all(mirror.startswith("http") for mirror in mnist.MIRRORS)


def test_bad_folders_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is no folder"):
        load_mnist(tmp_path / "nowhere")
    small_mnist(tmp_path)
    (tmp_path / f"{FILES['test'][1]}.gz").unlink()
    with pytest.raises(FileNotFoundError, match=rf"holds neither {FILES['test'][1]}\.gz nor"):
        load_mnist(tmp_path)


def test_images_and_labels_that_do_not_fit(tmp_path):
    small_mnist(tmp_path, test=6)
    other = tmp_path / "other"
    other.mkdir()
    small_mnist(other, test=5)
    label_file = f"{FILES['test'][1]}.gz"
    (other / label_file).replace(tmp_path / label_file)
    with pytest.raises(IdxFormatError, match=r"holds labels \(5,\) and .* 6 images"):
        load_mnist(tmp_path)
    (tmp_path / f"{FILES['test'][0]}.gz").write_bytes((tmp_path / label_file).read_bytes())
    with pytest.raises(IdxFormatError, match=r"holds uint8 \(5,\), no images"):
        load_mnist(tmp_path)
    small_mnist(tmp_path, zipped=True)
    (tmp_path / label_file).write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 6, 0, 1, 2, 11, 4, 5]))
    with pytest.raises(IdxFormatError, match=r"holds the label 11 at row 3: expected 0 to 9"):
        load_mnist(tmp_path)
    (tmp_path / label_file).write_bytes(bytes([0, 0, 9, 1, 0, 0, 0, 6, 0, 255, 2, 1, 4, 5]))  # signed bytes
    with pytest.raises(IdxFormatError, match=r"holds the label -1 at row 1: expected 0 to 9"):
        load_mnist(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        (FILES["train"][1], [0, 0, 13, 1, 0, 0, 0, 12] + [63, 0, 0, 0] * 12, "labels of float32, which are no classes"),
        (FILES["train"][1], [0, 0, 12, 1, 0, 0, 0, 12] + [0, 0, 1, 0] * 12, "label 256 at row 0: expected 0 to 255"),
        (FILES["train"][0], [0, 0, 8, 3, 0, 0, 0, 12] + [0] * 8, r"no pixel: its images have the shape \(12, 0, 0\)"),
        (FILES["test"][0], [0, 0, 8, 3, 0, 0, 0, 0, 0, 0, 0, 28, 0, 0, 0, 28], r"no pixel: .* shape \(0, 28, 28\)"),
    ],
)
def test_what_makes_no_data_set_is_named(tmp_path, name, content, problem):
    small_mnist(tmp_path, zipped=False)
    (tmp_path / name).write_bytes(bytes(content))
    with pytest.raises(IdxFormatError, match=rf"{name} holds .*{problem}"):
        load_mnist(tmp_path)


def test_more_classes_than_ten(tmp_path):
    """EMNIST's letters are numbered from 1 to 26."""
    small_mnist(tmp_path, zipped=False)
    (tmp_path / FILES["train"][1]).write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 12, *range(15, 27)]))
    found = load_mnist(tmp_path)
    for split in found.values():
        assert split.features["label"].names == [str(label) for label in range(27)]
    assert found["train"]["label"][:] == list(range(15, 27))
    (tmp_path / FILES["test"][1]).write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 6, 0, 1, 2, 3, 4, 27]))
    with pytest.raises(IdxFormatError, match="holds the label 27 at row 5: expected 0 to 26"):
        load_mnist(tmp_path)


def test_an_image_of_it_is_named_by_its_split(tmp_path):
    small_mnist(tmp_path)
    rows = PixelDataset(load_mnist(tmp_path)["test"], lambda image: image)
    with pytest.raises(PixelError, match=r"^row 4 \(split 'test'\): is no"):
        rows[4]


@pytest.mark.slow
@pytest.mark.realdata
def test_the_real_one(shared_data):
    found = load_mnist(shared_data / "mnist")
    assert {name: len(split) for name, split in found.items()} == {"train": 60_000, "test": 10_000}
    assert found["train"]["label"][:5] == [5, 0, 4, 1, 9]
    pixels = np.stack([np.asarray(image) for image in found["train"]["image"]]) / 255
    assert pixels.mean() == pytest.approx(0.1307, abs=1e-4)
    assert pixels.std() == pytest.approx(0.3081, abs=1e-4)
