from functools import partial
from types import MethodType

import pytest
import torch
from accelerate.utils.operations import convert_outputs_to_fp32
from torch import nn
from torch.utils.checkpoint import checkpoint

from sgt_hf.modes import evaluating, keeping_statistics, measuring
from tests.adapters.test_embedding import big_bird


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


def test_measuring_leaves_big_bird_its_attention():
    """Which it would give up for good at the first text that is too short for it."""
    torch.manual_seed(0)
    model = big_bird()
    long, short = torch.randint(6, 20, (1, 32)), torch.randint(6, 20, (1, 4))
    with torch.no_grad(), measuring(model):
        expected = model(long).logits
        model(short)
        assert torch.equal(model(long).logits, expected)
    assert model.bert.attention_type == model.bert.encoder.attention_type == "block_sparse"
    with torch.no_grad():
        model.eval()(short)
    assert model.bert.attention_type == "original_full"


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
