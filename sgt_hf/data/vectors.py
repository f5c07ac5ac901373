"""Pretrained word vectors: GloVe's text files, torchtext's cache of them, and torchtext's own objects.

torchtext is archived and cannot be imported beside a recent torch, so nothing here imports it.
"""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from pickle import UnpicklingError
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, eq=False)
class WordVectors:
    """Words and their vectors.

    Args:
        words: V words; of a word that occurs twice the first vector counts.
        matrix: Shape (V, D), finite.

    Raises:
        ValueError: The two do not fit each other, or a vector is not finite.
    """

    words: list[str]
    matrix: Tensor

    def __post_init__(self) -> None:
        if self.matrix.ndim != 2 or len(self.words) != len(self.matrix) or not self.words:
            raise ValueError(f"{len(self.words)} words do not fit vectors of shape {tuple(self.matrix.shape)}")
        if not self.matrix.isfinite().all():
            row = int((~self.matrix.isfinite()).any(1).long().argmax())
            raise ValueError(f"the vector of {self.words[row]!r} (row {row}) is not finite")


@runtime_checkable
class TorchtextVectors(Protocol):
    """What is used of a `torchtext.vocab.Vectors` (or `GloVe`, `FastText`)."""

    itos: list[str]
    vectors: Tensor


def load_word_vectors(source: str | Path | TorchtextVectors | WordVectors) -> WordVectors:
    """Load word vectors.

    Args:
        source: A text file of GloVe or word2vec, one word and its numbers a line, with or without word2vec's header;
            a `.pt` file cached by torchtext; or an object like `torchtext.vocab.Vectors`.

    Returns:
        The words and their float32 vectors.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not in its format; names the file, and for text the line.
        TypeError: The source is none of these.
    """
    if isinstance(source, WordVectors):
        return source
    if isinstance(source, str | Path):
        path = Path(source)
        return _read_torchtext_cache(path) if path.suffix == ".pt" else _read_text(path)
    if isinstance(source, TorchtextVectors):
        return WordVectors(list(source.itos), source.vectors.to(torch.float32))
    raise TypeError(
        f"word vectors come from a GloVe text file, a torchtext .pt file or a torchtext.vocab.Vectors, "
        f"not from a {type(source).__name__}"
    )


def embedding_matrix(
    tokenizer: PreTrainedTokenizerBase, vectors: WordVectors, *, generator: torch.Generator | None = None
) -> tuple[Tensor, float]:
    """Lay word vectors out in the order of a tokenizer's vocabulary.

    A vocabulary word takes the vector of the same word, else that of its lower-cased form. Words without one, special
    tokens included, are drawn from a normal distribution of mean 0 and the standard deviation of all the vectors'
    elements; the padding row is zero.

    Args:
        tokenizer: Any tokenizer; only whole words can be found, so a word-level one.
        vectors: V words of D dimensions.
        generator: Source of the random rows; torch's global one by default. Every row is drawn whether used or not,
            so a row does not depend on which other words have a vector.

    Returns:
        The matrix, (vocabulary size, D), and the share in [0, 1] of the vocabulary, special tokens aside, that has a
        vector.
    """
    vocabulary = tokenizer.get_vocab()
    special = set(tokenizer.all_special_tokens)
    rows = _first_rows(vectors.words)
    size = max(vocabulary.values()) + 1
    matrix = torch.randn(size, vectors.matrix.shape[1], generator=generator) * vectors.matrix.std()
    found = {index: _find(word, rows) for word, index in vocabulary.items() if word not in special}
    known = {index: row for index, row in found.items() if row is not None}
    matrix[list(known)] = vectors.matrix[list(known.values())]
    if tokenizer.pad_token_id is not None:
        matrix[tokenizer.pad_token_id] = 0.0
    return matrix, len(known) / max(1, len(found))


def token_coverage(texts: Iterable[Sequence[str]], vectors: WordVectors) -> float:
    """Measure the share in [0, 1] of a corpus' running words, each text given as its words, that have a vector."""
    rows = _first_rows(vectors.words)
    hits = [_find(word, rows) is not None for text in texts for word in text]
    return sum(hits) / max(1, len(hits))


def _first_rows(words: list[str]) -> dict[str, int]:
    """Map every word to the first row it has."""
    return {word: row for row, word in reversed(list(enumerate(words)))}


def _find(word: str, rows: dict[str, int]) -> int | None:
    """Find the row of a word, else of its lower-cased form."""
    return rows.get(word, rows.get(word.lower()))


def _read_torchtext_cache(path: Path) -> WordVectors:
    """Read the tuple (itos, stoi, vectors, dim) that torchtext saves."""
    try:
        itos, _, vectors, _ = torch.load(path, map_location="cpu", weights_only=True)
        return WordVectors(list(itos), vectors.to(torch.float32))
    except (UnpicklingError, RuntimeError, TypeError, AttributeError, ValueError, EOFError) as error:
        raise ValueError(
            f"{path} is not torchtext's cache of word vectors (itos, stoi, vectors, dim): {error}"
        ) from error


def _read_text(path: Path) -> WordVectors:
    """Read a GloVe or word2vec text file."""
    words: list[str] = []
    numbers = array("f")
    dimension = promised = None
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            # Only line feeds end a line and only spaces part its fields: words may hold other Unicode white space.
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip(" \r\n")
                if number == 1 and (header := _header(text)) is not None:
                    promised, dimension = header
                    continue
                dimension = dimension or text.count(" ")
                word, values = _parse_line(text, dimension)
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from error
            words.append(word)
            numbers.extend(values)
    if not words:
        raise ValueError(f"{path} holds no word vectors")
    if promised not in (None, len(words)):
        raise ValueError(f"{path} holds {len(words)} words and its first line says {promised}: is it cut off?")
    return WordVectors(words, torch.frombuffer(numbers, dtype=torch.float32).view(len(words), -1))


def _header(line: str) -> tuple[int, int] | None:
    """Read word2vec's first line, "words dimensions"; None if it is no such line."""
    fields = line.split(" ")
    return (int(fields[0]), int(fields[1])) if len(fields) == 2 and all(f.isdecimal() for f in fields) else None


def _parse_line(line: str, dimension: int) -> tuple[str, list[float]]:
    """Split a line, from the right because some words of glove.840B hold spaces, into its word and numbers."""
    word, *fields = line.rsplit(" ", dimension)
    if len(fields) != dimension or dimension == 0:
        raise ValueError(f"expected a word and {max(1, dimension)} numbers, found {len(fields)} after {word!r}")
    values = [float(field) for field in fields]
    if not all(map(isfinite, values)):
        raise ValueError(f"the numbers of {word!r} are not all finite")
    if " " in word and _is_number(word.rsplit(" ", 1)[1]):
        raise ValueError(f"expected a word and {dimension} numbers, found more numbers after {word!r}")
    return word, values


def _is_number(field: str) -> bool:
    """Say whether Python reads a field as a number."""
    try:
        float(field)
    except ValueError:
        return False
    return True
