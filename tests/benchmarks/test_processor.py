from contextlib import nullcontext

import pytest
import torch
from torch import nn

from benchmarks import cost
from benchmarks.common import run_cell
from benchmarks.processor import PRODUCTS, Bfloat16Products, emulates_bfloat16


@pytest.mark.parametrize(
    ("flags", "emulated"), [("fpu avx2", True), ("fpu avx512_bf16", False), ("fpu amx_bf16", False), (None, False)]
)
def test_a_cpu_without_the_arithmetic_takes_products_in_float32(tmp_path, monkeypatch, flags, emulated):
    info = tmp_path / "cpuinfo"
    if flags is not None:  # on Arm there are none
        info.write_text(f"model name\t: A CPU\nflags\t\t: {flags}\n")
    monkeypatch.setattr("benchmarks.processor.CPU_INFO", info)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert emulates_bfloat16() is emulated
    for bf16, settings in ((False, {}), (True, {"bf16": True}), (True, {"training": {"bf16": True}})):
        seen = []
        monkeypatch.setattr(torch.Tensor, "float", lambda self, seen=seen: seen.append(self) or self.to(torch.float32))
        half = torch.ones(2, 2, dtype=torch.bfloat16)
        path = tmp_path / f"{len(str(settings))}.json"
        cell = run_cell(path, settings, lambda half=half: {"value": (half @ half).tolist()})
        assert len(seen) == 2 * (bf16 and emulated)
        assert cell["machine"]["emulates_bfloat16"] is emulated


def results(mode):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 64), nn.ReLU(), nn.Linear(64, 5))
    images = torch.randn(16, 3, 8, 8, requires_grad=True)
    with mode, torch.autocast("cpu", torch.bfloat16):
        scores = net(images)
        saliency = torch.autograd.grad(scores.logsumexp(-1).sum(), images, create_graph=True)[0]
        (scores.sum() + saliency.square().sum()).backward()
    batched = torch.randn(4, 30, 40).bfloat16()
    with mode:
        pairs = batched @ batched.mT
        added = torch.baddbmm(pairs, batched, batched.mT)
    return [scores, pairs, added, saliency, *(weights.grad for weights in net.parameters())]


def test_products_are_those_of_torch():
    for ours, torchs in zip(results(Bfloat16Products()), results(nullcontext()), strict=True):
        assert ours.dtype is torchs.dtype
        # A last digit of bfloat16 apart, where float32 was added up in another order.
        torch.testing.assert_close(ours, torchs, rtol=2**-7, atol=2**-7 * torchs.abs().max().item())


def test_every_product_is_taken():
    class Seen(Bfloat16Products):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if any(isinstance(one, torch.Tensor) and one.dtype is torch.bfloat16 for one in args):
                taken.add(func)
            return super().__torch_dispatch__(func, types, args, kwargs)

    taken = set()
    results(Seen())
    assert {op for op in taken if any(part in str(op) for part in ("mm", "conv", "linear", "matmul"))} == PRODUCTS


def test_the_mode_is_what_computes(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda self: torch.full_like(self, 7, dtype=torch.bfloat16))
    half = torch.ones(2, 2, dtype=torch.bfloat16)
    with Bfloat16Products():
        assert (half @ half).eq(7).all()


def test_mixed_types_are_refused_as_ever():
    with Bfloat16Products(), pytest.raises(RuntimeError, match="dtype"):
        torch.ones(2, 2, dtype=torch.bfloat16) @ torch.ones(2, 2)


def test_times_of_emulated_bfloat16_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr("benchmarks.cost.emulates_bfloat16", lambda: True)
    monkeypatch.setattr("sys.argv", ["cost.py", "--bf16", "--output-dir", str(tmp_path)])
    with pytest.raises(ValueError, match="emulates bfloat16"):
        cost.main()


def test_other_types_are_left_alone():
    doubles = torch.randn(8, 8, dtype=torch.float64)
    with Bfloat16Products():
        product = doubles @ doubles
    torch.testing.assert_close(product, doubles @ doubles, rtol=0, atol=0)
