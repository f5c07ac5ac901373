"""Where a batch's labels are, what is left of it without them, and the loss of a model that computes none."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from inspect import Parameter
from typing import Any

from torch import Tensor, nn

from .adapters.base import base_of, logits_of
from .loss import task_cross_entropy


class Labels:
    """The labels of a model's batches.

    Attributes:
        required: Names without which the forward cannot be called.

    Args:
        names: `label_names` of the trainer, at least one.
        model: Whose forward may require them.
    """

    def __init__(self, names: Sequence[str], model: nn.Module) -> None:
        self._names = list(names)
        parameters = inspect.signature(base_of(model).forward).parameters
        self.required = {
            name for name in self._names if name in parameters and parameters[name].default is Parameter.empty
        }

    def of(self, inputs: Mapping[str, Any]) -> Any:
        """Return what is under `labels`, or under the one name that there is; None where there are no labels."""
        return inputs.get("labels", inputs.get(self._names[0]) if len(self._names) == 1 else None)

    def without(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the batch without its labels, but for such as the forward cannot be called without."""
        return {name: value for name, value in inputs.items() if name not in self._names or name in self.required}

    def call_unlabelled(self, model: nn.Module, inputs: Mapping[str, Any]) -> Any:
        """Call a model that was called with labels before, on masked inputs without them.

        Args:
            model: Any module.
            inputs: See `without`.

        Raises:
            ValueError: It fails, most likely for want of the labels.
        """
        try:
            return model(**inputs)
        except (TypeError, KeyError, AttributeError) as error:
            if self.required:  # which it was given
                raise
            raise ValueError(
                f"the model failed on the masked input, which comes without {self._names} ({error!r}): have its "
                "forward compute the loss only where labels are given (labels=None)"
            ) from error


def cross_entropy_of_outputs(outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
    """Compute the task loss of a model that computes none, in the form that `Trainer` calls as `compute_loss_func`.

    Args:
        outputs: What the model returned.
        labels: See `task_cross_entropy`.
        num_items_in_batch: What the sum is divided by; None for the mean.
    """
    return task_cross_entropy(logits_of(outputs), labels, num_items_in_batch)


def loss_of(outputs: Any) -> Tensor | None:
    """Return the loss that a model computed itself, None where it computed none.

    Args:
        outputs: What the model returned: a mapping's `loss`, or the first of a tuple where that is a number.
    """
    if isinstance(outputs, Mapping):
        return outputs.get("loss")
    first = outputs[0] if isinstance(outputs, tuple | list) and outputs else None
    return first if isinstance(first, Tensor) and first.dim() == 0 else None


def require_labels(inputs: Mapping[str, Any]) -> None:
    """Raise where a model computes no loss and there is nothing to compute it from.

    Args:
        inputs: The batch.

    Raises:
        ValueError: It has no `labels`; names what it has.
    """
    if "labels" not in inputs:
        raise ValueError(
            f"the batch has no labels, only {sorted(inputs)}: call the column 'labels', or name the argument of the "
            "model's forward in TrainingArguments(label_names=[...])"
        )
