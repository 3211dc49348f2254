"""The machine: its CPU by name, and whether other programs are at work on it. Standard library only."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from pathlib import Path

# A round does not count if other programs use more than this share of the processors. The system
# counts in ticks: in half a second a few hundredths may be noise.
DISTURBED = 0.1


def cpu_name() -> str:
    """The name of the CPU, with family and model if the system reports them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n", 1)[0].splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = facts.get("model name") or platform.machine()
    if "cpu family" in facts:
        name += f" (family {facts['cpu family']}, model {facts.get('model', '?')})"
    return name


class Others:
    """Reports the share of the processors that other programs have used since the last query.

    It is the system's busy time (including time taken by other virtual machines), less our own.

    Args:
        ours: returns the processor seconds that our own processes have used so far.
    """

    def __init__(self, ours: Callable[[], float]) -> None:
        self._ours = ours
        self._last = (*_seconds(), ours())

    def share(self) -> float:
        """The share, 0 to 1; 0 if the system does not report it."""
        busy, total, ours = (*_seconds(), self._ours())
        busy_before, total_before, ours_before = self._last
        self._last = (busy, total, ours)
        passed = total - total_before
        return max(0.0, (busy - busy_before - (ours - ours_before)) / passed) if passed else 0.0


def own_seconds() -> float:
    """Processor seconds used by this process and its ended children."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _seconds() -> tuple[float, float]:
    """Busy seconds and total seconds, both summed over the processors."""
    try:
        numbers = [int(text) for text in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        tick = 1 / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError):
        return 0.0, 0.0
    idle = numbers[3] + numbers[4]
    return tick * (sum(numbers) - idle), tick * sum(numbers)
