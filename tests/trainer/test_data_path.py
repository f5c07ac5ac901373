"""How rows reach the loss: streams, buckets of length, paddings. The training is the same."""

import pytest
import torch
from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

from tests.tiny import make_rows, make_tokenizer
from tests.trainer.runs import TERMS, losses, trained, weights


def test_a_stream_trains_as_the_same_rows_in_order(tmp_path):
    rows = make_rows(make_tokenizer())
    settings = {"max_steps": 6, "logging_steps": 1, "sgt_masking": "random"}
    ordered = trained(tmp_path, rows=rows, train_sampling_strategy="sequential", **settings)
    stream = trained(tmp_path, rows=rows.to_iterable_dataset(), **settings)
    assert torch.equal(weights(ordered), weights(stream))
    for name in TERMS:
        assert losses(ordered, name) == losses(stream, name)


def test_a_stream_accumulates_like_the_big_batch(tmp_path):
    rows = make_rows(make_tokenizer()).to_iterable_dataset()
    big = trained(tmp_path, rows=rows, max_steps=4, per_device_train_batch_size=8)
    small = trained(tmp_path, rows=rows, max_steps=4, per_device_train_batch_size=2, gradient_accumulation_steps=4)
    assert torch.allclose(weights(big), weights(small), atol=1e-5)


class Widths:
    """Notes the texts' lengths in each batch that it pads."""

    def __init__(self, tokenizer, **settings):
        self.collate, self.lengths = DataCollatorWithPadding(tokenizer, **settings), []

    def __call__(self, features):
        self.lengths.append([len(row["input_ids"]) for row in features])
        return self.collate(features)


def test_rows_bucketed_by_length(tmp_path):
    """The batches are `Trainer`'s own, of the like length, and the training without guidance is bit for bit."""
    collators = [Widths(make_tokenizer()) for _ in range(3)]
    settings = {"train_sampling_strategy": "group_by_length", "rows": make_rows(make_tokenizer(), count=64)}
    plain = trained(tmp_path, Trainer, kind=TrainingArguments, data_collator=collators[0], **settings)
    zero = trained(tmp_path, sgt_kl_weight=0.0, data_collator=collators[1], **settings)
    guided = trained(tmp_path, data_collator=collators[2], **settings)
    assert torch.equal(weights(plain), weights(zero))
    assert collators[0].lengths == collators[1].lengths == collators[2].lengths
    assert max(max(lengths) - min(lengths) for lengths in guided.data_collator.lengths) <= 2  # of 3 to 8
    assert all(value > 0 for value in losses(guided, "sgt_kl"))


@pytest.mark.parametrize(
    ("family", "masking"), [("bert", "previous_salient"), ("bert", "delete"), ("llama", "delete"), ("t5", "unk")]
)
def test_padding_to_a_multiple_changes_nothing(tmp_path, family, masking):
    """Weights to 1e-5: padding reaches neither the ranking nor the masked batch."""
    tokenizer = make_tokenizer(family)
    wide = DataCollatorWithPadding(tokenizer, pad_to_multiple_of=16)
    settings = {"family": family, "sgt_masking": masking, "max_steps": 4}
    plain, padded = trained(tmp_path, **settings), trained(tmp_path, data_collator=wide, **settings)
    assert wide(list(plain.train_dataset)[:2])["input_ids"].shape == (2, 16)
    assert torch.allclose(weights(plain), weights(padded), atol=1e-5)


def test_drop_last_and_workers(tmp_path):
    rows = make_rows(make_tokenizer(), count=15)
    settings = {"rows": rows, "dataloader_drop_last": True}
    here = trained(tmp_path, **settings)
    assert here.state.global_step == 6
    assert torch.equal(weights(here), weights(trained(tmp_path, dataloader_num_workers=1, **settings)))
