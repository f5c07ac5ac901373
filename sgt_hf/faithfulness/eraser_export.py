"""Predictions and explanations as the jsonl that ERASER's released scorer reads.

References:
    DeYoung et al. ERASER: A Benchmark to Evaluate Rationalized NLP Models. ACL 2020; the format is that of
    rationale_benchmark/metrics.py in github.com/jayded/eraserbenchmark.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..atomic import write_atomically
from ..metrics.plausibility import hard_rationale, spans_of
from .predictions import Array, Predictions, TextIdentity


def to_eraser_rows(
    predictions: Predictions,
    *,
    method: str | None = None,
    share: float | None = None,
    label_names: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Lay predictions out as the instances of ERASER's scorer.

    Soft scores of words that were not scored (cut off, or protected) tie with the lowest of their text. The hard
    rationale is the top ⌈share · n⌉ of the n scored words, in runs; the scores without and with it are the bin's.

    Args:
        predictions: Of a report.
        method: Whose scores; the first by default.
        share: Of the hard rationale, one of the bins; by default the one nearest to the mean share that humans marked
            or, where the rows do not say, to 20 %.
        label_names: Names of the classes in the order of their numbers, where the data set does not give them.

    Returns:
        N JSON-able rows. Those with a hard rationale come first, and likewise the documents of a row: the scorer looks
        at the first document of the first row to see whether there are any.

    Raises:
        ValueError: The rows are not known, an annotation_id is there twice, the classes have no names or another
            number of them, the share is no bin, or the method has no scores.
    """
    identities, method = predictions.require_identities(), predictions.method(method)
    names = _names(predictions, label_names)
    repeated = len(identities) - len({one.annotation_id for one in identities})
    if repeated:
        raise ValueError(f"{repeated} rows repeat an annotation_id, by which the scorer tells rows apart")
    hard = predictions.bin_of(share)
    rows = []
    for n, identity in enumerate(identities):
        curves = predictions.removed[method][n], predictions.kept[method][n]
        thresholds = [_scored_bin(*pair, names) for pair in zip(*curves, strict=True)]
        rows.append(
            {
                "annotation_id": identity.annotation_id,
                "rationales": _rationales(identity, predictions.scores[method][n], predictions.bins[hard]),
                "classification": names[predictions.predicted[n]],
                "classification_scores": _by_name(predictions.full[n], names),
                **thresholds[hard],
                "thresholded_scores": [
                    {"threshold": share, **scores} for share, scores in zip(predictions.bins, thresholds, strict=True)
                ],
            }
        )
    return sorted(rows, key=lambda row: not any(entry["hard_rationale_predictions"] for entry in row["rationales"]))


def write_jsonl(path: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write one JSON object a line; the file is there whole or not at all.

    Args:
        path: Target; its folder is made.
        rows: JSON-able, without NaN.

    Raises:
        ValueError: A number is not finite.
    """
    write_atomically(path, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))


def _names(predictions: Predictions, given: Sequence[str] | None) -> tuple[str, ...]:
    names = predictions.label_names if given is None else tuple(given)
    count = predictions.full.shape[1]
    if names is None or len(set(names)) != count:
        raise ValueError(
            f"the model tells {count} classes apart and their names are {names}: pass label_names=, as the data set's "
            "files spell them"
        )
    return names


def _rationales(identity: TextIdentity, scores: Array, share: float) -> list[dict[str, Any]]:
    """One entry per document that has a word, those with a hard rationale first."""
    soft = identity.split(identity.spread(scores))
    hard = dict(identity.split(identity.mark(hard_rationale(scores, share=share))))
    entries = [
        {
            "docid": docid,
            "soft_rationale_predictions": values.tolist(),
            "hard_rationale_predictions": [
                {"start_token": start, "end_token": end} for start, end in spans_of(hard[docid])
            ],
        }
        for docid, values in soft
    ]
    return sorted(entries, key=lambda entry: not entry["hard_rationale_predictions"])


def _scored_bin(removed: Array, kept: Array, names: Sequence[str]) -> dict[str, dict[str, float]]:
    return {
        "comprehensiveness_classification_scores": _by_name(removed, names),
        "sufficiency_classification_scores": _by_name(kept, names),
    }


def _by_name(probabilities: Array, names: Sequence[str]) -> dict[str, float]:
    return dict(zip(names, probabilities.tolist(), strict=True))
