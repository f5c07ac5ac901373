"""The installed package: built from a clean checkout, imported from a fresh environment outside of it."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path, PurePosixPath

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.package]

REPOSITORY = Path(__file__).resolve().parents[1]

# No index and no isolation: the build uses the setuptools that is here, and the network is never asked.
PIP_OPTIONS = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")

# Run from elsewhere with `python -I`: neither the working directory nor PYTHONPATH is looked at.
IMPORT_EVERYTHING = """
import importlib, importlib.metadata, pkgutil
import sgt_hf
from sgt_hf import (
    SaliencyGuidedTrainer, SaliencyGuidedTrainingArguments, saliency_guided_loss,
    TextAdapter, load_eraser, evaluate_faithfulness,
)
for module in pkgutil.walk_packages(sgt_hf.__path__, "sgt_hf."):
    importlib.import_module(module.name)
assert importlib.metadata.version("sgt_hf") == sgt_hf.__version__
print(sgt_hf.__file__)
"""


def run(*command: str | Path, cwd: Path) -> str:
    """Runs a command and returns what it printed; its errors are the test's message."""
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, f"{command[0]} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A clean checkout: what git tracks or would add, and nothing that earlier builds left behind."""
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=REPOSITORY)
    copy = tmp_path_factory.mktemp("checkout")
    for name in filter(None, listed.split("\0")):
        if (REPOSITORY / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, copy / name)
    return copy


@pytest.fixture
def fresh_python(tmp_path) -> Path:
    """The interpreter of a new environment, which sees the heavy dependencies of the running one.

    They are reached through a .pth file. Python does not follow .pth files in a folder named by another, so an editable
    installation of the checkout in the running environment stays out of sight.
    """
    home = tmp_path / "venv"
    venv.create(home, with_pip=False, symlinks=os.name != "nt")
    paths = {scheme: sysconfig.get_path(scheme) for scheme in ("purelib", "platlib")}
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip())
    (site / "dependencies.pth").write_text("\n".join(dict.fromkeys(paths.values())) + "\n")
    return python


def install(python: Path, source: str | Path, cwd: Path) -> None:
    # --ignore-installed: another sgt_hf may be visible among the dependencies; it is not ours to uninstall.
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--ignore-installed", *PIP_OPTIONS)
    run(*pip, source, cwd=cwd)


def assert_imports_from(python: Path, cwd: Path) -> None:
    imported = Path(run(python, "-I", "-c", IMPORT_EVERYTHING, cwd=cwd).splitlines()[-1])
    assert imported.is_relative_to(python.parents[1]), f"{imported} is not the installed one"


def test_wheel_carries_every_file_and_imports(checkout, fresh_python, tmp_path):
    run(sys.executable, "-m", "pip", "wheel", *PIP_OPTIONS, "--wheel-dir", tmp_path, checkout, cwd=tmp_path)
    (wheel,) = tmp_path.glob("sgt_hf-*.whl")

    shipped = {PurePosixPath(name) for name in zipfile.ZipFile(wheel).namelist()}
    sources = {
        PurePosixPath(path.relative_to(checkout).as_posix())
        for path in (checkout / "sgt_hf").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert PurePosixPath("sgt_hf/py.typed") in sources
    assert sources - shipped == set(), "missing from the wheel; see package_data in setup.cfg"
    metadata = {path for path in shipped if path.parts[0].endswith(".dist-info")}
    assert shipped - sources - metadata == set(), "the wheel carries more than sgt_hf"
    assert any(path.name == "LICENSE" for path in metadata)

    install(fresh_python, wheel, cwd=tmp_path)
    assert_imports_from(fresh_python, cwd=tmp_path)


def test_pip_installs_from_git(checkout, fresh_python, tmp_path):
    repository = tmp_path / "repository"
    shutil.copytree(checkout, repository)
    run("git", "init", "--quiet", cwd=repository)
    run("git", "add", "--all", cwd=repository)
    who = ("-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false")
    run("git", *who, "commit", "--quiet", "--no-verify", "--message", "all", cwd=repository)

    install(fresh_python, f"git+{repository.as_uri()}", cwd=tmp_path)
    assert_imports_from(fresh_python, cwd=tmp_path)
