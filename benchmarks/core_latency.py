"""The core-to-core latency between the cores that benchmarks use. Used by ``worker``.

Figures of the states with low and with high latency must not be mixed; ``fastnn._debug.core_latency`` measures it.
"""

from __future__ import annotations

from benchmarks import libraries
from fastnn._debug import core_latency


def round_trip(attempts: int = 3) -> float:
    """Seconds of a round trip between the first two cores in use, the best of several attempts; 0 on a single core."""
    return core_latency.round_trip(attempts, libraries.usable_cpus())
