"""How a model was trained, in a JSON file beside its weights: knobs, adapter, versions. Nothing in it is executed."""

from __future__ import annotations

import importlib.metadata
import inspect
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from transformers import PreTrainedTokenizerBase
from transformers.utils.hub import cached_file

from .. import adapters
from ..adapters import Adapter
from ..training_args import SaliencyGuidedArguments, name_of

RECIPE_FILE = "saliency_guided.json"
CONFIG_KEY = "saliency_guided"  # the same in config.json, for what `model.push_to_hub` pushes
_GIVEN = ("tokenizer", "processor")  # what the user loads, and gives an adapter again
# Of what a card shows: a file may come from anywhere.
_TYPES: dict[str, type] = {
    "knobs": dict,
    "masking": str,
    "adapter": str,
    "adapter_arguments": dict,
    "steps": int,
    "hyperparameters": dict,
    "command": str,
    "versions": dict,
    "id2label": dict,
}
_PACKAGES = ("sgt_hf", "torch", "transformers", "datasets", "captum", "numpy")


@dataclass(frozen=True)
class Recipe:
    """What is known of a training. All of it is JSON-able, and None is what was not recorded.

    Attributes:
        knobs: The `sgt_…` settings by name; a callable as its name.
        masking: What `sgt_masking` came to, where it was `auto`.
        adapter: Name of the adapter's class.
        adapter_arguments: What it was built with, beside the tokenizer.
        adapter_not_recorded: Arguments that JSON cannot hold.
        callables: Knobs that were functions of the user's own.
        steps: Optimizer steps behind the weights; fewer than were done where the best checkpoint was loaded at the end.
        hyperparameters: Of the training.
        command: That started it.
        versions: Of Python and of the packages that decide a number.
        id2label: The classes' names by their indices, which an adapter of PEFT is saved without.
        earlier: Of the training that the weights had behind them when this one began, where that was recorded.
    """

    knobs: Mapping[str, Any]
    masking: str | None = None
    adapter: str | None = None
    adapter_arguments: Mapping[str, Any] | None = None
    adapter_not_recorded: tuple[str, ...] = ()
    callables: tuple[str, ...] = ()
    steps: int | None = None
    hyperparameters: Mapping[str, Any] | None = None
    command: str | None = None
    versions: Mapping[str, str] | None = None
    id2label: Mapping[str, str] | None = None
    earlier: Recipe | None = None

    @property
    def masks(self) -> bool:
        """Whether weights met masked inputs in this training, as far as is known."""
        return 0 not in (self.steps, self.knobs.get("sgt_kl_weight"), self.knobs.get("sgt_mask_fraction"))

    def maskings(self) -> list[str]:
        """Return what masked in this training and in those before it, the last one first."""
        own = [self.masking or str(self.knobs.get("sgt_masking"))] if self.masks else []
        return own if self.earlier is None else own + self.earlier.maskings()

    def arguments(self) -> SaliencyGuidedArguments:
        """Return the knobs, checked as those of a new training are.

        Raises:
            ValueError: One was a function, is not known to this version, or is out of its range.
        """
        known = {field.name for field in fields(SaliencyGuidedArguments)}
        if unknown := sorted(set(self.knobs) - known):
            raise ValueError(f"this version of sgt_hf knows no {unknown}: the model was saved by {self.versions}")
        if self.callables:
            raise ValueError(
                f"{list(self.callables)} were functions, {[self.knobs[name] for name in self.callables]}, which are "
                "not kept: take the other values from `knobs` and pass the functions yourself"
            )
        return SaliencyGuidedArguments(**self.knobs)

    def build_adapter(self, tokenizer: PreTrainedTokenizerBase | None = None) -> Adapter:
        """Build the adapter that the model was trained with.

        Args:
            tokenizer: Of the model, for a text adapter.

        Raises:
            ValueError: The adapter was not recorded, is not one of `sgt_hf.adapters`, takes other arguments by now, or
            took what JSON cannot hold.
        """
        kind = getattr(adapters, self.adapter, None) if self.adapter in adapters.__all__ else None
        if not (isinstance(kind, type) and issubclass(kind, Adapter)) or inspect.isabstract(kind):
            raise ValueError(f"the adapter {self.adapter!r} is not one of sgt_hf.adapters: build it yourself")
        if self.adapter_not_recorded:
            raise ValueError(f"{self.adapter} took {list(self.adapter_not_recorded)}, not recorded: build it yourself")
        given: dict[str, Any] = dict(self.adapter_arguments or {})
        parameters = _parameters(kind)
        if unknown := sorted(set(given) - set(parameters)):
            raise ValueError(f"{self.adapter} of this version takes no {unknown}: build it yourself")
        if "tokenizer" in parameters:
            given["tokenizer"] = tokenizer
        return kind(**given)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self), allow_nan=False))
        return values

    def to_json(self) -> str:
        """Return the text of the file."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def make_recipe(knobs: SaliencyGuidedArguments, adapter: Adapter, **known: Any) -> Recipe:
    """Record knobs, adapter and versions.

    Args:
        knobs: The settings; of training arguments, only the `sgt_…` ones.
        adapter: That the model was trained with.
        **known: Further attributes of `Recipe`.
    """
    values = {field.name: getattr(knobs, field.name) for field in fields(SaliencyGuidedArguments)}
    callables = tuple(name for name, value in values.items() if callable(value))
    values |= {name: name_of(values[name]) for name in callables}
    arguments, not_recorded = _arguments(adapter)
    return Recipe(
        knobs=values,
        adapter=type(adapter).__name__,
        adapter_arguments=arguments,
        adapter_not_recorded=not_recorded,
        callables=callables,
        versions=versions(),
        **known,
    )


def load_recipe(
    source: str | os.PathLike[str], *, revision: str | None = None, token: str | bool | None = None
) -> Recipe:
    """Read how a model was trained from its folder or its repository on the hub.

    Args:
        source: Folder, or `user/name`.
        revision: Of the repository.
        token: To read it.

    Returns:
        What `saliency_guided.json` says, or else `config.json`.

    Raises:
        ValueError: Neither says anything, or what it says is no recipe.
        OSError: The repository cannot be reached.
    """
    where = {"revision": revision, "token": token, "_raise_exceptions_for_missing_entries": False}
    if path := cached_file(os.fspath(source), RECIPE_FILE, **where):
        return parse_recipe(path, _read(path))
    if (path := cached_file(os.fspath(source), "config.json", **where)) and CONFIG_KEY in (config := _read(path)):
        return parse_recipe(path, config[CONFIG_KEY])
    raise ValueError(
        f"{os.fspath(source)!r} has no {RECIPE_FILE} and no {CONFIG_KEY!r} in its config.json: it was not saved by "
        "SaliencyGuidedTrainer"
    )


def parse_recipe(path: str, content: Any) -> Recipe:
    """Read a recipe from what JSON holds.

    Args:
        path: Where it was found, for the error.
        content: Any.

    Raises:
        ValueError: It is no recipe.
    """
    known = {field.name for field in fields(Recipe)}
    if not isinstance(content, dict) or not set(content) <= known or not _typed(content):
        raise ValueError(
            f"{path} holds no recipe of this version of sgt_hf: expected 'knobs' and some of {sorted(known)}"
        )
    tuples = {name: tuple(content.get(name) or ()) for name in ("adapter_not_recorded", "callables")}
    earlier = content.get("earlier")
    return Recipe(**content | tuples | {"earlier": None if earlier is None else parse_recipe(path, earlier)})


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide a number."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in _PACKAGES}


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__} where an object was expected")
    return content


def _typed(content: Mapping[str, Any]) -> bool:
    given = {name: value for name, value in content.items() if value is not None and name in _TYPES}
    return "knobs" in given and all(isinstance(value, _TYPES[name]) for name, value in given.items())


def _arguments(adapter: Adapter) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What the adapter was built with, found under the same names on it, and the names of what JSON cannot hold.

    Of an image processor `black` is all that an adapter keeps.
    """
    values = {name: getattr(adapter, name, Ellipsis) for name in _parameters(type(adapter)) if name not in _GIVEN}
    kept = {name: value for name, value in values.items() if _jsonable(value)}
    return json.loads(json.dumps(kept)), tuple(name for name in values if name not in kept)


def _jsonable(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def _parameters(kind: type[Adapter]) -> list[str]:
    """Names of what a class is built with, those that it hands on to its base included."""
    names: list[str] = []
    for base in kind.__mro__:
        if "__init__" not in vars(base) or base is object:
            continue
        parameters = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
        names += [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            break
    return list(dict.fromkeys(names))
