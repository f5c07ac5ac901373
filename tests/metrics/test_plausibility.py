import evaluate
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import auc, precision_recall_curve, precision_recall_fscore_support

from sgt_hf.metrics import module_path
from sgt_hf.metrics.plausibility import (
    auprc,
    hard_rationale,
    iou_agreement,
    mean_share,
    spans_of,
    token_agreement,
)
from tests import eraser_scorer, oracle

TRUTH = [[1, 1, 0, 0], [0, 1], [0, 0]]
HARD = [[1, 0, 1, 0], [0, 1], [0, 0]]


def test_token_agreement_on_paper():
    # unit 1: 1 of 2 predicted, 1 of 2 marked; unit 2: all right; in unit 3 there is nothing, and it does not count
    macro, micro = token_agreement(TRUTH, HARD)
    assert macro == pytest.approx((0.75, 0.75, 0.75))
    assert micro == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    # a prediction where nothing is marked does
    assert token_agreement([[1, 0], [0, 0]], [[1, 0], [1, 0]]).macro == pytest.approx((0.5, 0.5, 0.5))
    assert token_agreement([[0]], [[0]]).micro == (0, 0, 0)


def test_macro_f1_is_the_mean_of_f1_and_not_the_f1_of_the_means():
    macro, _ = token_agreement([[1, 0, 0, 0], [1, 1, 1, 1]], [[1, 1, 1, 1], [1, 0, 0, 0]])
    assert macro == pytest.approx((0.625, 0.625, 0.4))


def test_iou_agreement_on_paper():
    truth = [[(0, 4), (6, 8)], [(0, 2)]]
    predicted = [[(0, 2), (5, 9), (20, 21)], []]  # IOU 2/4 and 2/4, hits; the third misses
    macro, micro = iou_agreement(truth, predicted)
    assert macro == pytest.approx((2 / 3, 0.5, 2 * (2 / 3) * 0.5 / (2 / 3 + 0.5)))  # precision over unit 1 alone
    assert micro == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert iou_agreement(truth, predicted, threshold=0.51).micro == (0, 0, 0)
    # repeated evidence counts once, and evidence of no word counts and is never hit
    assert iou_agreement([[(0, 2), (0, 2), (3, 3)]], [[(0, 2)]]).micro == pytest.approx((1, 0.5, 2 / 3))


def test_auprc_on_paper_and_as_scikit_learn():
    # ranking 0 (right), 2 (wrong), 1 (right): (recall, precision) 0,1 – .5,1 – .5,.5 – 1,2/3
    assert auprc([[1, 1, 0]], [[0.9, 0.2, 0.5]]) == pytest.approx(0.5 + 0.5 * (0.5 + 2 / 3) / 2)
    generator = np.random.default_rng(0)
    truth = [generator.integers(0, 2, n) | (np.arange(n) == 0) for n in (3, 7, 40)]
    scores = [generator.normal(size=len(mask)).round(1) for mask in truth]
    curves = [precision_recall_curve(mask, score) for mask, score in zip(truth, scores, strict=True)]
    assert auprc(truth, scores) == pytest.approx(np.mean([auc(recall, precision) for precision, recall, _ in curves]))


def test_units_without_a_mark_count_as_in_erasers_scorer_or_are_skipped():
    truth, scores = [[1, 0], [0, 0], []], [[0.9, 0.1], [0.9, 0.1], []]
    assert auprc(truth, scores) == pytest.approx((1 + 0.5) / 2)
    assert auprc(truth, scores, without_positive="skip") == 1
    assert np.isnan(auprc([[0, 0]], [[0.1, 0.2]], without_positive="skip"))


units = st.lists(
    st.integers(1, 9).flatmap(
        lambda n: st.tuples(
            st.lists(st.integers(0, 1), min_size=n, max_size=n),
            st.lists(st.integers(0, 4).map(lambda level: level / 4), min_size=n, max_size=n),
        )
    ),
    min_size=1,
    max_size=5,
)


@given(units, st.sampled_from([0.1, 0.3, 0.5, 1.0]))
def test_agreement_with_the_definitions(drawn, share):
    truth, scores = zip(*drawn, strict=True)
    hard = [hard_rationale(values, share=share) for values in scores]
    for values, mask in zip(scores, hard, strict=True):
        assert mask.tolist() == oracle.top(list(values), [True] * len(values), share)
    rows = [
        {
            "annotation_id": str(i),
            "rationales": [
                {
                    "docid": "d",
                    "soft_rationale_predictions": values,
                    "hard_rationale_predictions": [{"start_token": s, "end_token": e} for s, e in spans_of(mask)],
                }
            ],
        }
        for i, (values, mask) in enumerate(zip(scores, hard, strict=True))
    ]
    marked = [
        {
            "annotation_id": str(i),
            "evidences": [[{"docid": "d", "start_token": s, "end_token": e} for s, e in spans_of(mask)]],
        }
        for i, mask in enumerate(truth)
    ]
    assert auprc(truth, scores) == pytest.approx(eraser_scorer.auprc(marked, {}, rows))
    if any(map(any, truth)):
        token, iou = eraser_scorer.token_f1(marked, rows), eraser_scorer.iou_f1(marked, rows)
        assert token_agreement(truth, hard)._asdict() == {k: pytest.approx(v) for k, v in token.items()}
        found = iou_agreement(list(map(spans_of, truth)), list(map(spans_of, hard)))
        assert found._asdict() == {k: pytest.approx(v) for k, v in iou.items()}


def test_micro_is_scikit_learn_on_all_words():
    generator = np.random.default_rng(1)
    truth, hard = ([generator.integers(0, 2, n) for n in (5, 9, 30)] for _ in range(2))
    expected = precision_recall_fscore_support(np.concatenate(truth), np.concatenate(hard), average="binary")[:3]
    assert token_agreement(truth, hard).micro == pytest.approx(expected)


def test_hard_rationales_spans_and_share():
    assert hard_rationale([0.1, 0.5, 0.5, 0.2], share=0.25).tolist() == [False, True, False, False]  # the earlier
    assert hard_rationale([0.1, 0.5, 0.5, 0.2], threshold=0.2).tolist() == [False, True, True, True]
    assert hard_rationale([], share=0.5).tolist() == []
    assert spans_of([1, 1, 0, 1]) == [(0, 2), (3, 4)]
    assert spans_of([]) == []
    assert mean_share([[1, 0], [1, 1, 1, 0], []]) == pytest.approx((0.5 + 0.75) / 2)


def test_the_evaluate_module_gives_the_same_offline():
    metric = evaluate.load(module_path("plausibility"))
    scores = [[0.9, 0.2, 0.5, 0.1], [0.3, 0.8], [0.5, 0.5]]
    result = metric.compute(truth=TRUTH, scores=scores)
    assert result["share"] == pytest.approx(1 / 3)
    hard = [hard_rationale(values, share=1 / 3) for values in scores]
    assert result["token_f1_macro"] == pytest.approx(token_agreement(TRUTH, hard).macro.f1)
    assert result["auprc"] == pytest.approx(auprc(TRUTH, scores))
    touching = metric.compute(truth=TRUTH, scores=scores, share=0.5, truth_spans=[[[0, 1], [1, 2]], [[1, 2]], []])
    assert touching["iou_precision_micro"] == pytest.approx(2 / 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: token_agreement(TRUTH, HARD[:2]), "truth has 3 units, predicted 2"),
        (lambda: token_agreement([[1, 0]], [[1]]), r"unit 0 has 2 words in truth and shape \(1,\) in predicted"),
        (lambda: token_agreement([[1, 2]], [[1, 0]]), r"truth\[0\] must be \(n,\) of 0 and 1"),
        (lambda: iou_agreement([[]], [[]], threshold=0), r"threshold must lie in \(0, 1\], got 0"),
        (lambda: iou_agreement([[]], []), "truth has 1 units, predicted 0"),
        (lambda: auprc([[1]], [[1.0]], without_positive="zero"), "unknown without_positive 'zero'"),
        (lambda: hard_rationale([1.0]), "give share or threshold, one of the two"),
        (lambda: hard_rationale([1.0], share=0.5, threshold=0.5), "give share or threshold, one of the two"),
        (lambda: hard_rationale([float("nan")], share=0.5), "finite scores"),
        (lambda: mean_share([[]]), "there is no word"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
