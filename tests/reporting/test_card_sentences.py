"""How a card says that its model came to be."""

import re
from dataclasses import replace

import numpy as np
import pytest

from sgt_hf.faithfulness.report import Curves, FaithfulnessReport
from sgt_hf.reporting.card_sentences import is_guided, opening, settings_of
from sgt_hf.reporting.recipe import Recipe
from tests.reporting.test_model_card import PROVENANCE

KNOBS = {"sgt_kl_weight": 1.0, "sgt_mask_fraction": 0.5, "sgt_drops": "lowest"}


@pytest.mark.parametrize(
    ("recipe", "sentence", "guided"),
    [
        (None, "How this classifier was trained was not recorded.", False),
        (Recipe(KNOBS, steps=5), "A classifier trained with saliency guided training", True),
        (Recipe(KNOBS, steps=0), "no optimizer step was done", False),
        (Recipe(KNOBS | {"sgt_kl_weight": 0.0}, steps=5), r"trained plainly, with λ = 0: it was \*\*not", False),
        (Recipe(KNOBS | {"sgt_mask_fraction": 0.0}, steps=5), "R-Drop.* nothing is masked", False),
        (Recipe(KNOBS | {"sgt_drops": "random"}, steps=5), "A control of .*: random features are masked", False),
        (Recipe(KNOBS | {"sgt_drops": "highest"}, steps=5), r"the features of \*highest\* gradient are masked", False),
    ],
)
def test_the_opening_follows_the_knobs(recipe, sentence, guided):
    assert re.search(sentence, opening(recipe))
    assert is_guided(recipe) == guided


GUIDED = Recipe(KNOBS, steps=5)
PLAIN = Recipe(KNOBS | {"sgt_kl_weight": 0.0}, steps=3)


@pytest.mark.parametrize(
    ("recipe", "sentence", "guided"),
    [
        (
            replace(PLAIN, earlier=GUIDED),
            r"it was \*\*not\*\* guided in this training\. Before .*5\): .* guided training",
            True,
        ),
        (
            replace(GUIDED, earlier=PLAIN),
            r"saliency guided training.* Before .*3\): .* it was \*\*not\*\* guided\.$",
            True,
        ),
        (replace(PLAIN, earlier=PLAIN), r"it was \*\*not\*\* guided\. Before .* it was \*\*not\*\* guided\.$", False),
        (
            replace(PLAIN, earlier=replace(PLAIN, earlier=GUIDED)),
            "this training.*Before .*Before .*lowest gradient",
            True,
        ),
        (
            replace(PLAIN, knobs=KNOBS | {"sgt_mask_fraction": 0.0}, earlier=GUIDED),
            r"and was \*\*not\*\* guided in this training",
            True,
        ),
    ],
)
def test_the_opening_tells_of_earlier_trainings(recipe, sentence, guided):
    assert re.search(sentence, opening(recipe))
    assert is_guided(recipe) == guided


@pytest.mark.parametrize(
    ("methods", "told"),
    [
        (["gradient"], "Seed 3"),
        (["smooth_grad"], "Seed 3, SmoothGrad of 5 copies with noise 0.15"),
        (["integrated_gradients"], "Seed 3, integrated gradients in 20 steps from the baseline zero"),
        (["gradient_shap"], r"Seed 3, GradientSHAP at \d+ points from \d+ baselines around zero with noise [\d.]+"),
        (["deep_lift", "deep_shap"], r"Seed 3, DeepLIFT from the baseline zero, DeepSHAP from \d+ baselines around .*"),
    ],
)
def test_settings_are_those_of_the_methods(methods, told):
    half = np.full((2, 1, 2), 0.5)
    report = FaithfulnessReport(
        curves={name: Curves(half, half) for name in [*methods, "random"]},
        full=np.full(2, 0.9),
        empty=np.full(2, 0.5),
        predicted=np.zeros(2, int),
        labels=None,
        scores={},
        provenance=PROVENANCE,
    )
    assert re.fullmatch(told, settings_of(report))
