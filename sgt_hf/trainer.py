"""`Trainer` with saliency guided training: carries batches to the loss, and has no arithmetic of its own."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments

from .adapters import Adapter, adapter_for
from .adapters.base import Masking, logits_of
from .data.rationales import DataCollatorWithWordIds
from .faithfulness import evaluate_faithfulness
from .faithfulness.report import FaithfulnessReport
from .loss import SaliencyGuidedLoss, saliency_guided_loss, task_cross_entropy
from .saliency import keeping_statistics
from .training_args import SaliencyGuidedTrainingArguments, knobs_of

LOGGED = ("sgt_ce", "sgt_kl", "sgt_flipped")


class SaliencyGuidedTrainer(Trainer):
    """Drop-in `transformers.Trainer` whose training loss is CE + λ·KL(f(X) ‖ f(X̃)).

    Takes everything `Trainer` takes. Plain `TrainingArguments` give the default knobs,
    `SaliencyGuidedTrainingArguments` set them. While training it logs `sgt_ce`, `sgt_kl` and `sgt_flipped` (share of
    predictions changed by masking), averaged over the logging window; `evaluate` and `predict` report the plain loss.
    Random masking draws from torch's global generator, which the Trainer seeds and checkpoints.

    Args:
        model: A classifier; see `Trainer`.
        args: See `Trainer`.
        data_collator: See `Trainer`. The default one also pads `word_ids` and the like.
        adapter: Binds the model's inputs to the loss; by default chosen from the model's `main_input_name` and the
            processing class (or the collator's tokenizer).
        **kwargs: Everything else of `Trainer`.

    Raises:
        ValueError: The model is a regression, the masking or granularity cannot work with the tokenizer, no adapter
            fits, or several GPUs are driven from one process.
    """

    def __init__(
        self,
        model: nn.Module | None = None,
        args: TrainingArguments | None = None,
        data_collator: Any = None,
        *positional: Any,
        adapter: Adapter | None = None,
        **kwargs: Any,
    ) -> None:
        args = SaliencyGuidedTrainingArguments(output_dir="tmp_trainer") if args is None else args
        super().__init__(model, args, data_collator, *positional, **kwargs)
        self.knobs = knobs_of(args)
        tokenizer = self.processing_class or getattr(self.data_collator, "tokenizer", None)
        if not self.label_names:  # the model's forward takes no labels, so Trainer would find no loss
            self.label_names = ["labels"]
            self.compute_loss_func = self.compute_loss_func or _cross_entropy_of_outputs
        self.adapter = adapter or adapter_for(self._bare(), tokenizer)
        if data_collator is None:
            self.data_collator = self.adapter.collator()
        auto = self.knobs.sgt_masking == "auto"
        self.masking: Masking = self.adapter.default_masking if auto else self.knobs.sgt_masking
        self._check()
        # A loss function of the user's normalises over the accumulated batch itself. Otherwise Trainer is to count the
        # batch's items and not to divide, and `_share_of_step` weighs each micro-batch: Trainer's own way multiplies
        # a sequence classifier's loss by gradient_accumulation_steps (transformers issue 47688).
        self.model_accepts_loss_kwargs = self.compute_loss_func is None
        self._window: Tensor | None = None

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Compute the guided loss in training steps that are guided, and `Trainer`'s own loss otherwise."""
        weight = self.knobs.kl_weight_at(self.state.global_step, self.state.max_steps) if model.training else 0.0
        share = self._share_of_step(inputs, num_items_in_batch) if model.training else 1.0
        if weight == 0:
            total, outputs = self._task_loss(model, self.adapter.model_inputs(inputs), share, num_items_in_batch)
        else:
            parts, outputs = self._guided(model, inputs, weight, share, num_items_in_batch)
            self._record(parts, share)
            total = parts.total
        if not isinstance(outputs, Mapping) and self.compute_loss_func is _cross_entropy_of_outputs:
            outputs = {"logits": logits_of(outputs)}  # Trainer takes the first of a tuple for the loss
        return (total, outputs) if return_outputs else total

    def evaluate_faithfulness(self, test_dataset: Any = None, **kwargs: Any) -> FaithfulnessReport:
        """Measure comprehensiveness and sufficiency of the model's explanations, beside a random ranking.

        Args:
            test_dataset: Features as for `evaluate`; by default the evaluation set.
            **kwargs: Everything of `sgt_hf.evaluate_faithfulness`.

        Returns:
            The report; print it for the table.

        Raises:
            ValueError: There is no data set.
        """
        dataset = self.eval_dataset if test_dataset is None else test_dataset
        if dataset is None:
            raise ValueError("there is no data to evaluate on: pass test_dataset")
        kwargs.setdefault("batch_size", self.args.eval_batch_size)
        kwargs.setdefault("collator", self.data_collator)
        kwargs.setdefault("trained_masking", self.masking if self.knobs.sgt_kl_weight > 0 else None)
        return evaluate_faithfulness(self._bare(self.model), dataset, self.adapter, **kwargs)

    def prediction_step(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Predict as `Trainer` does, without the columns that only the adapter reads."""
        return super().prediction_step(model, self.adapter.model_inputs(inputs), *args, **kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log as `Trainer` does, with the guided terms since the last training log."""
        if "loss" in logs and self._window is not None:
            *sums, weight = self.accelerator.reduce(self._window, reduction="sum").tolist()
            logs |= {name: value / weight for name, value in zip(LOGGED, sums, strict=True)}
            self._window = None
        super().log(logs, start_time)

    def _guided(
        self, model: nn.Module, inputs: dict[str, Any], weight: float, share: Any, items: Any
    ) -> tuple[SaliencyGuidedLoss, Any]:
        knobs, bare = self.knobs, self._bare(model)
        labels = inputs.get("labels")
        unlabelled = {name: value for name, value in inputs.items() if name not in self.label_names}
        ranking = {"target": knobs.sgt_target, "reduction": knobs.sgt_reduction}
        scores = features = None
        if knobs.sgt_ranking == "separate" or self.args.torch_compile:  # a hook does not survive compilation
            scores = self.adapter.scores(bare, unlabelled, labels, **ranking)
            task_loss, outputs = self._task_loss(model, self.adapter.model_inputs(inputs), share, items)
        else:
            with self.adapter.capture(bare, inputs) as captured:
                task_loss, outputs = self._task_loss(model, captured.batch, share, items)
            features = captured.require(self.adapter)

        def masked_forward(drop: Tensor) -> Tensor:
            masked = self.adapter.mask(unlabelled, drop, self.masking, granularity=knobs.sgt_granularity)
            with nullcontext() if knobs.sgt_update_statistics else keeping_statistics(bare):
                return logits_of(model(**self.adapter.model_inputs(masked)))

        parts = saliency_guided_loss(
            logits_of(outputs),
            features,
            labels,
            masked_forward,
            mask_fraction=knobs.sgt_mask_fraction,
            kl_weight=weight * share,
            eligible=self.adapter.eligible(inputs),
            groups=self.adapter.groups(inputs, knobs.sgt_granularity),
            feature_dim=self.adapter.feature_dim,
            scores=scores,
            task_loss=task_loss,
            **ranking,
        )
        return parts, outputs

    def _task_loss(self, model: nn.Module, inputs: dict[str, Any], share: Any, items: Any) -> tuple[Tensor, Any]:
        """`Trainer`'s loss and outputs, normalised over the whole accumulated batch."""
        if self.compute_loss_func is not None:
            loss, outputs = super().compute_loss(model, inputs, return_outputs=True, num_items_in_batch=items)
            return loss, outputs
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True)
        return loss * share, outputs

    def _share_of_step(self, inputs: dict[str, Any], items: Tensor | int | None) -> Tensor | float:
        """Return the micro-batch's share of the optimizer step's items, on average 1 / accumulation steps.

        Where items cannot be counted Trainer divides by the accumulation steps, and the share is 1.
        """
        if items is None:
            return 1.0
        processes = self.accelerator.num_processes if self.args.average_tokens_across_devices else 1
        return inputs["labels"].ne(-100).sum() / items * processes

    def _record(self, parts: SaliencyGuidedLoss, share: Tensor | float) -> None:
        """Add to the logging window on the device: sums over micro-batches, weighted by their share."""
        with torch.no_grad():
            weight = torch.as_tensor(share, dtype=torch.float32, device=parts.kl.device)
            sums = torch.stack([parts.ce.float(), parts.kl * weight, parts.flipped * weight, weight])
            self._window = sums if self._window is None else self._window + sums

    def _bare(self, model: nn.Module | None = None) -> nn.Module:
        return self.accelerator.unwrap_model(self.model if model is None else model, keep_torch_compile=False)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        if isinstance(self.data_collator, DataCollatorWithWordIds) or self.knobs.sgt_granularity == "word":
            columns: list[str] = self._signature_columns or []
            columns.extend(name for name in self.adapter.extra_columns if name not in columns)

    def _check(self) -> None:
        """Raise where a combination cannot work, with the way out."""
        config = getattr(self.model, "config", None)
        problem, labels = getattr(config, "problem_type", None), getattr(config, "num_labels", None)
        if problem == "regression" or (problem is None and labels == 1):
            raise ValueError(
                "saliency guided training is defined by class probabilities, and this is a regression "
                f"(num_labels={labels}, problem_type={problem!r}): use transformers.Trainer, or set num_labels ≥ 2"
            )
        self.adapter.check(masking=self.masking, granularity=self.knobs.sgt_granularity)
        for refused, seen, way_out in (
            (self.args.n_gpu > 1, f"{self.args.n_gpu} GPUs in one process (DataParallel)", "start it with torchrun"),
            (self.is_deepspeed_enabled, "DeepSpeed", "use DDP"),
            (self.is_fsdp_enabled, "FSDP", "use DDP"),
            (
                self._reentrant(),
                "reentrant gradient checkpointing",
                "set gradient_checkpointing_kwargs={'use_reentrant': False}",
            ),
        ):
            if refused:
                raise ValueError(f"SaliencyGuidedTrainer does not support {seen}: {way_out}")

    def _reentrant(self) -> bool:
        settings = self.args.gradient_checkpointing_kwargs
        return (
            bool(self.args.gradient_checkpointing)
            and isinstance(settings, dict)
            and bool(settings.get("use_reentrant"))
        )


def _cross_entropy_of_outputs(outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
    """The task loss of a model that computes none, in the form that `Trainer` calls."""
    return task_cross_entropy(logits_of(outputs), labels, num_items_in_batch)
