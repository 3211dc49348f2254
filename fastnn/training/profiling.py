"""profile: the time of each kernel.

Inside the block every launch is timed separately, also those of a captured step.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from fastnn import kernels
from fastnn.kernels.runtime import allocation, compiler, launcher


@dataclass
class Line:
    """The totals of one kernel.

    Args:
        kernel: its name; ``calls``: how often it was launched.
        seconds: its time; ``flops``: multiplications and additions of matrix products; ``bytes``: of all its arrays.
    """

    kernel: str
    calls: int = 0
    seconds: float = 0.0
    flops: float = 0.0
    bytes: float = 0.0


@dataclass(frozen=True)
class Limits:
    """The machine's limits: floating-point operations and bytes copied per second, measured on first use."""

    flops: float
    bytes: float


def measure_limits() -> Limits:
    """Measure the best of some large products and copies, in about a tenth of a second."""
    a = np.ones((512, 512), np.float32)
    b, y = a.copy(), a.copy()
    big = np.ones(2**22, np.float32)
    target = allocation.empty_like(big)
    product = min(_seconds(lambda: kernels.gemm(y, a, b)) for _ in range(12))
    copy = min(_seconds(lambda: kernels.activation_forward(target, big, "none")) for _ in range(6))
    return Limits(2 * 512**3 / product, 2 * big.nbytes / copy)


def _seconds(run: Any) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


class profile:
    """Times the kernels that are launched inside a ``with`` block.

    ``seconds`` is the time of the whole block. Time outside kernels is Python, or ``starting``, the work done once
    per process: compiling or loading kernels and the other compiled code, and starting threads. Each launch
    costs a few microseconds more than without the profile. Launches of other Python threads are not recorded.

    >>> import fastnn
    >>> model = fastnn.nn.Linear(8, 4)
    >>> with fastnn.profile() as prof:
    ...     _ = model(fastnn.zeros(16, 8))
    >>> [(line.kernel, line.calls) for line in prof.lines()]
    [('gemm.float32', 1)]
    """

    def __init__(self) -> None:
        self._lines: dict[str, Line] = {}
        self.seconds = self.starting = 0.0

    def __enter__(self) -> profile:
        self._recording = launcher.recording(self._watch)
        self._recording.__enter__()
        self._start, self._started = time.perf_counter(), compiler.starting_seconds()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds += time.perf_counter() - self._start
        self.starting += compiler.starting_seconds() - self._started
        self._recording.__exit__(kind, error, trace)

    def _watch(self, kernel: Any, parts: int, arrays: tuple[np.ndarray, ...], scalars: tuple[float, ...]) -> bool:
        if kernel is None:
            return False
        line = self._lines.setdefault(kernel.name, Line(kernel.name))
        start = time.perf_counter() - compiler.starting_seconds()
        launcher.launch_unwatched(kernel, parts, arrays, *scalars)
        line.seconds += time.perf_counter() - compiler.starting_seconds() - start
        line.calls += 1
        line.bytes += sum(_once(arrays))
        if kernel.operations is not None:
            line.flops += kernel.operations(*scalars)
        return True

    def lines(self) -> list[Line]:
        """One line for each kernel, the most expensive first."""
        return sorted(self._lines.values(), key=lambda line: -line.seconds)

    def table(self, limits: Limits | None = None) -> str:
        """A table of kernels: launches, time, share of the block, and share of the machine's limit.

        Args:
            limits: of the machine; measured if not given.
        """
        limits = measure_limits() if limits is None else limits
        unit, scale = self._unit()
        rows = [("kernel", "launches", unit, "of all", "of limit")]
        shares = {line.kernel: (str(line.calls), _share(line, limits)) for line in self.lines()}
        for name, seconds in self._bars():
            calls, of_limit = shares.get(name, ("", ""))
            of_all = f"{seconds / self.seconds:.0%}" if self.seconds else ""
            rows.append((name, calls, f"{seconds * scale:.1f}", of_all, of_limit))
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        texts = []
        for row in rows:
            cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
            texts.append("  ".join([row[0].ljust(widths[0]), *cells[1:]]).rstrip())
        return "\n".join(texts)

    def _unit(self) -> tuple[str, float]:
        """The unit of times: its name, and the number of units in a second."""
        return ("us", 1e6) if self.seconds < 0.1 else ("ms", 1e3)

    def _bars(self) -> list[tuple[str, float]]:
        """The seconds of the block by category: the kernels, starting if there was any, and Python."""
        bars = [(line.kernel, line.seconds) for line in self.lines()]
        if self.starting:
            bars.append(("starting", self.starting))
        return [*bars, ("Python", self.seconds - sum(seconds for _, seconds in bars))]

    def plot(self, path: str | Path, limits: Limits | None = None) -> None:
        """Plot a bar for each kernel, with its share of the machine's limit, by matplotlib (extra ``plot``).

        Args:
            path: of the picture.
            limits: of the machine; measured if not given.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError:
            raise ModuleNotFoundError("a picture needs matplotlib: pip install 'fastnn[plot]'") from None
        bars = self._bars()[::-1]
        unit, scale = self._unit()
        figure = Figure(figsize=(8, 0.4 * len(bars) + 1.2), layout="constrained")
        axes = figure.subplots()
        drawn = axes.barh([name for name, _ in bars], [seconds * scale for _, seconds in bars])
        limits = measure_limits() if limits is None else limits
        shares = {line.kernel: _share(line, limits) for line in self._lines.values()}
        axes.bar_label(drawn, [shares.get(name, "") for name, _ in bars], padding=3)
        # Room for the text after the longest bar.
        axes.margins(x=0.4)
        axes.set_xlabel({"us": "microseconds", "ms": "milliseconds"}[unit])
        figure.savefig(path)


def _once(arrays: tuple[np.ndarray, ...]) -> list[int]:
    """Bytes of each array, one that is given twice counted once."""
    return [a.nbytes for a in {(a.ctypes.data, a.shape): a for a in arrays}.values()]


def _share(line: Line, limits: Limits) -> str:
    if not line.seconds:
        return ""
    if line.flops:
        return f"{line.flops / line.seconds / limits.flops:.0%} of multiply-adds"
    return f"{line.bytes / line.seconds / limits.bytes:.0%} of copying"
