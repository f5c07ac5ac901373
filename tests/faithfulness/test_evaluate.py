import dataclasses
import json
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import (
    BertForTokenClassification,
    CTRLConfig,
    CTRLForSequenceClassification,
    DataCollatorWithPadding,
    DefaultDataCollator,
    default_data_collator,
)

from sgt_hf import BiLstmConfig, BiLstmForSequenceClassification, TextAdapter, evaluate_faithfulness
from sgt_hf.adapters import ImageAdapter, SeriesAdapter
from sgt_hf.attribution import AttributionSettings
from sgt_hf.data.rationales import encode_words
from sgt_hf.faithfulness import word_scores
from tests import oracle
from tests.tiny import make_model, make_rows, make_tokenizer

FAST = AttributionSettings(steps=4, samples=2, max_delta=1e9)  # of few steps, and not what is tested here
MATTERS = {"initializer_range": 0.5}  # as initialised by default, words move probabilities by a millionth


class CountsGood(nn.Module):
    """p(class 1) = σ(2 · number of "good" − 1): probabilities and the true ranking are known on paper."""

    def __init__(self, tokenizer):
        super().__init__()
        self.embedding = nn.Embedding(len(tokenizer), 1)
        with torch.no_grad():
            self.embedding.weight.zero_()
            self.embedding.weight[tokenizer.convert_tokens_to_ids("good")] = 1.0

    def forward(self, input_ids, attention_mask):
        count = (self.embedding(input_ids).squeeze(-1) * attention_mask).sum(1)
        return {"logits": torch.stack([torch.zeros_like(count), 2 * count - 1], dim=1)}


def rows_of(tokenizer, *texts):
    return Dataset.from_list([{**tokenizer(text), "labels": 1} for text in texts])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("method", ["input_x_gradient", "integrated_gradients"])
def test_curves_on_paper(method):
    tokenizer = make_tokenizer("gpt2")
    # four words, two of them "good": bins 25 % and 50 % take one and two of them
    report = evaluate_faithfulness(
        CountsGood(tokenizer),
        rows_of(tokenizer, "the good plot good"),
        tokenizer,
        methods=[method],
        bins=(0.25, 0.5),
        progress=False,
    )
    full, one, none = sigmoid(3), sigmoid(1), sigmoid(-1)
    assert report.full == pytest.approx([full])
    assert report.empty == pytest.approx([none], rel=1e-6)
    assert report.curves[method].removed[0, 0] == pytest.approx([one, none], rel=1e-6)
    assert report.curves[method].kept[0, 0] == pytest.approx([one, full], rel=1e-6)
    assert report[method].comprehensiveness == pytest.approx([full - (one + none) / 2], rel=1e-5)
    assert report[method].sufficiency == pytest.approx([(full - one) / 2], rel=1e-5)
    assert report[method].comprehensiveness_per_bin == pytest.approx([full - one, full - none], rel=1e-5)
    assert [scores.argsort()[-2:].tolist() for scores in report.scores[method]] == [[1, 3]]


def by_hand(model, tokenizer, text, scores, share, *, keep):
    """Probability of the predicted class with the oracle's top words deleted or kept, one text at a time."""
    words = text.split()
    chosen = oracle.top(list(scores), [True] * len(words), share)
    left = [word for word, top in zip(words, chosen, strict=True) if top == keep]
    with torch.no_grad():
        whole = model(**tokenizer(text, return_tensors="pt")).logits.softmax(-1)[0]
        return model(**tokenizer(" ".join(left), return_tensors="pt")).logits.softmax(-1)[0, whole.argmax()].item()


# BERT and RoBERTa classify from their first position, so left padding is no use to them; a Llama takes either side.
@pytest.mark.parametrize(
    ("family", "padding_side"), [("bert", "right"), ("roberta", "right"), ("llama", "right"), ("llama", "left")]
)
def test_curves_agree_with_deleting_words_by_hand(family, padding_side):
    tokenizer = make_tokenizer(family, padding_side=padding_side)
    model = make_model(family, **MATTERS).eval()
    texts = ["good film not very dull plot", "bad plot", "the great actor a film", "not good film"]
    report = evaluate_faithfulness(
        model, rows_of(tokenizer, *texts), tokenizer, methods=["gradient"], progress=False, batch_size=3
    )
    for i, text in enumerate(texts):
        scores = report.scores["gradient"][i]
        assert len(scores) == len(text.split())
        for b, share in enumerate(report.provenance.bins):
            curves = report.curves["gradient"]
            expected = by_hand(model, tokenizer, text, scores, share, keep=False)
            assert curves.removed[i, 0, b] == pytest.approx(expected, abs=1e-6)
            expected = by_hand(model, tokenizer, text, scores, share, keep=True)
            assert curves.kept[i, 0, b] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("method", ["gradient", "integrated_gradients", "smooth_grad"])
def test_a_model_may_change_its_embeddings_in_place(method):
    """CTRL scales them so."""
    config = CTRLConfig(vocab_size=24, n_positions=40, n_embd=8, dff=16, n_layer=1, n_head=2, pad_token_id=0)
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    model = CTRLForSequenceClassification(config)
    asked = {"methods": [method], "settings": FAST, "progress": False}
    report = evaluate_faithfulness(model, make_rows(tokenizer, 4), tokenizer, **asked)
    assert np.isfinite(report[method].comprehensiveness).all()


def test_words_are_ranked_by_the_gradient_of_the_predicted_class():
    """Not of the true one, and not of one class for all: rows of both classes, half of them predicted wrong."""
    tokenizer, model = make_tokenizer("bert"), make_model("bert", **MATTERS).eval()
    texts = ["good film not very dull plot", "bad plot", "the great actor a film", "not good film", "dull", "a the bad"]
    encoded = [tokenizer(text, return_tensors="pt") for text in texts]
    with torch.no_grad():
        predicted = [int(model(**one).logits.argmax()) for one in encoded]
    assert set(predicted) == {0, 1}
    labels = [(label + n) % 2 for n, label in enumerate(predicted)]
    rows = Dataset.from_list([{**tokenizer(text), "labels": label} for text, label in zip(texts, labels, strict=True)])
    report = evaluate_faithfulness(
        model, rows, tokenizer, methods=["gradient"], reduction="l2", progress=False, batch_size=4
    )
    assert report.predicted.tolist() == predicted
    assert report.accuracy == 0.5
    for n, one in enumerate(encoded):
        embeds = model.get_input_embeddings()(one["input_ids"]).detach().requires_grad_()
        rest = {name: one[name] for name in ("attention_mask", "token_type_ids")}
        gradients = []
        for label in (predicted[n], 1 - predicted[n]):
            logits = model(inputs_embeds=embeds, **rest).logits
            (gradient,) = torch.autograd.grad(logits[0, label], embeds)
            gradients.append(gradient.norm(dim=-1)[0, 1:-1].numpy())  # without [CLS] and [SEP]
        assert report.scores["gradient"][n] == pytest.approx(gradients[0], rel=1e-4)
        assert report.scores["gradient"][n] != pytest.approx(gradients[1], rel=1e-2)


def test_words_of_several_tokens_are_removed_whole_and_the_query_never():
    tokenizer, model = make_tokenizer("bert"), make_model("bert", **MATTERS).eval()
    rows = [
        {"document": ["greatly", "bad", "film"], "query": ["good", "plot"], "label": 0, "annotation_id": "a"},
        {"document": ["badness"], "query": ["the"], "label": 0, "annotation_id": "b"},
    ]
    encoded = encode_words(Dataset.from_list(rows), tokenizer, use_query=True)
    report = evaluate_faithfulness(model, encoded, tokenizer, methods=["gradient"], bins=(0.4,), progress=False)
    assert report.provenance.unit == "word"
    scores = report.scores["gradient"][0]
    assert len(scores) == 3  # "great ##ly" is one word, and the query's two are none
    chosen = oracle.top(list(scores), [True] * 3, 0.4)
    left = [word for word, top in zip(rows[0]["document"], chosen, strict=True) if not top]
    with torch.no_grad():
        pair = tokenizer([["good", "plot"]], [left], is_split_into_words=True, return_tensors="pt")
        expected = model(**pair).logits.softmax(-1)[0, report.predicted[0]].item()
        alone = tokenizer([["the"]], [[]], is_split_into_words=True, return_tensors="pt")
        nothing = model(**alone).logits.softmax(-1)[0, report.predicted[1]].item()
    assert report.curves["gradient"].removed[0, 0, 0] == pytest.approx(expected, abs=1e-6)
    assert report.empty[1] == pytest.approx(nothing, abs=1e-6)


@pytest.mark.parametrize("operator", ["delete", "unk", "mask"])
def test_the_batch_size_changes_nothing(operator):
    tokenizer, model = make_tokenizer("bert"), make_model("bert", dropout=0.5, **MATTERS)
    rows = make_rows(tokenizer, count=7)

    def run(batch_size, budget):
        settings = dataclasses.replace(FAST, max_features=budget)
        return evaluate_faithfulness(
            model, rows, tokenizer, operator=operator, batch_size=batch_size, settings=settings, progress=False
        )

    one, many = run(1, 8), run(7, 10_000)
    for method in ("gradient", "integrated_gradients", "smooth_grad", "random"):
        for kind in ("removed", "kept"):
            first, second = getattr(one.curves[method], kind), getattr(many.curves[method], kind)
            assert first == pytest.approx(second, abs=1e-6), (method, kind)
    assert one.predicted.tolist() == many.predicted.tolist()


class Counting(nn.Module):
    """A model whose calls' shapes are kept."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.config = model.config
        self.shapes = []

    def get_input_embeddings(self):
        return self.model.get_input_embeddings()

    def forward(self, input_ids, attention_mask):
        self.shapes.append(tuple(input_ids.shape))
        return self.model(input_ids=input_ids, attention_mask=attention_mask)

    @property
    def sizes(self):
        return [rows * width for rows, width in self.shapes]


def long_rows(tokenizer, *sizes):
    return Dataset.from_list([{"input_ids": [4 + i % 12 for i in range(size)], "labels": 0} for size in sizes])


def small_lstm():
    torch.manual_seed(0)
    return Counting(BiLstmForSequenceClassification(BiLstmConfig(vocab_size=24, embedding_dim=4, hidden_size=4)))


def test_the_work_is_the_least_possible():
    tokenizer, model = make_tokenizer("gpt2"), small_lstm()
    rows = long_rows(tokenizer, *range(200, 208))
    evaluate_faithfulness(model, rows, tokenizer, methods=[], random_draws=1, progress=False)
    least = 6 * sum(range(200, 208))  # one reading, and 5 n tokens that the five bins leave
    assert least <= sum(model.sizes) < 1.03 * least  # roundings up, and padding


def test_short_texts_need_less_than_that():
    tokenizer, model = make_tokenizer("gpt2"), small_lstm()
    rows = long_rows(tokenizer, *[4] * 20)
    evaluate_faithfulness(model, rows, tokenizer, methods=["gradient"], random_draws=10, progress=False)
    # 2,220 perturbed texts, but 4 words leave 4 + 6 + 4 + 1 that differ, and few batches hold one again
    assert sum(rows for rows, width in model.shapes if width <= 3) <= 2 * 15


@pytest.mark.parametrize("budget", [1000, 25_000])
def test_documents_of_ten_thousand_words_stay_within_the_budget(budget):
    tokenizer, model = make_tokenizer("gpt2"), small_lstm()
    rows = long_rows(tokenizer, 10_000, 300, 299, 298)
    settings = AttributionSettings(max_features=budget)
    report = evaluate_faithfulness(
        model, rows, tokenizer, methods=[], random_draws=1, settings=settings, progress=False, bins=(0.5,)
    )
    assert np.isfinite(report.curves["random"].removed).all()
    assert max(model.sizes) <= max(budget, 10_000)  # a single document may pass the budget, never two of them
    assert all(rows == 1 or rows * width <= budget for rows, width in model.shapes)


def test_documents_of_ten_thousand_words_are_cut_to_the_model_and_counted():
    tokenizer, model = make_tokenizer("bert"), make_model("bert")
    words = {"document": ["good", "film"] * 5_000, "query": [], "label": 0, "annotation_id": "a"}
    with pytest.warns(UserWarning, match="max_length=32 tokens cut 1 of 1 rows: 9970 of 10000 document words"):
        rows = encode_words(Dataset.from_list([words]), tokenizer)
    report = evaluate_faithfulness(model, rows, tokenizer, methods=["gradient"], progress=False)
    assert report.provenance.truncated_words == report.summary()["provenance"]["truncated_words"] == 9970
    assert "9970 words past the maximal length were cut off" in str(report)
    short = evaluate_faithfulness(model, make_rows(tokenizer, 2), tokenizer, methods=[], progress=False)
    assert short.provenance.truncated_words is None


def test_a_row_past_the_models_positions_is_refused():
    tokenizer = make_tokenizer("bert")
    rows = Dataset.from_list([{**tokenizer(text), "labels": 0} for text in ("bad", "film " * 50)])
    with pytest.raises(ValueError, match="row 1 has 52 tokens and BertForSequenceClassification has positions for 40"):
        evaluate_faithfulness(make_model("bert"), rows, tokenizer, progress=False)


def test_another_operator_than_training_is_no_cause_for_a_warning():
    tokenizer, model = make_tokenizer("bert"), make_model("bert")
    rows = make_rows(tokenizer, count=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate_faithfulness(model, rows, tokenizer, methods=[], trained_masking="unk", progress=False)


def test_random_rankings_are_as_many_and_each_another():
    tokenizer, model = make_tokenizer("bert"), make_model("bert", **MATTERS).eval()
    rows = rows_of(tokenizer, "good film not very dull plot", "the great actor a film")
    report = evaluate_faithfulness(
        model, rows, tokenizer, methods=["gradient"], bins=(0.2, 0.4), random_draws=6, progress=False
    )
    for text in report.curves["random"].removed:
        assert len(np.unique(text.round(6), axis=0)) > 2


def test_random_has_as_many_draws_as_asked_and_repeats_with_the_seed():
    tokenizer, model = make_tokenizer("bert"), make_model("bert")
    rows = make_rows(tokenizer, count=5)
    first, again = (evaluate_faithfulness(model, rows, tokenizer, methods=[], progress=False) for _ in range(2))
    assert first.curves["random"].removed.shape == (5, 10, 5)
    assert (first.curves["random"].removed == again.curves["random"].removed).all()


def test_the_model_is_given_back_as_it_was():
    tokenizer, model = make_tokenizer("bert"), make_model("bert", dropout=0.5).train()
    model.classifier.eval()
    flags = [module.training for module in model.modules()]
    evaluate_faithfulness(model, make_rows(tokenizer, count=3), tokenizer, settings=FAST, progress=False)
    assert [module.training for module in model.modules()] == flags
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_report_table_summary_and_provenance():
    tokenizer, model = make_tokenizer("bert"), make_model("bert")
    rows = make_rows(tokenizer, count=6)
    with pytest.warns(UserWarning, match=r"trained to bear it \(unk\), which flatters sufficiency"):
        report = evaluate_faithfulness(
            model, rows, TextAdapter(tokenizer), settings=FAST, progress=False, trained_masking="unk", operator="unk"
        )
    text = str(report)
    assert (
        "AOPC convention eraser, operator unk, bins ⌈q·n⌉ tokens at 1, 5, 10, 20, 50 %, class predicted on the full "
        "input, reduction auto"
    ) in text
    assert "trained with the same operator (unk), which flatters sufficiency" in text
    assert f"accuracy {np.mean(report.predicted == np.array(rows['labels'])):.3f}" in text
    summary = json.loads(json.dumps(report.summary()))
    assert summary["n"] == 6
    value = report["gradient"].comprehensiveness.mean()
    assert summary["methods"]["gradient"]["comprehensiveness"] == pytest.approx(value)
    assert f"{value:.3f}" in text
    assert report.provenance.autocast is None
    with torch.autocast("cpu", torch.bfloat16):
        unlabelled = evaluate_faithfulness(
            model, rows.remove_columns("labels"), tokenizer, methods=["gradient"], progress=False
        )
    assert "over 10 draws, under autocast to bfloat16" in str(unlabelled)
    assert unlabelled.accuracy is None
    assert "accuracy not known (no labels)" in str(unlabelled)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ["lime"]}, r"unknown methods \['lime'\]: use"),
        ({"methods": "gradient"}, r"methods must be a list of names, got the string 'gradient': use \['gradient'\]"),
        ({"convention": "mean"}, "unknown convention 'mean'"),
        ({"operator": "blank"}, "unknown masking 'blank'"),
        ({"operator": "random"}, r"operator 'random' puts words .* Use one of \['delete', 'mask', 'sep', 'unk'\]"),
        ({"operator": "previous_salient"}, "operator 'previous_salient' puts words of the text"),
        ({"bins": (0.5, 0.1)}, r"bins must ascend in \(0, 1\]"),
        ({"random_draws": 0}, "random_draws must be ≥ 1, got 0"),
        ({"granularity": "word"}, "granularity 'word' needs a word_ids column"),
    ],
)
def test_bad_settings_are_refused(changes, message):
    tokenizer = make_tokenizer("bert")
    with pytest.raises(ValueError, match=message):
        evaluate_faithfulness(make_model("bert"), make_rows(tokenizer, 2), tokenizer, progress=False, **changes)


def test_a_reduction_does_not_multiply_twice():
    tokenizer, rows = make_tokenizer("bert"), rows_of(make_tokenizer("bert"), "good film")
    with pytest.raises(
        ValueError, match=r"multiplies by the input, and \['integrated_gradients'\] have done so already"
    ):
        evaluate_faithfulness(
            make_model("bert"), rows, tokenizer, methods=["gradient", "integrated_gradients"], reduction="grad_x_input"
        )


@pytest.mark.parametrize("problem", ["multi_label_classification", "regression"])
def test_an_empty_data_set_and_other_problems_are_refused(problem):
    tokenizer = make_tokenizer("bert")
    with pytest.raises(ValueError, match="the data set is empty"):
        evaluate_faithfulness(make_model("bert"), make_rows(tokenizer, 2).select([]), tokenizer)
    model = make_model("bert", num_labels=3, problem_type=problem)
    with pytest.raises(ValueError, match=f"the problem_type of this BertForSequenceClassification is '{problem}'"):
        evaluate_faithfulness(model, make_rows(tokenizer, 2), tokenizer)


def test_a_stream_and_rows_without_tokens_are_refused():
    tokenizer, model = make_tokenizer("bert"), make_model("bert")
    rows = make_rows(tokenizer, 2)
    with pytest.raises(ValueError, match=r"IterableDataset has no length, .*: pass a map-style data set"):
        evaluate_faithfulness(model, rows.to_iterable_dataset(), tokenizer)
    with pytest.raises(ValueError, match=r"no 'input_ids' \(they have \['labels', 'text'\]\): encode the texts first"):
        evaluate_faithfulness(model, Dataset.from_list([{"text": "good film", "labels": 0}]), tokenizer)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: make_model("bert", num_labels=1), r"\(2, 1\)"),
        (lambda: BertForTokenClassification(make_model("bert").config), r"\(2, \d+, 2\)"),
    ],
)
def test_a_model_that_predicts_no_class_of_a_text_is_refused(make, shape):
    tokenizer = make_tokenizer("bert")
    with pytest.raises(ValueError, match=rf"gives outputs of shape {shape} for 2 samples: .* K ≥ 2 for each"):
        evaluate_faithfulness(make(), make_rows(tokenizer, 2), tokenizer, methods=["gradient"], progress=False)


@pytest.mark.parametrize("adapter", [SeriesAdapter(), ImageAdapter()])
def test_series_and_images_are_sent_to_their_own_functions(adapter):
    own = rf"words of texts, by a TextAdapter, and {type(adapter).__name__} is none: for series and .* = pixel_scores"
    with pytest.raises(ValueError, match=own):
        evaluate_faithfulness(nn.Linear(2, 2), [{"labels": 0}], adapter, operator="channel_mean")


class Beside(nn.Module):
    """Reads, beside the tokens, two numbers of each token and one of each text."""

    def __init__(self, tokenizer):
        super().__init__()
        self.count = CountsGood(tokenizer)

    def forward(self, input_ids, attention_mask, boxes, shift=None):
        logits = self.count(input_ids, attention_mask)["logits"]
        inside = (boxes.float().sum(-1) * attention_mask).sum(1)
        return {"logits": logits + torch.stack([torch.zeros_like(inside), inside + shift], dim=1)}


@pytest.mark.parametrize("padding_side", ["right", "left"])
def test_what_a_model_reads_beside_tokens_stays_with_them(padding_side):
    """σ(2·good − 1 + boxes + shift), of texts of two lengths that are run together."""
    tokenizer = make_tokenizer("bert", padding_side=padding_side)
    texts = {"good film": 0.25, "film the good plot film": -0.5}

    def collator(rows):
        batch = dict(tokenizer.pad([{"input_ids": row["input_ids"]} for row in rows], return_tensors="pt"))
        boxes = 0.1 * batch["attention_mask"][..., None].expand(-1, -1, 2)
        return batch | {"boxes": boxes, "shift": torch.tensor([row["shift"] for row in rows])}

    rows = [{"input_ids": tokenizer(text)["input_ids"], "shift": shift} for text, shift in texts.items()]
    how = {"methods": ["input_x_gradient"], "bins": (0.01,), "progress": False, "collator": collator, "batch_size": 1}
    model = Beside(tokenizer)
    with pytest.raises(ValueError, match=r"'delete' cannot shorten the columns \['boxes'\], of several axes"):
        evaluate_faithfulness(model, rows, tokenizer, **how)
    report = evaluate_faithfulness(model, rows, tokenizer, operator="mask", **how)
    for n, (row, shift) in enumerate(zip(rows, texts.values(), strict=True)):
        beside = 0.2 * len(row["input_ids"]) + shift
        assert report.predicted[n] == 1
        assert report.full[n] == pytest.approx(1 / (1 + np.exp(-(1 + beside))), abs=1e-6)
        assert report.curves["input_x_gradient"].removed[n, 0, 0] == pytest.approx(
            1 / (1 + np.exp(1 - beside)), abs=1e-6
        )


def test_a_column_of_another_shape_in_another_batch_is_named():
    tokenizer = make_tokenizer("bert")
    adapter = TextAdapter(tokenizer)
    batches = [{"input_ids": torch.ones(2, n, dtype=torch.long), "pairs": torch.ones(2, n, n)} for n in (3, 4)]
    with pytest.raises(ValueError, match=r"the column 'pairs' has samples of shapes \[\(4, 3\), \(4, 4\)\]"):
        adapter.stack(batches)


def test_rows_that_are_padded_on_the_other_side_lose_no_word():
    tokenizer = make_tokenizer("bert")
    model, texts = CountsGood(tokenizer), ["good film", "good good film plot the"]

    def rows(left):
        width = 9
        found = []
        for text in texts:
            ids = tokenizer(text)["input_ids"]
            rest = width - len(ids)
            padding, real = [tokenizer.pad_token_id] * rest, [1] * len(ids)
            ids, mask = (padding + ids, [0] * rest + real) if left else (ids + padding, real + [0] * rest)
            found.append({"input_ids": ids, "attention_mask": mask})
        return found

    reports = [
        evaluate_faithfulness(model, rows(left), tokenizer, operator="unk", methods=["gradient"], progress=False)
        for left in (False, True)
    ]
    for kind in ("removed", "kept"):
        right, left = (getattr(report.curves["gradient"], kind) for report in reports)
        assert left == pytest.approx(right, abs=1e-6)
    assert reports[0].curves["gradient"].removed[0, 0, 0] < reports[0].full[0]


class Rooted(CountsGood):
    """Its outputs are finite and its gradients are not: of the square root at zero."""

    def forward(self, input_ids, attention_mask):
        roots = self.embedding(input_ids).squeeze(-1).sqrt() * attention_mask
        return {"logits": torch.stack([torch.zeros_like(roots[:, 0]), roots.sum(1)], dim=1)}


def test_scores_that_are_no_numbers_are_refused():
    tokenizer = make_tokenizer("bert")
    with pytest.raises(ValueError, match="the gradient scores of sample 0 are not finite"):
        evaluate_faithfulness(Rooted(tokenizer), rows_of(tokenizer, "good film"), tokenizer, methods=["gradient"])


def test_accuracy_is_of_the_texts_that_have_a_label():
    tokenizer = make_tokenizer("bert")
    rows = rows_of(tokenizer, "good film", "bad film", "good plot")
    rows = rows.remove_columns("labels").add_column("labels", [1, 1, -100])
    report = evaluate_faithfulness(CountsGood(tokenizer), rows, tokenizer, methods=[], random_draws=1, progress=False)
    assert report.accuracy == 0.5


def test_a_method_that_is_named_twice_is_measured_once():
    tokenizer, model = make_tokenizer("bert"), make_model("bert", **MATTERS)
    rows = make_rows(tokenizer, 3)
    methods = ["gradient", "gradient", "random", "input_x_gradient"]
    report = evaluate_faithfulness(model, rows, tokenizer, methods=methods, random_draws=1, progress=False)
    assert report.methods == ("gradient", "input_x_gradient", "random")
    chosen = report.predictions.removed["input_x_gradient"][np.arange(3), :, report.predicted]
    assert np.array_equal(chosen, report.curves["input_x_gradient"].removed[:, 0])


def test_a_formatted_data_set_makes_a_summary_for_json():
    tokenizer = make_tokenizer("bert")
    rows = rows_of(tokenizer, "good film").add_column("truncated_words", [3]).with_format("torch")
    report = evaluate_faithfulness(CountsGood(tokenizer), rows, tokenizer, methods=[], random_draws=1, progress=False)
    assert json.loads(json.dumps(report.summary()))["provenance"]["truncated_words"] == 3


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ([1.0, 0.0], r"the labels of 2 rows are of shape \(2, 2\), and one class of each row is expected: give class"),
        ([1.0, 0.0, 0.0], "row 1 has 3 labels and row 0 has 2, and one class of each row is expected: give class"),
        (
            0.7,
            "the label of row 1 is 0.7, which is no class .* outputs: give class indices, or leave the column",
        ),
        (float("nan"), "the label of row 1 is nan, which is no class"),
        (2.0, "the label of row 1 is 2, which is no class of a model of 2 outputs"),
    ],
)
def test_labels_that_are_no_classes_are_refused(label, message):
    tokenizer = make_tokenizer("bert")
    rows = [{**tokenizer("good film"), "labels": [0.0, 1.0] if isinstance(label, list) else 1.0}]
    rows.append({**tokenizer("bad"), "labels": label})
    how = {"methods": [], "random_draws": 1, "progress": False}
    with pytest.raises(ValueError, match=message):
        evaluate_faithfulness(CountsGood(tokenizer), rows, tokenizer, **how)
    whole = [row | {"labels": [1.0]} for row in rows]  # a column of one class each
    assert evaluate_faithfulness(CountsGood(tokenizer), whole, tokenizer, **how).labels.tolist() == [1, 1]


def test_of_several_columns_of_labels_the_collators_counts():
    """A collator of texts takes `label`, and one that stacks whatever there is `labels`."""
    tokenizer, how = make_tokenizer("bert"), {"methods": [], "random_draws": 1, "progress": False}
    rows = [{**tokenizer("good film"), "labels": 0, "label": stars} for stars in ([0, 1], [1])]
    with pytest.raises(ValueError, match="row 1 has 1 labels and row 0 has 2, and one class of each row is expected"):
        evaluate_faithfulness(CountsGood(tokenizer), rows, tokenizer, **how)
    pair = rows_of(tokenizer, "good film", "bad film").add_column("label", [0, 1])
    named = pair.cast_column("label", ClassLabel(names=["neg", "pos"]))
    model = make_model("bert", id2label={0: "pos", 1: "neg"}, label2id={"pos": 0, "neg": 1})
    for collator in (default_data_collator, DefaultDataCollator(), partial(default_data_collator)):
        report = evaluate_faithfulness(model, named, tokenizer, collator=collator, **how)
        assert report.labels.tolist() == [1, 1]
    padding = DataCollatorWithPadding(tokenizer)
    for collator in (padding, lambda rows: padding(rows)):
        with pytest.raises(ValueError, match=r"align_labels_with_mapping\(model.config.label2id, 'label'\)"):
            evaluate_faithfulness(model, named, tokenizer, collator=collator, **how)


def test_a_dict_of_data_sets_is_refused():
    tokenizer = make_tokenizer("bert")
    rows = make_rows(tokenizer, 2)
    for several in ({"in": rows, "out": rows}, DatasetDict({"in": rows, "out": rows})):
        with pytest.raises(
            ValueError, match=r"the data set is a \w+ with the keys \['in', 'out'\], .*: pass one of its"
        ):
            evaluate_faithfulness(make_model("bert"), several, tokenizer)


class Clamped(CountsGood):
    def forward(self, input_ids, attention_mask):
        return super().forward(input_ids.clamp(max=self.embedding.num_embeddings - 1), attention_mask)


class Hashed(nn.Embedding):
    def forward(self, ids):
        return super().forward(ids % self.num_embeddings)


def test_a_tokenizer_that_is_larger_than_the_embedding_is_told_of():
    tokenizer = make_tokenizer("bert")
    models = CountsGood(tokenizer), make_model("bert", vocab_size=len(tokenizer))
    tokenizer.add_tokens(["new"])
    rows = rows_of(tokenizer, "good film plot", "a film", "new film")
    how = {"methods": ["gradient"], "progress": False}
    for model in (*models, get_peft_model(models[1], LoraConfig(target_modules=["word_embeddings"]))):
        message = (
            rf"row 2 has the token id 19 \('new'\), and the embedding of {type(model).__name__} has 19 rows: encode"
        )
        with pytest.raises(ValueError, match=message + r".* model.resize_token_embeddings\(len\(tokenizer\)\)"):
            evaluate_faithfulness(model, rows, tokenizer, batch_size=2, **how)
        assert not any(module._forward_pre_hooks for module in model.modules())
    tokenizer.add_special_tokens({"pad_token": "[NEW PAD]"})
    with pytest.raises(ValueError, match=r"row 1 has the token id 20 \('\[NEW PAD\]'\)"):
        evaluate_faithfulness(models[0], rows.select([0, 1]), tokenizer, **how)
    evaluate_faithfulness(Clamped(make_tokenizer("bert")), rows, tokenizer, **how)  # which sees to it itself
    hashed = CountsGood(make_tokenizer("bert"))
    hashed.embedding = Hashed.from_pretrained(hashed.embedding.weight)
    evaluate_faithfulness(hashed, rows, tokenizer, **how)  # as does this one, in the embedding


class WithoutMask(CountsGood):
    def forward(self, input_ids):
        return super().forward(input_ids, torch.ones_like(input_ids))


def ids_alone(rows):
    return {"input_ids": torch.tensor([row["input_ids"] for row in rows])}


def test_operators_that_a_model_cannot_read_are_refused_as_in_training():
    tokenizer, how = make_tokenizer("bert"), {"progress": False, "methods": ["integrated_gradients"]}
    rows = rows_of(tokenizer, "good film", "bad film")
    with pytest.raises(ValueError, match="words cannot be removed by masking 'delete' with WithoutMask, whose forward"):
        evaluate_faithfulness(WithoutMask(tokenizer), rows, tokenizer, collator=ids_alone, **how)
    own = how | {"operator": "unk", "settings": FAST}
    evaluate_faithfulness(WithoutMask(tokenizer), rows, tokenizer, collator=ids_alone, **own)
    small, size = make_model("bert", vocab_size=len(tokenizer)), len(tokenizer)
    tokenizer.add_special_tokens({"mask_token": "[LATER]"})
    message = f"token ids up to {size}, with an embedding of {size} rows: call model.resize_token_embeddings"
    with pytest.raises(ValueError, match=message):
        evaluate_faithfulness(small, rows, tokenizer, operator="mask", **how)
    with pytest.raises(ValueError, match=f"the mask token has the id {size} and the embedding {size} rows"):
        evaluate_faithfulness(small, rows, tokenizer, settings=AttributionSettings(baseline="mask"), **how)


def test_an_unknown_token_in_the_shortest_row_padded_on_the_left_is_named():
    tokenizer = make_tokenizer("llama", padding_side="left")
    model = make_model("llama", vocab_size=len(tokenizer))
    tokenizer.add_tokens(["new"])
    with pytest.raises(ValueError, match=r"row 1 has the token id \d+ .*rows: encode with the model's own"):
        evaluate_faithfulness(model, rows_of(tokenizer, "good film plot", "new"), tokenizer, progress=False)


@pytest.mark.parametrize(
    ("targets", "message"),
    [([0], "there are 1 targets for 2 rows"), ([0, 2], "row 1 is to be explained by the class 2, and .* 2 outputs")],
)
def test_targets_are_a_class_for_each_row(targets, message):
    tokenizer = make_tokenizer("bert")
    with pytest.raises(ValueError, match=message):
        word_scores(CountsGood(tokenizer), rows_of(tokenizer, "good film", "bad"), tokenizer, targets=targets)


def test_classes_in_another_order_than_the_models_are_refused():
    tokenizer = make_tokenizer("bert")
    rows = rows_of(tokenizer, "good film", "bad film").remove_columns("labels").add_column("labels", [1, 0])
    rows = rows.cast_column("labels", ClassLabel(names=["neg", "pos"]))
    model = make_model("bert", id2label={0: "pos", 1: "neg"}, label2id={"pos": 0, "neg": 1})
    message = r"classes are \['neg', 'pos'\] and the model's \['pos', 'neg'\], .*_mapping\(.*, 'labels'\) puts"
    with pytest.raises(ValueError, match=message):
        evaluate_faithfulness(model, rows, tokenizer, methods=["gradient"], progress=False)
    measured = rows.add_column("label", [0, 1])  # which a collator of texts takes, and not the other
    report = evaluate_faithfulness(model, measured, tokenizer, methods=["gradient"], progress=False)
    assert report.labels.tolist() == [0, 1]
    with pytest.raises(ValueError, match=r"align_labels_with_mapping\(model.config.label2id, 'label'\)"):
        named = measured.cast_column("label", ClassLabel(names=["neg", "pos"]))
        evaluate_faithfulness(model, named, tokenizer, methods=["gradient"], progress=False)
    aligned = rows.align_labels_with_mapping(model.config.label2id, "labels")
    report = evaluate_faithfulness(model, aligned, tokenizer, methods=["gradient"], progress=False)
    assert report.labels.tolist() == [0, 1]
    assert report.predictions.label_names == ("pos", "neg")
