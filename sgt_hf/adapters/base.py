"""The seam between a model's batch and the loss: bound once, used by the trainer and by the evaluation."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from ..modes import evaluating
from ..saliency import Reduction, gradient_scores

Batch = dict[str, Tensor]
Masking = str | Callable[[Batch, Tensor], Batch]
Collator = Callable[[list[dict[str, Any]]], dict[str, Any]]


class Captured:
    """Holds what one clean forward hands out.

    Attributes:
        batch: What to give the model.
        features: (B, …) the ranked tensor in the graph of that forward; None until the forward has run.
    """

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.features: Tensor | None = None

    def require(self, adapter: Adapter) -> Tensor:
        """Return the features, or say that the forward never produced them."""
        if self.features is None:
            raise RuntimeError(
                f"{type(adapter).__name__} found nothing to rank: the forward did not pass through the ranked module. "
                "Models fed with inputs_embeds are not supported; feed input_ids."
            )
        return self.features


class Adapter(ABC):
    """Knows which tensor of a batch is ranked, which features may be masked, and how.

    Attributes:
        main_input: Name of the model's argument whose features are ranked.
        feature_dim: Axis of the ranked tensor that a score folds (embedding, channels), None for none.
        extra_columns: Of a batch, read by the adapter and never given to the model.
        default_masking: What `sgt_masking="auto"` stands for.
    """

    main_input: str = "input_ids"
    feature_dim: int | None = -1
    extra_columns: tuple[str, ...] = ()
    default_masking: str

    @abstractmethod
    def capture(self, model: nn.Module, batch: Batch) -> AbstractContextManager[Captured]:
        """Record the ranked tensor of the first forward inside the context; hooks are removed on exit.

        Args:
            model: The model, unwrapped.
            batch: As it comes from the collator; extra columns are taken out of `Captured.batch`.
        """

    @abstractmethod
    def replace(self, model: nn.Module, features: Tensor) -> AbstractContextManager[None]:
        """Let the first forward inside the context see `features` in place of the ranked tensor."""

    @abstractmethod
    def eligible(self, batch: Batch) -> Tensor:
        """Return (B, F) bool, the features that may be masked."""

    @abstractmethod
    def groups(self, batch: Batch, granularity: str) -> Tensor | None:
        """Return (B, F) int64 in [0, F), features that share fate, or None where each is its own."""

    @abstractmethod
    def mask(self, batch: Batch, drop: Tensor, masking: Masking, *, granularity: str = "token") -> Batch:
        """Return a new batch whose features under `drop` (B, F) are replaced; the given one is not changed."""

    @abstractmethod
    def check(self, *, masking: Masking, granularity: str) -> None:
        """Raise ValueError where a setting cannot work with this adapter, naming the ones that do."""

    @abstractmethod
    def sizes(self, batch: Batch) -> Tensor:
        """Return (B,) int64, how much work each sample is: a text's tokens."""

    @abstractmethod
    def baseline_features(self, model: nn.Module, name: str, features: Tensor, eligible: Tensor) -> Tensor:
        """Return what stands for nothing in the place of `features` (same shape), for an attribution's baseline.

        Args:
            model: The model.
            name: Of the baseline.
            features: The ranked tensor.
            eligible: (B, F) bool, see `eligible`.
        """

    @abstractmethod
    def collator(self) -> Collator:
        """Return the data collator that makes this adapter's batches of a data set's rows."""

    def scores(
        self, model: nn.Module, batch: Batch, labels: Tensor | None, *, target: str, reduction: str | Reduction
    ) -> Tensor:
        """Rank by a pass of its own in eval mode: no dropout, no random number drawn, nothing left behind.

        Args:
            model: The model, unwrapped.
            batch: Without labels.
            labels: See `target_outputs`.
            target: See `target_outputs`.
            reduction: See `reduce_scores`.

        Returns:
            (B, F) float32 scores.
        """
        with torch.enable_grad(), evaluating(model), self.capture(model, batch) as captured:
            logits = logits_of(model(**captured.batch))
            features = captured.require(self)
            return gradient_scores(logits, features, labels, target=target, reduction=reduction, dim=self.feature_dim)

    def leave_to(self, model: nn.Module | None) -> None:
        """Let a model have those of the extra columns that its own forward names.

        Args:
            model: Any module, or None.
        """
        named = {} if model is None else inspect.signature(base_of(model).forward).parameters
        self.extra_columns = tuple(name for name in type(self).extra_columns if name not in named)

    def model_inputs(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return the batch without the columns that only the adapter reads."""
        return {name: value for name, value in batch.items() if name not in self.extra_columns}


def base_of(model: Any) -> Any:
    """Return the model inside a compiled or a PEFT one, whose forward names the arguments.

    Args:
        model: Any module, or None.
    """
    model = getattr(model, "_orig_mod", model)
    get_base_model = getattr(model, "get_base_model", None)
    return get_base_model() if callable(get_base_model) else model


def takes(model: nn.Module, argument: str) -> bool:
    """Return whether a forward takes an argument, by its own name or, but of transformers' own models, among any.

    Those name what they read, and pass over much of what else they are given.

    Args:
        model: Any module.
        argument: Its name.
    """
    base = base_of(model)
    if argument in inspect.signature(base.forward).parameters:
        return True
    return takes_anything(model) and not type(base).forward.__module__.startswith("transformers.")


def takes_anything(model: nn.Module) -> bool:
    """Return whether a forward takes arguments of any name, as `forward(**batch)` does.

    Args:
        model: Any module.
    """
    parameters = inspect.signature(base_of(model).forward).parameters
    return any(one.kind is one.VAR_KEYWORD for one in parameters.values())


def refuse_other_input(model: nn.Module, adapter: Adapter) -> None:
    """Raise where a model does not take the argument that its adapter ranks.

    Args:
        model: Any module.
        adapter: Said to be its.

    Raises:
        ValueError: It does not; names the arguments that it takes.
    """
    if not takes(model, adapter.main_input):
        inner = base_of(model)
        raise ValueError(
            f"{type(adapter).__name__} ranks {adapter.main_input!r}, and the forward of {type(inner).__name__} takes "
            f"{list(inspect.signature(inner.forward).parameters)}: pass the adapter of its kind of input, "
            "or the argument's name, as in SeriesAdapter('x'), and two texts as a pair in one sequence"
        )


_LOGITS = ("logits", "prediction_logits", "prediction_outputs")  # the others are PatchTST's and PatchTSMixer's


def logits_of(outputs: Any) -> Tensor:
    """Find the logits in what a model returned: a mapping's `logits`, a tuple's first non-scalar, or the tensor.

    Args:
        outputs: A ModelOutput, dict, tuple or tensor.

    Returns:
        (B, K) logits.

    Raises:
        ValueError: There are none; the message says what was found.
    """
    if isinstance(outputs, Tensor):
        return outputs
    if isinstance(outputs, Mapping):
        name = next((name for name in _LOGITS if name in outputs), None)
        if name is None:
            raise ValueError(
                f"the model returned no 'logits', only {sorted(outputs)}: wrap it in a module that calls them so"
            )
        return outputs[name]
    found = [value for value in outputs if isinstance(value, Tensor) and value.dim() > 1]
    if not found:
        raise ValueError(f"the model returned a {type(outputs).__name__} without a tensor of two or more axes")
    return found[0]
