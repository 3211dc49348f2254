"""``torch.sparse``: matrices of coordinates and values that multiply dense tensors; the rest is only names.

A :class:`SparseTensor` is not a tensor. Gradients go to the dense factor of a product, not to the values.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn._core.absent import NotComputedError, absent_class, absent_function
from fastnn._core.dtypes import as_numpy_dtype, default_numpy
from fastnn._core.errors import DTypeError, ShapeError
from fastnn._tensor.tensor import Size, Tensor, _wrap
from fastnn._tensor.views import linear_map
from fastnn.ops.core import check_tensor
from fastnn.ops.creation import as_tensor

__all__ = ["addmm", "log_softmax", "mm", "softmax", "spsolve", "sum"]

_WHY = "torch.sparse.{} is about sparse tensors, which fastnn does not have but for products of matrices"


class SparseTensor:
    """Numbers at coordinates, and zeros elsewhere; those of the same coordinates add up.

    Args:
        indices: int64, one row for each dimension.
        values: one number for each column of the indices, which does not require a gradient.
        size: the shape, by default the smallest that has the indices.

    Raises: ValueError for indices, values and sizes that do not fit; NotImplementedError for values that require a
        gradient.
    """

    is_sparse = True
    requires_grad = False
    is_cuda = False
    _is_coalesced = False

    def __init__(self, indices: Any, values: Any, size: Any = None) -> None:
        indices, values = as_tensor(indices), as_tensor(values)
        if values.requires_grad:
            raise NotComputedError(
                "torch.sparse_coo_tensor", "gradients of the values of a sparse tensor are not computed; detach them"
            )
        if values._data.dtype.kind == "c":
            raise NotComputedError("torch.sparse_coo_tensor", f"values of {values.dtype} are not computed")
        at, shape = indices._data, indices._data.shape
        if len(shape) != 2 or values._data.ndim != 1 or shape[1] != values._data.size or at.dtype.kind != "i":
            raise ShapeError(
                f"indices must be integers of shape (dimensions, numbers), and values of shape (numbers,), found "
                f"{indices.dtype} of shape {tuple(shape)} and shape {tuple(values._data.shape)}"
            )
        least = at.max(1) + 1 if at.size else np.zeros(shape[0], np.int64)
        self.shape = Size(least.tolist() if size is None else size)
        if (at < 0).any():
            raise ShapeError(f"found negative index {at.min()} for a sparse tensor of size {self.shape}")
        if len(self.shape) != shape[0] or (least > np.array(self.shape, np.int64)).any():
            raise ShapeError(f"found indices up to {(least - 1).tolist()} for a sparse tensor of size {self.shape}")
        self._at, self._numbers = indices, values

    def _indices(self) -> Tensor:
        return self._at

    def _values(self) -> Tensor:
        return self._numbers

    def _nnz(self) -> int:
        return self._numbers._data.size

    def is_coalesced(self) -> bool:
        """Whether :meth:`coalesce` made it, so that each coordinate is there once."""
        return self._is_coalesced

    def indices(self) -> Tensor:
        """The coordinates; RuntimeError unless it is coalesced."""
        return self._checked("indices")._at

    def values(self) -> Tensor:
        """The numbers; RuntimeError unless it is coalesced."""
        return self._checked("values")._numbers

    def _checked(self, what: str) -> SparseTensor:
        if not self._is_coalesced:
            raise RuntimeError(f"Cannot get {what} on an uncoalesced tensor, please call .coalesce() first")
        return self

    @property
    def dtype(self) -> Any:
        """Of the values."""
        return self._numbers.dtype

    @property
    def device(self) -> Any:
        """The CPU."""
        return self._numbers.device

    def size(self, dim: int | None = None) -> Any:
        """The sizes, or one of them."""
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    ndimension = dim

    def coalesce(self) -> SparseTensor:
        """With each coordinate once, in order."""
        if self._is_coalesced:
            return self
        at, inverse = np.unique(self._at._data, axis=1, return_inverse=True)
        numbers = np.zeros(at.shape[1], self._numbers._data.dtype)
        np.add.at(numbers, inverse.reshape(-1), self._numbers._data)
        made = type(self)(_wrap(at), _wrap(numbers), self.shape)
        made._is_coalesced = True
        return made

    def transpose(self, dim0: int, dim1: int) -> SparseTensor:
        """With two dimensions exchanged."""
        order = list(range(len(self.shape)))
        order[dim0], order[dim1] = order[dim1], order[dim0]
        return type(self)(_wrap(self._at._data[order]), self._numbers, [self.shape[d] for d in order])

    def t(self) -> SparseTensor:
        """The transpose of a matrix."""
        return self.transpose(0, 1)

    @property
    def mT(self) -> SparseTensor:
        """With the last two dimensions exchanged."""
        return self.transpose(-2, -1)

    def to_dense(self) -> Tensor:
        """All numbers as a tensor."""
        dense = np.zeros(self.shape, self._numbers._data.dtype)
        np.add.at(dense, tuple(self._at._data), self._numbers._data)
        return _wrap(dense)

    def to(self, *args: Any, **kwargs: Any) -> SparseTensor:
        """With its values of another dtype, or itself; the device is the CPU."""
        numbers = self._numbers.to(*args, **kwargs)
        return self if numbers is self._numbers else sparse_coo_tensor(
            self._at, numbers, self.shape, is_coalesced=self._is_coalesced
        )

    def detach(self) -> SparseTensor:
        """Itself: it has no history."""
        return self

    def __matmul__(self, other: Tensor) -> Tensor:
        return mm(self, other)

    def __repr__(self) -> str:
        return f"SparseTensor(indices={self._at!r}, values={self._numbers!r}, size={tuple(self.shape)})"


class FloatTensor(SparseTensor):
    """A sparse tensor of float32."""


class DoubleTensor(SparseTensor):
    """A sparse tensor of float64."""


def sparse_coo_tensor(
    indices: Any = None, values: Any = None, size: Any = None, *, dtype: Any = None, device: Any = None,
    requires_grad: bool = False, check_invariants: bool | None = None, is_coalesced: bool | None = None,
) -> SparseTensor:  # fmt: skip
    """A sparse tensor of coordinates and values; see :class:`SparseTensor`. Of a size alone, one of zeros.

    >>> import fastnn
    >>> fastnn.sparse_coo_tensor([[0, 1, 1], [2, 0, 2]], [3.0, 4.0, 5.0], (2, 3)).to_dense()
    tensor([[0., 0., 3.],
            [4., 0., 5.]])
    """
    if indices is None or values is None:
        if size is None or indices is not values:
            raise TypeError("sparse_coo_tensor() needs indices and values, or a size alone")
        indices, values = np.zeros((len(tuple(size)), 0), np.int64), np.zeros(0, as_numpy_dtype(dtype, default_numpy()))
    if requires_grad:
        raise NotComputedError("torch.sparse_coo_tensor", "gradients of a sparse tensor are not computed")
    numbers = as_tensor(values, dtype=dtype, device=device)
    kind = {"f": FloatTensor, "d": DoubleTensor}.get(numbers._data.dtype.char, SparseTensor)
    made = kind(indices, numbers, size)
    made._is_coalesced = bool(is_coalesced)
    return made


def mm(mat1: Any, mat2: Tensor) -> Tensor:
    """The product of a sparse matrix and a dense one.

    Raises: TypeError if ``mat1`` is not sparse, and for two dtypes; ValueError for shapes that do not fit.

    >>> import fastnn
    >>> mm(fastnn.sparse_coo_tensor([[0, 1], [1, 1]], [2.0, 3.0]), fastnn.ones(2, 2))
    tensor([[2., 2.],
            [3., 3.]])
    """
    if not isinstance(mat1, SparseTensor):
        raise TypeError(f"mat1 must be a sparse tensor, found {type(mat1).__name__}")
    check_tensor("mat2", mat2)
    shape = mat2._data.shape
    if len(mat1.shape) != 2 or len(shape) != 2 or mat1.shape[1] != shape[0]:
        raise ShapeError(f"mat1 and mat2 must be matrices that fit, found {tuple(mat1.shape)} and {tuple(shape)}")
    if mat1._numbers._data.dtype != mat2._data.dtype:
        raise DTypeError(f"mat1 and mat2 must have the same dtype, found {mat1.dtype} and {mat2.dtype}")
    from scipy.sparse import csr_array

    at = mat1._at._data
    matrix = csr_array((mat1._numbers._data, (at[0], at[1])), tuple(mat1.shape))
    return linear_map("SparseAddmm", mat2, lambda a: matrix @ a, lambda g: matrix.T @ g)


addmm = absent_function("torch.sparse.addmm", _WHY.format("addmm"))
log_softmax = absent_function("torch.sparse.log_softmax", _WHY.format("log_softmax"))
softmax = absent_function("torch.sparse.softmax", _WHY.format("softmax"))
spsolve = absent_function("torch.sparse.spsolve", _WHY.format("spsolve"))
sum = absent_function("torch.sparse.sum", _WHY.format("sum"))
_MAKES = "fastnn has no such sparse tensors, so torch.{} cannot make one; torch.sparse_coo_tensor makes matrices"
for _name in ("bsc", "bsr", "compressed", "csc", "csr"):
    _full = f"sparse_{_name}_tensor"
    globals()[_full] = absent_function(f"torch.{_full}", _MAKES.format(_full))
SparseSemiStructuredTensor = absent_class(
    "torch.sparse.SparseSemiStructuredTensor", (), _WHY.format("SparseSemiStructuredTensor")
)
