"""The state of ``torch.autocast``: the rest of fastnn asks here whether it is on.

The context manager is in ``fastnn.amp``, and the casts are made by :mod:`fastnn.ops.low_precision`.
"""

from __future__ import annotations

import threading
from typing import Any

from fastnn._core.dtypes import bfloat16, float16
from fastnn._core.dtypes import dtype as _dtype


class _State(threading.local):
    """Of one thread, for the CPU."""

    enabled = False
    dtype: _dtype = bfloat16
    cache_enabled = True
    # How many blocks the thread is in.
    nesting = 0

    def __init__(self) -> None:
        # Casts of leaves, by the leaf's `id`: the leaf, the version of its numbers, the mode of recording, the result.
        self.casts: dict[int, tuple[Any, int, bool, Any]] = {}
        # Whether it is on, and its dtype, for other devices: they are only remembered.
        self.elsewhere: dict[str, tuple[bool, Any]] = {}

    def of(self, device: str) -> tuple[bool, _dtype]:
        """Whether it is on for a device, and the dtype."""
        if device == "cpu":
            return self.enabled, self.dtype
        return self.elsewhere.get(device, (False, float16))


state = _State()
