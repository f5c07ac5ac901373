"""What weights carry of how they were trained, in memory and on disk."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from torch import nn
from transformers import PretrainedConfig

from .evaluations import fingerprint
from .recipe import CONFIG_KEY, Recipe, load_recipe, parse_recipe

logger = logging.getLogger(__name__)

_IN_MEMORY = "_saliency_guided"
_FROM_CHECKPOINT = "_is_hf_initialized"  # what transformers puts on the parameters that it loads


def mark(model: nn.Module, recipe: Recipe) -> None:
    """Let a model carry its recipe: in its config, if it has one, which is saved with it, and while it is in memory.

    Args:
        model: Any.
        recipe: Of its weights.
    """
    config, record = getattr(model, "config", None), recipe.to_dict()
    if isinstance(config, PretrainedConfig):
        setattr(config, CONFIG_KEY, record)
    setattr(model, _IN_MEMORY, (fingerprint(model), record))


def recorded_by(model: nn.Module) -> Recipe | None:
    """Return the recipe of a model's present weights, or None.

    Args:
        model: Marked by `mark`, or loaded from what such a model was saved to.
    """
    weights, record = getattr(model, _IN_MEMORY, ((), None))
    if record is None and any(getattr(each, _FROM_CHECKPOINT, False) for each in model.parameters()):
        record = getattr(getattr(model, "config", None), CONFIG_KEY, None)  # a config alone may be of other weights
    elif weights != fingerprint(model):
        return None
    found = None if record is None else _if_readable(lambda: parse_recipe("config.json of the model", record))
    return None if found is None or found.steps == 0 else found


def recorded_in(folder: str | os.PathLike[str]) -> Recipe | None:
    """Return the recipe in a folder of this disk, or None.

    Args:
        folder: Such as a checkpoint.
    """
    return _if_readable(lambda: load_recipe(folder)) if os.path.isdir(folder) else None


def processes_of(checkpoint: str | os.PathLike[str]) -> int | None:
    """Return how many processes trained what is in a folder, None where that is not recorded.

    Args:
        checkpoint: A folder of this disk.
    """
    recipe = recorded_in(checkpoint)
    if recipe is None or recipe.hyperparameters is None:
        return None
    return int(recipe.hyperparameters.get("num_devices", 1))  # which transformers names where there are several


def _if_readable(read: Callable[[], Recipe]) -> Recipe | None:
    try:
        return read()
    except ValueError as error:
        logger.warning("%s; nothing will be told of how these weights came to be before", error)
        return None
