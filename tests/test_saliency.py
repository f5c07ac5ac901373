import pytest
import torch
from torch import nn

from sgt_hf.saliency import (
    REDUCTIONS,
    input_gradient,
    reduce_scores,
    target_outputs,
)
from tests.tiny import make_model


@pytest.mark.parametrize(
    ("name", "expected"),
    [("signed_sum", 1.0), ("abs_sum", 7.0), ("l2", 5.0), ("grad_x_input", 2.0), ("abs_grad_x_input", 10.0)],
)
def test_reductions_by_hand(name, expected):
    gradient, features = torch.tensor([[[-3.0, 4.0]]]), torch.tensor([[[2.0, 1.0]]])
    features = torch.tensor([[[4.0 / 3, 1.5]]]) if "input" in name else features
    # grad × input: −3·4/3 + 4·1.5 = −4 + 6
    assert reduce_scores(gradient, features, name).item() == pytest.approx(expected)


@pytest.mark.parametrize("name", sorted(set(REDUCTIONS) - {"auto"}))
def test_reductions_fold_the_named_axis_and_flatten_the_rest(name):
    gradient, features = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    pixels = reduce_scores(gradient, features, name, dim=1)
    assert pixels.shape == (2, 20)
    assert torch.equal(pixels[1, 7], REDUCTIONS[name](gradient[1:, :, 1, 2], features[1:, :, 1, 2], -1)[0])
    cells = reduce_scores(gradient, features, name, dim=None)
    assert cells.shape == (2, 60)


def test_auto_is_the_signed_sum_unless_that_vanishes():
    torch.manual_seed(0)
    features = torch.randn(2, 5, 64)
    plain = torch.randn(2, 5, 64)
    assert torch.equal(reduce_scores(plain, features, "auto"), reduce_scores(plain, features, "signed_sum"))
    centred = plain.clone()
    centred[1] -= centred[1].mean(-1, keepdim=True)  # what comes back through a LayerNorm
    mixed = reduce_scores(centred, features, "auto")
    assert torch.equal(mixed[0], reduce_scores(plain, features, "signed_sum")[0])
    assert torch.equal(mixed[1], reduce_scores(centred, features, "l2")[1])


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2", "distilbert"])
def test_the_signed_sum_vanishes_where_embeddings_are_normalised(family):
    model = make_model(family).eval()
    embeddings = model.get_input_embeddings()(torch.arange(5, 11)[None]).detach().requires_grad_()
    gradient = input_gradient(model(inputs_embeds=embeddings).logits[:, 0], embeddings)
    signed, absolute = reduce_scores(gradient, embeddings, "signed_sum"), reduce_scores(gradient, embeddings, "abs_sum")
    assert signed.abs().sum() < 1e-5 * absolute.sum()
    assert torch.equal(reduce_scores(gradient, embeddings, "auto"), reduce_scores(gradient, embeddings, "l2"))


def test_reductions_take_callables_and_refuse_unknown_names():
    ones = torch.ones(1, 2, 3)
    assert reduce_scores(ones, ones, lambda g, x, dim: g.amax(dim)).tolist() == [[1.0, 1.0]]
    with pytest.raises(ValueError, match="unknown reduction 'max': use one of"):
        reduce_scores(ones, ones, "max")


def test_input_gradient_touches_no_parameter_and_keeps_the_graph():
    layer, x = nn.Linear(3, 2), torch.randn(4, 3, requires_grad=True)
    logits = layer(x)
    gradient = input_gradient(logits[:, 0], x)
    assert torch.allclose(gradient, layer.weight[0].expand(4, 3))
    assert layer.weight.grad is None
    assert x.grad is None
    logits.sum().backward()  # the graph is still there
    assert layer.weight.grad is not None


def test_targets():
    logits = torch.tensor([[1.0, 5.0, 2.0], [4.0, 0.0, -1.0]])
    assert target_outputs(logits, torch.tensor([2, 1])).tolist() == [2.0, 0.0]
    assert target_outputs(logits, torch.tensor([2, 1]), "predicted").tolist() == [5.0, 4.0]
    assert target_outputs(logits, None, "predicted").tolist() == [5.0, 4.0]
    positive = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    assert target_outputs(logits, positive).tolist() == [3.0, 0.0]
    none = torch.zeros(2, 3)  # of no label: that every logit is low is what the prediction rests on
    assert target_outputs(logits, none).tolist() == [-8.0, -3.0]
    assert target_outputs(-logits.abs(), none, "predicted").tolist() == [8.0, 5.0]
    assert target_outputs(logits, positive, "predicted").tolist() == [8.0, 4.0]
    with pytest.raises(ValueError, match="target 'label' needs labels"):
        target_outputs(logits, None)
    with pytest.raises(ValueError, match="unknown target 'gold'"):
        target_outputs(logits, None, "gold")


def test_padding_and_special_tokens_of_token_classification_are_not_differentiated():
    logits = torch.arange(12.0).view(1, 3, 4)
    labels = torch.tensor([[-100, 2, -100]])
    assert target_outputs(logits, labels).tolist() == [6.0]
    assert target_outputs(logits, labels, "predicted").tolist() == [7.0]


def test_features_without_an_axis_of_components_are_named():
    with pytest.raises(ValueError, match=r"features of shape \(2, 3\) have no axis of components .*: pass dim=None"):
        reduce_scores(torch.ones(2, 3), torch.ones(2, 3))


def test_a_part_without_a_graph_is_named():
    features = torch.ones(2, 3, requires_grad=True)
    with pytest.raises(RuntimeError, match="a part of the model that runs under torch"):
        input_gradient(torch.ones(2, requires_grad=True), features)
