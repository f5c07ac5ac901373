"""`evaluate` module of a paired comparison of two models."""

from __future__ import annotations

from typing import Any

import datasets
import evaluate

from sgt_hf.metrics.paired_comparison import compare_paired

_DESCRIPTION = "Mean difference of paired values, its bootstrap interval, Wilcoxon's p and rank-biserial correlation."
_CITATION = """@article{wilcoxon1945individual,
  title={Individual Comparisons by Ranking Methods},
  author={Wilcoxon, Frank},
  journal={Biometrics Bulletin}, volume={1}, number={6}, year={1945}}"""


class PairedComparison(evaluate.Metric):
    """See README.md beside this file."""

    def _info(self) -> evaluate.MetricInfo:
        number = datasets.Value("float64")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description="first, second: a value per example of either model, in the same order",
            features=datasets.Features({"first": number, "second": number}),
        )

    def _compute(
        self, *, first: Any, second: Any, confidence: float = 0.95, resamples: int = 9999, seed: int = 0
    ) -> dict[str, float]:
        found = compare_paired(first, second, confidence=confidence, resamples=resamples, seed=seed)
        return {
            "mean_difference": found.difference.mean,
            "low": found.difference.low,
            "high": found.difference.high,
            "p_value": found.p_value,
            "effect_size": found.effect_size,
        }
