import re

import pytest

from benchmarks.common import cell_path, markdown_table, run_cell, set_knobs
from sgt_hf import SaliencyGuidedArguments


def test_a_finished_cell_is_not_computed_again(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return {"value": 3}

    path = cell_path(tmp_path, "cell", {"seed": 0})
    first = run_cell(path, {"seed": 0}, compute)
    again = run_cell(path, {"seed": 0}, compute)
    assert first == again
    assert first["value"] == 3
    assert first["settings"] == {"seed": 0}
    assert {"python", "torch", "transformers", "sgt_hf"} <= set(first["versions"])
    assert re.fullmatch("[0-9a-f]{12}", first["versions"]["code"])
    assert first["machine"]["processor"]
    assert len(calls) == 1
    assert cell_path(tmp_path, "cell", {"seed": 1}) != path


def test_a_failing_cell_leaves_no_file(tmp_path):
    path = tmp_path / "cell.json"
    with pytest.raises(ZeroDivisionError):
        run_cell(path, {}, lambda: {"value": 1 / 0})
    with pytest.raises(ValueError, match="not JSON compliant"):  # nan would not be read back by others
        run_cell(path, {}, lambda: {"value": float("nan")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["{", "[]", '{"settings": {"seed": 1}}'])
def test_a_file_that_is_not_the_cell_is_refused(tmp_path, content):
    path = tmp_path / "cell.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="remove it and run again"):
        run_cell(path, {"seed": 0}, dict)


def test_table():
    assert markdown_table(["a", "bb"], [["ccc", "d"]]) == "| a   | bb |\n| --- | -- |\n| ccc | d  |"


def test_only_the_knobs_that_are_set_and_k_decide_a_cell():
    assert set_knobs(SaliencyGuidedArguments()) == {"sgt_mask_fraction": 0.5}
    knobs = SaliencyGuidedArguments(sgt_reduction="l2", sgt_kl_weight=1.0)
    assert set_knobs(knobs) == {"sgt_mask_fraction": 0.5, "sgt_reduction": "l2"}
