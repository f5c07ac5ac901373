from functools import partial
from types import MethodType

import pytest
import torch
from accelerate.utils.operations import convert_outputs_to_fp32
from torch import nn
from torch.utils.checkpoint import checkpoint

from sgt_hf.saliency import (
    REDUCTIONS,
    evaluating,
    input_gradient,
    keeping_statistics,
    measuring,
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


def test_evaluating_restores_every_flag_also_after_an_exception():
    model = nn.Sequential(nn.Dropout(0.5), nn.LSTM(3, 2, num_layers=2, dropout=0.3), nn.BatchNorm1d(2))
    model[2].eval()
    flags = [module.training for module in model.modules()]
    with pytest.raises(KeyError), evaluating(model):
        assert not model[0].training
        assert not model[2].training
        assert model[1].training  # cuDNN needs it
        assert model[1].dropout == 0.0
        raise KeyError
    assert [module.training for module in model.modules()] == flags
    assert model[1].dropout == 0.3


def half(model):
    """Wrap a forward as `Accelerator.prepare_model` does under bf16."""
    model.forward = MethodType(torch.autocast("cpu", torch.bfloat16)(model.forward.__func__), model)
    model.forward = MethodType(convert_outputs_to_fp32(model.forward.__func__), model)


def test_measuring_takes_off_autocast_and_nothing_else():
    x = torch.linspace(0, 1, 8).view(2, 4)
    model = nn.Linear(4, 3)
    exact = model(x)
    with measuring(model):
        assert torch.equal(model(x), exact)
    assert "forward" not in vars(model)
    for _ in range(2):  # by two trainers, one after the other
        half(model)
        wrapped = model.forward
        with pytest.raises(KeyError), measuring(model):
            assert torch.equal(model(x), exact)
            raise KeyError
        assert model.forward is wrapped
        assert not torch.equal(model(x), exact)
    model.forward = lambda x: wrapped(x) + 1  # the caller's own, put on afterwards
    with measuring(model):
        assert torch.equal(model(x), wrapped(x) + 1)


def test_keeping_statistics_uses_the_batch_s_own_and_leaves_the_running_ones():
    layer, frozen = nn.BatchNorm1d(2), nn.BatchNorm1d(2).eval()
    model = nn.ModuleList([layer, frozen])
    x = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    expected = layer(x)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    with keeping_statistics(model):
        assert torch.equal(layer(x), expected)
        assert torch.allclose(frozen(x), x, atol=1e-4)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    layer(x)
    assert not torch.equal(layer.running_mean, state["0.running_mean"])


def test_keeping_statistics_of_instance_normalisation():
    layer, x = nn.InstanceNorm1d(3, track_running_stats=True), torch.randn(3, 3, 8)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    expected = nn.InstanceNorm1d(3)(x)
    with keeping_statistics(layer):
        assert torch.allclose(layer(x), expected, atol=1e-6)
    assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items())
    layer(x)
    assert not torch.equal(before["running_mean"], layer.running_mean)


def test_keeping_statistics_holds_where_a_checkpointed_block_is_run_again():
    """The first batch was kept out and the second was not, whichever is run again when both forwards are over."""
    torch.manual_seed(0)
    block = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Tanh())
    block._gradient_checkpointing_func = function = partial(checkpoint, use_reentrant=False)
    kept, counted = torch.randn(4, 2), torch.randn(4, 2)
    with keeping_statistics(block):
        first = block._gradient_checkpointing_func(block.forward, kept)
    assert block._gradient_checkpointing_func is function
    second = block._gradient_checkpointing_func(block.forward, counted)
    before = block[1].running_mean.clone()
    first.sum().backward()
    assert torch.equal(block[1].running_mean, before)
    assert block[1].num_batches_tracked == 1
    second.sum().backward()
    assert block[1].num_batches_tracked == 2  # torch's own way with what is counted
    assert block[1].track_running_stats


def test_keeping_statistics_ends_with_an_exception():
    layer = nn.BatchNorm1d(2)
    with pytest.raises(KeyError), keeping_statistics(layer):
        raise KeyError
    assert layer.track_running_stats
