import numpy as np
import pytest

from sgt_hf.metrics.significance import bootstrap_mean


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
