"""What a card says in sentences of our own: how the model came to be, and what its numbers do not say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..faithfulness.report import FaithfulnessReport
from .card_facts import CardFacts
from .markdown import NOT_RECORDED, escape
from .recipe import Recipe


def opening(recipe: Recipe | None) -> str:
    """Return how the classifier came to be.

    Args:
        recipe: Of its training, or None.
    """
    if recipe is None or recipe.earlier is None:
        return _training(recipe)
    here = " in this training" if is_guided(recipe.earlier) else ""
    return (
        f"{_training(recipe, here)} Before this training, as the record of the weights that it began with says "
        f"(optimizer steps: {escape(recipe.earlier.steps)}): {opening(recipe.earlier)}"
    )


def _training(recipe: Recipe | None, here: str = "") -> str:
    if recipe is None:
        return f"How this classifier was trained was {NOT_RECORDED}."
    if recipe.steps == 0:
        return "A classifier with the weights that the trainer was given: no optimizer step was done."
    if recipe.knobs.get("sgt_kl_weight") == 0:
        return f"A classifier trained plainly, with λ = 0: it was **not** guided{here}."
    source = "(Ismail, Corrada Bravo and Feizi, 2021)"
    if recipe.knobs.get("sgt_mask_fraction") == 0:
        return (
            "A classifier trained by consistency alone, as in R-Drop: the loss is CE + λ · KL between two passes over "
            f"the same input, and nothing is masked. It is a control of saliency guided training {source}, and was "
            f"**not** guided{here}."
        )
    drops = recipe.knobs.get("sgt_drops", "lowest")
    loss = (
        "are masked, and the loss is CE + λ · KL(f(X) ‖ f(X̃)) between the prediction on the input and on the masked "
        "input"
    )
    if drops == "lowest":
        return f"A classifier trained with saliency guided training {source}: the features of lowest gradient {loss}."
    known = {"random": "random features", "highest": "the features of *highest* gradient"}
    which = known.get(drops, f"features chosen otherwise ({escape(drops)})")
    return f"A control of saliency guided training {source}: {which} {loss}."


def is_guided(recipe: Recipe | None) -> bool:
    """Return whether one of a model's trainings is known to be by the method, not plain or one of its controls.

    Args:
        recipe: Of its training, or None.
    """
    if recipe is None or recipe.steps == 0:
        return False
    return is_guided(recipe.earlier) or (recipe.masks and recipe.knobs.get("sgt_drops") == "lowest")


def settings_of(report: FaithfulnessReport) -> str:
    """Return the seed, and what decides the methods that are in the table.

    Args:
        report: Of an evaluation.
    """
    told = report.provenance.of_methods(report.methods)
    return told[:1].upper() + told[1:]


def limits(facts: CardFacts) -> Iterator[str]:
    """Yield what the numbers do not say, of what these evaluations are.

    Args:
        facts: Of the card.
    """
    reports = [evaluation.report for evaluation in facts.evaluations if evaluation.report is not None]
    if not facts.evaluations:
        yield "No evaluation of these weights was recorded."
    if facts.left_out:
        yield f"Evaluations of other weights of this training are left out: {facts.left_out}."
    yield "One training run: the intervals are over examples, and say nothing of what another seed gives."
    yield "Whether the settings were chosen on the data that is reported here was not recorded."
    if any(evaluation.selected_on for evaluation in facts.evaluations):
        yield "The checkpoint was chosen by a metric on data that is reported here, which flatters that metric."
    if facts.recipe is not None and facts.recipe.steps == 0:
        yield "The trainer did no optimizer step: the weights are those it was given."
    if reports:
        yield from _limits_of_reports(facts, reports)


def _limits_of_reports(facts: CardFacts, reports: Sequence[FaithfulnessReport]) -> Iterator[str]:
    yield (
        "AOPC compares rankings of one model. Between models it also depends on how confident and how sensitive each "
        "is: compare it only beside the random ranking and the mean confidence, or as NAOPC (Edin et al., 2025)."
    )
    yield "Numbers of another convention, operator, unit, reduction or set of bins are not comparable with these."
    yield "Removing words makes texts unlike those of training; part of a change in probability is due to that."
    if all(report.extremes is None for report in reports):
        yield "NAOPC was not computed."
    if len({report.provenance.operator for report in reports}) == 1:
        yield "Only one way of removing words was measured; another may order the methods differently."
    if any(report.provenance.trained_masking == report.provenance.operator for report in reports):
        yield "Words were removed as the model was trained to bear it, which flatters sufficiency."
    unmasked = facts.recipe is not None and facts.recipe.steps != 0 and not facts.recipe.maskings()
    if any(report.provenance.trained_masking is None for report in reports) and not unmasked:
        yield "Whether the model was trained to bear this way of removing words was not recorded with some numbers."
    yield "Faithful to the model is not the same as plausible to people, nor as right about the world."
