"""The causal Transformer encoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..classifier import within
from .base import SeriesClassifier, SeriesConfig


class SeriesTransformerConfig(SeriesConfig):
    """Settings of `SeriesTransformerForSeries`.

    Args:
        hidden_size: Width d_model; where it is not `num_features`, a linear layer maps one to the other.
        num_layers: Layers.
        num_heads: Heads; divides `hidden_size`.
        feed_forward_size: Hidden width of each layer's two-layer network.

    Raises:
        ValueError: The heads do not divide the width.
    """

    model_type = "series_transformer"

    hidden_size: int = 50
    num_layers: int = 6
    num_heads: int = 5
    feed_forward_size: int = 400

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.hidden_size % self.num_heads:
            raise ValueError(f"num_heads={self.num_heads} does not divide hidden_size={self.hidden_size}")


class SeriesTransformerForSeries(SeriesClassifier):
    """Sinusoidal positions, pre-norm layers with causal attention, the maximum over the real steps, linear output.

    References:
        Vaswani et al. Attention Is All You Need. NeurIPS 2017.
    """

    config_class = SeriesTransformerConfig

    def __init__(self, config: SeriesTransformerConfig) -> None:
        super().__init__(config)
        width = config.hidden_size
        self.projection: nn.Module = nn.Identity()
        if config.num_features != width:
            self.projection = nn.Linear(config.num_features, width)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(TransformerLayer(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(width)
        self._finish(width)

    def summary(self, values: Tensor, lengths: Tensor | None) -> Tensor:
        """See `SeriesClassifier.summary`: (B, D), the maximum over the real steps."""
        hidden = self.projection(values) * self.config.hidden_size**0.5
        hidden = self.dropout(hidden + sinusoids(hidden))
        for layer in self.layers:
            hidden = layer(hidden)
        hidden = self.norm(hidden)
        if lengths is not None:
            hidden = hidden.masked_fill(~within(values, lengths), -torch.inf)
        return hidden.amax(1)


class TransformerLayer(nn.Module):
    """Causal self-attention and a two-layer network, each normalised before and added to its input.

    Args:
        config: Of the model.
    """

    def __init__(self, config: SeriesTransformerConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.num_heads = config.num_heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_output = nn.Linear(width, width)
        self.network_norm = nn.LayerNorm(width)
        self.network = nn.Sequential(
            nn.Linear(width, config.feed_forward_size),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.feed_forward_size, width),
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D)."""
        hidden = hidden + self.dropout(self.attend(self.attention_norm(hidden)))
        return hidden + self.dropout(self.network(self.network_norm(hidden)))

    def attend(self, hidden: Tensor) -> Tensor:
        """Attend from every step of (B, T, D) to those up to it."""
        steps = hidden.shape[1]
        parts = self.query_key_value(hidden).unflatten(2, (3, self.num_heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        # Written out: torch.func.vmap, which trains ensembles, has no rule for the fused kernel on CPU.
        scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
        future = torch.ones(steps, steps, dtype=torch.bool, device=hidden.device).triu(1)
        weights = self.dropout(scores.masked_fill(future, -torch.inf).softmax(-1))
        return self.attention_output((weights @ value).transpose(1, 2).flatten(2))


def sinusoids(hidden: Tensor) -> Tensor:
    """Return (T, D) positions for (B, T, D): sine and cosine of t / 10000^(2i/D) in turn, computed in float32.

    In half precision many steps would have one number.
    """
    steps, width = hidden.shape[1:]
    place = torch.arange(steps, device=hidden.device, dtype=torch.float32)[:, None]
    rates = torch.arange(0, width, 2, device=hidden.device, dtype=torch.float32)
    angles = place * 10_000 ** (-rates / width)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width].to(hidden.dtype)
