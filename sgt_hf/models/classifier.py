"""What every classifier here has in common: its loss, its first weights, what its configuration may not ask for."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, initialization


def refuse_regression(config: PretrainedConfig, what: str) -> None:
    """Raise where a configuration asks for regression.

    Args:
        config: Of a classifier.
        what: The classifier's name.

    Raises:
        ValueError: It does.
    """
    single_output = config.num_labels == 1 and config.problem_type != "multi_label_classification"
    if config.problem_type == "regression" or single_output:
        raise ValueError(
            f"problem_type={config.problem_type!r} with num_labels={config.num_labels} is a regression, which {what} "
            "does not do; use num_labels >= 2, or problem_type='multi_label_classification'"
        )


def classification_loss(config: PretrainedConfig, logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean loss: cross-entropy, or its binary form where several labels hold at once.

    Args:
        config: Whose `problem_type` tells which; where it is None, floating-point labels do, and it is set, as by
            transformers' own losses, so that the model is used as it was trained.
        logits: (B, K).
        labels: (B,) class indices, or (B, K) zeros and ones.

    Raises:
        ValueError: Labels are floats where one class holds.
    """
    several = labels.is_floating_point()
    if several and config.problem_type not in (None, "multi_label_classification"):
        raise ValueError(
            f"the labels are floats, and config.problem_type is {config.problem_type!r}, as it was given or as earlier "
            "labels were: give class indices, or set 'multi_label_classification'"
        )
    if several or config.problem_type == "multi_label_classification":
        loss = nn.functional.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
    else:
        loss = nn.functional.cross_entropy(logits, labels)
    if config.problem_type is None:
        config.problem_type = "multi_label_classification" if several else "single_label_classification"
    return loss


def draw_as_torch_does(module: nn.Module) -> bool:
    """Draw the weights of an LSTM or a linear layer anew, uniform in ±1/√width.

    The helpers of transformers skip what a checkpoint has already filled; `torch.nn.init` would overwrite it. Its own
    defaults (deviation 0.02) suit wide Transformers and stall a small LSTM for epochs.

    Args:
        module: Any; others are left as they are.

    Returns:
        Whether it was one of these.
    """
    if not isinstance(module, nn.LSTM | nn.Linear):
        return False
    width = module.hidden_size if isinstance(module, nn.LSTM) else module.in_features
    for parameter in module.parameters(recurse=False):
        initialization.uniform_(parameter, -(width**-0.5), width**-0.5)
    return True


def take(values: Tensor, positions: Tensor) -> Tensor:
    """Pick positions (B, T) from the second axis of (B, T, D)."""
    return values.gather(1, positions[:, :, None].expand(-1, -1, values.shape[-1]))


def real_first(values: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Move every row's real positions to its front, in their order.

    Args:
        values: (B, T, D).
        real: (B, T) bool, False at padding.

    Returns:
        The values (B, T, D), and the lengths (B,), at least 1.
    """
    order = torch.argsort((~real).to(torch.int8), dim=1, stable=True)
    return take(values, order), real.sum(1).clamp(min=1)


def within(values: Tensor, lengths: Tensor) -> Tensor:
    """Return (B, T, 1) bool, True at the real positions of `values` (B, T, …), whose rows are `lengths` (B,) long."""
    return (torch.arange(values.shape[1], device=values.device) < lengths[:, None])[:, :, None]
