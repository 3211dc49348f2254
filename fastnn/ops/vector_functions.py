"""Functions of mathematics by kernels for float32, and by NumPy or SciPy for other dtypes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn import kernels
from fastnn._core.numpy_trace import dense
from fastnn.kernels.activation.math_functions import direct as direct_kernel
from fastnn.kernels.runtime import allocation
from fastnn.kernels.runtime.compiler import FLOAT32
from fastnn.kernels.runtime.direct_loops import Direct

_ndarray = np.ndarray


def _whole(a: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The array in C order, broadcast to a shape."""
    if type(a) is not _ndarray:
        # In a trace the arrays are of another type, which sees ufuncs only; the launch is recorded by itself.
        a = a.view(_ndarray)
    if a.shape != shape:
        a = np.broadcast_to(a, shape)
    return a if a.flags.c_contiguous else dense(a)


class VectorFunction(Direct):
    """A function of arrays, also as ``call`` of a :class:`Direct` for one small array.

    Args:
        name: a key of ``kernels.activation.math_functions.FUNCTIONS``.
        otherwise: the function for other dtypes.
    """

    __slots__ = ("_kernel", "_of_numpy", "name", "otherwise")

    def __init__(self, name: str, otherwise: Callable[..., Any]) -> None:
        self.name, self.otherwise, self.is_relation = name, otherwise, False
        self._kernel = direct_kernel(name)
        self._of_numpy = Direct(otherwise) if isinstance(otherwise, np.ufunc) else None
        self.call = self._call

    def _call(self, x: np.ndarray, *out: np.ndarray) -> Any:
        if x.dtype == FLOAT32:
            return self._kernel.run(x, *out)
        return None if self._of_numpy is None else self._of_numpy.call(x, *out)

    def __call__(self, *operands: np.ndarray) -> Any:
        """The result, as a new array."""
        for a in operands:
            if a.dtype != FLOAT32:
                return self.otherwise(*operands)
        shape = np.broadcast_shapes(*[a.shape for a in operands])
        whole = [_whole(a, shape) for a in operands]
        found = self._kernel.run(*whole)
        if found is None:
            found = allocation.empty_like(whole[0])
            if found.size:
                kernels.math_function(found, self.name, *whole)
        return found
