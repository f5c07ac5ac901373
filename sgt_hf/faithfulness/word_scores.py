"""Model + adapter + data set → a score for every word, by every method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedTokenizerBase

from ..adapters import Adapter, TextAdapter, adapter_for
from ..attribution import (
    AttributionSettings,
    method_names,
    refuse_double_product,
)
from ..modes import measuring
from .explaining import Explained, Explainer, explain_texts, warn_of_deltas
from .padding import refuse_shifted_positions
from .rows import cut_batches, survey_rows

METHODS = ("gradient", "integrated_gradients", "smooth_grad")


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
        ValueError: The model reads series or images, is multi-label or a regression, the methods are a string, one of
            them or the granularity is unknown, the reduction multiplies what is multiplied, or the data set is empty, a
            stream, a dict of data sets or not encoded.
    """
    adapter = adapter if isinstance(adapter, Adapter) else adapter_for(model, adapter)
    if not isinstance(adapter, TextAdapter):
        raise ValueError(
            f"this measures the words of texts, by a TextAdapter, and {type(adapter).__name__} is none: for series and "
            "images take scores = pixel_scores(model, dataset, adapter, methods=['gradient']), and then "
            "predictions_under_removal(model, dataset, adapter, scores['gradient']), of sgt_hf.faithfulness.pixels"
        )
    names = method_names(methods)
    refuse_double_product(names, reduction)
    _check_rows(dataset, adapter.main_input)
    problem = getattr(getattr(model, "config", None), "problem_type", None)
    if problem in ("regression", "multi_label_classification"):
        raise ValueError(
            "faithfulness is defined by one predicted class of several, and the problem_type of this "
            f"{type(model).__name__} is {problem!r}"
        )
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
        ValueError: An unknown method or granularity, an empty data set, a multi-label model or a regression, targets
            that are not one class of the model for each row, or a row that is longer than the model's positions reach.
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
        ValueError: A row is longer than the model's positions reach, left padding moves them, or the targets are not
            one class of the model for each row.
    """
    if targets is not None and len(targets) != len(dataset):
        raise ValueError(f"there are {len(targets)} targets for {len(dataset)} rows: give the class of each")
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
