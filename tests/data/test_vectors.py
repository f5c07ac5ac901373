"""Tests of reading word vectors and of laying them out for a tokenizer."""

import re
from types import SimpleNamespace

import pytest
import torch

from sgt_hf.data.vectors import WordVectors, embedding_matrix, load_word_vectors, token_coverage
from sgt_hf.data.vocabulary import build_word_tokenizer

MATRIX = torch.tensor([[1.0, 2.0], [-0.5, 0.25], [3.0, 4.0]])
WORDS = ["film", "fine", ". . ."]
TEXT = "film 1 2\nfine -0.5 0.25\n. . . 3 4e0\n"


def same(vectors, words=WORDS, matrix=MATRIX):
    assert vectors.words == words
    assert vectors.matrix.dtype == torch.float32
    assert torch.equal(vectors.matrix, matrix)


@pytest.mark.parametrize(
    "text",
    [TEXT, "3 2\n" + TEXT, TEXT.replace("\n", " \r\n"), "\ufeff" + TEXT],
    ids=["glove", "word2vec", "dos", "byte order mark"],
)
def test_reads_text_files(tmp_path, text):
    path = tmp_path / "vectors.txt"
    path.write_bytes(text.encode())
    same(load_word_vectors(path))
    same(load_word_vectors(str(path)))


def test_words_may_hold_other_white_space(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text("a\u00a0b\u0085 1 2\n", encoding="utf-8")
    same(load_word_vectors(path), ["a\u00a0b\u0085"], MATRIX[:1])


def test_reads_torchtext_caches_and_objects(tmp_path):
    lookup = {word: index for index, word in enumerate(WORDS)}
    torch.save((WORDS, lookup, MATRIX.double(), 2), tmp_path / "vectors.pt")
    same(load_word_vectors(tmp_path / "vectors.pt"))
    same(load_word_vectors(SimpleNamespace(itos=WORDS, stoi=lookup, vectors=MATRIX, dim=2)))
    known = WordVectors(WORDS, MATRIX)
    assert load_word_vectors(known) is known


@pytest.mark.realdata
def test_the_real_cache_equals_the_real_text(shared_data):
    text = load_word_vectors(shared_data / "glove" / "union.glove.6B.50d.txt")
    cache = load_word_vectors(shared_data / "glove" / "union.glove.6B.50d.txt.pt")
    assert text.matrix.shape == (10_244, 50)
    same(text, cache.words, cache.matrix)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("film 1 2\nfine 1\n", "line 2: expected a word and 2 numbers, found 1"),
        ("film 1 2\nfine 1 2 3\n", "line 2: expected a word and 2 numbers, found more"),
        ("film 1 2\nfine 1 two\n", "line 2: could not convert string to float: 'two'"),
        ("film 1 2\nfine 1 nan\n", "line 2: the numbers of 'fine' are not all finite"),
        ("film 1 2\n\nfine 1 2\n", "line 2: expected"),
        ("film\n", "line 1: expected"),
        ("2 2\n", "holds no word vectors"),
        ("4 2\n" + TEXT, "holds 3 words and its first line says 4: is it cut off?"),
    ],
)
def test_refuses_broken_text_naming_file_and_line(tmp_path, text, message):
    path = tmp_path / "vectors.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(f"{path}") + ".*" + re.escape(message)):
        load_word_vectors(path)


def test_refuses_bytes_that_are_no_text(tmp_path):
    path = tmp_path / "vectors.bin"
    path.write_bytes(b"film 1 2\n\xff\xfe 1 2\n")
    with pytest.raises(ValueError, match=r"vectors\.bin, line 2: .*utf-8"):
        load_word_vectors(path)


class Planted:
    """Shows whether unpickling ran code of the file."""

    ran = False

    def __reduce__(self):
        return setattr, (Planted, "ran", True)


@pytest.mark.parametrize("content", [{"film": MATRIX}, (WORDS, {}, MATRIX[:2], 2), Planted()])
def test_refuses_other_pt_files_and_runs_nothing_of_them(tmp_path, content):
    torch.save(content, tmp_path / "vectors.pt")
    with pytest.raises(ValueError, match=r"vectors\.pt is not torchtext's cache"):
        load_word_vectors(tmp_path / "vectors.pt")
    assert not Planted.ran


def test_refuses_other_objects_and_missing_files(tmp_path):
    with pytest.raises(TypeError, match="not from a list"):
        load_word_vectors([1.0])
    with pytest.raises(FileNotFoundError):
        load_word_vectors(tmp_path / "absent.txt")
    with pytest.raises(ValueError, match="2 words do not fit"):
        WordVectors(["a", "b"], MATRIX)


def test_refuses_what_is_not_finite_from_anywhere(tmp_path):
    matrix = MATRIX.clone()
    matrix[1, 0] = torch.nan
    with pytest.raises(ValueError, match=r"the vector of 'fine' \(row 1\) is not finite"):
        WordVectors(WORDS, matrix)
    torch.save((WORDS, {}, matrix, 2), tmp_path / "vectors.pt")
    with pytest.raises(ValueError, match=r"vectors\.pt is not torchtext's cache .*: the vector of 'fine'"):
        load_word_vectors(tmp_path / "vectors.pt")


def test_matrix_takes_exact_then_lower_cased_words():
    vectors = WordVectors(["film", "Film", "fine", "film"], torch.tensor([[1.0], [2.0], [3.0], [9.0]]))
    tokenizer = build_word_tokenizer([["film", "Film", "Fine", "zyx"]], lowercase=False)
    matrix, coverage = embedding_matrix(tokenizer, vectors)
    row = {word: matrix[index].item() for word, index in tokenizer.get_vocab().items()}
    assert (row["[PAD]"], row["film"], row["Film"], row["Fine"]) == (0.0, 1.0, 2.0, 3.0)
    assert coverage == 3 / 4
    assert token_coverage([["film", "film"], ["zyx", "Fine"], []], vectors) == 3 / 4


def test_unknown_words_have_the_spread_of_the_vectors_and_depend_on_the_generator_alone():
    tokenizer = build_word_tokenizer([[f"word{index}" for index in range(2000)]])
    vectors = WordVectors(["film", "fine"], 10 * torch.randn(2, 20, generator=torch.Generator().manual_seed(1)))
    draw = [
        embedding_matrix(tokenizer, vectors, generator=torch.Generator().manual_seed(seed))[0] for seed in (0, 0, 1)
    ]
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])
    assert draw[0][1:].std().item() == pytest.approx(vectors.matrix.std().item(), rel=0.02)
    more = WordVectors(["film", "word7"], vectors.matrix)
    matrix, coverage = embedding_matrix(tokenizer, more, generator=torch.Generator().manual_seed(0))
    changed = (matrix != draw[0]).any(dim=1).nonzero().flatten().tolist()
    assert changed == [tokenizer.get_vocab()["word7"]]
    assert coverage == 1 / 2000
