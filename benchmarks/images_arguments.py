"""Options of `benchmarks/images.py`, and for each data set what stands where an option has no default."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import datasets

from benchmarks.images_tables import ARMS
from sgt_hf.adapters.dense import BASELINES
from sgt_hf.attribution import method_names
from sgt_hf.data.cifar10 import load_cifar10
from sgt_hf.data.digits import DIGITS, load_bundled_digits
from sgt_hf.data.image_folder import load_image_folder
from sgt_hf.data.images import CIFAR10, IMAGENET, MNIST, PixelRecipe
from sgt_hf.data.mnist import load_mnist
from sgt_hf.metrics.accuracy_drop import area_under_accuracy

SPLITS = ("test", "validation")
# Options that count something, that are more than nothing, and that list what is trained.
COUNTS = (
    *("batch_size", "train_images", "test_images", "gradient_images", "method_images"),
    *("ig_steps", "smooth_grad_samples", "shap_samples", "shap_baselines"),
)
AMOUNTS = ("epochs", "fine_tuning_epochs", "roar_epochs", "learning_rate")
LISTS = ("seeds", "arms")
METHODS = ("gradient", "integrated_gradients", "deep_lift", "gradient_shap", "deep_shap", "smooth_grad", "random")


@dataclass(frozen=True)
class Recipe:
    """What is right for one data set."""

    pixels: PixelRecipe
    network: str
    load: Callable[[str | None], datasets.DatasetDict]
    epochs: float
    fine_tuning_epochs: float
    batch_size: int = 64
    learning_rate: float = 2e-3
    optimizer: str = "adamw_torch"
    scheduler: str = "linear"
    weight_decay: float = 0.0


def _needed(data_dir: str | None, name: str) -> str:
    if data_dir is None:
        raise ValueError(f"{name} is read from a folder: pass --data-dir")
    return data_dir


RECIPES = {
    "digits": Recipe(DIGITS, "mnist_cnn", lambda _: load_bundled_digits(), 20, 7, batch_size=32),
    "mnist": Recipe(MNIST, "mnist_cnn", load_mnist, 5, 2, batch_size=128),
    "cifar10": Recipe(
        CIFAR10,
        "resnet18_32",
        lambda folder: load_cifar10(_needed(folder, "CIFAR-10")),
        *(200, 70, 128, 0.1, "sgd", "steps", 1e-4),
    ),
    "bird": Recipe(
        IMAGENET,
        "vgg16",
        lambda folder: load_image_folder(_needed(folder, "an image folder")).shuffle(seed=0),  # it is sorted by class
        *(30, 10, 32, 1e-3, "sgd", "linear", 1e-4),
    ),
}


@dataclass
class ImagesArguments:
    """What to run; where an option has no default here, the data set's recipe has one."""

    dataset: str = field(default="digits", metadata={"help": "digits (bundled), mnist, cifar10 or bird."})
    data_dir: str | None = field(
        default=None,
        metadata={"help": "mnist: the idx files, downloaded without it; cifar10: the parquet files; bird: images."},
    )
    arms: list[str] = field(
        default_factory=lambda: ["plain", "guided", "fine_tuned"], metadata={"help": ", ".join(ARMS) + "."}
    )
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2], metadata={"help": "One training per seed and arm."})
    methods: list[str] = field(
        default_factory=lambda: list(METHODS),
        metadata={"help": "Measured on the first method_images test images; none: trainings alone."},
    )
    output_dir: str = field(default="runs/images", metadata={"help": "Where cells, tables and figures go."})
    weights_dir: str = field(default="runs/images/weights", metadata={"help": "Where trained weights are kept."})
    network: str | None = field(
        default=None, metadata={"help": "mnist_cnn, resnet18_32 or torchvision's own name, such as vgg16."}
    )
    pretrained: str | None = field(default=None, metadata={"help": "torchvision's weights, such as IMAGENET1K_V1."})
    epochs: float | None = field(default=None, metadata={"help": "Of a training from scratch."})
    fine_tuning_epochs: float | None = field(default=None, metadata={"help": "Guided, of the arm fine_tuned."})
    batch_size: int | None = field(default=None, metadata={"help": "Images per training step."})
    learning_rate: float | None = field(default=None, metadata={"help": "At its highest."})
    bf16: bool = field(
        default=False,
        metadata={"help": "Train under bfloat16 autocast, and measure accuracy and gradient; the rest is in float32."},
    )
    train_images: int | None = field(default=None, metadata={"help": "At most this many, drawn at random."})
    split: str = field(
        default="test",
        metadata={"help": "What is measured: test, or validation, as many rows drawn from the training set, once."},
    )
    test_images: int | None = field(default=None, metadata={"help": "At most this many, the first."})
    gradient_images: int = field(default=10_000, metadata={"help": "The first of the test images, for the gradient."})
    method_images: int = field(default=1_000, metadata={"help": "The first of the test images, for other methods."})
    baseline: str = field(
        default="constant", metadata={"help": "Of IG, DeepLIFT and the SHAPs: constant (black), zero or uniform."}
    )
    ig_steps: int = field(default=50, metadata={"help": "Steps of integrated gradients."})
    smooth_grad_samples: int = field(default=25, metadata={"help": "Noisy copies of SmoothGrad."})
    shap_samples: int = field(default=25, metadata={"help": "Points of GradientSHAP."})
    shap_baselines: int = field(default=5, metadata={"help": "Baselines of the SHAPs."})
    roar_levels: list[float] = field(
        default_factory=list, metadata={"help": "Shares removed in IID, OOD and ROAR, such as 0 .5 .9; none: no ROAR."}
    )
    roar_epochs: float = field(default=1, metadata={"help": "Of each of ROAR's retrainings."})

    def __post_init__(self) -> None:
        """Refuse what would fail after the training, or be taken for something else."""
        if self.dataset not in RECIPES:
            raise ValueError(f"unknown data set {self.dataset!r}: use one of {list(RECIPES)}")
        if self.split not in SPLITS:
            raise ValueError(f"unknown split {self.split!r}: use one of {list(SPLITS)}")
        unknown = sorted(set(self.arms) - set(ARMS))
        if unknown:
            raise ValueError(f"unknown arms {unknown}: use {list(ARMS)}")
        baselines = [*BASELINES, "zero", "uniform"]
        if self.baseline not in baselines:
            raise ValueError(f"unknown baseline {self.baseline!r}: use one of {baselines}")
        self.methods = [] if self.methods == ["none"] else method_names(self.methods)
        self._refuse_numbers()
        if self.roar_levels:
            area_under_accuracy([0.0] * len(self.roar_levels), self.roar_levels)
        if self.roar_levels and "plain" not in self.arms:
            raise ValueError(f"--roar_levels explains the plain model and --arms is {self.arms}: add plain to it")
        for name in ("epochs", "fine_tuning_epochs", "roar_epochs"):
            setattr(self, name, _whole(getattr(self, name)))

    def _refuse_numbers(self) -> None:
        """A zero is no "as the recipe has it", and the same training twice is no second one."""
        for name in COUNTS:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"--{name} must be ≥ 1, got {value}")
        for name in AMOUNTS:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"--{name} must be > 0, got {value}")
        for name in LISTS:
            values = getattr(self, name)
            if not values:
                raise ValueError(f"--{name} is empty: name at least one")
            if len(set(values)) < len(values):
                raise ValueError(f"--{name} must differ, got {values}: the same training twice is no second one")


def _whole(epochs: float | None) -> float | None:
    """20.0 as 20: what is typed then names the same cell as what the recipe has."""
    return int(epochs) if epochs is not None and float(epochs).is_integer() else epochs
