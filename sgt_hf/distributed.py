"""Models of several processes: what DDP has to be told of a loss of two forwards, and whether weights are sharded."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


def announce_loss(model: nn.Module, loss: Tensor) -> None:
    """Let DDP look for the parameters without a gradient in the whole loss, where it looks for any.

    After each forward it takes for unused what that forward's outputs do not reach. After the masked forward that is
    wrong wherever the clean one used more, as an auxiliary head that needs labels, or layers that are left out at
    random; the backward then fails.

    Args:
        model: As the Trainer trains it; any but DDP's own wrapper is left alone.
        loss: Scalar, of both forwards, before its backward.
    """
    wrapper: Any = getattr(model, "_orig_mod", model)  # of torch.compile
    looks = isinstance(wrapper, DistributedDataParallel) and wrapper.find_unused_parameters and not wrapper.static_graph
    if looks and wrapper.require_backward_grad_sync:
        wrapper.reducer.prepare_for_backward([loss])


def is_sharded(model: nn.Module) -> bool:
    """Return whether every forward is of all processes: each holds a part of some weights, as under FSDP2.

    Args:
        model: Any.
    """
    return any(is_part(weights) for weights in model.parameters())


def is_part(weights: Tensor) -> bool:
    """Return whether this process holds a part of some weights, the rest of which others hold.

    Args:
        weights: A parameter or buffer.
    """
    if not torch.distributed.is_available():
        return False
    from torch.distributed.tensor import DTensor

    return isinstance(weights, DTensor)
