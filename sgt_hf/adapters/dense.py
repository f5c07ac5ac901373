"""What series and images have in common: the input itself is the ranked tensor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from ..masking.dense import FILLS, DenseFacts, Fill, replace_dropped
from .base import Adapter, Batch, Captured, Masking

BASELINES = ("constant", "channel_mean")


class DenseAdapter(Adapter):
    """Adapter of a classifier over one dense floating-point tensor.

    Its values are seen as (B, N, C): N positions (steps, pixels) of C channels, and (C,) settings are per channel.

    Args:
        main_input: Name of the ranked argument of the model's forward.
        constant: What the masking `constant` puts in place of a value: a number, or one per channel.
        value_range: (low, high) of random values, numbers or one per channel each; None for the range of each sample
            and channel.
    """

    fills: ClassVar[Mapping[str, Fill]] = FILLS
    default_masking = "uniform"
    kind: ClassVar[str] = "a dense input"

    def __init__(
        self,
        main_input: str,
        *,
        constant: float | Sequence[float] = 0.0,
        value_range: tuple[float | Sequence[float], float | Sequence[float]] | None = None,
    ) -> None:
        self.main_input = main_input
        self.constant = constant
        self.value_range = value_range
        self._device_copies: dict[tuple[torch.device, torch.dtype], tuple[Tensor, Tensor | None, Tensor | None]] = {}

    def rows(self, values: Tensor) -> Tensor:
        """Return the (B, N, C) view of the main input."""
        raise NotImplementedError

    def unrows(self, rows: Tensor, like: Tensor) -> Tensor:
        """Undo `rows`: return (B, N, C) in the shape of `like`."""
        raise NotImplementedError

    def real(self, batch: Batch) -> Tensor:
        """Return (B, N) bool, False at padding."""
        values = self.rows(batch[self.main_input])
        return torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)

    @contextmanager
    def capture(self, model: nn.Module, batch: Batch) -> Iterator[Captured]:
        """See `Adapter.capture`."""
        inputs = self.model_inputs(batch)
        values = inputs[self.main_input]
        if not values.is_floating_point():
            raise ValueError(f"{self.main_input!r} is {values.dtype}, which has no gradient: convert it to float")
        captured = Captured(inputs)
        captured.features = values.detach().requires_grad_()
        inputs[self.main_input] = captured.features.clone()  # which the model may change in place, unlike a leaf
        yield captured

    @contextmanager
    def replace(self, model: nn.Module, features: Tensor) -> Iterator[None]:
        """See `Adapter.replace`; the model must be called with the main input by name."""
        seen = False

        def swap(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
            nonlocal seen
            if seen:
                return args, kwargs
            seen = True
            return args, kwargs | {self.main_input: features.to(kwargs[self.main_input].dtype, copy=True)}

        handle = model.register_forward_pre_hook(swap, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    def eligible(self, batch: Batch) -> Tensor:
        """Return (B, F) bool: everything but padding."""
        real = self.real(batch)
        if self.feature_dim is not None:
            return real
        channels = self.rows(batch[self.main_input]).shape[2]
        return real[..., None].expand(-1, -1, channels).flatten(1)

    def groups(self, batch: Batch, granularity: str) -> Tensor | None:
        """Return None: every feature is its own."""
        return None

    def mask(self, batch: Batch, drop: Tensor, masking: Masking, *, granularity: str = "token") -> Batch:
        """See `Adapter.mask`; a callable gets (batch, drop) and returns the new batch."""
        if not isinstance(masking, str):
            return masking(dict(batch), drop)
        features = batch[self.main_input]
        values = self.rows(features)
        where = drop.view(*values.shape[:2], -1)
        filled = replace_dropped(values, where, self.fills[masking], self._facts(batch, values))
        return dict(batch) | {self.main_input: self.unrows(filled, features)}

    def check(self, *, masking: Masking, granularity: str) -> None:
        """See `Adapter.check`."""
        if granularity != "token":
            raise ValueError(f"granularity {granularity!r} is for text; for {self.kind} use 'token', every feature")
        if isinstance(masking, str) and masking not in self.fills:
            known = sorted(self.fills)
            raise ValueError(f"unknown masking {masking!r} for {self.kind}: use one of {known} or a callable")

    def sizes(self, batch: Batch) -> Tensor:
        """Return (B,) the positions of each sample, padding not counted."""
        return self.real(batch).sum(1)

    def baseline_features(self, model: nn.Module, name: str, features: Tensor, eligible: Tensor) -> Tensor:
        """Return an attribution's baseline: the adapter's `constant`, or the `channel_mean` of the sample's own values.

        Raises:
            ValueError: The name is neither, or the constant has another number of channels than the features.
        """
        if name not in BASELINES:
            raise ValueError(f"unknown baseline {name!r} for {self.kind}: use 'zero', 'uniform' or one of {BASELINES}")
        values = self.rows(features.detach())
        real = eligible.reshape(*values.shape[:2], -1)[..., :1]
        facts = DenseFacts(real, self._settings_like(values)[0])
        return self.unrows(FILLS[name](values, ~real, facts), features)

    def _facts(self, batch: Batch, values: Tensor) -> DenseFacts:
        return DenseFacts(self.real(batch)[..., None], *self._settings_like(values))

    def _settings_like(self, values: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Constant, low and high in the values' precision; copied to a device once, as a copy waits for it."""
        key = values.device, values.dtype
        if key not in self._device_copies:
            settings = (self.constant, *(self.value_range or (None, None)))
            constant, low, high = (
                None if one is None else torch.as_tensor(one, device=values.device, dtype=values.dtype)
                for one in settings
            )
            self._device_copies[key] = cast(Tensor, constant), low, high
        return self._device_copies[key]
