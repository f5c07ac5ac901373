"""Saliency guided training on real time series of the UEA archive: accuracy, and its fall when top cells are removed.

There is no known box here, so a map is judged by what the network does without the cells it ranks first. Trained by
`SaliencyGuidedTrainer` itself, plain (λ = 0) and guided from the same weights on the same batches.

    python benchmarks/time_series_real.py --data_dir ../shared/data/uea
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from datasets import DatasetDict, disable_progress_bars
from tqdm.auto import tqdm
from transformers import HfArgumentParser, PreTrainedModel, PrinterCallback, set_seed

from benchmarks.common import cell_path, markdown_table, run_cell, told_difference
from sgt_hf import SaliencyGuidedTrainer, SaliencyGuidedTrainingArguments
from sgt_hf.adapters import SeriesAdapter
from sgt_hf.atomic import write_atomically
from sgt_hf.attribution import AttributionSettings
from sgt_hf.data.uea import load_uea
from sgt_hf.faithfulness.pixels import pixel_scores, predictions_under_removal
from sgt_hf.metrics.accuracy_drop import accuracy_curve, area_under_accuracy
from sgt_hf.models.series import (
    SERIES_MODELS,
    InputCellLstmConfig,
    SeriesConfig,
    SeriesLstmConfig,
    SeriesTransformerConfig,
    TcnConfig,
)

SETS = ("BasicMotions", "GunPoint", "ItalyPowerDemand")
# Five hidden units are for the synthetic sets; nothing here was tuned.
NETWORKS: dict[str, tuple[type[SeriesConfig], dict[str, Any]]] = {
    "lstm": (SeriesLstmConfig, {"hidden_size": 32}),
    "input_cell_lstm": (InputCellLstmConfig, {"hidden_size": 32}),
    "tcn": (TcnConfig, {"channels": [16, 16, 50]}),
    "transformer": (SeriesTransformerConfig, {"num_layers": 2, "feed_forward_size": 100}),
}
FILLS = ("channel_mean", "uniform")

Cells = list[dict[str, Any]]


@dataclass
class RealSeriesArguments:
    """What to run."""

    data_dir: str = field(metadata={"help": "Folder of the archive's sets, a folder NAME with NAME_TRAIN.ts each."})
    dataset: list[str] = field(default_factory=lambda: list(SETS), metadata={"help": "Sets, by their folders."})
    network: list[str] = field(default_factory=lambda: list(NETWORKS), metadata={"help": ", ".join(NETWORKS) + "."})
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2], metadata={"help": "One training per seed and arm."})
    methods: list[str] = field(
        default_factory=lambda: ["gradient", "integrated_gradients", "random"], metadata={"help": "Saliency methods."}
    )
    epochs: int = field(default=100, metadata={"help": "Of every training; the last weights are measured."})
    mask_fraction: float = field(default=0.5, metadata={"help": "k of the guided arm."})
    test_limit: int = field(default=200, metadata={"help": "At most this many test series are explained."})
    output_dir: str = field(default="runs/time_series_real", metadata={"help": "Where cells and the table go."})

    def __post_init__(self) -> None:
        """Refuse networks that do not exist."""
        unknown = sorted(set(self.network) - set(NETWORKS))
        if unknown:
            raise ValueError(f"unknown network {unknown}: use {list(NETWORKS)}")


@dataclass(frozen=True)
class Cell:
    """Everything that decides a cell's numbers."""

    dataset: str
    network: str
    arm: str
    seed: int
    epochs: int
    mask_fraction: float
    methods: tuple[str, ...]
    test_limit: int


def main() -> None:
    """Run every cell that is not finished, and write the table."""
    (args,) = HfArgumentParser(RealSeriesArguments).parse_args_into_dataclasses()
    disable_progress_bars()
    output, found = Path(args.output_dir), []
    for cell in tqdm(list(planned(args)), unit="cell"):
        path = cell_path(output, f"{cell.dataset}-{cell.network}-{cell.arm}-seed{cell.seed}", asdict(cell))
        found.append(run_cell(path, asdict(cell), lambda cell=cell: run(cell, Path(args.data_dir))))
    (text,) = tables(found).values()
    write_atomically(output / "table.md", text + "\n")
    print(f"\n{text}\n\none JSON per cell and table.md are in {output.resolve()}")


def planned(args: RealSeriesArguments) -> Iterator[Cell]:
    """Yield all cells."""
    for dataset in args.dataset:
        for network in args.network:
            for arm in ("plain", "guided"):
                for seed in args.seeds:
                    fraction = args.mask_fraction if arm == "guided" else 0.0
                    yield Cell(dataset, network, arm, seed, args.epochs, fraction, tuple(args.methods), args.test_limit)


@cache
def data(folder: Path) -> DatasetDict:
    """Read a set once."""
    return load_uea(folder)


def run(cell: Cell, data_dir: Path) -> dict[str, Any]:
    """Train and measure."""
    splits = data(data_dir / cell.dataset)
    set_seed(cell.seed)
    model = build(cell.network, splits)
    with tempfile.TemporaryDirectory() as folder:
        trainer = SaliencyGuidedTrainer(
            model=model, args=arguments(cell, folder), train_dataset=splits["train"], eval_dataset=splits["test"]
        )
        trainer.remove_callback(PrinterCallback)
        seconds = trainer.train().metrics["train_runtime"]
        predicted = trainer.predict(splits["test"]).predictions
    test = splits["test"].shuffle(seed=0).select(range(min(cell.test_limit, len(splits["test"]))))
    adapter, labels = SeriesAdapter(), np.asarray(test["labels"][:])
    settings = AttributionSettings(baseline="channel_mean", seed=cell.seed)
    scores = pixel_scores(model, test, adapter, methods=cell.methods, settings=settings)
    curves = {
        fill: {
            method: accuracy_curve(predictions_under_removal(model, test, adapter, each, fill=fill), labels).tolist()
            for method, each in scores.items()
        }
        for fill in FILLS
    }
    accuracy = float((predicted.argmax(-1) == np.asarray(splits["test"]["labels"][:])).mean())
    return {"accuracy": accuracy, "curves": curves, "explained": len(test), "seconds": {"train": seconds}}


def build(network: str, splits: DatasetDict) -> PreTrainedModel:
    """Return an untrained network for a set."""
    config, settings = NETWORKS[network]
    channels = splits["train"].features["input_values"].shape[1]
    classes = splits["train"].features["labels"].num_classes
    return SERIES_MODELS[config](config(num_features=channels, num_labels=classes, **settings))


def arguments(cell: Cell, folder: str) -> SaliencyGuidedTrainingArguments:
    """Return the settings of either arm."""
    return SaliencyGuidedTrainingArguments(
        output_dir=folder,
        seed=cell.seed,
        data_seed=cell.seed,
        num_train_epochs=cell.epochs,
        per_device_train_batch_size=16,
        per_device_eval_batch_size=200,
        learning_rate=3e-3,
        lr_scheduler_type="constant",
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        sgt_kl_weight=1.0 if cell.arm == "guided" else 0.0,
        sgt_mask_fraction=cell.mask_fraction,
    )


def tables(cells: Cells) -> dict[str, str]:
    """Return the tables, where there are cells, as one text."""
    return {"accuracy": "\n\n".join([_values(cells), _gains(cells), _note(cells)])} if cells else {}


def _values(cells: Cells) -> str:
    """Accuracy and area under accuracy, mean ± deviation over seeds, by set, network and arm."""
    header = ["", "", "", "accuracy %", *(f"{method}, {fill} ↓" for fill, method in _measures(cells))]
    rows = []
    for (dataset, network), arms in _by_network(cells).items():
        for arm, some in arms.items():
            areas = [_spread([_area(cell, *measure) for cell in some.values()], 0) for measure in _measures(cells)]
            accuracy = _spread([100 * cell["accuracy"] for cell in some.values()], 1)
            rows.append([dataset, network, arm, accuracy, *areas])
    return markdown_table(header, rows)


def _gains(cells: Cells) -> str:
    """Guided minus plain, seed by seed: accuracy, and how far a map's area lies below that of a random one."""
    measures = [(fill, method) for fill, method in _measures(cells) if method != "random"]
    if "random" not in cells[0]["settings"]["methods"]:
        measures = []  # there is nothing to hold a map against
    header = ["guided − plain", "", "accuracy %", *(f"below random: {method}, {fill} ↑" for fill, method in measures)]
    rows = []
    for (dataset, network), arms in _by_network(cells).items():
        plain, guided = arms.get("plain", {}), arms.get("guided", {})
        pairs = [(guided[seed], plain[seed]) for seed in sorted(guided.keys() & plain.keys())]
        accuracy = told_difference([100 * (own["accuracy"] - theirs["accuracy"]) for own, theirs in pairs], 1)
        leads = [
            told_difference([_lead(own, *measure) - _lead(theirs, *measure) for own, theirs in pairs], 0)
            for measure in measures
        ]
        rows.append([dataset, network, accuracy, *leads])
    return markdown_table(header, rows)


def _note(cells: Cells) -> str:
    counts = {len(some) for arms in _by_network(cells).values() for some in arms.values()}
    seeds = f"{min(counts)} to {max(counts)}" if len(counts) > 1 else f"{max(counts)}"
    return (
        "Area under accuracy in percent over cells removed in percent, 0 to 90 (at most 9,000; lower is better beside "
        f"its own random), removed cells set to the series' channel mean or to random values; {seeds} seeds, "
        f"{cells[0]['settings']['epochs']} epochs. {{ }} is Student's 95 % interval over seeds, * where it excludes 0, "
        "uncorrected for their number."
    )


def _by_network(cells: Cells) -> dict[tuple[str, str], dict[str, dict[int, dict[str, Any]]]]:
    """Sort cells by set and network, then arm, plain first, then seed."""
    groups: dict[tuple[str, str], dict[str, dict[int, dict[str, Any]]]] = {}
    for cell in sorted(cells, key=_order):
        dataset, network, _, seed = _order(cell)
        groups.setdefault((dataset, network), {}).setdefault(cell["settings"]["arm"], {})[seed] = cell
    return groups


def _order(cell: dict[str, Any]) -> tuple[str, str, bool, int]:
    settings = cell["settings"]
    return settings["dataset"], settings["network"], settings["arm"] != "plain", settings["seed"]


def _measures(cells: Cells) -> list[tuple[str, str]]:
    return [(fill, method) for fill in FILLS for method in cells[0]["settings"]["methods"]]


def _area(cell: dict[str, Any], fill: str, method: str) -> float:
    return area_under_accuracy(cell["curves"][fill][method])


def _lead(cell: dict[str, Any], fill: str, method: str) -> float:
    return _area(cell, fill, "random") - _area(cell, fill, method)


def _spread(values: list[float], digits: int) -> str:
    text = f"{np.mean(values):.{digits}f}"
    return text + (f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
