"""Texts → everything a report is made of, text by text: in pools that fit into memory, shared by processes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import broadcast, gather_object
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from tqdm.auto import tqdm

from ..modes import measuring
from .explaining import Explained, Explainer, explain_texts
from .normalization import extreme_curves
from .removal import Removal, removal_curves
from .rows import Rows, cut_batches
from .units import pool_texts

_POOL = 2**23  # units of perturbed texts that are planned at once


@dataclass(frozen=True)
class Job:
    """One evaluation's fixed parts.

    Attributes:
        explainer: What scores words.
        removal: What removes them and judges what is left.
        bins: (R,) shares of the words.
        random_draws: D random rankings per text.
        normalize: `beam`, `greedy`, `exact` or None, see `evaluate_faithfulness`.
        beam_width: Of the beam.
    """

    explainer: Explainer
    removal: Removal
    bins: tuple[float, ...]
    random_draws: int
    normalize: str | None
    beam_width: int


def measure_shares(
    job: Job, dataset: Any, rows: Rows, *, batch_size: int, collator: Any, progress: bool
) -> list[dict[str, Any]]:
    """Measure this process's share of the texts, and return those of all processes in the data set's order.

    Where FSDP2 has sharded the model, no process can run a forward without the others, and each measures all texts.

    Args:
        job: What to compute.
        dataset: N rows of features, the same in every process.
        rows: Their lengths.
        batch_size: Texts that are attributed at once, at most.
        collator: See `load_batches`.
        progress: Whether to show a bar, on the main process.

    Returns:
        N of what `measure_texts` returns.
    """
    process, processes = _process(next(job.removal.model.parameters()).device)
    if job.removal.together:
        processes = 1
    own = rows.order if processes == 1 else rows.order[process::processes]
    limit = job.removal.max_features
    batches = cut_batches(own, rows.lengths, batch_size=batch_size, max_features=limit)
    hidden = process > 0 or not progress
    measured: list[dict[str, Any]] = []
    with measuring(job.removal.model), tqdm(total=len(own), desc="faithfulness", unit="text", disable=hidden) as bar:
        explained = explain_texts(job.explainer, dataset, batches, collator, draws=job.random_draws)
        explained = map(_of_first_process, explained) if job.removal.together else explained
        for parts in _pools(explained, 2 * len(job.bins) * (len(job.explainer.methods) + job.random_draws) + 1):
            texts = measure_texts(job, parts)
            measured += texts
            bar.update(len(texts))
    everything = gather_object(measured) if processes > 1 else measured
    return sorted(everything, key=lambda text: text["index"])


def _process(device: torch.device) -> tuple[int, int]:
    """This process's number and how many there are.

    Accelerate's state is only asked where there are several: it is made for good, on the device it is first asked for.
    """
    started = torch.distributed.is_available() and torch.distributed.is_initialized()
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 and not started:
        return 0, 1
    state = PartialState(cpu=device.type == "cpu")
    return state.process_index, state.num_processes


def _of_first_process(part: Explained) -> Explained:
    """The same batch with the first process's classes, scores and probabilities; see `Removal.together`."""
    scores = broadcast([score.contiguous() for score in part.scores])
    texts = replace(part.texts, whole=broadcast(part.texts.whole))
    return replace(part, targets=broadcast(part.targets), scores=scores, texts=texts)


def _pools(explained: Iterator[Explained], perturbed: int) -> Iterator[list[Explained]]:
    """Gather batches until the perturbed texts of one more, `perturbed` for each text, would be too many to plan."""
    parts: list[Explained] = []
    size = 0
    for part in explained:
        added = perturbed * len(part.index) * part.texts.units.shape[1]
        if parts and size + added > _POOL:
            yield parts
            parts, size = [], 0
        parts.append(part)
        size += added
    if parts:
        yield parts


def measure_texts(job: Job, parts: Sequence[Explained]) -> list[dict[str, Any]]:
    """Run the model on what removal leaves of some texts, and lay the results out by text.

    Args:
        job: What to compute.
        parts: Batches of texts and scores, the perturbed texts of which are run together.

    Returns:
        For each text its `index`, `label` (−1 for none), `predicted` class, class probabilities `full` and `empty`
        (K,), `removed` and `kept` (M + D, R, K), `scores` (M, n), `delta` (M,), `words` (n,) or None, and where limits
        are searched for `extreme_removed` and `extreme_kept` (2, R).

    Raises:
        ValueError: Labels are no class indices.
    """
    labels = [_class_indices(part) for part in parts]
    texts = pool_texts(job.removal.adapter, [part.texts for part in parts])
    targets = torch.cat([part.targets for part in parts])
    scores = [score for part in parts for score in part.scores]
    padded = pad_sequence([score.T for score in scores], batch_first=True).transpose(1, 2)
    padded = functional.pad(padded, (0, int(padded.shape[2] == 0)))
    curves = removal_curves(job.removal, texts, padded, job.bins)
    tensors = {
        "predicted": targets,
        "full": texts.whole,
        "empty": curves.empty,
        "removed": curves.removed,
        "kept": curves.kept,
    }
    arrays = {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
    if job.normalize is not None:
        limits = extreme_curves(
            job.removal, texts, targets, job.bins, normalize=job.normalize, beam_width=job.beam_width
        )
        arrays |= zip(("extreme_removed", "extreme_kept"), limits, strict=True)
    methods = len(job.explainer.methods)
    known = [
        {
            "index": index,
            "label": label,
            "scores": part.scores[row][:methods].cpu().numpy(),
            "delta": part.deltas[row],
            "words": None if part.words is None else part.words[row],
        }
        for part, own in zip(parts, labels, strict=True)
        for row, (index, label) in enumerate(zip(part.index, own, strict=True))
    ]
    return [{name: array[row] for name, array in arrays.items()} | one for row, one in enumerate(known)]


def _class_indices(part: Explained) -> list[int]:
    """The labels of a batch, −1 without any."""
    if part.labels is None:
        return [-1] * len(part.index)
    way_out = "give class indices, or leave the column of labels out"
    if part.labels.numel() != len(part.index):
        raise ValueError(
            f"the labels of {len(part.index)} rows are of shape {tuple(part.labels.shape)}, and one class of each row "
            f"is expected: {way_out}"
        )
    labels, count = part.labels.flatten().tolist(), part.texts.whole.shape[1]
    for index, label in zip(part.index, labels, strict=True):
        if not float(label).is_integer() or label >= count:
            raise ValueError(
                f"the label of row {index} is {label:g}, which is no class of a model of {count} outputs: {way_out}"
            )
    return [int(label) for label in labels]
