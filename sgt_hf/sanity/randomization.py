"""Making a model's parameters, or its training labels, random."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

import torch
from datasets import Dataset
from torch import nn
from transformers import PreTrainedModel
from transformers.utils.import_utils import is_peft_available

from ..data.other_columns import LABELS


def randomized_copies(model: nn.Module, layers: Sequence[str], *, cascading: bool, seed: int) -> Iterator[nn.Module]:
    """Yield a copy of the model with each layer re-initialised in turn.

    Args:
        model: Not changed.
        layers: Names from `layers_of`.
        cascading: Whether a layer that was re-initialised stays so; it is then the same copy that is yielded.
        seed: Of the new parameters; torch's global generators are left as they were.

    Raises:
        ValueError: A layer cannot be re-initialised.
    """
    changed = copy.deepcopy(model)
    for step, layer in enumerate(layers):
        if step and not cascading:
            changed = copy.deepcopy(model)
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(seed * 1_000_003 + step)
            reinitialize(changed, layers_of(changed)[layer])
        yield changed


def layers_of(model: nn.Module) -> dict[str, list[nn.Module]]:
    """Group the modules that own parameters into layers, from the input to the output.

    A module within a list is part of the outermost list's entry (`bert.encoder.layer.5`), and what PEFT puts around a
    module is part of that (`base_model.model.classifier`); any other is a layer of its own (`bert.pooler.dense`). The
    order is that of registration, as in `model.named_modules()`, which for a model that registers its parts out of
    order is not that of its forward. Modules that share all of their parameters, as T5's embeddings do, are one layer,
    that of the first.

    Args:
        model: Any module.

    Returns:
        Layers by name.
    """
    layers: dict[str, list[nn.Module]] = {}
    seen: set[nn.Parameter] = set()
    peft = _peft_layers()
    wholes = {name for name, module in model.named_modules() if name and isinstance(module, peft)}
    for name, module in model.named_modules():
        own = set(module.parameters(recurse=False))
        if own - seen:
            seen |= own
            outer = list(accumulate(name.split("."), lambda above, part: f"{above}.{part}"))
            layer = next((one for one in outer if one in wholes or one.rpartition(".")[2].isdigit()), name)
            layers.setdefault(layer, []).append(module)
    return layers


@torch.no_grad()
def reinitialize(model: nn.Module, modules: Sequence[nn.Module]) -> None:
    """Draw the own parameters of some modules anew, as when the model was made, from torch's global generators.

    Args:
        model: What the modules belong to. The rules of the innermost `PreTrainedModel` around a module come first, and
            before them LoRA's.
        modules: Those to draw; of what LoRA adds to a layer all or nothing.

    Raises:
        ValueError: Neither those rules nor `reset_parameters` set all parameters of a module.
    """
    for parameter in (parameter for module in modules for parameter in module.parameters(recurse=False)):
        parameter.fill_(torch.nan)  # what is left of it has not been drawn
        parameter.__dict__.pop("_is_hf_initialized", None)  # transformers skips what came from a checkpoint
    _reset_lora(model)
    owners: dict[nn.Module, PreTrainedModel] = {}
    for outer in model.modules():  # an inner one comes later
        if isinstance(outer, PreTrainedModel):
            owners |= dict.fromkeys(outer.modules(), outer)
    for module in modules:
        own = dict(module.named_parameters(recurse=False))
        if module in owners and _undrawn(own):
            owners[module]._init_weights(module)
        reset = getattr(module, "reset_parameters", None)
        if callable(reset) and _undrawn(own):
            reset()
        if _undrawn(own):
            raise ValueError(
                f"{type(module).__name__} does not say how {_undrawn(own)} are initialised: give it a "
                "reset_parameters() method, or its PreTrainedModel an _init_weights(module) that covers it"
            )


def permute_labels(rows: Any, *, seed: int) -> Any:
    """Return the rows with their labels permuted among them; the given ones are not changed.

    Args:
        rows: A `datasets.Dataset`, or a sequence of dicts, with a `labels`, `label` or `label_ids` entry.
        seed: Of the permutation.

    Returns:
        A `datasets.Dataset`, or a list of dicts.

    Raises:
        ValueError: The rows have no labels.
    """
    names = [name for name in LABELS if len(rows) and name in rows[0]]  # of several a collator takes one: all go alike
    if not names:
        raise ValueError(f"there are no labels to permute: the rows have none of {LABELS}")
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
    if isinstance(rows, Dataset):
        for name in names:
            labels, feature = rows.select(order)[name][:], rows.features[name]
            rows = rows.remove_columns(name).add_column(name, labels, feature=feature)
        return rows
    return [{**rows[i], **{name: rows[other][name] for name in names}} for i, other in enumerate(order)]


def _undrawn(parameters: dict[str, nn.Parameter]) -> list[str]:
    return [name for name, parameter in parameters.items() if parameter.isnan().any()]


def _peft_layers() -> tuple[type, ...]:
    """What PEFT puts around a module, where it is installed."""
    if not is_peft_available():
        return ()
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    return BaseTunerLayer, AuxiliaryTrainingWrapper


def _reset_lora(model: nn.Module) -> None:
    """Draw what LoRA added and has been filled with NaN: such layers look like others to a model's own rules."""
    if not is_peft_available():
        return
    from peft.tuners.lora import LoraLayer

    for layer in model.modules():
        # AdaLoRA's layers are LoRA's too, and have another rule.
        if isinstance(layer, LoraLayer) and type(layer).reset_lora_parameters is LoraLayer.reset_lora_parameters:
            added = [getattr(layer, name) for name in LoraLayer.adapter_layer_names]
            if any(parameter.isnan().any() for part in added for parameter in part.parameters()):
                for adapter in layer.r:
                    layer.reset_lora_parameters(adapter, True)
