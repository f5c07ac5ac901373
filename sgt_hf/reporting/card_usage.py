"""The lines of code that load what a card is about."""

from __future__ import annotations

from .card_facts import CardFacts, is_on_hub, is_repo_id
from .markdown import escape

_AUTO_CLASSES = {
    "text-classification": "AutoModelForSequenceClassification",
    "image-classification": "AutoModelForImageClassification",
}
PIPELINES = tuple(_AUTO_CLASSES)
REGISTERED = ("transformers", "sgt_hf")  # packages whose classes the Auto classes know
_NOT_IMPORTABLE = ("", "__main__", "transformers_modules")


def usage(facts: CardFacts) -> str:
    """Return lines that load the model; they run as they are, but for what is called path/to/… or your_code.

    Args:
        facts: Of the card.
    """
    name = facts.repo_id if is_repo_id(facts.repo_id) else "path/to/this/folder"
    if facts.adapter_of is not None:
        return _usage_of_adapter(facts, name)
    if facts.plain_module:
        return _usage_of_plain_module(facts, name)
    if facts.task in PIPELINES and _package(facts) in REGISTERED:
        lines = ["from transformers import pipeline", "", f'classifier = pipeline("{facts.task}", model="{name}")']
        return _registering(facts) + "\n".join(lines)
    module, kind, code = _class(facts)
    return f'from {module} import {kind}\n\nmodel = {kind}.from_pretrained("{name}"{code})'


def loading(facts: CardFacts) -> str:
    """Return what loading needs, in a sentence.

    Args:
        facts: Of the card.
    """
    if facts.auto_class is not None:
        return (
            "Loading runs code that is not in transformers, for which it needs `trust_remote_code`: read that code "
            "first. It needs no pickle."
        )
    known = facts.architecture is None or _package(facts) in REGISTERED
    code = "" if known else f" the code that defines {escape(facts.architecture)}, and"
    return f"Loading needs{code} neither `trust_remote_code` nor a pickle."


def _package(facts: CardFacts) -> str:
    """Where the class is from; transformers' own where the facts, as those written by hand, do not say."""
    return (facts.module or "transformers").partition(".")[0]


def _class(facts: CardFacts) -> tuple[str, str, str]:
    """Where the model's class comes from, its name, and the argument that lets its code run."""
    if facts.auto_class is not None:
        return "transformers", facts.auto_class, ", trust_remote_code=True"
    if facts.architecture is None:
        return "transformers", "AutoModel", ""
    return _module(facts), facts.architecture, ""


def _module(facts: CardFacts) -> str:
    return "your_code" if facts.module is None or _package(facts) in _NOT_IMPORTABLE else facts.module


def _registering(facts: CardFacts) -> str:
    """The line without which transformers does not know an architecture of ours."""
    return "import sgt_hf  # registers the architecture\n" if _package(facts) == "sgt_hf" else ""


def _usage_of_adapter(facts: CardFacts, name: str) -> str:
    """A PEFT adapter goes onto its base, whose head has the classes that it was trained for."""
    module, kind, code = _class(facts)
    if facts.task in PIPELINES and _package(facts) in REGISTERED:
        module, kind = "transformers", _AUTO_CLASSES[facts.task]
    base = facts.adapter_of if is_on_hub(facts.adapter_of) else "path/to/the/base/model"
    classes = "" if facts.num_labels is None else f", num_labels={facts.num_labels}"
    return (
        f"{_registering(facts)}from peft import PeftModel\nfrom {module} import {kind}\n\n"
        f'base = {kind}.from_pretrained("{base}"{classes}{code})\nmodel = PeftModel.from_pretrained(base, "{name}")'
    )


def _usage_of_plain_module(facts: CardFacts, name: str) -> str:
    """A torch module that is no `PreTrainedModel` is built by its own class and filled."""
    kind = facts.architecture or "YourModel"
    return (
        f"from safetensors.torch import load_file\nfrom {_module(facts)} import {kind}\n\n"
        f"model = {kind}(...)  # as it was built for training\n"
        f'model.load_state_dict(load_file("{name}/model.safetensors"))'
    )
