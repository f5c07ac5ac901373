"""One row of ERASER and its documents → one record: the words shown, and which of them are evidence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, chain
from typing import Any

from sgt_hf.data.eraser_files import EraserFormatError, Evidence, Row

Documents = dict[str, list[str]]


def pair_of(row: Row) -> list[str]:
    """Return the ids of the two documents that an e-SNLI row shows."""
    return [f"{row.annotation_id}_premise", f"{row.annotation_id}_hypothesis"]


def candidate_docids(row: Row) -> set[str]:
    """Return the ids of all documents that may have to be read for a row."""
    evidences = (evidence["docid"] for _, evidence in _evidences(row))
    return {row.annotation_id, *pair_of(row), *row.docids, *evidences}


def docids_of(row: Row, documents: Documents, *, always_pair: bool = False) -> list[str]:
    """Return the documents a row shows, in order.

    Args:
        row: A row.
        documents: Words by docid.
        always_pair: Whether the row must have a premise and a hypothesis, as in e-SNLI.

    Raises:
        EraserFormatError: if one of the documents does not exist or all are empty.
    """
    pair = pair_of(row)
    in_evidences = list(dict.fromkeys(evidence["docid"] for _, evidence in _evidences(row)))
    if always_pair or all(docid in documents for docid in pair):
        docids, field = pair, "annotation_id"
    elif row.docids:
        docids, field = row.docids, "docids"
    elif in_evidences:
        docids, field = in_evidences, "evidences"
    else:
        docids, field = [row.annotation_id], "annotation_id"
    for docid in docids:
        if docid not in documents:
            raise row.place.error(
                field, f"there is no document {docid!r}", "Add it to docs.jsonl or docs/, or remove the row"
            )
    if not any(documents[docid] for docid in docids):
        raise row.place.error(field, f"{', '.join(docids)} has no words", "Fill it or remove the row")
    return docids


def record_of(row: Row, docids: list[str], documents: Documents, label_names: Sequence[str]) -> dict[str, Any]:
    """Return a row as the data set shows it.

    Args:
        row: A row whose evidence has been checked.
        docids: The documents it shows.
        documents: Words by docid.
        label_names: The classes.

    Raises:
        EraserFormatError: if the row's class is none of these.
    """
    if row.classification not in label_names:
        raise row.place.error(
            "classification",
            f"{row.classification!r} is none of {', '.join(label_names)}",
            "Correct the label, or pass label_names= with every class",
        )
    words = [documents[docid] for docid in docids]
    lengths = [len(document) for document in words]
    first = dict(zip(docids, accumulate(lengths, initial=0), strict=False))  # accumulate ends with the total
    rationale = [0] * sum(lengths)
    for _, evidence in _evidences(row):
        start, end = evidence["start_token"], evidence["end_token"]
        offset = first[evidence["docid"]]
        rationale[offset + start : offset + end] = [1] * (end - start)
    return {
        "annotation_id": row.annotation_id,
        "document": list(chain.from_iterable(words)),
        "query": row.query.split(),
        "label": label_names.index(row.classification),
        "rationale": rationale,
        "evidence_groups": row.evidence_groups,
        "docids": docids,
        "doc_lengths": lengths,
    }


def check_evidence(row: Row, docids: list[str], documents: Documents) -> Iterator[EraserFormatError]:
    """Yield an error for each evidence whose text is not the document's words; raise for the graver ones.

    Spans of no words with an empty text are legal: Movies has 20 of them.

    Raises:
        EraserFormatError: for evidence in a document the row does not show, or outside its document.
    """
    for field, evidence in _evidences(row):
        docid, start, end = evidence["docid"], evidence["start_token"], evidence["end_token"]
        if docid not in docids:
            raise row.place.error(
                f"{field}.docid",
                f"{docid!r} is none of the row's documents ({', '.join(docids)})",
                "Add it to the row's docids or remove the evidence",
            )
        words = documents[docid]
        if not 0 <= start <= end <= len(words):
            raise row.place.error(
                f"{field}.end_token" if 0 <= start <= len(words) else f"{field}.start_token",
                f"words {start} to {end} are outside document {docid!r} of {len(words)} words",
                "Positions count whitespace-separated words from 0 and end_token is exclusive; correct them",
            )
        if evidence["text"].split() != words[start:end]:
            yield row.place.error(
                f"{field}.text",
                f"{evidence['text']!r} is not what words {start} to {end} of {docid!r} say "
                f"({' '.join(words[start:end])!r})",
                "Correct the text or the positions, or pass strict=False to go by the positions",
            )


def _evidences(row: Row) -> Iterator[tuple[str, Evidence]]:
    for group_index, group in enumerate(row.evidence_groups):
        for index, evidence in enumerate(group):
            yield f"evidences[{group_index}][{index}]", evidence
