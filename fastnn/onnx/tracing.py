"""Runs a module once, and tells a graph of each operation on what depends on the inputs.

For the time of a run the public functions of fastnn have other code (as for ``__torch_function__``), which asks this
thread's trace. An operation that has a converter is told as one; the operations inside of another are told instead.
"""

from __future__ import annotations

import functools
import inspect
import operator
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import fastnn
from fastnn._core.size import Size
from fastnn._tensor import torch_function
from fastnn._tensor.tensor import Tensor
from fastnn.capture import auto
from fastnn.nn.activation import _Activation
from fastnn.nn.container import Sequential
from fastnn.nn.normalization import BatchNorm1d, LayerNorm
from fastnn.nn.sync_batch_norm import SyncBatchNorm
from fastnn.onnx import attention
from fastnn.onnx.errors import OnnxExporterError, SymbolicValueError, UnsupportedOperatorError

_state = threading.local()
_lock = threading.RLock()

# Operations that read numbers: a graph has no Python numbers.
_READS = {
    "item", "tolist", "numpy", "__float__", "__int__", "__bool__", "__index__", "__complex__", "__array__", "equal",
    "allclose", "is_nonzero", "__contains__",
}  # fmt: skip
# Names that are asked for what a trace tells otherwise, or that tell nothing of the numbers.
_SILENT = {
    "dim", "ndim", "ndimension", "dtype", "device", "requires_grad", "is_floating_point", "is_complex", "is_signed",
    "stride", "is_contiguous", "layout", "element_size", "itemsize", "__len__", "is_leaf", "grad_fn", "is_cuda",
    "nbytes",
    "is_sparse", "is_quantized", "is_meta", "result_type", "is_same_size", "broadcast_shapes", "is_tensor", "data_ptr",
    "get_device", "__repr__", "__format__", "storage_offset", "output_nr", "grad", "retain_grad", "is_conj", "is_neg",
    "is_inference", "is_shared", "is_pinned", "is_cpu", "is_mps", "is_xpu", "is_mkldnn", "retains_grad", "_base",
}  # fmt: skip
_CREATION = (
    "arange", "empty", "empty_like", "eye", "full", "full_like", "linspace", "logspace", "ones", "ones_like", "range",
    "zeros", "zeros_like", "as_tensor", "tensor", "scalar_tensor", "rand", "rand_like", "randn", "randn_like",
    "randint", "randint_like", "randperm", "normal",
)  # fmt: skip
_SKIPPED = {"apply_", "backward", "register_hook", "as_subclass", "__torch_function__", "__init__", "__reversed__"}
_KEPT = {"__getitem__", "__setitem__", "__iter__", "__len__", "__invert__", "__pos__", *_READS}
_PROPERTIES = {"shape", "T", "mT", "H", "mH", "data", "real"}
_NUMPY_NAMES = {"axis": "dim", "keepdims": "keepdim"}


class SymbolicSize(int):
    """A size that depends on the sizes of the inputs: an integer that knows how it was computed.

    ``formula``: ("dim", name of a tensor, axis), or the name of an ONNX operation and two integers.
    """

    formula: tuple[Any, ...]

    def __new__(cls, value: int, formula: tuple[Any, ...]) -> SymbolicSize:
        made = super().__new__(cls, value)
        made.formula = formula
        return made

    def __hash__(self) -> int:
        return int.__hash__(self)

    def __eq__(self, other: object) -> bool:
        return int(self) == other

    def __reduce__(self) -> Any:
        return int, (int(self),)


def _method(name: str, onnx: str, reflected: bool) -> Callable[..., Any]:
    compute = getattr(operator, name)

    def method(self: SymbolicSize, other: Any) -> Any:
        if isinstance(other, bool) or not isinstance(other, int):
            plain = int(self)
            return compute(other, plain) if reflected else compute(plain, other)
        a, b = (other, self) if reflected else (self, other)
        return SymbolicSize(compute(int(a), int(b)), (onnx, a, b))

    return method


for _name, _onnx in (("add", "Add"), ("sub", "Sub"), ("mul", "Mul"), ("floordiv", "Div"), ("mod", "Mod")):
    setattr(SymbolicSize, f"__{_name}__", _method(_name, _onnx, False))
    setattr(SymbolicSize, f"__r{_name}__", _method(_name, _onnx, True))


def plain(value: Any) -> Any:
    """The value with ordinary integers for symbolic sizes."""
    if type(value) is SymbolicSize:
        return int(value)
    if type(value) in (list, tuple, Size):
        return type(value)([plain(v) for v in value])
    if type(value) is slice:
        return slice(plain(value.start), plain(value.stop), plain(value.step))
    return value


def leaves(value: Any) -> Iterator[Any]:
    """The tensors and other leaves in nested tuples, lists and dictionaries."""
    if isinstance(value, (list, tuple)):
        for v in value:
            yield from leaves(v)
    elif isinstance(value, dict):
        for v in value.values():
            yield from leaves(v)
    elif isinstance(value, slice):
        yield from (value.start, value.stop, value.step)
    else:
        yield value


class Entry:
    """A tensor that the graph computes.

    Args:
        tensor: kept, so that its ``id`` stays its own.
        name: in the graph.
        symbolic: for each dimension, whether its size depends on the sizes of the inputs.
    """

    def __init__(self, tensor: Tensor, name: str, symbolic: tuple[bool, ...]) -> None:
        self.tensor, self.name, self.symbolic = tensor, name, symbolic
        self.version = tensor._memory.version


class Trace:
    """One run of a module.

    Args:
        graph: has ``convert(name, converter, trace, result, args, kwargs)``; None if only shapes are wanted.
        converters: functions by the names of operations.
        others: the shapes of another run with other sizes: sizes that differ are symbolic.
    """

    def __init__(
        self, graph: Any, converters: dict[str, Callable[..., Any]], others: dict[Any, tuple[int, ...]] | None = None
    ) -> None:
        self.graph, self.converters, self.others = graph, converters, others
        self.entries: dict[int, Entry] = {}
        self.shapes: dict[Any, tuple[int, ...]] = {}
        self.calls, self.depth = 0, 0
        self._kept: list[Any] = []

    # -- Values -------------------------------------------------------------------------------

    def enter(self, tensor: Tensor, name: str, key: Any) -> None:
        """Make a tensor one of the graph."""
        shape = tensor._data.shape
        symbolic = (False,) * len(shape)
        if self.others is not None:
            other = self.others.get(key)
            if other is None or len(other) != len(shape):
                raise OnnxExporterError("the forward runs other operations when the sizes of the inputs change")
            symbolic = tuple([a != b for a, b in zip(shape, other, strict=True)])
        self.entries[id(tensor)] = Entry(tensor, name, symbolic)

    def entry(self, tensor: Tensor) -> Entry | None:
        """The value of a tensor in the graph; None for a constant."""
        entry = self.entries.get(id(tensor))
        if entry is not None and entry.version != tensor._memory.version:
            raise OnnxExporterError(
                f"a tensor of shape {tensor._data.shape} was changed in place through a view or another tensor over "
                "its memory, which an exported model cannot express"
            )
        return entry

    def sizes(self, tensor: Tensor) -> tuple[int, ...]:
        """The shape of a tensor, with symbolic sizes."""
        entry = self.entries.get(id(tensor))
        shape = tensor._data.shape
        if entry is None or not any(entry.symbolic):
            return shape
        return tuple([
            SymbolicSize(n, ("dim", entry.name, axis)) if entry.symbolic[axis] else n for axis, n in enumerate(shape)
        ])  # fmt: skip

    def knows(self, value: Any) -> bool:
        """Whether a leaf depends on the inputs."""
        return type(value) is SymbolicSize or (isinstance(value, Tensor) and id(value) in self.entries)

    # -- Operations ---------------------------------------------------------------------------

    def call(self, name: str, original: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if name in ("shape", "size") and self.knows(args[0]):
            return self._size(args, kwargs)
        if name == "numel" and self.knows(args[0]):
            made = 1
            for n in self.sizes(args[0]):
                made = n * made
            return made
        if name == "__iter__" and args[0]._data.ndim:
            return iter(args[0].unbind(0))
        # These are not counted: the runs know different tensors.
        if name in _SILENT or name in ("shape", "size", "numel"):
            return original(*plain(args), **{k: plain(v) for k, v in kwargs.items()})
        key, self.calls = self.calls, self.calls + 1
        traced = any(self.knows(leaf) for leaf in leaves((args, kwargs)))
        if traced and name in _READS:
            raise SymbolicValueError(
                f"the forward reads numbers that depend on its inputs, by Tensor.{name}: an exported model cannot do "
                "this"
            )
        if name.endswith("_") and not name.endswith("__"):
            base, in_place = name.removesuffix("_"), True
        else:
            base, in_place = _IN_PLACE.get(name, name), name in _IN_PLACE
        # Its own code, also if operations look for subclasses of tensors.
        code = inspect.unwrap(original).__code__
        taken = code.co_varnames[: code.co_argcount]
        place = taken.index("inplace") if "inplace" in taken else len(args)
        in_place = in_place or bool(kwargs.get("inplace")) or any(args[place : place + 1])
        converter = self.converters.get(name) or self.converters.get(base)
        if converter is None and traced and self.graph is not None and in_place:
            raise UnsupportedOperatorError(
                f"fastnn exports no torch operation {name!r} to ONNX, which changes a tensor"
            )
        if converter is None:
            # The operations inside of it are recorded.
            result = original(*args, **kwargs)
            if traced and self.graph is not None:
                for leaf in leaves(result):
                    if isinstance(leaf, np.ndarray) or (isinstance(leaf, Tensor) and id(leaf) not in self.entries):
                        raise UnsupportedOperatorError(
                            f"fastnn exports no torch operation {name!r} to ONNX: compute it from others, or "
                            "outside of the model"
                        )
            self._note(result, key)
            return result
        if traced and self.graph is not None:
            if kwargs.get("out") is not None:
                raise UnsupportedOperatorError(f"fastnn does not export {name!r} with out= to ONNX")
            # Before the operation changes one of them.
            tensors = [leaf for leaf in leaves((args, kwargs)) if isinstance(leaf, Tensor)]
            self.graph.given = {id(t): self.graph.keep(t, self) for t in tensors}
        named = {k: plain(v) for k, v in kwargs.items()}
        self.depth += 1
        try:
            result = original(*plain(args), **named)
        finally:
            self.depth -= 1
        if name == "__setitem__":
            # The tensor itself has another value now.
            result = args[0]
        if traced and self.graph is not None:
            options = {_NUMPY_NAMES.get(k, k): v for k, v in kwargs.items() if k not in ("inplace", "out")}
            self.depth += 1
            try:
                names = self.graph.convert(base, converter, self, result, args[:place], options)
            finally:
                self.depth -= 1
                self.graph.given = {}
            results = [r for r in leaves(result) if isinstance(r, Tensor)]
            for position, (one, text) in enumerate(zip(results, names, strict=True)):
                self.shapes[key, position] = one._data.shape
                self.enter(one, text, (key, position))
            if in_place and isinstance(args[0], Tensor) and args[0] is not result:
                self.enter(args[0], names[0], (key, 0))
        self._note(result, key)
        return result

    def _note(self, result: Any, key: int) -> None:
        found = [r for r in leaves(result) if isinstance(r, Tensor)]
        for position, made in enumerate(found):
            self.shapes[key, position] = made._data.shape
        # The `id` of each stays its own.
        self._kept.append(found)

    def _size(self, args: Any, kwargs: Any) -> Any:
        sizes = self.sizes(args[0])
        where = args[1] if len(args) > 1 else kwargs.get("dim")
        return Size(sizes) if where is None else sizes[where]


_IN_PLACE = {
    "__iadd__": "add", "__isub__": "sub", "__imul__": "mul", "__itruediv__": "div", "__ipow__": "pow",
    "__ifloordiv__": "floor_divide", "__imod__": "remainder", "__iand__": "__and__", "__ior__": "__or__",
    "__setitem__": "__setitem__",
}  # fmt: skip


# -- The code of the operations -----------------------------------------------------------------


def _functions() -> dict[int, tuple[types.FunctionType, list[str]]]:
    """The functions to ask, with their names: those of an operation under several names are one."""
    found: dict[int, tuple[types.FunctionType, list[str]]] = {}

    def add(name: str, value: Any) -> None:
        if type(value) is types.FunctionType:
            found.setdefault(id(value), (value, []))[1].append(name)

    for base in (Tensor, *Tensor.__mro__[1:-1]):
        for name, value in vars(base).items():
            if isinstance(value, property):
                if name in _PROPERTIES:
                    add(name, value.fget)
            elif name not in _SKIPPED and (
                not name.startswith("_") or name in _KEPT or name in torch_function._OPERATORS
            ):
                add(name, value)
    for module in (fastnn.nn.functional, fastnn.linalg, fastnn.special, fastnn):
        for name, value in vars(module).items():
            home = getattr(value, "__module__", None) or ""
            ours = home.startswith(("fastnn.ops.", "fastnn.nn.", "fastnn.linalg", "fastnn.special"))
            if ours and home not in torch_function._INNER and not name.startswith("_"):
                add(f"special_{name}" if module is fastnn.special and name in _SPECIAL else name, value)
    for name in _CREATION:
        add(name, getattr(fastnn, name))
    return found


_SPECIAL = {"softmax", "log_softmax"}


def _entry_of(names: list[str]) -> Callable[[Callable[..., Any]], Any]:
    def make(original: Callable[..., Any]) -> Callable[[Any, Any], Any]:
        chosen: dict[int, str] = {}

        def run(args: Any, kwargs: Any) -> Any:
            trace = getattr(_state, "trace", None)
            if trace is None or trace.depth:
                return original(*args, **kwargs)
            name = chosen.get(id(trace.converters))
            if name is None:
                name = next((n for n in names if n in trace.converters or n in _READS), names[0])
                chosen[id(trace.converters)] = name
            return trace.call(name, original, args, kwargs)

        return run

    return make


def _forward_of(replacement: Callable[..., Any]) -> Callable[[Callable[..., Any]], Any]:
    def make(original: Callable[..., Any]) -> Callable[[Any, Any], Any]:
        def run(args: Any, kwargs: Any) -> Any:
            if getattr(_state, "trace", None) is None:
                return original(*args, **kwargs)
            return replacement(*args, **kwargs)

        return run

    return make


def _sequential(model: Sequential, input: Any) -> Any:
    for layer in model:
        input = layer(input)
    return input


def _activation(layer: Any, input: Any) -> Any:
    F = fastnn.nn.functional
    kind, slope = layer.fused()
    if kind == "leaky_relu":
        return F.leaky_relu(input, slope, layer.inplace)
    if kind.startswith("gelu"):
        return F.gelu(input, layer.approximate)
    return F.relu(input, layer.inplace) if kind == "relu" else getattr(F, kind)(input)


def _batch_norm(layer: Any, input: Any) -> Any:
    # As the layer checks it, without a change of its state.
    own = layer.training or layer.running_mean is None
    kept = None if layer.training and not layer.track_running_stats else layer.running_mean
    spread = None if kept is None else layer.running_var
    momentum = 0.0 if layer.momentum is None else layer.momentum
    return fastnn.nn.functional.batch_norm(input, kept, spread, layer.weight, layer.bias, own, momentum, layer.eps)


def _layer_norm(layer: Any, input: Any) -> Any:
    return fastnn.nn.functional.layer_norm(input, layer.normalized_shape, layer.weight, layer.bias, layer.eps)


# Layers that call kernels, and the public functions that compute the same.
_FORWARDS = (
    (Sequential.forward, _sequential), (_Activation.forward, _activation), (BatchNorm1d.forward, _batch_norm),
    (SyncBatchNorm.forward, _batch_norm), (LayerNorm.forward, _layer_norm),
)  # fmt: skip


class _Switch:
    """A function that has other code for the time of an export."""

    def __init__(self, function: Any, make: Callable[[Callable[..., Any]], Any]) -> None:
        self.function, self.make = function, make
        self.before, self.wrapped = function.__code__, function.__dict__.get("__wrapped__")
        torch_function.change(function, make, is_kept=False)
        self.now, self.original = function.__code__, function.__wrapped__
        self.off()

    def on(self) -> None:
        function = self.function
        if function.__code__ is not self.before:
            # Operations look for subclasses of tensors since the last export.
            self.__init__(function, self.make)  # type: ignore[misc]  # made again
        function.__code__, function.__wrapped__ = self.now, self.original

    def off(self) -> None:
        function = self.function
        # Otherwise something has changed it meanwhile, and calls this code.
        if function.__code__ is self.now:
            function.__code__ = self.before
            if self.wrapped is None:
                del function.__wrapped__
            else:
                function.__wrapped__ = self.wrapped


@functools.cache
def _switches() -> list[_Switch]:
    replaced = [*_FORWARDS, *attention.replacements()]
    others = {id(function) for function, _ in replaced}
    told = [pair for key, pair in _functions().items() if key not in others]
    found = [_Switch(function, _entry_of(names)) for function, names in told]
    return found + [_Switch(function, _forward_of(replacement)) for function, replacement in replaced]


@contextmanager
def operations_told() -> Iterator[None]:
    """A block in which operations ask for the trace of their thread."""
    with _lock:
        # The operations must not get other code meanwhile.
        torch_function.activate_for_a_while()
        captures = auto._switch["on"]
        auto._switch["on"] = False
        try:
            switches = _switches()
            for switch in switches:
                switch.on()
            yield
        finally:
            for switch in _switches():
                switch.off()
            auto._switch["on"] = captures
            torch_function.release()


@contextmanager
def running(trace: Trace) -> Iterator[None]:
    """A block whose operations in this thread are told to ``trace``."""
    _state.trace = trace
    try:
        yield
    finally:
        _state.trace = None


def is_running() -> bool:
    """Whether this thread traces a module."""
    return getattr(_state, "trace", None) is not None


def parameter_names(forward: Callable[..., Any]) -> list[str]:
    """The names of the positional arguments."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in inspect.signature(forward).parameters.values() if p.kind in kinds]
