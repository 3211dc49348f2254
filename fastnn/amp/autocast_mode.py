"""``torch.autocast``: a block in which some operations are computed in bfloat16, and others in float32.

The lists of operations are in :mod:`fastnn._tensor.precision_lists`; :mod:`fastnn.ops.low_precision` makes the casts.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any

import numpy as np

from fastnn._core import capture_state
from fastnn._core.autocast import state
from fastnn._core.devices import device as _device
from fastnn._core.dtypes import bfloat16, float16, float64
from fastnn._core.dtypes import dtype as _dtype
from fastnn._tensor.tensor import Tensor

__all__ = ["autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]

# Functions of the namespace of ``torch``.
SETTINGS = (
    "autocast_decrement_nesting", "autocast_increment_nesting", "clear_autocast_cache", "get_autocast_cpu_dtype",
    "get_autocast_dtype", "get_autocast_gpu_dtype", "is_autocast_cache_enabled", "is_autocast_cpu_enabled",
    "is_autocast_enabled", "set_autocast_cache_enabled", "set_autocast_cpu_dtype", "set_autocast_cpu_enabled",
    "set_autocast_dtype", "set_autocast_enabled", "set_autocast_gpu_dtype",
)  # fmt: skip

_LOW = (bfloat16, float16)
# The devices for which PyTorch has autocast.
_AVAILABLE = ("cpu", "cuda", "ipu", "xpu", "mps", "hpu", "mtia", "maia", "xla", "privateuseone")


class autocast:
    """A block, or the decorator of a function, that computes in the dtypes of PyTorch's lists.

    Matrix products and linear layers convert their tensors to ``dtype``; most losses and decompositions convert theirs
    to float32; ``cat`` and ``stack`` to the widest dtype among them. Others take what they get. float64 is never
    converted. The sums of a product are float32, and its result is rounded once.

    A cast of a parameter is made once in a block and kept until the end of the outermost one. Modules run eagerly
    inside, and so does a compiled step.

    Args:
        device_type: "cpu"; "cuda" causes a warning and changes nothing, as in PyTorch without that device.
        dtype: bfloat16 or float16; by default that of ``get_autocast_dtype``, bfloat16 for the CPU. Another one causes
            a warning and changes nothing.
        enabled: False for a block without autocast inside of another.
        cache_enabled: whether casts of parameters are kept.

    Raises: ValueError for a ``device_type`` that is not a str; RuntimeError for one without autocast.

    >>> import fastnn
    >>> with fastnn.autocast("cpu", dtype=fastnn.bfloat16):
    ...     fastnn.nn.Linear(2, 1)(fastnn.ones(3, 2)).dtype, (fastnn.ones(2) + 1).dtype
    (torch.bfloat16, torch.float32)
    """

    def __init__(
        self, device_type: str, dtype: _dtype | None = None, enabled: bool = True, cache_enabled: bool | None = None
    ) -> None:
        _check_device_type(device_type)
        self.device = device_type
        if not is_autocast_available(device_type):
            raise RuntimeError(f"User specified an unsupported autocast device_type '{device_type}'")
        self.fast_dtype = get_autocast_dtype(device_type) if dtype is None else dtype
        self._cache_enabled = state.cache_enabled if cache_enabled is None else cache_enabled
        if enabled and device_type != "cpu":
            warnings.warn(
                f"User provided device_type of '{device_type}', but it is not available. Disabling autocast.",
                stacklevel=2,
            )
            enabled = False
        elif enabled and self.fast_dtype not in _LOW:
            warnings.warn(
                f"In CPU autocast, but the target dtype is not supported. Disabling autocast.\nCPU Autocast only "
                f"supports dtypes of {', '.join(map(str, _LOW))} currently, found {self.fast_dtype}.",
                stacklevel=2,
            )
            enabled = False
        self._enabled = bool(enabled)
        # A stack, so that one object can be entered again inside its own block.
        self._before: list[tuple[Any, ...]] = []

    def __enter__(self) -> autocast:
        capture_state.stop("autocast is switched on or off")
        self._before.append((*state.of(self.device), state.cache_enabled))
        state.nesting += 1
        set_autocast_enabled(self.device, self._enabled)
        _set_dtype(self.device, self.fast_dtype)
        state.cache_enabled = self._cache_enabled
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        enabled, dtype, state.cache_enabled = self._before.pop()
        set_autocast_enabled(self.device, enabled)
        _set_dtype(self.device, dtype)
        state.nesting -= 1
        if not state.nesting:
            state.casts.clear()

    def __call__(self, func: Callable[..., Any]) -> Callable[..., Any]:
        if not callable(func):
            raise TypeError(
                f"autocast()(func) requires a callable, but got {type(func).__name__}; as a context manager it is used "
                "by `with`"
            )

        @functools.wraps(func)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with self:
                return func(*args, **kwargs)

        return inside


def _check_device_type(device_type: Any) -> None:
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")


def is_autocast_available(device_type: str) -> bool:
    """Whether PyTorch has autocast for a type of device.

    Raises: RuntimeError for a string that is no type of device.

    >>> import fastnn
    >>> fastnn.amp.is_autocast_available("cpu")
    True
    """
    return _device(device_type).type in _AVAILABLE


# -- Settings of this thread ------------------------------------------------------------------------


def _named(name: str, device_type: Any) -> str:
    if not isinstance(device_type, str):
        raise TypeError(
            f"{name}(): argument 'device_type' (position 1) must be str, not {type(device_type).__name__}"
        )
    return _device(device_type).type


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether autocast is on in this thread for a type of device, by default "cuda" as in PyTorch.

    >>> import fastnn
    >>> with fastnn.autocast("cpu"):
    ...     fastnn.is_autocast_enabled("cpu"), fastnn.is_autocast_enabled()
    (True, False)
    """
    return state.of(_named("is_autocast_enabled", device_type))[0]


def set_autocast_enabled(*args: Any) -> None:
    """``set_autocast_enabled(device_type, enabled)``: switch autocast in this thread; one argument is for "cuda"."""
    place, enabled = args if len(args) == 2 else ("cuda", *args)
    name = _named("set_autocast_enabled", place)
    if not isinstance(enabled, bool):
        raise TypeError(
            f"set_autocast_enabled(): argument 'enabled' (position {len(args)}) must be bool, not "
            f"{type(enabled).__name__}"
        )
    capture_state.stop("autocast is switched on or off")
    if name != "cpu":
        state.elsewhere[name] = enabled, state.of(name)[1]
        return
    if enabled:
        from fastnn.ops.low_precision import activate

        activate()
    state.enabled = enabled


def get_autocast_dtype(device_type: str) -> Any:
    """The dtype of autocast in this thread for a type of device.

    >>> import fastnn
    >>> fastnn.get_autocast_dtype("cpu")
    torch.bfloat16
    """
    return state.of(_named("get_autocast_dtype", device_type))[1]


def set_autocast_dtype(device_type: str, dtype: _dtype) -> None:
    """Set the dtype of autocast in this thread for a type of device."""
    name = _named("set_autocast_dtype", device_type)
    if not isinstance(dtype, _dtype):
        raise TypeError(
            f"set_autocast_dtype(): argument 'dtype' (position 2) must be torch.dtype, not {type(dtype).__name__}"
        )
    _set_dtype(name, dtype)


def _set_dtype(device_type: str, dtype: Any) -> None:
    if device_type == "cpu":
        if dtype is not state.dtype:
            # The casts that are kept have the other one.
            state.casts.clear()
        state.dtype = dtype
    else:
        state.elsewhere[device_type] = state.of(device_type)[0], dtype


def is_autocast_cache_enabled() -> bool:
    """Whether casts of parameters are kept."""
    return state.cache_enabled


def set_autocast_cache_enabled(enabled: bool) -> None:
    """Set whether casts of parameters are kept."""
    if not isinstance(enabled, bool):
        raise TypeError(f"enabled must be a bool (got {type(enabled).__name__})")
    state.cache_enabled = enabled


def clear_autocast_cache() -> None:
    """Forget the casts of parameters."""
    state.casts.clear()


def autocast_increment_nesting() -> int:
    """Count a block; returns how many there are."""
    state.nesting += 1
    return state.nesting


def autocast_decrement_nesting() -> int:
    """Count the end of a block; returns how many are left."""
    state.nesting -= 1
    return state.nesting


def _deprecated(name: str, instead: str) -> None:
    warnings.warn(f"torch.{name} is deprecated. Please use torch.{instead} instead.", DeprecationWarning, stacklevel=3)


def is_autocast_cpu_enabled() -> bool:
    """``is_autocast_enabled("cpu")``, deprecated."""
    _deprecated("is_autocast_cpu_enabled()", "is_autocast_enabled('cpu')")
    return state.enabled


def set_autocast_cpu_enabled(enabled: bool) -> None:
    """``set_autocast_enabled("cpu", enabled)``, deprecated."""
    _deprecated("set_autocast_cpu_enabled(enabled)", "set_autocast_enabled('cpu', enabled)")
    set_autocast_enabled("cpu", enabled)


def get_autocast_cpu_dtype() -> _dtype:
    """``get_autocast_dtype("cpu")``, deprecated."""
    _deprecated("get_autocast_cpu_dtype()", "get_autocast_dtype('cpu')")
    return state.dtype


def set_autocast_cpu_dtype(dtype: _dtype) -> None:
    """``set_autocast_dtype("cpu", dtype)``, deprecated."""
    _deprecated("set_autocast_cpu_dtype(dtype)", "set_autocast_dtype('cpu', dtype)")
    set_autocast_dtype("cpu", dtype)


def get_autocast_gpu_dtype() -> _dtype:
    """``get_autocast_dtype("cuda")``, deprecated."""
    _deprecated("get_autocast_gpu_dtype()", "get_autocast_dtype('cuda')")
    return state.of("cuda")[1]


def set_autocast_gpu_dtype(dtype: _dtype) -> None:
    """``set_autocast_dtype("cuda", dtype)``, deprecated."""
    _deprecated("set_autocast_gpu_dtype(dtype)", "set_autocast_dtype('cuda', dtype)")
    set_autocast_dtype("cuda", dtype)


# -- Functions with a backward pass of their own --------------------------------------------------------


def _converted(value: Any, dtype: _dtype) -> Any:
    """The floating point tensors in a structure, except float64, in another dtype."""
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() and value.dtype is not float64 else value
    if isinstance(value, (str, bytes, np.ndarray)):
        return value
    if isinstance(value, Mapping):
        return {_converted(key, dtype): _converted(item, dtype) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_converted(item, dtype) for item in value)
    if isinstance(value, Iterable):
        return (_converted(item, dtype) for item in value)
    return value


def custom_fwd(
    fwd: Callable[..., Any] | None = None, *, device_type: str, cast_inputs: _dtype | None = None
) -> Any:
    """A decorator of the ``forward`` of an ``autograd.Function``, which tells ``custom_bwd`` the state of autocast.

    Args:
        device_type: "cpu", or another type of device.
        cast_inputs: the dtype to which tensors are converted under autocast, which is off in ``forward`` then; None to
            leave both as they are.

    >>> import fastnn
    >>> class Square(fastnn.autograd.Function):
    ...     @staticmethod
    ...     @fastnn.amp.custom_fwd(device_type="cpu", cast_inputs=fastnn.float32)
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x * x
    ...     @staticmethod
    ...     @fastnn.amp.custom_bwd(device_type="cpu")
    ...     def backward(ctx, grad):
    ...         return 2 * grad * ctx.saved_tensors[0]
    >>> with fastnn.autocast("cpu"):
    ...     Square.apply(fastnn.ones(1, dtype=fastnn.bfloat16))
    tensor([1.])
    """
    _check_device_type(device_type)
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def forward(*args: Any, **kwargs: Any) -> Any:
        context, (enabled, dtype) = args[0], state.of(_device(device_type).type)
        context._dtype = dtype
        context._fwd_used_autocast = enabled and cast_inputs is None
        if cast_inputs is None or not enabled:
            return fwd(*args, **kwargs)
        with autocast(device_type, enabled=False):
            return fwd(*_converted(args, cast_inputs), **_converted(kwargs, cast_inputs))

    return forward


def custom_bwd(bwd: Callable[..., Any] | None = None, *, device_type: str) -> Any:
    """A decorator of the ``backward`` of an ``autograd.Function``: it runs with the autocast of its ``forward``."""
    _check_device_type(device_type)
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def backward(*args: Any, **kwargs: Any) -> Any:
        with autocast(device_type, args[0]._dtype, args[0]._fwd_used_autocast):
            return bwd(*args, **kwargs)

    return backward
