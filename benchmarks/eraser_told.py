"""How numbers of the ERASER benchmark are told: digits, means over seeds, intervals, changes."""

from __future__ import annotations

import numpy as np

from benchmarks.eraser_rows import Cells, Values, rows_of, values_of
from sgt_hf.metrics.significance import Interval, student_mean


def digits_of(arms: dict[str, Cells]) -> int:
    """Return how many digits stand after the point: a fourth where no method's mean reaches a tenth, as on FEVER.

    Args:
        arms: By arm, its finished cells.
    """
    means = [values_of(cells, *row).mean() for row in rows_of(arms) if row[1] for cells in arms.values()]
    return 4 if np.abs(means).max() < 0.1 else 3


def told_mean(seeds: Values, digits: int) -> str:
    """Tell a mean, and the seeds' standard deviation where there are several.

    Args:
        seeds: (S,) one per seed.
        digits: After the point.
    """
    return f"{seeds.mean():.{digits}f}" + (f" ± {seeds.std(ddof=1):.{digits}f}" if len(seeds) > 1 else "")


def told_seeds(values: Values, digits: int) -> str:
    """Tell the interval over seeds; of fewer than three there is none worth the name.

    Args:
        values: (S,) paired differences, one per seed.
        digits: After the point.
    """
    if len(values) < 3:
        return "{–}"
    interval = student_mean(values)
    return f"{{{interval.low:+.{digits}f}, {interval.high:+.{digits}f}}}{star(interval)}"


def star(interval: Interval) -> str:
    """Return the star of an interval that excludes zero.

    Args:
        interval: Any.
    """
    return "*" if interval.excludes_zero else ""


def told_change(values: list[float], digits: int) -> str:
    """Tell a pair with the relative change, where the first is large enough for it to mean something; or one value.

    Args:
        values: One or two.
        digits: After the point.
    """
    relative = f" ({100 * (values[1] / values[0] - 1):+.0f} %)" if len(values) > 1 and values[0] > 0.05 else ""
    return " → ".join(f"{value:.{digits}f}" for value in values) + relative
