"""``torch.amp``: mixed precision, which the CPU kernels lack; scripts that use it run in full precision.

``autocast`` is a block that changes nothing, and ``GradScaler`` scales by one.
"""

from __future__ import annotations

import functools
import importlib
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]


class autocast:
    """A block, or the decorator of a function, that computes in the tensors' own precision.

    PyTorch computes some operations inside in bfloat16 or float16; fastnn does not.

    Args:
        device_type: "cpu"; others cause a warning, as in PyTorch without that device.
        dtype, enabled, cache_enabled: accepted and ignored.

    >>> import fastnn
    >>> with fastnn.autocast("cpu"):
    ...     (fastnn.ones(1) + 1).dtype
    torch.float32
    """

    def __init__(
        self, device_type: str = "cpu", dtype: Any = None, enabled: bool = True, cache_enabled: bool | None = None
    ) -> None:
        if not isinstance(device_type, str):
            raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
        if enabled and device_type != "cpu":
            warnings.warn(
                f"User provided device_type of '{device_type}', but it is not available. Disabling", stacklevel=2
            )
        self.device, self.fast_dtype = device_type, dtype

    def __enter__(self) -> autocast:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return function


class GradScaler:
    """Scales losses by one: without half precision no gradient underflows.

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


def is_autocast_available(device_type: str) -> bool:
    """False: autocast changes nothing."""
    return False


def custom_fwd(fwd: Callable[..., Any] | None = None, **options: Any) -> Any:
    """A decorator that changes nothing."""
    return fwd or functools.partial(custom_fwd, **options)


def custom_bwd(bwd: Callable[..., Any] | None = None, **options: Any) -> Any:
    """A decorator that changes nothing."""
    return bwd or functools.partial(custom_bwd, **options)


def __getattr__(name: str) -> Any:
    # These modules import this one.
    if name in ("autocast_mode", "grad_scaler"):
        return importlib.import_module(f"fastnn.amp.{name}")
    raise AttributeError(f"module 'fastnn.amp' has no attribute {name!r}")
