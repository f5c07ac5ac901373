"""ERASER's data sets as `datasets`: words, label, rationale and evidence of every row."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import datasets
from datasets import ClassLabel, Dataset, DatasetDict, DatasetInfo, Features, List, NamedSplit, Value

from sgt_hf.data.eraser_archive import fresh_folder
from sgt_hf.data.eraser_files import EraserFormatError, Place, Row, read_documents, read_rows
from sgt_hf.data.eraser_records import candidate_docids, check_evidence, docids_of, record_of
from sgt_hf.data.eraser_sources import SPLIT_FILES, find_folder

LABEL_NAMES = {
    "movies": ["NEG", "POS"],
    "fever": ["REFUTES", "SUPPORTS"],
    "esnli": ["contradiction", "entailment", "neutral"],
}

# Part of the cache's key: raise it whenever the same files give other columns than before.
_TABLE_VERSION = 2


def load_eraser(
    name: str | os.PathLike[str],
    data_dir: str | os.PathLike[str] | None = None,
    *,
    split: str | None = None,
    strict: bool = True,
    cache_dir: str | os.PathLike[str] | None = None,
    label_names: Sequence[str] | None = None,
) -> DatasetDict | Dataset:
    """Load a data set in ERASER's released layout: `{train,val,test}.jsonl` and `docs.jsonl` or `docs/ID`.

    It is taken from `data_dir`, else from `<name>/` in the folder of the environment variable
    `SGT_HF_ERASER_DIR`, else from the official archive (or that of `SGT_HF_ERASER_URL`), which is downloaded
    once. "planted" is the bundled demonstration corpus and needs no network.

    The columns are `annotation_id`, `document` (words of the row's documents, one after the other), `query`
    (words), `label`, `rationale` (0 or 1 a word of `document`: the union of all evidence groups),
    `evidence_groups` (as released: positions count from the start of their own document, `end_token` is
    exclusive), `docids` and `doc_lengths` (words of each document).

    A row's documents are its `docids`, else those of its evidences in order of appearance, else the document
    of its own id. Rows with documents `<annotation_id>_premise` and `<annotation_id>_hypothesis` (e-SNLI)
    always show both, in this order: going by the evidences would leak the label, since neutral pairs are
    highlighted in the hypothesis only.

    Args:
        name: "movies", "fever", "esnli", "planted", another set's name, or the path of a folder or `.tar.gz`.
        data_dir: The set's own folder, the folder around it, or its `.tar.gz`.
        split: "train", "validation" (the file `val.jsonl`) or "test": load this one alone.
        strict: Refuse evidence whose text is not the document's words; else one warning counts them.
        cache_dir: Where downloads and tables are kept; `sgt_hf` in the cache of `datasets` by default.
        label_names: Names of the classes in the order of their numbers. By default fixed for the three known
            sets, else the sorted classes of the train split (of all splits where there is no train).

    Returns:
        All three splits, or the one asked for.

    Raises:
        EraserFormatError: for files that are missing or not in the layout; it names file, line, field and the
            way out.
        FileNotFoundError: for a folder or archive that does not exist.
        ConnectionError: for a failed download.
        ValueError: for an unknown split or name.

    Examples:
        >>> test = load_eraser("planted", split="test")
        >>> len(test[0]["document"]) == len(test[0]["rationale"])
        True
    """
    if split is not None and split not in SPLIT_FILES:
        raise ValueError(f"split={split!r} is unknown. Pass one of {', '.join(SPLIT_FILES)}, or None for all")
    cache = Path(cache_dir or Path(datasets.config.HF_DATASETS_CACHE, "sgt_hf")).expanduser()
    bare_name, folder = find_folder(name, data_dir, cache)
    splits = [split] if split else list(SPLIT_FILES)
    files = _files_of(folder, splits)
    known = LABEL_NAMES.get(bare_name) if label_names is None else list(label_names)
    table = cache / "tables" / f"{bare_name}-{_key(folder, splits, strict, known, bare_name)}"
    # A strict table was checked when it was written; without strict the warning is due every time.
    if not (strict and table.is_dir()):
        rows = {split: read_rows(file) for split, file in files.items()}
        _refuse_shared_ids(rows)
        names = _classes(folder, rows) if known is None else known
        _write_table(table, bare_name, folder, rows, names, strict)
    loaded = DatasetDict.load_from_disk(str(table))
    return loaded[split] if split else loaded


def _files_of(folder: Path, splits: list[str]) -> dict[str, Path]:
    files = {split: folder / SPLIT_FILES[split] for split in splits}
    missing = [file.name for file in files.values() if not file.is_file()]
    if missing:
        present = [f"{split!r}" for split, file in SPLIT_FILES.items() if (folder / file).is_file()]
        raise EraserFormatError(
            f"{folder} lacks {', '.join(missing)}; it has the splits {', '.join(present) or 'none'}. "
            "Add the file, or load the splits that are there one by one with split="
        )
    return files


def _key(folder: Path, splits: list[str], strict: bool, names: list[str] | None, name: str) -> str:
    """Return a digest of all that decides the table: the files' content and the arguments."""
    digest = hashlib.sha256(repr((_TABLE_VERSION, name, splits, strict, names)).encode())
    documents = folder / "docs.jsonl"
    contents = [folder / file for file in SPLIT_FILES.values()]
    contents += [documents] if documents.is_file() else sorted((folder / "docs").rglob("*"))
    for path in contents:
        if path.is_file():
            content = path.read_bytes()
            digest.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode())
            digest.update(content)
    return digest.hexdigest()[:16]


def _refuse_shared_ids(rows: dict[str, list[Row]]) -> None:
    """Refuse an annotation_id of two splits: predictions are matched by id, and a shared row is a leak."""
    first: dict[str, Place] = {}
    for row in chain.from_iterable(rows.values()):
        earlier = first.setdefault(row.annotation_id, row.place)
        if earlier is not row.place:
            raise row.place.error(
                "annotation_id",
                f"{row.annotation_id!r} is the duplicate of {earlier.file}, line {earlier.line}",
                "Remove the row from one of the splits, or load the splits one by one with split=",
            )


def _classes(folder: Path, rows: dict[str, list[Row]]) -> list[str]:
    """Return the sorted classes of train, also where another split was asked for; of all where it is missing."""
    train = folder / SPLIT_FILES["train"]
    if train.is_file():
        return sorted({row.classification for row in rows.get("train") or read_rows(train)})
    present = [folder / file for file in SPLIT_FILES.values() if (folder / file).is_file()]
    return sorted({row.classification for file in present for row in read_rows(file)})


def _write_table(
    table: Path, name: str, folder: Path, rows: dict[str, list[Row]], label_names: list[str], strict: bool
) -> None:
    """Check the rows against their documents and write them where `datasets` can map them into memory."""
    wanted = {docid for row in chain.from_iterable(rows.values()) for docid in candidate_docids(row)}
    documents = read_documents(folder, wanted)
    mismatches: list[EraserFormatError] = []
    loaded = DatasetDict()
    for split, split_rows in rows.items():
        records = []
        for row in split_rows:
            docids = docids_of(row, documents, always_pair=name == "esnli")
            mismatches += check_evidence(row, docids, documents)
            records.append(record_of(row, docids, documents, label_names))
        loaded[split] = _dataset(records, label_names, split, name)
    _report(mismatches, strict)
    if not table.is_dir():
        with fresh_folder(table) as staging:
            loaded.save_to_disk(str(staging))


def _report(mismatches: list[EraserFormatError], strict: bool) -> None:
    if mismatches and strict:
        raise mismatches[0]
    if mismatches:
        warnings.warn(
            f"{len(mismatches)} evidence texts are not the words of their documents; the positions were taken "
            f"as they are. The first: {mismatches[0]}",
            stacklevel=4,  # the caller of load_eraser
        )


def _dataset(records: list[dict[str, Any]], label_names: list[str], split: str, name: str) -> Dataset:
    evidence = {
        "docid": Value("string"),
        "start_token": Value("int32"),
        "end_token": Value("int32"),
        "text": Value("string"),
    }
    features = Features(
        {
            "annotation_id": Value("string"),
            "document": List(Value("string")),
            "query": List(Value("string")),
            "label": ClassLabel(names=label_names),
            "rationale": List(Value("int8")),
            "evidence_groups": List(List(evidence)),
            "docids": List(Value("string")),
            "doc_lengths": List(Value("int32")),
        }
    )
    columns = {column: [record[column] for record in records] for column in features}
    info = DatasetInfo(features=features, dataset_name=f"eraser_{name}")
    return Dataset.from_dict(columns, features=features, split=NamedSplit(split), info=info)
