"""From words with rationales to a model's inputs, keeping track of which token is which word.

`word_ids` is the thread: by it whole words are ranked, masked and removed, and scores of tokens become scores of words.
"""

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

# Tokenizers without a limit of their own carry a number near 1e30 for it.
_UNLIMITED = 1_000_000_000

# Where a row's words come from: kept for results that go back to the documents, as ERASER's scorer wants them.
_PLACES = ("docids", "doc_lengths", "evidence_groups")


def encode_words(
    dataset: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int | None = None,
    use_query: bool | None = None,
) -> Dataset:
    """Tokenise the documents of a data set in the form of `load_eraser`, row by row.

    With the query a row becomes the pair (query, document), of which the document alone is ever cut. Without it, two
    documents (e-SNLI's premise and hypothesis) become a pair, cut where it is longest, and any other number of
    documents one sequence.

    Args:
        dataset: Has `document` and `query` (lists of words) and `label`; `doc_lengths`, the number of words of each
            of the row's documents, may be absent where every row has one document.
        tokenizer: A fast tokenizer.
        max_length: Tokens per row, special ones included; by default what the tokenizer says of itself.
        use_query: Whether the query is part of the input. By default it is where `query_varies(dataset)`; decide
            once and pass it when the splits of one data set are encoded one after the other.

    Returns:
        The rows with `input_ids`, `attention_mask`, `token_type_ids` if the tokenizer makes them, `labels`, `word_ids`
        (per token the index into the row's `document`; -1 for special tokens and the query), `segment_ids` (per token
        0 or 1, the sequence of the pair; -1 for special tokens), `truncated_words` (document words of which no token
        was kept), and as they were `annotation_id`, `rationale`, and `docids`, `doc_lengths` and `evidence_groups`, by
        which results go back to the words of each document.

    Warns:
        UserWarning: Words were cut; says how many.

    Raises:
        ValueError: A column is missing, the tokenizer is slow, has no padding token or reads words otherwise than
            text, or `max_length` leaves no room for a document.
    """
    _check_columns(dataset)
    spaced = _check_tokenizer(tokenizer)
    with_query = query_varies(dataset) if use_query is None else use_query
    if max_length is None and tokenizer.model_max_length < _UNLIMITED:
        max_length = tokenizer.model_max_length
    if max_length is not None:
        _check_room(dataset, tokenizer, max_length, with_query=with_query, spaced=spaced)
    kept = {"annotation_id", "rationale", "label", *_PLACES}
    encoded = dataset.map(
        _encode_batch,
        batched=True,
        batch_size=200,
        fn_kwargs={"tokenizer": tokenizer, "max_length": max_length, "with_query": with_query, "spaced": spaced},
        remove_columns=[name for name in dataset.column_names if name not in kept],
        desc="words to tokens",
    )
    _report_truncation(encoded["truncated_words"], dataset["document"], max_length)
    return encoded.rename_column("label", "labels")


def query_varies(dataset: Dataset) -> bool:
    """Say whether the queries carry information: an empty or constant one, as in Movies, does not."""
    return len({tuple(query) for query in dataset["query"]}) > 1


class _Row(NamedTuple):
    """The one or two word sequences that a row's tokens come from."""

    first: list[str]
    second: list[str] | None
    offsets: tuple[int | None, int]  # index of each sequence's first word in the document, None for the query


def _with_spaces(words: list[str]) -> list[str]:
    """The words of one sequence with the space before each but the first that some tokenizers read of a text alone."""
    return [word if index == 0 else f" {word}" for index, word in enumerate(words)]


def _split_row(document: list[str], query: list[str], lengths: list[int], with_query: bool) -> _Row:
    """Lay a row out as one sequence or as a pair."""
    if with_query:
        return _Row(query, document, (None, 0))
    if len(lengths) == 2:
        return _Row(document[: lengths[0]], document[lengths[0] :], (0, lengths[0]))
    return _Row(document, None, (0, 0))


def _encode_batch(
    batch: Mapping[str, list[Any]],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None,
    with_query: bool,
    spaced: bool,
) -> dict[str, list[Any]]:
    """Tokenise a batch of rows; a tokenizer takes pairs and single sequences in calls of their own."""
    lengths = batch.get("doc_lengths", [[len(document)] for document in batch["document"]])
    rows = [
        _split_row(document, query, counts, with_query)
        for document, query, counts in zip(batch["document"], batch["query"], lengths, strict=True)
    ]
    if spaced:
        rows = [
            row._replace(first=_with_spaces(row.first), second=None if row.second is None else _with_spaces(row.second))
            for row in rows
        ]
    results: list[dict[str, Any]] = [{} for _ in rows]
    for paired in (False, True):
        chosen = [index for index, row in enumerate(rows) if (row.second is not None) == paired]
        if not chosen:
            continue
        encoded = tokenizer(
            [rows[index].first for index in chosen],
            [rows[index].second for index in chosen] if paired else None,
            is_split_into_words=True,
            max_length=max_length,
            truncation=False if max_length is None else ("only_second" if with_query else "longest_first"),
        )
        for position, index in enumerate(chosen):
            made = {name: encoded[name][position] for name in tokenizer.model_input_names if name in encoded}
            results[index] = made | _trace_words(encoded.encodings[position], rows[index].offsets)
    return {name: [result[name] for result in results] for name in results[0]}


def _trace_words(encoding: Any, offsets: tuple[int | None, int]) -> dict[str, Any]:
    """Find each token's word and segment, and count the words that truncation left without any token."""
    words = _document_words(encoding, offsets)
    # What was cut off hangs in `overflowing`. Words that make no token at all are nowhere, and so not counted.
    cut = {word for piece in encoding.overflowing for word in _document_words(piece, offsets)}
    return {
        "word_ids": words,
        "segment_ids": [-1 if segment is None else segment for segment in encoding.sequence_ids],
        "truncated_words": len(cut - set(words) - {-1}),
    }


def _document_words(encoding: Any, offsets: tuple[int | None, int]) -> list[int]:
    """Give each token's index into the document; -1 for special tokens and the query."""
    words = []
    for word, segment in zip(encoding.word_ids, encoding.sequence_ids, strict=True):
        offset = None if segment is None or word is None else offsets[segment]
        words.append(-1 if offset is None else offset + word)
    return words


def _report_truncation(truncated: list[int], documents: list[list[str]], max_length: int | None) -> None:
    """Warn when words were cut."""
    rows = sum(count > 0 for count in truncated)
    if rows:
        total = sum(len(document) for document in documents)
        warnings.warn(
            f"max_length={max_length} tokens cut {rows} of {len(truncated)} rows: "
            f"{sum(truncated)} of {total} document words are left out",
            stacklevel=3,
        )


def _check_columns(dataset: Dataset) -> None:
    """Refuse a data set that lacks a column."""
    missing = {"document", "query", "label"} - set(dataset.column_names)
    if missing:
        raise ValueError(f"the data set lacks {sorted(missing)}; it has {dataset.column_names}")


def _check_tokenizer(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Refuse a tokenizer that cannot say which token belongs to which word, or whose rows cannot be padded.

    Returns:
        Whether words need their spaces, as for Gemma, Llama 3 and ModernBERT, which join words given without.
    """
    name = type(tokenizer).__name__
    if not tokenizer.is_fast:
        raise ValueError(f"{name} is a slow tokenizer and does not know words; load it with use_fast=True")
    if tokenizer.pad_token_id is None:
        raise ValueError(f"{name} has no padding token; set one: tokenizer.pad_token = tokenizer.eos_token")
    text = tokenizer("a a")["input_ids"]
    if tokenizer(["a", "a"], is_split_into_words=True)["input_ids"] == text:
        return False
    if tokenizer(_with_spaces(["a", "a"]), is_split_into_words=True)["input_ids"] == text:
        return True
    raise ValueError(
        f"{name} reads the words 'a', 'a' otherwise than the text 'a a', with spaces and without; load it with "
        "add_prefix_space=True where it takes that, or take another tokenizer"
    )


def _check_room(
    dataset: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int, *, with_query: bool, spaced: bool
) -> None:
    """Refuse a length in which special tokens and the longest query leave no token to the document.

    The tokenizers library itself then leaves single rows uncut without a word, and fails on pairs without saying which.
    """
    special = tokenizer.num_special_tokens_to_add(pair=True)
    queries: list[list[int]] = [[]]
    if with_query and len(dataset) > 0:
        words = [_with_spaces(query) if spaced else query for query in dataset["query"][:]]
        queries = tokenizer(words, is_split_into_words=True, add_special_tokens=False)["input_ids"]
    lengths = [len(query) for query in queries]
    if max_length < special + max(lengths) + 1:
        raise ValueError(
            f"max_length={max_length} leaves no room for a document: {special} special tokens and the query of row "
            f"{lengths.index(max(lengths))}, {max(lengths)} tokens, come first"
        )
