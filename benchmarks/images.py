"""Saliency guided training against plain training on images: accuracy, and how it drops as salient pixels go black.

Three kinds of cells, each one JSON, skipped when it is there: one training per data set, arm and seed, with its
gradient measured; the saliency methods of each trained model; and, for the first seed's plain model, IID, OOD and
ROAR. Trained weights are kept in `--weights-dir`, so that a later cell need not train again.

    python benchmarks/images.py                                  # scikit-learn's 8 × 8 digits, 3 seeds, two minutes
    python benchmarks/images.py --dataset mnist --data-dir ../shared/data/mnist --seeds 0 1 2 3 4
    python benchmarks/images.py --dataset cifar10 --data-dir ../shared/data/cifar10
    python benchmarks/images.py --dataset bird --data-dir BIRD    # any folder train/CLASS/NAME.jpg, test/CLASS/NAME.jpg
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import datasets
from tqdm.auto import tqdm
from transformers import HfArgumentParser
from transformers.utils import logging as transformers_logging

from benchmarks.common import CONTROLS, PLAIN, cell_path, run_cell, set_knobs
from benchmarks.images_cell import Methods, run_methods, run_roar, run_training
from benchmarks.images_figures import write_figures
from benchmarks.images_report import write_images_report
from benchmarks.images_tables import ARMS, tables
from benchmarks.images_training import Cell, Images
from sgt_hf import PRESETS, SaliencyGuidedArguments
from sgt_hf.atomic import write_atomically
from sgt_hf.data.cifar10 import load_cifar10
from sgt_hf.data.digits import DIGITS, load_bundled_digits
from sgt_hf.data.image_folder import load_image_folder
from sgt_hf.data.images import CIFAR10, IMAGENET, MNIST, PixelDataset, PixelRecipe
from sgt_hf.data.mnist import load_mnist
from sgt_hf.data.pixels import PixelTensors

SPLITS = ("test", "validation")
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
        default_factory=lambda: list(METHODS), metadata={"help": "Measured on the first method_images test images."}
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
        """Refuse data sets and arms that do not exist."""
        if self.dataset not in RECIPES:
            raise ValueError(f"unknown data set {self.dataset!r}: use one of {list(RECIPES)}")
        if self.split not in SPLITS:
            raise ValueError(f"unknown split {self.split!r}: use one of {list(SPLITS)}")
        unknown = sorted(set(self.arms) - set(ARMS))
        if unknown:
            raise ValueError(f"unknown arms {unknown}: use {list(ARMS)}")
        if self.roar_levels and "plain" not in self.arms:
            raise ValueError(f"--roar_levels explains the plain model and --arms is {self.arms}: add plain to it")


def main() -> None:
    """Run every cell that is not finished, and print the tables."""
    args, knobs = HfArgumentParser((ImagesArguments, SaliencyGuidedArguments)).parse_args_into_dataclasses()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    datasets.disable_progress_bars()
    output = Path(args.output_dir)
    data = load(args)
    trainings = [cell_of(args, knobs, data, arm, seed) for seed in args.seeds for arm in args.arms]
    results = []
    with tqdm(total=len(trainings) * (1 + bool(args.methods)) + bool(args.roar_levels), unit="cell") as bar:
        for name, settings, work in cells_of(args, data, trainings):
            bar.set_description(name)
            results.append(run_cell(cell_path(output, name, settings), settings, work))
            bar.update()
    text = "\n\n".join(tables(results).values())
    write_atomically(output / "table.md", text + "\n")
    write_figures(results, output / "figures")
    write_images_report(output / "report.html", results, command=["python", *sys.argv])
    print(f"\n{text}\n\none JSON per cell, table.md, report.html and figures are in {output.resolve()}")


Work = Callable[[], dict[str, Any]]


def cells_of(args: ImagesArguments, data: Images, trainings: list[Cell]) -> list[tuple[str, dict[str, Any], Work]]:
    """Name every cell, its settings and its work: all trainings first, then the other methods, then ROAR."""
    weights = Path(args.weights_dir)
    cells: list[tuple[str, dict[str, Any], Work]] = []
    for cell in trainings:
        work = lambda cell=cell: run_training(cell, data, weights)  # noqa: E731
        cells.append((cell.name, {"kind": "training", **asdict(cell)}, work))
    methods = Methods(
        methods=tuple(args.methods),
        images=args.method_images,
        baseline=args.baseline,
        ig_steps=args.ig_steps,
        smooth_grad_samples=args.smooth_grad_samples,
        shap_samples=args.shap_samples,
        shap_baselines=args.shap_baselines,
    )
    for cell in trainings if args.methods else []:
        settings = {"kind": "methods", **asdict(methods), "training": asdict(cell)}
        work = lambda cell=cell: run_methods(cell, methods, data, weights)  # noqa: E731
        cells.append((f"{cell.name}-methods", settings, work))
    if args.roar_levels:
        first = next(cell for cell in trainings if cell.arm == "plain")
        levels = tuple(args.roar_levels)
        settings = {"kind": "roar", "levels": levels, "epochs": args.roar_epochs, "training": asdict(first)}
        work = lambda: run_roar(first, levels, args.roar_epochs, data, decoded_once(args, data), weights)  # noqa: E731
        cells.append((f"{first.name}-roar", settings, work))
    return cells


def load(args: ImagesArguments) -> Images:
    """Load a data set, and decode once what needs no randomness."""
    recipe = RECIPES[args.dataset]
    splits = recipe.load(args.data_dir)
    if "test" not in splits:
        raise ValueError(f"{args.data_dir} has no test split, only {sorted(splits)}: add a folder test/CLASS/NAME.jpg")
    rows, test = splits["train"], splits["test"]
    if args.split == "validation":  # what the test split never decides: every choice of a setting
        halves = rows.train_test_split(test_size=min(len(test), len(rows) // 2), seed=0)
        rows, test = halves["train"], halves["test"]
    if args.train_images is not None and args.train_images < len(rows):
        rows = rows.shuffle(seed=0).select(range(args.train_images))
    if args.test_images is not None:
        test = test.select(range(min(args.test_images, len(test))))
    pixels = recipe.pixels
    train: PixelDataset | PixelTensors = PixelDataset(rows, pixels.transform(training=True))
    if not (pixels.crop_padding or pixels.flip):
        train = train.preloaded()
    tested = PixelDataset(test, pixels.transform()).preloaded()
    classes = splits["train"].features["label"].names
    return Images(train, tested, classes, pixels.channels, tested.pixel_values.shape[-1], pixels.mean, pixels.std)


def decoded_once(args: ImagesArguments, data: Images) -> PixelTensors:
    """Return the training images as in testing, for ROAR: a random crop would part the scores from their pixels."""
    if isinstance(data.train, PixelTensors):
        return data.train
    return PixelDataset(data.train.rows, RECIPES[args.dataset].pixels.transform()).preloaded()


def cell_of(args: ImagesArguments, knobs: SaliencyGuidedArguments, data: Images, arm: str, seed: int) -> Cell:
    """Fill in what the arguments leave to the recipe; the arms differ in the knobs, and in where they start."""
    recipe = RECIPES[args.dataset]
    own = CONTROLS | {
        "guided_abs": {"sgt_reduction": "abs_sum"},
        "guided_detach": {"sgt_detach_target": True},
        "random_detach": {"sgt_detach_target": True} | CONTROLS["random_mask"],
        "guided_preset": PRESETS["image"],
        "random_preset": PRESETS["image"] | CONTROLS["random_mask"],
    }
    fine_tuned = arm == "fine_tuned"
    epochs = args.fine_tuning_epochs or recipe.fine_tuning_epochs if fine_tuned else args.epochs or recipe.epochs
    return Cell(
        dataset=args.dataset,
        data_dir=args.data_dir,
        network=args.network or recipe.network,
        weights=args.pretrained,
        arm=arm,
        seed=seed,
        epochs=epochs,
        batch_size=args.batch_size or recipe.batch_size,
        learning_rate=args.learning_rate or recipe.learning_rate,
        optimizer=recipe.optimizer,
        scheduler=recipe.scheduler,
        weight_decay=recipe.weight_decay,
        bf16=args.bf16,
        train_images=len(data.train),
        split=args.split,
        test_images=len(data.test),
        gradient_images=min(args.gradient_images, len(data.test)),
        knobs=PLAIN if arm == "plain" else set_knobs(replace(knobs, **own.get(arm, {}))),
        start=asdict(cell_of(args, knobs, data, "plain", seed)) if fine_tuned else None,
    )


if __name__ == "__main__":
    main()
