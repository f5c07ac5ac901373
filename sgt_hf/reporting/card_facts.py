"""What a model card is made of."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # exported, but not in an __all__

from .evaluations import DatasetFacts, Evaluation
from .recipe import Recipe


@dataclass(frozen=True)
class CardFacts:
    """What a card is made of; None is what was not recorded.

    Attributes:
        model_name: Title of the card.
        repo_id: `user/name` on the hub, for the lines of code.
        architecture: Name of the model's class.
        module: From which that class is imported.
        auto_class: By which code that is not in transformers is loaded, as the `auto_map` of its config says.
        plain_module: Whether it is no `PreTrainedModel`, so that its class has no `from_pretrained`.
        num_labels: Classes, where the model says so.
        adapter_of: The base model of a PEFT adapter.
        base_model: What was fine-tuned.
        task: The hub's identifier, such as `text-classification`.
        recipe: How it was trained.
        training_data: On what.
        evaluations: What was measured of these weights.
        left_out: Evaluations made of other weights, which the card does not show.
        language: ISO codes.
        license: The hub's identifier.
        tags: Beside `saliency-guided-training`, which a guided model has.
        datasets: Ids on the hub of the training data.
        note: A sentence or two of the user's.
    """

    model_name: str
    repo_id: str | None = None
    architecture: str | None = None
    module: str | None = None
    auto_class: str | None = None
    plain_module: bool = False
    num_labels: int | None = None
    adapter_of: str | None = None
    base_model: str | None = None
    task: str | None = None
    recipe: Recipe | None = None
    training_data: DatasetFacts | None = None
    evaluations: Sequence[Evaluation] = ()
    left_out: int = 0
    language: str | Sequence[str] | None = None
    license: str | None = None
    tags: Sequence[str] = ()
    datasets: Sequence[str] = ()
    note: str | None = None


def is_repo_id(name: str | None) -> TypeGuard[str]:
    """Whether the hub would take this for a name of a repository.

    Args:
        name: Any.
    """
    if not name:
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def is_on_hub(base: str | None) -> TypeGuard[str]:
    """Whether the name that a base model was loaded by is one of the hub, and not a folder of this disk.

    Args:
        base: Any.
    """
    return is_repo_id(base) and not os.path.exists(base)


def listed(value: str | Sequence[str] | None) -> list[str]:
    """Return what may be given as one, several or none, as several.

    Args:
        value: Of a card.
    """
    return [] if value is None else [value] if isinstance(value, str) else list(value)
