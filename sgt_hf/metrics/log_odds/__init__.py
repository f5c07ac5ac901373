"""Log-odds score: how far removing (or keeping) a ranking's top words moves the log-probability of the prediction."""

from sgt_hf.metrics.curves import FLOOR, log_odds

__all__ = ["FLOOR", "log_odds"]
