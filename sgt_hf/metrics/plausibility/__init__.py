"""Plausibility: how far an explanation agrees with the words that humans marked, by the definitions of ERASER's scorer.

A unit is one document of one annotation: in e-SNLI premise and hypothesis are two units, elsewhere a row is mostly one.

References:
    DeYoung et al. ERASER: A Benchmark to Evaluate Rationalized NLP Models. ACL 2020, section 4.1; the released scorer,
    rationale_benchmark/metrics.py in github.com/jayded/eraserbenchmark.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import auc, precision_recall_curve

from sgt_hf.metrics.curves import Array
from sgt_hf.ranking import ceil_share

Selected = NDArray[np.bool_]
Span = tuple[int, int]


class Prf(NamedTuple):
    """Precision, recall and F1, each in [0, 1], but of IOU: see `iou_agreement`; 0 where the denominator is."""

    precision: float
    recall: float
    f1: float


class Agreement(NamedTuple):
    """Averages over units and over their pooled words (or spans)."""

    macro: Prf
    micro: Prf


def hard_rationale(scores: ArrayLike, *, share: float | None = None, threshold: float | None = None) -> Selected:
    """Select the words of a rationale from their scores, by number or by size.

    Args:
        scores: (n,) finite, one per word.
        share: Take the ⌈share · n⌉ highest, ties to the earlier word; in [0, 1]. ERASER's choice is the data set's
            `mean_share`.
        threshold: Or take all words that score at least this.

    Returns:
        (n,) bool.

    Raises:
        ValueError: Not exactly one of share and threshold is given, a score is not finite, or the share is no share.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError(f"expected (n,) finite scores, got shape {values.shape}")
    if threshold is not None and share is None:
        return np.asarray(values >= threshold, dtype=np.bool_)
    if share is None or threshold is not None:
        raise ValueError(f"give share or threshold, one of the two: got share={share}, threshold={threshold}")
    count = int(ceil_share(share, torch.tensor(len(values))))
    selected = np.zeros(len(values), dtype=np.bool_)
    selected[np.argsort(-values, kind="stable")[:count]] = True
    return selected


def mean_share(truth: Sequence[ArrayLike]) -> float:
    """Return the mean share of words that humans marked, over the texts that have a word: ERASER's k.

    Args:
        truth: N masks of (n,) 0 or 1.

    Raises:
        ValueError: No text has a word, or a mask holds something else.
    """
    shares = [mask.mean() for mask in _masks(truth, "truth") if len(mask)]
    if not shares:
        raise ValueError("there is no word to take a share of")
    return float(np.mean(shares))


def spans_of(selected: ArrayLike) -> list[Span]:
    """Return the runs of selected words as (start, end), end exclusive.

    Args:
        selected: (n,) 0 or 1.
    """
    flags = np.concatenate([[0], np.asarray(selected, dtype=np.int8), [0]])
    edges = np.flatnonzero(np.diff(flags))
    return [(int(start), int(end)) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def token_agreement(truth: Sequence[ArrayLike], predicted: Sequence[ArrayLike]) -> Agreement:
    """Precision, recall and F1 of words (ERASER's `token_prf`).

    Macro: each of the three is the mean over units, F1 included (not the F1 of the means), over the units in which
    anything is marked or predicted. Micro: of all words pooled.

    Args:
        truth: N masks of (n,) 0 or 1, the words humans marked; one per unit.
        predicted: N masks of the same lengths.

    Returns:
        `Agreement`; all 0 where nothing is marked or predicted anywhere.

    Raises:
        ValueError: Numbers or lengths differ, or a mask holds something else than 0 and 1.
    """
    marks, guesses = _paired(truth, predicted, "predicted")
    counts = np.array([[(m & g).sum(), g.sum(), m.sum()] for m, g in zip(marks, guesses, strict=True)]).reshape(-1, 3)
    units = [_prf(*row) for row in counts if row[1:].any()]
    macro = Prf(*np.mean(units, axis=0).tolist()) if units else Prf(0.0, 0.0, 0.0)
    return Agreement(macro, _prf(*counts.sum(0)))


def iou_agreement(
    truth: Sequence[Iterable[Span]], predicted: Sequence[Iterable[Span]], *, threshold: float = 0.5
) -> Agreement:
    """Precision, recall and F1 of spans that match by intersection over union (ERASER's partial match).

    A predicted span is a hit where its IOU with some marked span of the unit is at least the threshold. Precision is
    hits per predicted span and recall hits per marked span, so that two predictions may hit one mark. Macro: precision
    is the mean over units with a prediction, recall over units with a mark, F1 that of the two means. Micro: of all
    spans pooled.

    Args:
        truth: N sets of (start, end) in words, end exclusive: the evidence as annotated, overlapping or not. Repeated
            spans count once; empty ones count and are never hit.
        predicted: N sets of spans; see `spans_of`.
        threshold: In (0, 1].

    Returns:
        `Agreement`. Recall can exceed 1 where several predictions hit one mark.

    Raises:
        ValueError: Numbers differ, or the threshold is outside (0, 1].
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must lie in (0, 1], got {threshold}")
    if len(truth) != len(predicted):
        raise ValueError(f"truth has {len(truth)} units, predicted {len(predicted)}")
    counts = np.zeros((len(truth), 3))
    for row, marked, guessed in zip(counts, map(set, truth), map(set, predicted), strict=True):
        best = [max((_iou(guess, mark) for mark in marked), default=0.0) for guess in guessed]
        row[:] = sum(value >= threshold for value in best), len(guessed), len(marked)
    hits, guesses, marks = counts.T
    precision, recall = _mean_ratio(hits, guesses), _mean_ratio(hits, marks)
    return Agreement(Prf(precision, recall, _f1(precision, recall)), _prf(*counts.sum(0)))


def auprc(truth: Sequence[ArrayLike], scores: Sequence[ArrayLike], *, without_positive: str = "count") -> float:
    """Mean over units of the area under the precision-recall curve of soft scores, by the trapezoid rule.

    Args:
        truth: N masks of (n,) 0 or 1. Units without a word are passed over.
        scores: N lists of (n,) finite scores, higher for more important words.
        without_positive: What becomes of units in which nothing is marked. `count`, as ERASER's scorer does: they count
            as what scikit-learn makes of them (recall one throughout: 0.5 in current versions). `skip`: left out.

    Returns:
        In [0, 1]; NaN where no unit is left.

    Raises:
        ValueError: Numbers or lengths differ, a mask holds something else than 0 and 1, or an unknown choice.
    """
    if without_positive not in ("count", "skip"):
        raise ValueError(f"unknown without_positive {without_positive!r}: use 'count' or 'skip'")
    marks = _masks(truth, "truth")
    values = [np.asarray(sample, dtype=np.float64) for sample in scores]
    _same_lengths(marks, values, "scores")
    areas = []
    for mark, value in zip(marks, values, strict=True):
        if not len(mark) or (without_positive == "skip" and not mark.any()):
            continue
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "No positive class found in y_true")
            precision, recall, _ = precision_recall_curve(mark, value)
        areas.append(auc(recall, precision))
    return float(np.mean(areas)) if areas else float("nan")


def _prf(hits: float, guesses: float, marks: float) -> Prf:
    precision, recall = (float(hits / whole) if whole else 0.0 for whole in (guesses, marks))
    return Prf(precision, recall, _f1(precision, recall))


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision and recall else 0.0


def _mean_ratio(hits: Array, wholes: Array) -> float:
    some = wholes > 0
    return float(np.mean(hits[some] / wholes[some])) if some.any() else 0.0


def _iou(first: Span, second: Span) -> float:
    shared = max(0, min(first[1], second[1]) - max(first[0], second[0]))
    union = (first[1] - first[0]) + (second[1] - second[0]) - shared
    return shared / union if union else 0.0


def _masks(masks: Sequence[ArrayLike], name: str) -> list[Selected]:
    arrays = [np.asarray(mask) for mask in masks]
    for index, array in enumerate(arrays):
        if array.ndim != 1 or not np.isin(array, (0, 1)).all():
            raise ValueError(f"{name}[{index}] must be (n,) of 0 and 1")
    return [array.astype(np.bool_) for array in arrays]


def _paired(truth: Sequence[ArrayLike], other: Sequence[ArrayLike], name: str) -> tuple[list[Selected], list[Selected]]:
    marks, guesses = _masks(truth, "truth"), _masks(other, name)
    _same_lengths(marks, guesses, name)
    return marks, guesses


def _same_lengths(truth: Sequence[Selected], other: Sequence[NDArray[np.generic]], name: str) -> None:
    if len(truth) != len(other):
        raise ValueError(f"truth has {len(truth)} units, {name} {len(other)}")
    for index, (mark, value) in enumerate(zip(truth, other, strict=True)):
        if mark.shape != value.shape:
            raise ValueError(f"unit {index} has {len(mark)} words in truth and shape {value.shape} in {name}")
