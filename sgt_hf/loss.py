"""Saliency guided training: rank → mask → two forwards → CE + λ·KL.

References:
    Ismail, Corrada Bravo, Feizi. Improving Deep Learning Interpretability by Saliency Guided Training. NeurIPS
    2021, Algorithm 1. Code of the authors: https://github.com/ayaabdelsalam91/saliency_guided_training
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from .ranking import select_lowest
from .saliency import Reduction, gradient_scores, one_per_prediction


class SaliencyGuidedLoss(NamedTuple):
    """The parts of the loss.

    Attributes:
        total: Scalar `ce + kl_weight · kl`, the one to minimise.
        ce: Scalar task loss of the clean input, in its graph.
        kl: Scalar KL(f(X) ‖ f(X̃)) ≥ 0 in nats, batch mean, in the graph of both branches.
        logits: (B, K) of the clean input.
        masked_logits: (B, K) of the masked input.
        drop: (B, F) bool, the features that were masked.
        flipped: Scalar share in [0, 1] of predictions that the masking changed, detached.
    """

    total: Tensor
    ce: Tensor
    kl: Tensor
    logits: Tensor
    masked_logits: Tensor
    drop: Tensor
    flipped: Tensor


def kl_divergence(logits: Tensor, masked_logits: Tensor) -> Tensor:
    """KL(softmax(logits) ‖ softmax(masked_logits)) of each prediction in float32, gradients through both arguments.

    Args:
        logits: (…, K).
        masked_logits: (…, K).

    Returns:
        (…), each ≥ 0 but for rounding, in nats.
    """
    clean, masked = functional.log_softmax(logits.float(), -1), functional.log_softmax(masked_logits.float(), -1)
    impossible = clean == -torch.inf  # a class that the model rules out adds nothing: 0 · log 0
    clean, masked = clean.masked_fill(impossible, 0.0), masked.masked_fill(impossible, 0.0)
    each = functional.kl_div(masked, clean, reduction="none", log_target=True)
    return each.sum(-1)


def bernoulli_kl_divergence(logits: Tensor, masked_logits: Tensor) -> Tensor:
    """KL of independent Bernoullis σ(logits) ‖ σ(masked_logits), summed over labels, in float32.

    Args:
        logits: (B, K).
        masked_logits: (B, K).

    Returns:
        (B,), each ≥ 0 but for rounding, in nats.
    """
    clean, masked = logits.float(), masked_logits.float()
    present = functional.logsigmoid(clean) - functional.logsigmoid(masked)
    absent = functional.logsigmoid(-clean) - functional.logsigmoid(-masked)
    share = clean.sigmoid()
    return (share * present + (1 - share) * absent).sum(-1)


def task_cross_entropy(logits: Tensor, labels: Tensor, items: Tensor | int | None = None) -> Tensor:
    """Cross-entropy in float32; binary, mean over samples and labels, where labels are a multi-label task's.

    Args:
        logits: (B, K), or (B, L, K) of token classification.
        labels: (B,) or (B, L) int64, −100 where there is none; or (B, K) float 0/1.
        items: What the sum is divided by, for a batch that comes in parts; None for the mean.

    Returns:
        Scalar ≥ 0.
    """
    reduction = "mean" if items is None else "sum"
    if labels.is_floating_point():
        loss = functional.binary_cross_entropy_with_logits(logits.float(), labels, reduction=reduction)
    else:
        loss = functional.cross_entropy(logits.float().flatten(0, -2), labels.flatten(), reduction=reduction)
    return loss if items is None else loss / (items.clamp(min=1) if isinstance(items, Tensor) else max(items, 1))


def saliency_guided_loss(
    logits: Tensor,
    features: Tensor | None,
    labels: Tensor | None,
    masked_forward: Callable[[Tensor], Tensor],
    *,
    mask_fraction: float | Tensor = 0.5,
    kl_weight: float | Tensor = 1.0,
    eligible: Tensor | None = None,
    groups: Tensor | None = None,
    reduction: str | Reduction = "auto",
    target: str = "label",
    feature_dim: int | None = -1,
    scores: Tensor | None = None,
    task_loss: Tensor | None = None,
    detach_target: bool = False,
) -> SaliencyGuidedLoss:
    """Compute the saliency guided loss of a batch whose clean forward has just been run.

    The features are ranked by the gradient of the clean forward's own graph; the lowest are masked; a second forward
    must predict the same. Nothing of the model is changed and no `.grad` is written.

    Args:
        logits: (B, K) of the clean forward, or (B, L, K) of token classification.
        features: (B, …) the ranked tensor, part of the graph of `logits`: an input with `requires_grad`, or an
            embedding layer's output. None where `scores` are given.
        labels: (B,) int64 class indices, (B, L) for token classification, −100 where there is none; (B, K) float
            0/1 for a multi-label task, which has its own KL; or None with target `predicted` and a `task_loss`.
        masked_forward: (B, F) bool `drop` → (B, K) logits of the input with those features replaced.
        mask_fraction: k, share of each sample's eligible features to mask, in [0, 1]; ⌈k·n⌉, never all;
            or (B,) float64, each sample's own.
        kl_weight: λ ≥ 0; the sign of a scalar tensor is not checked, which would wait for the device.
        eligible: (B, F) bool, features that may be masked; None for all.
        groups: (B, F) int64 in [0, F), features that share fate (a word's sub-tokens); None for none.
        reduction: How a feature's gradient becomes one score, see `sgt_hf.saliency.REDUCTIONS`.
        target: The differentiated logit: `label` or `predicted`.
        feature_dim: The axis of `features` that the reduction folds (embedding, channels), None for none.
        scores: (B, F) to rank by, instead of the gradient: a separate pass, or a control.
        task_loss: Scalar to use for the first term, instead of (binary, for multi-label) cross-entropy with `labels`.
        detach_target: Whether the clean prediction is a fixed target of the KL; the paper's gradients flow through it.

    Returns:
        `SaliencyGuidedLoss`; call `.total.backward()`.

    Raises:
        ValueError: A fraction outside [0, 1] (of a tensor the range is not checked), a negative weight, an unknown
            reduction or target, a shape that does not fit, or missing labels.

    Example:
        >>> model, x, y = torch.nn.Linear(4, 2), torch.randn(3, 4, requires_grad=True), torch.tensor([0, 1, 1])
        >>> loss = saliency_guided_loss(model(x), x, y, lambda drop: model(x.masked_fill(drop, 0.0)), feature_dim=None)
        >>> loss.drop.sum(1).tolist()
        [2, 2, 2]
    """
    if isinstance(kl_weight, int | float) and kl_weight < 0:
        raise ValueError(f"kl_weight must be ≥ 0, got {kl_weight}")
    _refuse_shapes(logits, labels)
    if scores is None:
        if features is None:
            raise ValueError("there are neither features nor scores: nothing can be ranked")
        scores = gradient_scores(logits, features, labels, target=target, reduction=reduction, dim=feature_dim)
    eligible = torch.ones_like(scores, dtype=torch.bool) if eligible is None else eligible
    if eligible.shape != scores.shape:
        raise ValueError(f"eligible has shape {tuple(eligible.shape)} and the scores {tuple(scores.shape)}")
    if task_loss is None:
        if labels is None:
            raise ValueError("there are neither labels nor a task_loss: the first term of the loss is undefined")
        task_loss = task_cross_entropy(logits, labels)
    drop = select_lowest(scores, eligible, mask_fraction, groups=groups)
    masked_logits = masked_forward(drop)
    if masked_logits.shape != logits.shape:
        raise ValueError(
            f"the masked input has predictions of shape {tuple(masked_logits.shape)}, the clean one of "
            f"{tuple(logits.shape)}: where every token has its own prediction, use another masking than 'delete'"
        )
    kl, flipped = _compare(logits.detach() if detach_target else logits, masked_logits, labels)
    return SaliencyGuidedLoss(task_loss + kl_weight * kl, task_loss, kl, logits, masked_logits, drop, flipped)


def _refuse_shapes(logits: Tensor, labels: Tensor | None) -> None:
    """Raise where predictions are no distribution over classes, or labels are not theirs."""
    several = labels is not None and labels.is_floating_point()
    if logits.dim() < 2 or (logits.shape[-1] == 1 and not several):
        raise ValueError(
            f"logits of shape {tuple(logits.shape)} are no distribution over classes: return two logits for two "
            "classes, or (B, 1) with labels (B, 1) of float 0 and 1"
        )
    if several and labels is not None and labels.shape != logits.shape:
        raise ValueError(
            f"float labels are a multi-label task's, of the shape of the logits {tuple(logits.shape)}, and these have "
            f"{tuple(labels.shape)}: give classes as integers, or labels of that shape"
        )


def _compare(logits: Tensor, masked_logits: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
    """KL, and share of predictions that differ, both means over the batch's labelled predictions."""
    labels = one_per_prediction(labels, logits)
    if labels is not None and labels.is_floating_point():
        divergence = bernoulli_kl_divergence(logits, masked_logits)
        flipped = ((logits > 0) != (masked_logits > 0)).any(-1)
    else:
        divergence = kl_divergence(logits, masked_logits)
        flipped = masked_logits.argmax(-1) != logits.argmax(-1)
    if labels is None or labels.shape != divergence.shape:
        return divergence.mean(), flipped.float().mean()
    labelled = labels != -100
    count = labelled.sum().clamp(min=1)
    return (divergence * labelled).sum() / count, (flipped & labelled).sum() / count
