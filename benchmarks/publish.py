"""Results → documents: rewrites the generated tables of README.md, benchmarks/ and docs/, and images' figures.

    python benchmarks/publish.py

A table stands between `<!-- generated: NAME -->` and `<!-- end -->`, where NAME is a folder of benchmarks/results, or
`folder/key` for one of its tables. No number in a document is typed by hand.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks import (
    cost,
    eraser_chance,
    eraser_maskings,
    eraser_overview,
    eraser_paper,
    eraser_search,
    eraser_tables,
    evaluation_cost,
    images_figures,
    images_tables,
    time_series_figures,
    time_series_real,
    time_series_speed,
)
from benchmarks.eraser_arms import ARMS
from sgt_hf.atomic import write_atomically

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "benchmarks").glob("*.md")), *sorted((ROOT / "docs").glob("*.md")))
Cell = dict[str, Any]
SHORT, SHORT_ARMS = "/short", ("plain", "guided", "random_mask")
BESIDE = "/beside"  # the paper's numbers alone
MASKINGS_ELSEWHERE = ("eraser-movies-paper", "eraser")
DRAWN = ("images", "images_cifar10")  # folders of results with a folder of figures
BLOCK = re.compile(r"(<!-- generated: (?P<name>[\w/.-]+) -->\n).*?(?=<!-- end -->)", re.DOTALL)
HEADING, CODE = re.compile(r"^#+(?= )", re.MULTILINE), re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def main() -> None:
    """Rewrite every document that changes, and draw every figure whose numbers have."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        fresh = published(text)
        if fresh != text:
            write_atomically(path, fresh)
            print(f"rewrote {path.relative_to(ROOT)}")
    for folder in DRAWN:
        for path in images_figures.write_figures(cells_of(folder), RESULTS / folder / "figures"):
            print(f"drew {path.relative_to(ROOT)}")


def published(text: str) -> str:
    """Return a document with its generated blocks made anew, their headings below the one they stand under."""

    def fresh(match: re.Match[str]) -> str:
        return f"{match[1]}\n{_below(text[: match.start()], tables(match['name']))}\n\n"

    return BLOCK.sub(fresh, text)


def _below(before: str, block: str) -> str:
    """A block's headings, moved so that the highest is one level below the last heading before it."""
    written = CODE.sub("", BLOCK.sub("", before))  # neither comments nor other blocks have a say
    above = [len(level) for level in HEADING.findall(written)]
    inside = [len(level) for level in HEADING.findall(block)]
    if not (above and inside):
        return block
    shift = above[-1] + 1 - min(inside)
    return HEADING.sub(lambda match: "#" * (len(match[0]) + shift), block)


def tables(name: str) -> str:
    """Return the tables of a results folder.

    Args:
        name: A folder of benchmarks/results, or `folder/key` for one of its tables.

    Raises:
        ValueError: There are no such results.
    """
    folder, _, wanted = name.partition("/")
    made = tables_of(folder)
    chosen = [text for key, text in made.items() if key == wanted or not (wanted or key.endswith((SHORT, BESIDE)))]
    if not chosen:
        raise ValueError(f"benchmarks/results has nothing for {name!r}; it has {sorted(made)}")
    return "\n\n".join(chosen)


@cache
def tables_of(folder: str) -> dict[str, str]:
    """Return all tables of a folder of benchmarks/results, laid out once however many documents show them."""
    return MAKERS.get(folder, eraser)(cells_of(folder))


def cells_of(folder: str) -> list[Cell]:
    """Return all cells of a folder of benchmarks/results."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted((RESULTS / folder).glob("*.json"))]


def eraser(cells: list[Cell]) -> dict[str, str]:
    """Return the tables of each data set and model, and under `key/short` the main ones for the arms of a README.

    Under `key/beside` stand the paper's numbers beside these, under `verdicts/short` who is ahead beyond the seeds,
    under `repeats/short` how far one training repeats.
    """
    groups = grouped([{"documents": documents(cell["settings"], cell["summary"]["n"]), **cell} for cell in cells])
    short = {key: {arm: arms[arm] for arm in SHORT_ARMS if arm in arms} for key, arms in groups.items()}
    return (
        {key: eraser_tables.dataset_table(arms) for key, arms in groups.items()}
        | {key + SHORT: eraser_tables.dataset_table(arms, brief=True) for key, arms in short.items()}
        | {f"{key}{BESIDE}": eraser_paper.beside_the_paper(arms) for key, arms in groups.items()}
        | {"verdicts" + SHORT: eraser_overview.verdicts(groups.values())}
        | {"repeats" + SHORT: eraser_overview.repeats(groups.values())}
    )


def documents(settings: dict[str, Any], count: int) -> list[int] | None:
    """Return which of the first texts share a document, which the first cells do not tell, or None if nobody does."""
    wanted = {name: settings.get(name) for name in ("dataset", "limit")} | {"split": settings.get("split", "test")}
    for entry in _chance():
        if wanted.items() <= entry["settings"].items() and entry["texts"] >= count:
            return list(entry["documents"][:count])
    return None


@cache
def _chance() -> list[Cell]:
    paths = sorted((RESULTS / "eraser_chance").glob("*.json"))
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def maskings(cells: list[Cell]) -> dict[str, str]:
    """Return the table of all maskings, those of the folder's cells and those that have a folder of their own."""
    key, pairs = "movies-bilstm", {}
    for each in (cells, *map(cells_of, MASKINGS_ELSEWHERE)):
        pairs |= eraser_maskings.by_masking(grouped(each)[key])
    return {key: eraser_maskings.table(pairs)}


def costs(cells: list[Cell]) -> dict[str, str]:
    """Return a table for each model and length."""
    return {cost.key(cell): cost.table(cell) for cell in cells}


def grouped(cells: list[dict[str, Any]]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Sort the cells of the ERASER benchmark by data set and model, arm, seed; plain is the first arm."""
    groups: dict[str, dict[str, list[dict[str, Any]]]] = {}
    order = list(ARMS)
    for cell in sorted(cells, key=lambda c: (order.index(c["settings"]["arm"]), c["settings"]["seed"])):
        settings = cell["settings"]
        key = f"{Path(settings['dataset']).name}-{Path(settings['model']).name}"
        groups.setdefault(key, {}).setdefault(settings["arm"], []).append(cell)
    return dict(sorted(groups.items()))


# folder of results → its cells to a table for each key; a folder not named holds cells of the ERASER benchmark
MAKERS: dict[str, Callable[[list[Cell]], dict[str, str]]] = {
    "cost": costs,
    "eraser-movies-maskings": maskings,
    "eraser_chance": eraser_chance.tables,
    "eraser_search": eraser_search.tables,
    "evaluation_cost": lambda cells: {"all": evaluation_cost.table(cells)},
    "images": images_tables.tables,
    "images_cifar10": images_tables.tables,
    "images_search": images_tables.search_tables,
    "time_series": time_series_figures.tables,
    "time_series_fixed": time_series_figures.tables,
    "time_series_long": time_series_figures.tables,
    "time_series_mnist": time_series_figures.mnist_tables,
    "time_series_real": time_series_real.tables,
    "time_series_speed": time_series_speed.tables,
}

if __name__ == "__main__":
    main()
