import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = """
import sys

import numpy as np
from accelerate import PartialState

from sgt_hf import evaluate_faithfulness
from sgt_hf.attribution import AttributionSettings
from tests.tiny import make_model, make_rows, make_tokenizer

tokenizer, model = make_tokenizer("bert"), make_model("bert", initializer_range=0.5)
for name, count in (("seven", 7), ("one", 1)):
    report = evaluate_faithfulness(
        model,
        make_rows(tokenizer, count=count),
        tokenizer,
        methods=["gradient", "smooth_grad"],
        random_draws=2,
        batch_size=2,
        normalize="beam",
        settings=AttributionSettings(samples=3),
    )
    state = PartialState(cpu=True)
    arrays = {"full": report.full, "empty": report.empty, "predicted": report.predicted, "labels": report.labels}
    arrays |= {f"removed {method}": report.curves[method].removed for method in report.methods}
    arrays |= {f"kept {method}": report.curves[method].kept for method in report.methods}
    arrays |= {f"limits {i}": limits for i, limits in enumerate(report.limits())}
    arrays |= {f"scores {i}": scores for i, scores in enumerate(report.scores["smooth_grad"])}
    np.savez(f"{sys.argv[1]}-{state.num_processes}-{state.process_index}-{name}.npz", **arrays)
print(f"done {state.process_index} of {state.num_processes}\\n", end="", flush=True)
"""


def launch(folder: Path, processes: int) -> str:
    script = folder / "shares.py"
    script.write_text(SCRIPT)
    start = [sys.executable]
    if processes > 1:
        start += ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    root = str(Path(__file__).resolve().parents[2])
    ours = {"PYTHONPATH": root, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*start, str(script), str(folder / "report")],
        env=os.environ | ours,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.multiprocess
def test_two_processes_measure_what_one_measures(tmp_path):
    alone, shared = launch(tmp_path, 1), launch(tmp_path, 2)
    assert "done 0 of 1" in alone
    assert "done 0 of 2" in shared
    assert "done 1 of 2" in shared
    assert "1/1" in shared  # one bar a report, the main process's: its share of seven texts is four
    assert "4/4" in shared
    assert "3/3" not in shared
    for name, count in (("seven", 7), ("one", 1)):  # of one text, the second process gets none
        expected = np.load(tmp_path / f"report-1-0-{name}.npz")
        assert len(expected["full"]) == count
        for index in (0, 1):
            found = np.load(tmp_path / f"report-2-{index}-{name}.npz")
            assert found.files == expected.files
            for key in expected.files:
                # Texts keep their random numbers but not their batch, whose shape decides float32's last bits.
                np.testing.assert_allclose(found[key], expected[key], rtol=0, atol=1e-6, err_msg=key)
