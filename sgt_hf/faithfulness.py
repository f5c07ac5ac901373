"""Model + adapter + data set → attributions → removal curves → metrics."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase

from .adapters import Adapter, adapter_for
from .adapters.base import Batch, logits_of
from .attribution import ATTRIBUTIONS, AttributionSettings, Point, random_scores
from .data.rationales import DataCollatorWithWordIds
from .faithfulness_report import Curves, FaithfulnessReport, Provenance
from .metrics.aopc import BINS, CONVENTIONS
from .ranking import ceil_share, group_leaders, group_scores, select_top
from .saliency import evaluating, reduce_scores

METHODS = ("gradient", "integrated_gradients", "smooth_grad")


@dataclass(frozen=True)
class Job:
    """One evaluation's fixed parts, handed down the functions of this file."""

    model: nn.Module
    adapter: Adapter
    methods: tuple[str, ...]
    bins: tuple[float, ...]
    operator: str
    reduction: str
    granularity: str
    random_draws: int
    settings: AttributionSettings


def evaluate_faithfulness(
    model: nn.Module,
    dataset: Any,
    adapter: Adapter | PreTrainedTokenizerBase,
    *,
    methods: Sequence[str] = METHODS,
    bins: Sequence[float] = BINS,
    operator: str = "delete",
    convention: str = "eraser",
    reduction: str = "auto",
    granularity: str | None = None,
    random_draws: int = 10,
    settings: AttributionSettings | None = None,
    batch_size: int = 16,
    collator: Any = None,
    trained_masking: str | None = None,
    progress: bool = True,
) -> FaithfulnessReport:
    """Measure how faithful gradient explanations of a model are, beside a random ranking of the same model.

    For each text the words are ranked by each method's score for the predicted class; the top ⌈q·n⌉ are removed, and
    kept alone; the change of the predicted class's probability is comprehensiveness and sufficiency.

    Args:
        model: A classifier with softmax output; its modes and gradients are left as they were.
        dataset: Rows of features as for `Trainer`, a map-style data set. With `word_ids` (see
            `sgt_hf.data.rationales`) units are words, otherwise tokens.
        adapter: The model's adapter, or its tokenizer.
        methods: Names of `sgt_hf.attribution.ATTRIBUTIONS`. `random` is always added.
        bins: Shares q of the words, ascending in (0, 1].
        operator: How words are removed: `delete`, or a token in their place: `unk`, `mask`.
        convention: How bins are aggregated, see `sgt_hf.metrics.aopc.aopc`.
        reduction: How an attribution becomes a token's score; a word's is the sum over its tokens.
        granularity: `word` or `token`; None for words where the data has `word_ids`.
        random_draws: Random rankings per text, ≥ 1.
        settings: Of the methods and of the seed.
        batch_size: Texts that are attributed at once.
        collator: Makes batches of rows; by default pads with the adapter's tokenizer.
        trained_masking: The masking that the model was trained with, if any, for the provenance line.
        progress: Whether to show a bar.

    Returns:
        `FaithfulnessReport`: per-sample curves, AOPC, table.

    Raises:
        ValueError: An unknown method, bin, operator, convention or granularity, an empty data set, or a multi-label
            model.
    """
    adapter = adapter if isinstance(adapter, Adapter) else adapter_for(model, adapter)
    if granularity is None:
        granularity = "word" if len(dataset) and "word_ids" in dataset[0] else "token"
    settings = settings or AttributionSettings()
    job = Job(model, adapter, tuple(methods), tuple(bins), operator, reduction, granularity, random_draws, settings)
    _check(job, dataset, convention)
    batches = _loader(job, dataset, batch_size, collator)
    collected: dict[int, dict[str, Any]] = {}
    with evaluating(model), tqdm(total=len(dataset), desc="faithfulness", unit="text", disable=not progress) as bar:
        for index, batch in batches:
            rows = evaluate_batch(job, batch, index)
            collected |= dict(zip(index, rows, strict=True))
            bar.update(len(index))
    provenance = Provenance(
        convention=convention,
        operator=operator,
        bins=job.bins,
        reduction=reduction,
        unit=granularity,
        random_draws=random_draws,
        seed=settings.seed,
        baseline=settings.baseline,
        steps=settings.steps,
        smooth_grad_samples=settings.samples,
        smooth_grad_noise=settings.noise,
        trained_masking=trained_masking,
    )
    return _report([collected[i] for i in range(len(dataset))], job, provenance)


def evaluate_batch(job: Job, batch: Batch, index: list[int]) -> list[dict[str, Any]]:
    """Return each text's probabilities, curves and word scores.

    Args:
        job: What to compute.
        batch: Collated, on the model's device, labels included or not.
        index: Positions in the data set, which seed the random numbers.
    """
    labels = batch.get("labels")
    batch = {name: column for name, column in batch.items() if name != "labels"}
    with torch.no_grad(), job.adapter.capture(job.model, batch) as captured:
        probabilities = logits_of(job.model(**captured.batch)).softmax(-1)
    predicted = probabilities.argmax(-1)
    eligible, groups = job.adapter.eligible(batch), job.adapter.groups(batch, job.granularity)
    leaders = eligible if groups is None else group_leaders(groups, eligible)
    point = Point(captured.require(job.adapter).detach(), eligible, predicted, index)
    scores = [_word_scores(job, batch, point, method, groups) for method in job.methods]
    random = random_scores(leaders, index, draws=job.random_draws, seed=job.settings.seed)
    if groups is not None:
        random = torch.stack([group_scores(draw, groups) for draw in random])
    rankings = [*scores, *random]
    removed, kept, empty = removal_curves(job, batch, rankings, eligible, groups, predicted)
    full = probabilities.gather(1, predicted[:, None]).squeeze(1)
    tensors = {"full": full, "predicted": predicted, "empty": empty, "removed": removed, "kept": kept}
    arrays = {name: value.cpu().numpy() for name, value in tensors.items()}
    arrays["label"] = np.full(len(index), -1) if labels is None else labels.cpu().numpy()
    words = [[score[row][leaders[row]].cpu().numpy() for score in scores] for row in range(len(index))]
    return [{name: array[row] for name, array in arrays.items()} | {"scores": words[row]} for row in range(len(index))]


def removal_curves(
    job: Job,
    batch: Batch,
    rankings: Sequence[Tensor],
    eligible: Tensor,
    groups: Tensor | None,
    targets: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the model on every text without, and with only, the top words of every ranking and bin.

    All perturbed texts of the batch are pooled, sorted by length and run in batches filled by length.

    Args:
        job: What to compute.
        batch: (B, …) without labels.
        rankings: M score tensors (B, F).
        eligible: (B, F) bool.
        groups: (B, F) int64, or None.
        targets: (B,) int64, class j.

    Returns:
        removed (B, M, R), kept (B, M, R) and empty (B,): probabilities of class j.
    """
    counts = (eligible if groups is None else group_leaders(groups, eligible)).sum(1)
    drops = [eligible]
    for scores in rankings:
        for share in job.bins:
            top = select_top(scores, eligible, ceil_share(share, counts), groups=groups)
            drops += [top, eligible & ~top]
    mask = job.adapter.mask
    pool = job.adapter.stack([mask(batch, drop, job.operator, granularity=job.granularity) for drop in drops])
    probabilities = predict_by_length(job, pool).view(len(drops), len(targets), -1)
    chosen = probabilities.gather(2, targets.expand(len(drops), -1)[..., None]).squeeze(2)
    curves = chosen[1:].view(len(rankings), len(job.bins), 2, len(targets)).permute(2, 3, 0, 1)
    return curves[0], curves[1], chosen[0]


@torch.no_grad()
def predict_by_length(job: Job, pool: Batch) -> Tensor:
    """Return (M, K) probabilities of M samples of any lengths, in batches filled by length.

    Args:
        job: What to compute.
        pool: (M, …) without labels.
    """
    sizes = job.adapter.sizes(pool)
    order = sizes.argsort(descending=True, stable=True)
    parts = []
    for part in _fill(sizes[order].tolist(), job.settings.max_features):
        inputs = job.adapter.model_inputs(job.adapter.take(pool, order[part]))
        parts.append(logits_of(job.model(**inputs)).float().softmax(-1))
    return torch.cat(parts)[order.argsort()]


def _fill(sizes: list[int], budget: int) -> Iterator[slice]:
    """Cut descending sizes into runs whose count × largest stays within the budget, at least one each."""
    start = 0
    while start < len(sizes):
        end = start + max(1, budget // max(sizes[start], 1))
        yield slice(start, end)
        start = end


def _word_scores(job: Job, batch: Batch, point: Point, method: str, groups: Tensor | None) -> Tensor:
    """(B, F) a method's scores, each token holding its word's."""
    attribution = ATTRIBUTIONS[method](job.model, job.adapter, batch, point, job.settings)
    scores = reduce_scores(attribution.detach(), point.features, job.reduction, dim=job.adapter.feature_dim)
    return scores if groups is None else group_scores(scores.masked_fill(~point.eligible, 0.0), groups)


def _loader(job: Job, dataset: Any, batch_size: int, collator: Any) -> Iterator[tuple[list[int], Batch]]:
    """Yield positions and collated batch, longest texts first, so that memory runs out at once or never."""
    if collator is None:
        collator = DataCollatorWithWordIds(job.adapter.tokenizer)  # type: ignore[attr-defined]
    wanted = set(inspect.signature(job.model.forward).parameters) | set(job.adapter.extra_columns)
    wanted |= {"label", "label_ids", "labels"}
    lengths = [len(dataset[i][job.adapter.main_input]) for i in range(len(dataset))]
    order = sorted(range(len(dataset)), key=lambda i: -lengths[i])
    device = next(job.model.parameters()).device

    def collate(rows: list[dict[str, Any]]) -> Batch:
        batch = collator([{name: value for name, value in row.items() if name in wanted} for row in rows])
        return {name: column.to(device) for name, column in batch.items()}

    loader = DataLoader(Subset(dataset, order), batch_size=batch_size, collate_fn=collate)
    for start, batch in zip(range(0, len(order), batch_size), loader, strict=True):
        yield order[start : start + batch_size], batch


def _report(rows: list[dict[str, Any]], job: Job, provenance: Provenance) -> FaithfulnessReport:
    removed, kept = (np.stack([row[name] for row in rows]).astype(np.float64) for name in ("removed", "kept"))
    curves = {method: Curves(removed[:, [m]], kept[:, [m]]) for m, method in enumerate(job.methods)} | {
        "random": Curves(removed[:, len(job.methods) :], kept[:, len(job.methods) :])
    }
    labels = np.array([row["label"] for row in rows])
    return FaithfulnessReport(
        curves=curves,
        full=np.array([row["full"] for row in rows], dtype=np.float64),
        empty=np.array([row["empty"] for row in rows], dtype=np.float64),
        predicted=np.array([row["predicted"] for row in rows]),
        labels=None if (labels < 0).all() else labels,
        scores={method: [row["scores"][m] for row in rows] for m, method in enumerate(job.methods)},
        provenance=provenance,
    )


def _check(job: Job, dataset: Any, convention: str) -> None:
    unknown = sorted(set(job.methods) - set(ATTRIBUTIONS))
    if unknown:
        raise ValueError(f"unknown methods {unknown}: use {sorted(ATTRIBUTIONS)} (random is always added)")
    if convention not in CONVENTIONS:
        raise ValueError(f"unknown convention {convention!r}: use one of {CONVENTIONS}")
    if not job.bins or any(not 0 < share <= 1 for share in job.bins) or list(job.bins) != sorted(set(job.bins)):
        raise ValueError(f"bins must ascend in (0, 1], got {job.bins}")
    if job.random_draws < 1:
        raise ValueError(f"random_draws must be ≥ 1, got {job.random_draws}")
    if not len(dataset):
        raise ValueError("the data set is empty: there is nothing to evaluate")
    if getattr(getattr(job.model, "config", None), "problem_type", None) == "multi_label_classification":
        raise ValueError("comprehensiveness is defined by one predicted class, and this model is multi-label")
    job.adapter.check(masking=job.operator, granularity=job.granularity)
