"""`evaluate` module of agreement with human rationales."""

from __future__ import annotations

from typing import Any

import datasets
import evaluate

from sgt_hf.metrics.plausibility import auprc, hard_rationale, iou_agreement, mean_share, spans_of, token_agreement

_DESCRIPTION = "Agreement of explanations with the words that humans marked: token F1, IOU F1 and AUPRC, as in ERASER."
_CITATION = """@inproceedings{deyoung2020eraser,
  title={ERASER: A Benchmark to Evaluate Rationalized NLP Models},
  author={DeYoung, Jay and Jain, Sarthak and Rajani, Nazneen Fatema and Lehman, Eric and Xiong, Caiming and Socher,
          Richard and Wallace, Byron C.},
  booktitle={ACL}, year={2020}}"""


class Plausibility(evaluate.Metric):
    """See README.md beside this file."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description="truth: 0 or 1 per word of each document; scores: a number per word",
            features=datasets.Features(
                {
                    "truth": datasets.Sequence(datasets.Value("int8")),
                    "scores": datasets.Sequence(datasets.Value("float64")),
                }
            ),
        )

    def _compute(
        self,
        *,
        truth: Any,
        scores: Any,
        share: float | None = None,
        threshold: float | None = None,
        truth_spans: Any = None,
        iou_threshold: float = 0.5,
        without_positive: str = "count",
    ) -> dict[str, Any]:
        if share is None and threshold is None:
            share = mean_share(truth)
        hard = [hard_rationale(sample, share=share, threshold=threshold) for sample in scores]
        marked = [spans_of(mask) for mask in truth] if truth_spans is None else truth_spans
        result: dict[str, Any] = {"auprc": auprc(truth, scores, without_positive=without_positive), "share": share}
        for name, agreement in (
            ("token", token_agreement(truth, hard)),
            ("iou", iou_agreement(_tuples(marked), _tuples(map(spans_of, hard)), threshold=iou_threshold)),
        ):
            for average, prf in agreement._asdict().items():
                result |= {f"{name}_{part}_{average}": value for part, value in prf._asdict().items()}
        return result


def _tuples(spans: Any) -> list[list[tuple[int, int]]]:
    return [[(int(start), int(end)) for start, end in unit] for unit in spans]
