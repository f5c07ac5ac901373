"""Which checkpoint to go on from after a process was killed, perhaps while it was writing one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

_SENTINEL = "checkpoint-is-incomplete.txt"  # of transformers' own checkpoints on SIGTERM


def last_complete_checkpoint(
    output_dir: str | Path,
    processes: Callable[[Path], int] = lambda _: 1,
    of_all: Callable[[list[int]], list[list[int]]] = lambda steps: [steps],
) -> str:
    """Return the newest checkpoint that was written to its end.

    `Trainer` writes its state last, so a folder without a readable one is what a killed process left. Of several
    processes each writes the state of its own random numbers, at its own time.

    Args:
        output_dir: The folder that holds `checkpoint-N`.
        processes: From a checkpoint's folder to how many processes wrote their state there; of one none does.
        of_all: From the steps of this process's whole checkpoints to those of every process: on nodes with disks of
            their own they may differ, and all must go on from one.

    Returns:
        The path of a folder.

    Raises:
        ValueError: There is none; names the incomplete ones, or those that some processes have alone.
    """
    found = {int(match[1]): path for path in Path(output_dir).glob("*") if (match := _NAME.match(path.name))}
    whole = of_all(sorted(step for step, path in found.items() if _complete(path, processes)))
    if common := set(whole[0]).intersection(*whole):
        return str(found[max(common)])
    if any(whole):
        raise ValueError(
            f"no checkpoint in {output_dir} that all processes have whole; process by process their steps are "
            f"{whole}: copy one to every node, or train without resume_from_checkpoint"
        )
    left = f", only incomplete ones: {sorted(path.name for path in found.values())}" if found else ""
    raise ValueError(f"no complete checkpoint in {output_dir}{left}: train without resume_from_checkpoint")


_NAME = re.compile(rf"{PREFIX_CHECKPOINT_DIR}-(\d+)$")


def _complete(folder: Path, processes: Callable[[Path], int]) -> bool:
    try:
        json.loads((folder / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if (folder / _SENTINEL).exists():
        return False
    saved = len(list(folder.glob("rng_state_*.pth")))
    return saved == 0 or saved >= processes(folder)  # none of one process, or where only the model is saved
