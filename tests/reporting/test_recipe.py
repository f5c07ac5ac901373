import json

import pytest
from transformers import AutoConfig, AutoModelForSequenceClassification, ViTImageProcessor

from sgt_hf import SaliencyGuidedArguments, TextAdapter
from sgt_hf.adapters import ImageAdapter
from sgt_hf.reporting import Recipe, load_recipe
from sgt_hf.reporting.carried import processes_of, recorded_by
from sgt_hf.reporting.recipe import CONFIG_KEY, RECIPE_FILE, make_recipe
from tests.tiny import make_model, make_tokenizer
from tests.trainer.runs import trained


class Own(TextAdapter):
    """A user's adapter, with an argument that JSON cannot hold."""

    def __init__(self, tokenizer, *, chooser=len, **kwargs):
        super().__init__(tokenizer, **kwargs)
        self.chooser = chooser


def own_masking(batch, drop):
    return batch


def test_what_was_recorded_comes_back(tmp_path):
    knobs = SaliencyGuidedArguments(sgt_mask_fraction=0.3, sgt_masking="delete", sgt_warmup_ratio=0.1)
    adapter = TextAdapter(make_tokenizer(), embedding="words")
    written = make_recipe(knobs, adapter, masking="delete", steps=7)
    (tmp_path / RECIPE_FILE).write_text(written.to_json(), encoding="utf-8")
    read = load_recipe(tmp_path)
    assert read == written
    assert read.arguments() == knobs
    again = read.build_adapter(make_tokenizer())
    assert isinstance(again, TextAdapter)
    assert again.embedding == "words"
    assert (read.steps, read.masking, read.hyperparameters, read.command) == (7, "delete", None, None)
    assert set(read.versions) == {"python", "sgt_hf", "torch", "transformers", "datasets", "captum", "numpy"}


def test_the_config_is_read_where_there_is_no_file(tmp_path):
    recipe = make_recipe(SaliencyGuidedArguments(), TextAdapter(make_tokenizer()))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", CONFIG_KEY: recipe.to_dict()}))
    assert load_recipe(str(tmp_path)) == recipe


def test_an_earlier_training_comes_back_too(tmp_path):
    first = make_recipe(SaliencyGuidedArguments(sgt_masking=own_masking), TextAdapter(make_tokenizer()), steps=2)
    plain = make_recipe(SaliencyGuidedArguments(sgt_kl_weight=0.0), TextAdapter(make_tokenizer()), earlier=first)
    (tmp_path / RECIPE_FILE).write_text(plain.to_json(), encoding="utf-8")
    assert load_recipe(tmp_path) == plain
    assert load_recipe(tmp_path).earlier.callables == ("sgt_masking",)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "has no saliency_guided.json and no 'saliency_guided' in its config.json"),
        ({"config.json": "{}"}, "was not saved by SaliencyGuidedTrainer"),
        ({RECIPE_FILE: "{"}, "saliency_guided.json is no JSON"),
        ({RECIPE_FILE: "[]"}, "holds a list where an object was expected"),
        ({RECIPE_FILE: "{}"}, "holds no recipe of this version of sgt_hf: expected 'knobs'"),
        ({RECIPE_FILE: '{"knobs": {}, "os.system": 1}'}, "holds no recipe of this version"),
        ({RECIPE_FILE: '{"knobs": {}, "earlier": {"x": 1}}'}, "holds no recipe of this version"),
    ],
)
def test_what_is_no_recipe_is_refused(tmp_path, files, message):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        load_recipe(tmp_path)


def test_functions_are_named_and_have_to_be_given_again():
    recipe = make_recipe(SaliencyGuidedArguments(sgt_masking=own_masking), Own(make_tokenizer()))
    assert recipe.callables == ("sgt_masking",)
    assert recipe.knobs["sgt_masking"].endswith("own_masking")
    assert recipe.adapter_arguments == {"embedding": None}
    assert recipe.adapter_not_recorded == ("chooser",)
    assert Recipe(**json.loads(recipe.to_json())).adapter == "Own"
    with pytest.raises(ValueError, match=r"own_masking.*are not kept: take the other values"):
        recipe.arguments()
    with pytest.raises(ValueError, match=r"'Own' is not one of sgt_hf\.adapters: build it yourself"):
        recipe.build_adapter(make_tokenizer())


def test_a_lambda_trains_is_saved_and_measured(tmp_path):
    """Which pickle cannot keep, as `Trainer` would with its arguments."""
    masking = lambda batch, drop: batch | {"input_ids": batch["input_ids"].masked_fill(drop, 7)}  # noqa: E731
    trainer = trained(tmp_path, sgt_masking=masking, save_strategy="epoch", num_train_epochs=1)
    assert trainer.args.sgt_masking is masking
    (checkpoint,) = tmp_path.glob("checkpoint-*")
    assert load_recipe(checkpoint).callables == ("sgt_masking",)
    report = trainer.evaluate_faithfulness(methods=["gradient"], progress=False)
    assert json.loads(json.dumps(report.summary()))["provenance"]["trained_masking"].endswith("<lambda>")


def test_an_image_adapter_is_built_again_by_what_black_is():
    given = ImageAdapter(ViTImageProcessor(image_mean=[0.5] * 3, image_std=[0.25] * 3), value_range=(-2.0, 2.0))
    recipe = make_recipe(SaliencyGuidedArguments(), given)
    assert recipe.adapter_arguments == {"black": [-2.0], "value_range": [-2.0, 2.0]}
    again = Recipe(**json.loads(recipe.to_json())).build_adapter()
    assert (again.black, again.constant) == ([-2.0], [-2.0])
    unknown = make_recipe(SaliencyGuidedArguments(), ImageAdapter()).build_adapter()
    with pytest.raises(ValueError, match="what black is after normalising is not known"):
        unknown.check(masking="constant", granularity="token")


def test_how_many_processes_trained_is_read_from_a_checkpoint(tmp_path):
    recipe = make_recipe(SaliencyGuidedArguments(), TextAdapter(make_tokenizer()), hyperparameters={"num_devices": 4})
    (tmp_path / RECIPE_FILE).write_text(recipe.to_json(), encoding="utf-8")
    assert processes_of(tmp_path) == 4
    trainer = trained(tmp_path / "one", save_strategy="epoch", num_train_epochs=1)
    assert processes_of(next((tmp_path / "one").glob("checkpoint-*"))) == 1
    assert trainer.args.world_size == 1
    (tmp_path / "bare").mkdir()  # as of `Trainer`, which records none
    assert processes_of(tmp_path / "bare") is None


def test_no_name_of_a_file_is_looked_up_beyond_the_adapters():
    for name in ("Adapter", "adapter_for", "Any", "os", "__builtins__", None):
        with pytest.raises(ValueError, match="build it yourself"):
            Recipe(knobs={}, adapter=name).build_adapter(make_tokenizer())


def test_an_argument_that_the_adapter_does_not_know_is_refused():
    with pytest.raises(ValueError, match=r"TextAdapter of this version takes no \['nonsense'\]: build it yourself"):
        Recipe(knobs={}, adapter="TextAdapter", adapter_arguments={"nonsense": 1}).build_adapter(make_tokenizer())


def test_a_knob_that_this_version_does_not_know_is_refused():
    with pytest.raises(ValueError, match=r"knows no \['sgt_new'\]"):
        Recipe(knobs={"sgt_new": 1}).arguments()
    with pytest.raises(ValueError, match="sgt_mask_fraction must be in"):
        Recipe(knobs={"sgt_mask_fraction": 2.0}).arguments()


def test_weights_that_were_not_trained_have_no_record(tmp_path):
    """A config is shared by models in memory, and a model may be given other weights."""
    first = trained(tmp_path / "first")
    first.save_model()
    config = AutoConfig.from_pretrained(tmp_path / "first")
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "first")
    assert recorded_by(loaded).steps == 8
    assert recorded_by(AutoModelForSequenceClassification.from_config(config)) is None
    assert recorded_by(first.model).steps == 8
    first.model.load_state_dict(make_model("bert", spread=0.5).state_dict())
    assert recorded_by(first.model) is None
