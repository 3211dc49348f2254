"""summary: a table of a model's layers, with shapes, parameters, operations and bytes."""

from __future__ import annotations

import dataclasses
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastnn._autograd.modes import no_grad
from fastnn._core.dtypes import dtype as DType
from fastnn._core.dtypes import float32
from fastnn._tensor.tensor import Tensor
from fastnn.kernels.runtime import launcher
from fastnn.nn.module import Module
from fastnn.ops.creation import from_numpy, zeros
from fastnn.random import default_generator

_HEAD = ("Layer", "Input shape", "Output shape", "Parameters", "Operations", "Bytes")


@dataclass
class Row:
    """One call of a module, or a module that was not called.

    Args:
        name: the module's path in the model; empty for the model itself.
        kind: its class.
        depth: how many calls it is inside of; without an input, how many modules.
        parameters: its own parameters, without those of its submodules and those that a row above has counted.
        trainable: those of them that need a gradient.
        input_shape, output_shape: a tuple of a tensor's sizes; a list or dictionary of them for several tensors.
            None if it was not called.
        operations: multiplications and additions of its own matrix products.
        bytes: of the tensors that it returned.
        is_shared: whether some of its parameters were counted in a row above.
        is_leaf: whether it called no other module.
    """

    name: str
    kind: str
    depth: int
    parameters: int = 0
    trainable: int = 0
    input_shape: Any = None
    output_shape: Any = None
    operations: int = 0
    bytes: int = 0
    is_shared: bool = False
    is_leaf: bool = True


@dataclass
class Summary:
    """The result of :func:`summary`: printed, it is a table.

    Args:
        rows: one :class:`Row` for each call of a module, in the order of the calls.
        parameters, trainable: numbers of all parameters of the model, each counted once.
        parameter_bytes: of parameters and buffers.
        operations: multiplications and additions of the matrix products of the forward pass.
        input_bytes, output_bytes: of the inputs, and of the outputs of all layers.
    """

    rows: list[Row] = field(default_factory=list)
    parameters: int = 0
    trainable: int = 0
    parameter_bytes: int = 0
    operations: int = 0
    input_bytes: int = 0
    output_bytes: int = 0

    @property
    def was_run(self) -> bool:
        """Whether the model was called, so that there are shapes and operations."""
        return any(row.output_shape is not None for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """The numbers as plain containers, which ``json`` can write."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        table = [_HEAD, *map(_cells, self.rows)]
        if not self.was_run:
            table = [(row[0], row[3]) for row in table]
        texts = 3 if self.was_run else 1
        widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
        lines = []
        for row in table:
            cells = [c.ljust(w) if i < texts else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
            lines.append("  ".join(cells).rstrip())
        rule = "-" * max(map(len, lines))
        frozen = self.parameters - self.trainable
        lines = [lines[0], rule, *lines[1:], rule]
        lines.append(f"Parameters: {self.parameters:,} ({self.trainable:,} trainable, {frozen:,} frozen)")
        if self.was_run:
            total = self.parameter_bytes + self.input_bytes + self.output_bytes
            lines.append(f"Operations of matrix products: {self.operations:,}")
            lines.append(
                f"Bytes: {self.input_bytes:,} input, {self.output_bytes:,} outputs of layers, {self.parameter_bytes:,} "
                f"parameters and buffers, {total:,} in all"
            )
        else:
            lines.append(f"Bytes of parameters and buffers: {self.parameter_bytes:,}")
        return "\n".join(lines)

    __repr__ = __str__


def _cells(row: Row) -> tuple[str, ...]:
    name = "  " * row.depth + (f"{row.name}: {row.kind}" if row.name else row.kind)
    shared = " (shared)" if row.is_shared else ""
    parameters = f"{row.parameters:,}{shared}" if row.parameters else shared.strip() or "--"
    if row.output_shape is None:
        return (name, "--", "not called", parameters, "--", "--")
    size = f"{row.bytes:,}" if row.is_leaf else "--"
    operations = f"{row.operations:,}" if row.operations else "--"
    return (name, _text(row.input_shape), _text(row.output_shape), parameters, operations, size)


def _text(shape: Any) -> str:
    if isinstance(shape, tuple):
        return "[" + ", ".join(map(str, shape)) + "]"
    if isinstance(shape, list):
        return ", ".join(map(_text, shape)) if shape else "--"
    if isinstance(shape, dict):
        return ", ".join(f"{name}: {_text(value)}" for name, value in shape.items())
    return "--"


def summary(
    model: Module,
    input_size: Sequence[Any] | None = None,
    *,
    input_data: Any = None,
    dtypes: Sequence[DType] | None = None,
    depth: int | None = None,
) -> Summary:
    """A table of the layers of a model: shapes, parameters, operations and bytes.

    With ``input_size`` or ``input_data`` the model is called once, in evaluation mode and without gradients; modes
    and random generators are as before afterwards. A module that is called twice has two rows.

    Args:
        model: of any modules.
        input_size: the sizes of the input with that of the batch, such as (64, 784), or a list of them for several
            inputs. The inputs are zeros.
        input_data: the input itself: a tensor or an array, a tuple or list of several, or a dictionary of named ones.
        dtypes: of the inputs of ``input_size``; by default that of the model's first parameter.
        depth: the rows of deeper levels are left out; their numbers stay in the totals.

    Raises: TypeError and ValueError for other arguments; the model's own errors.

    >>> import fastnn
    >>> nn = fastnn.nn
    >>> found = fastnn.summary(nn.Sequential(nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 10)), (64, 784))
    >>> print(found)
    Layer        Input shape  Output shape  Parameters  Operations  Bytes
    ---------------------------------------------------------------------
    Sequential   [64, 784]    [64, 10]              --          --     --
      0: Linear  [64, 784]    [64, 32]          25,120   3,211,264  8,192
      1: ReLU    [64, 32]     [64, 32]              --          --  8,192
      2: Linear  [64, 32]     [64, 10]             330      40,960  2,560
    ---------------------------------------------------------------------
    Parameters: 25,450 (25,450 trainable, 0 frozen)
    Operations of matrix products: 3,252,224
    Bytes: 200,704 input, 18,944 outputs of layers, 101,800 parameters and buffers, 321,448 in all
    >>> found.rows[1].output_shape, found.operations
    ((64, 32), 3252224)
    """
    if not isinstance(model, Module):
        raise TypeError(f"model must be a Module, found {type(model).__name__}")
    if input_size is not None and input_data is not None:
        raise TypeError("input_size and input_data are two ways to give the input: give one of them")
    if depth is not None and (isinstance(depth, bool) or not isinstance(depth, int)):
        raise TypeError(f"depth must be an integer, found {depth!r}")
    if depth is not None and depth < 0:
        raise ValueError(f"depth must not be negative, found {depth}")
    args, named = _inputs(model, input_size, input_data, dtypes)
    calls = _Calls(model)
    if args or named:
        calls.run(args, named)
    else:
        calls.walk(model, "", 0)
    parameters = list(model.parameters())
    buffers = list(model.buffers())
    found = Summary(
        rows=[row for row in calls.rows if depth is None or row.depth <= depth],
        parameters=sum(p.numel() for p in parameters),
        trainable=sum(p.numel() for p in parameters if p.requires_grad),
        parameter_bytes=sum(map(_bytes, [*parameters, *buffers])),
        operations=sum(row.operations for row in calls.rows),
        input_bytes=_bytes([*args, *named.values()]),
        output_bytes=sum(row.bytes for row in calls.rows if row.is_leaf),
    )
    if depth is not None:
        _close(found.rows, depth)
    return found


def _close(rows: list[Row], depth: int) -> None:
    """The last level that is shown has no rows below it."""
    for row in rows:
        if row.depth == depth and row.output_shape is not None:
            row.is_leaf = True


def _inputs(model: Module, size: Any, data: Any, dtypes: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if data is not None:
        if isinstance(data, dict):
            return (), {name: _as_input(value) for name, value in data.items()}
        values = data if isinstance(data, (tuple, list)) else (data,)
        return tuple(map(_as_input, values)), {}
    if size is None:
        return (), {}
    if isinstance(size, (str, int)) or not isinstance(size, Sequence) or not len(size):
        raise TypeError(f"input_size must be a tuple of sizes, or a list of them, found {size!r}")
    sizes = [size] if all(isinstance(n, (int, np.integer)) for n in size) else list(size)
    for one in sizes:
        if not isinstance(one, (tuple, list)) or not all(isinstance(n, (int, np.integer)) for n in one):
            raise TypeError(f"input_size must be a tuple of sizes, or a list of them, found {size!r}")
        if any(n < 1 for n in one):
            raise ValueError(f"sizes in input_size must be positive, found {tuple(one)}")
    first = next((p.dtype for p in model.parameters() if p.is_floating_point()), float32)
    kinds = [first] * len(sizes) if dtypes is None else list(dtypes)
    if len(kinds) != len(sizes):
        raise ValueError(f"dtypes must have one dtype for each input, {len(sizes)}, found {len(kinds)}")
    return tuple([zeros(*map(int, one), dtype=kind) for one, kind in zip(sizes, kinds, strict=True)]), {}


def _as_input(value: Any) -> Any:
    return from_numpy(np.ascontiguousarray(value)) if isinstance(value, np.ndarray) else value


class _Calls:
    """The rows of a model, made as its modules are called."""

    def __init__(self, model: Module) -> None:
        self.model = model
        self.rows: list[Row] = []
        self._names = {module: name for name, module in model.named_modules()}
        self._counted: set[int] = set()
        self._open: list[Row] = []
        self._called: set[Module] = set()
        self._thread = threading.get_ident()

    def _row(self, module: Module, name: str, depth: int) -> Row:
        """The row of a module, with those of its own parameters that are not counted yet."""
        row = Row(name, type(module).__name__, depth)
        for p in module.parameters(recurse=False):
            if id(p) in self._counted:
                row.is_shared = True
                continue
            self._counted.add(id(p))
            row.parameters += p.numel()
            row.trainable += p.numel() if p.requires_grad else 0
        self.rows.append(row)
        return row

    def walk(self, module: Module, name: str, depth: int) -> None:
        """Rows of a module and all below it if none was called; shared modules at each of their places."""
        row = self._row(module, name, depth)
        for child_name, child in module._modules.items():
            if child is not None:
                row.is_leaf = False
                self.walk(child, f"{name}.{child_name}" if name else child_name, depth + 1)

    def run(self, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Call the model, with a row for each call of a module in it."""
        modules = list(self._names)
        modes, position = [module.training for module in modules], default_generator().get_state()
        handles = []
        try:
            for module in modules:
                handles.append(module.register_forward_pre_hook(self._begin, with_kwargs=True))
                handles.append(module.register_forward_hook(self._end))
                if module.training:
                    module.training = False
            with no_grad(), launcher.recording(self._watch):
                self.model(*args, **named)
        finally:
            for handle in handles:
                handle.remove()
            for module, mode in zip(modules, modes, strict=True):
                if module.training != mode:
                    module.training = mode
            default_generator().set_state(position)
        self._add_uncalled()

    def _begin(self, module: Module, args: Any, kwargs: Any) -> None:
        if threading.get_ident() != self._thread:
            return
        if self._open:
            self._open[-1].is_leaf = False
        self._called.add(module)
        row = self._row(module, self._names[module], len(self._open))
        given = [_shape(value) for value in (*args, *kwargs.values())]
        given = [shape for shape in given if shape is not None]
        row.input_shape = given[0] if len(given) == 1 else given
        self._open.append(row)

    def _end(self, module: Module, args: Any, result: Any) -> None:
        if threading.get_ident() != self._thread:
            return
        row = self._open.pop()
        # An empty list for a result without tensors: it was called.
        shape = _shape(result)
        row.output_shape = [] if shape is None else shape
        row.bytes = _bytes(result)

    def _watch(self, kernel: Any, parts: int, arrays: tuple[np.ndarray, ...], scalars: tuple[float, ...]) -> bool:
        if kernel is not None and kernel.operations is not None and self._open:
            self._open[-1].operations += int(kernel.operations(*scalars))
        return False

    def _add_uncalled(self) -> None:
        """Rows of layers that were not called, and of containers with parameters of their own, below their owners."""
        for name, module in self.model.named_modules():
            if module in self._called or not (module._parameters or not module._modules):
                continue
            row = self._row(module, name, 0)
            self.rows.pop()
            owner, at = name, None
            while owner and at is None:
                owner = owner.rpartition(".")[0]
                at = next((i for i, other in enumerate(self.rows) if other.name == owner), None)
            if at is None:
                # The model itself was not called: a subclass has replaced the call.
                self.rows.append(row)
                continue
            row.depth = self.rows[at].depth + 1
            after = at + 1
            while after < len(self.rows) and self.rows[after].depth >= row.depth:
                after += 1
            self.rows.insert(after, row)


def _shape(value: Any) -> Any:
    """The shape of a tensor, or the shapes in a container; None if there is no tensor."""
    if isinstance(value, Tensor):
        return tuple(value.shape)
    if isinstance(value, dict):
        named = {name: _shape(v) for name, v in value.items()}
        return {name: shape for name, shape in named.items() if shape is not None} or None
    if isinstance(value, (tuple, list)):
        return [shape for shape in map(_shape, value) if shape is not None] or None
    return None


def _bytes(value: Any) -> int:
    """The bytes of the tensors in a value, without padding of rows."""
    if isinstance(value, Tensor):
        return math.prod(value.shape) * value._data.itemsize
    if isinstance(value, dict):
        value = list(value.values())
    return sum(map(_bytes, value)) if isinstance(value, (tuple, list)) else 0
