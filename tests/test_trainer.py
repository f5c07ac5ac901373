import warnings

import pytest
import torch
from torch import nn
from transformers import DataCollatorWithPadding, Trainer, TrainerCallback, TrainingArguments

from sgt_hf import SaliencyGuidedTrainer, TextAdapter, saliency_guided_loss
from tests.tiny import make_model, make_rows, make_tokenizer
from tests.trainer.runs import CHECKPOINTING, arguments, built, losses, trained, weights


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_kl_weight_zero_equals_trainer_bit_for_bit(tmp_path, family):
    plain = trained(tmp_path, Trainer, family=family, kind=TrainingArguments, dropout=0.1)
    guided = trained(tmp_path, family=family, dropout=0.1, sgt_kl_weight=0.0)
    assert torch.equal(weights(plain), weights(guided))
    assert losses(plain) == losses(guided)


def test_guidance_changes_the_weights_and_plain_arguments_take_the_default_knobs(tmp_path):
    plain = trained(tmp_path, Trainer, kind=TrainingArguments)
    default = trained(tmp_path, kind=TrainingArguments)
    explicit = trained(tmp_path, sgt_mask_fraction=0.5, sgt_kl_weight=1.0)
    assert not torch.equal(weights(plain), weights(default))
    assert torch.equal(weights(default), weights(explicit))


@pytest.mark.parametrize(("ranking", "weight"), [("shared", 1.0), ("shared", 2.5), ("separate", 0.3)])
@pytest.mark.parametrize("save_memory", [False, True])
def test_one_step_is_the_pure_loss(tmp_path, ranking, weight, save_memory):
    tokenizer, model = make_tokenizer(), make_model(spread=0.5)
    rows = make_rows(tokenizer, count=4)
    adapter, reference = TextAdapter(tokenizer), make_model(spread=0.5)
    batch = dict(DataCollatorWithPadding(tokenizer)(list(rows)))
    with adapter.capture(reference, batch) as captured:
        logits = reference(**captured.batch).logits
    inputs = {name: column for name, column in batch.items() if name != "labels"}

    def masked_forward(drop):
        return reference(**adapter.mask(inputs, drop, "previous_salient")).logits

    loss = saliency_guided_loss(
        logits,
        captured.features,
        batch["labels"],
        masked_forward,
        eligible=adapter.eligible(batch),
        kl_weight=weight,
    )
    assert loss.total.item() == pytest.approx(loss.ce.item() + weight * loss.kl.item(), rel=1e-5)
    loss.total.backward()
    knobs = {"sgt_ranking": ranking, "sgt_kl_weight": weight, "sgt_save_memory": save_memory}
    trainer = trained(tmp_path, model=model, rows=rows, max_steps=1, logging_steps=1, max_grad_norm=0.0, **knobs)
    assert losses(trainer) == [pytest.approx(loss.total.item(), rel=1e-5)]
    assert losses(trainer, "sgt_ce") == [pytest.approx(loss.ce.item(), rel=1e-5)]
    assert losses(trainer, "sgt_kl") == [pytest.approx(loss.kl.item(), rel=1e-3)]
    assert losses(trainer, "sgt_flipped") == [pytest.approx(loss.flipped.item())]
    stepped = torch.cat([(p - 1e-2 * p.grad).detach().flatten() for p in reference.parameters()])
    assert torch.allclose(weights(trainer), stepped, atol=1e-6)


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
@pytest.mark.parametrize("masking", ["previous_salient", "delete", "callable"])
def test_accumulation_equals_the_big_batch(tmp_path, family, masking):
    """Batch 8 equals 2 × 4 in weights and logs, the last step of an epoch being 5 rows (2, 2, 1) or 5 at once."""
    tokenizer = make_tokenizer(family)
    rows = make_rows(tokenizer, count=13)
    if masking == "callable":

        def masking(batch, drop):
            return batch | {"input_ids": batch["input_ids"].masked_fill(drop, 7)}

    shared = {"family": family, "rows": rows, "sgt_masking": masking, "logging_steps": 1}
    big = trained(tmp_path, per_device_train_batch_size=8, **shared)
    small = trained(tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=4, **shared)
    assert torch.allclose(weights(big), weights(small), atol=1e-5)
    for name in ("loss", "sgt_ce", "sgt_kl", "sgt_flipped"):
        assert losses(big, name) == pytest.approx(losses(small, name), abs=2e-4), name


def test_accumulation_of_plain_training_is_right_too(tmp_path):
    """Where `Trainer` itself multiplies the loss by the accumulation steps (transformers issue 47688)."""
    big = trained(tmp_path, per_device_train_batch_size=8, sgt_kl_weight=0.0)
    small = trained(tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=4, sgt_kl_weight=0.0)
    assert torch.allclose(weights(big), weights(small), atol=1e-5)


def test_accumulation_with_a_loss_function_of_the_users(tmp_path):
    def weighted(outputs, labels, num_items_in_batch=None):
        total = nn.functional.cross_entropy(outputs["logits"], labels, weight=torch.tensor([1.0, 3.0]), reduction="sum")
        return total / (len(labels) if num_items_in_batch is None else num_items_in_batch)

    big = trained(tmp_path, per_device_train_batch_size=8, compute_loss_func=weighted)
    small = trained(tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=4, compute_loss_func=weighted)
    assert torch.allclose(weights(big), weights(small), atol=1e-5)
    assert not torch.allclose(weights(big), weights(trained(tmp_path, per_device_train_batch_size=8)), atol=1e-5)


def test_evaluate_and_predict_report_the_plain_loss(tmp_path):
    guided = trained(tmp_path, dropout=0.3)
    plain = Trainer(
        model=guided.model,
        args=arguments(tmp_path, TrainingArguments),
        eval_dataset=guided.eval_dataset,
        processing_class=guided.processing_class,
    )
    assert guided.evaluate()["eval_loss"] == pytest.approx(plain.evaluate()["eval_loss"], rel=1e-6)
    assert (guided.predict(guided.eval_dataset).predictions == plain.predict(guided.eval_dataset).predictions).all()


def test_every_n_steps_and_warmup_leave_steps_plain(tmp_path):
    every = trained(tmp_path, sgt_every_n_steps=2, logging_steps=1)
    assert [("sgt_kl" in entry) for entry in every.state.log_history if "loss" in entry] == [True, False] * 4
    warm = trained(tmp_path, sgt_warmup_ratio=0.5, logging_steps=1)
    first = next(entry for entry in warm.state.log_history if "loss" in entry)
    assert "sgt_kl" not in first  # λ is 0 at the first step


def test_word_granularity_reaches_the_batch(tmp_path):
    tokenizer = make_tokenizer()
    rows = make_rows(tokenizer)
    rows = rows.add_column("word_ids", [[-1, *range(len(row["input_ids"]) - 2), -1] for row in rows])
    by_word = trained(tmp_path, rows=rows, sgt_granularity="word")
    by_token = trained(tmp_path, rows=rows, sgt_granularity="token")
    assert torch.equal(weights(by_word), weights(by_token))  # here every word is one token
    with pytest.raises(ValueError, match="granularity 'word' needs a word_ids column"):
        trained(tmp_path, sgt_granularity="word")


class Snapshot(TrainerCallback):
    """Counts the forward hooks that are left on the model at the end of every step."""

    def __init__(self):
        self.hooks = []

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.hooks.append(sum(len(module._forward_hooks) for module in model.modules()))


def test_nothing_of_the_model_is_left_changed_also_after_an_exception(tmp_path):
    snapshot = Snapshot()
    trained(tmp_path, callbacks=[snapshot])
    assert set(snapshot.hooks) == {0}
    model = make_model()
    model.dropout.eval()

    def broken(batch, drop):
        raise RuntimeError("masking failed")

    trainer = SaliencyGuidedTrainer(
        model=model,
        args=arguments(tmp_path, sgt_masking=broken, sgt_ranking="separate"),
        train_dataset=make_rows(make_tokenizer()),
        processing_class=make_tokenizer(),
    )
    frozen = model.get_input_embeddings().weight.requires_grad_(False)
    model.train()
    model.dropout.eval()
    batch = dict(DataCollatorWithPadding(make_tokenizer())(list(trainer.train_dataset)[:4]))
    flags = [module.training for module in model.modules()]
    with pytest.raises(RuntimeError, match="masking failed"):
        trainer.compute_loss(model, batch)
    assert [module.training for module in model.modules()] == flags
    assert not any(module._forward_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not frozen.requires_grad


def test_random_masking_repeats_with_the_seed(tmp_path):
    first, again = trained(tmp_path, sgt_masking="random"), trained(tmp_path, sgt_masking="random")
    other = trained(tmp_path, sgt_masking="random", seed=1)
    assert torch.equal(weights(first), weights(again))
    assert not torch.equal(weights(first), weights(other))


def test_multi_label_trains_and_accumulates(tmp_path):
    tokenizer = make_tokenizer()
    rows = make_rows(tokenizer)
    rows = rows.remove_columns("labels").add_column("labels", [[1.0, 0.0, float(i % 2)] for i in range(len(rows))])

    def run(**changes):
        model = make_model(num_labels=3, problem_type="multi_label_classification", spread=0.5)
        return trained(tmp_path, rows=rows, model=model, **changes)

    big = run(per_device_train_batch_size=8)
    assert all(value > 0 for value in losses(big, "sgt_kl"))
    assert torch.allclose(
        weights(big), weights(run(per_device_train_batch_size=2, gradient_accumulation_steps=4)), atol=1e-5
    )


def test_the_tokenizer_is_taken_from_the_collator(tmp_path):
    tokenizer = make_tokenizer()
    rows = make_rows(tokenizer)
    trainer = SaliencyGuidedTrainer(
        model=make_model(),
        args=arguments(tmp_path),
        data_collator=DataCollatorWithPadding(tokenizer),
        train_dataset=rows.add_column("word_ids", [[0] for _ in rows]),  # a column that this collator cannot pad
    )
    trainer.train()
    assert trainer.adapter.tokenizer is tokenizer


def test_faithfulness_from_the_trainer(tmp_path):
    trainer = trained(tmp_path, sgt_masking="delete")
    with pytest.warns(UserWarning, match=r"trained to bear it \(delete\), which flatters sufficiency"):
        report = trainer.evaluate_faithfulness(methods=["gradient"], progress=False)
    assert report.methods == ("gradient", "random")
    assert len(report.full) == 16
    assert "trained with the same operator (delete)" in str(report)
    trainer.eval_dataset = None
    with pytest.raises(ValueError, match="there is no data to evaluate on: pass test_dataset"):
        trainer.evaluate_faithfulness()


def test_an_evaluation_set_is_found_by_its_name(tmp_path):
    trainer = trained(tmp_path)
    rows = trainer.eval_dataset
    with pytest.raises(ValueError, match="there is no 'short' in eval_dataset, which is a Dataset: pass the data set"):
        trainer.evaluate_faithfulness("short", methods=["gradient"], progress=False)
    trainer.eval_dataset = {"short": rows.select(range(3)), "long": rows}
    report = trainer.evaluate_faithfulness("short", methods=["gradient"], progress=False)
    assert len(report.full) == 3
    assert [one.dataset.name for one in trainer.evaluations if one.report is report] == ["short"]
    assert "eval_loss" in trainer.evaluate("short")
    for measure in (trainer.evaluate, trainer.evaluate_faithfulness):
        with pytest.raises(ValueError, match=r"no 'other' in eval_dataset, only \['long', 'short'\]"):
            measure("other")


def test_gradient_checkpointing_without_reentrance_changes_nothing(tmp_path):
    plain = trained(tmp_path)
    checkpointed = trained(tmp_path, **{CHECKPOINTING: True})
    assert torch.allclose(weights(plain), weights(checkpointed), atol=1e-6)


class Bag(nn.Module):
    """A model of the user's own, without labels in its forward."""

    def __init__(self, kind):
        super().__init__()
        torch.manual_seed(0)
        self.kind, self.words, self.head = kind, nn.Embedding(24, 8), nn.Linear(8, 2)

    def forward(self, input_ids, attention_mask):
        words = self.words(input_ids) * attention_mask[..., None]
        logits = self.head(words.sum(1) / attention_mask.sum(1, keepdim=True))
        return {"dict": {"logits": logits}, "tuple": (logits,), "tensor": logits}[self.kind]


@pytest.mark.parametrize("kind", ["dict", "tuple", "tensor"])
def test_a_plain_module_without_labels_trains_and_evaluates(tmp_path, kind):
    big = trained(tmp_path, model=Bag(kind), per_device_train_batch_size=8)
    small = trained(tmp_path, model=Bag(kind), per_device_train_batch_size=2, gradient_accumulation_steps=4)
    assert torch.allclose(weights(big), weights(small), atol=1e-5)
    logits = torch.tensor(big.predict(big.eval_dataset).predictions)
    labels = torch.tensor(big.eval_dataset["labels"])
    assert logits.shape == (16, 2)
    assert big.evaluate()["eval_loss"] == pytest.approx(nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)
    assert len(big.evaluate_faithfulness(methods=["gradient"], progress=False).full) == 16


def test_label_smoothing_accumulates_like_the_big_batch(tmp_path):
    rows = make_rows(make_tokenizer())
    shared = {"rows": rows, "label_smoothing_factor": 0.2}
    big = trained(tmp_path, per_device_train_batch_size=8, **shared)
    small = trained(tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=4, **shared)
    assert torch.allclose(weights(big), weights(small), atol=1e-5)
    plain = trained(tmp_path, per_device_train_batch_size=8, rows=rows)
    assert not torch.allclose(weights(big), weights(plain), atol=1e-5)


def test_a_loss_function_whose_items_cannot_be_counted_accumulates_the_divergence(tmp_path):
    """Without labels: the divergence alone trains, and its weight is the same in 2 × 4 rows as in 8 (to 1e-5)."""
    rows = make_rows(make_tokenizer()).remove_columns("labels")

    def nothing(outputs, labels, num_items_in_batch=None):
        return outputs["logits"].sum() * 0.0

    shared = {"rows": rows, "sgt_target": "predicted", "compute_loss_func": nothing, "max_grad_norm": 0.0}
    big = trained(tmp_path, per_device_train_batch_size=8, **shared)
    small = trained(tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=4, **shared)
    assert (weights(big) - weights(built(tmp_path))).abs().max() > 1e-4
    assert torch.allclose(weights(big), weights(small), atol=1e-5)
    assert losses(big, "sgt_kl") == pytest.approx(losses(small, "sgt_kl"), abs=1e-5)


def test_a_second_training_logs_nothing_of_the_first(tmp_path):
    """The first ends between two logs."""
    trainer = trained(tmp_path, max_steps=1, logging_steps=2, learning_rate=0.0)
    trainer.args.logging_steps = 1
    trainer.train_dataset = rows = make_rows(make_tokenizer(), seed=3)
    trainer.train()
    assert losses(trainer, "sgt_kl") == losses(trained(tmp_path, rows=rows, max_steps=1, logging_steps=1), "sgt_kl")


def test_a_model_compiled_by_others_is_ranked_by_a_separate_pass(tmp_path):
    """As `accelerate launch --dynamo_backend` does: weights to 1e-5 of eager's."""
    eager = trained(tmp_path, max_steps=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.compile(make_model(spread=0.5), backend="aot_eager")
        compiled = trained(tmp_path, model=model, max_steps=2, remove_unused_columns=False)
    assert torch.allclose(weights(eager), weights(compiled), atol=1e-5)


@pytest.mark.slow
def test_compiled_equals_eager(tmp_path):
    # the warnings are the compiler's own, about itself
    eager = trained(tmp_path, sgt_ranking="separate", max_steps=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled = trained(tmp_path, torch_compile=True, max_steps=3)
    assert torch.allclose(weights(eager), weights(compiled), atol=1e-5)
