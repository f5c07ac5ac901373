import json

import numpy as np
import pytest
import torch

from benchmarks.time_series_cell import Cell, member, saliency_maps, splits, tensors
from benchmarks.time_series_figures import mnist_tables
from benchmarks.time_series_report import time_series_report, write_time_series_report
from benchmarks.time_series_sample import series_sample
from benchmarks.time_series_tables import KINDS, paper, tables
from sgt_hf.attribution import AttributionSettings
from sgt_hf.metrics.accuracy_drop import LEVELS

FACTS = {"versions": {"torch": "2"}, "machine": {"device": "cpu"}}
MAPS = {"plain": [[50, 0], [-100, 50], [0, 0]], "guided": [[0, 0], [0, 100], [0, 0]]}


def cell(dataset, arm, seed=0, *, sample=True, network="tcn"):
    """A finished cell of a series of 3 steps and 2 features, whose box is the second step's second feature."""
    settings = {"dataset": dataset, "network": network, "arm": arm, "seed": seed, "methods": ["gradient", "deep_lift"]}
    box = {"time_start": 1, "time_end": 2, "feature_start": 1, "feature_end": 2}
    series = {"label": 1, "predicted": int(arm == "guided"), "box": box, "input": [[0, 9], [8, 7], [6, 5]]}
    made = FACTS | {
        "settings": settings | {"mask_fraction": 0.5 * (arm == "guided"), "epochs": 3, "stop_at": 0.99},
        "methods": {"gradient": {"aup": 0.25 + 0.1 * (arm == "guided"), "aur": 0.5}},
        "random": {kind: {"aup": 0.05, "aur": 0.1} for kind in KINDS},
        "refused": {"deep_lift": "it has no rule"},
        "mass_by_step": [0.1] * 10,
        "accuracy": {"train": 1.0, "test": 0.995},
        "epochs": 2,
        "reached": True,
        "seconds": {"train": 1.0, "evaluation": 1.0},
    }
    return made | ({"series_sample": series | {"map": MAPS[arm]}} if sample else {})


def pair(dataset, **options):
    return [cell(dataset, arm, **options) for arm in ("guided", "plain")]


def test_guidance_stands_beside_its_control():
    control = [cell(dataset, "random_mask", sample=False) for dataset in ("middle", "rare_time")]
    report = time_series_report([*pair("middle"), *pair("rare_time"), *control], command=[])
    gains = next(table for table in report.tables if table.title.startswith("What an arm gains"))
    row = dict(zip(gains.header, gains.rows[0], strict=True))
    assert row["random_mask − plain, permuted columns"] == "+0.000 [+0.000, +0.000] 0/2"
    assert row["guided − random_mask, permuted columns"] == "+0.100 [+0.100, +0.100]* 2/2"


def test_means_beside_each_other_are_of_the_same_trainings():
    """Plain: +0.2 on two sets of two seeds. Guided: +0.3 on one of them, one seed undefined, one of another recipe."""
    cells = [cell(name, "plain", seed, sample=False) for name in ("middle", "rare_time") for seed in (0, 1, 2)]
    cells[0]["methods"]["gradient"]["aup"] = 0.85  # of `middle`, seed 0
    guided = [cell("middle", "guided", seed, sample=False) for seed in (0, 1, 2)]
    guided[1]["methods"]["gradient"]["aup"] = None
    guided[2]["settings"]["epochs"] = 7
    made = tables([*cells, *guided])
    assert "0.800 → 0.300" in made["table_2"].splitlines()[2]
    assert "TCN 1 set, 2 seeds), of the trainings that both arms have" in made["table_2"]
    assert "| -0.500 " in made["gain"].splitlines()[2]
    only = tables(cells[1:])
    assert "0.200 → – (" in only["table_2"].splitlines()[2]


def test_seeds_that_one_arm_did_not_learn_are_left_out_of_a_table_of_their_own():
    """In `middle` the guided arm of seed 0 is ahead by 0.1; that of seed 1 by 0.3, and it is right on 80 %."""
    cells = [cell("middle", arm, seed, sample=False) for arm in ("plain", "guided") for seed in (0, 1)]
    guessed = next(one for one in cells if one["settings"]["seed"] == 1 and one["settings"]["arm"] == "guided")
    guessed["methods"]["gradient"]["aup"], guessed["accuracy"]["test"] = 0.55, 0.8
    made = tables(cells)
    assert "| +0.200 " in made["gain"].splitlines()[2]
    assert "| +0.100 " in made["gain_learned"].splitlines()[2]


def test_the_page_on_paper():
    report = time_series_report([*pair("middle"), *pair("rare_time", sample=False)], command=["python", "x", "a b"])
    first = next(table for table in report.tables if "Table 2" in table.title)
    left, right = paper()["table_2"]["aup"]["tcn"]["gradient"]
    assert first.rows[0][1] == f"0.200 → 0.300 ({left:.3f} → {right:.3f})"
    gains = next(table for table in report.tables if table.title.startswith("What an arm gains"))
    assert gains.rows[0][3] == "+0.100 [+0.100, +0.100]* 2/2"
    assert not any("random_mask" in column for column in gains.header)  # it was not run
    (distribution,) = report.figures
    assert distribution.title == "TCN, plain and guided, 3 steps of 2 features: distribution of gradients"
    (maps,) = report.maps
    assert maps.alt.startswith("A grid of maps. Columns: input, plain, guided. Rows: middle.")
    assert "middle plain 25 %, guided 100 % (of the cells 17 %)" in maps.caption
    assert "Classified wrong: plain on middle." in maps.caption
    shown = [axes.images[0].get_array() for axes in maps.image.axes[:3]]
    for drawn, arm in zip(shown[1:], MAPS, strict=True):
        np.testing.assert_allclose(drawn, np.array(MAPS[arm]).T / 100)
    outlines = [axes.patches[0].get_bbox().bounds for axes in maps.image.axes[:3]]
    assert outlines == [(0.5, 0.5, 1, 1)] * 3
    assert report.provenance["command"] == "python x 'a b'"
    assert "NeurIPS 2021" in report.provenance["the paper's numbers"]
    assert "mask_fraction 0.5 or 0.0" in report.provenance["settings, synthetic"]
    assert report.missing == [
        "TCN: maps, and the distribution of their gradients, on rare_time: only cells of seed 0 keep a series, and "
        "none that are older than this page",
        "TCN: AUP and AUR by the place of the box: no seed has all of early_box, middle_box, late_box",
        "TCN: deep_lift, which the library refuses: it has no rule",
        "Maps of synthetic series by other methods than the gradient, by which guided training ranks",
    ]


def test_boxes_have_their_curves_and_an_absent_arm_is_named():
    boxes = [one for place in ("early", "middle", "late") for one in pair(f"{place}_box", sample=False)]
    report = time_series_report([*boxes, cell("middle", "plain", network="lstm", sample=False)], command=["x"])
    (curves,) = report.figures
    assert curves.title == "TCN: AUP and AUR of the gradient by the place of the box"
    assert "early, middle, late: plain 0.25, 0.25, 0.25; guided 0.35, 0.35, 0.35." in curves.alt
    (table,) = (table for table in report.tables if "Figure 6" in table.title)
    assert list(table.rows[3]) == ["TCN", "guided", "early", "1", "99.5", "0.350", "0.500", "20 %"]
    assert report.maps == []
    assert "LSTM: finished cells of the arm guided on middle" in report.missing


def test_maps_of_other_series_are_not_put_side_by_side():
    guided, plain = pair("middle")
    guided["series_sample"]["input"] = [[1, 1], [1, 1], [1, 1]]
    (maps,) = time_series_report([guided, plain], command=["x"]).maps
    assert maps.title == "TCN, plain, 3 steps of 2 features: gradient maps of the first test series"


def test_real_series_and_digits(tmp_path):
    real = [
        FACTS
        | {
            "settings": {
                "dataset": "toy",
                "network": "tcn",
                "arm": arm,
                "seed": 0,
                "methods": ["gradient"],
                "epochs": 1,
            },
            "accuracy": 0.5,
            "curves": {fill: {"gradient": [0.5] * len(LEVELS)} for fill in ("channel_mean", "uniform")},
        }
        for arm in ("guided", "plain")
    ]
    digits = [
        FACTS
        | {"settings": {"network": "lstm", "arm": arm}, "accuracy": 0.75, "labels": [7], "inputs": [[[0, 255]]]}
        | {"maps": {"gradient": [[[255, 0]]]}}
        for arm in ("plain", "guided")
    ]
    report = time_series_report([], real=real, mnist=digits, command=["x"])
    values, gains = report.tables
    assert list(values.rows[0]) == ["toy", "tcn", "plain", "50.0", "4500", "4500"]  # half of 9,000
    assert list(gains.rows[0]) == ["toy", "tcn", "+0.0"]  # no random map to hold the areas against
    assert gains.title.startswith("Real series: guided minus plain")
    assert [figure.title.rpartition(" ")[2] for figure in report.figures] == ["channel_mean", "uniform"]
    assert "gradient, plain 50, 50" in report.figures[0].alt
    assert report.maps[0].alt == "A grid of maps. Columns: input, gradient plain, gradient guided. Rows: 7."
    assert "plain 75.0 %, guided 75.0 %" in report.maps[0].caption
    rows = mnist_tables(digits[::-1])["accuracy"].splitlines()[2:]
    assert [row.split() for row in rows] == [f"| LSTM | {arm} | 75.0 |".split() for arm in ("plain", "guided")]
    assert report.missing == []


def test_the_page_is_written(tmp_path):
    write_time_series_report(tmp_path / "report.html", pair("middle"), command=["x"])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "0.200 → 0.300" in page
    assert page.count("data:image/png;base64,") == 2


def test_the_sample_is_the_first_test_series_and_its_gradient():
    made = Cell("middle", "tcn", "plain", 0, 0.0, 1, ("gradient",), train_size=20)
    trained = member(made)
    sample = json.loads(json.dumps(series_sample(made, trained)["series_sample"], allow_nan=False))
    test = splits("middle", 0, 20)["test"]
    values, labels = tensors(test.select(range(2)))
    maps, _ = saliency_maps(trained.model, values, labels, ["gradient"], AttributionSettings())
    for kept, whole in ((sample["input"], values[0].cpu().numpy()), (sample["map"], maps["gradient"][0])):
        np.testing.assert_allclose(kept, 100 * whole / np.abs(whole).max(), atol=0.51)
    assert (sample["label"], sample["box"]["time_start"]) == (labels[0], test[0]["time_start"])
    with torch.no_grad():
        assert sample["predicted"] == trained.model.eval()(values).logits[0].argmax()


def test_other_seeds_keep_no_sample():
    made = Cell("middle", "tcn", "plain", 1, 0.0, 1, ("gradient",), train_size=20)
    assert series_sample(made, None) == {}


@pytest.mark.parametrize("arm", ["plain", "guided"])
def test_one_arm_alone_is_shown(arm):
    report = time_series_report([cell("middle", arm)], command=["x"])
    other = {"plain": "guided", "guided": "plain"}[arm]
    assert f"TCN: finished cells of the arm {other} on middle" in report.missing
    assert report.maps[0].alt.startswith(f"A grid of maps. Columns: input, {arm}. Rows: middle.")
