"""Model + tokenizer + raw texts → which words the prediction hangs on, to be printed, written as HTML or as JSON."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, NamedTuple

from rich.console import Console, Group
from torch import nn
from transformers import PreTrainedTokenizerBase

from .attribution import AttributionSettings
from .data.raw_texts import RawText, encode_raw
from .faithfulness.explaining import Explained
from .faithfulness.rows import position_limit
from .faithfulness.word_scores import explain_all, make_explainer
from .reporting.contents import TextEntry, View
from .reporting.terminal import highlighted

Parts = tuple[str, ...]


class Word(NamedTuple):
    """A word and its score: characters `start` to `end` (exclusive) of the text's part 0 or, of a pair, 1."""

    text: str
    score: float
    part: int
    start: int
    end: int


@dataclass(frozen=True)
class Explanation:
    """What `explain` finds out about one text; `rich.print` highlights it.

    Attributes:
        text: Its one part, or the two of a pair.
        words: Those that were scored, in order: no special tokens, and none that was cut off.
        predicted: Name of the likeliest class.
        probability: Of that class, in [0, 1].
        target: Name of the class that the scores explain.
        target_probability: Of that class.
        method: Of the scores.
        reduction: From a token's attribution to its score; a word's is the sum over its tokens.
        truncated_words: How many words more the text has than the model takes in; they have no score.
    """

    text: Parts
    words: tuple[Word, ...]
    predicted: str
    probability: float
    target: str
    target_probability: float
    method: str
    reduction: str
    truncated_words: int

    def to_dict(self) -> dict[str, Any]:
        """Return everything, ready for JSON."""
        kept = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in ("text", "words")}
        return {"text": list(self.text), **kept, "words": [word._asdict() for word in self.words]}

    def to_entry(self, title: str) -> TextEntry:
        """Return the text as reports show it; see `sgt_hf.reporting.html.write_report`.

        Args:
            title: Identifies the text there.
        """
        notes = []
        if self.target != self.predicted:
            notes.append(f"the scores explain {self.target}, of probability {self.target_probability:.3f}")
        if self.truncated_words:
            notes.append(f"{self.truncated_words} words more than the model takes in were cut off, and have no score")
        view = View(self.method, [word.score for word in self.words], self.predicted, self.probability)
        return TextEntry(title, [word.text for word in self.words], [view], gaps=self._gaps(), notes=notes)

    def __rich__(self) -> Group:
        """Highlight for rich."""
        return highlighted(self.to_entry(""))

    def __str__(self) -> str:
        """The same without any style."""
        console = Console(file=io.StringIO(), no_color=True, color_system=None, width=100)
        with console.capture() as captured:
            console.print(self, soft_wrap=True)
        return captured.get().rstrip("\n")

    def _gaps(self) -> list[str]:
        """What stands between the words; the parts of a pair two line ends apart."""
        gaps, part, at = [], 0, 0
        for word in self.words:
            gap = ""
            while part < word.part:
                gap, part, at = gap + self.text[part][at:] + "\n\n", part + 1, 0
            gaps.append(gap + self.text[part][at : word.start])
            at = word.end
        last = "\n\n".join([self.text[part][at:], *self.text[part + 1 :]])
        return [*gaps, last]


def explain(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    texts: str | Sequence[str | tuple[str, str]],
    *,
    method: str = "gradient",
    target: str | int = "predicted",
    reduction: str = "auto",
    settings: AttributionSettings | None = None,
    batch_size: int = 16,
) -> list[Explanation]:
    """Score the words of texts by how much a model's prediction hangs on them.

    The same adapter and attribution as in `evaluate_faithfulness`, on the texts as they stand.

    Args:
        model: A classifier with softmax output; its modes and gradients are left as they were.
        tokenizer: Its own, a fast one.
        texts: N texts, or pairs of texts; a string by itself is one.
        method: A name of `sgt_hf.attribution.ATTRIBUTIONS`.
        target: Which class to explain: `predicted`, or a class by name or number.
        reduction: How an attribution becomes a token's score, see `SaliencyGuidedArguments.sgt_reduction`.
        settings: Of the methods and of the seed.
        batch_size: Texts that are attributed at once, at most.

    Returns:
        N explanations, in order.

    Warns:
        UserWarning: Texts are longer than the model can take in, and were cut; says how many.

    Raises:
        ValueError: There is no text, one is blank or no valid Unicode, an unknown method, reduction or class, a slow
            tokenizer or one without the padding token that several texts need, or no model of one class among several.
    """
    listed = [texts] if isinstance(texts, str) else texts
    parts = [tuple(text) if isinstance(text, tuple | list) else (text,) for text in listed]
    names = _label_names(model)
    _check(parts, tokenizer)
    wanted = None if target == "predicted" else [_class_of(target, names)] * len(parts)
    limit = min(tokenizer.model_max_length, position_limit(model) or tokenizer.model_max_length)
    raw = encode_raw(parts, tokenizer, max_length=limit)
    _warn_of_truncation(raw, limit)
    rows = [one.row for one in raw]
    explainer = make_explainer(
        model, rows, tokenizer, methods=[method], reduction=reduction, granularity="word", settings=settings
    )
    found: dict[int, Explanation] = {}
    for batch in explain_all(explainer, rows, batch_size=batch_size, targets=wanted):
        for b, n in enumerate(batch.index):
            how = method, reduction
            found[n] = _explanation(parts[n], raw[n], batch, b, names, how, predicted_only=wanted is None)
    return [found[n] for n in range(len(parts))]


def _explanation(
    parts: Parts,
    raw: RawText,
    batch: Explained,
    b: int,
    names: list[str],
    how: tuple[str, str],
    *,
    predicted_only: bool,
) -> Explanation:
    scores, places = batch.scores[b][0].cpu().numpy(), (batch.words or [])[b]
    words = []
    for place, score in zip(places.tolist(), scores.tolist(), strict=True):
        part, start, end = raw.words[place]
        words.append(Word(parts[part][start:end], score, part, start, end))
    whole, target = batch.texts.whole[b], int(batch.targets[b])
    # By logits where the prediction was explained: of near ties, probabilities may not tell the likelier class.
    predicted = target if predicted_only else int(whole.argmax())
    return Explanation(
        text=parts,
        words=tuple(words),
        predicted=names[predicted],
        probability=float(whole[predicted]),
        target=names[target],
        target_probability=float(whole[target]),
        method=how[0],
        reduction=how[1],
        truncated_words=raw.truncated,
    )


def _label_names(model: nn.Module) -> list[str]:
    """The model's names of its classes; refuses a model that does not choose one of several."""
    config = getattr(model, "config", None)
    if config is None:
        raise ValueError(
            f"{type(model).__name__} has no config, by which a model names its classes: give it one, as in "
            "model.config = transformers.PretrainedConfig(id2label={0: 'no', 1: 'yes'})"
        )
    names = getattr(config, "id2label", None) or {}
    if len(names) < 2:
        raise ValueError(
            f"{type(model).__name__} is no classifier into one of several classes (classes {list(names.values())}), so "
            "there is no prediction to explain"
        )
    return [str(names[index]) for index in sorted(names)]


def _class_of(target: str | int, names: list[str]) -> int:
    if isinstance(target, str) and target in names:
        return names.index(target)
    if isinstance(target, str) and target.isdecimal():  # and no name
        target = int(target)
    if isinstance(target, Integral) and not isinstance(target, bool) and 0 <= target < len(names):
        return int(target)
    raise ValueError(f"unknown class {target!r}: use 'predicted', a number below {len(names)}, or one of {names}")


def _check(texts: Sequence[Parts], tokenizer: PreTrainedTokenizerBase) -> None:
    if not texts:
        raise ValueError("there is no text to explain")
    if len(texts) > 1 and tokenizer.pad_token is None:
        raise ValueError(
            f"{type(tokenizer).__name__} has no padding token, which several texts need: set one, "
            "tokenizer.pad_token = tokenizer.eos_token and model.config.pad_token_id, or explain one text at a time"
        )
    for n, parts in enumerate(texts):
        if len(parts) not in (1, 2) or not all(isinstance(part, str) and part.strip() for part in parts):
            raise ValueError(f"text {n} is blank, or neither a text nor a pair of texts: {parts!r:.80}")
        if any("\ud800" <= character <= "\udfff" for part in parts for character in part):
            raise ValueError(f"text {n} is no valid Unicode (it holds a surrogate): read it as UTF-8")


def _warn_of_truncation(raw: Sequence[RawText], limit: int) -> None:
    cut = [one.truncated for one in raw if one.truncated]
    if cut:
        warnings.warn(
            f"{len(cut)} of {len(raw)} texts are longer than the {limit} tokens that the model takes in: "
            f"{sum(cut)} words in all were cut off",
            stacklevel=3,
        )
