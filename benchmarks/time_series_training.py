"""Training of the time-series benchmark: an ensemble's members, each with its own data, order, k and end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from benchmarks.time_series_ensemble import Ensemble, EnsembleAdam
from sgt_hf import saliency_guided_loss
from sgt_hf.adapters import SeriesAdapter
from sgt_hf.loss import task_cross_entropy

# What masks: nothing; the lowest gradients, as the paper says; the smallest ones; or a random choice, the control.
ARMS = ("plain", "guided", "guided_abs", "random_mask")
# Where members are trained and measured: as in the benchmarks with a Trainer, on CUDA where there is any.
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Recipe:
    """How every member of an ensemble is trained.

    Attributes:
        arm: One of `ARMS`.
        epochs: At most.
        stop_at: Accuracy in [0, 1], on validation or over the epoch's own training batches, that ends the training.
        batch_size: Series a step.
        learning_rate: Of Adam.
        kl_weight: λ.
        masking: A masking of `SeriesAdapter`, or a function (batch, drop) → batch.
    """

    arm: str
    epochs: int = 500
    stop_at: float = 0.99
    batch_size: int = 50
    learning_rate: float = 1e-3
    kl_weight: float = 1.0
    masking: str | Callable[[dict[str, Tensor], Tensor], dict[str, Tensor]] = "uniform"

    def __post_init__(self) -> None:
        """Refuse an arm that does not exist."""
        if self.arm not in ARMS:
            raise ValueError(f"unknown arm {self.arm!r}: use one of {ARMS}")


@dataclass
class Member:
    """One training of an ensemble.

    Attributes:
        model: With its initial weights, on the device of the data; holds the trained ones afterwards.
        train: (N, T, C) series and (N,) labels; N, T and C are those of all members.
        validation: The same, for the stopping criterion.
        mask_fraction: k.
        seed: Of the order of batches.
        history: Filled while training: each epoch's training and validation accuracy and mean loss.
        reached: Whether `stop_at` ended the training.
        seconds: The member's share of the processor's time.
    """

    model: PreTrainedModel
    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    mask_fraction: float
    seed: int
    history: list[dict[str, float]] = field(default_factory=list)
    reached: bool = False
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.order = torch.Generator().manual_seed(self.seed)


def train_together(
    members: Sequence[Member],
    recipe: Recipe,
    on_epoch: Callable[[int], Any] = lambda going: None,
    on_end: Callable[[Member], Any] = lambda member: None,
) -> None:
    """Train all members, each as it would be trained alone; those that reach the end leave the others.

    Dropout and random masks are drawn from torch's global generator of the device.

    Args:
        members: Models of one architecture, data of one shape.
        recipe: For all.
        on_epoch: Called after each epoch with the number of members that go on.
        on_end: Called with each member once it holds its trained weights, while others may go on.
    """
    active = list(members)
    adam = EnsembleAdam(Ensemble([member.model for member in active]), recipe.learning_rate)
    for epoch in range(recipe.epochs):
        started = time.process_time()
        training, losses = _epoch(adam, active, recipe)
        validation = _accuracy(adam.ensemble, active)
        spent = (time.process_time() - started) / len(active)
        going = []
        for index, member in enumerate(active):
            seen = {"train": training[index], "validation": validation[index], "loss": losses[index]}
            member.history.append(seen)
            member.seconds += spent
            member.reached = max(seen["train"], seen["validation"]) >= recipe.stop_at
            if member.reached or epoch + 1 == recipe.epochs:
                member.model.load_state_dict(adam.ensemble.state(index))
                on_end(member)
            else:
                going.append(index)
        if len(going) < len(active) and going:
            adam.keep(going)
        active = [active[index] for index in going]
        on_epoch(len(active))
        if not active:
            return


def _epoch(adam: EnsembleAdam, members: Sequence[Member], recipe: Recipe) -> tuple[list[float], list[float]]:
    """Train one epoch; returns each member's accuracy and mean loss over its batches."""
    adam.ensemble.template.train()
    rows, device = len(members[0].train[1]), members[0].train[1].device
    orders = [torch.randperm(rows, generator=member.order).to(device) for member in members]
    right, loss = torch.zeros(2, len(members), device=device)
    for start in range(0, rows, recipe.batch_size):
        picked = [order[start : start + recipe.batch_size] for order in orders]
        values = torch.cat([member.train[0][index] for member, index in zip(members, picked, strict=True)])
        labels = torch.cat([member.train[1][index] for member, index in zip(members, picked, strict=True)])
        total, logits = step_loss(adam.ensemble, values, labels, members, recipe)
        adam.step(total * len(members))  # the mean over all rows, times the members, is the sum of the members' means
        with torch.no_grad():
            right += (logits.argmax(-1) == labels).view(len(members), -1).sum(1)
            each = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
            loss += each.view(len(members), -1).sum(1)
    return (right / rows).tolist(), (loss / rows).tolist()


def step_loss(
    ensemble: Ensemble, values: Tensor, labels: Tensor, members: Sequence[Member], recipe: Recipe
) -> tuple[Tensor, Tensor]:
    """Return the mean loss over the rows of all members, and the clean logits (M · B, K)."""
    if recipe.arm == "plain":
        logits = ensemble(values)
        return task_cross_entropy(logits, labels), logits
    adapter = SeriesAdapter()
    batch = {"input_values": values}
    with adapter.capture(ensemble.template, batch) as captured:
        logits = ensemble(captured.batch["input_values"])
    fractions = torch.tensor([member.mask_fraction for member in members], dtype=torch.float64, device=labels.device)
    parts = saliency_guided_loss(
        logits,
        captured.features,
        labels,
        lambda drop: ensemble(adapter.mask(batch, drop, recipe.masking)["input_values"]),
        mask_fraction=fractions.repeat_interleave(len(labels) // len(members)),
        kl_weight=recipe.kl_weight,
        reduction="abs_sum" if recipe.arm == "guided_abs" else "signed_sum",
        feature_dim=adapter.feature_dim,
        scores=torch.rand(values.flatten(1).shape, device=values.device) if recipe.arm == "random_mask" else None,
    )
    return parts.total, logits.detach()


@torch.no_grad()
def _accuracy(ensemble: Ensemble, members: Sequence[Member]) -> list[float]:
    """Return each member's accuracy on validation, in eval mode."""
    ensemble.template.eval()
    logits = ensemble(torch.cat([member.validation[0] for member in members]))
    labels = torch.cat([member.validation[1] for member in members])
    return (logits.argmax(-1) == labels).view(len(members), -1).double().mean(1).tolist()
