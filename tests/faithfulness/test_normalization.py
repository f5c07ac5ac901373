import itertools

import numpy as np
import pytest
import torch
from datasets import Dataset

from sgt_hf import evaluate_faithfulness
from sgt_hf.attribution import AttributionSettings
from sgt_hf.faithfulness import normalization
from sgt_hf.faithfulness.normalization import greedy_search
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


@pytest.mark.parametrize("search", ["exact", "beam", "greedy"])  # the words' effects add up, so one at a time is enough
def test_limits_on_paper(search):
    tokenizer = make_tokenizer("gpt2")
    rows = rows_of(tokenizer, "the good plot good")
    report = evaluate(
        CountsGood(tokenizer), tokenizer, rows, methods=["input_x_gradient"], bins=(0.25, 0.5), normalize=search
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
    assert f"limits of NAOPC by {search} search" in str(report)
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
    for search in ({"normalize": "beam", "beam_width": 1}, {"normalize": "beam"}, {"normalize": "greedy"}):
        narrow = evaluate(model, tokenizer, rows, **search, **settings)
        for one, other in zip(exact.limits(), narrow.limits(), strict=True):
            assert (one[:, 0] <= other[:, 0] + 1e-6).all()
            assert (other[:, 0] <= other[:, 1]).all()
            assert (other[:, 1] <= one[:, 1] + 1e-6).all()


def test_a_greedy_chain_is_nested_and_its_cost_linear():
    """Checked against a value that is each unit's own but for two that only count together."""
    count, sizes = 200, np.array([2, 10, 20, 40, 100])
    own = np.random.default_rng(0).normal(size=count)
    own[[3, 5]] = 1, -1
    asked, chain = 0, []

    def value(sets):
        return sets @ own + 100 * sets[:, 3] * sets[:, 5]

    search = greedy_search(count, sizes, sign=1)
    sets = next(search)
    with pytest.raises(StopIteration) as end:
        while True:
            asked += len(sets)
            if len(sets) == 1:
                chain.append(sets[0].copy())
            sets = search.send(value(sets))
    assert [int(s.sum()) for s in chain] == sizes.tolist()
    assert all((small <= large).all() for small, large in itertools.pairwise(chain))
    assert end.value.value == pytest.approx(value(np.array(chain)))
    assert asked <= len(sizes) * (2 * count + 1)
    first = np.argsort(-own)
    assert chain[0].nonzero()[0].tolist() == sorted(first[:2])
    together = next(i for i, s in enumerate(chain) if s[3] or s[5])  # one of the pair in, the other follows
    assert chain[min(together + 1, 4)][[3, 5]].all()


@pytest.mark.parametrize(
    "search", [{"normalize": "exact"}, {"normalize": "beam", "beam_width": 1}, {"normalize": "greedy"}]
)
def test_every_measured_ranking_lies_within_the_limits(search):
    """A narrow beam misses some, by which its limits are widened."""
    tokenizer, model = make_tokenizer("bert"), make_model("bert", initializer_range=0.5).eval()
    rows = make_rows(tokenizer, count=12, longest=9)
    report = evaluate(model, tokenizer, rows, random_draws=20, **search)
    found = aopc(report.full, report.extremes.removed[:, 1])
    assert (report.limits()[0][:, 1] > found + 1e-4).any() == (search["normalize"] != "exact")
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


@pytest.mark.parametrize("search", ["beam", "greedy"])
def test_searches_that_end_before_the_longest_text_has_its_turn(monkeypatch, search):
    """Texts searched in groups, and side by side: what is found is what each alone would give."""
    tokenizer, model = make_tokenizer("bert"), make_model("bert", initializer_range=0.5).eval()
    words = "good film not very dull bad plot the great actor a".split()
    rows = rows_of(tokenizer, *(" ".join(words[:count]) for count in (2, 11, 3, 7)))
    together = evaluate(model, tokenizer, rows, normalize=search)
    monkeypatch.setattr(normalization, "_POOL", 1)
    apart = evaluate(model, tokenizer, rows, normalize=search)
    for one, other in zip(together.limits(), apart.limits(), strict=True):
        assert one == pytest.approx(other, abs=1e-6)
    assert (together.limits()[0][1:, 0] < together.limits()[0][1:, 1]).all()


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
        ({"normalize": "annealed"}, "unknown normalize 'annealed': use one of"),
        ({"normalize": "beam", "beam_width": 0}, "beam_width must be ≥ 1, got 0"),
        ({"normalize": "exact"}, "looks at every set of words, at most 12 of them, and a text has 13"),
    ],
)
def test_bad_searches_are_refused(changes, message):
    tokenizer = make_tokenizer("bert")
    rows = Dataset.from_list([{**tokenizer("film " * 13), "labels": 1}])
    with pytest.raises(ValueError, match=message):
        evaluate(make_model("bert"), tokenizer, rows, **changes)
