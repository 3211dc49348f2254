"""``torch.onnx.export``: one run of a module becomes a graph. See docs/architecture/onnx.md."""

from __future__ import annotations

import copy
import enum
import inspect
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastnn import random
from fastnn._core.atomic_file import replacing
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.autograd import no_grad
from fastnn.export import Dim
from fastnn.nn.module import Module
from fastnn.onnx import tracing
from fastnn.onnx.converters import CONVERTERS
from fastnn.onnx.errors import OnnxExporterError, package
from fastnn.onnx.graph import Graph
from fastnn.utils import _pytree as pytree

OPSETS = range(13, 24)
DEFAULT_OPSET = 20


class TrainingMode(enum.Enum):
    """Whether a module is exported in evaluation (the default), as it is, or in training."""

    EVAL = 0
    PRESERVE = 1
    TRAINING = 2


class OperatorExportTypes(enum.Enum):
    """What PyTorch does with operations that ONNX does not have; fastnn raises an error."""

    ONNX = 0
    ONNX_ATEN = 1
    ONNX_ATEN_FALLBACK = 2
    ONNX_FALLTHROUGH = 3


class ONNXProgram:
    """An exported model: ``model_proto`` is its ``onnx.ModelProto``.

    ::

        program = fastnn.onnx.export(model, (x,))
        program.save("model.onnx")
    """

    def __init__(self, model_proto: Any) -> None:
        self.model_proto = model_proto

    def save(
        self, destination: str | os.PathLike[str], *, include_initializers: bool = True,
        keep_initializers_as_inputs: bool = False, external_data: bool | None = None,
    ) -> None:  # fmt: skip
        """Write the model to a file.

        Args:
            destination: its path.
            include_initializers: with the numbers of the parameters.
            keep_initializers_as_inputs: list the parameters among the inputs, too.
            external_data: put large parameters into a second file, beside the first; by default if they need 2 GB.
        """
        model = copy.deepcopy(self.model_proto)
        if keep_initializers_as_inputs:
            _list_as_inputs(model)
        if not include_initializers:
            del model.graph.initializer[:]
        data = model.ByteSize() >= 2**31 - 1 if external_data is None else external_data
        if not data:
            with replacing(destination) as file:
                file.write(model.SerializeToString())
            return
        package().save_model(
            model, os.fspath(destination), save_as_external_data=True,
            location=f"{os.path.basename(destination)}.data", size_threshold=1024,
        )  # fmt: skip

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The results for these inputs, as ``fastnn.onnx.load`` computes them."""
        from fastnn.onnx.importing import load

        return load(self.model_proto)(*args, **kwargs)

    def __repr__(self) -> str:
        nodes = self.model_proto.graph.node
        return f"ONNXProgram({len(nodes)} nodes, opset {self.model_proto.opset_import[0].version})"


def is_in_onnx_export() -> bool:
    """Whether a module is being exported.

    >>> is_in_onnx_export()
    False
    """
    return tracing.is_running()


def export(
    model: Module,
    args: Any = (),
    f: Any = None,
    export_params: bool = True,
    verbose: bool | None = None,
    training: TrainingMode = TrainingMode.EVAL,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    operator_export_type: Any = None,
    opset_version: int | None = None,
    do_constant_folding: bool = True,
    dynamic_axes: Mapping[str, Any] | None = None,
    keep_initializers_as_inputs: bool = False,
    custom_opsets: Any = None,
    export_modules_as_functions: Any = False,
    autograd_inlining: bool = True,
    *,
    kwargs: dict[str, Any] | None = None,
    dynamo: bool = True,
    external_data: bool | None = None,
    dynamic_shapes: Any = None,
    custom_translation_table: Any = None,
    report: bool = False,
    optimize: bool = True,
    verify: bool = False,
    profile: bool = False,
    dump_exported_program: bool = False,
    artifacts_dir: Any = ".",
    fallback: bool = False,
) -> ONNXProgram | None:
    """Write a module as a graph of ONNX: the operations of one run on example inputs.

    The forward runs straight through: a number that depends on an input may not be read as a Python number. Nodes have
    the parameters under their names in the state dict.

    Args:
        model: a module.
        args: its inputs, a tensor or a tuple; a dictionary at the end of the tuple are keyword inputs.
        f: path or file to write; None returns only the program.
        export_params: whether the file has the numbers of the parameters; otherwise they are inputs.
        training: evaluation, unless it is ``TrainingMode.TRAINING``, or ``PRESERVE`` for a module in training.
        input_names, output_names: by default the names of the forward's arguments, and ``output``.
        opset_version: of the operators, 13 to 23; 20 by default.
        do_constant_folding: whether what depends on parameters only is computed now.
        dynamic_axes: for each name of an input (and output) its dimensions whose size may change: {axis: name}, or a
            list of axes.
        keep_initializers_as_inputs: list the parameters among the inputs, too.
        kwargs: keyword inputs.
        dynamo: True returns a program, False None, as in PyTorch; the file is the same.
        external_data: put large parameters into a second file.
        dynamic_shapes: as ``dynamic_axes``, in the form of the arguments: a tuple, or a dictionary by argument, of
            {axis: name or ``torch.export.Dim``}, or of lists of those with None for a fixed size.
        verify: run the exported model by ``fastnn.onnx.load`` and compare.
        verbose, operator_export_type, custom_opsets, export_modules_as_functions, autograd_inlining, report,
            optimize, profile, dump_exported_program, artifacts_dir, fallback: accepted, without effect.

    Raises: OnnxExporterError (a RuntimeError) for a forward that a graph cannot express, by name of the operation;
        ImportError without the package onnx.

    ::

        fastnn.onnx.export(model, (x,), "model.onnx", input_names=["x"], dynamic_axes={"x": {0: "batch"}})
    """
    onnx = package()
    if not isinstance(model, Module):
        raise TypeError(f"model must be a module, found {type(model).__name__}")
    if tracing.is_running():
        raise OnnxExporterError("a forward cannot export another model")
    if custom_translation_table:
        raise OnnxExporterError("fastnn has no custom_translation_table")
    opset = DEFAULT_OPSET if opset_version is None else opset_version
    if opset not in OPSETS:
        raise ValueError(f"opset_version must be {OPSETS[0]} to {OPSETS[-1]}, found {opset_version}")
    newest = onnx.defs.onnx_opset_version()
    if opset > newest:
        raise ValueError(f"opset_version must be at most {newest} with onnx {onnx.__version__}, found {opset}")
    inputs = _Inputs(model, args, kwargs, input_names)
    axes = _axes(inputs, dynamic_axes, dynamic_shapes)
    is_training = training is TrainingMode.TRAINING or (training is TrainingMode.PRESERVE and model.training)
    names = {id(t): name for name, t in _named(model)}
    free = [t for _, t in _named(model)] if not (export_params and do_constant_folding) else []
    with _mode(model, is_training), tracing.operations_told(), no_grad():
        graph, results, symbolic = _traced(model, inputs, axes, names, free, opset, is_training)
    proto = _model(graph, inputs, results, axes, symbolic, output_names, dynamic_axes, export_params)
    if keep_initializers_as_inputs:
        _list_as_inputs(proto)
    try:
        onnx.checker.check_model(proto)
    except onnx.checker.ValidationError as error:
        raise OnnxExporterError(f"the exported model is not valid: {error}") from error
    program = ONNXProgram(proto)
    if verify:
        _verify(program, inputs, results)
    if isinstance(f, (str, os.PathLike)):
        program.save(f, external_data=external_data)
    elif f is not None:
        f.write(proto.SerializeToString())
    return program if dynamo else None


# -- Inputs -----------------------------------------------------------------------------------


class _Inputs:
    """The example inputs: positional and keyword arguments, and the tensors in them with names."""

    def __init__(self, model: Module, args: Any, kwargs: Any, names: Sequence[str] | None) -> None:
        args = (args,) if isinstance(args, Tensor) else tuple(args)
        keywords = dict(kwargs or {})
        if kwargs is None and args and isinstance(args[-1], dict):
            keywords, args = args[-1], args[:-1]
        signature = inspect.signature(model.forward)
        try:
            bound = signature.bind(*args, **keywords)
        except TypeError as error:
            raise TypeError(f"args do not fit the forward of {type(model).__name__}: {error}") from error
        self.args, self.kwargs = args, keywords
        # In the order of the forward's arguments; each with its own name.
        self.by_argument: list[tuple[str, Any]] = []
        for name, value in bound.arguments.items():
            kind = signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_POSITIONAL:
                self.by_argument += [(f"{name}_{i}", v) for i, v in enumerate(value)]
            elif kind is inspect.Parameter.VAR_KEYWORD:
                self.by_argument += list(value.items())
            else:
                self.by_argument.append((name, value))
        self.tensors: list[Tensor] = []
        self.names: list[str] = []
        for name, value in self.by_argument:
            found = [leaf for leaf in tracing.leaves(value) if isinstance(leaf, Tensor)]
            for i, tensor in enumerate(found):
                self.tensors.append(tensor)
                self.names.append(name if len(found) == 1 else f"{name}_{i}")
        given = list(names or ())
        if len(given) > len(self.names):
            raise ValueError(
                f"number of input names provided ({len(given)}) exceeds number of inputs ({len(self.names)})"
            )
        self.names[: len(given)] = given
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"the inputs must have different names, found {self.names}")

    def with_tensors(self, made: Sequence[Tensor]) -> tuple[Any, dict[str, Any]]:
        """The arguments with other tensors."""
        swapped = {id(old): new for old, new in zip(self.tensors, made, strict=True)}

        def swap(value: Any) -> Any:
            return swapped.get(id(value), value) if isinstance(value, Tensor) else value

        args, kwargs = pytree.tree_map(swap, (self.args, self.kwargs))
        return args, kwargs


def _axes(inputs: _Inputs, dynamic_axes: Any, dynamic_shapes: Any) -> dict[str, dict[int, str]]:
    """By input: the names of the dimensions whose sizes may change."""
    found: dict[str, dict[int, str]] = {}
    if dynamic_axes is not None and dynamic_shapes is not None:
        raise ValueError("dynamic_axes and dynamic_shapes exclude each other, found both")
    for name, axes in (dynamic_axes or {}).items():
        pairs = axes.items() if isinstance(axes, Mapping) else [(a, f"{name}_dim_{a}") for a in axes]
        found[name] = {int(axis): _dim_name(dim, f"{name}_dim_{axis}") for axis, dim in pairs}
    if dynamic_shapes is not None:
        arguments = [name for name, _ in inputs.by_argument]
        if not isinstance(dynamic_shapes, Mapping):
            dynamic_shapes = dict(zip(arguments, dynamic_shapes, strict=False))
        position = 0
        for argument, value in inputs.by_argument:
            spec = dynamic_shapes.get(argument)
            count = sum(isinstance(leaf, Tensor) for leaf in tracing.leaves(value))
            specs = [spec] if isinstance(value, Tensor) else list(spec or [None] * count)
            for name, one in zip(inputs.names[position : position + count], specs, strict=True):
                moves: Any = one.items() if isinstance(one, Mapping) else enumerate(one or ())
                found[name] = {int(a): _dim_name(d, f"{name}_dim_{a}") for a, d in moves if _moves(d)}
            position += count
    for name, tensor in zip(inputs.names, inputs.tensors, strict=True):
        rank = tensor._data.ndim
        for axis in found.get(name, {}):
            if not -rank <= axis < rank:
                raise ValueError(f"input {name!r} has {rank} dimensions, and no dimension {axis}")
        found[name] = {axis % rank: dim for axis, dim in found.get(name, {}).items()}
    return found


def _moves(dim: Any) -> bool:
    return not (dim is None or isinstance(dim, int) or dim is Dim.STATIC)


def _dim_name(dim: Any, default: str) -> str:
    name = dim if isinstance(dim, str) else getattr(dim, "__name__", None)
    return name if isinstance(name, str) and name.isidentifier() else default


def _examples(inputs: _Inputs, axes: Mapping[str, Mapping[int, str]], how: str) -> list[Tensor]:
    """Copies of the inputs.

    Args:
        how: words of "same"; "other" numbers; dimensions that may change one larger ("plus") or "twice" as large; and
            "steady" integers, which may be places in another input.
    """
    made = []
    for name, tensor in zip(inputs.names, inputs.tensors, strict=True):
        array = np.array(tensor._data, order="C")
        if how != "same":
            if array.ndim and array.shape[0] > 1 and not (array.dtype.kind in "iu" and "steady" in how):
                array = np.roll(array, 1, 0)
            if array.dtype.kind == "f":
                array = (array * array.dtype.type(0.875) + array.dtype.type(0.0625)).astype(array.dtype)
        if "plus" in how or "twice" in how:
            for axis in axes[name]:
                size = array.shape[axis]
                wanted = size + 1 if "plus" in how else 2 * size
                array = np.take(array, np.arange(wanted).clip(0, size - 1), axis) if size else array
        made.append(_wrap(np.ascontiguousarray(array).reshape(array.shape)))
    return made


def _named(model: Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


@contextmanager
def _mode(model: Module, training: bool) -> Iterator[None]:
    """A block with the module in evaluation or training, after which its state is as before."""
    before = {module: module.training for module in model.modules()}
    buffers = [(t, t._data.copy()) for t in model.buffers()]
    generator = random.get_rng_state()
    model.train(training)
    try:
        yield
    finally:
        for module, mode in before.items():
            module.training = mode
        for tensor, array in buffers:
            if not np.array_equal(tensor._data, array):
                tensor._data[...] = array
                tensor._memory.version += 1
        random.set_rng_state(generator)


# -- The runs ---------------------------------------------------------------------------------


def _traced(
    model: Module, inputs: _Inputs, axes: Any, names: dict[int, str], free: list[Tensor], opset: int, training: bool
) -> tuple[Graph, list[Tensor], list[tuple[bool, ...]]]:
    """The graph, its results for the example, and which of their sizes change.

    The module runs with the example and with other numbers and sizes: the same graph must come of both.
    """
    moving = any(axes[name] for name in inputs.names)
    generator = random.get_rng_state()
    state = [(t, t._data.copy()) for t in model.buffers()]

    def run(how: str, others: Any, with_graph: bool) -> tuple[tracing.Trace, list[Any], Any]:
        random.set_rng_state(generator)
        for tensor, array in state:
            if not np.array_equal(tensor._data, array):
                tensor._data[...] = array
                tensor._memory.version += 1
        graph = Graph(opset, names, training) if with_graph else None
        trace = tracing.Trace(graph, CONVERTERS, others)
        examples = _examples(inputs, axes, how)
        for i, (name, tensor) in enumerate(zip(inputs.names, examples, strict=True)):
            trace.shapes["input", i] = tensor._data.shape
            trace.enter(tensor, name, ("input", i))
            if graph is not None:
                graph.taken.add(name)
        for i, tensor in enumerate(free):
            trace.shapes["free", i] = tensor._data.shape
            trace.enter(tensor, names[id(tensor)], ("free", i))
            if graph is not None:
                graph.constants[names[id(tensor)]] = np.array(tensor._data, order="C")
                graph.constant_origins[names[id(tensor)]] = ""
        args, kwargs = inputs.with_tensors(examples)
        with tracing.running(trace):
            result = model(*args, **kwargs)
        results = list(tracing.leaves(result))
        wrong = next((r for r in results if not isinstance(r, Tensor) and r is not None), None)
        if wrong is not None:
            raise OnnxExporterError(f"the forward must return tensors, found {type(wrong).__name__}")
        return trace, [r for r in results if r is not None], graph

    def other_run(others: Any, with_graph: bool) -> Any:
        # A module may want an even number of rows, or integers that rise.
        first: Exception | None = None
        for how in ("plus", "plus, steady", "twice", "twice, steady") if moving else ("other", "other, steady"):
            try:
                return run(how, others, with_graph)
            except OnnxExporterError:
                raise
            except Exception as error:
                first = first or error
        when = "the dimensions that may change are larger" if moving else "the numbers of the inputs are others"
        raise OnnxExporterError(f"the forward fails when {when}: {first}") from first

    probe = other_run(None, False)[0].shapes if moving else None
    trace, results, graph = run("same", probe, True)
    if not results:
        raise OnnxExporterError("the forward returns no tensor")
    second, others, other_graph = other_run(trace.shapes if moving else None, True)
    for one, made, values in ((trace, graph, results), (second, other_graph, others)):
        made.wanted = [made.keep(t, one) for t in values]
        made.origin = "output"
        # An output has a name of its own, and no input or constant is one.
        taken: set[str] = set(inputs.names) | set(made.constants)
        for i, name in enumerate(made.wanted):
            if name in taken:
                made.wanted[i] = made.op("Identity", name)
            taken.add(made.wanted[i])
        made.prune(made.wanted)
    graph.difference(other_graph)
    pairs = zip(results, others, strict=True)
    symbolic = [tuple(a != b for a, b in zip(r._data.shape, o._data.shape, strict=True)) for r, o in pairs]
    return graph, results, symbolic


# -- The file ---------------------------------------------------------------------------------


def _model(
    graph: Graph, inputs: _Inputs, results: list[Tensor], axes: Any, symbolic: Any,
    output_names: Sequence[str] | None, dynamic_axes: Any, export_params: bool,
) -> Any:  # fmt: skip
    onnx, helper = package(), package().helper
    outputs = list(output_names or ())
    if len(outputs) > len(results):
        raise ValueError(f"number of output names provided ({len(outputs)}) exceeds number of outputs ({len(results)})")
    default = ["output"] if len(results) == 1 else [f"output_{i}" for i in range(len(results))]
    outputs += default[len(outputs) :]
    renamed: dict[str, str] = {}
    for old, new in zip(graph.wanted, outputs, strict=True):
        renamed[old] = new
    taken = set(renamed.values())
    if taken & (set(inputs.names) | set(graph.constants)) or len(taken) != len(outputs):
        raise ValueError(f"outputs must have names that nothing else has, found {outputs}")
    for node in graph.nodes:
        for name in node.output:
            if name in taken and name not in renamed:
                renamed[name] = graph.fresh(f"{name}_inner")
    for node in graph.nodes:
        for names in (node.input, node.output):
            changed = [renamed.get(name, name) for name in names]
            del names[:]
            names.extend(changed)

    def info(name: str, array: np.ndarray, dims: Mapping[int, str]) -> Any:
        shape = [dims.get(i, n) for i, n in enumerate(array.shape)]
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), shape)

    given = [info(name, t._data, axes[name]) for name, t in zip(inputs.names, inputs.tensors, strict=True)]
    parameters = set(graph.parameters.values()) & set(graph.constants)
    if not export_params:
        given += [info(name, graph.constants[name], {}) for name in graph.parameters.values() if name in parameters]
    made = []
    # A dimension of an output has the name of the inputs' if there is only one.
    shared = {dim for dims in axes.values() for dim in dims.values()}
    for name, tensor, moves in zip(outputs, results, symbolic, strict=True):
        wanted = axes.get(name, {}) if dynamic_axes and name not in inputs.names else {}
        rank = tensor._data.ndim
        wanted = {axis % max(rank, 1): dim for axis, dim in wanted.items()}
        dims = {
            i: wanted.get(i) or (next(iter(shared)) if len(shared) == 1 and i == 0 else f"{name}_dim_{i}")
            for i in range(rank)
            if moves[i] or i in wanted
        }
        made.append(info(name, tensor._data, dims))
    constants = [
        onnx.numpy_helper.from_array(array, name)
        for name, array in graph.constants.items()
        if export_params or name not in parameters
    ]
    built = helper.make_graph(graph.nodes, "main_graph", given, made, constants)
    versions = [helper.make_opsetid("", graph.opset)]
    from fastnn.version import __version__

    model = helper.make_model(built, opset_imports=versions, producer_name="fastnn", producer_version=__version__)
    model.ir_version = helper.find_min_ir_version_for(versions)
    return model


def _list_as_inputs(model: Any) -> None:
    helper = package().helper
    known = {value.name for value in model.graph.input}
    for constant in model.graph.initializer:
        if constant.name not in known:
            model.graph.input.append(
                helper.make_tensor_value_info(constant.name, constant.data_type, list(constant.dims))
            )


def _verify(program: ONNXProgram, inputs: _Inputs, results: list[Tensor]) -> None:
    found = program(*inputs.tensors)
    for a, b in zip(found if isinstance(found, tuple) else (found,), results, strict=True):
        if a.dtype is not b.dtype or not np.allclose(a._data, b._data, 1e-4, 1e-5, equal_nan=True):
            raise OnnxExporterError("the exported model has other results than the module")

