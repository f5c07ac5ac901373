"""What holds for every masking, over shapes, paddings, layouts of special tokens, pairs, protected words and k."""

import functools
import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sgt_hf import TextAdapter
from sgt_hf.masking.text import STRATEGIES
from sgt_hf.ranking import select_lowest
from tests.tiny import make_tokenizer

EXAMPLES = 40
# family -> what stands before a text, and after each of its parts
LAYOUTS = {"bert": ("[CLS]", "[SEP]"), "roberta": ("<s>", "</s>"), "gpt2": (None, None), "t5": (None, "</s>")}
CASES = [(family, masking) for family in LAYOUTS for masking in STRATEGIES]


@functools.cache
def adapter_of(family, padding_side):
    return TextAdapter(make_tokenizer(family, padding_side=padding_side))


def possible(family, masking):
    return masking in adapter_of(family, "right").maskings()


@st.composite
def parts_of(draw, adapter, *, paired):
    """One text, or two: words of one to three tokens, each with the numbers of its words; perhaps empty."""
    ordinary = [index for index in range(len(adapter.tokenizer)) if index not in adapter.special_ids]
    word = st.lists(st.sampled_from(ordinary), min_size=1, max_size=3)
    return [draw(st.lists(word, max_size=4)) for _ in range(2 if paired else 1)]


@st.composite
def batches(draw, family):
    """A batch as a collator makes it, written out token by token, and the rows it was made of."""
    adapter = adapter_of(family, draw(st.sampled_from(["right", "left"])))
    tokenizer, (opening, closing) = adapter.tokenizer, LAYOUTS[family]
    rows = []
    for _ in range(draw(st.integers(1, 4))):
        row = {"input_ids": [], "token_type_ids": [], "word_ids": [], "protected": []}

        def put(token, part, word=-1, protected=0, row=row):
            for name, value in zip(row, (token, part, word, protected), strict=True):
                row[name].append(value)

        if opening:
            put(tokenizer.convert_tokens_to_ids(opening), 0)
        number = 0
        for part, words in enumerate(draw(parts_of(adapter, paired=draw(st.booleans())))):
            for tokens in words:
                protected = draw(st.sampled_from([0, 0, 0, 1]))
                for token in tokens:
                    put(token, part, number, protected)
                number += 1
            if closing:
                put(tokenizer.convert_tokens_to_ids(closing), part)
        rows.append(row)
    return adapter, rows, padded(rows, adapter, draw(st.integers(0, 2)))


def padded(rows, adapter, more):
    """Pad by hand, by up to `more` beyond the longest."""
    width = max(1, *(len(row["input_ids"]) for row in rows)) + more
    fills = {"input_ids": adapter.tokenizer.pad_token_id, "token_type_ids": 0, "word_ids": -1, "protected": 1}
    left = adapter.tokenizer.padding_side == "left"
    columns = {name: [] for name in [*fills, "attention_mask"]}
    for row in rows:
        missing = width - len(row["input_ids"])
        for name, fill in (*fills.items(), ("attention_mask", 0)):
            values = row[name] if name in row else [1] * len(row["input_ids"])
            columns[name].append([fill] * missing + values if left else values + [fill] * missing)
    return {name: torch.tensor(values) for name, values in columns.items()}


scores = st.sampled_from([-1.0, 0.0, 0.5, math.nan, math.inf, -math.inf]) | st.floats(-1, 1, width=32)
fractions = st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 1.0]) | st.integers(0, 1000).map(lambda n: n / 1000)


def drawn_scores(data, shape):
    values = data.draw(st.lists(scores, min_size=math.prod(shape), max_size=math.prod(shape)))
    return torch.tensor(values).reshape(shape)


def may_drop(adapter, row):
    """One row's positions that may go, by the definition."""
    named = zip(row["input_ids"], row["word_ids"], row["protected"], strict=True)
    return [token not in adapter.special_ids and word >= 0 and not kept for token, word, kept in named]


def per_row(adapter, rows, column):
    """The columns without padding, row by row."""
    left = adapter.tokenizer.padding_side == "left"
    sizes = [len(row["input_ids"]) for row in rows]
    return [values[len(values) - n :] if left else values[:n] for values, n in zip(column.tolist(), sizes, strict=True)]


@pytest.mark.parametrize("family", LAYOUTS)
@settings(max_examples=EXAMPLES)
@given(data=st.data(), fraction=fractions)
def test_exactly_the_share_of_what_may_go_is_dropped_and_never_all(family, data, fraction):
    adapter, rows, batch = data.draw(batches(family))
    eligible = adapter.eligible(batch)
    drop = select_lowest(drawn_scores(data, eligible.shape), eligible, fraction)
    assert drop.sum() == sum(map(sum, per_row(adapter, rows, drop)))  # nothing on padding
    for row, dropped in zip(rows, per_row(adapter, rows, drop), strict=True):
        free = may_drop(adapter, row)
        assert all(there for there, gone in zip(free, dropped, strict=True) if gone)
        assert sum(dropped) == min(math.ceil(Fraction(str(fraction)) * sum(free)), max(sum(free) - 1, 0))


@pytest.mark.parametrize("family", LAYOUTS)
@settings(max_examples=EXAMPLES)
@given(data=st.data(), fraction=fractions)
def test_the_tokens_of_a_word_share_fate(family, data, fraction):
    adapter, rows, batch = data.draw(batches(family))
    eligible = adapter.eligible(batch)
    groups = adapter.groups(batch, "word")
    finite = drawn_scores(data, eligible.shape).nan_to_num(0.0, 1.0, -1.0)
    drop = select_lowest(finite, eligible, fraction, groups=groups)
    for row, dropped in zip(rows, per_row(adapter, rows, drop), strict=True):
        free, fates = may_drop(adapter, row), {}
        for word, there, gone in zip(row["word_ids"], free, dropped, strict=True):
            if there:
                fates.setdefault(word, set()).add(gone)
        assert all(len(fate) == 1 for fate in fates.values())
        gone = sum(fate == {True} for fate in fates.values())
        assert gone == min(math.ceil(Fraction(str(fraction)) * len(fates)), max(len(fates) - 1, 0))


def segments(adapter, row):
    """Part of the text that each position belongs to: parted by special tokens and where the type changes."""
    found, current, last = [], 0, None
    for token, kind in zip(row["input_ids"], row["token_type_ids"], strict=True):
        current += token in adapter.special_ids or kind != last
        last = kind
        found.append(current)
    return found


@pytest.mark.parametrize(("family", "masking"), [case for case in CASES if possible(*case) and case[1] != "delete"])
@settings(max_examples=EXAMPLES)
@given(data=st.data(), fraction=fractions)
def test_what_stands_where_tokens_were_dropped(family, masking, data, fraction):
    adapter, rows, batch = data.draw(batches(family))
    before = {name: column.clone() for name, column in batch.items()}
    eligible = adapter.eligible(batch)
    drop = select_lowest(drawn_scores(data, eligible.shape), eligible, fraction)
    masked = adapter.mask(batch, drop, masking)
    assert all(torch.equal(batch[name], before[name]) for name in batch)
    assert all(torch.equal(masked[name], batch[name]) for name in batch if name != "input_ids")
    assert torch.equal(masked["input_ids"][~drop], batch["input_ids"][~drop])
    new, gone = (per_row(adapter, rows, column) for column in (masked["input_ids"], drop))
    for row, ids, dropped in zip(rows, new, gone, strict=True):
        inside = segments(adapter, row)
        for position in (index for index, fate in enumerate(dropped) if fate):
            assert ids[position] in allowed(adapter, masking, row, inside, dropped, position)


def allowed(adapter, masking, row, inside, dropped, position):
    """The tokens that may take a dropped one's place."""
    if masking == "random":
        return set(range(len(adapter.tokenizer))) - adapter.special_ids
    if masking != "previous_salient":
        return {getattr(adapter.tokenizer, f"{masking}_token_id")}
    kept = {
        index: token
        for index, token in enumerate(row["input_ids"])
        if inside[index] == inside[position] and not dropped[index] and token not in adapter.special_ids
    }
    before = [index for index in kept if index < position]
    if not kept:
        return {row["input_ids"][position]}
    return {kept[max(before) if before else min(kept)]}


@pytest.mark.parametrize("family", LAYOUTS)
@settings(max_examples=EXAMPLES)
@given(data=st.data(), fraction=fractions)
def test_deletion_keeps_the_order_and_is_really_shorter(family, data, fraction):
    adapter, rows, batch = data.draw(batches(family))
    eligible = adapter.eligible(batch)
    drop = select_lowest(drawn_scores(data, eligible.shape), eligible, fraction)
    short = adapter.mask(batch, drop, "delete")
    stay = [
        {name: [v for v, out in zip(row[name], gone, strict=True) if not out] for name in row}
        for row, gone in zip(rows, per_row(adapter, rows, drop), strict=True)
    ]
    expected = padded(stay, adapter, 0)
    assert short["input_ids"].shape[1] == max(1, *(len(row["input_ids"]) for row in stay))
    for name in ("input_ids", "token_type_ids", "word_ids", "attention_mask"):
        assert torch.equal(short[name], expected[name]), name


@settings(max_examples=5)
@given(data=st.data())
def test_random_tokens_repeat_with_torch_s_seed_and_reach_the_whole_vocabulary(data):
    adapter, _, batch = data.draw(batches("bert"))
    drop = adapter.eligible(batch)
    draws = []
    for seed in (0, 0, *range(1, 150)):
        torch.manual_seed(seed)
        draws.append(adapter.mask(batch, drop, "random")["input_ids"])
    assert torch.equal(draws[0], draws[1])
    if drop.any():
        reached = set(torch.stack(draws)[:, drop].flatten().tolist())
        assert reached == set(range(len(adapter.tokenizer))) - adapter.special_ids
