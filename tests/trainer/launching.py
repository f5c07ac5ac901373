"""Real processes: `torchrun` over gloo on loopback, with the tests' own modules on their path."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def launch(folder, script, *arguments, processes=2, on_gpu=False):
    """Run a script's text in several processes and return what they printed; fails with their last words."""
    path = folder / "script.py"
    path.write_text(script)
    launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--rdzv-backend=c10d"]
    command = [sys.executable, *launcher, "--rdzv-endpoint=127.0.0.1:0", str(path), *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    if not on_gpu:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, timeout=580)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
