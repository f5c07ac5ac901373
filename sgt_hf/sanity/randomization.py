"""Making a model's parameters, or its training labels, random."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from datasets import Dataset
from torch import nn
from transformers import PreTrainedModel

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

    A module within a list is part of the outermost list's entry (`bert.encoder.layer.5`); any other is a layer of its
    own (`bert.pooler.dense`). The order is that of registration, as in `model.named_modules()`, which for a model that
    registers its parts out of order is not that of its forward. Modules that share all of their parameters, as T5's
    embeddings do, are one layer, that of the first.

    Args:
        model: Any module.

    Returns:
        Layers by name.
    """
    layers: dict[str, list[nn.Module]] = {}
    seen: set[nn.Parameter] = set()
    for name, module in model.named_modules():
        own = set(module.parameters(recurse=False))
        if own - seen:
            seen |= own
            parts = name.split(".")
            end = next((place + 1 for place, part in enumerate(parts) if part.isdigit()), len(parts))
            layers.setdefault(".".join(parts[:end]), []).append(module)
    return layers


@torch.no_grad()
def reinitialize(model: nn.Module, modules: Sequence[nn.Module]) -> None:
    """Draw the own parameters of some modules anew, as when the model was made, from torch's global generators.

    Args:
        model: What the modules belong to; a `PreTrainedModel`'s own rules come first.
        modules: Those to draw.

    Raises:
        ValueError: Neither those rules nor `reset_parameters` set all parameters of a module.
    """
    for module in modules:
        own = dict(module.named_parameters(recurse=False))
        for parameter in own.values():
            parameter.fill_(torch.nan)  # what is left of it has not been drawn
            parameter.__dict__.pop("_is_hf_initialized", None)  # transformers skips what came from a checkpoint
        if isinstance(model, PreTrainedModel):
            model._init_weights(module)
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
    name = next((name for name in LABELS if len(rows) and name in rows[0]), None)
    if name is None:
        raise ValueError(f"there are no labels to permute: the rows have none of {LABELS}")
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
    if isinstance(rows, Dataset):
        labels = rows.select(order)[name][:]
        feature = rows.features[name]
        return rows.remove_columns(name).add_column(name, labels, feature=feature)
    return [{**rows[i], name: rows[other][name]} for i, other in enumerate(order)]


def _undrawn(parameters: dict[str, nn.Parameter]) -> list[str]:
    return [name for name, parameter in parameters.items() if parameter.isnan().any()]
