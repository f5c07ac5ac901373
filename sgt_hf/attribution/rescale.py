"""DeepLIFT and DeepSHAP, for feed-forward networks of module activations; refused where Captum has no rule."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from operator import gt

import torch
from captum.attr import DeepLift
from torch import Tensor, nn

from ..adapters.base import Adapter, Batch
from .baselines import baseline, baseline_distribution
from .binding import Attribution, AttributionSettings, FromFeatures, Point, forward_from_features, leaf, repeated
from .completeness import relative_delta
from .draws import Draws, portions

# Captum also has a rule for nn.Softmax, but it centres the multipliers over the whole batch.
RULES = (nn.ReLU, nn.ELU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)

_NONLINEAR_HOMES = {
    "torch.nn.modules.activation",
    "torch.nn.modules.instancenorm",
    "torch.nn.modules.normalization",
    "torch.nn.modules.rnn",
    "torch.nn.modules.transformer",
    "transformers.activations",
}
_NONLINEAR_POOLS = (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d, nn.LPPool1d, nn.LPPool2d)
_INSTEAD = (
    "Use gradient, input_x_gradient, integrated_gradients, smooth_grad or gradient_shap, which need only gradients."
)


def deep_lift(
    model: nn.Module, adapter: Adapter, batch: Batch, point: Point, settings: AttributionSettings
) -> Attribution:
    """Differences from a baseline, propagated by the rescale rule (Shrikumar et al. 2017); sums to f_j(x) − f_j(b).

    Captum applies the rule by hooks on activation modules, and takes the plain gradient of whatever else is not linear.
    So a network is refused for modules without a rule, for an activation module that is called twice, and, since
    functional activations leave no trace in the modules, wherever the sum is missed.

    Raises:
        ValueError: The network is not one that DeepLIFT is right for; the message names the modules.
    """
    check_architecture(model, adapter, batch, point)
    start = baseline(model, adapter, point, settings.baseline, seed=settings.seed)
    return _deep_lift(model, adapter, batch, point, start[None])


def deep_shap(
    model: nn.Module, adapter: Adapter, batch: Batch, point: Point, settings: AttributionSettings
) -> Attribution:
    """The mean of DeepLIFT over a distribution of baselines (Lundberg and Lee 2017), every sample having its own.

    Its sum is f_j(x) − the mean f_j over those baselines, exactly; the delta is the mean of their deltas.

    Raises:
        ValueError: See `deep_lift`.
    """
    check_architecture(model, adapter, batch, point)
    draws = Draws(point, adapter.feature_dim, seed=settings.seed)
    references = baseline_distribution(model, adapter, point, settings, draws)
    values = torch.zeros_like(point.features, dtype=torch.float32)
    delta = values.new_zeros(len(point.targets))
    for part in portions(len(references), point, settings):
        found = _deep_lift(model, adapter, batch, point, references[part])
        weight = (part.stop - part.start) / len(references)
        values, delta = values + weight * found.values, delta + weight * _given(found.delta)
    return Attribution(values, delta)


def check_architecture(model: nn.Module, adapter: Adapter, batch: Batch, point: Point) -> None:
    """Refuse a network whose modules already say that Captum's DeepLIFT would be wrong.

    Args:
        model: The model, unwrapped, in eval mode.
        adapter: Its adapter.
        batch: Without labels; its first sample is run once, to count calls.
        point: The batch.

    Raises:
        ValueError: There are recurrent, attention, normalising or other non-linear modules without a rule, or one with
            a rule is called more than once in a forward; a pool's windows overlap; or the input is float16.
    """
    if point.features.dtype == torch.float16:
        raise ValueError(f"DeepLIFT divides by differences too small for float16: use float32 or bfloat16. {_INSTEAD}")
    pools = [_called(name, module) for name, module in model.named_modules() if _overlaps(module)]
    if pools:
        raise ValueError(
            f"DeepLIFT's rule for pooling is wrong for windows that overlap or are dilated, as of {_some(pools)}: an "
            f"input in two windows would get one's share alone. {_INSTEAD}"
        )
    unruled = [_called(name, module) for name, module in model.named_modules() if _has_no_rule(module)]
    if unruled:
        raise ValueError(
            f"DeepLIFT has no rule for {_some(unruled)}, and would silently take their plain gradient. {_INSTEAD}"
        )
    forward, columns = forward_from_features(model, adapter, batch)
    with torch.no_grad(), _counting(model) as calls:
        forward(point.features[:1], *(column[:1] for column in columns))
    twice = [name for name, count in calls.items() if count > 1]
    if twice:
        raise ValueError(
            f"DeepLIFT needs an activation module of its own for each use, and {_some(twice)} is called more than once "
            f"in a forward: give each place its own module. {_INSTEAD}"
        )


def _deep_lift(model: nn.Module, adapter: Adapter, batch: Batch, point: Point, references: Tensor) -> Attribution:
    """Attributions against N baselines (N, B, …), averaged over them, each verified."""
    count = len(references)
    # Parameters keep their graph: Captum hooks the input of every activation, also of one the features do not reach.
    forward, columns = forward_from_features(model, adapter, batch, freeze=False)
    with warnings.catch_warnings(), _prepared(model):
        warnings.filterwarnings("ignore", "Setting forward, backward hooks and attributes on non-linear", UserWarning)
        values, delta = DeepLift(forward).attribute(
            leaf(repeated((point.features,), count)[0]),
            references.flatten(0, 1),
            point.targets.repeat(count),
            repeated(columns, count),
            return_convergence_delta=True,
        )
    found = Attribution(values.detach(), delta.detach().float())
    _verify(found, forward, adapter)
    return Attribution(found.values.view(references.shape).float().mean(0), _given(found.delta).view(count, -1).mean(0))


def _verify(found: Attribution, forward: FromFeatures, adapter: Adapter) -> None:
    """Refuse a network in which something that Captum did not see was not linear."""
    worst = relative_delta(found, dim=adapter.feature_dim).max().item()
    tolerance = 1e-3 if found.values.dtype in (torch.float32, torch.float64) else 5e-2
    if worst <= tolerance:
        return
    suspects = [_called(name, module) for name, module in forward.model.named_modules() if _is_unknown(module)]
    where = f" Perhaps in {_some(suspects)}." if suspects else ""
    raise ValueError(
        f"DeepLIFT is wrong for this {type(forward.model).__name__}: its scores miss f(x) − f(baseline) by {worst:.2g} "
        "of their size. It uses functional activations (torch.relu, F.max_pool1d, …), products or other non-linear "
        f"steps, which leave no module to hook; write them as modules such as nn.ReLU().{where} {_INSTEAD}"
    )


@contextmanager
def _counting(model: nn.Module) -> Iterator[Counter[str]]:
    """Count the calls of every module that has a rule, by its name."""
    calls: Counter[str] = Counter()
    names = {module: _called(name, module) for name, module in model.named_modules() if type(module) in RULES}

    def count(module: nn.Module, _: tuple[Tensor, ...], __: Tensor) -> None:
        calls[names[module]] += 1

    handles = [module.register_forward_hook(count) for module in names]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _prepared(model: nn.Module) -> Iterator[None]:
    """Give every module that has a rule an input tensor of its own, and remove what Captum leaves on it.

    Captum hooks the gradient of the very tensor that goes in. Where another step takes the same tensor (x + relu(x)) it
    would lose that step's gradient, and where it comes straight out of another such module (ReLU, then pooling) the
    latter would see the gradient before it is replaced. When a pass fails, attributes stay on the modules.
    """
    ruled = [module for module in model.modules() if type(module) in RULES]
    handles = [module.register_forward_pre_hook(lambda _, inputs: (inputs[0].clone(), *inputs[1:])) for module in ruled]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module in ruled:
            module.__dict__.pop("input", None)
            module.__dict__.pop("output", None)


def _has_no_rule(module: nn.Module) -> bool:
    if type(module) in RULES:
        return False
    homes = {base.__module__ for base in type(module).__mro__}
    return isinstance(module, _NONLINEAR_POOLS) or not homes.isdisjoint(_NONLINEAR_HOMES)


def _overlaps(module: nn.Module) -> bool:
    if not isinstance(module, (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)):
        return False
    sizes = (module.kernel_size, module.stride, module.dilation)
    wide, apart, dilation = (tuple(value) if isinstance(value, tuple | list) else (value,) * 3 for value in sizes)
    return any(map(gt, wide, apart)) or max(dilation) > 1


def _is_unknown(module: nn.Module) -> bool:
    """Whether it is a module without parts that torch did not define."""
    return not list(module.children()) and not type(module).__module__.startswith("torch.nn.")


def _called(name: str, module: nn.Module) -> str:
    return f"{name or 'the model'} ({type(module).__name__})"


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _given(delta: Tensor | None) -> Tensor:
    assert delta is not None  # DeepLIFT always has one
    return delta
