"""Texts as models see them → highlights in a terminal, by rich; without colour where there is none."""

from __future__ import annotations

from rich.console import Group
from rich.text import Text

from .contents import TextEntry, View
from .layout import intensity, shown_score, top_words
from .visible import visible

TOP_WORDS = 5
# Of intensity 1 to 5: ever darker, and from 3 on told apart without colour too.
_ABOVE = (
    "black on #fff3cf",
    "black on #ffe19b",
    "black on #ffc963 underline",
    "black on #ffb02e bold underline",
    "#ffffff on #8a4b00 bold underline",
)
_BELOW = ("italic", "italic", "black on #dbe7f5 italic", "black on #b7cfeb italic", "black on #8fb3dd italic")


def highlighted(entry: TextEntry) -> Group:
    """Lay a text out for `rich.print`: one block a view, words marked by their share of the largest score.

    Whatever the text says is shown and not obeyed: neither rich's markup nor escape sequences work in it.

    Args:
        entry: The text and its views.
    """
    label = None if entry.label is None else f"label {entry.label}"
    title = visible(", ".join(filter(None, [entry.title, label])))
    lines = [Text(title, style="bold")] if title else []
    for view in entry.views:
        lines += _block(entry, view)
    return Group(*lines, *(Text(visible(note)) for note in entry.notes))


def _block(entry: TextEntry, view: View) -> list[Text]:
    heading = Text(f"{visible(view.name)}: {visible(view.predicted)}")
    if view.probability is not None:
        heading.append(f" {view.probability:.3f}")
    if view.correct is not None:
        heading.append(" (right)" if view.correct else " (wrong)")
    gaps = entry.gaps if entry.gaps is not None else ["", *[" "] * len(entry.words)]
    words = Text()
    for gap, word, level in zip(gaps, entry.words, intensity(view.scores), strict=False):
        words.append(visible(gap))
        words.append(visible(word), style=_style(level))
    if entry.gaps is not None:
        words.append(visible(entry.gaps[-1]))
    ranked = (f"{visible(entry.words[i])} {shown_score(view.scores[i])}" for i in top_words(view.scores, TOP_WORDS))
    return [heading, words, Text("ranked highest: " + (", ".join(ranked) or "no word"))]


def _style(level: int) -> str:
    if not level:
        return ""
    return _ABOVE[level - 1] if level > 0 else _BELOW[-level - 1]
