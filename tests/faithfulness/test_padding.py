"""A prediction that depends on how far its batch pads a text is refused, and no other."""

import pytest
import torch

from sgt_hf import explain
from sgt_hf.faithfulness import evaluate_faithfulness
from tests.tiny import make_model, make_rows, make_tokenizer
from tests.trainer.runs import trained


@pytest.mark.parametrize("half", [False, True])
def test_positions_that_count_padding_on_the_left_are_refused(half):
    tokenizer, model = make_tokenizer("gpt2", padding_side="left"), make_model("gpt2", spread=0.5)
    rows = make_rows(tokenizer, 3)
    with (
        torch.autocast("cpu", torch.bfloat16, enabled=half),
        pytest.raises(ValueError, match=r"padded on the left, .*: set tokenizer.padding_side = 'right'"),
    ):
        evaluate_faithfulness(model, rows, tokenizer, methods=["gradient"], progress=False)
    with pytest.raises(ValueError, match="padded on the left"):
        explain(model, tokenizer, ["good film", "a very dull plot"])
    assert explain(model, tokenizer, ["good film"])  # of one text nothing is padded


@pytest.mark.parametrize("sizes", [(38, 2, 5), (40, 40)])
def test_texts_that_leave_no_room_to_pad_are_seen_through(sizes):
    """GPT-2 reads 40 tokens here."""
    tokenizer, model = make_tokenizer("gpt2", padding_side="left"), make_model("gpt2", spread=0.5)
    rows = [dict(tokenizer("good film " * (size // 2) + "dull " * (size % 2))) for size in sizes]
    assert [len(row["input_ids"]) for row in rows] == list(sizes)
    with pytest.raises(ValueError, match="padded on the left"):
        evaluate_faithfulness(model, rows, tokenizer, methods=["gradient"], progress=False)


@pytest.mark.parametrize(("family", "side"), [("gpt2", "right"), ("llama", "left")])
@pytest.mark.parametrize("half", [False, True])
def test_other_models_and_sides_are_measured(family, side, half):
    tokenizer, model = make_tokenizer(family, padding_side=side), make_model(family, spread=0.5)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        report = evaluate_faithfulness(
            model, make_rows(tokenizer, 3), tokenizer, methods=["gradient"], random_draws=1, progress=False
        )
    assert len(report.full) == 3


def test_training_refuses_them_where_deletion_changes_the_padding(tmp_path):
    settings = {"family": "gpt2", "padding_side": "left"}
    with pytest.raises(ValueError, match=r"padded on the left, .*: set tokenizer.padding_side = 'right'"):
        trained(tmp_path, **settings, sgt_masking="delete")
    trained(tmp_path, **settings, sgt_masking="random")
    trained(tmp_path, **settings, sgt_masking="delete", sgt_mask_fraction=0.0)  # nothing is deleted
    trained(tmp_path, **settings, sgt_masking="delete", per_device_train_batch_size=1)  # and here nothing padded
    trained(tmp_path, **settings | {"family": "llama"}, sgt_masking="delete")
