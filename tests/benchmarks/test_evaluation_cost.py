import json
import sys

import numpy as np
import pytest
from transformers import BertConfig, BertForSequenceClassification

from benchmarks import evaluation_cost
from benchmarks.evaluation_cost import EvaluationCostArguments, main, ratios, read_words, table
from tests.tiny import make_tokenizer


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    make_tokenizer("bert").save_pretrained(folder)
    narrow = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertForSequenceClassification(BertConfig(vocab_size=24, num_labels=3, **narrow)).save_pretrained(folder)
    return str(folder)


def test_a_run_writes_its_cells_and_the_table(tmp_path, monkeypatch, capsys, tiny_model):
    flags = {"model": tiny_model, "limit": 3, "ig_texts": 2, "ig_steps": 2, "repeats": 1, "output_dir": tmp_path}
    arguments = [text for name, value in flags.items() for text in (f"--{name}", str(value))]
    monkeypatch.setattr(sys, "argv", ["evaluation_cost.py", *arguments])
    main()
    printed = capsys.readouterr().out
    cells = [json.loads(path.read_text()) for path in tmp_path.glob("evaluation-cost-*.json")]
    assert {cell["settings"]["dataset"] for cell in cells} == {"movies", "esnli"}
    for cell in cells:
        assert cell["texts"] == 3
        assert {len(values) for values in cell["seconds"].values()} == {1}
        assert cell["longest"] == 256 or cell["settings"]["dataset"] == "esnli"
    assert printed.count("removal, by 6 forwards") == 2
    monkeypatch.setattr(evaluation_cost, "measure", None)  # a second run reads what the first has measured
    main()
    assert capsys.readouterr().out == printed


def test_ratios_on_paper():
    seconds = {
        "forward": [1.0, 2.0],
        "removal": [6.6, 13.8],
        "forward and backward": [0.5, 1.0],
        "integrated gradients": [11.0, 23.0],
    }
    settings = {"dataset": "movies", "ig_steps": 20, "ig_texts": 2, "model": None, "repeats": 2}
    machine = {"device": "cpu", "torch_threads": 2}
    cell = {"seconds": seconds, "settings": settings, "machine": machine, "texts": 6, "tokens": 600, "longest": 100}
    found = ratios(cell)
    removal, goal = found["removal, by 6 forwards"]
    assert (removal.tolist(), goal) == (pytest.approx([1.1, 1.15]), 1.15)
    gradients, _ = found["integrated gradients, by its passes"]
    assert gradients.tolist() == pytest.approx([11 / 11, 23 / 22])  # 20 passes of a half, 3 forwards of a third
    assert "1.12 " in table([cell])


def test_planted_texts_have_the_lengths_of_the_real_ones():
    movies = read_words(EvaluationCostArguments(limit=5), "movies")
    assert min(len(words) for words in movies["document"]) > 256
    pairs = read_words(EvaluationCostArguments(limit=0), "esnli")
    assert all(len(lengths) == 2 for lengths in pairs["doc_lengths"])
    assert 18 <= np.mean([len(words) for words in pairs["document"]]) <= 26


def test_an_unknown_data_set_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["evaluation_cost.py", "--datasets", "fever"])
    with pytest.raises(ValueError, match=r"unknown datasets \['fever'\]: use \['esnli', 'movies'\]"):
        main()
