"""Token ids that a model has no embedding for, named before the device fails of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ..adapters import Adapter, TextAdapter
from ..adapters.base import Batch


@contextmanager
def known_ids(model: nn.Module, adapter: Adapter, batch: Batch, index: list[int]) -> Iterator[None]:
    """Refuse ids that the embedding is called with and has no row for: a GPU would not say so, and break.

    The batch's own are not looked at, for a model may clamp or hash them first.

    Args:
        model: Its forwards of the while are watched.
        adapter: Its adapter; only a `TextAdapter` has ids.
        batch: Of the forwards, to tell whose id it is.
        index: The samples' rows in their data set.

    Raises:
        ValueError: There is one; names row and token, and the way out.
    """
    modules = adapter.embedding_module(model).modules() if isinstance(adapter, TextAdapter) else ()
    # One with a forward of its own may hash or clamp them itself.
    table = next((one for one in modules if getattr(type(one), "forward", None) is nn.Embedding.forward), None)
    if not isinstance(adapter, TextAdapter) or table is None:
        yield
        return
    weight: Any = table.weight
    size = len(weight)

    def refuse(_: nn.Module, args: tuple[Any, ...]) -> None:
        unknown = args[0][(args[0] < 0) | (args[0] >= size)] if args else torch.empty(0)
        if len(unknown):
            wrong = int(unknown[0])
            ids = batch[adapter.main_input]
            row = next((f"row {n}" for n, own in zip(index, ids, strict=True) if (own == wrong).any()), "a row")
            raise ValueError(
                f"{row} has the token id {wrong} ({adapter.tokenizer.convert_ids_to_tokens(wrong)!r}), and the "
                f"embedding of {type(model).__name__} has {size} rows: encode with the model's own "
                "tokenizer, or call model.resize_token_embeddings(len(tokenizer)) before training"
            )

    handle = table.register_forward_pre_hook(refuse)
    try:
        yield
    finally:
        handle.remove()
