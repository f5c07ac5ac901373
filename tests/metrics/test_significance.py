import numpy as np
import pytest

from sgt_hf.metrics.significance import bootstrap_mean, rank_biserial, student_mean, wilcoxon_signed_rank


def test_interval_of_a_large_normal_sample_is_the_textbook_one():
    values = np.random.default_rng(0).normal(0.1, 1.0, 2000)
    interval = bootstrap_mean(values)
    margin = 1.96 * values.std() / np.sqrt(2000)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - margin, abs=0.004)
    assert interval.high == pytest.approx(values.mean() + margin, abs=0.004)
    assert interval.excludes_zero
    assert bootstrap_mean(values) == interval  # seeded


def test_constant_values_have_no_width_and_no_values_are_refused():
    assert bootstrap_mean([0.5, 0.5]) == (0.5, 0.5, 0.5)
    assert not bootstrap_mean([0.0]).excludes_zero
    with pytest.raises(ValueError, match="finite values"):
        bootstrap_mean([])
    with pytest.raises(ValueError, match="finite values"):
        bootstrap_mean([1.0, float("inf")])


def test_clusters_are_drawn_whole():
    rng = np.random.default_rng(0)
    values, names = rng.normal(0.1, 1.0, 400), [f"document {i}" for i in range(400)]
    alone = bootstrap_mean(values)
    assert bootstrap_mean(values, clusters=names) == alone  # each in one of its own
    twice = bootstrap_mean(np.repeat(values, 4), clusters=np.repeat(names, 4))
    assert twice == pytest.approx(alone)  # four copies of a claim tell no more than one
    assert bootstrap_mean(np.repeat(values, 4)).low > alone.low + 0.02
    uneven = bootstrap_mean([1.0, 1.0, 1.0, 3.0], clusters=[7, 7, 7, 2])
    assert uneven == (1.5, 1.0, 3.0)  # (3 + 3) / 4; one of the two may be drawn alone
    assert bootstrap_mean([1.0, 2.0], clusters=["a", "a"]) == (1.5, 1.5, 1.5)
    with pytest.raises(ValueError, match=r"expected a cluster for each of 2 values, got shape \(1,\)"):
        bootstrap_mean([1.0, 2.0], clusters=["a"])


def test_wilcoxon_on_paper():
    # differences 1, −2, 3, 4: ranks 1 2 3 4, smaller sum 2; P(W ≤ 2) = 3/16, two-sided 3/8
    first, second = [1.0, 0.0, 3.0, 4.0], [0.0, 2.0, 0.0, 0.0]
    assert wilcoxon_signed_rank(first, second) == pytest.approx((2, 3 / 8))
    assert rank_biserial(first, second) == pytest.approx((8 - 2) / 10)
    assert rank_biserial(second, first) == pytest.approx(-0.6)


def signed_ranks(first, second):
    """Sums of ranks above and below by loops: a size's rank is the number below it plus half of those like it."""
    gaps = [a - b for a, b in zip(first, second, strict=True) if a != b]
    sums = {True: 0.0, False: 0.0}
    for gap in gaps:
        smaller = sum(abs(other) < abs(gap) for other in gaps)
        alike = sum(abs(other) == abs(gap) for other in gaps)
        sums[gap > 0] += smaller + (alike + 1) / 2
    return sums[True], sums[False]


def test_ties_and_zeros_agree_with_ranks_by_loops():
    generator = np.random.default_rng(0)
    first, second = generator.integers(0, 5, (2, 40)).astype(float)
    above, below = signed_ranks(first, second)
    assert wilcoxon_signed_rank(first, second).statistic == min(above, below)
    assert rank_biserial(first, second) == pytest.approx((above - below) / (above + below))
    assert wilcoxon_signed_rank(first, second).p_value == wilcoxon_signed_rank(second, first).p_value


def test_equal_models_do_not_differ_and_always_better_ones_do():
    values = np.linspace(0, 1, 30)
    assert wilcoxon_signed_rank(values, values) == (0, 1)
    assert rank_biserial(values, values) == 0
    assert wilcoxon_signed_rank(values + 0.1, values).p_value < 1e-6
    assert rank_biserial(values + 0.1, values) == 1


@pytest.mark.parametrize("test", [wilcoxon_signed_rank, rank_biserial])
def test_what_is_no_pair_is_refused(test):
    with pytest.raises(ValueError, match=r"two paired samples \(N ≥ 1,\), got shapes \(2,\) and \(1,\)"):
        test([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="two paired samples"):
        test([], [])
    with pytest.raises(ValueError, match="must be finite"):
        test([1.0], [float("nan")])


def test_students_interval_by_hand():
    """0.1, 0.1, 0.4: mean 0.2, standard deviation 0.1732, t of 2 degrees of freedom 4.303; equal runs have no width."""
    interval = student_mean([0.1, 0.1, 0.4])
    margin = 4.3027 * np.sqrt(0.03) / np.sqrt(3)
    assert interval == pytest.approx((0.2, 0.2 - margin, 0.2 + margin), abs=1e-4)
    assert not interval.excludes_zero
    assert student_mean([0.5, 0.5]) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("values", [[], [0.1], [0.1, np.nan], [[0.1, 0.2]]])
def test_students_interval_wants_several_finite_runs(values):
    with pytest.raises(ValueError, match=r"expected \(N ≥ 2,\) finite values, got shape"):
        student_mean(values)
