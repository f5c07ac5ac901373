"""The lowest and highest AOPC that any ranking of a text reaches: what raw AOPC is to be read against.

A ranking matters to AOPC only through its top sets at the bins, S_1 ⊆ … ⊆ S_R with |S_b| = ⌈q_b·n⌉, and AOPC falls with
Σ_b p_j without S_b (comprehensiveness) or with S_b alone (sufficiency). So the search runs over chains of sets and not
over the n! rankings, and of all ways to reach the same set only the best is kept: what is still to come depends on the
set alone. Sets grow by one unit at a time; those of a size that is no bin's add nothing and are only looked at where
there are more of them than the beam is wide. A beam that is never full has seen every chain, so its answer is exact.

Of long texts a beam asks for too much. The greedy search follows one chain, and lets it grow in a few leaps a bin, each
time by the units that do most when added alone: what units do together is only seen from one leap to the next.

References:
    Edin et al. Normalized AOPC: Fixing Misleading Faithfulness Metrics for Feature Attribution Explainability. ACL 2025
    (arXiv 2408.08137), where a bin is a single word; github.com/JoakimEdin/naopc. Here bins and convention are those
    of the evaluation.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..ranking import ceil_share
from .removal import Removal, distinct_rows, predict
from .units import Texts

NORMALIZATIONS = ("beam", "exact", "greedy")
LEAPS = 2  # of a greedy search between two bins
EXACT_UNITS = 12  # 2^12 sets; a beam of any width is exact far below that, and no width will do far above
_POOL = 2**23  # units of perturbed texts that are looked at at once

Sets = NDArray[np.bool_]
Values = NDArray[np.float64]
Search = Generator[Sets, Values, Values]


def extreme_curves(
    removal: Removal, texts: Texts, targets: Tensor, bins: Sequence[float], *, normalize: str, beam_width: int
) -> tuple[Values, Values]:
    """Search each text's rankings for those of the lowest and the highest comprehensiveness and sufficiency.

    A beam of width w over a text of n units and bins up to a share q runs at most about 4·w·q·n² perturbed texts: some
    thousands for a pair of sentences, close to a million for a review of 300 words. The greedy search runs at most
    4·R·(2n + 1), 12 thousand for that review, and may stop further from the true limits.

    Args:
        removal: What to run and how to remove.
        texts: B of them.
        targets: (B,) int64, class j.
        bins: R shares, ascending.
        normalize: One of `NORMALIZATIONS`: how to search.
        beam_width: Of the beam: sets kept at each size.

    Returns:
        (B, 2, R) probability of class j without the top units, along the rankings of the lowest and of the highest
        comprehensiveness; and (B, 2, R) with the top units alone, along those of the lowest and of the highest
        sufficiency. `sgt_hf.metrics.aopc.aopc` makes the limits of them, in any convention.

    Raises:
        ValueError: The width is below 1, or the search is exact and a text has more than `EXACT_UNITS` units.
    """
    counts = texts.counts.tolist()
    check_search(normalize, beam_width, max(counts, default=0))
    width = {"beam": beam_width, "exact": None, "greedy": 1}[normalize]

    def search(count: int, sizes: NDArray[np.int64], sign: int) -> Search:
        if normalize == "greedy":
            return greedy_search(count, sizes, sign=sign)
        return chain_search(count, sizes, sign=sign, beam_width=width)

    sizes = torch.stack([ceil_share(share, texts.counts) for share in bins], 1).cpu().numpy()
    curves = np.zeros((len(counts), 4, len(bins)))
    for rows in _groups(counts, width):
        searches = {(row, s): search(counts[row], sizes[row], (1, -1)[s % 2]) for row in rows for s in range(4)}
        for (row, s), values in _run(searches, removal, texts, targets).items():
            curves[row, s] = values
    return _lowest_first(curves[:, :2]), _lowest_first(curves[:, 2:])


def chain_search(count: int, sizes: NDArray[np.int64], *, sign: int, beam_width: int | None) -> Search:
    """Search for nested sets whose values have the highest (sign 1) or lowest (−1) sum over the bins.

    Sets of equal standing keep the order in which they were found, which is that of their units.

    Args:
        count: n units.
        sizes: (R,) of the bins' sets, ascending.
        sign: 1 or −1.
        beam_width: Sets kept at each size, or None for all.

    Yields:
        (W, n) bool, sets whose values it wants to know: (W,) is to be sent.

    Returns:
        (R,) values along the best chain.
    """
    beam, totals, curves = np.zeros((1, count), dtype=bool), np.zeros(1), np.zeros((1, len(sizes)))
    for size in range(int(sizes[-1]) + 1) if count else [0]:
        if size:
            beam, totals, curves = _grown(beam, totals, curves)
        at_bin = sizes == size
        crowded = beam_width is not None and len(beam) > beam_width
        if not (at_bin.any() or crowded):
            continue
        values = yield beam
        curves[:, at_bin] = values[:, None]
        totals = totals + sign * values * at_bin.sum()
        outlook = totals + sign * values * (sizes > size).sum()  # as if nothing were to change any more
        best = np.argsort(-outlook, kind="stable")[:beam_width]
        beam, totals, curves = beam[best], totals[best], curves[best]
    return curves[0]


def greedy_search(count: int, sizes: NDArray[np.int64], *, sign: int) -> Search:
    """Follow one chain of nested sets towards the highest (sign 1) or lowest (−1) values at the bins.

    Args:
        count: n units.
        sizes: (R,) of the bins' sets, ascending.
        sign: 1 or −1.

    Yields:
        (W, n) bool, sets whose values it wants to know: (W,) is to be sent.

    Returns:
        (R,) values along the chain.
    """
    chosen, curve = np.zeros(count, dtype=bool), np.zeros(len(sizes))
    for size in _landings(sizes):
        free = np.flatnonzero(~chosen)
        if size > chosen.sum():
            larger = np.repeat(chosen[None], len(free), axis=0)
            larger[np.arange(len(free)), free] = True
            values = yield larger
            chosen[free[np.argsort(-sign * values, kind="stable")[: size - chosen.sum()]]] = True
        if (sizes == size).any():
            curve[sizes == size] = yield chosen[None]
    return curve


def _landings(sizes: NDArray[np.int64]) -> list[int]:
    """The sizes at which a greedy search looks anew: those of the bins, and `LEAPS` − 1 between each and the next."""
    bounds = np.concatenate([[0], sizes])
    parts = np.arange(1, LEAPS + 1) / LEAPS
    return np.unique(np.ceil(bounds[:-1, None] + np.diff(bounds)[:, None] * parts).astype(np.int64)).tolist()


def check_search(normalize: str | None, beam_width: int, longest: int) -> None:
    """Raise ValueError where a search cannot be run.

    Args:
        normalize: One of `NORMALIZATIONS`, or None for no search.
        beam_width: See `extreme_curves`.
        longest: Units of the longest text.
    """
    if normalize is not None and normalize not in NORMALIZATIONS:
        raise ValueError(f"unknown normalize {normalize!r}: use one of {NORMALIZATIONS} or None")
    if normalize == "exact" and longest > EXACT_UNITS:
        raise ValueError(
            f"normalize='exact' looks at every set of words, at most {EXACT_UNITS} of them, and a text has {longest}: "
            "use normalize='beam'"
        )
    if beam_width < 1:
        raise ValueError(f"beam_width must be ≥ 1, got {beam_width}")


def _lowest_first(curves: Values) -> Values:
    """Put the lower AOPC, the larger sum, first: a beam too narrow may find it on the way to the other."""
    order = np.argsort(-curves.sum(2), axis=1, kind="stable")
    return np.asarray(np.take_along_axis(curves, order[..., None], axis=1))


def _grown(beam: Sets, totals: Values, curves: Values) -> tuple[Sets, Values, Values]:
    """Every set with one unit more, each once, with the best of the totals that lead to it."""
    parent, unit = np.nonzero(~beam)
    sets = beam[parent]
    sets[np.arange(len(unit)), unit] = True
    order = np.argsort(-totals[parent], kind="stable")
    first = np.sort(distinct_rows(sets[order])[0])
    chosen = order[first]
    return sets[chosen], totals[parent[chosen]], curves[parent[chosen]]


def _groups(counts: list[int], beam_width: int | None) -> Iterator[list[int]]:
    """Texts whose searches are run in step, so many that the sets of one step stay bounded."""
    group: list[int] = []
    longest = max(counts, default=0)  # every set is laid out over its units
    for row in range(len(counts)):
        widest = max(counts[i] for i in [*group, row])
        sets = 2**widest if beam_width is None else beam_width * widest
        if group and 4 * (len(group) + 1) * sets * longest > _POOL:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def _run(
    searches: dict[tuple[int, int], Search], removal: Removal, texts: Texts, targets: Tensor
) -> dict[tuple[int, int], Values]:
    """Answer the searches, all of a step at once; returns what each found."""
    found: dict[tuple[int, int], Values] = {}
    wanted = {key: next(search) for key, search in searches.items()}
    while wanted:
        answers = _values(wanted, removal, texts, targets)
        following: dict[tuple[int, int], Sets] = {}
        for key, values in answers.items():
            try:
                following[key] = searches[key].send(values)
            except StopIteration as end:
                found[key] = end.value
        wanted = following
    return found


def _values(
    wanted: dict[tuple[int, int], Sets], removal: Removal, texts: Texts, targets: Tensor
) -> dict[tuple[int, int], Values]:
    """Probabilities of class j without the sets (searches 0 and 1) or with them alone (2 and 3)."""
    width = max(1, int(texts.counts.max()))  # of all texts: the longest may be in another group, or be done
    dropped = np.zeros((sum(map(len, wanted.values())), width), dtype=bool)
    rows = np.repeat([row for row, _ in wanted], [len(sets) for sets in wanted.values()])
    start = 0
    bounds = {}
    for (row, s), sets in wanted.items():
        bounds[row, s] = slice(start, start + len(sets))
        dropped[bounds[row, s], : sets.shape[1]] = sets if s < 2 else ~sets
        start += len(sets)
    index = torch.from_numpy(rows).to(targets.device)
    probabilities = predict(removal, texts, index, torch.from_numpy(dropped).to(targets.device))
    chosen = probabilities.gather(1, targets[index][:, None]).squeeze(1).double().cpu().numpy()
    return {key: chosen[bound] for key, bound in bounds.items()}
