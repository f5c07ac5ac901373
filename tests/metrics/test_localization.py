import evaluate
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sgt_hf.metrics import module_path
from sgt_hf.metrics.localization import LEVELS, column_permutation, iid, weighted_aup_aur


def mean(values):
    return sum(values) / len(values) if values else float("nan")


def area(curve, levels):
    return sum((curve[i] + curve[i + 1]) / 2 * (levels[i + 1] - levels[i]) for i in range(len(levels) - 1))


def oracle(saliency, informative, levels=LEVELS, eligible=None):
    """The definition, cell by cell: take the highest cell until the share of the mass is reached."""
    precisions, recalls = [[] for _ in levels], [[] for _ in levels]
    for index, sample in enumerate(np.abs(np.asarray(saliency, dtype=float)).reshape(len(saliency), -1)):
        true = np.asarray(informative)[index].ravel()
        kept = [c for c in range(len(sample)) if eligible is None or np.asarray(eligible)[index].ravel()[c]]
        low, high = min(sample[c] for c in kept), max(sample[c] for c in kept)
        mass = {c: (sample[c] - low) / (high - low) if high > low else 0.0 for c in kept}
        total = sum(mass.values())
        wanted = sum(mass[c] for c in kept if true[c])
        for place, level in enumerate(levels):
            chosen = []
            for cell in sorted(kept, key=lambda c: (-mass[c], c)):
                # "At least", allowing for the rounding of the sums
                if sum(mass[c] for c in chosen) >= level * total - 1e-12 * total:
                    break
                chosen.append(cell)
            hits = sum(mass[c] for c in chosen if true[c])
            if total > 0:
                precisions[place].append(hits / sum(mass[c] for c in chosen))
            if wanted > 0:
                recalls[place].append(hits / wanted)
    precision, recall = [mean(values) for values in precisions], [mean(values) for values in recalls]
    counts = len(precisions[0]), len(recalls[0])
    return precision, recall, area(precision, levels), area(recall, levels), *counts


def agree(result, expected):
    assert result._fields == ("precision", "recall", "aup", "aur", "precision_samples", "recall_samples")
    for own, other in zip(result, expected, strict=True):
        assert own == pytest.approx(other, abs=1e-9, nan_ok=True)


def test_on_paper():
    # Scaled: 1, .75, .5, .25, 0; total 2.5. 40 % is one cell exactly, 41 % two, 90 % three.
    saliency = [[[5.0, -4.0, 3.0, 2.0, 1.0]]]
    informative = [[[True, False, True, True, False]]]
    result = weighted_aup_aur(saliency, informative, levels=(0.4, 0.41, 0.9))
    assert result.precision == pytest.approx([1, 1 / 1.75, 1.5 / 2.25])
    assert result.recall == pytest.approx([1 / 1.75, 1 / 1.75, 1.5 / 1.75])
    assert result.aup == pytest.approx(0.01 * (1 + 4 / 7) / 2 + 0.49 * (4 / 7 + 2 / 3) / 2)
    assert result.aur == pytest.approx(0.01 * 4 / 7 + 0.49 * (4 / 7 + 6 / 7) / 2)
    assert result[4:] == (1, 1)


def test_a_map_that_is_the_box_reaches_the_top():
    informative = np.zeros((2, 10, 10), dtype=bool)
    informative[:, 2:7, 3:5] = True
    result = weighted_aup_aur(informative.astype(float), informative)
    assert result.precision.tolist() == [1] * 9
    assert result.recall == pytest.approx(LEVELS)  # of ten equal cells, exactly d · 10 are needed
    assert (result.aup, result.aur) == pytest.approx((0.8, 0.4))
    assert weighted_aup_aur((~informative).astype(float), informative).aup == 0


def test_shares_reached_exactly_are_enough_whatever_the_sums_round_to():
    # Fifths: 1 + .8 + .6 + .4 + .2 = 3, and 60 % and 80 % and 93.3 % are reached after two, three and four cells.
    saliency = np.array([[0, 1, 2, 3, 4, 5]]) / 5 * 0.1
    informative = np.array([[False, True, True, False, True, False]])
    result = weighted_aup_aur(saliency, informative, levels=(0.6, 0.8, 14 / 15))
    assert result.precision == pytest.approx([0.8 / 1.8, 0.8 / 2.4, 1.2 / 2.8])
    assert result.recall == pytest.approx([0.8 / 1.4, 0.8 / 1.4, 1.2 / 1.4])


def test_of_equal_cells_the_earlier_are_selected():
    result = weighted_aup_aur([[0.0, 1, 1, 1, 1]], [[False, True, True, False, False]], levels=(0.5, 1.0))
    assert result.precision.tolist() == [1, 0.5]


values = st.one_of(st.floats(-3, 3), st.integers(-2, 2).map(float))
maps = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4)).flatmap(
    lambda shape: st.tuples(
        arrays(np.float64, shape, elements=values), arrays(np.bool_, shape), arrays(np.bool_, shape), st.just(shape)
    )
)


@settings(max_examples=50)
@given(maps)
def test_agrees_with_the_loop_over_cells(drawn):
    saliency, informative, eligible, _ = drawn
    before = saliency.copy()
    agree(weighted_aup_aur(saliency, informative), oracle(saliency, informative))
    eligible[:, 0, 0] = True
    padded = np.where(eligible, saliency, np.nan)  # what padding holds does not matter
    agree(weighted_aup_aur(padded, informative, eligible=eligible), oracle(saliency, informative, eligible=eligible))
    assert (saliency == before).all()


@pytest.mark.parametrize("power", [0.2, 1, 9, 60])
def test_agrees_on_larger_maps_even_or_skewed(power):
    source = np.random.default_rng(0)
    saliency = source.random((3, 12, 15)) ** power * source.choice([-1, 1], (3, 12, 15)) * 1e-9
    saliency[0] = saliency[0].astype(np.float16)  # ties
    informative = np.zeros((3, 12, 15), dtype=bool)
    informative[:, 4:9, 3:11] = True
    agree(weighted_aup_aur(saliency, informative), oracle(saliency, informative))


@settings(max_examples=50)
@given(maps, st.floats(0.01, 100))
def test_ranges_and_what_leaves_the_numbers_unchanged(drawn, factor):
    saliency, informative, _, shape = drawn
    saliency = np.round(saliency, 3)
    result = weighted_aup_aur(saliency, informative)
    curves = np.concatenate([result.precision, result.recall])
    assert np.isnan(curves).all() or (np.nan_to_num(curves) >= 0).all()
    assert (np.nan_to_num(curves) <= 1 + 1e-12).all()
    assert (np.diff(np.nan_to_num(result.recall)) >= -1e-12).all()
    agree(weighted_aup_aur(-factor * saliency, informative), result)
    agree(weighted_aup_aur(saliency.reshape(shape[0], -1), informative.reshape(shape[0], -1)), result)


def test_samples_without_a_denominator_are_left_out_and_counted():
    saliency = [[2.0, 2.0, 2.0], [0.0, 0.0, 3.0], [4.0, 0.0, 0.0]]
    informative = [[True, False, False]] * 3
    result = weighted_aup_aur(saliency, informative)
    assert result.precision.tolist() == [0.5] * 9  # of 0 and 1: the constant map has no precision
    assert result.recall.tolist() == [1] * 9  # only the last map has saliency on the informative cell
    assert result[4:] == (2, 1)
    nothing = weighted_aup_aur(saliency[:1], informative[:1])
    assert np.isnan([*nothing.precision, *nothing.recall, nothing.aup, nothing.aur]).all()
    assert nothing[4:] == (0, 0)


def test_column_permutation_moves_whole_columns_alike_for_all_samples():
    saliency = np.arange(24.0).reshape(2, 3, 4)
    permuted = column_permutation(saliency, generator=torch.Generator().manual_seed(1))
    order = permuted[0, 0].astype(int)
    assert sorted(order) == [0, 1, 2, 3]
    assert (permuted == saliency[:, :, order]).all()
    assert (order != np.arange(4)).any()
    assert (column_permutation(saliency, generator=torch.Generator().manual_seed(1)) == permuted).all()
    torch.manual_seed(1)
    assert (column_permutation(saliency) == permuted).all()


def test_iid_is_uniform_and_seeded():
    random = iid((20, 30, 10), generator=torch.Generator().manual_seed(0))
    assert random.shape == (20, 30, 10)
    assert ((random >= 0) & (random < 1)).all()
    assert random.mean() == pytest.approx(0.5, abs=0.02)
    assert random.var() == pytest.approx(1 / 12, abs=0.01)
    assert (iid((20, 30, 10), generator=torch.Generator().manual_seed(0)) == random).all()
    # A random map has the precision of chance: the box's share of the cells.
    informative = np.zeros(random.shape, dtype=bool)
    informative[:, :15, :5] = True
    assert weighted_aup_aur(random, informative).aup == pytest.approx(0.8 * 0.25, abs=0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"saliency": [[1.0, np.nan]]}, "sample 0 holds a saliency that is NaN or infinite"),
        ({"saliency": [[np.inf, 1.0]]}, "sample 0 holds a saliency that is NaN or infinite"),
        ({"saliency": [[1.0, 2.0, 3.0]]}, r"got \(1, 3\), and bool \(1, 2\)"),
        ({"informative": [[1, 0]]}, r"got \(1, 2\), and int64 \(1, 2\)"),
        ({"saliency": np.zeros((0, 2)), "informative": np.zeros((0, 2), bool)}, r"got \(0, 2\)"),
        ({"eligible": [[False, False]]}, "sample 0 has no eligible cell"),
        ({"eligible": [[True]]}, r"and bool \(1, 1\)"),
        ({"levels": (0.5,)}, r"two or more ascending shares in \(0, 1\], got \(0.5,\)"),
        ({"levels": (0.0, 0.5)}, r"ascending shares in \(0, 1\]"),
        ({"levels": (0.5, 1.1)}, r"ascending shares in \(0, 1\]"),
        ({"levels": (0.5, 0.4)}, r"ascending shares in \(0, 1\]"),
    ],
)
def test_bad_input(arguments, message):
    good = {"saliency": [[1.0, 2.0]], "informative": [[True, False]]}
    with pytest.raises(ValueError, match=message):
        weighted_aup_aur(**good | arguments)


def test_the_evaluate_module_gives_the_same_offline():
    source = np.random.default_rng(0)
    saliency, informative = source.normal(size=(3, 4, 5)), source.random((3, 4, 5)) < 0.4
    random = iid((3, 4, 5), generator=torch.Generator().manual_seed(0))
    metric = evaluate.load(module_path("localization"))
    result = metric.compute(saliency=saliency, informative=informative, random_saliency=random, levels=(0.2, 0.7))
    expected = weighted_aup_aur(saliency, informative, levels=(0.2, 0.7))
    chance = weighted_aup_aur(random, informative, levels=(0.2, 0.7))
    assert result == {
        "precision": pytest.approx(expected.precision),
        "recall": pytest.approx(expected.recall),
        "aup": pytest.approx(expected.aup),
        "aur": pytest.approx(expected.aur),
        "precision_samples": 3,
        "recall_samples": 3,
        "aup_minus_random": pytest.approx(expected.aup - chance.aup),
        "aur_minus_random": pytest.approx(expected.aur - chance.aur),
    }
    eligible = np.ones((3, 4, 5), dtype=bool)
    for row in range(3):
        metric.add_batch(saliency=saliency[row : row + 1], informative=informative[row : row + 1])
    assert metric.compute(eligible=eligible)["aup"] == pytest.approx(weighted_aup_aur(saliency, informative).aup)
