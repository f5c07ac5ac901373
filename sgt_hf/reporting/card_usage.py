"""The lines of code that load what a card is about."""

from __future__ import annotations

from .card_facts import CardFacts, is_repo_id

_AUTO_CLASSES = {
    "text-classification": "AutoModelForSequenceClassification",
    "image-classification": "AutoModelForImageClassification",
}
PIPELINES = tuple(_AUTO_CLASSES)


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
    if facts.task in PIPELINES:
        lines = ["from transformers import pipeline", "", f'classifier = pipeline("{facts.task}", model="{name}")']
        return _registering(facts) + "\n".join(lines)
    if facts.module is None or facts.architecture is None:
        return f'from transformers import AutoModel\n\nmodel = AutoModel.from_pretrained("{name}")'
    lines = [f"from {facts.module} import {facts.architecture}", ""]
    return "\n".join([*lines, f'model = {facts.architecture}.from_pretrained("{name}")'])


def _registering(facts: CardFacts) -> str:
    """The line without which transformers does not know an architecture of ours."""
    ours = (facts.module or "").partition(".")[0] == "sgt_hf"
    return "import sgt_hf  # registers the architecture\n" if ours else ""


def _usage_of_adapter(facts: CardFacts, name: str) -> str:
    """A PEFT adapter goes onto its base, whose head has the classes that it was trained for."""
    auto = _AUTO_CLASSES.get(facts.task or "")
    kind = auto or facts.architecture or "AutoModel"
    module = facts.module if auto is None and facts.architecture and facts.module else "transformers"
    base = facts.adapter_of if is_repo_id(facts.adapter_of) else "path/to/the/base/model"
    classes = "" if facts.num_labels is None else f", num_labels={facts.num_labels}"
    return (
        f"{_registering(facts)}from peft import PeftModel\nfrom {module} import {kind}\n\n"
        f'base = {kind}.from_pretrained("{base}"{classes})\nmodel = PeftModel.from_pretrained(base, "{name}")'
    )


def _usage_of_plain_module(facts: CardFacts, name: str) -> str:
    """A torch module that is no `PreTrainedModel` is built by its own class and filled."""
    where = "your_code" if facts.module in (None, "__main__") else facts.module
    kind = facts.architecture or "YourModel"
    return (
        f"from safetensors.torch import load_file\nfrom {where} import {kind}\n\n"
        f"model = {kind}(...)  # as it was built for training\n"
        f'model.load_state_dict(load_file("{name}/model.safetensors"))'
    )
