"""Removal curves: every text without, and with only, its top words; each run once, in batches filled by length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ..adapters import TextAdapter
from ..adapters.base import Batch, logits_of
from ..ranking import ceil_share, select_top
from .units import Texts

# Padding that costs as much as one more forward, in features: measured with a 6-layer BERT of width 384 on two cores;
# on an accelerator a forward of few features takes as long as one of thousands.
_OVERHEAD = {"cpu": 32}
_OVERHEAD_ELSEWHERE = 4096
# Perturbed texts are made out of whole ones, so a batch of short ones is bounded by the whole ones' width too.
_SPREAD = 16


@dataclass(frozen=True)
class Removal:
    """How words are removed, and the model that judges what is left.

    Attributes:
        model: In eval mode.
        adapter: Its adapter.
        operator: A masking of the adapter.
        granularity: `word` or `token`.
        max_features: Bound on samples × features of one forward, and a sixteenth of the bound on samples × features of
            the whole texts they are made of.
        together: Whether every forward is of all processes, as of a sharded model: then each takes the numbers of the
            first, for those that its own rounding turned would lead it to another number of forwards.
    """

    model: nn.Module
    adapter: TextAdapter
    operator: str
    granularity: str
    max_features: int
    together: bool = False


@dataclass(frozen=True)
class ClassCurves:
    """Class probabilities of perturbed texts.

    Attributes:
        removed: (B, M, R, K) without the top units of each of M rankings and R bins.
        kept: (B, M, R, K) with them alone.
        empty: (B, K) without any.
    """

    removed: Tensor
    kept: Tensor
    empty: Tensor


def removal_curves(removal: Removal, texts: Texts, scores: Tensor, bins: Sequence[float]) -> ClassCurves:
    """Run the model on every text without, and with only, the top units of every ranking and bin.

    Args:
        removal: What to run and how to remove.
        texts: B of them.
        scores: (B, M, U) of each text's units; what stands past a text's own n is not read.
        bins: R shares of the units, each standing for its top ⌈q·n⌉.
    """
    (size, rankings, width), device = scores.shape, scores.device
    free = torch.arange(width, device=device) < texts.counts[:, None]
    each = free.repeat_interleave(rankings, 0)
    counts = texts.counts.repeat_interleave(rankings)
    tops = [select_top(scores.flatten(0, 1), each, ceil_share(share, counts)) for share in bins]
    top = torch.stack(tops, 1).view(size, -1, width)
    dropped = torch.cat([top, free[:, None] & ~top, free[:, None]], 1)
    rows = torch.arange(size, device=device).repeat_interleave(dropped.shape[1])
    probabilities = predict(removal, texts, rows, dropped.flatten(0, 1)).view(*dropped.shape[:2], -1)
    curves = probabilities[:, :-1].view(size, 2, rankings, len(bins), -1)
    return ClassCurves(curves[:, 0], curves[:, 1], probabilities[:, -1])


@torch.no_grad()
def predict(removal: Removal, texts: Texts, rows: Tensor, dropped: Tensor) -> Tensor:
    """Return the class probabilities of texts without some of their units.

    What drops nothing is not run again, and perturbed texts that are the same, as many of short ones are, run once.

    Args:
        removal: What to run and how to remove.
        texts: The whole texts.
        rows: (M,) int64, the text that each perturbed one is made of.
        dropped: (M, U) bool, units without which; column u is the unit of number u + 1.

    Returns:
        (M, K).
    """
    result = texts.whole[rows]
    sizes = _sizes(removal, texts, rows, dropped)
    changed = dropped.any(1).nonzero().squeeze(1)
    order = changed[sizes[changed].argsort(descending=True, stable=True)]
    widths = removal.adapter.sizes(texts.batch)[rows[order]]
    overhead = _OVERHEAD.get(rows.device.type, _OVERHEAD_ELSEWHERE)
    parts = fill_batches(sizes[order].tolist(), widths.tolist(), budget=removal.max_features, overhead=overhead)
    for part in parts:
        chosen = order[part]
        result[chosen] = _predict_batch(removal, texts, rows[chosen], dropped[chosen]).to(result)
    return broadcast(result) if removal.together else result


def fill_batches(sizes: list[int], widths: list[int], *, budget: int, overhead: int) -> Iterator[slice]:
    """Cut samples of descending size into batches.

    A batch ends before count × largest size passes the budget, before count × widest source passes sixteen budgets, and
    where its padding would come to cost more than another forward.

    Args:
        sizes: (M,) of what is run, descending.
        widths: (M,) of what each sample is made out of.
        budget: Features, ≥ 1. A single sample may pass it.
        overhead: Padding worth a forward, in features.

    Yields:
        Slices that together cover all samples in order.
    """
    start = padding = widest = 0
    for index, (size, width) in enumerate(zip(sizes, widths, strict=True)):
        count = index - start + 1
        padding += sizes[start] - size
        widest = max(widest, width)
        if count > 1 and (count * sizes[start] > budget or count * widest > _SPREAD * budget or padding > overhead):
            yield slice(start, index)
            start, padding, widest = index, 0, width
    if sizes:
        yield slice(start, len(sizes))


def _sizes(removal: Removal, texts: Texts, rows: Tensor, dropped: Tensor) -> Tensor:
    """(M,) features of each perturbed text, ≥ 1; only deletion makes it smaller than the whole."""
    sizes = removal.adapter.sizes(texts.batch)[rows]
    if removal.operator == "delete":
        lengths = torch.zeros(len(texts.units), dropped.shape[1] + 1, dtype=torch.int32, device=dropped.device)
        lengths = lengths.scatter_add_(1, texts.units, torch.ones_like(texts.units, dtype=torch.int32))[:, 1:]
        sizes = sizes - (lengths[rows] * dropped).sum(1)
    return sizes.clamp(min=1)


def _predict_batch(removal: Removal, texts: Texts, rows: Tensor, dropped: Tensor) -> Tensor:
    """(M, K) of one batch, by one forward over its distinct texts."""
    adapter = removal.adapter
    batch, units = texts.take(adapter, rows)
    drop = functional.pad(dropped, (1, 0)).gather(1, units)
    left = adapter.mask(batch, drop, removal.operator, granularity=removal.granularity)
    inputs = adapter.model_inputs(left)
    first, inverse = _distinct(inputs)
    logits = logits_of(removal.model(**{name: column[first] for name, column in inputs.items()}))
    return logits.float().softmax(-1)[inverse]


def _distinct(inputs: Batch) -> tuple[Tensor, Tensor]:
    """(M',) the first of each set of samples with the same content, and (M,) each sample's place among them."""
    columns = [column.reshape(len(column), -1).cpu().contiguous().numpy().view(np.uint8) for column in inputs.values()]
    device = next(iter(inputs.values())).device
    first, inverse = distinct_rows(np.concatenate(columns, axis=1))
    return torch.from_numpy(first).to(device), torch.from_numpy(inverse).to(device)


def distinct_rows(matrix: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find equal rows by comparing their bytes, which is many times faster than NumPy's and torch's `unique` by rows.

    Args:
        matrix: (M, U ≥ 1) of any fixed-size dtype.

    Returns:
        (M',) the first of each set of equal rows, and (M,) each row's place among those.

    Example:
        >>> first, inverse = distinct_rows(np.array([[3, 4], [1, 2], [3, 4]], dtype=np.uint8))
        >>> first.tolist(), inverse.tolist()
        ([1, 0], [1, 0, 1])
    """
    rows = np.ascontiguousarray(matrix)
    keys = rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize))).ravel()
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return first, inverse.ravel()
