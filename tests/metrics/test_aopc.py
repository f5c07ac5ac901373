import evaluate
import numpy as np
import pytest

from sgt_hf.metrics import module_path
from sgt_hf.metrics.curves import aopc, gain_over_random, probability_drops

FULL = [0.9, 0.5]
REMOVED = [[0.8, 0.5, 0.2], [0.5, 0.6, 0.1]]
EMPTY = [0.4, 0.3]


def test_the_paper_s_sufficiency_needs_the_empty_input():
    with pytest.raises(ValueError, match=r"convention 'paper' counts a zeroth bin.*: pass empty"):
        evaluate.load(module_path("aopc")).compute(full=FULL, removed=REMOVED, kept=REMOVED, convention="paper")


def test_conventions_on_paper():
    # drops: .1 .4 .7 and 0 −.1 .4
    assert probability_drops(FULL, REMOVED) == pytest.approx(np.array([[0.1, 0.4, 0.7], [0.0, -0.1, 0.4]]))
    assert aopc(FULL, REMOVED) == pytest.approx([0.4, 0.1])
    assert aopc(FULL, REMOVED, convention="unirex") == pytest.approx([0.3, 0.075])
    assert aopc(FULL, REMOVED, convention="paper") == pytest.approx([0.3, 0.075])  # the zeroth bin is 0
    assert aopc(FULL, REMOVED, convention="paper", empty=EMPTY) == pytest.approx([(0.5 + 1.2) / 4, (0.2 + 0.3) / 4])


def test_the_evaluate_module_gives_the_same_offline():
    metric = evaluate.load(module_path("aopc"))
    result = metric.compute(full=FULL, removed=REMOVED, kept=REMOVED, convention="paper", empty=EMPTY)
    assert result["comprehensiveness"] == pytest.approx(np.mean([0.3, 0.075]))
    assert result["sufficiency"] == pytest.approx(np.mean([0.425, 0.125]))
    assert result["comprehensiveness_per_bin"] == pytest.approx([0.05, 0.15, 0.55])


RANDOM = [[[0.9, 0.9, 0.6], [0.7, 0.7, 0.7]], [[0.5, 0.5, 0.2], [0.5, 0.5, 0.5]]]


def test_gain_over_random_on_paper():
    # random drops: means .1 and .2, .1 and 0; the ranking's own .4 and .1
    assert gain_over_random(FULL, REMOVED, RANDOM) == pytest.approx([0.25, 0.05])
    assert gain_over_random(FULL, REMOVED, RANDOM, convention="unirex") == pytest.approx([0.75 / 4, 0.15 / 4])
    zeroth = gain_over_random(FULL, REMOVED, RANDOM, convention="paper", empty=EMPTY)
    assert zeroth == pytest.approx([0.75 / 4, 0.15 / 4])  # the zeroth bin does not know the ranking


def test_a_random_ranking_gains_nothing_over_itself():
    draw = np.array(RANDOM)[:, :1]
    assert gain_over_random(FULL, draw[:, 0], draw) == pytest.approx([0, 0])


def test_the_evaluate_module_knows_confidence_and_the_gain_over_random():
    metric = evaluate.load(module_path("aopc"))
    plain = metric.compute(full=FULL, removed=REMOVED, kept=REMOVED)
    assert plain["mean_confidence"] == pytest.approx(0.7)
    assert not [name for name in plain if name.endswith("_minus_random")]
    kept = [[0.6, 0.9, 0.9], [0.1, 0.5, 0.5]]  # drops: .3 0 0 and .4 0 0
    result = metric.compute(full=FULL, removed=REMOVED, kept=kept, random_removed=RANDOM, random_kept=RANDOM)
    assert result["comprehensiveness_minus_random"] == pytest.approx(0.15)
    assert result["sufficiency_minus_random"] == pytest.approx((0.1 - 0.15 + 0.4 / 3 - 0.05) / 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gain_over_random(FULL, REMOVED, REMOVED), r"random \(N, D ≥ 1, R\) beside perturbed \(2, 3\)"),
        (lambda: aopc(FULL, REMOVED, convention="mean"), "unknown convention 'mean': use one of"),
        (lambda: aopc([0.9], REMOVED), r"got shapes \(1,\) and \(2, 3\)"),
        (lambda: aopc(FULL, [[0.1], [1.4]]), r"perturbed holds no probability at index \(1, 0\): 1.4"),
        (lambda: aopc([0.9, float("nan")], REMOVED), r"full holds no probability at index \(1,\): nan"),
        (lambda: module_path("bleu"), r"unknown metric 'bleu': there are \[.*'aopc'"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
