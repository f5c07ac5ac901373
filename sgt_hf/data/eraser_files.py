"""ERASER's released files, read strictly: rows of `{split}.jsonl`, documents of `docs.jsonl` or `docs/ID`.

Whatever is wrong is refused with the file, the line, the field and the way out. What is read here is plain
Python; `sgt_hf.data.eraser` turns it into a data set.

References:
    DeYoung et al. 2020, ERASER: A Benchmark to Evaluate Rationalized NLP Models, https://www.eraserbenchmark.com.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, TypeVar

T = TypeVar("T")

_JSON_NAMES = {str: "a string", int: "an integer", list: "a list", dict: "an object"}


class EraserFormatError(ValueError):
    """A file that is not in ERASER's released layout; the message names file, line, field and the way out."""


class Place(NamedTuple):
    """A line of a file, as errors name it."""

    file: Path
    line: int

    def error(self, field: str | None, problem: str, way_out: str) -> EraserFormatError:
        """Return the error that says what is wrong here and what to do about it."""
        where = f"{self.file}, line {self.line}" + (f", field '{field}'" if field else "")
        return EraserFormatError(f"{where}: {problem}. {way_out}")


class Evidence(TypedDict):
    """One highlighted span: the words `start_token` to `end_token` (exclusive) of one document."""

    docid: str
    start_token: int
    end_token: int
    text: str


class Row(NamedTuple):
    """One line of a split; `docids` is empty where the file names none, as in Movies."""

    place: Place
    annotation_id: str
    query: str
    classification: str
    docids: list[str]
    evidence_groups: list[list[Evidence]]


def read_rows(path: Path) -> list[Row]:
    """Read all rows of a split.

    Args:
        path: The split's `.jsonl` file.

    Raises:
        EraserFormatError: for broken JSON, invalid UTF-8, a missing or wrong-typed field, a repeated
            annotation_id, and a file without rows.
    """
    rows = [_row(record, place) for place, record in _records(path)]
    if not rows:
        raise EraserFormatError(f"{path} holds no row. Fetch it again, or remove it if there is no such split")
    first: dict[str, Place] = {}
    for row in rows:
        earlier = first.setdefault(row.annotation_id, row.place)
        if earlier is not row.place:
            raise row.place.error(
                "annotation_id",
                f"{row.annotation_id!r} is the duplicate of line {earlier.line}",
                "Give every row an id of its own, or remove the repeated row",
            )
    return rows


def read_documents(folder: Path, wanted: set[str]) -> dict[str, list[str]]:
    """Read those of the wanted documents that exist.

    `docs.jsonl` goes before `docs/`, as in ERASER's own reader.

    Args:
        folder: The data set's folder.
        wanted: Ids of documents; ids without a document are left out of the answer.

    Returns:
        The whitespace-separated words of each document, by docid.

    Raises:
        EraserFormatError: for a folder with neither `docs.jsonl` nor `docs/`, a repeated docid, broken JSON,
            invalid UTF-8.
    """
    if (folder / "docs.jsonl").is_file():
        return _documents_of_file(folder / "docs.jsonl", wanted)
    docs = folder / "docs"
    if not docs.is_dir():
        raise EraserFormatError(
            f"{folder} holds neither 'docs.jsonl' nor a folder 'docs'. Put the documents beside the splits, "
            "as ERASER's archives do"
        )
    # An id is a path below docs/ (MultiRC's have slashes). Going by the files that are there, none leads out of it.
    files = ((path.relative_to(docs).as_posix(), path) for path in docs.rglob("*"))
    return {docid: _text(path).split() for docid, path in files if docid in wanted and path.is_file()}


def _documents_of_file(path: Path, wanted: set[str]) -> dict[str, list[str]]:
    documents: dict[str, list[str]] = {}
    lines: dict[str, int] = {}
    for place, record in _records(path):
        docid = _typed(record, "docid", str, place)
        text = _typed(record, "document", str, place)
        if docid in lines:
            raise place.error(
                "docid",
                f"{docid!r} is the duplicate of line {lines[docid]}",
                "Keep one document for each docid",
            )
        lines[docid] = place.line
        if docid in wanted:
            documents[docid] = text.split()
    return documents


def _text(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _encoding_error(Place(path, line), error) from error


def _records(path: Path) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Yield the JSON object of each line; lines of nothing but white space are passed over."""
    with path.open("rb") as lines:  # bytes: text mode cannot say in which line the encoding is broken
        for number, line in enumerate(lines, start=1):
            if line.strip():
                place = Place(path, number)
                yield place, _record(line, place)


def _record(line: bytes, place: Place) -> dict[str, Any]:
    try:
        record = json.loads(line.decode("utf-8"))
        if b"\\u" in line:  # half of a surrogate pair passes as JSON and is no text
            json.dumps(record, ensure_ascii=False).encode("utf-8")
    except UnicodeError as error:
        raise _encoding_error(place, error) from error
    except (ValueError, RecursionError) as error:
        raise place.error(
            None,
            f"broken JSON ({error})",
            "Every line must be one whole JSON object; a file cut short must be fetched again",
        ) from error
    if not isinstance(record, dict):
        raise place.error(None, f"{_seen(record)} instead of a JSON object", "Write one JSON object a line")
    return record


def _encoding_error(place: Place, error: UnicodeError) -> EraserFormatError:
    return place.error(None, f"invalid UTF-8 ({error})", "Convert the file to UTF-8")


def _row(record: dict[str, Any], place: Place) -> Row:
    groups = _typed(record, "evidences", list, place)
    return Row(
        place,
        annotation_id=_typed(record, "annotation_id", str, place),
        query=_typed(record, "query", str, place, null=""),
        classification=_typed(record, "classification", str, place),
        docids=_docids(record, place),
        evidence_groups=[_group(group, f"evidences[{index}]", place) for index, group in enumerate(groups)],
    )


def _docids(record: dict[str, Any], place: Place) -> list[str]:
    if record.get("docids") is None:
        return []
    docids = _typed(record, "docids", list, place)
    for index, docid in enumerate(docids):
        if type(docid) is not str:
            raise _type_error(f"docids[{index}]", docid, str, place)
        if docid in docids[:index]:
            raise place.error("docids", f"{docid!r} is a duplicate", "Name every document of the row once")
    return docids


def _group(group: object, field: str, place: Place) -> list[Evidence]:
    if type(group) is not list:
        raise _type_error(field, group, list, place)
    return [_evidence(evidence, f"{field}[{index}].", place) for index, evidence in enumerate(group)]


def _evidence(evidence: object, prefix: str, place: Place) -> Evidence:
    if type(evidence) is not dict:
        raise _type_error(prefix[:-1], evidence, dict, place)
    return Evidence(
        docid=_typed(evidence, "docid", str, place, prefix),
        start_token=_typed(evidence, "start_token", int, place, prefix),
        end_token=_typed(evidence, "end_token", int, place, prefix),
        text=_typed(evidence, "text", str, place, prefix),
    )


def _typed(
    record: dict[str, Any], key: str, kind: type[T], place: Place, prefix: str = "", *, null: T | None = None
) -> T:
    """Return a field of the type it must have; `null` is what JSON's null stands for, where that is legal."""
    if key not in record:
        raise place.error(prefix + key, "is missing", f"Add it; it must be {_JSON_NAMES[kind]}")
    value = record[key]
    if value is None and null is not None:
        return null
    if type(value) is not kind:  # not isinstance: true and false are no integers here
        raise _type_error(prefix + key, value, kind, place)
    return value


def _type_error(field: str, value: object, kind: type, place: Place) -> EraserFormatError:
    return place.error(field, f"is {_seen(value)}", f"It must be {_JSON_NAMES[kind]}")


def _seen(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."
