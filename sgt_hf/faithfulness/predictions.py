"""What a report knows of every class and of the words' places: enough to judge plausibility and to hand results out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset
from numpy.typing import NDArray
from transformers import DefaultDataCollator, default_data_collator

from ..data.other_columns import label_column
from ..metrics.plausibility import (
    Span,
    auprc,
    hard_rationale,
    iou_agreement,
    mean_share,
    spans_of,
    token_agreement,
)

Array = NDArray[np.float64]

_COLUMNS = ("annotation_id", "docids", "doc_lengths")
_WAY_OUT = (
    "evaluate rows that keep annotation_id, docids, doc_lengths and word_ids, with words as units: "
    "encode_words(load_eraser(...)) makes them"
)
_USUAL_SHARE = 0.2


@dataclass(frozen=True)
class TextIdentity:
    """Which words of which documents a text's scores belong to.

    Attributes:
        annotation_id: The row's.
        docids: The documents it shows.
        doc_lengths: Words of each.
        words: (n,) where each scored word stands in the documents' words, laid end to end.
        rationale: (W,) bool, the words humans marked, or None.
        evidence: (docid, start, end) of every span as annotated, or None.
    """

    annotation_id: str
    docids: tuple[str, ...]
    doc_lengths: tuple[int, ...]
    words: NDArray[np.int64]
    rationale: NDArray[np.bool_] | None = None
    evidence: tuple[tuple[str, int, int], ...] | None = None

    def split(self, values: NDArray[Any]) -> list[tuple[str, NDArray[Any]]]:
        """Cut (W,) values of all words into those of each document that has a word."""
        parts = np.split(values, np.cumsum(self.doc_lengths)[:-1])
        return [(docid, part) for docid, part in zip(self.docids, parts, strict=True) if len(part)]

    def spread(self, scores: Array) -> Array:
        """Give all W words a score: those that were not scored (cut off, or protected) tie with the lowest."""
        spread = np.full(sum(self.doc_lengths), scores.min() if len(scores) else 0.0, dtype=np.float64)
        spread[self.words] = scores
        return spread

    def mark(self, selected: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Mark, among all W words, the selected ones of the n scored."""
        marked = np.zeros(sum(self.doc_lengths), dtype=np.bool_)
        marked[self.words[selected]] = True
        return marked


@dataclass(frozen=True)
class Predictions:
    """What a report keeps of every class and of the words' places.

    Attributes:
        identities: N, or None where the rows did not say or units were no words.
        label_names: K, or None where neither data set nor model names them.
        predicted: (N,) classes. Of near ties the likeliest by logits, which the probabilities may not tell.
        full: (N, K) probabilities on the whole input.
        removed: By method, (N, R, K) without the top words of each bin.
        kept: By method, (N, R, K) with them alone.
        scores: By method, N times (n,).
        bins: (R,) shares of the words.
        documents: N ids of the texts' first documents, or None where a row does not say.
    """

    identities: list[TextIdentity] | None
    label_names: tuple[str, ...] | None
    predicted: NDArray[np.int64]
    full: Array
    removed: dict[str, Array]
    kept: dict[str, Array]
    scores: dict[str, list[Array]]
    bins: tuple[float, ...]
    documents: list[str] | None = None

    def method(self, name: str | None) -> str:
        """Return the method asked for, the first by default; random rankings have no scores to hand out."""
        known = list(self.scores)
        if not known or (name is not None and name not in known):
            raise ValueError(f"there are no word scores of method {name!r}: the report has those of {known}")
        return known[0] if name is None else name

    def require_identities(self) -> list[TextIdentity]:
        """Return the identities or say how to get them."""
        if self.identities is None:
            raise ValueError(f"the report does not know which words of which documents were scored: {_WAY_OUT}")
        return self.identities

    def bin_of(self, share: float | None) -> int:
        """Return the bin of a hard rationale: the share given, else the one nearest to what humans marked.

        Where nothing says what humans marked, the nearest to 20 %.
        """
        if share is not None:
            if share not in self.bins:
                raise ValueError(
                    f"share={share} is none of the bins {self.bins}: the model was not run without just those words. "
                    "Evaluate with it among bins="
                )
            return self.bins.index(share)
        rationales = [one.rationale for one in self.require_identities() if one.rationale is not None]
        wanted = mean_share(rationales) if len(rationales) == len(self.full) else _USUAL_SHARE
        return int(np.argmin(np.abs(np.array(self.bins) - wanted)))


def identities_of(dataset: Any, words: Sequence[NDArray[np.int64] | None]) -> list[TextIdentity] | None:
    """Collect the identities of a data set's rows.

    Args:
        dataset: N rows, map-style.
        words: N times (n,), see `TextIdentity`; None where units are no words.

    Returns:
        N identities, or None where a row lacks a column or words are not known.
    """
    identities = []
    for index, places in enumerate(words):
        row = dataset[index]
        if places is None or any(row.get(name) is None for name in _COLUMNS):
            return None
        identities.append(_identity(row, places))
    return identities


def label_names_of(dataset: Any, id2label: Mapping[int, str] | None, collator: Any = None) -> tuple[str, ...] | None:
    """Find the classes' names: the data set's, else the model's where they are more than `LABEL_0`.

    Args:
        dataset: Of the rows evaluated.
        id2label: Of the model's configuration, if it has one.
        collator: Of the rows; None for one that pads texts.

    Raises:
        ValueError: Both name the same classes, in another order: the labels would be of other classes.
    """
    names = None if id2label is None else tuple(id2label[index] for index in sorted(id2label))
    features = dataset.features if isinstance(dataset, Dataset) else {}
    stacks = isinstance(collator, DefaultDataCollator) or getattr(collator, "func", collator) is default_data_collator
    name = label_column(features, of_texts=not stacks)
    if name is not None and isinstance(feature := features[name], ClassLabel):
        own = tuple(feature.names)
        if names is not None and names != own and sorted(names) == sorted(own):
            raise ValueError(
                f"the data set's classes are {list(own)} and the model's {list(names)}, the same in another order, so "
                f"its labels are of other classes: dataset.align_labels_with_mapping(model.config.label2id, {name!r}) "
                "puts them in the model's order"
            )
        return own
    return None if names is None or all(name == f"LABEL_{i}" for i, name in enumerate(names)) else names


def agreement_with_humans(
    predictions: Predictions, *, method: str | None = None, share: float | None = None
) -> dict[str, Any]:
    """Plausibility of a report's scores, the same numbers that ERASER's scorer finds in the exported file.

    Args:
        predictions: Of a report.
        method: Whose scores; the first by default.
        share: As for `to_eraser_rows`.

    Returns:
        `share`, `auprc`, and `token` and `iou`, each an `Agreement`; `iou` is None where the rows do not hold the
        evidence as annotated.

    Raises:
        ValueError: The rows or their human rationales are not known, or as for `to_eraser_rows`.
    """
    identities, method = predictions.require_identities(), predictions.method(method)
    chosen = predictions.bins[predictions.bin_of(share)]
    truth, hard, soft, marked = [], [], [], []
    for identity, scores in zip(identities, predictions.scores[method], strict=True):
        if identity.rationale is None:
            raise ValueError("the rows have no rationale column: evaluate encode_words(load_eraser(...))")
        selected = identity.split(identity.mark(hard_rationale(scores, share=chosen)))
        truth += [part for _, part in identity.split(identity.rationale)]
        soft += [part for _, part in identity.split(identity.spread(scores))]
        hard += [part for _, part in selected]
        marked += [_spans_in(identity, docid) for docid, _ in selected]
    annotated = all(identity.evidence is not None for identity in identities)
    return {
        "share": chosen,
        "auprc": auprc(truth, soft),
        "token": token_agreement(truth, hard),
        "iou": iou_agreement(marked, [spans_of(part) for part in hard]) if annotated else None,
    }


def _identity(row: Mapping[str, Any], words: NDArray[np.int64]) -> TextIdentity:
    rationale, groups = row.get("rationale"), row.get("evidence_groups")
    evidence = None
    if groups is not None:
        evidence = tuple((one["docid"], one["start_token"], one["end_token"]) for group in groups for one in group)
    return TextIdentity(
        row["annotation_id"],
        tuple(row["docids"]),
        tuple(int(length) for length in row["doc_lengths"]),
        words,
        None if rationale is None else np.asarray(rationale, dtype=np.bool_),
        evidence,
    )


def _spans_in(identity: TextIdentity, docid: str) -> list[Span]:
    return [(start, end) for where, start, end in identity.evidence or () if where == docid]
