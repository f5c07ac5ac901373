import math

import pytest
import torch
from torch import nn
from transformers import (
    ConvNextConfig,
    ConvNextForImageClassification,
    EfficientNetImageProcessor,
    MobileViTConfig,
    MobileViTForImageClassification,
    MobileViTImageProcessor,
    PPLCNetImageProcessor,
    ResNetConfig,
    ResNetForImageClassification,
    Trainer,
    TrainingArguments,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    ViTImageProcessorPil,
)

from sgt_hf import SaliencyGuidedTrainer, SaliencyGuidedTrainingArguments
from sgt_hf.adapters import ImageAdapter, adapter_for
from sgt_hf.data.pixels import PixelTensors
from sgt_hf.models.vision import (
    MnistCnnConfig,
    MnistCnnForImageClassification,
    TorchvisionConfig,
    TorchvisionForImageClassification,
)
from tests.trainer.runs import CHECKPOINTING


class Weighted(nn.Module):
    """Logit k is k + 1 times a fixed weight a channel, summed over the top row of pixels."""

    main_input_name = "pixel_values"
    channel = torch.tensor([1.0, -3.0, 0.5])

    def forward(self, pixel_values):
        top = (pixel_values[:, :, 0] * self.channel[:, None]).sum((1, 2))
        return torch.stack([top, 2 * top], dim=1)


def images(batch=2, size=(2, 3)):
    return torch.arange(batch * 3 * size[0] * size[1], dtype=torch.float32).view(batch, 3, *size)


def test_a_pixels_score_is_the_signed_sum_over_its_channels():
    pixels, labels = images(), torch.tensor([0, 1])
    adapter = ImageAdapter()
    scores = adapter.scores(Weighted(), {"pixel_values": pixels}, labels, target="label", reduction="signed_sum")
    assert scores.tolist() == [[-1.5, -1.5, -1.5, 0, 0, 0], [-3, -3, -3, 0, 0, 0]]
    sizes = adapter.scores(Weighted(), {"pixel_values": pixels}, labels, target="label", reduction="abs_sum")
    assert sizes[0].tolist() == [4.5, 4.5, 4.5, 0, 0, 0]


def mask(adapter, pixels, drop, masking):
    given = pixels.clone()
    found = adapter.mask({"pixel_values": pixels}, drop, masking)["pixel_values"]
    assert torch.equal(pixels, given)  # not changed
    return found


def test_a_dropped_pixel_loses_all_its_channels_and_the_others_none():
    pixels = images()
    drop = torch.zeros(2, 6, dtype=torch.bool)
    drop[0, 4] = drop[1, 0] = True
    where = drop.view(2, 1, 2, 3).expand_as(pixels)
    adapter = ImageAdapter(black=[-1.0, -2.0, -3.0])
    for masking in ("uniform", "channel_mean", "constant", "blur"):
        found = mask(adapter, pixels, drop, masking)
        assert torch.equal(found[~where], pixels[~where])
        assert found.shape == pixels.shape
    assert mask(adapter, pixels, drop, "constant")[0, :, 1, 1].tolist() == [-1, -2, -3]
    assert mask(adapter, pixels, drop, "channel_mean")[1, :, 0, 0].tolist() == [20.5, 26.5, 32.5]


def test_uniform_values_lie_in_the_range_of_the_sample_and_channel():
    torch.manual_seed(0)
    pixels = images(size=(8, 8))
    drop = torch.ones(2, 64, dtype=torch.bool)
    found = mask(ImageAdapter(), pixels, drop, "uniform")
    for b in range(2):
        for c in range(3):
            low, high = pixels[b, c].min(), pixels[b, c].max()
            assert low <= found[b, c].min() < low + 20
            assert high - 20 < found[b, c].max() <= high
    found = mask(ImageAdapter(value_range=([0, 10, 20], [1, 11, 21])), pixels, drop, "uniform")
    assert [found[:, c].floor().unique().tolist() for c in range(3)] == [[0], [10], [20]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"value_range": (3.0, -3.0)}, r"value_range must be \(low, high\) with low ≤ high .* got \(3\.0, -3\.0\)"),
        ({"value_range": ([0, 1, 0], [1, 0, 1])}, "low ≤ high in every channel"),
        ({"value_range": (0.0, math.nan)}, "each side of value_range must be a finite number"),
        ({"value_range": ([0, 0], [1, 1, 1])}, "value_range has 2 values for low and 3 for high"),
        ({"value_range": (0.0,)}, r"value_range must be \(low, high\), got \(0\.0,\)"),
        ({"black": math.nan}, "black must be a finite number, or one a channel, got nan"),
        ({"black": [0.0, math.inf, 0.0]}, "black must be a finite number"),
        ({"black": []}, "black must be a finite number"),
        ({"black": "x"}, "black must be a finite number, or one a channel, got 'x'"),
        ({"value_range": 0.5}, r"value_range must be \(low, high\), got 0\.5"),
    ],
)
def test_values_that_no_pixel_has_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ImageAdapter(**settings)


def test_a_range_of_another_number_of_channels_is_refused():
    adapter = ImageAdapter(value_range=([0, 0], 1))
    with pytest.raises(ValueError, match=r"value_range has 2 values a side, and the images have 3 channel\(s\)"):
        adapter.mask({"pixel_values": images()}, torch.ones(2, 6, dtype=torch.bool), "uniform")


def test_channels_last_images_stay_channels_last():
    pixels = images().to(memory_format=torch.channels_last)
    found = mask(ImageAdapter(black=0.0), pixels, torch.ones(2, 6, dtype=torch.bool), "constant")
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert mask(ImageAdapter(black=0.0), images(), torch.ones(2, 6, dtype=torch.bool), "constant").is_contiguous()


def test_black_is_read_off_the_image_processor():
    processor = ViTImageProcessor(image_mean=[0.5, 0.4, 0.0], image_std=[0.5, 0.2, 1.0])
    assert ImageAdapter(processor).constant == pytest.approx((-1, -2, 0))
    assert ImageAdapter(processor, black=7.0).constant == 7.0
    assert ImageAdapter(ViTImageProcessor(do_normalize=False)).constant == (0.0,)
    adapter = adapter_for(Weighted(), processor)
    assert isinstance(adapter, ImageAdapter)
    black = adapter.baseline_features(Weighted(), "constant", images(), torch.ones(2, 6, dtype=torch.bool))
    assert black[0, :, 1, 2].tolist() == pytest.approx([-1, -2, 0])


@pytest.mark.parametrize(
    ("processor", "black"),
    [
        (EfficientNetImageProcessor(), [-2]),  # −1 by mean and deviation, and by the deviation once more
        (EfficientNetImageProcessor(include_top=False), [-1]),
        (EfficientNetImageProcessor(include_top=False, do_normalize=False, rescale_offset=True), [-1]),
        (PPLCNetImageProcessor(image_mean=[0.1, 0.2, 0.3], image_std=[0.1] * 3), [-3, -2, -1]),  # blue first
        (MobileViTImageProcessor(), [0]),  # has no do_normalize
        (ViTImageProcessor(image_mean=[0.25], image_std=[0.5]), [-0.5]),
        (ViTImageProcessor(image_mean=[0.5] * 4, image_std=[0.5, 0.5, 0.5, 0.25]), [-1, -1, -1, -2]),
        (ViTImageProcessorPil(image_mean=[0.5, 0.4, 0.0], image_std=[0.5, 0.2, 1.0]), [-1, -2, 0]),
        (ViTImageProcessorPil(do_normalize=False), [0]),
    ],
)
def test_black_is_what_the_processor_makes_of_a_black_image(processor, black):
    assert ImageAdapter(processor).constant == pytest.approx(tuple(black), abs=1e-6)


class PadsWithGrey(ViTImageProcessor):
    def _preprocess(self, images, **settings):
        found = super()._preprocess(images, **settings)
        found["pixel_values"] = nn.functional.pad(torch.as_tensor(found["pixel_values"]), (0, 1))
        return found


class NeedsBoxes(ViTImageProcessor):
    def preprocess(self, images, boxes, **settings):
        raise NotImplementedError


def test_black_of_another_number_of_channels_is_refused():
    adapter, everything = ImageAdapter(black=[-1.0, -2.0, -3.0]), torch.ones(2, 6, dtype=torch.bool)
    for channels in (1, 4):
        pixels = torch.randn(2, channels, 2, 3)
        message = rf"constant \(black, of images\) has 3 values, and its input has {channels} channel"
        with pytest.raises(ValueError, match=message):
            adapter.mask({"pixel_values": pixels}, everything, "constant")
        with pytest.raises(ValueError, match=message):
            adapter.baseline_features(Weighted(), "constant", pixels, everything)
        assert mask(adapter, pixels, everything, "uniform").shape == pixels.shape  # which paints nothing black


def test_where_black_is_not_known_it_is_not_guessed():
    adapter = ImageAdapter()
    adapter.check(masking="uniform", granularity="token")
    everything = torch.ones(2, 6, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"masking 'constant' paints pixels black, .* not known: ImageAdapter\("):
        adapter.check(masking="constant", granularity="token")
    with pytest.raises(ValueError, match="baseline 'constant' paints pixels black"):
        adapter.baseline_features(Weighted(), "constant", images(), everything)
    assert adapter.baseline_features(Weighted(), "channel_mean", images(), everything)[0, 0].unique().tolist() == [2.5]


class Unnamed:
    do_normalize = True


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ImageAdapter(Unnamed()), "Unnamed normalises and names no image_mean and image_std: give black="),
        (
            lambda: ImageAdapter(PadsWithGrey()),
            r"PadsWithGrey makes \[-1.0, -1.0, -1.0\] to \[0.0, 0.0, 0.0\] of a black image's channels",
        ),
        (
            lambda: ImageAdapter(NeedsBoxes()),
            r"NeedsBoxes cannot process a black image \(TypeError.*boxes.*\): give ImageAdapter\(black=",
        ),
        (
            lambda: ImageAdapter().check(masking="previous", granularity="token"),
            r"unknown masking 'previous' for images: use one of \['blur', 'channel_mean', 'constant', 'uniform'\]",
        ),
        (lambda: ImageAdapter().check(masking="uniform", granularity="word"), "granularity 'word' is for text"),
        (lambda: ImageAdapter().eligible({"pixel_values": torch.zeros(2, 4, 4)}), r"\(2, 4, 4\) instead of \(B, C"),
    ],
)
def test_what_cannot_work_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def make(family):
    torch.manual_seed(0)
    small = {"num_labels": 3, "image_size": 16}
    if family == "vit":
        layers = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
        return ViTForImageClassification(ViTConfig(**small, **layers, patch_size=4))
    if family == "convnext":
        return ConvNextForImageClassification(
            ConvNextConfig(**small, hidden_sizes=[4, 4, 8, 8], depths=[1, 1, 1, 1], num_stages=4, patch_size=2)
        )
    if family == "resnet":
        settings = {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "layer_type": "basic"}
        return ResNetForImageClassification(ResNetConfig(num_labels=3, **settings))
    if family == "mobilevit":  # whose blocks, BatchNorms inside, can be checkpointed
        widths = {"hidden_sizes": [8, 8, 8], "neck_hidden_sizes": [8, 8, 8, 8, 8, 8, 16], "num_attention_heads": 2}
        rates = ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout_prob")
        return MobileViTForImageClassification(MobileViTConfig(**small, **widths, **dict.fromkeys(rates, 0.0)))
    if family == "mnist_cnn":
        return MnistCnnForImageClassification(
            MnistCnnConfig(image_size=16, num_channels=3, channels=[4, 4], hidden_size=8, num_labels=3)
        )
    architecture, _, stem = family.partition("-")
    return TorchvisionForImageClassification(
        TorchvisionConfig(architecture=architecture, num_labels=3, small_images=bool(stem))
    )


def data(count=8, size=16):
    torch.manual_seed(1)
    return PixelTensors(torch.randn(count, 3, size, size), torch.arange(count) % 3)


def trainer(model, tmp_path, *, kind=SaliencyGuidedTrainer, **settings):
    common = {"output_dir": tmp_path, "report_to": "none", "disable_tqdm": True, "save_strategy": "no", "seed": 0}
    args = (TrainingArguments if kind is Trainer else SaliencyGuidedTrainingArguments)(
        **common, per_device_train_batch_size=4, num_train_epochs=1, logging_steps=1, use_cpu=True, **settings
    )
    return kind(model=model, args=args, train_dataset=data())


@pytest.mark.parametrize("family", ["vit", "resnet", "convnext", "mnist_cnn", "resnet18-small", "shufflenet_v2_x0_5"])
def test_it_trains(tmp_path, family):
    model = make(family)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    guided = trainer(model, tmp_path)
    assert isinstance(guided.adapter, ImageAdapter)
    assert guided.masking == "uniform"
    guided.train()
    logged = [entry for entry in guided.state.log_history if "sgt_kl" in entry]
    assert len(logged) == 2
    assert all(entry["sgt_kl"] >= 0 and entry["loss"] > 0 for entry in logged)
    changed = [name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])]
    assert changed


@pytest.mark.parametrize("update", [False, True])
def test_the_masked_pass_leaves_the_running_statistics(tmp_path, update):
    """Of one step with a learning rate of 0 the clean batch alone decides them, as in a plain step."""

    def statistics(**settings):
        model = make("resnet18-small")
        trainer(model, tmp_path, learning_rate=0.0, max_steps=1, **settings).train()
        return [buffer.clone() for name, buffer in model.named_buffers() if "running" in name or "tracked" in name]

    plain = statistics(sgt_kl_weight=0.0)
    guided = statistics(sgt_update_statistics=update)
    same = [torch.equal(one, other) for one, other in zip(plain, guided, strict=True)]
    assert all(same) is not update


@pytest.mark.parametrize("settings", [{}, {"sgt_save_memory": True}])
def test_gradient_checkpointing_with_batch_norms_inside_changes_no_weight(tmp_path, settings):
    weights = []
    for checkpointing in (False, True):
        model = make("mobilevit")
        trainer(model, tmp_path, learning_rate=1e-3, **{CHECKPOINTING: checkpointing}, **settings).train()
        weights.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    torch.testing.assert_close(*weights, atol=1e-6, rtol=0)


def test_what_checkpointing_runs_again_of_the_masked_pass_leaves_the_running_statistics(tmp_path):
    """By branch a clean batch counts once in the forward and once where it is run again, as in a plain step."""

    def statistics(**settings):
        model = make("mobilevit")
        trainer(model, tmp_path, learning_rate=0.0, max_steps=1, **{CHECKPOINTING: True}, **settings).train()
        return [buffer.clone() for buffer in model.buffers()]

    plain, guided = statistics(sgt_kl_weight=0.0), statistics(sgt_save_memory=True)
    assert all(torch.equal(one, other) for one, other in zip(plain, guided, strict=True))


def test_without_guidance_it_is_trainer(tmp_path):
    losses = []
    for kind, settings in ((Trainer, {}), (SaliencyGuidedTrainer, {"sgt_kl_weight": 0.0})):
        run = trainer(make("resnet"), tmp_path, kind=kind, **settings)
        run.train()
        losses.append([entry["loss"] for entry in run.state.log_history if "loss" in entry])
    assert losses[0] == losses[1]


def test_bad_images_stop_the_training_by_name(tmp_path):
    for spoil, message in (
        (lambda pixels: pixels.masked_fill(pixels == pixels.max(), torch.nan), "holds NaN or infinity"),
        (lambda pixels: pixels.to(torch.uint8), "is torch.uint8: scale it to floats"),
    ):
        run = trainer(make("resnet"), tmp_path)
        run.train_dataset = PixelTensors(spoil(data().pixel_values), data().labels)
        with pytest.raises(ValueError, match=message):
            run.train()
    run = trainer(make("mnist_cnn"), tmp_path)
    run.train_dataset = PixelTensors(data().pixel_values[:, :1], data().labels)
    with pytest.raises(ValueError, match=r"images have 1 channels, .* being \(4, 1, 16, 16\), and the model takes 3"):
        run.train()
