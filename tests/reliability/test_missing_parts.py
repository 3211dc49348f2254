"""Machines that lack something: threading layers, cores, a home, compiled functions of users.

Each is a process, so the suite leaves them to `.ci/reliability`. `kernels/test_threads.py`,
`kernels/test_numba_settings.py` and `kernels/test_cache.py` have what the suite tests of it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from counts import LEVEL

import fastnn
from fastnn.kernels.runtime import cache

ROOT = Path(fastnn.__file__).resolve().parents[1]

TRAINS = """
import sys
{before}
import hashlib
import numpy as np
import fastnn
from fastnn import nn
from fastnn.kernels.runtime import launcher, thread_count
thread_count.SERIAL_OPERATIONS = 0
fastnn.manual_seed(0)
model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
optimizer = fastnn.optim.Adam(model.parameters(), lr=0.05)
x = fastnn.linspace(-1, 1, 96).reshape(16, 6)
for _ in range(6):
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), fastnn.arange(16) % 3).backward()
    optimizer.step()
weights = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
print(hashlib.sha256(weights).hexdigest(), launcher.threading_layer())
"""
# Numba's modules of the layers fail to load where the libraries are missing.
NO_LAYERS = """
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in ("numba.np.ufunc.tbbpool", "numba.np.ufunc.omppool", "numba.np.ufunc.workqueue"):
            raise ImportError(name)
sys.meta_path.insert(0, Missing())
"""
ONE_CORE = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"


def train(folder: Path, before: str = "", **variables: str) -> tuple[str, str]:
    """Hash of the weights and the layer, from a process in ``folder``; anything on stderr is an error."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "FASTNN_"))}
    here = cache.cache_folder()
    own = {} if here is None else {"FASTNN_CACHE_DIR": str(here.parent)}
    done = subprocess.run(
        [sys.executable, "-c", TRAINS.format(before=before)], capture_output=True, text=True, check=False, timeout=600,
        cwd=folder, env={**kept, **own, "PYTHONPATH": str(ROOT), "FASTNN_QUIET": "1", **variables},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    weights, layer = done.stdout.split()
    return weights, layer


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    return train(tmp_path_factory.mktemp("plain"))[0]


# What runs before the import, variables, and the layer.
MACHINES: dict[str, tuple[str, dict[str, str], str | None]] = {
    "no threading layer of Numba": (NO_LAYERS, {}, None),
    "NUMBA_DISABLE_JIT": ("", {"NUMBA_DISABLE_JIT": "1"}, None),
    "one core": (ONE_CORE, {}, "serial"),
    "one thread": ("", {"NUMBA_NUM_THREADS": "1"}, "serial"),
    "more threads than cores": ("", {"NUMBA_NUM_THREADS": str(4 * (os.cpu_count() or 1))}, "fastnn"),
    "no home": ("import os; os.environ.pop('HOME', None)", {"XDG_CACHE_HOME": ""}, None),
    "a layer that is not there": ("", {"NUMBA_THREADING_LAYER": "tbb"}, None),
    "a locale of bytes": ("", {"LC_ALL": "C", "PYTHONUTF8": "0"}, None),
}


def test_folders_with_spaces_and_other_letters(tmp_path: Path) -> None:
    """The cache and the files of a user, in one process."""
    folder = tmp_path / "Modelle & Größen 模型 'x'"
    folder.mkdir()
    fastnn.save({"w": fastnn.ones(2)}, folder / "gewichte ü.pt")
    assert fastnn.load(folder / "gewichte ü.pt")["w"].tolist() == [1, 1]
    path = folder / "kernel-1.bin"
    cache._write(path, "code")
    assert cache._read(path) == "code"
    assert [p.name for p in folder.glob("*.tmp")] == []


if LEVEL != "suite":

    @pytest.mark.parametrize("machine", MACHINES)
    def test_the_same_numbers(machine: str, expected: str, tmp_path: Path) -> None:
        before, variables, layer = MACHINES[machine]
        if "sched" in before and not hasattr(os, "sched_setaffinity"):
            pytest.skip("the cores of a process cannot be chosen on this system")
        found = train(tmp_path, before, **variables)
        assert found[0] == expected
        assert layer is None or found[1] == layer

    def test_a_checkout_in_such_a_folder(tmp_path: Path, expected: str) -> None:
        folder = tmp_path / "a folder, 模型"
        folder.mkdir()
        for name in ("fastnn", "kernels"):
            (folder / name).symlink_to(ROOT / name)
        here = cache.cache_folder()
        if here is not None:
            # The sources are the same, and so is the key of the kernels.
            shutil.copytree(here, folder / "ü cache" / here.name)
        assert train(folder, PYTHONPATH=str(folder), FASTNN_CACHE_DIR=str(folder / "ü cache"))[0] == expected
