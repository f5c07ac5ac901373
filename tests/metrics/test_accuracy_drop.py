from itertools import pairwise

import evaluate
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgt_hf.metrics import module_path
from sgt_hf.metrics.accuracy_drop import LEVELS, accuracy_curve, area_under_accuracy

PREDICTIONS = [[3, 3, 1], [5, 2, 2], [7, 7, 7], [0, 1, 0]]
LABELS = [3, 5, 7, 1]


def test_on_paper():
    curve = accuracy_curve(PREDICTIONS, LABELS)  # right: 3 5 7 – | 3 7 1 | 7
    assert curve == pytest.approx([0.75, 0.75, 0.25])
    assert area_under_accuracy(curve, (0.0, 0.1, 0.3)) == pytest.approx(10 * 75 + 20 * 50)


def test_the_papers_scale():
    assert LEVELS[0] == 0
    assert LEVELS[-1] == 0.9
    assert area_under_accuracy([1.0] * 10) == pytest.approx(9000)
    assert area_under_accuracy([0.0] * 10) == 0


@given(st.lists(st.floats(0, 1), min_size=10, max_size=10))
def test_it_agrees_with_a_sum_over_trapezoids_and_stays_in_range(values):
    slow = sum(10 * (100 * left + 100 * right) / 2 for left, right in pairwise(values))
    assert area_under_accuracy(values) == pytest.approx(slow)
    assert 0 <= area_under_accuracy(values) <= 9000 + 1e-6


def test_the_evaluate_module_gives_the_same_offline():
    metric = evaluate.load(module_path("accuracy_drop"))
    result = metric.compute(predictions=PREDICTIONS, references=LABELS, levels=[0.0, 0.1, 0.3])
    assert result == {"area": pytest.approx(1750.0), "accuracies": pytest.approx([0.75, 0.75, 0.25])}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: accuracy_curve([[1], [2]], [1]), r"got shapes \(2, 1\) and \(1,\)"),
        (lambda: accuracy_curve(np.zeros((0, 3)), []), r"got shapes \(0, 3\) and \(0,\)"),
        (lambda: area_under_accuracy([0.5, 0.5]), r"as many accuracies as levels, at least 2, got \(2,\) and \(10,\)"),
        (lambda: area_under_accuracy([0.5, 50.0], (0.0, 0.1)), r"accuracies must lie in \[0, 1\], got \[0.5, 50.0\]"),
        (lambda: area_under_accuracy([0.5, float("nan")], (0.0, 0.1)), r"accuracies must lie in \[0, 1\]"),
        (lambda: area_under_accuracy([0.5, 0.4], (0.1, 0.1)), r"levels must ascend in \[0, 1\], got \[0.1, 0.1\]"),
        (lambda: area_under_accuracy([0.5, 0.4], (0, 10)), r"levels must ascend in \[0, 1\]"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
