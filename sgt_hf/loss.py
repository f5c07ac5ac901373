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
from .saliency import Reduction, input_gradient, reduce_scores, target_outputs


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
    """KL(softmax(logits) ‖ softmax(masked_logits)) in float32, batch mean, gradients through both arguments.

    Args:
        logits: (B, K).
        masked_logits: (B, K).

    Returns:
        Scalar ≥ 0, in nats.
    """
    clean, masked = functional.log_softmax(logits.float(), -1), functional.log_softmax(masked_logits.float(), -1)
    return functional.kl_div(masked, clean, reduction="batchmean", log_target=True)


def bernoulli_kl_divergence(logits: Tensor, masked_logits: Tensor) -> Tensor:
    """KL of independent Bernoullis σ(logits) ‖ σ(masked_logits), summed over labels, batch mean, in float32.

    Args:
        logits: (B, K).
        masked_logits: (B, K).

    Returns:
        Scalar ≥ 0, in nats.
    """
    clean, masked = logits.float(), masked_logits.float()
    present = functional.logsigmoid(clean) - functional.logsigmoid(masked)
    absent = functional.logsigmoid(-clean) - functional.logsigmoid(-masked)
    share = clean.sigmoid()
    return (share * present + (1 - share) * absent).sum(-1).mean()


def saliency_guided_loss(
    logits: Tensor,
    features: Tensor | None,
    labels: Tensor | None,
    masked_forward: Callable[[Tensor], Tensor],
    *,
    mask_fraction: float = 0.5,
    kl_weight: float | Tensor = 1.0,
    eligible: Tensor | None = None,
    groups: Tensor | None = None,
    reduction: str | Reduction = "auto",
    target: str = "label",
    feature_dim: int | None = -1,
    scores: Tensor | None = None,
    task_loss: Tensor | None = None,
) -> SaliencyGuidedLoss:
    """Compute the saliency guided loss of a batch whose clean forward has just been run.

    The features are ranked by the gradient of the clean forward's own graph; the lowest are masked; a second forward
    must predict the same. Nothing of the model is changed and no `.grad` is written.

    Args:
        logits: (B, K) of the clean forward.
        features: (B, …) the ranked tensor, part of the graph of `logits`: an input with `requires_grad`, or an
            embedding layer's output. None where `scores` are given.
        labels: (B,) int64 class indices; (B, K) float 0/1 for a multi-label task, which has its own KL; or None with
            target `predicted` and a `task_loss`.
        masked_forward: (B, F) bool `drop` → (B, K) logits of the input with those features replaced.
        mask_fraction: k, share of each sample's eligible features to mask, in [0, 1]; ⌈k·n⌉, never all.
        kl_weight: λ ≥ 0; the sign of a scalar tensor is not checked, which would wait for the device.
        eligible: (B, F) bool, features that may be masked; None for all.
        groups: (B, F) int64 in [0, F), features that share fate (a word's sub-tokens); None for none.
        reduction: How a feature's gradient becomes one score, see `sgt_hf.saliency.REDUCTIONS`.
        target: The differentiated logit: `label` or `predicted`.
        feature_dim: The axis of `features` that the reduction folds (embedding, channels), None for none.
        scores: (B, F) to rank by, instead of the gradient: a separate pass, or a control.
        task_loss: Scalar to use for the first term, instead of (binary, for multi-label) cross-entropy with `labels`.

    Returns:
        `SaliencyGuidedLoss`; call `.total.backward()`.

    Raises:
        ValueError: A fraction outside [0, 1], a negative weight, an unknown reduction or target, a shape that
            does not fit, or missing labels.

    Example:
        >>> model, x, y = torch.nn.Linear(4, 2), torch.randn(3, 4, requires_grad=True), torch.tensor([0, 1, 1])
        >>> loss = saliency_guided_loss(model(x), x, y, lambda drop: model(x.masked_fill(drop, 0.0)), feature_dim=None)
        >>> loss.drop.sum(1).tolist()
        [2, 2, 2]
    """
    if isinstance(kl_weight, int | float) and kl_weight < 0:
        raise ValueError(f"kl_weight must be ≥ 0, got {kl_weight}")
    if logits.dim() != 2:
        raise ValueError(f"logits must be (B, K), one prediction a sample, got shape {tuple(logits.shape)}")
    if scores is None:
        if features is None:
            raise ValueError("there are neither features nor scores: nothing can be ranked")
        gradient = input_gradient(target_outputs(logits, labels, target), features)
        scores = reduce_scores(gradient, features, reduction, dim=feature_dim)
    eligible = torch.ones_like(scores, dtype=torch.bool) if eligible is None else eligible
    if eligible.shape != scores.shape:
        raise ValueError(f"eligible has shape {tuple(eligible.shape)} and the scores {tuple(scores.shape)}")
    ce = _cross_entropy(logits, labels) if task_loss is None else task_loss
    drop = select_lowest(scores, eligible, mask_fraction, groups=groups)
    masked_logits = masked_forward(drop)
    multi_label = labels is not None and labels.is_floating_point()
    kl = (bernoulli_kl_divergence if multi_label else kl_divergence)(logits, masked_logits)
    flipped = _flipped(logits, masked_logits, multi_label=multi_label)
    return SaliencyGuidedLoss(ce + kl_weight * kl, ce, kl, logits, masked_logits, drop, flipped)


def _cross_entropy(logits: Tensor, labels: Tensor | None) -> Tensor:
    if labels is None:
        raise ValueError("there are neither labels nor a task_loss: the first term of the loss is undefined")
    if labels.is_floating_point():
        return functional.binary_cross_entropy_with_logits(logits.float(), labels)
    return functional.cross_entropy(logits.float(), labels)


def _flipped(logits: Tensor, masked_logits: Tensor, *, multi_label: bool) -> Tensor:
    """Share of samples whose predicted class, or set of labels, is another under masking."""
    if multi_label:
        return ((logits > 0) != (masked_logits > 0)).any(-1).float().mean()
    return (masked_logits.argmax(-1) != logits.argmax(-1)).float().mean()
