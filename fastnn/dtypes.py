"""Number types under PyTorch's names, each with NumPy's type beside it. Imports nothing of fastnn."""

from __future__ import annotations

import numpy as np


class dtype:
    """The type of a tensor's numbers.

    >>> import fastnn
    >>> fastnn.tensor([1.0]).dtype
    fastnn.float32
    >>> fastnn.float32.is_floating_point, fastnn.float32.itemsize
    (True, 4)
    """

    __slots__ = ("is_floating_point", "itemsize", "name", "numpy")

    def __init__(self, name: str, numpy: type) -> None:
        self.name = name
        self.numpy = np.dtype(numpy)
        self.itemsize = self.numpy.itemsize
        self.is_floating_point = self.numpy.kind == "f"

    def __repr__(self) -> str:
        return f"fastnn.{self.name}"

    def __reduce__(self) -> str:
        # Pickle by name, so that a copy is the same object.
        return self.name if self.name != "bool" else "bool_"


float32, float64 = dtype("float32", np.float32), dtype("float64", np.float64)
int8, int16, int32, int64 = (dtype(f"int{8 * 2**k}", getattr(np, f"int{8 * 2**k}")) for k in range(4))
uint8, bool_ = dtype("uint8", np.uint8), dtype("bool", np.bool_)

_BY_NUMPY = {d.numpy: d for d in (float32, float64, int8, int16, int32, int64, uint8, bool_)}


def from_numpy_dtype(numpy: np.dtype) -> dtype:
    """fastnn's name for a NumPy dtype; TypeError for one that no tensor can have."""
    try:
        return _BY_NUMPY[numpy]
    except KeyError:
        known = ", ".join(str(d) for d in _BY_NUMPY)
        raise TypeError(f"a tensor cannot hold dtype {numpy}; the supported ones are {known}") from None
