"""Cells of the time-series benchmark → tables beside the paper's: Diff(AUP), Diff(AUR), accuracy."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import counted, markdown_table
from benchmarks.time_series_training import ARMS
from sgt_hf.metrics.significance import student_mean

Cells = list[dict[str, Any]]
Paper = dict[str, Any]
PAPER = Path(__file__).parent / "paper_tables" / "time_series.json"
AREAS = ("aup", "aur")
TITLES = {
    "lstm": "LSTM",
    "input_cell_lstm": "LSTM + input-cell attention",
    "tcn": "TCN",
    "transformer": "Transformer",
    "aup": "Diff(AUP)",
    "aur": "Diff(AUR)",
}
DETAILS = {"lstm": "table_8", "input_cell_lstm": "table_9", "tcn": "table_10", "transformer": "table_11"}


@cache
def paper() -> Paper:
    """Return the paper's tables, and its k by network and data set."""
    return json.loads(PAPER.read_text(encoding="utf-8"))


def tables(cells: Cells) -> dict[str, str]:
    """Return the tables by the paper's number (`table_2`, `table_7`, …), and `gain`, `gain_learned`, `training`.

    Args:
        cells: Of any data sets, networks, arms and seeds; plain and guided are compared.
    """
    cells = sorted(cells, key=_place)
    ten = [cell for cell in cells if cell["settings"]["dataset"] in paper()["table_7"]]
    if not ten:
        return {}
    made = {"table_2": table_2(ten), "gain": gains(ten), "table_7": table_7(ten)}
    if learned(ten):
        made["gain_learned"] = gains(learned(ten))
    for network, name in DETAILS.items():
        of_network = chosen(ten, network=network)
        if of_network:
            made[name] = details(of_network, network)
    return made | {"training": training(ten)}


def _place(cell: dict[str, Any]) -> tuple[int, int, int]:
    """Sort by data set and arm in their usual order, then by seed."""
    settings, order = cell["settings"], list(paper()["table_7"])
    known = order.index(settings["dataset"]) if settings["dataset"] in order else len(order)
    return known, ARMS.index(settings["arm"]), settings["seed"]


def table_2(cells: Cells) -> str:
    """Means over data sets of AUP and AUR minus those of the random map, plain → guided, the paper's in brackets."""
    methods = present(cells)
    rows = []
    for area in AREAS:
        for network in networks(cells):
            row = [f"{TITLES[area]} {TITLES[network]}"]
            for method in methods:
                ours = of_pair(chosen(cells, network=network), partial(difference, method=method, area=area))
                row.append(beside(ours, paper()["table_2"][area][network][method]))
            rows.append(row)
    counts = "; ".join(f"{TITLES[network]} {told_pairs(chosen(cells, network=network))}" for network in networks(cells))
    return (
        f"{markdown_table(['plain → guided (paper)', *methods], rows)}\n\nMean over data sets of the mean over seeds "
        f"({counts}), of the trainings that both arms have; random: i.i.d., mean of 10 draws. "
        "A dash: the library refuses the method for the network, or the cells are not there."
    )


def told_pairs(cells: Cells) -> str:
    """Tell how many data sets and seeds `of_pair` takes its means over."""
    twins = [{twin(cell) for cell in chosen(cells, arm=arm)} for arm in PAIR]
    shared = [cell for cell in cells if all(twin(cell) in each for each in twins if each)]
    seeds = {cell["settings"]["seed"] for cell in shared}
    return f"{counted(len(datasets_of(shared)), 'set')}, {counted(len(seeds), 'seed')}"


def gains(cells: Cells) -> str:
    """One arm − another in those differences, with intervals over data sets, for both random maps."""
    pairs = [pair for pair in COMPARED if all(chosen(cells, arm=arm) for arm in pair)]
    rows = []
    for network in networks(cells):
        for area in AREAS:
            for method in present(chosen(cells, network=network)):
                row = [TITLES[network], TITLES[area], method]
                for pair in pairs:
                    row += [gain(chosen(cells, network=network), method, area, pair, kind) for kind in KINDS]
                rows.append(row)
    header = ["", "", "", *(f"{arm} − {base}, {kind}" for arm, base in pairs for kind in KINDS.values())]
    return (
        f"{markdown_table(header, rows)}\n\nMean over data sets [its 95 % interval over data sets, Student's, * where "
        "it excludes 0, uncorrected for the number of intervals], and the number of sets in which the first arm is "
        "ahead. Each model is compared with a random map of its own: i.i.d., or its gradient map with permuted "
        "columns, which keeps the map's profile over time."
    )


def learned(cells: Cells) -> Cells:
    """Leave out the seeds of a network and data set in which an arm ended below `LEARNED` on test."""
    missed = {_seed(cell) for cell in cells if cell["accuracy"]["test"] < LEARNED}
    return [cell for cell in cells if _seed(cell) not in missed]


def _seed(cell: dict[str, Any]) -> tuple[str, str, int]:
    settings = cell["settings"]
    return settings["network"], settings["dataset"], settings["seed"]


def gain(cells: Cells, method: str, area: str, pair: tuple[str, str], kind: str) -> str:
    """Return the paired difference, first arm − second, over data sets, as text."""
    values = []
    for dataset in datasets_of(cells):
        both = [chosen(cells, dataset=dataset, arm=arm) for arm in pair]
        found = [{twin(cell): difference(cell, method, area, kind) for cell in some} for some in both]
        paired = [found[0][key] - found[1][key] for key in found[0] if key in found[1]]
        known = [value for value in paired if np.isfinite(value)]
        if known:
            values.append(float(np.mean(known)))
    if not values:
        return "–"
    if len(values) == 1:
        return f"{values[0]:+.3f}"
    interval = student_mean(values)
    star = "*" if interval.excludes_zero else ""
    ahead = sum(value > 0 for value in values)
    return f"{interval.mean:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]{star} {ahead}/{len(values)}"


def table_7(cells: Cells) -> str:
    """Test accuracy in percent, plain → guided, the paper's in brackets."""
    rows = []
    for dataset in datasets_of(cells):
        row = [dataset]
        for network in networks(cells):
            some = chosen(cells, dataset=dataset, network=network)
            ours = of_pair(some, lambda cell: 100 * cell["accuracy"]["test"])
            row.append(beside(ours, paper()["table_7"][dataset][network], digits=1, paper_digits=0))
        rows.append(row)
    return markdown_table(["accuracy %, plain → guided (paper)", *(TITLES[n] for n in networks(cells))], rows)


def details(cells: Cells, network: str) -> str:
    """One network's differences by data set, plain → guided, the paper's in brackets (Tables 8 to 11)."""
    methods = present(cells)
    rows = []
    for area in AREAS:
        for dataset in datasets_of(cells):
            guided = chosen(cells, dataset=dataset, arm="guided")
            fractions = {f"{100 * cell['settings']['mask_fraction']:g}" for cell in guided}
            row = [TITLES[area], dataset, ", ".join(sorted(fractions)) or "–"]
            for method in methods:
                ours = of_pair(chosen(cells, dataset=dataset), partial(difference, method=method, area=area))
                row.append(beside(ours, paper()[DETAILS[network]][area][dataset][method]))
            rows.append(row)
    return f"{TITLES[network]}\n\n{markdown_table(['', 'data set', 'k %', *methods], rows)}"


def training(cells: Cells) -> str:
    """How the trainings went: epochs, whether the criterion was reached, seconds of a processor."""
    rows = []
    for network in networks(cells):
        for arm in dict.fromkeys(cell["settings"]["arm"] for cell in cells):
            some = chosen(cells, network=network, arm=arm)
            if some:
                epochs = sorted(cell["epochs"] for cell in some)
                rows.append(
                    [
                        TITLES[network],
                        arm,
                        str(len(some)),
                        f"{sum(cell['reached'] for cell in some)}",
                        f"{np.median(epochs):g} ({epochs[0]} – {epochs[-1]})",
                        ", ".join(sorted({f"{cell['settings']['epochs']}" for cell in some})),
                        f"{mean(100 * cell['accuracy']['train'] for cell in some):.1f}",
                        f"{mean(100 * cell['accuracy']['test'] for cell in some):.1f}",
                        f"{mean(cell['seconds']['train'] for cell in some):.0f}",
                        f"{mean(cell['seconds']['evaluation'] for cell in some):.0f}",
                    ]
                )
    header = ["", "arm", "trainings", "stopped", "epochs: median (range)", "at most", "train %", "test %"]
    stops = {cell["settings"]["stop_at"] for cell in cells}
    note = f"Stopped: ended at {', '.join(f'{100 * stop:g}' for stop in sorted(stops))} % on train or validation."
    return f"{markdown_table([*header, 'train s', 'measure s'], rows)}\n\n{note} Seconds of one processor, a training."


PAIR = ("plain", "guided")
LEARNED = 0.9  # test accuracy, far above the 0.5 of a guess
COMPARED = (("guided", "plain"), ("guided_abs", "plain"), ("random_mask", "plain"), ("guided", "random_mask"))
# The released scripts permute the columns of some map. A permuted gradient keeps its profile over time, and an LSTM
# that looks at the last steps alone would then differ from random by nothing; Table 8 has −0.280 on `middle`, which
# only a random map with an AUP of 0.280 or more allows: 0.8 × the 36 % of the cells in the box is 0.288, a blind one's.
# So the i.i.d. map is what the paper's differences are compared with.
KINDS = {"iid": "i.i.d. random", "column_permutation": "permuted columns"}


def difference(cell: dict[str, Any], method: str, area: str, kind: str = "iid") -> float:
    """Return the area of a method minus that of the random map; NaN where one of them is."""
    return area_in(cell["methods"].get(method), area) - area_in(cell["random"][kind], area)


def area_in(found: dict[str, Any] | None, area: str) -> float:
    """Return an area that a cell holds; NaN where the method was refused, or the area is undefined and so null."""
    value = None if found is None else found[area]
    return float("nan") if value is None else value


def of_pair(cells: Cells, value: Callable[[dict[str, Any]], float]) -> list[float]:
    """Return both arms' mean over data sets of the mean over seeds, of the trainings in which both have a value.

    Args:
        cells: Of one network.
        value: Of a cell, NaN where it has none.

    Returns:
        Plain's mean and guided's, NaN where there is none; an arm alone has the mean of all of its own.
    """
    known = [{twin(cell): cell for cell in chosen(cells, arm=arm) if np.isfinite(value(cell))} for arm in PAIR]
    if all(chosen(cells, arm=arm) for arm in PAIR):
        known = [{key: cell for key, cell in group.items() if all(key in each for each in known)} for group in known]
    means = []
    for group in known:
        trained = list(group.values())
        means.append(mean(mean(map(value, chosen(trained, dataset=name))) for name in datasets_of(trained)))
    return means


def twin(cell: dict[str, Any]) -> str:
    """Return what a cell shares with those of other arms that it is paired with: all of its training but k."""
    own = ("arm", "mask_fraction", "methods")
    return json.dumps({name: value for name, value in cell["settings"].items() if name not in own}, sort_keys=True)


def mean(values: Iterable[float]) -> float:
    """Return the mean, NaN of nothing."""
    known = list(values)
    return float(np.mean(known)) if known else float("nan")


def chosen(cells: Cells, **settings: str) -> Cells:
    """Return the cells with these settings."""
    return [cell for cell in cells if all(cell["settings"][name] == value for name, value in settings.items())]


def networks(cells: Cells) -> list[str]:
    """Return the networks that occur, in the paper's order."""
    return [network for network in DETAILS if chosen(cells, network=network)]


def datasets_of(cells: Cells) -> list[str]:
    """Return the data sets that occur, in their order."""
    return list(dict.fromkeys(cell["settings"]["dataset"] for cell in cells))


def present(cells: Cells) -> list[str]:
    """Return the methods that were measured somewhere, in the paper's order."""
    asked = dict.fromkeys(method for cell in cells for method in cell["settings"]["methods"])
    return [method for method in asked if any(method in cell["methods"] for cell in cells)]


def beside(ours: list[float], theirs: list[float], *, digits: int = 3, paper_digits: int = 3) -> str:
    """Lay out plain → guided, and the paper's pair in brackets."""
    if not np.isfinite(ours).any():
        return "–"
    left, right = (f"{value:.{digits}f}" if np.isfinite(value) else "–" for value in ours)
    return f"{left} → {right} ({theirs[0]:.{paper_digits}f} → {theirs[1]:.{paper_digits}f})"
