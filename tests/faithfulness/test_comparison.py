import dataclasses
import warnings

import numpy as np
import pytest

from sgt_hf import FaithfulnessReport
from sgt_hf.faithfulness.comparison import Difference, compare, compare_over_operators
from sgt_hf.faithfulness.predictions import Predictions, TextIdentity
from sgt_hf.faithfulness.provenance import Provenance
from sgt_hf.faithfulness.report import Curves
from sgt_hf.metrics.significance import Interval, bootstrap_mean

BINS = (0.1, 0.5)


def make_report(removed, kept, *, full=0.9, operator="delete", draws=0.0, extremes=None):
    """A report whose method `gradient` has these probabilities (N, R) and whose random rankings change nothing."""
    removed, kept = np.asarray(removed, dtype=float), np.asarray(kept, dtype=float)
    whole = np.broadcast_to(np.asarray(full, dtype=float), len(removed)).copy()
    chance = np.repeat((whole - draws)[:, None, None], 2, axis=2)
    return FaithfulnessReport(
        curves={"gradient": Curves(removed[:, None], kept[:, None]), "random": Curves(chance, chance)},
        full=whole,
        empty=np.full(len(removed), 0.5),
        predicted=np.zeros(len(removed), dtype=int),
        labels=np.zeros(len(removed), dtype=int),
        scores={"gradient": [np.zeros(3)] * len(removed)},
        provenance=Provenance("eraser", operator, BINS, "auto", "word", 1, 0, "zero", 50, 25, 0.15, 25, 5, 0.09),
        extremes=extremes,
    )


def constant(drop, **kwargs):
    return make_report(np.full((6, 2), 0.9 - drop), np.full((6, 2), 0.9 - drop / 2), **kwargs)


def test_differences_on_paper():
    found = compare(constant(0.3), constant(0.1, draws=0.05))
    mean, low, high = found.differences["gradient", "comprehensiveness"].interval
    assert (mean, low, high) == pytest.approx((0.2, 0.2, 0.2))
    assert found.differences["gradient", "sufficiency"].interval.mean == pytest.approx(0.1)
    assert found.differences["gradient", "comprehensiveness_gain"].interval.mean == pytest.approx(0.3 - (0.1 - 0.05))
    assert found.differences["random", "comprehensiveness"].interval.mean == pytest.approx(-0.05)
    assert ("random", "comprehensiveness_gain") not in found.differences
    verdicts = {key: difference.verdict for key, difference in found.differences.items()}
    assert verdicts["gradient", "comprehensiveness"] == "first"  # more is better
    assert verdicts["gradient", "sufficiency"] == "second"  # less is better
    assert "comprehensiveness_gain" in str(found)
    assert "mean confidence 0.900 and 0.900" in str(found)


def test_every_metric_on_paper():
    """Both random rankings change something, and normalised values of removed and of kept differ."""
    removed = np.tile([[[0.9, 0.9], [0.4, 0.4]]], (6, 1, 1))  # AOPC from 0 to 0.5
    kept = np.tile([[[0.9, 0.9], [0.1, 0.1]]], (6, 1, 1))  # from 0 to 0.8
    limits = Curves(removed, kept)
    found = compare(constant(0.3, draws=0.1, extremes=limits), constant(0.1, draws=0.04, extremes=limits))
    expected = {
        "comprehensiveness": (0.3 - 0.1, "first"),
        "sufficiency": (0.15 - 0.05, "second"),
        "comprehensiveness_gain": ((0.3 - 0.1) - (0.1 - 0.04), "first"),
        "sufficiency_gain": ((0.15 - 0.1) - (0.05 - 0.04), "second"),
        "normalized_comprehensiveness": ((0.3 - 0.1) / 0.5, "first"),
        "normalized_sufficiency": ((0.15 - 0.05) / 0.8, "second"),
    }
    for metric, (mean, verdict) in expected.items():
        difference = found.differences["gradient", metric]
        assert difference.interval.mean == pytest.approx(mean), metric
        assert difference.verdict == verdict, metric


def test_the_confidence_is_the_intervals():
    first, second = random_reports(0)
    paired = first["gradient"].sufficiency - second["gradient"].sufficiency
    found = compare(first, second, confidence=0.5).differences["gradient", "sufficiency"].interval
    assert found == bootstrap_mean(paired, confidence=0.5)
    assert found != bootstrap_mean(paired)


def on_documents(report, names):
    """The same report of texts that show these documents."""
    places = np.arange(3)
    identities = [TextIdentity(f"text {i}", (name,), (3,), places) for i, name in enumerate(names)]
    none = {"label_names": None, "full": report.full[:, None], "removed": {}, "kept": {}, "scores": report.scores}
    documents = list(names)
    predictions = Predictions(identities=identities, predicted=report.predicted, bins=BINS, documents=documents, **none)
    return dataclasses.replace(report, predictions=predictions)


def test_documents_are_drawn_where_texts_share_them():
    names = [f"document {i // 2}" for i in range(40)]
    first, second = (on_documents(report, names) for report in random_reports(0))
    paired = first["gradient"].sufficiency - second["gradient"].sufficiency
    comparison = compare(first, second)
    found = comparison.differences["gradient", "sufficiency"]
    assert found.interval == bootstrap_mean(paired, clusters=names)
    assert found.interval != bootstrap_mean(paired)
    assert (found.texts, found.documents) == (40, 20)
    assert "several texts show one document: intervals draw the 20 documents" in str(comparison)
    few = Difference("gradient", "comprehensiveness", Interval(0.2, 0.1, 0.3), 40, 5)
    assert few.verdict == "undecided"
    apart = [on_documents(report, [f"document {i}" for i in range(40)]) for report in (first, second)]
    alone = compare(*apart).differences["gradient", "sufficiency"]
    assert alone.interval == bootstrap_mean(paired)
    assert alone.documents is None
    assert first.documents.tolist() == second.documents.tolist()
    assert len(set(first.documents)) == 20
    assert apart[0].documents is None


def test_limits_do_not_hang_on_what_else_a_report_measured():
    """A ranking beyond what the search found widens the limits; one that the other report has not must not."""
    limits = np.tile([[[0.9, 0.9], [0.6, 0.6]]], (6, 1, 1))  # AOPC from 0 to 0.3
    one = constant(0.3, extremes=Curves(limits, limits))
    beyond = Curves(np.full((6, 1, 2), 0.2), np.full((6, 1, 2), 0.2))
    more = dataclasses.replace(one, curves={"integrated_gradients": beyond, **one.curves})
    assert more["gradient"].normalized_comprehensiveness[0] < one["gradient"].normalized_comprehensiveness[0]
    for pair in ((one, more), (more, one)):
        found = compare(*pair)
        assert {difference.interval.mean for difference in found.differences.values()} == {0.0}


def random_reports(seed, count=40):
    generator = np.random.default_rng(seed)
    return [make_report(*generator.uniform(0, 0.9, (2, count, 2))) for _ in range(2)]


def test_intervals_are_the_paired_bootstrap_and_turn_round_with_the_models():
    first, second = random_reports(0)
    one, other = compare(first, second, seed=3), compare(second, first, seed=3)
    paired = first["gradient"].sufficiency - second["gradient"].sufficiency
    assert one.differences["gradient", "sufficiency"].interval == bootstrap_mean(paired, seed=3)
    opposite = {"first": "second", "second": "first", "undecided": "undecided"}
    for key, difference in one.differences.items():
        assert other.differences[key].interval.mean == pytest.approx(-difference.interval.mean)
        assert other.differences[key].verdict == opposite[difference.verdict]
        assert difference.texts == 40


def test_normalised_values_leave_out_texts_without_choice():
    limits = np.tile([[[0.9, 0.9], [0.4, 0.4]]], (6, 1, 1))  # AOPC from 0 to 0.5
    limits[0] = 0.7  # where every ranking does alike
    full = [0.7, *[0.9] * 5]

    def without_choice(drop):
        removed, kept = np.full((6, 2), 0.9 - drop), np.full((6, 2), 0.9 - drop / 2)
        removed[0] = kept[0] = 0.7
        return make_report(removed, kept, full=full, extremes=Curves(limits, limits))

    found = compare(without_choice(0.3), without_choice(0.1))
    difference = found.differences["gradient", "normalized_comprehensiveness"]
    assert difference.interval.mean == pytest.approx(0.2 / 0.5)
    assert difference.texts == 5
    assert ("gradient", "normalized_comprehensiveness") not in compare(constant(0.3), constant(0.1)).differences


def test_models_of_unlike_confidence_are_warned_of():
    with pytest.warns(
        UserWarning, match=r"mean confidences are 0\.950 and 0\.890: raw AOPC favours the more confident"
    ):
        compare(constant(0.1, full=0.95), constant(0.1, full=0.89))
    with pytest.warns(UserWarning, match=r"mean confidences are 0\.890 and 0\.950"):
        compare(constant(0.1, full=0.89), constant(0.1, full=0.95))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compare(constant(0.1, full=0.92), constant(0.1, full=0.88))


def test_a_verdict_that_flips_with_the_operator_is_warned_of():
    reports = {
        "delete": (constant(0.3), constant(0.1)),
        "unk": (constant(0.1, operator="unk"), constant(0.2, operator="unk")),
    }
    with pytest.warns(UserWarning, match="verdicts flip with the operator.* gradient comprehensiveness: "):
        found, flipped = compare_over_operators(reports)
    assert ("gradient", "comprehensiveness") in flipped
    assert ("random", "comprehensiveness") not in flipped
    assert found["unk"].differences["gradient", "comprehensiveness"].interval.mean == pytest.approx(-0.1)


def test_undecided_is_no_flip():
    first, second = random_reports(1, count=4)
    noise = [
        dataclasses.replace(r, provenance=dataclasses.replace(r.provenance, operator="unk")) for r in (second, first)
    ]
    found, flipped = compare_over_operators({"delete": (first, second), "unk": tuple(noise)})
    verdicts = {
        operator: comparison.differences["gradient", "comprehensiveness"].verdict
        for operator, comparison in found.items()
    }
    assert (verdicts, flipped) == ({"delete": "undecided", "unk": "undecided"}, [])


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="not measured alike: operator is 'delete' and 'unk'"):
        compare(constant(0.1), constant(0.1, operator="unk"))
    fine = constant(0.1)
    fine = dataclasses.replace(fine, provenance=dataclasses.replace(fine.provenance, steps=100))
    with pytest.raises(ValueError, match="not measured alike: steps is 50 and 100"):
        compare(constant(0.1), fine)
    long, short = (dataclasses.replace(constant(0.1), scores={"gradient": [np.zeros(n)] * 6}) for n in (5, 4))
    with pytest.raises(ValueError, match=r"of different texts, .* their ids or words differ"):
        compare(long, short)
    compare(long, dataclasses.replace(constant(0.1), scores={}))  # of which nothing is known
    named = on_documents(long, "abcdef")  # ids are known of one alone, and lengths of both
    compare(named, long)
    with pytest.raises(ValueError, match=r"of different texts, .* their ids or words differ"):
        compare(named, short)
    saliency, contribution = constant(0.1), constant(0.1)
    contribution.curves["integrated_gradients"] = contribution.curves.pop("gradient")
    with pytest.raises(ValueError, match=r"share no method: they are of \['gradient', 'random'\] and \['random', 'int"):
        compare(saliency, contribution)
    compare(saliency, dataclasses.replace(saliency, curves={"random": saliency.curves["random"]}))
    half = constant(0.1)
    half = dataclasses.replace(half, provenance=dataclasses.replace(half.provenance, autocast="bfloat16"))
    with pytest.raises(ValueError, match="not measured alike: autocast is None and 'bfloat16'"):
        compare(constant(0.1), half)
    with pytest.raises(ValueError, match="of 6 and 4 texts"):
        compare(constant(0.1), make_report(np.zeros((4, 2)), np.zeros((4, 2))))
    other = constant(0.1)
    other.labels[2] = 1
    with pytest.raises(ValueError, match="their labels differ"):
        compare(constant(0.1), other)
    with pytest.raises(ValueError, match=r"two operators or more, got \['delete'\]"):
        compare_over_operators({"delete": (constant(0.1), constant(0.1))})
    with pytest.raises(ValueError, match=r"filed under operator 'mask' were made with \['unk'\]"):
        unk = constant(0.1, operator="unk")
        compare_over_operators({"delete": (constant(0.1), constant(0.1)), "mask": (unk, unk)})


@pytest.mark.parametrize(("texts", "verdict"), [(1, "undecided"), (5, "undecided"), (6, "first")])
def test_a_handful_of_texts_decides_nothing(texts, verdict):
    """Whatever their interval: that of one text is the text itself."""
    found = Difference("gradient", "comprehensiveness", Interval(0.2, 0.1, 0.3), texts)
    assert found.verdict == verdict


def test_settings_of_the_shaps_are_settings():
    one = constant(0.1)
    other = dataclasses.replace(one, provenance=dataclasses.replace(one.provenance, shap_samples=1))
    with pytest.raises(ValueError, match="not measured alike: shap_samples is 25 and 1"):
        compare(one, other)


def trained_with(masking, **own):
    report = constant(0.1)
    return dataclasses.replace(
        report, provenance=dataclasses.replace(report.provenance, trained_masking=masking, **own)
    )


def test_what_belongs_to_one_model_is_said_of_that_one():
    plain, guided = trained_with(None, truncated_words=3), trained_with("delete", truncated_words=0)
    own = {
        "plain": "masking in training none known, words cut off 3",
        "guided": "masking in training delete, which flatters its sufficiency, words cut off 0",
    }
    for pair, names in (((plain, guided), ("plain", "guided")), ((guided, plain), ("guided", "plain"))):
        which = ("first", "second")[names.index("guided")]
        with pytest.warns(UserWarning, match=rf"the {which} model alone was trained with the operator .* \(delete\)"):
            line = str(compare(*pair)).splitlines()[-1]
        assert line.startswith("AOPC convention eraser, operator delete, ")
        assert line.endswith(f"random over 1 draws; first model: {own[names[0]]}; second model: {own[names[1]]}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compare(guided, guided)
        assert "none known, words cut off not known" in str(compare(trained_with("unk"), trained_with(None)))


def test_the_table_says_of_how_many_texts_a_mean_is():
    head, line, *_ = str(compare(constant(0.3), constant(0.1))).splitlines()
    assert head.split()[-2:] == ["texts", "better"]
    assert line.split()[-2:] == ["6", "first"]
