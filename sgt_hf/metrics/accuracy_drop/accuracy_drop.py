"""`evaluate` module of the accuracy drop."""

from __future__ import annotations

from typing import Any

import datasets
import evaluate

from sgt_hf.metrics.accuracy_drop import LEVELS, accuracy_curve, area_under_accuracy

_DESCRIPTION = "Area under the accuracy that is left when an explanation's top pixels are removed (lower is better)."
_INPUTS = "predictions: (N, R) classes, a column per level of removal; references: (N,) true classes; levels: R shares"
_CITATION = """@inproceedings{ismail2021improving,
  title={Improving Deep Learning Interpretability by Saliency Guided Training},
  author={Ismail, Aya Abdelsalam and Corrada Bravo, H{\\'e}ctor and Feizi, Soheil}, booktitle={NeurIPS}, year={2021}}"""


class AccuracyDrop(evaluate.Metric):
    """See README.md beside this file."""

    def _info(self) -> evaluate.MetricInfo:
        features = {"predictions": datasets.Sequence(datasets.Value("int64")), "references": datasets.Value("int64")}
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(features),
        )

    def _compute(self, *, predictions: Any, references: Any, levels: Any = LEVELS) -> dict[str, Any]:
        accuracies = accuracy_curve(predictions, references)
        return {"area": area_under_accuracy(accuracies, levels), "accuracies": accuracies.tolist()}
