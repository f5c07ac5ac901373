import pickle

import pytest
import torch
from torch import nn
from transformers import (
    BertForMultipleChoice,
    BigBirdConfig,
    BigBirdForSequenceClassification,
    CanineConfig,
    CanineForSequenceClassification,
    IBertConfig,
    IBertForSequenceClassification,
    LongformerConfig,
    LongformerForSequenceClassification,
    XLNetConfig,
    XLNetForSequenceClassification,
)

from sgt_hf import TextAdapter, evaluate_faithfulness
from sgt_hf.adapters.base import logits_of
from sgt_hf.adapters.embedding import LOOKS
from sgt_hf.attribution import AttributionSettings
from sgt_hf.saliency import reduce_scores
from tests.tiny import make_model, make_rows, make_tokenizer
from tests.trainer.runs import losses, trained

NARROW = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
SHARED = {"vocab_size": 24, "num_labels": 2, "pad_token_id": 0, "initializer_range": 0.5}


def xlnet():
    sizes = {"d_model": 8, "n_layer": 1, "n_head": 2, "d_inner": 16, "dropout": 0.0, "summary_last_dropout": 0.0}
    return XLNetForSequenceClassification(XLNetConfig(**SHARED, **sizes))


def longformer():
    config = LongformerConfig(
        **SHARED, **NARROW, attention_window=[4], max_position_embeddings=40, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return LongformerForSequenceClassification(config)


def big_bird():
    config = BigBirdConfig(
        **SHARED, **NARROW, block_size=2, num_random_blocks=1, max_position_embeddings=64, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0, classifier_dropout=0.0, use_bias=True,
    )  # fmt: skip
    return BigBirdForSequenceClassification(config)


def made(make):
    torch.manual_seed(0)
    return make().eval()


def batch_of(count, width):
    torch.manual_seed(1)
    ids = torch.randint(6, 20, (count, width))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def independent(model, batch, labels):
    """Scores by the model's own `inputs_embeds`."""
    embeds = model.get_input_embeddings()(batch["input_ids"]).detach().requires_grad_()
    more = {}
    if isinstance(model, LongformerForSequenceClassification):  # which makes it of the ids alone
        more["global_attention_mask"] = torch.zeros_like(batch["input_ids"]).index_fill(1, torch.tensor([0]), 1)
    logits = model(inputs_embeds=embeds, attention_mask=batch["attention_mask"], **more).logits
    (gradient,) = torch.autograd.grad(logits.gather(1, labels[:, None]).sum(), embeds)
    return reduce_scores(gradient, embeds, "l2")


@pytest.mark.parametrize("shape", [(6, 6), (2, 5)])
@pytest.mark.parametrize("make", [xlnet, longformer])
def test_scores_are_each_tokens_own_whatever_the_model_does_to_the_batch(make, shape):
    """XLNet embeds (L, B), Longformer pads to its window: as many texts as tokens must not hide it."""
    model, batch = made(make), batch_of(*shape)
    adapter, labels = TextAdapter(make_tokenizer("bert")), torch.arange(shape[0]) % 2
    scores = adapter.scores(model, batch, labels, target="label", reduction="l2")
    expected = independent(model, batch, labels)
    assert torch.allclose(scores, expected, rtol=1e-3, atol=1e-6)
    assert not torch.allclose(scores, scores.flip(0), rtol=1e-3)
    with adapter.capture(model, batch) as captured:
        logits = logits_of(model(**captured.batch))
    with adapter.replace(model, captured.features):
        assert torch.allclose(logits, logits_of(model(**batch)), atol=1e-6)
    with adapter.replace(model, torch.zeros_like(captured.features)):
        assert not torch.allclose(logits, logits_of(model(**batch)), atol=1e-4)


@pytest.mark.parametrize("make", [xlnet, longformer, big_bird])
def test_they_train_and_are_measured(tmp_path, make):
    # XLNet predicts from the last position
    tokenizer = make_tokenizer("bert", padding_side="left" if make is xlnet else "right")
    rows = make_rows(tokenizer, longest=31).remove_columns("token_type_ids")
    side = tokenizer.padding_side
    trainer = trained(tmp_path, model=made(make), rows=rows, padding_side=side, max_steps=2, logging_steps=1)
    assert all(value > 0 for value in losses(trainer, "sgt_kl"))
    methods = ["gradient", "integrated_gradients"]
    settings = AttributionSettings(steps=2, max_delta=1e9)
    how = {"methods": methods, "settings": settings, "progress": False}
    together = evaluate_faithfulness(trainer.model, rows, tokenizer, **how)
    alone = evaluate_faithfulness(trainer.model, rows, tokenizer, batch_size=1, **how)
    for method in methods:
        for one, other in zip(together.scores[method], alone.scores[method], strict=True):
            assert one == pytest.approx(other, rel=1e-2, abs=1e-4)


def test_what_cannot_be_told_token_by_token_is_refused():
    adapter, batch = TextAdapter(make_tokenizer("bert")), batch_of(2, 4)
    choices = BertForMultipleChoice(make_model("bert").config)
    several = {name: column.view(1, 2, 4) for name, column in batch.items()}
    with (
        pytest.raises(
            ValueError, match=r"called with \(2, 4\) values that do not begin with the batch's \(1, 2, 4\) input_ids"
        ),
        adapter.capture(choices, several) as captured,
    ):
        choices(**captured.batch)
    quantised = IBertForSequenceClassification(IBertConfig(**SHARED, **NARROW, max_position_embeddings=40))
    with (
        pytest.raises(ValueError, match="returns a tuple where a tensor is ranked"),
        adapter.capture(quantised, batch) as captured,
    ):
        quantised(**captured.batch)
    characters = CanineForSequenceClassification(
        CanineConfig(**NARROW, num_labels=2, pad_token_id=0, max_position_embeddings=64)
    )
    with pytest.raises(ValueError, match=r"has no get_input_embeddings\(\) that gives a module .*: name the one"):
        adapter.embedding_module(characters)


class Clamped(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words, self.head = nn.Embedding(8, 4), nn.Linear(4, 2)

    def forward(self, input_ids, attention_mask):
        return self.head(self.words(input_ids.clamp(max=7)).sum(1))


@pytest.mark.parametrize("shape", [(2, 4), (4, 4)])
def test_ids_may_be_changed_on_their_way_and_an_adapter_copied(shape):
    adapter, model, batch = TextAdapter(make_tokenizer("bert")), Clamped(), batch_of(*shape)
    labels = torch.zeros(shape[0], dtype=torch.long)
    scores = adapter.scores(model, batch, labels, target="label", reduction="signed_sum")
    assert torch.allclose(scores, model.head.weight[0].sum().expand(shape), atol=1e-6)
    again = pickle.loads(pickle.dumps(adapter)).scores(model, batch, labels, target="label", reduction="signed_sum")
    assert torch.equal(scores, again)


class Sorts(nn.Module):
    """As LSTMs are often written: the longest text first, and back at the end."""

    def __init__(self):
        super().__init__()
        self.words, self.head = nn.Embedding(24, 4), nn.Linear(4, 2)

    def forward(self, input_ids, attention_mask):
        order = attention_mask.sum(1).argsort(descending=True, stable=True)
        seen = (self.words(input_ids[order]) * attention_mask[order][..., None]).sum(1)
        return self.head(seen)[order.argsort()]


def test_a_model_that_sorts_its_batch_is_refused_also_after_a_sorted_batch():
    adapter, model, batch = TextAdapter(make_tokenizer("bert")), Sorts(), batch_of(3, 4)
    labels = torch.zeros(3, dtype=torch.long)
    adapter.scores(model, batch, labels, target="label", reduction="l2")
    batch["attention_mask"][0, 2:] = 0
    with pytest.raises(ValueError, match=r"rows in another order, .*: embed before you sort, or pack with enforce"):
        adapter.scores(model, batch, labels, target="label", reduction="l2")


class Turned(nn.Module):
    """Embeds (L, B), of ids that it clamps."""

    def __init__(self):
        super().__init__()
        self.words, self.head = nn.Embedding(12, 4), nn.Linear(4, 2)

    def forward(self, input_ids, attention_mask):
        return self.head(self.words(input_ids.clamp(max=11).T).cumsum(0)[-1])


def test_an_order_once_known_is_kept():
    """A square batch with an id that is clamped looks as if it were straight."""
    adapter, model = TextAdapter(make_tokenizer("bert")), Turned()
    for shape, highest in (((2, 3), 7), ((3, 3), 20), ((2, 3), 20)):
        batch = batch_of(*shape)
        batch["input_ids"] = batch["input_ids"].clamp(max=11)
        batch["input_ids"][0, 1] = highest
        with adapter.capture(model, batch) as captured:
            model(**captured.batch)
        assert torch.equal(captured.features, model.words(batch["input_ids"].clamp(max=11)))


class Windows(nn.Module):
    """Reads a long text by windows, each with a call of the embedding."""

    def __init__(self):
        super().__init__()
        self.words, self.head = nn.Embedding(24, 4), nn.Linear(4, 2)

    def forward(self, input_ids, attention_mask):
        return self.head(sum(self.words(part).sum(1) for part in input_ids.split(6, dim=1)))


def test_a_model_that_splits_long_texts_is_refused_at_the_first_however_late():
    adapter, model, labels = TextAdapter(make_tokenizer("bert")), Windows(), torch.zeros(2, dtype=torch.long)
    for _ in range(LOOKS + 1):
        adapter.scores(model, batch_of(2, 5), labels, target="label", reduction="l2")
    with pytest.raises(ValueError, match=r"called with \(2, 6\) values that do not begin with the batch's \(2, 9\)"):
        adapter.scores(model, batch_of(2, 9), labels, target="label", reduction="l2")


class Around(nn.Module):
    """A plain module around a Hugging Face encoder, which changes the embedding in place."""

    def __init__(self):
        super().__init__()
        self.encoder = make_model("bert", spread=0.5).bert
        self.head = nn.Linear(8, 2)

    def forward(self, input_ids, attention_mask):
        return self.head(self.encoder(input_ids, attention_mask).last_hidden_state[:, 0])


class InPlace(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words, self.head = nn.Embedding(24, 4), nn.Linear(4, 2)

    def forward(self, input_ids, attention_mask):
        x = self.words(input_ids)
        x *= 3.0
        return self.head((x * attention_mask[..., None]).sum(1))


def test_the_encoder_inside_a_plain_module_is_found():
    model = Around()
    adapter = TextAdapter(make_tokenizer("bert"))
    assert adapter.embedding_module(model) is model.encoder.get_input_embeddings()


def test_a_frozen_embedding_may_be_changed_in_place():
    model = InPlace()
    model.words.requires_grad_(False)
    batch = batch_of(2, 4)
    scores = TextAdapter(make_tokenizer("bert")).scores(
        model, batch, torch.tensor([0, 1]), target="label", reduction="signed_sum"
    )
    assert torch.allclose(scores, 3.0 * model.head.weight.sum(1)[[0, 1], None].expand(2, 4), atol=1e-5)
