"""Area over the perturbation curve: how far removing (or keeping) a ranking's top words moves the prediction."""

from sgt_hf.metrics.curves import (
    BINS,
    CONVENTIONS,
    aopc,
    gain_over_random,
    probabilities_of,
    probability_drops,
)

__all__ = ["BINS", "CONVENTIONS", "aopc", "gain_over_random", "probabilities_of", "probability_drops"]
