"""Model + adapter + data set → a score for every word, by every method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from ..adapters import Adapter, adapter_for
from ..adapters.base import Batch, logits_of
from ..adapters.dense import DenseAdapter
from ..attribution import (
    ATTRIBUTIONS,
    AttributionSettings,
    Point,
    method_names,
    refuse_double_product,
    refuse_not_finite,
    relative_delta,
    seeded_scores,
    warn_if_incomplete,
)
from ..modes import measuring
from ..ranking import group_leaders, group_scores
from ..saliency import reduce_scores
from .known_ids import known_ids
from .padding import refuse_shifted_positions
from .rows import cut_batches, load_batches, survey_rows
from .units import Texts, number_units

METHODS = ("gradient", "integrated_gradients", "smooth_grad")


@dataclass(frozen=True)
class Explainer:
    """What scores words, and how."""

    model: nn.Module
    adapter: Adapter
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


def make_explainer(
    model: nn.Module,
    dataset: Any,
    adapter: Adapter | PreTrainedTokenizerBase,
    *,
    methods: Sequence[str],
    reduction: str,
    granularity: str | None,
    settings: AttributionSettings | None,
) -> Explainer:
    """Fill in what was left to the data, and refuse what cannot work.

    Args:
        model: A classifier with softmax output.
        dataset: Rows of features.
        adapter: The model's adapter, or its tokenizer.
        methods: Names of `sgt_hf.attribution.ATTRIBUTIONS`.
        reduction: How an attribution becomes a token's score.
        granularity: `word` or `token`; None for words where the data has `word_ids`.
        settings: Of the methods and of the seed; None for the usual ones.

    Raises:
        ValueError: The model reads series or images or is multi-label, the methods are a string, one of them or the
            granularity is unknown, the reduction multiplies what is multiplied, or the data set is empty, a stream, a
            dict of data sets or not encoded.
    """
    adapter = adapter if isinstance(adapter, Adapter) else adapter_for(model, adapter)
    if isinstance(adapter, DenseAdapter):
        raise ValueError(
            f"this measures the words of texts, and {type(adapter).__name__} is for {adapter.kind}: for series and "
            "images take scores = pixel_scores(model, dataset, adapter, methods=['gradient']), and then "
            "predictions_under_removal(model, dataset, adapter, scores['gradient']), of sgt_hf.faithfulness.pixels"
        )
    names = method_names(methods)
    refuse_double_product(names, reduction)
    _check_rows(dataset, adapter.main_input)
    if getattr(getattr(model, "config", None), "problem_type", None) == "multi_label_classification":
        raise ValueError("comprehensiveness is defined by one predicted class, and this model is multi-label")
    if granularity is None:
        granularity = "word" if "word_ids" in dataset[0] else "token"
    adapter.check(masking="delete", granularity=granularity)
    return Explainer(model, adapter, tuple(names), reduction, granularity, settings or AttributionSettings())


def _check_rows(dataset: Any, main_input: str) -> None:
    if isinstance(dataset, Mapping):
        raise ValueError(
            f"the data set is a {type(dataset).__name__} with the keys {list(dataset)}, and one is measured at a time: "
            "pass one of its values"
        )
    if not hasattr(dataset, "__len__"):
        raise ValueError(
            f"{type(dataset).__name__} has no length, and every text is looked at before the first is measured: pass a "
            "map-style data set, as datasets.Dataset.from_list(list(rows.take(1000))) makes of a stream"
        )
    if not len(dataset):
        raise ValueError("the data set is empty: there is nothing to evaluate")
    if main_input not in dataset[0]:
        raise ValueError(
            f"the rows have no {main_input!r} (they have {sorted(dataset[0])}): encode the texts first, as for "
            "Trainer, or by sgt_hf.data.rationales.encode_words"
        )


def word_scores(
    model: nn.Module,
    dataset: Any,
    adapter: Adapter | PreTrainedTokenizerBase,
    *,
    methods: Sequence[str] = METHODS,
    targets: Sequence[int] | None = None,
    reduction: str = "auto",
    granularity: str | None = None,
    settings: AttributionSettings | None = None,
    batch_size: int = 16,
    collator: Any = None,
) -> tuple[dict[str, list[NDArray[np.float32]]], list[int]]:
    """Score every text's words by every method, without removing any.

    Args:
        model: A classifier with softmax output; its modes and gradients are left as they were.
        dataset: N rows of features, a map-style data set.
        adapter: The model's adapter, or its tokenizer.
        methods: Names of `sgt_hf.attribution.ATTRIBUTIONS`, `random` included.
        targets: The class explained in each text; None for the predicted ones.
        reduction: How an attribution becomes a token's score; a word's is the sum over its tokens.
        granularity: `word` or `token`; None for words where the data has `word_ids`.
        settings: Of the methods and of the seed.
        batch_size: Texts that are attributed at once, at most.
        collator: Makes batches of rows; by default pads with the adapter's tokenizer.

    Returns:
        For each method N arrays, one score a word; and the N classes explained.

    Raises:
        ValueError: An unknown method or granularity, an empty data set, a multi-label model, or a row that is longer
            than the model's positions reach.
    """
    explainer = make_explainer(
        model,
        dataset,
        adapter,
        methods=methods,
        reduction=reduction,
        granularity=granularity,
        settings=settings,
    )
    scores: dict[int, NDArray[np.float32]] = {}
    classes: dict[int, int] = {}
    for part in explain_all(explainer, dataset, batch_size=batch_size, collator=collator, targets=targets):
        scores |= zip(part.index, (one.cpu().numpy() for one in part.scores), strict=True)
        classes |= zip(part.index, part.targets.tolist(), strict=True)
    order = range(len(dataset))
    return {name: [scores[i][m] for i in order] for m, name in enumerate(explainer.methods)}, [
        classes[i] for i in order
    ]


def explain_all(
    explainer: Explainer,
    dataset: Any,
    *,
    batch_size: int,
    collator: Any = None,
    targets: Sequence[int] | None = None,
) -> Iterator[Explained]:
    """Yield the texts of a whole data set and the scores of their words, longest first.

    Args:
        explainer: What scores words; its model is put in eval mode meanwhile.
        dataset: N rows of features.
        batch_size: Texts that are attributed at once, at most.
        collator: See `load_batches`.
        targets: N classes to explain; None for the predicted ones.

    Warns:
        UserWarning: The methods' scores miss the sum they promise; once, of all texts.

    Raises:
        ValueError: A row is longer than the model's positions reach, or left padding moves them.
    """
    rows = survey_rows(explainer.model, dataset, explainer.adapter.main_input)
    if len(dataset) > 1:
        refuse_shifted_positions(explainer.model, dataset, explainer.adapter, collator)
    limit = explainer.settings.max_features
    batches = cut_batches(rows.order, rows.lengths, batch_size=batch_size, max_features=limit)
    deltas = []
    with measuring(explainer.model):
        for part in explain_texts(explainer, dataset, batches, collator, targets=targets):
            deltas.append(part.deltas)
            yield part
    warn_of_deltas(explainer, torch.cat(deltas))


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
        logits = logits_of(explainer.model(**captured.batch))
    if logits.dim() != 2 or logits.shape[1] < 2:
        raise ValueError(
            f"{type(explainer.model).__name__} gives outputs of shape {tuple(logits.shape)} for {len(index)} texts: "
            "faithfulness is defined by one predicted class of K ≥ 2 for each text, outputs of shape (B, K), which "
            "regression and token classification do not give"
        )
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


def _explain(explainer: Explainer, batch: Batch, point: Point, groups: Tensor | None) -> tuple[list[Tensor], Tensor]:
    """M times (B, F) scores, each token holding its word's; and (B, M) relative deltas, 0 where there is none."""
    scores = []
    deltas = torch.zeros(len(point.targets), len(explainer.methods))
    dim = explainer.adapter.feature_dim
    for m, method in enumerate(explainer.methods):
        found = ATTRIBUTIONS[method](explainer.model, explainer.adapter, batch, point, explainer.settings)
        score = reduce_scores(found.values, point.features, explainer.reduction, dim=dim)
        refuse_not_finite(method, score, point)
        scores.append(score if groups is None else group_scores(score.masked_fill(~point.eligible, 0.0), groups))
        if found.delta is not None:
            deltas[:, m] = relative_delta(found, dim=dim)
    return scores, deltas
