import json
import sys

import numpy as np
import pytest

from benchmarks import eraser_chance
from sgt_hf import load_eraser


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    def go(*arguments):
        monkeypatch.setattr(sys, "argv", ["eraser_chance.py", "--output-dir", str(tmp_path), *arguments])
        eraser_chance.main()
        (path,) = tmp_path.glob("*.json")
        return json.loads(path.read_text()), path, capsys.readouterr().out

    return go


def test_chance_is_the_share_of_marked_words_and_the_marks_agree_with_themselves(run):
    """AUPRC of random scores is the share of positives, a little more in short texts."""
    found, path, shown = run("--draws", "20")
    share = np.mean([np.mean(row) for row in load_eraser("planted")["test"]["rationale"]])
    assert share < found["random"]["auprc"] < share + 0.06
    assert found["human"]["auprc"] == pytest.approx(1.0)
    assert found["random"]["token_f1"] < found["human"]["token_f1"] <= 1
    assert found["unmarked"] == 0
    assert found["texts"] == 200
    cut = f"bilstm, {found['settings']['max_length']} tokens"
    assert found["documents"] == list(range(200))  # each review is another one
    assert (
        f"| planted | {cut} | 200 test | 200          | 0.0 %              | {found['random']['auprc']:.3f} " in shown
    )
    before = path.stat().st_mtime_ns
    run("--draws", "20")  # finished: not measured again
    assert path.stat().st_mtime_ns == before
