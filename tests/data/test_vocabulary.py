"""Tests of the word-level tokenizer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from sgt_hf.data.vocabulary import build_word_tokenizer
from sgt_hf.models import BiLstmConfig, BiLstmForSequenceClassification

CORPUS = [["A", "fine", "film"], ["a", "dull", "film"], ["a", "duller", "film"]]


def test_vocabulary_is_sorted_by_frequency_then_alphabet():
    vocabulary = build_word_tokenizer(CORPUS).get_vocab()
    by_id = sorted(vocabulary, key=vocabulary.__getitem__)
    assert by_id == ["[PAD]", "[UNK]", "[SEP]", "[MASK]", "a", "film", "dull", "duller", "fine"]


def test_vocabulary_can_be_limited():
    assert set(build_word_tokenizer(CORPUS, max_size=1).get_vocab()) == {"[PAD]", "[UNK]", "[SEP]", "[MASK]", "a"}
    assert len(build_word_tokenizer(CORPUS, min_frequency=3)) == 4 + 2
    assert "A" in build_word_tokenizer(CORPUS, lowercase=False).get_vocab()


def test_special_tokens_in_the_corpus_do_not_move_the_special_ids():
    tokenizer = build_word_tokenizer([["[PAD]", "[UNK]", "good"]], lowercase=False)
    assert tokenizer.get_vocab() == {"[PAD]": 0, "[UNK]": 1, "[SEP]": 2, "[MASK]": 3, "good": 4}


def test_pairs_are_separated_and_single_texts_are_bare():
    tokenizer = build_word_tokenizer(CORPUS)
    assert tokenizer("a film")["input_ids"] == [4, 5]
    pair = tokenizer([["A", "film"]], [["never", "dull"]], is_split_into_words=True)
    assert pair["input_ids"] == [[4, 5, 2, 1, 6]]
    assert pair.sequence_ids(0) == [0, 0, None, 1, 1]
    assert set(pair) == {"input_ids", "attention_mask"}


# Lower-casing a letter such as "İ" gives two characters, and Python splits at a few more control characters than the
# tokenizers library; both are none of the words that data sets split at spaces hold.
@given(st.lists(st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1), min_size=1, max_size=8))
def test_every_word_is_exactly_one_known_token(words):
    tokenizer = build_word_tokenizer([words])
    encoding = tokenizer([words], is_split_into_words=True)
    assert encoding.word_ids(0) == list(range(len(words)))
    assert tokenizer.unk_token_id not in encoding["input_ids"][0]


def test_survives_saving_and_loading_beside_a_model(tmp_path):
    tokenizer = build_word_tokenizer(CORPUS, model_max_length=7)
    tokenizer.save_pretrained(tmp_path)
    BiLstmForSequenceClassification(BiLstmConfig(vocab_size=len(tokenizer))).save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.is_fast
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert loaded.model_input_names == ["input_ids", "attention_mask"]
    assert (loaded.model_max_length, loaded.pad_token_id, loaded.mask_token) == (7, 0, "[MASK]")
    assert loaded("A film")["input_ids"] == [4, 5]


def test_refuses_a_corpus_without_words():
    with pytest.raises(ValueError, match="no word left"):
        build_word_tokenizer([["rare"]], min_frequency=2)
