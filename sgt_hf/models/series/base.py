"""What the networks over time series share: their inputs, padding, output layer and loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel, initialization
from transformers.modeling_outputs import SequenceClassifierOutput


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
        single_output = self.num_labels == 1 and self.problem_type != "multi_label_classification"
        if self.problem_type == "regression" or single_output:
            raise ValueError(
                f"problem_type={self.problem_type!r} with num_labels={self.num_labels} is a regression, which the "
                "series classifiers do not do; use num_labels >= 2, or problem_type='multi_label_classification'"
            )


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
        # transformers' own helpers skip what a checkpoint has already filled; torch.nn.init would overwrite it.
        # Its defaults (deviation 0.02) suit wide Transformers and stall a network of five hidden units.
        if isinstance(module, nn.LSTM | nn.Linear):
            width = module.hidden_size if isinstance(module, nn.LSTM) else module.in_features
            for parameter in module.parameters(recurse=False):
                initialization.uniform_(parameter, -(width**-0.5), width**-0.5)
        else:
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
            input_values, lengths = real_steps_first(input_values, attention_mask.to(torch.bool))
            input_values = input_values.masked_fill(~within(input_values, lengths), 0.0)  # a weight of 0 leaves NaN NaN
        logits = self.classifier(self.summary(input_values, lengths))
        if self.config.double_softmax:
            logits = logits.softmax(-1)
        return SequenceClassifierOutput(loss=None if labels is None else self._loss(logits, labels), logits=logits)

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        problem = self.config.problem_type
        if problem == "multi_label_classification" or (problem is None and labels.is_floating_point()):
            return nn.functional.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
        return nn.functional.cross_entropy(logits, labels)


def real_steps_first(values: Tensor, attended: Tensor) -> tuple[Tensor, Tensor]:
    """Move every row's attended steps to its front, in their order.

    Args:
        values: (B, T, C).
        attended: (B, T) bool.

    Returns:
        The values (B, T, C), and the lengths (B,), at least 1.
    """
    order = torch.argsort((~attended).to(torch.int8), dim=1, stable=True)
    return values.gather(1, order[:, :, None].expand_as(values)), attended.sum(1).clamp(min=1)


def within(values: Tensor, lengths: Tensor) -> Tensor:
    """Return (B, T, 1) bool, True at the real steps of `values` (B, T, …)."""
    return (torch.arange(values.shape[1], device=values.device) < lengths[:, None])[:, :, None]
