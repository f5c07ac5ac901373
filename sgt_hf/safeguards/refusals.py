"""What saliency guided training cannot do, refused when the trainer is built, with the way out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from itertools import chain
from typing import Any

from torch import distributed
from transformers import PreTrainedTokenizerBase, Trainer
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
)

from ..adapters import Adapter, TextAdapter
from ..adapters.base import Masking, base_of, refuse_other_input
from ..modes import CHECKPOINT
from ..training_args import SaliencyGuidedArguments


def refuse_unsupported(trainer: Trainer, adapter: Adapter, knobs: SaliencyGuidedArguments, *, masking: Masking) -> None:
    """Raise where a model, a knob and the way of training cannot work together.

    Args:
        trainer: Built by `Trainer.__init__`.
        adapter: Of the model's inputs.
        knobs: Of the training.
        masking: What replaces a dropped feature.

    Raises:
        ValueError: The model is a regression or reads another input, the masking does not fit the tokenizer or the
            head, or the training is distributed in a way that is not supported; says what was seen and the way out.
    """
    _refuse_regression(getattr(trainer.model, "config", None))
    adapter.check(masking=masking, granularity=knobs.sgt_granularity)
    if trainer.model is not None and knobs.sgt_kl_weight:  # without guidance nothing is ranked
        refuse_other_input(trainer.model, adapter)
    heads = _heads(base_of(trainer.model), adapter, masking)
    for seen, way_out in chain(heads, _ways_of_training(trainer, knobs)):
        raise ValueError(f"SaliencyGuidedTrainer does not support {seen}: {way_out}")


def refuse_unknown_input(model: Any, processing_class: Any) -> None:
    """Raise where nothing tells which adapter a model needs.

    Args:
        model: The classifier.
        processing_class: Its tokenizer, or None.

    Raises:
        ValueError: A plain module does not say by `main_input_name` what it reads, and there is no tokenizer.
    """
    said = getattr(model, "main_input_name", None)
    if said is None and not isinstance(processing_class, PreTrainedTokenizerBase):
        raise ValueError(
            f"{type(model).__name__} has no main_input_name, so what it reads is not known: for series pass "
            "adapter=SeriesAdapter(the name of its argument), for images adapter=ImageAdapter(), and for texts "
            "processing_class=tokenizer"
        )


def _refuse_regression(config: Any) -> None:
    problem, labels = getattr(config, "problem_type", None), getattr(config, "num_labels", None)
    if problem == "regression" or (problem is None and labels == 1):
        raise ValueError(
            "saliency guided training is defined by class probabilities, and this is a regression "
            f"(num_labels={labels}, problem_type={problem!r}): use transformers.Trainer, or set num_labels ≥ 2 and "
            "problem_type=None"
        )


def _modules(model: Any) -> Iterator[Any]:
    """All modules of a model, none of None, as `model_init` leaves it at first; a compiled model has no truth value."""
    yield from () if model is None else model.modules()


def _reentrant(trainer: Trainer) -> bool:
    """Whether checkpointing, as the arguments or else the model was told, is reentrant, as torch's own default is."""
    if trainer.args.gradient_checkpointing:
        told = trainer.args.gradient_checkpointing_kwargs
        if not isinstance(told, dict) or set(told) <= {"every_n_layers", "offload"}:  # Trainer's own
            return False
        return told.get("use_reentrant", True) is not False
    on = (module for module in _modules(trainer.model) if getattr(module, "gradient_checkpointing", True))
    functions = (vars(module).get(CHECKPOINT) for module in on)
    return any(each.keywords.get("use_reentrant", True) is not False for each in functions if isinstance(each, partial))


def _heads(model: Any, adapter: Adapter, masking: Masking) -> Iterator[tuple[str, str]]:
    name, config = type(model).__name__, getattr(model, "config", None)
    if name in {*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values(), *MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES.values()}:
        yield f"{name}, which generates text", "take a classifier, as AutoModelForSequenceClassification loads"
    if name.startswith("Whisper"):
        yield f"{name}, whose steps are the last axis of its input", "take a model that reads (batch, steps, channels)"
    if getattr(config, "model_type", None) == "reformer":
        yield f"{name}, whose reversible layers add to the gradients while it is ranked", "take another long model"
    if masking == "delete" and any(getattr(each, "attention_type", None) == "block_sparse" for each in _modules(model)):
        yield (
            "masking 'delete' with block-sparse attention, which BigBird gives up for good at the first short text",
            "set attention_type='original_full', or use another masking, as 'previous_salient'",
        )
    if isinstance(adapter, TextAdapter) and isinstance(masking, str) and model is not None:
        yield from adapter.unfit(model, masking)
    if masking == "delete" and name in MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES.values():
        yield f"masking 'delete' with {name}, which labels every token", "use another masking, as 'previous_salient'"


def _ways_of_training(trainer: Trainer, knobs: SaliencyGuidedArguments) -> Iterator[tuple[str, str]]:
    args = trainer.args
    if distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > args.world_size:
        yield (
            f"{distributed.get_world_size()} processes of which TrainingArguments sees {args.world_size}: each would "
            "train alone",
            "set use_cpu=True to train on CPUs together, or mend the GPUs that torch does not find",
        )
    if args.n_gpu > 1:
        yield f"{args.n_gpu} GPUs in one process (DataParallel)", "start it with torchrun"
    if args.deepspeed or trainer.is_deepspeed_enabled:
        yield (
            "DeepSpeed, whose engine owns the backward pass that ranking needs in the middle of the loss",
            "use DDP, or FSDP2 (fsdp=True), which shards parameters, gradients and optimizer alike",
        )
    if getattr(args, "ddp_static_graph", None) and args.world_size > 1 and knobs.sgt_kl_weight > 0:
        yield (
            "ddp_static_graph=True, which follows a step's first forward and backward, and a guided step has two",
            "leave it out",
        )
    if args.fsdp or trainer.is_fsdp_enabled or os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true":
        yield from _fsdp(trainer)
    if trainer.get_cp_size() > 1 or trainer.get_sp_size() > 1:
        yield "context or sequence parallelism, where a process sees a part of each text", "use DDP or FSDP2"
    if knobs.sgt_save_memory and knobs.sgt_kl_weight > 0:
        yield from _backwards_that_act(trainer)
    if any(module._compiled_call_impl is not None for module in _modules(trainer.model)):
        yield "a model compiled in place, whose ranking a hook cannot see", "leave it eager and set torch_compile=True"
    if _reentrant(trainer):
        yield (
            "reentrant gradient checkpointing",
            "set 'use_reentrant' to False among the checkpointing's settings, in the training arguments or where the "
            "model was told itself",
        )


def _backwards_that_act(trainer: Trainer) -> Iterator[tuple[str, str]]:
    """Where a backward does more than to add to the gradients, and a step must not have two."""
    optimizer = str(getattr(trainer.args.optim, "value", trainer.args.optim))
    if optimizer.endswith("layerwise") or "lomo" in optimizer:
        yield (
            f"sgt_save_memory with optim={optimizer!r}, which steps in every backward, of which there are two then",
            "leave one of them out",
        )
    plan = getattr(base_of(trainer.model), "_tp_plan", None) or {}
    if trainer.get_tp_size() > 1 and "replicated_with_grad_allreduce" in plan.values():
        yield (
            "sgt_save_memory under tensor parallelism with this model: after every backward the gradients of some of "
            "its weights are summed over processes, with what an earlier one left there",
            "leave it out, or use FSDP2",
        )


def _fsdp(trainer: Trainer) -> Iterator[tuple[str, str]]:
    plugin = getattr(trainer.accelerator.state, "fsdp_plugin", None)
    if not trainer.is_fsdp_enabled or plugin is None:
        yield (
            f"FSDP by accelerate on {trainer.accelerator.device.type} (it shards on accelerators only, and would train "
            "with plain DDP here)",
            "load the model sharded, from_pretrained(..., distributed_config=DistributedConfig(fsdp_size=...)), and "
            "leave fsdp out",
        )
    elif plugin.fsdp_version != 2:
        yield f"FSDP version {plugin.fsdp_version}", "set fsdp_config={'version': 2}"
