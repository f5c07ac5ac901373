"""The two checks: do explanations change when the model's parameters, or its labels, are made random?

References:
    Adebayo et al. 2018, Sanity Checks for Saliency Maps, sections 3 to 5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase

from ..adapters import Adapter
from ..faithfulness.word_scores import METHODS, word_scores
from .randomization import layers_of, permute_labels, randomized_copies
from .report import SanityReport, correlations_of

ORDERS = ("cascading", "independent")


def randomization_check(
    model: nn.Module,
    dataset: Any,
    adapter: Adapter | PreTrainedTokenizerBase,
    *,
    methods: Sequence[str] = METHODS,
    order: str = "cascading",
    seed: int = 0,
    progress: bool = True,
    **how: Any,
) -> SanityReport:
    """Re-initialise a copy of the model layer by layer, from the output back, and compare the explanations.

    The class explained is always the one that the original model predicts. For layers see `layers_of`.

    Args:
        model: The trained model; not changed.
        dataset: N rows of features, as for `evaluate_faithfulness`.
        adapter: The model's adapter, or its tokenizer.
        methods: Names of `sgt_hf.attribution.ATTRIBUTIONS`.
        order: `cascading`, each layer and all those nearer to the output; or `independent`, each layer alone.
        seed: Of the new parameters; torch's global generators are left as they were.
        progress: Whether to show a bar.
        **how: Further arguments of `sgt_hf.faithfulness.word_scores`: `reduction`, `settings`, `batch_size`, …

    Returns:
        `SanityReport`, one step a layer.

    Raises:
        ValueError: The order is unknown, a layer cannot be re-initialised, or see `evaluate_faithfulness`.
    """
    if order not in ORDERS:
        raise ValueError(f"unknown order {order!r}: use one of {ORDERS}")
    original, targets = word_scores(model, dataset, adapter, methods=methods, **how)
    layers = list(reversed(layers_of(model)))
    copies = randomized_copies(model, layers, cascading=order == "cascading", seed=seed)
    steps = [
        word_scores(randomised, dataset, adapter, methods=methods, targets=targets, **how)[0]
        for randomised in tqdm(copies, total=len(layers), desc="sanity", unit="layer", disable=not progress)
    ]
    check = f"parameters randomised, {order} from the output"
    return correlations_of(original, steps, check=check, layers=layers, seed=seed)


def label_randomization_check(
    model: nn.Module,
    retrained: nn.Module | Callable[[Any], nn.Module],
    dataset: Any,
    adapter: Adapter | PreTrainedTokenizerBase,
    *,
    train_dataset: Any = None,
    methods: Sequence[str] = METHODS,
    seed: int = 0,
    **how: Any,
) -> SanityReport:
    """Compare the explanations with those of a model that was trained on permuted labels.

    The class explained is always the one that the original model predicts.

    Args:
        model: The trained model; not changed.
        retrained: The other model, of the same tokenizer; or a callable that trains it on the rows it is given,
            which are those of `train_dataset` with their labels permuted.
        dataset: N rows of features, as for `evaluate_faithfulness`.
        adapter: The models' adapter, or their tokenizer.
        train_dataset: What a callable trains on.
        methods: Names of `sgt_hf.attribution.ATTRIBUTIONS`.
        seed: Of the permutation.
        **how: Further arguments of `sgt_hf.faithfulness.word_scores`.

    Returns:
        `SanityReport` of one step.

    Raises:
        ValueError: A callable is given without `train_dataset`, or that has no labels; or see `evaluate_faithfulness`.
    """
    if not isinstance(retrained, nn.Module):
        if train_dataset is None:
            raise ValueError("a callable needs rows to train on: pass train_dataset, or the trained model itself")
        retrained = retrained(permute_labels(train_dataset, seed=seed))
    original, targets = word_scores(model, dataset, adapter, methods=methods, **how)
    other, _ = word_scores(retrained, dataset, adapter, methods=methods, targets=targets, **how)
    check = "labels permuted in training"
    return correlations_of(original, [other], check=check, layers=["whole model"], seed=seed)
