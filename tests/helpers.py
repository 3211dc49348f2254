"""Helpers of the kernel tests: comparison, finite differences, canaries, guard pages, thread counts, bad arrays."""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import platform
import re
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import pytest
from numba import njit

from fastnn.kernels.runtime import launcher, thread_count

DTYPES = [np.float32, np.float64]
# Around the vector lengths of AVX-512, AVX2 and SSE, and around the 12 rows of a tile.
SIZES = [0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 64, 67, 100, 129, 1023]
IS_X86 = platform.machine().lower() in ("x86_64", "amd64")


# --------------------------------------------------------------------------------------------
# Comparison


def assert_close(
    found: np.ndarray,
    expected: np.ndarray,
    dtype: type,
    *,
    roundings: float | np.ndarray = 4,
    magnitude: np.ndarray | float | None = None,
    floor: float | None = None,
) -> None:
    """``found`` has this dtype, the shape of the float64 reference, its NaN and infinities, and its values.

    Args:
        roundings: allowed error of a value, in roundings (units of eps) of ``magnitude``; for a sum,
            its length.
        magnitude: by default ``|expected|``; for a sum, the sum of absolute values.
        floor: additional absolute error allowed, by default the smallest subnormal number.
    """
    assert type(found) is np.ndarray
    assert found.dtype == np.dtype(dtype)
    expected = np.asarray(expected)
    assert found.shape == expected.shape
    info = np.finfo(dtype)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        rounded = expected.astype(dtype)
        np.testing.assert_array_equal(np.isnan(found), np.isnan(rounded), "NaN in other places")
        infinite = np.isinf(rounded)
        np.testing.assert_array_equal(np.where(infinite, found, 0), np.where(infinite, rounded, 0), "infinities")
        magnitude = np.abs(expected) if magnitude is None else magnitude
        limit = float(info.eps) * roundings * magnitude + float(info.smallest_subnormal if floor is None else floor)
        error = np.abs(found.astype(expected.dtype) - expected)
    finite = np.isfinite(rounded)
    assert np.isfinite(found[finite]).all()
    wrong = finite & ~(error <= limit)
    if wrong.any():
        excess = np.where(wrong, error / limit, 0)
        where = np.unravel_index(np.argmax(excess), excess.shape)
        raise AssertionError(
            f"{wrong.sum()} of {wrong.size} values are wrong; the worst, at {tuple(map(int, where))}, is "
            f"{found[where]!r} instead of {expected[where]!r}: off by {error[where]:.3g}, "
            f"{excess[where]:.3g} times the limit"
        )


def assert_same_bits(found: np.ndarray, expected: np.ndarray) -> None:
    """Dtype, shape and every bit agree."""
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.tobytes() == expected.tobytes()


def check_gradient(f: Callable[[np.ndarray], float], gradient: np.ndarray, x: np.ndarray, seed: int = 0) -> None:
    """``gradient`` of ``f`` at the float64 array ``x`` agrees with central differences in a random direction."""
    assert x.dtype == gradient.dtype == np.float64
    assert x.shape == gradient.shape
    direction = np.random.default_rng(seed).standard_normal(x.shape)
    # The step at which truncation and rounding errors are about equal.
    h = np.finfo(np.float64).eps ** (1 / 3)
    found = (f(x + h * direction) - f(x - h * direction)) / (2 * h)
    expected = np.sum(gradient * direction)
    scale = np.sqrt(np.sum((gradient * direction) ** 2)) + abs(f(x)) + 1e-3
    assert abs(found - expected) <= 1e-8 * scale, (found, expected)


# --------------------------------------------------------------------------------------------
# Memory


class Canary:
    """An array inside a larger buffer with known values in all other bytes.

    Args:
        shape: of ``array``, one or two dimensions.
        padding: numbers between the rows of a matrix.
    """

    BORDER, BYTE = 256, 0xA5

    def __init__(self, shape: tuple[int, ...], dtype: type, padding: int = 0) -> None:
        size = np.dtype(dtype).itemsize
        rows, columns = (1, *shape)[-2:]
        self.width, self.pitch = columns * size, (columns + padding) * size
        self.rows = rows
        self.raw = np.full(2 * self.BORDER + rows * self.pitch, self.BYTE, np.uint8)
        numbers = self._body(self.raw).view(dtype) if columns else np.empty((rows, 0), dtype)
        self.array = numbers if len(shape) == 2 else numbers[0]
        assert self.array.shape == shape

    def _body(self, raw: np.ndarray) -> np.ndarray:
        inside = raw[self.BORDER : raw.size - self.BORDER]
        return inside.reshape(self.rows, self.pitch)[:, : self.width] if self.pitch else inside[:0].reshape(1, 0)

    def check(self) -> None:
        """No byte outside the array has changed."""
        copy = self.raw.copy()
        self._body(copy)[...] = self.BYTE
        assert (copy == self.BYTE).all(), f"bytes written outside: {np.flatnonzero(copy != self.BYTE) - self.BORDER}"


def guarded(a: np.ndarray, side: str = "end") -> np.ndarray:
    """A copy of ``a`` that ends (or begins) at a page of memory which cannot be read or written.

    An access one byte too far ends the process with a segmentation fault; faulthandler shows the line.
    """
    if sys.platform == "win32":
        pytest.skip("no mprotect on Windows; the canary tests run there")
    page = mmap.PAGESIZE
    pages = -(-a.nbytes // page)
    memory = mmap.mmap(-1, (pages + 2) * page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for address in (start, start + (pages + 1) * page):
        if protect(address, page, 0):
            raise OSError(ctypes.get_errno(), "mprotect failed")
    offset = page if side == "start" else (pages + 1) * page - a.nbytes
    copy = np.frombuffer(memory, a.dtype, a.size, offset).reshape(a.shape)
    copy[...] = a
    return copy


# --------------------------------------------------------------------------------------------
# Threads and processes


@contextmanager
def cut_in(parts: int) -> Iterator[None]:
    """Split every launch inside, however small, into this many parts."""
    threads, limit = thread_count.get_num_threads(), thread_count.SERIAL_OPERATIONS
    thread_count.set_num_threads(parts)
    thread_count.SERIAL_OPERATIONS = 0
    try:
        yield
    finally:
        thread_count.set_num_threads(threads)
        thread_count.SERIAL_OPERATIONS = limit


def assert_same_bits_in_any_parts(run: Callable[[], Any], *, parallel: bool = True) -> None:
    """``run()`` returns bit-identical arrays in 1, 2, 3 and 8 parts; ``parallel``: also check that it was split."""
    results, cuts = {}, set()
    for parts in (1, 2, 3, 8):
        with cut_in(parts), launcher.recording(lambda kernel, parts, *_: cuts.add(parts)):
            results[parts] = [a.copy() for a in run()]
    if parallel:
        assert {1, 2, 3, 8} <= cuts, f"launches were cut in {cuts} only"
    for parts, arrays in results.items():
        for number, (found, expected) in enumerate(zip(arrays, results[1], strict=True)):
            assert found.tobytes() == expected.tobytes(), f"result {number} has other bits in {parts} parts than in 1"


@contextmanager
def no_launch() -> Iterator[None]:
    """Check that no kernel is launched inside."""
    launched: list[str] = []
    with launcher.recording(lambda kernel, *_: launched.append(kernel.name)):
        yield
    assert launched == []


def start_python(code: str, *options: str, **environment: str) -> subprocess.Popen:
    """A new Python process that runs ``code``."""
    # It compiles for the same CPU as this process.
    kept = "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"
    others = "NUMBA_", "FASTNN_"
    variables = {key: value for key, value in os.environ.items() if key in kept or not key.startswith(others)}
    process = subprocess.Popen(
        [sys.executable, *options, "-c", code],
        env=variables | {"FASTNN_QUIET": "1"} | environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    started.add(process)
    return process


# Processes that may still run at the end of the session.
started: weakref.WeakSet[subprocess.Popen] = weakref.WeakSet()


def output_of(process: subprocess.Popen, seconds: float = 180) -> str:
    """The output of the process, which must exit with status 0 within so many seconds."""
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        process.kill()
    assert process.returncode == 0, f"exit code {process.returncode}\n{out}\n{err}"
    return out


def run_python(code: str, *options: str, **environment: str) -> str:
    """Run ``code`` in a new Python process and return its output."""
    return output_of(start_python(code, *options, **environment))


# --------------------------------------------------------------------------------------------
# Machine code

REGISTERS = {64: "zmm", 32: "ymm", 16: "xmm"}


@functools.cache
def loop_register() -> str:
    """The vector register that LLVM chooses for a plain loop on this CPU: 'zmm', 'ymm' or 'xmm'.

    On some CPUs with AVX-512 (Ice Lake) it is 'ymm' although ``simd.vector_bytes()`` is 64.
    """
    if not IS_X86:
        pytest.skip("reads x86-64 assembly")

    @njit(error_model="numpy")
    def multiply(out, x):
        for i in range(x.size):
            out[i] = x[i] * x[i]

    multiply(np.ones(1, np.float32), np.ones(1, np.float32))
    [assembly] = multiply.inspect_asm().values()
    return next(name for name in REGISTERS.values() if re.search(rf"v?mulps\s.*%{name}", assembly))


def count_packed(assembly: str, operations: str, dtype: type, register: str) -> int:
    """The number of packed ``operations`` (a pattern, such as 'mul' or 'sqrt|div') on this register in the code."""
    suffix = "ps" if dtype == np.float32 else "pd"
    return len(re.findall(rf"\sv?(?:{operations})\d*{suffix}\s[^\n]*%{register}", assembly))


# --------------------------------------------------------------------------------------------
# Wrong arguments


class Subclass(np.ndarray):
    """An array type whose operators might do anything."""


def misaligned(a: np.ndarray) -> np.ndarray:
    """A copy of ``a`` at an odd address."""
    raw = np.zeros(a.nbytes + 1, np.uint8)
    copy = raw[1:].view(a.dtype).reshape(a.shape)
    copy[...] = a
    assert not copy.flags.aligned or a.itemsize == 1
    return copy


def read_only(a: np.ndarray) -> np.ndarray:
    """A read-only copy of ``a``."""
    copy = a.copy()
    copy.flags.writeable = False
    return copy


def bad_versions(a: np.ndarray, *, output: bool = False, layout: str = "contiguous") -> dict[str, tuple[type, Any]]:
    """Versions of the good argument ``a`` that a kernel must refuse, with the exception expected.

    Args:
        output: the kernel writes this argument.
        layout: the accepted layout, 'contiguous', 'rows' (contiguous rows) or 'strided' (any strides).
    """
    others = {"f": np.float64 if a.itemsize == 4 else np.float32, "i": np.int32, "u": np.int16}
    bad: dict[str, tuple[type, Any]] = {
        "a list": (TypeError, a.tolist()),
        "a number": (TypeError, 1.0),
        "a NumPy number": (TypeError, a.dtype.type(1)),
        "a string": (TypeError, "array"),
        "an array of objects": (TypeError, a.astype(object)),
        "another dtype": (TypeError, a.astype(others[a.dtype.kind])),
        "float16": (TypeError, a.astype(np.float16)),
        "complex": (TypeError, a.astype(np.complex64)),
        "a subclass": (TypeError, a.view(Subclass)),
        "a masked array": (TypeError, np.ma.masked_array(a)),
        "an axis more": (ValueError, a[None]),
        "an axis less": (ValueError, a.reshape(-1)[0:1].reshape(())),
        "a row more": (ValueError, np.concatenate([a, a[:1]])),
        "a row less": (ValueError, a[1:].copy()),
    }
    if a.itemsize > 1:
        bad["the other byte order"] = (TypeError, a.astype(a.dtype.newbyteorder()))
        bad["misaligned"] = (ValueError, misaligned(a))
    if output:
        bad["read-only"] = (ValueError, read_only(a))
    if a.ndim == 2:
        bad["a column more"] = (ValueError, np.concatenate([a, a[:, :1]], 1))
        bad["a column less"] = (ValueError, a[:, 1:].copy())
        if layout != "strided":
            bad["Fortran order"] = (ValueError, np.asfortranarray(a))
            bad["every other column"] = (ValueError, np.repeat(a, 2, 1)[:, ::2])
            bad["columns reversed"] = (ValueError, a[:, ::-1])
        if output and layout == "rows":
            bad["rows reversed"] = (ValueError, a[::-1])
            bad["overlapping rows"] = (ValueError, np.lib.stride_tricks.as_strided(a, strides=(a.itemsize,) * 2))
    if layout == "contiguous":
        bad["every other row"] = (ValueError, np.repeat(a, 2, 0)[::2])
        bad["reversed"] = (ValueError, a[::-1])
        bad["broadcast"] = (ValueError, np.lib.stride_tricks.as_strided(a, strides=(0,) * a.ndim))
    return bad


def assert_refuses(call: Callable[..., Any], good: dict[str, Any], name: str, except_for: tuple[str, ...] = (),
                   **kind: Any) -> None:  # fmt: skip
    """``call(**good)`` with a bad argument ``name`` raises, launches nothing and writes nothing.

    Twice: while launches are watched Python checks the arrays, otherwise often compiled code, by a contract of its own.

    Args:
        except_for: versions that are valid for this argument.
        kind: arguments of :func:`bad_versions`.
    """
    versions = bad_versions(good[name], **kind)
    assert set(except_for) <= set(versions)
    for label, (exception, bad) in versions.items():
        if label in except_for:
            continue
        arguments = {**good, name: bad}
        before = {key: a.tobytes() for key, a in arguments.items() if isinstance(a, np.ndarray)}
        for watched in (no_launch, nullcontext):
            with watched():
                try:
                    call(**arguments)
                except exception as error:
                    # The message names an argument, usually this one; a wrong shape may make another one wrong.
                    assert any(key in str(error) for key in good) or "rows" in str(error), (label, error)  # noqa: PT017  # names the version
                else:
                    raise AssertionError(f"{name}: {label} was accepted")
            after = {key: arguments[key].tobytes() for key in before}
            assert after == before, f"{name}: {label}: something was written"
