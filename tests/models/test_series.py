"""Tests of the four networks over time series."""

import inspect
import math

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, set_seed

from sgt_hf.adapters import SeriesAdapter
from sgt_hf.attribution import ATTRIBUTIONS, AttributionSettings, Point, relative_delta
from sgt_hf.models.classifier import real_first, within
from sgt_hf.models.series import (
    SERIES_MODELS,
    InputCellLstmConfig,
    SeriesLstmConfig,
    SeriesTransformerConfig,
    TcnConfig,
)
from sgt_hf.models.series.lstm import InputCellAttention
from sgt_hf.models.series.tcn import CausalConv
from sgt_hf.models.series.transformer import sinusoids

TINY = {
    "lstm": (SeriesLstmConfig, {"hidden_size": 3}),
    "input_cell_lstm": (InputCellLstmConfig, {"hidden_size": 3, "attention_size": 5, "hops": 2}),
    "tcn": (TcnConfig, {"channels": [3, 3, 6], "kernel_size": 2}),
    "transformer": (
        SeriesTransformerConfig,
        {"hidden_size": 4, "num_layers": 2, "num_heads": 2, "feed_forward_size": 6},
    ),
}
networks = pytest.mark.parametrize("network", TINY)
LENGTHS = torch.tensor([7, 4, 1])
MASK = (torch.arange(7) < LENGTHS[:, None]).long()


def build(network, seed=0, **settings):
    set_seed(seed)
    config, defaults = TINY[network]
    return SERIES_MODELS[config](config(**{"num_features": 5, "num_labels": 3} | defaults | settings)).eval()


def series(seed=0):
    return torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(seed))


@networks
def test_padding_its_side_and_the_neighbours_do_not_matter(network):
    model, values = build(network), series()
    logits = model(values, MASK).logits
    for row, length in enumerate(LENGTHS.tolist()):
        torch.testing.assert_close(model(values[row : row + 1, :length]).logits, logits[row : row + 1])
    for content in (1e3, math.inf, math.nan):
        spoiled = values.masked_fill(MASK[..., None] == 0, content)
        torch.testing.assert_close(model(spoiled, MASK).logits, logits)
    left = torch.stack([row.roll(7 - n, 0) for row, n in zip(values, LENGTHS.tolist(), strict=True)])
    torch.testing.assert_close(model(left, MASK.flip(1)).logits, logits)


@networks
def test_only_real_steps_have_a_gradient(network):
    model, values = build(network), series().masked_fill(MASK[..., None] == 0, math.nan).requires_grad_()
    (gradient,) = torch.autograd.grad(model(values, MASK).logits.square().sum(), values)
    assert (gradient[MASK == 0] == 0).all()
    assert (gradient[MASK == 1] != 0).any()


@networks
def test_a_row_without_real_steps_is_legal(network):
    model, values = build(network), series()
    logits = model(values, MASK * torch.tensor([[1], [0], [1]])).logits
    assert logits.isfinite().all()
    torch.testing.assert_close(logits[[0, 2]], model(values, MASK).logits[[0, 2]])


@networks
def test_saving_and_loading_keeps_weights_and_logits(network, tmp_path):
    model, values = build(network), series()
    model.save_pretrained(tmp_path)
    set_seed(99)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert type(loaded) is type(model)
    assert type(AutoConfig.from_pretrained(tmp_path)) is TINY[network][0]
    assert all(torch.equal(weight, loaded.state_dict()[name]) for name, weight in model.state_dict().items())
    assert torch.equal(loaded(values, MASK).logits, model(values, MASK).logits)


@networks
def test_a_missing_output_layer_is_drawn_afresh_and_nothing_else(network, tmp_path):
    model = build(network)
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path, num_labels=4, ignore_mismatched_sizes=True)
    assert loaded.classifier.weight.shape[0] == 4
    assert 0 < loaded.classifier.weight.abs().max() <= loaded.classifier.in_features**-0.5
    kept = {name: weight for name, weight in model.state_dict().items() if not name.startswith("classifier")}
    assert all(torch.equal(weight, loaded.state_dict()[name]) for name, weight in kept.items())


@networks
def test_the_initial_weights_are_the_seeds(network):
    first, second, other = (build(network, seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["classifier.weight"], other["classifier.weight"])
    assert all(weight.isfinite().all() for weight in first.values())


@networks
def test_dropout_acts_in_training_only_and_losses_are_right(network):
    model, values = build(network, dropout=0.5), series()
    assert torch.equal(model(values).logits, model(values).logits)
    labels = torch.tensor([0, 1, 2])
    out = model(values, labels=labels)
    assert out.loss.item() == pytest.approx(nn.functional.cross_entropy(out.logits, labels).item())
    model.config.problem_type = None
    assert model(values, labels=torch.ones(3, 3)).loss.item() == pytest.approx(
        nn.functional.binary_cross_entropy_with_logits(out.logits, torch.ones(3, 3)).item()
    )
    model.train()
    assert not torch.equal(model(values).logits, model(values).logits)


def test_the_double_softmax_of_the_reference():
    single, double = build("lstm"), build("lstm", double_softmax=True)
    torch.testing.assert_close(double(series()).logits, single(series()).logits.softmax(-1))


@networks
def test_what_cannot_work_is_refused(network):
    config = TINY[network][0]
    with pytest.raises(ValueError, match="num_labels=1 is a regression"):
        config(num_labels=1)
    with pytest.raises(ValueError, match=r"shape \(3, 7, 4\).* set num_features=4"):
        build(network)(series()[..., :4])
    kinds = [parameter.kind for parameter in inspect.signature(SERIES_MODELS[config].forward).parameters.values()]
    assert inspect.Parameter.VAR_KEYWORD not in kinds  # Trainer would read it as "takes num_items_in_batch"
    with pytest.raises(ValueError, match="num_heads=3 does not divide hidden_size=4"):
        SeriesTransformerConfig(hidden_size=4, num_heads=3)


def test_real_first_on_paper():
    values = torch.tensor([[[1.0], [2.0], [3.0]]])
    moved, lengths = real_first(values, torch.tensor([[False, True, True]]))
    assert moved[0, :, 0].tolist() == [2.0, 3.0, 1.0]
    assert lengths.tolist() == [2]
    assert within(moved, lengths)[0, :, 0].tolist() == [True, True, False]


@pytest.mark.parametrize("padded", [False, True])
def test_input_cell_attention_agrees_with_the_definition(padded):
    """Step by step and hop by hop: the softmax over the steps so far, and the mean over hops."""
    torch.manual_seed(0)
    attention, values = InputCellAttention(5, 4, 3), 3 * series()
    lengths = LENGTHS if padded else None
    found = attention(values, lengths)
    for row in range(3):
        for step in range(LENGTHS[row] if padded else 7):
            seen = values[row, : step + 1]
            scores = attention.score(torch.tanh(attention.hidden(seen)))
            total = torch.zeros(5)
            for hop in range(3):
                for weight, x in zip(scores[:, hop].softmax(0), seen, strict=True):
                    total = total + weight * x
            torch.testing.assert_close(found[row, step], total / 3)


def test_input_cell_attention_stands_extreme_scores():
    """A score of −160, then nine of +160: each step sees itself and those before it, and no gradient is lost."""
    attention = InputCellAttention(2, 2, 1)
    with torch.no_grad():
        attention.hidden.weight.copy_(9 * torch.eye(2))
        attention.hidden.bias.zero_()
        attention.score.weight.fill_(80.0)
    values = torch.tensor([[[-3.0, -3.0]] + [[3.0, 3.0]] * 9], requires_grad=True)
    found = attention(values)
    torch.testing.assert_close(found[0], values[0])
    (gradient,) = torch.autograd.grad(found.sum(), values)
    harmonic = sum(1 / step for step in range(1, 10))  # how much of a step's weight goes to the first high one
    torch.testing.assert_close(gradient[0, :2], torch.tensor([[1.0, 1.0], [harmonic, harmonic]]))


def test_the_lstm_is_torchs_own():
    model, values = build("lstm"), series()
    torch.testing.assert_close(model(values).logits, model.classifier(model.lstm(values)[1][0][0]))


def test_a_causal_convolution_on_paper():
    """Taps 1 and 2, dilation 2: y_t = gain · (1 · x_{t−2} + 2 · x_t) / √5 + bias."""
    layer = CausalConv(1, 1, 2, dilation=2)
    with torch.no_grad():
        layer.direction.copy_(torch.tensor([[[1.0, 2.0]]]))
        layer.gain.fill_(math.sqrt(5))
        layer.bias.fill_(0.5)
    assert layer(torch.tensor([[[1.0, 10.0, 100.0]]]))[0, 0].tolist() == pytest.approx([2.5, 20.5, 201.5])


@networks
def test_no_step_sees_a_later_one(network):
    """Cutting the series after a step leaves what the network computed there; told by the last step's states."""
    model, values = build(network), series()
    longer = torch.cat([values, series(1)], dim=1)
    mask = torch.cat([torch.ones(3, 7), torch.zeros(3, 7)], dim=1)
    torch.testing.assert_close(model(longer, mask).logits, model(values).logits)


def test_sinusoids_on_paper():
    found = sinusoids(torch.zeros(1, 2, 4))
    expected = [[0.0, 1.0, 0.0, 1.0], [math.sin(1), math.cos(1), math.sin(0.01), math.cos(0.01)]]
    assert [row.tolist() for row in found] == [pytest.approx(row, abs=1e-6) for row in expected]
    assert sinusoids(torch.zeros(1, 2, 5)).shape == (2, 5)


def explain(network, method, **settings):
    model, values = build(network), series()
    batch = {"input_values": values, "attention_mask": MASK}
    adapter = SeriesAdapter()
    point = Point(values, adapter.eligible(batch), torch.tensor([0, 1, 2]), [0, 1, 2])
    return ATTRIBUTIONS[method](model, adapter, batch, point, AttributionSettings(**settings))


@pytest.mark.parametrize("method", ["deep_lift", "deep_shap"])
def test_deep_lift_is_complete_for_the_tcn(method):
    found = explain("tcn", method, baseline="uniform")
    assert relative_delta(found, dim=None).max() < 1e-4
    assert (found.values[MASK == 0] == 0).all()


@pytest.mark.parametrize("network", ["lstm", "input_cell_lstm", "transformer"])
def test_deep_lift_refuses_what_it_has_no_rule_for(network):
    with pytest.raises(ValueError, match="DeepLIFT has no rule for"):
        explain(network, "deep_lift")


@networks
@pytest.mark.parametrize("method", ["gradient", "integrated_gradients", "smooth_grad", "gradient_shap"])
def test_every_network_has_the_other_methods(network, method):
    values = explain(network, method, steps=4, samples=3, shap_samples=3).values
    assert values.isfinite().all()
    assert (values[MASK == 0] == 0).all()
    assert (values != 0).any()


@networks
@pytest.mark.gpu
def test_cpu_and_gpu_agree(network):
    model, values = build(network), series()
    logits = model(values, MASK).logits
    torch.testing.assert_close(model.to("cuda")(values.cuda(), MASK.cuda()).logits.cpu(), logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_positions_in_half_precision_are_those_of_float32_rounded(dtype):
    whole = sinusoids(torch.zeros(1, 3000, 8))
    assert torch.equal(sinusoids(torch.zeros(1, 3000, 8, dtype=dtype)), whole.to(dtype))
