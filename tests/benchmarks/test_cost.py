import json
import sys
import time

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import cost
from benchmarks.cost_inside import Stopwatch, peak_bytes, resident_bytes
from benchmarks.cost_subjects import batch_size_of, knobs_for, make_batch
from benchmarks.reference_recipe import masked_images, masked_text
from sgt_hf import TextAdapter
from sgt_hf.models.vision import MnistCnnConfig, MnistCnnForImageClassification
from sgt_hf.modes import evaluating
from tests.tiny import make_model, make_tokenizer


@pytest.mark.parametrize(
    ("model", "modes"), [("bilstm", {*cost.MODES}), ("mnist_cnn", {*cost.MODES} - {"guided, delete k=0.6"})]
)
def test_a_small_run_times_every_mode_in_turn(tmp_path, monkeypatch, capsys, model, modes):
    command = ["cost.py", "--models", model, "--lengths", "8"]
    command += ["--batch_size", "2", "--repeats", "2", "--output_dir", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", command)
    cost.main()
    (cell,) = (json.loads(path.read_text()) for path in tmp_path.glob("*.json"))
    assert set(cell["seconds"]) == {"plain", *modes}
    assert all(len(values) == 2 and min(values) > 0 for values in cell["seconds"].values())
    assert all(0 <= share < 1 for shares in cell["outside"].values() for share in shares)
    assert set(cell["peak_bytes"]) == {"plain", *modes}
    assert cost.table(cell) in capsys.readouterr().out


def test_ratios_are_taken_within_a_repeat():
    cell = {
        "seconds": {"plain": [1.0, 2.0, 4.0], "guided": [2.0, 4.0, 10.0]},
        "outside": {"plain": [0.0] * 3, "guided": [0.01, 0.02, 0.06]},
        "peak_bytes": {"plain": 2**20, "guided": 3 * 2**20},
        "settings": {"model": "bilstm", "batch_size": 1, "length": 1, "repeats": 3}
        | {"bf16": False, "channels_last": False},
        "machine": {"device": "cpu", "torch_threads": 1},
        "steps_per_unit": 2,
    }
    row = next(line for line in cost.table(cell).splitlines() if "guided" in line)
    expected = ["guided", "2.000", "2.00", "2.00 – 2.50", "2.33", "3", "3.00", "2.0 %"]
    assert [cell.strip() for cell in row.strip("|").split("|")] == expected


def test_peak_memory_is_the_most_held_at_a_time():
    def work():
        first = torch.zeros(2**18)  # 1 MiB
        del first
        second, third = torch.zeros(2**18), torch.zeros(2**19)
        return second + third[: 2**18]

    assert peak_bytes(work, resident=100) == pytest.approx(100 + 4 * 2**20, abs=2**14)


def test_resident_bytes_by_hand():
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), momentum=0.9)
    assert resident_bytes(model, optimizer, {"x": torch.zeros(5, dtype=torch.int64)}) == 8 * 4 + 5 * 8
    model(torch.zeros(1, 3)).sum().backward()
    optimizer.step()
    assert resident_bytes(model, optimizer, {}) == 2 * 8 * 4


def test_the_stopwatch_counts_forwards_and_backwards_and_nothing_else(monkeypatch):
    """On a clock set by hand: a forward takes 1 second, its backward 4, and what is beside them 16."""
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock)

    class Slow(nn.Linear):
        def forward(self, x):
            clock.pass_by(1)
            out = super().forward(x)
            out.register_hook(lambda _: clock.pass_by(4))
            return out

    model, watch = Slow(2, 1), Stopwatch()
    with watch.watching(model):
        model(torch.zeros(1, 2)).sum().backward()
        clock.pass_by(16)
    assert watch.seconds == 1 + 4
    assert not model._forward_hooks
    assert torch.autograd.grad.__module__.startswith("torch")


class Clock:
    """Shows what it was set to."""

    seconds = 0.0

    def __call__(self):
        return self.seconds

    def pass_by(self, seconds):
        self.seconds += seconds


def test_the_reference_masks_as_the_library_does_where_nothing_is_rounded():
    """A row without padding and with an even number of words; the same ranking, by an oracle of its own."""
    tokenizer, model = make_tokenizer("gpt2"), make_model("gpt2", initializer_range=0.5).eval()
    batch = dict(tokenizer(["good film plot actor the", "bad film dull plot very"], return_tensors="pt"))
    labels = torch.tensor([0, 1])
    reference = masked_text(model, batch, labels)["input_ids"]
    adapter = TextAdapter(tokenizer)
    with evaluating(model):
        scores = adapter.scores(model, batch, labels, target="label", reduction="signed_sum")
    lowest = scores[:, 1:].argsort(1)[:, :2] + 1  # the reference takes the first token for [CLS]
    drop = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, lowest, True)
    assert torch.equal(reference[:, 0], batch["input_ids"][:, 0])
    for row in range(2):
        kept = [i for i in range(1, 5) if not drop[row, i]]
        for i in range(1, 5):
            before = [j for j in kept if j <= i]
            assert reference[row, i] == batch["input_ids"][row, before[-1] if before else kept[0]]


def test_the_reference_keeps_the_upper_half_of_the_pixels():
    torch.manual_seed(0)
    np.random.seed(0)
    model = MnistCnnForImageClassification(MnistCnnConfig(num_labels=10)).eval()
    pixels = torch.randn(2, 1, 28, 28)
    masked = masked_images(model, {"pixel_values": pixels.clone()}, torch.tensor([3, 4]))["pixel_values"]
    assert ((masked != pixels).flatten(1).sum(1) == 392).all()
    assert masked.amax() <= pixels.amax()


def test_batches_and_sizes():
    assert make_batch("minilm", 2, 7)["input_ids"].shape == (2, 7)
    assert make_batch("resnet18", 2, None)["pixel_values"].shape == (2, 3, 32, 32)
    assert batch_size_of("minilm", 128, None) == 16
    assert batch_size_of("minilm", 7, 3) == 3
    with pytest.raises(ValueError, match=r"'minilm' at 7 tokens: pass --batch-size"):
        batch_size_of("minilm", 7, None)
    assert knobs_for("resnet18", {"sgt_masking": "delete"}) is None
