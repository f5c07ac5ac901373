"""Time series: every cell (step × channel) is a feature of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..data.other_columns import LABELS, labels_of, stack_others
from .base import Batch, Collator
from .dense import DenseAdapter


class SeriesAdapter(DenseAdapter):
    """Adapter of a classifier over series (B, T, C), whose cells are ranked and masked one by one; padding never is.

    Random values are drawn in the range of each sample's channel over its own steps, unless `value_range` says another.

    Args:
        main_input: Name of the ranked argument of the model's forward; a plain module's may be called anything.
        **settings: `constant` and `value_range` of `DenseAdapter`.

    Example:
        >>> adapter = SeriesAdapter("x")
        >>> batch = adapter.collator()([{"x": [[1.0], [2.0]], "labels": 0}, {"x": [[3.0]], "labels": 1}])
        >>> batch["attention_mask"].tolist(), adapter.eligible(batch).tolist()
        ([[1, 1], [1, 0]], [[True, True], [True, False]])
    """

    feature_dim = None
    kind: ClassVar[str] = "a time series"

    def __init__(self, main_input: str = "input_values", **settings: Any) -> None:
        super().__init__(main_input, **settings)

    def rows(self, values: Tensor) -> Tensor:
        """See `DenseAdapter.rows`: a step is a position.

        Raises:
            ValueError: The tensor has not three axes.
        """
        if values.dim() != 3:
            raise ValueError(
                f"{self.main_input!r} has shape {tuple(values.shape)}; a batch of series is (batch, steps, channels): "
                "give a series of one channel a last axis of 1"
            )
        return values

    def unrows(self, rows: Tensor, like: Tensor) -> Tensor:
        """See `DenseAdapter.unrows`."""
        return rows

    def real(self, batch: Batch) -> Tensor:
        """Return (B, T) bool, the `attention_mask`, or all steps where there is none."""
        if "attention_mask" in batch:
            return batch["attention_mask"].bool()
        return super().real(batch)

    def collator(self) -> Collator:
        """Return a function of rows {`input_values`: (T, C), `labels`: class} → batch, see `collate_series`."""
        return partial(collate_series, main_input=self.main_input)  # no lambda: workers that are spawned pickle it


def collate_series(rows: Sequence[Mapping[str, Any]], *, main_input: str = "input_values") -> Batch:
    """Make a batch of series, padded at the end with zeros to the longest, and check it while it is still on the CPU.

    Args:
        rows: Each with a series (T, C) under `main_input` (array, tensor or nested list), and perhaps `labels`,
            `label` or `label_ids`, and an `attention_mask` (T,) of its own, 0 at steps that are padding already. Other
            columns are stacked, see `stack_others`.
        main_input: Name of the series.

    Returns:
        The series (B, T, C) float32; an `attention_mask` (B, T) int64 where lengths differ or rows have one; `labels`
        where there are; and the other columns.

    Raises:
        ValueError: A series is not (T, C) with the channels of the others, is empty, or holds NaN or infinity; or a
            mask is not of its length, or another column cannot be stacked.
    """
    series = [_as_series(row[main_input], index, main_input) for index, row in enumerate(rows)]
    channels = {values.shape[1] for values in series}
    if len(channels) > 1:
        odd = next(index for index, values in enumerate(series) if values.shape[1] != series[0].shape[1])
        raise ValueError(
            f"{main_input!r} of row {odd} of the batch has {series[odd].shape[1]} channels and that of row 0 has "
            f"{series[0].shape[1]}: a model reads one number of channels"
        )
    lengths = torch.tensor([len(values) for values in series])
    batch: Batch = {main_input: torch.nn.utils.rnn.pad_sequence(series, batch_first=True)}
    if not batch[main_input].isfinite().all():
        bad = next(index for index, values in enumerate(series) if not values.isfinite().all())
        step, channel = (~series[bad].isfinite()).nonzero()[0].tolist()
        raise ValueError(
            f"{main_input!r} of row {bad} of the batch is {series[bad][step, channel].item()} at step {step}, channel "
            f"{channel}: fill or leave out such cells; sgt_hf.data.series_rows.check_series finds it in the data"
        )
    if lengths.min() < lengths.max() or any("attention_mask" in row for row in rows):
        masks = [_mask_of(row, values, index) for index, (row, values) in enumerate(zip(rows, series, strict=True))]
        batch["attention_mask"] = torch.nn.utils.rnn.pad_sequence(masks, batch_first=True).long()
    return stack_others(rows, {main_input, "attention_mask", *LABELS}) | batch | labels_of(rows)


def _mask_of(row: Mapping[str, Any], series: Tensor, index: int) -> Tensor:
    """Return (T,) of a row's own mask, ones where it has none, or say that it is of another length."""
    mask = torch.as_tensor(np.asarray(row.get("attention_mask", np.ones(len(series), dtype=np.int64))))
    if mask.shape != series.shape[:1]:
        raise ValueError(
            f"attention_mask of row {index} of the batch has shape {tuple(mask.shape)} and its series {len(series)} "
            "steps: a mask is (steps,), 1 at each step that is real"
        )
    return mask


def _as_series(values: Any, index: int, main_input: str) -> Tensor:
    """Return (T, C) float32, or say what is wrong with the row."""
    try:
        series = torch.as_tensor(values if isinstance(values, Tensor) else np.asarray(values, dtype=np.float32)).float()
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{main_input!r} of row {index} of the batch is no table of numbers, steps × channels: {error}"
        ) from error
    if series.dim() != 2 or 0 in series.shape:
        raise ValueError(
            f"{main_input!r} of row {index} of the batch has shape {tuple(series.shape)}; a series is (steps, channels)"
            ", both at least 1"
        )
    return series
