"""Going on from a checkpoint: bit-identical final weights, also after SIGKILL in the middle of a step."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.trainer.runs import built, losses, trained, weights

ROOT = Path(__file__).resolve().parents[2]
SAVING = {"save_strategy": "steps", "save_steps": 3, "dropout": 0.2, "optim": "adamw_torch", "save_total_limit": 3}


@pytest.mark.parametrize(
    "changes",
    [
        {"sgt_masking": "random"},  # 4 steps an epoch: checkpoint 3 is in the middle of one
        {"sgt_masking": "random", "per_device_train_batch_size": 1, "gradient_accumulation_steps": 4},
        {"sgt_masking": "delete", "sgt_ranking": "separate", "sgt_warmup_ratio": 0.5, "sgt_every_n_steps": 2},
        {"save_steps": 4},  # between epochs
    ],
    ids=["random", "accumulation", "delete-separate-warmup-every", "epoch"],
)
def test_resumed_equals_uninterrupted_bit_for_bit(tmp_path, changes):
    settings = SAVING | changes
    whole = trained(tmp_path / "whole", **settings)
    (tmp_path / "parted").mkdir()
    name = f"checkpoint-{settings['save_steps']}"
    shutil.copytree(tmp_path / "whole" / name, tmp_path / "parted" / name)
    torch.manual_seed(99)  # nothing may hang on what the process drew before
    parted = built_and_resumed(tmp_path / "parted", **settings)
    assert parted.state.global_step == whole.state.global_step == 8
    assert torch.equal(weights(whole), weights(parted))
    assert losses(whole)[-1] == losses(parted)[-1]


def built_and_resumed(folder, **settings):
    trainer = built(folder, **settings)
    trainer.train(resume_from_checkpoint=True)
    return trainer


SCRIPT = """
import json, os, signal, sys
from tests.trainer.runs import built

folder, changes, kill_at = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
trainer = built(folder, **changes)
guided, calls = trainer.adapter.mask, 0

def dying(*args, **kwargs):
    global calls
    calls += 1
    if calls == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)  # after the clean forward, before the masked one
    return guided(*args, **kwargs)

trainer.adapter.mask = dying
trainer.train(resume_from_checkpoint=True if kill_at == 0 else None)
trainer.save_model(folder + "/final")
"""
NEVER = -1


def run_script(tmp_path, folder, changes, kill_at):
    """Train in a process of one thread: with another number of them the last bits differ."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(script), str(folder), json.dumps(changes), str(kill_at)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=240)


@pytest.mark.slow
def test_a_killed_training_goes_on_as_if_nothing_had_happened(tmp_path):
    """SIGKILL in the 6th of 8 steps, in its 3rd of 4 micro-batches, and half a checkpoint beside the whole one."""
    changes = SAVING | {"sgt_masking": "random", "per_device_train_batch_size": 1, "gradient_accumulation_steps": 4}
    whole = run_script(tmp_path, tmp_path / "whole", changes, kill_at=NEVER)
    assert whole.returncode == 0, whole.stderr[-2000:]
    folder = tmp_path / "killed"
    killed = run_script(tmp_path, folder, changes, kill_at=5 * 4 + 3)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    assert [path.name for path in folder.iterdir()] == ["checkpoint-3"]
    shutil.copytree(folder / "checkpoint-3", folder / "checkpoint-6")
    (folder / "checkpoint-6" / "trainer_state.json").unlink()  # what a kill while saving leaves
    resumed = run_script(tmp_path, folder, changes, kill_at=0)
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    final = load_file(folder / "final" / "model.safetensors")
    expected = load_file(tmp_path / "whole" / "final" / "model.safetensors")
    assert final.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(final[name], value), name


def test_a_folder_with_none_but_half_checkpoints_is_refused(tmp_path):
    (tmp_path / "checkpoint-4").mkdir()
    with pytest.raises(ValueError, match=r"no complete checkpoint in \S+, only incomplete ones: \['checkpoint-4'\]"):
        built_and_resumed(tmp_path)
