"""What an evaluation of faithfulness hands out: per-sample curves, their aggregates and where they come from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .metrics.aopc import aopc, probability_drops

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Provenance:
    """Everything that decides the numbers, beside model and data.

    Attributes:
        convention: Aggregate of the bins.
        operator: What took the place of removed words.
        bins: Shares of the words.
        reduction: From an attribution to a token's score.
        unit: `word` or `token`.
        random_draws: Random rankings per text.
        seed: Of noise and random rankings.
        baseline: Of integrated gradients.
        steps: Of integrated gradients.
        smooth_grad_samples: Noisy copies.
        smooth_grad_noise: Standard deviation, as a share of the sample's range.
        trained_masking: The masking of saliency guided training, or None.
    """

    convention: str
    operator: str
    bins: tuple[float, ...]
    reduction: str
    unit: str
    random_draws: int
    seed: int
    baseline: str
    steps: int
    smooth_grad_samples: int
    smooth_grad_noise: float
    trained_masking: str | None

    def __str__(self) -> str:
        """One line."""
        bins = ", ".join(f"{100 * share:g}" for share in self.bins)
        line = (
            f"AOPC convention {self.convention}, operator {self.operator}, bins ⌈q·n⌉ {self.unit}s at {bins} %, class "
            f"predicted on the full input, reduction {self.reduction}, random over {self.random_draws} draws"
        )
        if self.trained_masking == self.operator:
            line += f"; the model was trained with the same operator ({self.operator}), which flatters sufficiency"
        return line


@dataclass(frozen=True)
class Curves:
    """Probabilities of the predicted class under removal.

    Attributes:
        removed: (N, D, R) without the top words of each bin; D rankings, 1 but for random.
        kept: (N, D, R) with them alone.
    """

    removed: Array
    kept: Array


@dataclass(frozen=True)
class Faithfulness:
    """One method's aggregates.

    Attributes:
        comprehensiveness: (N,) AOPC, in [−1, 1], higher is better.
        sufficiency: (N,) AOPC, in [−1, 1], lower is better.
        comprehensiveness_per_bin: (R,) means.
        sufficiency_per_bin: (R,) means.
    """

    comprehensiveness: Array
    sufficiency: Array
    comprehensiveness_per_bin: Array
    sufficiency_per_bin: Array


@dataclass(frozen=True)
class FaithfulnessReport:
    """Result of `evaluate_faithfulness`; samples in the data set's order.

    Attributes:
        curves: By method, `random` among them.
        full: (N,) probability of the predicted class.
        empty: (N,) probability of that class with no word left.
        predicted: (N,) class indices.
        labels: (N,) class indices, or None.
        scores: By method, each text's (n,) scores of its n units in order.
        provenance: How it was measured.
    """

    curves: dict[str, Curves]
    full: Array
    empty: Array
    predicted: NDArray[np.int64]
    labels: NDArray[np.int64] | None
    scores: dict[str, list[Array]]
    provenance: Provenance

    def __getitem__(self, method: str) -> Faithfulness:
        """Aggregate one method's curves; random is the mean over its draws."""
        curves = self.curves[method]
        return Faithfulness(
            self._mean_aopc(curves.removed, None),
            self._mean_aopc(curves.kept, self.empty),
            self._per_bin(curves.removed),
            self._per_bin(curves.kept),
        )

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods, `random` last."""
        return tuple(self.curves)

    @property
    def accuracy(self) -> float | None:
        """Share of texts predicted right, or None without labels."""
        return None if self.labels is None else float((self.predicted == self.labels).mean())

    def summary(self) -> dict[str, Any]:
        """Return the means and the provenance, ready for JSON."""
        return {
            "n": len(self.full),
            "accuracy": self.accuracy,
            "mean_confidence": float(self.full.mean()),
            "methods": {method: self._method_summary(method) for method in self.methods},
            "provenance": asdict(self.provenance),
        }

    def _method_summary(self, method: str) -> dict[str, Any]:
        values = self[method]
        return {
            "comprehensiveness": float(values.comprehensiveness.mean()),
            "sufficiency": float(values.sufficiency.mean()),
            "comprehensiveness_per_bin": values.comprehensiveness_per_bin.tolist(),
            "sufficiency_per_bin": values.sufficiency_per_bin.tolist(),
        }

    def __str__(self) -> str:
        """A table of means, with accuracy, confidence and the provenance line."""
        bins = "".join(f"{100 * share:>7g} %" for share in self.provenance.bins)
        lines = [f"{'':22}{'':18}{'AOPC':>8}{bins}"]
        for method in self.methods:
            entry = self._method_summary(method)
            for kind in ("comprehensiveness", "sufficiency"):
                name = method if kind == "comprehensiveness" else ""
                cells = "".join(f"{value:9.3f}" for value in entry[f"{kind}_per_bin"])
                lines.append(f"{name:22}{kind:18}{entry[kind]:8.3f}{cells}")
        accuracy = "not known (no labels)" if self.accuracy is None else f"{self.accuracy:.3f}"
        lines.append(f"n = {len(self.full)}, accuracy {accuracy}, mean confidence {self.full.mean():.3f}")
        return "\n".join([*lines, str(self.provenance)])

    def _mean_aopc(self, perturbed: Array, empty: Array | None) -> Array:
        draws = [
            aopc(self.full, perturbed[:, d], convention=self.provenance.convention, empty=empty)
            for d in range(perturbed.shape[1])
        ]
        return np.asarray(np.mean(draws, axis=0), dtype=np.float64)

    def _per_bin(self, perturbed: Array) -> Array:
        draws = [probability_drops(self.full, perturbed[:, d]).mean(0) for d in range(perturbed.shape[1])]
        return np.asarray(np.mean(draws, axis=0), dtype=np.float64)
