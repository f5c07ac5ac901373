import itertools

import numpy as np
import pytest
import torch
from datasets import Dataset

from sgt_hf import evaluate_faithfulness
from sgt_hf.attribution import AttributionSettings
from sgt_hf.metrics.aopc import CONVENTIONS, aopc
from sgt_hf.metrics.naopc import naopc
from tests import oracle
from tests.faithfulness.test_evaluate import CountsGood, rows_of, sigmoid
from tests.tiny import make_model, make_rows, make_tokenizer

TEXTS = ["good film not very dull", "bad plot", "the great actor a film", "not"]
BINS = (0.2, 0.5, 0.8)


def evaluate(model, tokenizer, rows, **kwargs):
    kwargs = {"methods": ["gradient"], "random_draws": 3, "bins": BINS, "progress": False} | kwargs
    return evaluate_faithfulness(model, rows, tokenizer, **kwargs)


def test_limits_on_paper():
    tokenizer = make_tokenizer("gpt2")
    rows = rows_of(tokenizer, "the good plot good")
    report = evaluate(
        CountsGood(tokenizer), tokenizer, rows, methods=["input_x_gradient"], bins=(0.25, 0.5), normalize="exact"
    )
    full, one, none = sigmoid(3), sigmoid(1), sigmoid(-1)
    comprehensiveness, sufficiency = report.limits()
    # removed: at worst "the plot", which changes nothing; at best "good good". Kept: at best a good, then both.
    assert comprehensiveness[0] == pytest.approx([0, full - (one + none) / 2], rel=1e-5)
    assert sufficiency[0] == pytest.approx([(full - one) / 2, full - none], rel=1e-5)
    best = report["input_x_gradient"]
    assert best.normalized_comprehensiveness == pytest.approx([1])
    assert best.normalized_sufficiency == pytest.approx([0], abs=1e-6)
    assert "NAOPC" in str(report)
    assert "limits of NAOPC by exact search" in str(report)
    assert report.summary()["methods"]["input_x_gradient"]["normalized_comprehensiveness"] == pytest.approx(1)


def brute_force(model, tokenizer, text, convention):
    """Lowest and highest comprehensiveness and sufficiency over all n! rankings, one forward at a time."""
    words = text.split()
    known = {}

    def probability(left):
        if left not in known:
            with torch.no_grad():
                known[left] = model(**tokenizer(" ".join(left), return_tensors="pt")).logits.softmax(-1)[0]
        return known[left][probability_target]

    probability_target = 0
    probability_target = int(probability(tuple(words)) < known[tuple(words)].max())
    full, empty = float(probability(tuple(words))), float(probability(()))
    found = []
    for ranking in itertools.permutations(range(len(words))):
        tops = [oracle.top([-place for place in ranking], [True] * len(words), share) for share in BINS]
        curves = [
            [[float(probability(tuple(w for w, t in zip(words, top, strict=True) if t == keep))) for top in tops]]
            for keep in (False, True)
        ]
        found.append(
            [
                aopc([full], curves[0], convention=convention)[0],
                aopc([full], curves[1], convention=convention, empty=[empty])[0],
            ]
        )
    return np.min(found, axis=0), np.max(found, axis=0)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_exact_limits_are_those_of_all_rankings(convention):
    tokenizer, model = make_tokenizer("bert"), make_model("bert", initializer_range=0.5).eval()
    report = evaluate(model, tokenizer, rows_of(tokenizer, *TEXTS), normalize="exact", convention=convention)
    limits = np.stack(report.limits(), axis=1)  # (N, 2 metrics, 2)
    for i, text in enumerate(TEXTS):
        lowest, highest = brute_force(model, tokenizer, text, convention)
        assert limits[i, :, 0] == pytest.approx(lowest, abs=1e-6)
        assert limits[i, :, 1] == pytest.approx(highest, abs=1e-6)


@pytest.mark.parametrize("operator", ["delete", "unk"])
def test_a_beam_lies_within_the_exact_limits_and_reaches_them_when_wide_enough(operator):
    tokenizer, model = make_tokenizer("bert"), make_model("bert", initializer_range=0.5).eval()
    rows = make_rows(tokenizer, count=6, longest=9)
    settings = {"operator": operator, "bins": (0.1, 0.3, 0.5, 0.9)}
    exact = evaluate(model, tokenizer, rows, normalize="exact", **settings)
    wide = evaluate(model, tokenizer, rows, normalize="beam", beam_width=70, **settings)  # 70 = C(8, 4)
    for one, other in zip(exact.limits(), wide.limits(), strict=True):
        assert one == pytest.approx(other, abs=1e-6)
    for width in (1, 3):
        narrow = evaluate(model, tokenizer, rows, normalize="beam", beam_width=width, **settings)
        for one, other in zip(exact.limits(), narrow.limits(), strict=True):
            assert (one[:, 0] <= other[:, 0] + 1e-6).all()
            assert (other[:, 0] <= other[:, 1]).all()
            assert (other[:, 1] <= one[:, 1] + 1e-6).all()


@pytest.mark.parametrize("search", [{"normalize": "exact"}, {"normalize": "beam", "beam_width": 1}])
def test_every_measured_ranking_lies_within_the_limits(search):
    """A narrow beam misses some, by which its limits are widened."""
    tokenizer, model = make_tokenizer("bert"), make_model("bert", initializer_range=0.5).eval()
    rows = make_rows(tokenizer, count=12, longest=9)
    report = evaluate(model, tokenizer, rows, random_draws=20, **search)
    found = aopc(report.full, report.extremes.removed[:, 1])
    assert (report.limits()[0][:, 1] > found + 1e-4).any() == ("beam_width" in search)
    for name, perturbed, limits in zip(("removed", "kept"), ("removed", "kept"), report.limits(), strict=True):
        for method in report.methods:
            curves = getattr(report.curves[method], perturbed)
            for d in range(curves.shape[1]):
                values = aopc(report.full, curves[:, d])
                assert (limits[:, 0] - 1e-6 <= values).all(), name
                assert (values <= limits[:, 1] + 1e-6).all(), name
    gradient = report["gradient"]
    expected = naopc(gradient.comprehensiveness, *report.limits()[0].T)
    assert gradient.normalized_comprehensiveness == pytest.approx(expected, nan_ok=True)


def test_the_texts_measured_beside_one_do_not_matter():
    tokenizer, model = make_tokenizer("bert"), make_model("bert", initializer_range=0.5).eval()
    rows = make_rows(tokenizer, count=5)
    together = evaluate(model, tokenizer, rows, normalize="beam", beam_width=2)
    settings = AttributionSettings(max_features=8)
    for i in range(5):
        alone = evaluate(model, tokenizer, rows.select([i]), normalize="beam", beam_width=2, settings=settings)
        for part in ("removed", "kept"):
            one, other = (getattr(report.extremes, part) for report in (together, alone))
            assert one[i] == pytest.approx(other[0], abs=1e-6)


def test_a_text_without_words_and_one_of_one_word():
    tokenizer, model = make_tokenizer("bert"), make_model("bert", initializer_range=0.5).eval()
    report = evaluate(model, tokenizer, rows_of(tokenizer, "", "film", "film plot"), normalize="beam")
    comprehensiveness, sufficiency = report.limits()
    assert comprehensiveness[0].tolist() == [0, 0]
    assert sufficiency[0].tolist() == [0, 0]
    assert comprehensiveness[1, 0] == comprehensiveness[1, 1]
    assert np.isnan(report["gradient"].normalized_comprehensiveness).tolist() == [True, True, False]
    assert report.summary()["methods"]["gradient"]["normalized_comprehensiveness"] is not None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"normalize": "greedy"}, "unknown normalize 'greedy': use one of"),
        ({"normalize": "beam", "beam_width": 0}, "beam_width must be ≥ 1, got 0"),
        ({"normalize": "exact"}, "looks at every set of words, at most 12 of them, and a text has 13"),
    ],
)
def test_bad_searches_are_refused(changes, message):
    tokenizer = make_tokenizer("bert")
    rows = Dataset.from_list([{**tokenizer("film " * 13), "labels": 1}])
    with pytest.raises(ValueError, match=message):
        evaluate(make_model("bert"), tokenizer, rows, **changes)
