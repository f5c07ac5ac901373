import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from sgt_hf import saliency_guided_loss
from sgt_hf.loss import bernoulli_kl_divergence, kl_divergence, task_cross_entropy
from tests import oracle


def test_kl_by_hand():
    # P = (3/4, 1/4), Q = (1/2, 1/2): 3/4 ln(3/2) + 1/4 ln(1/2)
    p, q = torch.tensor([[math.log(3.0), 0.0]]), torch.tensor([[0.0, 0.0]])
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert kl_divergence(p, q).shape == (1,)
    assert kl_divergence(p, q).item() == pytest.approx(expected, rel=1e-5)
    assert kl_divergence(p, p).item() == pytest.approx(0.0, abs=1e-7)
    # as Bernoullis with σ(ln 3) = 3/4 and σ(0) = 1/2, once per label
    both = bernoulli_kl_divergence(torch.full((1, 2), math.log(3.0)), torch.zeros(1, 2))
    assert both.item() == pytest.approx(2 * expected, rel=1e-5)


def test_bernoulli_kl_agrees_with_torch_distributions():
    torch.manual_seed(0)
    p, q = torch.randn(4, 3), torch.randn(4, 3)
    bernoulli = torch.distributions.Bernoulli
    expected = torch.distributions.kl_divergence(bernoulli(logits=p), bernoulli(logits=q)).sum(1)
    assert torch.allclose(bernoulli_kl_divergence(p, q), expected, rtol=1e-5)


def test_loss_by_hand_on_a_linear_model():
    weight = torch.tensor([[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0]])
    x = torch.tensor([[1.0, 1.0, 1.0, 1.0]], requires_grad=True)
    loss = saliency_guided_loss(
        x @ weight.T, x, torch.tensor([0]), lambda drop: x.masked_fill(drop, 0.0) @ weight.T, feature_dim=None
    )
    assert loss.drop.tolist() == [[True, True, False, False]]  # gradients 1, 2, 3, 4: the two lowest
    assert loss.logits.tolist() == [[10.0, 0.0]]
    assert loss.masked_logits.tolist() == [[7.0, 0.0]]
    p, q = 1 / (1 + math.exp(-10)), 1 / (1 + math.exp(-7))
    kl = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    assert loss.ce.item() == pytest.approx(-math.log(p), rel=1e-3)
    assert loss.kl.item() == pytest.approx(kl, rel=1e-3)
    assert loss.total.item() == pytest.approx(-math.log(p) + kl, rel=1e-3)
    assert loss.flipped.item() == 0.0


@pytest.mark.parametrize("weight", [0.0, 0.4, 2.5, torch.tensor(2.5)])
def test_the_kl_weighs_what_it_is_told(weight):
    torch.manual_seed(0)
    model, x = nn.Linear(4, 3), torch.randn(5, 4, requires_grad=True)
    loss = saliency_guided_loss(
        model(x), x, torch.tensor([0, 1, 2, 0, 1]), lambda drop: model(x.masked_fill(drop, 0.0)), feature_dim=None,
        kl_weight=weight,
    )  # fmt: skip
    assert loss.kl > 1e-3
    assert loss.total.item() == pytest.approx(loss.ce.item() + float(weight) * loss.kl.item(), rel=1e-6)


def test_ranking_agrees_with_the_oracle_on_a_network():
    torch.manual_seed(0)
    embedding, head = nn.Embedding(20, 5), nn.Sequential(nn.Flatten(), nn.Linear(30, 8), nn.Tanh(), nn.Linear(8, 3))
    ids, labels = torch.randint(20, (4, 6)), torch.tensor([0, 1, 2, 0])
    eligible = torch.rand(4, 6) > 0.2
    features = embedding(ids)
    loss = saliency_guided_loss(
        head(features),
        features,
        labels,
        lambda drop: head(embedding(ids.masked_fill(drop, 0))),
        mask_fraction=0.6,
        eligible=eligible,
    )
    for row in range(4):  # one sample at a time, its own backward
        single = embedding(ids[[row]]).detach().requires_grad_()
        head(single)[0, labels[row]].backward()
        scores = single.grad[0].sum(-1).tolist()
        assert loss.drop[row].tolist() == oracle.drop_lowest(scores, eligible[row].tolist(), 0.6)


def test_gradients_flow_through_both_branches_and_no_grad_is_written_before_backward():
    torch.manual_seed(0)
    clean, masked = nn.Linear(4, 3), nn.Linear(4, 3)  # two networks, to tell the branches apart
    x, y = torch.randn(5, 4, requires_grad=True), torch.randint(3, (5,))
    loss = saliency_guided_loss(clean(x), x, y, lambda drop: masked(x.masked_fill(drop, 0)), feature_dim=None)
    assert clean.weight.grad is None
    assert x.grad is None
    through_clean, through_masked = torch.autograd.grad(loss.kl, [clean.weight, masked.weight], retain_graph=True)
    assert through_clean.abs().sum() > 0
    assert through_masked.abs().sum() > 0
    loss.total.backward()
    plain = torch.autograd.grad(functional.cross_entropy(clean(x), y), clean.weight)[0]
    assert torch.allclose(clean.weight.grad, plain + through_clean, atol=1e-6)


def test_a_detached_target_is_a_fixed_distribution():
    """The KL's gradient by hand: softmax(masked) − softmax(clean), at the masked logits alone."""
    clean = torch.tensor([[1.0, 0.0]], requires_grad=True)
    masked = torch.tensor([[0.0, 2.0]], requires_grad=True)
    loss = saliency_guided_loss(
        clean, None, torch.tensor([0]), lambda drop: masked, scores=torch.rand(1, 3), detach_target=True
    )
    at_clean, at_masked = torch.autograd.grad(loss.kl, [clean, masked], allow_unused=True)
    assert at_clean is None
    assert torch.allclose(at_masked, masked.softmax(1) - clean.softmax(1))


def test_given_scores_and_task_loss_are_used():
    x, y = torch.randn(2, 4, requires_grad=True), torch.tensor([0, 1])
    model = nn.Linear(4, 2)
    scores = torch.tensor([[4.0, 3.0, 2.0, 1.0]]).expand(2, 4)
    loss = saliency_guided_loss(
        model(x), x, y, lambda drop: model(x * ~drop), scores=scores, task_loss=torch.tensor(7.0), kl_weight=0.0
    )
    assert loss.drop.tolist() == [[False, False, True, True]] * 2
    assert loss.total.item() == 7.0


def test_multi_label_has_its_own_terms():
    torch.manual_seed(0)
    model, x = nn.Linear(4, 3), torch.randn(2, 4, requires_grad=True)
    y = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    loss = saliency_guided_loss(model(x), x, y, lambda drop: model(x * ~drop), feature_dim=None)
    assert loss.kl.item() == pytest.approx(bernoulli_kl_divergence(loss.logits, loss.masked_logits).mean().item())
    assert loss.ce.item() == pytest.approx(functional.binary_cross_entropy_with_logits(model(x), y).item())
    scores = (y[:, :, None] * model.weight[None]).sum(1)
    for row in range(2):
        assert loss.drop[row].tolist() == oracle.drop_lowest(scores[row].tolist(), [True] * 4, 0.5)


def test_kl_and_ranking_are_float32_under_bfloat16():
    torch.manual_seed(0)
    model, x = nn.Linear(8, 3).bfloat16(), torch.randn(4, 8, dtype=torch.bfloat16, requires_grad=True)
    loss = saliency_guided_loss(model(x), x, torch.tensor([0, 1, 2, 0]), lambda d: model(x * ~d), feature_dim=None)
    assert loss.kl.dtype == loss.ce.dtype == torch.float32
    assert torch.isfinite(loss.total)


@pytest.mark.parametrize("items", [0, torch.tensor(0)])
def test_a_batch_without_any_label_has_no_task_loss_and_no_gradient(items):
    logits = torch.randn(2, 3, requires_grad=True)
    loss = task_cross_entropy(logits, torch.tensor([-100, -100]), items)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros(2, 3))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kl_weight": -1.0}, "kl_weight must be ≥ 0, got -1.0"),
        ({"mask_fraction": 1.2}, r"a fraction must lie in \[0, 1\], got 1.2"),
        ({"eligible": torch.ones(2, 3, dtype=torch.bool)}, r"eligible has shape \(2, 3\) and the scores \(2, 4\)"),
        ({"labels": None}, "target 'label' needs labels and the batch has none"),
        ({"labels": None, "target": "predicted"}, "neither labels nor a task_loss"),
        ({"masked_forward": lambda drop: torch.zeros(2, 3)}, r"of shape \(2, 3\), the clean one of \(2, 2\)"),
        ({"features": None}, "neither features nor scores"),
    ],
)
def test_bad_input_is_refused(changes, message):
    model, x = nn.Linear(4, 2), torch.randn(2, 4, requires_grad=True)
    arguments = {"logits": model(x), "features": x, "labels": torch.tensor([0, 1]), "feature_dim": None}
    arguments |= {"masked_forward": lambda drop: model(x * ~drop)} | changes
    with pytest.raises(ValueError, match=message):
        saliency_guided_loss(**arguments)


def test_token_classification_counts_labelled_tokens_only():
    torch.manual_seed(0)
    embedding, head = nn.Embedding(20, 5), nn.Linear(5, 3)
    ids, labels = torch.randint(20, (2, 4)), torch.tensor([[0, 2, -100, -100], [1, -100, 0, 2]])
    features = embedding(ids)
    logits = head(features.cumsum(1))
    masked = torch.randn(2, 4, 3)
    loss = saliency_guided_loss(logits, features, labels, lambda drop: masked, reduction="signed_sum")
    there = labels != -100
    assert loss.kl.item() == pytest.approx(kl_divergence(logits[there], masked[there]).mean().item(), rel=1e-5)
    assert loss.ce.item() == pytest.approx(functional.cross_entropy(logits[there], labels[there]).item(), rel=1e-5)
    assert loss.flipped == (logits.argmax(-1) != masked.argmax(-1))[there].float().mean()
    outputs = sum(logits[b, t, labels[b, t]] for b in range(2) for t in range(4) if there[b, t])
    scores = torch.autograd.grad(outputs, features)[0].sum(-1)
    for row in range(2):
        assert loss.drop[row].tolist() == oracle.drop_lowest(scores[row].tolist(), [True] * 4, 0.5)


def test_a_class_that_the_model_rules_out_adds_nothing():
    clean, masked = torch.tensor([[1.0, 2.0, -torch.inf]]), torch.tensor([[2.0, 0.5, -torch.inf]])
    both = [one.clone().requires_grad_() for one in (clean, masked)]
    found = kl_divergence(*both)
    assert found.item() == pytest.approx(kl_divergence(clean[:, :2], masked[:, :2]).item())
    for gradient in torch.autograd.grad(found.sum(), both):
        assert gradient.isfinite().all()
        assert gradient[0, 2] == 0


@pytest.mark.parametrize(
    ("shape", "labels", "message"),
    [
        ((4,), torch.ones(4), r"logits of shape \(4,\) are no distribution over classes: return two logits"),
        ((4, 1), torch.ones(4, dtype=torch.long), r"logits of shape \(4, 1\) are no distribution"),
        ((4, 1), torch.ones(4), r"of the shape of the logits \(4, 1\), and these have \(4,\)"),
        ((4, 2), torch.ones(4), r"of the shape of the logits \(4, 2\), and these have \(4,\)"),
    ],
)
def test_predictions_of_another_shape_are_refused(shape, labels, message):
    x = torch.randn(4, 3, requires_grad=True)
    logits = x @ torch.randn(3, *shape[1:])
    with pytest.raises(ValueError, match=message):
        saliency_guided_loss(logits, x, labels, lambda drop: logits, feature_dim=None)
