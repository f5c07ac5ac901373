"""What the default collator of images keeps, casts and refuses, by itself and in the Trainer."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from transformers import Trainer, default_data_collator

from sgt_hf import SaliencyGuidedTrainer
from sgt_hf.data.pixels import PixelCollator, PixelError, PixelTensors
from tests.trainer.runs import arguments


def images(*shapes):
    return [{"pixel_values": torch.full(shape, 0.5), "label": 1} for shape in shapes]


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(3, 8, 9), (3, 8, 8), (3, 8, 8)], r"image 0: has \(8, 9\) pixels instead of \(8, 8\): resize them"),
        ([(1, 8, 8), (3, 8, 8), (3, 8, 8)], "image 0: has 1 channels instead of 3: convert it"),
        ([(1, 8, 8), (3, 8, 9), (3, 7, 8)], "image 0: has 1 channels instead of 3: convert it"),
    ],
)
def test_the_odd_image_is_named_wherever_it_stands(shapes, message):
    with pytest.raises(PixelError, match=message):
        PixelCollator()(images(*shapes))


def test_nothing_to_stack():
    with pytest.raises(ValueError, match="there are no images"):
        PixelCollator()([])


def test_other_columns_are_stacked_as_transformers_does():
    numbers = {
        "weight": 0.5,
        "index": np.int64(7),
        "kept": True,
        "box": [1, 2],
        "points": [(0.0, 1.0), (2.0, 3.0)],
        "grid": np.zeros((2, 2), np.float32),
        "vector": torch.arange(3),
    }
    rows = [row | numbers for row in images((3, 4, 4), (3, 4, 4))]
    found, expected = PixelCollator()(rows), default_data_collator(rows)
    assert set(found) == set(expected) == {"pixel_values", "labels", *numbers}
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert all(found[name].dtype == expected[name].dtype for name in expected)
    others = {"file": "a.png", "nothing": None, "image": Image.new("L", (4, 4)), "words": ["a"], "record": {"a": 1}}
    others |= {"names": np.array(["a"])}
    assert set(PixelCollator()([row | others for row in images((3, 4, 4))])) == {"pixel_values", "labels"}


def test_floats_of_another_size_are_float32():
    for dtype, expected in ((torch.float64, torch.float32), (torch.float16, torch.float32), (torch.bfloat16,) * 2):
        rows = [row | {"pixel_values": row["pixel_values"].to(dtype)} for row in images((3, 4, 4), (3, 4, 4))]
        assert PixelCollator()(rows)["pixel_values"].dtype == expected
    with pytest.raises(PixelError, match="image 0: holds NaN or infinity") as caught:
        PixelCollator()([{"pixel_values": np.full((3, 4, 4), 1e300)}])  # which float32 cannot hold
    assert caught.value.index == 0


class Weighted(nn.Module):
    """A model whose forward takes a weight of each image."""

    main_input_name = "pixel_values"

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(12, 2)

    def forward(self, pixel_values, weight=None, labels=None):
        logits = self.head(pixel_values.flatten(1))
        if labels is None:
            return {"logits": logits}
        losses = nn.functional.cross_entropy(logits, labels, reduction="none")
        return {"loss": (losses * (1 if weight is None else weight)).mean(), "logits": logits}


def trained(tmp_path, kind, rows, **settings):
    model = Weighted()
    kind(model=model, args=arguments(tmp_path, **settings), train_dataset=rows).train()
    return model.head.weight.detach()


def rows_of(label=int, **columns):
    torch.manual_seed(1)
    return [{"pixel_values": torch.rand(3, 2, 2), "labels": label(i % 2), **columns} for i in range(8)]


def test_another_input_of_the_model_arrives_so_that_no_guidance_is_trainer(tmp_path):
    rows = rows_of(weight=3.0)
    plain = trained(tmp_path, Trainer, rows)
    assert torch.equal(plain, trained(tmp_path, SaliencyGuidedTrainer, rows, sgt_kl_weight=0.0))
    assert not torch.equal(plain, trained(tmp_path, Trainer, rows_of()))
    assert torch.isfinite(trained(tmp_path, SaliencyGuidedTrainer, rows)).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_images_of_another_float_train_as_float32(tmp_path, dtype):
    rows = [row | {"pixel_values": row["pixel_values"].half()} for row in rows_of()]
    found = [
        trained(tmp_path, SaliencyGuidedTrainer, [row | {"pixel_values": row["pixel_values"].to(kind)} for row in rows])
        for kind in (dtype, torch.float32)
    ]
    assert torch.equal(*found)


@pytest.mark.parametrize("kind", [np.uint8, np.int32, lambda label: torch.tensor(label, dtype=torch.uint8)])
def test_integer_labels_of_any_size_train_as_int64(tmp_path, kind):
    assert PixelCollator()(rows_of(kind))["labels"].dtype == torch.int64
    guided = [trained(tmp_path, SaliencyGuidedTrainer, rows_of(label)) for label in (kind, int)]
    assert torch.equal(*guided)


@pytest.mark.parametrize("labels", [torch.tensor([0.5, 1.5]), torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.arange(2)])
def test_labels_of_any_kind_stay_what_they_are(labels):
    rows = PixelTensors(torch.rand(2, 1, 2, 2), labels)
    assert torch.equal(PixelCollator()([rows[0], rows[1]])["labels"], labels)
