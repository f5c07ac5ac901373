"""Whether attributions are numbers, and add up to what they explain."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from .binding import Attribution, AttributionSettings, Point
from .draws import as_rows

_SMALLEST_TOTAL = 1e-3  # of a logit; below it float32's own rounding would look like an error


def relative_delta(attribution: Attribution, *, dim: int | None) -> Tensor:
    """Return |delta| / Σ_f |Σ_d a_fd|: the error beside the size of the scores that are ranked.

    Beside f(x) − f(baseline), Captum's own yardstick, it would explode wherever scores of both signs cancel.

    Args:
        attribution: With a delta.
        dim: Its component axis, see `Adapter.feature_dim`.

    Returns:
        (B,) float32, ≥ 0.

    Raises:
        ValueError: The attribution has no delta.
    """
    if attribution.delta is None:
        raise ValueError("the method promises no sum, so it has no delta: see Attribution.delta")
    total = as_rows(attribution.values.float(), dim).sum(-1).abs().sum(1)
    return attribution.delta.detach().abs().float() / total.clamp(min=_SMALLEST_TOTAL)


def refuse_not_finite(method: str, scores: Tensor, point: Point) -> None:
    """Raise where a feature that is ranked has no number for a score: it would rank by its place.

    Args:
        method: Its name.
        scores: (B, F).
        point: Where they were taken.

    Raises:
        ValueError: A score is NaN or infinite; names the sample.
    """
    bad = (~scores.isfinite() & point.eligible).any(1)
    if bad.any():
        sample = point.index[int(bad.nonzero()[0])]
        raise ValueError(
            f"the {method} scores of sample {sample} are not finite: are the model's weights, and the gradients of all "
            "its operations (a square root's at zero is not)?"
        )


def warn_if_incomplete(method: str, deltas: Tensor | Sequence[float], settings: AttributionSettings) -> None:
    """Warn once for all samples whose `relative_delta` exceeds `settings.max_delta`.

    Args:
        method: Its name.
        deltas: (N,) relative deltas of an evaluation's samples; may be empty.
        settings: Of the evaluation.
    """
    values = torch.as_tensor(deltas, dtype=torch.float32)
    off = int((~(values <= settings.max_delta)).sum())  # NaN is off too
    if off:
        warnings.warn(
            f"{method}: on {off} of {len(values)} samples the scores miss the sum they promise by more than "
            f"{settings.max_delta:.0%} of their size, at most by {values.max().item():.0%}. Take more steps, "
            f"AttributionSettings(steps=...) above {settings.steps}, or a nearer baseline; or raise max_delta.",
            stacklevel=3,
        )
