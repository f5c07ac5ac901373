"""`Trainer` with saliency guided training: carries batches to the loss, and has no arithmetic of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object, has_compiled_regions
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import TrainingArguments

from .adapters import Adapter, TextAdapter, adapter_for
from .adapters.base import Masking, logits_of, takes_anything
from .data.collators import PadsTokenColumns, with_word_ids
from .distributed import announce_loss
from .faithfulness.evaluate import USUAL_OPERATOR, evaluate_faithfulness
from .faithfulness.report import FaithfulnessReport
from .guidance import Guidance
from .labels import Labels, cross_entropy_of_outputs, loss_of, require_labels
from .loss import SaliencyGuidedLoss
from .memory import Factors, RandomState, backpropagate_masked, with_clean_branch
from .modes import keeping_statistics
from .reporting.carried import processes_of
from .reporting.publishing import PublishingTrainer
from .safeguards import (
    BadBatches,
    NamingCollator,
    last_complete_checkpoint,
    refuse_bad_texts,
    refuse_unknown_input,
    refuse_unsupported,
)
from .saliency import gradient_scores
from .training_args import SaliencyGuidedArguments, SaliencyGuidedTrainingArguments, knobs_of

LOGGED = ("sgt_ce", "sgt_kl", "sgt_flipped")


class SaliencyGuidedTrainer(PublishingTrainer):
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
        self._loss_by_outputs = False
        if not self.label_names:
            self.label_names = ["labels"]
            # A forward that takes anything tells by what it returns whether it computes a loss; one that takes no
            # labels does not.
            self._loss_by_outputs = self.compute_loss_func is None and takes_anything(self._bare())
            if not self._loss_by_outputs and self.label_smoother is None:
                self.compute_loss_func = self.compute_loss_func or cross_entropy_of_outputs
            self._loss_by_outputs = self.compute_loss_func is None
        if adapter is None:
            refuse_unknown_input(self._bare(), tokenizer)
        self.adapter = adapter or adapter_for(self._bare(), tokenizer)
        self.data_collator = self.adapter.collator() if data_collator is None else with_word_ids(self.data_collator)
        self._check()
        # A loss function of the user's normalises over the accumulated batch itself. Otherwise Trainer is to count the
        # batch's items and not to divide, and `_share_of_step` weighs each micro-batch: Trainer's own way multiplies
        # a sequence classifier's loss by gradient_accumulation_steps (transformers issue 47688).
        self.model_accepts_loss_kwargs = self.compute_loss_func is None
        self._window: Tensor | None = None
        self._used = False
        self._factors = Factors()
        self._items: Any = None
        # Of names that were found and not given, others than `labels` may be inputs, such as `label_embeddings`.
        found = args.label_names is None and "labels" in self.label_names
        self._labels = Labels(["labels"] if found else self.label_names, self._bare())
        self._bad_batches = self._watch()

    @property
    def masking(self) -> Masking:
        """What replaces dropped features, `auto` resolved; a hyperparameter search sets the knob anew for each run."""
        auto = self.knobs.sgt_masking == "auto"
        return self.adapter.default_masking if auto else self.knobs.sgt_masking

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Train as `Trainer` does; `resume_from_checkpoint=True` goes on from the last *complete* checkpoint."""
        if resume_from_checkpoint is True:
            resume_from_checkpoint = last_complete_checkpoint(
                str(self.args.output_dir), self._processes_that_saved, lambda steps: gather_object([steps])
            )
        self._window = None  # of an earlier training: a run of a search, or one that ended between two logs
        self._factors = Factors()
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def _processes_that_saved(self, checkpoint: Path) -> int:
        """How many processes' states a whole checkpoint holds; on a node's own disk, as many as the node runs now."""
        saved = processes_of(checkpoint) or self.args.world_size
        return min(saved, int(os.environ.get("LOCAL_WORLD_SIZE", saved))) if self.args.save_on_each_node else saved

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Make a step as `Trainer` does.

        Raises:
            ValueError: The loss is a subclass's own, and not guided.
        """
        self._used, self._items = False, num_items_in_batch
        try:
            loss = super().training_step(model, inputs, num_items_in_batch)
        finally:
            self._items = None  # a compute_loss outside of a step is of one batch
        if not self._used and (self.knobs.sgt_kl_weight > 0 or self.args.gradient_accumulation_steps > 1):
            raise ValueError(
                f"the compute_loss of this {type(self).__name__} does not return the loss of SaliencyGuidedTrainer's, "
                "so nothing is guided: pass a loss of your own, as of weighted classes, as compute_loss_func=..., or "
                "make it of what super().compute_loss(...) returns"
            )
        if self._factors.unread:  # once at the beginning, and again where logging waits for the device anyway
            self._factors.require_same(type(self).__name__)
        return loss

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Compute the guided loss in training steps that are guided, and `Trainer`'s own loss otherwise."""
        if num_items_in_batch is None and model.training:  # as where an override does not pass it on
            num_items_in_batch = self._items
        weight = self.knobs.kl_weight_at(self.state.global_step, self.state.max_steps) if model.training else 0.0
        self._bad_batches.refuse_shapes(inputs, self.train_dataset if model.training else None)
        if model.training:
            self._bad_batches.watch(inputs)
        share = self._share_of_step(inputs, num_items_in_batch) if model.training else 1.0
        if weight == 0:
            total, outputs = self._task_loss(model, self.adapter.model_inputs(inputs), share, num_items_in_batch)
            self._used = True
        else:
            self._bad_batches.require_input(inputs)
            guided = self._guided_by_branch if self.knobs.sgt_save_memory else self._guided
            parts, outputs = guided(model, inputs, weight, share, num_items_in_batch)
            self._record(parts, share)
            total = parts.total
            announce_loss(model, total)
            total.register_hook(self._note_use)
            if self.knobs.sgt_save_memory:
                total.register_hook(self._factors.of_rest)
        if not isinstance(outputs, Mapping) and self.compute_loss_func is cross_entropy_of_outputs:
            outputs = {"logits": logits_of(outputs)}  # Trainer takes the first of a tuple for the loss
        return (total, outputs) if return_outputs else total

    def evaluate_faithfulness(self, test_dataset: Any = None, **kwargs: Any) -> FaithfulnessReport:
        """Measure comprehensiveness and sufficiency of the model's explanations, beside a random ranking.

        Args:
            test_dataset: Features as for `evaluate`, or the name of one of several evaluation sets; by default the
                evaluation set.
            **kwargs: Everything of `sgt_hf.evaluate_faithfulness`.

        Returns:
            The report; print it for the table.

        Raises:
            ValueError: There is no data set, or none of that name, or the model reads series or images.
        """
        dataset = self._chosen(test_dataset)
        if dataset is None:
            raise ValueError("there is no data to evaluate on: pass test_dataset")
        kwargs.setdefault("batch_size", self.args.eval_batch_size)
        kwargs.setdefault("collator", self.data_collator)
        met = self.recipe().maskings()  # of which the operator of removal, if it is one, is the one to tell
        met.sort(key=lambda masking: masking != kwargs.get("operator", USUAL_OPERATOR))
        kwargs.setdefault("trained_masking", met[0] if met else None)
        report = evaluate_faithfulness(self._bare(self.model), dataset, self.adapter, **kwargs)
        self.remember(dataset, report=report)
        return report

    def prediction_step(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Predict as `Trainer` does, without the columns that only the adapter reads."""
        return super().prediction_step(model, self.adapter.model_inputs(inputs), *args, **kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log as `Trainer` does, with the guided terms since the last training log."""
        if "loss" in logs and self._window is not None:
            *sums, weight = self.accelerator.reduce(self._window, reduction="sum").tolist()
            if weight > 0:  # there were labels
                logs |= {name: value / weight for name, value in zip(LOGGED, sums, strict=True)}
            self._window = None
        if "loss" in logs or "train_loss" in logs:
            self._factors.require_same(type(self).__name__)
        super().log(logs, start_time)

    def _guided(
        self, model: nn.Module, inputs: dict[str, Any], weight: float, share: Any, items: Any
    ) -> tuple[SaliencyGuidedLoss, Any]:
        """Both branches in one graph."""
        task_loss, outputs, ranking = self._clean(model, inputs, share, items)
        return self._parts(model, inputs, weight * share, logits_of(outputs), task_loss, **ranking), outputs

    def _guided_by_branch(
        self, model: nn.Module, inputs: dict[str, Any], weight: float, share: Any, items: Any
    ) -> tuple[SaliencyGuidedLoss, Any]:
        """The same loss and gradients with one branch's activations at a time.

        The clean forward runs once to rank, and once more, with the same random numbers, after the masked branch has
        been backpropagated.
        """
        drawn_on = *inputs.values(), *model.parameters()
        start = RandomState(*drawn_on)
        with self.accelerator.no_sync(model):
            clean, task_loss, scores = self._ranked(model, inputs, share, items)
            parts = self._parts(model, inputs, weight * share, clean, task_loss, scores=scores, features=None)
            gradient = backpropagate_masked(parts, lambda loss: self._backward(loss, items))
        end = RandomState(*drawn_on)
        start.restore()
        task_loss, outputs = self._task_loss(model, self.adapter.model_inputs(inputs), share, items)
        end.restore()
        return with_clean_branch(parts, task_loss, logits_of(outputs), gradient), outputs

    def _ranked(
        self, model: nn.Module, inputs: dict[str, Any], share: Any, items: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return a leaf of the clean logits, the task loss and the scores, and let the clean graph go."""
        with keeping_statistics(model):
            task_loss, outputs, ranking = self._clean(model, inputs, share, items)
        logits, scores = logits_of(outputs), ranking["scores"]
        if scores is None:
            features, dim = ranking["features"], self.adapter.feature_dim
            scores = gradient_scores(logits, features, self._labels.of(inputs), dim=dim, **self._guidance.ranked_by)
        return logits.detach().requires_grad_(), task_loss.detach(), scores

    def _clean(
        self, model: nn.Module, inputs: dict[str, Any], share: Any, items: Any
    ) -> tuple[Tensor, Any, dict[str, Any]]:
        """Return the task loss, the outputs, and what ranks: the features in their graph, or scores."""
        bare = self._bare(model)
        if self.knobs.sgt_drops == "random":
            task_loss, outputs = self._task_loss(model, self.adapter.model_inputs(inputs), share, items)
            return task_loss, outputs, {"scores": self._guidance.random_scores(inputs), "features": None}
        compiled = self.args.torch_compile or has_compiled_regions(model)  # also by `accelerate launch`
        if self.knobs.sgt_ranking == "separate" or compiled:  # a hook does not survive compilation
            ranked_by = self._guidance.ranked_by
            scores = self.adapter.scores(bare, self._labels.without(inputs), self._labels.of(inputs), **ranked_by)
            task_loss, outputs = self._task_loss(model, self.adapter.model_inputs(inputs), share, items)
            return task_loss, outputs, {"scores": scores, "features": None}
        with self.adapter.capture(bare, inputs) as captured:
            task_loss, outputs = self._task_loss(model, captured.batch, share, items)
        return task_loss, outputs, {"scores": None, "features": captured.require(self.adapter)}

    def _parts(
        self, model: nn.Module, inputs: dict[str, Any], weight: Any, logits: Tensor, task_loss: Tensor, **ranking: Any
    ) -> SaliencyGuidedLoss:
        def forward(masked: dict[str, Any]) -> Tensor:
            with nullcontext() if self.knobs.sgt_update_statistics else keeping_statistics(model):
                return logits_of(self._labels.call_unlabelled(model, self.adapter.model_inputs(masked)))

        return self._guidance.loss(
            logits,
            inputs,
            forward,
            kl_weight=weight,
            task_loss=task_loss,
            labels=self._labels.of(inputs),
            unlabelled=self._labels.without(inputs),
            **ranking,
        )

    @property
    def _guidance(self) -> Guidance:
        """Made anew each time: a hyperparameter search sets the knobs for each run."""
        size = self.get_tp_size()  # tensor-parallel ranks, one after the other, see one batch and must mask it alike
        process = self.args.process_index // size if self.args.world_size > size else None
        return Guidance(self.adapter, self.knobs, self.masking, process)

    def _note_use(self, _: Tensor) -> None:
        self._used = True

    def _is_divided(self, items: Any) -> bool:
        """Whether `Trainer.training_step` will divide the loss by the accumulation steps."""
        scaled: bool | None = getattr(self, "loss_is_scaled_for_ga", None)  # a subclass's word, in newer transformers
        return items is None and self.compute_loss_func is None if scaled is None else not scaled

    def _backward(self, loss: Tensor, items: Any) -> None:
        """Backpropagate a part of the loss as `Trainer.training_step` will the rest."""
        steps = self.current_gradient_accumulation_steps if self._is_divided(items) else 1
        loss.register_hook(self._factors.of_masked)
        with torch.autocast(loss.device.type, enabled=False):  # `compute_loss` runs under it, a backward must not
            self.accelerator.backward(loss / steps)

    def _task_loss(self, model: nn.Module, inputs: dict[str, Any], share: Any, items: Any) -> tuple[Tensor, Any]:
        """`Trainer`'s loss and outputs, normalised over the whole accumulated batch."""
        if self.compute_loss_func is not None:
            if self.compute_loss_func is cross_entropy_of_outputs:
                require_labels(inputs)
                items = None if self._is_divided(items) else items  # which Trainer would divide by the steps again
            loss, outputs = super().compute_loss(model, inputs, return_outputs=True, num_items_in_batch=items)
            return loss, outputs
        if self._loss_by_outputs:
            outputs = model(**(inputs if self.label_smoother is None else self._labels.without(inputs)))
            loss = loss_of(outputs) if self.label_smoother is None else None
            if loss is None:
                require_labels(inputs)
                outputs = {"logits": logits_of(outputs)}
                loss = (self.label_smoother or cross_entropy_of_outputs)(outputs, inputs["labels"])
        else:
            loss, outputs = super().compute_loss(model, inputs, return_outputs=True)
        if isinstance(share, Tensor):  # a mean over no label at all is not a number, and its share is 0
            loss = loss.where(share > 0, 0.0)
        return loss * share, outputs

    def _share_of_step(self, inputs: dict[str, Any], items: Tensor | int | None) -> Tensor | float:
        """Return the micro-batch's share of the optimizer step's items, on average 1 / accumulation steps.

        Where Trainer divides by the accumulation steps, as where items cannot be counted, the share is 1. It does not
        divide what a loss function of the user's returns: there each micro-batch has an equal share.
        """
        if self._is_divided(items):
            return 1.0
        if items is None:
            return 1 / getattr(self, "current_gradient_accumulation_steps", 1)
        replicas = self.accelerator.num_processes // self.get_tp_size()  # tensor-parallel ranks see the same batch
        processes = replicas if self.args.average_tokens_across_devices else 1
        return self._labels.of(inputs).ne(-100).sum() / torch.as_tensor(items).clamp(min=1) * processes

    def _record(self, parts: SaliencyGuidedLoss, share: Tensor | float) -> None:
        """Add to the logging window on the device: sums over micro-batches, weighted by their share."""
        with torch.no_grad():
            if not isinstance(share, Tensor):  # made on the device: a copy of a number would wait for it
                share = torch.full((), share, device=parts.kl.device)
            weight = share.to(parts.kl.device, torch.float32)
            sums = torch.stack([parts.ce.float(), parts.kl * weight, parts.flipped * weight, weight])
            self._window = sums if self._window is None else self._window + sums

    def _bare(self, model: nn.Module | None = None) -> nn.Module:
        return self.accelerator.unwrap_model(self.model if model is None else model, keep_torch_compile=False)

    def _get_dataloader(self, dataset: Any, *args: Any, **kwargs: Any) -> DataLoader[Any]:
        """Load as `Trainer` does, by a collator that names bad samples."""
        self._set_signature_columns_if_needed()  # looks at the collator's own class
        collator, own_loss = self.data_collator, self.compute_loss_func not in (None, cross_entropy_of_outputs)
        self.data_collator = NamingCollator(
            collator, dataset, self._bare(), names=self.label_names, any_labels=own_loss
        )
        try:
            return super()._get_dataloader(dataset, *args, **kwargs)
        finally:
            self.data_collator = collator

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Load as `Trainer` does, at the beginning of every attempt to train, once the first texts were looked at."""
        self._window = None  # of an attempt that ended for want of memory
        if self.knobs.masks and isinstance(self.adapter, TextAdapter):
            several = self.args.per_device_train_batch_size > 1
            refuse_bad_texts(
                self._bare(),
                self.train_dataset,
                self.data_collator,
                self.adapter,
                drops_columns=self._drops_extra_columns,
                moves_padding=self.masking == "delete" and several and not self._labels.required,
            )
        return super().get_train_dataloader()

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        if not self._drops_extra_columns:
            columns: list[str] = self._signature_columns or []
            columns.extend(name for name in self.adapter.extra_columns if name not in columns)

    @property
    def _drops_extra_columns(self) -> bool:
        """Whether a collator gets no columns but the model's own."""
        reads_them = isinstance(self.data_collator, PadsTokenColumns) or self.knobs.sgt_granularity == "word"
        return self.args.remove_unused_columns and not reads_them

    def _watch(self) -> BadBatches:
        return BadBatches(self.adapter, self._bare(), self.args.gradient_accumulation_steps)

    def _check(self) -> None:
        refuse_unsupported(self, self.adapter, self.knobs, masking=self.masking)

    def _hp_search_setup(self, trial: Any) -> None:
        """Set a run's arguments as `Trainer` does, and check them as construction would have."""
        super()._hp_search_setup(trial)
        if self.hp_search_backend is None or trial is None:
            return
        space = self.hp_space(trial) if self.hp_search_backend == "optuna" else trial
        lost = sorted(name for name in space if name.startswith("sgt_") and not hasattr(self.args, name))
        if lost:
            raise ValueError(
                f"the search sets {lost}, which {type(self.args).__name__} does not have: pass "
                "args=SaliencyGuidedTrainingArguments(...)"
            )
        SaliencyGuidedArguments.__post_init__(self.knobs)
        self._bad_batches = self._watch()
        self._check()

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        """Return the norm, unless it is not finite; a gradient scaler passes over such steps itself."""
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        if self.accelerator.scaler is None:
            step = self.state.global_step + 1
            self._bad_batches.require_finite(norm, self._norm_of, model=model, step=step, rows=self.train_dataset)
        return norm

    def _norm_of(self, inputs: Mapping[str, Any]) -> float:
        """The gradient's norm of one batch, on the model outside of any distribution, leaving every `.grad` alone."""
        bare = self._bare()
        weight = self.knobs.kl_weight_at(self.state.global_step, self.state.max_steps)
        if weight == 0:
            loss, _ = self._task_loss(bare, self.adapter.model_inputs(inputs), 1.0, None)
        else:
            loss = self._guided(bare, dict(inputs), weight, 1.0, None)[0].total
        trained = [parameter for parameter in bare.parameters() if parameter.requires_grad]
        gradients = torch.autograd.grad(loss, trained, allow_unused=True)
        return torch.stack([gradient.norm() for gradient in gradients if gradient is not None]).norm().item()
