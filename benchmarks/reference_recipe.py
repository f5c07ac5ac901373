"""The recipe that the paper's code follows, as the baseline of `cost.py`: a pass of its own to rank, and loops to mask.

https://github.com/ayaabdelsalam91/saliency_guided_training: Captum's Saliency in eval mode, a Python loop over the
samples of the batch with the arithmetic on the CPU, the masked features rounded down. The masking of text, for
which no code was released, is written in the same manner from the paper's words.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from captum.attr import Saliency
from torch import Tensor, nn
from torch.nn import functional
from transformers import Trainer

FRACTION = 0.5
FIRST_WORD = 1  # after [CLS]


class ReferenceTrainer(Trainer):
    """`Trainer` with the reference's loss."""

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Rank in eval mode, mask sample by sample, and add KL(f(X) ‖ f(X̃)) to the cross-entropy."""
        given = dict(inputs)
        labels = given.pop("labels")
        model.eval()
        for module in model.modules():
            if isinstance(module, nn.RNNBase):
                module.train()  # cuDNN refuses a recurrent layer's backward in eval mode
        masked = masked_text(model, given, labels) if "input_ids" in given else masked_images(model, given, labels)
        model.train()
        logits, masked_logits = model(**given).logits, model(**masked).logits
        kl = nn.KLDivLoss(reduction="batchmean")(
            functional.log_softmax(masked_logits, -1), functional.softmax(logits, -1)
        )
        loss = functional.cross_entropy(logits, labels) + kl
        return (loss, {"logits": logits}) if return_outputs else loss


def masked_images(model: nn.Module, given: dict[str, Tensor], labels: Tensor) -> dict[str, Tensor]:
    """Replace each sample's lowest pixels by noise in its range."""
    pixels = given["pixel_values"].clone()
    saliency = Saliency(lambda values: model(pixel_values=values).logits)
    gradients = saliency.attribute(pixels.requires_grad_(), labels, abs=False).mean(1).flatten(1).detach().cpu()
    count = int(FRACTION * gradients.shape[1])
    lowest = torch.topk(gradients, count, dim=1, largest=False).indices
    pixels = pixels.detach()
    for row in range(len(pixels)):
        for channel in range(pixels.shape[1]):
            values = pixels[row, channel].flatten()
            noise = np.random.uniform(values.min().item(), values.max().item(), size=count)
            values[lowest[row]] = torch.tensor(noise, dtype=values.dtype, device=values.device)
            pixels[row, channel] = values.view_as(pixels[row, channel])
    return {"pixel_values": pixels}


def masked_text(model: nn.Module, given: dict[str, Tensor], labels: Tensor) -> dict[str, Tensor]:
    """Replace each text's lowest words by the last kept one before them."""
    embedded: list[Tensor] = []
    handle = model.get_input_embeddings().register_forward_hook(
        lambda _, __, output: embedded.append(output.detach().requires_grad_()) or embedded[-1]
    )
    try:
        outputs = model(**given).logits
    finally:
        handle.remove()
    (gradients,) = torch.autograd.grad(outputs.gather(1, labels[:, None]).sum(), embedded)
    scores = gradients.sum(-1).detach().cpu()
    ids = given["input_ids"].clone()
    for row in range(len(ids)):
        words = list(range(FIRST_WORD, int(given["attention_mask"][row].sum())))
        ranked = sorted(words, key=lambda position, row=row: scores[row, position].item())
        dropped = set(ranked[: int(FRACTION * len(words))])
        source = next(position for position in words if position not in dropped)
        for position in words:
            if position in dropped:
                ids[row, position] = given["input_ids"][row, source]
            else:
                source = position
    return given | {"input_ids": ids}
