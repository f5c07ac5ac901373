"""What stands for nothing: one baseline, or a distribution of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..adapters.base import Adapter
from .binding import AttributionSettings, Point
from .draws import Draws, as_rows, from_rows


def baseline(
    model: nn.Module, adapter: Adapter, point: Point, name: str, *, seed: int = 0, draws: Draws | None = None
) -> Tensor:
    """Return the features of an empty input; features that are not eligible keep their own value.

    Args:
        model: The model.
        adapter: Its adapter.
        point: The batch.
        name: `zero`; `uniform` for noise in the range of the sample's own values; or a name that
            `Adapter.baseline_features` knows.
        seed: Of the noise; every sample has a generator of its own.
        draws: Generators to go on drawing from, instead of new ones of `seed`.

    Returns:
        The shape of the features, detached.

    Raises:
        ValueError: The adapter knows no such baseline.
    """
    if name == "uniform":
        draws = draws or Draws(point, adapter.feature_dim, seed=seed)
        start = draws.within_range().to(point.features.dtype)
    elif name == "zero":
        start = torch.zeros_like(point.features)
    else:
        start = adapter.baseline_features(model, name, point.features, point.eligible)
    rows, own = as_rows(start, adapter.feature_dim), as_rows(point.features, adapter.feature_dim)
    kept = torch.where(point.eligible[..., None], rows, own)
    return from_rows(kept, point.features, adapter.feature_dim).detach()


def baseline_distribution(
    model: nn.Module, adapter: Adapter, point: Point, settings: AttributionSettings, draws: Draws
) -> Tensor:
    """Draw the SHAPs' baselines: `settings.baseline`, with Gaussian noise of `settings.shap_noise` around it.

    A baseline that is itself drawn, `uniform`, is drawn anew for each.

    Args:
        model: The model.
        adapter: Its adapter.
        point: The batch.
        settings: Of the methods.
        draws: The samples' generators, which move on.

    Returns:
        (shap_baselines, B, …), every sample its own.
    """
    count = settings.shap_baselines if settings.baseline == "uniform" else 1
    centres = torch.stack([baseline(model, adapter, point, settings.baseline, draws=draws) for _ in range(count)])
    return (centres + draws.normal(settings.shap_baselines, settings.shap_noise)).to(centres.dtype)
