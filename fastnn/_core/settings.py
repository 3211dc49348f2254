"""PyTorch's settings that scripts may change and that have no effect in fastnn.

Results are the same bits in every run and at any number of threads, whatever is set here. Products of float32 are
computed in float32: "medium" allows bfloat16, but is used only where a CPU multiplies bfloat16 faster
(:func:`multiplies_bfloat16`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

from fastnn._core.dtypes import dtype
from fastnn._core.errors import DTypeError

_state: dict[str, Any] = {
    "deterministic": False, "warn_only": False, "precision": "highest", "fp32": "none", "interop": 1,
}  # fmt: skip
# What each precision is to mkldnn's products.
_FP32 = {"highest": "ieee", "high": "tf32", "medium": "bf16"}


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Ask for algorithms that give the same result in every run, as all of fastnn's do.

    Raises: TypeError for a ``mode`` that is not a bool.
    """
    if not isinstance(mode, bool):
        raise TypeError(f"mode must be bool, not {type(mode).__name__}")
    _state["deterministic"], _state["warn_only"] = mode, bool(warn_only)


def are_deterministic_algorithms_enabled() -> bool:
    """The last value given to ``use_deterministic_algorithms``."""
    return _state["deterministic"]


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """The last ``warn_only`` given to ``use_deterministic_algorithms``."""
    return _state["deterministic"] and _state["warn_only"]


def set_float32_matmul_precision(precision: str) -> None:
    """Allow products of float32 to be less precise: "highest" (float32), "high" or "medium" (bfloat16 factors).

    Products are float32 all the same on every CPU for now: see :func:`multiplies_bfloat16`. Another string is ignored
    with a warning, as in PyTorch.

    Raises: RuntimeError for anything but a string.
    """
    if not isinstance(precision, str):
        raise RuntimeError(f"set_float32_matmul_precision expects a str, but got {type(precision).__name__}")
    if precision not in _FP32:
        message = f"{precision} is not one of 'highest', 'high', or 'medium'; the call has no effect"
        warnings.warn(message, stacklevel=2)
        return
    _state["precision"], _state["fp32"] = precision, _FP32[precision]


def get_float32_matmul_precision() -> str:
    """The last value given to ``set_float32_matmul_precision``; "highest" at first.

    Raises: RuntimeError if ``torch.backends.mkldnn.matmul.fp32_precision`` was set to another precision since.
    """
    precision, fp32 = _state["precision"], _state["fp32"]
    if fp32 not in ("none", _FP32[precision]):
        raise RuntimeError(
            f"the precision of products was set to {precision!r} by set_float32_matmul_precision() and to {fp32!r} by "
            "torch.backends.mkldnn.matmul.fp32_precision: use one of them only"
        )
    return precision


def set_fp32_precision(precision: str) -> None:
    """Set ``torch.backends.mkldnn.matmul.fp32_precision``.

    Raises: TypeError for anything but a string, RuntimeError for one that is not "ieee", "tf32", "bf16" or "none".
    """
    if not isinstance(precision, str):
        raise TypeError(f"fp32_precision must be a str, found {type(precision).__name__}")
    if precision not in ("none", *_FP32.values()):
        raise RuntimeError(f"Unknown precision: {precision}; fp32_precision is 'ieee', 'tf32', 'bf16' or 'none'")
    _state["fp32"] = precision


def get_fp32_precision() -> str:
    """The value of ``torch.backends.mkldnn.matmul.fp32_precision``."""
    return _state["fp32"]


def multiplies_bfloat16() -> bool:
    """Whether products of float32 are made in bfloat16 where "medium" allows it: False, there is no kernel for it.

    It would have to be faster than float32: with ``vdpbf16ps`` (AVX512-BF16), not by rounding the factors elsewhere.
    """
    return False


def check_precision(precision: str, allowed: tuple[str, ...]) -> None:
    """ValueError for a ``precision=`` that is not among those allowed."""
    if precision not in allowed:
        raise ValueError(f"precision must be one of {', '.join(map(repr, allowed))}, found {precision!r}")


def check_model_precision(precision: str | None, kinds: Iterable[dtype], allowed: tuple[str, ...]) -> None:
    """Check a ``precision=`` of training: it must be that of the model's parameters.

    Args:
        precision: None for any.
        kinds: the dtypes of the floating point parameters.
        allowed: "float32" and "float64" are those dtypes; "medium" and "bf16" are float32, with products that may be
            made in bfloat16.

    Raises: ValueError for another precision, TypeError for parameters of another dtype.
    """
    if precision is None:
        return
    check_precision(precision, allowed)
    expected = "float64" if precision == "float64" else "float32"
    for kind in kinds:
        if kind.is_floating_point and kind.name != expected:
            raise TypeError(f"precision={precision!r} needs parameters of {expected}, found {kind}")


def set_num_interop_threads(n: int) -> None:
    """Accept a positive number; operations run one after the other.

    Raises: RuntimeError for a number that is not positive.
    """
    if isinstance(n, bool) or not isinstance(n, int):
        raise DTypeError(f"set_num_interop_threads expects an int, but got {type(n).__name__}")
    if n <= 0:
        raise RuntimeError(f"set_num_interop_threads expects a positive integer, found {n}")
    _state["interop"] = n


def get_num_interop_threads() -> int:
    """The last value given to ``set_num_interop_threads``; 1 at first."""
    return _state["interop"]


def compile(
    model: Callable[..., Any] | None = None, *, fullgraph: bool = False, dynamic: bool | None = None,
    backend: Any = "inductor", mode: str | None = None, options: dict[str, Any] | None = None, disable: bool = False,
) -> Any:  # fmt: skip
    """Return the module or function itself: its kernels are compiled already.

    Args:
        model: a module or function; without one, the result is a decorator.
        fullgraph, dynamic, backend, mode, options, disable: accepted.

    Raises: RuntimeError for ``mode`` and ``options`` together; TypeError if ``model`` is not callable.

    >>> import fastnn
    >>> model = fastnn.nn.Linear(1, 1)
    >>> fastnn.compile(model) is model
    True
    """
    if mode is not None and options is not None:
        raise RuntimeError(
            "Either mode or options can be specified, but both can't be specified at the same time: found "
            f"mode={mode!r} and options={options!r}"
        )
    if model is None:
        return compile
    if not callable(model):
        raise TypeError(f"compile() takes a module or function, found {type(model).__name__}")
    return model
