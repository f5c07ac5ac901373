import math
import re
from fractions import Fraction

import pytest
import torch
from torch import nn
from transformers import ConvNextConfig, ConvNextForImageClassification

from sgt_hf.adapters import ImageAdapter, SeriesAdapter
from sgt_hf.attribution import AttributionSettings
from sgt_hf.data.pixels import PixelError, PixelTensors
from sgt_hf.faithfulness.pixels import (
    images_without_top,
    pixel_scores,
    predictions_under_removal,
    remove_top,
    retrained_predictions,
)
from sgt_hf.metrics.accuracy_drop import LEVELS
from sgt_hf.models.vision import MnistCnnConfig, MnistCnnForImageClassification


class Linear(nn.Module):
    """Logits linear in the pixels, so that every score is known."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(12, 3, bias=False)

    def forward(self, pixel_values, labels=None):
        return {"logits": self.head(pixel_values.flatten(1))}


def data(count=5, channels=3):
    torch.manual_seed(1)
    return PixelTensors(torch.randn(count, channels, 2, 2), torch.arange(count) % 3)


def several_labels():
    return [{"pixel_values": image, "labels": [1.0, 0.0, 1.0]} for image in data().pixel_values]


def test_scores_are_signed_sums_over_channels_for_the_true_label():
    model, images = Linear(), data()
    scores = pixel_scores(model, images, ImageAdapter(), methods=("gradient", "input_x_gradient"), batch_size=2)
    weights = model.head.weight.detach()[images.labels].view(5, 3, 2, 2)
    torch.testing.assert_close(scores["gradient"], weights.sum(1).flatten(1))
    torch.testing.assert_close(scores["input_x_gradient"], (weights * images.pixel_values).sum(1).flatten(1))
    assert model.head.weight.grad is None


def test_a_fill_that_draws_is_alike_for_every_method_and_leaves_the_generator_alone():
    model, images, adapter = Linear(), data(), ImageAdapter()
    before = torch.random.get_rng_state()
    how = {"levels": (0.5,), "fill": "uniform"}
    one, again = (predictions_under_removal(model, images, adapter, torch.ones(5, 4), **how) for _ in range(2))
    assert (one == again).all()
    assert torch.equal(torch.random.get_rng_state(), before)
    batch = {"pixel_values": images.pixel_values}
    constant = PixelTensors(torch.arange(2.0).repeat(2).view(2, 2).repeat(4, 3, 1, 1), torch.zeros(4).long())
    how = {"level": 1.0, "fill": "uniform", "batch_size": 2}
    removed = images_without_top(model, constant, adapter, torch.ones(4, 4), **how).pixel_values
    assert len(removed.flatten(1).unique(dim=0)) == 4  # every batch draws its own
    drawn = [remove_top(batch, adapter, torch.ones(5, 4), 0.5, "uniform", seed=seed)["pixel_values"] for seed in (0, 1)]
    assert not torch.equal(*drawn)


def test_columns_of_labels_are_classes():
    columns = PixelTensors(data().pixel_values, data().labels[:, None])
    scores = [pixel_scores(Linear(), rows, ImageAdapter(), methods=("gradient",)) for rows in (data(), columns)]
    assert torch.equal(scores[0]["gradient"], scores[1]["gradient"])


def test_the_batch_size_does_not_matter_and_modes_are_given_back():
    torch.manual_seed(0)
    config = MnistCnnConfig(image_size=8, channels=[2, 2], hidden_size=4, num_labels=5)
    model = MnistCnnForImageClassification(config).train()
    images = PixelTensors(torch.randn(5, 1, 8, 8), torch.arange(5))
    settings = AttributionSettings(baseline="constant", steps=4, samples=3, shap_samples=3, max_delta=float("inf"))
    methods = ("gradient", "integrated_gradients", "smooth_grad", "gradient_shap", "deep_lift", "deep_shap", "random")
    one, all_ = (
        pixel_scores(model, images, ImageAdapter(black=-0.4), methods=methods, settings=settings, batch_size=size)
        for size in (1, 5)
    )
    for method in methods:
        assert one[method].shape == (5, 64)
        torch.testing.assert_close(one[method], all_[method], atol=1e-5, rtol=1e-4)
    assert all(module.training for module in model.modules())


class LastStep(nn.Module):
    """A recurrent classifier of series, which reads nothing beyond a series' last real step."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.LSTM(2, 4, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, input_values, attention_mask=None):
        states = self.body(input_values)[0]
        if attention_mask is None:
            return {"logits": self.head(states[:, -1])}
        return {"logits": self.head(states[torch.arange(len(states)), attention_mask.sum(1) - 1])}


@pytest.mark.parametrize("baseline", ["zero", "uniform", "constant", "channel_mean"])
def test_series_of_unequal_length_are_scored_and_masked_as_if_alone(baseline):
    lengths = (9, 9, 4, 4, 6, 5)
    torch.manual_seed(1)
    rows = [{"input_values": torch.randn(length, 2) + 2, "labels": length % 3} for length in lengths]
    adapter, model, settings = SeriesAdapter(), LastStep(), AttributionSettings(steps=6, baseline=baseline)
    methods, levels = ("integrated_gradients", "random"), (0.0, 0.5, 0.9)
    one, pairs, all_ = (
        pixel_scores(model, rows, adapter, methods=methods, settings=settings, batch_size=size) for size in (1, 2, 6)
    )
    for method in methods:
        assert one[method].shape == (6, 18)
        assert not one[method][2, 8:].any()
        torch.testing.assert_close(one[method], pairs[method])
        torch.testing.assert_close(one[method], all_[method])
    removed = [
        predictions_under_removal(
            model, rows, adapter, one["random"], levels=levels, fill="channel_mean", batch_size=size
        ).tolist()
        for size in (1, 2, 6)
    ]
    assert removed[0] == removed[1] == removed[2]


def slow_predictions(model, images, scores, levels, fill):
    """Image by image and level by level, from the definition."""
    rows = []
    for pixels, score in zip(images.pixel_values, scores.tolist(), strict=True):
        row = []
        for level in levels:
            count = math.ceil(Fraction(str(level)) * 4)
            best = sorted(range(4), key=lambda i, score=score: (-abs(score[i]), i))[:count]
            changed = pixels.clone()
            for i in best:
                changed[:, i // 2, i % 2] = fill(pixels)
            row.append(int(model(changed[None])["logits"].argmax()))
        rows.append(row)
    return rows


@pytest.mark.parametrize(
    ("masking", "fill"),
    [
        ("constant", lambda pixels: torch.tensor([-1.0, -2.0, -3.0])),
        ("channel_mean", lambda pixels: pixels.mean((1, 2))),
    ],
)
def test_predictions_agree_with_the_definition(masking, fill):
    model, images, levels = Linear(), data(9), (0.0, 0.1, 0.3, 0.5, 0.75, 0.9)
    scores = torch.randn(9, 4).round()  # with ties
    adapter = ImageAdapter(black=[-1.0, -2.0, -3.0])
    found = predictions_under_removal(model, images, adapter, scores, levels=levels, fill=masking, batch_size=4)
    assert found.tolist() == slow_predictions(model, images, scores, levels, fill)


def test_roar_trains_on_what_is_left_and_is_tested_on_it():
    adapter, model, train, test = ImageAdapter(black=0.0), Linear(), data(6), data(4)
    scores = torch.rand(6, 4), torch.rand(4, 4)
    seen = []

    def retrain(images):
        seen.append(images)
        return model

    levels = (0.0, 0.5)
    found = retrained_predictions(
        retrain, model, adapter, train=(train, scores[0]), test=(test, scores[1]), levels=levels, fill="channel_mean"
    )
    # the same network again: what the plain removal of the same share predicts
    plain = predictions_under_removal(model, test, adapter, scores[1], levels=levels, fill="channel_mean")
    assert found.tolist() == plain.tolist()
    assert torch.equal(seen[0].pixel_values, train.pixel_values)
    changed = (seen[1].pixel_values != train.pixel_values).all(1).flatten(1)
    assert changed.sum(1).tolist() == [2] * 6
    assert torch.equal(seen[1].labels, train.labels)
    removed = images_without_top(model, train, adapter, scores[0], level=0.5, fill="constant", batch_size=4)
    assert (removed.pixel_values == 0).all(1).sum((1, 2)).tolist() == [2] * 6


class Counted(PixelTensors):
    """Remembers the batches that were asked for."""

    def __init__(self, images):
        super().__init__(images.pixel_values, images.labels)
        self.asked = []

    def __getitems__(self, indices):
        self.asked.append(len(indices))
        return [self[index] for index in indices]


def test_roar_keeps_to_the_batch_size():
    images = Counted(data(6))
    scores = torch.rand(6, 4)
    retrained_predictions(
        lambda _: Linear(), Linear(), ImageAdapter(), train=(images, scores), test=(images, scores), levels=(0.5,),
        batch_size=2,
    )  # fmt: skip
    assert images.asked == [2] * 6


def score(images, model=None, adapter=None, **how):
    return pixel_scores(model or Linear(), images, adapter or ImageAdapter(), methods=("gradient",), **how)


def remove(images, model=None, adapter=None, **how):
    nothing = torch.zeros(len(images), 4)
    return predictions_under_removal(model or Linear(), images, adapter or ImageAdapter(black=0.0), nothing, **how)


@pytest.mark.parametrize("measure", [score, remove])
def test_an_image_that_no_model_should_be_given_is_named_by_its_row(measure):
    """The batch's sixth image, and not the sixth of the data set."""
    images = [{"pixel_values": image, "labels": 0} for image in data(20).pixel_values]
    images[13]["pixel_values"][1, 0, 1] = torch.nan
    with pytest.raises(PixelError, match=r"image 5: holds NaN or infinity .* \[row 13 of the data set\]$"):
        measure(images, batch_size=8)
    images[13]["pixel_values"] = torch.zeros(3, 3, 2)
    with pytest.raises(PixelError, match=r"image 5: has \(3, 2\) pixels .* \[row 13 of the data set\]$"):
        measure(images, batch_size=8)


def test_a_series_that_is_not_finite_is_named_by_its_row():
    rows = [{"input_values": torch.full((4, 2), torch.nan if i == 13 else 0.0), "labels": 0} for i in range(20)]
    with pytest.raises(ValueError, match=r"of row 5 of the batch is nan .* \[row 13 of the data set\]$"):
        score(rows, LastStep(), SeriesAdapter(), batch_size=8)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_images_are_measured_in_the_models_own_precision(dtype):
    """Whatever floats the data set holds."""
    model, images = Linear().to(dtype), data(4).pixel_values
    for kind in (torch.float32, dtype):
        rows = [{"pixel_values": image.to(kind), "labels": 0} for image in images]
        assert score(rows, model)["gradient"].isfinite().all()
        assert remove(rows, model).size == 4 * len(LEVELS)


@pytest.mark.parametrize("measure", [score, remove])
def test_images_of_other_channels_than_the_models(measure):
    model = ConvNextForImageClassification(ConvNextConfig(hidden_sizes=[4], depths=[1], num_stages=1, num_channels=1))
    with pytest.raises(
        ValueError, match=r"images have 3 channels, .* being \(5, 3, 2, 2\), and the model takes 1: conv"
    ):
        measure(data(), model)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pixel_scores(Linear(), data(), ImageAdapter(), methods=("lime",)), r"unknown methods \['lime'\]"),
        (lambda: pixel_scores(Linear(), data(0), ImageAdapter(), methods=("gradient",)), "the data set is empty"),
        (
            lambda: pixel_scores(Linear(), data(), SeriesAdapter("x"), methods=("gradient",)),
            r"SeriesAdapter ranks 'x', and the forward of Linear takes \['pixel_values'.*as in SeriesAdapter\('x'\)",
        ),
        (
            lambda: pixel_scores(
                Linear(), PixelTensors(data().pixel_values, None), ImageAdapter(), methods=("gradient",)
            ),
            "a sample has no label",
        ),
        (
            lambda: images_without_top(
                Linear(), PixelTensors(data().pixel_values, None), ImageAdapter(), torch.zeros(5, 4), level=0.5
            ),
            "a sample has no label",
        ),
        (
            lambda: pixel_scores(Linear(), several_labels(), ImageAdapter(), methods=("random",)),
            r"labels are one class each, and these are torch.float32 of shape \(5, 3\)",
        ),
        (
            lambda: images_without_top(Linear(), data(), SeriesAdapter(), torch.zeros(5, 4), level=0.5),
            "ROAR is of images alone, and SeriesAdapter reads 'input_values'",
        ),
        (
            lambda: predictions_under_removal(Linear(), data(), ImageAdapter(), torch.zeros(5, 4)),
            "masking 'constant' paints pixels black",
        ),
        (
            lambda: predictions_under_removal(Linear(), data(), ImageAdapter(black=0.0), torch.zeros(4, 4)),
            "scores of 4 images and the data set has 5",
        ),
        *(
            (
                lambda shape=shape: predictions_under_removal(
                    Linear(), data(), ImageAdapter(black=0.0), torch.zeros(5, *shape)
                ),
                rf"a sample's scores have shape {re.escape(str(shape))} and it has 4 features",
            )
            for shape in ((1,), (3,), (2, 2), ())
        ),
        (
            lambda: predictions_under_removal(Linear(), data(), ImageAdapter(black=0.0), torch.zeros(5, 6)),
            r"a sample's scores have shape \(6,\) and it has 4 features",
        ),
        (
            lambda: predictions_under_removal(
                Linear(), data(), ImageAdapter(black=0.0), torch.tensor([0.0, 0, 0, torch.nan, 0])[:, None].expand(5, 4)
            ),
            "a score of row 3 of the data set is NaN or infinite",
        ),
        (lambda: score(data(), batch_size=0), "batch_size must be ≥ 1, got 0"),
        (
            lambda: score(PixelTensors(data().pixel_values, torch.tensor([0, 1, 2, 7, 0])), batch_size=2),
            "row 3 of the data set has the label 7, .* classes from 0 to 2, for the model has 3 outputs",
        ),
        (
            lambda: score(PixelTensors(data().pixel_values, torch.tensor([0, 1, 2, -100, 0])), batch_size=2),
            "row 3 of the data set has the label -100, .* classes from 0 on",
        ),
        (
            lambda: images_without_top(Linear(), data(), ImageAdapter(), torch.zeros(5, 1), level=0.5),
            "and it has 4 features",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


class OneOutput(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(12, 1)

    def forward(self, pixel_values):
        return {"logits": self.head(pixel_values.flatten(1))}


def test_a_network_of_one_output_predicts_no_class():
    zeros, adapter = PixelTensors(data().pixel_values, torch.zeros(5, dtype=torch.long)), ImageAdapter()
    for call in (
        lambda: predictions_under_removal(OneOutput(), zeros, adapter, torch.ones(5, 4), levels=(0.5,), fill="uniform"),
        lambda: pixel_scores(OneOutput(), zeros, adapter, methods=["gradient"]),
    ):
        with pytest.raises(ValueError, match=r"outputs of shape \(\d, 1\) .* K ≥ 2 for each"):
            call()


def test_a_fill_that_is_not_known_is_told_by_every_function():
    scores = torch.ones(5, 4)
    with pytest.raises(ValueError, match="black"):  # which is another number after every normalisation
        images_without_top(Linear(), data(), ImageAdapter(), scores, level=0.5, fill="constant")
    with pytest.raises(ValueError, match="unknown masking 'nope' for images"):
        remove_top({"pixel_values": data().pixel_values}, ImageAdapter(), scores, 0.5, "nope")


def test_a_row_without_a_label_is_named():
    rows = [data()[index] for index in range(5)]
    del rows[3]["labels"]
    with pytest.raises(ValueError, match=r"has no 'labels', and others have.*\[row 3 of the data set\]"):
        pixel_scores(Linear(), rows, ImageAdapter(), methods=["gradient"], batch_size=5)


class Observed(LastStep):
    def forward(self, input_values, observed, attention_mask=None):
        return super().forward(input_values * observed, attention_mask)


def test_a_series_may_have_columns_of_its_own_for_each_step():
    row = {"input_values": torch.randn(3, 2), "observed": torch.ones(3, 2), "labels": 0}
    rows = [row | {"attention_mask": mask} for mask in ([1, 1, 0], [1, 1, 1])]
    found = pixel_scores(Observed(), rows, SeriesAdapter(), methods=["gradient"])["gradient"]
    assert found.shape == (2, 6)
