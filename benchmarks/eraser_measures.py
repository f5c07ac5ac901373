"""What a cell of the ERASER benchmark keeps of an evaluation, beyond its summary."""

from __future__ import annotations

from typing import Any

import numpy as np

from sgt_hf import FaithfulnessReport
from sgt_hf.metrics.sparsity import gini, hoyer


def per_example(report: FaithfulnessReport) -> dict[str, Any]:
    """Return what paired statistics need, rounded to six decimals.

    Args:
        report: Of the test texts.
    """
    values: dict[str, Any] = {
        "correct": (report.predicted == report.labels).astype(int).tolist(),
        "confidence": report.full.round(6).tolist(),
    }
    return values | {method: aopc_of(report, method) for method in report.methods}


def aopc_of(report: FaithfulnessReport, method: str) -> dict[str, list[float]]:
    """Return each text's AOPC, rounded to six decimals.

    Args:
        report: Of the test texts.
        method: One of its methods.
    """
    result = report[method]
    return {
        "comprehensiveness": result.comprehensiveness.round(6).tolist(),
        "sufficiency": result.sufficiency.round(6).tolist(),
    }


def normalized(report: FaithfulnessReport) -> dict[str, dict[str, list[float | None]]]:
    """Return each text's NAOPC by method, rounded to six decimals; None where no ranking differs from another.

    Args:
        report: Of an evaluation with limits.
    """
    found = {}
    for method in report.methods:
        result = report[method]
        both = {
            "comprehensiveness": result.normalized_comprehensiveness,
            "sufficiency": result.normalized_sufficiency,
        }
        found[method] = {
            kind: [None if np.isnan(value) else round(float(value), 6) for value in values]
            for kind, values in both.items()
            if values is not None
        }
    return found


def maps_of(report: FaithfulnessReport) -> dict[str, dict[str, float]]:
    """Return of each method's maps the sparsity and, where humans marked words, the agreement with them.

    Args:
        report: Of the test texts.
    """
    found: dict[str, dict[str, float]] = {}
    for method, scores in report.scores.items():
        found[method] = {"gini": float(gini(scores).mean()), "hoyer": float(hoyer(scores).mean())}
        if _marked_by_humans(report):
            agreement = report.plausibility(method)
            found[method] |= {"auprc": agreement["auprc"], "token_f1": agreement["token"].macro.f1}
            found[method] |= {"iou_f1": agreement["iou"].macro.f1} if agreement["iou"] is not None else {}
    return found


def _marked_by_humans(report: FaithfulnessReport) -> bool:
    identities = report.predictions.identities if report.predictions is not None else None
    return bool(identities) and any(one.rationale is not None and one.rationale.any() for one in identities)
