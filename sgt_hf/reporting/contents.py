"""What a report is made of: tables, pictures, texts as several models see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure


@dataclass(frozen=True)
class Table:
    """A table of results.

    Attributes:
        title: Its heading.
        header: Column names; the first column names the rows.
        rows: As many cells as the header, ready to be read.
        notes: How the numbers were made: units, intervals, what a star means.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Picture:
    """A figure, or maps.

    Attributes:
        title: Its heading.
        image: A Matplotlib figure, or the bytes of a PNG.
        alt: What it shows, for those who cannot see it; not empty.
        caption: What to read from it.
    """

    title: str
    image: Figure | bytes
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class View:
    """How one model, or one method, sees a text.

    Attributes:
        name: Of the arm or method; the same in each text of a report.
        scores: (W,) one a word, in any unit; None (or NaN) for words that were not scored.
        predicted: Name of the predicted class.
        probability: Of that class, in [0, 1], or None.
        correct: Whether it is the text's label; None where the label is not known.
    """

    name: str
    scores: Sequence[float | None]
    predicted: str
    probability: float | None = None
    correct: bool | None = None


@dataclass(frozen=True)
class TextEntry:
    """A text and how each of several models sees it, side by side.

    Attributes:
        title: Identifies the text.
        words: W of them.
        views: One or more.
        label: Name of the true class, or None.
        rationale: (W,) the words humans marked, or None.
        gaps: (W + 1,) what stands before, between and after the words; None for single spaces between.
        context: What the model read beside the words, such as FEVER's claim.
        notes: What must be said of it, such as words cut off.
    """

    title: str
    words: Sequence[str]
    views: Sequence[View]
    label: str | None = None
    rationale: Sequence[bool] | None = None
    gaps: Sequence[str] | None = None
    context: str | None = None
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Report:
    """A page; empty sections are left out.

    Attributes:
        title: Of the page.
        lead: What it is about, in a sentence or two.
        tables: Of results.
        figures: Curves and distributions.
        texts: Side by side.
        maps: Of images and time series.
        provenance: By term, what decides the numbers: convention, operator, versions, command.
        missing: Sentences on what was not recorded, so that nobody looks for it in vain.
    """

    title: str
    lead: str = ""
    tables: Sequence[Table] = ()
    figures: Sequence[Picture] = ()
    texts: Sequence[TextEntry] = ()
    maps: Sequence[Picture] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
    missing: Sequence[str] = ()


def check_table(table: Table) -> None:
    """Raise ValueError where a row has not one cell a column."""
    for row in table.rows:
        if len(row) != len(table.header):
            raise ValueError(f"table {table.title!r}: {len(table.header)} columns, and a row of {len(row)}: {row}")


def check_text(text: TextEntry, names: Sequence[str]) -> None:
    """Raise ValueError where the views are not the `names`, or something has not one value a word."""
    if not text.views or [view.name for view in text.views] != names:
        raise ValueError(f"text {text.title!r}: expected views {names}, got {[view.name for view in text.views]}")
    expected: dict[str, tuple[Sequence[Any] | None, int]]
    expected = {"rationale": (text.rationale, 0), "gaps": (text.gaps, 1)}
    expected |= {f"scores of {view.name!r}": (view.scores, 0) for view in text.views}
    for what, (values, more) in expected.items():
        if values is not None and len(values) != len(text.words) + more:
            raise ValueError(f"text {text.title!r} has {len(text.words)} words and {len(values)} {what}")
