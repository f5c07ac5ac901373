"""Saliency maps side by side, and how the gradients of a sample are distributed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray

from .style import PALETTE, line_style, plain

Array = NDArray[np.float64]


def saliency_maps(
    inputs: ArrayLike,
    maps: Mapping[str, ArrayLike],
    *,
    names: Sequence[str] | None = None,
    kind: Literal["image", "series"] = "image",
    informative: ArrayLike | None = None,
) -> Figure:
    """Draw samples and their saliency maps side by side (the paper's Figures 2 and 5).

    Each map is divided by its own largest magnitude. Where all maps are non-negative the scale runs from 0 to 1, else
    from −1 to 1 with zero in the middle.

    Args:
        inputs: (N, H, W) or (N, H, W, 3) images, or (N, T, C) series.
        maps: By column (an arm, a method, or both), (N, H, W), or (N, T, C) for series.
        names: (N,) of the samples, written at their rows.
        kind: `series` draws time to the right and features upwards.
        informative: (N, H, W) or (N, T, C) bool, whose bounding box is outlined, or None.

    Returns:
        N rows; the inputs' column, then one per entry of `maps`.

    Raises:
        ValueError: There is no sample or no map, a shape does not fit, or a value is not finite.
    """
    samples = np.asarray(inputs)
    scaled = {name: _scaled_maps(name, values, samples.shape[:3]) for name, values in maps.items()}
    titles = [""] * len(samples) if names is None else names
    if not scaled or samples.ndim not in (3, 4) or not 0 < len(samples) == len(titles):
        raise ValueError(
            f"expected (N ≥ 1, H, W[, 3]) inputs, N names and at least one map; got inputs {samples.shape}, "
            f"{len(titles)} names and maps {list(scaled)}"
        )
    signed = any((values < 0).any() for values in scaled.values())
    norm, colours = Normalize(-1 if signed else 0, 1), "PuOr" if signed else "magma"
    boxes = None if informative is None else np.asarray(informative, dtype=bool)
    figure = Figure(figsize=(1.7 * (1 + len(scaled)) + 1.2, 1.7 * len(samples) + 0.6), layout="constrained")
    grid = figure.subplots(len(samples), 1 + len(scaled), squeeze=False)
    for n, row in enumerate(grid):
        _show(row[0], samples[n], kind, cmap="gray")
        for axes, values in zip(row[1:], scaled.values(), strict=True):
            _show(axes, values[n], kind, cmap=colours, norm=norm)
        if boxes is not None:
            for axes in row:
                _outline(axes, boxes[n], kind)
        row[0].set_ylabel(plain(titles[n]), fontsize="small")
    for axes, title in zip(grid[0], ["input", *scaled], strict=True):
        axes.set_title(plain(title), fontsize="small")
    if kind == "series":
        figure.supxlabel("time step →; features upwards", fontsize="small")
    bar = figure.colorbar(ScalarMappable(norm, colours), ax=grid, shrink=0.8)
    bar.set_label("saliency\n(map / its largest)", fontsize="small")
    return figure


def gradient_distribution(
    gradients: Mapping[str, Sequence[ArrayLike]], *, names: Sequence[str] | None = None, pooled: bool = False
) -> Figure:
    """Draw how the gradients of a sample's features are distributed (the paper's Figures 2 and 7 to 9).

    Each sample's gradients are divided by the largest magnitude among them, so they lie in [−1, 1]. The narrower the
    peak at 0, the more features the sample's explanation leaves out.

    Args:
        gradients: By curve (an arm, a method, or both), N arrays of any shape, one a sample, the same samples in each.
        names: (N,) titles of the samples.
        pooled: One panel over all samples together instead of one for each.

    Returns:
        N panels, or one.

    Raises:
        ValueError: There is no curve or no sample, the curves' samples differ in number, or from that of the names, or
            a value is not finite.
    """
    scaled = {name: [_scaled(name, sample).ravel() for sample in samples] for name, samples in gradients.items()}
    counts = {name: len(samples) for name, samples in scaled.items()}
    if len(set(counts.values())) != 1 or not min(counts.values()):
        raise ValueError(f"expected the same number of samples, at least one, in each curve, got {counts}")
    titles = list(names) if names is not None else [f"sample {n}" for n in range(min(counts.values()))]
    if len(titles) != min(counts.values()):
        raise ValueError(f"expected one name for each of {min(counts.values())} samples, got {titles}")
    if pooled:
        titles = [f"{len(titles)} samples together"]
        scaled = {name: [np.concatenate(samples)] for name, samples in scaled.items()}
    figure = Figure(figsize=(min(3.2 * len(titles) + 1, 16) if len(titles) > 1 else 6.4, 3.6), layout="constrained")
    panels = figure.subplots(1, len(titles), sharey=True, squeeze=False)[0]
    edges = np.linspace(-1, 1, 42)  # 41 bins, the middle one around 0
    for n, (axes, title) in enumerate(zip(panels, titles, strict=True)):
        for i, (name, samples) in enumerate(scaled.items()):
            share = np.histogram(samples[n], edges)[0] / max(samples[n].size, 1)
            style: dict[str, Any] = line_style(i)
            axes.stairs(100 * share, edges, label=plain(name), linewidth=1.6, **style)
        axes.set(yscale="log", xlim=(-1, 1), xlabel="gradient / the sample's largest")
        axes.set_title(plain(title), fontsize="small")
    panels[0].set_ylabel("features (%)")
    panels[-1].legend(fontsize="small", frameon=False)
    return figure


def _scaled_maps(name: str, values: ArrayLike, shape: tuple[int, ...]) -> Array:
    maps = np.asarray(values, dtype=np.float64)
    if maps.shape != shape:
        raise ValueError(f"map {name!r}: expected shape {shape} as the inputs have it, got {maps.shape}")
    return np.stack([_scaled(name, sample) for sample in maps]) if len(maps) else maps


def _scaled(name: str, sample: ArrayLike) -> Array:
    """Divided by its largest magnitude; what is zero throughout stays so."""
    values = np.asarray(sample, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{name!r} holds a value that is not finite")
    largest = np.abs(values).max(initial=0.0)
    return values / largest if largest > 0 else values


def _show(axes: Axes, values: NDArray[Any], kind: str, **style: Any) -> None:
    if kind == "series":
        axes.imshow(values.T, origin="lower", aspect="auto", interpolation="nearest", **style)
    else:
        axes.imshow(values, interpolation="nearest", **style)
    axes.set(xticks=[], yticks=[])


def _outline(axes: Axes, informative: NDArray[np.bool_], kind: str) -> None:
    """A box around what is informative; of a sample without any, none."""
    cells = np.argwhere(informative.T if kind == "series" else informative)
    if len(cells):
        (top, left), (bottom, right) = cells.min(0), cells.max(0)
        corner = (float(left) - 0.5, float(top) - 0.5)
        size = float(right - left) + 1, float(bottom - top) + 1
        axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=PALETTE[2], linewidth=1.5, linestyle="--"))
