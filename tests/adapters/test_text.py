import pytest
import torch
from datasets import Dataset
from torch import nn
from transformers import AddedToken, AutoTokenizer

from sgt_hf import TextAdapter
from sgt_hf.adapters import ImageAdapter, SeriesAdapter, adapter_for
from sgt_hf.adapters.base import logits_of
from sgt_hf.data.collators import DataCollatorWithWordIds
from sgt_hf.data.rationales import encode_words
from sgt_hf.masking.text import STRATEGIES
from tests.tiny import make_model, make_tokenizer

FAMILIES = ("bert", "roberta", "gpt2")


def batch_of(tokenizer, *texts):
    return dict(tokenizer(*map(list, zip(*texts, strict=True)), padding=True, return_tensors="pt"))


def words_of(tokenizer, ids):
    return " ".join(tokenizer.convert_ids_to_tokens(ids.tolist()))


def encoded(tokenizer, documents, queries=None, lengths=None):
    rows = [
        {"document": d.split(), "query": (queries[i] if queries else "").split(), "label": 0, "annotation_id": str(i)}
        | ({"doc_lengths": lengths[i]} if lengths else {})
        for i, d in enumerate(documents)
    ]
    data = encode_words(Dataset.from_list(rows), tokenizer, use_query=queries is not None)
    kept = [name for name in data.column_names if name not in ("annotation_id", "truncated_words")]
    return DataCollatorWithWordIds(tokenizer)(list(data.select_columns(kept)))


@pytest.mark.parametrize("padding_side", ["left", "right"])
@pytest.mark.parametrize("family", FAMILIES)
def test_padding_and_special_tokens_are_never_eligible(family, padding_side):
    tokenizer = make_tokenizer(family, padding_side=padding_side)
    batch = batch_of(tokenizer, ("good film",), ("the plot not very good",))
    eligible = TextAdapter(tokenizer).eligible(batch)
    assert eligible.sum(1).tolist() == [2, 5]
    for row in range(2):
        kept = tokenizer.convert_ids_to_tokens(batch["input_ids"][row][eligible[row]].tolist())
        assert kept == [["good", "film"], ["the", "plot", "not", "very", "good"]][row]


def test_unknown_words_are_words_where_unk_has_no_other_role():
    tokenizer = make_tokenizer("bert")
    assert TextAdapter(tokenizer).eligible(batch_of(tokenizer, ("good zebra",))).tolist() == [
        [False, True, True, False]
    ]
    shared = make_tokenizer("gpt2")  # here [UNK] is also the end of text
    assert TextAdapter(shared).eligible(batch_of(shared, ("good zebra",))).tolist() == [[True, False]]


def test_special_tokens_without_a_role_are_special(tmp_path):
    """As a chat template's: they are no role of the tokenizer, and marked in its file alone."""
    tokenizer = make_tokenizer("bert")
    tokenizer.add_tokens([AddedToken("<|im_start|>", special=True)])
    tokenizer.save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    batch = batch_of(tokenizer, ("<|im_start|> good film",))
    adapter = TextAdapter(tokenizer)
    assert adapter.eligible(batch).tolist() == [[False, False, True, True, False]]
    assert tokenizer.convert_tokens_to_ids("<|im_start|>") not in adapter._on(torch.device("cpu"))[1].tolist()
    unseen = {name: column.clone() for name, column in batch.items()}
    unseen["input_ids"][0, 2] = 4000  # of a model's larger table
    assert adapter.eligible(unseen).tolist() == adapter.eligible(batch).tolist()


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_previous_salient_never_crosses_the_pair(family):
    tokenizer = make_tokenizer(family)
    batch = batch_of(tokenizer, ("good film", "bad plot"))
    for name in ("token_type_ids", "attention_mask"):  # the special tokens alone tell the segments apart
        batch.pop(name, None)
    drop = torch.isin(batch["input_ids"], torch.tensor(tokenizer.convert_tokens_to_ids(["film", "bad"])))
    masked = TextAdapter(tokenizer).mask(batch, drop, "previous_salient")
    expected = {"bert": "[CLS] good good [SEP] plot plot [SEP]", "roberta": "<s> good good </s> </s> plot plot </s>"}
    assert words_of(tokenizer, masked["input_ids"][0]) == expected[family]


def test_segment_ids_part_a_pair_without_separator():
    tokenizer = make_tokenizer("gpt2")
    batch = encoded(tokenizer, ["good film bad plot"], lengths=[[2, 2]])
    drop = torch.tensor([[False, True, True, False]])
    masked = TextAdapter(tokenizer).mask(batch, drop, "previous_salient")
    assert words_of(tokenizer, masked["input_ids"][0]) == "good good plot plot"


def test_segments_may_be_told_by_several_numbers_a_token():
    """As TAPAS does, of which rows and columns of a table are two."""
    tokenizer = make_tokenizer()
    batch = batch_of(tokenizer, ("good film bad plot",))
    cells = torch.zeros(1, 6, 3, dtype=torch.long)
    cells[:, 3:, 1] = 1
    adapter, drop = TextAdapter(tokenizer), torch.tensor([[False, False, True, True, True, False]])
    masked = adapter.mask(batch | {"token_type_ids": cells}, drop, "previous_salient")["input_ids"]
    good = tokenizer.convert_tokens_to_ids("good")
    assert masked[0, 1:3].tolist() == [good, good]  # from its own cell
    assert masked[0, 3] != good  # the first of the next cell


def test_the_query_is_protected():
    tokenizer = make_tokenizer("bert")
    batch = encoded(tokenizer, ["bad plot", "a dull film"], queries=["good film", "the actor"])
    adapter = TextAdapter(tokenizer)
    free = [words_of(tokenizer, batch["input_ids"][i][adapter.eligible(batch)[i]]) for i in range(2)]
    assert free == ["bad plot", "a dull film"]
    batch["protected"] = (batch["input_ids"] == tokenizer.convert_tokens_to_ids("plot")).long()
    assert words_of(tokenizer, batch["input_ids"][0][adapter.eligible(batch)[0]]) == "bad"


def test_words_share_fate_and_are_numbered_by_word_ids():
    tokenizer = make_tokenizer("bert")
    batch = encoded(tokenizer, ["greatly unbad film"])  # great ##ly | un + [UNK]? no: un is a word piece start
    adapter = TextAdapter(tokenizer)
    groups = adapter.groups(batch, "word")
    word_ids = batch["word_ids"][0].tolist()
    by_group = [groups[0][i].item() for i in range(len(word_ids)) if word_ids[i] == 0]
    assert len(by_group) == 2
    assert len(set(by_group)) == 1
    assert adapter.groups(batch, "token") is None
    with pytest.raises(ValueError, match="granularity 'word' needs a word_ids column, and the batch has"):
        adapter.groups({"input_ids": batch["input_ids"]}, "word")


@pytest.mark.parametrize("padding_side", ["left", "right"])
def test_delete_shortens_the_batch_and_gives_the_short_text_itself(padding_side):
    tokenizer = make_tokenizer("bert", padding_side=padding_side)
    model = make_model("bert").eval()
    batch = batch_of(tokenizer, ("good film not dull",), ("the plot",))
    drop = torch.isin(batch["input_ids"], torch.tensor(tokenizer.convert_tokens_to_ids(["not", "film"])))
    masked = TextAdapter(tokenizer).mask(batch, drop, "delete")
    assert masked["input_ids"].shape[1] == 4
    assert batch["input_ids"].shape[1] == 6
    expected = batch_of(tokenizer, ("good dull",), ("the plot",))
    assert {name: column.tolist() for name, column in masked.items()} == {
        name: column.tolist() for name, column in expected.items()
    }
    assert torch.equal(model(**masked).logits, model(**expected).logits)


def test_roberta_positions_stay_right_under_left_padding_and_delete():
    tokenizer, model = make_tokenizer("roberta"), make_model("roberta").eval()
    adapter = TextAdapter(tokenizer)
    batch = batch_of(tokenizer, ("good film not dull",), ("the plot",))
    drop = batch["input_ids"] == tokenizer.convert_tokens_to_ids("not")
    masked = adapter.mask(batch, drop, "delete")
    expected = batch_of(tokenizer, ("good film dull",), ("the plot",))
    assert torch.equal(masked["input_ids"], expected["input_ids"])
    with adapter.capture(model, batch) as captured:
        logits = model(**captured.batch).logits
    with adapter.replace(model, captured.features):
        replaced = model(**batch).logits  # position ids come from the input ids, which are still there
    assert torch.equal(logits, replaced)


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_every_masking_touches_dropped_tokens_only_and_not_its_input(name):
    tokenizer = make_tokenizer("bert")
    adapter = TextAdapter(tokenizer)
    batch = batch_of(tokenizer, ("good film not dull",), ("the plot",))
    before = {key: column.clone() for key, column in batch.items()}
    drop = adapter.eligible(batch) & (torch.arange(6) > 2)
    masked = adapter.mask(batch, drop, name)
    assert all(torch.equal(batch[key], before[key]) for key in batch)
    if name != "delete":
        changed = masked["input_ids"] != batch["input_ids"]
        assert not (changed & ~drop).any()
    role = {"unk": tokenizer.unk_token_id, "sep": tokenizer.sep_token_id, "mask": tokenizer.mask_token_id}.get(name)
    if role is not None:
        assert (masked["input_ids"][drop] == role).all()


def test_a_callable_is_a_masking_and_unknown_or_impossible_names_are_refused():
    tokenizer = make_tokenizer("gpt2")
    adapter = TextAdapter(tokenizer)
    batch = batch_of(tokenizer, ("good film",))
    mine = adapter.mask(batch, torch.tensor([[True, False]]), lambda b, d: b | {"input_ids": b["input_ids"] * ~d})
    assert mine["input_ids"][0, 0] == 0
    adapter.check(masking=lambda b, d: b, granularity="token")
    name = type(tokenizer).__name__
    possible = r"\['delete', 'previous_salient', 'random'\]"
    for masking in ("sep", "unk"):  # its [UNK] is also its padding, which a replaced token must not look like
        with pytest.raises(
            ValueError, match=f"tokenizer '{name}' has no {masking} token of its own: masking can be one of {possible}"
        ):
            adapter.check(masking=masking, granularity="token")
    with pytest.raises(ValueError, match="unknown masking 'blank' for text: use one of"):
        adapter.check(masking="blank", granularity="token")
    with pytest.raises(ValueError, match="unknown granularity 'sentence' for text"):
        adapter.check(masking="delete", granularity="sentence")


def test_explicit_position_ids_cannot_be_deleted_from():
    tokenizer = make_tokenizer("bert")
    batch = batch_of(tokenizer, ("good film",))
    batch["position_ids"] = torch.arange(4)[None]
    with pytest.raises(ValueError, match="'delete' cannot renumber explicit position_ids"):
        TextAdapter(tokenizer).mask(batch, TextAdapter(tokenizer).eligible(batch), "delete")


@pytest.mark.parametrize("family", [*FAMILIES, "distilbert"])
def test_capture_ranks_the_embeddings_and_leaves_nothing_behind(family):
    tokenizer, model = make_tokenizer("bert" if family == "distilbert" else family), make_model(family)
    adapter = TextAdapter(tokenizer)
    batch = batch_of(tokenizer, ("good film",), ("the plot not",))
    batch.pop("token_type_ids", None)
    model.get_input_embeddings().weight.requires_grad_(False)  # frozen, as under LoRA
    with pytest.raises(RuntimeError, match="boom"), adapter.capture(model, batch) as captured:
        logits = logits_of(model(**captured.batch))
        assert captured.features.requires_grad
        assert torch.autograd.grad(logits.sum(), captured.features)[0].abs().sum() > 0
        raise RuntimeError("boom")
    assert not any(module._forward_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_captured_features_must_exist():
    tokenizer, model = make_tokenizer("bert"), make_model("bert")
    adapter = TextAdapter(tokenizer)
    with adapter.capture(model, batch_of(tokenizer, ("good",))) as captured:
        model(inputs_embeds=torch.randn(1, 3, 8))
    with pytest.raises(RuntimeError, match="TextAdapter found nothing to rank"):
        captured.require(adapter)


def test_separate_scores_equal_shared_ones_without_dropout_and_draw_no_random_number():
    tokenizer, model = make_tokenizer("bert"), make_model("bert", dropout=0.4).train()
    adapter, batch = TextAdapter(tokenizer), batch_of(tokenizer, ("good film not dull",), ("the plot",))
    state = torch.get_rng_state()
    scores = adapter.scores(model, batch, torch.tensor([0, 1]), target="label", reduction="signed_sum")
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in model.modules())
    model.eval()
    embeddings = model.get_input_embeddings()(batch["input_ids"]).detach().requires_grad_()
    logits = model(inputs_embeds=embeddings, **{k: v for k, v in batch.items() if k != "input_ids"}).logits
    expected = torch.autograd.grad(logits[[0, 1], [0, 1]].sum(), embeddings)[0].sum(-1)
    assert torch.allclose(scores, expected, atol=1e-6)


def test_the_embedding_of_a_plain_module_is_found_or_named():
    tokenizer = make_tokenizer("bert")
    one = nn.ModuleDict({"words": nn.Embedding(24, 4), "out": nn.Linear(4, 2)})
    two = nn.ModuleDict({"words": nn.Embedding(24, 4), "tags": nn.Embedding(3, 4)})
    assert TextAdapter(tokenizer).embedding_module(one) is one["words"]
    assert TextAdapter(tokenizer, embedding="tags").embedding_module(two) is two["tags"]
    with pytest.raises(ValueError, match=r"2 embedding modules \['tags', 'words'\]: name the one to rank"):
        TextAdapter(tokenizer).embedding_module(two)


def test_adapter_for_goes_by_the_main_input_and_needs_a_tokenizer_for_text():
    model = make_model("bert")
    assert isinstance(adapter_for(model, make_tokenizer("bert")), TextAdapter)
    with pytest.raises(ValueError, match="pass processing_class=tokenizer"):
        adapter_for(model, None)
    model.main_input_name = "pixel_values"
    assert isinstance(adapter_for(model, None), ImageAdapter)
    model.main_input_name = "input_values"
    assert isinstance(adapter_for(model, None), SeriesAdapter)


def test_logits_of_what_models_return():
    logits, loss = torch.randn(2, 3), torch.tensor(1.0)
    assert logits_of(logits) is logits
    assert logits_of({"loss": loss, "logits": logits}) is logits
    assert logits_of((loss, logits)) is logits
    with pytest.raises(ValueError, match=r"returned no 'logits', only \['loss'\]"):
        logits_of({"loss": loss})
    with pytest.raises(ValueError, match="a tuple without a tensor of two or more axes"):
        logits_of((loss,))
