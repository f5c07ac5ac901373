"""One branch at a time: the loss and gradients of saliency guided training in about the memory of plain training.

The clean branch is needed to rank, and its logits for the KL; but once the masked branch has been backpropagated, all
that is left of the KL is a gradient with respect to the clean logits, and the clean forward can be run again for it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import get_device_states, set_device_states

from .loss import SaliencyGuidedLoss

_ROUNDING = 0.01  # of factors in bfloat16


class RandomState:
    """The state of the global generators: Python's, NumPy's, and torch's on the CPU and the devices of some tensors.

    Args:
        *values: Tensors of a batch, and weights; other values are passed over.
    """

    def __init__(self, *values: Any) -> None:
        self.python, self.numpy = random.getstate(), np.random.get_state()  # Wav2Vec2 masks time by NumPy's
        self.cpu = torch.get_rng_state()
        one_of_each = {value.device: value for value in values if isinstance(value, Tensor)}
        self.devices, self.states = get_device_states(*one_of_each.values())

    def restore(self) -> None:
        """Put the generators back."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.cpu)
        if self.devices:
            set_device_states(self.devices, self.states)


class Factors:
    """By what the two parts of a loss are multiplied on their ways to the gradients, which is to be the same.

    Every step is compared on the device; only telling of it waits for the device.
    """

    def __init__(self) -> None:
        self.unread = False
        self._masked = torch.ones(())
        self._off: Tensor | None = None

    def of_masked(self, gradient: Tensor) -> None:
        """Take that of the masked branch: a hook of what `backpropagate_masked` passes on."""
        self._masked = gradient.float()

    def of_rest(self, gradient: Tensor) -> None:
        """Take that of what is left: a hook of the total of `with_clean_branch`."""
        off = (gradient.float() / self._masked - 1).abs()
        self.unread = self._off is None
        self._off = off if self._off is None else self._off.maximum(off)

    def require_same(self, culprit: str) -> None:
        """Raise where those of a step so far were not.

        Args:
            culprit: Name of the class that computes the loss.

        Raises:
            ValueError: An override multiplied the loss.
        """
        self.unread = False
        if self._off is not None and self._off > _ROUNDING:
            raise ValueError(
                f"the compute_loss of this {culprit} multiplies the loss, of which sgt_save_memory has backpropagated "
                "a part by then: leave sgt_save_memory out, or pass a loss of your own as compute_loss_func=..."
            )


def backpropagate_masked(parts: SaliencyGuidedLoss, backward: Callable[[Tensor], None]) -> Tensor:
    """Backpropagate λ·KL through the masked branch, whose activations are free afterwards.

    Args:
        parts: Made of clean logits that are a leaf requiring grad, and of a detached task loss.
        backward: Runs the backward pass of a scalar, scaled as the framework needs it.

    Returns:
        (B, …) gradient of λ·KL with respect to the clean logits, unscaled; zero where they are a fixed target.
    """
    both = [parts.logits, parts.masked_logits]
    clean, masked = torch.autograd.grad(parts.total, both, materialize_grads=True)
    backward((parts.masked_logits * masked).sum())
    return clean


def with_clean_branch(
    parts: SaliencyGuidedLoss, task_loss: Tensor, logits: Tensor, gradient: Tensor
) -> SaliencyGuidedLoss:
    """Return the loss of `parts`, whose gradient is what the masked branch's backward has left to do.

    Args:
        parts: As given to `backpropagate_masked`.
        task_loss: Scalar, in the graph of the clean forward run again.
        logits: (B, …) of that forward.
        gradient: What `backpropagate_masked` returned.
    """
    rest = ((logits - logits.detach()) * gradient).sum()  # zero in value
    total = task_loss + (parts.total - parts.ce).detach() + rest
    return parts._replace(total=total, ce=task_loss, kl=parts.kl.detach(), logits=logits)
