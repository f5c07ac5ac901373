"""What all metrics have in common: a card that runs, loading offline, and combinations."""

import importlib
import re
from pathlib import Path

import evaluate
import pytest

import sgt_hf.metrics
from sgt_hf.metrics import module_path
from sgt_hf.metrics.curve_inputs import OPTIONS, check_options, curve_features

CARDS = sorted(Path(sgt_hf.metrics.__file__).parent.glob("*/README.md"))
ARRAYS = {"full": [0.9, 0.6], "removed": [[0.8, 0.5], [0.6, 0.6]], "kept": [[0.3, 0.7], [0.6, 0.6]]}


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.parent.name)
def test_a_cards_example_runs(card):
    (block,) = re.findall(r"^```python\n(.*?)^```$", card.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert f'module_path("{card.parent.name}")' in block
    assert "assert" in block
    exec(compile(block, str(card), "exec"), {})


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.parent.name)
def test_a_module_says_what_it_is(card):
    metric = evaluate.load(module_path(card.parent.name))
    assert metric.name == card.parent.name
    assert metric.description
    assert metric.citation
    assert metric.inputs_description


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.parent.name)
def test_a_module_loads_after_its_file_took_the_name_in_its_package(card):
    name = card.parent.name
    importlib.import_module(f"sgt_hf.metrics.{name}.{name}")  # as whoever walks the package does
    test_a_cards_example_runs(card)


def test_the_metrics_of_curves_combine():
    names = ["aopc", "log_odds", "naopc"]
    options = {"convention": "unirex", "comprehensiveness_limits": [[0.0, 0.5]] * 2, "floor": 1e-6}
    together = evaluate.combine([module_path(name) for name in names]).compute(**ARRAYS, **options)
    alone = {}
    for name in names:
        own = {option: value for option, value in options.items() if option in OPTIONS[name]}
        result = evaluate.load(module_path(name)).compute(**ARRAYS, **own)
        assert not alone.keys() & result.keys()  # or `combine` would put the modules' names before them
        alone |= result
    assert together == alone


def test_two_combine_without_options_also_batch_by_batch():
    combined = evaluate.combine([module_path("aopc"), module_path("log_odds")])
    whole = combined.compute(**ARRAYS)
    for row in range(2):
        combined.add_batch(**{name: values[row : row + 1] for name, values in ARRAYS.items()})
    assert combined.compute() == whole


def test_an_option_that_none_reads_is_refused():
    assert set(curve_features()) == set(ARRAYS)
    check_options("aopc", {"floor": 1e-6})
    with pytest.raises(TypeError, match=r"aopc has no options \['conventoin'\]"):
        evaluate.combine([module_path("aopc"), module_path("log_odds")]).compute(**ARRAYS, conventoin="paper")
