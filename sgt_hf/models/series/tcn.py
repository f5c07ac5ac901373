"""The temporal convolutional network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from transformers import initialization

from ..classifier import within
from .base import SeriesClassifier, SeriesConfig


class TcnConfig(SeriesConfig):
    """Settings of `TcnForSeries`.

    Args:
        channels: Width of each block; the dilation doubles from block to block, beginning at 1.
        kernel_size: Taps of each convolution.
    """

    model_type = "series_tcn"

    channels: Sequence[int] = (5, 5, 50)
    kernel_size: int = 4


class TcnForSeries(SeriesClassifier):
    """Residual blocks of dilated causal convolutions, the maximum over the real steps, linear output.

    Activations and pooling are modules, each used once, so that DeepLIFT's rules reach all of them.

    References:
        Bai, Kolter, Koltun. An Empirical Evaluation of Generic Convolutional and Recurrent Networks for Sequence
        Modeling. 2018.
    """

    config_class = TcnConfig

    def __init__(self, config: TcnConfig) -> None:
        super().__init__(config)
        widths = [config.num_features, *config.channels]
        self.blocks = nn.ModuleList(
            TcnBlock(before, after, config.kernel_size, dilation=2**level, dropout=config.dropout)
            for level, (before, after) in enumerate(pairwise(widths))
        )
        self.pool = nn.MaxPool1d(1)
        self._finish(widths[-1])

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, CausalConv):
            bound = module.direction[0].numel() ** -0.5
            initialization.uniform_(module.direction, -bound, bound)
            initialization.uniform_(module.bias, -bound, bound)
            # the norm of such a direction, in expectation of its square: a fresh weight is about its own direction
            initialization.constant_(module.gain, 3**-0.5)
        else:
            super()._init_weights(module)

    def summary(self, values: Tensor, lengths: Tensor | None) -> Tensor:
        """See `SeriesClassifier.summary`: (B, D), the maximum over the real steps."""
        hidden = values.transpose(1, 2)
        for block in self.blocks:
            hidden = block(hidden)
        if lengths is not None:  # the last ReLU leaves nothing below zero
            hidden = hidden * within(values, lengths).transpose(1, 2)
        self.pool.kernel_size = self.pool.stride = hidden.shape[-1]  # Captum knows this module and no adaptive one
        return self.pool(hidden).squeeze(-1)


class TcnBlock(nn.Module):
    """Two causal convolutions with ReLU and dropout, added to the input, or to its projection where widths differ.

    Args:
        before: Channels in.
        after: Channels out.
        kernel_size: Taps.
        dilation: Steps between taps.
        dropout: Probability.
    """

    def __init__(self, before: int, after: int, kernel_size: int, *, dilation: int, dropout: float) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            CausalConv(before, after, kernel_size, dilation=dilation),
            nn.ReLU(),
            nn.Dropout(dropout),
            CausalConv(after, after, kernel_size, dilation=dilation),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.shortcut: nn.Module = nn.Identity() if before == after else nn.Linear(before, after)
        self.relu = nn.ReLU()

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, before, T) to (B, after, T)."""
        shortcut = self.shortcut(hidden.transpose(1, 2)).transpose(1, 2)
        return self.relu(self.convolutions(hidden) + shortcut)


class CausalConv(nn.Module):
    """A weight-normalised convolution over time that sees the present and the past: weight = gain · direction / ‖·‖.

    Args:
        before: Channels in.
        after: Channels out.
        kernel_size: Taps.
        dilation: Steps between taps.
    """

    def __init__(self, before: int, after: int, kernel_size: int, *, dilation: int) -> None:
        super().__init__()
        self.direction = nn.Parameter(torch.empty(after, before, kernel_size))
        self.gain = nn.Parameter(torch.empty(after))
        self.bias = nn.Parameter(torch.empty(after))
        self.dilation = dilation

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, before, T) to (B, after, T)."""
        norm = self.direction.flatten(1).norm(dim=1)
        weight = self.direction * (self.gain / norm)[:, None, None]
        reach = (weight.shape[2] - 1) * self.dilation
        padded = nn.functional.pad(hidden, (reach, 0))
        return nn.functional.conv1d(padded, weight, self.bias, dilation=self.dilation)
