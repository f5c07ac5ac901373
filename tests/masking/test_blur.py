import math

import pytest
import torch

from sgt_hf.masking.blur import blur
from sgt_hf.masking.dense import DenseFacts, replace_dropped


def facts(size=(6, 7)):
    return DenseFacts(torch.ones(1, 1, 1, dtype=torch.bool), torch.tensor(0.0), size=size)


def slow_blur(image, sigma, reach):
    """A Gaussian mean around each pixel, positions beyond the border reflected."""
    height, width = len(image), len(image[0])

    def reflected(i, n):
        return -i if i < 0 else 2 * (n - 1) - i if i >= n else i

    weights = [math.exp(-(d**2) / (2 * sigma**2)) for d in range(-reach, reach + 1)]
    total = sum(weights)
    result = []
    for y in range(height):
        row = []
        for x in range(width):
            value = 0.0
            for j, down in enumerate(weights):
                for i, right in enumerate(weights):
                    pixel = image[reflected(y + j - reach, height)][reflected(x + i - reach, width)]
                    value += down * right / total**2 * pixel
            row.append(value)
        result.append(row)
    return result


def test_it_is_a_gaussian_mean():
    images = torch.rand(2, 6, 7, 3)
    values = images.flatten(1, 2)
    found = blur(values, torch.ones(2, 42, 1, dtype=torch.bool), facts()).view(2, 6, 7, 3)
    for b in range(2):
        for c in range(3):
            expected = torch.tensor(slow_blur(images[b, ..., c].tolist(), 1.0, 2))
            torch.testing.assert_close(found[b, ..., c], expected, atol=1e-5, rtol=0)


def test_a_flat_image_stays_flat_and_kept_pixels_stay():
    flat = torch.full((1, 42, 1), 0.3)
    drop = torch.zeros(1, 42, 1, dtype=torch.bool)
    torch.testing.assert_close(blur(flat, drop, facts()), flat)
    values = torch.rand(1, 42, 1)
    drop[0, 5] = True
    filled = replace_dropped(values, drop, blur, facts())
    assert (filled != values).nonzero().tolist() == [[0, 5, 0]]


def test_it_is_the_same_under_autocast():
    values, drop = torch.randn(1, 42, 3), torch.ones(1, 42, 1, dtype=torch.bool)
    expected = blur(values, drop, facts())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(blur(values, drop, facts()), expected)


def test_it_needs_an_image():
    with pytest.raises(ValueError, match="blur needs an image"):
        blur(torch.rand(1, 42, 1), torch.ones(1, 42, 1, dtype=torch.bool), facts(size=None))
