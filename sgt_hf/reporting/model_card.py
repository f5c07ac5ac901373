"""The model card: what was trained, how, what was measured, and what the numbers do not say.

Whatever was not recorded is said to be not recorded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from huggingface_hub import ModelCard, ModelCardData
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils._validators import validate_repo_id

from .atomic import write_atomically
from .card_tables import (
    CONFIDENCE,
    RESAMPLES,
    accuracy_of,
    eval_results,
    faithfulness_table,
    method_rows,
    metrics_table,
    named,
    shown,
)
from .evaluations import DatasetFacts, Evaluation
from .markdown import NOT_RECORDED, Markdown, code_block, escape, one_line, table
from .recipe import Recipe

TAG = "saliency-guided-training"
_PIPELINES = ("text-classification", "image-classification")
_TEMPLATE = "model_card.md.j2"


@dataclass(frozen=True)
class CardFacts:
    """What a card is made of; None is what was not recorded.

    Attributes:
        model_name: Title of the card.
        repo_id: `user/name` on the hub, for the lines of code.
        architecture: Name of the model's class.
        module: From which that class is imported.
        adapter_of: The base model of a PEFT adapter.
        base_model: What was fine-tuned.
        task: The hub's identifier, such as `text-classification`.
        recipe: How it was trained.
        training_data: On what.
        evaluations: What was measured of these weights.
        left_out: Evaluations made of other weights, which the card does not show.
        language: ISO codes.
        license: The hub's identifier.
        tags: Beside `saliency-guided-training`.
        datasets: Ids on the hub of the training data.
        note: A sentence or two of the user's.
    """

    model_name: str
    repo_id: str | None = None
    architecture: str | None = None
    module: str | None = None
    adapter_of: str | None = None
    base_model: str | None = None
    task: str | None = None
    recipe: Recipe | None = None
    training_data: DatasetFacts | None = None
    evaluations: Sequence[Evaluation] = ()
    left_out: int = 0
    language: str | Sequence[str] | None = None
    license: str | None = None
    tags: Sequence[str] = ()
    datasets: Sequence[str] = ()
    note: str | None = None


def model_card(facts: CardFacts, *, secrets: Sequence[str] = ()) -> ModelCard:
    """Make the card, with `model-index` metadata.

    Args:
        facts: What it is made of.
        secrets: Strings, such as tokens, that must not be in it; `[secret]` stands in their place.

    Returns:
        The card; `str` of it is the file.

    Raises:
        ValueError: A metric or a setting cannot be put into the card.
    """
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, finalize=escape, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    source = resources.files(__package__).joinpath("templates", _TEMPLATE).read_text(encoding="utf-8")
    body = environment.from_string(source).render(_contents(facts))
    body = without_secrets(body, [*secrets, *map(escape, secrets)])
    metadata = ModelCardData(**_in_lines(_metadata(facts).to_dict(), secrets))
    return ModelCard(f"---\n{metadata.to_yaml()}\n---\n\n{body}\n")


def write_model_card(path: str | os.PathLike[str], facts: CardFacts, *, secrets: Sequence[str] = ()) -> Path:
    """Write the card, whole or not at all.

    Args:
        path: A folder, for its `README.md`, or a file ending in `.md`.
        facts: See `model_card`.
        secrets: See `model_card`.

    Returns:
        The file.
    """
    target = Path(path)
    target = target if target.suffix == ".md" else target / "README.md"
    write_atomically(target, str(model_card(facts, secrets=secrets)))
    return target


def without_secrets(text: str, secrets: Sequence[str] = ()) -> str:
    """Take the given strings, and whatever looks like a token of the hub, out of a text.

    Args:
        text: Any.
        secrets: To be taken out.

    Examples:
        >>> without_secrets("run --key k1", ["k1"])
        'run --key [secret]'
    """
    for secret in filter(None, secrets):
        text = text.replace(secret, "[secret]")
    # In Markdown an underscore stands behind a backslash.
    return re.sub(r"\b(hf|api\\?_org)\\?_[A-Za-z0-9]{30,}\b", "[secret]", text)


def _metadata(facts: CardFacts) -> ModelCardData:
    base = facts.adapter_of or facts.base_model
    results = eval_results(facts.evaluations, facts.task or "other") or None
    return ModelCardData(
        base_model=base if _is_repo_id(base) else None,
        datasets=[name for name in facts.datasets if _is_repo_id(name)] or None,
        eval_results=results,
        language=_listed(facts.language) or None,
        library_name="peft" if facts.adapter_of else "transformers",
        license=facts.license,
        model_name=facts.model_name if results else None,
        pipeline_tag=facts.task if facts.task in _PIPELINES else None,
        tags=[TAG, *facts.tags],
    )


def _in_lines(value: Any, secrets: Sequence[str]) -> Any:
    """The same values, every string in them one line without control characters and secrets."""
    if isinstance(value, str):
        return one_line(without_secrets(value, secrets))
    if isinstance(value, dict):
        return {_in_lines(key, secrets): _in_lines(entry, secrets) for key, entry in value.items()}
    return [_in_lines(entry, secrets) for entry in value] if isinstance(value, list | tuple) else value


def _contents(facts: CardFacts) -> dict[str, Any]:
    recipe = facts.recipe
    return {
        "facts": facts,
        "language": ", ".join(_listed(facts.language)) or None,
        "recipe": recipe,
        "guided": None if recipe is None else recipe.knobs.get("sgt_kl_weight") != 0,
        "usage": code_block(_usage(facts), "python"),
        "knobs": _pairs("knob", None if recipe is None else recipe.knobs),
        "adapter": None if recipe is None else _adapter(recipe),
        "training_data": NOT_RECORDED if facts.training_data is None else named(facts.training_data),
        "hyperparameters": _pairs("hyperparameter", None if recipe is None else recipe.hyperparameters),
        "command": NOT_RECORDED if recipe is None or recipe.command is None else code_block(recipe.command, "bash"),
        "versions": _pairs("package", None if recipe is None else recipe.versions),
        "sections": list(_sections(facts.evaluations)),
        "limits": [Markdown(limit) for limit in _limits(facts)],
        "confidence": f"{100 * CONFIDENCE:g}",
        "resamples": RESAMPLES,
    }


def _usage(facts: CardFacts) -> str:
    """Lines that load the model; they run as they are."""
    name = facts.repo_id if _is_repo_id(facts.repo_id) else "path/to/this/folder"
    ours = (facts.module or "").partition(".")[0] == "sgt_hf"
    if facts.task in _PIPELINES:
        lines = ["from transformers import pipeline", "", f'classifier = pipeline("{facts.task}", model="{name}")']
        return "\n".join([*(["import sgt_hf  # registers the architecture"] if ours else []), *lines])
    if facts.module is None or facts.architecture is None:
        return f'from transformers import AutoModel\n\nmodel = AutoModel.from_pretrained("{name}")'
    lines = [f"from {facts.module} import {facts.architecture}", ""]
    return "\n".join([*lines, f'model = {facts.architecture}.from_pretrained("{name}")'])


def _adapter(recipe: Recipe) -> Markdown:
    given = [f"{name}={value!r}" for name, value in (recipe.adapter_arguments or {}).items()]
    given += [f"{name} {NOT_RECORDED}" for name in recipe.adapter_not_recorded]
    return Markdown(f"{escape(recipe.adapter)} ({escape(', '.join(given) or 'no settings')})")


def _pairs(name: str, values: Any) -> str | Markdown:
    return table([name, "value"], list(values.items())) if values else NOT_RECORDED


def _sections(evaluations: Sequence[Evaluation]) -> Iterator[dict[str, Any]]:
    """What the template lays out of each evaluation."""
    for evaluation in evaluations:
        report = evaluation.report
        yield {
            "title": named(evaluation.dataset),
            "metrics": metrics_table(evaluation) if evaluation.metrics else None,
            "report": report,
            "accuracy": None if report is None or report.labels is None else shown(accuracy_of(report)),
            "confidence": None if report is None else f"{report.full.mean():.3f}",
            "faithfulness": None if report is None else faithfulness_table(method_rows(report)),
        }


def _limits(facts: CardFacts) -> Iterator[str]:
    """What the numbers do not say, in sentences of our own, of what these evaluations are."""
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


def _limits_of_reports(facts: CardFacts, reports: Sequence[Any]) -> Iterator[str]:
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
    if any(report.provenance.trained_masking is None for report in reports) and not _unguided(facts):
        yield "Whether the model was trained to bear this way of removing words was not recorded with some numbers."
    yield "Faithful to the model is not the same as plausible to people, nor as right about the world."


def _unguided(facts: CardFacts) -> bool:
    return facts.recipe is not None and facts.recipe.knobs.get("sgt_kl_weight") == 0


def _listed(value: str | Sequence[str] | None) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else list(value)


def _is_repo_id(name: str | None) -> bool:
    """Whether the hub would take this for a name of a repository, and nothing on this disk is called so."""
    if not name or os.path.exists(name):
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True
