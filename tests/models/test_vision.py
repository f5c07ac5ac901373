import pytest
import torch
import torchvision
from torch import nn
from transformers import AutoModelForImageClassification

from sgt_hf.adapters import ImageAdapter
from sgt_hf.attribution import ATTRIBUTIONS, AttributionSettings, Point
from sgt_hf.attribution.completeness import relative_delta
from sgt_hf.models.torchvision_networks import build_network
from sgt_hf.models.vision import (
    MnistCnnConfig,
    MnistCnnForImageClassification,
    TorchvisionConfig,
    TorchvisionForImageClassification,
)
from sgt_hf.modes import evaluating


def cnn(**settings):
    torch.manual_seed(0)
    small = {"image_size": 8, "channels": [3, 4], "hidden_size": 5, "num_labels": 10}
    return MnistCnnForImageClassification(MnistCnnConfig(**small | settings))


def resnet(**settings):
    torch.manual_seed(0)
    return TorchvisionForImageClassification(TorchvisionConfig(small_images=True, num_labels=3, **settings))


def test_the_mnist_network_is_the_protocols():
    network = MnistCnnForImageClassification(MnistCnnConfig(num_labels=10)).network
    assert [type(module).__name__ for module in network] == (
        "Conv2d ReLU Conv2d ReLU MaxPool2d Dropout Flatten Linear ReLU Dropout Linear".split()
    )
    assert sum(parameter.numel() for parameter in network.parameters()) == (
        (9 + 1) * 32 + (9 * 32 + 1) * 64 + (64 * 12 * 12 + 1) * 128 + (128 + 1) * 10
    )
    assert [module.p for module in network if isinstance(module, nn.Dropout)] == [0.25, 0.5]


def test_its_first_output_on_paper():
    """Weights of one: every path from pixel to logit counts one."""
    model = MnistCnnForImageClassification(
        MnistCnnConfig(image_size=6, channels=[1, 1], hidden_size=1, num_labels=2, conv_dropout=0.0, dropout=0.0)
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(0.0 if name.endswith("bias") else 1.0)
    outputs = model(torch.ones(1, 1, 6, 6), labels=torch.tensor([1]))
    assert outputs.logits.tolist() == [[81.0, 81.0]]  # 9 · 9 in each of the 2 × 2 positions, their maximum
    assert outputs.loss.item() == pytest.approx(torch.tensor(2.0).log().item())


@pytest.mark.parametrize("method", ["deep_lift", "deep_shap", "integrated_gradients"])
def test_attributions_of_the_mnist_network_are_complete(method):
    model = cnn()
    pixels = torch.randn(3, 1, 8, 8)
    adapter = ImageAdapter(black=-0.4)
    point = Point(pixels, torch.ones(3, 64, dtype=torch.bool), torch.tensor([0, 4, 9]), [0, 1, 2])
    settings = AttributionSettings(baseline="constant", steps=400, shap_baselines=3)
    with evaluating(model):
        found = ATTRIBUTIONS[method](model, adapter, {"pixel_values": pixels}, point, settings)
        if method != "deep_shap":  # whose baselines are drawn
            black = torch.full_like(pixels, -0.4)
            change = (model(pixel_values=pixels).logits - model(pixel_values=black).logits)[range(3), [0, 4, 9]]
            tolerance = 1e-4 if method == "deep_lift" else 2e-2
            torch.testing.assert_close(found.values.flatten(1).sum(1), change, atol=tolerance, rtol=tolerance)
    assert relative_delta(found, dim=1).max() < (1e-3 if method != "integrated_gradients" else 5e-2)


def regnet(**settings):
    torch.manual_seed(0)
    return TorchvisionForImageClassification(TorchvisionConfig(architecture="regnet_y_400mf", num_labels=3, **settings))


@pytest.mark.parametrize("make", [cnn, resnet, regnet, lambda: regnet(num_channels=1)])
def test_saved_and_loaded_through_auto_it_is_the_same(tmp_path, make):
    model = make().eval()
    model.save_pretrained(tmp_path)
    again = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    assert type(again) is type(model)
    own, loaded = model.state_dict(), again.state_dict()
    assert list(own) == list(loaded)
    assert all(torch.equal(own[name], loaded[name]) for name in own)
    pixels = torch.randn(2, model.config.num_channels, 8, 8)  # on some CPUs weights that lie elsewhere round otherwise
    assert torch.allclose(model(pixels).logits, again(pixels).logits, atol=1e-7)


@pytest.mark.parametrize("settings", [{}, {"num_labels": 2}, {"num_labels": 3}, {"id2label": {0: "a", 1: "b", 2: "c"}}])
def test_a_configuration_keeps_its_classes(tmp_path, settings):
    config = MnistCnnConfig(**settings)
    config.save_pretrained(tmp_path)
    again = MnistCnnConfig.from_pretrained(tmp_path)
    assert again.num_labels == config.num_labels == settings.get("num_labels", len(settings.get("id2label", "ab")))
    assert again.id2label == config.id2label
    assert MnistCnnConfig.from_pretrained(tmp_path, num_labels=4).num_labels == 4


def test_another_head_is_initialised_and_the_body_kept(tmp_path):
    model = resnet()
    model.save_pretrained(tmp_path)
    wider = AutoModelForImageClassification.from_pretrained(tmp_path, num_labels=7, ignore_mismatched_sizes=True)
    assert torch.equal(wider.network.conv1.weight, model.network.conv1.weight)
    assert wider.network.fc.weight.shape == (7, 512)
    bound = 512**-0.5
    assert wider.network.fc.weight.abs().max() <= bound
    assert wider.network.fc.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)


def test_from_the_configuration_it_starts_as_torchvision_does():
    torch.manual_seed(0)
    ours = TorchvisionForImageClassification(TorchvisionConfig(architecture="resnet18", num_labels=3))
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(num_classes=3)
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.network.state_dict()[name], value), name


@pytest.mark.parametrize("architecture", ["resnet18", "resnet50"])
def test_residual_blocks_are_torchvisions_but_for_their_activations(architecture):
    torch.manual_seed(0)
    ours = build_network(architecture, num_labels=3)
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(architecture, num_classes=3)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    pixels = torch.randn(2, 3, 32, 32)
    for training in (True, False):  # which also moves the running means alike
        assert torch.equal(ours.train(training)(pixels), theirs.train(training)(pixels))


@pytest.mark.parametrize("method", ["deep_lift", "deep_shap"])
def test_deep_lift_is_complete_on_a_resnet_for_small_images(method):
    model = resnet()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):  # so that every branch counts
                module.running_mean.normal_()
                module.bias.normal_()
    pixels, labels = torch.randn(3, 3, 8, 8), torch.tensor([0, 1, 2])
    point = Point(pixels, torch.ones(3, 64, dtype=torch.bool), labels, [0, 1, 2])
    settings = AttributionSettings(baseline="constant", shap_baselines=3)
    with evaluating(model), torch.no_grad():
        logits = model(torch.cat([pixels, torch.full((1, 3, 8, 8), -0.4)])).logits
    with evaluating(model):
        found = ATTRIBUTIONS[method](model, ImageAdapter(black=-0.4), {"pixel_values": pixels}, point, settings)
    assert relative_delta(found, dim=1).max() < 1e-4
    if method == "deep_lift":
        gained = (logits[:3] - logits[3]).gather(1, labels[:, None])[:, 0]
        torch.testing.assert_close(found.values.flatten(1).sum(1), gained, rtol=1e-3, atol=1e-3)


def test_the_stem_for_small_images():
    network = resnet().network
    assert (network.conv1.kernel_size, network.conv1.stride, network.conv1.padding) == ((3, 3), (1, 1), (1, 1))
    assert isinstance(network.maxpool, nn.Identity)
    with torch.no_grad():
        assert network.layer1(network.conv1(torch.zeros(1, 3, 32, 32))).shape == (1, 64, 32, 32)


def test_grey_images_get_a_first_convolution_of_their_own():
    model = TorchvisionForImageClassification(
        TorchvisionConfig(architecture="squeezenet1_1", num_channels=1, num_labels=4)
    )
    assert model.network.features[0].weight.shape == (64, 1, 3, 3)
    assert model.network.features[0].stride == (2, 2)
    assert model(torch.zeros(1, 1, 48, 48)).logits.shape == (1, 4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: resnet(architecture="resnet19"), "torchvision has no classifier 'resnet19': use one of"),
        (lambda: resnet(architecture="googlenet"), "'googlenet' returns several outputs while training"),
        (lambda: resnet(architecture="squeezenet1_1"), "a stem for ResNets, and 'squeezenet1_1' is none"),
        (lambda: MnistCnnConfig(image_size=5), "image_size must be ≥ 6 pixels, got 5"),
        (lambda: MnistCnnConfig(num_channels=0), "num_channels must be ≥ 1, got 0"),
        (lambda: TorchvisionConfig(num_channels=0), "num_channels must be ≥ 1, got 0"),
        (lambda: MnistCnnConfig(num_labels=1), "num_labels=1 is a regression"),
        (lambda: TorchvisionConfig(problem_type="regression"), "problem_type='regression' .* is a regression"),
        (lambda: cnn()(torch.zeros(2, 1, 16, 8)), r"images of 8 × 8 pixels, got 16 × 8: resize them, or set"),
        (lambda: cnn()(torch.zeros(2, 3, 8, 8)), r"takes pixel_values of shape \(B, 1, H, W\), got \(2, 3, 8, 8\)"),
    ],
)
def test_what_cannot_work_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_several_labels_at_once():
    model = cnn(num_labels=3, problem_type="multi_label_classification", conv_dropout=0.0, dropout=0.0)
    pixels, labels = torch.randn(2, 1, 8, 8), torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    outputs = model(pixels, labels=labels)
    expected = nn.functional.binary_cross_entropy_with_logits(outputs.logits, labels)
    assert torch.equal(outputs.loss, expected)
    assert torch.equal(model.eval()(pixels, labels=labels.long()).loss, model(pixels, labels=labels).loss)
