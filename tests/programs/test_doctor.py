"""``fastnn doctor``: its report, and a self-test that reaches every kernel and notices wrong ones."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path

import numpy as np
import pytest
from cross_compile import import_kernels, values_of

from fastnn._cli import doctor
from fastnn._cli import main as cli
from fastnn._debug import core_latency, kernel_checks
from fastnn.kernels.matmul.gemm import GEMM
from fastnn.kernels.runtime import cache, compiler, launcher

DOES_NOTHING = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 3)(lambda args, t, n: None)


def _all_kernels() -> list[compiler.Kernel]:
    import_kernels()
    return [k for k in values_of(compiler.Kernel) if k.function.__module__.startswith("fastnn.kernels.")]


def test_every_kernel_is_tested() -> None:
    launched: set[str] = set()
    with launcher.recording(lambda kernel, *_: launched.add(kernel.name) if kernel else None):
        assert kernel_checks.wrong() == []
    assert {kernel.name for kernel in _all_kernels()} - launched == set()


def test_every_check_notices_kernels_that_do_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for kernel in _all_kernels():
        kernel.compile()
        monkeypatch.setattr(kernel, "address", ctypes.cast(DOES_NOTHING, ctypes.c_void_p).value)
    found = {(wrong.check, wrong.dtype) for wrong in kernel_checks.wrong()}
    dtypes = [dtype.name for dtype in kernel_checks.DTYPES]
    assert found >= {(name, dtype) for name in kernel_checks.CHECKS for dtype in dtypes}


def test_a_small_error_is_noticed() -> None:
    n = kernel_checks.Numbers(np.dtype(np.float32))
    right = n.matrix()
    n.compare("same", right, right)
    n.compare("rounded", right, right * (1 + np.finfo(np.float32).eps))
    assert n.found == []
    for name, found in {
        "one number": right + 1e-4 * (right == right[3, 4]), "NaN": np.where(right == right[0, 0], np.nan, right),
        "shape": right[:, 1:],
    }.items():  # fmt: skip
        n.compare(name, found, right)
        assert n.found.pop()[0].startswith(name)


def test_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["self-test"]["wrong"] == []
    assert found["self-test"]["checks"] == 1 + 2 * len(kernel_checks.CHECKS)
    assert found["versions"]["numpy"] == np.__version__
    assert found["cache"]["folder"] in (str(cache.cache_folder()), doctor._cache()["folder"])
    assert all(value == "one core" or value > 0 for value in found["measured"].values())
    assert cli.main(["doctor", "--quick"]) == 0
    text = capsys.readouterr().out
    assert "self-test" not in text
    for section in ("versions", "system", "CPU", "threads", "cache"):
        assert f"{section}\n  " in text


def test_a_wrong_kernel_sets_the_status(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    kernel = GEMM[compiler.FLOAT32]
    kernel.compile()
    monkeypatch.setattr(kernel, "address", ctypes.cast(DOES_NOTHING, ctypes.c_void_p).value)
    monkeypatch.setattr(doctor, "_measured", dict)
    assert cli.main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "launch paths (float32): dx" in out
    assert "products (float32): gemm, rows" in out
    assert "products (float64)" not in out


def test_the_state_of_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "kernels-here"
    folder.mkdir()
    (tmp_path / "kernels-old").mkdir()
    cache._write(folder / "good.bin", "content")
    (folder / "bad.bin").write_bytes((folder / "good.bin").read_bytes()[:-1])
    (folder / "left.tmp").touch()
    monkeypatch.setattr(cache, "cache_folder", lambda: folder)
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path))
    found = doctor._cache()
    assert (found["kernels"], found["damaged"], found["unfinished"]) == (2, ["bad.bin"], 1)
    assert (found["folders of other versions"], found["chosen by"]) == (1, "FASTNN_CACHE_DIR")
    monkeypatch.setattr(cache, "cache_folder", lambda: None)
    assert doctor._cache()["folder"].startswith("none: no folder can be written")


def test_latency_of_one_core_is_unknown() -> None:
    assert core_latency.round_trip(cpus=[0]) == 0
