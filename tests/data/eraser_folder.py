"""A tiny data set in ERASER's layout, written into a test's own folder."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

Json = dict[str, Any]

DOCUMENTS = {
    "a": "good film",
    "b": "a dull and very dull story",
    "c.txt": "fine\nwords here",
    "d": "nothing new",
}


def evidence(docid: str, start: int, end: int, text: str) -> Json:
    return {"docid": docid, "start_token": start, "end_token": end, "text": text, "start_sentence": -1}


def row(annotation_id: str, classification: str, *groups: list[Json], **fields: Any) -> Json:
    base = {"annotation_id": annotation_id, "classification": classification, "evidences": list(groups)}
    return {**base, "query": "Is it  good ?", "query_type": None, **fields}


def rows() -> dict[str, list[Json]]:
    """Return three legal splits, to be spoilt by tests."""
    return {
        "train": [
            row("r1", "POS", [evidence("a", 0, 1, "good")], docids=["a", "b"]),
            row("r2", "NEG", [evidence("b", 0, 2, "a dull")]),
        ],
        "val": [row("c.txt", "POS", docids=None)],
        "test": [row("r3", "NEG", [evidence("d", 0, 2, "nothing new")], docids=[])],
    }


def write_eraser(
    folder: Path, splits: dict[str, list[Json]], documents: dict[str, str], *, one_file: bool = False
) -> Path:
    """Write splits and documents, these into `docs.jsonl` or one file each."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, split_rows in splits.items():
        write_jsonl(folder / f"{split}.jsonl", split_rows)
    if one_file:
        write_jsonl(folder / "docs.jsonl", [{"docid": d, "document": t} for d, t in documents.items()])
        return folder
    for docid, text in documents.items():
        (folder / "docs" / docid).parent.mkdir(parents=True, exist_ok=True)
        (folder / "docs" / docid).write_text(text, encoding="utf-8")
    return folder


def write_jsonl(path: Path, records: list[Json]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def pack(folder: Path, name: str, *more: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """Return a `.tar.gz` of the folder under the name, and of further members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.add(folder, arcname=name)
        for member, content in more:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
