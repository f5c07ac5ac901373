"""Normalised AOPC: where between the worst and the best that any ranking of this input reaches under this model."""

from sgt_hf.metrics.curves import TOLERANCE, naopc

__all__ = ["TOLERANCE", "naopc"]
