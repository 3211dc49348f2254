"""A graph of ONNX while it grows: nodes, constants, and the expressions with which converters write formulas."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastnn._tensor.tensor import Tensor
from fastnn.onnx.errors import OnnxExporterError, UnsupportedOperatorError, package
from fastnn.onnx.tracing import SymbolicSize, Trace


class Value:
    """A tensor of the graph with its dtype; operators make nodes.

    Numbers take the dtype of the value that they meet.
    """

    def __init__(self, graph: Graph, name: str, dtype: Any) -> None:
        self.graph, self.name, self.dtype = graph, name, np.dtype(dtype)

    def op(self, kind: str, *others: Any, dtype: Any = None, **attributes: Any) -> Value:
        """The result of a node whose first input is this value."""
        inputs = [self._same(o) if isinstance(o, (int, float)) else o for o in others]
        name = self.graph.op(kind, self, *inputs, **attributes)
        return Value(self.graph, name, self.dtype if dtype is None else dtype)

    def _same(self, other: Any) -> Value:
        return self.graph.value(other, self.dtype)

    def __add__(self, other: Any) -> Value:
        return self.op("Add", self._same(other))

    def __sub__(self, other: Any) -> Value:
        return self.op("Sub", self._same(other))

    def __rsub__(self, other: Any) -> Value:
        return self._same(other).op("Sub", self)

    def __mul__(self, other: Any) -> Value:
        return self.op("Mul", self._same(other))

    def __truediv__(self, other: Any) -> Value:
        return self.op("Div", self._same(other))

    def __rtruediv__(self, other: Any) -> Value:
        return self._same(other).op("Div", self)

    def __pow__(self, other: Any) -> Value:
        return self.op("Pow", self._same(other))

    def __neg__(self) -> Value:
        return self.op("Neg")

    __radd__, __rmul__ = __add__, __mul__

    def __gt__(self, other: Any) -> Value:
        return self.op("Greater", self._same(other), dtype=bool)

    def __lt__(self, other: Any) -> Value:
        return self.op("Less", self._same(other), dtype=bool)

    def __ge__(self, other: Any) -> Value:
        return self.op("GreaterOrEqual", self._same(other), dtype=bool)

    def __le__(self, other: Any) -> Value:
        return self.op("LessOrEqual", self._same(other), dtype=bool)

    def equals(self, other: Any) -> Value:
        """Elementwise ``==``."""
        return self.op("Equal", self._same(other), dtype=bool)

    def where(self, a: Any, b: Any, dtype: Any = None) -> Value:
        """``a`` where this is true, ``b`` elsewhere."""
        kind = dtype or next(v.dtype for v in (a, b) if isinstance(v, Value))
        a, b = self.graph.value(a, kind), self.graph.value(b, kind)
        return Value(self.graph, self.graph.op("Where", self, a, b), kind)

    def to(self, dtype: Any) -> Value:
        """This value in another dtype."""
        return self.graph.value(self, dtype)

    def clip(self, low: float | None = None, high: float | None = None) -> Value:
        """Numbers outside of the bounds become the bounds."""
        ends = [None if end is None else self._same(end) for end in (low, high)]
        return self.op("Clip", *ends)

    def reduce(self, kind: str, axes: Sequence[int] | None = None, keep: bool = False) -> Value:
        """``ReduceSum`` and its siblings."""
        return self.graph.reduce(kind, self, axes, keep)

    def sum(self, axes: Sequence[int] | None = None, keep: bool = False) -> Value:
        return self.reduce("ReduceSum", axes, keep)

    def squeeze(self, *axes: int) -> Value:
        return self.op("Squeeze", self.graph.ints(axes))

    def unsqueeze(self, *axes: int) -> Value:
        return self.op("Unsqueeze", self.graph.ints(axes))


class Graph:
    """Nodes in order, and the constants that they read.

    Args:
        opset: the version of the operators.
        names: of parameters and buffers, by the ``id`` of the tensor.
        training: whether dropout and batch normalisation are exported as in training.
    """

    def __init__(self, opset: int, names: dict[int, str], training: bool = False) -> None:
        self.opset, self.parameters, self.training = opset, names, training
        self.onnx = package()
        self.nodes: list[Any] = []
        self.origins: list[str] = []
        self.constants: dict[str, np.ndarray] = {}
        self.constant_origins: dict[str, str] = {}
        self.taken: set[str] = set(names.values())
        self.inputs: dict[str, Tensor] = {}
        self.result: Any = None
        # The names of the tensors of an operation, by their ``id``.
        self.given: dict[int, str] = {}
        self.wanted: list[str] = []
        self.origin = ""
        self._known: dict[Any, str] = {}
        self._counts: dict[str, int] = {}
        self._trace: Trace | None = None
        self._kept: list[Any] = []

    # -- Names --------------------------------------------------------------------------------

    def fresh(self, hint: str) -> str:
        """A name that nothing has."""
        while True:
            count = self._counts.get(hint, 0)
            self._counts[hint] = count + 1
            name = f"{hint}_{count}" if count else hint
            if name not in self.taken:
                self.taken.add(name)
                return name

    # -- From the trace -----------------------------------------------------------------------

    def keep(self, tensor: Tensor, trace: Trace) -> str:
        """The name of a tensor that an operation reads; it becomes a constant, with its present numbers."""
        if id(tensor) in self.given:
            return self.given[id(tensor)]
        entry = trace.entry(tensor)
        if entry is not None:
            return entry.name
        key = id(tensor), tensor._memory.version
        name = self._known.get(key)
        if name is None:
            known = self.parameters.get(id(tensor))
            name = known if known is not None and known not in self.constants else self.fresh("constant")
            self.constants[name] = np.array(tensor._data, order="C")
            self.constant_origins[name] = self.origin
            self._known[key] = name
            self._kept.append(tensor)
        return name

    def convert(
        self, name: str, converter: Callable[..., Any], trace: Trace, result: Any, args: Any, kwargs: Any
    ) -> list[str]:
        """The names of the results of an operation, whose nodes are added."""
        self._trace, self.result, self.origin = trace, result, name
        try:
            bound = inspect.signature(converter).bind(self, *args, **kwargs)
        except TypeError as error:
            raise UnsupportedOperatorError(
                f"fastnn does not export torch operation {name!r} with these arguments to ONNX: {error}"
            ) from error
        made = converter(*bound.args, **bound.kwargs)
        tensors = [result] if isinstance(result, Tensor) else list(result)
        values = [made] if isinstance(made, (str, Value)) else list(made)
        names = []
        for tensor, value in zip(tensors, values, strict=True):
            if isinstance(value, Value):
                value = self.value(value, tensor._data.dtype).name
            names.append(value)
        return names

    def refuse(self, why: str) -> Any:
        """Raises the error that the operation cannot be exported in this way."""
        raise UnsupportedOperatorError(f"fastnn does not export torch operation {self.origin!r} {why} to ONNX")

    def sizes(self, tensor: Tensor) -> tuple[int, ...]:
        """The shape of a tensor, with symbolic sizes."""
        assert self._trace is not None
        return self._trace.sizes(tensor)

    # -- Values -------------------------------------------------------------------------------

    def value(self, x: Any, dtype: Any = None) -> Value:
        """A tensor, number, size, array or value, in a dtype."""
        if isinstance(x, Value):
            found = x
        elif isinstance(x, Tensor):
            assert self._trace is not None
            found = Value(self, self.keep(x, self._trace), x._data.dtype)
        elif type(x) is SymbolicSize:
            found = Value(self, self.op("Squeeze", self.size(x), self.ints([0])), np.int64)
        else:
            array = np.asarray(x, dtype)
            return Value(self, self.constant(array), array.dtype)
        if dtype is None or found.dtype == np.dtype(dtype):
            return found
        kind = self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return Value(self, self.op("Cast", found, to=int(kind)), dtype)

    def constant(self, array: np.ndarray) -> str:
        """The name of a constant; equal small ones are one."""
        array = np.asarray(array)
        key = (array.dtype.str, array.shape, array.tobytes()) if array.size <= 64 else None
        if key in self._known:
            return self._known[key]
        name = self.fresh("constant")
        self.constants[name] = np.array(array, order="C")
        self.constant_origins[name] = self.origin
        if key is not None:
            self._known[key] = name
        return name

    def ints(self, values: Sequence[int]) -> str:
        """A vector of int64."""
        return self.constant(np.array(list(values), np.int64))

    def size(self, n: Any) -> str:
        """A vector with one size."""
        if type(n) is not SymbolicSize:
            return self.ints([int(n)])
        kind, a, b = n.formula
        if kind != "dim":
            return self.op(kind, self.size(a), self.size(b))
        key = "size", a, b
        if key not in self._known:
            if self.opset >= 15:
                self._known[key] = self.op("Shape", a, start=b, end=b + 1)
            else:
                self._known[key] = self.op("Gather", self.op("Shape", a), self.ints([b]), axis=0)
        return self._known[key]

    def shape(self, sizes: Sequence[Any]) -> str:
        """A vector of sizes."""
        if not any(type(n) is SymbolicSize for n in sizes):
            return self.ints([int(n) for n in sizes])
        parts: list[str] = []
        run: list[int] = []
        for n in (*sizes, None):
            if n is not None and type(n) is not SymbolicSize:
                run.append(int(n))
                continue
            if run:
                parts.append(self.ints(run))
                run = []
            if n is not None:
                parts.append(self.size(n))
        return parts[0] if len(parts) == 1 else self.op("Concat", *parts, axis=0)

    def reshape(self, x: Any, sizes: Sequence[Any]) -> Value:
        """``x`` in another shape; at most one size is -1."""
        x, sizes = self.value(x), list(sizes)
        symbolic = [i for i, n in enumerate(sizes) if type(n) is SymbolicSize]
        empty = any(int(n) == 0 for n in sizes)
        if len(symbolic) == 1 and not empty and -1 not in [int(n) for n in sizes]:
            sizes[symbolic[0]] = -1
        options = {}
        if empty and not symbolic:
            if self.opset < 14:
                self.refuse("with an empty result and an opset below 14")
            options["allowzero"] = 1
        return x.op("Reshape", self.shape(sizes), **options)

    # -- Nodes --------------------------------------------------------------------------------

    def op(self, kind: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node; the name of its output, or a list of names."""
        given = []
        for x in inputs:
            if x is None:
                given.append("")
            elif isinstance(x, str):
                given.append(x)
            else:
                given.append(self.value(x).name)
        while given and not given[-1]:
            given.pop()
        hint = self.origin or kind.lower()
        made = [self.fresh(hint) for _ in range(outputs)]
        attributes = {k: v for k, v in attributes.items() if v is not None}
        self.nodes.append(self.onnx.helper.make_node(kind, given, made, name=f"{kind}_{len(self.nodes)}", **attributes))
        self.origins.append(self.origin)
        return made[0] if outputs == 1 else made

    def reduce(self, kind: str, x: Any, axes: Sequence[int] | None, keep: bool) -> Value:
        """A reduction over axes, or over all."""
        x, options = self.value(x), {"keepdims": int(keep)}
        if axes is None:
            return x.op(kind, **options)
        if kind == "ReduceSum" or self.opset >= 18:
            return x.op(kind, self.ints(axes), **options)
        return x.op(kind, axes=[int(a) for a in axes], **options)

    # -- The whole ----------------------------------------------------------------------------

    def prune(self, wanted: Sequence[str]) -> None:
        """Remove nodes and constants that no output depends on."""
        needed = set(wanted)
        kept = []
        for node, origin in zip(reversed(self.nodes), reversed(self.origins), strict=True):
            if any(name in needed for name in node.output):
                needed.update(node.input)
                kept.append((node, origin))
        self.nodes = [node for node, _ in reversed(kept)]
        self.origins = [origin for _, origin in reversed(kept)]
        self.constants = {name: array for name, array in self.constants.items() if name in needed}

    def difference(self, other: Graph) -> None:
        """Raise if a run with other numbers or sizes made other nodes or constants."""
        why = (
            "its result depends on the numbers or the sizes of the example: an exported model has the operations and "
            "constants of one run; sizes that change need dynamic_shapes or dynamic_axes"
        )
        for i, node in enumerate(self.nodes):
            if i >= len(other.nodes) or node != other.nodes[i]:
                raise OnnxExporterError(f"torch operation {self.origins[i]!r} cannot be exported: {why}")
        for name, array in self.constants.items():
            same = other.constants.get(name)
            if same is None or (same.dtype, same.shape, same.tobytes()) != (array.dtype, array.shape, array.tobytes()):
                where = f"a constant of torch operation {self.constant_origins[name]!r}"
                raise OnnxExporterError(f"{where} cannot be exported: {why}")
        if len(self.nodes) != len(other.nodes):
            raise OnnxExporterError(f"the forward cannot be exported: {why}")
