import itertools

import evaluate
import numpy as np
import pytest

from sgt_hf.metrics import module_path
from sgt_hf.metrics.curves import naopc


def test_on_paper():
    values = naopc([0.25, 0.4, -0.1, 0.2], [0.0, 0.4, -0.1, 0.2], [0.5, 0.8, 0.3, 0.2])
    assert values[:3] == pytest.approx([0.5, 0.0, 0.0])
    assert np.isnan(values[3])  # every ranking of the fourth does alike
    assert naopc([0.6], [0.0], [0.5]) == pytest.approx([1.2])  # a search missed the best; it shows


def comprehensiveness(weights, order):
    """AOPC, a bin a word, of a model that loses each word's weight with it."""
    removed = np.cumsum([weights[i] for i in order])
    return float(np.mean(removed))


def test_against_all_rankings_of_a_small_text():
    weights = [0.3, -0.1, 0.2, 0.05]
    everything = [comprehensiveness(weights, order) for order in itertools.permutations(range(4))]
    low, high = [min(everything)] * len(everything), [max(everything)] * len(everything)
    values = naopc(everything, low, high)
    assert values.min() == 0
    assert values.max() == 1
    best = sorted(range(4), key=lambda i: -weights[i])
    assert naopc([comprehensiveness(weights, best)], low[:1], high[:1]) == pytest.approx([1])
    # NAOPC does not see an affine change of what the model says
    scaled = naopc(*(np.array(part) * 0.5 + 0.1 for part in (everything, low, high)))
    assert scaled == pytest.approx(values)


def test_the_evaluate_module_gives_the_same_offline():
    metric = evaluate.load(module_path("naopc"))
    arrays = {"full": [0.9, 0.6], "removed": [[0.8, 0.5], [0.6, 0.6]], "kept": [[0.3, 0.7], [0.6, 0.6]]}
    result = metric.compute(
        **arrays, comprehensiveness_limits=[[0.05, 0.45], [0, 0]], sufficiency_limits=[[0, 0.5]] * 2
    )
    assert result["normalized_comprehensiveness"] == pytest.approx(0.5)
    assert result["comprehensiveness_without_choice"] == 1
    assert result["normalized_sufficiency"] == pytest.approx((0.4 / 0.5 + 0) / 2)
    assert result["sufficiency_without_choice"] == 0
    zeroth = metric.compute(**arrays, sufficiency_limits=[[0, 0.5]] * 2, convention="paper", empty=[0.6, 0.3])
    # kept drops .6 .2 and 0 0, and the zeroth bin's .3 and .3
    assert zeroth["normalized_sufficiency"] == pytest.approx((1.1 / 3 / 0.5 + 0.1 / 0.5) / 2)
    nothing = metric.compute(**arrays, comprehensiveness_limits=[[0, 0]] * 2)
    assert np.isnan(nothing["normalized_comprehensiveness"])
    with pytest.raises(ValueError, match="naopc needs comprehensiveness_limits or sufficiency_limits"):
        metric.compute(**arrays)
    with pytest.raises(ValueError, match=r"expected sufficiency_limits \(2, 2\), lowest and highest, got shape \(2,\)"):
        metric.compute(**arrays, sufficiency_limits=[0, 1])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (([0.1], [0.0, 0.0], [1.0, 1.0]), r"of one shape \(N,\), got \[\(1,\), \(2,\), \(2,\)\]"),
        (([0.1, 0.1], [0.0, 0.5], [1.0, 0.2]), r"low exceeds high at index 1: 0.5 > 0.2"),
        (([float("nan")], [0.0], [1.0]), "must be finite"),
    ],
)
def test_bad_input_is_refused(arrays, message):
    with pytest.raises(ValueError, match=message):
        naopc(*arrays)


def test_the_module_asks_for_the_zeroth_bin_as_that_of_aopc_does():
    arrays = {"full": [0.9], "removed": [[0.5]], "kept": [[0.3]], "sufficiency_limits": [[0.0, 0.5]]}
    metric = evaluate.load(module_path("naopc"))
    with pytest.raises(ValueError, match="counts a zeroth bin"):
        metric.compute(**arrays, convention="paper")
    found = metric.compute(**arrays, convention="paper", empty=[0.5])
    assert found["normalized_sufficiency"] == pytest.approx(((0.9 - 0.5 + 0.9 - 0.3) / 2) / 0.5)
