"""The bundled demo corpus: film reviews from a small grammar, whose true rationales are known.

A review's label is the majority of the verdicts that its writer gives on the film, one or three of them; nothing else
in it has a say. The rest is there to mislead: verdicts of other people in quotation marks, verdicts on the popcorn or
the seats, hopes, and plain telling. Verdicts are negated, over some distance too, and the rarer words for them are seen
a few times only, so a plain model comes near to a perfect score without reaching it.
"""

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

# Raise it with every change that alters the files written for a seed, so that caches of them are not mixed up.
PLANTED_VERSION = 1

SIZES = {"train": 1000, "val": 150, "test": 200}

# Reviews have at least this many words; a last sentence may carry one past the upper bound.
WORDS = (25, 70)

# In square brackets: the words that are the rationale. {same} has the verdict's polarity, {opposite} the other one.
# The numbers are relative frequencies.
VERDICTS = {
    "the {aspect} was [{same}] .": 3,
    "the {aspect} was [{degree} {same}] .": 4,
    "i found the {aspect} [{degree} {same}] .": 3,
    "what a [{same}] {aspect} this film has .": 2,
    "the {aspect} was [{not} {opposite}] .": 3,
    "i would [{never} call the {aspect} {opposite}] .": 2,
    "there is [nothing {opposite}] about the {aspect} .": 2,
    "{when} the {aspect} [{idiom}] .": 3,
}

DISTRACTORS = {
    'my {person} called it " {any} " .': 3,
    'the {source} says " {degree} {any} " , but people say a lot .': 3,
    'according to the {source} , the {aspect} was " {any} " .': 2,
    "the {elsewhere} was {degree} {any} .": 1,
    "the {elsewhere} was {any} , as usual .": 1,
    "my {person} had hoped for something {any} .": 2,
    "the {director} 's last film was {not} {any} .": 1,
}

FILLERS = {
    "the story follows a {job} from {place} who inherits a {thing} .": 2,
    "{when} the {job} meets a {job} at the {spot} .": 3,
    "they travel to {place} by {transport} and look for the {thing} .": 3,
    "we watched it on a {day} with my {person} .": 2,
    "it was shot in {place} during the {season} .": 2,
    "the film runs for {number} minutes and has {number} chapters .": 2,
    "a {colour} {thing} stands in the {spot} for most of it .": 3,
    "{when} somebody leaves the {thing} at the {spot} .": 3,
    "the {director} wrote it in {place} with a former {job} .": 2,
    "the {job} keeps a {colour} {thing} in the {spot} .": 3,
    "in {place} , the {season} is over and the {spot} is closed .": 2,
}

# Words for a verdict, the common ones first: the n-th is chosen in proportion to 1/n.
POLAR = {
    "POS": (
        "good great wonderful brilliant superb delightful gripping charming moving clever fresh funny masterful "
        "touching dazzling elegant witty tender radiant inventive graceful luminous exquisite"
    ).split(),
    "NEG": (
        "bad boring awful terrible dull clumsy dreadful tedious lifeless stale silly bland shallow messy "
        "forced wooden hollow sloppy tiresome grating lazy muddled insipid leaden"
    ).split(),
}

IDIOMS = {
    "POS": (
        "won me over",
        "kept me on the edge of my seat",
        "stayed with me for days",
        "took my breath away",
        "had me smiling from ear to ear",
        "hit every right note",
    ),
    "NEG": (
        "lost me",
        "put me to sleep",
        "fell flat on its face",
        "made me check my watch",
        "had me rolling my eyes",
        "went nowhere at all",
    ),
}

SLOTS = {
    "aspect": "plot acting script music ending dialogue pacing camera cast humour editing story film".split(),
    "degree": "truly very quite really utterly rather deeply simply".split(),
    "not": ["not", "never", "hardly", "far from", "anything but", "not at all", "by no means"],
    "never": ["not", "never", "hardly"],
    "when": ["halfway through ,", "in the end ,", "after an hour ,", "at first ,", "later ,", "for a while ,"],
    "elsewhere": "popcorn coffee parking seating trailer weather traffic foyer lemonade".split(),
    "person": "neighbour brother sister aunt dentist colleague cousin landlord boss teacher".split(),
    "source": "poster newspaper website leaflet radio advertisement magazine".split(),
    "director": "director producer writer composer".split(),
    "job": (
        "baker sailor lawyer farmer pilot nurse painter clerk tailor guard miner waiter judge porter sculptor "
        "chemist gardener librarian plumber drummer"
    ).split(),
    "place": (
        "lisbon oslo cairo boston kyoto vienna dublin lima prague naples tunis quebec bergen malta turin "
        "seville geneva hanoi"
    ).split(),
    "thing": (
        "lighthouse letter violin suitcase clock boat map painting piano lantern mirror bicycle ring diary "
        "typewriter umbrella telescope carpet ladder trunk"
    ).split(),
    "spot": "harbour station attic market library garden museum cellar bridge hotel kitchen courtyard chapel".split(),
    "transport": "train ferry bus tram lorry plane sledge".split(),
    "day": "monday tuesday wednesday thursday friday saturday sunday".split(),
    "season": "spring summer autumn winter".split(),
    "number": "ninety eighty seventy six seven eight nine ten eleven twelve".split(),
    "colour": "red green blue yellow grey brown white black purple".split(),
}


class Sentence(NamedTuple):
    """Words, and where in them the rationale is, end exclusive; None for a sentence that has no say."""

    words: list[str]
    span: tuple[int, int] | None


def write_planted(folder: str | Path, *, seed: int = 0, sizes: Mapping[str, int] = SIZES) -> Path:
    """Write the corpus in ERASER's released layout.

    Args:
        folder: Made if need be; files of an earlier run are overwritten.
        seed: The same seed and sizes give the same files, byte for byte.
        sizes: Reviews per split, by the name of its file.

    Returns:
        The folder, with `{split}.jsonl` and `docs/ID`, one sentence a line.

    Raises:
        ValueError: A size is negative.
    """
    if min(sizes.values(), default=0) < 0:
        raise ValueError(f"sizes={dict(sizes)} holds a negative number of reviews")
    folder = Path(folder)
    (folder / "docs").mkdir(parents=True, exist_ok=True)
    for split, size in sizes.items():
        # A generator per split: its reviews do not depend on the sizes of the others.
        source = random.Random(f"planted {seed} {split}")
        rows = []
        for index in range(size):
            label = ("NEG", "POS")[index % 2]
            docid = f"{split}_{index:05d}"
            sentences = write_review(source, label)
            text = "\n".join(" ".join(sentence.words) for sentence in sentences)
            (folder / "docs" / docid).write_text(text, encoding="utf-8", newline="\n")
            rows.append(json.dumps(_row(docid, label, sentences)))
        (folder / f"{split}.jsonl").write_text("".join(row + "\n" for row in rows), encoding="utf-8", newline="\n")
    return folder


def write_review(source: random.Random, label: str) -> list[Sentence]:
    """Write one review.

    Args:
        source: Where every choice comes from.
        label: `POS` or `NEG`.

    Returns:
        The sentences in order; those with a span are the verdicts that agree with the label.
    """
    other = "NEG" if label == "POS" else "POS"
    # One against two is what nets learn last; more of it and the demo's few epochs no longer reach 90 %.
    polarities = source.choices([[label], [label] * 3, [label, label, other]], weights=[6, 11, 3])[0]
    sentences = [_verdict(source, polarity, counts=polarity == label) for polarity in polarities]
    length = source.randint(*WORDS)
    while sum(len(sentence.words) for sentence in sentences) < length:
        templates = DISTRACTORS if source.random() < 0.25 else FILLERS
        sentences.append(_fill(source, _weighted(source, templates), source.choice(["POS", "NEG"])))
    source.shuffle(sentences)
    return sentences


def _verdict(source: random.Random, polarity: str, *, counts: bool) -> Sentence:
    """Write a verdict; one that is outvoted is no rationale of the label."""
    sentence = _fill(source, _weighted(source, VERDICTS), polarity)
    return sentence if counts else sentence._replace(span=None)


def _fill(source: random.Random, template: str, polarity: str) -> Sentence:
    """Fill the slots of a template and note where its brackets were."""
    words: list[str] = []
    edges: list[int] = []
    for piece in template.replace("[", "[ ").replace("]", " ]").split():
        if piece in ("[", "]"):
            edges.append(len(words))
        elif piece.startswith("{"):
            words += _choose(source, piece.strip("{}"), polarity).split()
        else:
            words.append(piece)
    return Sentence(words, (edges[0], edges[1]) if edges else None)


def _choose(source: random.Random, slot: str, polarity: str) -> str:
    """Choose what goes into a slot."""
    if slot == "idiom":
        return source.choice(IDIOMS[polarity])
    if slot in ("same", "opposite", "any"):
        words = POLAR[polarity if slot != "opposite" else {"POS": "NEG", "NEG": "POS"}[polarity]]
        return source.choices(words, weights=[1 / rank for rank in range(1, len(words) + 1)])[0]
    return source.choice(SLOTS[slot])


def _weighted(source: random.Random, templates: Mapping[str, int]) -> str:
    """Choose a template in proportion to its weight."""
    return source.choices(list(templates), weights=list(templates.values()))[0]


def _row(docid: str, label: str, sentences: Sequence[Sentence]) -> dict[str, Any]:
    """Make the review's line of the split's file."""
    groups = []
    start = 0
    for number, sentence in enumerate(sentences):
        if sentence.span is not None:
            first, last = sentence.span
            evidence = {
                "docid": docid,
                "start_token": start + first,
                "end_token": start + last,
                "start_sentence": number,
                "end_sentence": number + 1,
                "text": " ".join(sentence.words[first:last]),
            }
            groups.append([evidence])
        start += len(sentence.words)
    return {
        "annotation_id": docid,
        "classification": label,
        "docids": [docid],
        "evidences": groups,
        "query": "What is the sentiment of this review?",
        "query_type": None,
    }
