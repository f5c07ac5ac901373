"""What every benchmark does alike: one JSON per finished cell, written atomically; resuming; tables."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.processor import bfloat16_products, emulates_bfloat16, name_of_cpu
from sgt_hf import SaliencyGuidedArguments
from sgt_hf.atomic import write_atomically
from sgt_hf.metrics.significance import student_mean

PACKAGES = ("sgt_hf", "torch", "transformers", "datasets", "captum", "numpy", "scipy")

PLAIN: dict[str, Any] = {"sgt_kl_weight": 0.0}  # the knobs of training without guidance
UNGUIDED = ("plain", "plain_equal_compute")  # the arms that have them
# Arm → what it changes in the guided one: is it the ranking that helps?
CONTROLS: dict[str, dict[str, Any]] = {
    "random_mask": {"sgt_drops": "random"},
    "reversed_mask": {"sgt_drops": "highest"},
    "rdrop": {"sgt_mask_fraction": 0.0, "sgt_vary_fraction": False},
}
COST = 7 / 3  # a guided step's forwards and backwards over a plain one's (docs/cost.md)


def epochs_of_arm(arm: str, epochs: float) -> float:
    """Return how long an arm trains.

    Args:
        arm: Its name; `plain_equal_compute` trains for the compute of guided.
        epochs: Of the guided arm; a multiple of at least one is rounded to whole epochs.
    """
    if arm != "plain_equal_compute":
        return epochs
    return round(epochs * COST) if epochs * COST >= 1 else epochs * COST


def _digest_of_code() -> str:
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted([*root.glob("sgt_hf/**/*.py"), *root.glob("benchmarks/**/*.py")]):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


CODE = _digest_of_code()  # when the run began


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide a number, and a digest of the code here."""
    packages = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"python": platform.python_version()} | packages | {"code": CODE}


def machine() -> dict[str, Any]:
    """Return what the timings were taken on, and rounding depends on."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    threads = {"cpu_count": os.cpu_count(), "torch_threads": torch.get_num_threads()}
    return {"device": device, "processor": name_of_cpu(), "emulates_bfloat16": emulates_bfloat16(), **threads}


def cell_path(folder: Path, name: str, settings: dict[str, Any]) -> Path:
    """Name a cell's file after what decides its content, so that another setting is another file.

    Args:
        folder: Of the results.
        name: Readable part.
        settings: JSON-able arguments of the cell.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:10]
    return folder / f"{name}-{digest}.json"


def set_knobs(knobs: SaliencyGuidedArguments) -> dict[str, Any]:
    """Return k, and the knobs that are not at their defaults: a knob added later is then no other setting.

    Args:
        knobs: Of a guided training.
    """
    defaults = asdict(SaliencyGuidedArguments())
    values = asdict(knobs)
    return {name: values[name] for name in values if name == "sgt_mask_fraction" or values[name] != defaults[name]}


def run_cell(path: Path, settings: dict[str, Any], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return a finished cell from its file, or compute and write it.

    Args:
        path: The cell's file.
        settings: Its arguments, kept in the file.
        compute: The work; returns JSON-able results.

    Returns:
        The content of the file.

    Raises:
        ValueError: The file is there and is no whole cell of these settings; or the work refused something, or a
            result is NaN or infinite: the cell is named.
    """
    if not path.exists():
        bf16 = any(part.get("bf16", False) for part in (settings, settings.get("training", {})))  # of what is measured
        try:
            with bfloat16_products(bf16):
                cell = {"settings": settings, "versions": versions(), "machine": machine(), **compute()}
            text = json.dumps(cell, allow_nan=False)
        except ValueError as error:
            raise ValueError(f"no result of {path.stem}: {error}") from error
        write_atomically(path, text)
    try:
        cell = json.loads(path.read_text(encoding="utf-8"))
        matches = cell["settings"] == json.loads(json.dumps(settings))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no cell of this benchmark: remove it and run again") from error
    if not matches:
        raise ValueError(f"{path} was written with other settings: remove it and run again")
    return cell


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table that reads well as text and as Markdown.

    Args:
        header: Column names.
        rows: Cells as text.
    """
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in [header, *rows]]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def counted(count: int, what: str) -> str:
    """Tell a number of things.

    Examples:
        >>> counted(1, "seed"), counted(2, "seed")
        ('1 seed', '2 seeds')
    """
    return f"{count} {what}{'' if count == 1 else 's'}"


def told_difference(differences: Sequence[float], digits: int) -> str:
    """Tell the mean of paired differences, and from three on its 95 % interval, with a star where it excludes zero.

    Args:
        differences: One per seed, finite.
        digits: After the point.

    Example:
        >>> told_difference([1.0, 2.0, 3.0], 1)
        '+2.0 {-0.5, +4.5}'
    """
    if len(differences) < 3:
        return f"{np.mean(differences):+.{digits}f}" if differences else ""
    interval = student_mean(differences)
    star = "*" if interval.excludes_zero else ""
    return f"{interval.mean:+.{digits}f} {{{interval.low:+.{digits}f}, {interval.high:+.{digits}f}}}{star}"
