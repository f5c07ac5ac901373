"""Input gradients without side effects, and the ways to reduce them to one score per feature."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Reduction = Callable[[Tensor, Tensor, int | None], Tensor]


def _total(values: Tensor, dim: int | None) -> Tensor:
    return values if dim is None else values.sum(dim)


def signed_sum(gradient: Tensor, features: Tensor, dim: int | None) -> Tensor:
    """Σ_d g_d: the paper's score of a word, signed."""
    return _total(gradient, dim)


def abs_sum(gradient: Tensor, features: Tensor, dim: int | None) -> Tensor:
    """Σ_d |g_d|."""
    return _total(gradient.abs(), dim)


def l2(gradient: Tensor, features: Tensor, dim: int | None) -> Tensor:
    """The Euclidean norm √Σ_d g_d²."""
    return gradient.abs() if dim is None else gradient.norm(dim=dim)


def grad_x_input(gradient: Tensor, features: Tensor, dim: int | None) -> Tensor:
    """Σ_d g_d · x_d, signed."""
    return _total(gradient * features, dim)


def abs_grad_x_input(gradient: Tensor, features: Tensor, dim: int | None) -> Tensor:
    """Σ_d |g_d · x_d|."""
    return _total((gradient * features).abs(), dim)


def auto(gradient: Tensor, features: Tensor, dim: int | None) -> Tensor:
    """`signed_sum`, or `l2` for the samples in which the signed sum vanishes.

    A LayerNorm subtracts the mean, so a network that normalises its embeddings first (BERT, RoBERTa, GPT-2 and their
    kin) does not see a constant added to an embedding, and Σ_d g_d is 0 but for rounding: a ranking by it is noise.
    Where it does not vanish, |Σ_d g_d| is about Σ_d |g_d| / √D; a tenth of that is the border.
    """
    signed = signed_sum(gradient, features, dim)
    if dim is None:
        return signed
    border = 0.1 * gradient.abs().flatten(1).sum(1) / gradient.shape[dim] ** 0.5
    vanishes = signed.abs().flatten(1).sum(1) < border
    return torch.where(vanishes.view(-1, *[1] * (signed.dim() - 1)), l2(gradient, features, dim), signed)


REDUCTIONS: dict[str, Reduction] = {
    "auto": auto,
    "signed_sum": signed_sum,
    "abs_sum": abs_sum,
    "l2": l2,
    "grad_x_input": grad_x_input,
    "abs_grad_x_input": abs_grad_x_input,
}


def reduce_scores(
    gradient: Tensor, features: Tensor, reduction: str | Reduction = "auto", *, dim: int | None = -1
) -> Tensor:
    """Reduce a gradient (or any attribution of its shape) to one float32 score per feature.

    Args:
        gradient: (B, …) with a component axis `dim`: the embedding of a token, the channels of a pixel.
        features: Shape of `gradient`: the point where it was taken.
        reduction: A name of `REDUCTIONS`, or a callable (gradient, features, dim) → scores.
        dim: The component axis, or None where each entry is a feature of its own (a time series' cells).

    Returns:
        (B, F) float32, the remaining axes flattened in order.

    Raises:
        ValueError: The name is not one of `REDUCTIONS`, or there is no axis of features beside the one of components.
    """
    if features.dim() < 2 + (dim is not None):
        raise ValueError(
            f"features of shape {tuple(features.shape)} have no axis of components beside samples and features: pass "
            "dim=None (feature_dim=None of the loss), where each entry is a feature of its own"
        )
    return _named(reduction)(gradient.float(), features.detach().float(), dim).flatten(1)


def negated(reduction: str | Reduction) -> Reduction:
    """Turn a reduction's ranking upside down, so that the highest features are the ones to drop: a control.

    Args:
        reduction: See `reduce_scores`.

    Raises:
        ValueError: The name is not one of `REDUCTIONS`.
    """
    chosen = _named(reduction)
    return lambda gradient, features, dim: -chosen(gradient, features, dim)


def _named(reduction: str | Reduction) -> Reduction:
    if not isinstance(reduction, str):
        return reduction
    if reduction not in REDUCTIONS:
        raise ValueError(f"unknown reduction {reduction!r}: use one of {sorted(REDUCTIONS)} or a callable")
    return REDUCTIONS[reduction]


def input_gradient(outputs: Tensor, features: Tensor) -> Tensor:
    """Differentiate the sum of outputs with respect to features; no parameter's `.grad` is touched.

    The graph is kept, so that the same forward can still be trained on.

    Args:
        outputs: (B,) the differentiated output of each sample.
        features: (B, …) a tensor inside the graph of `outputs`.

    Returns:
        The gradient, shape of `features`, detached.

    Raises:
        RuntimeError: `features` is not part of the graph of `outputs`.
    """
    (gradient,) = torch.autograd.grad(outputs.float().sum(), features, retain_graph=True, allow_unused=True)
    if gradient is None:
        raise RuntimeError(
            "the prediction has no gradient with respect to what is ranked: a part of the model that runs under "
            "torch.no_grad() hides it. Freeze that part by requires_grad_(False) instead"
        )
    return gradient.detach()


def target_outputs(logits: Tensor, labels: Tensor | None, target: str = "label") -> Tensor:
    """Pick the output of each sample that is differentiated.

    Args:
        logits: (B, K), or (B, L, K) of token classification, whose chosen logits are summed over the tokens.
        labels: (B,), (B, 1) or (B, L) int64 class indices, −100 where there is none; (B, K) float 0/1 of a multi-label
            task; or None.
        target: `label` (the true class; the sum over the true labels) or `predicted` (the arg max; the sum over the
            positive logits). A multi-label sample of no label, whose evidence is that every logit is low, gets minus
            the sum of all.

    Returns:
        (B,) the chosen logits.

    Raises:
        ValueError: The target is unknown, or is `label` and there are no labels.
    """
    if target not in TARGETS:
        raise ValueError(f"unknown target {target!r}: use one of {TARGETS}")
    if target == "label" and labels is None:
        raise ValueError("target 'label' needs labels and the batch has none: pass labels or use target 'predicted'")
    if labels is not None and labels.is_floating_point():
        chosen = logits > 0 if target == "predicted" else labels >= 0.5
        return (logits * (chosen.float() - (~chosen.any(-1, keepdim=True)).float())).sum(-1)
    labels = one_per_prediction(labels, logits)
    index = logits.argmax(-1) if target == "predicted" or labels is None else labels
    if labels is not None and labels.dim() == 2:
        index = index.masked_fill(labels < 0, -100)  # padding and special tokens of token classification
    chosen = logits.gather(-1, index.clamp(min=0)[..., None]).squeeze(-1)
    return chosen if chosen.dim() == 1 else chosen.masked_fill(index < 0, 0.0).sum(-1)


TARGETS = ("label", "predicted")


def one_per_prediction(labels: Tensor | None, logits: Tensor) -> Tensor | None:
    """Return class indices in the shape of the predictions: columns of one, (B, 1) beside logits (B, K), become (B,).

    Args:
        labels: Any, or None.
        logits: (…, K).

    Raises:
        ValueError: They are integers of the shape of the logits, as several labels at once might be.
    """
    several = labels is not None and labels.dim() == 2 and logits.dim() == 2 and labels.shape[1] > 1
    if labels is not None and several and not labels.is_floating_point():
        raise ValueError(
            f"integer labels of shape {tuple(labels.shape)} are no classes of logits {tuple(logits.shape)}: where "
            "several labels hold at once, give them as floats of 0 and 1"
        )
    is_column = labels is not None and labels.dim() == logits.dim() and labels.shape[-1] == 1
    return labels.squeeze(-1) if labels is not None and is_column and not labels.is_floating_point() else labels


def gradient_scores(
    logits: Tensor,
    features: Tensor,
    labels: Tensor | None,
    *,
    target: str = "label",
    reduction: str | Reduction = "auto",
    dim: int | None = -1,
) -> Tensor:
    """Score each feature by the gradient of the chosen logit, in the graph of a forward that has just been run.

    Args:
        logits: See `target_outputs`.
        features: (B, …) a tensor inside the graph of `logits`.
        labels: See `target_outputs`.
        target: See `target_outputs`.
        reduction: See `reduce_scores`.
        dim: See `reduce_scores`.

    Returns:
        (B, F) float32, detached.
    """
    gradient = input_gradient(target_outputs(logits, labels, target), features)
    return reduce_scores(gradient, features, reduction, dim=dim)
