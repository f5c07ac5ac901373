"""Captum's saliency methods, bound to an adapter: one score per feature, whatever the batch size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from captum.attr import InputXGradient, IntegratedGradients, Saliency
from torch import Tensor, nn

from .adapters.base import Adapter, Batch, logits_of

Forward = Callable[..., Tensor]


@dataclass(frozen=True)
class AttributionSettings:
    """What the saliency methods need to know.

    Attributes:
        baseline: Where integrated gradients starts: `zero`, or the embedding of the tokenizer's `pad`, `mask`, `unk`
            or `sep` token. Features that may not be masked (special tokens) keep their own value.
        steps: Points of integrated gradients' path (Gauss–Legendre).
        samples: Noisy copies of SmoothGrad.
        noise: SmoothGrad's standard deviation, as a share of the sample's own range of ranked values.
        seed: Of SmoothGrad's noise and of random scores; every sample has a generator of its own.
        max_features: Bound on samples × features of one forward.
    """

    baseline: str = "zero"
    steps: int = 50
    samples: int = 25
    noise: float = 0.15
    seed: int = 0
    max_features: int = 16_384


@dataclass(frozen=True)
class Point:
    """A batch at which attributions are taken.

    Attributes:
        features: (B, …) the ranked tensor of the clean input.
        eligible: (B, F) bool.
        targets: (B,) int64, the class explained.
        index: The samples' positions in their data set, which seed their noise.
    """

    features: Tensor
    eligible: Tensor
    targets: Tensor
    index: list[int]


Method = Callable[[nn.Module, Adapter, Batch, Point, AttributionSettings], Tensor]


def forward_from_features(model: nn.Module, adapter: Adapter, batch: Batch) -> tuple[Forward, tuple[Tensor, ...]]:
    """Return a forward that takes the ranked tensor, and the batch's columns to give it as further arguments.

    Captum repeats tensor arguments along with the input, which a closure over the batch would miss.

    Args:
        model: The model, unwrapped.
        adapter: Its adapter.
        batch: Without labels.
    """
    inputs = adapter.model_inputs(batch)
    names = tuple(inputs)

    def forward(features: Tensor, *columns: Tensor) -> Tensor:
        with adapter.replace(model, features):
            return logits_of(model(**dict(zip(names, columns, strict=True))))

    return forward, tuple(inputs.values())


def gradient(model: nn.Module, adapter: Adapter, batch: Batch, point: Point, settings: AttributionSettings) -> Tensor:
    """∂f_j/∂x (Simonyan et al. 2013), signed. Returns the shape of the features."""
    forward, columns = forward_from_features(model, adapter, batch)
    return Saliency(forward).attribute(_leaf(point.features), point.targets, False, columns)


def input_x_gradient(
    model: nn.Module, adapter: Adapter, batch: Batch, point: Point, settings: AttributionSettings
) -> Tensor:
    """x · ∂f_j/∂x (Shrikumar et al. 2016). Returns the shape of the features."""
    forward, columns = forward_from_features(model, adapter, batch)
    return InputXGradient(forward).attribute(_leaf(point.features), point.targets, columns)


def integrated_gradients(
    model: nn.Module, adapter: Adapter, batch: Batch, point: Point, settings: AttributionSettings
) -> Tensor:
    """The path integral from a baseline (Sundararajan et al. 2017). Returns the shape of the features."""
    forward, columns = forward_from_features(model, adapter, batch)
    rows = len(point.targets)
    return IntegratedGradients(forward).attribute(
        _leaf(point.features),
        _baseline(model, adapter, point, settings.baseline),
        point.targets,
        columns,
        n_steps=settings.steps,
        internal_batch_size=max(rows, settings.max_features // max(1, point.eligible.shape[1])),
    )


def smooth_grad(
    model: nn.Module, adapter: Adapter, batch: Batch, point: Point, settings: AttributionSettings
) -> Tensor:
    """The mean gradient over noisy copies (Smilkov et al. 2017). Returns the shape of the features.

    Captum's own NoiseTunnel draws from the global generator for the batch as a whole; here each sample has its own, so
    that its scores do not depend on the batch it comes in.
    """
    rows = _as_rows(point.features, adapter.feature_dim)
    spread = settings.noise * _range(rows, point.eligible)
    generators = [torch.Generator().manual_seed(_sample_seed(settings.seed, i)) for i in point.index]
    total = torch.zeros_like(point.features)
    for _ in range(settings.samples):
        noise = _noise(rows, point.eligible, generators) * spread
        noisy = _from_rows(rows + noise, point.features, adapter.feature_dim)
        total += gradient(model, adapter, batch, Point(noisy, point.eligible, point.targets, point.index), settings)
    return total / settings.samples


ATTRIBUTIONS: dict[str, Method] = {
    "gradient": gradient,
    "input_x_gradient": input_x_gradient,
    "integrated_gradients": integrated_gradients,
    "smooth_grad": smooth_grad,
}


def random_scores(eligible: Tensor, index: list[int], *, draws: int, seed: int) -> Tensor:
    """Draw uniform scores, each sample from a generator of its own: the control of every ranking.

    Args:
        eligible: (B, F) bool, the features that are ranked (one per group, where there are groups).
        index: The samples' positions in their data set.
        draws: How many rankings.
        seed: Of all of them.

    Returns:
        (draws, B, F) in [0, 1), 0 where not eligible.
    """
    scores = torch.zeros(draws, *eligible.shape)
    for row, position in enumerate(index):
        generator = torch.Generator().manual_seed(_sample_seed(seed, position))
        free = eligible[row].cpu()
        scores[:, row, free] = torch.rand(draws, int(free.sum()), generator=generator)
    return scores.to(eligible.device)


def _sample_seed(seed: int, index: int) -> int:
    return (seed + 1) * 1_000_003 + index


def _leaf(features: Tensor) -> Tensor:
    return features.detach().requires_grad_()


def _baseline(model: nn.Module, adapter: Adapter, point: Point, name: str) -> Tensor:
    start = torch.zeros_like(point.features)
    if name != "zero":
        start = adapter.token_features(model, name, point.features)
    rows, ones = _as_rows(start, adapter.feature_dim), _as_rows(point.features, adapter.feature_dim)
    kept = torch.where(point.eligible[..., None], rows, ones)
    return _from_rows(kept, point.features, adapter.feature_dim).detach()


def _as_rows(features: Tensor, dim: int | None) -> Tensor:
    """(B, F, C) view of a ranked tensor: one row a feature, its components last."""
    return features.flatten(1)[..., None] if dim is None else features.movedim(dim, -1).flatten(1, -2)


def _from_rows(rows: Tensor, like: Tensor, dim: int | None) -> Tensor:
    if dim is None:
        return rows.reshape(like.shape)
    return rows.reshape(like.movedim(dim, -1).shape).movedim(-1, dim)


def _range(rows: Tensor, eligible: Tensor) -> Tensor:
    """(B, 1, 1) largest minus smallest eligible value of each sample; 0 where nothing is eligible."""
    outside = ~eligible[..., None]
    high = rows.masked_fill(outside, -torch.inf).amax((1, 2), keepdim=True)
    low = rows.masked_fill(outside, torch.inf).amin((1, 2), keepdim=True)
    return (high - low).clamp(min=0)


def _noise(rows: Tensor, eligible: Tensor, generators: list[torch.Generator]) -> Tensor:
    """(B, F, C) standard normal on eligible features, 0 elsewhere."""
    noise = torch.zeros(rows.shape)
    for row, generator in enumerate(generators):
        free = eligible[row].cpu()
        noise[row, free] = torch.randn(int(free.sum()), rows.shape[-1], generator=generator)
    return noise.to(rows)
