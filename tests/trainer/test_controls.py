"""The controls (masked at random, highest masked, nothing masked) and the ways to vary k and the KL's target."""

import pytest
import torch

from tests.trainer.runs import built, losses, trained, weights


def dropped(tmp_path, **changes):
    """What a training masks in each step, and the batches' eligible tokens."""
    trainer, found = built(tmp_path, **changes), []
    mask = trainer.adapter.mask

    def noting(batch, drop, masking, **settings):
        found.append((drop, trainer.adapter.eligible(batch)))
        return mask(batch, drop, masking, **settings)

    trainer.adapter.mask = noting
    trainer.train()
    return found


def test_random_drops_rank_nothing(tmp_path, monkeypatch):
    """No gradient is taken for a ranking; another seed of torch's drops other tokens, the same seed the same."""
    trainer = built(tmp_path, sgt_drops="random")
    for name in ("capture", "scores"):
        monkeypatch.setattr(trainer.adapter, name, None)
    trainer.train()
    again = trained(tmp_path, sgt_drops="random")
    assert torch.equal(weights(trainer), weights(again))
    assert not torch.equal(weights(trainer), weights(trained(tmp_path)))
    assert all(entry > 0 for entry in losses(trainer, "sgt_kl"))


def test_lowest_and_highest_share_nothing_but_what_k_forces(tmp_path):
    """At the first step, from the same weights: of n tokens ⌈n/4⌉ are dropped, from either end of one ranking."""
    (lowest, eligible), *_ = dropped(tmp_path, sgt_mask_fraction=0.25)
    (highest, _), *_ = dropped(tmp_path, sgt_mask_fraction=0.25, sgt_drops="highest")
    assert torch.equal(lowest.sum(1), highest.sum(1))
    assert not (lowest & highest).any()
    assert not (highest & ~eligible).any()


@pytest.mark.parametrize("ranking", ["shared", "separate"])
def test_the_highest_scores_go(tmp_path, ranking):
    """On a trainer's first batch, by the adapter's own scores."""
    trainer = built(tmp_path, sgt_drops="highest", sgt_ranking=ranking, sgt_mask_fraction=0.5, sgt_reduction="l2")
    batch = next(iter(trainer.get_train_dataloader()))
    scores = trainer.adapter.scores(trainer.model, batch, batch["labels"], target="label", reduction="l2")
    eligible, found = trainer.adapter.eligible(batch), []
    mask = trainer.adapter.mask
    trainer.adapter.mask = lambda batch, drop, *rest, **settings: (
        found.append(drop) or mask(batch, drop, *rest, **settings)
    )
    trainer.model.train()
    trainer.compute_loss(trainer.model, dict(batch))
    for row, drop, free in zip(scores, found[0], eligible, strict=True):
        assert row[drop].min() >= row[free & ~drop].max()


def test_each_sample_draws_its_own_fraction(tmp_path):
    """From none to all but one: over the samples of a training the shares spread over (0, k]."""
    steps = dropped(tmp_path, sgt_vary_fraction=True, sgt_mask_fraction=1.0, sgt_drops="random")
    shares = torch.cat([drop.sum(1) / eligible.sum(1) for drop, eligible in steps])
    assert shares.min() < 0.35
    assert 0.65 < shares.max() < 1
    assert len(shares.unique()) > 4
    steps = dropped(tmp_path, sgt_vary_fraction=True, sgt_mask_fraction=0.0)
    assert not any(drop.any() for drop, _ in steps)


@pytest.mark.parametrize(
    "changes",
    [
        {"sgt_drops": "random", "sgt_granularity": "token", "dropout": 0.3},
        {"sgt_drops": "highest"},
        {"sgt_vary_fraction": True, "sgt_mask_fraction": 0.9},
        {"sgt_detach_target": True, "gradient_accumulation_steps": 2},
    ],
)
def test_saving_memory_changes_nothing(tmp_path, changes):
    both, one = trained(tmp_path, **changes), trained(tmp_path, sgt_save_memory=True, **changes)
    assert torch.allclose(weights(both), weights(one), atol=1e-6)
    assert losses(both, "sgt_kl") == pytest.approx(losses(one, "sgt_kl"), abs=1e-6)


def test_nothing_masked_is_r_drop(tmp_path):
    """k = 0: without dropout the two predictions are one, with it they differ."""
    assert losses(trained(tmp_path, sgt_mask_fraction=0.0), "sgt_kl") == pytest.approx([0.0] * 4, abs=1e-6)
    assert min(losses(trained(tmp_path, sgt_mask_fraction=0.0, dropout=0.3), "sgt_kl")) > 1e-4
