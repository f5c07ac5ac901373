"""`evaluate` module of AOPC comprehensiveness and sufficiency."""

from __future__ import annotations

from typing import Any

import datasets
import evaluate
import numpy as np

from sgt_hf.metrics.aopc import aopc, probability_drops

_DESCRIPTION = "AOPC comprehensiveness (higher is better) and sufficiency (lower is better) of explanations."
_CITATION = """@inproceedings{deyoung2020eraser,
  title={ERASER: A Benchmark to Evaluate Rationalized NLP Models},
  author={DeYoung, Jay and Jain, Sarthak and Rajani, Nazneen Fatema and Lehman, Eric and Xiong, Caiming and Socher,
          Richard and Wallace, Byron C.},
  booktitle={ACL}, year={2020}}"""


class Aopc(evaluate.Metric):
    """See README.md beside this file."""

    def _info(self) -> evaluate.MetricInfo:
        number = datasets.Value("float64")
        curve = datasets.Sequence(number)
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description="full: p_j(X); removed, kept: p_j per bin without the top words, and with them alone",
            features=datasets.Features({"full": number, "removed": curve, "kept": curve}),
        )

    def _compute(
        self, *, full: Any, removed: Any, kept: Any, convention: str = "eraser", empty: Any = None
    ) -> dict[str, Any]:
        return {
            "comprehensiveness": float(np.mean(aopc(full, removed, convention=convention))),
            "sufficiency": float(np.mean(aopc(full, kept, convention=convention, empty=empty))),
            "comprehensiveness_per_bin": probability_drops(full, removed).mean(0).tolist(),
            "sufficiency_per_bin": probability_drops(full, kept).mean(0).tolist(),
        }
