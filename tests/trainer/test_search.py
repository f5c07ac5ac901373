"""`hyperparameter_search` with Optuna over the knobs."""

import logging

import optuna
import pytest
from transformers import TrainingArguments

from tests.tiny import make_model
from tests.trainer.runs import built


def searching(tmp_path, **changes):
    def model_init():
        return make_model(spread=0.5)

    return built(tmp_path, model_init=model_init, **changes)


def search(trainer, space, **changes):
    settings = {"hp_space": space, "n_trials": 2, "backend": "optuna", "direction": "minimize"}
    settings["sampler"] = optuna.samplers.RandomSampler(seed=0)
    with_progress = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.WARNING)
    try:
        return trainer.hyperparameter_search(**settings | changes)
    finally:
        optuna.logging.set_verbosity(with_progress)


def test_each_run_trains_with_its_own_knobs(tmp_path):
    """Seen from the outside: the same knobs given to a trainer of its own end at the same loss, bit for bit."""

    def space(trial):
        return {
            "sgt_mask_fraction": trial.suggest_float("sgt_mask_fraction", 0.1, 0.9),
            "sgt_kl_weight": trial.suggest_float("sgt_kl_weight", 0.5, 5.0),
            "sgt_masking": trial.suggest_categorical("sgt_masking", ["unk", "delete"]),
        }

    settings = {"eval_strategy": "epoch", "learning_rate": 0.1}
    best = search(searching(tmp_path, sgt_mask_fraction=1, **settings), space)
    assert 0 < best.hyperparameters["sgt_mask_fraction"] < 1  # `Trainer` would have cast it to the int that it was
    alone = searching(tmp_path, **settings, **best.hyperparameters)
    alone.train()
    assert best.objective == alone.evaluate()["eval_loss"]


@pytest.mark.slow
def test_several_objectives_give_the_pareto_set(tmp_path):
    def space(trial):
        return {"sgt_kl_weight": trial.suggest_categorical("sgt_kl_weight", [0.0, 1.0, 10.0])}

    trainer = searching(tmp_path, learning_rate=0.1)

    def objectives(metrics):
        report = trainer.evaluate_faithfulness(methods=["gradient"], progress=False)
        return [-metrics["eval_loss"], report["gradient"].comprehensiveness.mean().item()]

    front = search(trainer, space, n_trials=3, direction=["maximize", "maximize"], compute_objective=objectives)
    values = [run.objective for run in front]
    assert values
    assert all(len(pair) == 2 for pair in values)
    for first in values:
        assert not any(all(b >= a for a, b in zip(first, second, strict=True)) and first != second for second in values)


@pytest.mark.parametrize(
    ("knob", "value", "message"),
    [
        ("sgt_masking", "blank", "unknown masking 'blank'"),
        ("sgt_mask_fraction", 1.5, r"sgt_mask_fraction must be in \[0, 1\], got 1.5"),
    ],
)
def test_a_run_s_knobs_are_checked_like_those_of_construction(tmp_path, knob, value, message):
    def space(trial):
        return {knob: trial.suggest_categorical(knob, [value])}

    with pytest.raises(ValueError, match=message):
        search(searching(tmp_path), space, n_trials=1)


def test_plain_arguments_cannot_be_searched_over_knobs(tmp_path):
    def space(trial):
        return {"sgt_kl_weight": trial.suggest_float("sgt_kl_weight", 0.0, 1.0)}

    trainer = searching(tmp_path, kind=TrainingArguments)
    with pytest.raises(ValueError, match=r"\['sgt_kl_weight'\], which TrainingArguments does not have: pass args=Sali"):
        search(trainer, space, n_trials=1)
