"""Capture: a computation recorded once as a list of launches, then replayed without Python in between.

A computation is *traced*: it runs as usual, except that its launches are recorded instead of run (see
:class:`fastnn.kernels.runtime.program.Program`). The trace is then checked for completeness: each array that a
launch reads must be an input, a parameter or a buffer, or have been written by an earlier launch, and no
Python code may have read a number. The arrays allocated during the trace are kept as fixed buffers. The
kernels, their arguments and their order are those of the eager computation, so the results are the same bits.

This file is shared by ``step`` (whole training steps) and ``auto`` (the forward and backward passes of
modules).
"""

from __future__ import annotations

import functools
import itertools
import operator
import types
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from pickle import PickleBuffer
from typing import Any, TypeVar

import numpy as np

from fastnn._autograd.hooks import leaf_hooks
from fastnn._autograd.leaf_writers import release, wait_for
from fastnn._core import capture_state
from fastnn._core.capture_state import Uncapturable
from fastnn._core.dtypes import dtype
from fastnn._tensor.tensor import Tensor
from fastnn.kernels.runtime import allocation, launcher
from fastnn.kernels.runtime.program import Places, Program
from fastnn.nn.container import Sequential
from fastnn.nn.hooks import EVERYWHERE
from fastnn.nn.module import Module
from fastnn.nn.module_members import ALL_NAMES, Registry, changes
from fastnn.nn.parameter import Parameter, settle

# Programs kept per step, one per shape and mode; the oldest is dropped.
MOST_PROGRAMS = 16

# Types whose values cannot change without an assignment to the attribute. Functions are compared by identity.
_PLAIN = (
    bool, int, float, complex, str, bytes, tuple, type(None), np.generic, np.dtype, dtype, type, types.FunctionType,
    types.BuiltinFunctionType, types.MethodType,
)  # fmt: skip
# The most user functions whose code is guarded.
_MOST_FUNCTIONS = 64
# The attributes that every module has; other guards cover them.
_MACHINERY = frozenset(Module().__dict__) - {"training"} | {"_replays"}
# Compared in every module, besides what its forward reads.
_ALWAYS = frozenset(Module().__dict__) | {"forward"}
# Forwards of fastnn that read no attribute of their own module: lists of modules, and what has no forward.
_READ_NOTHING = (Sequential.forward, Module.forward)

_data_of = operator.attrgetter("_data")
_hooked_of = operator.attrgetter("_hooked")
_hooks_of = operator.attrgetter("_hooks")
_training_of = operator.attrgetter("training")
_requires_grad_of = operator.attrgetter("_requires_grad")
# Works through a weakref.proxy too.
_class_of = operator.attrgetter("__class__")
_CALL = Module.__call__


@contextmanager
def tracing_into(program: Program) -> Iterator[capture_state.Watch]:
    """A block whose launches are recorded by ``program`` and do not run."""
    watch = capture_state.Watch()
    with capture_state.watching(watch), program.recording():
        yield watch


def span(array: np.ndarray) -> tuple[int, int]:
    """First and last address of an array's numbers, as a half-open range."""
    low, high = np.lib.array_utils.byte_bounds(array)
    return low, high


class Spans:
    """Memory with known contents: address ranges, tested one at a time."""

    def __init__(self) -> None:
        self.spans: list[tuple[int, int]] = []

    def add(self, array: np.ndarray) -> None:
        """Add an array's memory."""
        if array.size:
            self.spans.append(span(array))

    def holds(self, array: np.ndarray) -> bool:
        """Whether an array is entirely inside one of the ranges."""
        if not array.size:
            return True
        low, high = span(array)
        return any(a <= low and high <= b for a, b in self.spans)


def check_complete(program: Program, known: Spans) -> None:
    """Raise Uncapturable unless every array that a launch reads is known, or written by an earlier launch."""
    for kernel, _, arrays, _, _ in program.launches:
        outputs = kernel.outputs
        if outputs is None:
            raise Uncapturable(f"what {kernel.name} writes is not known")
        written = [arrays[i] for i in outputs]
        for array in [a for i, a in enumerate(arrays) if i not in outputs]:
            if known.holds(array) or launcher.is_constant(array):
                continue
            if kernel.stand_in is None or not _same_array(array, arrays[kernel.stand_in]):
                raise Uncapturable(
                    f"{kernel.name} reads an array of shape {array.shape} that was computed outside the kernels"
                )
        for array in written:
            known.add(array)


class Inputs:
    """The places where a program reads its inputs, so that other arrays can replace them.

    Args:
        program: the launches.
        inputs: the arrays that it was recorded with.
        outputs: arrays that it writes, likewise; only the result of :func:`room_like` may replace one.
    """

    def __init__(self, program: Program, inputs: list[np.ndarray], outputs: Sequence[np.ndarray] = ()) -> None:
        self.program, self.count = program, len(inputs)
        if not all(map(is_roomy, inputs)):
            raise Uncapturable("an input with strides that are negative, or along which it overlaps itself")
        inputs = [*inputs, *outputs]
        self.traced = inputs
        self.layouts = [(a.shape, a.dtype, a.strides) for a in inputs]
        self.find()

    def find(self) -> None:
        """Look for the inputs among the arrays of the program, which was rebuilt."""
        # The latest arrays are kept alive, as the program holds only their addresses.
        self.arrays = list(self.traced)
        places = [
            (i, word, array.ctypes.data)
            for i, (_, _, arrays, _, _) in enumerate(self.program.launches)
            for word, array in enumerate(arrays) if array.size
        ]  # fmt: skip
        words: list[list[tuple[int, int, int]]] = []
        for a in self.traced:
            (low, high), start = span(a), a.ctypes.data
            words.append([(i, word, at - start) for i, word, at in places if a.size and low <= at < high])
        self._places = Places(self.program, words)

    def number_of(self, array: np.ndarray) -> int:
        """The number of the input that an array is, or is a view of; Uncapturable for none."""
        low, high = span(array)
        for k, a in enumerate(self.traced):
            start, stop = span(a)
            if start <= low and high <= stop:
                return k
        raise Uncapturable("the contents of an array that is no input are checked")

    def replay(self, inputs: list[np.ndarray]) -> None:
        """Replay the program over these arrays, of the same shapes and dtypes."""
        arrays = self.arrays
        for k, array in enumerate(inputs):
            if array is not arrays[k]:
                if array.strides != self.layouts[k][2] or not array.flags.aligned:
                    array = self._fitted(k, array)
                arrays[k] = array
        self._places.replay(arrays)

    def _fitted(self, k: int, array: np.ndarray) -> np.ndarray:
        """An array with the layout that the launches expect: a copy of an input."""
        shape, dtype, strides = self.layouts[k]
        if k < self.count:
            laid = _room(shape, dtype, strides)
            laid[...] = array
            return laid
        # An output cannot be a copy. Strides of dimensions of size 1 may differ, and are not used.
        differ = [n > 1 and found != expected for n, found, expected in zip(shape, array.strides, strides, strict=True)]
        if any(differ) or not array.flags.aligned:
            raise ValueError(f"an output must have strides {strides}, found {array.strides}")
        return array


def _room(shape: tuple[int, ...], dtype: np.dtype, strides: tuple[int, ...]) -> np.ndarray:
    extent = 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True) if n) // dtype.itemsize
    return np.lib.stride_tricks.as_strided(allocation.empty(extent, dtype), shape, strides)


def room_like(array: np.ndarray) -> np.ndarray:
    """A new array of the same shape, dtype and strides: rows may be padded."""
    if array.flags.c_contiguous:
        return allocation.empty(array.shape, array.dtype)
    return _room(array.shape, array.dtype, array.strides)


def is_roomy(array: np.ndarray) -> bool:
    """Whether a new array can have these strides: no elements overlap, and none comes before the first."""
    end = array.itemsize
    for stride, n in sorted(zip(array.strides, array.shape, strict=True)):
        if n > 1 and array.size:
            if stride < end:
                return False
            end = n * stride
    return True


Result = TypeVar("Result")
# By the id of a module, the names of its attributes.
Reads = Mapping[int, Set[str]]
# Where a name is looked up (a class, a closure cell or a dictionary of globals), the name, and the value found.
Name = tuple[Any, str, Any]


class Guards:
    """What a captured program of a model relies on, in addition to the shapes: modes, memory, flags and hooks.

    Args:
        model: a module; ``others``: further modules whose modes count (a criterion).
        is_held: whether to keep the model alive; False for guards that the model itself holds.
        names: the values of names that each call looks up, as ``(owner, name, value)``.
        reads: the attributes of each module that users' forwards read; all may be read if it is None.
    """

    def __init__(
        self, model: Module, *others: Any, is_held: bool = True, names: Sequence[Name] = (), reads: Reads | None = None
    ) -> None:
        self.modules = [m for top in (model, *others) if isinstance(top, Module) for m in top.modules()]
        self.classes = list(map(_class_of, self.modules))
        self.reads = [_names_read(m, kind, reads) for m, kind in zip(self.modules, self.classes, strict=True)]
        self.registries = self._registries()
        # An unpickled module may have ordinary dictionaries.
        self.is_counted = all(type(r) is Registry for r in self.registries)
        # Before anything else is looked at, so that a change by another thread is noticed.
        for i, registry in enumerate(self.registries):
            if isinstance(registry, Registry):
                registry.compare(self.reads[i // 3])
        self.seen = changes[0]
        self.forwards = [(kind, kind.forward) for kind in dict.fromkeys(self.classes)]
        self.globals = [(owner, name, value) for owner, name, value in names if type(owner) is dict]
        self.names = [(owner, name, value) for owner, name, value in names if type(owner) is not dict]
        # A reload, as by IPython's autoreload, gives the same functions new code.
        self.names += [(f, "__code__", f.__code__) for f in users_functions(self.classes, others)] if is_held else []
        if not is_held:
            held: Any = weakref.proxy(model)
            self.modules[0] = held
        self.parameters = [p for m in self.modules for p in m._parameters.values() if p is not None]
        # Those in another order of memory stay: products of few rows round differently there, as in eager calls.
        settle([p for p in self.parameters if p._data.flags.c_contiguous])
        self.buffers = [b for m in self.modules for b in m._buffers.values() if b is not None]
        self.tensors: list[Tensor] = [*self.parameters, *self.buffers]
        self.arrays = [t._data for t in self.tensors]
        self.modes = list(map(_training_of, self.modules))
        self.flags = list(map(_requires_grad_of, self.parameters))
        self.counts = list(map(len, self.registries))
        self.members = [member for r in self.registries for member in r.values()]
        self.attributes = self._compared()
        # If the model is not held, its source was checked: mutable attributes are not read.
        self.unwatched = "" if not is_held else next(filter(None, map(_unwatched, self.modules)), "")
        if any(type(p) is not Parameter for p in self.parameters):
            self.unwatched = "a parameter is a plain tensor, or of a class of its own"

    def hold(self) -> bool:
        """Whether nothing has changed."""
        if EVERYWHERE or any(map(_hooks_of, self.parameters)):
            return False
        if not all(map(operator.is_, map(_data_of, self.tensors), self.arrays)):
            return False
        if list(map(_requires_grad_of, self.parameters)) != self.flags or Module.__call__ is not _CALL:
            return False
        # Explicit loops: a generator takes twice the time, in every call.
        for kind, forward in self.forwards:
            if kind.forward is not forward:
                return False
        # `names` holds the code of every function whose globals are guarded; a Sequential has neither.
        if self.names:
            for scope, name, value in self.globals:
                if scope.get(name) is not value:
                    return False
            for owner, name, value in self.names:
                if getattr(owner, name, None) is not value:
                    return False
        if self.seen != changes[0] or not self.is_counted:
            if not self.may_hold():
                return False
            self.seen = changes[0]
        return True

    def is_in_place(self) -> bool:
        """Whether every parameter and buffer still has the same memory."""
        return all(map(operator.is_, map(_data_of, self.tensors), self.arrays))

    def may_hold(self) -> bool:
        """Whether the modules and their members are unchanged."""
        if self.reason_against() or list(map(_training_of, self.modules)) != self.modes:
            return False
        if list(map(_class_of, self.modules)) != self.classes:
            return False
        if not all(map(operator.is_, self._registries(), self.registries)):
            return False
        if list(map(len, self.registries)) != self.counts:
            return False
        found = itertools.chain.from_iterable([r.values() for r in self.registries if r])
        if not all(map(operator.is_, found, self.members)):
            return False
        return self._compared() == self.attributes

    def changed_attribute(self) -> str:
        """The name of an attribute with another value than before, other than the mode; empty if there is none."""
        for before, now in zip(self.attributes, self._compared(), strict=True):
            for name in {**before, **now}:
                if name != "training" and before.get(name, before) != now.get(name, now):
                    return name
        return ""

    def _registries(self) -> list[dict[str, Any]]:
        return [r for m in self.modules for r in (m._parameters, m._buffers, m._modules)]

    def _compared(self) -> list[dict[str, Any]]:
        """The attributes that the computation may read."""
        return list(map(_attributes, self.modules, self.reads))

    def all_attributes(self) -> list[dict[str, Any]]:
        """All attributes, also those that only count or note something."""
        return list(map(_attributes, self.modules))

    def reason_against(self) -> str:
        """Why the model cannot be captured in this state; empty if it can."""
        return self.obstacle() or self.unwatched

    def obstacle(self) -> str:
        """The temporary obstacle to a capture, such as hooks; empty if there is none."""
        if EVERYWHERE:
            return "all modules have hooks"
        if any(map(_hooked_of, self.modules)) and any(m._has_hooks() for m in self.modules):
            return "a module has hooks"
        if any(map(_hooks_of, self.parameters)) and any(leaf_hooks(p) for p in self.parameters):
            return "a parameter has hooks"
        if Module.__call__ is not _CALL:
            return "Module.__call__ was replaced"
        return ""


def is_ours(function: Any) -> bool:
    """Whether a function belongs to fastnn, so that its behaviour is known."""
    return str(getattr(function, "__module__", "")).partition(".")[0] == "fastnn"


def users_functions(classes: Iterable[type[Module]], callables: Iterable[Any]) -> list[types.FunctionType]:
    """The user functions that a call of modules of these classes, or of one of the callables, is likely to run.

    They are the forwards, the callables, and the functions that these call by name: methods, and functions of the
    same or of imported modules.
    """
    kinds = [kind for kind in dict.fromkeys(classes) if not is_ours(kind)]
    roots = [_function(kind.forward) for kind in kinds]
    roots += [_function(f) or _function(type(f).__call__) for f in callables]
    homes = {f.__module__ for f in roots if f is not None}
    found: dict[types.FunctionType, None] = {}
    stack = list(roots)
    while stack and len(found) < _MOST_FUNCTIONS:
        function = stack.pop()
        if function is None or function in found or is_ours(function):
            continue
        found[function] = None
        if function.__module__ not in homes:
            continue
        names = _names(function.__code__)
        scopes: list[Any] = [function.__globals__, *[vars(base) for kind in kinds for base in kind.__mro__]]
        for name in names:
            value = function.__globals__.get(name)
            if isinstance(value, types.ModuleType) and value.__name__.partition(".")[0] not in ("fastnn", "torch"):
                scopes.append(vars(value))
        stack += [_function(scope.get(name)) for scope in scopes for name in names]
    return list(found)


def _function(value: Any) -> types.FunctionType | None:
    """The Python function that a callable runs, or None."""
    if isinstance(value, functools.partial):
        value = value.func
    # Tested by type: attribute access on any other object may run arbitrary code.
    if isinstance(value, (types.MethodType, staticmethod, classmethod)):
        value = value.__func__
    return value if isinstance(value, types.FunctionType) else None


def _names(code: types.CodeType) -> set[str]:
    """The names that code looks up, including those of nested functions."""
    return set(code.co_names).union(*[_names(c) for c in code.co_consts if isinstance(c, types.CodeType)])


def _names_read(module: Module, kind: type[Module], reads: Reads | None) -> Any:
    """The names of a module's attributes that a computation may read, or ``ALL_NAMES``."""
    read = () if reads is None else reads.get(id(module), ())
    if reads is None or (is_ours(kind.forward) and kind.forward not in _READ_NOTHING):
        return ALL_NAMES
    return _ALWAYS.union(read)


def _attributes(module: Module, names: Any = ALL_NAMES) -> dict[str, Any]:
    """A module's own attributes, like the probability of a Dropout or a function that it was given, or some of them.

    Mutable values are represented by their id: arrays cannot be compared as a whole.
    """
    # A copy, as another thread may add one.
    held = dict(module.__dict__)
    return {
        name: value if isinstance(value := held[name], _PLAIN) else id(value)
        for name in (held if names is ALL_NAMES else names & held.keys())
        if name not in _MACHINERY and name not in module._unguarded
    }


def _unwatched(module: Module) -> str:
    """Why a change of an attribute would go unnoticed: its value is mutable; empty if none is."""
    for name in _attributes(module):
        value = module.__dict__[name]
        values = value if isinstance(value, tuple) else (value,)
        if not all(isinstance(v, _PLAIN) for v in values):
            return f"{type(module).__name__}.{name} is of type {type(value).__name__}, which may change inside"
    return ""


def rebase_gradients(program: Program, parameters: list[Parameter]) -> Callable[[np.ndarray], np.ndarray]:
    """Replace gradient slots by views of their flat buffers: holding a slot raises its refcount, so it looks used.

    Returns: the function from a slot's array to an array that may be held.
    """
    chunks = {id(p._slot.chunk): p._slot.chunk.grads for p in parameters}
    spans: list[tuple[int, int, Any]] = [(*span(flat), PickleBuffer(flat.data)) for flat in chunks.values()]

    def elsewhere(array: np.ndarray) -> np.ndarray:
        at = array.ctypes.data
        for low, high, buffer in spans:
            if array.size and low <= at < high:
                return np.ndarray(array.shape, array.dtype, buffer, at - low, array.strides)
        return array

    for i, (kernel, parts, arrays, scalars, waits) in enumerate(program.launches):
        program.launches[i] = kernel, parts, tuple([elsewhere(a) for a in arrays]), scalars, waits
    return elsewhere


def same_launch(a: launcher.Launch, b: launcher.Launch) -> bool:
    same_arrays = a[2] is b[2] or (len(a[2]) == len(b[2]) and all(map(_same_array, a[2], b[2])))
    return a[0] is b[0] and a[1] == b[1] and same_arrays and a[3] == b[3]


def _same_array(a: np.ndarray, b: np.ndarray) -> bool:
    return a is b or (a.ctypes.data == b.ctypes.data and a.shape == b.shape and a.strides == b.strides)


def outline(program: Program) -> list[tuple[Any, ...]]:
    """The launches of a trace without the addresses of arrays: equal for two traces of one step."""
    return [
        (kernel, parts, scalars, waits, [(a.shape, a.strides) for a in arrays])
        for kernel, parts, arrays, scalars, waits in program.launches
    ]


def grads_are_free(parameters: list[Parameter]) -> bool:
    """Whether a backward pass may write every gradient into its slot: nobody else holds the gradient in it."""
    # A list: a generator takes twice the time, in every step.
    return all([p._grad_is_free() for p in parameters if p._requires_grad])  # noqa: C419  # see above


def reason_of(error: Exception) -> str:
    """Why a trace ended."""
    return str(error) if isinstance(error, Uncapturable) else f"it raises {type(error).__name__}: {error}"


def rolled_back(guards: Guards, trace: Callable[[], Result]) -> Result:
    """``trace()``, with all that it changes outside launches restored afterwards, even after Ctrl-C."""
    # No random numbers: a trace ends before it draws any, and other threads may be drawing.
    watcher = launcher.watcher()
    trained = [p for p in guards.parameters if p._requires_grad]
    # The trace gives them gradients for a moment, to which other threads must not add.
    wait_for(trained)
    grads = [(p, p._grad) for p in trained]
    buffers = [(b._data, b._data.copy()) for b in guards.buffers]
    held = [(m, dict(m.__dict__), dict(m._buffers)) for m in guards.modules]

    def put_back() -> None:
        launcher.end_trace(watcher)
        capture_state.end()
        for buffer, values in buffers:
            buffer[...] = values
        for m, attributes, registered in held:
            for now, before in ((m.__dict__, attributes), (m._buffers, registered)):
                # Not touched if unchanged: another thread may be calling the module.
                if len(now) != len(before) or any(now.get(name, now) is not value for name, value in before.items()):
                    now.clear()
                    now.update(before)
        for p, grad in grads:
            p._grad = grad
            release(p)

    try:
        for p, _ in grads:
            p._grad = None
        result = trace()
        put_back()
    except BaseException:
        # Again, in case Ctrl-C interrupted it. A `finally` block could be interrupted too.
        put_back()
        raise
    return result
