import math

import evaluate
import numpy as np
import pytest

from sgt_hf.metrics import module_path
from sgt_hf.metrics.curves import FLOOR, log_odds

FULL = [0.8, 0.5]
REMOVED = [[0.4, 0.2], [0.5, 1.0]]


def test_on_paper():
    assert log_odds(FULL, REMOVED) == pytest.approx(np.log([[1 / 2, 1 / 4], [1, 2]]))


def test_the_floor_bounds_it():
    assert log_odds([1.0], [[0.0]]) == pytest.approx(math.log(FLOOR))
    assert log_odds([0.0], [[1.0]]) == pytest.approx(-math.log(FLOOR))
    assert log_odds([1.0], [[0.0]], floor=0.01) == pytest.approx(math.log(0.01))


def test_agrees_with_the_definition_by_loops_and_changes_sign_with_the_roles():
    generator = np.random.default_rng(0)
    full, parts = generator.uniform(size=20), generator.uniform(size=(20, 5))
    by_hand = [[math.log(part) - math.log(whole) for part in row] for whole, row in zip(full, parts, strict=True)]
    assert log_odds(full, parts) == pytest.approx(np.array(by_hand))
    assert log_odds(parts[:, 0], full[:, None]) == pytest.approx(-log_odds(full, parts[:, :1]))


def test_the_evaluate_module_gives_the_same_offline():
    result = evaluate.load(module_path("log_odds")).compute(full=FULL, removed=REMOVED, kept=[[0.8], [0.5]])
    assert result["log_odds_removed"] == pytest.approx(log_odds(FULL, REMOVED).mean())
    assert result["log_odds_removed_per_bin"] == pytest.approx(log_odds(FULL, REMOVED).mean(0))
    assert result["log_odds_kept"] == 0
    assert result["log_odds_kept_per_bin"] == [0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: log_odds(FULL, REMOVED, floor=0.0), r"floor must lie in \(0, 1\), got 0.0"),
        (lambda: log_odds(FULL, [[0.1]]), r"got shapes \(2,\) and \(1, 1\)"),
        (lambda: log_odds(FULL, [[0.1], [1.5]]), "perturbed holds no probability at index"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
