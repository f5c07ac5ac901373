"""What weights carry of how they were trained, in memory and on disk."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from torch import nn
from transformers import PretrainedConfig

from .recipe import CONFIG_KEY, Recipe, load_recipe, parse_recipe

logger = logging.getLogger(__name__)

_IN_MEMORY = "_saliency_guided"


def mark(model: nn.Module, recipe: Recipe) -> None:
    """Let a model carry its recipe: in its config, if it has one, which is saved with it, and while it is in memory.

    Args:
        model: Any.
        recipe: Of its weights.
    """
    config, record = getattr(model, "config", None), recipe.to_dict()
    if isinstance(config, PretrainedConfig):
        setattr(config, CONFIG_KEY, record)
    setattr(model, _IN_MEMORY, record)


def recorded_by(model: nn.Module) -> Recipe | None:
    """Return the recipe that a model carries, or None.

    Args:
        model: Marked by `mark`, or loaded from what such a model was saved to.
    """
    config = getattr(model, "config", None)
    # Several models may be made of one config in memory: its record is of the one that was trained.
    loaded = getattr(config, CONFIG_KEY, None) if getattr(config, "_name_or_path", "") else None
    record = getattr(model, _IN_MEMORY, loaded)
    return None if record is None else _if_readable(lambda: parse_recipe("config.json of the model", record))


def recorded_in(folder: str | os.PathLike[str]) -> Recipe | None:
    """Return the recipe in a folder of this disk, or None.

    Args:
        folder: Such as a checkpoint.
    """
    return _if_readable(lambda: load_recipe(folder)) if os.path.isdir(folder) else None


def _if_readable(read: Callable[[], Recipe]) -> Recipe | None:
    try:
        return read()
    except ValueError as error:
        logger.warning("%s; nothing will be told of how these weights came to be before", error)
        return None
