"""What an evaluation of faithfulness hands out: per-sample curves, their aggregates and where they come from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..metrics.aopc import aopc, probability_drops
from ..metrics.naopc import naopc
from .eraser_export import to_eraser_rows, write_jsonl
from .predictions import Predictions, agreement_with_humans
from .provenance import Provenance

Array = NDArray[np.float64]
_KINDS = ("comprehensiveness", "sufficiency")


@dataclass(frozen=True)
class Curves:
    """Probabilities of the predicted class under removal.

    Attributes:
        removed: (N, D, R) without the top words of each bin; D rankings, 1 but for random and for extremes.
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
        normalized_comprehensiveness: (N,) NAOPC, in [0, 1] but for what a search missed, higher is better; NaN where no
            ranking differs from another. None where no limits were searched for.
        normalized_sufficiency: (N,) the same, lower is better.
    """

    comprehensiveness: Array
    sufficiency: Array
    comprehensiveness_per_bin: Array
    sufficiency_per_bin: Array
    normalized_comprehensiveness: Array | None = None
    normalized_sufficiency: Array | None = None


@dataclass(frozen=True)
class FaithfulnessReport:
    """Result of `evaluate_faithfulness`; samples in the data set's order.

    Attributes:
        curves: By method, `random` among them.
        full: (N,) probability of the predicted class.
        empty: (N,) probability of that class with no word left.
        predicted: (N,) class indices.
        labels: (N,) class indices, negative where a text has none; None where no text has.
        scores: By method, each text's (n,) scores of its n units in order.
        provenance: How it was measured.
        predictions: Every class's probabilities and the places of the words, for export and plausibility.
        extremes: Along the rankings of lowest and of highest AOPC (D = 2) that a search found, each for its own of
            comprehensiveness and sufficiency; None where none was asked for.
    """

    curves: dict[str, Curves]
    full: Array
    empty: Array
    predicted: NDArray[np.int64]
    labels: NDArray[np.int64] | None
    scores: dict[str, list[Array]]
    provenance: Provenance
    predictions: Predictions | None = None
    extremes: Curves | None = None

    def __getitem__(self, method: str) -> Faithfulness:
        """Aggregate one method's curves; random is the mean over its draws.

        Raises:
            KeyError: It was not measured; names what was.
        """
        if method not in self.curves:
            raise KeyError(f"{method!r} was not measured, only {list(self.curves)}")
        curves, limits = self.curves[method], self.limits()
        comprehensiveness = self._aopc(curves.removed, None).mean(1)
        sufficiency = self._aopc(curves.kept, self.empty).mean(1)
        return Faithfulness(
            comprehensiveness,
            sufficiency,
            self._per_bin(curves.removed),
            self._per_bin(curves.kept),
            None if limits is None else naopc(comprehensiveness, *limits[0].T),
            None if limits is None else naopc(sufficiency, *limits[1].T),
        )

    def limits(self) -> tuple[Array, Array] | None:
        """Return each text's lowest and highest reachable AOPC: (N, 2) of comprehensiveness, (N, 2) of sufficiency.

        They are those that the search found, or a measured ranking's where that lies beyond them, as it may of a beam.
        None where no limits were searched for.
        """
        if self.extremes is None:
            return None
        removed = np.concatenate([self.extremes.removed, *(curves.removed for curves in self.curves.values())], axis=1)
        kept = np.concatenate([self.extremes.kept, *(curves.kept for curves in self.curves.values())], axis=1)
        found = self._aopc(removed, None), self._aopc(kept, self.empty)
        both = [np.stack([values.min(1), values.max(1)], axis=1) for values in found]
        return both[0], both[1]

    @property
    def documents(self) -> NDArray[np.int64] | None:
        """(N,) numbers of the texts' first documents, where several texts show one, as claims of FEVER do; else None.

        Such texts are no independent examples: an interval draws their documents. They are told by their ids, of which
        e-SNLI gives every pair its own.
        """
        names = None if self.predictions is None else self.predictions.documents
        if names is None or len(set(names)) == len(names):
            return None
        return np.unique(names, return_inverse=True)[1].astype(np.int64)

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods, `random` last."""
        return tuple(self.curves)

    @property
    def accuracy(self) -> float | None:
        """Share of the labelled texts predicted right, or None without labels."""
        if self.labels is None:
            return None
        labelled = self.labels >= 0
        return float((self.predicted == self.labels)[labelled].mean())

    def texts(self) -> dict[str, int]:
        """Return how many texts stand behind a mean that may leave some out.

        Those of `accuracy` have a label; those of `normalized_comprehensiveness` and `normalized_sufficiency`, which
        are there where limits were searched for, have rankings of which one does better than another.
        """
        counts = {} if self.labels is None else {"accuracy": int((self.labels >= 0).sum())}
        for kind, limits in zip(_KINDS, self.limits() or (), strict=False):
            low, high = limits.T
            counts[f"normalized_{kind}"] = int((~np.isnan(naopc(low, low, high))).sum())
        return counts

    def summary(self) -> dict[str, Any]:
        """Return the means, the numbers of texts behind them and the provenance, ready for JSON."""
        return {
            "n": len(self.full),
            "texts": self.texts(),
            "accuracy": self.accuracy,
            "mean_confidence": float(self.full.mean()),
            "methods": {method: self._method_summary(method) for method in self.methods},
            "provenance": asdict(self.provenance),
        }

    def plausibility(self, method: str | None = None, *, share: float | None = None) -> dict[str, Any]:
        """Measure how a method's scores agree with the words humans marked; see `predictions.agreement_with_humans`.

        Args:
            method: One with scores; the first by default.
            share: Of the hard rationale, one of the bins; by default the one nearest to what humans marked.

        Raises:
            ValueError: The report does not know the rows' words or what humans marked there.
        """
        return agreement_with_humans(self._known_predictions(), method=method, share=share)

    def to_eraser_jsonl(
        self,
        path: str | os.PathLike[str],
        *,
        method: str | None = None,
        share: float | None = None,
        label_names: Sequence[str] | None = None,
    ) -> None:
        """Write the predictions in the form that ERASER's released scorer reads, whole or not at all.

        That scorer averages over the bins 1, 5, 10, 20 and 50 %, as the convention `eraser` does; give it others by
        its `--aopc_thresholds`. It wants a row for every annotation of its split.

        Args:
            path: Of the jsonl file.
            method: Whose scores; the first by default.
            share: Of the hard rationale, one of the bins; by default the one nearest to the mean share that humans
                marked. See `sgt_hf.faithfulness.eraser_export.to_eraser_rows`.
            label_names: Names of the classes, where the data set does not give them.

        Raises:
            ValueError: The report does not know the rows' ids, documents or class names; the message says the way out.
        """
        rows = to_eraser_rows(self._known_predictions(), method=method, share=share, label_names=label_names)
        write_jsonl(path, rows)

    def _known_predictions(self) -> Predictions:
        if self.predictions is None:
            raise ValueError("this report holds no predictions: take one that evaluate_faithfulness returned")
        return self.predictions

    def _method_summary(self, method: str) -> dict[str, Any]:
        values, chance = self[method], self["random"]
        normalized = {
            "normalized_comprehensiveness": _mean_where_known(values.normalized_comprehensiveness),
            "normalized_sufficiency": _mean_where_known(values.normalized_sufficiency),
        }
        return {
            "comprehensiveness": float(values.comprehensiveness.mean()),
            "sufficiency": float(values.sufficiency.mean()),
            "comprehensiveness_per_bin": values.comprehensiveness_per_bin.tolist(),
            "sufficiency_per_bin": values.sufficiency_per_bin.tolist(),
            "comprehensiveness_minus_random": float((values.comprehensiveness - chance.comprehensiveness).mean()),
            "sufficiency_minus_random": float((values.sufficiency - chance.sufficiency).mean()),
            **({} if self.extremes is None else normalized),
        }

    def __str__(self) -> str:
        """A table of means, with accuracy, confidence and the provenance line."""
        bins = "".join(f"{100 * share:>7g} %" for share in self.provenance.bins)
        normalized = "" if self.extremes is None else f"{'NAOPC':>9}"
        lines = [f"{'':22}{'':18}{'AOPC':>8}{normalized}{bins}"]
        for method in self.methods:
            entry = self._method_summary(method)
            for kind in _KINDS:
                name = method if kind == "comprehensiveness" else ""
                value = entry.get(f"normalized_{kind}")
                cells = f"{'—' if value is None else f'{value:.3f}':>9}" if normalized else ""
                cells += "".join(f"{value:9.3f}" for value in entry[f"{kind}_per_bin"])
                lines.append(f"{name:22}{kind:18}{entry[kind]:8.3f}{cells}")
        accuracy = "not known (no labels)" if self.accuracy is None else f"{self.accuracy:.3f}"
        lines.append(f"n = {len(self.full)}, accuracy {accuracy}, mean confidence {self.full.mean():.3f}")
        fewer = [f"{name} {count}" for name, count in self.texts().items() if count < len(self.full)]
        if fewer:
            lines.append(
                f"over fewer texts (the others have no label, or their rankings all do alike): {', '.join(fewer)}"
            )
        return "\n".join([*lines, str(self.provenance)])

    def _aopc(self, perturbed: Array, empty: Array | None) -> Array:
        """(N, D) from (N, D, R)."""
        draws = [
            aopc(self.full, perturbed[:, d], convention=self.provenance.convention, empty=empty)
            for d in range(perturbed.shape[1])
        ]
        return np.stack(draws, axis=1)

    def _per_bin(self, perturbed: Array) -> Array:
        draws = [probability_drops(self.full, perturbed[:, d]).mean(0) for d in range(perturbed.shape[1])]
        return np.asarray(np.mean(draws, axis=0), dtype=np.float64)


def _mean_where_known(values: Array | None) -> float | None:
    """The mean without NaN, None where there is nothing to average."""
    known = np.zeros(0) if values is None else values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
