"""``torch.cpu.amp``: the deprecated names of autocast on the CPU."""

from __future__ import annotations

import warnings
from typing import Any

from fastnn import amp
from fastnn._core.dtypes import bfloat16

__all__ = ["GradScaler", "autocast"]


class autocast(amp.autocast):
    """``fastnn.amp.autocast("cpu")``."""

    def __init__(self, enabled: bool = True, dtype: Any = bfloat16, cache_enabled: bool = True) -> None:
        warnings.warn(
            "`torch.cpu.amp.autocast(args...)` is deprecated. Please use `torch.amp.autocast('cpu', args...)` instead.",
            FutureWarning, stacklevel=2,
        )  # fmt: skip
        super().__init__("cpu", dtype, enabled, cache_enabled)


class GradScaler(amp.GradScaler):
    """``fastnn.amp.GradScaler("cpu")``."""

    def __init__(
        self, init_scale: float = 65536.0, growth_factor: float = 2.0, backoff_factor: float = 0.5,
        growth_interval: int = 2000, enabled: bool = True,
    ) -> None:  # fmt: skip
        warnings.warn(
            "`torch.cpu.amp.GradScaler(args...)` is deprecated. Please use `torch.amp.GradScaler('cpu', args...)` "
            "instead.",
            FutureWarning, stacklevel=2,
        )  # fmt: skip
        super().__init__("cpu", init_scale, growth_factor, backoff_factor, growth_interval, enabled)
