"""Capture: a training step recorded once as a list of launches, then replayed without Python in between.

A step is *traced*: the model, the loss, the backward pass and the optimizer run as usual, except that
their kernels are noted down instead of run (see :class:`fastnn.kernels.program.Program`). What was noted
is checked to be all there is: each array that a launch reads must be an input, a parameter or a buffer,
or have been written by a launch before it, and nobody may have read a number in Python. The arrays
allocated on the way are kept, and become the step's fixed buffers.

A replay puts the addresses of the new batch into the blocks, names the random draws, lets the optimizer
write its scalars, and runs the list. The kernels, their arguments and their order are those of the eager
step, so the results are the same bits. May import ``tensor``, ``autograd``, ``nn``, ``optim``,
``tracing`` and ``fastnn.kernels``.
"""

from __future__ import annotations

import itertools
import operator
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pickle import PickleBuffer
from typing import Any

import numpy as np

from fastnn import tracing
from fastnn.autograd import enable_grad
from fastnn.dtypes import dtype
from fastnn.functions import from_numpy
from fastnn.kernels import jit
from fastnn.kernels.program import Program
from fastnn.nn.hooks import EVERYWHERE
from fastnn.nn.module import Module, changes
from fastnn.nn.parameter import Parameter
from fastnn.optim.optimizer import Optimizer
from fastnn.random import default_generator
from fastnn.tensor import Tensor, _wrap
from fastnn.tracing import Uncapturable

# Programs kept per step, one for each shape and mode; the oldest is dropped.
_MOST_PROGRAMS = 16

# What cannot change without an assignment to the attribute. Functions are compared by identity.
_PLAIN = (
    bool, int, float, complex, str, bytes, tuple, type(None), np.generic, np.dtype, dtype, type, types.FunctionType,
    types.BuiltinFunctionType, types.MethodType,
)  # fmt: skip
# Which output of a kernel stands in the place of an input that is not given, and is not read there.
_STAND_INS = {
    "gemm": 0, "batch_norm_forward": 7, "batch_norm_smooth_forward": 7, "layer_norm_forward": 4,
    "layer_norm_smooth_forward": 4,
}  # fmt: skip
# The attributes that every module has, and that are watched otherwise.
_MACHINERY = frozenset(Module().__dict__) - {"training"}

_data_of = operator.attrgetter("_data")
_training_of = operator.attrgetter("training")
_requires_grad_of = operator.attrgetter("_requires_grad")


@contextmanager
def tracing_into(program: Program) -> Iterator[tracing.Watch]:
    """A block whose launches are recorded by ``program`` and do not run."""
    watch = tracing.Watch()
    with tracing.watching(watch), program.recording():
        yield watch


def _span(array: np.ndarray) -> tuple[int, int]:
    """First and last address of an array's numbers, as a half-open range."""
    low, high = np.lib.array_utils.byte_bounds(array)
    return low, high


class Spans:
    """Memory whose contents are known to be there: address ranges, tested one at a time."""

    def __init__(self) -> None:
        self.spans: list[tuple[int, int]] = []

    def add(self, array: np.ndarray) -> None:
        """Count an array's memory in."""
        if array.size:
            self.spans.append(_span(array))

    def holds(self, array: np.ndarray) -> bool:
        """Whether all of an array lies in one of the ranges."""
        if not array.size:
            return True
        low, high = _span(array)
        return any(a <= low and high <= b for a, b in self.spans)


def check_complete(program: Program, known: Spans) -> None:
    """Raise Uncapturable unless every array that a launch reads is known, or written by a launch before it."""
    for kernel, _, arrays, _, _ in program.launches:
        outputs = kernel.outputs
        if outputs is None:
            raise Uncapturable(f"what {kernel.name} writes is not known")
        written = [arrays[i] for i in outputs]
        for array in [a for i, a in enumerate(arrays) if i not in outputs]:
            stand_in = _STAND_INS.get(kernel.name.partition(".")[0])
            if not known.holds(array) and (stand_in is None or not _same_array(array, arrays[stand_in])):
                raise Uncapturable(
                    f"{kernel.name} reads an array of shape {array.shape} that was computed outside the kernels"
                )
        for array in written:
            known.add(array)


class Inputs:
    """Where a program reads its inputs, so that others can be put in their place."""

    def __init__(self, program: Program, inputs: list[np.ndarray]) -> None:
        self.program = program
        self.traced = inputs
        self.layouts = [(a.shape, a.dtype, a.strides) for a in inputs]
        self.find()

    def find(self) -> None:
        """Look for the inputs among the arrays of the program, which was built anew."""
        # The arrays that stand there last are kept alive, as the program holds their addresses only.
        self.arrays = list(self.traced)
        self.words: list[list[tuple[int, int, int]]] = []
        for a in self.traced:
            low, high = _span(a)
            found = []
            for i, (_, _, arrays, _, _) in enumerate(self.program.launches):
                for word, array in enumerate(arrays):
                    at = array.ctypes.data
                    if a.size and array.size and low <= at < high:
                        found.append((i, word, at - a.ctypes.data))
            self.words.append(found)

    def number_of(self, array: np.ndarray) -> int:
        """Which input an array is, or is a view of; Uncapturable for none."""
        low, high = _span(array)
        for k, a in enumerate(self.traced):
            start, stop = _span(a)
            if start <= low and high <= stop:
                return k
        raise Uncapturable("the contents of an array that is no input are checked")

    def put(self, inputs: list[np.ndarray]) -> None:
        """Let the program read these arrays, of the same shapes and dtypes."""
        for k, (array, (shape, kind, strides)) in enumerate(zip(inputs, self.layouts, strict=True)):
            if array is self.arrays[k]:
                continue
            if array.strides != strides or not array.flags.aligned:
                laid = np.lib.stride_tricks.as_strided(np.empty(_extent(shape, strides, kind), kind), shape, strides)
                laid[...] = array
                array = laid
            self.arrays[k] = array
            address = array.ctypes.data
            for launch, word, offset in self.words[k]:
                self.program.set_address(launch, word, address + offset)


def _extent(shape: tuple[int, ...], strides: tuple[int, ...], dtype: np.dtype) -> int:
    if any(s < 0 for s in strides):
        raise Uncapturable("an input with negative strides")
    return 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True) if n) // dtype.itemsize


class Situation:
    """What a captured program of a model relies on, beside the shapes: modes, memory, flags and hooks.

    Args:
        model: a module; ``others``: further modules whose modes count (a criterion).
    """

    def __init__(self, model: Module, *others: Any) -> None:
        self.modules = [m for top in (model, *others) if isinstance(top, Module) for m in top.modules()]
        self.parameters = [p for m in self.modules for p in m._parameters.values() if p is not None]
        self.buffers = [b for m in self.modules for b in m._buffers.values() if b is not None]
        self.tensors: list[Tensor] = [*self.parameters, *self.buffers]
        self.arrays = [t._data for t in self.tensors]
        self.modes = list(map(_training_of, self.modules))
        self.flags = list(map(_requires_grad_of, self.parameters))
        self.structure = [(m._parameters, m._buffers, m._modules) for m in self.modules]
        self.members = [(*p.values(), *b.values(), *c.values()) for p, b, c in self.structure]
        self.attributes = [_attributes(m) for m in self.modules]
        self.seen = changes[0]
        self.unwatched = next(filter(None, map(_unwatched, self.modules)), "")

    def same(self) -> bool:
        """Whether all is as it was."""
        if self.reason_against():
            return False
        if list(map(_training_of, self.modules)) != self.modes:
            return False
        if not all(map(operator.is_, map(_data_of, self.tensors), self.arrays)):
            return False
        if list(map(_requires_grad_of, self.parameters)) != self.flags:
            return False
        for (p, b, c), members in zip(self.structure, self.members, strict=True):
            found = (*p.values(), *b.values(), *c.values())
            if len(found) != len(members) or not all(map(operator.is_, found, members)):
                return False
        if self.seen != changes[0]:
            if [_attributes(m) for m in self.modules] != self.attributes:
                return False
            self.seen = changes[0]
        return True

    def reason_against(self) -> str:
        """Why a model in this situation is not captured; empty if nothing is against it."""
        if EVERYWHERE:
            return "all modules have hooks"
        for m in self.modules:
            if m._hooked:
                return f"{type(m).__name__} has hooks"
        for p in self.parameters:
            if p._hooks is not None:
                return "a parameter has hooks"
        return self.unwatched


class Captured:
    """A traced step for one shape and mode."""

    def __init__(
        self, program: Program, watch: tracing.Watch, inputs: Inputs, loss: np.ndarray, situation: Situation
    ) -> None:
        self.program, self.watch, self.inputs, self.loss, self.situation = program, watch, inputs, loss, situation
        self.guards = [(inputs.number_of(array), holds) for array, holds in program.guards]
        # Launches of the forward and backward passes; those of the optimizer come behind them.
        self.head = len(program)
        self.trained = [p for p in situation.parameters if p._requires_grad]

    def append_update(self, launches: list[jit.Launch]) -> None:
        """Put the optimizer's launches behind the others, unless they are there already."""
        known = self.program.launches[self.head :]
        if len(known) != len(launches) or not all(map(_same_launch, known, launches)):
            self.program.launches[self.head :] = launches
            self.program.build()
            self.inputs.find()


def _attributes(module: Module) -> dict[str, Any]:
    """A module's own attributes, like the probability of a Dropout or a function that it was given."""
    return {name: value for name, value in module.__dict__.items() if name not in _MACHINERY}


def _unwatched(module: Module) -> str:
    """Why a change of an attribute would go unnoticed: it can change inside; empty if none can."""
    for name, value in _attributes(module).items():
        values = value if isinstance(value, tuple) else (value,)
        if not all(isinstance(v, _PLAIN) for v in values):
            return f"{type(module).__name__}.{name} is of type {type(value).__name__}, which may change inside"
    return ""


def _let_go(program: Program, parameters: list[Parameter]) -> None:
    """Refer to gradients by their flat buffers, not by their places: who holds a place keeps others out."""
    chunks = {id(p._slot.chunk): p._slot.chunk.grads for p in parameters}
    spans: list[tuple[int, int, Any]] = [(*_span(flat), PickleBuffer(flat.data)) for flat in chunks.values()]

    def elsewhere(array: np.ndarray) -> np.ndarray:
        at = array.ctypes.data
        for low, high, buffer in spans:
            if array.size and low <= at < high:
                return np.ndarray(array.shape, array.dtype, buffer, at - low, array.strides)
        return array

    for i, (kernel, parts, arrays, scalars, waits) in enumerate(program.launches):
        program.launches[i] = kernel, parts, tuple([elsewhere(a) for a in arrays]), scalars, waits


def _same_launch(a: jit.Launch, b: jit.Launch) -> bool:
    same_arrays = len(a[2]) == len(b[2]) and all(map(_same_array, a[2], b[2]))
    return a[0] is b[0] and a[1] == b[1] and same_arrays and a[3] == b[3]


def _same_array(a: np.ndarray, b: np.ndarray) -> bool:
    return a is b or (a.ctypes.data == b.ctypes.data and a.shape == b.shape and a.strides == b.strides)


def _outline(program: Program) -> list[tuple[Any, ...]]:
    """What two traces of one step have in common: everything but the addresses of what was allocated."""
    return [
        (kernel, parts, scalars, waits, [(a.shape, a.strides) for a in arrays])
        for kernel, parts, arrays, scalars, waits in program.launches
    ]


def _as_tensor(value: Any) -> Tensor:
    if not isinstance(value, np.ndarray):
        raise TypeError(f"a step takes tensors or arrays, found {type(value).__name__}")
    return from_numpy(value)


def _readable(key: tuple[Any, ...]) -> str:
    return ", ".join(f"{dtype} of shape {shape}" for shape, dtype, _ in key[1:])


class CompiledStep:
    """A training step of a model: forward, loss, backward and update, captured for each shape and mode.

    Args:
        model: called on the inputs.
        criterion: ``criterion(model(*inputs), target)`` is the loss.
        optimizer: updates the parameters.

    Calling it with ``(*inputs, target)`` does what these lines do, and gives the same numbers::

        optimizer.zero_grad()
        loss = criterion(model(*inputs), target)
        loss.backward()
        optimizer.step()
        return loss.detach()

    Where the step cannot be captured these lines are what runs; :meth:`explain` says why.

    >>> import fastnn
    >>> _ = fastnn.manual_seed(0)
    >>> model = fastnn.nn.Sequential(fastnn.nn.Linear(2, 8), fastnn.nn.ReLU(), fastnn.nn.Linear(8, 2))
    >>> step = fastnn.compile_step(
    ...     model, fastnn.nn.CrossEntropyLoss(), fastnn.optim.Adam(model.parameters(), lr=0.05)
    ... )
    >>> x, y = fastnn.tensor([[0.0, 1.0], [1.0, 0.0]]), fastnn.tensor([0, 1])
    >>> losses = [step(x, y).item() for _ in range(50)]
    >>> losses[-1] < 0.01 * losses[0]
    True
    >>> step.explain()
    'captured: 1 program'
    """

    def __init__(self, model: Module, criterion: Callable[..., Tensor], optimizer: Optimizer) -> None:
        if not isinstance(model, Module):
            raise TypeError(f"model must be a Module, found {type(model).__name__}")
        if not callable(criterion):
            raise TypeError(f"criterion must be callable, found {type(criterion).__name__}")
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer must be an Optimizer, found {type(optimizer).__name__}")
        self.model, self.criterion, self.optimizer = model, criterion, optimizer
        self._programs: dict[tuple[Any, ...], Captured] = {}
        # Shapes and modes that run eagerly, and why.
        self._refused: dict[tuple[Any, ...], str] = {}
        self._warmed: set[tuple[Any, ...]] = set()
        self._last = ""

    def explain(self) -> str:
        """What runs captured, and why something does not."""
        count = len(self._programs)
        lines = [f"captured: {count} program{'s' * (count != 1)}"]
        for key, reason in self._refused.items():
            lines.append(f"eager for {_readable(key)}: {reason}")
        if self._last:
            lines.append(f"the last step ran eagerly: {self._last}")
        return "\n".join(lines)

    def __call__(self, *batch: Any) -> Tensor:
        """One step on ``(*inputs, target)``; the loss, without a gradient."""
        tensors = [t if isinstance(t, Tensor) else _as_tensor(t) for t in batch]
        key = (jit._threads, *[(t._data.shape, t._data.dtype, t._requires_grad) for t in tensors])
        captured = self._programs.get(key)
        self._last = ""
        if captured is not None:
            if not captured.situation.same():
                self._programs.clear()
                self._refused.clear()
            elif self._is_ready(captured, tensors):
                return self._replay(captured, tensors)
            return self._eager(tensors)
        if key in self._refused or key not in self._warmed:
            # The first step of a kind is eager: it makes what is made once (state, gradients, machine code).
            self._warmed.add(key)
            return self._eager(tensors)
        try:
            captured = self._capture(tensors)
        except Uncapturable as reason:
            self._refused[key] = str(reason)
            return self._eager(tensors)
        while len(self._programs) >= _MOST_PROGRAMS:
            del self._programs[next(iter(self._programs))]
        self._programs[key] = captured
        return self._replay(captured, tensors)

    def _eager(self, tensors: list[Tensor]) -> Tensor:
        self.optimizer.zero_grad()
        with enable_grad():
            loss = self.criterion(self.model(*tensors[:-1]), tensors[-1])
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    # -- Tracing ------------------------------------------------------------------------------

    def _capture(self, tensors: list[Tensor]) -> Captured:
        situation = Situation(self.model, self.criterion)
        reason = situation.reason_against() or self._reason_against(situation, tensors)
        if reason:
            raise Uncapturable(reason)
        first, watch, loss = self._trace(tensors, situation)
        second, _, _ = self._trace(tensors, situation)
        if _outline(first) != _outline(second):
            raise Uncapturable("two runs of the same step launched different kernels")
        known = Spans()
        for array in (*situation.arrays, *[t._data for t in tensors], *[state for state, _ in watch.draws]):
            known.add(array)
        check_complete(first, known)
        if not known.holds(loss):
            raise Uncapturable("the loss was computed outside the kernels")
        return Captured(first, watch, Inputs(first, [t._data for t in tensors]), loss, situation)

    def _reason_against(self, situation: Situation, tensors: list[Tensor]) -> str:
        updated = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        if any(t._requires_grad for t in tensors):
            return "an input requires a gradient"
        spans = sorted(_span(t._data) for t in tensors if t._data.size)
        if any(after[0] < before[1] for before, after in itertools.pairwise(spans)):
            return "two inputs share memory"
        if any(p._requires_grad and id(p) not in updated for p in situation.parameters):
            return "a parameter that needs a gradient is not the optimizer's"
        if not self.optimizer._is_capturable():
            return f"{type(self.optimizer).__name__} does not update by launches alone"
        if not _grads_are_free(situation.parameters):
            return "a gradient of an earlier step is still held"
        return ""

    def _trace(self, tensors: list[Tensor], situation: Situation) -> tuple[Program, tracing.Watch, np.ndarray]:
        program = Program()
        trained = [p for p in situation.parameters if p._requires_grad]
        generator = default_generator()
        state, before = generator.get_state(), changes[0]
        # What the trace changes by itself, not by launches, is put back: it is to leave nothing behind.
        buffers = [(b._data, b._data.copy()) for b in situation.buffers]
        held = [(m, dict(m.__dict__), dict(m._buffers)) for m in situation.modules]
        try:
            for p in trained:
                p._grad = None
            with tracing_into(program) as watch, enable_grad():
                loss = self.criterion(self.model(*tensors[:-1]), tensors[-1])
                if not isinstance(loss, Tensor) or loss._data.size != 1 or not loss._requires_grad:
                    raise Uncapturable("the criterion does not return a loss of one element that needs a gradient")
                array = loss._data
                loss.backward()
                if changes[0] != before:
                    raise Uncapturable("an attribute of a module is assigned in the step")
                if any(p._grad is None or p._grad._data is not p._grad_place for p in trained):
                    raise Uncapturable("the gradient of a parameter does not go into its place")
        finally:
            generator.set_state(state)
            for buffer, values in buffers:
                buffer[...] = values
            for m, attributes, registered in held:
                m.__dict__.clear()
                m.__dict__.update(attributes)
                m._buffers.clear()
                m._buffers.update(registered)
            for p in trained:
                p._grad = None
        _let_go(program, trained)
        return program, watch, array

    # -- Replaying ----------------------------------------------------------------------------

    def _is_ready(self, captured: Captured, tensors: list[Tensor]) -> bool:
        """Whether this batch may be replayed: nothing is held that would be written over, and its contents will do."""
        if not self.optimizer._is_capturable():
            self._last = f"{type(self.optimizer).__name__} does not update by launches alone"
            return False
        if not _grads_are_free(captured.situation.parameters):
            self._last = "a gradient of an earlier step is still held"
            return False
        return True

    def _replay(self, captured: Captured, tensors: list[Tensor]) -> Tensor:
        inputs = captured.inputs
        for k, holds in captured.guards:
            if not holds(np.ascontiguousarray(tensors[k]._data)):
                # Where an error is to be raised the eager step raises it.
                self._last = "a check of the batch's contents failed"
                return self._eager(tensors)
        for p in captured.trained:
            p._grad_written()
        launches: list[jit.Launch] = []

        def keep(*launch: Any) -> bool:
            launches.append((*launch, True))
            return True

        with jit.recording(keep):
            self.optimizer.step()
        replayed = False
        try:
            captured.append_update(launches)
            inputs.put([t._data for t in tensors])
            for state, draw in captured.watch.draws:
                state[...] = draw()
            replayed = True
            captured.program.replay()
        except KeyboardInterrupt:
            # The optimizer has counted this step: finish it.
            if not replayed:
                inputs.put([t._data for t in tensors])
                captured.program.replay()
            raise
        for buffer in captured.situation.buffers:
            buffer._memory.version += 1
        return _wrap(captured.loss.copy())


def _grads_are_free(parameters: list[Parameter]) -> bool:
    """Whether a backward pass may write every gradient into its place: nobody else holds the one that lies there."""
    # A list, as a generator takes twice the time, in every step.
    return all([p._grad_is_free() for p in parameters if p._requires_grad])  # noqa: C419


def compile_step(model: Module, criterion: Callable[..., Tensor], optimizer: Optimizer) -> CompiledStep:
    """A function of ``(*inputs, target)`` that does one training step: see :class:`CompiledStep`.

    >>> import fastnn
    >>> model = fastnn.nn.Linear(3, 2)
    >>> step = fastnn.compile_step(model, fastnn.nn.CrossEntropyLoss(), fastnn.optim.SGD(model.parameters(), lr=0.1))
    >>> step(fastnn.zeros(4, 3), fastnn.tensor([0, 1, 0, 1])).shape
    torch.Size([])
    """
    return CompiledStep(model, criterion, optimizer)
