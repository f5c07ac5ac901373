"""`evaluate` module of localization: weighted precision and recall, AUP and AUR."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate

from sgt_hf.metrics.localization import LEVELS, weighted_aup_aur

_DESCRIPTION = "Weighted precision and recall of saliency maps whose informative cells are known, and areas under them."
_CITATION = """@inproceedings{ismail2020benchmarking,
  title={Benchmarking Deep Learning Interpretability in Time Series Predictions},
  author={Ismail, Aya Abdelsalam and Gunady, Mohamed and Corrada Bravo, H{\\'e}ctor and Feizi, Soheil},
  booktitle={NeurIPS}, year={2020}}"""


class Localization(evaluate.Metric):
    """See README.md beside this file."""

    def _info(self) -> evaluate.MetricInfo:
        rows = datasets.Sequence(datasets.Sequence(datasets.Value("float64")))
        cells = datasets.Sequence(datasets.Sequence(datasets.Value("bool")))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description="saliency: each sample's map, steps × features; informative: the same shape, bool",
            features=datasets.Features({"saliency": rows, "informative": cells}),
        )

    def _compute(
        self,
        *,
        saliency: Any,
        informative: Any,
        levels: Sequence[float] = LEVELS,
        eligible: Any = None,
        random_saliency: Any = None,
    ) -> dict[str, Any]:
        found = weighted_aup_aur(saliency, informative, levels=levels, eligible=eligible)
        result = found._asdict() | {"precision": found.precision.tolist(), "recall": found.recall.tolist()}
        if random_saliency is not None:
            random = weighted_aup_aur(random_saliency, informative, levels=levels, eligible=eligible)
            result |= {"aup_minus_random": found.aup - random.aup, "aur_minus_random": found.aur - random.aur}
        return result
