import json
import subprocess
import sys

from benchmarks import cost
from benchmarks.publish import ROOT


def test_a_small_run_times_every_mode_in_turn(tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks" / "cost.py"), "--model", "bilstm", "--length", "8"]
    command += ["--batch_size", "2", "--repeats", "2", "--output_dir", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    (cell,) = (json.loads(path.read_text()) for path in tmp_path.glob("*.json"))
    assert set(cell["seconds"]) == {"plain", *cost.MODES}
    assert all(len(values) == 2 and min(values) > 0 for values in cell["seconds"].values())
    assert cost.table(cell) in result.stdout


def test_ratios_are_taken_within_a_repeat():
    seconds = {"plain": [1.0, 2.0, 4.0], "guided": [2.0, 4.0, 10.0]}
    settings = {"model": "bilstm", "batch_size": 1, "length": 1, "repeats": 3}
    machine = {"device": "cpu", "torch_threads": 1}
    text = cost.table({"seconds": seconds, "settings": settings, "machine": machine, "steps_per_unit": 2})
    row = next(line for line in text.splitlines() if "guided" in line)
    assert [cell.strip() for cell in row.strip("|").split("|")] == ["guided", "2.000", "2.00", "2.00 – 2.50", "2.33"]
