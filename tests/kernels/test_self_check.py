"""The self-check of compiled code: it runs once, before first use, and fails for wrong code."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable

import numpy as np
import pytest
from helpers import run_python
from numba import types

from fastnn import kernels
from fastnn.kernels import self_check
from fastnn.kernels.activation import fused_activations as activations
from fastnn.kernels.runtime import cache, compiler, launcher, thread_count
from fastnn.kernels.runtime.compiler import FLOAT32, array

gemm = sys.modules["fastnn.kernels.matmul.gemm"]


def _fill(args, t, n):
    array(args, 0, (n,), np.float64)[t] = 7.0


def _seven():
    return 7


@pytest.fixture(autouse=True)
def checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behave as on a tested processor."""
    monkeypatch.setattr(compiler, "_check", None)


@pytest.fixture
def uncached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code compiled in this test is not kept."""
    monkeypatch.setattr(cache, "cache_folder", lambda: None)


def _kernel() -> compiler.Kernel:
    return compiler.Kernel("test.self_check", _fill, compiler.Words("out"))


def test_made_once_before_the_first_kernel_or_entry(uncached: None) -> None:
    calls: list[int] = []
    compiler.check_before_use(lambda: calls.append(1))
    assert calls == []
    out = np.zeros(2)
    launcher.launch(_kernel(), 2, (out,))
    assert (calls, out.tolist()) == ([1], [7.0, 7.0])
    _kernel().compile()
    assert compiler.Entry(_seven, [], types.int64).call() == 7
    assert calls == [1]
    compiler.check_before_use(lambda: calls.append(2))
    assert compiler.Entry(_seven, [], types.int64).call() == 7
    assert calls == [1, 2]


def test_nothing_is_used_where_it_fails(uncached: None) -> None:
    inside, entry, calls = _kernel(), compiler.Entry(_seven, [], types.int64), []

    def check() -> None:
        calls.append((inside.compile(), entry.call()))
        raise RuntimeError("wrong numbers")

    compiler.check_before_use(check)
    kernel, out = _kernel(), np.zeros(1)
    for use in (lambda: launcher.launch(kernel, 1, (out,)), lambda: launcher.launch(inside, 1, (out,)), entry.call):
        with pytest.raises(RuntimeError, match="wrong numbers"):
            use()
        assert (kernel.address, inside.address, entry.call, out[0]) == (0, 0, entry._first_call, 0.0)
    assert len(calls) == 3
    assert all(address and result == 7 for address, result in calls)


def test_nobody_records_it(uncached: None) -> None:
    used, recorded = [], []

    def check() -> None:
        used.append((launcher.is_watched(), launcher.is_tracing()))
        launcher.launch(_kernel(), 1, (np.zeros(1),))

    compiler.check_before_use(check)
    with launcher.guarding([]), launcher.recording(lambda *launch: recorded.append(launch)):
        _kernel().compile()
        assert launcher.is_watched()
        assert launcher.is_tracing()
    assert used == [(False, False)]
    assert recorded == []


def test_threads_wait_for_it(uncached: None) -> None:
    started, go_on, calls, order = threading.Event(), threading.Event(), [], []

    def check() -> None:
        calls.append(1)
        started.set()
        assert go_on.wait(60)
        order.append("checked")

    def use() -> None:
        _kernel().compile()
        order.append("used")

    compiler.check_before_use(check)
    threads = [threading.Thread(target=use) for _ in range(3)]
    threads[0].start()
    assert started.wait(60)
    for thread in threads[1:]:
        thread.start()
    go_on.set()
    for thread in threads:
        thread.join()
    assert (calls, order) == ([1], ["checked", "used", "used", "used"])


# --------------------------------------------------------------------------------------------
# The check


def test_right_here() -> None:
    assert self_check.wrong() == []


@pytest.mark.parametrize("table", [activations.BACKWARD, gemm.GEMM], ids=["derivative", "product"])
def test_a_kernel_that_computes_zero_is_seen(
    table: dict[np.dtype, compiler.Kernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    def zero(args: int, t: int, n: int) -> None:
        # All of dz, the smallest of the outputs.
        ctypes.memset(ctypes.c_int64.from_address(args).value, 0, 4 * self_check._BATCH * self_check._OUT)

    slice_ = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 3)(zero)
    monkeypatch.setattr(table[FLOAT32], "address", ctypes.cast(slice_, ctypes.c_void_p).value)
    names = "dx", "dweight", "dbias"
    assert set(self_check.wrong()) == {f"{name} {way}" for name in names for way in self_check._WAYS}


@pytest.mark.parametrize("way", self_check._WAYS)
@pytest.mark.parametrize("lost", ["dx", "dweight", "dbias"])
def test_a_result_that_is_lost_is_seen(way: str, lost: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def losing(arrays: self_check.Arrays) -> None:
        place = ("dx", "dweight", "dbias").index(lost)
        before = arrays[place].copy()
        right(arrays)
        arrays[place][...] = before

    right: Callable[[self_check.Arrays], None] = self_check._WAYS[way]
    monkeypatch.setitem(self_check._WAYS, way, losing)
    assert self_check.wrong() == [f"{lost} {way}"]


def test_parts_are_used_at_once_where_there_are_threads() -> None:
    with launcher.recording(lambda kernel, parts, *_: cuts.append(parts)), self_check._cut_in(2):
        cuts: list[int] = []
        kernels.linear_backward(
            *(np.zeros(s, np.float32) for s in ((24, 40), (40, 33), 33, (24, 33), (24, 40), (40, 33), (24, 33))), "relu"
        )
    assert cuts == [2, 2, 2]
    assert thread_count.SERIAL_OPERATIONS > 0


# --------------------------------------------------------------------------------------------
# Stored results, and explicit requests


def test_what_was_right_is_remembered(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = ["dx in one call"]
    asked: list[int] = []

    def wrong() -> list[str]:
        asked.append(1)
        return found

    monkeypatch.setattr(cache, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(self_check, "wrong", wrong)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"must not be used on this computer.*Numba.*\(dx in one call\)"):
            self_check.check()
    found.clear()
    for _ in range(2):
        self_check.check()
    assert len(asked) == 3
    assert [path.name.split("-")[0] for path in tmp_path.iterdir()] == ["self_check"]


_OTHER_MACHINE = """
import ctypes, platform, sys
platform.machine = lambda: "riscv64"
import numpy as np
from fastnn import kernels
from fastnn.kernels.activation import fused_activations as activations
from fastnn.kernels.runtime import compiler, launcher, thread_count
from fastnn.kernels import self_check

assert compiler.compilations == [] and compiler._check is self_check.check
asked, wrong = [], self_check.wrong
self_check.remembered = lambda name, codegen, find: find()
self_check.wrong = lambda: asked.append(1) or wrong()
kernel = activations.BACKWARD[compiler.FLOAT32]
nothing = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 3)(lambda args, t, n: None)
kernel.address = ctypes.cast(nothing, ctypes.c_void_p).value
out = np.zeros(1)
for use in (lambda: kernels.total(out, np.ones(3)), lambda: kernels.gemm(*np.zeros((3, 2, 2), np.float32))):
    try:
        use()
    except RuntimeError as error:
        assert "compiled for riscv64" in str(error) and "dx in one call" in str(error), error
    else:
        raise AssertionError("wrong code was used")
assert out[0] == 0 and len(asked) == 2
kernel.address = 0
kernels.total(out, np.ones(3))
assert out[0] == 3 and len(asked) == 3 and compiler._check is None
kernels.gemm(*np.zeros((3, 2, 2), np.float32))
assert len(asked) == 3
print("checked")
"""


def test_asked_for_on_other_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    folder = cache.cache_folder()
    environment = {} if folder is None else {"FASTNN_CACHE_DIR": str(folder.parent)}
    assert run_python(_OTHER_MACHINE, **environment) == "checked\n"


def test_not_asked_for_where_the_tests_run() -> None:
    code = (
        "import platform; platform.machine = lambda: {!r}; "
        "from fastnn.kernels.runtime import compiler, launcher, thread_count; print(compiler._check is None)"
    )
    for machine, tested in [("x86_64", True), ("AMD64", True), ("arm64", False)]:
        assert run_python(code.format(machine)) == f"{tested}\n"
