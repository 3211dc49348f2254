"""Dtypes of quantized tensors, and their schemes, under PyTorch's names."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn._core.dtypes import dtype


class QuantizedDtype(dtype):
    """A dtype of quantized tensors: integers with a scale and a zero point. No other tensor can have it.

    >>> import fastnn
    >>> fastnn.qint8, fastnn.qint8.itemsize
    (torch.qint8, 1)
    """

    __slots__ = ("integers",)

    def __init__(self, name: str, integers: type) -> None:
        self.name, self.legacy = name, name
        # NumPy's dtype of the integers.
        self.integers = np.dtype(integers)
        self.itemsize = self.integers.itemsize
        self.is_floating_point = self.is_complex = False
        self.is_signed = self.integers.kind == "i"

    @property
    def numpy(self) -> np.dtype:  # type: ignore[override]  # there is none
        raise TypeError(f"only quantized tensors have dtype {self}: they are made by quantize_per_tensor()")

    @property
    def limits(self) -> tuple[int, int]:
        """The smallest and the largest integer."""
        info: Any = np.iinfo(self.integers)
        return int(info.min), int(info.max)


class qscheme:
    """How the numbers of a quantized tensor are stored.

    >>> import fastnn
    >>> fastnn.per_tensor_affine
    torch.per_tensor_affine
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> str:
        # Pickle by name, so that a copy is the same object.
        return self.name


qint8, quint8 = QuantizedDtype("qint8", np.int8), QuantizedDtype("quint8", np.uint8)
qint32 = QuantizedDtype("qint32", np.int32)
per_tensor_affine, per_channel_affine = qscheme("per_tensor_affine"), qscheme("per_channel_affine")
per_tensor_symmetric, per_channel_symmetric = qscheme("per_tensor_symmetric"), qscheme("per_channel_symmetric")

DTYPES = {kind.name: kind for kind in (qint8, quint8, qint32)}
SCHEMES = {s.name: s for s in (per_tensor_affine, per_channel_affine, per_tensor_symmetric, per_channel_symmetric)}
BY_INTEGERS = {kind.integers: kind for kind in DTYPES.values()}
