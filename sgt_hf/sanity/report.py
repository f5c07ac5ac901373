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
        values = (self.absolute if absolute else self.signed)[method]
        counts = np.isfinite(values).sum(0)
        return np.where(counts > 0, np.nansum(values, axis=0) / np.maximum(counts, 1), np.nan)

    def __str__(self) -> str:
        width = max(len("randomised"), *(len(layer) for layer in self.layers))
        wide = max(15, *(len(method) for method in self.signed))
        head = " ".join([f"{'randomised':{width}}", *(f"{method:>{wide}}" for method in self.signed)])
        columns = [(self.correlation(method), self.correlation(method, absolute=True)) for method in self.signed]
        lines = []
        for m, layer in enumerate(self.layers):
            cells = [f"{signed[m]:+.3f} ({unsigned[m]:+.3f})" for signed, unsigned in columns]
            lines.append(" ".join([f"{layer:{width}}", *(f"{cell:>{wide}}" for cell in cells)]))
        count = len(next(iter(self.signed.values())))
        note = f"{self.check}, seed {self.seed}, {count} texts: Spearman correlation with the original, (absolute)"
        return "\n".join([note, head, *lines])


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
