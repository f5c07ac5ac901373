import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sgt_hf import TextAdapter
from sgt_hf.faithfulness.removal import Removal, distinct_rows, fill_batches, predict, removal_curves
from sgt_hf.faithfulness.units import Texts, number_units, pool_texts
from tests.tiny import make_model, make_tokenizer


def texts_of(model, tokenizer, *texts):
    batch = dict(tokenizer(list(texts), padding=True, return_tensors="pt"))
    with torch.no_grad():
        whole = model(**batch).logits.softmax(-1)
    return Texts(batch, number_units(TextAdapter(tokenizer).eligible(batch), None), whole)


def by_hand(model, tokenizer, words, dropped):
    left = " ".join(word for word, gone in zip(words.split(), dropped, strict=False) if not gone)
    with torch.no_grad():
        return model(**tokenizer(left, return_tensors="pt")).logits.softmax(-1)[0]


def test_units_on_paper():
    eligible = torch.tensor([[False, True, True, True, False, True]])
    assert number_units(eligible, None).tolist() == [[0, 1, 2, 3, 0, 4]]
    groups = torch.tensor([[0, 1, 1, 2, 3, 2]])  # the third word goes on behind a protected token
    assert number_units(eligible, groups).tolist() == [[0, 1, 1, 2, 0, 2]]


@pytest.mark.parametrize("padding_side", ["right", "left"])
def test_units_stay_with_their_texts_when_batches_of_other_widths_are_pooled(padding_side):
    tokenizer = make_tokenizer("llama", padding_side=padding_side)
    model = make_model("llama", initializer_range=0.5).eval()
    texts = ["good film not dull", "bad", "the great actor a film"]
    parts = [texts_of(model, tokenizer, *texts[:2]), texts_of(model, tokenizer, texts[2])]
    pool = pool_texts(TextAdapter(tokenizer), parts)
    assert pool.counts.tolist() == [4, 1, 5]
    dropped = torch.tensor([[1, 0, 1, 0, 0], [0, 1, 1, 0, 1]], dtype=torch.bool)
    removal = Removal(model, TextAdapter(tokenizer), "delete", "token", 1000)
    found = predict(removal, pool, torch.tensor([0, 2]), dropped)
    assert found[0].tolist() == pytest.approx(by_hand(model, tokenizer, texts[0], dropped[0]).tolist(), abs=1e-6)
    assert found[1].tolist() == pytest.approx(by_hand(model, tokenizer, texts[2], dropped[1]).tolist(), abs=1e-6)


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=60),
    st.integers(1, 200),
    st.integers(0, 50),
)
def test_batches_cover_everything_within_their_bounds(sizes, budget, overhead):
    sizes = sorted(sizes, reverse=True)
    widths = [size + index % 7 for index, size in enumerate(sizes)]
    parts = list(fill_batches(sizes, widths, budget=budget, overhead=overhead))
    assert list(itertools.chain.from_iterable(range(len(sizes))[part] for part in parts)) == list(range(len(sizes)))
    for part in parts:
        inside = sizes[part]
        if len(inside) > 1:
            assert len(inside) * inside[0] <= budget
            assert len(inside) * max(widths[part]) <= 16 * budget
            assert sum(inside[0] - size for size in inside) <= overhead


def test_batches_on_paper():
    cut = list(fill_batches([9, 9, 8, 3, 3, 3], [9] * 6, budget=27, overhead=2))
    assert cut == [
        slice(0, 3),
        slice(3, 6),
    ]  # the first is full; a 3 beside an 8 would cost more padding than a forward
    assert list(fill_batches([], [], budget=1, overhead=0)) == []
    assert list(fill_batches([50], [50], budget=1, overhead=0)) == [slice(0, 1)]


@given(st.lists(st.lists(st.integers(0, 2), min_size=3, max_size=3), min_size=1, max_size=30))
def test_distinct_rows_are_those_of_torch(rows):
    matrix = torch.tensor(rows, dtype=torch.int16)
    first, inverse = distinct_rows(matrix.numpy())
    assert (matrix[first][inverse] == matrix).all()
    assert len(first) == len(matrix.unique(dim=0))
    assert all(first[place] <= index for index, place in enumerate(inverse))


class Counting(torch.nn.Module):
    """Passes calls on and keeps their shapes."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.shapes = []

    def forward(self, input_ids, attention_mask, token_type_ids=None):
        self.shapes.append(tuple(input_ids.shape))
        return self.model(input_ids=input_ids, attention_mask=attention_mask)


def test_the_same_text_is_run_once_and_the_whole_one_never():
    tokenizer, model = make_tokenizer("bert"), Counting(make_model("bert", initializer_range=0.5).eval())
    texts = texts_of(model, tokenizer, "good film", "bad plot")
    model.shapes.clear()
    scores = torch.tensor([[[2.0, 1.0], [5.0, 3.0]], [[1.0, 2.0], [2.0, 1.0]]])
    curves = removal_curves(
        Removal(model, TextAdapter(tokenizer), "delete", "token", 1000), texts, scores, (0.1, 0.5, 1.0)
    )
    # of four rankings, two bins and two texts there are one word of either, good, film, bad, plot; and nothing
    assert model.shapes == [(5, 3)]
    assert curves.kept[:, :, 2].tolist() == texts.whole[:, None].expand(2, 2, 2).tolist()
    assert curves.removed[:, :, 2].tolist() == curves.empty[:, None].expand(2, 2, 2).tolist()
    assert torch.equal(curves.removed[:, :, 0], curves.removed[:, :, 1])
    assert torch.equal(curves.removed[0, 0, 0], curves.removed[0, 1, 0])


@pytest.mark.parametrize("operator", ["unk", "mask"])
def test_a_replaced_word_keeps_its_place(operator):
    tokenizer, model = make_tokenizer("bert"), make_model("bert", initializer_range=0.5).eval()
    texts = texts_of(model, tokenizer, "good film not dull", "bad plot")
    removal = Removal(model, TextAdapter(tokenizer), operator, "token", 12)
    dropped = torch.tensor([[0, 1, 0, 0], [1, 1, 0, 0]], dtype=torch.bool)
    found = predict(removal, texts, torch.tensor([0, 1]), dropped)
    filler = {"unk": "[UNK]", "mask": "[MASK]"}[operator]
    for row, words in enumerate([f"good {filler} not dull", f"{filler} {filler}"]):
        expected = by_hand(model, tokenizer, words, [False] * 4)
        assert found[row].tolist() == pytest.approx(expected.tolist(), abs=1e-6)
