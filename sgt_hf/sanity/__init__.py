"""Sanity checks of explanations (Adebayo et al. 2018): parameter and label randomisation."""

from .checks import label_randomization_check, randomization_check
from .randomization import layers_of, permute_labels, reinitialize
from .report import SanityReport, rank_correlation

__all__ = [
    "SanityReport",
    "label_randomization_check",
    "layers_of",
    "permute_labels",
    "randomization_check",
    "rank_correlation",
    "reinitialize",
]
