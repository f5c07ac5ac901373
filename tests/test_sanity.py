import copy

import numpy as np
import pytest
import torch
from datasets import ClassLabel
from peft import LoraConfig, get_peft_model
from scipy.stats import spearmanr
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from sgt_hf.adapters import SeriesAdapter
from sgt_hf.attribution import AttributionSettings
from sgt_hf.faithfulness.word_scores import word_scores
from sgt_hf.models.bilstm import BiLstmConfig, BiLstmForSequenceClassification
from sgt_hf.sanity import (
    SanityReport,
    label_randomization_check,
    layers_of,
    permute_labels,
    randomization_check,
    rank_correlation,
    reinitialize,
)
from tests.tiny import make_model, make_rows, make_tokenizer

FAST = AttributionSettings(steps=4, samples=2, max_delta=1e9)


class WordWeights(nn.Module):
    """Class 1's logit is the sum of its words' first components, so that input × gradient ranks words by those."""

    def __init__(self, *, resets=True):
        super().__init__()
        self.embedding = nn.Embedding(24, 1)
        self.scale = Scale() if resets else nn.ParameterList([nn.Parameter(torch.ones(1))])

    def forward(self, input_ids, attention_mask):
        total = (self.embedding(input_ids).squeeze(-1) * attention_mask).sum(1)
        factor = self.scale[0] if isinstance(self.scale, nn.ParameterList) else self.scale.factor
        return {"logits": torch.stack([torch.zeros_like(total), factor * total], dim=1)}


class Linear(nn.Module):
    """Three classes' logits from words and their places, so that each class ranks the words otherwise."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.embedding, self.places, self.head = nn.Embedding(24, 4), nn.Linear(1, 4), nn.Linear(4, 3)

    def forward(self, input_ids, attention_mask):
        place = torch.arange(input_ids.shape[1], dtype=torch.float32)[:, None]
        features = torch.tanh(self.embedding(input_ids) + self.places(place))
        return {"logits": self.head((features * attention_mask[..., None]).sum(1))}


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.ones(1))

    def reset_parameters(self):
        self.factor.fill_(-2.0)


def test_rank_correlation_on_paper():
    assert rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([5.0, 1.0, -9.0])) == -1
    # ranks 1 2 3 4 against 2 1 4 3: 1 − 6 · 4 / (4 · 15) = 0.6
    assert rank_correlation(np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 1.0, 9.0, 3.0])) == pytest.approx(0.6)
    assert rank_correlation(np.array([1.0, 2.0]), np.array([9.0, 3.0])) == -1
    assert np.isnan(rank_correlation(np.array([1.0, 1.0]), np.array([1.0, 2.0])))
    assert np.isnan(rank_correlation(np.array([]), np.array([])))


def test_a_turned_sign_is_seen_by_the_signed_correlation_alone():
    # the output layer's new factor is −2: every score changes sign, no score's size changes rank
    torch.manual_seed(0)
    tokenizer, model = make_tokenizer("gpt2"), WordWeights()
    report = randomization_check(
        model,
        make_rows(tokenizer, 5, longest=6),
        tokenizer,
        methods=["input_x_gradient", "random"],
        order="independent",
        reduction="signed_sum",
        progress=False,
    )
    assert report.layers == ("scale", "embedding")
    assert report.correlation("input_x_gradient")[0] == -1
    assert report.correlation("input_x_gradient", absolute=True)[0] == 1
    assert abs(report.correlation("input_x_gradient")[1]) < 0.99
    assert report.correlation("random").tolist() == [1, 1]  # blind to the model, which is what the check is to find


def test_layers_are_blocks_from_input_to_output():
    narrow = {"vocab_size": 24, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16}
    model = BertForSequenceClassification(BertConfig(num_hidden_layers=2, **narrow))
    layers = layers_of(model)
    assert list(layers) == [
        "bert.embeddings.word_embeddings",
        "bert.embeddings.position_embeddings",
        "bert.embeddings.token_type_embeddings",
        "bert.embeddings.LayerNorm",
        "bert.encoder.layer.0",
        "bert.encoder.layer.1",
        "bert.pooler.dense",
        "classifier",
    ]
    owned = [id(p) for group in layers.values() for module in group for p in module.parameters(recurse=False)]
    assert sorted(owned) == sorted(map(id, model.parameters()))


def test_embeddings_that_are_one_parameter_are_one_layer():
    layers = layers_of(make_model("t5"))
    assert [name for name in layers if "embed_tokens" in name or "shared" in name] == ["transformer.shared"]


@pytest.mark.parametrize("order", ["cascading", "independent"])
def test_each_step_agrees_with_randomising_by_hand(order):
    tokenizer, model = make_tokenizer("roberta"), make_model("roberta")
    rows = make_rows(tokenizer, 4)
    state, draw = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    how = {"methods": ["gradient"], "reduction": "l2"}
    report = randomization_check(model, rows, tokenizer, order=order, seed=3, progress=False, **how)
    assert torch.equal(torch.get_rng_state(), draw)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    again = randomization_check(model, rows, tokenizer, order=order, seed=3, progress=False, **how)
    assert np.array_equal(report.signed["gradient"], again.signed["gradient"], equal_nan=True)

    original, targets = word_scores(model, rows, tokenizer, **how)
    changed = copy.deepcopy(model)
    for step, layer in enumerate(report.layers):
        if order == "independent":
            changed = copy.deepcopy(model)
        with torch.random.fork_rng():
            torch.manual_seed(3 * 1_000_003 + step)
            reinitialize(changed, layers_of(changed)[layer])
        scores, _ = word_scores(changed, rows, tokenizer, targets=targets, **how)
        for i in range(4):
            expected = spearmanr(original["gradient"][i], scores["gradient"][i]).statistic
            assert report.signed["gradient"][i, step] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "gpt2", "llama", "bilstm"])
def test_every_parameter_of_a_transformer_can_be_drawn_anew(family):
    model = make_model(family) if family != "bilstm" else BiLstmForSequenceClassification(BiLstmConfig(vocab_size=24))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(7.0)
            parameter._is_hf_initialized = True  # as after from_pretrained, where transformers would skip it
    for modules in layers_of(model).values():
        reinitialize(model, modules)
    assert not any((parameter == 7.0).any() or parameter.isnan().any() for parameter in model.parameters())


def test_a_module_that_cannot_be_drawn_anew_is_named():
    model = WordWeights(resets=False)
    tokenizer = make_tokenizer("gpt2")
    with pytest.raises(
        ValueError, match=r"ParameterList does not say how \['0'\] are initialised: give it a reset_par"
    ):
        randomization_check(model, make_rows(tokenizer, 2), tokenizer, methods=["gradient"], progress=False)


def test_the_report_is_a_table():
    tokenizer, model = make_tokenizer("bert"), make_model("bert")
    report = randomization_check(model, make_rows(tokenizer, 3), tokenizer, settings=FAST, progress=False)
    lines = str(report).splitlines()
    assert lines[0].startswith("parameters randomised, cascading from the output, seed 0, 3 texts: Spearman")
    assert lines[1].split() == ["randomised", "gradient", "integrated_gradients", "smooth_grad"]
    assert [line.split()[0] for line in lines[2:]] == list(report.layers)
    assert f"{report.correlation('gradient')[0]:+.3f}" in lines[2]
    assert len({len(line) for line in lines[1:]}) == 1


def test_the_table_says_of_how_many_texts_a_mean_is():
    signed = np.array([[0.6, 0.2], [np.nan, 0.4], [np.nan, np.nan]])
    absolute = np.array([[0.5, np.nan], [np.nan, np.nan], [np.nan, np.nan]])
    one = {"gradient": signed, "random": np.ones((3, 2))}
    report = SanityReport("labels permuted", ("a", "b"), one, one | {"gradient": absolute}, 0)
    assert report.texts("gradient").tolist() == [1, 2]
    assert report.texts("gradient", absolute=True).tolist() == [1, 0]
    note, head, *lines = str(report).splitlines()
    assert note.endswith("; of k: over k texts, for one of the models gives the words of the others the same score")
    assert "+0.600 of 1 (+0.500 of 1)" in lines[0]
    assert "+0.300 of 2 (+nan of 0)" in lines[1]
    assert all(line.endswith("  +1.000 (+1.000)") for line in lines)
    assert len({len(line) for line in (head, *lines)}) == 1


class Wrapped(nn.Module):
    """A module of the user's around a model of transformers, with a layer of its own."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.scale = inner, Scale()

    def forward(self, **batch):
        return {"logits": self.inner(**batch).logits * self.scale.factor}


def lora(model, *names, **settings):
    return get_peft_model(model, LoraConfig(task_type="SEQ_CLS", target_modules=list(names), **settings))


@pytest.mark.parametrize(
    ("family", "wrap"),
    [
        ("bert", lambda model: lora(model, "query")),
        ("llama", lambda model: lora(model, "q_proj")),
        ("gpt2", lambda model: lora(model, "c_attn", fan_in_fan_out=True)),
        ("t5", lambda model: lora(model, "q")),
        ("bert", lambda model: lora(model, "word_embeddings", "dense")),
        ("llama", Wrapped),
        ("bert", lambda model: torch.compile(model, backend="eager")),
    ],
)
def test_a_model_within_another_is_reinitialised(family, wrap):
    tokenizer, model = make_tokenizer(family), wrap(make_model(family, spread=0.5)).eval()
    report = randomization_check(model, make_rows(tokenizer, 2), tokenizer, methods=["gradient"], progress=False)
    assert report.layers == tuple(reversed(layers_of(model)))


def test_each_module_is_drawn_by_the_rule_of_the_model_around_it():
    model = Wrapped(make_model("bert", initializer_range=7.0))
    layers = layers_of(model)
    for modules in layers.values():
        reinitialize(model, modules)
    # BERT's own rule: a normal distribution of its initializer_range; torch's would stay below 1/√8
    assert 5 < model.inner.bert.embeddings.word_embeddings.weight.std() < 9
    assert model.inner.classifier.weight.abs().max() > 1
    assert not model.inner.classifier.bias.any()
    assert model.scale.factor == -2


def test_lora_is_drawn_by_its_own_rule():
    model = lora(make_model("bert", initializer_range=7.0), "query", "dense", "word_embeddings")
    layers = layers_of(model)
    assert [name.removeprefix("base_model.model.") for name in layers] == [
        "bert.embeddings.word_embeddings",
        "bert.embeddings.position_embeddings",
        "bert.embeddings.token_type_embeddings",
        "bert.embeddings.LayerNorm",
        "bert.encoder.layer.0",
        "bert.pooler.dense",
        "classifier",
    ]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(3.0)
    for modules in layers.values():
        reinitialize(model, modules)
    dense = model.base_model.model.bert.pooler.dense
    assert not dense.lora_B["default"].weight.any()  # so that LoRA adds nothing, as when it was made
    assert 0 < dense.lora_A["default"].weight.abs().max() <= 8**-0.5
    assert dense.base_layer.weight.std() > 3
    assert not model.base_model.model.bert.embeddings.word_embeddings.lora_embedding_A["default"].any()


@pytest.mark.parametrize("kind", ["dataset", "list"])
def test_labels_are_permuted_and_nothing_else(kind):
    rows = make_rows(make_tokenizer("bert"), 20)
    rows = rows.cast_column("labels", ClassLabel(names=["no", "yes"])) if kind == "dataset" else list(rows)
    permuted = permute_labels(rows, seed=0)
    labels = [row["labels"] for row in rows]
    assert sorted(row["labels"] for row in permuted) == sorted(labels)
    assert [row["labels"] for row in permuted] != labels
    assert [row["input_ids"] for row in permuted] == [row["input_ids"] for row in rows]
    assert [row["labels"] for row in permute_labels(rows, seed=0)] == [row["labels"] for row in permuted]
    assert [row["labels"] for row in permute_labels(rows, seed=1)] != [row["labels"] for row in permuted]
    if kind == "dataset":
        assert permuted.features["labels"] == rows.features["labels"]
    copied = rows.add_column("label", labels) if kind == "dataset" else [row | {"label": row["labels"]} for row in rows]
    again = permute_labels(copied, seed=0)  # of the two a collator of texts takes `label`, one of images `labels`
    assert [row["label"] for row in again] == [row["labels"] for row in again] == [row["labels"] for row in permuted]


def test_label_randomisation_takes_a_model_or_what_trains_one():
    tokenizer, model, other = make_tokenizer("bert"), make_model("bert"), make_model("bert", seed=1)
    rows, given = make_rows(tokenizer, 6), []

    def train(permuted):
        given.append(permuted)
        return other

    how = {"settings": FAST, "methods": ["gradient"]}
    by_model = label_randomization_check(model, other, rows, tokenizer, **how)
    by_training = label_randomization_check(model, train, rows, tokenizer, train_dataset=rows, **how)
    assert given[0]["labels"][:] == permute_labels(rows, seed=0)["labels"][:]
    assert by_model.layers == ("whole model",)
    assert np.array_equal(by_model.signed["gradient"], by_training.signed["gradient"], equal_nan=True)
    same = label_randomization_check(model, model, rows, tokenizer, **how)
    assert same.correlation("gradient").tolist() == [1]


def test_after_label_randomisation_both_are_explained_for_the_class_the_first_predicts():
    tokenizer, how = make_tokenizer("bert"), {"settings": FAST, "methods": ["gradient"], "reduction": "signed_sum"}
    models = [Linear(seed) for seed in (0, 3)]
    rows = make_rows(tokenizer, 8, longest=12).remove_columns("token_type_ids")
    own, targets = word_scores(models[0], rows, tokenizer, **how)
    theirs, other_targets = word_scores(models[1], rows, tokenizer, **how)
    assert targets != other_targets
    asked, _ = word_scores(models[1], rows, tokenizer, targets=targets, **how)
    expected, otherwise = (
        [rank_correlation(one, two) for one, two in zip(own["gradient"], found["gradient"], strict=True)]
        for found in (asked, theirs)
    )
    assert expected != pytest.approx(otherwise, nan_ok=True)
    found = label_randomization_check(*models, rows, tokenizer, **how).signed["gradient"]
    assert found[:, 0] == pytest.approx(expected, nan_ok=True)


def test_bad_settings_are_refused():
    tokenizer, model = make_tokenizer("bert"), make_model("bert")
    rows = make_rows(tokenizer, 2)
    with pytest.raises(ValueError, match="unknown order 'downwards': use one of"):
        randomization_check(model, rows, tokenizer, order="downwards")
    with pytest.raises(ValueError, match="a callable needs rows to train on: pass train_dataset"):
        label_randomization_check(model, lambda rows: model, rows, tokenizer)
    with pytest.raises(ValueError, match="there are no labels to permute"):
        permute_labels([{"input_ids": [1]}], seed=0)


def test_series_are_refused():
    with pytest.raises(ValueError, match=r"words of texts, .* SeriesAdapter is none: for series.* pixel_scores"):
        randomization_check(nn.Linear(2, 2), [{"labels": 0}], SeriesAdapter())
