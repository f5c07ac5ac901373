import dataclasses
import json

import numpy as np
import pytest

from sgt_hf import FaithfulnessReport
from sgt_hf.faithfulness.provenance import Provenance
from sgt_hf.faithfulness.report import Curves

FULL, EMPTY = np.array([0.9, 0.5]), np.array([0.4, 0.3])
REMOVED = np.array([[[0.8, 0.2]], [[0.5, 0.1]]])
KEPT = np.array([[[0.7, 0.9]], [[0.2, 0.4]]])
# two unequal draws
RANDOM_REMOVED = np.array([[[0.9, 0.5], [0.7, 0.7]], [[0.5, 0.4], [0.3, 0.2]]])
RANDOM_KEPT = np.array([[[0.6, 0.8], [0.4, 0.6]], [[0.1, 0.5], [0.5, 0.3]]])


def make_report(convention):
    return FaithfulnessReport(
        curves={"gradient": Curves(REMOVED, KEPT), "random": Curves(RANDOM_REMOVED, RANDOM_KEPT)},
        full=FULL,
        empty=EMPTY,
        predicted=np.array([0, 1]),
        labels=np.array([0, 0]),
        scores={"gradient": [np.zeros(3), np.zeros(2)]},
        provenance=Provenance(
            convention, "delete", (0.1, 0.5), "auto", "word", 2, 0, "zero", 50, 25, 0.15, 25, 5, 0.09
        ),
    )


@pytest.mark.parametrize(
    ("convention", "comprehensiveness", "sufficiency", "random_comprehensiveness", "random_sufficiency"),
    [
        # drops: .1 .7 and 0 .4; kept .2 0 and .3 .1. Random: 0 .4 | .2 .2 and 0 .1 | .2 .3; kept .3 .1 | .5 .3 and
        # .4 0 | 0 .2
        ("eraser", [0.4, 0.2], [0.1, 0.2], [0.2, 0.15], [0.3, 0.15]),
        ("unirex", [0.8 / 3, 0.4 / 3], [0.2 / 3, 0.4 / 3], [0.4 / 3, 0.1], [0.2, 0.1]),
        # a zeroth bin: nothing removed, or nothing kept (drops .5 and .2)
        ("paper", [0.8 / 3, 0.4 / 3], [0.7 / 3, 0.2], [0.4 / 3, 0.1], [1.1 / 3, 0.5 / 3]),
    ],
)
def test_the_conventions_and_the_mean_over_unequal_draws(
    convention, comprehensiveness, sufficiency, random_comprehensiveness, random_sufficiency
):
    report = make_report(convention)
    assert report["gradient"].comprehensiveness == pytest.approx(comprehensiveness)
    assert report["gradient"].sufficiency == pytest.approx(sufficiency)
    assert report["random"].comprehensiveness == pytest.approx(random_comprehensiveness)
    assert report["random"].sufficiency == pytest.approx(random_sufficiency)
    found = report.summary()["methods"]
    gain = np.mean(comprehensiveness) - np.mean(random_comprehensiveness)
    assert found["gradient"]["comprehensiveness_minus_random"] == pytest.approx(gain)
    gain = np.mean(sufficiency) - np.mean(random_sufficiency)
    assert found["gradient"]["sufficiency_minus_random"] == pytest.approx(gain)


def test_bins_are_means_over_texts_and_draws():
    report = make_report("eraser")
    assert report["gradient"].comprehensiveness_per_bin == pytest.approx([0.05, 0.55])
    assert report["gradient"].sufficiency_per_bin == pytest.approx([0.25, 0.05])
    assert report["random"].comprehensiveness_per_bin == pytest.approx([0.1, 0.25])
    assert report["random"].sufficiency_per_bin == pytest.approx([0.3, 0.15])
    assert report.accuracy == 0.5


def test_a_method_that_was_not_measured_is_named():
    with pytest.raises(KeyError, match=r"'saliency' was not measured, only \['gradient', 'random'\]"):
        make_report("eraser")["saliency"]


def test_means_over_fewer_texts_say_so():
    report = make_report("eraser")
    assert report.texts() == report.summary()["texts"] == {"accuracy": 2}
    assert "over fewer texts" not in str(report)
    removed = np.stack([REMOVED[:, 0], [[0.9, 0.9], [0.5, 0.1]]], axis=1)  # of the second text no ranking is better
    random = Curves(removed[:, :1], KEPT)
    curves = {"gradient": Curves(removed[:, :1], KEPT), "random": random}
    report = dataclasses.replace(report, curves=curves, labels=np.array([0, -100]), extremes=Curves(removed, KEPT))
    expected = {"accuracy": 1, "normalized_comprehensiveness": 1, "normalized_sufficiency": 0}
    assert report.texts() == expected
    assert json.loads(json.dumps(report.summary()))["texts"] == expected
    assert str(report).splitlines()[-2] == (
        "over fewer texts (the others have no label, or their rankings all do alike): "
        "accuracy 1, normalized_comprehensiveness 1, normalized_sufficiency 0"
    )
