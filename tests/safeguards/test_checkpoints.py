"""Which checkpoint is whole."""

import json
import shutil
from pathlib import Path

import pytest

from sgt_hf.safeguards import last_complete_checkpoint
from tests.trainer.runs import built


def checkpoint(folder, step, *, state="{}", ranks=0):
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    if state is not None:
        (path / "trainer_state.json").write_text(state)
    for rank in range(ranks):
        (path / f"rng_state_{rank}.pth").touch()
    return path


def test_the_last_complete_checkpoint(tmp_path):
    checkpoint(tmp_path, 9)
    checkpoint(tmp_path, 10)
    checkpoint(tmp_path, 11, state=None)
    checkpoint(tmp_path, 12, state='{"global_step": 1')  # cut off
    (checkpoint(tmp_path, 13) / "checkpoint-is-incomplete.txt").touch()
    (tmp_path / "checkpoint-99-old").mkdir()
    assert Path(last_complete_checkpoint(tmp_path)).name == "checkpoint-10"


def test_of_two_processes_both_must_have_written(tmp_path):
    checkpoint(tmp_path, 1)  # save_only_model
    checkpoint(tmp_path, 2, ranks=2)
    checkpoint(tmp_path, 3, ranks=1)
    assert Path(last_complete_checkpoint(tmp_path, lambda _: 2)).name == "checkpoint-2"
    shutil.rmtree(tmp_path / "checkpoint-2")
    assert Path(last_complete_checkpoint(tmp_path, lambda _: 2)).name == "checkpoint-1"


def test_every_checkpoint_is_judged_by_the_processes_that_trained_it(tmp_path):
    checkpoint(tmp_path, 1, ranks=2)
    checkpoint(tmp_path, 2, ranks=3)
    trained = {"checkpoint-1": 2, "checkpoint-2": 4}
    assert Path(last_complete_checkpoint(tmp_path, lambda folder: trained[folder.name])).name == "checkpoint-1"


def test_of_nodes_with_disks_of_their_own_each_holds_its_own_processes(tmp_path, monkeypatch):
    trainer = built(tmp_path, save_on_each_node=True)
    recipe = {"knobs": {}, "hyperparameters": {"num_devices": 4}}
    for step, ranks in ((1, 2), (2, 1)):
        (checkpoint(tmp_path, step, ranks=ranks) / "saliency_guided.json").write_text(json.dumps(recipe))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    find = lambda: last_complete_checkpoint(tmp_path, trainer._processes_that_saved)  # noqa: E731
    assert Path(find()).name == "checkpoint-1"
    trainer.args.save_on_each_node = False
    with pytest.raises(ValueError, match="only incomplete ones"):
        find()


def test_all_processes_go_on_from_one_checkpoint(tmp_path):
    """On a node of its own disk the newest may have been cut off."""
    for step in (1, 2, 3):
        checkpoint(tmp_path, step)
    find = lambda *others: last_complete_checkpoint(tmp_path, of_all=lambda steps: [steps, *others])  # noqa: E731
    assert Path(find([1, 2])).name == "checkpoint-2"
    assert Path(find([2, 1], [1, 3])).name == "checkpoint-1"
    with pytest.raises(ValueError, match=r"their steps are \[\[1, 2, 3\], \[\]\]: copy one to every node, or train"):
        find([])


def test_without_a_complete_one_it_says_what_is_there(tmp_path):
    with pytest.raises(ValueError, match=r"no complete checkpoint in \S+: train without resume_from_checkpoint"):
        last_complete_checkpoint(tmp_path)
    checkpoint(tmp_path, 4, state=None)
    with pytest.raises(ValueError, match=r"only incomplete ones: \['checkpoint-4'\]"):
        last_complete_checkpoint(tmp_path)
