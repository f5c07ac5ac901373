"""Model + adapter + data set → attributions → removal curves → metrics."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedTokenizerBase

from ..adapters import Adapter
from ..adapters.base import base_of
from ..attribution import AttributionSettings, method_names
from ..distributed import is_sharded
from ..masking.text import STRATEGIES
from ..metrics.aopc import BINS, CONVENTIONS
from .explaining import warn_of_deltas
from .measurement import Job, measure_shares
from .normalization import check_search
from .padding import refuse_shifted_positions
from .predictions import Predictions, TextIdentity, identities_of, label_names_of
from .provenance import Provenance
from .removal import Removal
from .report import Curves, FaithfulnessReport
from .rows import Rows, refuse_ragged_labels, survey_rows
from .word_scores import METHODS, make_explainer

_LEAVES_WORDS = {"previous_salient", "random"}  # maskings that are no removal
USUAL_OPERATOR = "delete"
OPERATORS = tuple(sorted(set(STRATEGIES) - _LEAVES_WORDS))


def evaluate_faithfulness(
    model: nn.Module,
    dataset: Any,
    adapter: Adapter | PreTrainedTokenizerBase,
    *,
    methods: Sequence[str] = METHODS,
    bins: Sequence[float] = BINS,
    operator: str = USUAL_OPERATOR,
    convention: str = "eraser",
    reduction: str = "auto",
    granularity: str | None = None,
    random_draws: int = 10,
    settings: AttributionSettings | None = None,
    batch_size: int = 16,
    collator: Any = None,
    trained_masking: str | None = None,
    normalize: str | None = None,
    beam_width: int = 5,
    progress: bool = True,
) -> FaithfulnessReport:
    """Measure how faithful gradient explanations of a model are, beside a random ranking of the same model.

    For each text the words are ranked by each method's score for the predicted class; the top ⌈q·n⌉ are removed, and
    kept alone; the change of the predicted class's probability is comprehensiveness and sufficiency.

    Under torchrun or `accelerate launch` every process passes the same data set, measures its share (of a sharded model
    all of it, for each forward is of all processes), and returns the whole report. Memory is bounded by
    `settings.max_features`, whatever the number of texts: only a single text longer than that passes it.

    Args:
        model: A classifier with softmax output; its modes and gradients are left as they were.
        dataset: Rows of features as for `Trainer`, a map-style data set. With `word_ids` (see
            `sgt_hf.data.rationales`) units are words, otherwise tokens.
        adapter: The model's adapter, or its tokenizer.
        methods: Names of `sgt_hf.attribution.ATTRIBUTIONS`. `random` is always added.
        bins: Shares q of the words, ascending in (0, 1].
        operator: How words are removed: `delete`, or a token in their place: `unk`, `mask`, `sep`.
        convention: How bins are aggregated, see `sgt_hf.metrics.aopc.aopc`.
        reduction: How an attribution becomes a token's score; a word's is the sum over its tokens.
        granularity: `word` or `token`; None for words where the data has `word_ids`.
        random_draws: Random rankings per text, ≥ 1.
        settings: Of the methods and of the seed.
        batch_size: Texts that are attributed at once, at most.
        collator: Makes batches of rows; by default pads with the adapter's tokenizer.
        trained_masking: The masking that the model was trained with, if any, for the provenance line.
        normalize: How to search for each text's lowest and highest reachable AOPC, which makes NAOPC: `beam`, `greedy`
            (long texts), `exact` (texts of a few words), or None; what each costs is said in
            `sgt_hf.faithfulness.normalization.extreme_curves`.
        beam_width: Of the beam, ≥ 1.
        progress: Whether to show a bar, on the main process.

    Returns:
        `FaithfulnessReport`: per-sample curves, AOPC, table.

    Warns:
        UserWarning: The operator is the masking of training; or the methods' scores miss the sum they promise.

    Raises:
        ValueError: An unknown method, bin, operator, convention, granularity or normalisation, an empty data set or a
            dict of several, a model that does not predict one class of a text, left padding that moves a model's
            positions, a row that is longer than the model's positions reach, token ids that the embedding has no row
            for or the operator needs, labels that are no class indices or that the model names in another order, or
            scores that are not finite.
    """
    explainer = make_explainer(
        model,
        dataset,
        adapter,
        methods=[name for name in method_names(methods) if name != "random"],
        reduction=reduction,
        granularity=granularity,
        settings=settings,
    )
    limit = explainer.settings.max_features
    removal = Removal(model, explainer.adapter, operator, explainer.granularity, limit, is_sharded(model))
    job = Job(explainer, removal, tuple(bins), random_draws, normalize, beam_width)
    _check(job, convention)
    config = getattr(model, "config", None)  # a plain module has none
    names = label_names_of(dataset, getattr(config, "id2label", None), collator)
    rows = survey_rows(model, dataset, explainer.adapter.main_input)
    if collator is None:  # another may pad them
        refuse_ragged_labels(rows)
    refuse_shifted_positions(model, dataset, explainer.adapter, collator)
    if trained_masking == operator:
        warnings.warn(
            f"words are removed as the model was trained to bear it ({operator}), which flatters sufficiency: evaluate "
            "with another operator too",
            stacklevel=2,
        )
    measured = measure_shares(job, dataset, rows, batch_size=batch_size, collator=collator, progress=progress)
    warn_of_deltas(explainer, torch.stack([text["delta"] for text in measured]))
    provenance = _provenance(job, rows, convention, trained_masking)
    identities = identities_of(dataset, [text["words"] for text in measured])
    return _report(measured, job, provenance, identities, rows.documents, names)


def _report(
    texts: list[dict[str, Any]],
    job: Job,
    provenance: Provenance,
    identities: list[TextIdentity] | None,
    documents: list[str] | None,
    names: tuple[str, ...] | None,
) -> FaithfulnessReport:
    predicted = np.array([text["predicted"] for text in texts])
    methods = job.explainer.methods
    classes = {name: _stacked(texts, name) for name in ("full", "empty", "removed", "kept")}
    chosen = {name: values[np.arange(len(texts)), ..., predicted] for name, values in classes.items()}
    removed, kept = chosen["removed"], chosen["kept"]
    curves = {method: Curves(removed[:, [m]], kept[:, [m]]) for m, method in enumerate(methods)}
    labels = np.array([text["label"] for text in texts])
    scores = {method: [text["scores"][m] for text in texts] for m, method in enumerate(methods)}
    extremes = None
    if job.normalize is not None:
        extremes = Curves(_stacked(texts, "extreme_removed"), _stacked(texts, "extreme_kept"))
    return FaithfulnessReport(
        curves=curves | {"random": Curves(removed[:, len(methods) :], kept[:, len(methods) :])},
        full=chosen["full"],
        empty=chosen["empty"],
        predicted=predicted,
        labels=None if (labels < 0).all() else labels,
        scores=scores,
        provenance=provenance,
        predictions=Predictions(
            identities=identities,
            label_names=names,
            predicted=predicted,
            full=classes["full"],
            removed={method: classes["removed"][:, m] for m, method in enumerate(methods)},
            kept={method: classes["kept"][:, m] for m, method in enumerate(methods)},
            scores=scores,
            bins=job.bins,
            documents=documents,
        ),
        extremes=extremes,
    )


def _stacked(texts: list[dict[str, Any]], name: str) -> NDArray[np.float64]:
    return np.stack([text[name] for text in texts]).astype(np.float64)


def _provenance(job: Job, rows: Rows, convention: str, trained_masking: str | None) -> Provenance:
    settings = job.explainer.settings
    return Provenance(
        convention=convention,
        operator=job.removal.operator,
        bins=job.bins,
        reduction=job.explainer.reduction,
        unit=job.explainer.granularity,
        random_draws=job.random_draws,
        seed=settings.seed,
        baseline=settings.baseline,
        steps=settings.steps,
        smooth_grad_samples=settings.samples,
        smooth_grad_noise=settings.noise,
        shap_samples=settings.shap_samples,
        shap_baselines=settings.shap_baselines,
        shap_noise=settings.shap_noise,
        trained_masking=trained_masking,
        truncated_words=None if rows.truncated is None else sum(rows.truncated),
        normalize=job.normalize,
        beam_width=job.beam_width if job.normalize == "beam" else None,
        autocast=_autocast(next(job.removal.model.parameters()).device.type),
    )


def _autocast(device: str) -> str | None:
    """The dtype to which the caller's own autocast takes matrix products, or None."""
    if not torch.is_autocast_enabled(device):
        return None
    return str(torch.get_autocast_dtype(device)).removeprefix("torch.")


def _check(job: Job, convention: str) -> None:
    if convention not in CONVENTIONS:
        raise ValueError(f"unknown convention {convention!r}: use one of {CONVENTIONS}")
    if not job.bins or any(not 0 < share <= 1 for share in job.bins) or list(job.bins) != sorted(set(job.bins)):
        raise ValueError(f"bins must ascend in (0, 1], got {job.bins}")
    if job.random_draws < 1:
        raise ValueError(f"random_draws must be ≥ 1, got {job.random_draws}")
    check_search(job.normalize, job.beam_width, 0)
    if job.removal.operator in _LEAVES_WORDS:
        raise ValueError(
            f"operator {job.removal.operator!r} puts words of the text, or of the vocabulary, in the place of removed "
            f"ones: they are not removed. Use one of {list(OPERATORS)}"
        )
    job.removal.adapter.check(masking=job.removal.operator, granularity=job.removal.granularity)
    for seen, way_out in job.removal.adapter.unfit(base_of(job.removal.model), job.removal.operator):
        raise ValueError(f"words cannot be removed by {seen}: {way_out}")
