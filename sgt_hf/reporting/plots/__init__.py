"""Arrays → figures: removal curves, accuracy under removal, saliency maps, gradient distributions, localization.

Every function returns a `matplotlib.figure.Figure` of its own (no pyplot, no global state): `figure.savefig("a.png")`.
Curves differ in colour, in dashes and in marker, so that no one has to tell them by hue alone.
"""

from .curves import accuracy_drop, aopc_curve, drops_of, localization_by_position, mean_and_band
from .maps import gradient_distribution, saliency_maps
from .style import PALETTE, to_png

__all__ = [
    "PALETTE",
    "accuracy_drop",
    "aopc_curve",
    "drops_of",
    "gradient_distribution",
    "localization_by_position",
    "mean_and_band",
    "saliency_maps",
    "to_png",
]
