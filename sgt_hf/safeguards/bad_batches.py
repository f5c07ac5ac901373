"""Batches that cannot be trained on, told with the sample's name: too long, empty, or without a finite gradient."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from ..adapters import Adapter, ImageAdapter
from ..adapters.base import takes
from ..adapters.image import channels_of, refuse_channels
from ..distributed import is_sharded
from ..faithfulness.rows import position_limit
from .samples import sample_name

Batch = Mapping[str, Any]


class BadBatches:
    """Watches the micro-batches of an optimizer step.

    Args:
        adapter: Of the model's inputs.
        model: Whose table of positions limits a text's length, whose forward may know no padding, and
            whose images have so many channels.
        accumulation: Micro-batches of a step.
    """

    def __init__(self, adapter: Adapter, model: nn.Module, accumulation: int) -> None:
        self._adapter = adapter
        is_text = adapter.main_input == "input_ids"
        self._channels = channels_of(model) if isinstance(adapter, ImageAdapter) else None
        self._limit = position_limit(model) if is_text else None
        self._knows_padding = is_text or takes(model, "attention_mask")
        self._seen: deque[Batch] = deque(maxlen=accumulation)

    def refuse_shapes(self, batch: Batch, rows: Any) -> None:
        """Raise where the model cannot take a batch of such shapes, before it fails without saying why.

        Looks at shapes alone, so nothing waits for the device unless it raises.

        Args:
            batch: From the collator.
            rows: The data set it is from, to tell which row it is; None where that is not known.

        Raises:
            ValueError: A sample is longer than the model's table of positions, all of them are empty, or their lengths
                differ and the model takes no `attention_mask`; or images have other channels than the model's.
        """
        if not self._knows_padding and "attention_mask" in batch:
            raise ValueError(
                "the batch has an attention_mask, as series of unequal lengths need, and the model's forward takes "
                "none: give it the argument attention_mask=None and leave padding out by it, or make all series of "
                "one length"
            )
        ids = batch.get(self._adapter.main_input)
        if not isinstance(ids, Tensor) or ids.dim() < 2:
            return
        refuse_channels(ids, self._channels)
        width = ids.shape[1]
        if width == 0:
            raise ValueError(f"all {len(ids)} samples of the batch are empty: leave empty texts out of the data set")
        if self._limit is None or width <= self._limit:
            return
        sizes = self._adapter.sizes(dict(batch))
        worst, longest = int(sizes.argmax()), int(sizes.max())
        if longest <= self._limit:
            raise ValueError(
                f"the collator pads to {width} tokens and the model has positions for {self._limit} (the longest "
                f"sample has {longest}): choose a smaller pad_to_multiple_of or max_length"
            )
        raise ValueError(
            f"{_name(batch, worst, self._adapter, rows)} has {longest} tokens and the model has positions for "
            f"{self._limit}: encode with truncation=True, max_length={self._limit}"
        )

    def watch(self, batch: Batch) -> None:
        """Keep a micro-batch until the end of its step; the Trainer holds it as long."""
        self._seen.append(batch)

    def require_finite(
        self, norm: Tensor | float, alone: Callable[[Batch], float], *, model: nn.Module, step: int, rows: Any
    ) -> None:
        """Raise where the gradient of a step is not finite, while the weights are still what they were.

        Waits for the device once an optimizer step, where `Trainer` itself has just waited for the loss
        (`logging_nan_inf_filter`).

        Args:
            norm: Of all gradients.
            alone: A batch → its own gradient's norm, tried on single samples.
            model: As it is trained; where it is sharded no process runs it alone, and no sample is tried.
            step: Of the optimizer, from 1.
            rows: The data set, see `refuse_shapes`.

        Raises:
            FloatingPointError: It is not finite; names the samples whose own gradient is not.
        """
        batches = list(self._seen)
        self._seen.clear()
        value = float(norm)
        if math.isfinite(value):
            return
        guilty = [] if is_sharded(model) else [self._guilty(batch, alone, rows) for batch in batches]
        names = [name for found in guilty for name in found]
        found = f"Not finite on their own: {'; '.join(names)}." if names else "No sample of this process alone does it."
        raise FloatingPointError(
            f"the gradient's norm is {value} in step {step}; the weights are as they were before it. {found} Leave out "
            "or mend such samples, lower the learning rate, or look for the operation with debug='underflow_overflow'"
        )

    def require_input(self, batch: Batch) -> None:
        """Raise where what is ranked is not in the batch.

        Args:
            batch: From the collator.

        Raises:
            ValueError: It has no main input; names what it has.
        """
        name = self._adapter.main_input
        if name not in batch:
            raise ValueError(
                f"guided training ranks the features of {name!r}, and the batch has only {sorted(batch)}: have the "
                "model's forward take its input by that name, two texts as a pair in one sequence"
            )

    def _guilty(self, batch: Batch, alone: Callable[[Batch], float], rows: Any) -> list[str]:
        """Try each sample by itself, doubled because BatchNorm refuses a batch of one."""
        count = len(batch[self._adapter.main_input])
        found = []
        for index in range(count):
            twice = {
                name: value[[index, index]] if isinstance(value, Tensor) and value.shape[:1] == (count,) else value
                for name, value in batch.items()
            }
            if not math.isfinite(alone(twice)):
                found.append(_name(batch, index, self._adapter, rows))
        return found


def _name(batch: Batch, index: int, adapter: Adapter, rows: Any) -> str:
    """Name a sample, and a text also by how it begins."""
    column = batch.get(adapter.main_input)
    if column is None:
        return sample_name(index, {}, None)
    is_text, mask, values = adapter.main_input == "input_ids", batch.get("attention_mask"), column[index].detach()
    if mask is not None and mask.shape == column.shape[:2]:
        values = values[mask[index].bool()]
    elif is_text:
        values = values[: int(adapter.sizes(dict(batch))[index])]
    values = (values.float() if values.is_floating_point() else values).cpu().numpy()  # NumPy has no bfloat16
    name = sample_name(index, {adapter.main_input: values}, rows)
    return f"{name}, input_ids {_shortened(values.tolist())}," if is_text else name


def _shortened(ids: list[int], shown: int = 8) -> str:
    return str(ids) if len(ids) <= shown else str(ids[:shown])[:-1] + ", …]"
