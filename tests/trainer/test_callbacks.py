"""Callbacks, metrics, early stopping, the best model and prediction: as with `Trainer`."""

import numpy as np
import pytest
import torch
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainingArguments

from sgt_hf import SaliencyGuidedTrainer
from tests.trainer.runs import TERMS, trained, weights


class Diary(TrainerCallback):
    """Writes down every event, and the keys of what is handed to it."""

    def __init__(self):
        self.events = []

    def __getattribute__(self, name):
        if not name.startswith("on_"):
            return super().__getattribute__(name)

        def event(args, state, control, **handed):
            told = sorted(handed.get("logs") or handed.get("metrics") or ())
            self.events.append((name, state.global_step, [key for key in told if key not in TERMS[1:]]))

        return event


def accuracy(prediction):
    return {"accuracy": float(np.mean(prediction.predictions.argmax(-1) == prediction.label_ids))}


def run(tmp_path, trainer=SaliencyGuidedTrainer, **changes):
    diary = Diary()
    settings = {
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "num_train_epochs": 5,
        "learning_rate": 0.1,
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_loss",
        "greater_is_better": False,
        "compute_metrics": accuracy,
        "callbacks": [diary, EarlyStoppingCallback(early_stopping_patience=2)],
    }
    return trained(tmp_path, trainer, dropout=0.1, **settings | changes), diary


def told(trainer):
    """The history without what a clock says."""
    clock = ("runtime", "per_second")
    return [{k: v for k, v in entry.items() if not k.endswith(clock)} for entry in trainer.state.log_history]


def test_without_guidance_everything_is_the_trainer_s_bit_for_bit(tmp_path):
    plain, plain_diary = run(tmp_path / "plain", Trainer, kind=TrainingArguments)
    guided, guided_diary = run(tmp_path / "guided", sgt_kl_weight=0.0)
    assert told(plain) == told(guided)
    assert plain_diary.events == guided_diary.events
    assert torch.equal(weights(plain), weights(guided))  # the best model's, loaded at the end
    first, second = plain.predict(plain.eval_dataset), guided.predict(guided.eval_dataset)
    assert np.array_equal(first.predictions, second.predictions)
    assert {k: v for k, v in first.metrics.items() if "loss" in k or "acc" in k} == {
        k: v for k, v in second.metrics.items() if "loss" in k or "acc" in k
    }


def test_with_guidance_the_events_and_the_keys_are_the_same(tmp_path):
    """No early stopping here: when it strikes depends on the losses."""
    plain, guided = Diary(), Diary()
    first, _ = run(tmp_path / "plain", Trainer, kind=TrainingArguments, num_train_epochs=2, callbacks=[plain])
    second, _ = run(tmp_path / "guided", num_train_epochs=2, callbacks=[guided])
    assert plain.events == guided.events
    assert first.evaluate().keys() == second.evaluate().keys()
    ours = {key for entry in second.state.log_history for key in entry}
    assert ours - {key for entry in first.state.log_history for key in entry} == {"sgt_ce", "sgt_kl", "sgt_flipped"}


def test_the_best_model_is_loaded_and_the_training_stops_early(tmp_path):
    """A learning rate that climbs out of the first epoch's minimum."""
    trainer, _ = run(tmp_path, learning_rate=2.0, num_train_epochs=12, metric_for_best_model="eval_loss")
    evaluated = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert len(evaluated) < 12
    assert min(evaluated[-2:]) >= min(evaluated[:-2])
    assert trainer.evaluate()["eval_loss"] == pytest.approx(min(evaluated), rel=1e-6)
