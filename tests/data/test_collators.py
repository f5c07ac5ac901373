"""Tests of the way from encoded texts to batches."""

import copy

import pytest
import torch
from datasets import Dataset
from transformers import DataCollatorWithPadding

from sgt_hf.data.collators import DataCollatorWithWordIds
from sgt_hf.data.rationales import encode_words
from tests.data.test_rationales import DOCUMENT, rows
from tests.tiny import make_tokenizer


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("multiple", [None, 8])
def test_collator_equals_the_ordinary_one(side, multiple):
    tokenizer = make_tokenizer(padding_side=side)
    features = [{**tokenizer("good film"), "label": 1}, {**tokenizer("a"), "label": 0}]
    expected = DataCollatorWithPadding(tokenizer, pad_to_multiple_of=multiple)(copy.deepcopy(features))
    collated = DataCollatorWithWordIds(tokenizer, pad_to_multiple_of=multiple)(features)
    assert list(collated) == list(expected)
    assert type(collated) is type(expected)
    assert all(torch.equal(collated[name], expected[name]) for name in expected)


@pytest.mark.parametrize("form", [None, "torch", "numpy"])
def test_collator_takes_the_tokenizers_own_word_ids(form):
    """None for special tokens, which tensors cannot hold."""
    tokenizer = make_tokenizer()
    encoded = [tokenizer(text) for text in ("good film", "bad")]
    data = Dataset.from_list([{**one, "word_ids": one.word_ids()} for one in encoded]).with_format(form)
    batch = DataCollatorWithWordIds(tokenizer)([data[0], data[1]])
    assert batch["word_ids"].tolist() == [[-1, 0, 1, -1], [-1, 0, -1, -1]]


@pytest.mark.parametrize("side", ["left", "right"])
def test_collator_pads_per_token_columns(side):
    tokenizer = make_tokenizer(padding_side=side)
    encoded = encode_words(rows(DOCUMENT, ["bad"]), tokenizer).remove_columns(
        ["annotation_id", "rationale", "truncated_words", "doc_lengths"]
    )
    features = [{**row, "protected": [0] * len(row["input_ids"])} for row in encoded]
    untouched = copy.deepcopy(features)
    batch = DataCollatorWithWordIds(tokenizer)(features)
    assert features == untouched
    padding = [-1, -1, -1]
    short = [-1, 0, -1]
    assert batch["word_ids"].tolist() == [
        [-1, 0, 1, 1, 2, -1],
        padding + short if side == "left" else short + padding,
    ]
    assert torch.equal(batch["segment_ids"] >= 0, batch["word_ids"] >= 0)
    assert torch.equal(batch["protected"], 1 - batch["attention_mask"])
    assert batch["labels"].tolist() == [0, 1]
    assert batch["word_ids"].dtype == torch.long
