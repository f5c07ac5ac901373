"""One test series with its gradient map, kept in a cell of the time-series benchmark; and pictures of those kept."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.report_parts import told_maps
from benchmarks.time_series_cell import Cell, predictions, saliency_maps, splits, tensors
from benchmarks.time_series_tables import PAIR, TITLES, Cells, chosen, datasets_of, networks
from benchmarks.time_series_training import Member
from sgt_hf.attribution import AttributionSettings
from sgt_hf.data.series_rows import BOX_COLUMNS
from sgt_hf.reporting import plots
from sgt_hf.reporting.html import Picture

Sample = dict[str, Any]
Arms = dict[str, Sample]
Samples = dict[str, dict[str, Arms]]


def series_sample(cell: Cell, trained: Member) -> dict[str, Sample]:
    """Return the first test series and its gradient; of the first seed only, so that the files stay small.

    Args:
        cell: What was trained for.
        trained: Its model.

    Returns:
        JSON-able: nothing for another seed than 0, else `series_sample` with `input` and `map`, (T, C) integers in
        percent of the largest magnitude, the `box` that is informative, the `label` and the class `predicted`.
    """
    if cell.seed != 0:
        return {}
    row = splits(cell.dataset, cell.seed, cell.train_size)["test"].select([0])
    values, labels = tensors(row)
    maps, _ = saliency_maps(trained.model, values, labels, ["gradient"], AttributionSettings(seed=cell.seed))
    sample = {
        "label": int(labels[0]),
        "predicted": int(predictions(trained.model, values).argmax(-1)[0]),
        "box": {name: int(row[name][0]) for name in BOX_COLUMNS},
        "input": _percent(values[0].cpu().numpy()),
        "map": _percent(maps["gradient"][0]),
    }
    return {"series_sample": sample}


def samples_of(cells: Cells) -> Samples:
    """Return, by network and data set, each arm's sample, plain first; all of the same series.

    Args:
        cells: Of `benchmarks/time_series.py`.
    """
    found: Samples = {}
    for network in networks(cells):
        for dataset in datasets_of(cells):
            some = [cell for cell in chosen(cells, network=network, dataset=dataset) if "series_sample" in cell]
            some.sort(key=lambda cell: cell["settings"]["arm"] != PAIR[0])
            arms = {cell["settings"]["arm"]: cell["series_sample"] for cell in some}
            same = {arm: one for arm, one in arms.items() if one["input"] == some[0]["series_sample"]["input"]}
            if same:
                found.setdefault(network, {})[dataset] = same
    return found


def map_pictures(samples: Samples) -> list[Picture]:
    """Draw gradient maps, a row for each data set, arm beside arm, the informative box outlined.

    Args:
        samples: Of `samples_of`.
    """
    pictures = []
    for title, group in _alike(samples):
        first = [next(iter(arms.values())) for arms in group.values()]
        names = list(next(iter(group.values())))
        figure = plots.saliency_maps(
            np.array([one["input"] for one in first]),
            {arm: np.array([arms[arm]["map"] for arms in group.values()]) for arm in names},
            names=list(group),
            kind="series",
            informative=np.stack([_inside(one) for one in first]),
        )
        wrong = [
            f"{arm} on {dataset}"
            for dataset, arms in group.items()
            for arm, one in arms.items()
            if one["label"] != one["predicted"]
        ]
        caption = (
            "Outlined: the informative box. Each map is divided by its own largest magnitude. Seed 0. "
            f"Classified wrong: {', '.join(wrong) or 'none'}. {_shares(group)}"
        )
        alt = f"{told_maps(figure)} {_shares(group)}"
        pictures.append(Picture(f"{title}: gradient maps of the first test series", figure, alt=alt, caption=caption))
    return pictures


def distribution_pictures(samples: Samples) -> list[Picture]:
    """Draw how the gradients of the samples' maps are distributed.

    Args:
        samples: Of `samples_of`.
    """
    pictures = []
    for title, group in _alike(samples):
        arms = list(next(iter(group.values())))
        gradients = {arm: [np.array(one[arm]["map"]) for one in group.values()] for arm in arms}
        pictures.append(
            Picture(
                f"{title}: distribution of gradients",
                plots.gradient_distribution(gradients, pooled=True),
                alt=f"Histogram of gradient / the series' largest, of {', '.join(group)}, one curve for each arm.",
                caption=f"Of the {len(group)} series of the maps below, kept in steps of a hundredth of their largest.",
            )
        )
    return pictures


def _alike(samples: Samples) -> list[tuple[str, dict[str, Arms]]]:
    """Title and samples of each picture: of one network, with series of one shape and the same arms."""
    groups: dict[str, dict[str, Arms]] = {}
    for network, by_dataset in samples.items():
        for dataset, arms in by_dataset.items():
            steps, features = np.shape(next(iter(arms.values()))["input"])
            title = f"{TITLES[network]}, {' and '.join(arms)}, {steps} steps of {features} features"
            groups.setdefault(title, {})[dataset] = arms
    return list(groups.items())


def _shares(group: dict[str, Arms]) -> str:
    """How much of each map's absolute mass lies in the box, in words."""
    told = []
    for dataset, arms in group.items():
        shares = []
        for arm, one in arms.items():
            inside, sizes = _inside(one), np.abs(np.array(one["map"]))
            shares.append(f"{arm} {100 * sizes[inside].sum() / max(sizes.sum(), 1):.0f} %")
        told.append(f"{dataset} {', '.join(shares)} (of the cells {100 * inside.mean():.0f} %)")
    return f"Share of the map's magnitude inside the box: {'; '.join(told)}."


def _inside(sample: Sample) -> NDArray[np.bool_]:
    inside, box = np.zeros(np.shape(sample["input"]), dtype=bool), sample["box"]
    inside[box["time_start"] : box["time_end"], box["feature_start"] : box["feature_end"]] = True
    return inside


def _percent(values: NDArray[Any]) -> list[list[int]]:
    largest = np.abs(values).max()
    return (100 * values / (largest if largest > 0 else 1)).round().astype(int).tolist()
