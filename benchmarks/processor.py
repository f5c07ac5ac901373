"""The processor that a cell is computed on, and bfloat16 on one that has no arithmetic for it."""

from __future__ import annotations

import platform
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

CPU_INFO = Path("/proc/cpuinfo")

_aten = torch.ops.aten
PRODUCTS = {
    _aten.mm.default,
    _aten.addmm.default,
    _aten.bmm.default,
    _aten.baddbmm.default,
    _aten.convolution.default,
    _aten.convolution_backward.default,
}


def name_of_cpu() -> str:
    """Return the CPU's name, empty where the system does not tell it."""
    return _cpu_info("model name") or platform.processor()


def _cpu_info(name: str) -> str:
    """What Linux tells of the first CPU under a name; empty elsewhere."""
    lines = CPU_INFO.read_text(encoding="utf-8").splitlines() if CPU_INFO.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def emulates_bfloat16() -> bool:
    """Return whether training is on a CPU that has no arithmetic for bfloat16."""
    flags = {*_cpu_info("flags").split()}  # of which other processors than x86 tell none
    return bool(flags) and not flags & {"avx512_bf16", "amx_bf16"} and not torch.cuda.is_available()


def bfloat16_products(bf16: bool) -> AbstractContextManager[object]:
    """Return the context for work in bfloat16: `Bfloat16Products` where the CPU emulates it, else one without effect.

    Args:
        bf16: Whether the work is in bfloat16.
    """
    return Bfloat16Products() if bf16 and emulates_bfloat16() else nullcontext()


class Bfloat16Products(TorchDispatchMode):
    """Take products of bfloat16 in float32 and round them, as arithmetic for bfloat16 does.

    Such arithmetic multiplies exactly, adds up in float32 and rounds the sum. On other CPUs torch emulates it, many
    times slower than a product in float32 and a rounding. The two agree but for rounding.

    Products are those of matrices and of convolutions, forward and backward, outside of `torch.inference_mode`. What
    else is in bfloat16, as fused attention or an LSTM, and all that is in another type, runs as ever.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func not in PRODUCTS or {one.dtype for one in args if isinstance(one, Tensor)} != {torch.bfloat16}:
            return func(*args, **kwargs)
        args, kwargs = tree_map_only(Tensor, Tensor.float, (args, kwargs))
        return tree_map_only(Tensor, Tensor.bfloat16, func(*args, **kwargs))
