"""Raw texts → a model's inputs, and which stretch of text each word is, by the tokenizer's own word ids and offsets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

# Scripts written without spaces, in which each token is a word of its own: Thai, Lao, Burmese, Khmer, kana, Han.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")


class Stretch(NamedTuple):
    """A word: characters start to end (exclusive) of the text's part 0 or, of a pair, 1."""

    part: int
    start: int
    end: int


@dataclass(frozen=True)
class RawText:
    """A text as a model reads it.

    Attributes:
        row: `input_ids` and what else the tokenizer makes, `word_ids` (per token an index into `words`, −1 for special
            tokens) and `segment_ids`.
        words: In their order.
        truncated: How many words more the text has, that were cut off.
    """

    row: dict[str, Any]
    words: list[Stretch]
    truncated: int


def encode_raw(
    texts: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerBase, *, max_length: int | None = None
) -> list[RawText]:
    """Tokenise texts as they stand, and find their words.

    A word ends where the tokenizer says so and at white space; in scripts without spaces every token is one.

    Args:
        texts: N of one part, or of two for a pair.
        tokenizer: A fast one.
        max_length: Tokens per text, special ones included; None for no limit.

    Returns:
        N, in order.

    Raises:
        ValueError: The tokenizer is slow, or a text makes no token at all; names it.
    """
    if not tokenizer.is_fast:
        raise ValueError(f"{type(tokenizer).__name__} is a slow tokenizer and does not know words; load a fast one")
    return [_encode(parts, tokenizer, max_length, n) for n, parts in enumerate(texts)]


def _encode(parts: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int | None, n: int) -> RawText:
    whole = tokenizer(*parts, truncation=False, verbose=False)
    if not whole["input_ids"]:
        raise ValueError(f"text {n} makes no token: {parts[0][:50]!r}")
    encoded, words, word_ids = whole, *_find_words(whole.encodings[0], parts)
    total = len(words)
    if max_length is not None and len(whole["input_ids"]) > max_length:
        encoded = tokenizer(*parts, truncation=True, max_length=max_length)
        words, word_ids = _find_words(encoded.encodings[0], parts)
    row = {name: encoded[name] for name in tokenizer.model_input_names if name in encoded}
    segments = [-1 if segment is None else segment for segment in encoded.encodings[0].sequence_ids]
    return RawText(row | {"word_ids": word_ids, "segment_ids": segments}, words, total - len(words))


def _find_words(encoding: Any, parts: Sequence[str]) -> tuple[list[Stretch], list[int]]:
    """The words, and per token the word it belongs to."""
    words: list[Stretch] = []
    ids: list[int] = []
    previous = None
    for part, word_id, (start, end) in zip(encoding.sequence_ids, encoding.word_ids, encoding.offsets, strict=True):
        if part is None:
            ids.append(-1)
            continue
        here = _trimmed(part, start, end, parts[part])
        last = words[-1] if words and words[-1].part == part else None
        if last is None or not _continues(last, here, word_id == previous, parts[part]):
            words.append(here)
        elif last.start == last.end:
            words[-1] = here
        else:
            words[-1] = Stretch(part, last.start, max(last.end, here.end))
        previous = word_id
        ids.append(len(words) - 1)
    return _without_blanks(words, ids)


def _trimmed(part: int, start: int, end: int, text: str) -> Stretch:
    """A token's stretch without white space around it; of nothing but white space, the empty stretch at its end."""
    piece = text[start:end]
    return Stretch(part, end - len(piece.lstrip()), max(start + len(piece.rstrip()), end - len(piece.lstrip())))


def _continues(word: Stretch, token: Stretch, same_id: bool, text: str) -> bool:
    """Whether a token belongs to the word before it."""
    if word.start == word.end:
        return True  # white space that is a token goes with the word after it
    if not same_id or any(character.isspace() for character in text[word.end : token.start]):
        return False
    return token.start < word.end or not _UNSPACED.match(text, token.start)


def _without_blanks(words: list[Stretch], ids: list[int]) -> tuple[list[Stretch], list[int]]:
    """White space that ends a part, and so has no word after it, goes with the word before it."""
    numbers: list[int] = []
    kept: list[Stretch] = []
    for word in words:
        if not (word.start == word.end and kept and kept[-1].part == word.part):
            kept.append(word)
        numbers.append(len(kept) - 1)
    return kept, [number if number < 0 else numbers[number] for number in ids]
