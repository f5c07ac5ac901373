"""Batches that go wrong elsewhere: each trains sensibly, or raises with the sample's name; weights are never NaN."""

import pytest
import torch
from datasets import Dataset
from torch import nn
from transformers import DataCollatorWithPadding

from sgt_hf.masking.text import STRATEGIES
from tests.tiny import make_model, make_rows, make_tokenizer
from tests.trainer.runs import losses, trained, weights

ODD = ["", "good", "good film", "the the the the"]


def odd_rows(tokenizer, texts):
    return Dataset.from_list([dict(tokenizer(text)) | {"labels": index % 2} for index, text in enumerate(texts)])


@pytest.mark.parametrize("masking", ["previous_salient", "delete"])
@pytest.mark.parametrize("family", ["bert", "llama", "gpt2", "t5"])
def test_texts_of_nothing_or_one_word_train(tmp_path, family, masking):
    """An empty text is special tokens alone (BERT) or padding alone (Llama, GPT-2); k = 1 would leave nothing."""
    tokenizer = make_tokenizer(family)
    settings = {"family": family, "sgt_masking": masking, "sgt_mask_fraction": 1.0, "logging_steps": 1}
    trainer = trained(tmp_path, rows=odd_rows(tokenizer, ODD * 2), max_steps=4, **settings)
    assert torch.isfinite(weights(trainer)).all()
    assert all(map(torch.isfinite, torch.tensor(losses(trainer, "sgt_kl"))))
    assert torch.isfinite(torch.tensor(losses(trainer))).all()


@pytest.mark.parametrize("masking", STRATEGIES)
def test_a_batch_in_which_nothing_may_be_masked_has_no_divergence(tmp_path, masking):
    """Only special tokens, and single words: the masked batch is the clean one, and the step is a plain one's."""
    rows = odd_rows(make_tokenizer(), ["", "good", "bad", ""])
    guided = trained(tmp_path, rows=rows, sgt_masking=masking, sgt_mask_fraction=1.0)
    plain = trained(tmp_path, rows=rows, sgt_kl_weight=0.0)
    assert losses(guided, "sgt_kl") == pytest.approx([0.0], abs=1e-7)
    assert torch.allclose(weights(guided), weights(plain), atol=1e-6)


def test_a_row_of_padding_alone_trains(tmp_path):
    rows = make_rows(make_tokenizer(), count=8).to_list()
    rows[2] = {"input_ids": [0, 0, 0], "token_type_ids": [0, 0, 0], "attention_mask": [0, 0, 0], "labels": 1}
    trainer = trained(tmp_path, rows=Dataset.from_list(rows), sgt_masking="delete")
    assert torch.isfinite(weights(trainer)).all()


def test_a_batch_of_empty_texts_without_special_tokens_raises(tmp_path):
    rows = odd_rows(make_tokenizer("llama"), ["", "", "", ""])
    with pytest.raises(ValueError, match="all 4 samples of the batch are empty: leave empty texts out"):
        trained(tmp_path, family="llama", rows=rows)


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2", "bart"])
def test_a_text_longer_than_the_table_of_positions_is_named(tmp_path, family):
    tokenizer = make_tokenizer(family)
    short = make_rows(tokenizer, count=7).to_list()
    long = dict(tokenizer("bad " * 50, truncation=False)) | {"labels": 0}
    rows = Dataset.from_list([*short[:5], long, *short[5:]])
    limit = 38 if family == "roberta" else 40
    sample = r"sample \d of the batch \(row 5 of the data set\), input_ids \[.*…\], has \d+ tokens"
    way_out = rf"positions for {limit}: encode with truncation=True, max_length={limit}"
    with pytest.raises(ValueError, match=f"{sample} and the model has {way_out}"):
        trained(tmp_path, family=family, rows=rows)


def test_a_long_text_in_evaluation_is_named_too(tmp_path):
    tokenizer = make_tokenizer()
    trainer = trained(tmp_path, max_steps=1)
    trainer.eval_dataset = Dataset.from_list([dict(tokenizer("bad " * 50)) | {"labels": 0}])
    with pytest.raises(ValueError, match=r"sample 0 of the batch, input_ids .* has 52 tokens .* positions for 40"):
        trainer.evaluate()


def test_padding_beyond_the_positions_is_told_from_a_long_text(tmp_path):
    wide = DataCollatorWithPadding(make_tokenizer(), pad_to_multiple_of=64)
    with pytest.raises(ValueError, match=r"pads to 64 tokens .* positions for 40 .*: choose a smaller pad_to_multiple"):
        trained(tmp_path, data_collator=wide)


@pytest.mark.parametrize("family", ["llama", "qwen", "t5"])
def test_computed_positions_know_no_end(tmp_path, family):
    tokenizer = make_tokenizer(family)
    limit = {} if family == "t5" else {"max_position_embeddings": 16}
    rows = odd_rows(tokenizer, ["bad film " * 15, "good plot " * 15])
    model = make_model(family, spread=0.5, **limit)
    assert torch.isfinite(weights(trained(tmp_path, family=family, rows=rows, model=model, max_steps=1))).all()


class Root(nn.Module):
    """A model whose gradient is 0/0 at word 7, its loss being finite."""

    def __init__(self, *, frozen=False):
        super().__init__()
        torch.manual_seed(0)
        self.words, self.head = nn.Embedding(24, 8), nn.Linear(8, 2)
        with torch.no_grad():
            self.words.weight[7] = 0.0
        self.words.weight.requires_grad_(not frozen)

    def forward(self, input_ids, attention_mask):
        length = self.words(input_ids).square().sum(-1).sqrt()  # of the vector 0 has no derivative
        words = self.words(input_ids) * (attention_mask * length)[..., None]
        return {"logits": self.head(words.sum(1))}


def one_bad_row():
    """Eight rows of which the one at 3 has the word 7."""
    rows = make_rows(make_tokenizer(), count=8).to_list()
    for row in rows:
        row["input_ids"] = [8 if token == 7 else token for token in row["input_ids"]]
    rows[3]["input_ids"][1] = 7
    return Dataset.from_list(rows)


@pytest.mark.parametrize("changes", [{}, {"gradient_accumulation_steps": 4, "per_device_train_batch_size": 1}])
def test_a_gradient_that_is_not_finite_names_the_sample_and_spares_the_weights(tmp_path, changes):
    model, rows = Root(), one_bad_row()
    ids = str(rows[3]["input_ids"]).replace("[", r"\[").replace("]", r"\]")
    sample = rf"sample \d of the batch \(row 3 of the data set\), input_ids {ids},"
    message = rf"norm is nan in step [12]; the weights are .* Not finite on their own: {sample}\."
    with pytest.raises(FloatingPointError, match=message):
        trained(tmp_path, model=model, rows=rows, **changes)
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_a_gradient_that_no_sample_alone_spoils_still_spares_the_weights(tmp_path):
    def overflowing(outputs, labels, num_items_in_batch=None):
        return outputs["logits"].sum() * (1e38 if len(set(labels.tolist())) > 1 else 0.0) * 1e38

    model = make_model(spread=0.5)
    with pytest.raises(FloatingPointError, match="No sample of this process alone does it"):
        trained(tmp_path, model=model, compute_loss_func=overflowing)
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


def test_an_undefined_ranking_alone_still_trains(tmp_path):
    """Frozen words: the gradient of 0/0 reaches the ranking and no weight. Such words rank first, and so are kept."""
    trainer = trained(tmp_path, model=Root(frozen=True))
    assert torch.isfinite(weights(trainer)).all()


class Sums(nn.Module):
    """A model to which every word is worth the same: all scores are ties."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words, self.head = nn.Embedding(24, 8), nn.Linear(8, 2)

    def forward(self, input_ids, attention_mask):
        return {"logits": self.head((self.words(input_ids) * attention_mask[..., None]).sum(1))}


def test_ties_drop_the_later_words_and_train(tmp_path):
    seen = []

    def noting(batch, drop):
        seen.append((batch, drop))
        return batch | {"input_ids": batch["input_ids"].masked_fill(drop, 8)}

    trainer = trained(tmp_path, model=Sums(), sgt_masking=noting, sgt_reduction="l2")
    assert torch.isfinite(weights(trainer)).all()
    for batch, drop in seen:
        eligible = trainer.adapter.eligible(batch)
        rank = eligible.long().cumsum(1)
        count = eligible.sum(1, keepdim=True)
        kept = count - torch.minimum((count + 1) // 2, (count - 1).clamp(min=0))
        assert torch.equal(drop, eligible & (rank > kept))
