"""What a model is put in for a while, and given back from: evaluation, its own precision, no running statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

from accelerate.utils.operations import ConvertOutputsToFp32
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.instancenorm import _InstanceNorm

# What transformers puts on modules whose layers are checkpointed.
CHECKPOINT = "_gradient_checkpointing_func"


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model in eval mode for a while, and give every submodule its own flag back, also after an exception.

    Recurrent layers stay in train mode with their dropout at 0: cuDNN refuses their backward in eval mode.

    Args:
        model: Any module.
    """
    flags = [(module, module.training) for module in model.modules()]
    recurrent = [(module, module.dropout) for module in model.modules() if isinstance(module, nn.RNNBase)]
    try:
        model.eval()
        for layer, _ in recurrent:
            layer.train()
            layer.dropout = 0.0
        yield
    finally:
        for layer, dropout in recurrent:
            layer.dropout = dropout
        for module, flag in flags:
            module.training = flag


def _without_autocast(forward: Any) -> Any:
    """Peel off what accelerate wraps a forward in for mixed precision, as often as it did, and nothing else."""
    while isinstance(wrapper := getattr(forward, "__wrapped__", None), ConvertOutputsToFp32):
        forward = wrapper.model_forward.__wrapped__
    return forward


@contextmanager
def measuring(model: nn.Module) -> Iterator[None]:
    """Put a model in eval mode, in its own precision and under its own attention for a while.

    After training with `bf16` or `fp16` accelerate leaves the forward under autocast. What is measured then would not
    be what the same weights give when they are loaded again. A `torch.autocast` around the call is the caller's wish
    and stays.

    Args:
        model: Any module, unwrapped.
    """
    own = vars(model)
    wrapped = own.get("forward")
    bare = _without_autocast(wrapped)
    try:
        if bare is not wrapped:
            own["forward"] = MethodType(bare, wrapped.__self__) if isinstance(wrapped, MethodType) else bare
        with evaluating(model), _keeping_attention(model):
            yield
    finally:
        if bare is not wrapped:
            own["forward"] = wrapped


@contextmanager
def _keeping_attention(model: nn.Module) -> Iterator[None]:
    """Give models their attention back after every forward of a while.

    BigBird changes itself, for good, from block-sparse to full attention at the first text that is short.
    """
    found = [module for module in model.modules() if callable(getattr(module, "set_attention_type", None))]
    outermost = [one for one in found if not any(one in other.modules() for other in found if other is not one)]
    kinds = {module: module.attention_type for module in outermost}
    handles = [
        module.register_forward_hook(lambda module, *_: module.set_attention_type(kinds[module]))
        for module in outermost
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def keeping_statistics(model: nn.Module) -> Iterator[None]:
    """Let forwards of a while normalise by their own statistics and leave the running ones as they are.

    Of BatchNorm, and of InstanceNorm where it keeps any.

    The clean forward alone is what inference will see; a masked one would blur its statistics. What gradient
    checkpointing of transformers runs again in the backward pass, when the while is over, leaves them alike.

    Args:
        model: Any module; layers in eval mode go on using their running statistics.
    """
    layers = [
        module
        for module in model.modules()
        if isinstance(module, _NormBase) and module.track_running_stats and module.training
    ]
    checkpointed = [module for module in model.modules() if layers and CHECKPOINT in vars(module)]
    checkpoints = [(module, getattr(module, CHECKPOINT)) for module in checkpointed]
    try:
        for module, checkpoint in checkpoints:
            setattr(module, CHECKPOINT, _untracked_again(checkpoint, layers))
        with _untracked(layers):
            yield
    finally:
        for module, checkpoint in checkpoints:
            setattr(module, CHECKPOINT, checkpoint)


@contextmanager
def _untracked(layers: list[_NormBase]) -> Iterator[None]:
    """Let layers pass over their running statistics for a while; within another such while it changes nothing."""
    before = [(layer, name, getattr(layer, name)) for layer in layers for name in _without_statistics(layer)]
    try:
        for layer in layers:
            for name, value in _without_statistics(layer).items():
                setattr(layer, name, value)
        yield
    finally:
        for layer, name, value in before:
            setattr(layer, name, value)


def _without_statistics(layer: _NormBase) -> dict[str, Any]:
    """InstanceNorm writes its statistics whatever it is told to track."""
    if isinstance(layer, _InstanceNorm):
        return {"running_mean": None, "running_var": None}
    return {"track_running_stats": False}


def _untracked_again(checkpoint: Callable[..., Any], layers: list[_NormBase]) -> Callable[..., Any]:
    """A checkpointing function whose block passes over running statistics, now and when it is run again."""

    def checkpoint_untracked(block: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        def untracked(*inputs: Any, **settings: Any) -> Any:
            with _untracked(layers):
                return block(*inputs, **settings)

        return checkpoint(untracked, *args, **kwargs)

    return checkpoint_untracked
