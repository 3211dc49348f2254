"""Products of matrices as nodes of ONNX; see :mod:`fastnn.onnx.converters.table`."""

from __future__ import annotations

from typing import Any

from fastnn._tensor.tensor import Tensor
from fastnn.onnx.converters.activations import _gelu, _leaky_relu
from fastnn.onnx.converters.elementwise import _pair
from fastnn.onnx.converters.table import converter, kind_of, rank
from fastnn.onnx.graph import Graph, Value


@converter("linear")
def _linear(g: Graph, input: Tensor, weight: Tensor, bias: Any = None) -> Value:
    x, w = g.value(input), g.value(weight)
    if rank(weight) == 2 and rank(input) == 2 and (bias is None or bias._data.size == weight._data.shape[0]):
        return x.op("Gemm", w, bias, transB=1)
    product = x.op("MatMul", w.op("Transpose", perm=[1, 0]) if rank(weight) == 2 else w)
    return product if bias is None else product + g.value(bias)


@converter("linear_activation")
def _linear_activation(
    g: Graph, input: Tensor, weight: Tensor, bias: Any = None, activation: str = "none", slope: float = 0.01,
    may_change: bool = False,
) -> Any:  # fmt: skip
    x = _linear(g, input, weight, bias)
    if activation.startswith("gelu"):
        return _gelu(g, x, "tanh" if activation == "gelu_tanh" else "none")
    if activation == "leaky_relu":
        return _leaky_relu(g, x, slope)
    return x if activation == "none" else x.op({"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh"}[activation])


@converter("bilinear")
def _bilinear(g: Graph, input1: Tensor, input2: Tensor, weight: Tensor, bias: Any = None) -> Value:
    out, n, m = weight._data.shape
    products = g.value(input1).unsqueeze(rank(input1)) * g.value(input2).unsqueeze(rank(input2) - 1)
    rows = g.reshape(products, (*g.sizes(input1)[:-1], n * m))
    columns = g.reshape(weight, (out, n * m)).op("Transpose", perm=[1, 0])
    product = rows.op("MatMul", columns)
    return product if bias is None else product + g.value(bias)


@converter("matmul", "mm", "bmm", "mv", "dot", "vdot", "__matmul__")
def _matmul(g: Graph, input: Any, other: Any) -> Value:
    a, b = _pair(g, input, other)
    return a.op("MatMul", b)


@converter("__rmatmul__")
def _reflected_matmul(g: Graph, input: Any, other: Any) -> Value:
    a, b = _pair(g, other, input)
    return a.op("MatMul", b)


@converter("addmm")
def _addmm(g: Graph, input: Tensor, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Value:
    return g.value(mat1).op("Gemm", g.value(mat2), g.value(input), alpha=float(alpha), beta=float(beta))


@converter("addmv", "baddbmm")
def _added_product(g: Graph, input: Any, a: Any, b: Any, *, beta: Any = 1, alpha: Any = 1) -> Value:
    product = g.value(a).op("MatMul", g.value(b))
    product = product if alpha == 1 else product * alpha
    added = g.value(input)
    return product + (added if beta == 1 else added * beta)


@converter("outer", "ger")
def _outer(g: Graph, input: Any, vec2: Any) -> Value:
    a, b = _pair(g, input, vec2)
    return a.unsqueeze(1) * b.unsqueeze(0)


@converter("inner")
def _inner(g: Graph, input: Tensor, other: Tensor) -> Value:
    a, b = _pair(g, input, other)
    if rank(other) == 2:
        return a.op("MatMul", b.op("Transpose", perm=[1, 0]))
    return a * b if not rank(input) or not rank(other) else a.op("MatMul", b)


@converter("einsum")
def _einsum(g: Graph, equation: str, *operands: Any) -> Value:
    if not isinstance(equation, str):
        g.refuse("without an equation of letters")
    values = operands[0] if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else operands
    first, *others = [g.value(v, kind_of(g)) for v in values]
    return first.op("Einsum", *others, equation=equation.replace(" ", ""))
