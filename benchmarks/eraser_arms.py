"""The arms of the ERASER benchmark: what each is, and what it changes in the guided one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from benchmarks.common import CONTROLS, PLAIN, UNGUIDED, set_knobs
from sgt_hf import PRESETS, SaliencyGuidedArguments

# Arm → what it is, for the notes below a table. Those after `paper` are controls.
ARMS = {
    "plain": "cross-entropy alone",
    "guided": "the lowest words masked",
    "paper": "guided with the paper's settings",
    "random_mask": "guided with words masked at random",
    "reversed_mask": "guided with the highest words masked",
    "rdrop": "the KL between two dropout passes, nothing masked",
    "plain_equal_compute": "plain for the compute of guided",
}


def knobs_of_arm(arm: str, guided: SaliencyGuidedArguments, mask_fraction: float) -> dict[str, Any]:
    """Return the knobs of an arm that decide its cells.

    Args:
        arm: One of `ARMS`.
        guided: The knobs of the guided arm, which the controls share but for one.
        mask_fraction: The paper's k for the data set.
    """
    if arm in UNGUIDED:
        return PLAIN
    if arm == "paper":
        return set_knobs(paper_knobs(mask_fraction))
    return set_knobs(replace(guided, **CONTROLS.get(arm, {})))


def paper_knobs(mask_fraction: float) -> SaliencyGuidedArguments:
    """Return the paper's: λ 1, words replaced by the previous salient one, ranked by the sum of the gradient.

    Args:
        mask_fraction: k.
    """
    return SaliencyGuidedArguments(**PRESETS["paper"] | {"sgt_mask_fraction": mask_fraction})
