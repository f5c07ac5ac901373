"""`evaluate` module of the log-odds score."""

from __future__ import annotations

from typing import Any

import evaluate

from sgt_hf.metrics.curve_inputs import INPUTS, check_options, curve_features
from sgt_hf.metrics.curves import FLOOR, log_odds

_DESCRIPTION = "Mean log p_j(perturbed) − log p_j(full): of removed words lower is better, of kept words higher."
_CITATION = """@inproceedings{shrikumar2017deeplift,
  title={Learning Important Features Through Propagating Activation Differences},
  author={Shrikumar, Avanti and Greenside, Peyton and Kundaje, Anshul},
  booktitle={ICML}, year={2017}}
@inproceedings{sanyal2021dig,
  title={Discretized Integrated Gradients for Explaining Language Models},
  author={Sanyal, Soumya and Ren, Xiang},
  booktitle={EMNLP}, year={2021}}"""


class LogOdds(evaluate.Metric):
    """See README.md beside this file."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION, citation=_CITATION, inputs_description=INPUTS, features=curve_features()
        )

    def _compute(self, *, full: Any, removed: Any, kept: Any, floor: float = FLOOR, **others: Any) -> dict[str, Any]:
        check_options("log_odds", others)
        without, alone = log_odds(full, removed, floor=floor), log_odds(full, kept, floor=floor)
        return {
            "log_odds_removed": float(without.mean()),
            "log_odds_kept": float(alone.mean()),
            "log_odds_removed_per_bin": without.mean(0).tolist(),
            "log_odds_kept_per_bin": alone.mean(0).tolist(),
        }
