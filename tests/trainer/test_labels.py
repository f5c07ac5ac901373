"""Where labels and losses come from: other names, other shapes, losses of the user's own, and what is refused."""

import json

import pytest
import torch
from datasets import Dataset, IterableDataset
from torch import nn
from torch.nn import functional
from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

from sgt_hf import SaliencyGuidedTrainer
from sgt_hf.data.rationales import encode_words
from tests.tiny import make_model, make_rows, make_tokenizer
from tests.trainer.runs import built, losses, trained, weights


class Renamed(nn.Module):
    """Its labels have another name, or are required, or come with all else."""

    def __init__(self):
        super().__init__()
        self.inner = make_model(spread=0.5)


class Targets(Renamed):
    def forward(self, input_ids, attention_mask, token_type_ids=None, targets=None):
        return self.inner(input_ids, attention_mask, token_type_ids, labels=targets)


class Required(Renamed):
    def forward(self, input_ids, attention_mask, labels, token_type_ids=None):
        return self.inner(input_ids, attention_mask, token_type_ids, labels=labels)


class Focal(Renamed):
    def forward(self, **batch):
        labels = batch.pop("labels", None)
        outputs = self.inner(**batch)
        if labels is None:
            return {"logits": outputs.logits}
        each = functional.cross_entropy(outputs.logits, labels, reduction="none")
        return {"loss": ((1 - (-each).exp()) ** 2 * each).mean(), "logits": outputs.logits}


def test_labels_under_another_name(tmp_path):
    rows = make_rows(make_tokenizer())
    usual = trained(tmp_path, rows=rows, sgt_ranking="separate")
    renamed = rows.rename_column("labels", "targets")
    settings = {"rows": renamed, "eval_dataset": renamed, "label_names": ["targets"], "sgt_ranking": "separate"}
    assert torch.equal(weights(usual), weights(trained(tmp_path, model=Targets(), **settings)))
    with pytest.raises(ValueError, match=r"the batch has no labels, only \[.*'targets'.*label_names"):
        trained(tmp_path, model=Targets(), rows=renamed, eval_dataset=renamed)


def test_a_forward_that_requires_labels_and_labels_in_a_column(tmp_path):
    rows = make_rows(make_tokenizer())
    usual = trained(tmp_path, rows=rows)
    assert torch.equal(weights(usual), weights(trained(tmp_path, model=Required(), rows=rows)))
    column = rows.map(lambda row: {"labels": [row["labels"]]})
    assert torch.equal(weights(usual), weights(trained(tmp_path, rows=column)))


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_loss_inside_a_forward_that_takes_anything_is_the_models(tmp_path, weight):
    settings = {"rows": make_rows(make_tokenizer()), "remove_unused_columns": False, "logging_steps": 1}
    plain = trained(tmp_path, Trainer, model=Focal(), kind=TrainingArguments, **settings)
    guided = trained(tmp_path, model=Focal(), sgt_kl_weight=weight, **settings)
    if weight == 0:
        assert torch.equal(weights(plain), weights(guided))
    else:
        assert losses(guided, "sgt_ce")[0] == pytest.approx(losses(plain)[0], abs=1e-4)


class Swallows(Renamed):
    """Takes anything, of which it wants nothing, and computes no loss."""

    def __init__(self, form):
        super().__init__()
        self.form = form

    def forward(self, input_ids, attention_mask=None, token_type_ids=None, **_):
        logits = self.inner(input_ids, attention_mask, token_type_ids).logits
        return {"tensor": logits, "dict": {"logits": logits}, "tuple": (logits,)}[self.form]


@pytest.mark.parametrize("form", ["tensor", "dict", "tuple"])
def test_a_forward_that_takes_anything_and_computes_no_loss_gets_cross_entropy(tmp_path, form):
    settings = {"rows": make_rows(make_tokenizer()), "eval_dataset": make_rows(make_tokenizer(), seed=1)}
    usual = trained(tmp_path, **settings)
    # its signature names no labels, so Trainer would drop their column with the unused ones
    found = trained(tmp_path, model=Swallows(form), remove_unused_columns=False, **settings)
    assert torch.allclose(weights(usual), weights(found), atol=1e-6)
    assert found.evaluate()["eval_loss"] == pytest.approx(usual.evaluate()["eval_loss"], rel=1e-5)


class Weighted(SaliencyGuidedTrainer):
    """The commonest way of weighing classes."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        loss = functional.cross_entropy(outputs.logits, labels, weight=torch.tensor([1.0, 3.0]))
        return (loss, outputs) if return_outputs else loss


class ForOutputs(SaliencyGuidedTrainer):
    """Calls the guided loss, and takes the outputs alone."""

    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        _, outputs = super().compute_loss(model, inputs, return_outputs=True, **kwargs)
        return functional.cross_entropy(outputs.logits, inputs["labels"], weight=torch.tensor([1.0, 3.0]))


class Forgetful(SaliencyGuidedTrainer):
    """Does not pass the number of items on."""

    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        return super().compute_loss(model, inputs, return_outputs)


class MeanOfBatches(SaliencyGuidedTrainer):
    loss_is_scaled_for_ga = False


class Doubled(SaliencyGuidedTrainer):
    def compute_loss(self, *args, **kwargs):
        return 2 * super().compute_loss(*args, **kwargs)


class DoubledInPlace(SaliencyGuidedTrainer):
    def compute_loss(self, *args, **kwargs):
        loss = super().compute_loss(*args, **kwargs)
        loss *= 2
        return loss


class DoubledLater(SaliencyGuidedTrainer):
    def compute_loss(self, *args, **kwargs):
        return (1 + (self.state.global_step >= 2)) * super().compute_loss(*args, **kwargs)


class Decayed(SaliencyGuidedTrainer):
    def compute_loss(self, model, *args, **kwargs):
        return super().compute_loss(model, *args, **kwargs) + 0.1 * sum(p.square().sum() for p in model.parameters())


def test_an_own_compute_loss_must_call_the_guided_one(tmp_path):
    trained(tmp_path, Weighted, sgt_kl_weight=0.0, max_steps=1)  # nothing is to be guided
    for knobs in ({}, {"sgt_kl_weight": 0.0, "gradient_accumulation_steps": 2}):
        with pytest.raises(
            ValueError, match=r"compute_loss of this Weighted does not return .*: pass .*compute_loss_func"
        ):
            trained(tmp_path, Weighted, **knobs)
    for memory in (False, True):
        with pytest.raises(ValueError, match="compute_loss of this ForOutputs does not return"):
            trained(tmp_path, ForOutputs, sgt_save_memory=memory)
    once, twice = (
        trained(tmp_path, max_steps=1, logging_steps=1),
        trained(tmp_path, Doubled, max_steps=1, logging_steps=1),
    )
    assert losses(twice)[0] == pytest.approx(2 * losses(once)[0], abs=1e-3)


@pytest.mark.parametrize("kind", [Doubled, DoubledInPlace, DoubledLater])
def test_a_loss_is_not_multiplied_once_a_part_of_it_was_backpropagated(tmp_path, kind):
    message = f"compute_loss of this {kind.__name__} multiplies the loss, of which sgt_save_memory has"
    with pytest.raises(ValueError, match=message):
        trained(tmp_path, kind, sgt_save_memory=True, max_steps=4, logging_steps=9)
    trained(tmp_path, kind, max_steps=4, logging_steps=9)


def test_a_term_of_ones_own_is_added_to_a_loss_in_parts(tmp_path):
    settings = {"max_steps": 3, "gradient_accumulation_steps": 2}
    whole, parts = (trained(tmp_path, Decayed, sgt_save_memory=memory, **settings) for memory in (False, True))
    assert torch.allclose(weights(whole), weights(parts), atol=1e-6)
    assert not torch.allclose(weights(whole), weights(trained(tmp_path, **settings)), atol=1e-4)


class Words(nn.Module):
    """Sums embeddings, in the ways that a module of one's own may: subclasses add an input or compute the loss."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words, self.parts, self.head = nn.Embedding(32, 8), nn.Embedding(2, 8), nn.Linear(8, 2)

    def get_input_embeddings(self):
        return self.words

    def classify(self, input_ids, attention_mask, more=0.0):
        return self.head(torch.tanh(((self.words(input_ids) + more) * attention_mask[..., None]).sum(1)))

    def outputs(self, logits, labels):
        return {"logits": logits} | ({} if labels is None else {"loss": functional.cross_entropy(logits, labels)})


class WithSegments(Words):
    def forward(self, input_ids, attention_mask, segment_ids, labels=None):
        assert segment_ids.shape == input_ids.shape
        return self.outputs(self.classify(input_ids, attention_mask, self.parts(segment_ids)), labels)


class WithLabelPrior(Words):
    def forward(self, input_ids, attention_mask, label_prior=None, labels=None):
        logits = self.classify(input_ids, attention_mask)
        return self.outputs(logits if label_prior is None else logits + label_prior, labels)


class AlwaysLoses(Words):
    def forward(self, input_ids, attention_mask, labels=None):
        logits = self.classify(input_ids, attention_mask)
        return {"loss": functional.cross_entropy(logits, labels), "logits": logits}


def collated(more=None):
    pad = DataCollatorWithPadding(make_tokenizer())

    def collate(rows):
        batch = pad([{name: row[name] for name in ("input_ids", "attention_mask", "labels")} for row in rows])
        return {name: column for name, column in batch.items() if name != "token_type_ids"} | (more or {}).copy()

    return collate


def test_a_column_that_the_forward_names_is_the_models(tmp_path):
    """Though the text adapter has a use for columns of that name too."""
    collate = collated()
    settings = {
        "model": WithSegments(),
        "data_collator": lambda rows: (batch := collate(rows)) | {"segment_ids": batch["input_ids"] % 2},
        "remove_unused_columns": False,
        "max_steps": 2,
    }
    assert trained(tmp_path, **settings).state.global_step == 2


def test_an_input_whose_name_has_label_in_it_is_no_label(tmp_path):
    """Without anything masked both passes are one, and the divergence is none."""
    settings = {"data_collator": collated({"label_prior": torch.tensor([[4.0, 0.0]])}), "remove_unused_columns": False}
    trainer = trained(tmp_path, model=WithLabelPrior(), sgt_mask_fraction=0.0, logging_steps=1, **settings)
    assert losses(trainer, "sgt_kl") == pytest.approx([0.0] * trainer.state.max_steps, abs=1e-6)


def test_a_forward_that_cannot_do_without_labels_is_told_so(tmp_path):
    with pytest.raises(
        ValueError, match=r"on the masked input, which comes without \['labels'\] .*only where labels are"
    ):
        trained(tmp_path, model=AlwaysLoses(), data_collator=collated(), remove_unused_columns=False)


def test_a_batch_without_the_ranked_input_says_what_it_has(tmp_path):
    class Pair(Words):
        def forward(self, first, second, labels=None):
            return self.outputs(self.classify(first, first > 0) + self.classify(second, second > 0), labels)

    class Either(Pair):
        def forward(self, input_ids=None, first=None, second=None, labels=None):
            return super().forward(first, second, labels)

    pad = collated()

    def collate(rows):
        batch = pad(rows)
        return {"first": batch["input_ids"], "second": batch["input_ids"], "labels": batch["labels"]}

    settings = {"data_collator": collate, "remove_unused_columns": False, "max_steps": 1}
    assert trained(tmp_path, model=Pair(), sgt_kl_weight=0.0, **settings).state.global_step == 1
    with pytest.raises(ValueError, match=r"the forward of Pair takes \['first', 'second', 'labels'\].* two texts as a"):
        trained(tmp_path, model=Pair(), **settings)
    with pytest.raises(ValueError, match=r"of 'input_ids', and the batch has only \['first', 'labels', 'second'\]"):
        trained(tmp_path, model=Either(), **settings)


@pytest.mark.parametrize("drops", ["lowest", "random"])
def test_several_labels_as_integers_are_refused(tmp_path, drops):
    def bce(outputs, labels, num_items_in_batch=None):
        return functional.binary_cross_entropy_with_logits(outputs["logits"], labels.float())

    rows = make_rows(make_tokenizer()).map(lambda row: {"labels": [row["labels"], 1]})
    with pytest.raises(ValueError, match=r"integer labels of shape \(4, 2\) are no classes .*give them as floats"):
        trained(tmp_path, rows=rows, compute_loss_func=bce, sgt_drops=drops, max_steps=1)


def queried(tokenizer):
    rows = [
        {"document": words.split(), "query": ["plot"], "label": n % 2, "annotation_id": str(n)}
        for n, words in enumerate(["good film", "bad", "the great actor", "not very dull film"] * 2)
    ]
    return encode_words(Dataset.from_list(rows), tokenizer, use_query=True)


def test_transformers_own_padding_keeps_what_spares_tokens(tmp_path):
    tokenizer = make_tokenizer()
    usual = trained(tmp_path, rows=queried(tokenizer))
    padded = trained(tmp_path, rows=queried(tokenizer), data_collator=DataCollatorWithPadding(tokenizer))
    assert torch.equal(weights(usual), weights(padded))
    batch = next(iter(padded.get_train_dataloader()))
    assert not padded.adapter.eligible(batch)[batch["word_ids"] < 0].any()
    assert (
        padded.evaluate_faithfulness(queried(tokenizer), methods=["gradient"], progress=False).provenance.unit == "word"
    )


def test_a_collator_that_would_not_see_what_spares_tokens_is_refused(tmp_path):
    tokenizer = make_tokenizer()
    collate = DataCollatorWithPadding(tokenizer)
    with pytest.raises(
        ValueError, match=r"columns \['word_ids'\] would not reach function, .*: leave data_collator out"
    ):
        trained(tmp_path, rows=queried(tokenizer), data_collator=lambda rows: collate(rows))
    without = queried(tokenizer).remove_columns(["segment_ids", "word_ids"])
    unqueried = queried(tokenizer).map(lambda row: {"word_ids": [max(word, 0) for word in row["word_ids"]]})
    for rows in (without, unqueried):
        trained(tmp_path, rows=rows, data_collator=lambda rows: collate(rows), max_steps=1)
    trained(tmp_path, rows=queried(tokenizer), data_collator=lambda rows: collate(rows), sgt_kl_weight=0.0, max_steps=1)


def test_a_batch_may_hold_what_is_no_tensor(tmp_path):
    collate = DataCollatorWithPadding(make_tokenizer())
    usual = trained(tmp_path, sgt_masking="delete")
    more = trained(
        tmp_path, sgt_masking="delete", data_collator=lambda rows: collate(rows) | {"output_attentions": None}
    )
    assert torch.equal(weights(usual), weights(more))
    asked = {"methods": ["gradient"], "operator": "unk", "progress": False}
    measured = [one.evaluate_faithfulness(**asked) for one in (usual, more)]
    assert measured[0].summary()["methods"] == measured[1].summary()["methods"]
    with pytest.raises(ValueError, match="the collator's 'scale' is a float, and batches are measured as tensors"):
        usual.evaluate_faithfulness(**asked, collator=lambda rows: collate(rows) | {"scale": 2.0})


@pytest.mark.parametrize(
    ("problem", "labels"),
    [(None, [0.3, 0.7]), ("single_label_classification", [0.0, 1.0]), (None, [2.0, 1.0])],
)
def test_soft_labels_and_regression_by_a_loss_of_ones_own_are_refused(tmp_path, problem, labels):
    rows = make_rows(make_tokenizer()).remove_columns("labels")
    rows = rows.add_column("labels", [labels] * len(rows))
    loss = lambda outputs, labels, num_items_in_batch=None: functional.mse_loss(outputs.logits, labels)  # noqa: E731
    trainer = built(tmp_path, model=make_model(problem_type=problem), rows=rows, compute_loss_func=loss)
    with pytest.raises(ValueError, match=r"\(row \d+ of the data set\) has the label \[.*use transformers.Trainer"):
        trainer.train()


def test_soft_labels_under_another_name_are_refused(tmp_path):
    rows = make_rows(make_tokenizer()).remove_columns("labels")
    rows = rows.add_column("targets", [[0.3, 0.7]] * len(rows))
    trainer = built(tmp_path, model=Targets(), rows=rows, eval_dataset=rows, label_names=["targets"])
    with pytest.raises(ValueError, match=r"use transformers\.Trainer"):
        trainer.train()


def test_a_masking_that_is_a_function_is_written_by_its_name(tmp_path):
    def sevens(batch, drop):
        return batch | {"input_ids": batch["input_ids"].masked_fill(drop, 7)}

    args = built(tmp_path, sgt_masking=sevens).args
    assert json.loads(args.to_json_string())["sgt_masking"].endswith("sevens")


@pytest.mark.parametrize("memory", [False, True])
def test_accumulation_is_right_whatever_an_override_does_with_the_number_of_items(tmp_path, memory):
    """Batches of one text, so that a mean over batches is the mean over texts."""
    settings = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4, "max_steps": 2, "logging_steps": 1}
    settings |= {"sgt_save_memory": memory}
    usual = trained(tmp_path, **settings)
    kinds = [Forgetful] + ([MeanOfBatches] if hasattr(Trainer, "loss_is_scaled_for_ga") else [])
    for kind in kinds:
        found = trained(tmp_path, kind, **settings)
        assert torch.allclose(weights(usual), weights(found), atol=1e-6)
        assert losses(found, "sgt_kl") == pytest.approx(losses(usual, "sgt_kl"), rel=1e-4)
        assert losses(found) == pytest.approx(losses(usual), rel=1e-4)


@pytest.mark.skipif(not hasattr(Trainer, "loss_is_scaled_for_ga"), reason="of newer versions of transformers")
def test_accumulation_is_right_where_trainer_divides_and_the_model_computes_no_loss(tmp_path):
    settings = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4, "max_steps": 2, "logging_steps": 1}
    settings |= {"remove_unused_columns": False}
    usual, found = (
        trained(tmp_path, kind, model=NoLoss(), **settings) for kind in (SaliencyGuidedTrainer, MeanOfBatches)
    )
    assert torch.allclose(weights(usual), weights(found), atol=1e-6)
    assert losses(found, "sgt_ce") == pytest.approx(losses(usual, "sgt_ce"), rel=1e-4)


class NoLoss(Renamed):
    """Its forward takes no labels."""

    def __init__(self):
        super().__init__()
        self.config = self.inner.config  # which Trainer asks for where labels are smoothed

    def forward(self, input_ids, attention_mask, token_type_ids=None):
        return self.inner(input_ids, attention_mask, token_type_ids).logits


def test_labels_are_smoothed_for_a_model_that_computes_no_loss(tmp_path):
    rows = make_rows(make_tokenizer())
    settings = {"rows": rows, "label_smoothing_factor": 0.3, "remove_unused_columns": False}
    settings |= {"eval_dataset": make_rows(make_tokenizer(), seed=1)}
    usual, found = trained(tmp_path, **settings), trained(tmp_path, model=NoLoss(), **settings)
    assert torch.allclose(weights(usual), weights(found), atol=1e-6)
    assert not torch.allclose(weights(usual), weights(trained(tmp_path, rows=rows)), atol=1e-6)
    assert found.evaluate()["eval_loss"] == pytest.approx(usual.evaluate()["eval_loss"], rel=1e-5)


class Rows(torch.utils.data.Dataset):
    def __init__(self, rows):
        self.rows = list(rows)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]


@pytest.mark.parametrize("kind", [list, Rows])
def test_columns_are_missed_in_any_kind_of_data_set(tmp_path, kind):
    collate = DataCollatorWithPadding(make_tokenizer())
    with pytest.raises(ValueError, match=r"columns \['word_ids'\] would not reach function"):
        trained(tmp_path, rows=kind(queried(make_tokenizer())), data_collator=lambda rows: collate(rows), max_steps=1)


class Once(torch.utils.data.IterableDataset):
    """A stream that is read once; torch gives it a __getitem__ that does not work."""

    def __init__(self, rows):
        self.rows = iter(list(rows))

    def __iter__(self):
        return self.rows


def test_no_row_of_a_stream_is_lost_to_a_look_at_it(tmp_path):
    rows = make_rows(make_tokenizer("llama", padding_side="left"))
    settings = {"family": "llama", "padding_side": "left", "sgt_masking": "delete", "max_steps": 4}
    usual = trained(tmp_path, rows=rows.to_iterable_dataset(), **settings)
    once = iter(list(rows))
    generated = IterableDataset.from_generator(lambda: once)
    for found in (trained(tmp_path, rows=stream, **settings) for stream in (Once(rows), generated)):
        assert torch.equal(weights(usual), weights(found))


@pytest.mark.parametrize("masking", ["random", "delete"])
def test_rows_of_other_kinds_train_with_a_collator_of_ones_own(tmp_path, masking):
    tokenizer = make_tokenizer("llama", padding_side="left")
    pad = DataCollatorWithPadding(tokenizer)
    settings = {"family": "llama", "padding_side": "left", "sgt_masking": masking, "max_steps": 1}
    tuples = Rows([(row["input_ids"], row["labels"]) for row in make_rows(tokenizer)])
    trained(
        tmp_path,
        rows=tuples,
        data_collator=lambda rows: pad([{"input_ids": ids, "labels": label} for ids, label in rows]),
        **settings,
    )
    texts = Dataset.from_list([{"text": "good film", "labels": 1}, {"text": "bad", "labels": 0}] * 4)
    trained(
        tmp_path,
        rows=texts,
        data_collator=lambda rows: pad([dict(tokenizer(row["text"])) | {"labels": row["labels"]} for row in rows]),
        remove_unused_columns=False,
        **settings,
    )


def test_an_evaluation_on_the_training_set_leaves_the_log_alone(tmp_path):
    rows = make_rows(make_tokenizer())
    usual = trained(tmp_path, rows=rows, logging_steps=4)
    found = trained(tmp_path, rows=rows, eval_dataset=rows, logging_steps=4, eval_strategy="steps", eval_steps=3)
    assert losses(usual, "sgt_ce") == losses(found, "sgt_ce")


def test_a_loss_outside_of_a_step_is_that_of_a_batch(tmp_path):
    trainer = trained(tmp_path, gradient_accumulation_steps=4, sgt_kl_weight=0.0)
    batch = next(iter(trainer.get_eval_dataloader()))
    inside = trainer.compute_loss(trainer.model.train(), dict(batch))
    assert inside.item() == pytest.approx(trainer.compute_loss(trainer.model.eval(), dict(batch)).item(), abs=1e-6)


def test_a_window_that_an_attempt_left_behind_is_not_logged(tmp_path):
    """As `auto_find_batch_size` begins again after a batch that was too large for the memory."""
    usual = trained(tmp_path, max_steps=2)
    trainer = built(tmp_path, max_steps=2)
    inner = trainer._inner_training_loop

    def after_an_attempt(*args, **kwargs):
        trainer._window = torch.full((4,), 100.0)
        return inner(*args, **kwargs)

    trainer._inner_training_loop = after_an_attempt
    trainer.train()
    assert losses(trainer, "sgt_ce") == losses(usual, "sgt_ce")
