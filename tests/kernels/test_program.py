"""Programs: rows in order, each part once, waits where requested, with any threads; the compiled entries."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from helpers import cut_in
from numba import types

from fastnn import kernels
from fastnn.kernels.runtime import compiler, launcher, program
from fastnn.kernels.runtime.contract import Contract
from fastnn.kernels.runtime.program import can_run, put_row, run
from fastnn.kernels.runtime.raw_memory import integer, put_integer

_COUNT, _ROWS = 48, 40


def _trace(args, t, n):
    # words: log[rows, parts], the row above's parts, row
    log, row, above = integer(args, 0), integer(args, 1), integer(args, 2)
    seen = 0
    for i in range(above):
        seen += integer(log, (row - 1) * 64 + i)
    # Count own runs, and the runs of the row above that had finished.
    put_integer(log, row * 64 + t, integer(log, row * 64 + t) + 1)
    put_integer(log, (_ROWS + row) * 64 + t, seen)


_TRACE = compiler.Kernel("test.trace", _trace, compiler.Words("a b c"))


def _enter_test_program(context, kernel, table, blocks, log, sizes, count, threads, wait):
    above = 0
    for row in range(count):
        parts = integer(sizes, row)
        put_integer(blocks, 3 * row, log)
        put_integer(blocks, 3 * row + 1, row)
        put_integer(blocks, 3 * row + 2, above if wait else 0)
        put_row(table, row, kernel, blocks + row * 24, parts, wait)
        above = parts
    if not can_run(context, threads):
        return 0
    run(context, table, count, threads)
    return 1


_ENTER = compiler.Entry(_enter_test_program, [types.int64] * 9, types.int64)


def _run(sizes: list[int], threads: int, wait: int) -> np.ndarray:
    program.start()
    count = len(sizes)
    table, blocks = np.zeros(count * program.ROW, np.int64), np.zeros(count * 3, np.int64)
    log, parts = np.zeros((2, _ROWS, 64), np.int64), np.array(sizes, np.int64)
    done = _ENTER.call(
        program.context, _TRACE.compile(), table.ctypes.data, blocks.ctypes.data, log.ctypes.data, parts.ctypes.data,
        count, threads, wait,
    )  # fmt: skip
    assert done
    return log


@pytest.mark.parametrize("threads", [1, 2, 3, 8, 63])
@pytest.mark.parametrize("wait", [0, 1])
def test_every_part_runs_once_and_after_what_it_waits_for(threads: int, wait: int) -> None:
    sizes = [1 + (7 * row) % min(threads + 2, 63) for row in range(_ROWS)]
    for _ in range(5):
        log = _run(sizes, threads, wait)
        for row, parts in enumerate(sizes):
            assert log[0, row].tolist() == [1] * parts + [0] * (64 - parts)
            if wait and row:
                # Each part saw all parts of the row above.
                assert log[1, row, :parts].tolist() == [sizes[row - 1]] * parts


def test_programs_of_several_python_threads_at_once() -> None:
    _run([2] * 5, 2, 1)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(20):
                log = _run([3, 1, 2, 8], 8, 1)
                assert log[0].sum() == 14
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def _matrices(dtype: type, m: int, k: int, n: int) -> list[np.ndarray]:
    rng = np.random.default_rng(m * k + n)
    return [rng.standard_normal(shape).astype(dtype) for shape in ((m, k), (k, n), (m, n), (n,))]


SHAPES = [(1, 1, 1), (1, 784, 256), (2, 33, 17), (7, 33, 17), (64, 64, 10), (33, 100, 129), (130, 257, 67)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("activation", ["none", "relu", "tanh", "gelu"])
def test_one_call_and_launch_by_launch_give_the_same_bits(
    dtype: type, shape: tuple[int, int, int], activation: str
) -> None:
    batch, depth, columns = shape
    x, weight, dy, bias = _matrices(dtype, batch, depth, columns)

    def everything() -> list[bytes]:
        out, z = np.full_like(dy, 7), np.full_like(dy, 7)
        kernels.linear_forward(out, x, weight, bias, activation, z=z)
        plain = np.full_like(dy, 7)
        kernels.gemm(plain, x, weight, bias, activation=activation)
        found = [out, z, plain]
        for order in "CF":
            dx, dweight, dbias = np.ones_like(x), np.ones_like(weight), np.ones_like(bias)
            saved = z if activation == "gelu" else out
            stored = np.asarray(weight, order=order)
            kernels.linear_backward(dx, dweight, dbias, dy, x, stored, saved, activation, 0.01, True, order == "C")
            only_dx, only_dweight = np.ones_like(x), np.ones_like(weight)
            kernels.linear_backward(only_dx, None, None, dy, x, stored, saved, activation)
            kernels.linear_backward(None, only_dweight, None, dy, x, stored, saved, activation)
            assert only_dx.tobytes() == dx.tobytes()
            found += [dx, dweight, dbias, only_dweight]
        return [a.tobytes() for a in found]

    with launcher.recording(lambda *launch: None):
        expected = everything()
    for parts in (1, 2, 3, 8):
        with cut_in(parts):
            assert everything() == expected


def test_one_call_is_what_ordinary_arguments_get(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight, dy, bias = _matrices(np.float32, 7, 33, 17)
    out, dx, dweight = np.empty_like(dy), np.empty_like(x), np.empty_like(weight)
    for _ in range(2):
        # The first call compiles, and grows the memory for packed panels.
        kernels.linear_forward(out, x, weight, bias, "relu")
        kernels.linear_backward(dx, dweight, bias, dy, x, weight, out, "relu")

    def refuse(*args: object) -> None:
        raise AssertionError("looked at by Python")

    monkeypatch.setattr(Contract, "check", refuse)
    kernels.linear_forward(out, x, weight, bias, "relu")
    kernels.linear_backward(dx, dweight, bias, dy, x, weight, out, "relu")
    kernels.linear_backward(dx, dweight, None, dy, x[:, ::-1], weight[::-1, ::-1], None, "none")


@pytest.mark.parametrize("bad", [None, 3, "text", [1.0], np.float32(1), object()])
def test_what_is_no_array_is_left_to_python(bad: object) -> None:
    x, weight, dy, bias = _matrices(np.float32, 7, 33, 17)
    arrays = [dy.copy(), x, weight, bias]
    kernels.gemm(*arrays)
    for i in range(3):
        given = [*arrays[:i], bad, *arrays[i + 1 :]]
        with pytest.raises(TypeError):
            kernels.gemm(*given)
