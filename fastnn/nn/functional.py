"""Layers and losses as functions of tensors: shapes and errors here, arithmetic in the kernels.

The losses are in ``functional_losses``, ``functional_class_losses`` and ``functional_pair_losses``. May
also import ``tensor``, ``autograd``, ``errors`` and ``fastnn.kernels``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn import kernels
from fastnn.autograd import Node
from fastnn.errors import DTypeError, ShapeError
from fastnn.kernels.activations import saves_input
from fastnn.nn.functional_class_losses import (
    cross_entropy,
    multi_margin_loss,
    multilabel_margin_loss,
    multilabel_soft_margin_loss,
    nll_loss,
)
from fastnn.nn.functional_losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    gaussian_nll_loss,
    hinge_embedding_loss,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    poisson_nll_loss,
    smooth_l1_loss,
    soft_margin_loss,
)
from fastnn.nn.functional_pair_losses import (
    cosine_embedding_loss,
    margin_ranking_loss,
    triplet_margin_loss,
    triplet_margin_with_distance_loss,
)
from fastnn.nn.parameter import Parameter
from fastnn.tensor import Tensor, _recorded, _wrap

# What is imported to be found here.
_LOSSES = (
    binary_cross_entropy, binary_cross_entropy_with_logits, cosine_embedding_loss, cross_entropy, gaussian_nll_loss,
    hinge_embedding_loss, huber_loss, kl_div, l1_loss, margin_ranking_loss, mse_loss, multi_margin_loss,
    multilabel_margin_loss, multilabel_soft_margin_loss, nll_loss, poisson_nll_loss, smooth_l1_loss, soft_margin_loss,
    triplet_margin_loss, triplet_margin_with_distance_loss,
)  # fmt: skip


def _check_same_dtype(a: Tensor, b: Tensor) -> None:
    if a._data.dtype != b._data.dtype:
        raise DTypeError(f"mat1 and mat2 must have the same dtype, but got {a.dtype} and {b.dtype}")
    if a._data.dtype.kind != "f":
        raise DTypeError(f"matrix products are for float32 and float64, found {a.dtype}")


def _check_tensor(name: str, value: Any) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a Tensor, found {type(value).__name__}")


# -- Linear ----------------------------------------------------------------------------------


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``input @ weight.T + bias``.

    Args:
        input: (..., in_features), float32 or float64.
        weight: (out_features, in_features) or (in_features,), of the same dtype.
        bias: (out_features,) or (), or None.

    Raises: ShapeError (a ValueError and RuntimeError) or DTypeError (a TypeError and RuntimeError).

    >>> import fastnn
    >>> x, w = fastnn.tensor([[1.0, 2.0]]), fastnn.tensor([[3.0, 4.0], [5.0, 6.0]])
    >>> fastnn.nn.functional.linear(x, w)
    tensor([[11., 17.]])
    """
    return linear_activation(input, weight, bias)


def linear_activation(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str = "none", slope: float = 0.01
) -> Tensor:
    """``activation(linear(input, weight, bias))`` in one kernel.

    Args:
        input, weight, bias: as in :func:`linear`.
        activation: 'none', 'relu', 'leaky_relu', 'sigmoid', 'tanh', 'gelu' or 'gelu_tanh'.
        slope: of 'leaky_relu'.
    """
    _check_tensor("input", input)
    _check_tensor("weight", weight)
    if weight._data.ndim == 1:
        single = linear_activation(input, weight.unsqueeze(0), bias, activation, slope)
        return single.squeeze(-1)
    x_data, w_data = input._data, weight._data
    if w_data.ndim != 2:
        raise ShapeError(f"weight must have shape (out_features, in_features), found {tuple(weight.shape)}")
    _check_same_dtype(input, weight)
    out_features, in_features = w_data.shape
    if x_data.ndim == 0 or x_data.shape[-1] != in_features:
        rows = x_data.size // x_data.shape[-1] if x_data.ndim and x_data.shape[-1] else 1
        found = f"{rows}x{x_data.shape[-1]}" if x_data.ndim else "a scalar"
        raise ShapeError(
            f"mat1 and mat2 shapes cannot be multiplied ({found} and {in_features}x{out_features}): input must have "
            f"{in_features} features in its last dimension, found shape {tuple(input.shape)}"
        )
    if bias is not None:
        _check_tensor("bias", bias)
        _check_same_dtype(input, bias)
        if bias._data.shape != (out_features,):
            if bias._data.size != 1:
                raise ShapeError(f"bias must have shape ({out_features},), found {tuple(bias.shape)}")
            bias = bias.reshape(1) * _wrap(np.ones(out_features, x_data.dtype))
    lead = x_data.shape[:-1]
    x = x_data if x_data.ndim == 2 else x_data.reshape(-1 if in_features else int(np.prod(lead)), in_features)
    w = w_data.T
    out = np.empty((x.shape[0], out_features), x.dtype)
    operands = (input, weight) if bias is None else (input, weight, bias)
    recorded = _recorded(*operands)
    # A slope below zero makes the sign of the output useless: the backward then needs the input.
    keep_z = recorded and (saves_input(activation) or (activation == "leaky_relu" and slope < 0))
    z = np.empty_like(out) if keep_z else None
    kernels.linear_forward(out, x, w, None if bias is None else _contiguous(bias._data), activation, slope, z)
    result = out if len(lead) == 1 else out.reshape(*lead, out_features)
    if not recorded:
        return _wrap(result)
    saved = out if z is None else z
    wants_dx = input._requires_grad

    def run(grad: Tensor) -> tuple[Tensor | None, ...]:
        dy = _contiguous(grad._data.reshape(out.shape))
        dx = np.empty(x.shape, x.dtype) if wants_dx else None
        dw, add_w, w_in_place = _gradient_place(weight, w.shape)
        db, add_b, b_in_place = (None, False, False) if bias is None else _gradient_place(bias, (out_features,))
        kernels.linear_backward(dx, dw, db, dy, x, w, saved, activation, slope, add_w, add_b)
        grads = [None if dx is None else _wrap(dx.reshape(x_data.shape))]
        grads.append(_finish_gradient(weight, None if dw is None else dw.T, w_in_place))
        if bias is not None:
            grads.append(_finish_gradient(bias, db, b_in_place))
        return tuple(grads)

    # Each factor is read for the gradient of the other.
    read = tuple([t for t, other in ((input, weight), (weight, input)) if other._requires_grad])
    node = Node("Linear", operands, run, read)
    return _wrap(result, node) if activation == "none" else node.guard(_wrap(result, node))


def _contiguous(array: np.ndarray) -> np.ndarray:
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


def _gradient_place(tensor: Tensor, shape: tuple[int, ...]) -> tuple[np.ndarray | None, bool, bool]:
    """Where a kernel is to write the gradient of ``tensor``, whether to add to it, and whether it belongs there.

    The place in the flat buffer where that lies as the kernel writes, otherwise a new array. For a
    matrix the kernel's view is the transpose. None where no gradient is wanted.
    """
    if not tensor._requires_grad:
        return None, False, False
    if isinstance(tensor, Parameter):
        target = tensor._grad_target()
        if target is not None:
            array, accumulate = target
            view = array.T
            if view.ndim == 1 or view.strides[1] == view.itemsize:
                return view, accumulate, True
    return np.empty(shape, tensor._data.dtype), False, False


def _finish_gradient(tensor: Tensor, array: np.ndarray | None, in_place: bool) -> Tensor | None:
    """The gradient to hand on, or None where the kernel has written it into its place."""
    if array is None:
        return None
    if in_place:
        assert isinstance(tensor, Parameter)
        tensor._grad_written()
        return None
    return _wrap(array)


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """The matrix product of two matrices, or of a matrix and a vector, or the dot product of vectors.

    Args:
        a, b: one or two dimensions, float32 or float64, the same dtype.
    """
    _check_tensor("a", a)
    _check_tensor("b", b)
    _check_same_dtype(a, b)
    if not 0 < a._data.ndim < 3 or not 0 < b._data.ndim < 3:
        raise ShapeError(f"matmul takes one or two dimensions, found {tuple(a.shape)} and {tuple(b.shape)}")
    if a._data.ndim == 1:
        return matmul(a.unsqueeze(0), b).squeeze(0)
    if b._data.ndim == 1:
        return matmul(a, b.unsqueeze(1)).squeeze(-1)
    if a._data.shape[1] != b._data.shape[0]:
        raise ShapeError(
            f"mat1 and mat2 shapes cannot be multiplied ({a.shape[0]}x{a.shape[1]} and {b.shape[0]}x{b.shape[1]})"
        )
    out = np.empty((a._data.shape[0], b._data.shape[1]), a._data.dtype)
    kernels.gemm(out, a._data, b._data)
    if not _recorded(a, b):
        return _wrap(out)
    # Each factor is kept for the gradient of the other.
    a_kept, b_kept = a if b._requires_grad else None, b if a._requires_grad else None

    def run(grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        return (
            None if b_kept is None else matmul(grad, b_kept.t()),
            None if a_kept is None else matmul(a_kept.t(), grad),
        )

    return _wrap(out, Node("Mm", (a, b), run, tuple([t for t in (a_kept, b_kept) if t is not None])))


# -- Activations -----------------------------------------------------------------------------


def _activation(input: Tensor, activation: str, slope: float = 0.01, inplace: bool = False) -> Tensor:
    _check_tensor("input", input)
    if input._data.dtype.kind != "f":
        raise DTypeError(f"{activation} is for float32 and float64, found {input.dtype}")
    data = _contiguous(input._data)
    out = np.empty_like(data)
    kernels.activation_forward(out, data, activation, slope)
    if not _recorded(input):
        result = _wrap(out)
    else:
        needs_input = saves_input(activation) or (activation == "leaky_relu" and slope < 0)
        saved = data.copy() if needs_input and inplace else data if needs_input else out

        def run(grad: Tensor) -> tuple[Tensor]:
            dz = np.empty_like(saved)
            kernels.activation_backward(dz, _contiguous(grad._data), saved, activation, slope)
            return (_wrap(dz),)

        name = activation.title().replace("_", "")
        node = Node(name, (input,), run, (input,) if needs_input and not inplace else (), keeps=True)
        result = _wrap(out, node)
        if not needs_input and not inplace:
            node.guard(result)
    return input._in_place(result) if inplace else result


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """``max(input, 0)``, elementwise.

    >>> import fastnn
    >>> fastnn.nn.functional.relu(fastnn.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    return _activation(input, "relu", inplace=inplace)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """``input`` where positive, ``negative_slope * input`` elsewhere."""
    return _activation(input, "leaky_relu", negative_slope, inplace)


def sigmoid(input: Tensor) -> Tensor:
    """``1 / (1 + exp(-input))``, elementwise."""
    return _activation(input, "sigmoid")


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent, elementwise."""
    return _activation(input, "tanh")


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """``input * Phi(input)``, Phi the normal distribution function; 'tanh' approximates it.

    Source: D. Hendrycks and K. Gimpel, arXiv:1606.08415.
    """
    return _activation(input, gelu_name(approximate))


def gelu_name(approximate: str) -> str:
    """The kernel's name for PyTorch's argument ``approximate``."""
    if approximate not in ("none", "tanh"):
        raise RuntimeError(f"approximate argument must be either none or tanh, found {approximate!r}")
    return "gelu" if approximate == "none" else "gelu_tanh"
