"""The model card: what was trained, how, what was measured, and what the numbers do not say.

Whatever was not recorded is said to be not recorded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from huggingface_hub import ModelCard, ModelCardData

from ..atomic import write_atomically
from .card_facts import CardFacts, is_on_hub, listed
from .card_sentences import is_guided, limits, opening, settings_of
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
from .card_usage import PIPELINES, loading, usage
from .evaluations import Evaluation
from .markdown import NOT_RECORDED, Markdown, code_block, escape, one_line, table
from .recipe import Recipe

TAG = "saliency-guided-training"
_TEMPLATE = "model_card.md.j2"


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
        base_model=base if is_on_hub(base) else None,
        datasets=[name for name in facts.datasets if is_on_hub(name)] or None,
        eval_results=results,
        language=listed(facts.language) or None,
        library_name="peft" if facts.adapter_of else "transformers",
        license=facts.license,
        model_name=facts.model_name if results else None,
        pipeline_tag=facts.task if facts.task in PIPELINES else None,
        tags=[*([TAG] if is_guided(facts.recipe) else []), *facts.tags] or None,
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
        "language": ", ".join(listed(facts.language)) or None,
        "opening": Markdown(opening(recipe)),
        "usage": code_block(usage(facts), "python"),
        "loading": Markdown(loading(facts)),
        "trainings": list(_trainings(recipe)),
        "training_data": NOT_RECORDED if facts.training_data is None else named(facts.training_data),
        "hyperparameters": _pairs("hyperparameter", None if recipe is None else recipe.hyperparameters),
        "command": NOT_RECORDED if recipe is None or recipe.command is None else code_block(recipe.command, "bash"),
        "versions": _pairs("package", None if recipe is None else recipe.versions),
        "sections": list(_sections(facts.evaluations)),
        "measured": any(evaluation.report is not None for evaluation in facts.evaluations),
        "limits": [Markdown(limit) for limit in limits(facts)],
        "confidence": f"{100 * CONFIDENCE:g}",
        "resamples": RESAMPLES,
        "shared": any(one.report is not None and one.report.documents is not None for one in facts.evaluations),
    }


def _trainings(recipe: Recipe | None) -> Iterator[dict[str, Any]]:
    """What the template lays out of each training, the last one first."""
    yield {
        "steps": None if recipe is None else recipe.steps,
        "adapter": None if recipe is None else _adapter(recipe),
        "masking": None if recipe is None else recipe.masking,
        "knobs": _pairs("knob", None if recipe is None else recipe.knobs),
    }
    if recipe is not None and recipe.earlier is not None:
        yield from _trainings(recipe.earlier)


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
        accuracy = None if report is None else accuracy_of(report)
        yield {
            "title": named(evaluation.dataset),
            "metrics": metrics_table(evaluation) if evaluation.metrics else None,
            "report": report,
            "accuracy": None if accuracy is None else shown(accuracy),
            "labelled": None if report is None else f"{report.texts().get('accuracy', 0)} of {len(report.full)}",
            "confidence": None if report is None else f"{report.full.mean():.3f}",
            "settings": None if report is None else settings_of(report),
            "faithfulness": None if report is None else faithfulness_table(method_rows(report)),
        }
