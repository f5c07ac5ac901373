"""Adapters, one a modality, and the choice of one for a model."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from .base import Adapter
from .text import TextAdapter

__all__ = ["Adapter", "TextAdapter", "adapter_for"]


def adapter_for(model: nn.Module, processing_class: Any) -> Adapter:
    """Choose the adapter from the model's own `main_input_name` and its processing class.

    Args:
        model: The classifier.
        processing_class: Its tokenizer.

    Returns:
        A `TextAdapter` for a model over `input_ids`.

    Raises:
        ValueError: The main input is no text, or there is no tokenizer.
    """
    name = getattr(model, "main_input_name", "input_ids")
    if name != "input_ids" and not isinstance(processing_class, PreTrainedTokenizerBase):
        raise ValueError(f"{type(model).__name__} takes {name!r}; give its own adapter: adapter=...")
    return TextAdapter(processing_class)
