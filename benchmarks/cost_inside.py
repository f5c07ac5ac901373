"""Inside a step: its peak memory, and the time that is neither the model's forwards nor its backwards."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile


def peak_bytes(work: Callable[[], None], resident: int) -> int:
    """Return the most bytes that tensors hold at a time during some work, what was there before included.

    What the work adds is told on an accelerator by its own counter, on a CPU by the profiler's record of allocations.

    Args:
        work: Some training steps.
        resident: Bytes of parameters, buffers, optimizer state and batch.
    """
    if torch.cuda.is_available():  # where the models of other modes are too, which are not this one's
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        torch.cuda.synchronize()
        return resident + torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as record:
        work()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        record.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    changes = sorted((event["ts"], event["args"]["Bytes"]) for event in events if event.get("name") == "[memory]")
    held = peak = 0
    for _, change in changes:
        held += change
        peak = max(peak, held)
    return resident + peak


def resident_bytes(model: nn.Module, optimizer: torch.optim.Optimizer, batch: dict[str, torch.Tensor]) -> int:
    """Return the bytes of parameters, buffers, optimizer state and batch."""
    states = [value for state in optimizer.state.values() for value in state.values()]
    tensors = [*model.parameters(), *model.buffers(), *batch.values(), *states]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors if isinstance(tensor, torch.Tensor))


class Stopwatch:
    """Seconds spent inside the model's forwards and in backwards, the device waited for at each border.

    Attributes:
        seconds: So far.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.depth = 0
        self.started = 0.0

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Count the model's forwards, and all backward passes, while inside."""
        before = model.register_forward_pre_hook(lambda *_: self._enter())
        after = model.register_forward_hook(lambda *_: self._leave())
        grad, backward = torch.autograd.grad, torch.autograd.backward
        torch.autograd.grad, torch.autograd.backward = self._counted(grad), self._counted(backward)
        try:
            yield
        finally:
            torch.autograd.grad, torch.autograd.backward = grad, backward
            before.remove()
            after.remove()

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self._enter()
            try:
                return function(*args, **kwargs)
            finally:
                self._leave()

        return counted

    def _enter(self) -> None:
        if self.depth == 0:  # a checkpointed backward runs forwards inside
            self.started = now()
        self.depth += 1

    def _leave(self) -> None:
        self.depth -= 1
        if self.depth == 0:
            self.seconds += now() - self.started


def now() -> float:
    """Return the time in seconds, the device waited for."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
