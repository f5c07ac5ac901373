"""Methods made of input gradients, for any network."""

from __future__ import annotations

import torch
from captum.attr import InputXGradient, IntegratedGradients, Saliency
from torch import Tensor, nn

from ..adapters.base import Adapter, Batch
from .baselines import baseline, baseline_distribution
from .binding import Attribution, AttributionSettings, FromFeatures, Point, forward_from_features, leaf, repeated
from .draws import Draws, as_rows, from_rows, portions, seeded_scores


def gradient(
    model: nn.Module, adapter: Adapter, batch: Batch, point: Point, settings: AttributionSettings
) -> Attribution:
    """∂f_j/∂x (Simonyan et al. 2013), signed. Promises no sum."""
    forward, columns = forward_from_features(model, adapter, batch)
    return Attribution(Saliency(forward).attribute(leaf(point.features), point.targets, False, columns).detach(), None)


def input_x_gradient(
    model: nn.Module, adapter: Adapter, batch: Batch, point: Point, settings: AttributionSettings
) -> Attribution:
    """x · ∂f_j/∂x (Shrikumar et al. 2016). Promises no sum."""
    forward, columns = forward_from_features(model, adapter, batch)
    values = InputXGradient(forward).attribute(leaf(point.features), point.targets, columns)
    return Attribution(values.detach(), None)


def integrated_gradients(
    model: nn.Module, adapter: Adapter, batch: Batch, point: Point, settings: AttributionSettings
) -> Attribution:
    """The path integral from a baseline (Sundararajan et al. 2017), which sums to f_j(x) − f_j(baseline).

    Costs `settings.steps` forward and backward passes, and two forwards for the delta.
    """
    forward, columns = forward_from_features(model, adapter, batch)
    rows = len(point.targets)
    values, delta = IntegratedGradients(forward).attribute(
        point.features.detach(),
        baseline(model, adapter, point, settings.baseline, seed=settings.seed),
        point.targets,
        columns,
        n_steps=settings.steps,
        internal_batch_size=max(rows, settings.max_features // max(1, point.eligible.shape[1])),
        return_convergence_delta=True,
    )
    return Attribution(values.detach(), delta.float())


def smooth_grad(
    model: nn.Module, adapter: Adapter, batch: Batch, point: Point, settings: AttributionSettings
) -> Attribution:
    """The mean gradient over noisy copies (Smilkov et al. 2017). Promises no sum.

    Captum's own NoiseTunnel draws from the global generator for the batch as a whole; here each sample has its own, so
    that its scores do not depend on the batch it comes in.
    """
    forward, columns = forward_from_features(model, adapter, batch)
    draws = Draws(point, adapter.feature_dim, seed=settings.seed)
    total = torch.zeros_like(point.features, dtype=torch.float32)
    for part in portions(settings.samples, point, settings):
        noisy = point.features + draws.normal(part.stop - part.start, settings.noise)
        total += _gradients(forward, columns, noisy, point).sum(0)
    return Attribution(total / settings.samples, None)


def gradient_shap(
    model: nn.Module, adapter: Adapter, batch: Batch, point: Point, settings: AttributionSettings
) -> Attribution:
    """Expected gradients between noisy copies and a distribution of baselines (Lundberg and Lee 2017).

    The mean over draws of (x′ − b) · ∂f_j/∂x at b + α(x′ − b), with x′ = x + noise, α uniform in [0, 1) and b the
    sample's baselines in turn. Its sum is E f_j(x′) − E f_j(b) in expectation only, and a gap says how few the draws
    are rather than that they are wrong: no delta is given. Captum's GradientShap takes α from NumPy's global generator
    and baselines and noise from torch's, for the batch as a whole; here each sample has its own.
    """
    forward, columns = forward_from_features(model, adapter, batch)
    draws = Draws(point, adapter.feature_dim, seed=settings.seed)
    alphas = draws.uniform(settings.shap_samples)
    references = baseline_distribution(model, adapter, point, settings, draws)
    total = torch.zeros_like(point.features, dtype=torch.float32)
    for part in portions(settings.shap_samples, point, settings):
        noisy = point.features + draws.normal(part.stop - part.start, settings.shap_noise)
        start = references[torch.arange(part.start, part.stop) % settings.shap_baselines]
        between = start + alphas[part] * (noisy - start)
        total += ((noisy - start) * _gradients(forward, columns, between, point)).sum(0)
    return Attribution(total / settings.shap_samples, None)


def random(
    model: nn.Module, adapter: Adapter, batch: Batch, point: Point, settings: AttributionSettings
) -> Attribution:
    """A uniform score for each eligible feature, spread evenly over its components: the control. Promises no sum.

    A group's features add up, so that longer words get more; to rank groups use `seeded_scores` on their leaders.
    """
    (scores,) = seeded_scores(point.eligible, point.index, draws=1, seed=settings.seed)
    rows = as_rows(point.features, adapter.feature_dim)
    values = (scores[..., None] / rows.shape[-1]).expand(rows.shape)
    return Attribution(from_rows(values, point.features, adapter.feature_dim), None)


def _gradients(forward: FromFeatures, columns: tuple[Tensor, ...], features: Tensor, point: Point) -> Tensor:
    """(N, B, …) float32 gradients at N tensors (N, B, …), by one forward and backward pass over N · B samples."""
    count = len(features)
    stacked = leaf(features.flatten(0, 1).to(point.features.dtype))
    targets = point.targets.repeat(count)
    gradients = Saliency(forward).attribute(stacked, targets, False, repeated(columns, count))
    return gradients.detach().float().view(features.shape)
