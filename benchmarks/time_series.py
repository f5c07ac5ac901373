"""Saliency guided training against plain training on the synthetic time series: do saliency maps find the box?

Each cell (data set, network, arm, seed) trains from the same initial weights on the same batches in every arm, is
measured on test, and leaves one JSON. Cells of one network and arm are trained together, as an ensemble. Run again
after an interruption, finished cells are skipped. The tables are of all cells that the output folder holds.

    python benchmarks/time_series.py                                             # all: 10 sets × 4 networks × 2 arms
    python benchmarks/time_series.py --dataset middle --network tcn --seeds 0    # half a minute
"""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import torch
from datasets import disable_progress_bars
from tqdm.auto import tqdm
from transformers import HfArgumentParser

from benchmarks.common import cell_path, run_cell
from benchmarks.time_series_cell import METHODS, NETWORKS, Cell, member, results
from benchmarks.time_series_figures import tables
from benchmarks.time_series_report import write_time_series_report
from benchmarks.time_series_sample import series_sample
from benchmarks.time_series_tables import paper
from benchmarks.time_series_training import ARMS, Member, Recipe, train_together
from sgt_hf.atomic import write_atomically
from sgt_hf.data.series import BOX_POSITIONS, SERIES

BOX_MASK_FRACTION = 0.3  # Figure 6's is not in the paper; this is its LSTM's for boxes of a fixed place (Table 8)
NO_TABLE = "No table: no seed has all three boxes, and there are no cells of the ten sets."


@dataclass
class TimeSeriesArguments:
    """What to run."""

    dataset: list[str] = field(
        default_factory=lambda: list(SERIES),
        metadata={"help": "Of the ten sets, or early_box, middle_box, late_box (Figure 6)."},
    )
    network: list[str] = field(
        default_factory=lambda: list(NETWORKS), metadata={"help": "lstm, input_cell_lstm, tcn, transformer."}
    )
    arms: list[str] = field(default_factory=lambda: ["plain", "guided"], metadata={"help": ", ".join(ARMS) + "."})
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2], metadata={"help": "Of data, weights and batches."})
    methods: list[str] = field(
        default_factory=lambda: list(METHODS), metadata={"help": "Saliency methods; random maps are always added."}
    )
    epochs: int = field(default=500, metadata={"help": "At most."})
    stop_at: float = field(
        default=0.99, metadata={"help": "Accuracy on train or validation that ends a training; 2 for never."}
    )
    mask_fraction: float | None = field(default=None, metadata={"help": "k; by default the paper's (Tables 8-11)."})
    ensemble_size: int = field(default=30, metadata={"help": "Trainings at once."})
    train_size: int = field(default=1000, metadata={"help": "Training series a set."})
    ig_steps: int = field(default=25, metadata={"help": "Steps of integrated gradients."})
    smooth_grad_samples: int = field(default=10, metadata={"help": "Noisy copies of SmoothGrad."})
    shap_samples: int = field(default=10, metadata={"help": "Points of GradientSHAP."})
    output_dir: str = field(default="runs/time_series", metadata={"help": "Where cells and tables go."})

    def __post_init__(self) -> None:
        """Refuse what does not exist, before anything is trained."""
        for option, chosen, known in (
            ("dataset", self.dataset, [*SERIES, *BOX_POSITIONS]),
            ("network", self.network, list(NETWORKS)),
            ("arms", self.arms, list(ARMS)),
            ("methods", self.methods, list(METHODS)),
        ):
            unknown = sorted(set(chosen) - set(known))
            if unknown:
                raise ValueError(f"unknown {option} {unknown}: use {known}")
        if self.mask_fraction is not None and not 0 <= self.mask_fraction <= 1:
            raise ValueError(f"mask_fraction must be in [0, 1], got {self.mask_fraction}")


def main() -> None:
    """Run every cell that is not finished, and write the tables of the folder."""
    (args,) = HfArgumentParser(TimeSeriesArguments).parse_args_into_dataclasses()
    disable_progress_bars()
    output = Path(args.output_dir)
    cells = list(planned(args))
    todo = [cell for cell in cells if not path_of(cell, output).exists()]
    failed: list[ValueError] = []
    with tqdm(total=len(cells), initial=len(cells) - len(todo), unit="cell") as bar:
        for group in ensembles(todo, args.ensemble_size):
            left = [cell for cell in group if not path_of(cell, output).exists()]  # another process may share the work
            if left:
                failed += run_together(left, output, bar)
            bar.update(len(group) - len(left))
    if failed:
        raise ValueError("\n".join(map(str, failed))) from failed[0]
    finished = [run_cell(path_of(cell, output), asdict(cell), _missing) for cell in held(output, cells)]
    text = "\n\n".join(tables(finished).values()) or NO_TABLE
    write_atomically(output / "table.md", text + "\n")
    write_time_series_report(output / "report.html", finished, command=["python", *sys.argv])
    print(f"\none JSON per cell, table.md and report.html are in {output.resolve()}")


def planned(args: TimeSeriesArguments) -> Iterator[Cell]:
    """Yield all cells, those of one network and arm after each other."""
    for network in args.network:
        for arm in args.arms:
            for seed in args.seeds:
                for dataset in args.dataset:
                    yield Cell(
                        dataset=dataset,
                        network=network,
                        arm=arm,
                        seed=seed,
                        mask_fraction=mask_fraction(args, network, dataset) if arm != "plain" else 0.0,
                        epochs=args.epochs,
                        methods=tuple(args.methods),
                        stop_at=args.stop_at,
                        train_size=args.train_size,
                        ig_steps=args.ig_steps,
                        smooth_grad_samples=args.smooth_grad_samples,
                        shap_samples=args.shap_samples,
                    )


def mask_fraction(args: TimeSeriesArguments, network: str, dataset: str) -> float:
    """Return k: the one given, or the paper's."""
    if args.mask_fraction is not None:
        return args.mask_fraction
    return BOX_MASK_FRACTION if dataset in BOX_POSITIONS else paper()["mask_fraction"][network][dataset]


def ensembles(cells: list[Cell], size: int) -> Iterator[list[Cell]]:
    """Group cells that can be trained together: of one network and arm, with series of one shape."""
    alike: dict[tuple[str, str, bool], list[Cell]] = {}
    for cell in cells:
        alike.setdefault((cell.network, cell.arm, cell.dataset in BOX_POSITIONS), []).append(cell)
    for group in alike.values():
        for start in range(0, len(group), size):
            yield group[start : start + size]


def run_together(cells: list[Cell], output: Path, bar: Any) -> list[ValueError]:
    """Train cells as one ensemble; measure each and write its file as soon as it is trained. Returns what failed."""
    members = [member(cell) for cell in cells]
    cell_of = {id(trained): cell for trained, cell in zip(members, cells, strict=True)}
    first, failed = cells[0], list[ValueError]()
    torch.manual_seed(zlib.crc32(f"{first.name} {len(cells)}".encode()))  # of dropout and random masks, of all
    epochs = count(1)

    def show(going: int) -> None:
        bar.set_description(f"{first.network} {first.arm}, epoch {next(epochs)}: {going} of {len(cells)} go on")

    def finish(trained: Member) -> None:
        cell = cell_of[id(trained)]
        try:
            run_cell(path_of(cell, output), asdict(cell), lambda: results(cell, trained) | series_sample(cell, trained))
        except ValueError as error:  # the others are not to be lost with it
            failed.append(error)
        bar.update()

    train_together(members, Recipe(first.arm, epochs=first.epochs, stop_at=first.stop_at), show, finish)
    return failed


def held(folder: Path, own: list[Cell]) -> list[Cell]:
    """Return the cells of a folder: of those with one name the run's own, else the last written; no others' files."""
    found: dict[str, Cell] = {}
    for path in sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime):
        try:
            cell = Cell(**json.loads(path.read_text(encoding="utf-8"))["settings"])
        except (ValueError, KeyError, TypeError):
            continue  # another benchmark's, or of another version
        if path == path_of(cell, folder):
            found[cell.name] = cell
    found |= {cell.name: cell for cell in own}
    return [found[name] for name in sorted(found)]


def path_of(cell: Cell, output: Path) -> Path:
    """Return a cell's file."""
    return cell_path(output, cell.name, asdict(cell))


def _missing() -> dict[str, Any]:
    raise RuntimeError("a cell that was just written is gone: another process removes files from the output folder")


if __name__ == "__main__":
    main()
