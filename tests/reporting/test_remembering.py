"""Which evaluations a card tells: each data set's last, however little the data says of itself."""

import re
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from transformers import AutoModelForSequenceClassification

from sgt_hf.reporting import load_recipe
from sgt_hf.reporting.recipe import CONFIG_KEY
from tests.tiny import make_model, make_rows, make_tokenizer
from tests.trainer.runs import built, trained


def rows(seed, **changes):
    return make_rows(make_tokenizer(), seed=seed, **changes)


def card_of(trainer):
    trainer.create_model_card()
    return Path(trainer.args.output_dir, "README.md").read_text(encoding="utf-8")


def titles(card):
    return re.findall(r"^### Results on (.*)$", card, flags=re.MULTILINE)


def test_data_sets_of_one_length_are_told_apart_by_the_names_that_the_user_gave_them(tmp_path):
    trainer = trained(tmp_path, eval_dataset={"seen": rows(1), "unseen": rows(2)})
    trainer.evaluate()
    trainer.evaluate()  # the same data again replaces itself
    trainer.evaluate_faithfulness(trainer.eval_dataset["unseen"], methods=["gradient"], progress=False)
    told = titles(card_of(trainer))
    assert [title.partition(",")[0] for title in told] == ["data set seen", "data set unseen", "data set unseen"]


def test_unnamed_data_of_one_length_is_numbered_and_the_selection_is_still_told(tmp_path):
    trainer = trained(tmp_path, eval_strategy="epoch", save_strategy="epoch", load_best_model_at_end=True)
    trainer.evaluate()
    other = rows(5)
    trainer.evaluate(other)
    trainer.evaluate(rows(5))  # another object of the same content
    card = card_of(trainer)
    assert [title.partition(", split")[0] for title in titles(card)] == [
        "data set unnamed, number 1",
        "data set unnamed, number 2",
    ]
    assert "The checkpoint was chosen by a metric on data that is reported here" in card
    assert len(set(re.findall(r"name: (unnamed, number \d)", card))) == 2  # in the metadata too


def test_lists_are_told_apart_by_themselves(tmp_path):
    trainer = trained(tmp_path, eval_dataset=rows(1).to_list())
    trainer.evaluate()
    trainer.evaluate()
    trainer.evaluate(rows(1).to_list())
    assert len(titles(card_of(trainer))) == 2


@pytest.mark.parametrize("best", [2, 4, 8])
def test_the_steps_are_those_of_the_weights(tmp_path, best):
    """Of eight steps, where the metric is best at one of the evaluations."""
    values = iter([float(step == best) for step in (2, 4, 6, 8)] + [0.0])
    trainer = trained(
        tmp_path,
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="steps",
        save_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="wanted",
        compute_metrics=lambda _: {"wanted": next(values)},
    )
    assert trainer.state.global_step == 8
    trainer.save_model(str(tmp_path / "saved"))
    assert load_recipe(tmp_path / "saved").steps == best
    assert f"Optimizer steps: {best}." in card_of(trainer)
    assert load_recipe(tmp_path / "checkpoint-8").steps == 8


def test_the_steps_of_a_second_training_come_on_top(tmp_path):
    trainer = trained(tmp_path, max_steps=3)
    trainer.train()
    assert trainer.recipe().steps == 6
    trainer.train()
    assert trainer.recipe().steps == 9
    with pytest.raises(ValueError, match="nowhere"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "nowhere"))
    assert trainer.recipe().steps == 9


def test_a_training_that_starts_afresh_or_resumes_counts_its_own_steps(tmp_path):
    afresh = trained(tmp_path / "afresh", max_steps=3, model_init=lambda: make_model(spread=0.5))
    afresh.train()
    assert afresh.recipe().steps == 3
    resumed = trained(tmp_path / "resumed", max_steps=4, save_strategy="steps", save_steps=2)
    resumed.train(resume_from_checkpoint=str(tmp_path / "resumed" / "checkpoint-2"))
    assert resumed.recipe().steps == 4


def test_a_training_that_masks_nothing_does_not_flatter_deletion(tmp_path):
    """R-Drop: the two passes of its consistency read the same text."""
    trainer = trained(tmp_path, sgt_masking="delete", sgt_mask_fraction=0.0)
    report = trainer.evaluate_faithfulness(rows(1), methods=["gradient"], operator="delete", progress=False)
    assert report.provenance.trained_masking is None
    card = card_of(trainer)
    assert "flatters sufficiency" not in card
    assert "was not recorded with some numbers" not in card


def test_a_report_names_what_masked_in_the_trainings_behind_the_weights_and_not_in_one_to_come(tmp_path):
    settings = {"max_steps": 1, "sgt_masking": "delete"}
    measure = {"methods": ["gradient"], "progress": False}
    before = built(tmp_path, **settings)
    assert before.evaluate_faithfulness(rows(1), **measure).provenance.trained_masking is None
    card = card_of(before)
    assert "flatters sufficiency" not in card
    assert "was not recorded with some numbers" in card  # of weights that may be from anywhere
    before.train()
    with pytest.warns(UserWarning, match="as the model was trained to bear it"):
        assert before.evaluate_faithfulness(rows(1), **measure).provenance.trained_masking == "delete"
    after = built(tmp_path, model=before.model, max_steps=1, sgt_masking="unk")
    masking = lambda **more: after.evaluate_faithfulness(rows(1), **measure, **more).provenance.trained_masking  # noqa: E731
    with pytest.warns(UserWarning, match="as the model was trained to bear it"):
        assert masking() == "delete"  # what the weights have behind them, not these knobs
    after.train()
    assert masking(operator="mask") == "unk"  # the last
    with pytest.warns(UserWarning, match="as the model was trained to bear it"):
        assert masking(operator="delete") == "delete"


def methods_of(card):
    return re.findall(r"^\| (gradient|input\\_x\\_gradient) \|", card, flags=re.MULTILINE)


def test_one_method_after_the_other_are_both_told(tmp_path):
    trainer, data = trained(tmp_path, max_steps=1), rows(3)
    for method in ("gradient", "input_x_gradient", "gradient"):
        trainer.evaluate_faithfulness(data, methods=[method], progress=False)
    assert methods_of(card_of(trainer)) == ["input\\_x\\_gradient", "gradient"]  # the repeated one once, at its last


def test_a_report_of_other_weights_replaces_none_and_is_said_to_be_left_out(tmp_path):
    trainer, data = trained(tmp_path, max_steps=1), rows(3)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.evaluate_faithfulness(data, methods=["gradient"], progress=False)
    trainer.train()
    trainer.evaluate_faithfulness(data, methods=["gradient"], progress=False)
    card = card_of(trainer)
    assert methods_of(card) == ["gradient"]
    assert "other weights of this training are left out: 1." in card
    trainer.model.load_state_dict(before)  # as where the best checkpoint is loaded
    assert methods_of(card_of(trainer)) == ["gradient"]


@pytest.fixture(scope="module")
def guided(tmp_path_factory):
    """A folder of a model that was trained for two guided steps, and its checkpoint after the first."""
    folder = tmp_path_factory.mktemp("guided")
    trainer = trained(folder, max_steps=2, save_strategy="steps", save_steps=1, sgt_mask_fraction=0.25)
    trainer.save_model()
    return folder


def loaded(folder):
    return AutoModelForSequenceClassification.from_pretrained(folder)


def test_plain_steps_on_guided_weights_are_told_beside_the_guided_ones(guided, tmp_path):
    trainer = trained(tmp_path, model=loaded(guided), max_steps=1, sgt_kl_weight=0.0)
    card = card_of(trainer)
    assert "it was **not** guided in this training. Before" in card
    assert "(optimizer steps: 2)" in card
    assert "| sgt\\_mask\\_fraction | 0.25 |" in card
    trainer.save_model()
    recipe = load_recipe(tmp_path)
    assert (recipe.steps, recipe.knobs["sgt_kl_weight"]) == (1, 0)
    assert recipe.earlier == load_recipe(guided)
    # and once more, by a trainer of the model that is in memory
    again = trained(tmp_path / "again", model=trainer.model, max_steps=3, sgt_kl_weight=0.5)
    assert again.recipe().earlier == recipe


def test_a_trainer_that_only_evaluates_keeps_the_recipe_of_the_weights(guided, tmp_path):
    trainer = built(tmp_path, model=loaded(guided))
    trainer.evaluate()
    card = card_of(trainer)
    trainer.save_model()
    assert load_recipe(tmp_path) == load_recipe(guided)
    assert loaded(tmp_path).config.saliency_guided == loaded(guided).config.saliency_guided
    assert "A classifier trained with saliency guided training" in card
    assert "no optimizer step" not in card


def test_resuming_with_other_knobs_splits_the_steps(guided, tmp_path):
    trainer = built(tmp_path, max_steps=3, sgt_kl_weight=0.0)
    trainer.train(resume_from_checkpoint=str(guided / "checkpoint-1"))
    recipe = trainer.recipe()
    assert (recipe.steps, recipe.earlier.steps) == (2, 1)
    assert recipe.earlier.knobs["sgt_mask_fraction"] == 0.25
    assert "it was **not** guided in this training" in card_of(trainer)
    with pytest.raises(ValueError, match="nowhere"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "nowhere"))
    assert trainer.recipe() == recipe


def test_resuming_with_the_same_knobs_is_one_training(guided, tmp_path):
    trainer = built(tmp_path, max_steps=3, sgt_mask_fraction=0.25)
    trainer.train(resume_from_checkpoint=str(guided / "checkpoint-1"))
    assert (trainer.recipe().steps, trainer.recipe().earlier) == (3, None)


def test_resumed_steps_on_loaded_weights_keep_what_was_before(guided, tmp_path):
    first = trained(tmp_path, model=loaded(guided), max_steps=2, save_strategy="steps", save_steps=1, sgt_kl_weight=0.0)
    resumed = built(tmp_path, max_steps=2, sgt_kl_weight=0.0)  # from weights of its own, which the checkpoint replaces
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    assert (resumed.recipe().steps, resumed.recipe().earlier) == (2, first.recipe().earlier)


def test_resuming_with_other_knobs_is_told(tmp_path, caplog):
    settings = {"max_steps": 2, "save_strategy": "steps", "save_steps": 1}
    trained(tmp_path, **settings)
    built(tmp_path, **settings).train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    assert "other knobs" not in caplog.text
    built(tmp_path, **settings, sgt_kl_weight=0.5).train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    assert "checkpoint-1 was trained with other knobs (sgt_kl_weight 1.0, now 0.5)" in caplog.text


def test_new_weights_of_a_config_that_was_used_before_have_no_past(tmp_path):
    first = trained(tmp_path / "first", max_steps=1)
    fresh = type(first.model)(first.model.config)
    assert trained(tmp_path / "second", model=fresh, max_steps=1, sgt_kl_weight=0.0).recipe().earlier is None


def test_what_is_no_recipe_is_no_past(tmp_path, caplog):
    model = make_model(spread=0.5)
    setattr(model.config, CONFIG_KEY, {"steps": 3})
    model.save_pretrained(tmp_path / "model")
    trainer = built(tmp_path / "out", model=loaded(tmp_path / "model"))
    assert trainer.recipe().earlier is None
    assert "config.json of the model holds no recipe" in caplog.text


def test_tags_of_a_readme_that_is_there_are_kept(tmp_path):
    readme = "---\nlicense: mit\ntags:\n- medical\n- saliency-guided-training\n- 3\n---\n\n# Mine\n"
    (tmp_path / "README.md").write_text(readme, encoding="utf-8")
    trainer = trained(tmp_path, max_steps=1, sgt_kl_weight=0.0)
    trainer.create_model_card(tags="small")
    tags = ["generated_from_trainer", "small", "medical", "3"]
    assert ModelCard.load(tmp_path / "README.md").data.tags == tags  # the method's own tag is earned
    trainer.create_model_card(tags=["small"])
    assert ModelCard.load(tmp_path / "README.md").data.tags == tags
    (tmp_path / "README.md").write_text("---\ntags: {\n---\n", encoding="utf-8")
    trainer.create_model_card()
    assert ModelCard.load(tmp_path / "README.md").data.tags == ["generated_from_trainer"]


def test_front_matter_that_cannot_be_read_is_told_of_and_replaced(tmp_path, caplog):
    (tmp_path / "README.md").write_text("---\ntags: [medical\n---\n")
    trainer = built(tmp_path)
    trainer.create_model_card(tags="small")
    assert "README.md are not kept, for its front matter cannot be read" in caplog.text
    assert ModelCard.load(tmp_path / "README.md").data.tags == ["generated_from_trainer", "small"]
