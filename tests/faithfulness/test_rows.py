import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import (
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    GPTJConfig,
    GPTJForSequenceClassification,
)

from sgt_hf import BiLstmConfig, BiLstmForSequenceClassification, TextAdapter, evaluate_faithfulness
from sgt_hf.faithfulness.rows import cut_batches, load_batches, position_limit, survey_rows
from tests.tiny import make_model, make_rows, make_tokenizer


@pytest.mark.parametrize(
    ("family", "limit"),
    [("bert", 40), ("roberta", 38), ("gpt2", 40), ("distilbert", 512)],  # RoBERTa's first position is 2
)
def test_the_limit_is_the_longest_text_that_the_model_takes(family, limit):
    model = make_model(family).eval()
    assert position_limit(model) == limit
    model(input_ids=torch.full((1, limit), 5))
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=torch.full((1, limit + 1), 5))


@pytest.mark.parametrize("family", ["llama", "qwen", "deberta"])
def test_positions_that_are_computed_know_no_end(family):
    narrow = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    relative = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False}
    if family == "deberta":
        config = DebertaV2Config(vocab_size=24, max_position_embeddings=16, **narrow, **relative)
        model = DebertaV2ForSequenceClassification(config)
    else:
        model = make_model(family)
    assert model.config.max_position_embeddings
    assert position_limit(model) is None
    model.eval()(input_ids=torch.full((1, model.config.max_position_embeddings + 9), 5))


def test_a_table_that_is_not_learned_has_an_end_too():
    config = GPTJConfig(vocab_size=24, n_positions=16, n_embd=8, n_layer=1, n_head=1, rotary_dim=4, pad_token_id=0)
    model = GPTJForSequenceClassification(config).eval()
    assert position_limit(model) == 16
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=torch.full((1, 17), 5))


def test_a_model_without_positions_has_no_limit():
    config = BiLstmConfig(vocab_size=24, embedding_dim=4, hidden_size=4)
    assert position_limit(BiLstmForSequenceClassification(config)) is None
    assert position_limit(torch.nn.Linear(2, 2)) is None


def test_a_row_that_is_too_long_is_named():
    rows = Dataset.from_list([{"input_ids": [5] * size} for size in (3, 45, 41, 40)])
    message = r"row 1 has 45 tokens and BertForSequenceClassification has positions for 40 \(2 of 4 rows are too long\)"
    with pytest.raises(ValueError, match=message + ": encode with max_length=40"):
        survey_rows(make_model("bert"), rows, "input_ids")


def test_rows_on_paper():
    rows = Dataset.from_list([{"input_ids": [5] * size, "truncated_words": size} for size in (3, 7, 3, 9)])
    found = survey_rows(make_model("bert"), rows, "input_ids")
    assert (found.lengths, found.truncated, found.order) == ([3, 7, 3, 9], [3, 7, 3, 9], [3, 1, 0, 2])
    assert survey_rows(make_model("bert"), rows.remove_columns("truncated_words"), "input_ids").truncated is None
    assert cut_batches(found.order, found.lengths, batch_size=2, max_features=100) == [[3, 1], [0, 2]]
    assert cut_batches(found.order, found.lengths, batch_size=4, max_features=14) == [[3], [1, 0], [2]]
    assert cut_batches(found.order, found.lengths, batch_size=4, max_features=1) == [[3], [1], [0], [2]]
    assert cut_batches([], [], batch_size=4, max_features=1) == []
    with pytest.raises(ValueError, match="batch_size must be ≥ 1, got 0"):
        cut_batches([0], [1], batch_size=0, max_features=1)


class TakesAnything(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = make_model("bert")

    def forward(self, **batch):
        return self.inner(**batch)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: get_peft_model(model, LoraConfig(task_type="SEQ_CLS", target_modules=["query"])),
        lambda model: get_peft_model(model, LoraConfig(target_modules=["query"])),
        lambda model: torch.compile(model, backend="eager"),
        lambda model: TakesAnything(),
    ],
)
def test_a_wrapped_model_gets_the_columns_of_the_one_inside(wrap):
    tokenizer, model = make_tokenizer("bert"), make_model("bert")
    rows = make_rows(tokenizer, 4, pairs=True).add_column("place", list("abcd"))
    order = [[0, 1], [2, 3]]
    bare = [batch for _, batch in load_batches(model, TextAdapter(tokenizer), rows, order)]
    if isinstance(wrapped := wrap(model), TakesAnything):
        rows = rows.remove_columns("place")
    found = [batch for _, batch in load_batches(wrapped, TextAdapter(tokenizer), rows, order)]
    assert set(found[0]) == set(bare[0]) == {"input_ids", "attention_mask", "token_type_ids", "labels"}


def test_batches_hold_their_rows_and_leave_the_global_generator_alone():
    tokenizer, model = make_tokenizer("bert"), make_model("bert")
    rows = make_rows(tokenizer, 5)
    state = torch.get_rng_state()
    loaded = list(load_batches(model, TextAdapter(tokenizer), rows, [[4, 0], [1]]))
    assert torch.equal(torch.get_rng_state(), state)
    assert [index for index, _ in loaded] == [[4, 0], [1]]
    for index, batch in loaded:
        for place, row in enumerate(index):
            real = batch["attention_mask"][place].bool()
            assert batch["input_ids"][place][real].tolist() == rows[row]["input_ids"]
            assert batch["labels"][place] == rows[row]["labels"]


class Required(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = make_model()

    def forward(self, input_ids, labels, attention_mask=None):
        return self.inner(input_ids, attention_mask, labels=labels)


def test_a_forward_that_requires_labels_cannot_be_measured_and_is_told_so():
    tokenizer = make_tokenizer()
    with pytest.raises(ValueError, match=r"the forward of Required requires labels, .*: give the argument a default"):
        evaluate_faithfulness(Required(), make_rows(tokenizer, 3), tokenizer, methods=["gradient"], progress=False)
