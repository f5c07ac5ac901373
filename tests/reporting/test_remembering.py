"""Which evaluations a card tells: each data set's last, however little the data says of itself."""

import re
from pathlib import Path

import pytest

from sgt_hf.reporting import load_recipe
from tests.tiny import make_model, make_rows, make_tokenizer
from tests.trainer.runs import trained


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
