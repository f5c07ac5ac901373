"""Left padding and positions: whether a text's prediction depends on how far its batch pads it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..adapters import Adapter, TextAdapter
from ..adapters.base import logits_of
from ..masking.text import pad_to
from ..modes import measuring
from .known_ids import known_ids
from .rows import load_batches, position_limit

_WIDER = 4  # columns of padding
_LOOKED_AT = 64  # rows, of which the shortest is padded: one as long as the model reads has no room
_TOLERANCE, _COARSE = 1e-3, 5e-2  # of the largest logit; in half precision


def refuse_shifted_positions(model: nn.Module, dataset: Any, adapter: Adapter, collator: Any = None) -> None:
    """Raise where padding on the left moves a text's positions, and with them its prediction.

    Learned positions that count padding, as GPT-2's do, make every number depend on the texts that are beside a text.
    A short text is run as it is and padded further.

    Args:
        model: A classifier.
        dataset: Its rows of features.
        adapter: Of the model.
        collator: See `load_batches`.

    Raises:
        ValueError: The two predictions differ, or a token id has no row in the embedding.
    """
    if not isinstance(adapter, TextAdapter) or adapter.tokenizer.padding_side != "left":
        return
    shortest = min(range(min(len(dataset), _LOOKED_AT)), key=lambda index: len(dataset[index][adapter.main_input]))
    ((_, batch),) = load_batches(model, adapter, dataset, [[shortest]], collator)
    limit = position_limit(model)
    shape = batch["input_ids"].shape
    tokens = {name: column for name, column in batch.items() if column.shape[:2] == shape and name != "labels"}
    if limit is not None:  # the end of a text is a text too
        tokens = {name: column[:, -max(limit - _WIDER, 1) :] for name, column in tokens.items()}
    batch = {name: column for name, column in batch.items() if name != "labels"} | tokens
    width = batch["input_ids"].shape[1] + _WIDER
    wide = batch | {name: pad_to(tokens[name], width, fill=adapter.fills[name], pad_left=True) for name in tokens}
    with measuring(model), torch.no_grad(), known_ids(model, adapter, batch, [shortest]):
        alone, padded = (logits_of(model(**adapter.model_inputs(one))) for one in (batch, wide))
    half = alone.dtype in (torch.bfloat16, torch.float16) or torch.is_autocast_enabled(alone.device.type)
    tolerance = (_COARSE if half else _TOLERANCE) * max(1.0, float(alone.abs().max()))
    if float((alone - padded).abs().max()) > tolerance:
        raise ValueError(
            f"{type(model).__name__} predicts something else for a text that is padded on the left, for its positions "
            "count the padding: set tokenizer.padding_side = 'right' and encode again"
        )
