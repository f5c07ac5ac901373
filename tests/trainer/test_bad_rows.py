"""Bad labels and bad cells in the Trainer: each names the row of the data set, whatever its place in the batch."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch import nn
from transformers import ConvNextConfig, ConvNextForImageClassification

from sgt_hf import SaliencyGuidedTrainer
from sgt_hf.adapters import ImageAdapter, SeriesAdapter
from sgt_hf.data.odd_row import name_odd_row
from sgt_hf.data.pixels import PixelError, PixelTensors, stack_images
from sgt_hf.models.series import SeriesLstmConfig, SeriesLstmForSeries, TcnConfig, TcnForSeries
from sgt_hf.models.vision import MnistCnnConfig, MnistCnnForImageClassification
from tests.tiny import make_rows, make_tokenizer
from tests.trainer.runs import arguments, trained, weights

MISSING = object()


def series_rows(count=8, *, name="input_values", unequal=False):
    source = np.random.default_rng(0)
    return [
        {name: source.standard_normal((4 + i % 2 * unequal, 2)).tolist(), "labels": i % 2, "note": str(i)}
        for i in range(count)
    ]


def train(tmp_path, rows, *, model=None, adapter=None, evaluate=None, loss=None, collator=None, **changes):
    torch.manual_seed(0)
    trainer = SaliencyGuidedTrainer(
        model=model or SeriesLstmForSeries(SeriesLstmConfig(num_features=2)),
        args=arguments(tmp_path, **changes),
        train_dataset=rows,
        eval_dataset=evaluate,
        adapter=adapter,
        data_collator=collator,
        compute_loss_func=loss,
    )
    trainer.train()
    return trainer


def with_label(label, rows=None, row=5):
    rows = series_rows() if rows is None else rows
    rows[row] = {name: value for name, value in rows[row].items() if name != "labels"}
    if label is not MISSING:
        rows[row]["labels"] = label
    return rows


@pytest.mark.parametrize(
    ("label", "found"),
    [
        (2, "has the label 2"),
        (-1, "has the label -1"),
        (0.5, "has the label 0.5"),
        (float("nan"), "has the label nan"),
        (None, "has the label None"),
        ("x", "has the label 'x'"),
        (MISSING, "has no 'labels'"),
    ],
)
def test_a_bad_label_names_the_row_and_the_way_out(tmp_path, label, found):
    message = rf"sample \d of the batch \(row 5 of the data set\) {found}; labels must be integers from 0 to 1, "
    with pytest.raises(ValueError, match=message + "for the model has num_labels=2: mend or leave out such samples"):
        train(tmp_path, with_label(label))


@pytest.mark.parametrize(
    ("label", "all_rows"),
    [
        ([1, 0, 0], True),
        *((label, all_rows) for label in ([1.0, 0.0], 1, None, [1.0, None, 0.0]) for all_rows in (True, False)),
    ],
)
def test_a_bad_label_of_several(tmp_path, label, all_rows):
    rows = [row | {"labels": label if all_rows or i == 5 else [1.0, 0.0, 1.0]} for i, row in enumerate(series_rows())]
    config = SeriesLstmConfig(num_features=2, num_labels=3, problem_type="multi_label_classification")
    row = r"\d" if all_rows else "5"
    with pytest.raises(ValueError, match=rf"row {row} of the data set\) has the label .* must be 3 floats a sample"):
        train(tmp_path, rows, model=SeriesLstmForSeries(config))


def test_a_bad_label_of_a_data_set_of_datasets_and_of_evaluation(tmp_path):
    rows = Dataset.from_list(with_label(2)).remove_columns("note")
    with pytest.raises(ValueError, match=r"row 5 of the data set\) has the label 2; .* from 0 to 1"):
        train(tmp_path, rows)
    trainer = train(tmp_path, series_rows(), evaluate=rows)
    with pytest.raises(ValueError, match=r"row 5 of the data set\) has the label 2; .* from 0 to 1"):
        trainer.evaluate()


def test_a_bad_label_of_a_text_and_of_an_image(tmp_path):
    texts = make_rows(make_tokenizer(), count=8).to_list()
    with pytest.raises(ValueError, match=r"row 5 of the data set\) has the label 3; .* from 0 to 1"):
        trained(tmp_path, rows=Dataset.from_list(with_label(3, texts)))
    images = PixelTensors(torch.rand(8, 1, 28, 28), torch.tensor([0, 1, 2, 3, 4, 10, 6, 7]))
    with pytest.raises(ValueError, match=r"row 5 of the data set\) has the label 10; .* from 0 to 9"):
        train(tmp_path, images, model=MnistCnnForImageClassification(MnistCnnConfig(num_labels=10)))


def test_a_bad_label_beside_a_column_of_good_ones(tmp_path):
    texts = with_label(3, make_rows(make_tokenizer(), count=8).to_list())
    rows = [row | {"label": row["labels"], "labels": 0} for row in texts]  # of which a collator of texts takes `label`
    with pytest.raises(ValueError, match=r"row 5 of the data set\) has the label 3 in its column 'label'; labels must"):
        trained(tmp_path, rows=Dataset.from_list(rows))


def test_a_column_that_no_collator_takes_is_not_blamed(tmp_path):
    texts = with_label(3, make_rows(make_tokenizer(), count=8).to_list())
    stars = [row | {"label": row["labels"], "labels": 4} for row in texts]
    with pytest.raises(ValueError, match=r"row 5 of the data set\) has the label 3 in its column 'label'; labels must"):
        trained(tmp_path, rows=Dataset.from_list(stars))
    sizes = [(1, 9, 9) if i == 5 else (1, 28, 28) for i in range(8)]
    images = [{"pixel_values": torch.rand(*size), "labels": i, "label": "cat"} for i, size in enumerate(sizes)]
    network = MnistCnnForImageClassification(MnistCnnConfig(num_labels=10))
    with pytest.raises(ValueError, match="row 5 of the data set") as found:
        train(tmp_path, images, model=network, remove_unused_columns=False)
    assert "cat" not in str(found.value)


def test_a_collator_may_put_rows_in_another_order_and_make_two_of_one(tmp_path):
    rows = with_label(2)
    own = SeriesAdapter("input_values").collator()
    with pytest.raises(ValueError, match=r"row 5 of the data set\) has the label 2"):
        train(tmp_path, rows, collator=lambda rows: own(rows[::-1]))
    stars = [row | {"labels": 2 if i % 2 else 1} for i, row in enumerate(series_rows())]
    with pytest.raises(ValueError, match=r"row 6 of the data set\) has the label -1"):  # and not 2, which is right
        from_one = lambda rows: (batch := own(rows)) | {"labels": batch["labels"] - 1}  # noqa: E731
        train(tmp_path, with_label(0, stars, row=6), collator=from_one)
    soft = [row | {"labels": [0.3, 0.7]} for row in series_rows()]
    with pytest.raises(ValueError, match=r"sample 0 of the batch has the label \[0.3.*floats must be 0.0 or 1.0"):
        train(tmp_path, soft, collator=lambda rows: own([*rows, *rows]))


@pytest.mark.parametrize("as_tensors", [False, True])
def test_a_bad_label_in_a_column_of_its_own(tmp_path, as_tensors):
    rows = [row | {"labels": [row["labels"]]} for row in with_label(2)]
    if as_tensors:
        rows = [row | {"labels": torch.tensor(row["labels"])} for row in rows]
    with pytest.raises(
        ValueError, match=r"row 5 of the data set\) has the label .*2.*; labels must be integers from 0"
    ):
        train(tmp_path, rows)


def test_labels_that_are_no_class_and_right(tmp_path):
    """−100 is left out of the loss; several labels are zeros and ones; a loss of the user's may take any."""
    train(tmp_path, with_label(-100))
    with pytest.raises(ValueError, match=r"row 6 of the data set\) has the label 2"):
        train(tmp_path, with_label(2, with_label(np.int64(-100)), row=6), per_device_train_batch_size=8)
    several = [row | {"labels": [float(row["labels"]), 1.0]} for row in series_rows()]
    train(tmp_path, several)

    def half(outputs, labels, num_items_in_batch=None):
        return (outputs["logits"][:, 0] - labels).square().mean()

    floats = [row | {"labels": row["labels"] / 2} for row in series_rows()]
    train(tmp_path, floats, loss=half, sgt_target="predicted", sgt_kl_weight=0.0)


class Plain(nn.Module):
    """A model of the user's own that knows no padding."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(2, 2)

    def forward(self, x):
        return self.head(x.amax(1))


def test_a_bad_label_of_a_plain_module(tmp_path):
    rows = with_label(-1, series_rows(name="x"))
    with pytest.raises(ValueError, match=r"row 5 of the data set\) has the label -1; labels must be integers from 0:"):
        train(tmp_path, rows, model=Plain(), adapter=SeriesAdapter("x"), remove_unused_columns=False)


def test_unequal_lengths_need_a_model_that_knows_padding(tmp_path):
    rows = series_rows(name="x", unequal=True)
    with pytest.raises(ValueError, match=r"series of unequal lengths .*forward takes none: .* attention_mask=None"):
        train(tmp_path, rows, model=Plain(), adapter=SeriesAdapter("x"), remove_unused_columns=False)


@pytest.mark.parametrize("kind", [list, Dataset.from_list])
def test_a_cell_that_is_not_finite_names_the_row(tmp_path, kind):
    rows = series_rows(unequal=True)
    rows[5]["input_values"][2][1] = float("nan")
    message = r"row (\d) of the batch is nan at step 2, channel 1: .* \[sample \1 of the batch \(row 5 of the data set"
    with pytest.raises(ValueError, match=message):
        train(tmp_path, kind(rows))


def test_a_pixel_that_is_not_finite_names_the_row(tmp_path):
    images = PixelTensors(torch.rand(8, 1, 28, 28), torch.arange(8))
    images.pixel_values[5, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"image (\d): holds NaN .* \[sample \1 of the batch \(row 5 of the data set"):
        train(tmp_path, images, model=MnistCnnForImageClassification(MnistCnnConfig(num_labels=10)))


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        (torch.rand(1, 28, 30), r"has \(28, 30\) pixels instead of \(28, 28\)"),
        (torch.rand(3, 28, 28), "has 3 channels instead of 1"),
        (torch.zeros(1, 28, 28, dtype=torch.uint8), "is torch.uint8"),
        (torch.rand(28, 28), r"has shape \(28, 28\)"),
    ],
)
@pytest.mark.parametrize("kind", [list, "with_transform"])
def test_an_image_unlike_the_others_names_the_row(tmp_path, kind, image, problem):
    images = [*torch.rand(5, 1, 28, 28), image, *torch.rand(2, 1, 28, 28)]
    rows = [{"pixel_values": image, "labels": i} for i, image in enumerate(images)]
    if kind == "with_transform":
        numbers = Dataset.from_dict({"number": range(8)})
        rows = numbers.with_transform(
            lambda batch: {"pixel_values": [images[i] for i in batch["number"]], "labels": batch["number"]}
        )
    message = rf"image (\d): {problem}.* \[sample \1 of the batch \(row 5 of the data set\)\]"
    model = MnistCnnForImageClassification(MnistCnnConfig(num_labels=10))
    with pytest.raises(PixelError, match=message):
        train(tmp_path, rows, model=model, remove_unused_columns=False)


def test_the_row_is_found_where_a_collator_stacks_several_images_of_each():
    rows = [{"views": torch.rand(2, 1, 4, 4)} for _ in range(4)]
    rows[3]["views"][0, 0, 0, 0] = torch.nan

    def two_views(rows):
        return {"pixel_values": stack_images([view for row in rows for view in row["views"]], lambda i: f"view {i}")}

    with pytest.raises(PixelError) as caught:
        try:
            two_views(rows)
        except PixelError as error:
            name_odd_row(error, rows, two_views, lambda odd: f"row {odd}")
            raise
    assert str(caught.value).endswith("[row 3]")


@pytest.mark.parametrize("images", [torch.rand(8, 1, 8, 8), torch.rand(8, 8, 8, 3)])
def test_images_of_other_channels_than_the_models(tmp_path, images):
    """ConvNeXt's own message has no numbers."""
    model = ConvNextForImageClassification(ConvNextConfig(hidden_sizes=[4], depths=[1], num_stages=1))
    rows = PixelTensors(images, torch.arange(8) % 2)
    message = rf"images have {images.shape[1]} channels, .* being \(4, .*\), and the model takes 3: convert them"
    with pytest.raises(ValueError, match=message):
        train(tmp_path, rows, model=model)


@pytest.mark.parametrize("unequal", [False, True])
def test_a_cell_that_overflows_names_the_row(tmp_path, unequal):
    rows = series_rows(unequal=unequal)
    rows[5]["input_values"][2] = [3e38, 3e38]
    model = TcnForSeries(TcnConfig(num_features=2, channels=[4, 4]))
    with pytest.raises(FloatingPointError, match=r"on their own: sample \d of the batch \(row 5 of the data set\)\."):
        train(tmp_path, rows, model=model)
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


class Pixels(nn.Module):
    """A model whose gradient overflows on large pixels."""

    main_input_name = "pixel_values"

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(16, 2)

    def forward(self, pixel_values):
        return self.head(pixel_values.flatten(1) * 1e4)


def test_a_pixel_that_overflows_names_the_row(tmp_path):
    images = PixelTensors(torch.rand(8, 1, 4, 4) / 1e4, torch.arange(8) % 2)
    images.pixel_values[5] = 3e38
    with pytest.raises(FloatingPointError, match=r"on their own: sample \d of the batch \(row 5 of the data set\)\."):
        train(tmp_path, images, model=Pixels(), adapter=ImageAdapter())


def test_rows_that_cannot_be_looked_up_are_named_by_their_place(tmp_path):
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            yield from with_label(2, row=1)

    with pytest.raises(ValueError, match="sample 1 of the batch has the label 2"):
        train(tmp_path, Stream(), max_steps=1)


def test_the_trainers_collator_stays_the_users(tmp_path):
    trainer = train(tmp_path, series_rows(), max_steps=1)
    collator = trainer.data_collator
    trainer.get_train_dataloader()
    assert trainer.data_collator is collator
    assert torch.isfinite(weights(trainer)).all()
