import json
import sys

import pytest

from benchmarks import eraser_search
from benchmarks.eraser_search import CANDIDATES, SearchArguments, cells_of, score, tables


def test_candidates_are_trained_once_and_never_measured_on_test():
    cells = cells_of(SearchArguments(candidates=["paper", "delete", "learning rate 1e-3"], seeds=[0, 1]))
    assert {cell.split for cell in cells} == {"validation"}
    by_arm = {arm: [cell for cell in cells if cell.arm == arm] for arm in ("plain", "guided", "random_mask")}
    # plain knows no masking, so that "paper" and "delete" are one training of it; two seeds
    assert {arm: len(found) for arm, found in by_arm.items()} == {"plain": 4, "guided": 6, "random_mask": 6}
    assert {cell.learning_rate for cell in by_arm["plain"]} == {4e-3, 1e-3}
    assert all(cell.knobs["sgt_drops"] == "random" for cell in by_arm["random_mask"])
    assert {cell.knobs.get("sgt_masking") for cell in by_arm["guided"]} == {None, "delete"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"candidates": ["magic"]}, r"unknown candidates \['magic'\]"), ({"split": "test"}, "chosen on validation")],
)
def test_bad_arguments_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        SearchArguments(**changes)


def entry(arm, accuracy, comprehensiveness, sufficiency):
    values = {"comprehensiveness": comprehensiveness, "sufficiency": sufficiency}
    knobs = {"sgt_kl_weight": 0.0} if arm == "plain" else {"sgt_masking": "delete"}
    options = {"learning_rate": 0.1, "dropout": None, "pooling": "max" if arm == "plain" else "mean"}
    options |= {"hidden_size": 4, "max_length": 10, "epochs": 2}
    return {
        "settings": {"dataset": "toy", "model": "a/net", "arm": arm, "seed": 0, "knobs": knobs} | options,
        "validation": {"loss": [0.6, 0.5], "accuracy": [0.1, accuracy]},
        "epoch": 2,
        "accuracy": 0.2,  # of the five texts that were explained
        "confidence": 0.9,
        "methods": {"gradient": values, "gradient, absolute": {}, "random": {}} | {"gradient, absolute": values},
        "texts": 5,
    }


def test_the_table_by_hand():
    """Scores 0.3 − 0.1 = 0.2 and 0.5 − 0.1 = 0.4, a random ranking's 0.1 − 0.25; a lost point of accuracy is marked."""
    entries = [entry("plain", 0.8, 0.3, 0.1), entry("guided", 0.7, 0.5, 0.1)]
    for one in entries:
        one["methods"]["random"] = {"comprehensiveness": 0.1, "sufficiency": 0.25}
    assert [score(one) for one in entries] == pytest.approx([0.2, 0.4])
    other = {**entries[0], "settings": entries[0]["settings"] | {"model": "bilstm"}}
    assert list(tables([other, *entries])) == ["toy-bilstm", "toy-net"]  # a model's rows stand by themselves
    lines = tables([other, *entries])["toy-net"].splitlines()
    assert lines[0] == "### toy, net: 5 validation texts"
    # the pooling differs between the entries and is told; the width does not
    guided = "| masking delete, learning_rate 0.1, pooling mean | guided, seed 0 | 0.500           | 0.700 (too low) |"
    assert lines[4].startswith(f"{guided} 0.900      | 0.400            | 0.550         |")
    assert lines[5].startswith("| learning_rate 0.1, pooling max ")
    assert "0.800  " in lines[5]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:words are removed as the model was trained")  # the preset deletes them
def test_a_search_leaves_a_small_log_and_resumes(tmp_path, monkeypatch, capsys):
    small = "--epochs 1 --limit 24 --methods gradient --random_draws 1 --batch_size 8 --hidden_size 4"
    command = ["eraser_search.py", "--output_dir", str(tmp_path), "--candidates", "delete", *small.split()]
    monkeypatch.setattr(sys, "argv", command)
    eraser_search.main()
    first = capsys.readouterr().out
    paths = sorted(tmp_path.glob("*.json"))
    assert len(paths) == 3
    assert all(path.stat().st_size < 5000 for path in paths)
    assert json.loads(paths[0].read_text())["texts"] == 24
    monkeypatch.setattr(eraser_search, "run", None)  # nothing is trained again
    eraser_search.main()
    assert capsys.readouterr().out == first
    assert "delete" in CANDIDATES
