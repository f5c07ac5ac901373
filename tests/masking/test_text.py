import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sgt_hf.masking.text import constant_token, delete, pad_to, previous_salient, random_token
from tests import oracle

FILLS = {"input_ids": 0, "attention_mask": 0, "word_ids": -1}


def run_previous(ids, drop, segments, source, groups=None):
    ids, drop, segments, source = map(torch.tensor, ([ids], [drop], [segments], [source]))
    positions = torch.arange(ids.shape[1])[None] if groups is None else torch.tensor([groups])
    return previous_salient(ids, drop, segments=segments, source=source, groups=positions)[0].tolist()


def test_previous_salient_by_hand():
    #       CLS  a   b   c  SEP  d   e   f  SEP
    ids = [101, 10, 11, 12, 102, 20, 21, 22, 102]
    segments = [1, 1, 1, 1, 2, 2, 2, 2, 3]
    source = [False, True, True, True, False, True, True, True, False]
    drop = [False, True, False, True, False, True, True, False, False]
    # a takes the first kept of its own segment (b), c the previous (b); d and e never reach back across SEP, take f
    assert run_previous(ids, drop, segments, source) == [101, 11, 11, 11, 102, 22, 22, 22, 102]
    # nothing kept in the second segment: left alone rather than copied across
    drop = [False, False, False, True, False, True, True, True, False]
    assert run_previous(ids, drop, segments, source) == [101, 10, 11, 11, 102, 20, 21, 22, 102]


def test_a_word_copies_the_word_before_it_token_by_token():
    # words: (1 2 3) kept, (4 5) dropped, (6) kept, (7 8) dropped
    ids, groups = [1, 2, 3, 4, 5, 6, 7, 8], [0, 0, 0, 1, 1, 2, 3, 3]
    drop = [False, False, False, True, True, False, True, True]
    assert run_previous(ids, drop, [0] * 8, [True] * 8, groups) == [1, 2, 3, 1, 2, 6, 6, 6]


@st.composite
def texts(draw):
    """A row: tokens, specials that part segments, words of several tokens, drops of whole words."""
    size = draw(st.integers(1, 14))
    special = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    joined = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    groups, segments, drop = [], [], []
    for i in range(size):
        new = i == 0 or special[i] or special[i - 1] or not joined[i]
        groups.append(groups[-1] + 1 if new and i else (groups[-1] if i else 0))
        segments.append((segments[-1] if i else 0) + int(special[i]))
        drop.append(draw(st.booleans()) and not special[i] if new else drop[-1])
    return list(range(100, 100 + size)), drop, segments, [not s for s in special], groups


@given(texts())
def test_previous_salient_agrees_with_the_oracle(text):
    ids, drop, segments, source, groups = text
    assert run_previous(ids, drop, segments, source, groups) == oracle.previous_salient(
        ids, drop, segments, source, groups
    )


def test_constant_and_random_touch_dropped_tokens_only():
    ids, drop = torch.arange(2000).view(2, 1000), torch.rand(2, 1000) > 0.5
    constant = constant_token(ids, drop, token_id=7)
    assert torch.equal(constant, torch.where(drop, torch.tensor(7), ids))
    ordinary = torch.tensor([5001, 5002, 5003])
    first = random_token(ids, drop, ordinary=ordinary, generator=torch.Generator().manual_seed(0))
    again = random_token(ids, drop, ordinary=ordinary, generator=torch.Generator().manual_seed(0))
    assert torch.equal(first, again)
    assert torch.equal(first[~drop], ids[~drop])
    assert set(first[drop].tolist()) == {5001, 5002, 5003}


@pytest.mark.parametrize("pad_left", [False, True])
def test_delete_by_hand(pad_left):
    ids = torch.tensor([[1, 2, 3, 4], [0, 0, 5, 6]] if pad_left else [[1, 2, 3, 4], [5, 6, 0, 0]])
    columns = {"input_ids": ids, "attention_mask": (ids > 0).long(), "word_ids": torch.where(ids > 0, ids - 1, -1)}
    drop = torch.isin(ids, torch.tensor([2, 4, 5]))
    short = delete(columns, drop, real=ids > 0, fills=FILLS, pad_left=pad_left)
    assert short["input_ids"].tolist() == ([[1, 3], [0, 6]] if pad_left else [[1, 3], [6, 0]])
    assert short["attention_mask"].tolist() == ([[1, 1], [0, 1]] if pad_left else [[1, 1], [1, 0]])
    assert short["word_ids"].tolist() == ([[0, 2], [-1, 5]] if pad_left else [[0, 2], [5, -1]])
    wide = pad_to(short["input_ids"], 4, fill=0, pad_left=pad_left)
    assert wide.tolist() == ([[0, 0, 1, 3], [0, 0, 0, 6]] if pad_left else [[1, 3, 0, 0], [6, 0, 0, 0]])


@given(st.data(), st.booleans())
def test_delete_agrees_with_the_oracle(data, pad_left):
    length, rows = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 4))
    ids, real, drop = [], [], []
    for _ in range(rows):
        size = data.draw(st.integers(0, length))
        padding = [False] * (length - size)
        real.append(padding + [True] * size if pad_left else [True] * size + padding)
        ids.append(data.draw(st.lists(st.integers(1, 50), min_size=length, max_size=length)))
        drop.append(data.draw(st.lists(st.booleans(), min_size=length, max_size=length)))
    columns = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(real).long()}
    short = delete(columns, torch.tensor(drop), real=torch.tensor(real), fills=FILLS, pad_left=pad_left)
    expected = [oracle.delete(i, d, r) for i, d, r in zip(ids, drop, real, strict=True)]
    assert short["input_ids"].shape[1] == max(1, *map(len, expected))
    for row, kept in enumerate(expected):
        there = short["attention_mask"][row].bool()
        assert short["input_ids"][row][there].tolist() == kept
        assert (short["input_ids"][row][~there] == 0).all()
