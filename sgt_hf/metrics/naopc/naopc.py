"""`evaluate` module of normalised AOPC."""

from __future__ import annotations

from typing import Any

import evaluate
import numpy as np

from sgt_hf.metrics.curve_inputs import INPUTS, check_options, curve_features, require_empty
from sgt_hf.metrics.curves import Array, aopc, naopc

_DESCRIPTION = "AOPC rescaled by the lowest and highest AOPC that rankings of the same input reach."
_CITATION = """@inproceedings{edin2025naopc,
  title={Normalized {AOPC}: Fixing Misleading Faithfulness Metrics for Feature Attribution Explainability},
  author={Edin, Joakim and Motzfeldt, Andreas Geert and Christensen, Casper L. and Ruotsalo, Tuukka and
          Maal{\\o}e, Lars and Maistro, Maria},
  booktitle={ACL}, year={2025}}"""


class Naopc(evaluate.Metric):
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
        comprehensiveness_limits: Any = None,
        sufficiency_limits: Any = None,
        convention: str = "eraser",
        empty: Any = None,
        **others: Any,
    ) -> dict[str, Any]:
        check_options("naopc", others)
        if comprehensiveness_limits is None and sufficiency_limits is None:
            raise ValueError(
                "naopc needs comprehensiveness_limits or sufficiency_limits: (N, 2), lowest and highest AOPC"
            )
        if sufficiency_limits is not None:
            require_empty(convention, empty)
        result: dict[str, Any] = {}
        if comprehensiveness_limits is not None:
            values = aopc(full, removed, convention=convention)
            result |= _summary("comprehensiveness", values, comprehensiveness_limits)
        if sufficiency_limits is not None:
            values = aopc(full, kept, convention=convention, empty=empty)
            result |= _summary("sufficiency", values, sufficiency_limits)
        return result


def _summary(name: str, values: Array, limits: Any) -> dict[str, Any]:
    pairs = np.asarray(limits, dtype=np.float64)
    if pairs.shape != (len(values), 2):
        raise ValueError(f"expected {name}_limits ({len(values)}, 2), lowest and highest, got shape {pairs.shape}")
    normalised = naopc(values, pairs[:, 0], pairs[:, 1])
    defined = normalised[~np.isnan(normalised)]
    return {
        f"normalized_{name}": float(defined.mean()) if len(defined) else float("nan"),
        f"{name}_without_choice": int(len(values) - len(defined)),
    }
