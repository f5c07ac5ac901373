import warnings

import numpy as np
import pytest
import torch
from captum.attr import DeepLiftShap, GradientShap
from captum.attr._core.deep_lift import SUPPORTED_NON_LINEAR
from torch import nn

from sgt_hf import TextAdapter, evaluate_faithfulness
from sgt_hf.adapters import SeriesAdapter
from sgt_hf.attribution import (
    ATTRIBUTIONS,
    Attribution,
    AttributionSettings,
    Draws,
    Point,
    baseline,
    baseline_distribution,
    forward_from_features,
    relative_delta,
    seeded_scores,
    warn_if_incomplete,
)
from sgt_hf.attribution.rescale import RULES
from sgt_hf.faithfulness import word_scores
from sgt_hf.models.bilstm import BiLstmConfig, BiLstmForSequenceClassification
from sgt_hf.modes import evaluating
from sgt_hf.saliency import reduce_scores
from tests.tiny import make_model, make_rows, make_tokenizer

SETTINGS = AttributionSettings(steps=64, samples=5, shap_samples=7, shap_baselines=3)
DEEP = ("deep_lift", "deep_shap")


class BagOfWords(nn.Module):
    """Logits linear in the embeddings' sum, so that every attribution is known on paper."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(24, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, input_ids, attention_mask):
        return {"logits": self.head((self.embedding(input_ids) * attention_mask[..., None]).sum(1))}


class FeedForward(nn.Module):
    """A word net with one hidden layer; `activate` is a module or a function, and gets the embeddings' sum."""

    def __init__(self, activate, width=6):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(24, 6)
        self.hidden = nn.Linear(6, width)
        self.activate = activate
        self.head = nn.Linear(width, 3)

    def forward(self, input_ids, attention_mask):
        hidden = self.hidden((self.embedding(input_ids) * attention_mask[..., None]).sum(1))
        return {"logits": self.head(self.activate(hidden))}


def setting(model, *texts, index=None, padding="longest", targets=None):
    """Adapter, batch and point of the texts, explaining class 1 where nothing else is said."""
    tokenizer = make_tokenizer("roberta")
    adapter = TextAdapter(tokenizer)
    batch = dict(tokenizer(list(texts), padding=padding, max_length=12, return_tensors="pt"))
    with torch.no_grad(), adapter.capture(model, batch) as captured:
        model(**captured.batch)
    targets = torch.ones(len(texts), dtype=torch.long) if targets is None else torch.tensor(targets)
    features = captured.require(adapter).detach()
    return adapter, batch, Point(features, adapter.eligible(batch), targets, index or list(range(len(texts))))


def explain(name, model, *texts, settings=SETTINGS, **where):
    adapter, batch, point = setting(model, *texts, **where)
    with evaluating(model):
        return ATTRIBUTIONS[name](model, adapter, batch, point, settings), point


def attribute(name, model, *texts, **how):
    found, point = explain(name, model, *texts, **how)
    return found.values, point


def model_for(name, **config):
    """A model that the method is right for."""
    return FeedForward(nn.ReLU()) if name in DEEP else make_model("roberta", num_labels=3, **config)


def test_on_a_linear_model_every_method_is_known():
    model = BagOfWords()
    weight = model.head.weight[1]
    for name in ("gradient", "smooth_grad"):
        result, _ = attribute(name, model, "good film", "bad")
        assert torch.allclose(result[0, :4], weight.expand(4, 6), atol=1e-6), name
    result, point = attribute("input_x_gradient", model, "good film")
    assert torch.allclose(result, point.features * weight, atol=1e-6)
    quiet = AttributionSettings(shap_noise=0)
    for name in ("integrated_gradients", "deep_lift", "gradient_shap", "deep_shap"):
        result, point = attribute(name, model, "good film", settings=quiet)
        expected = point.features * weight * point.eligible[..., None]  # special tokens are kept in the baseline
        assert torch.allclose(result, expected, atol=1e-5), name


@pytest.mark.parametrize("name", sorted(set(ATTRIBUTIONS) - {"random"}))
def test_each_text_is_explained_for_its_own_class(name):
    texts, model = ("good film not dull", "bad plot", "the a"), model_for(name, spread=0.5)
    mixed, _ = attribute(name, model, *texts, targets=[2, 0, 1])
    for row, target in enumerate((2, 0, 1)):
        alike, _ = attribute(name, model, *texts, targets=[target] * 3)
        assert torch.allclose(mixed[row], alike[row], atol=1e-6)
        other, _ = attribute(name, model, *texts, targets=[(target + 1) % 3] * 3)
        assert not torch.allclose(mixed[row], other[row], atol=1e-6)


def many_values(spread=(2.0, 7.0)):
    """A point of one series of 5,000 cells between two values, the last tenth of them padding."""
    torch.manual_seed(0)
    low, high = spread
    features = low + (high - low) * torch.rand(1, 5000, 1)
    features[0, 0], features[0, 1] = low, high
    eligible = torch.ones(1, 5000, dtype=torch.bool)
    eligible[:, -500:] = False
    features[:, -500:] = 100.0
    return Point(features, eligible, torch.tensor([0]), [3])


def test_noise_is_a_share_of_the_range_and_uniform_baselines_fill_it():
    point = many_values()
    draws = Draws(point, None, seed=0)
    noise = draws.normal(4, 0.15)
    free = noise[:, 0, :-500]
    assert free.std().item() == pytest.approx(0.15 * 5.0, rel=0.02)
    assert free.mean().item() == pytest.approx(0.0, abs=0.02)
    assert (noise[:, 0, -500:] == 0).all()
    drawn = draws.within_range()[0, :-500]
    assert drawn.min().item() == pytest.approx(2.0, abs=0.01)
    assert drawn.max().item() == pytest.approx(7.0, abs=0.01)
    assert drawn.mean().item() == pytest.approx(4.5, abs=0.1)


def test_streams_of_random_numbers_share_nothing():
    """A control must not be the baseline of what it controls, nor one baseline another."""
    point, adapter = many_values(), SeriesAdapter()
    settings = AttributionSettings(baseline="uniform", shap_baselines=2, shap_noise=0.0)
    draws = Draws(point, None, seed=0)
    first, second = baseline_distribution(None, adapter, point, settings, draws)
    again = Draws(point, None, seed=0)
    found = {
        "control": seeded_scores(point.eligible, point.index, draws=1, seed=0)[0],
        "baseline of integrated gradients": baseline(None, adapter, point, "uniform", seed=0),
        "second of the SHAPs'": second,
        "noise": again.normal(1, 0.15)[0],
        "between": again.uniform(4500)[:, 0, 0, 0],
    }
    assert torch.equal(first, found["baseline of integrated gradients"])
    columns = torch.stack([values.flatten()[:4500] for values in found.values()])
    assert (torch.corrcoef(columns) - torch.eye(5)).abs().max() < 0.06


@pytest.mark.parametrize("baseline", ["zero", "pad", "mask", "unk"])
def test_integrated_gradients_are_complete(baseline):
    model = make_model("roberta", num_labels=3)
    settings = AttributionSettings(steps=200, baseline=baseline)
    found, point = explain("integrated_gradients", model, "good film not dull", "bad", settings=settings)
    result = found.values
    adapter, batch, _ = setting(model, "good film not dull", "bad")
    start = torch.zeros_like(point.features)
    if baseline != "zero":
        start = adapter.baseline_features(model, baseline, point.features, point.eligible)
    start = torch.where(point.eligible[..., None], start, point.features)
    with torch.no_grad(), evaluating(model):
        whole = model(**batch).logits[:, 1]
        with adapter.replace(model, start):
            nothing = model(**batch).logits[:, 1]
    assert torch.allclose(result.sum((1, 2)), whole - nothing, atol=1e-4)
    assert torch.allclose(result.sum((1, 2)) - (whole - nothing), found.delta, atol=1e-6)


@pytest.mark.parametrize("name", sorted(ATTRIBUTIONS))
def test_scores_do_not_depend_on_the_batch_or_its_padding(name):
    model = model_for(name, dropout=0.3)
    together, _ = attribute(name, model, "good film not dull", "bad plot", "the a", index=[5, 2, 9])
    alone, _ = attribute(name, model, "bad plot", index=[2], padding="max_length")
    assert torch.allclose(together[1, :4], alone[0, :4], atol=1e-6)
    again, _ = attribute(name, model, "good film not dull", "bad plot", "the a", index=[5, 2, 9])
    assert torch.equal(together, again)


@pytest.mark.parametrize("name", ["smooth_grad", "gradient_shap", "deep_shap", "integrated_gradients"])
def test_how_much_goes_into_one_forward_changes_nothing(name):
    texts = ("good film not dull", "bad plot")
    found = []
    for budget in (1, 30, 10_000):
        settings = AttributionSettings(steps=9, samples=5, shap_samples=5, shap_baselines=3, max_features=budget)
        found.append(attribute(name, model_for(name), *texts, settings=settings)[0])
    assert torch.allclose(found[0], found[1], atol=1e-6)
    assert torch.allclose(found[0], found[2], atol=1e-6)


@pytest.mark.parametrize("name", ["smooth_grad", "gradient_shap", "deep_shap", "random"])
def test_noise_depends_on_the_seed_and_the_sample_only(name):
    model = model_for(name)
    torch.manual_seed(1)
    first, _ = attribute(name, model, "good film", index=[0])
    assert torch.rand(()) == torch.rand((), generator=torch.Generator().manual_seed(1))  # the global one is not used
    other_sample, _ = attribute(name, model, "good film", index=[1])
    other_seed, _ = attribute(name, model, "good film", settings=AttributionSettings(seed=1))
    assert not torch.equal(first, other_sample)
    assert not torch.equal(first, other_seed)


@pytest.mark.parametrize("name", sorted(ATTRIBUTIONS))
def test_attribution_leaves_no_gradient_no_hook_and_the_frozen_frozen(name):
    model = model_for(name)
    next(model.parameters()).requires_grad_(False)
    flags = [parameter.requires_grad for parameter in model.parameters()]
    before = [set(module.__dict__) for module in model.modules()]
    attribute(name, model, "good film")
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert all(parameter.grad is None for parameter in model.parameters())
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    assert not any(getattr(module, kind) for module in model.modules() for kind in hooks)
    assert [set(module.__dict__) for module in model.modules()] == before


def test_deep_lift_on_paper():
    # f = relu(h), h = −1 + 1 + 2, of which the word "good" gives 1 and 2: from the baseline h goes from −1 to 2, so
    # the rescale multiplier is (2 − 0) / (2 − (−1)) = 2/3, where the gradient is 1.
    model = FeedForward(nn.ReLU(), width=1)
    with torch.no_grad():
        model.embedding.weight.zero_()
        model.embedding.weight[make_tokenizer("roberta").convert_tokens_to_ids("good"), :2] = torch.tensor([1.0, 2.0])
        model.hidden.weight.fill_(1.0)
        model.hidden.bias.fill_(-1.0)
        model.head.weight.fill_(1.0)
    found, _ = explain("deep_lift", model, "the good film")
    expected = torch.zeros(1, 5, 6)
    expected[0, 2, :2] = torch.tensor([1.0, 2.0]) * 2 / 3
    assert torch.allclose(found.values, expected, atol=1e-6)
    assert found.delta.item() == pytest.approx(0, abs=1e-6)
    gradient, _ = attribute("gradient", model, "the good film")
    assert gradient[0, 2, 0].item() == pytest.approx(1.0)


class Residual(nn.Module):
    """x + tanh(x), then ReLU straight into a pool: both need an input tensor of their own to be right in Captum."""

    def __init__(self):
        super().__init__()
        self.tanh, self.relu, self.pool = nn.Tanh(), nn.ReLU(inplace=True), nn.MaxPool1d(2)

    def forward(self, x):
        pooled = self.pool(self.relu(x + self.tanh(x))[:, None])[:, 0]
        return torch.cat([pooled, pooled], dim=1)


@pytest.mark.parametrize("activate", [nn.ReLU(), nn.Sigmoid(), Residual()], ids=["relu", "sigmoid", "residual"])
@pytest.mark.parametrize("name", DEEP)
def test_deep_lift_is_complete_for_feed_forward_networks(name, activate):
    model = FeedForward(activate)
    found, point = explain(name, model, "good film not dull", "bad", "the very great plot")
    assert found.delta.abs().max() < 1e-5
    with torch.no_grad(), evaluating(model):
        adapter, batch, _ = setting(model, "good film not dull", "bad", "the very great plot")
        forward, columns = forward_from_features(model, adapter, batch)
        empty = torch.where(point.eligible[..., None], 0.0, point.features)
        change = (forward(point.features, *columns) - forward(empty, *columns))[:, 1]
    if name == "deep_lift":
        assert torch.allclose(found.values.sum((1, 2)), change, atol=1e-5)


def test_the_rules_are_captums():
    assert set(RULES) == set(SUPPORTED_NON_LINEAR) - {nn.Softmax}


def test_deep_shap_agrees_with_captum_on_the_same_baselines():
    model = FeedForward(nn.ReLU())
    found, point = explain("deep_shap", model, "good film not dull")
    adapter, batch, _ = setting(model, "good film not dull")
    references = baseline_distribution(model, adapter, point, SETTINGS, Draws(point, -1, seed=0))
    assert references.shape == (3, *point.features.shape)
    forward, columns = forward_from_features(model, adapter, batch, freeze=False)
    leaf = point.features.clone().requires_grad_()
    expected = DeepLiftShap(forward).attribute(leaf, references[:, 0], point.targets, columns)
    assert torch.allclose(found.values, expected.detach(), atol=1e-6)


def test_gradient_shap_approaches_what_captum_approaches():
    model = FeedForward(nn.Sigmoid())
    many = AttributionSettings(shap_samples=3000, shap_baselines=1000, shap_noise=0.1)
    found, point = explain("gradient_shap", model, "good film", settings=many)
    assert found.delta is None
    adapter, batch, _ = setting(model, "good film")
    references = baseline_distribution(model, adapter, point, many, Draws(point, -1, seed=3))[:, 0]
    forward, columns = forward_from_features(model, adapter, batch)
    torch.manual_seed(0)
    leaf = point.features.clone().requires_grad_()
    expected = GradientShap(forward).attribute(leaf, references, 3000, 0.0, point.targets, columns).detach()
    assert torch.allclose(found.values, expected, atol=0.02 * expected.abs().max().item() + 0.005)


class CalledTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(self.relu(x) - 0.1)


class Gate(nn.Module):
    def forward(self, x):
        return x * x.sigmoid()


def bilstm():
    return BiLstmForSequenceClassification(BiLstmConfig(vocab_size=24, embedding_dim=6, hidden_size=4))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FeedForward(torch.relu), "wrong for this FeedForward.*functional activations.*Use gradient, "),
        (lambda: FeedForward(Gate()), r"Perhaps in activate \(Gate\)\. Use gradient, "),
        (lambda: FeedForward(CalledTwice()), r"activate.relu \(ReLU\) is called more than once"),
        (lambda: FeedForward(nn.MaxPool1d(3, 1, 1)), r"overlap or are dilated, as of activate \(MaxPool1d\)"),
        (lambda: FeedForward(nn.ReLU()).half(), "differences too small for float16: use float32 or bfloat16"),
        (lambda: FeedForward(nn.GELU()), r"no rule for activate \(GELU\)"),
        (lambda: FeedForward(nn.Softmax(-1)), r"no rule for activate \(Softmax\)"),
        (bilstm, r"no rule for lstm \(LSTM\), and would silently"),
        (
            lambda: make_model("bert"),
            r"no rule for bert.embeddings.LayerNorm \(LayerNorm\), .*Use .* gradient_shap",
        ),
    ],
)
@pytest.mark.parametrize("name", DEEP)
def test_deep_lift_is_refused_where_it_would_be_silently_wrong(name, make, message):
    model = make()
    before = [set(module.__dict__) for module in model.modules()]
    with pytest.raises(ValueError, match=message):
        attribute(name, model, "good film not dull", "bad plot")
    assert [set(module.__dict__) for module in model.modules()] == before


def test_the_random_method_ranks_like_random_scores():
    model = make_model("roberta", num_labels=3)
    values, point = attribute("random", model, "good film not dull", "bad", index=[4, 1])
    expected = seeded_scores(point.eligible, [4, 1], draws=1, seed=0)[0]
    for reduction in ("auto", "signed_sum", "abs_sum"):
        assert torch.allclose(reduce_scores(values, point.features, reduction), expected, atol=1e-6)


def test_random_scores_hang_on_no_input():
    model, tokenizer = make_model("bert"), make_tokenizer("bert")
    how = {"methods": ["random"]}
    drawn, _ = word_scores(model, make_rows(tokenizer, 4), tokenizer, reduction="signed_sum", **how)
    for reduction in ("grad_x_input", "abs_grad_x_input"):
        found, _ = word_scores(model, make_rows(tokenizer, 4), tokenizer, reduction=reduction, **how)
        assert all(map(np.array_equal, found["random"], drawn["random"]))


def test_relative_delta_and_its_warning_on_paper():
    # features score 3 − 1 = 2 and −6: their sizes add up to 8, of which 2 is a quarter
    values = torch.tensor([[[3.0, -1.0], [-6.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    deltas = relative_delta(Attribution(values, torch.tensor([-2.0, 0.0])), dim=-1)
    assert deltas.tolist() == pytest.approx([0.25, 0.0])
    with pytest.warns(UserWarning, match=r"^steep: on 1 of 2 samples .* at most by 25%\. Take more steps, .* above 50"):
        warn_if_incomplete("steep", deltas, AttributionSettings(max_delta=0.2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_incomplete("steep", deltas, AttributionSettings(max_delta=0.3))
        warn_if_incomplete("steep", [], AttributionSettings())
    with pytest.raises(ValueError, match="promises no sum"):
        relative_delta(Attribution(values, None), dim=-1)


def test_an_evaluation_warns_once_of_too_few_steps():
    tokenizer, model = make_tokenizer("bert"), make_model("bert", initializer_range=2.0)
    rows, settings = make_rows(tokenizer, 6), AttributionSettings(steps=1, max_delta=0.01)
    with pytest.warns(UserWarning, match="integrated_gradients: on . of 6 samples") as caught:
        evaluate_faithfulness(
            model,
            rows,
            tokenizer,
            methods=["gradient", "integrated_gradients"],
            settings=settings,
            batch_size=2,
            progress=False,
        )
    assert len(caught) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"steps": 0}, "steps must be ≥ 1, got 0"), ({"shap_noise": -0.1}, "shap_noise must be ≥ 0, got -0.1")],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        AttributionSettings(**changes)


def test_random_scores_are_uniform_per_sample_and_zero_elsewhere():
    eligible = torch.tensor([[True, True, False, True], [False, True, True, True]])
    scores = seeded_scores(eligible, [7, 3], draws=2000, seed=0)
    assert scores.shape == (2000, 2, 4)
    assert (scores[:, ~eligible] == 0).all()
    assert scores[:, eligible].mean().item() == pytest.approx(0.5, abs=0.02)
    assert torch.equal(seeded_scores(eligible[[1]], [3], draws=2000, seed=0)[:, 0], scores[:, 1])
    assert not torch.equal(seeded_scores(eligible, [7, 3], draws=2000, seed=1), scores)


def test_a_baseline_the_tokenizer_lacks_is_refused():
    model, tokenizer = make_model("gpt2"), make_tokenizer("gpt2")
    with pytest.raises(ValueError, match="no mask token to make a baseline of: use baseline 'zero'"):
        TextAdapter(tokenizer).baseline_features(model, "mask", torch.zeros(1, 2, 8), torch.ones(1, 2) > 0)
