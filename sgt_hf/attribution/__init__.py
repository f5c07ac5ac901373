"""Captum's saliency methods, bound to an adapter: one score per feature, whatever the batch size."""

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from ..adapters import Adapter
from ..adapters.base import Batch
from ..saliency import Reduction, reduce_scores
from .baselines import baseline, baseline_distribution
from .binding import Attribution, AttributionSettings, FromFeatures, Method, Point, forward_from_features
from .completeness import refuse_not_finite, relative_delta, warn_if_incomplete
from .draws import Draws, seeded_scores
from .gradients import gradient, gradient_shap, input_x_gradient, integrated_gradients, random, smooth_grad
from .rescale import deep_lift, deep_shap

ATTRIBUTIONS: dict[str, Method] = {
    "gradient": gradient,
    "input_x_gradient": input_x_gradient,
    "integrated_gradients": integrated_gradients,
    "smooth_grad": smooth_grad,
    "deep_lift": deep_lift,
    "gradient_shap": gradient_shap,
    "deep_shap": deep_shap,
    "random": random,
}
# Their values are contributions, multiplied by the input or by its distance to a baseline already.
CONTRIBUTIONS = frozenset({"input_x_gradient", "integrated_gradients", "deep_lift", "gradient_shap", "deep_shap"})

__all__ = [
    "ATTRIBUTIONS",
    "CONTRIBUTIONS",
    "Attribution",
    "AttributionSettings",
    "Draws",
    "FromFeatures",
    "Method",
    "Point",
    "baseline",
    "baseline_distribution",
    "deep_lift",
    "deep_shap",
    "forward_from_features",
    "gradient",
    "gradient_shap",
    "input_x_gradient",
    "integrated_gradients",
    "method_names",
    "random",
    "refuse_double_product",
    "refuse_not_finite",
    "relative_delta",
    "scored",
    "seeded_scores",
    "smooth_grad",
    "warn_if_incomplete",
]


def scored(
    method: str,
    model: nn.Module,
    adapter: Adapter,
    batch: Batch,
    point: Point,
    *,
    settings: AttributionSettings,
    reduction: str | Reduction,
) -> tuple[Tensor, Tensor | None]:
    """Score every feature of a batch by a method, and measure how far the scores miss their sum.

    Args:
        method: A name of `ATTRIBUTIONS`.
        model: In eval mode.
        adapter: The model's.
        batch: B samples.
        point: Where the batch is explained.
        settings: Of the method.
        reduction: See `reduce_scores`.

    Returns:
        (B, F) scores, and (B,) relative deltas or None where the method promises no sum.

    Raises:
        ValueError: An eligible feature's score is not finite; names the row.
    """
    attribution = ATTRIBUTIONS[method](model, adapter, batch, point, settings)
    how = "signed_sum" if method == "random" else reduction  # its scores are drawn, and hang on no input
    scores = reduce_scores(attribution.values, point.features, how, dim=adapter.feature_dim)
    refuse_not_finite(method, scores, point)
    return scores, None if attribution.delta is None else relative_delta(attribution, dim=adapter.feature_dim)


def refuse_double_product(methods: Iterable[str], reduction: Any) -> None:
    """Raise where a reduction multiplies by the input what is multiplied by it already.

    Args:
        methods: Names of `ATTRIBUTIONS`.
        reduction: See `sgt_hf.saliency.reduce_scores`.

    Raises:
        ValueError: It does; names the methods.
    """
    twice = sorted(CONTRIBUTIONS.intersection(methods))
    if twice and reduction in ("grad_x_input", "abs_grad_x_input"):
        raise ValueError(
            f"reduction {reduction!r} multiplies by the input, and {twice} have done so already: leave them out of "
            "methods, and measure them in a call of their own with reduction='signed_sum'"
        )


def method_names(methods: Sequence[str]) -> list[str]:
    """Return saliency methods' names as a list, each once, when they are known to be some.

    Args:
        methods: Names of `ATTRIBUTIONS`.

    Raises:
        ValueError: One is unknown, or the list is a string.
    """
    if isinstance(methods, str):
        raise ValueError(f"methods must be a list of names, got the string {methods!r}: use [{methods!r}]")
    unknown = sorted(set(methods) - set(ATTRIBUTIONS))
    if unknown:
        raise ValueError(f"unknown methods {unknown}: use {sorted(ATTRIBUTIONS)}")
    return list(dict.fromkeys(methods))
