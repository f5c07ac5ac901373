"""What the trainer measured, remembered for the card, and the card."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub import get_token
from torch import nn
from transformers import Trainer, TrainerState
from transformers.trainer import TRAINER_STATE_NAME

from ..adapters import Adapter
from ..adapters.base import Masking
from ..faithfulness.report import FaithfulnessReport
from ..training_args import SaliencyGuidedArguments
from .carried import recorded_by, recorded_in
from .command import running_command
from .evaluations import Evaluation, Fingerprint, dataset_facts, fingerprint, plain_metrics
from .model_card import without_secrets, write_model_card
from .recipe import Recipe, make_recipe
from .trainer_facts import card_facts, evaluations_named, hyperparameters_of

logger = logging.getLogger(__name__)

_CARD_ARGUMENTS = (
    "language",
    "license",
    "tags",
    "model_name",
    "finetuned_from",
    "tasks",
    "dataset_tags",
    "dataset",
    "dataset_args",
)


class RememberingTrainer(Trainer):
    """`Trainer` that remembers what was measured, and writes it into the model's card with how it was trained.

    Subclasses set `knobs` and `adapter`, and define `masking`.

    Attributes:
        evaluations: What `evaluate` measured, and what `remember` was given.
    """

    knobs: SaliencyGuidedArguments
    adapter: Adapter

    @property
    def masking(self) -> Masking:
        """What replaces dropped features."""
        raise NotImplementedError

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.evaluations: list[Evaluation] = []
        self._command = running_command()
        self._best: tuple[Fingerprint, int | None] = (), None
        self._steps_before = 0
        super().__init__(*args, **kwargs)
        self._earlier = recorded_by(self._published())

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Evaluate as `Trainer` does, and remember the metrics for the card."""
        dataset = self._chosen(eval_dataset)
        metrics = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        if not isinstance(dataset, dict):  # of several data sets each comes here by itself
            self.remember(dataset, metrics=plain_metrics(metrics, metric_key_prefix))
        return metrics

    def _chosen(self, dataset: Any) -> Any:
        """The data set that is meant by None (the evaluation set) or by a name of several, as `Trainer` takes them.

        Raises:
            ValueError: There is none of that name.
        """
        if not isinstance(dataset, str):
            return self.eval_dataset if dataset is None else dataset
        named = self.eval_dataset if isinstance(self.eval_dataset, Mapping) else {}
        if dataset not in named:
            there = f"only {sorted(named)}" if named else f"which is a {type(self.eval_dataset).__name__}"
            raise ValueError(f"there is no {dataset!r} in eval_dataset, {there}: pass the data set itself")
        return named[dataset]

    def remember(
        self, dataset: Any, *, metrics: Mapping[str, Any] | None = None, report: FaithfulnessReport | None = None
    ) -> None:
        """Keep an evaluation of the present weights for the card.

        It replaces one of the same weights and data; of faithfulness, one of the same methods and settings too.

        Args:
            dataset: On which it was made.
            metrics: By name.
            report: Of faithfulness.
        """
        facts, weights = dataset_facts(dataset), fingerprint(self._published())
        candidates = self.eval_dataset if isinstance(self.eval_dataset, dict) else {None: self.eval_dataset}
        keys = [key for key, one in candidates.items() if dataset is one]
        selected_on = self.args.load_best_model_at_end and bool(keys)
        if facts.name is None and keys:
            facts = replace(facts, name=keys[0])  # what the user calls it
        new = Evaluation(facts, dict(metrics or {}), report, selected_on, weights, dataset)
        self.evaluations = [old for old in self.evaluations if not _replaces(new, old)] + [new]

    def recipe(self) -> Recipe:
        """Return what is recorded of the training so far; of weights only loaded, what they were saved with."""
        steps = self._steps()
        if self._earlier is not None and steps <= 0:
            return self._earlier
        return make_recipe(
            self.knobs,
            self.adapter,
            masking=self.masking if isinstance(self.masking, str) else None,
            steps=steps,
            hyperparameters=hyperparameters_of(self),
            id2label=_class_names(self._published()),
            command=None if self._command is None else without_secrets(self._command, self._secrets()),
            earlier=self._earlier,
        )

    def _load_best_model(self) -> None:
        last = fingerprint(self._published())
        super()._load_best_model()
        if (best := fingerprint(self._published())) != last:
            self._best = best, self.state.best_global_step

    def _steps(self) -> int:
        """Optimizer steps behind the present weights: fewer than were done where an earlier checkpoint was loaded."""
        weights, steps = self._best
        if steps is None or weights != fingerprint(self._published()):
            steps = self.state.global_step
        return self._steps_before + steps

    def _begin(self, checkpoint: str | bool | None) -> None:
        """Count from here: on top of the steps behind the present weights, unless training does not start from them."""
        self._steps_before = 0 if checkpoint or self.model_init is not None else self._steps()
        if isinstance(checkpoint, str | os.PathLike):
            self._take_up(checkpoint)
        self._best, self.state.global_step = ((), None), 0

    def _take_up(self, checkpoint: str | os.PathLike[str]) -> None:
        """With the knobs of a checkpoint its training goes on; with others it is one that came before."""
        self._earlier = found = recorded_in(checkpoint)
        if found is None:
            return
        knobs = make_recipe(self.knobs, self.adapter).knobs
        goes_on = found.knobs == knobs
        if not goes_on and self.is_world_process_zero():
            told = [
                f"{name} {was!r}, now {knobs.get(name)!r}"
                for name, was in found.knobs.items()
                if was != knobs.get(name)
            ]
            logger.warning(
                "%s was trained with other knobs (%s): training goes on by the present ones, and the card tells both",
                checkpoint,
                "; ".join(told) or "some that this version knows and that one did not",
            )
        self._earlier = found.earlier if goes_on else found
        self._steps_before = (found.steps or 0 if goes_on else 0) - _steps_counted(checkpoint)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write `README.md` into the output folder; see `sgt_hf.reporting.trainer_facts.card_facts`.

        Args:
            *args: Those of `Trainer.create_model_card`, in its order.
            **kwargs: Those of `Trainer.create_model_card`.
        """
        if not self.is_world_process_zero():
            return
        named = dict(zip(_CARD_ARGUMENTS, args, strict=False)) | kwargs
        facts = card_facts(self, self._published(), **named)
        weights = fingerprint(self._published())
        ours = [one for one in self.evaluations if one.fingerprint == weights]
        facts = replace(
            facts,
            recipe=self.recipe(),
            evaluations=evaluations_named(ours, named.get("dataset"), named.get("dataset_tags")),
            left_out=len(self.evaluations) - len(ours),
        )
        write_model_card(str(self.args.output_dir), facts, secrets=self._secrets())

    def _published(self) -> nn.Module:
        model: nn.Module = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        return model

    def _secrets(self) -> list[str]:
        return [token for token in (self.args.hub_token, get_token()) if token]


def _replaces(new: Evaluation, old: Evaluation) -> bool:
    """Whether an evaluation takes the place of an earlier one."""
    return new.same_data(old) and new.fingerprint == old.fingerprint and _kind(new) == _kind(old)


def _class_names(model: nn.Module) -> dict[str, str] | None:
    names = getattr(getattr(model, "config", None), "id2label", None)
    return {str(index): str(name) for index, name in names.items()} if names else None


def _steps_counted(checkpoint: str | os.PathLike[str]) -> int:
    """From which number of steps `Trainer` counts on."""
    file = Path(checkpoint, TRAINER_STATE_NAME)
    return TrainerState.load_from_json(str(file)).global_step if file.exists() else 0


def _kind(evaluation: Evaluation) -> tuple[Any, ...] | None:
    report = evaluation.report
    return None if report is None else (report.methods, report.provenance)
