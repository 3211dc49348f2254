"""What activations have in common: a kernel, its backward pass, and the formula for second derivatives.

The activations themselves are in ``fastnn.nn.activation``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn import kernels
from fastnn._autograd.engine import KernelNode, Node, is_zero, zeros
from fastnn._core.errors import DTypeError
from fastnn._core.numpy_trace import dense
from fastnn._tensor.tensor import Tensor, _recorded, _share, _wrap
from fastnn.kernels.activation.elementwise_activations import DIRECT as ELEMENTWISE
from fastnn.kernels.activation.fused_activations import DIRECT as FUSED
from fastnn.kernels.activation.fused_activations import saves_input
from fastnn.kernels.runtime import allocation
from fastnn.nn.activation_formulas import elementwise_slope_of, has_curve, recorded_elementwise, slope_of
from fastnn.nn.checks import _check_floating, _contiguous, _half
from fastnn.ops.core import as_floating

# -- The activations that the linear kernel can apply to its result --------------------------------


# PyTorch's names for the nodes of activations.
GRAD_NAMES = {
    "relu": "Relu", "leaky_relu": "LeakyRelu", "sigmoid": "Sigmoid", "tanh": "Tanh", "gelu": "Gelu",
    "gelu_tanh": "Gelu",
}  # fmt: skip

# Activations whose derivative in PyTorch reads the result, so the result must not change.
READS_RESULT = frozenset(("relu", "sigmoid", "tanh"))


class _ActivationNode(KernelNode):
    """The node of an activation: ``parts`` are its name, its slope, and the tensor or the array that it has saved."""

    __slots__ = ()

    def again(self, grad: Tensor, wants: list[bool]) -> tuple[Tensor | None, ...]:
        activation, slope, saved = self.parts
        if not isinstance(saved, Tensor):
            # The result. Its memory is the last that was saved.
            saved = _share(saved, self, self.saved[-1][0])
        return (slope_of(grad, saved, activation, slope),)


class _ElementwiseNode(KernelNode):
    """The node of an elementwise activation: ``parts`` are the operand, the name and the constants."""

    __slots__ = ()

    def again(self, grad: Tensor, wants: list[bool]) -> tuple[Tensor | None, ...]:
        return (elementwise_slope_of(grad, *self.parts),)


def _before(input: Tensor, values: np.ndarray) -> Tensor:
    """``input`` before the change in place: these values, with its history."""
    if input._node is None:
        return input
    return _wrap(values, input._node)


def _activation(input: Tensor, activation: str, slope: float = 0.01, inplace: bool = False) -> Tensor:
    if type(input) is not Tensor or input._data.dtype.kind != "f":
        try:
            _check_floating(activation, input)
        except DTypeError:
            if activation in ("sigmoid", "tanh"):
                return _activation(as_floating(input), activation)
            if activation != "relu" or input._data.dtype.kind == "b":
                raise
            rectified = _wrap(np.maximum(input._data, 0))
            return input._in_place(rectified) if inplace else rectified
    data = input._data
    out = FUSED.run(data, activation, slope)
    if out is not None:
        if not _recorded(input):
            return input._in_place(_wrap(out)) if inplace else _wrap(out)
        return _recorded_activation(input, data, out, activation, slope, inplace)
    if not data.flags.c_contiguous:
        data = dense(data)
    out = allocation.empty_like(data)
    try:
        kernels.activation_forward(out, data, activation, slope)
    except TypeError as error:
        _half(error, input)
        result = _activation(_before(input, data).float(), activation, slope).half()
        return input._in_place(result) if inplace else result
    if not _recorded(input):
        return input._in_place(_wrap(out)) if inplace else _wrap(out)
    return _recorded_activation(input, data, out, activation, slope, inplace)


def _recorded_activation(
    input: Tensor, data: np.ndarray, out: np.ndarray, activation: str, slope: float, inplace: bool
) -> Tensor:
    # Leaky ReLU saves its input too, unless in place: so the result may change, as in PyTorch.
    needs_input = saves_input(activation) or (activation == "leaky_relu" and (slope < 0 or not inplace))
    saved = data.copy() if needs_input and inplace else data if needs_input else out

    def run(grad: Tensor, wants: Any) -> tuple[Tensor]:
        dy = grad._data
        if not dy.flags.c_contiguous:
            if is_zero(dy):
                return (_wrap(zeros(before, dy)),)
            dy = _contiguous(dy)
        dz = allocation.empty_like(saved)
        kernels.activation_backward(dz, dy, saved, activation, slope)
        return (_wrap(dz),)

    name = GRAD_NAMES[activation]
    # In place the operand is lost; ReLU and leaky ReLU keep the sign, so the result gives their slope.
    before = _before(input, saved if needs_input else out) if inplace else input
    node = _ActivationNode(name, (before,), run, (input,) if needs_input and not inplace else (), True)
    node.parts = activation, slope, before if needs_input else out
    result = _wrap(out, node)
    if not needs_input:
        node.guard(result)
    return input._in_place(result) if inplace else result


_GELU = {"none": "gelu", "tanh": "gelu_tanh"}


def gelu_name(approximate: str) -> str:
    """The kernel's name for PyTorch's argument ``approximate``."""
    if isinstance(approximate, str) and approximate in _GELU:
        return _GELU[approximate]
    kind = RuntimeError if isinstance(approximate, str) else TypeError
    raise kind(f"approximate argument must be either none or tanh, found {approximate!r}")


# -- The others --------------------------------------------------------------------------------------


def _elementwise(
    input: Tensor, name: str, a: float = 0.0, b: float = 0.0, c: float = 0.0, inplace: bool = False, *,
    title: str = "", saves_copy: bool = False, reads_result: bool = False,
) -> Tensor:
    """An activation of ``kernels.elementwise_activations``, where the constants are explained.

    Args:
        title: the name of PyTorch's operation, where it is not ``name`` with one capital letter.
        saves_copy: the input may change before the backward pass, as PyTorch's derivative does not read it.
        reads_result: PyTorch's derivative reads the result of the form in place, which then must not change.
    """
    if type(input) is not Tensor or input._data.dtype.kind != "f":
        _check_floating(name, input)
    data = input._data
    out = ELEMENTWISE.run(data, name, a, b, c)
    if out is None:
        if not data.flags.c_contiguous:
            data = dense(data)
        out = allocation.empty_like(data)
        try:
            kernels.elementwise_forward(out, data, name, a, b, c)
        except TypeError as error:
            _half(error, input)
            result = _elementwise(
                _before(input, data).float(), name, a, b, c,
                title=title, saves_copy=saves_copy, reads_result=reads_result,
            ).half()  # fmt: skip
            return input._in_place(result) if inplace else result
    if not _recorded(input):
        result = _wrap(out)
    else:
        saved = data
        if saves_copy:
            saved = allocation.empty_like(data)
            # A copy by a kernel, which can be recorded.
            kernels.activation_forward(saved, data, "leaky_relu", 1.0)
        elif inplace:
            saved = data.copy()

        def run(grad: Tensor, wants: Any = None) -> tuple[Tensor]:
            dx = allocation.empty_like(saved)
            kernels.elementwise_backward(dx, _contiguous(grad._data), saved, name, a, b, c)
            return (_wrap(dx),)

        before = _before(input, saved) if inplace else input
        title, reads = title or name.title(), () if inplace or saves_copy else (input,)
        node: Node
        if has_curve(name):
            node = _ElementwiseNode(title, (before,), run, reads, True)
            node.parts = before, name, a, b, c
        else:
            node = Node(title, (before,), run, reads, True, lambda: recorded_elementwise(before, name, a, b, c))
        result = _wrap(out, node)
        if inplace and reads_result:
            node.guard(result)
    return input._in_place(result) if inplace else result
