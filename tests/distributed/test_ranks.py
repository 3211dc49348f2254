"""Jobs of two and three ranks, by ``fastnn launch``; `.ci/distributed` runs more of them."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PROGRAMS = HERE / "programs"
SCRIPTS = sorted((HERE / "scripts").glob("*.py"))
RECORDED = ROOT / "tests" / "golden" / "distributed.json"
_MPIEXEC = shutil.which("mpiexec", path=os.path.dirname(sys.executable)) or shutil.which("mpiexec")
_MISSING = "mpi4py" if importlib.util.find_spec("mpi4py") is None else "" if _MPIEXEC else "mpiexec"

needs_mpi = pytest.mark.skipif(bool(_MISSING), reason=f"{_MISSING} is not installed: pip install 'fastnn[mpi]'")


def launch(ranks: int, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    # So that this process may be a rank of a job itself.
    environment = {k: v for k, v in environment.items() if not k.startswith(("PMI", "OMPI", "PRTE", "HYDI"))}
    return subprocess.run(
        [sys.executable, "-m", "fastnn", "launch", "--nproc", str(ranks), *map(str, arguments)],
        env={**environment, **variables}, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


@needs_mpi
@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks(ranks):
    done = launch(ranks, PROGRAMS / "all_checks.py")
    assert done.returncode == 0, done.stderr
    # MPI's launcher may put what two ranks print into one line.
    assert all(f"rank {r} of {ranks} is done" in done.stdout for r in range(ranks)), done.stdout


@needs_mpi
def test_scripts_as_recorded():
    done = launch(2, PROGRAMS / "all_scripts.py", *SCRIPTS)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(RECORDED.read_text())


@pytest.mark.torch
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_script_on_pytorch(script):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone",
             PROGRAMS / "on_pytorch.py", script],
            env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        # PyTorch's own threads may abort a process: `on_pytorch.py` says when. No other failure is tried again.
        if done.returncode == 0 or "SIGABRT" not in done.stderr:
            break
    assert done.returncode == 0, done.stderr
    assert done.stdout == json.loads(RECORDED.read_text())[script.name]


@needs_mpi
def test_rank_that_fails_ends_the_job(tmp_path):
    path = tmp_path / "checkpoint.pt"
    done = launch(2, PROGRAMS / "one_fails.py", "checkpoint", path)
    assert done.returncode == 1
    assert "ValueError: a number of 7 is bad" in done.stderr
    assert "fastnn: rank 1 of 2 on " in done.stderr
    import fastnn

    assert fastnn.load(path) == {"epoch": 1}
