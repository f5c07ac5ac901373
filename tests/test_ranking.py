import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sgt_hf.ranking import ceil_share, group_leaders, group_scores, random_scores, select_lowest, select_top
from tests import oracle

FRACTIONS = st.sampled_from([0.0, 0.01, 0.1, 0.3, 0.5, 0.55, 0.6, 0.7, 0.8, 0.9, 1.0])


@st.composite
def rows(draw, with_groups):
    size = draw(st.integers(1, 12))
    scores = draw(st.lists(st.integers(-3, 3).map(float), min_size=size, max_size=size))
    eligible = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    if not with_groups:
        return scores, eligible, None
    steps = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    groups = [sum(steps[: i + 1]) - steps[0] for i in range(size)]
    by_group = {group: eligible[groups.index(group)] for group in groups}
    return scores, [by_group[group] for group in groups], groups


def test_ceil_share_is_exact_where_floats_are_not():
    counts = torch.tensor([10, 30, 100])
    assert 0.55 * 100 > 55  # what a float would round up
    assert ceil_share(0.55, counts).tolist() == [6, 17, 55]
    assert ceil_share(0.7, counts).tolist() == [7, 21, 70]
    assert ceil_share(0.0, counts).tolist() == [0, 0, 0]
    for fraction in (0.0, 1 / 3, 2 / 3, 1 / 6, 5 / 6, 3 / 7, 1.0):
        whole = [round(fraction * 42), round(fraction * 4200)]
        assert ceil_share(fraction, torch.tensor([0, 42, 4200])).tolist() == [0, *whole]
        assert ceil_share(fraction, torch.tensor([43])).tolist() == [math.ceil(fraction * 43)]
    thirds = torch.tensor([1 / 3, 2 / 3], dtype=torch.float64)
    assert ceil_share(thirds, torch.tensor([300, 300])).tolist() == [100, 200]
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\], got 1.5"):
        ceil_share(1.5, counts)


def test_lowest_by_hand():
    scores = torch.tensor([[3.0, 1.0, 2.0, 1.0, 9.0]])
    eligible = torch.tensor([[True, True, True, True, False]])
    # n = 4, k = 0.3: ⌈1.2⌉ = 2 lowest; of the tied 1.0s the later would go first, here both do
    assert select_lowest(scores, eligible, 0.3).tolist() == [[False, True, False, True, False]]
    assert select_lowest(scores, eligible, 0.25).tolist() == [[False, False, False, True, False]]
    assert select_lowest(scores, eligible, 1.0).tolist() == [[False, True, True, True, False]]


def test_a_group_counts_once_and_shares_fate():
    scores = torch.tensor([[1.0, 1.0, 1.5, 0.0, 5.0]])
    groups = torch.tensor([[0, 0, 1, 2, 2]])  # sums 2, 1.5, 5
    everything = torch.ones_like(groups, dtype=torch.bool)
    assert group_scores(scores, groups).tolist() == [[2.0, 2.0, 1.5, 5.0, 5.0]]
    assert group_leaders(groups, everything).tolist() == [[True, False, True, True, False]]
    assert select_lowest(scores, everything, 0.5, groups=groups).tolist() == [[True, True, True, False, False]]
    assert select_top(group_scores(scores, groups), everything, torch.tensor([1]), groups=groups).tolist() == [
        [False, False, False, True, True]
    ]


@pytest.mark.parametrize("with_groups", [False, True])
def test_lowest_agrees_with_the_oracle(with_groups):
    @given(rows(with_groups), FRACTIONS)
    def check(row, fraction):
        scores, eligible, groups = row
        grouped = None if groups is None else torch.tensor([groups])
        drop = select_lowest(torch.tensor([scores]), torch.tensor([eligible]), fraction, groups=grouped)[0].tolist()
        assert drop == oracle.drop_lowest(scores, eligible, fraction, groups)
        assert not any(gone and not free for gone, free in zip(drop, eligible, strict=True))
        assert not any(eligible) or sum(drop) < sum(eligible)

    check()


@given(rows(False), FRACTIONS)
def test_top_agrees_with_the_oracle(row, fraction):
    scores, eligible, _ = row
    counts = ceil_share(fraction, torch.tensor([sum(eligible)]))
    selected = select_top(torch.tensor([scores]), torch.tensor([eligible]), counts)
    assert selected[0].tolist() == oracle.top(scores, eligible, fraction)


def test_every_sample_may_have_a_fraction_of_its_own():
    torch.manual_seed(0)
    scores, eligible = torch.randn(4, 10), torch.ones(4, 10, dtype=torch.bool)
    fractions = torch.tensor([0.0, 0.3, 0.55, 1.0], dtype=torch.float64)
    drop = select_lowest(scores, eligible, fractions)
    assert drop.sum(1).tolist() == [0, 3, 6, 9]
    for row, fraction in enumerate(fractions.tolist()):
        assert torch.equal(drop[row], select_lowest(scores[[row]], eligible[[row]], fraction)[0])


def test_what_is_not_finite_is_ordered_too():
    scores = torch.tensor([[1.0, float("nan"), float("inf"), -float("inf"), 0.0]])
    eligible = torch.ones(1, 5, dtype=torch.bool)
    assert select_lowest(scores, eligible, 0.4).tolist() == [[False, False, False, True, True]]
    assert select_lowest(scores, eligible, 0.8).tolist() == [[True, False, True, True, True]]
    assert select_top(scores, eligible, torch.tensor([9])).all()


def test_samples_are_independent_and_inputs_unchanged():
    torch.manual_seed(0)
    scores, eligible = torch.randn(5, 9), torch.rand(5, 9) > 0.3
    before = scores.clone(), eligible.clone()
    together = select_lowest(scores, eligible, 0.6)
    for row in range(5):
        assert torch.equal(together[row], select_lowest(scores[[row]], eligible[[row]], 0.6)[0])
    assert torch.equal(scores, before[0])
    assert torch.equal(eligible, before[1])


def test_random_scores_are_fair_to_groups_of_any_size():
    """Of two groups of 1 and of 3 tokens, and one protected, each of the two is the lowest in half of 4,000 draws.

    The share has a standard deviation of √(¼ / 4,000) = 0.8 %.
    """
    torch.manual_seed(0)
    groups = torch.tensor([0, 0, 1, 2, 2, 2]).expand(4000, -1)
    eligible = torch.tensor([False, False, True, True, True, True]).expand(4000, -1)
    drop = select_lowest(random_scores(eligible, groups=groups), eligible, 0.5, groups=groups)
    assert drop.sum(1).unique().tolist() == [1, 3]
    assert drop[:, 2].float().mean().item() == pytest.approx(0.5, abs=0.03)
    alone = select_lowest(random_scores(eligible), eligible, 0.25)
    assert alone.float().mean(0).tolist() == pytest.approx([0, 0, 0.25, 0.25, 0.25, 0.25], abs=0.03)
