"""The embedding that is ranked: where a model has it, and which of its output belongs to which token."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


def find_embedding(model: nn.Module, name: str | None = None) -> nn.Module:
    """Return the module that embeds the tokens.

    Args:
        model: A Hugging Face model, a plain module around one, or one with a single `nn.Embedding`.
        name: Of the submodule; None to look for it.

    Raises:
        ValueError: It cannot be told which it is.
    """
    if name is not None:
        return model.get_submodule(name)
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False) and hasattr(model, "get_encoder"):
        model = cast(Any, model).get_encoder()  # the table that the whole model names is never called itself
    getter = getattr(model, "get_input_embeddings", None)  # PreTrainedModel and PeftModel share no class
    try:
        found = getter() if callable(getter) else None
    except NotImplementedError:  # CANINE hashes characters
        found = None
    if isinstance(found, nn.Module):
        return found
    inner = _outermost(model)
    if len(inner) == 1:
        return find_embedding(inner[0])
    tables = {name: module for name, module in model.named_modules() if isinstance(module, nn.Embedding)}
    if len(tables) != 1:
        raise ValueError(
            f"{type(model).__name__} has no get_input_embeddings() that gives a module and {len(tables)} embedding "
            f"modules {sorted(tables)}: name the one to rank, TextAdapter(tokenizer, embedding=...)"
        )
    return next(iter(tables.values()))


def _outermost(model: nn.Module) -> list[nn.Module]:
    """The Hugging Face models right inside a module, themselves not inside another."""
    found: list[nn.Module] = []
    for child in model.children():
        found += [child] if isinstance(child, PreTrainedModel) else _outermost(child)
    return found


LOOKS = 8  # batches whose ids are compared: one that happens to be sorted does not tell of a model that sorts


class TokenOrder:
    """Brings an embedding's output into the order of the batch, (B, L, D), and back.

    XLNet embeds (L, B); Longformer and BigBird pad texts on the right to a multiple of their window first.
    """

    def __init__(self) -> None:
        self._is_turned: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()
        self._looks: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()

    def __reduce__(self) -> tuple[type[TokenOrder], tuple[()]]:
        """Leave out of a copy what was found in modules that it does not know."""
        return TokenOrder, ()

    def look(self, module: nn.Module, seen: Any, ids: Tensor) -> None:
        """Find out how a module orders tokens, by the ids themselves; of a few batches, for it waits for the device.

        Args:
            module: The embedding.
            seen: What it was called with.
            ids: (B, L) the batch's.

        Raises:
            ValueError: It was called with another number of ids than the batch has, and not because of padding; or
                with the batch's rows in another order.
        """
        if not isinstance(seen, Tensor):
            return
        known = self._is_turned.get(module)
        if known is None:
            turned = ids.dim() == 2 and seen.shape == ids.T.shape and torch.equal(seen, ids.T)
            # Ids may be clamped or hashed on their way; in the shape of the batch they are in its order.
            straight = _begins_with(seen, ids) or (seen.shape == ids.shape and not turned)
        else:
            turned, straight = known and seen.shape == ids.T.shape, not known and _covers(seen, ids)
        if straight and self._looks.get(module, 0) < LOOKS and _reordered(seen, ids):
            raise ValueError(
                f"the embedding {type(module).__name__} was called with the batch's rows in another order, as by a "
                "model that sorts them by length, so its output cannot be told text by text: embed before you "
                "sort, or pack with enforce_sorted=False"
            )
        if not straight and not turned:
            raise ValueError(
                f"the embedding {type(module).__name__} was called with {tuple(seen.shape)} values that do not "
                f"begin with the batch's {tuple(ids.shape)} input_ids, so its output cannot be told token by token: "
                "this model cannot be ranked; or name another module, TextAdapter(tokenizer, embedding=...)"
            )
        if straight != turned:  # otherwise this batch does not tell
            self._is_turned.setdefault(module, turned)
            self._looks[module] = self._looks.get(module, 0) + 1

    def features(self, module: nn.Module, output: Tensor, width: int) -> Tensor:
        """Return (B, L, D) of an output, without what the model padded on the right beyond `width` tokens."""
        own = output.transpose(0, 1) if self._is_turned.get(module) else output
        return own if own.shape[1] == width else own[:, :width]

    def output(self, module: nn.Module, features: Tensor, output: Tensor) -> Tensor:
        """Return an output whose tokens are (B, L, D) `features`; what was padded beyond them stays."""
        turned = self._is_turned.get(module)
        own = output.transpose(0, 1) if turned else output
        width = features.shape[1]
        whole = features if own.shape[1] == width else torch.cat([features, own[:, width:]], dim=1)
        return whole.transpose(0, 1) if turned else whole


def _covers(seen: Tensor, ids: Tensor) -> bool:
    return seen.dim() == ids.dim() and seen.shape[0] == ids.shape[0] and seen.shape[1] >= ids.shape[1]


def _begins_with(seen: Tensor, ids: Tensor) -> bool:
    return ids.dim() == 2 and _covers(seen, ids) and torch.equal(seen[:, : ids.shape[1]], ids)


def _reordered(seen: Tensor, ids: Tensor) -> bool:
    if seen.shape != ids.shape or torch.equal(seen, ids):
        return False
    found = [torch.unique(rows, dim=0, return_counts=True) for rows in (seen, ids)]
    return all(one.shape == other.shape and torch.equal(one, other) for one, other in zip(*found, strict=True))


@contextmanager
def first_call_hook(module: nn.Module, use: Callable[[Any, Tensor], Tensor]) -> Iterator[None]:
    """Pass the output of the module's first call through `use`, and leave later calls and the module as they are.

    Encoder-decoder models share one embedding; its first call is the encoder's.

    Args:
        module: The hooked module.
        use: What it was called with, and its output → what is handed on.

    Raises:
        ValueError: The output is no tensor.
    """
    seen = False

    def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Tensor:
        nonlocal seen
        if seen:
            return output
        seen = True
        if not isinstance(output, Tensor):
            raise ValueError(
                f"the embedding {type(module).__name__} returns a {type(output).__name__} where a tensor is ranked: "
                "this model cannot be ranked, or name another module, TextAdapter(tokenizer, embedding=...)"
            )
        return use(args[0] if args else kwargs.get("input"), output)

    handle = module.register_forward_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
