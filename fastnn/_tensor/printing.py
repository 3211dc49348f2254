"""Tensors as text, as PyTorch prints them.

All numbers have a common width. The largest and the smallest decide between plain and scientific
notation. Large tensors are shown by their corners.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._core.dtypes import FLOATING, get_default_dtype

if TYPE_CHECKING:
    from fastnn._tensor.tensor import Tensor


class _Options:
    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


_options = _Options()
_PROFILES = {
    "default": (4, 1000, 3, 80), "short": (2, 1000, 2, 80), "full": (4, math.inf, 3, 80),
}  # fmt: skip


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Set how tensors are printed.

    Args:
        precision: digits after the point.
        threshold: the number of elements above which only the corners are shown.
        edgeitems: how many elements are then shown at each end of a dimension.
        linewidth: characters in a line.
        profile: 'default', 'short' or 'full', for the four above at once.
        sci_mode: True for scientific notation, False for none, None to use it if needed.

    >>> import fastnn
    >>> fastnn.set_printoptions(precision=2)
    >>> fastnn.tensor([1.23456])
    tensor([1.23])
    >>> fastnn.set_printoptions(profile="default")
    """
    if profile is not None:
        if profile not in _PROFILES:
            raise ValueError(f"profile must be one of {', '.join(_PROFILES)}, found {profile!r}")
        _options.precision, _options.threshold, _options.edgeitems, _options.linewidth = _PROFILES[profile]
    if precision is not None:
        _options.precision = precision
    if threshold is not None:
        _options.threshold = threshold
    if edgeitems is not None:
        _options.edgeitems = edgeitems
    if linewidth is not None:
        _options.linewidth = linewidth
    _options.sci_mode = sci_mode


def get_printoptions() -> dict[str, Any]:
    """The current options of printing."""
    names = ("precision", "threshold", "edgeitems", "linewidth", "sci_mode")
    return {name: getattr(_options, name) for name in names}


class _Formatter:
    """Formats the numbers of one array with a common width."""

    def __init__(self, array: np.ndarray) -> None:
        self.floating = array.dtype.kind in FLOATING
        self.integral, self.scientific, self.width = True, False, 1
        if not self.floating:
            self.width = max([len(str(v)) for v in array.reshape(-1).tolist()], default=1)
            return
        values = array.reshape(-1)
        finite = values[np.isfinite(values) & (values != 0)]
        if not finite.size:
            return
        sizes = np.abs(finite.astype(np.float64))
        smallest, largest = float(sizes.min()), float(sizes.max())
        self.integral = bool((finite == np.ceil(finite)).all())
        ratio = largest / smallest if smallest else math.inf
        self.scientific = ratio > 1000.0 or largest > 1.0e8 or (not self.integral and smallest < 1.0e-4)
        if _options.sci_mode is not None:
            self.scientific = _options.sci_mode
        if self.scientific:
            texts = [f"{{:.{_options.precision}e}}".format(v) for v in finite.tolist()]
        elif self.integral:
            texts = [f"{v:.0f}" for v in finite.tolist()]
        else:
            texts = [f"{{:.{_options.precision}f}}".format(v) for v in finite.tolist()]
        # Infinite and NaN elements do not count, and may be wider.
        self.width = max(1, *[len(t) + (self.integral and not self.scientific) for t in texts])

    def __call__(self, value: Any) -> str:
        if not self.floating:
            text = str(value)
        elif self.scientific:
            text = f"{value:{self.width}.{_options.precision}e}"
        elif self.integral:
            text = f"{value:.0f}" if not math.isfinite(value) else f"{value:.0f}."
        else:
            text = f"{value:.{_options.precision}f}"
        return text.rjust(self.width)


class _ComplexFormatter:
    """Formats complex numbers, each part with a width of its own."""

    def __init__(self, array: np.ndarray) -> None:
        self.real, self.imag = _Formatter(array.real), _Formatter(array.imag)
        self.width = self.real.width + self.imag.width + 1

    def __call__(self, value: complex) -> str:
        imag = (self.imag(value.imag) + "j").lstrip()
        return self.real(value.real) + ("" if imag[0] in "+-" else "+") + imag


def complex_text(t: Tensor) -> str:
    """The ``repr`` of a complex tensor."""
    array, suffixes, text, prefix = t._data, [], "[]", "tensor("
    if array.size == 0 and array.ndim != 1:
        suffixes.append(f"size={tuple(array.shape)!s}")
    if array.size == 0 or t.dtype.to_real() is not get_default_dtype():
        suffixes.append(f"dtype={t.dtype}")
    if array.size:
        summarize = array.size > _options.threshold
        formatter: Any = _ComplexFormatter(_corners(array) if summarize else array)
        text = _text(array, len(prefix), summarize, formatter)
    return _with_suffixes(prefix + text, suffixes, len(prefix))


def _corners(array: np.ndarray) -> np.ndarray:
    """The elements that are shown of an array: both ends of each dimension."""
    edge = _options.edgeitems
    for d, n in enumerate(array.shape):
        if n > 2 * edge:
            array = np.take(array, [*range(edge), *range(n - edge, n)], axis=d)
    return array


def _vector_text(array: np.ndarray, indent: int, summarize: bool, formatter: _Formatter) -> str:
    element = formatter.width + 2
    per_line = max(1, math.floor((_options.linewidth - indent) / element))
    edge = _options.edgeitems
    if summarize and not edge:
        parts = ["..."]
    elif summarize and array.shape[0] > 2 * edge:
        first, last = [[formatter(v) for v in part.tolist()] for part in (array[:edge], array[-edge:])]
        parts = [*first, " ...", *last]
    else:
        parts = [formatter(v) for v in array.tolist()]
    lines = [", ".join(parts[i : i + per_line]) for i in range(0, len(parts), per_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"


def _text(array: np.ndarray, indent: int, summarize: bool, formatter: _Formatter) -> str:
    if array.ndim == 0:
        return formatter(array.item())
    if array.ndim == 1:
        return _vector_text(array, indent, summarize, formatter)
    edge = _options.edgeitems
    if summarize and array.shape[0] > 2 * edge:
        parts = [_text(a, indent + 1, summarize, formatter) for a in array[:edge]]
        parts += ["..."]
        parts += [_text(a, indent + 1, summarize, formatter) for a in array[array.shape[0] - edge :]]
    else:
        parts = [_text(a, indent + 1, summarize, formatter) for a in array]
    return "[" + ("," + "\n" * (array.ndim - 1) + " " * (indent + 1)).join(parts) + "]"


def tensor_text(t: Tensor, prefix: str = "tensor(") -> str:
    """The ``repr`` of a tensor."""
    array, kind = t._data, t.dtype
    suffixes: list[str] = []
    default = kind is get_default_dtype() or kind.name in ("int64", "bool")
    if array.size == 0:
        if array.ndim != 1:
            suffixes.append(f"size={tuple(array.shape)!s}")
        if kind is not get_default_dtype():
            suffixes.append(f"dtype={kind}")
        text = "[]"
    else:
        if not default:
            suffixes.append(f"dtype={kind}")
        summarize = array.size > _options.threshold
        text = _text(array, len(prefix), summarize, _Formatter(_corners(array) if summarize else array))
    if t.grad_fn is not None:
        suffixes.append(f"grad_fn=<{t.grad_fn.name()}>")
    elif t.requires_grad:
        suffixes.append("requires_grad=True")
    return _with_suffixes(prefix + text, suffixes, len(prefix))


def quantized_text(t: Any) -> str:
    """The ``repr`` of a quantized tensor."""
    suffixes = [f"size={tuple(t.shape)!s}", f"dtype={t.dtype}", f"quantization_scheme={t.qscheme()}"]
    if t._axis is None:
        suffixes += [f"scale={t.q_scale()}", f"zero_point={t.q_zero_point()}"]
    else:
        suffixes += [f"scale={t.q_per_channel_scales()!r}", f"zero_point={t.q_per_channel_zero_points()!r}"]
        suffixes.append(f"axis={t.q_per_channel_axis()}")
    array, text = t.dequantize()._data, "[]"
    if array.size:
        summarize = array.size > _options.threshold
        text = _text(array, len("tensor("), summarize, _Formatter(_corners(array) if summarize else array))
    return _with_suffixes("tensor(" + text, suffixes, len("tensor("))


def _with_suffixes(text: str, suffixes: list[str], indent: int) -> str:
    """Append the dtype and the like to the numbers, on a new line if they are too long."""
    pieces = [text]
    last_line = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        if last_line + len(suffix) + 2 > _options.linewidth:
            pieces.append(",\n" + " " * indent + suffix)
            last_line = indent + len(suffix)
        else:
            pieces.append(", " + suffix)
            last_line += len(suffix) + 2
    return "".join(pieces) + ")"
