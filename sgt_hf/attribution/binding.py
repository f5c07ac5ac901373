"""What every saliency method is given and hands out, and the forward that takes the ranked tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..adapters.base import Adapter, Batch, logits_of


@dataclass(frozen=True)
class AttributionSettings:
    """What the saliency methods need to know.

    Attributes:
        baseline: Where integrated gradients and DeepLIFT start, and the centre of the SHAPs' baselines: `zero`;
            `uniform`, noise in the sample's own range of values; for text the embedding of the tokenizer's `pad`,
            `mask`, `unk` or `sep` token; for series and images `constant` or `channel_mean`. Features that may not be
            masked (special tokens, padding) keep their own value.
        steps: Points of integrated gradients' path (Gauss–Legendre).
        samples: Noisy copies of SmoothGrad.
        noise: SmoothGrad's standard deviation, as a share of the sample's own range of ranked values.
        shap_samples: Points at which GradientSHAP takes a gradient.
        shap_baselines: Baselines of each sample in GradientSHAP, which takes them in turn, and in DeepSHAP.
        shap_noise: Standard deviation of GradientSHAP's noise on the input and of both SHAPs' baselines around
            `baseline`, as a share of the sample's own range of ranked values.
        seed: Of all noise and of random scores; every sample has a generator of its own.
        max_features: Bound on samples × features of one forward; a whole batch always goes through at once.
        max_delta: Completeness error above which an evaluation warns, see `relative_delta`.
    """

    baseline: str = "zero"
    steps: int = 50
    samples: int = 25
    noise: float = 0.15
    shap_samples: int = 25
    shap_baselines: int = 5
    shap_noise: float = 0.09
    seed: int = 0
    max_features: int = 16_384
    max_delta: float = 0.05

    def __post_init__(self) -> None:
        for name in ("steps", "samples", "shap_samples", "shap_baselines"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be ≥ 1, got {getattr(self, name)}")
        for name in ("noise", "shap_noise", "max_delta"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be ≥ 0, got {getattr(self, name)}")


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


class Attribution(NamedTuple):
    """What a saliency method found.

    Attributes:
        values: The shape of the features.
        delta: (B,) float32, the sum of a sample's values minus the change of the logit that they should add up to; None
            where the method promises no such sum, or only in expectation (GradientSHAP).
    """

    values: Tensor
    delta: Tensor | None


Method = Callable[[nn.Module, Adapter, Batch, Point, AttributionSettings], Attribution]


class FromFeatures(nn.Module):
    """A model as a function of its ranked tensor: a module, so that Captum can hook what is inside.

    Args:
        model: The model, unwrapped; shared, not copied.
        adapter: Its adapter.
        names: Of the columns that `forward` takes after the features.
        freeze: Whether to record no graph for the parameters; saves their gradients in fused kernels (recurrent
            layers) and the activations kept for them elsewhere. Flags are given back after each forward.
    """

    def __init__(self, model: nn.Module, adapter: Adapter, names: tuple[str, ...], *, freeze: bool) -> None:
        super().__init__()
        self.model = model
        self.adapter = adapter
        self.names = names
        self.freeze = freeze

    def forward(self, features: Tensor, *columns: Tensor) -> Tensor:
        """Return (B, K) float32 logits of the batch in `columns`, with `features` in place of its own."""
        inputs = dict(zip(self.names, columns, strict=True))
        with _frozen(self.model, self.freeze), self.adapter.replace(self.model, features):
            return logits_of(self.model(**inputs)).float()


def forward_from_features(
    model: nn.Module, adapter: Adapter, batch: Batch, *, freeze: bool = True
) -> tuple[FromFeatures, tuple[Tensor, ...]]:
    """Return a forward that takes the ranked tensor, and the batch's columns to give it as further arguments.

    Captum repeats tensor arguments along with the input, which a closure over the batch would miss.

    Args:
        model: The model, unwrapped.
        adapter: Its adapter.
        batch: Without labels.
        freeze: See `FromFeatures`.
    """
    inputs = adapter.model_inputs(batch)
    return FromFeatures(model, adapter, tuple(inputs), freeze=freeze), tuple(inputs.values())


@contextmanager
def _frozen(model: nn.Module, freeze: bool) -> Iterator[None]:
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad] if freeze else []
    try:
        for parameter in learning:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


def leaf(features: Tensor) -> Tensor:
    """Return the features as a fresh leaf to differentiate by."""
    return features.detach().requires_grad_()


def repeated(columns: tuple[Tensor, ...], count: int) -> tuple[Tensor, ...]:
    """Return each column (B, …) `count` times under itself, (count · B, …)."""
    return columns if count == 1 else tuple(torch.cat([column] * count) for column in columns)
