"""Rank correlations of explanations before and after something was made random, as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr


@dataclass(frozen=True)
class SanityReport:
    """Rank correlations of explanations before and after randomisation; near 0 is what a sound method gives.

    Attributes:
        check: What was made random, and how.
        layers: Its M steps, in the order they were taken.
        signed: For each method (N, M) Spearman correlations of each text's scores; NaN where either model gives all
            words the same score.
        absolute: The same of the scores' absolute values.
        seed: Of the randomisation.
    """

    check: str
    layers: tuple[str, ...]
    signed: dict[str, np.ndarray]
    absolute: dict[str, np.ndarray]
    seed: int

    def correlation(self, method: str, *, absolute: bool = False) -> np.ndarray:
        """Return the (M,) mean over texts, those without a correlation left out; NaN where none is left.

        Args:
            method: One of those checked.
            absolute: Of the scores' absolute values rather than the signed ones.
        """
        counts = self.texts(method, absolute=absolute)
        total = np.nansum(self._values(method, absolute=absolute), axis=0)
        return np.where(counts > 0, total / np.maximum(counts, 1), np.nan)

    def texts(self, method: str, *, absolute: bool = False) -> np.ndarray:
        """Return the (M,) numbers of texts that have a correlation, over which `correlation` is the mean.

        Args:
            method: One of those checked.
            absolute: Of the scores' absolute values rather than the signed ones.
        """
        return np.isfinite(self._values(method, absolute=absolute)).sum(0)

    def __str__(self) -> str:
        """A table of mean correlations, each with the number of texts behind it where not all have one."""
        columns = [[method, *self._cells(method)] for method in self.signed]
        width = max(len("randomised"), *(len(layer) for layer in self.layers))
        wide = max(15, *(len(cell) for column in columns for cell in column))
        lines = [
            " ".join([f"{layer:{width}}", *(f"{cell:>{wide}}" for cell in cells)])
            for layer, *cells in zip(["randomised", *self.layers], *columns, strict=True)
        ]
        count = len(next(iter(self.signed.values())))
        note = f"{self.check}, seed {self.seed}, {count} texts: Spearman correlation with the original, (absolute)"
        if any(" of " in cell for column in columns for cell in column[1:]):
            note += "; of k: over k texts, for one of the models gives the words of the others the same score"
        return "\n".join([note, *lines])

    def _cells(self, method: str) -> list[str]:
        def means(absolute: bool) -> list[str]:
            counts = self.texts(method, absolute=absolute)
            found = zip(self.correlation(method, absolute=absolute), counts, strict=True)
            return [f"{mean:+.3f}" + ("" if n == len(self.signed[method]) else f" of {n}") for mean, n in found]

        return [f"{signed} ({absolute})" for signed, absolute in zip(means(False), means(True), strict=True)]

    def _values(self, method: str, *, absolute: bool) -> np.ndarray:
        return (self.absolute if absolute else self.signed)[method]


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return Spearman's rank correlation in [−1, 1], or NaN where either side has fewer than two distinct values.

    Args:
        first: (n,) real.
        second: (n,) real.

    >>> rank_correlation(np.array([0.1, 0.2, 0.9]), np.array([30, 20, 10]))
    -1.0
    """
    if min(len(np.unique(first)), len(np.unique(second))) < 2:
        return float("nan")
    return round(float(spearmanr(first, second).statistic), 12)


def correlations_of(
    original: dict[str, list[np.ndarray]],
    steps: Sequence[dict[str, list[np.ndarray]]],
    *,
    check: str,
    layers: Sequence[str],
    seed: int,
) -> SanityReport:
    """Correlate each text's scores by the original model with those of every step.

    Args:
        original: For each method N arrays, one score a word.
        steps: M times the same.
        check: What was made random, and how.
        layers: M names.
        seed: Of the randomisation.
    """

    def correlate(method: str, view: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        pairs = [zip(original[method], step[method], strict=True) for step in steps]
        return np.array([[rank_correlation(view(a), view(b)) for a, b in step] for step in pairs]).T

    signed = {method: correlate(method, np.asarray) for method in original}
    absolute = {method: correlate(method, np.abs) for method in original}
    return SanityReport(check, tuple(layers), signed, absolute, seed)
