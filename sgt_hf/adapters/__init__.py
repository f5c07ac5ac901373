"""Adapters, one a modality, and the choice of one for a model."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from .base import Adapter
from .image import ImageAdapter
from .series import SeriesAdapter
from .text import TextAdapter

__all__ = ["Adapter", "ImageAdapter", "SeriesAdapter", "TextAdapter", "adapter_for"]


def adapter_for(model: nn.Module, processing_class: Any) -> Adapter:
    """Choose the adapter from the model's own `main_input_name` and its processing class.

    Args:
        model: The classifier.
        processing_class: Its tokenizer, or image processor.

    Returns:
        A `TextAdapter` for a model over `input_ids`, an `ImageAdapter` for one over `pixel_values`, a `SeriesAdapter`
        for one over anything else, unless a tokenizer comes with it.

    Raises:
        ValueError: The main input is text, and there is no tokenizer.
    """
    name = getattr(model, "main_input_name", "input_ids")
    if name == "pixel_values":
        return ImageAdapter(processing_class)
    if name != "input_ids" and not isinstance(processing_class, PreTrainedTokenizerBase):
        return SeriesAdapter(name)
    adapter = TextAdapter(processing_class)
    adapter.leave_to(model)
    return adapter
