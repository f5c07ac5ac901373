"""Texts → words with a grade of intensity, a ranking and the tags that filters go by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from .contents import TextEntry

LEVELS = 5  # of intensity, beside none
TOP_WORDS = 10


class _Word(NamedTuple):
    gap: str
    text: str
    css: str
    score: str


class _Ranked(NamedTuple):
    text: str
    score: str
    marked: bool


def intensity(scores: Sequence[float | None]) -> list[int]:
    """Grade scores by their share of the largest magnitude among them.

    Args:
        scores: (W,); None or NaN for words that were not scored.

    Returns:
        (W,) in −5..5: fifths of the largest magnitude, rounded, so that below a tenth of it, and without a score, it
        is 0.

    Examples:
        >>> intensity([0.5, -0.1, 0.0, None, 0.01])
        [5, -1, 0, 0, 0]
    """
    known = [0.0 if score is None or math.isnan(score) else float(score) for score in scores]
    largest = max((abs(score) for score in known), default=0.0)
    if not largest or math.isinf(largest):
        return [0] * len(known)
    return [round(LEVELS * score / largest) for score in known]


def top_words(scores: Sequence[float | None], count: int = TOP_WORDS) -> list[int]:
    """Return the places of the words ranked highest, ties to the earlier one.

    Args:
        scores: (W,); None or NaN for words that were not scored.
        count: At most this many.
    """
    places = [i for i, score in enumerate(scores) if score is not None and not math.isnan(score)]
    return sorted(places, key=lambda i: (-float(scores[i] or 0.0), i))[:count]


def lay_out(text: TextEntry) -> dict[str, Any]:
    """Return a text as the template wants it: every word with its classes and its score.

    Args:
        text: Checked.
    """
    gaps = text.gaps if text.gaps is not None else ["", *[" "] * (len(text.words) - 1), ""]
    marked = text.rationale or [False] * len(text.words)
    views = []
    for view in text.views:
        words = [
            _Word(gap, word, _classes(level, human), shown_score(score))
            for gap, word, level, human, score in zip(
                gaps, text.words, intensity(view.scores), marked, view.scores, strict=False
            )
        ]
        top = [_Ranked(text.words[i], shown_score(view.scores[i]), bool(marked[i])) for i in top_words(view.scores)]
        views.append({"view": view, "words": words, "last_gap": gaps[len(text.words)], "top": top})
    runs = _marked_runs(text.words, marked) if text.rationale is not None else None
    return {"text": text, "views": views, "tags": " ".join(_tags(text)), "flipped": _flipped(text), "human": runs}


def _classes(level: int, human: bool) -> str:
    graded = f" {'p' if level > 0 else 'n'}{abs(level)}" if level else ""
    return "w" + graded + (" r" if human else "")


def shown_score(score: float | None) -> str:
    """Write a score to three digits, with its sign; None and NaN are `not scored`."""
    return "not scored" if score is None or math.isnan(score) else f"{score:+.3g}"


def _marked_runs(words: Sequence[str], marked: Sequence[bool]) -> list[str]:
    """The runs of words that humans marked, each in one string."""
    runs: list[list[str]] = []
    for i, (word, human) in enumerate(zip(words, marked, strict=True)):
        if human and i and marked[i - 1]:
            runs[-1].append(word)
        elif human:
            runs.append([word])
    return [" ".join(run) for run in runs]


def _flipped(text: TextEntry) -> bool:
    return len({view.predicted for view in text.views}) > 1


def _tags(text: TextEntry) -> list[str]:
    """What the filters go by: `right-0`, `wrong-1`, `flipped`."""
    known = [(i, view.correct) for i, view in enumerate(text.views) if view.correct is not None]
    return [f"{'right' if correct else 'wrong'}-{i}" for i, correct in known] + ["flipped"] * _flipped(text)


def make_filters(texts: Sequence[TextEntry], names: Sequence[str]) -> list[tuple[str, str, int]]:
    """Return tag, label and number of texts of each filter: right and wrong by each view, and flipped.

    There are none to choose from where only one view is shown and nothing is known to be right or wrong.

    Args:
        texts: That are shown.
        names: Of their views.
    """
    offered = [("", "all")]
    for i, name in enumerate(names):
        if any(text.views[i].correct is not None for text in texts):
            offered += [(f"right-{i}", f"{name} right"), (f"wrong-{i}", f"{name} wrong")]
    if len(names) > 1:
        offered.append(("flipped", "flipped"))
    tags = [_tags(text) for text in texts]
    return [(tag, label, sum(not tag or tag in found for found in tags)) for tag, label in offered]
