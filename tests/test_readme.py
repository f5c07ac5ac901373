"""What the documents show must run: their Python blocks, and the commands they name."""

import contextlib
import importlib
import io
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
README = REPOSITORY / "README.md"
GUIDES = sorted((REPOSITORY / "docs").rglob("*.md"))
DOCUMENTS = [README, REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "benchmarks").glob("*.md")), *GUIDES]

_PYTHON_BLOCK = re.compile(
    r"(?:^<!--[ ]*not[ ]run(?P<reason>.*?)-->\s*?\n+)?^```python[^\n]*\n(?P<code>.*?)^```[ ]*$", re.M | re.S
)
_SHELL_BLOCK = re.compile(r"^```(?:bash|sh|shell|console)[^\n]*\n(.*?)^```[ ]*$", re.M | re.S)
_ANY_BLOCK = re.compile(r"^```.*?^```[ ]*$", re.M | re.S)
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_INLINE_CODE = re.compile(r"`([^`\n]+)`")


class Block(NamedTuple):
    """A Python block: where it starts, what it says, and why it is not run if it is not."""

    line: int
    code: str
    reason: str | None


def python_blocks(text: str) -> list[Block]:
    """The ```python blocks; `<!-- not run: reason -->` on the line above one excuses it."""
    return [
        Block(
            line=text.count("\n", 0, match.start("code")) + 1,
            code=match["code"],
            reason=None if match["reason"] is None else match["reason"].strip(" :\n"),
        )
        for match in _PYTHON_BLOCK.finditer(text)
    ]


def commands(text: str) -> list[list[str]]:
    """Each shell command of a document as its words, from shell blocks and from inline code."""
    lines = [
        line.strip().removeprefix("$ ")
        for block in _SHELL_BLOCK.findall(text)
        for line in block.replace("\\\n", " ").splitlines()
    ]
    lines += _INLINE_CODE.findall(_ANY_BLOCK.sub("", text))
    relevant = [line for line in lines if re.search(r"\bmake |benchmarks/", line)]
    return [command for line in relevant for command in split_commands(line)]


def split_commands(line: str) -> list[list[str]]:
    """A shell line's commands, parted at `&&`, `;` and the like outside of quotes; comments dropped."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in lexer:
        if word and set(word) <= set("&|;"):
            found.append([])
        else:
            found[-1].append(word)
    return [words for words in found if words]


def shell_lines(text: str, start: str) -> list[list[str]]:
    """The commands of a document's shell blocks that start so, as their words."""
    lines = [line.strip() for block in _SHELL_BLOCK.findall(text) for line in block.replace("\\\n", " ").splitlines()]
    return [words for line in lines if line.startswith(start) for words in split_commands(line)]


def make_targets(text: str) -> set[str]:
    """The targets of each `make …` (variable assignments and options are not targets)."""
    return {
        word
        for words in commands(text)
        if words[0] == "make"
        for word in words[1:]
        if "=" not in word and not word.startswith("-")
    }


def benchmark_flags(text: str) -> dict[str, set[str]]:
    """For each benchmark script that is named in a command, the long options it is called with."""
    flags: dict[str, set[str]] = {}
    for words in commands(text):
        for position, word in enumerate(words):
            if re.fullmatch(r"(\./)?benchmarks/\w+\.py", word):
                named = {rest.partition("=")[0] for rest in words[position + 1 :] if rest.startswith("--")}
                flags.setdefault(word.removeprefix("./"), set()).update(named)
    return flags


def options(script: str) -> set[str]:
    """The long options that a script's --help knows."""
    main = importlib.import_module(script.removesuffix(".py").replace("/", ".")).main
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", [script, "--help"])
        main()
    assert ended.value.code == 0, script
    return set(re.findall(r"(?<![\w-])--[A-Za-z][\w-]*", printed.getvalue()))


def named(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def test_readme_is_there():
    assert README.is_file()


@pytest.mark.parametrize("path", [pytest.param(README, marks=pytest.mark.slow, id="README.md"), *GUIDES], ids=named)
def test_python_blocks_run(path, tmp_path, monkeypatch):
    blocks = python_blocks(path.read_text(encoding="utf-8"))
    assert all(block.reason != "" for block in blocks), f"{path.name}: `not run` without a reason"
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for block in blocks:
        if block.reason is None:
            padded = "\n" * (block.line - 1) + block.code  # so that a traceback tells the document's line
            exec(compile(padded, str(path), "exec"), namespace)
    for words in shell_lines(path.read_text(encoding="utf-8"), "python -m sgt_hf"):  # on what the blocks left
        done = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{shlex.join(words)}:\n{done.stderr}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_make_targets_exist(path):
    known = set(re.findall(r"^([\w-]+):(?!=)", (REPOSITORY / "Makefile").read_text(), re.M))
    assert make_targets(path.read_text(encoding="utf-8")) - known == set()


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_benchmark_commands_exist(path):
    for script, flags in benchmark_flags(path.read_text(encoding="utf-8")).items():
        assert (REPOSITORY / script).is_file(), f"{path.name} names {script}"
        assert flags - options(script) == set(), f"{path.name}: unknown to {script} --help"


def anchors(text: str) -> set[str]:
    """What a link may name of a document: its headings as GitHub spells them."""
    headings = re.findall(r"^#+ (.*)$", _ANY_BLOCK.sub("", text), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead_links(path: Path) -> list[str]:
    """The links and pictures of a document that lead to no file beside it, or to no heading of one."""
    dead = []
    for target in _LINK.findall(_ANY_BLOCK.sub("", path.read_text(encoding="utf-8"))):
        name, _, anchor = target.partition("#")
        if ":" in name:  # on the net
            continue
        file = path.parent / name if name else path
        if not file.exists() or (anchor and anchor not in anchors(file.read_text(encoding="utf-8"))):
            dead.append(target)
    return dead


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_links_lead_somewhere(path):
    assert dead_links(path) == []


def test_dead_links_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A (small) page\n[1](page.md#a-small-page) [2](#not) ![3](gone.png) [4](https://a.b#c)\n")
    assert dead_links(page) == ["#not", "gone.png"]


SAMPLE = """
Then `make demo` or `python benchmarks/cost.py --steps=3`; a test is easy to make here.

```python
x = 1
```

<!-- not run: needs the Hub -->
```python
push()
```
<!-- not run -->

```python
secret()
```

```bash
cd repo && make test MARKERS="" -j2; make clean  # make nothing
$ python benchmarks/eraser.py --dataset movies \\
    --seeds 0 1 --name "a; make b" | tee log
```
"""


def test_what_is_read_from_a_document():
    assert python_blocks(SAMPLE) == [
        Block(5, "x = 1\n", None),
        Block(10, "push()\n", "needs the Hub"),
        Block(15, "secret()\n", ""),
    ]
    assert make_targets(SAMPLE) == {"clean", "demo", "test"}
    assert benchmark_flags(SAMPLE) == {
        "benchmarks/cost.py": {"--steps"},
        "benchmarks/eraser.py": {"--dataset", "--name", "--seeds"},
    }
