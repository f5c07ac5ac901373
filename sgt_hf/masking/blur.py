"""Dropped pixels take the blurred image's values: what is around them stays, detail goes."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from .dense import DenseFacts

_SHARE = 1 / 16  # the blur's standard deviation, of the image's shorter side


def blur(values: Tensor, drop: Tensor, facts: DenseFacts) -> Tensor:
    """The image under a Gaussian of a sixteenth of its shorter side, at least one pixel, reflected at the border.

    Args:
        values: (B, H·W, C) real, row by row.
        drop: Unused: the whole image is blurred, dropped pixels included.
        facts: With the `size` (H, W).

    Returns:
        (B, H·W, C).

    Raises:
        ValueError: The positions are no image's pixels.

    References:
        Fong and Vedaldi. Interpretable Explanations of Black Boxes by Meaningful Perturbation. ICCV 2017, section 4.1.
    """
    if facts.size is None:
        raise ValueError("blur needs an image: the size of the input is not known")
    height, width = facts.size
    sigma = max(1.0, _SHARE * min(height, width))
    reach = min(math.ceil(2 * sigma), min(height, width) - 1)  # reflection reaches no further than the image
    images = values.transpose(1, 2).unflatten(2, (height, width))
    with torch.autocast(values.device.type, enabled=False):  # a convolution, which autocast would run in bfloat16
        blurred = gaussian_blur(images, [2 * reach + 1] * 2, [sigma] * 2)
    return blurred.flatten(2).transpose(1, 2)
