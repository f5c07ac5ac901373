"""Holding one branch at a time changes memory, not the training."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from sgt_hf import SaliencyGuidedTrainingArguments, saliency_guided_loss
from sgt_hf.memory import RandomState, backpropagate_masked, with_clean_branch
from tests.test_trainer import losses, trained, weights


def setting():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
    return model, torch.randn(4, 5), torch.tensor([0, 1, 2, 1])


def test_the_branches_gradients_add_up_to_the_whole_loss_s():
    model, x, y = setting()
    whole = saliency_guided_loss(
        model(x), None, y, lambda drop: model(x.masked_fill(drop, 0.0)), scores=x, kl_weight=0.7
    )
    expected = torch.autograd.grad(whole.total, list(model.parameters()))
    clean = model(x).detach().requires_grad_()
    masked = lambda drop: model(x.masked_fill(drop, 0.0))  # noqa: E731
    parts = saliency_guided_loss(clean, None, y, masked, scores=x, kl_weight=0.7, task_loss=whole.ce.detach())
    gradient = backpropagate_masked(parts, torch.Tensor.backward)
    logits = model(x)
    rebuilt = with_clean_branch(parts, nn.functional.cross_entropy(logits, y), logits, gradient)
    rebuilt.total.backward()
    assert rebuilt.total.item() == pytest.approx(whole.total.item())
    for parameter, one in zip(model.parameters(), expected, strict=True):
        assert torch.allclose(parameter.grad, one, atol=1e-6)


def test_random_state_gives_the_same_numbers_again():
    state = RandomState(torch.zeros(1), "not a tensor")
    first = torch.rand(3), np.random.rand(), random.random()
    state.restore()
    assert torch.equal(torch.rand(3), first[0])
    assert (np.random.rand(), random.random()) == first[1:]


@pytest.mark.parametrize(
    "changes",
    [
        {"dropout": 0.3, "sgt_masking": "random"},
        {"sgt_ranking": "separate", "dropout": 0.3},
        {"gradient_accumulation_steps": 3, "sgt_masking": "delete"},
        {"sgt_every_n_steps": 2, "max_grad_norm": 0.1},
        {"bf16": True, "dropout": 0.3},
        {"label_smoothing_factor": 0.2, "gradient_accumulation_steps": 2},
    ],
)
def test_training_is_the_same_as_with_both_branches_at_once(tmp_path, changes):
    both, one = trained(tmp_path, **changes), trained(tmp_path, sgt_save_memory=True, **changes)
    assert torch.allclose(weights(both), weights(one), atol=1e-6)
    assert losses(both) == pytest.approx(losses(one), abs=1e-6)
    assert losses(both, "sgt_kl") == pytest.approx(losses(one, "sgt_kl"), abs=1e-6)


def test_the_knob_is_off_by_default():
    assert not SaliencyGuidedTrainingArguments("out").sgt_save_memory
