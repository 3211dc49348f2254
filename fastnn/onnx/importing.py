"""Graphs of ONNX files as modules: each node is a function of tensors, each weight a parameter."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastnn._core.dtypes import bfloat16, check_array
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.nn.module import Module
from fastnn.nn.parameter import Buffer, Parameter
from fastnn.onnx.errors import UnsupportedOperatorError, package
from fastnn.onnx.operators import OPERATORS, Attributes, Skipped

# The inputs of an operation that are weights.
_WEIGHTS = {
    "Gemm": (0, 1, 2), "MatMul": (0, 1), "BatchNormalization": (1, 2), "LayerNormalization": (1, 2), "PRelu": (1,),
    "InstanceNormalization": (1, 2), "GroupNormalization": (1, 2), "RMSNormalization": (1,), "Einsum": (0, 1),
}  # fmt: skip
# Operations through which a weight goes unchanged.
_PASSED = ("Transpose", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Cast", "Flatten")
_DOMAINS = {"": "", "ai.onnx": "", "ai.onnx.ml": "ml"}


def load(f: Any) -> ONNXModule:
    """A module that computes the graph of an ONNX file.

    Weights of linear layers, of normalisations and of embeddings, and biases, are parameters under the names that they
    have in the file; other numbers are buffers. The module is in evaluation, unless the file was written for training.
    After ``train()`` it can be trained, and batch normalisation and dropout work as in training.

    Args:
        f: path of the file, a file, its bytes, or an ``onnx.ModelProto``.

    Returns: a module; its arguments are the inputs of the graph, in order or by name, its result is a tensor, or a
        tuple if there are several outputs. ``input_names`` and ``output_names`` has their names. Class labels that are
        text are NumPy arrays, and a ZipMap is left out: its input, the matrix of probabilities, is the output.

    Raises: UnsupportedOperatorError (a RuntimeError) for an operation that fastnn does not compute, by the names of the
        operation and the node; ValueError for a file that is damaged or no valid model; TypeError for another ``f``;
        ImportError without the package onnx.

    ::

        model = fastnn.onnx.load("model.onnx")
        optimizer = fastnn.optim.Adam(model.parameters())
    """
    onnx = package()
    name = "the model"
    if not (isinstance(f, (str, os.PathLike, bytes, bytearray, onnx.ModelProto)) or hasattr(f, "read")):
        raise TypeError(f"f must be a path, a file, bytes or an onnx.ModelProto, found {type(f).__name__}")
    try:
        if isinstance(f, onnx.ModelProto):
            proto = f
        elif isinstance(f, (bytes, bytearray)):
            proto = onnx.load_model_from_string(bytes(f))
        else:
            name = os.fspath(f) if isinstance(f, (str, os.PathLike)) else name
            proto = onnx.load(f)
        if len(proto.functions):
            from onnx import inliner

            proto = inliner.inline_local_functions(proto)
        onnx.checker.check_model(_with_shapes(proto, proto is f))
    except (OSError, ImportError):
        raise
    except Exception as error:
        # The parser and the checker have their own kinds of errors.
        raise ValueError(f"{name} is no valid ONNX model: {_first_line(error)}") from error
    try:
        return ONNXModule(proto)
    except UnsupportedOperatorError:
        raise
    except Exception as error:
        raise ValueError(f"{name} cannot be loaded: {_first_line(error)}") from error


def _with_shapes(proto: Any, is_given: bool) -> Any:
    """The model with shapes for the checker, which wants one of each input and output; others run without."""
    values = [*proto.graph.input, *proto.graph.output]
    tensors = [i for i, v in enumerate(values) if v.type.HasField("tensor_type")]
    missing = [i for i in tensors if not values[i].type.tensor_type.HasField("shape")]
    if missing and is_given:
        proto = copy.deepcopy(proto)
        values = [*proto.graph.input, *proto.graph.output]
    for i in missing:
        values[i].type.tensor_type.shape.SetInParent()
    return proto


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


class ONNXModule(Module):
    """A graph of ONNX. Made by :func:`load`."""

    input_names: list[str]
    output_names: list[str]

    def __init__(self, proto: Any) -> None:
        super().__init__()
        graph = proto.graph
        constants = dict(_constants(graph))
        self.input_names = [i.name for i in graph.input if i.name not in constants]
        self.output_names = [o.name for o in graph.output]
        # The arguments that make the functions of the nodes, which cannot be pickled themselves.
        nodes = package().ModelProto(opset_import=proto.opset_import)
        nodes.graph.node.extend([n for n in graph.node if n.op_type != "Constant" or n.output[0] not in constants])
        self._nodes = nodes.SerializeToString()
        self._slots = {name: i for i, name in enumerate(self.input_names)}
        self._steps = _steps(nodes, self._slots)
        used = {n for node in graph.node for n in node.input} | set(self.output_names)
        weights = _weights(graph, constants)
        kept = []
        for name, array in constants.items():
            if name in used:
                owner, attribute = self._enter(name, array, name in weights)
                kept.append((_slot(self._slots, name), owner, attribute))
        outputs = [_slot(self._slots, n) for n in self.output_names]
        self._places = (kept, len(self._slots), outputs)
        self.train(_is_for_training(graph, constants))

    def __getstate__(self) -> Any:
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_steps"}

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        self._steps = _steps(package().load_model_from_string(self._nodes), self._slots)

    def _enter(self, name: str, array: np.ndarray, is_weight: bool) -> tuple[Module, str]:
        """Make a constant a parameter or buffer; the module that has it, and its name there."""
        owner: Module = self
        *path, last = name.split(".")
        if not all((*path, last)) or any(isinstance(v, (Tensor, str)) for v in self._found(path)):
            path, last = [], name.replace(".", "_")
        for part in path:
            child = owner._modules.get(part)
            if child is None:
                if hasattr(owner, part):
                    part += "_"
                child = owner._modules.get(part) or Module()
                owner.add_module(part, child)
            owner = child
        while hasattr(owner, last):
            last += "_"
        if array.dtype.kind in "OUS":
            owner.__dict__[last] = array
            return owner, last
        check_array(array)
        if is_weight:
            owner.register_parameter(last, Parameter(_wrap(array)))
        else:
            owner.register_buffer(last, Buffer(_wrap(array)))
        return owner, last

    def _found(self, path: list[str]) -> Iterator[Any]:
        owner: Any = self
        for part in path:
            owner = owner._modules.get(part) if isinstance(owner, Module) else None
            if owner is None:
                return
            yield owner

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The outputs of the graph for its inputs."""
        names = self.input_names
        if kwargs:
            rest = names[len(args) :]
            wrong = [k for k in kwargs if k not in rest]
            if wrong:
                raise TypeError(f"the graph has no (other) input {wrong[0]!r}; its inputs are {names}")
            args = (*args, *[kwargs[n] for n in rest if n in kwargs])
        if len(args) != len(names):
            raise TypeError(f"the graph has {len(names)} inputs, {names}, and {len(args)} were given")
        for name, given in zip(names, args, strict=True):
            if not isinstance(given, Tensor):
                raise TypeError(f"input {name!r} must be a Tensor, found {type(given).__name__}")
        kept, count, outputs = self._places
        values: list[Any] = [None] * (count + 1)
        values[: len(args)] = args
        for place, owner, name in kept:
            value: Any = owner._parameters.get(name)
            if value is None:
                value = owner._buffers.get(name)
            values[place] = owner.__dict__[name] if value is None else value
        training = self.training
        for run, places, results, text in self._steps:
            try:
                made = run(training, *[values[p] for p in places])
            except (ValueError, TypeError, RuntimeError, IndexError, NotImplementedError) as error:
                error.add_note(f"in the node {text}")
                raise
            if type(made) is tuple:
                for place, value in zip(results, made, strict=False):
                    if place >= 0:
                        values[place] = value
            else:
                values[results[0]] = made
        found = [values[p] for p in outputs]
        return found[0] if len(found) == 1 else tuple(found)

    def extra_repr(self) -> str:
        return f"inputs={self.input_names}, outputs={self.output_names}, nodes={len(self._steps)}"


def _slot(slots: dict[str, int], name: str) -> int:
    """The place of a value; a new one for a new name."""
    return slots.setdefault(name, len(slots))


def _steps(proto: Any, slots: dict[str, int]) -> list[tuple[Callable[..., Any], tuple[int, ...], tuple[int, ...], str]]:
    """For each node its function, the places of its inputs and results, and its name."""
    versions = {_DOMAINS.get(o.domain, o.domain): o.version for o in proto.opset_import}
    made = []
    for node in proto.graph.node:
        build = _operator(node, versions)
        run = build(Attributes(node, versions.get(_DOMAINS[node.domain], 1)))
        # An input or a result without a name has no place.
        places, results = (tuple([_slot(slots, n) if n else -1 for n in names]) for names in (node.input, node.output))
        made.append((run, places, results, f"{node.op_type} ({node.name})"))
    return made


def _constants(graph: Any) -> Iterator[tuple[str, np.ndarray]]:
    """The initializers, and the nodes that are constants."""
    helper = package().numpy_helper
    if len(graph.sparse_initializer):
        raise UnsupportedOperatorError("fastnn does not load sparse initializers of ONNX files")
    for tensor in graph.initializer:
        yield tensor.name, _array(helper.to_array(tensor))
    for node in graph.node:
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
            attribute = node.attribute[0]
            if attribute.name == "value":
                array = helper.to_array(attribute.t)
            elif attribute.name in ("value_float", "value_floats"):
                array = np.array(attribute.f if attribute.name == "value_float" else attribute.floats, np.float32)
            elif attribute.name in ("value_int", "value_ints"):
                array = np.array(attribute.i if attribute.name == "value_int" else attribute.ints, np.int64)
            elif attribute.name in ("value_string", "value_strings"):
                texts = [attribute.s] if attribute.name == "value_string" else list(attribute.strings)
                array = np.array([t.decode() for t in texts], object)
            else:
                raise UnsupportedOperatorError(f"fastnn does not load a Constant with {attribute.name} ({node.name})")
            yield node.output[0], _array(array)


def _array(array: np.ndarray) -> np.ndarray:
    """A writable copy in this machine's byte order."""
    if array.dtype.kind in "OUS":
        texts = [t.decode() if isinstance(t, bytes) else str(t) for t in array.ravel()]
        return np.array(texts, object).reshape(array.shape)
    if array.dtype.name == "bfloat16":
        # NumPy cannot swap its bytes, and the library has done so.
        return np.array(array, bfloat16.numpy, order="C")
    if array.dtype.kind not in "fiub" or array.dtype.type.__module__ != "numpy":
        raise UnsupportedOperatorError(f"tensors of dtype {array.dtype}, which the file has, are not read from ONNX")
    return np.array(array, array.dtype.newbyteorder("="), order="C")


def _operator(node: Any, versions: dict[str, int]) -> Callable[..., Any]:
    where = f"node {node.name!r}" if node.name else f"the node of {list(node.output)}"
    domain = _DOMAINS.get(node.domain)
    build = None if domain is None else OPERATORS.get((domain, node.op_type))
    if build is None:
        full = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        raise UnsupportedOperatorError(f"fastnn does not compute the ONNX operation {full} ({where})")

    def checked(attributes: Attributes) -> Any:
        try:
            return build(attributes)
        except Skipped as why:
            raise UnsupportedOperatorError(
                f"fastnn does not compute the ONNX operation {node.op_type} {why} ({where})"
            ) from None

    return checked


def _is_for_training(graph: Any, constants: dict[str, np.ndarray]) -> bool:
    """Whether a normalisation or a dropout says that it is in training."""
    for node in graph.node:
        if node.op_type == "BatchNormalization" and any(a.name == "training_mode" and a.i for a in node.attribute):
            return True
        if node.op_type == "Dropout" and len(node.input) > 2 and bool(constants.get(node.input[2], np.zeros(1)).any()):
            return True
    return False


def _weights(graph: Any, constants: dict[str, np.ndarray]) -> set[str]:
    """The constants that training changes."""
    origin = {name: name for name, array in constants.items() if array.dtype.kind == "f"}
    products: set[str] = set()
    found: set[str] = set()
    for node in graph.node:
        if node.op_type in _PASSED and node.input[0] in origin:
            origin[node.output[0]] = origin[node.input[0]]
        places = _WEIGHTS.get(node.op_type, ())
        names = [node.input[p] for p in places if p < len(node.input)]
        if node.op_type == "Add" and any(n in products for n in node.input):
            # The bias of a product.
            names = [n for n in node.input if n in origin and constants[origin[n]].ndim]
        elif node.op_type == "Gather" and node.input[0] in origin and constants[origin[node.input[0]]].ndim > 1:
            names = [node.input[0]]
        found |= {origin[n] for n in names if n in origin}
        if node.op_type in ("MatMul", "Einsum") or (node.op_type in _PASSED and node.input[0] in products):
            products.update(node.output)
    return found
