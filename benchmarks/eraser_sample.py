"""A few test texts with their words' scores, kept in a cell of the ERASER benchmark for its page."""

from __future__ import annotations

from typing import Any

import numpy as np
from datasets import Dataset

from sgt_hf import FaithfulnessReport
from sgt_hf.metrics.plausibility import spans_of

TEXTS = 20
METHOD = "gradient"


def text_sample(
    report: FaithfulnessReport, split: Dataset, truncated: list[int], *, with_query: bool, count: int = TEXTS
) -> dict[str, Any]:
    """Return the first texts of a split as a model sees them.

    Args:
        report: Of the split.
        split: Of `load_eraser`.
        truncated: Words of each text that the encoding cut off.
        with_query: Whether the query is part of the input.
        count: At most this many texts.

    Returns:
        JSON-able: `method`, None where no method has scores; and `texts`. `words` end with the last scored one;
        `scores` are rounded to four digits, null for words between that were not scored; `rationale` are spans.
    """
    known = report.predictions
    if known is None or known.identities is None or not known.scores:
        return {"method": None, "texts": []}
    method = METHOD if METHOD in known.scores else next(iter(known.scores))
    names = split.features["label"].names
    texts = []
    for n, row in enumerate(split.select(range(min(count, len(split))))):
        identity, scores = known.identities[n], known.scores[method][n]
        size = int(identity.words[-1]) + 1 if len(identity.words) else 0
        spread: list[float | None] = [None] * size
        for place, score in zip(identity.words.tolist(), scores.tolist(), strict=True):
            spread[place] = float(f"{score:.4g}")
        texts.append(
            {
                "id": identity.annotation_id,
                "query": " ".join(row["query"]) if with_query else None,
                "words": row["document"][:size],
                "scores": spread,
                "rationale": [list(span) for span in spans_of(np.array(row["rationale"][:size], dtype=bool))],
                "label": names[row["label"]],
                "predicted": names[int(report.predicted[n])],
                "probability": round(float(report.full[n]), 6),
                "truncated_words": truncated[n],
            }
        )
    return {"method": method, "texts": texts}
