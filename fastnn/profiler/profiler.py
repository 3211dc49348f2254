"""``torch.profiler.profiler``: the time of each kernel and of each named block, over :class:`fastnn.profile`."""

from __future__ import annotations

import enum
import json
import os
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from fastnn.autograd.profiler import Averages, active_profiles, record_function
from fastnn.training.profiling import profile as _kernel_profile

__all__ = [
    "DeviceType", "ProfilerAction", "ProfilerActivity", "kineto_available", "profile", "record_function", "schedule",
    "supported_activities", "tensorboard_trace_handler",
]  # fmt: skip


class ProfilerActivity(enum.Enum):
    """The activities to profile: on the CPU there is one kind."""

    CPU = 0
    CUDA = 1
    XPU = 2


class DeviceType(enum.Enum):
    """Where a row's time was spent."""

    CPU = 0
    CUDA = 1


class ProfilerAction(enum.Enum):
    """The action of a profiler at a step."""

    NONE = 0
    WARMUP = 1
    RECORD = 2
    RECORD_AND_SAVE = 3


def _default_schedule_fn(step: int) -> ProfilerAction:
    """Record each step."""
    return ProfilerAction.RECORD


_RECORDS = (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)


def supported_activities() -> set[ProfilerActivity]:
    """The CPU."""
    return {ProfilerActivity.CPU}


def kineto_available() -> bool:
    """False."""
    return False


def schedule(
    *, wait: int, warmup: int, active: int, repeat: int = 0, skip_first: int = 0, skip_first_wait: int = 0
) -> Callable[[int], ProfilerAction]:
    """A function from the number of a step to what the profiler does: wait, warm up, record; and again.

    Args:
        wait, warmup, active: numbers of steps; ``active`` is at least 1.
        repeat: the number of cycles, 0 for no limit.
        skip_first: steps before the first cycle.
        skip_first_wait: not 0 leaves ``wait`` out of the first cycle.

    Raises: ValueError for negative numbers or no active steps.

    >>> plan = schedule(wait=1, warmup=0, active=2, repeat=1)
    >>> [plan(step).name for step in range(4)]
    ['NONE', 'RECORD', 'RECORD_AND_SAVE', 'NONE']
    """
    if min(wait, warmup, repeat, skip_first, skip_first_wait) < 0 or active <= 0:
        raise ValueError(
            "wait, warmup, repeat, skip_first and skip_first_wait must be at least 0 and active at least 1, found "
            f"{(wait, warmup, repeat, skip_first, skip_first_wait, active)}"
        )
    cycle = wait + warmup + active

    def plan(step: int) -> ProfilerAction:
        if step < 0:
            raise ValueError(f"step must be at least 0, found {step}")
        step -= skip_first
        if step < 0:
            return ProfilerAction.NONE
        if skip_first_wait:
            step += wait
        if repeat and step // cycle >= repeat:
            return ProfilerAction.NONE
        step %= cycle
        if step < wait:
            return ProfilerAction.NONE
        if step < wait + warmup:
            return ProfilerAction.WARMUP
        return ProfilerAction.RECORD_AND_SAVE if step == cycle - 1 else ProfilerAction.RECORD

    return plan


def tensorboard_trace_handler(
    dir_name: str, worker_name: str | None = None, use_gzip: bool = False
) -> Callable[[profile], None]:
    """A function for ``on_trace_ready`` that writes ``export_chrome_trace`` to a new file of a folder."""

    def write(prof: profile) -> None:
        os.makedirs(dir_name, exist_ok=True)
        worker = worker_name or f"{socket.gethostname()}_{os.getpid()}"
        prof.export_chrome_trace(os.path.join(dir_name, f"{worker}.{time.time_ns()}.pt.trace.json"))

    return write


@dataclass
class _Row:
    """The totals of a kernel or of a named block; times are in microseconds."""

    key: str
    count: int = 0
    cpu_time_total: float = 0.0
    self_cpu_time_total: float = 0.0
    flops: int = 0
    is_user_annotation: bool = False
    device_type: DeviceType = DeviceType.CPU
    device_time_total = cuda_time_total = self_device_time_total = self_cuda_time_total = 0.0

    @property
    def cpu_time(self) -> float:
        """The mean time."""
        return self.cpu_time_total / self.count if self.count else 0.0


class _Rows(Averages):
    """One row for each kernel and each named block."""

    @property
    def self_cpu_time_total(self) -> float:
        """The time of all kernels, in microseconds."""
        return sum(row.self_cpu_time_total for row in self)

    def total_average(self) -> _Row:
        """The sum of the kernels' rows."""
        kernels = [row for row in self if not row.is_user_annotation]
        total = sum(row.cpu_time_total for row in kernels)
        return _Row("Total", sum(row.count for row in kernels), total, total, sum(row.flops for row in kernels))

    def table(self, sort_by: str | None = None, row_limit: int = 100, **options: Any) -> str:
        """The rows as text.

        Args:
            sort_by: "count", "cpu_time", "cpu_time_total", "self_cpu_time_total", or another, which changes nothing.
            row_limit: at most so many rows; -1 for all.
            options: PyTorch's, ignored.
        """
        columns = ("count", "cpu_time", "cpu_time_total", "self_cpu_time_total")
        rows = sorted(self, key=lambda row: -float(getattr(row, str(sort_by)))) if sort_by in columns else list(self)
        lines = [f"{'Name':40s} {'Self CPU':>12s} {'CPU total':>12s} {'CPU time avg':>12s} {'# of Calls':>10s}"]
        for row in rows if row_limit < 0 else rows[:row_limit]:
            times = (row.self_cpu_time_total, row.cpu_time_total, row.cpu_time)
            lines.append(f"{row.key:40s} {' '.join(f'{_time(t):>12s}' for t in times)} {row.count:>10d}")
        return "\n".join([*lines, f"Self CPU time total: {_time(self.self_cpu_time_total)}"])

def _time(microseconds: float) -> str:
    for unit, size in (("s", 1e6), ("ms", 1e3)):
        if microseconds >= size:
            return f"{microseconds / size:.3f}{unit}"
    return f"{microseconds:.3f}us"


class profile:
    """Times the kernels and the named blocks inside a ``with`` block, or in some of its steps.

    Each launch costs a few microseconds more than without it.

    Args:
        activities: ignored; there is only the CPU.
        schedule: from :func:`schedule`; call ``step()`` after each step then.
        on_trace_ready: called with the profiler at the end of each cycle, or of the block without a schedule.
        options: PyTorch's further arguments, such as ``record_shapes``; ignored.

    >>> import fastnn
    >>> with profile() as prof, record_function("forward"):
    ...     _ = fastnn.nn.Linear(8, 4)(fastnn.zeros(16, 8))
    >>> [(row.key, row.count) for row in prof.key_averages()]
    [('gemm.float32', 1), ('forward', 1)]
    """

    def __init__(
        self,
        *,
        activities: Iterable[ProfilerActivity] | None = None,
        schedule: Callable[[int], ProfilerAction] | None = None,
        on_trace_ready: Callable[[profile], Any] | None = None,
        **options: Any,
    ) -> None:
        self.activities = set(activities) if activities else supported_activities()
        self.schedule: Callable[[int], ProfilerAction] = schedule or _default_schedule_fn
        self.on_trace_ready = on_trace_ready
        self.step_num = 0
        self.current_action = ProfilerAction.NONE
        self._metadata: dict[str, str] = {}
        self._clear()

    def _clear(self) -> None:
        self._lines = _kernel_profile()
        self.blocks: list[tuple[str, float, float]] = []

    def __enter__(self) -> profile:
        self.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.stop()

    def start(self) -> None:
        """Begin, at step ``step_num``."""
        self._change(self.schedule(self.step_num))

    def step(self) -> None:
        """End a step of the schedule."""
        was = self.current_action
        self.step_num += 1
        if was is ProfilerAction.RECORD_AND_SAVE:
            self._change(ProfilerAction.NONE)
            self._ready()
        self._change(self.schedule(self.step_num))

    def stop(self) -> None:
        """End the profile."""
        was = self.current_action
        self._change(ProfilerAction.NONE)
        if was in _RECORDS:
            self._ready()

    def _ready(self) -> None:
        if self.on_trace_ready is not None:
            self.on_trace_ready(self)

    def _change(self, action: ProfilerAction) -> None:
        records, recorded = action in _RECORDS, self.current_action in _RECORDS
        if records and not recorded:
            self._clear()
            self._lines.__enter__()
            active_profiles().append(self)
        elif recorded and not records:
            active_profiles().remove(self)
            self._lines.__exit__(None, None, None)
        self.current_action = action

    def key_averages(self, group_by_input_shape: bool = False, group_by_stack_n: int = 0, **options: Any) -> _Rows:
        """A row for each kernel, the most expensive first, then one for each name of ``record_function``."""
        rows = _Rows()
        for line in self._lines.lines():
            microseconds = 1e6 * line.seconds
            rows.append(_Row(line.kernel, line.calls, microseconds, microseconds, int(line.flops)))
        named: dict[str, _Row] = {}
        for name, start, end in self.blocks:
            row = named.setdefault(name, _Row(name, is_user_annotation=True))
            row.count += 1
            row.cpu_time_total += 1e6 * (end - start)
        rows.extend(named.values())
        return rows

    def events(self) -> _Rows:
        """The rows of ``key_averages``: single launches are not kept."""
        return self.key_averages()

    def add_metadata(self, key: str, value: str) -> None:
        """Add a text to the trace."""
        self._metadata[key] = value

    def add_metadata_json(self, key: str, value: str) -> None:
        """Add a JSON text to the trace."""
        self._metadata[key] = value

    def export_chrome_trace(self, path: str) -> None:
        """Write the named blocks and the totals of the kernels in the format of Chrome's tracing page."""
        events: list[dict[str, Any]] = [
            {"name": name, "ph": "X", "ts": 1e6 * start, "dur": 1e6 * (end - start), "pid": os.getpid(), "tid": 0}
            for name, start, end in self.blocks
        ]
        for line in self._lines.lines():
            totals = {"count": line.calls, "microseconds": 1e6 * line.seconds}
            events.append({"name": line.kernel, "ph": "C", "ts": 0, "pid": os.getpid(), "args": totals})
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"traceEvents": events, **self._metadata}, file)
