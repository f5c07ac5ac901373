import pytest
import torch
from torch import nn

from sgt_hf import TextAdapter
from sgt_hf.attribution import ATTRIBUTIONS, AttributionSettings, Point, random_scores
from sgt_hf.saliency import evaluating
from tests.tiny import make_model, make_tokenizer

SETTINGS = AttributionSettings(steps=64, samples=5)


class BagOfWords(nn.Module):
    """Logits linear in the embeddings' sum, so that every attribution is known on paper."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(24, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, input_ids, attention_mask):
        return {"logits": self.head((self.embedding(input_ids) * attention_mask[..., None]).sum(1))}


def setting(model, *texts, index=None, padding="longest"):
    """Adapter, batch and point of the texts, explaining class 1."""
    tokenizer = make_tokenizer("roberta")
    adapter = TextAdapter(tokenizer)
    batch = dict(tokenizer(list(texts), padding=padding, max_length=12, return_tensors="pt"))
    with torch.no_grad(), adapter.capture(model, batch) as captured:
        model(**captured.batch)
    targets = torch.ones(len(texts), dtype=torch.long)
    features = captured.require(adapter).detach()
    return adapter, batch, Point(features, adapter.eligible(batch), targets, index or list(range(len(texts))))


def attribute(name, model, *texts, settings=SETTINGS, **where):
    adapter, batch, point = setting(model, *texts, **where)
    with evaluating(model):
        return ATTRIBUTIONS[name](model, adapter, batch, point, settings).detach(), point


def test_on_a_linear_model_every_method_is_known():
    model = BagOfWords()
    weight = model.head.weight[1]
    for name in ("gradient", "smooth_grad"):
        result, _ = attribute(name, model, "good film", "bad")
        assert torch.allclose(result[0, :4], weight.expand(4, 6), atol=1e-6), name
    result, point = attribute("input_x_gradient", model, "good film")
    assert torch.allclose(result, point.features * weight, atol=1e-6)
    result, point = attribute("integrated_gradients", model, "good film")
    expected = point.features * weight * point.eligible[..., None]  # special tokens are kept in the baseline
    assert torch.allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize("baseline", ["zero", "pad", "mask", "unk"])
def test_integrated_gradients_are_complete(baseline):
    model = make_model("roberta", num_labels=3)
    settings = AttributionSettings(steps=200, baseline=baseline)
    result, point = attribute("integrated_gradients", model, "good film not dull", "bad", settings=settings)
    adapter, batch, _ = setting(model, "good film not dull", "bad")
    start = torch.zeros_like(point.features)
    if baseline != "zero":
        start = adapter.token_features(model, baseline, point.features)
    start = torch.where(point.eligible[..., None], start, point.features)
    with torch.no_grad(), evaluating(model):
        whole = model(**batch).logits[:, 1]
        with adapter.replace(model, start):
            nothing = model(**batch).logits[:, 1]
    assert torch.allclose(result.sum((1, 2)), whole - nothing, atol=1e-4)


@pytest.mark.parametrize("name", sorted(ATTRIBUTIONS))
def test_scores_do_not_depend_on_the_batch_or_its_padding(name):
    model = make_model("roberta", num_labels=3, dropout=0.3)
    together, _ = attribute(name, model, "good film not dull", "bad plot", "the a", index=[5, 2, 9])
    alone, _ = attribute(name, model, "bad plot", index=[2], padding="max_length")
    assert torch.allclose(together[1, :4], alone[0, :4], atol=1e-6)
    again, _ = attribute(name, model, "good film not dull", "bad plot", "the a", index=[5, 2, 9])
    assert torch.equal(together, again)


def test_smooth_grad_depends_on_the_seed_and_the_sample_only():
    model = make_model("roberta", num_labels=3)
    first, _ = attribute("smooth_grad", model, "good film", index=[0])
    other_sample, _ = attribute("smooth_grad", model, "good film", index=[1])
    other_seed, _ = attribute("smooth_grad", model, "good film", settings=AttributionSettings(samples=5, seed=1))
    assert not torch.equal(first, other_sample)
    assert not torch.equal(first, other_seed)


def test_attribution_leaves_no_gradient_and_no_hook():
    model = make_model("roberta", num_labels=3)
    for name in ATTRIBUTIONS:
        attribute(name, model, "good film")
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_random_scores_are_uniform_per_sample_and_zero_elsewhere():
    eligible = torch.tensor([[True, True, False, True], [False, True, True, True]])
    scores = random_scores(eligible, [7, 3], draws=2000, seed=0)
    assert scores.shape == (2000, 2, 4)
    assert (scores[:, ~eligible] == 0).all()
    assert scores[:, eligible].mean().item() == pytest.approx(0.5, abs=0.02)
    assert torch.equal(random_scores(eligible[[1]], [3], draws=2000, seed=0)[:, 0], scores[:, 1])
    assert not torch.equal(random_scores(eligible, [7, 3], draws=2000, seed=1), scores)


def test_a_baseline_the_tokenizer_lacks_is_refused():
    model, tokenizer = make_model("gpt2"), make_tokenizer("gpt2")
    with pytest.raises(ValueError, match="no mask token to make a baseline of: use baseline 'zero'"):
        TextAdapter(tokenizer).token_features(model, "mask", torch.zeros(1, 2, 8))
