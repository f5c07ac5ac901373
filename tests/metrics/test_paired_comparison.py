import evaluate
import numpy as np
import pytest

from sgt_hf.metrics import module_path
from sgt_hf.metrics.paired_comparison import compare_paired
from sgt_hf.metrics.significance import bootstrap_mean, rank_biserial, wilcoxon_signed_rank

FIRST = [0.3, 0.5, 0.4, 0.6, 0.2]
SECOND = [0.1, 0.2, 0.3, 0.6, 0.6]


def test_on_paper():
    # differences .2 .3 .1 0 −.4: mean .04; ranks 2 3 1 – 4: six above, four below
    found = compare_paired(FIRST, SECOND)
    assert found.difference.mean == pytest.approx(0.04)
    assert found.effect_size == pytest.approx(0.2)
    assert found.p_value > 0.5


def test_is_its_parts_and_changes_sign_with_the_roles():
    generator = np.random.default_rng(0)
    first = generator.normal(0.3, 1, 60)
    second = generator.normal(0.0, 1, 60)
    found, turned = compare_paired(first, second, seed=3), compare_paired(second, first, seed=3)
    assert found.difference == bootstrap_mean(first - second, seed=3)
    assert found.p_value == wilcoxon_signed_rank(first, second).p_value == pytest.approx(turned.p_value)
    assert found.effect_size == rank_biserial(first, second) == pytest.approx(-turned.effect_size)
    assert found.difference.low < found.difference.mean < found.difference.high


def test_the_evaluate_module_gives_the_same_offline():
    result = evaluate.load(module_path("paired_comparison")).compute(first=FIRST, second=SECOND)
    found = compare_paired(FIRST, SECOND)
    assert result == {
        "mean_difference": found.difference.mean,
        "low": found.difference.low,
        "high": found.difference.high,
        "p_value": found.p_value,
        "effect_size": found.effect_size,
    }


def test_unpaired_values_are_refused():
    with pytest.raises(ValueError, match=r"two paired samples \(N ≥ 1,\), got shapes \(5,\) and \(4,\)"):
        compare_paired(FIRST, SECOND[:4])
