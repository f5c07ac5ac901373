"""What the `evaluate` modules of removal curves have in common, so that `evaluate.combine` can run them as one."""

from __future__ import annotations

from typing import Any

import datasets

INPUTS = "full: p_j(X); removed, kept: p_j per bin without the top words, and with them alone"
OPTIONS = {
    "aopc": ("convention", "empty", "random_removed", "random_kept"),
    "log_odds": ("floor",),
    "naopc": ("convention", "empty", "comprehensiveness_limits", "sufficiency_limits"),
}


def curve_features() -> datasets.Features:
    """Return the inputs: `full` (N,), `removed` and `kept` (N, R)."""
    number = datasets.Value("float64")
    return datasets.Features({"full": number, "removed": datasets.Sequence(number), "kept": datasets.Sequence(number)})


def check_options(metric: str, others: dict[str, Any]) -> None:
    """Accept the options of the other modules, refuse what is no module's.

    `evaluate.combine(...).compute(...)` hands every option to every module of the combination.

    Args:
        metric: The module asking.
        others: Options it does not read itself.

    Raises:
        TypeError: An option that none of these modules reads.
    """
    known = sorted({name for names in OPTIONS.values() for name in names})
    unknown = sorted(set(others) - set(known))
    if unknown:
        raise TypeError(f"{metric} has no options {unknown}: the modules of removal curves read {known}")


def require_empty(convention: str, empty: Any) -> None:
    """Raise where sufficiency's zeroth bin is asked for and not known.

    Args:
        convention: See `sgt_hf.metrics.curves.aopc`.
        empty: Probabilities with no word left, or None.

    Raises:
        ValueError: The convention is `paper`, and there are none.
    """
    if convention == "paper" and empty is None:
        raise ValueError(
            "convention 'paper' counts a zeroth bin, of sufficiency the probability with no word left: pass empty, one "
            "probability for each input, or use convention 'eraser'"
        )
