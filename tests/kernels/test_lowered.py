"""The code that is shipped with fastnn: it is current, it is used where it may be, and it computes the same bits."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import zipfile
from pathlib import Path

import llvmlite.binding as llvm
import numba
import pytest
from numba.core import registry

from fastnn.kernels.runtime import cache, cpu, lowered

_ROOT = Path(__file__).parents[2]
_ARCHIVES = sorted(lowered.FOLDER.glob("*.zip"))


def _made_from(path: Path) -> dict:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("made_from.json"))


def _origin() -> lowered.Origin:
    return lowered.Origin(cpu.find_vectors(registry.cpu_target.target_context.codegen()), cache.settings_text())


@pytest.fixture
def origin():
    origin = _origin()
    if not origin.archive().exists():
        pytest.skip(f"no code is shipped for {platform.machine()} with vectors of {origin.vectors[0]} bytes")
    made_from = _made_from(origin.archive())
    if (made_from["numba"], made_from["llvm"]) != (_minor(numba.__version__), llvm.llvm_version_info[0]):
        pytest.skip(f"the shipped code was made by Numba {made_from['numba']} with LLVM {made_from['llvm']}")
    return origin


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def test_three_kinds_of_processors_have_the_same_kernels():
    assert [path.stem for path in _ARCHIVES] == ["aarch64-128", "x86_64-256", "x86_64-512"]
    names = []
    for path in _ARCHIVES:
        with zipfile.ZipFile(path) as archive:
            names.append(sorted(archive.namelist()))
    assert names[0] == names[1] == names[2]
    assert {"gemm.float32.ll", "gemm.float32.pickle", "_enter_gemm.ll", "adam.float64.ll"} <= set(names[0])


@pytest.mark.parametrize("path", _ARCHIVES, ids=lambda path: path.stem)
def test_shipped_code_is_current(path):
    expected = lowered.hash_of_sources(lowered._KERNELS)
    assert _made_from(path)["sources"] == expected, "kernels have changed: run .ci/lower"


def test_a_changed_kernel_is_not_found(origin, tmp_path, monkeypatch):
    assert lowered.find("gemm.float32", origin) is not None
    assert lowered.find("no_such_kernel.float32", origin) is None
    assert lowered.find("gemm.float32", origin._replace(settings="others")) is None
    assert lowered.find("gemm.float32", origin._replace(vectors=(origin.vectors[0], not origin.vectors[1]))) is None
    assert lowered.find("gemm.float32", origin._replace(vectors=(8, True))) is None
    (tmp_path / "edited.py").touch()
    monkeypatch.setattr(lowered, "_KERNELS", tmp_path)
    lowered._open.cache_clear()
    assert lowered.find("gemm.float32", origin) is None
    lowered._open.cache_clear()


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06" + bytes(18), b"no archive"])
def test_a_damaged_archive_is_as_none(content, origin, tmp_path, monkeypatch):
    monkeypatch.setattr(lowered, "FOLDER", tmp_path)
    origin.archive().write_bytes(content)
    lowered._open.cache_clear()
    assert lowered.find("gemm.float32", origin) is None
    lowered._open.cache_clear()


_TRAIN = """
import hashlib, sys
import numpy as np
import fastnn as torch
from fastnn import nn
from fastnn.kernels.runtime import lowered

used = []
find = lowered.find
def watched(name, origin):
    found = find(name, origin) if sys.argv[1] == "shipped" else None
    used.append(found is not None)
    return found
lowered.find = watched
torch.manual_seed(0)
sizes, layers = [60, 40, 33, 10], []
for a, b, activation in zip(sizes, sizes[1:], (nn.ReLU(), nn.Tanh(), nn.Identity())):
    layers += [nn.Linear(a, b), nn.BatchNorm1d(b), activation, nn.Dropout(0.2)]
model = nn.Sequential(*layers)
optimizer, loss = torch.optim.Adam(model.parameters()), nn.CrossEntropyLoss()
x, y = torch.randn(150, 60), torch.randint(0, 10, (150,))
for step in range(20):
    optimizer.zero_grad()
    loss(model(x), y).backward()
    optimizer.step()
digest = hashlib.sha256()
for p in model.parameters():
    digest.update(np.ascontiguousarray(p.detach().numpy()).tobytes())
print(sum(used), len(used), digest.hexdigest())
"""


def _train(how: str, folder: Path) -> tuple[int, int, str]:
    done = subprocess.run(
        [sys.executable, "-c", _TRAIN, how], capture_output=True, text=True, timeout=600, check=False,
        env={**os.environ, "FASTNN_QUIET": "1", "FASTNN_CACHE_DIR": str(folder), "PYTHONPATH": str(_ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    used, asked, digest = done.stdout.split()
    return int(used), int(asked), digest


def test_a_cold_start_uses_the_shipped_code(origin, tmp_path):
    used, asked, digest = _train("shipped", tmp_path)
    assert used == asked > 10
    # The machine code is kept.
    assert _train("shipped", tmp_path) == (0, 0, digest)


@pytest.mark.skipif(
    os.environ.get("FASTNN_CROSS_COMPILE") != "all", reason="compiles 14 kernels; .ci/cross sets FASTNN_CROSS_COMPILE"
)
def test_same_bits_as_compiled_here(origin, tmp_path):
    assert _train("shipped", tmp_path / "a")[2] == _train("compiled", tmp_path / "b")[2]
