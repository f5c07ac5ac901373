"""The knobs of saliency guided training: one home for every setting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

from transformers import TrainingArguments

from .saliency import REDUCTIONS, TARGETS

RANKINGS = ("shared", "separate")
DROPS = ("lowest", "random", "highest")
# Settings by name: SaliencyGuidedTrainingArguments("out", **PRESETS["text"]). `paper` are the defaults; `text` did best
# on validation texts of e-SNLI, poor on Movies' long ones; `image` is a compromise of accuracy and area on MNIST's
# validation images (benchmarks/images.md).
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {"sgt_mask_fraction": 0.5, "sgt_kl_weight": 1.0, "sgt_masking": "auto", "sgt_reduction": "auto"},
    "text": {"sgt_masking": "delete", "sgt_mask_fraction": 1.0, "sgt_vary_fraction": True},
    "image": {"sgt_detach_target": True, "sgt_every_n_steps": 2},
}


@dataclass
class SaliencyGuidedArguments:
    """The knobs, which `HfArgumentParser` reads as a part of `SaliencyGuidedTrainingArguments`.

    Names of maskings and granularities belong to the adapter, which checks them when the trainer is built.
    """

    sgt_mask_fraction: float = field(
        default=0.5, metadata={"help": "k: share of each sample's eligible features to mask, in [0, 1]."}
    )
    sgt_kl_weight: float = field(
        default=1.0, metadata={"help": "λ ≥ 0: weight of KL(f(X) ‖ f(X̃)). 0 is plain training."}
    )
    sgt_masking: str = field(
        default="auto",
        metadata={
            "help": "What replaces a dropped feature. Text: previous_salient, unk, sep, mask, random or delete. "
            "Series: uniform, channel_mean, constant or previous. Images: uniform, channel_mean, constant or blur. "
            "auto is the first of each."
        },
    )
    sgt_reduction: str = field(
        default="auto",
        metadata={
            "help": "How a token's gradient becomes a score: " + ", ".join(REDUCTIONS) + ". auto is the paper's "
            "signed_sum, and l2 in networks that normalise their embeddings, where the signed sum is zero."
        },
    )
    sgt_target: str = field(default="label", metadata={"help": "Which logit is differentiated: label or predicted."})
    sgt_ranking: str = field(
        default="shared",
        metadata={
            "help": "shared: rank on the clean forward's own graph; separate: an extra pass in eval mode, "
            "as always of a compiled model, in which gradient checkpointing saves nothing."
        },
    )
    sgt_vary_fraction: bool = field(
        default=False,
        metadata={"help": "Draw each sample's own k anew at every step, uniformly from [0, sgt_mask_fraction]."},
    )
    sgt_drops: str = field(
        default="lowest",
        metadata={
            "help": "Which features are masked: lowest, the method; or as controls, to tell whether it is the ranking "
            "that helps, random (nothing is ranked) or highest."
        },
    )
    sgt_detach_target: bool = field(
        default=False,
        metadata={
            "help": "Take the clean prediction as a fixed target of the KL, whose gradients then flow through the "
            "masked branch alone; the paper's flow through both."
        },
    )
    sgt_granularity: str = field(
        default="token", metadata={"help": "token, or word: all sub-tokens of a word share fate (needs word_ids)."}
    )
    sgt_update_statistics: bool = field(
        default=False,
        metadata={"help": "Let the masked pass update BatchNorm's running statistics too, as the authors' code does."},
    )
    sgt_save_memory: bool = field(
        default=False,
        metadata={
            "help": "Hold one branch's activations at a time, by running the clean forward twice: the same gradients "
            "within rounding, in about the memory of a plain step and 2.67 times its work instead of 2.33."
        },
    )
    sgt_warmup_ratio: float = field(
        default=0.0, metadata={"help": "Share of all steps in [0, 1) over which λ grows linearly from 0."}
    )
    sgt_every_n_steps: int = field(
        default=1, metadata={"help": "Guide every n-th optimizer step; the others train plainly."}
    )

    def __post_init__(self) -> None:
        """Validate every knob.

        Raises:
            ValueError: A knob is outside its range; the message names it, its value and the range.
        """
        for name in ("sgt_mask_fraction", "sgt_kl_weight", "sgt_warmup_ratio"):
            _require(name, getattr(self, name), isinstance(getattr(self, name), Real), "a number")
        _require("sgt_mask_fraction", self.sgt_mask_fraction, 0 <= self.sgt_mask_fraction <= 1, "in [0, 1]")
        _require("sgt_kl_weight", self.sgt_kl_weight, 0 <= self.sgt_kl_weight < float("inf"), "≥ 0")
        _require("sgt_reduction", self.sgt_reduction, self.sgt_reduction in REDUCTIONS, f"one of {list(REDUCTIONS)}")
        _require("sgt_target", self.sgt_target, self.sgt_target in TARGETS, f"one of {list(TARGETS)}")
        _require("sgt_ranking", self.sgt_ranking, self.sgt_ranking in RANKINGS, f"one of {list(RANKINGS)}")
        _require("sgt_drops", self.sgt_drops, self.sgt_drops in DROPS, f"one of {list(DROPS)}")
        _require("sgt_warmup_ratio", self.sgt_warmup_ratio, 0 <= self.sgt_warmup_ratio < 1, "in [0, 1)")
        whole = isinstance(self.sgt_every_n_steps, Integral) and self.sgt_every_n_steps >= 1
        _require("sgt_every_n_steps", self.sgt_every_n_steps, whole, "an integer ≥ 1")
        # A hyperparameter search casts what it tries to the type that it finds: beside an int of 1, 0.6 becomes 0.
        for name in ("sgt_mask_fraction", "sgt_kl_weight", "sgt_warmup_ratio"):
            setattr(self, name, float(getattr(self, name)))

    @property
    def masks(self) -> bool:
        """Whether training meets masked inputs at all: R-Drop, with nothing masked, does not."""
        return self.sgt_kl_weight > 0 and self.sgt_mask_fraction > 0

    def kl_weight_at(self, step: int, max_steps: int) -> float:
        """Return λ at an optimizer step: 0 on the steps left out, growing linearly over the warm-up.

        Args:
            step: Optimizer steps done so far, from 0.
            max_steps: Optimizer steps of the whole training.
        """
        if step % self.sgt_every_n_steps:
            return 0.0
        warmup = self.sgt_warmup_ratio * max_steps
        return self.sgt_kl_weight * (min(1.0, step / warmup) if warmup > 0 else 1.0)


@dataclass
class SaliencyGuidedTrainingArguments(SaliencyGuidedArguments, TrainingArguments):
    """`TrainingArguments` with the knobs of saliency guided training (`sgt_…`)."""

    def __post_init__(self) -> None:
        """Validate the knobs, then everything that `TrainingArguments` validates."""
        SaliencyGuidedArguments.__post_init__(self)
        TrainingArguments.__post_init__(self)

    def to_dict(self) -> dict[str, Any]:
        """Return all arguments as `TrainingArguments` does, for JSON; a masking that is a function by its name."""
        arguments = super().to_dict()
        if callable(self.sgt_masking):
            arguments["sgt_masking"] = name_of(self.sgt_masking)
        return arguments


def name_of(function: Callable[..., Any]) -> str:
    """Return the name by which a knob that is a function is told: of itself, or of its class.

    Args:
        function: Any callable.
    """
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', type(function).__name__)}"


def _require(name: str, value: Any, holds: bool, expected: str) -> None:
    if not holds:
        raise ValueError(f"{name} must be {expected}, got {value!r}")


def knobs_of(args: TrainingArguments) -> SaliencyGuidedArguments:
    """Return the knobs that come with training arguments; plain `TrainingArguments` take the defaults.

    Args:
        args: What the trainer was given.
    """
    return args if isinstance(args, SaliencyGuidedArguments) else SaliencyGuidedArguments()
