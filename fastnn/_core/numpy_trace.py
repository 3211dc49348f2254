"""What NumPy computes during a trace, recorded as launches of NumPy's own inner loops.

Operations of tensors call NumPy at a few points, by ``errstate.quiet`` and for linear maps. In a trace these points
call :func:`recorded` instead: the function gets arrays of a subclass, which sees each ufunc. The subclass does not
leave this file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastnn._core.capture_state import Uncapturable, active, constant, is_mine
from fastnn.kernels.runtime.numpy_loops import EXACT, ROUNDED, record_loop, record_total, record_where

_KNOWN = EXACT | ROUNDED
# Functions that return views, or facts that do not depend on the numbers.
_VIEWS = frozenset((
    np.broadcast_to, np.reshape, np.transpose, np.expand_dims, np.squeeze, np.swapaxes, np.moveaxis, np.shape, np.ndim,
    np.size, np.result_type,
))  # fmt: skip

# NumPy's stubs accept `keepdims` only as a literal.
_SUM: Any = np.add.reduce


def _plain(value: Any) -> Any:
    return value.view(np.ndarray) if type(value) is _TracedArray else value


def _refuse(name: str) -> Any:
    raise Uncapturable(f"numpy.{name} computes outside the kernels")


def _zero(dtype: np.dtype) -> np.ndarray:
    return constant(np.zeros((), dtype))


def _as_arrays(operands: Sequence[Any], dtype: np.dtype | None = None) -> tuple[np.ndarray, ...]:
    """The operands with numbers as arrays of ``dtype``, or of that of the first array: constants of the recording."""
    if dtype is None:
        dtype = next(a.dtype for a in operands if isinstance(a, np.ndarray))
    return tuple([a if isinstance(a, np.ndarray) else constant(np.asarray(a, dtype)) for a in operands])


class _TracedArray(np.ndarray):
    """An array whose numbers mean nothing yet. Ufuncs are recorded; what would read a number ends the trace."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        """Record the ufunc, if it is one that has a launch."""
        operands = tuple(map(_plain, inputs))
        if out is None and method == "__call__" and ufunc in _KNOWN and not options.keys() - {"dtype"}:
            result = np.asarray(ufunc(*operands, **options))
            if record_loop(ufunc, _as_arrays(operands), result):
                return result.view(_TracedArray)
        elif method == "reduce" and ufunc is np.add and len(inputs) == 1:
            return self._total(operands[0], out, **options)
        return _refuse(ufunc.__name__)

    @staticmethod
    def _total(
        a: np.ndarray, out: Any, axis: Any = 0, dtype: Any = None, keepdims: bool = False, initial: Any = None,
        where: Any = True,
    ) -> Any:  # fmt: skip
        if out is not None and out != (None,):
            _refuse("add.reduce")
        axes = tuple(range(a.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        axes = tuple([d % a.ndim for d in axes])
        result = np.asarray(_SUM(a, axes, dtype, None, keepdims))
        if where is not True or initial is not None or not record_total(a, axes, _zero(a.dtype), result):
            _refuse("add.reduce")
        return result.view(_TracedArray)

    def __array_function__(self, function: Any, kinds: Any, args: Any, options: Any) -> Any:
        """Views; everything else ends the trace."""
        if function is np.where and len(args) == 3 and not options:
            mask, *sides = map(_plain, args)
            result = np.where(mask, *sides)
            x, y = _as_arrays(sides, result.dtype)
            if isinstance(mask, np.ndarray) and record_where(mask, x, y, result):
                return result.view(_TracedArray)
        if function not in _VIEWS:
            _refuse(function.__name__)
        return super().__array_function__(function, kinds, args, options)

    def astype(self, dtype: Any, *args: Any, **options: Any) -> Any:
        """Bools as floats, recorded; another conversion ends the trace."""
        a = _plain(self)
        if a.dtype == dtype:
            return self
        result = a.astype(dtype)
        one = constant(np.ones((), result.dtype))
        return result.view(_TracedArray) if record_where(a, one, _zero(result.dtype), result) else _refuse("astype")

    def _read(self, *args: Any) -> Any:
        raise Uncapturable("a number is read in Python")

    __bool__ = __float__ = __int__ = __index__ = __iter__ = __complex__ = _read
    item = tolist = tobytes = _read  # type: ignore[assignment]  # NumPy gives each its own arguments


def recorded(operate: Callable[..., Any], *args: Any) -> Any:
    """``operate(*args)`` in a trace; a function of no array of floats or bool runs as it is."""
    given = [a.view(_TracedArray) if type(a) is np.ndarray and a.dtype.kind in "fb" else a for a in args]
    # The numbers mean nothing, and may overflow.
    with np.errstate(all="ignore"):
        return _plain(operate(*given))


def run(operate: Callable[..., Any], *args: Any) -> Any:
    """``operate(*args)``, a function of arrays; recorded in a trace."""
    return recorded(operate, *args) if active and is_mine() else operate(*args)


def dense(a: np.ndarray) -> np.ndarray:
    """``np.ascontiguousarray``, of an array with dimensions; recorded in a trace."""
    result = np.ascontiguousarray(a)
    if result is not a and active and is_mine() and a.dtype.kind == "f" and not record_loop(np.positive, (a,), result):
        _refuse("ascontiguousarray")
    return result


def joined(arrays: Sequence[np.ndarray], axis: int) -> np.ndarray:
    """``np.concatenate``; recorded in a trace."""
    result = np.concatenate(arrays, axis)
    if active and is_mine():
        # Written whole first: whether strided parts fill it is not known to a recording.
        if not record_loop(np.positive, (_zero(result.dtype),), result):
            _refuse("concatenate")
        before, first = (slice(None),) * (axis % result.ndim), 0
        for a in arrays:
            last = first + a.shape[axis]
            if a.dtype != result.dtype or not record_loop(np.positive, (a,), result[(*before, slice(first, last))]):
                _refuse("concatenate")
            first = last
    return result


def add_gradient(array: np.ndarray, gradient: np.ndarray, accumulate: bool) -> bool:
    """Record that a gradient is written to an array, or added to it; False if that is not possible."""
    if not accumulate:
        return record_loop(np.positive, (gradient,), array)
    return record_loop(np.add, (array, gradient), array)


def padded(a: np.ndarray, shape: tuple[int, ...], key: Any) -> np.ndarray:
    """Zeros of this shape with ``a`` at ``[key]``."""
    full = np.zeros(shape, a.dtype)
    if type(a) is not _TracedArray:
        full[key] = a
        return full
    # The zeros are written each time: another array may take the place of this one.
    part = full[key]
    if not isinstance(part, np.ndarray) or not record_loop(np.positive, (_zero(a.dtype),), full):
        _refuse("zeros")
    if not record_loop(np.positive, (_plain(a),), part):
        _refuse("zeros")
    return full.view(_TracedArray)
