"""A guided step on each kind of head equals the pure loss's step, padding on either side."""

import pytest
import torch
from datasets import Dataset
from transformers import (
    DataCollatorForTokenClassification,
    DataCollatorWithPadding,
    PatchTSTConfig,
    PatchTSTForClassification,
)

from sgt_hf import SaliencyGuidedTrainer, TextAdapter, saliency_guided_loss
from sgt_hf.adapters import SeriesAdapter
from tests.tiny import make_model, make_rows, make_tokenizer
from tests.trainer.runs import arguments, built, losses, trained, weights

FAMILIES = ["bert", "roberta", "gpt2", "llama", "qwen", "bart", "t5"]


def stepped(model, adapter, batch, masking, *, rate=1e-2):
    """One step of SGD down the pure loss, its parts by hand: the new weights and the loss."""
    with adapter.capture(model, batch) as captured:
        outputs = model(**captured.batch)
    inputs = {name: column for name, column in batch.items() if name != "labels"}
    loss = saliency_guided_loss(
        outputs.logits,
        captured.features,
        batch["labels"],
        lambda drop: model(**adapter.mask(inputs, drop, masking)).logits,
        eligible=adapter.eligible(batch),
        task_loss=outputs.loss,
    )
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(loss.total, parameters, allow_unused=True)
    moved = [p if g is None else p - rate * g for p, g in zip(parameters, gradients, strict=True)]
    return torch.cat([p.detach().flatten() for p in moved]), loss


@pytest.mark.parametrize("padding_side", ["right", "left"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_is_the_pure_loss_s(tmp_path, family, padding_side):
    """Weights to 1e-6, the logged terms to 1e-5, where masking does change what the model says."""
    tokenizer = make_tokenizer(family, padding_side=padding_side)
    rows = make_rows(tokenizer, count=4)
    batch = dict(DataCollatorWithPadding(tokenizer)(list(rows)))
    assert batch["attention_mask"].min() == 0
    expected, loss = stepped(make_model(family, spread=0.5), TextAdapter(tokenizer), batch, "previous_salient")
    trainer = trained(
        tmp_path, family=family, padding_side=padding_side, rows=rows, max_steps=1, logging_steps=1, max_grad_norm=0.0
    )
    assert loss.kl > 1e-6
    assert torch.allclose(weights(trainer), expected, atol=1e-6)
    assert losses(trainer) == [pytest.approx(loss.total.item(), rel=1e-5)]
    assert losses(trainer, "sgt_kl") == [pytest.approx(loss.kl.item(), rel=1e-3)]


@pytest.mark.parametrize(("family", "masking"), [("bart", "delete"), ("t5", "random"), ("qwen", "delete")])
def test_other_maskings_train(tmp_path, family, masking):
    trainer = trained(tmp_path, family=family, sgt_masking=masking, dropout=0.1, optim="adamw_torch")
    assert torch.isfinite(weights(trainer)).all()
    assert all(value > 0 for value in losses(trainer, "sgt_kl"))


@pytest.mark.parametrize("family", ["bart", "t5"])
def test_an_encoder_decoder_is_ranked_at_its_encoder(family):
    """The scores are the gradient with respect to what the encoder is given, taken without hooks."""
    tokenizer, model = make_tokenizer(family), make_model(family, spread=0.5)
    batch = dict(DataCollatorWithPadding(tokenizer)(list(make_rows(tokenizer, count=4))))
    labels = batch.pop("labels")
    scores = TextAdapter(tokenizer).scores(model, batch, labels, target="label", reduction="abs_sum")
    encoder = model.eval().get_encoder()
    words = encoder.embed_tokens(batch["input_ids"]).detach().requires_grad_()
    states = encoder(inputs_embeds=words, attention_mask=batch["attention_mask"])
    logits = model(**batch, encoder_outputs=states).logits
    (gradient,) = torch.autograd.grad(logits.gather(1, labels[:, None]).sum(), words)
    assert torch.allclose(scores, gradient.abs().sum(-1), atol=1e-6)


def token_rows(tokenizer, count=16, *, seed=0):
    """Rows whose words are labelled: whether the token is `good`; special tokens are not."""
    rows = make_rows(tokenizer, count, seed=seed)
    special, good = set(tokenizer.all_special_ids), tokenizer.convert_tokens_to_ids("good")
    labels = [[-100 if token in special else int(token == good) for token in row["input_ids"]] for row in rows]
    return Dataset.from_list([dict(row) | {"labels": found} for row, found in zip(rows, labels, strict=True)])


def token_trainer(tmp_path, **changes):
    tokenizer = make_tokenizer()
    return SaliencyGuidedTrainer(
        model=make_model("bert_tokens", spread=0.5),
        args=arguments(tmp_path, **changes),
        data_collator=DataCollatorForTokenClassification(tokenizer),
        train_dataset=token_rows(tokenizer),
        eval_dataset=token_rows(tokenizer, seed=1),
        processing_class=tokenizer,
    )


def test_token_classification_steps_down_the_pure_loss(tmp_path):
    tokenizer, trainer = make_tokenizer(), token_trainer(tmp_path, max_steps=1, logging_steps=1, max_grad_norm=0.0)
    seen = []
    compute = trainer.compute_loss
    trainer.compute_loss = lambda model, inputs, *rest, **named: (
        seen.append({name: column.clone() for name, column in inputs.items()}) or compute(model, inputs, *rest, **named)
    )
    trainer.train()
    (batch,) = seen
    adapter = TextAdapter(tokenizer)
    expected, loss = stepped(make_model("bert_tokens", spread=0.5), adapter, batch, "previous_salient")
    assert batch["labels"].shape == batch["input_ids"].shape
    assert loss.kl > 1e-6
    assert torch.allclose(weights(trainer), expected, atol=1e-6)
    assert losses(trainer, "sgt_kl") == [pytest.approx(loss.kl.item(), rel=1e-3)]


def test_token_classification_accumulates_like_the_big_batch(tmp_path):
    """Micro-batches have other numbers of labels, and one of them none at all: weights to 1e-5."""
    big = token_trainer(tmp_path, per_device_train_batch_size=8)
    small = token_trainer(tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=4)
    for trainer in (big, small):
        rows = list(trainer.train_dataset)
        bare = [row | {"labels": [-100] * len(row["labels"])} for row in rows[:14]]
        trainer.train_dataset = Dataset.from_list(bare + rows[14:])
        trainer.train()
    assert torch.isfinite(weights(big)).all()
    assert torch.allclose(weights(big), weights(small), atol=1e-5)
    assert small.evaluate()["eval_loss"] == pytest.approx(big.evaluate()["eval_loss"], rel=1e-4)


def test_a_step_without_any_label_leaves_the_weights_as_they_are(tmp_path):
    trainer = token_trainer(tmp_path, logging_steps=1, max_steps=3)
    trainer.train_dataset = trainer.train_dataset.map(lambda row: {"labels": [-100] * len(row["labels"])})
    trainer.train()
    assert torch.equal(weights(trainer), weights(token_trainer(tmp_path)))
    assert losses(trainer) == [0.0] * 3


def test_heads_that_a_masking_would_break_are_refused(tmp_path):
    with pytest.raises(ValueError, match="'delete' with BertForTokenClassification, which labels every token: use"):
        token_trainer(tmp_path, sgt_masking="delete")
    with pytest.raises(ValueError, match="'sep' with BartForSequenceClassification, which reads its prediction at '</"):
        built(tmp_path, family="bart", sgt_masking="sep")


def test_words_are_padded_around_the_collator_of_token_classification(tmp_path):
    tokenizer = make_tokenizer()
    rows = token_rows(tokenizer).map(lambda row: {"word_ids": [-1, *range(len(row["input_ids"]) - 2), -1]})
    settings = {"model": make_model("bert_tokens", spread=0.5), "rows": rows, "sgt_granularity": "word"}
    trainer = trained(tmp_path, data_collator=DataCollatorForTokenClassification(tokenizer), max_steps=1, **settings)
    batch = next(iter(trainer.get_train_dataloader()))
    assert batch["word_ids"].shape == batch["labels"].shape == batch["input_ids"].shape
    assert batch["word_ids"][batch["attention_mask"] == 0].eq(-1).all()


def test_series_classifiers_of_transformers_train(tmp_path):
    config = PatchTSTConfig(
        num_input_channels=2,
        context_length=8,
        patch_length=4,
        patch_stride=4,
        d_model=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        ffn_dim=8,
        num_targets=2,
        head_dropout=0.0,
    )
    rows = [{"past_values": torch.randn(8, 2).tolist(), "target_values": n % 2} for n in range(4)]
    trainer = SaliencyGuidedTrainer(
        PatchTSTForClassification(config),
        arguments(tmp_path, label_names=["target_values"], max_steps=1, logging_steps=1),
        train_dataset=rows,
        adapter=SeriesAdapter("past_values"),
    )
    trainer.train()
    assert losses(trainer, "sgt_kl")[0] > 0
    trainer.train_dataset = [*rows, rows[0] | {"past_values": torch.randn(6, 2).tolist()}]
    with pytest.raises(ValueError, match=r"series of unequal lengths .*forward takes none"):  # but any, and reads none
        trainer.train()


class Around(torch.nn.Module):
    """A plain module around an encoder-decoder, with its configuration."""

    def __init__(self):
        super().__init__()
        self.inner = make_model("bart", spread=0.5)
        self.config = self.inner.config

    def forward(self, input_ids, attention_mask, labels=None):
        return self.inner(input_ids=input_ids, attention_mask=attention_mask, labels=labels)


def test_a_module_around_an_encoder_decoder_is_ranked_inside(tmp_path):
    usual, found = trained(tmp_path, family="bart"), trained(tmp_path, family="bart", model=Around())
    assert torch.equal(weights(usual), weights(found))
