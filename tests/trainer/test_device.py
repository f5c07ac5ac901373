"""A guided step neither waits for its device nor leaves it.

It runs on torch's device without data, where no number can be read, and under a mode that sees every operation: none
may take a tensor of another device, nor copy one from there, for which a device waits.
"""

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sgt_hf.adapters import ImageAdapter, SeriesAdapter
from sgt_hf.adapters.embedding import LOOKS
from sgt_hf.data.pixels import PixelTensors
from sgt_hf.models.vision import MnistCnnConfig, MnistCnnForImageClassification
from tests.tiny import make_model, make_rows, make_tokenizer
from tests.trainer.runs import built


@pytest.fixture
def no_reading_of_masks(monkeypatch):
    """transformers itself asks of each mask whether it hides anything."""
    monkeypatch.setattr("transformers.masking_utils._ignore_bidirectional_mask_sdpa", lambda *_, **__: False)


class OnTheDevice(TorchDispatchMode):
    """Refuses tensors of another device, but for single numbers there, and copies from there."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
        copies = func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
        assert all(one.is_meta or (one.dim() == 0 and not copies) for one in tensors), f"{func} of another device"
        return func(*args, **kwargs or {})


class WithoutNumbers(TorchFunctionMode):
    """Refuses tensors that are made of Python's numbers and copied to the device, which the other mode does not see."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        made = func(*args, **kwargs or {})
        if func in (torch.tensor, torch.as_tensor):
            assert isinstance(args[0], torch.Tensor) or not made.is_meta, f"{args[0]} is copied to the device"
        return made


def step_without_data(trainer):
    """Train past the batches whose ids are compared, then a step on the device without data."""
    trainer.train()
    trainer._window = None  # what is logged is added up where the training was
    model = trainer.model.to("meta").train()
    batch = {name: column.to("meta") for name, column in next(iter(trainer.get_train_dataloader())).items()}
    counted = torch.tensor(4, device="meta")
    trainer.compute_loss(model, dict(batch))  # what an adapter knows is copied to a device once
    with OnTheDevice(), WithoutNumbers():
        trainer.compute_loss(model, batch).backward()
        trainer.compute_loss(model, batch, num_items_in_batch=counted).backward()  # what Trainer counts while it trains
    assert all(parameter.grad.is_meta for parameter in model.parameters())


def words_of(row):
    return [-1, *(place // 2 for place in range(len(row["input_ids"]) - 2)), -1]


@pytest.mark.usefixtures("no_reading_of_masks")
@pytest.mark.parametrize(
    "knobs",
    [
        *({"sgt_masking": masking} for masking in ("previous_salient", "unk", "sep", "mask", "random")),
        {"sgt_vary_fraction": True},
        {"sgt_granularity": "word"},
        {"sgt_drops": "random"},
        {"sgt_drops": "highest", "sgt_reduction": "abs_sum"},
        {"sgt_ranking": "separate"},
        {"sgt_detach_target": True},
    ],
    ids=str,
)
def test_a_step_on_text(tmp_path, knobs):
    tokenizer = make_tokenizer("bert")
    rows = [row | {"word_ids": words_of(row)} for row in make_rows(tokenizer, 16)]
    model = make_model("bert", dropout=0.1, attn_implementation="eager")
    trainer = built(tmp_path, model=model, rows=rows, max_steps=LOOKS + 1, **knobs)
    step_without_data(trainer)


@pytest.mark.usefixtures("no_reading_of_masks")
def test_deleting_asks_for_the_new_length(tmp_path):
    model = make_model("bert", attn_implementation="eager")
    trainer = built(tmp_path, model=model, max_steps=LOOKS + 1, sgt_masking="delete")
    with pytest.raises(RuntimeError, match=r"item\(\) cannot be called on meta tensors") as raised:
        step_without_data(trainer)
    assert "delete" in [entry.name for entry in raised.traceback]


@pytest.mark.parametrize("masking", ["uniform", "constant", "channel_mean"])
def test_a_step_on_images(tmp_path, masking):
    """`blur` is left out, for torch.autocast knows no such device."""
    config = MnistCnnConfig(image_size=16, num_channels=3, channels=[4, 4], hidden_size=8, num_labels=3)
    rows = PixelTensors(torch.randn(8, 3, 16, 16), torch.arange(8) % 3)
    model = MnistCnnForImageClassification(config)
    trainer = built(tmp_path, model=model, rows=rows, max_steps=1, adapter=ImageAdapter(black=0.0), sgt_masking=masking)
    step_without_data(trainer)


class Series(nn.Module):
    main_input_name = "values"

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(15, 2)

    def forward(self, values, labels=None):
        logits = self.head(values.tanh().flatten(1))
        return {"logits": logits, "loss": None if labels is None else nn.functional.cross_entropy(logits, labels)}


@pytest.mark.parametrize("masking", ["uniform", "constant", "channel_mean", "previous"])
def test_a_step_on_series(tmp_path, masking):
    torch.manual_seed(0)
    rows = [{"values": torch.randn(5, 3), "labels": index % 2} for index in range(8)]
    adapter = SeriesAdapter("values")
    trainer = built(tmp_path, model=Series(), rows=rows, max_steps=1, adapter=adapter, sgt_masking=masking)
    step_without_data(trainer)
