"""Random replacements: drawn from a seed for a while, and of several processes each its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def own_draws(process: int, device: torch.device) -> Iterator[None]:
    """Let torch's global generators draw for a while what no other process draws.

    The Trainer seeds every process alike, so equal draws would replace the same positions by the same tokens. The
    state inside comes from one number of the CPU's global generator, which the Trainer checkpoints, and from the
    process; afterwards the generators go on from where they were.

    Args:
        process: Index among the processes, from 0.
        device: Where the draws are made.

    Example:
        >>> drawn = []
        >>> for process in (0, 1, 0):
        ...     _ = torch.manual_seed(0)
        ...     with own_draws(process, torch.device("cpu")):
        ...         drawn.append(torch.rand(()).item())
        >>> drawn[0] != drawn[1], drawn[0] == drawn[2]
        (True, True)
    """
    with seeded(int(torch.randint(2**62, ())) + process, device):
        yield


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Let torch's global generators start from a seed for a while; afterwards they go on from where they were.

    Args:
        seed: In [0, 2^63).
        device: Where the draws are made.
    """
    on_cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_cuda else []):
        torch.default_generator.manual_seed(seed)
        if on_cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
