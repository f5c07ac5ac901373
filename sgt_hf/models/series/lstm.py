"""The LSTM, and the LSTM with input-cell attention."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from transformers import initialization

from ..classifier import within
from .base import SeriesClassifier, SeriesConfig


class SeriesLstmConfig(SeriesConfig):
    """Settings of `SeriesLstmForSeries`.

    Args:
        hidden_size: Width of the state.
    """

    model_type = "series_lstm"

    hidden_size: int = 5


class InputCellLstmConfig(SeriesLstmConfig):
    """Settings of `InputCellLstmForSeries`.

    Args:
        attention_size: Hidden width d_a of the attention.
        hops: How many attentions r are averaged.
    """

    model_type = "series_input_cell_lstm"

    attention_size: int = 50
    hops: int = 10


class SeriesLstmForSeries(SeriesClassifier):
    """One LSTM, classified by its state at the last real step; dropout on the input and on the state."""

    config_class = SeriesLstmConfig

    def __init__(self, config: SeriesLstmConfig) -> None:
        super().__init__(config)
        self.dropout = nn.Dropout(config.dropout)
        self.attention = self._attention(config)
        self.lstm = nn.LSTM(config.num_features, config.hidden_size, batch_first=True)
        self._finish(config.hidden_size)

    def _attention(self, config: SeriesLstmConfig) -> nn.Module | None:
        return None

    def summary(self, values: Tensor, lengths: Tensor | None) -> Tensor:
        """See `SeriesClassifier.summary`: (B, H), the state at the last real step."""
        inputs = self.dropout(values)
        if self.attention is not None:
            inputs = self.attention(inputs, lengths)
        states = self.lstm(inputs)[0]
        if lengths is None:
            return self.dropout(states[:, -1])
        last = (lengths - 1)[:, None, None].expand(-1, 1, states.shape[2])
        return self.dropout(states.gather(1, last)[:, 0])


class InputCellLstmForSeries(SeriesLstmForSeries):
    """The LSTM whose input at a step is an attention over all steps up to it, see `InputCellAttention`."""

    config_class = InputCellLstmConfig

    def _attention(self, config: SeriesLstmConfig) -> nn.Module:
        assert isinstance(config, InputCellLstmConfig)
        return InputCellAttention(config.num_features, config.attention_size, config.hops)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, InputCellAttention):
            initialization.xavier_uniform_(module.hidden.weight)
            initialization.zeros_(module.hidden.bias)
            initialization.xavier_uniform_(module.score.weight)
        elif module not in cast(InputCellAttention, self.attention).children():
            super()._init_weights(module)


class InputCellAttention(nn.Module):
    """Attend to the inputs up to each step: a_t = softmax_{s ≤ t}(W₂ tanh(W₁ x_s)), the mean over hops of Σ_s a_ts x_s.

    A step's score does not depend on the step that looks back at it, so one pass scores all, and the softmaxes of all
    steps share their numerators: with e_s the exponentials and z_t = Σ_{s ≤ t} e_s their running sum, the weights
    averaged over hops are the matrix product (1 / z)(T × r) · e(r × T) / r below its diagonal. There is no loop over
    time. As the scores pass through tanh they lie within ±‖W₂‖₁; in float64 the exponentials and the squares of their
    sums, which the gradient takes, neither overflow nor vanish up to a norm of 170.

    References:
        Ismail, Gunady, Pessoa, Corrada Bravo, Feizi. Input-Cell Attention Reduces Vanishing Saliency of Recurrent
        Neural Networks. NeurIPS 2019. Their released code averages the hops, as is done here.

    Args:
        num_features: C.
        attention_size: d_a, width of the hidden layer.
        hops: r.
    """

    def __init__(self, num_features: int, attention_size: int, hops: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(num_features, attention_size)
        self.score = nn.Linear(attention_size, hops, bias=False)  # a softmax does not see a constant

    def forward(self, values: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the attended inputs (B, T, C) of values (B, T, C) padded at the end; steps beyond a length count 0."""
        scores = self.score(torch.tanh(self.hidden(values)))
        scores = scores if values.device.type == "mps" else scores.double()  # Apple's GPUs have no float64
        exponentials = (scores - scores.mean(1, keepdim=True).detach()).exp()
        if lengths is not None:
            exponentials = exponentials * within(values, lengths)
        shares = exponentials.cumsum(1).reciprocal() / scores.shape[-1]
        return (shares @ exponentials.transpose(1, 2)).tril().to(values.dtype) @ values
