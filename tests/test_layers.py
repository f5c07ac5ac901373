"""The house, checked: imports point strictly downwards, and every module of `sgt_hf` has a place in the table."""

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

CORE = {"ranking", "saliency", "loss", "memory", "masking", "modes"}
EVALUATION = {"attribution", "metrics", "data", "faithfulness"}
GUIDING = {"guidance", "labels", "safeguards"}

# room of sgt_hf (a module or a folder) -> the rooms it may import. Within a room anything goes.
MAY_IMPORT: dict[str, set[str]] = {
    "atomic": set(),
    "ranking": set(),
    "saliency": {"ranking"},
    "masking": set(),
    "modes": set(),
    "distributed": set(),
    "loss": {"ranking", "saliency"},
    "memory": {"loss"},
    "adapters": CORE | {"data"},
    "training_args": CORE,
    "attribution": CORE | {"adapters"},
    "metrics": {"ranking"},
    "data": {"masking"},
    "models": set(),
    "faithfulness": CORE | {"adapters", "atomic", "attribution", "distributed", "metrics", "data"},
    "sanity": {"adapters", "data", "faithfulness"},
    "safeguards": {"adapters", "data", "distributed", "faithfulness", "modes", "training_args"},
    "labels": CORE | {"adapters"},
    "guidance": CORE | {"adapters", "training_args"},
    "trainer": CORE
    | EVALUATION
    | {"adapters", "distributed", "guidance", "labels", "safeguards", "training_args", "models", "reporting"},
    "reporting": EVALUATION | {"adapters", "atomic", "distributed", "training_args"},
    "explain": CORE | EVALUATION | {"adapters", "reporting"},
    "loading": {"models", "reporting"},
    "__main__": {"attribution", "explain", "loading", "reporting"},
}
# The package's own __init__ gives the public names, so it imports any room and no room imports it.
PUBLIC = "__init__"


def imports(path: Path, package: str) -> Iterator[tuple[int, str]]:
    """Yields line and dotted name of all that a file imports, wherever in it, relative imports resolved."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*above, *filter(None, [node.module])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def sources(root: Path, folder: str) -> Iterator[tuple[Path, list[str]]]:
    """Yields each source file of a folder, and its path in parts without the suffix."""
    for path in sorted((root / folder).rglob("*.py")):
        yield path, list(path.relative_to(root).with_suffix("").parts)


def library_violations(root: Path) -> Iterator[str]:
    """Imports in `sgt_hf` that the table does not allow, and modules that stand in no row of it."""
    for path, parts in sources(root, "sgt_hf"):
        room = parts[1]
        where = path.relative_to(root)
        if room != PUBLIC and room not in MAY_IMPORT:
            yield f"{where}: no row in the table of tests/test_layers.py"
            continue
        for line, name in imports(path, ".".join(parts[:-1])):
            target = [*name.split("."), PUBLIC][:2]
            if target[0] in ("benchmarks", "tests"):
                yield f"{where}:{line}: the library imports {name}"
            elif target[0] == "sgt_hf" and room != PUBLIC and target[1] not in MAY_IMPORT[room] | {room}:
                yield f"{where}:{line}: {room} imports {name}"


def benchmark_violations(root: Path) -> Iterator[str]:
    """Imports in `benchmarks` of the tests, or of names of `sgt_hf` that are not public."""
    for path, parts in sources(root, "benchmarks"):
        for line, name in imports(path, ".".join(parts[:-1])):
            top, *rest = name.split(".")
            if top == "tests" or (top == "sgt_hf" and any(part.startswith("_") for part in rest)):
                yield f"{path.relative_to(root)}:{line}: a benchmark imports {name}"


def catch_alls(root: Path) -> Iterator[str]:
    """Files named after nothing in particular."""
    for folder in ("sgt_hf", "benchmarks", "tests"):
        for path, parts in sources(root, folder):
            if parts[-1].strip("_") in ("util", "utils", "helper", "helpers", "misc"):
                yield f"{path.relative_to(root)}: what idea does it hold?"


def violations(root: Path) -> list[str]:
    return [*library_violations(root), *benchmark_violations(root), *catch_alls(root)]


def test_imports_point_downwards():
    assert (REPOSITORY / "sgt_hf").is_dir()
    found = violations(REPOSITORY)
    assert not found, "\n" + "\n".join(found)


def test_contributors_are_told_of_every_room():
    house = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## The house")[1].split("\n## ")[0]
    named = (re.findall(r"`(\w+)/?`", row.split("|")[1]) for row in house.splitlines() if row.startswith("|"))
    assert sorted(room for row in named for room in row) == sorted(MAY_IMPORT)


def test_the_table_itself_has_no_cycle():
    TopologicalSorter(MAY_IMPORT).prepare()  # raises CycleError


@pytest.mark.parametrize(
    ("file", "source", "complaint"),
    [
        ("sgt_hf/loss.py", "import sgt_hf.trainer", "loss imports sgt_hf.trainer"),
        ("sgt_hf/loss.py", "from sgt_hf.adapters.text import TextAdapter", "loss imports sgt_hf.adapters"),
        ("sgt_hf/loss.py", "def f():\n    from . import trainer", "loss.py:2: loss imports sgt_hf.trainer"),
        ("sgt_hf/loss.py", "from sgt_hf import load_eraser", "loss imports sgt_hf.load_eraser"),
        ("sgt_hf/loss.py", "import sgt_hf", "loss imports sgt_hf"),
        ("sgt_hf/data/eraser.py", "from ..models.bilstm import Net", "data imports sgt_hf.models.bilstm.Net"),
        ("sgt_hf/__init__.py", "from benchmarks.common import run", "the library imports benchmarks.common"),
        ("sgt_hf/trainer.py", "import tests.oracle", "the library imports tests.oracle"),
        ("sgt_hf/newcomer.py", "", "newcomer.py: no row in the table"),
        ("sgt_hf/new/room.py", "", "room.py: no row in the table"),
        ("sgt_hf/metrics/utils.py", "", "what idea does it hold"),
        ("benchmarks/eraser.py", "from sgt_hf.loss import _kl", "a benchmark imports sgt_hf.loss._kl"),
        ("benchmarks/eraser.py", "import tests.oracle", "a benchmark imports tests.oracle"),
    ],
)
def test_a_planted_violation_is_caught(tmp_path, file, source, complaint):
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(source)
    (found,) = violations(tmp_path)
    assert complaint in found


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("sgt_hf/__init__.py", "from sgt_hf.trainer import SaliencyGuidedTrainer\nfrom .loss import f"),
        ("sgt_hf/trainer.py", "from sgt_hf import loss\nfrom .adapters import base\nimport transformers.trainer"),
        ("sgt_hf/metrics/aopc/aopc.py", "from sgt_hf.metrics.curves import aopc\nfrom ...ranking import order"),
        ("sgt_hf/masking/__init__.py", "from .text import MASKS\nfrom . import dense"),
        ("benchmarks/eraser.py", "from sgt_hf import load_eraser\nfrom benchmarks.common import _run"),
    ],
)
def test_what_the_table_allows_passes(tmp_path, file, source):
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(source)
    assert violations(tmp_path) == []
