"""Two real processes over gloo against one process with the doubled batch, of the same seed."""

import json
import os

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.tiny import make_model
from tests.trainer.launching import launch
from tests.trainer.runs import TERMS, losses, trained, weights

pytestmark = [pytest.mark.slow, pytest.mark.multiprocess, pytest.mark.timeout(600)]

CASES = {
    "previous_salient": {"sgt_masking": "previous_salient", "family": "llama"},
    "delete-separate": {"sgt_masking": "delete", "sgt_ranking": "separate"},
    "unk-find_unused": {"sgt_masking": "unk", "ddp_find_unused_parameters": True},
    "sep": {"sgt_masking": "sep"},
    "mask": {"sgt_masking": "mask"},
    "save_memory": {"sgt_save_memory": True, "gradient_accumulation_steps": 2},
    "highest": {"sgt_drops": "highest", "sgt_detach_target": True},
    "plain": {"sgt_kl_weight": 0.0},
}
SCRIPT = """
import json, sys
import torch
from tests.trainer.runs import built, weights
from tests.test_distributed import Auxiliary, LeavesOut
from tests.trainer.test_bad_batches import Root, one_bad_row

output, cases = sys.argv[1], json.loads(sys.argv[2])

def note(name, trainer, **more):
    result = {"weights": weights(trainer), "log": trainer.state.log_history, "world": trainer.args.world_size} | more
    torch.save(result, f"{output}/{name}-{trainer.args.process_index}.pt")

for name, changes in cases.items():
    trainer = built(f"{output}/{name}", logging_steps=1, per_device_train_batch_size=2, **changes)
    trainer.train()
    note(name, trainer)

for name in ("draws", "draws-again"):
    drawn = []
    def noting(batch, drop):
        drawn.append(torch.rand(3))
        return batch | {"input_ids": batch["input_ids"].masked_fill(drop, 7)}
    trainer = built(f"{output}/{name}", per_device_train_batch_size=2, sgt_masking=noting)
    trainer.train()
    note(name, trainer, draws=torch.stack(drawn))

settings = {"sgt_masking": "random", "dropout": 0.2, "save_strategy": "steps", "save_steps": 3}
whole = built(f"{output}/resumed", per_device_train_batch_size=2, **settings)
whole.train()
note("whole", whole)
parted = built(f"{output}/resumed", per_device_train_batch_size=2, **settings)
parted.train(resume_from_checkpoint=f"{output}/resumed/checkpoint-3")
note("parted", parted)

for kind in (Auxiliary, LeavesOut):
    torch.manual_seed(0)
    trainer = built(f"{output}/{kind.__name__}", model=kind(), logging_steps=1, per_device_train_batch_size=2)
    trainer.train()
    note(kind.__name__, trainer)

rows = one_bad_row()  # in the batch of one process
model = Root()
trainer = built(f"{output}/bad", per_device_train_batch_size=2, model=model, rows=rows)
error = ""
try:
    trainer.train()
except FloatingPointError as raised:
    error = str(raised)
note("bad", trainer, error=error)
"""


class Auxiliary(nn.Module):
    """A head with a loss of its own, which the masked forward, without labels, does not reach."""

    def __init__(self):
        super().__init__()
        self.encoder = make_model("bert", spread=0.5).bert
        self.head, self.aside = nn.Linear(8, 2), nn.Linear(8, 2)

    def forward(self, input_ids, attention_mask, labels=None):
        first = self.encoder(input_ids, attention_mask).last_hidden_state[:, 0]
        found = {"logits": self.head(first)}
        if labels is None:
            return found
        losses = [functional.cross_entropy(logits, labels) for logits in (found["logits"], self.aside(first))]
        return {"loss": sum(losses)} | found


class LeavesOut(Auxiliary):
    """A layer that half of the forwards pass over, each process by its own chance."""

    def __init__(self):
        super().__init__()
        self.chance = torch.Generator().manual_seed(int(os.environ["RANK"]))

    def forward(self, input_ids, attention_mask, labels=None):
        first = self.encoder(input_ids, attention_mask).last_hidden_state[:, 0]
        more = self.aside(first).mean(1, keepdim=True) if torch.rand((), generator=self.chance) < 0.5 else 0.0
        found = {"logits": self.head(first) * (1 + more)}
        return found if labels is None else {"loss": functional.cross_entropy(found["logits"], labels)} | found


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What each of two processes ended with, by case and rank."""
    folder = tmp_path_factory.mktemp("two")
    launch(folder, SCRIPT, folder, json.dumps(CASES))

    def result(name, rank=0):
        found = torch.load(folder / f"{name}-{rank}.pt", weights_only=True)
        assert found["world"] == 2
        return found

    return result


@pytest.mark.parametrize("name", CASES)
def test_two_processes_equal_one_with_the_doubled_batch(tmp_path, two, name):
    """Weights to 1e-5 after 8 steps of SGD, and the logged terms to 1e-4 (they are sums in another order)."""
    changes = {key: value for key, value in CASES[name].items() if not key.startswith("ddp")}
    one = trained(tmp_path, logging_steps=1, per_device_train_batch_size=4, **changes)
    assert torch.equal(two(name)["weights"], two(name, 1)["weights"])
    assert torch.allclose(two(name)["weights"], weights(one), atol=1e-5)
    for term in TERMS if changes.get("sgt_kl_weight", 1) else TERMS[:1]:
        logged = [entry[term] for entry in two(name)["log"] if term in entry]
        assert len(logged) == 8 // changes.get("gradient_accumulation_steps", 1)
        assert logged == pytest.approx(losses(one, term), abs=1e-4), term


def test_what_only_one_of_the_two_forwards_uses(tmp_path, two):
    """DDP looks for parameters without a gradient after each forward."""
    torch.manual_seed(0)
    one = trained(tmp_path, model=Auxiliary(), logging_steps=1)
    assert torch.allclose(two("Auxiliary")["weights"], weights(one), atol=1e-5)
    for name in ("Auxiliary", "LeavesOut"):
        assert torch.equal(two(name)["weights"], two(name, 1)["weights"])


def test_random_masks_are_drawn_by_each_process_for_itself_and_from_the_seed(two):
    first, second = two("draws")["draws"], two("draws", 1)["draws"]
    assert not (first[:, None] == second[None]).any()
    assert len(torch.unique(first)) == first.numel()
    for rank in (0, 1):
        assert torch.equal(two("draws", rank)["draws"], two("draws-again", rank)["draws"])
        assert torch.equal(two("draws", rank)["weights"], two("draws", 0)["weights"])


def test_two_processes_resume_bit_for_bit(two):
    """Random masks and dropout, each process with its own checkpointed generators."""
    for rank in (0, 1):
        assert torch.equal(two("whole", rank)["weights"], two("parted", rank)["weights"])


def test_a_gradient_that_is_not_finite_stops_both_processes_and_names_the_sample(two):
    errors = [two("bad", rank)["error"] for rank in (0, 1)]
    assert all(error.startswith("the gradient's norm is nan in step ") for error in errors)
    named = ["(row 3 of the data set)" in error for error in errors]
    assert sorted(named) == [False, True]
    assert all(torch.isfinite(two("bad", rank)["weights"]).all() for rank in (0, 1))
