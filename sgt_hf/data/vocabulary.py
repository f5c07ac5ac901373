"""A word-level tokenizer made from a corpus, for models that have no tokenizer of their own."""

from collections import Counter
from collections.abc import Iterable, Sequence

from tokenizers import Tokenizer, normalizers
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

# In the order of their ids; padding first, because 0 is the id nets take for padding unless told otherwise.
SPECIAL_TOKENS = {"pad_token": "[PAD]", "unk_token": "[UNK]", "sep_token": "[SEP]", "mask_token": "[MASK]"}


def build_word_tokenizer(
    texts: Iterable[Sequence[str]],
    *,
    lowercase: bool = True,
    min_frequency: int = 1,
    max_size: int | None = None,
    model_max_length: int | None = None,
) -> PreTrainedTokenizerFast:
    """Build a fast tokenizer that makes one token of every whitespace-free word.

    A single text gets no special tokens; a pair becomes `A [SEP] B`.

    Args:
        texts: The training corpus, each text as its words.
        lowercase: Whether words are lower-cased, here and by the tokenizer.
        min_frequency: Rarer words become `[UNK]`.
        max_size: At most this many words are kept, the most frequent first, ties in alphabetical order; special
            tokens are not counted.
        model_max_length: Length in tokens that truncation uses unless told otherwise; unlimited by default.

    Returns:
        The tokenizer, with `[PAD]` at 0, `[UNK]`, `[SEP]` and `[MASK]`, then the words, most frequent first.

    Raises:
        ValueError: No word is left for the vocabulary.

    Example:
        >>> tokenizer = build_word_tokenizer([["A", "fine", "film"], ["a", "film"]])
        >>> tokenizer(["A", "dull", "film"], is_split_into_words=True)["input_ids"]
        [4, 1, 5]
    """
    normalizer = normalizers.Lowercase() if lowercase else normalizers.Sequence([])
    words = _frequent_words(texts, normalizer, min_frequency=min_frequency, max_size=max_size)
    if not words:
        raise ValueError(f"the corpus has no word left (min_frequency={min_frequency}, max_size={max_size})")
    ids = {word: index for index, word in enumerate([*SPECIAL_TOKENS.values(), *words])}
    backend = Tokenizer(WordLevel(ids, unk_token=SPECIAL_TOKENS["unk_token"]))
    backend.normalizer = normalizer
    backend.pre_tokenizer = WhitespaceSplit()
    separator = SPECIAL_TOKENS["sep_token"]
    backend.post_processor = TemplateProcessing(
        single="$A", pair=f"$A {separator} $B:1", special_tokens=[(separator, ids[separator])]
    )
    limit = {} if model_max_length is None else {"model_max_length": model_max_length}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, model_input_names=["input_ids", "attention_mask"], **SPECIAL_TOKENS, **limit
    )


def _frequent_words(
    texts: Iterable[Sequence[str]], normalizer: normalizers.Normalizer, *, min_frequency: int, max_size: int | None
) -> list[str]:
    """Normalise and count the words, and sort those that are frequent enough."""
    raw = Counter(word for text in texts for word in text)
    counts: Counter[str] = Counter()
    for word, count in raw.items():
        # The tokenizer's own normalizer: Python lower-cases a few letters differently.
        for piece in normalizer.normalize_str(word).split():
            counts[piece] += count
    for token in SPECIAL_TOKENS.values():
        counts.pop(token, None)
    frequent = [word for word, count in counts.items() if count >= min_frequency]
    return sorted(frequent, key=lambda word: (-counts[word], word))[:max_size]
