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
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import datasets
from tqdm.auto import tqdm
from transformers import HfArgumentParser
from transformers.utils import logging as transformers_logging

from benchmarks.common import CONTROLS, PLAIN, UNGUIDED, cell_path, epochs_of_arm, run_cell, set_knobs
from benchmarks.images_arguments import RECIPES, ImagesArguments
from benchmarks.images_cell import Methods, run_methods, run_roar, run_training
from benchmarks.images_figures import write_figures
from benchmarks.images_report import write_images_report
from benchmarks.images_tables import tables
from benchmarks.images_training import Cell, Images
from sgt_hf import PRESETS, SaliencyGuidedArguments
from sgt_hf.atomic import write_atomically
from sgt_hf.data.images import PixelDataset
from sgt_hf.data.pixels import PixelTensors


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
    from_scratch = epochs_of_arm(arm, args.epochs or recipe.epochs)
    return Cell(
        dataset=args.dataset,
        data_dir=args.data_dir,
        network=args.network or recipe.network,
        weights=args.pretrained,
        arm=arm,
        seed=seed,
        epochs=(args.fine_tuning_epochs or recipe.fine_tuning_epochs) if fine_tuned else from_scratch,
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
        knobs=PLAIN if arm in UNGUIDED else set_knobs(replace(knobs, **own.get(arm, {}))),
        start=asdict(cell_of(args, knobs, data, "plain", seed)) if fine_tuned else None,
    )


if __name__ == "__main__":
    main()
