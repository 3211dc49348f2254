"""Shared argument handling of the textbook's functions: input arrays, dtypes and output arrays."""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np

from fastnn.kernels.runtime import allocation

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
_FLOAT16 = np.dtype(np.float16)
KERNEL_DTYPES = frozenset((FLOAT32, FLOAT64))


def real_array(name: str, x: Any) -> np.ndarray:
    """``x`` as an array of real numbers; TypeError for anything else."""
    a = np.asarray(x)
    if a.dtype.kind not in "biuf" or a.dtype.itemsize > 8:
        raise TypeError(f"{name} must hold real numbers of at most 64 bits, found dtype {a.dtype}")
    return a


def as_floats(name: str, x: Any) -> tuple[np.ndarray, np.dtype]:
    """``x`` in the form kernels require (float32 or float64, C-contiguous), and the dtype of NumPy's ``exp(x)``.

    That is the dtype of ``x`` itself for floating-point numbers; int32, int64 and Python numbers give
    float64, smaller integers and bool a narrower type. float16 is computed in float32.
    """
    if type(x) is np.ndarray and x.dtype in KERNEL_DTYPES and x.flags.carray:
        return x, x.dtype
    a = real_array(name, x)
    result = a.dtype if a.dtype.kind == "f" else np.exp.resolve_dtypes((a.dtype, None))[-1]
    result = result.newbyteorder("=")
    compute = FLOAT32 if result == _FLOAT16 else result
    return np.require(a, compute, ["C", "A"]), result


def as_dtype(name: str, x: Any, dtype: np.dtype) -> np.ndarray:
    """``x`` as a C-contiguous, aligned array of ``dtype``; the same object if it is one already."""
    if type(x) is np.ndarray and x.dtype == dtype and x.flags.carray:
        return x
    return np.require(real_array(name, x), dtype, ["C", "A"])


def common_floats(*named: tuple[str, Any]) -> tuple[np.ndarray, ...]:
    """Several arrays in the common dtype of NumPy's arithmetic: float32, or float64.

    Their shapes must be equal: NumPy would silently broadcast (n,) and (n, 1) to (n, n).
    """
    arrays = [real_array(name, x) for name, x in named]
    first, shape = named[0][0], arrays[0].shape
    for (name, _), a in zip(named, arrays, strict=True):
        if a.shape != shape:
            raise ValueError(f"{first} and {name} must have the same shape, found {shape} and {a.shape}")
    found = np.result_type(*arrays)
    dtype = FLOAT32 if found in (FLOAT32, _FLOAT16) else FLOAT64
    return tuple([as_dtype(name, a, dtype) for (name, _), a in zip(named, arrays, strict=True)])


def class_labels(name: str, labels: np.ndarray, classes: int) -> np.ndarray:
    """Integer labels as int64; IndexError unless all of them are in [0, classes)."""
    wrong = labels[(labels < 0) | (labels >= classes)]
    if wrong.size:
        raise IndexError(f"{name} has the label {wrong[0]}, expected labels in [0, {classes})")
    return np.require(labels, np.int64, ["C", "A"])


def place_for(out: np.ndarray | None, x: np.ndarray, result: np.dtype) -> np.ndarray:
    """The array for a kernel to write a result of ``x``'s size to: ``out``, or an array to copy into it.

    Raises: TypeError, ValueError if ``out`` cannot hold the result; nothing has been written then.
    """
    if out is None:
        return allocation.empty(x.shape, x.dtype)
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be a NumPy array, found {type(out).__name__}")
    if out.shape != x.shape:
        raise ValueError(f"out must have shape {x.shape}, found {out.shape}")
    if not out.flags.writeable:
        raise ValueError("out must be writeable, found a read-only array")
    if not np.can_cast(result, out.dtype, "same_kind"):
        raise TypeError(f"out must take {result}, found dtype {out.dtype}")
    fits = type(out) is np.ndarray and out.dtype == x.dtype and out.flags.carray
    if fits and (out is x or not np.may_share_memory(out, x)):
        return out
    return allocation.empty(x.shape, x.dtype)


def finished(place: np.ndarray, out: np.ndarray | None, result: np.dtype) -> Any:
    """The result to return: ``out``, or an array in its dtype; a NumPy number if it is zero-dimensional."""
    if out is not None:
        if place is not out:
            with np.errstate(over="ignore"):
                np.copyto(out, place, casting="same_kind")
        return out
    if place.dtype != result:
        with np.errstate(over="ignore", under="ignore"):
            place = place.astype(result)
    return place if place.ndim else place[()]


def number(name: str, value: Any, *, least: float = -math.inf, most: float = math.inf) -> float:
    """``value`` as a float in [least, most]; TypeError unless it is a number, ValueError outside or for NaN."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (numbers.Real, np.floating, np.integer)):
        raise TypeError(f"{name} must be a number, found {type(value).__name__}")
    result = float(value)
    if not least <= result <= most:
        bounds = f"at least {least:g}" if most == math.inf else f"in [{least:g}, {most:g}]"
        raise ValueError(f"{name} must be {'a number' if least == -math.inf else bounds}, found {value}")
    return result


def whole(name: str, value: Any, least: int) -> int:
    """``value`` as an int of at least ``least``; TypeError unless it is an integer."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, found {type(value).__name__}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, found {value}")
    return int(value)


def random_state(seed: int | None) -> Any:
    """NumPy's generator as seeded by ``np.random.seed(seed)``; for None the global one, which that call seeds.

    The textbook draws from it, so both programs get the same numbers from the same seed.
    """
    if seed is None:
        # The legacy functions are methods of one generator.
        return np.random.mtrand._rand
    if isinstance(seed, (bool, np.bool_)) or not isinstance(seed, (int, np.integer)):
        raise TypeError(f"seed must be an integer or None, found {type(seed).__name__}")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must be in [0, 2**32), found {seed}")
    return np.random.RandomState(int(seed))  # the textbook's generator, see above
