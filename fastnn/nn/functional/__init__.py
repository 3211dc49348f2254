"""Layers and losses as functions of tensors: shapes and errors here, arithmetic in the kernels."""

# ruff: noqa: F403  The star imports define the package's names.

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import kernels
from fastnn._autograd.engine import KernelNode, SelectiveNode
from fastnn._autograd.engine import is_zero as _is_zero
from fastnn._autograd.engine import zeros as _zeros
from fastnn._core.errors import DTypeError, ShapeError
from fastnn._tensor.tensor import Tensor, _recorded, _share, _unbroadcast, _wrap
from fastnn.kernels.activation.fused_activations import saves_input
from fastnn.kernels.runtime import allocation
from fastnn.nn import activation, loss
from fastnn.nn.activation_core import GRAD_NAMES, _activation, gelu_name
from fastnn.nn.activation_formulas import slope_of as _slope_of
from fastnn.nn.checks import _check_tensor, _contiguous, _half
from fastnn.nn.functional.attention import *
from fastnn.nn.functional.class_loss import *
from fastnn.nn.functional.dropout import *
from fastnn.nn.functional.embedding import *
from fastnn.nn.functional.gradient_buffers import _finish_gradient, _gradient_place, _is_wanted
from fastnn.nn.functional.interpolation import *
from fastnn.nn.functional.normalization import *
from fastnn.nn.functional.pair_loss import *
from fastnn.nn.functional.softmax import *
from fastnn.nn.functional.vector import *
from fastnn.ops.products import _mm

if TYPE_CHECKING:
    from fastnn.nn.activation import *
    from fastnn.nn.loss import *
else:
    # Needed below. `fastnn.nn` adds the functions of the other files that have layers and functions.
    for _file in (activation, loss):
        globals().update({n: vars(_file)[n] for n in _file.__all__ if not isinstance(vars(_file)[n], type)})


def _check_same_dtype(a: Tensor, b: Tensor) -> None:
    if a._data.dtype != b._data.dtype:
        raise DTypeError(f"mat1 and mat2 must have the same dtype, but got {a.dtype} and {b.dtype}")
    if a._data.dtype.kind != "f":
        raise DTypeError(f"matrix products are for float32 and float64, found {a.dtype}")


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
    input: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str = "none", slope: float = 0.01,
    may_change: bool = False,
) -> Tensor:  # fmt: skip
    """``activation(linear(input, weight, bias))`` in one kernel.

    Args:
        input, weight, bias: as in :func:`linear`.
        activation: 'none', 'relu', 'leaky_relu', 'sigmoid', 'tanh', 'gelu' or 'gelu_tanh'.
        slope: the negative slope of 'leaky_relu'.
        may_change: whether the caller may change the result of 'leaky_relu' in place before the backward pass; this
            costs a second array. For the others this depends on the derivative, as in PyTorch.
    """
    _check_tensor("input", input)
    _check_tensor("weight", weight)
    if weight._data.ndim == 1:
        single = linear_activation(input, weight.unsqueeze(0), bias, activation, slope, may_change)
        return single.squeeze(-1)
    x_data, w_data = input._data, weight._data
    if w_data.ndim != 2:
        raise ShapeError(f"weight must have shape (out_features, in_features), found {tuple(weight.shape)}")
    _check_same_dtype(input, weight)
    out_features, in_features = w_data.shape
    if not x_data.ndim:
        raise ShapeError(
            f"both arguments to linear need to be at least 1D, but they are 0D and 2D: input must have {in_features} "
            "features in its last dimension, found shape ()"
        )
    if x_data.shape[-1] != in_features:
        rows = x_data.size // x_data.shape[-1] if x_data.shape[-1] else 1
        found = f"{rows}x{x_data.shape[-1]}"
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
    out = allocation.empty((x.shape[0], out_features), x.dtype)
    # PyTorch passes their gradients to hooks in this order.
    operands = (input, weight) if bias is None else (bias, input, weight)
    recorded = _recorded(*operands)
    # With a negative slope the output's sign says nothing about the input's: the backward needs the input.
    keep_z = recorded and (saves_input(activation) or (activation == "leaky_relu" and (slope < 0 or may_change)))
    z = allocation.empty_like(out) if keep_z else None
    try:
        kernels.linear_forward(out, x, w, None if bias is None else _contiguous(bias._data), activation, slope, z)
    except TypeError as error:
        _half(error, input)
        shift = None if bias is None else bias.float()
        return linear_activation(input.float(), weight.float(), shift, activation, slope, may_change).half()
    result = out if len(lead) == 1 else out.reshape(*lead, out_features)
    if not recorded:
        return _wrap(result)
    saved = out if z is None else z
    wants_dx, wants_dw, wants_db = input._requires_grad, weight._requires_grad, _is_wanted(bias)

    def run(grad: Tensor, wants: list[bool] | None) -> tuple[Tensor | None, ...]:
        by_x, by_w, by_b = wants_dx, wants_dw, wants_db
        if wants is not None:
            *first, by_x, by_w = wants
            by_b = bool(first) and first[0]
        g, nothing = grad._data, False
        if not g.flags.c_contiguous:
            nothing = _is_zero(g)
            g = _contiguous(g)
        dy = g.reshape(out.shape)
        dw, add_w, w_in_place = _gradient_place(weight, by_w, w_data.shape)
        db, add_b, b_in_place = _gradient_place(bias, by_b, (out_features,))
        dx = None
        if nothing:
            dx = _zeros(input, x_data) if by_x else None
            for array, adds in ((dw, add_w), (db, add_b)):
                if array is not None and not adds:
                    array[...] = 0
        else:
            dx = allocation.empty(x.shape, x.dtype) if by_x else None
            by_column = None if dw is None else dw.T
            kernels.linear_backward(dx, by_column, db, dy, x, w, saved, activation, slope, add_w, add_b)
        by_input = None if dx is None else _wrap(dx.reshape(x_data.shape))
        by_weight = _finish_gradient(weight, dw, w_in_place)
        if bias is None:
            return by_input, by_weight
        return _finish_gradient(bias, db, b_in_place), by_input, by_weight

    # The gradient of each factor reads the other.
    read = tuple([t for t, other in ((input, weight), (weight, input)) if other._requires_grad])
    name = GRAD_NAMES.get(activation) or ("View" if len(lead) > 1 else "Addmm" if bias is not None else "Mm")
    node = _LinearNode(name, operands, run, read)
    node.parts = input, weight, wants_dw, activation, slope, result if z is None else None, z
    return _wrap(result, node) if activation == "none" or z is not None else node.guard(_wrap(result, node))


class _LinearNode(KernelNode):
    """The node of a linear layer and its activation.

    ``parts``: the input, the weight and whether its gradient is recorded, the activation and its slope, and what the
    derivative of the activation reads: the array of the result, or the matrix before the activation.
    """

    __slots__ = ()

    def again(self, grad: Tensor, wants: list[bool]) -> tuple[Tensor | None, ...]:
        input, weight, wants_dw, activation, slope, result, z = self.parts
        if not wants_dw:
            weight = weight.detach()
        if activation != "none":
            if z is None:
                at = _share(result, self, self.saved[-1][0])
            else:
                before = SelectiveNode("Addmm", (), lambda g, wants: _products(g, wants, input, weight))
                before.edges, before.saved = self.edges, self.saved
                at = _wrap(z.reshape(grad._data.shape), before)
            grad = _slope_of(grad, at, activation, slope)
        return _products(grad, wants, input, weight)


def _products(grad: Tensor, wants: list[bool], input: Tensor, weight: Tensor) -> tuple[Tensor | None, ...]:
    """The gradients of bias (if there are three), input and weight from that of the product, recorded."""
    shape = input._data.shape
    out_features, in_features = weight._data.shape
    if len(shape) != 2:
        grad = grad.reshape(math.prod(shape[:-1]), out_features)
    *first, by_input, by_weight = wants
    dx = dw = None
    if by_input:
        dx = _mm(grad, weight)
        if len(shape) != 2:
            dx = dx.reshape(*shape)
    if by_weight:
        rows = input if len(shape) == 2 else input.reshape(math.prod(shape[:-1]), in_features)
        dw = _mm(grad, rows, True, False, weight._data.flags.fnc)
    if not first:
        return dx, dw
    return _unbroadcast(grad, (out_features,)) if first[0] else None, dx, dw


# -- Bilinear --------------------------------------------------------------------------------


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``input1 @ weight[k] @ input2 + bias[k]`` for each output feature k.

    Args:
        input1: (..., in1_features); input2: (..., in2_features), float32 or float64.
        weight: (out_features, in1_features, in2_features).
        bias: (out_features,), or None.
    """
    for name, value in (("input1", input1), ("input2", input2), ("weight", weight)):
        _check_tensor(name, value)
    if weight._data.ndim != 3:
        raise ShapeError(f"weight must have 3 dimensions, found shape {tuple(weight.shape)}")
    if input1._data.shape[:-1] != input2._data.shape[:-1] or not input1._data.ndim:
        raise ShapeError(
            f"bilinear(): input batch dimensions do not match: got {tuple(input1.shape)} and {tuple(input2.shape)}"
        )
    out_features, n, m = weight._data.shape
    if (input1._data.shape[-1], input2._data.shape[-1]) != (n, m):
        raise ShapeError(
            f"bilinear(): the inputs must have {n} and {m} features in their last dimension, found shapes "
            f"{tuple(input1.shape)} and {tuple(input2.shape)}"
        )
    _check_same_dtype(input1, input2)
    # All products of two features, then a linear layer.
    products = input1.unsqueeze(-1) * input2.unsqueeze(-2)
    return linear(products.reshape(*input1._data.shape[:-1], n * m), weight.reshape(out_features, n * m), bias)


# -- Functions that fastnn does not compute --------------------------------------------------


def __getattr__(name: str) -> Any:
    found = None
    if not name.startswith("__"):
        from fastnn.nn.not_computed import function

        found = function(name)
    if found is None:
        raise AttributeError(f"module 'fastnn.nn.functional' has no attribute {name!r}")
    return found
