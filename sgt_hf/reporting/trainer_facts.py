"""What a trainer knows of its model, put together for the card."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import metadata_load
from torch import nn
from transformers import PreTrainedModel, Trainer
from transformers.modelcard import extract_hyperparameters_from_trainer
from transformers.utils.import_utils import is_peft_available
from yaml import YAMLError

from .card_facts import CardFacts, listed
from .card_usage import REGISTERED
from .evaluations import DatasetFacts, Evaluation, dataset_facts
from .model_card import TAG

logger = logging.getLogger(__name__)

_TASKS = {"ForSequenceClassification": "text-classification", "ForImageClassification": "image-classification"}


def card_facts(
    trainer: Trainer,
    model: nn.Module,
    *,
    model_name: str | None = None,
    language: str | None = None,
    license: str | None = None,
    tags: str | Sequence[str] | None = None,
    finetuned_from: str | None = None,
    tasks: str | Sequence[str] | None = None,
    dataset_tags: str | Sequence[str] | None = None,
    dataset: str | Sequence[str] | None = None,
    dataset_args: str | Sequence[str] | None = None,
) -> CardFacts:
    """Put together what the card says beside recipe and evaluations.

    Args:
        trainer: Of `transformers`.
        model: Its model, unwrapped.
        model_name: By default the name of the repository, or of the folder.
        language: See `Trainer.create_model_card`, as all the others.
        license: The hub's identifier.
        tags: For the hub, beside those of a README that is there.
        finetuned_from: By default the model that the weights were loaded from, if that is on the hub.
        tasks: The hub's identifier; by default from the architecture.
        dataset_tags: Ids of the data on the hub.
        dataset: The data's name, where the data set does not say it itself.
        dataset_args: Said of the data.
    """
    repo_id = trainer.hub_model_id or trainer.args.hub_model_id
    base, adapter_of = _base(model)
    kind = _kind(base)
    arguments = listed(dataset_args)
    return CardFacts(
        model_name=model_name or (repo_id or str(Path(str(trainer.args.output_dir)).absolute())).rpartition("/")[2],
        repo_id=repo_id,
        architecture=kind.__name__,
        module=kind.__module__,
        auto_class=_auto_class(base, kind),
        plain_module=not isinstance(base, PreTrainedModel),
        num_labels=getattr(getattr(base, "config", None), "num_labels", None),
        adapter_of=adapter_of,
        base_model=finetuned_from or _loaded_from(base),
        task=next(iter(listed(tasks)), None) or _task(kind.__name__),
        training_data=dataset_facts_named(trainer.train_dataset, dataset, dataset_tags),
        language=language,
        license=license,
        tags=list(dict.fromkeys(["generated_from_trainer", *listed(tags), *_kept_tags(trainer.args.output_dir)])),
        datasets=listed(dataset_tags),
        note=f"Of the data it was said: {', '.join(arguments)}." if arguments else None,
    )


def dataset_facts_named(dataset: Any, name: Any, hub_id: Any) -> DatasetFacts | None:
    """Return a data set's facts, with the user's one name for it where it has none itself.

    Args:
        dataset: Any, or None.
        name: One name, or several, of which it is not known which.
        hub_id: The same on the hub.
    """
    return None if dataset is None else _named(dataset_facts(dataset), name, hub_id)


def evaluations_named(evaluations: Sequence[Evaluation], name: Any, hub_id: Any) -> list[Evaluation]:
    """Return evaluations whose data has the user's one name for it where it has none itself.

    Different data that says the same of itself is numbered, for a card to tell it apart.

    Args:
        evaluations: As remembered.
        name: See `dataset_facts_named`.
        hub_id: See `dataset_facts_named`.
    """
    known = [replace(one, dataset=_named(one.dataset, name, hub_id)) for one in evaluations]
    numbered = []
    for one in known:
        alike = [other for other in known if other.dataset == one.dataset]
        firsts = [other for i, other in enumerate(alike) if not any(other.same_data(seen) for seen in alike[:i])]
        number = next(i for i, first in enumerate(firsts, start=1) if one.same_data(first))
        told = f"{one.dataset.name or 'unnamed'}, number {number}" if len(firsts) > 1 else one.dataset.name
        numbered.append(replace(one, dataset=replace(one.dataset, name=told)))
    return numbered


def hyperparameters_of(trainer: Trainer) -> dict[str, Any]:
    """Return what `transformers` puts into its own cards.

    Args:
        trainer: Of `transformers`.
    """
    found = extract_hyperparameters_from_trainer(trainer)
    return {name: value if isinstance(value, int | float | str) else str(value) for name, value in found.items()}


def _named(facts: DatasetFacts, name: Any, hub_id: Any) -> DatasetFacts:
    names, ids = listed(name), listed(hub_id)
    return replace(
        facts,
        name=facts.name or (names[0] if len(names) == 1 else None),
        hub_id=facts.hub_id or (ids[0] if len(ids) == 1 else None),
    )


def _base(model: nn.Module) -> tuple[nn.Module, str | None]:
    """The model below a PEFT adapter, and what the adapter belongs to; the model itself and None without one."""
    if is_peft_available():
        from peft import PeftModel

        if isinstance(model, PeftModel):
            config = model.peft_config[model.active_adapter]
            return model.get_base_model(), config.base_model_name_or_path or "a model that is not on the hub"
    return model, None


def _kind(model: nn.Module) -> type:
    """The model's class; `fully_shard` puts one of its own above it."""
    if torch.distributed.is_available():
        from torch.distributed.fsdp import FSDPModule

        return next(kind for kind in type(model).__mro__ if not issubclass(kind, FSDPModule))
    return type(model)


def _auto_class(model: nn.Module, kind: type) -> str | None:
    if kind.__module__.partition(".")[0] in REGISTERED:  # its repository may hold an older copy of the same code
        return None
    auto_map = getattr(getattr(model, "config", None), "auto_map", None) or {}
    return next((name for name, place in auto_map.items() if str(place).rpartition(".")[2] == kind.__name__), None)


def _kept_tags(folder: str | None) -> list[str]:
    """Tags of the README that is there; the one of the method has to be earned anew."""
    file = Path(str(folder), "README.md")
    try:
        metadata = metadata_load(file) if file.exists() else None
    except (ValueError, YAMLError) as error:
        logger.warning("the tags of %s are not kept, for its front matter cannot be read: %s", file, error)
        metadata = None
    tags = (metadata or {}).get("tags") or []
    return [str(tag) for tag in ([tags] if isinstance(tags, str) else tags) if tag != TAG]


def _loaded_from(model: nn.Module) -> str | None:
    name = getattr(getattr(model, "config", None), "_name_or_path", None)
    return name if name and not os.path.isdir(name) else None  # a folder of this disk says nothing to others


def _task(architecture: str) -> str | None:
    return next((task for ending, task in _TASKS.items() if architecture.endswith(ending)), None)
