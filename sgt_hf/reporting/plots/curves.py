"""Curves with a band around each mean: removal of words or features, localization by position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from ...faithfulness.report import FaithfulnessReport
from ...metrics.significance import bootstrap_mean
from .style import MARKERS, line_style, plain

Array = NDArray[np.float64]
Band = Literal["bootstrap", "standard_error", "range"]

BANDS = {
    "bootstrap": "bands: bootstrap 95 % interval of the mean",
    "standard_error": "bands: ± 1 standard error of the mean",
    "range": "bands: lowest to highest",
}


def drops_of(report: FaithfulnessReport, method: str) -> tuple[Array, Array]:
    """Return what `aopc_curve` draws of one method of a report: comprehensiveness and sufficiency, each (N, R).

    Random rankings are averaged over their draws.

    Args:
        report: Of `evaluate_faithfulness`.
        method: One of `report.methods`.
    """
    curves = report.curves[method]
    return report.full[:, None] - curves.removed.mean(1), report.full[:, None] - curves.kept.mean(1)


def aopc_curve(
    comprehensiveness: Mapping[str, ArrayLike],
    sufficiency: Mapping[str, ArrayLike],
    *,
    bins: Sequence[float],
    band: Band = "bootstrap",
) -> Figure:
    """Draw the probability that the predicted class loses under removal, bin by bin, with a band around each mean.

    Args:
        comprehensiveness: By curve (a method, an arm, or both), (N, R) drops of N texts, or of N seeds' means, in
            [−1, 1]. Paired differences of two models make a paired band.
        sufficiency: The same of kept words.
        bins: (R,) shares of the words, ascending in (0, 1].
        band: See `mean_and_band`.

    Returns:
        Two panels that share their axes' unit.

    Raises:
        ValueError: There is no curve, a shape does not fit, a value is not finite, or the band is unknown.
    """
    panels = {
        "comprehensiveness ↑ (ranked highest removed)": comprehensiveness,
        "sufficiency ↓ (ranked highest kept alone)": sufficiency,
    }
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    percents = [100 * share for share in bins]
    for axes, (title, curves) in zip(figure.subplots(1, 2, sharey=True), panels.items(), strict=True):
        _draw_curves(axes, curves, np.arange(len(percents)), band)
        axes.set_xticks(range(len(percents)), [f"{percent:g}" for percent in percents])
        axes.set_xlabel("words removed or kept (% of the text's)")
        axes.set_title(title, fontsize="medium")
        axes.axhline(0, color="0.5", linewidth=0.8)
    figure.axes[0].set_ylabel("probability lost by the predicted class")
    _finish(figure, band, [*comprehensiveness.values(), *sufficiency.values()])
    return figure


def accuracy_drop(
    curves: Mapping[str, ArrayLike], *, percents: Sequence[float], band: Band = "standard_error"
) -> Figure:
    """Draw accuracy against the share of features removed, most salient first (the paper's Figures 3, 4 and 10).

    Args:
        curves: By curve (a method, an arm, or both), (S, P) accuracy in [0, 1] of S seeds.
        percents: (P,) features removed, in %, ascending.
        band: See `mean_and_band`.

    Returns:
        One panel; the steeper the fall, the better the ranking.

    Raises:
        ValueError: See `aopc_curve`.
    """
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    percentages = {name: 100 * _rows(name, values, len(percents)) for name, values in curves.items()}
    _draw_curves(axes, percentages, np.asarray(percents, dtype=np.float64), band)
    axes.set(xlabel="features removed, most salient first (%)", ylabel="accuracy (%)", ylim=(0, 102))
    _finish(figure, band, list(percentages.values()))
    return figure


def localization_by_position(
    aup: Mapping[str, ArrayLike],
    aur: Mapping[str, ArrayLike],
    *,
    positions: Sequence[str],
    band: Band = "standard_error",
) -> Figure:
    """Draw precision and recall of saliency maps by where the informative box lies (the paper's Figure 6).

    Args:
        aup: By curve (an arm, a method, or both), (S, P) area under the precision curve of S seeds, in [0, 0.8].
        aur: The same of recall.
        positions: (P,) names of the boxes' places in their order, such as early, middle, late.
        band: See `mean_and_band`.

    Returns:
        Two panels.

    Raises:
        ValueError: See `aopc_curve`.
    """
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for axes, (title, curves) in zip(figure.subplots(1, 2), {"AUP ↑": aup, "AUR ↑": aur}.items(), strict=True):
        _draw_curves(axes, curves, np.arange(len(positions)), band)
        axes.set_xticks(range(len(positions)), [plain(position) for position in positions])
        axes.set(xlabel="position of the informative box in time", ylabel=f"{title[:3]} (0 to 0.8)", title=title)
        axes.set_ylim(bottom=0)
    _finish(figure, band, [*aup.values(), *aur.values()])
    return figure


def mean_and_band(values: ArrayLike, band: Band) -> tuple[Array, Array, Array]:
    """Average over rows, with a band around the mean.

    Args:
        values: (N, P) finite.
        band: `bootstrap`, the 95 % percentile interval of the mean; `standard_error`, mean ± one standard error;
            `range`, the lowest and the highest row. Of a single row every band is the row itself.

    Returns:
        Mean, low and high, each (P,).

    Raises:
        ValueError: The band is unknown.
    """
    if band not in BANDS:
        raise ValueError(f"unknown band {band!r}: use one of {list(BANDS)}")
    rows = np.asarray(values, dtype=np.float64)
    mean = rows.mean(0)
    if len(rows) == 1:
        return mean, mean, mean
    if band == "range":
        return mean, rows.min(0), rows.max(0)
    if band == "standard_error":
        error = rows.std(0, ddof=1) / np.sqrt(len(rows))
        return mean, mean - error, mean + error
    intervals = [bootstrap_mean(column) for column in rows.T]
    return mean, np.array([one.low for one in intervals]), np.array([one.high for one in intervals])


def _draw_curves(axes: Axes, curves: Mapping[str, ArrayLike], x: NDArray[Any], band: Band) -> None:
    if not curves:
        raise ValueError("there is no curve to draw")
    for i, (name, values) in enumerate(curves.items()):
        mean, low, high = mean_and_band(_rows(name, values, len(x)), band)
        style: dict[str, Any] = line_style(i) | {"marker": MARKERS[i % len(MARKERS)]}
        axes.plot(x, mean, label=plain(name), linewidth=1.6, markersize=5, **style)
        axes.fill_between(x, low, high, color=style["color"], alpha=0.15, linewidth=0)
    axes.grid(visible=True, color="0.9", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _finish(figure: Figure, band: Band, curves: Sequence[ArrayLike]) -> None:
    """A legend below the panels, and what the bands are."""
    counts = sorted({len(np.asarray(values)) for values in curves})
    listed = ", ".join(map(str, counts))
    note = "one value a point: no bands" if counts == [1] else f"{BANDS[band]}, n = {listed}"
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=4,
        fontsize="small",
        frameon=False,
        title=note,
        title_fontsize="small",
    )


def _rows(name: str, values: ArrayLike, width: int) -> Array:
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim != 2 or not len(rows) or rows.shape[1] != width:
        raise ValueError(f"curve {name!r}: expected (N ≥ 1, {width}) values, got shape {rows.shape}")
    if not np.isfinite(rows).all():
        raise ValueError(f"curve {name!r} holds a value that is not finite")
    return rows
