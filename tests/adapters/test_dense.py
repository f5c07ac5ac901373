"""What series and images share: the input is the ranked tensor."""

import pytest
import torch
from torch import nn

from sgt_hf.adapters.dense import DenseAdapter


class Cells(DenseAdapter):
    """Every value of (B, N, C) is a feature of its own."""

    feature_dim = None

    def rows(self, values):
        return values

    def unrows(self, rows, like):
        return rows

    def collator(self):
        raise NotImplementedError


class Positions(Cells):
    """A position's channels share fate."""

    feature_dim = 2


class Net(nn.Module):
    def forward(self, x):
        return torch.stack([x[:, 0].sum(1), (2 * x[:, 1]).sum(1)], dim=1)


def batch():
    return {"x": torch.arange(12.0).view(2, 3, 2), "labels": torch.tensor([0, 1])}


def test_scores_are_the_gradient_of_each_cell():
    given = batch()
    scores = Cells("x").scores(Net(), {"x": given["x"]}, given["labels"], target="label", reduction="signed_sum")
    assert scores.tolist() == [[1, 1, 0, 0, 0, 0], [0, 0, 2, 2, 0, 0]]
    folded = Positions("x").scores(Net(), {"x": given["x"]}, given["labels"], target="label", reduction="signed_sum")
    assert folded.tolist() == [[2, 0, 0], [0, 4, 0]]
    assert not given["x"].requires_grad


def test_replace_swaps_the_first_forward_only_and_leaves_no_hook():
    model, x = Net(), batch()["x"]
    with Cells("x").replace(model, torch.ones_like(x)):
        assert model(x=x).tolist() == [[2, 4], [2, 4]]
        again = model(x=x)
    assert torch.equal(again, model(x=x))
    assert not model._forward_pre_hooks


def test_mask_by_cell_and_by_position():
    given = batch()
    drop = torch.tensor([[1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]]).bool()
    out = Cells("x", constant=-1.0).mask(given, drop, "constant")
    assert out["x"].flatten(1).tolist() == [[-1, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, -1]]
    drop = torch.tensor([[1, 0, 0], [0, 0, 1]]).bool()
    out = Positions("x", constant=[-1.0, -2.0]).mask(given, drop, "constant")
    assert out["x"].flatten(1).tolist() == [[-1, -2, 2, 3, 4, 5], [6, 7, 8, 9, -1, -2]]
    assert torch.equal(given["x"], batch()["x"])
    assert out["labels"] is given["labels"]


def test_a_callable_is_a_masking():
    out = Cells("x").mask(batch(), torch.ones(2, 6, dtype=torch.bool), lambda b, drop: b | {"x": b["x"] * 0})
    assert not out["x"].any()


def test_baselines():
    x = batch()["x"]
    adapter, eligible = Cells("x", constant=[1.0, 2.0]), torch.ones(2, 6, dtype=torch.bool)
    assert adapter.baseline_features(Net(), "constant", x, eligible)[1].tolist() == [[1, 2]] * 3
    assert adapter.baseline_features(Net(), "channel_mean", x, eligible)[0].tolist() == [[2, 3]] * 3
    eligible[:, 4:] = False  # padding does not count
    assert adapter.baseline_features(Net(), "channel_mean", x, eligible)[0].tolist() == [[1, 2]] * 3
    large = torch.full((1, 224 * 224, 1), 2.6, dtype=torch.float16)
    mean = Cells("x").baseline_features(Net(), "channel_mean", large, torch.ones(1, 224 * 224, dtype=torch.bool))
    assert torch.equal(mean, large)  # though its sum is no number of float16
    with pytest.raises(ValueError, match="unknown baseline 'pad'"):
        adapter.baseline_features(Net(), "pad", x, eligible)


def test_what_cannot_work_is_refused():
    with pytest.raises(ValueError, match=r"unknown masking 'unk'.*uniform"):
        Cells("x").check(masking="unk", granularity="token")
    with pytest.raises(ValueError, match="'word' is for text"):
        Cells("x").check(masking="uniform", granularity="word")
    whole = {"x": torch.ones(1, 2, 2).long()}
    with pytest.raises(ValueError, match=r"'x' is torch.int64"), Cells("x").capture(Net(), whole):
        pass
