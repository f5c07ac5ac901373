import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from torch import nn

from sgt_hf import SaliencyGuidedArguments, TextAdapter
from sgt_hf.faithfulness import Curves, FaithfulnessReport
from sgt_hf.faithfulness.predictions import Predictions
from sgt_hf.faithfulness.provenance import Provenance
from sgt_hf.reporting import CardFacts, DatasetFacts, Evaluation, model_card, write_model_card
from sgt_hf.reporting.card_tables import interval
from sgt_hf.reporting.evaluations import dataset_facts, fingerprint, plain_metrics
from sgt_hf.reporting.markdown import code_block, escape, one_line, table
from sgt_hf.reporting.model_card import without_secrets
from sgt_hf.reporting.recipe import make_recipe
from tests.hub_server import metadata_errors
from tests.tiny import make_rows, make_tokenizer

PROVENANCE = Provenance(
    convention="eraser",
    operator="delete",
    bins=(0.1, 0.5),
    reduction="signed_sum",
    unit="word",
    random_draws=2,
    seed=3,
    baseline="zero",
    steps=20,
    smooth_grad_samples=5,
    smooth_grad_noise=0.15,
    shap_samples=25,
    shap_baselines=5,
    shap_noise=0.09,
    trained_masking="previous_salient",
)


def make_report(**changes):
    """Of four texts, each predicted with probability 0.9; removing words by gradient takes 0.4 or 0.6 of it."""
    after = np.array([0.5, 0.5, 0.3, 0.3])[:, None, None]
    gradient = Curves(removed=np.broadcast_to(after, (4, 1, 2)), kept=np.full((4, 1, 2), 0.8))
    random = Curves(removed=np.full((4, 2, 2), 0.7), kept=np.full((4, 2, 2), 0.6))
    report = FaithfulnessReport(
        curves={"gradient": gradient, "random": random},
        full=np.full(4, 0.9),
        empty=np.full(4, 0.5),
        predicted=np.array([0, 1, 1, 0]),
        labels=np.array([0, 1, 0, 0]),
        scores={},
        provenance=PROVENANCE,
    )
    return replace(report, **changes)


def make_facts(**changes):
    knobs = SaliencyGuidedArguments(sgt_mask_fraction=0.6)
    done = {"steps": 12, "hyperparameters": {"seed": 1}, "command": "x"}
    recipe = make_recipe(knobs, TextAdapter(make_tokenizer()), masking="previous_salient", **done)
    facts = CardFacts(
        model_name="tiny",
        repo_id="somebody/tiny",
        architecture="BertForSequenceClassification",
        module="transformers.models.bert.modeling_bert",
        task="text-classification",
        recipe=recipe,
        training_data=DatasetFacts("Movies", "train", n=16),
        evaluations=[Evaluation(DatasetFacts("Movies", "test", n=4), {"loss": 0.5}, make_report())],
    )
    return replace(facts, **changes)


def metrics_of(card):
    return {result.metric_name: result for result in card.data.eval_results}


def test_the_numbers_are_those_of_the_report(tmp_path):
    """Comprehensiveness is .4, .4, .6, .6: .5 on average, .3 above the random .2; three of four are right."""
    path = write_model_card(tmp_path, make_facts())
    assert path == tmp_path / "README.md"
    card = ModelCard.load(path)
    found = metrics_of(card)
    accuracy, gradient = found["accuracy"], found["AOPC comprehensiveness (gradient)"]
    assert accuracy.metric_value == 0.75
    assert accuracy.metric_args["interval"] == [0.25, 1.0]
    assert gradient.metric_value == pytest.approx(0.5)
    assert gradient.metric_args["interval"] == pytest.approx([0.4, 0.6])
    assert found["AOPC sufficiency (gradient)"].metric_value == pytest.approx(0.1)
    assert found["AOPC comprehensiveness (random)"].metric_value == pytest.approx(0.2)
    assert found["loss"].metric_value == 0.5
    assert "| gradient | 0.500 \\[0.400, 0.600\\] | 0.300 \\[0.200, 0.400\\] | 0.100" in card.text
    assert "Accuracy 0.750 \\[0.250, 1.000\\]. Mean confidence 0.900." in card.text


def test_texts_without_a_label_are_in_no_accuracy():
    """Of the labelled, the first is right and the third wrong."""
    report = make_report(labels=np.array([0, -100, 0, -1]))
    card = model_card(make_facts(evaluations=[Evaluation(DatasetFacts(n=4), report=report)]))
    accuracy = metrics_of(card)["accuracy"]
    assert accuracy.metric_value == report.accuracy == 0.5
    assert accuracy.metric_args["n"] == 2
    assert metrics_of(card)["AOPC sufficiency (random)"].metric_args["n"] == 4
    assert "Accuracy 0.500 \\[0.000, 1.000\\]. Mean confidence 0.900. Labelled texts: 2 of 4." in card.text


def test_texts_of_one_document_are_drawn_together():
    """Two documents of two texts each: right 1 and 2 of 2; together drawn they give 0.5, 0.75 or 1."""
    report = make_report(labels=np.array([0, 0, 1, 0]))
    none = {"label_names": None, "removed": {}, "kept": {}, "scores": {}, "bins": (0.1,), "documents": list("aabb")}
    known = Predictions(identities=None, predicted=report.predicted, full=report.full[:, None], **none)
    card = model_card(make_facts(evaluations=[Evaluation(DatasetFacts(), report=replace(report, predictions=known))]))
    assert "Accuracy 0.750 \\[0.500, 1.000\\]. Mean confidence" in card.text
    assert "bootstrap interval over examples (over documents, where several examples show one) (2000" in card.text
    assert metrics_of(card)["accuracy"].metric_args["interval_over"] == "documents"
    alone = model_card(make_facts(evaluations=[Evaluation(DatasetFacts(), report=report)]))
    assert "bootstrap interval over examples (2000" in alone.text
    assert metrics_of(alone)["accuracy"].metric_args["interval_over"] == "examples"


def index_entries(evaluations):
    """The AOPC of gradients in the file itself, as often as it is there."""
    text = str(model_card(make_facts(evaluations=evaluations)))
    return text.count("name: AOPC comprehensiveness (gradient)"), text


@pytest.mark.parametrize(
    "changes",
    [
        {"reduction": "l2"},
        {"unit": "token"},
        {"bins": (0.2, 0.4)},
        {"seed": 4},
        {"operator": "unk"},
        {"convention": "paper"},
        {"random_draws": 3},
        {"steps": 50},
        {"autocast": "bfloat16"},
        {"trained_masking": None},
    ],
)
def test_two_measurements_are_two_entries_of_the_metadata(changes):
    (name, value), *_ = changes.items()
    reports = [make_report(), make_report(provenance=replace(PROVENANCE, **changes))]
    found, text = index_entries([Evaluation(DatasetFacts("Movies"), report=report) for report in reports])
    assert found == 2
    assert value is None or f"{name}={value}" in re.sub(r"\n\s+", " ", text)
    assert metadata_errors(text) == []


def test_a_part_of_a_data_set_does_not_replace_the_whole():
    whole = Evaluation(DatasetFacts("Movies", split="test", n=200), metrics={"accuracy": 0.9, "loss": 0.4})
    part = Evaluation(DatasetFacts("Movies", split="test", n=4), report=make_report())
    card = model_card(make_facts(evaluations=[whole, part]))
    found = [result for result in card.data.eval_results if result.metric_type == "accuracy"]
    assert [(result.metric_args["n"], result.metric_value) for result in found] == [(200, 0.9), (4, 0.75)]
    assert metadata_errors(str(card)) == []


def test_the_same_measurement_is_one_entry():
    assert index_entries([Evaluation(DatasetFacts("Movies"), report=make_report())] * 2)[0] == 1


def test_the_metadata_says_how_it_was_measured():
    result = metrics_of(model_card(make_facts()))["AOPC comprehensiveness (gradient)"]
    assert (result.dataset_name, result.dataset_split, result.task_type) == ("Movies", "test", "text-classification")
    wanted = {"convention": "eraser", "operator": "delete", "bins": [0.1, 0.5], "n": 4, "unit": "word"}
    assert wanted.items() <= result.metric_args.items()
    assert result.metric_args["provenance"] == str(PROVENANCE)


def test_the_body_says_how_it_was_trained_and_what_that_does_not_show():
    text = model_card(make_facts()).text
    assert escape(str(PROVENANCE)) in text
    assert "| sgt\\_mask\\_fraction | 0.6 |" in text
    assert "Optimizer steps: 12. Adapter: TextAdapter" in text
    assert "Data: data set Movies, split train, n 16." in text
    assert 'classifier = pipeline("text-classification", model="somebody/tiny")' in text
    assert "@inproceedings{ismail2021improving" in text
    assert f"| torch | {torch.__version__.partition('+')[0]}" in text
    for limit in ("One training run", "NAOPC was not computed", "Only one way of removing words", "Between models"):
        assert f"- {limit}" in text or limit in text


def test_the_card_is_valid_and_comes_back_from_its_file(tmp_path):
    card = model_card(make_facts(license="mit", language="en", datasets=["somebody/movies"], base_model="google/bert"))
    assert metadata_errors(str(card)) == []
    loaded = ModelCard.load(write_model_card(tmp_path / "card.md", make_facts()))
    assert loaded.data.eval_results == model_card(make_facts()).data.eval_results
    assert str(ModelCard(str(loaded))) == str(loaded)
    assert (card.data.license, card.data.datasets, card.data.base_model) == ("mit", ["somebody/movies"], "google/bert")


def test_what_was_not_recorded_is_said_to_be_so_and_nothing_is_made_up():
    card = model_card(CardFacts(model_name="bare"))
    assert card.data.to_dict() == {"library_name": "transformers"}
    for line in (
        "How this classifier was trained was not recorded.",
        "- Model: not recorded",
        "- Fine-tuned from: not recorded",
        "Data: not recorded.",
        "Optimizer steps: not recorded. Adapter: not recorded. Masking: not recorded.",
        "No evaluation of these weights was recorded.",
    ):
        assert line in card.text
    assert not re.search(r"\d\.\d", card.text.partition("## Citation")[0])  # no number of any kind
    unlabelled = model_card(make_facts(evaluations=[Evaluation(DatasetFacts(), report=make_report(labels=None))]))
    assert "accuracy" not in metrics_of(unlabelled)
    assert "### Results on data set not recorded, split not recorded, n not recorded" in unlabelled.text
    assert "Accuracy not recorded, the data has no labels" in unlabelled.text
    assert metadata_errors(str(unlabelled)) == []


def measured(**provenance):
    report = make_report(provenance=replace(PROVENANCE, **provenance))
    return {"evaluations": [Evaluation(DatasetFacts(), report=report)]}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"left_out": 2}, "Evaluations of other weights of this training are left out: 2."),
        ({"evaluations": [Evaluation(DatasetFacts(), {"x": 1.0}, selected_on=True)]}, "The checkpoint was chosen by"),
        (measured(operator="unk"), "Only one way of removing words was measured"),
        (measured(trained_masking="delete"), "which flatters sufficiency"),
        (measured(trained_masking=None), "was not recorded with some numbers"),
    ],
)
def test_limits_are_those_of_these_evaluations(changes, sentence):
    assert sentence in model_card(make_facts(**changes)).text
    assert sentence not in model_card(make_facts(evaluations=[])).text


def test_plain_training_is_not_called_guided():
    plain = make_recipe(SaliencyGuidedArguments(sgt_kl_weight=0.0), TextAdapter(make_tokenizer()), steps=3)
    card = model_card(make_facts(recipe=plain))
    assert "it was **not** guided" in card.text
    assert "A classifier trained with saliency guided training" not in card.text
    assert card.data.tags is None
    untrained = model_card(make_facts(recipe=replace(plain, steps=0))).text
    assert "did no optimizer step" in untrained


def test_the_legend_tells_what_is_in_the_tables():
    text = model_card(make_facts()).text
    assert ". Seed 3." in text
    assert "SmoothGrad" not in text
    assert "paired difference to a random ranking" in text
    alone = model_card(make_facts(evaluations=[Evaluation(DatasetFacts(), {"loss": 0.5})])).text
    assert "random ranking" not in alone


def test_limits_of_aopc_make_columns_of_naopc():
    """The reachable comprehensiveness is 0 to .8, so .4 and .6 are .5 and .75 of it."""
    extremes = Curves(np.full((4, 2, 2), 0.9) - np.array([0.0, 0.8])[None, :, None], np.full((4, 2, 2), 0.9))
    text = model_card(make_facts(evaluations=[Evaluation(DatasetFacts(), report=make_report(extremes=extremes))])).text
    assert "| gradient | 0.500 \\[0.400, 0.600\\] | 0.300 \\[0.200, 0.400\\] | 0.625 \\[0.500, 0.750\\] |" in text
    assert "NAOPC was not computed" not in text


def test_the_interval_is_scipys_bootstrap():
    from scipy.stats import bootstrap

    values = np.random.default_rng(0).normal(size=50)
    wanted = bootstrap((values,), np.mean, n_resamples=2000, method="percentile", rng=0, batch=1000).confidence_interval
    assert interval(values, np.arange(50) // 2).low != interval(values).low
    assert interval(values) == pytest.approx((values.mean(), wanted.low, wanted.high))


HOSTILE = [
    "<script>alert(1)</script>",
    "x | y | z",
    "a\n\n# heading\n---\nlicense: mit",
    "[click](javascript:alert(1)) ![p](http://e.vil/p.png) <http://e.vil> https://e.vil www.e.vil @all",
    "`code` ``` ~~~ **b** __b__ $x$ &lt;script&gt; \\",
    "{{ 7 * 7 }} {% raw %}",
    "\u202eright to left\u2066 \x1b[31m \x00 \u2028 \ud800",
    "' \" : - & * ! % @ ` #",
]


def tokens(markdown):
    """Everything a viewer makes of a text, links of bare addresses included."""
    flat = []
    for token in MarkdownIt("gfm-like", {"linkify": False, "html": True}).parse(markdown):
        flat += [token, *(token.children or [])]
    return flat


def structure(markdown):
    return [t.type for t in tokens(markdown) if t.type.startswith(("heading", "table", "th_", "hr", "list", "fence"))]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_strings_are_text(tmp_path, hostile):
    data = DatasetFacts(hostile, hostile, hostile, hostile, 4)
    facts = make_facts(
        model_name=hostile,
        repo_id=hostile,
        architecture=hostile,
        base_model=hostile,
        training_data=data,
        tags=[hostile],
        datasets=[hostile],
        language=hostile,
        note=hostile,
        recipe=replace(make_facts().recipe, command=hostile, adapter=hostile, hyperparameters={hostile: hostile}),
        evaluations=[
            Evaluation(data, {hostile: 0.5}, make_report(provenance=replace(PROVENANCE, operator=hostile))),
        ],
    )
    same = [replace(facts.evaluations[0], report=make_report())]
    harmless = model_card(make_facts(note="x", base_model="x", language="x", evaluations=same))
    card = ModelCard.load(write_model_card(tmp_path, facts))
    assert metadata_errors(str(card)) == []
    assert "license" not in card.data.to_dict()
    assert [t.type for t in tokens(card.text) if t.type.startswith(("html", "link", "image"))] == []
    assert structure(card.text) == structure(harmless.text)
    assert one_line(hostile).strip() in "".join(t.content for t in tokens(card.text) if t.type.startswith("text"))
    assert not re.search("[\u202e\u2066\x00\x1b\u2028]", str(card))


@given(st.text())
def test_an_escaped_text_reads_as_it_was(text):
    rendered = MarkdownIt("gfm-like", {"linkify": False, "html": True}).parse("x " + escape(text) + " x")
    shown = "".join(t.content for t in rendered[1].children)
    assert [t.type for t in rendered] == ["paragraph_open", "inline", "paragraph_close"]
    assert {t.type for t in rendered[1].children} <= {"text", "text_special"}
    assert shown == "x " + one_line(text) + " x"


@given(st.text())
def test_a_block_of_code_has_one_end(text):
    (fence,) = MarkdownIt("commonmark").parse(code_block(text))
    assert fence.type == "fence"


def test_a_table_escapes_its_cells():
    assert table(["a|b"], [[None], [1.5]]) == "| a\\|b |\n| --- |\n| not recorded |\n| 1.5 |"


def test_metrics_lose_their_prefix_and_what_is_no_measurement():
    given_metrics = {"eval_loss": 1.0, "eval_accuracy": 0.5, "eval_runtime": 2.0, "epoch": 1.0}
    assert plain_metrics(given_metrics, "eval") == {"loss": 1.0, "accuracy": 0.5}


def test_a_data_set_says_of_itself_what_it_knows():
    rows = make_rows(make_tokenizer())
    assert dataset_facts(rows) == DatasetFacts(n=16)
    rows.info.dataset_name, rows.info.config_name = "imdb", "plain_text"
    rows._split = "test"
    assert dataset_facts(rows) == DatasetFacts("imdb", "test", "plain_text", n=16)
    rows.info.dataset_name = "json"  # the name of a loader
    assert dataset_facts(rows) == DatasetFacts(split="test", n=16)
    assert dataset_facts(iter([])) == DatasetFacts()


def test_evaluations_are_of_the_same_data_by_facts_and_source():
    first, second = make_rows(make_tokenizer(), seed=1), make_rows(make_tokenizer(), seed=2)
    one = Evaluation(dataset_facts(first), source=first)
    same = make_rows(make_tokenizer(), seed=1)  # the same rows in another object
    assert one.same_data(Evaluation(dataset_facts(same), source=same))
    assert one.same_data(Evaluation(dataset_facts(first), source=first))
    assert not one.same_data(Evaluation(dataset_facts(second), source=second))
    assert not Evaluation(DatasetFacts("a")).same_data(Evaluation(DatasetFacts("b")))  # of neither the source is known


def test_the_fingerprint_is_of_the_weights():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    before = fingerprint(model)
    assert before[:2] == pytest.approx((model[0].weight.sum().item(), model[0].weight.norm().item()))
    assert fingerprint(model) == before
    model(torch.randn(4, 3))  # moves the running statistics, which decide predictions too
    moved = fingerprint(model)
    assert moved != before
    state = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        model[0].weight[0, 0].add_(1e-3)
    assert fingerprint(model) != moved
    model.load_state_dict(state)
    assert fingerprint(model) == moved
    assert fingerprint(nn.ReLU()) == ()


def test_the_fingerprint_of_many_weights_is_taken_part_by_part(monkeypatch):
    model = nn.Linear(7, 5)
    whole = fingerprint(model)
    monkeypatch.setattr("sgt_hf.reporting.evaluations._AT_ONCE", 4)
    assert fingerprint(model) == pytest.approx(whole, abs=1e-12)


def test_the_fingerprint_leaves_out_state_that_is_no_tensor():
    class Counted(nn.Linear):
        def get_extra_state(self):
            return {"seen": 3}

    model = Counted(3, 2)
    assert len(fingerprint(model)) == 4


@pytest.mark.gpu
def test_the_fingerprint_of_a_model_on_several_devices_is_the_same():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2), nn.Linear(2, 1))
    whole = fingerprint(model)
    model[1].cuda()
    assert fingerprint(model) == pytest.approx(whole)


def test_the_fingerprint_of_a_sharded_model_is_that_of_its_shard():
    from torch import distributed
    from torch.distributed.tensor import Shard, distribute_tensor

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))  # its buffers stay whole
    whole = fingerprint(model)
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        mesh = distributed.init_device_mesh("cpu", (1,))
        model[0].weight = nn.Parameter(distribute_tensor(model[0].weight.detach(), mesh, [Shard(0)]))
        assert fingerprint(model) == whole
    finally:
        distributed.destroy_process_group()


def test_secrets_are_taken_out_wherever_they_are(tmp_path):
    token = "hf_" + "a" * 34
    facts = make_facts(note=f"run with {token} and s3cret", model_name="s3cret")
    text = write_model_card(tmp_path, facts, secrets=["s3cret", ""]).read_text()
    assert "a" * 34 not in text
    assert "s3cret" not in text
    assert without_secrets("s3cret" + token, ["s3cret"]) == "[secret][secret]"


def test_secrets_are_taken_out_as_markdown_and_yaml_write_them(tmp_path):
    token, key = "hf_" + "a" * 34, "my_key"
    facts = make_facts(note=f"run with {token} and {key}", model_name=key, tags=[token])
    card = ModelCard.load(write_model_card(tmp_path, facts, secrets=[key]))
    assert not re.search(r"a{34}|my\\?_key", str(card))
    assert "run with [secret] and [secret]" in card.text
    assert card.data.tags == ["saliency-guided-training", "[secret]"]
    assert card.data.model_name == "[secret]"  # a string still, and no list
    assert metadata_errors(str(card)) == []


def test_numbers_of_numpy_and_torch_are_numbers():
    metrics = {"f1": np.float32(0.5), "right": np.int64(3), "auc": torch.tensor(0.25)}
    card = model_card(make_facts(evaluations=[Evaluation(DatasetFacts(), metrics)]))
    assert {name: one.metric_value for name, one in metrics_of(card).items()} == {"f1": 0.5, "right": 3, "auc": 0.25}
    assert "| f1 | 0.5 |" in card.text
