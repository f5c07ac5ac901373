"""`evaluate` module of AOPC comprehensiveness and sufficiency."""

from __future__ import annotations

from typing import Any

import evaluate
import numpy as np

from sgt_hf.metrics.curve_inputs import INPUTS, check_options, curve_features, require_empty
from sgt_hf.metrics.curves import aopc, gain_over_random, probability_drops

_DESCRIPTION = "AOPC comprehensiveness (higher is better) and sufficiency (lower is better) of explanations."
_CITATION = """@inproceedings{deyoung2020eraser,
  title={ERASER: A Benchmark to Evaluate Rationalized NLP Models},
  author={DeYoung, Jay and Jain, Sarthak and Rajani, Nazneen Fatema and Lehman, Eric and Xiong, Caiming and Socher,
          Richard and Wallace, Byron C.},
  booktitle={ACL}, year={2020}}"""


class Aopc(evaluate.Metric):
    """See README.md beside this file."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION, citation=_CITATION, inputs_description=INPUTS, features=curve_features()
        )

    def _compute(
        self,
        *,
        full: Any,
        removed: Any,
        kept: Any,
        convention: str = "eraser",
        empty: Any = None,
        random_removed: Any = None,
        random_kept: Any = None,
        **others: Any,
    ) -> dict[str, Any]:
        check_options("aopc", others)
        require_empty(convention, empty)
        result = {
            "comprehensiveness": float(np.mean(aopc(full, removed, convention=convention))),
            "sufficiency": float(np.mean(aopc(full, kept, convention=convention, empty=empty))),
            "comprehensiveness_per_bin": probability_drops(full, removed).mean(0).tolist(),
            "sufficiency_per_bin": probability_drops(full, kept).mean(0).tolist(),
            "mean_confidence": float(np.mean(full)),
        }
        for name, curve, draws, nothing in (
            ("comprehensiveness", removed, random_removed, None),
            ("sufficiency", kept, random_kept, empty),
        ):
            if draws is not None:
                gain = gain_over_random(full, curve, draws, convention=convention, empty=nothing)
                result[f"{name}_minus_random"] = float(gain.mean())
        return result
