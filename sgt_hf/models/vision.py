"""Image classifiers with the interface of a Hugging Face model: the paper's MNIST network, and torchvision's own.

References:
    Ismail et al. 2021, supplement, Image classification: a small CNN for MNIST, ResNet-18 for CIFAR-10, VGG-16 with a
    new head for BIRD.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutput

from .classifier import classification_loss, refuse_regression
from .torchvision_networks import build_network, fetch_weights, load_body

_SMALLEST_IMAGE = 6  # two unpadded 3 × 3 convolutions, and a pooling of 2


class MnistCnnConfig(PretrainedConfig):
    """Settings of `MnistCnnForImageClassification`.

    Args:
        num_channels: Of the images, at least 1.
        image_size: Height and width in pixels, at least 6.
        channels: Of the two convolutions.
        hidden_size: Width of the layer between them and the output.
        conv_dropout: Probability in [0, 1), after the pooling.
        dropout: Probability in [0, 1), before the output layer.

    Raises:
        ValueError: The image is too small for the network or has no channel, or the configuration asks for regression.
    """

    model_type = "mnist_cnn"

    num_channels: int = 1
    image_size: int = 28
    channels: tuple[int, int] | list[int] = (32, 64)
    hidden_size: int = 128
    conv_dropout: float = 0.25
    dropout: float = 0.5

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.image_size < _SMALLEST_IMAGE:
            raise ValueError(f"image_size must be ≥ {_SMALLEST_IMAGE} pixels, got {self.image_size}")
        _refuse_no_channels(self)
        refuse_regression(self, "an image classifier")


class _ImageClassifier(PreTrainedModel):
    """What both models share: `pixel_values` in, logits and cross-entropy out."""

    main_input_name = "pixel_values"
    network: nn.Module

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> ImageClassifierOutput:
        """Classify a batch.

        Args:
            pixel_values: (B, C, H, W) float, normalised.
            labels: (B,) int64 class indices, or (B, K) float 0/1 of a multi-label task; None for no loss.

        Raises:
            ValueError: The images have another number of channels, or another size, than the model.
        """
        expected = self.config.num_channels
        if pixel_values.dim() != 4 or pixel_values.shape[1] != expected:
            raise ValueError(
                f"{type(self).__name__} takes pixel_values of shape (B, {expected}, H, W), got "
                f"{tuple(pixel_values.shape)}: convert the images to {expected} channels, or set num_channels"
            )
        self._require_size(pixel_values)
        logits = self.network(pixel_values)
        loss = None if labels is None else classification_loss(self.config, logits, labels)
        return ImageClassifierOutput(loss=loss, logits=logits)

    def _require_size(self, pixel_values: Tensor) -> None:
        """Refuse images of a size that the network does not take; most take any."""

    def _init_weights(self, module: nn.Module) -> None:
        # torch's own defaults; transformers' (deviation 0.02) stall a convolutional network. Transformers guards
        # torch.nn.init here, so that what a checkpoint has filled stays.
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()


class MnistCnnForImageClassification(_ImageClassifier):
    """conv 3×3 – ReLU – conv 3×3 – ReLU – maxpool 2 – dropout – linear – ReLU – dropout – linear.

    Every activation and pooling is a module of its own, which is what DeepLIFT can hook.

    Example:
        >>> import torch
        >>> model = MnistCnnForImageClassification(MnistCnnConfig(num_labels=10))
        >>> model(torch.zeros(2, 1, 28, 28)).logits.shape
        torch.Size([2, 10])
    """

    config_class = MnistCnnConfig

    def __init__(self, config: MnistCnnConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels or 2
        first, second = config.channels
        side = _pooled(config.image_size)
        self.network = nn.Sequential(
            nn.Conv2d(config.num_channels, first, 3),
            nn.ReLU(),
            nn.Conv2d(first, second, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout(config.conv_dropout),
            nn.Flatten(),
            nn.Linear(second * side * side, config.hidden_size),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden_size, self.num_labels),
        )
        self.post_init()

    def _require_size(self, pixel_values: Tensor) -> None:
        size = self.config.image_size
        height, width = pixel_values.shape[2:]
        if not _pooled(height) == _pooled(width) == _pooled(size):
            raise ValueError(
                f"{type(self).__name__} takes images of {size} × {size} pixels, got {height} × {width}: resize them, "
                "or set image_size"
            )


class TorchvisionConfig(PretrainedConfig):
    """Settings of `TorchvisionForImageClassification`.

    Args:
        architecture: torchvision's own name of a classifier, `torchvision.models.list_models(torchvision.models)`.
        num_channels: Of the images, at least 1; where it is not 3, the first convolution is made anew for it.
        small_images: For 32 × 32 images, ResNets only: a stem of one 3 × 3 convolution with stride 1, no max pooling.

    Raises:
        ValueError: The images have no channel, or the configuration asks for regression.
    """

    model_type = "torchvision_classifier"

    architecture: str = "resnet18"
    num_channels: int = 3
    small_images: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        _refuse_no_channels(self)
        refuse_regression(self, "an image classifier")


class TorchvisionForImageClassification(_ImageClassifier):
    """A classifier of torchvision with `config.num_labels` outputs, initialised as torchvision does.

    The parameters have torchvision's names. The blocks of ResNets have an activation module for each place, so that
    DeepLIFT takes those whose pooling does not overlap, as with `small_images`.

    `from_torchvision` starts from torchvision's pretrained weights; `from_pretrained` loads what was saved.

    Raises:
        ValueError: torchvision has no such classifier, it returns several outputs, or a setting does not fit it.

    Example:
        >>> import torch
        >>> config = TorchvisionConfig(architecture="resnet18", small_images=True, num_labels=10)
        >>> model = TorchvisionForImageClassification(config).eval()
        >>> model(torch.zeros(1, 3, 32, 32)).logits.shape
        torch.Size([1, 10])
    """

    config_class = TorchvisionConfig

    def __init__(self, config: TorchvisionConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels or 2
        self.network = build_network(
            config.architecture,
            num_labels=self.num_labels,
            num_channels=config.num_channels,
            small_images=config.small_images,
        )
        for module in self.network.modules():
            if not any(parameter.is_meta for parameter in module.parameters()):
                setattr(module, "_is_hf_initialized", True)  # noqa: B010  by torchvision; nothing left for `_init_weights`
        self.post_init()

    @classmethod
    def from_torchvision(
        cls, architecture: str, *, weights: str | None = None, **settings: Any
    ) -> TorchvisionForImageClassification:
        """Build a classifier from torchvision's pretrained weights, with a fresh output layer for `num_labels` classes.

        Args:
            architecture: See `TorchvisionConfig`.
            weights: Name of the weights, such as `IMAGENET1K_V1` or `DEFAULT`; None for random ones. They are
                downloaded into torch's hub cache (`TORCH_HOME`) once.
            **settings: Of `TorchvisionConfig`, `num_labels` and `id2label` included.

        Raises:
            ValueError: torchvision has no such classifier or weights, or the weights do not fit the settings.
            ConnectionError: The weights are not in the cache and cannot be downloaded.
        """
        model = cls(TorchvisionConfig(architecture=architecture, **settings))
        if weights is not None:
            load_body(model.network, fetch_weights(architecture, weights), f"{architecture} {weights}")
        return model


VISION_MODELS: dict[type[PretrainedConfig], type[PreTrainedModel]] = {
    MnistCnnConfig: MnistCnnForImageClassification,
    TorchvisionConfig: TorchvisionForImageClassification,
}


def _pooled(length: int) -> int:
    """Height or width of what the MNIST network's convolutions and pooling leave of an image."""
    return (length - 4) // 2


def _refuse_no_channels(config: MnistCnnConfig | TorchvisionConfig) -> None:
    if config.num_channels < 1:
        raise ValueError(f"num_channels must be ≥ 1, got {config.num_channels}")
