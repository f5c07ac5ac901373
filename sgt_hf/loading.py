"""A classifier and its tokenizer by name, nothing of it run and no weight of it drawn at random."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.hub import cached_file

from . import models  # noqa: F401  registers our architectures with the Auto classes
from .reporting.recipe import RECIPE_FILE

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "*.model")
# Neither a pickle nor a repository's own code is loaded, and nobody is asked at a prompt whether it should be.
_SAFELY = {"use_safetensors": True, "trust_remote_code": False}
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
# What transformers calls the layer that has a row for each class.
_HEAD = re.compile(r"(classifier|score|classification_head)(\.out_proj)?\.weight")


def load(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a classifier and its tokenizer.

    Args:
        name: Folder, or name on the hub.

    Raises:
        ValueError: There is no such folder, no tokenizer or no safetensors in it, it is damaged, needs code of its own,
            is no classifier, or is an adapter without its base model or its head; says which.
    """
    folder = Path(name)
    if folder.is_dir():
        if not any(next(folder.glob(pattern), None) for pattern in _TOKENIZER_FILES):
            # AutoTokenizer would make one of five tokens up, and say nothing
            raise ValueError(f"{name} holds no tokenizer (none of {', '.join(_TOKENIZER_FILES)}): save it there too")
    elif folder.exists() or name.count("/") > 1 or name.startswith((".", "~")):
        raise ValueError(f"{name} is no folder")
    try:
        model, missing, mismatched = _load_adapter(name) if _is_adapter(name) else _load_whole(name)
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        reason = str(error).strip().partition("\n")[0]
        kind = "cannot be loaded as" if folder.is_dir() else "is no folder or hub name of"
        raise ValueError(f"{name} {kind} a classifier with its tokenizer: {reason}") from error
    if mismatched:
        raise ValueError(
            f"{name} cannot be loaded as a classifier with its tokenizer: weights and configuration are mismatched in "
            f"the sizes of {', '.join(sorted(mismatched))}"
        )
    if missing:
        raise ValueError(f"{name} is no classifier: it has no weights for {', '.join(sorted(missing))}")
    return model, tokenizer


def _load_whole(name: str, **classes: Any) -> tuple[PreTrainedModel, set[str], set[str]]:
    """A model, the names of weights that it lacks, and of those whose sizes do not fit."""
    # Sizes that do not fit are reported here: transformers points to a report that it would have to print.
    model, found = AutoModelForSequenceClassification.from_pretrained(
        name, output_loading_info=True, ignore_mismatched_sizes=True, **classes, **_SAFELY
    )
    return model, set(found["missing_keys"]), {key for key, *_ in found["mismatched_keys"]}


def _is_adapter(name: str) -> bool:
    """Whether there is an adapter of PEFT without a model of its own."""
    whole = any(cached_file(name, file, _raise_exceptions_for_missing_entries=False) for file in _WEIGHTS)
    return bool(_json(name, "adapter_config.json")) and not whole


def _load_adapter(name: str) -> tuple[PreTrainedModel, set[str], set[str]]:
    """The same of an adapter in its base model, which is made for as many classes as the adapter was trained for."""
    base = str(_json(name, "adapter_config.json").get("base_model_name_or_path"))
    with safe_open(cached_file(name, "adapter_model.safetensors"), "pt") as file:
        saved = {key.removeprefix("base_model.model."): file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118
    try:
        model, missing, mismatched = _load_whole(base, **_classes(name, saved))
    except OSError as error:
        if Path(base).is_dir():
            raise
        reason = f"it is an adapter, whose base model {base!r} is no folder here and was not found on the hub"
        raise ValueError(reason) from error
    if lacking := (missing | mismatched) - set(saved):
        raise ValueError(
            f"neither the adapter nor its base model {base!r} has fitting weights for {', '.join(sorted(lacking))}: "
            "name their modules in modules_to_save when you train, or save model.merge_and_unload() instead"
        )
    found = model.load_adapter(name, use_safetensors=True, ignore_mismatched_sizes=True)
    return model, found.missing_keys, {key for key, *_ in found.mismatched_keys}


def _classes(name: str, saved: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """What is known of an adapter's classes: as many names as its head that was saved has rows, or that number."""
    rows = {shape[0] for key, shape in saved.items() if _HEAD.fullmatch(key)}
    for file in ("config.json", RECIPE_FILE):
        names = _json(name, file).get("id2label")
        if isinstance(names, dict) and names and rows <= {len(names)}:
            return {"id2label": {int(index): label for index, label in names.items()}}
    return {"num_labels": rows.pop()} if len(rows) == 1 else {}


def _json(name: str, file: str) -> dict[str, Any]:
    """What a file of a folder or a repository says, nothing where there is none."""
    path = cached_file(name, file, _raise_exceptions_for_missing_entries=False)
    content = {} if path is None else json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds a {type(content).__name__} where an object was expected")
    return content
