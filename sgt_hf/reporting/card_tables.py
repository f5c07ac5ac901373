"""The tables and the metadata of a model card: what was measured, with intervals over examples."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from huggingface_hub import EvalResult
from numpy.typing import NDArray
from transformers.trainer_utils import denumpify_detensorize

from ..faithfulness.report import Faithfulness, FaithfulnessReport
from ..metrics.significance import Interval, bootstrap_mean
from .evaluations import DatasetFacts, Evaluation
from .markdown import NOT_RECORDED, Markdown, escape, table

CONFIDENCE = 0.95
RESAMPLES = 2000
_KINDS = ("comprehensiveness", "sufficiency")


@dataclass(frozen=True)
class MethodRow:
    """One attribution method's numbers, each with its interval.

    Attributes:
        method: Its name.
        values: By kind, AOPC.
        over_random: By kind, the paired difference to the random ranking; empty for `random` itself.
        normalized: By kind, NAOPC; empty where no limits were searched for or none is defined.
    """

    method: str
    values: dict[str, Interval]
    over_random: dict[str, Interval]
    normalized: dict[str, Interval]


def interval(values: NDArray[Any], documents: NDArray[np.int64] | None = None) -> Interval:
    """Return mean and percentile bootstrap interval over examples, or over the documents that several of them show.

    Args:
        values: (N,) one per example, finite.
        documents: See `FaithfulnessReport.documents`.
    """
    return bootstrap_mean(values, clusters=documents, confidence=CONFIDENCE, resamples=RESAMPLES)


def _interval_of(
    values: NDArray[Any], known: NDArray[np.bool_], documents: NDArray[np.int64] | None
) -> Interval | None:
    """The interval of the values that are known, or None without any."""
    if not known.any():
        return None
    return interval(values[known], None if documents is None else documents[known])


def drawn(report: FaithfulnessReport) -> str:
    """Return what the intervals are over.

    Args:
        report: Of an evaluation.
    """
    return "examples" if report.documents is None else "documents"


def accuracy_of(report: FaithfulnessReport) -> Interval | None:
    """Return the accuracy with its interval, or None without labels.

    Args:
        report: Of an evaluation.
    """
    if report.labels is None:
        return None
    return _interval_of(report.predicted == report.labels, report.labels >= 0, report.documents)


def method_rows(report: FaithfulnessReport) -> list[MethodRow]:
    """Return every method's numbers.

    Args:
        report: Of an evaluation.
    """
    chance = report["random"]
    return [_method_row(method, report, chance) for method in report.methods]


def faithfulness_table(rows: Sequence[MethodRow]) -> Markdown:
    """Return the table of a report, each number with its interval.

    Args:
        rows: See `method_rows`.
    """
    normalized = any(row.normalized for row in rows)
    header = ["method"]
    for kind, arrow in zip(_KINDS, "↑↓", strict=True):
        header += [f"{kind} {arrow}", "− random", *([f"NAOPC {arrow}"] if normalized else [])]
    lines = []
    for row in rows:
        line = [row.method]
        for kind in _KINDS:
            line += [shown(row.values[kind]), shown(row.over_random.get(kind))]
            line += [shown(row.normalized.get(kind))] if normalized else []
        lines.append(line)
    return table(header, lines)


def metrics_table(evaluation: Evaluation) -> Markdown:
    """Return the table of what `Trainer.evaluate` measured.

    Args:
        evaluation: With metrics.
    """
    rows = [[name, _number(value), NOT_RECORDED] for name, value in _plain(evaluation).items()]
    return table(["metric", "value", "interval"], rows)


def named(dataset: DatasetFacts) -> Markdown:
    """Return a data set in one line.

    Args:
        dataset: Which.
    """
    config = "" if dataset.config in (None, "default") else f" ({dataset.config})"
    name = NOT_RECORDED if dataset.name is None else f"{dataset.name}{config}"
    n = NOT_RECORDED if dataset.n is None else f"{dataset.n:,}"
    split = NOT_RECORDED if dataset.split is None else dataset.split
    return Markdown(f"data set {escape(name)}, split {escape(split)}, n {escape(n)}")


def shown(value: Interval | None) -> str:
    """Return a number with its interval, or a dash.

    Args:
        value: Mean and interval.
    """
    return "—" if value is None else f"{value.mean:.3f} [{value.low:.3f}, {value.high:.3f}]"


def eval_results(evaluations: Sequence[Evaluation], task: str) -> list[EvalResult]:
    """Return the metadata of all evaluations, each metric of a data set once.

    Args:
        evaluations: Later ones replace earlier ones of the same.
        task: Identifier of the hub.
    """
    found: dict[Any, EvalResult] = {}
    # An accuracy of a report has an interval, and replaces the same of `Trainer.evaluate`.
    for evaluation in sorted(evaluations, key=lambda one: one.report is not None):
        for result in _results(evaluation, task):
            found[evaluation.dataset, result.metric_type, result.metric_name, str(result.metric_config)] = result
    return list(found.values())


def _results(evaluation: Evaluation, task: str) -> Iterator[EvalResult]:
    data = evaluation.dataset
    name = data.name or NOT_RECORDED
    where: dict[str, Any] = {
        "task_type": task,
        "dataset_type": data.hub_id or name,
        "dataset_name": name,
        "dataset_split": data.split,
        "dataset_config": data.config,
    }
    for kind, value in _plain(evaluation).items():
        if isinstance(value, int | float) and math.isfinite(value):
            yield EvalResult(**where, metric_type=kind, metric_name=kind, metric_value=value, metric_args={"n": data.n})
    if (report := evaluation.report) is None:
        return
    if (accuracy := accuracy_of(report)) is not None:
        args = _arguments(report.texts()["accuracy"], accuracy, report)
        yield EvalResult(
            **where, metric_type="accuracy", metric_name="accuracy", metric_value=accuracy.mean, metric_args=args
        )
    for row in method_rows(report):
        for kind, value in row.values.items():
            yield EvalResult(
                **where,
                metric_type=kind,
                metric_name=f"AOPC {kind} ({row.method})",
                metric_value=value.mean,
                # What makes two numbers of one name different numbers.
                metric_config=", ".join(f"{key}={setting}" for key, setting in asdict(report.provenance).items()),
                metric_args=_arguments(len(report.full), value, report) | _measured(report, row.method),
            )


def _arguments(n: int, value: Interval, report: FaithfulnessReport) -> dict[str, Any]:
    bounds = [value.low, value.high]
    return {"n": n, "interval": bounds, "confidence": CONFIDENCE, "interval_over": drawn(report)}


def _measured(report: FaithfulnessReport, method: str) -> dict[str, Any]:
    provenance = report.provenance
    return {
        "method": method,
        "convention": provenance.convention,
        "operator": provenance.operator,
        "bins": list(provenance.bins),
        "unit": provenance.unit,
        "reduction": str(provenance.reduction),
        "provenance": str(provenance),
    }


def _method_row(method: str, report: FaithfulnessReport, chance: Faithfulness) -> MethodRow:
    result, documents = report[method], report.documents
    values = {kind: getattr(result, kind) for kind in _KINDS}
    found = {kind: getattr(result, f"normalized_{kind}") for kind in _KINDS}
    known = {
        kind: _interval_of(array, np.isfinite(array), documents) for kind, array in found.items() if array is not None
    }
    differences = {} if method == "random" else {kind: values[kind] - getattr(chance, kind) for kind in _KINDS}
    return MethodRow(
        method=method,
        values={kind: interval(array, documents) for kind, array in values.items()},
        over_random={kind: interval(array, documents) for kind, array in differences.items()},
        normalized={kind: one for kind, one in known.items() if one is not None},
    )


def _plain(evaluation: Evaluation) -> dict[str, Any]:
    """The metrics as Python's own numbers: YAML writes NumPy's as a call, which no one loads."""
    metrics: dict[str, Any] = denumpify_detensorize(dict(evaluation.metrics))
    return metrics


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
