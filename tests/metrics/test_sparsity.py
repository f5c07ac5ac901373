import evaluate
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgt_hf.metrics import module_path
from sgt_hf.metrics.sparsity import gini, hoyer


def test_on_paper():
    # one of four: 1 − 1/4; equal ones: 0; 1, 2, 3: Σ(2k − 4)c = −2 + 0 + 6 over 3 · 6
    samples = [[0, 0, -3, 0], [2, -2], [1, 2, 3]]
    assert gini(samples) == pytest.approx([0.75, 0, 4 / 18])
    root = np.sqrt(3)
    assert hoyer(samples) == pytest.approx([1, 0, (root - 6 / np.sqrt(14)) / (root - 1)])


def test_zeros_and_single_words():
    assert gini([[0.0, 0.0], [5.0], [0.0]]).tolist() == [0, 0, 0]
    assert hoyer([[0.0, 0.0], [5.0], [0.0]]).tolist() == [0, 0, 0]


def mean_difference(scores):
    """The Gini index as it is defined: half the relative mean absolute difference of all pairs."""
    sizes = [abs(score) for score in scores]
    return sum(abs(a - b) for a in sizes for b in sizes) / (2 * len(sizes) * sum(sizes)) if sum(sizes) else 0.0


samples = st.lists(st.floats(-10, 10), min_size=1, max_size=12)


@given(samples)
def test_gini_agrees_with_the_mean_difference_of_all_pairs(scores):
    scaled = [score if abs(score) > 1e-6 else 0.0 for score in scores]
    assert gini([scaled]) == pytest.approx([mean_difference(scaled)], abs=1e-9)


@given(samples, st.floats(1e-3, 1e3))
def test_ranges_and_what_leaves_them_unchanged(scores, factor):
    for measure in (gini, hoyer):
        value = measure([scores])[0]
        assert 0 <= value <= 1
        assert measure([[-factor * score for score in reversed(scores)]]) == pytest.approx([value], abs=1e-6)


def test_the_evaluate_module_gives_the_same_offline():
    ragged = [[0.0, 1.0, -3.0], [1.0, 1.0]]
    result = evaluate.load(module_path("sparsity")).compute(scores=ragged)
    assert result == {"gini": pytest.approx(gini(ragged).mean()), "hoyer": pytest.approx(hoyer(ragged).mean())}


@pytest.mark.parametrize("measure", [gini, hoyer])
@pytest.mark.parametrize("bad", [[], [[1.0]], [float("nan")]])
def test_bad_samples_are_named(measure, bad):
    with pytest.raises(ValueError, match=r"sample 1 must be \(n ≥ 1,\) finite scores"):
        measure([[1.0], bad])


@pytest.mark.parametrize("measure", [gini, hoyer])
def test_no_sample_at_all_is_refused(measure):
    with pytest.raises(ValueError, match="there are no scores"):
        measure([])
