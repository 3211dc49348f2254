"""``torch.autograd.profiler``: the kernel launches of a block, and its duration."""

from __future__ import annotations

import functools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

from fastnn.kernels.runtime import launcher


class Averages(list[Any]):
    """A row for each kernel: ``key`` and ``count``."""

    def table(self, sort_by: str | None = None, row_limit: int = 100, **options: Any) -> str:
        """The rows as text."""
        rows = [f"{row.key:48s} {row.count:>12d}" for row in self[:row_limit]]
        return "\n".join([f"{'Name':48s} {'# of Calls':>12s}", *rows])

    def key_averages(self, **options: Any) -> Averages:
        """The rows, which are averages already; ``options`` are PyTorch's and are ignored."""
        return self

    def export_chrome_trace(self, path: str) -> None:
        """Write the counts in the format of Chrome's tracing page."""
        events = [{"name": r.key, "ph": "C", "ts": 0, "pid": 0, "args": {"count": r.count}} for r in self]
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"traceEvents": events}, file)

    def __str__(self) -> str:
        return self.table()


EventList = Averages


class profile:
    """A block whose kernel launches are counted.

    Args:
        enabled: False for a block that is not profiled.

    The other arguments are PyTorch's and are ignored.

    >>> import fastnn
    >>> with fastnn.autograd.profiler.profile() as prof:
    ...     _ = fastnn.ones(2, 2) @ fastnn.ones(2, 2)
    >>> [(row.key, row.count) for row in prof.key_averages()]
    [('gemm.float32', 1)]
    """

    def __init__(self, enabled: bool = True, **options: Any) -> None:
        self.enabled = enabled
        self.launches: Counter[str] = Counter()
        self.self_cpu_time_total = 0.0

    def __enter__(self) -> profile:
        self._stack, self._start = ExitStack(), time.perf_counter()
        if self.enabled:
            self._stack.enter_context(launcher.recording(lambda kernel, *_: self.launches.update([kernel.name])))
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()
        self.self_cpu_time_total = 1e6 * (time.perf_counter() - self._start)

    def key_averages(self, group_by_input_shape: bool = False, group_by_stack_n: int = 0) -> Averages:
        """The launch count of each kernel, the most frequent first."""
        return Averages([SimpleNamespace(key=k, count=n) for k, n in self.launches.most_common()])

    def table(self, **options: Any) -> str:
        """The counts as text."""
        return self.key_averages().table(**options)

    def export_chrome_trace(self, path: str) -> None:
        """Write the counts in the format of Chrome's tracing page."""
        self.key_averages().export_chrome_trace(path)

    @property
    def function_events(self) -> Averages:
        """The rows of ``key_averages``: single launches are not kept."""
        return self.key_averages()

    def __str__(self) -> str:
        return self.table()


_threads = threading.local()


def active_profiles() -> list[Any]:
    """The profiles of ``fastnn.profiler`` that are recording in this thread."""
    if not hasattr(_threads, "profiles"):
        _threads.profiles = []
    return _threads.profiles


class record_function:
    """A named block, or a decorator, whose time the profiles of ``fastnn.profiler`` around it record.

    Args:
        name: of the row; ``args``: ignored.
    """

    def __init__(self, name: str, args: str | None = None) -> None:
        self.name = name

    def __enter__(self) -> record_function:
        self._start = time.perf_counter()
        return self

    def __exit__(self, *error: Any) -> None:
        end = time.perf_counter()
        for active in active_profiles():
            active.blocks.append((self.name, self._start, end))

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def named(*args: Any, **kwargs: Any) -> Any:
            with record_function(self.name):
                return function(*args, **kwargs)

        return named


class emit_nvtx:  # PyTorch's name
    """A block that would mark operations for NVIDIA's profiler, and does nothing."""

    def __init__(self, enabled: bool = True, record_shapes: bool = False) -> None:
        self.enabled = enabled

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: Any) -> None:
        pass


emit_itt = emit_nvtx
