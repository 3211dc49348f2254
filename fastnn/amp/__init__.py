"""``torch.amp``: mixed precision by ``autocast``, and ``GradScaler``, which scales by one."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

from fastnn.amp.autocast_mode import autocast, custom_bwd, custom_fwd, is_autocast_available

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]


class GradScaler:
    """Scales losses by one: bfloat16 has the range of float32, so no gradient underflows.

    Args:
        device: "cpu" or "cuda"; "cuda" causes a warning if ``enabled``, as in PyTorch without CUDA.
        init_scale, growth_factor, backoff_factor, growth_interval, enabled: accepted.

    >>> import fastnn
    >>> fastnn.amp.GradScaler("cpu").scale(fastnn.tensor(2.0))
    tensor(2.)
    """

    def __init__(
        self, device: str = "cuda", init_scale: float = 65536.0, growth_factor: float = 2.0,
        backoff_factor: float = 0.5, growth_interval: int = 2000, enabled: bool = True,
    ) -> None:  # fmt: skip
        if enabled and device == "cuda":
            warnings.warn(
                "torch.cuda.amp.GradScaler is enabled, but CUDA is not available.  Disabling.", stacklevel=2
            )

    def scale(self, outputs: Any) -> Any:
        """The tensors unchanged."""
        return outputs

    def unscale_(self, optimizer: Any) -> None:
        """Does nothing: gradients are not scaled."""

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """``optimizer.step(*args, **kwargs)``."""
        return optimizer.step(*args, **kwargs)

    def update(self, new_scale: Any = None) -> None:
        """Does nothing: the scale is always one."""

    def get_scale(self) -> float:
        """1.0."""
        return 1.0

    def is_enabled(self) -> bool:
        """False."""
        return False

    def state_dict(self) -> dict[str, Any]:
        """An empty state."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Does nothing: there is no state."""


def __getattr__(name: str) -> Any:
    if name in ("autocast_mode", "grad_scaler"):
        return importlib.import_module(f"fastnn.amp.{name}")
    raise AttributeError(f"module 'fastnn.amp' has no attribute {name!r}")
