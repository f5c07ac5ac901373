"""What the networks over time series share: their inputs, padding, output layer and loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from ..classifier import classification_loss, draw_as_torch_does, real_first, refuse_regression, within


class SeriesConfig(PretrainedConfig):
    """Settings of every `SeriesClassifier`.

    Args:
        num_features: Channels C of a series.
        dropout: Probability in [0, 1).
        double_softmax: Whether to return softmax(logits) as the logits, so that cross-entropy applies a second softmax,
            as the code of the time-series benchmark does (Ismail et al. 2020). It slows learning and is for comparison.

    Raises:
        ValueError: The configuration asks for regression.
    """

    model_type = "series"

    num_features: int = 50
    dropout: float = 0.1
    double_softmax: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        refuse_regression(self, "a series classifier")


class SeriesClassifier(PreTrainedModel):
    """A network that reads a series (T, C) causally, summarises its real steps in one vector, and classifies it.

    A row's logits depend on its own attended steps alone: not on the amount, side or content of the padding, nor on the
    batch.
    Subclasses give `summary` and set `classifier` through `_finish`.
    """

    config_class = SeriesConfig
    main_input_name = "input_values"
    classifier: nn.Linear

    def _finish(self, width: int) -> None:
        """Add the output layer over a summary of `width` and draw the initial weights; the last line of `__init__`."""
        self.num_labels = self.config.num_labels or 2
        self.classifier = nn.Linear(width, self.num_labels)
        self.post_init()

    def summary(self, values: Tensor, lengths: Tensor | None) -> Tensor:
        """Return one vector (B, D) a series.

        Args:
            values: (B, T, C), padded at the end.
            lengths: (B,) real steps, at least 1; None where all are real.
        """
        raise NotImplementedError

    def _init_weights(self, module: nn.Module) -> None:
        if not draw_as_torch_does(module):
            super()._init_weights(module)

    # No **kwargs: transformers' Trainer would read them as "takes num_items_in_batch" and stop scaling the loss.
    def forward(
        self, input_values: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None
    ) -> SequenceClassifierOutput:
        """Classify a batch.

        Args:
            input_values: (B, T, C) real.
            attention_mask: (B, T), non-zero for real steps, padded on either side; None where all are real. A row
                without any is read as its first step alone.
            labels: Class indices of shape (B,), or for several labels at once zeros and ones of shape (B, K): those
                are told by the config's `problem_type`, or where it is None by being floating-point.

        Returns:
            `logits` of shape (B, K), and the mean `loss` where labels are given.

        Raises:
            ValueError: The number of channels is not the config's.
        """
        if input_values.shape[-1] != self.config.num_features:
            raise ValueError(
                f"input_values has shape {tuple(input_values.shape)} and the model reads (batch, steps, "
                f"{self.config.num_features}): set num_features={input_values.shape[-1]}"
            )
        lengths = None
        if attention_mask is not None:
            input_values, lengths = real_first(input_values, attention_mask.to(torch.bool))
            input_values = input_values.masked_fill(~within(input_values, lengths), 0.0)  # a weight of 0 leaves NaN NaN
        logits = self.classifier(self.summary(input_values, lengths))
        if self.config.double_softmax:
            logits = logits.softmax(-1)
        loss = None if labels is None else classification_loss(self.config, logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)
