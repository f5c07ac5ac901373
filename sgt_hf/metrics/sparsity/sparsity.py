"""`evaluate` module of sparsity: Gini index and Hoyer's measure."""

from __future__ import annotations

from typing import Any

import datasets
import evaluate

from sgt_hf.metrics.sparsity import gini, hoyer

_DESCRIPTION = "Sparsity of explanations: Gini index and Hoyer's measure of |scores|, 0 (even) to 1 (one word)."
_CITATION = """@article{hurley2009sparsity,
  title={Comparing Measures of Sparsity},
  author={Hurley, Niall and Rickard, Scott},
  journal={IEEE Transactions on Information Theory}, volume={55}, number={10}, year={2009}}"""


class Sparsity(evaluate.Metric):
    """See README.md beside this file."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description="scores: each sample's scores of its words, any sign, any number",
            features=datasets.Features({"scores": datasets.Sequence(datasets.Value("float64"))}),
        )

    def _compute(self, *, scores: Any) -> dict[str, Any]:
        return {"gini": float(gini(scores).mean()), "hoyer": float(hoyer(scores).mean())}
