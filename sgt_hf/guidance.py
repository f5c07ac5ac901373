"""One guided batch: the knobs and the adapter put into the loss."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .adapters.base import Adapter, Masking
from .loss import SaliencyGuidedLoss, saliency_guided_loss
from .masking.draws import own_draws
from .ranking import random_scores
from .saliency import negated
from .training_args import SaliencyGuidedArguments


@dataclass(frozen=True)
class Guidance:
    """What guides a training.

    Attributes:
        adapter: Of the model.
        knobs: All of them.
        masking: What replaces dropped features, `auto` resolved.
        process: Index of this process where there are several, so that each has draws of its own; otherwise None.
    """

    adapter: Adapter
    knobs: SaliencyGuidedArguments
    masking: Masking
    process: int | None = None

    @property
    def ranked_by(self) -> dict[str, Any]:
        """Output that is differentiated, and reduction of its gradient, the highest drops having the negative one."""
        reduction = self.knobs.sgt_reduction
        upside_down = self.knobs.sgt_drops == "highest"
        return {"target": self.knobs.sgt_target, "reduction": negated(reduction) if upside_down else reduction}

    def random_scores(self, inputs: dict[str, Any]) -> Tensor:
        """Return (B, F) scores by chance, in place of a ranking.

        Args:
            inputs: The batch.
        """
        eligible, groups = self.adapter.eligible(inputs), self.adapter.groups(inputs, self.knobs.sgt_granularity)
        with self._draws(eligible.device):
            return random_scores(eligible, groups=groups)

    def loss(
        self,
        logits: Tensor,
        inputs: dict[str, Any],
        forward: Callable[[dict[str, Any]], Tensor],
        *,
        kl_weight: Any,
        task_loss: Tensor,
        labels: Tensor | None,
        unlabelled: dict[str, Any],
        **ranking: Any,
    ) -> SaliencyGuidedLoss:
        """Compute the guided loss of a batch whose clean forward has been run.

        Args:
            logits: Of the clean forward.
            inputs: The batch.
            forward: From a masked batch to its logits.
            kl_weight: λ.
            task_loss: Scalar.
            labels: Of the batch.
            unlabelled: The batch that is masked, without the labels.
            **ranking: `scores` and `features`, see `saliency_guided_loss`.
        """
        knobs, adapter = self.knobs, self.adapter

        def masked_forward(drop: Tensor) -> Tensor:
            with self._draws(drop.device):
                masked = adapter.mask(unlabelled, drop, self.masking, granularity=knobs.sgt_granularity)
            return forward(masked)

        return saliency_guided_loss(
            logits,
            labels=labels,
            masked_forward=masked_forward,
            mask_fraction=self._fraction(logits),
            kl_weight=kl_weight,
            eligible=adapter.eligible(inputs),
            groups=adapter.groups(inputs, knobs.sgt_granularity),
            feature_dim=adapter.feature_dim,
            task_loss=task_loss,
            detach_target=knobs.sgt_detach_target,
            **self.ranked_by,
            **ranking,
        )

    def _fraction(self, logits: Tensor) -> float | Tensor:
        """Return k, or (B,) each sample's own."""
        if not self.knobs.sgt_vary_fraction:
            return self.knobs.sgt_mask_fraction
        dtype = torch.float32 if logits.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
        with self._draws(logits.device):
            return self.knobs.sgt_mask_fraction * torch.rand(len(logits), dtype=dtype, device=logits.device)

    def _draws(self, device: torch.device) -> AbstractContextManager[None]:
        return nullcontext() if self.process is None else own_draws(self.process, device)
