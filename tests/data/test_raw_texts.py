import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from sgt_hf.data.raw_texts import Stretch, encode_raw
from tests.tiny import make_tokenizer


def words(text, tokenizer, **options):
    """What the words of a text look like."""
    parts = (text,) if isinstance(text, str) else text
    (one,) = encode_raw([parts], tokenizer, **options)
    return [parts[word.part][word.start : word.end] for word in one.words]


def character_tokenizer(pre_tokenizer):
    """Every character is a token: white space too, unless the pre-tokenizer takes it."""
    ids = {character: i for i, character in enumerate(["[UNK]", *" abcĠ▁\n世界人"])}
    backend = Tokenizer(models.BPE(ids, [], unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizer
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", pad_token="[UNK]")


def test_words_and_their_tokens_on_paper():
    (one,) = encode_raw([("good  filmly\ta",)], make_tokenizer())
    assert one.words == [Stretch(0, 0, 4), Stretch(0, 6, 12), Stretch(0, 13, 14)]
    assert one.row["word_ids"] == [-1, 0, 1, 1, 2, -1]  # [CLS] good film ##ly a [SEP]
    assert one.row["segment_ids"] == [-1, 0, 0, 0, 0, -1]
    assert one.truncated == 0
    assert {"input_ids", "attention_mask", "token_type_ids"} <= set(one.row)


def test_a_pair_is_numbered_through():
    (one,) = encode_raw([("good film", "a plot")], make_tokenizer())
    assert one.words == [Stretch(0, 0, 4), Stretch(0, 5, 9), Stretch(1, 0, 1), Stretch(1, 2, 6)]
    assert one.row["word_ids"] == [-1, 0, 1, -1, 2, 3, -1]


def test_what_truncation_cuts_is_counted_in_words():
    text = "good filmly a plot"
    for length, kept in {7: 4, 6: 3, 5: 2, 4: 2, 3: 1}.items():  # the limit of 4 cuts `filmly` in two
        (one,) = encode_raw([(text,)], make_tokenizer(), max_length=length)
        assert (len(one.words), one.truncated) == (kept, 4 - kept), length
        assert len(one.row["input_ids"]) <= length


def test_white_space_ends_words_even_where_the_tokenizer_knows_none():
    metaspace = character_tokenizer(pre_tokenizers.Metaspace(split=False))
    assert words("ab  a\nb", metaspace) == ["ab", "a", "b"]
    raw = character_tokenizer(pre_tokenizers.Sequence([]))  # no pre-tokenizer: one word, white space among its tokens
    assert words("ab  a\nb c", raw) == ["ab", "a", "b", "c"]
    assert words(" a ", raw) == ["a"]
    (one,) = encode_raw([(" a  b ", " c")], raw)  # white space goes with the word after it, at the end with the last
    assert one.row["word_ids"] == [0, 0, 1, 1, 1, 1, 2, 2]


def test_scripts_without_spaces_give_a_word_a_token():
    raw = character_tokenizer(pre_tokenizers.Sequence([]))
    assert words("ab世界a 人", raw) == ["ab", "世", "界a", "人"]


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2"])
def test_words_cover_the_text_in_order(family):
    text = "  good goodly,  film [x] — not!  "
    (one,) = encode_raw([(text,)], make_tokenizer(family))
    assert "".join(text[word.start : word.end] for word in one.words) == "".join(text.split())
    assert list(one.words) == sorted(one.words)


def test_what_cannot_be_read_is_refused():
    slow = make_tokenizer()
    slow.__class__ = type("SlowTokenizer", (PreTrainedTokenizerFast,), {"is_fast": False})
    with pytest.raises(ValueError, match="SlowTokenizer is a slow tokenizer and does not know words"):
        encode_raw([("a",)], slow)
    with pytest.raises(ValueError, match="text 1 makes no token: ' '"):
        encode_raw([("a",), (" ",)], make_tokenizer("gpt2"))
