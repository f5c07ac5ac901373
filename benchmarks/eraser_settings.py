"""What decides one cell of the ERASER benchmark."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

SELECTIONS = ("loss", "accuracy")


@dataclass(frozen=True)
class Cell:
    """Everything that decides a cell's numbers; see the options of `benchmarks/eraser.py`."""

    dataset: str
    data_dir: str | None
    model: str
    arm: str
    seed: int
    embeddings: str | None
    hidden_size: int | None
    pooling: str | None
    dropout: float | None
    epochs: int
    max_length: int
    batch_size: int
    learning_rate: float
    limit: int | None
    methods: tuple[str, ...]
    select: str
    operator: str
    second_operator: str | None
    convention: str
    ig_steps: int
    smooth_grad_samples: int
    random_draws: int
    split: str
    texts: int | None
    normalized_texts: int
    knobs: dict[str, Any]
    bf16: bool = False
    attn_implementation: str | None = None
    normalize: str = "beam"
    normalized_every: int = 1

    @property
    def settings(self) -> dict[str, Any]:
        """What its file is named after; the fields with a default came later, and the first cells lack them."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) != f.default}

    @property
    def name(self) -> str:
        """Readable part of the cell's file name."""
        return f"{Path(self.dataset).name}-{Path(self.model).name}-{self.arm}-seed{self.seed}"
