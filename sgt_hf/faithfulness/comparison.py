"""Which of two models has the more faithful explanations, by how much, and whether the answer can be trusted."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..metrics.significance import Interval, bootstrap_mean
from .provenance import Provenance
from .report import FaithfulnessReport

MAX_CONFIDENCE_GAP = 0.05
FEWEST_TEXTS = 6  # of five that are all alike a sign test still says 6 %, and a bootstrap's interval excludes zero
_OWN: dict[str, Any] = {"trained_masking": None, "truncated_words": None}  # the model's and its tokenizer's
_SAME = tuple(part.name for part in fields(Provenance) if part.name not in _OWN)


@dataclass(frozen=True)
class Difference:
    """One metric of one method, the first model minus the second.

    Attributes:
        method: Whose rankings.
        metric: `comprehensiveness` or `sufficiency`; with `_gain`, counted from the model's own random rankings; with
            `normalized_` before it, between the text's own limits.
        interval: Mean over texts of the paired differences and its bootstrap interval, over documents where texts share
            them.
        texts: How many texts it is the mean of.
        documents: How many documents these texts show, where several show one; else None.
    """

    method: str
    metric: str
    interval: Interval
    texts: int
    documents: int | None = None

    @property
    def verdict(self) -> str:
        """`first` or `second`, the model that does better, or `undecided` where the interval holds zero.

        Of comprehensiveness higher is better, of sufficiency lower. Fewer than six texts, or documents, decide nothing.
        """
        if (self.texts if self.documents is None else self.documents) < FEWEST_TEXTS or not self.interval.excludes_zero:
            return "undecided"
        return "first" if (self.interval.mean > 0) == ("comprehensiveness" in self.metric) else "second"


@dataclass(frozen=True)
class Comparison:
    """Result of `compare`.

    Attributes:
        differences: By method and metric.
        mean_confidence: Of both models: the probability of the predicted class on whole texts.
        provenance: How both were measured, and how each was trained and its texts cut, in one line.
    """

    differences: dict[tuple[str, str], Difference]
    mean_confidence: tuple[float, float]
    provenance: str

    def __str__(self) -> str:
        """A table of differences, first minus second."""
        lines = [f"{'first − second':22}{'':30}{'mean':>8}{'interval':>20}{'texts':>7}  better"]
        for found in self.differences.values():
            mean, low, high = found.interval
            interval = f"[{low:.3f}, {high:.3f}]"
            lines.append(f"{found.method:22}{found.metric:30}{mean:8.3f}{interval:>20}{found.texts:7}  {found.verdict}")
        shared = [found.documents for found in self.differences.values() if found.documents is not None]
        lines += [f"several texts show one document: intervals draw the {max(shared)} documents"] if shared else []
        first, second = self.mean_confidence
        return "\n".join([*lines, f"mean confidence {first:.3f} and {second:.3f}", self.provenance])


def compare(
    first: FaithfulnessReport, second: FaithfulnessReport, *, confidence: float = 0.95, seed: int = 0
) -> Comparison:
    """Compare two models on the same texts, text by text.

    Where several texts show one document, as claims of FEVER do, the intervals draw documents and not texts.

    Args:
        first: Of one model.
        second: Of the other, measured alike.
        confidence: Of the bootstrap intervals, in (0, 1).
        seed: Of the resampling.

    Warns:
        UserWarning: The models' mean confidences differ by more than 0.05: a more confident model has further to fall,
            so raw AOPC favours it. Then compare gains or normalised values. Or one of them alone was trained with the
            operator, which flatters its sufficiency.

    Raises:
        ValueError: The reports are of other texts, measured otherwise, or share no method.

    References:
        Edin et al. Normalized AOPC: Fixing Misleading Faithfulness Metrics for Feature Attribution Explainability.
        ACL 2025.
    """
    _check_alike(first, second)
    shared = [name for name in first.methods if name in second.methods]
    if shared == ["random"] and min(len(first.methods), len(second.methods)) > 1:
        raise ValueError(f"the reports share no method: they are of {list(first.methods)} and {list(second.methods)}")
    means = float(first.full.mean()), float(second.full.mean())
    _warn_of_advantages(first.provenance, second.provenance, means)
    common = str(replace(first.provenance, **_OWN))
    own = [_own("first", first.provenance), _own("second", second.provenance)]
    differences, documents = {}, first.documents
    # A measured ranking may lie beyond the limits that a search found, and both are to have the same chance of it.
    first, second = (replace(each, curves={name: each.curves[name] for name in shared}) for each in (first, second))
    for method in shared:
        one, other = _values(first, method), _values(second, method)
        for metric in (name for name in one if name in other):
            paired = one[metric] - other[metric]
            known = ~np.isnan(paired)  # NAOPC of a text whose rankings all do alike
            if known.any():
                clusters = None if documents is None else documents[known]
                interval = bootstrap_mean(paired[known], clusters=clusters, confidence=confidence, seed=seed)
                count = None if clusters is None else len(np.unique(clusters))
                differences[method, metric] = Difference(method, metric, interval, int(known.sum()), count)
    return Comparison(differences, means, "; ".join([common, *own]))


def compare_over_operators(
    reports: Mapping[str, tuple[FaithfulnessReport, FaithfulnessReport]], *, confidence: float = 0.95, seed: int = 0
) -> tuple[dict[str, Comparison], list[tuple[str, str]]]:
    """Compare two models under several operators, and find the verdicts that depend on the operator.

    Args:
        reports: By operator, the first and the second model's report.
        confidence: Of the bootstrap intervals, in (0, 1).
        seed: Of the resampling.

    Returns:
        The comparisons by operator; and the (method, metric) under which the first model is better by one operator and
        the second by another, each beyond its interval.

    Warns:
        UserWarning: There are such, and names them; and see `compare`.

    Raises:
        ValueError: There are fewer than two operators, a report was made with another than it is filed under, or see
            `compare`.
    """
    if len(reports) < 2:
        raise ValueError(f"expected reports of two operators or more, got {sorted(reports)}")
    for operator, pair in reports.items():
        used = {report.provenance.operator for report in pair}
        if used != {operator}:
            raise ValueError(f"the reports filed under operator {operator!r} were made with {sorted(used)}")
    found = {operator: compare(*pair, confidence=confidence, seed=seed) for operator, pair in reports.items()}
    verdicts: dict[tuple[str, str], dict[str, str]] = {}
    for operator, comparison in found.items():
        for key, difference in comparison.differences.items():
            verdicts.setdefault(key, {})[operator] = difference.verdict
    flipped = [key for key, by_operator in verdicts.items() if {"first", "second"} <= set(by_operator.values())]
    if flipped:
        listed = "; ".join(f"{' '.join(key)}: {verdicts[key]}" for key in flipped)
        warnings.warn(f"verdicts flip with the operator, so neither model is better by them: {listed}", stacklevel=2)
    return found, flipped


def _warn_of_advantages(first: Provenance, second: Provenance, means: tuple[float, float]) -> None:
    """Warn of what lets one of the models look better than it is."""
    if abs(means[0] - means[1]) > MAX_CONFIDENCE_GAP:
        warnings.warn(
            f"the models' mean confidences are {means[0]:.3f} and {means[1]:.3f}: raw AOPC favours the more confident "
            "one, so compare gains over random rankings or normalised values",
            stacklevel=3,
        )
    met = [name for name, one in (("first", first), ("second", second)) if one.trained_masking == one.operator]
    if len(met) == 1:
        warnings.warn(
            f"the {met[0]} model alone was trained with the operator that removes words here ({first.operator}), which "
            "flatters its sufficiency: compare under another operator too",
            stacklevel=3,
        )


def _own(name: str, provenance: Provenance) -> str:
    """What a provenance says of one model alone."""
    masking, cut = provenance.trained_masking, provenance.truncated_words
    flattered = ", which flatters its sufficiency" if masking == provenance.operator else ""
    trained = f"masking in training {'none known' if masking is None else masking}{flattered}"
    return f"{name} model: {trained}, words cut off {'not known' if cut is None else cut}"


def _values(report: FaithfulnessReport, method: str) -> dict[str, NDArray[np.float64]]:
    values, chance = report[method], report["random"]
    metrics = {"comprehensiveness": values.comprehensiveness, "sufficiency": values.sufficiency}
    if method != "random":
        metrics["comprehensiveness_gain"] = values.comprehensiveness - chance.comprehensiveness
        metrics["sufficiency_gain"] = values.sufficiency - chance.sufficiency
    if values.normalized_comprehensiveness is not None and values.normalized_sufficiency is not None:
        metrics["normalized_comprehensiveness"] = values.normalized_comprehensiveness
        metrics["normalized_sufficiency"] = values.normalized_sufficiency
    return metrics


def _identified(report: FaithfulnessReport) -> list[Any] | None:
    if report.predictions is None or report.predictions.identities is None:
        return None
    return [(one.annotation_id, one.words.tolist()) for one in report.predictions.identities]


def _lengths(report: FaithfulnessReport) -> list[Any] | None:
    """Words of each text; tokens are their tokenizer's, and two models may have two."""
    scores = next(iter(report.scores.values()), None)
    return None if scores is None or report.provenance.unit != "word" else [len(each) for each in scores]


def _check_alike(first: FaithfulnessReport, second: FaithfulnessReport) -> None:
    for name in _SAME:
        one, other = getattr(first.provenance, name), getattr(second.provenance, name)
        if one != other:
            raise ValueError(f"the reports were not measured alike: {name} is {one!r} and {other!r}")
    if len(first.full) != len(second.full):
        raise ValueError(f"the reports are of {len(first.full)} and {len(second.full)} texts")
    for known in (_identified, _lengths):
        texts = [known(report) for report in (first, second)]
        if None not in texts and texts[0] != texts[1]:
            raise ValueError(
                "the reports are of different texts, or of texts in another order: their ids or words differ"
            )
    if first.labels is not None and second.labels is not None and (first.labels != second.labels).any():
        raise ValueError("the reports are of different texts, or of texts in another order: their labels differ")
