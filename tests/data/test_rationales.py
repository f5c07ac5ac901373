"""Tests of the way from words to tokens and back."""

import warnings

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from sgt_hf.data.rationales import encode_words, query_varies
from tests.tiny import make_tokenizer

FEATURES = Features(
    {
        "annotation_id": Value("string"),
        "document": List(Value("string")),
        "query": List(Value("string")),
        "label": ClassLabel(names=["NEG", "POS"]),
        "rationale": List(Value("int64")),
        "doc_lengths": List(Value("int64")),
    }
)
# `goodly` becomes the two tokens good ##ly.
DOCUMENT = ["the", "goodly", "film"]


def rows(*documents, queries=None, lengths=None, labels=None):
    """A data set in the form of load_eraser."""
    number = len(documents)
    table = {
        "annotation_id": [f"row{index}" for index in range(number)],
        "document": [list(document) for document in documents],
        "query": queries or [[] for _ in documents],
        "label": labels or [index % 2 for index in range(number)],
        "rationale": [[0] * len(document) for document in documents],
        "doc_lengths": lengths or [[len(document)] for document in documents],
    }
    return Dataset.from_dict(table, features=FEATURES)


def columns(dataset, *names, row=0):
    return [dataset[row][name] for name in names]


def test_one_document_on_paper():
    encoded = encode_words(rows(DOCUMENT), make_tokenizer())
    tokens = make_tokenizer().convert_ids_to_tokens(encoded[0]["input_ids"])
    assert tokens == ["[CLS]", "the", "good", "##ly", "film", "[SEP]"]
    assert columns(encoded, "word_ids", "segment_ids") == [[-1, 0, 1, 1, 2, -1], [-1, 0, 0, 0, 0, -1]]
    assert columns(encoded, "attention_mask", "token_type_ids") == [[1] * 6, [0] * 6]
    assert columns(encoded, "labels", "truncated_words", "annotation_id") == [0, 0, "row0"]
    assert encoded[0]["rationale"] == [0, 0, 0]
    assert encoded.features["labels"].names == ["NEG", "POS"]
    assert set(encoded.column_names) == {
        *("annotation_id", "rationale", "labels", "input_ids", "attention_mask", "token_type_ids"),
        *("word_ids", "segment_ids", "truncated_words", "doc_lengths"),
    }


def test_what_leads_back_to_the_documents_is_kept_as_it_was():
    evidence = [[{"docid": "a", "start_token": 0, "end_token": 1, "text": "the"}]]
    data = rows(DOCUMENT).add_column("docids", [["a"]]).add_column("evidence_groups", [evidence])
    encoded = encode_words(data, make_tokenizer())
    assert columns(encoded, "docids", "doc_lengths", "evidence_groups") == [["a"], [3], evidence]


def test_query_and_document_on_paper():
    data = rows(DOCUMENT, ["bad"], queries=[["very", "dull"], ["not"]])
    assert query_varies(data)
    encoded = encode_words(data, make_tokenizer())
    assert columns(encoded, "word_ids", "segment_ids", "token_type_ids") == [
        [-1, -1, -1, -1, 0, 1, 1, 2, -1],
        [-1, 0, 0, -1, 1, 1, 1, 1, -1],
        [0, 0, 0, 0, 1, 1, 1, 1, 1],
    ]
    assert columns(encoded, "word_ids", row=1) == [[-1, -1, -1, 0, -1]]


def test_a_constant_query_is_left_out_unless_asked_for():
    data = rows(["good"], ["bad"], queries=[["a", "film"]] * 2)
    assert not query_varies(data)
    assert encode_words(data, make_tokenizer())[0]["word_ids"] == [-1, 0, -1]
    assert encode_words(data, make_tokenizer(), use_query=True)[0]["word_ids"] == [-1, -1, -1, -1, 0, -1]


def test_two_documents_become_a_pair_and_more_do_not():
    words = ["a", "film", "goodly", "plot"]
    encoded = encode_words(rows(words, words, words, lengths=[[2, 2], [1, 1, 2], [4]]), make_tokenizer())
    assert columns(encoded, "word_ids", "segment_ids") == [
        [-1, 0, 1, -1, 2, 2, 3, -1],
        [-1, 0, 0, -1, 1, 1, 1, -1],
    ]
    for row in (1, 2):
        assert columns(encoded, "word_ids", "segment_ids", row=row) == [
            [-1, 0, 1, 2, 2, 3, -1],
            [-1, 0, 0, 0, 0, 0, -1],
        ]


def test_without_document_lengths_there_is_one_document():
    encoded = encode_words(rows(DOCUMENT).remove_columns("doc_lengths"), make_tokenizer())
    assert encoded[0]["word_ids"] == [-1, 0, 1, 1, 2, -1]


def test_truncation_is_reported():
    data = rows(["the", "film", "goodly", "bad", "plot"], ["film"])
    with pytest.warns(
        UserWarning, match="max_length=5 tokens cut 1 of 2 rows: 2 of 6 document words are left out"
    ) as seen:
        encoded = encode_words(data, make_tokenizer(), max_length=5)
    assert len(seen) == 1
    assert seen[0].filename == __file__
    # Of `goodly` the first token is kept, so the word is not lost.
    assert columns(encoded, "word_ids", "truncated_words") == [[-1, 0, 1, 2, -1], 2]
    assert columns(encoded, "word_ids", "truncated_words", row=1) == [[-1, 0, -1], 0]


def test_truncation_from_the_left_keeps_the_end():
    tokenizer = make_tokenizer()
    tokenizer.truncation_side = "left"
    with pytest.warns(UserWarning, match="2 of 4 document words"):
        encoded = encode_words(rows(["a", "film", "not", "bad"]), tokenizer, max_length=4)
    assert columns(encoded, "word_ids", "truncated_words") == [[-1, 2, 3, -1], 2]


def test_truncation_spares_the_query():
    data = rows(["the", "film", "bad"], ["good"], queries=[["very", "dull", "plot"], ["a"]])
    with pytest.warns(UserWarning, match="1 of 2 rows: 2 of 4 document words"):
        encoded = encode_words(data, make_tokenizer(), max_length=7)
    assert encoded[0]["segment_ids"] == [-1, 0, 0, 0, -1, 1, -1]
    assert encoded[0]["truncated_words"] == 2


def test_truncation_of_two_documents_cuts_the_longer():
    data = rows(["a", "film", "the", "good", "plot", "not"], lengths=[[2, 4]])
    with pytest.warns(UserWarning, match="2 of 6 document words"):
        encoded = encode_words(data, make_tokenizer(), max_length=7)
    assert encoded[0]["word_ids"] == [-1, 0, 1, -1, 2, 3, -1]


def test_the_tokenizers_own_limit_is_the_default():
    with pytest.warns(UserWarning, match="max_length=32 tokens cut 1 of 1 rows: 10 of 40"):
        encode_words(rows(["good"] * 40), make_tokenizer())


def test_words_without_tokens_are_not_truncated_words():
    tokenizer = make_tokenizer()
    encoded = encode_words(rows(["good", " ", "film"], [" "], []), tokenizer, max_length=8)
    assert encoded["word_ids"][:] == [[-1, 0, 2, -1], [-1, -1], [-1, -1]]
    assert encoded["truncated_words"][:] == [0, 0, 0]


@pytest.mark.minilm
def test_real_tokenizer_against_its_own_word_ids(minilm_path):
    tokenizer = AutoTokenizer.from_pretrained(minilm_path)
    words = "I 'd never call this unbelievably overlong film spellbinding , though \u2600 shines".split()
    data = rows(words, words, words, lengths=[[13], [13], [4, 9]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        encoded = encode_words(data, tokenizer, max_length=12)
    for row, pieces in enumerate(([words], [words], [words[:4], words[4:]])):
        reference = tokenizer(*pieces, is_split_into_words=True, truncation=True, max_length=12)
        assert encoded[row]["input_ids"] == reference["input_ids"]
        assert encoded[row]["attention_mask"] == reference["attention_mask"]
        lost = set(range(13)) - set(encoded[row]["word_ids"])
        assert encoded[row]["truncated_words"] == len(lost) > 0
    full = encode_words(data, tokenizer)
    for row in range(3):
        for position, word in enumerate(words):
            tokens = [
                token
                for token, owner in zip(full[row]["input_ids"], full[row]["word_ids"], strict=True)
                if owner == position
            ]
            assert tokens == tokenizer(word, add_special_tokens=False)["input_ids"]


def byte_level_tokenizer(*, add_prefix_space):
    vocabulary = {"<pad>": 0, "a": 1, "\u0120a": 2, "\u0120": 3}
    backend = Tokenizer(models.BPE(vocabulary, [("\u0120", "a")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>")


def test_words_of_a_byte_level_tokenizer():
    encoded = encode_words(rows(["a", "a"]), byte_level_tokenizer(add_prefix_space=True))
    assert encoded[0]["input_ids"] == [2, 2]


def like_llama():
    """Its pre-tokenizer is a sequence, which no argument of transformers reaches."""
    backend = byte_level_tokenizer(add_prefix_space=False).backend_tokenizer
    split = pre_tokenizers.Split(Regex(r" ?\w+|\s+"), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>")


def like_gemma():
    backend = Tokenizer(models.BPE({"<pad>": 0, "a": 1, "▁a": 2, "▁": 3}, [("▁", "a")]))
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>")


@pytest.mark.parametrize("make", [like_llama, like_gemma])
def test_words_are_read_as_text_by_tokenizers_that_join_them_without_spaces(make):
    tokenizer = make()
    data = rows(["a", "a", "a"], ["a"], queries=[["a", "a"], ["a", "a", "a"]])
    single = encode_words(data, tokenizer, use_query=False)
    assert single["input_ids"][:] == tokenizer(["a a a", "a"])["input_ids"] == [[1, 2, 2], [1]]
    assert single["word_ids"][:] == [[0, 1, 2], [0]]
    with pytest.warns(UserWarning, match="1 of 4 document words are left out"):
        pair = encode_words(data, tokenizer, max_length=4)
    assert pair["input_ids"][:] == [[1, 2, 1, 2], [1, 2, 2, 1]]
    assert pair["word_ids"][:] == [[-1, -1, 0, 1], [-1, -1, -1, 0]]
    assert pair["truncated_words"][:] == [1, 0]


def test_refuses_tokenizers_that_read_words_otherwise_than_text():
    backend = Tokenizer(models.WordLevel({"<pad>": 0, "a": 1, "a a": 2, "?": 3}, unk_token="?"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>")
    with pytest.raises(ValueError, match="reads the words 'a', 'a' otherwise than the text 'a a', with spaces and wi"):
        encode_words(rows(["a", "a"]), tokenizer)


def test_refuses_what_it_cannot_encode():
    tokenizer = make_tokenizer()
    with pytest.raises(ValueError, match=r"lacks \['query'\]"):
        encode_words(rows(DOCUMENT).remove_columns("query"), tokenizer)
    with pytest.raises(ValueError, match="max_length=3 leaves no room for a document: 3 special tokens"):
        encode_words(rows(DOCUMENT), tokenizer, max_length=3)
    data = rows(DOCUMENT, DOCUMENT, queries=[["a"], ["very", "goodly"]])
    with pytest.raises(ValueError, match="the query of row 1, 3 tokens"):
        encode_words(data, tokenizer, max_length=6)
    tokenizer.pad_token = None
    with pytest.raises(ValueError, match="no padding token"):
        encode_words(rows(DOCUMENT), tokenizer)


def test_refuses_slow_tokenizers():
    from transformers import CanineTokenizer

    with pytest.raises(ValueError, match="CanineTokenizer is a slow tokenizer"):
        encode_words(rows(DOCUMENT), CanineTokenizer())
