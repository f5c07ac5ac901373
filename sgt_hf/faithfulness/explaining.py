"""A batch of texts → a score for every word, by every method of one explainer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..adapters import TextAdapter
from ..adapters.base import Batch
from ..attribution import (
    AttributionSettings,
    Point,
    scored,
    seeded_scores,
    warn_if_incomplete,
)
from ..ranking import group_leaders, group_scores
from .known_ids import known_ids
from .rows import class_logits, load_batches
from .units import Texts, number_units


@dataclass(frozen=True)
class Explainer:
    """What scores words, and how."""

    model: nn.Module
    adapter: TextAdapter
    methods: tuple[str, ...]
    reduction: str
    granularity: str
    settings: AttributionSettings


@dataclass(frozen=True)
class Explained:
    """A batch of texts and the scores of their words.

    Attributes:
        index: (B,) positions in the data set.
        texts: B of them.
        targets: (B,) int64, the class explained.
        scores: B times (M + D, n), of M methods and D random rankings.
        deltas: (B, M) relative deltas, 0 where a method has none.
        labels: (B,) int64, or None.
        words: B times (n,) indices into the row's document; None where units are no words.
    """

    index: list[int]
    texts: Texts
    targets: Tensor
    scores: list[Tensor]
    deltas: Tensor
    labels: Tensor | None
    words: list[NDArray[np.int64]] | None


def explain_texts(
    explainer: Explainer,
    dataset: Any,
    batches: Sequence[list[int]],
    collator: Any = None,
    *,
    targets: Sequence[int] | None = None,
    draws: int = 0,
) -> Iterator[Explained]:
    """Yield batch by batch the texts and the scores of their words; the model is to be in eval mode.

    Args:
        explainer: What scores words.
        dataset: N rows of features.
        batches: Positions of each batch.
        collator: See `load_batches`.
        targets: N classes to explain; None for the predicted ones.
        draws: Random rankings per text, beside the methods'.
    """
    for index, batch in load_batches(explainer.model, explainer.adapter, dataset, batches, collator):
        wanted = None if targets is None else [targets[i] for i in index]
        yield _explain_batch(explainer, batch, index, wanted, draws)


def warn_of_deltas(explainer: Explainer, deltas: Tensor) -> None:
    """Warn of every method whose scores miss their sum too often; `deltas` is (N, M)."""
    for method, values in zip(explainer.methods, deltas.T, strict=True):
        warn_if_incomplete(method, values, explainer.settings)


def _explain_batch(
    explainer: Explainer, batch: Batch, index: list[int], targets: list[int] | None, draws: int
) -> Explained:
    adapter, labels = explainer.adapter, batch.get("labels")
    batch = {name: column for name, column in batch.items() if name != "labels"}
    with (
        torch.no_grad(),
        known_ids(explainer.model, adapter, batch, index),
        adapter.capture(explainer.model, batch) as captured,
    ):
        logits = class_logits(explainer.model, captured.batch)
    if targets is not None:
        _refuse_targets(targets, index, logits.shape[1])
    chosen = logits.argmax(-1) if targets is None else torch.tensor(targets, device=logits.device)
    eligible, groups = adapter.eligible(batch), adapter.groups(batch, explainer.granularity)
    point = Point(captured.require(adapter).detach(), eligible, chosen, index)
    found, deltas = _explain(explainer, batch, point, groups)
    leaders = eligible if groups is None else group_leaders(groups, eligible)
    random = seeded_scores(leaders, index, draws=draws, seed=explainer.settings.seed)
    scores = torch.cat([*(score[None] for score in found), random]).transpose(0, 1)
    firsts = list(leaders)
    return Explained(
        index,
        Texts(batch, number_units(eligible, groups), logits.float().softmax(-1)),
        chosen,
        [score[:, first] for score, first in zip(scores, firsts, strict=True)],
        deltas,
        labels,
        [ids[first].cpu().numpy() for ids, first in zip(batch["word_ids"], firsts, strict=True)]
        if explainer.granularity == "word"
        else None,
    )


def _refuse_targets(targets: list[int], index: list[int], below: int) -> None:
    for row, target in zip(index, targets, strict=True):
        if not 0 <= target < below:
            raise ValueError(
                f"row {row} is to be explained by the class {target!r}, and the model has {below} outputs: targets are "
                f"classes from 0 to {below - 1}"
            )


def _explain(explainer: Explainer, batch: Batch, point: Point, groups: Tensor | None) -> tuple[list[Tensor], Tensor]:
    """M times (B, F) scores, each token holding its word's; and (B, M) relative deltas, 0 where there is none."""
    scores = []
    deltas = torch.zeros(len(point.targets), len(explainer.methods))
    how: dict[str, Any] = {"settings": explainer.settings, "reduction": explainer.reduction}
    for m, method in enumerate(explainer.methods):
        score, delta = scored(method, explainer.model, explainer.adapter, batch, point, **how)
        scores.append(score if groups is None else group_scores(score.masked_fill(~point.eligible, 0.0), groups))
        if delta is not None:
            deltas[:, m] = delta
    return scores, deltas
