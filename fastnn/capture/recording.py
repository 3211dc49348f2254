"""Recordings: a module's forward recorded together with its backward, over arrays of their own.

``auto`` makes and calls them.
"""

from __future__ import annotations

import operator
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from fastnn._autograd.engine import Alias, Memory, Node, on_the_way, run_backward
from fastnn._autograd.hooks import leaf_hooks
from fastnn._autograd.leaf_writers import release, wait_for
from fastnn._autograd.modes import _mode
from fastnn._core import capture_state
from fastnn._core.capture_state import Uncapturable
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.capture.guards import (
    Guards,
    Inputs,
    Spans,
    check_complete,
    is_roomy,
    rebase_gradients,
    rolled_back,
    room_like,
    span,
    tracing_into,
)
from fastnn.kernels.matmul.fusion import fuse_int8_ranges, fuse_relu_backward
from fastnn.kernels.runtime import allocation, launcher
from fastnn.kernels.runtime.numpy_loops import record_loop
from fastnn.kernels.runtime.program import Program
from fastnn.nn.module import Module
from fastnn.nn.module_members import writes
from fastnn.nn.parameter import Parameter

# Nothing is recorded if the arrays between input and output take more bytes: they would be kept, and the
# time in Python is negligible at that size.
MOST_BYTES = 16 * 2**20
# The limit of NumPy's search for a number that two outputs share; slices of a matrix take none.
_MOST_WORK = 10_000


# The thread that makes another backward pass of a recording.
_making: dict[str, int] = {}


def stand_in(tensor: Tensor, i: int, found: dict[int, np.ndarray]) -> Tensor:
    """A tensor over the same numbers without a history, whose gradient goes to ``found[i]``."""
    if not (tensor._requires_grad and _mode.enabled):
        return _wrap(tensor._data)

    def run(grad: Tensor) -> tuple[()]:
        found[i] = grad._data
        return ()

    return _wrap(tensor._data, Node("Input", (), run))


def _alone(array: np.ndarray, *programs: Program | None) -> None:
    """Raise Uncapturable unless an array can be replaced: no launch uses memory that crosses its bounds."""
    low, high = span(array)
    for program in programs:
        for _, _, arrays, _, _ in program.launches if program else ():
            for other in arrays:
                first, last = span(other) if other.size else (low, low)
                if first < high and low < last and not (low <= first and last <= high):
                    raise Uncapturable("the output, or the gradient of an input, is part of a larger array")


def _parts_of(module: Module) -> dict[str, Any]:
    """The attributes of a module, with copies of its dictionaries of members."""
    found = {name: value for name, value in module.__dict__.items() if name not in ("_replays", "_hooked")}
    for name in ("_parameters", "_buffers", "_modules"):
        found[name] = found[name].copy()
    return found


def _overlaps(array: np.ndarray, others: list[np.ndarray]) -> bool:
    low, high = span(array)
    return any(a.size and span(a)[0] < high and low < span(a)[1] for a in others)


class _Rebuild:
    """Makes the outputs of a forward of another structure than a tuple or a list: nested, named, dictionaries, None.

    Called with the tensors, it returns such outputs.
    """

    def __init__(self, result: Any, tensors: list[Any]) -> None:
        self._make = self._maker(result, tensors)

    def __call__(self, tensors: Iterable[Tensor]) -> Any:
        return self._make(iter(tensors))

    def _maker(self, value: Any, tensors: list[Any]) -> Callable[[Iterator[Tensor]], Any]:
        """The function that makes ``value`` from its tensors, which are added to ``tensors``."""
        if isinstance(value, Tensor):
            tensors.append(value)
            return next
        kind = type(value)
        if value is None or kind in (bool, int, float, str):
            return lambda tensors: value
        if kind is dict and all(isinstance(key, (str, int)) for key in value):
            keys, parts = list(value), [self._maker(part, tensors) for part in value.values()]
            return lambda tensors: {key: part(tensors) for key, part in zip(keys, parts, strict=True)}
        if kind in (tuple, list):
            parts = [self._maker(part, tensors) for part in value]
            return lambda tensors: kind([part(tensors) for part in parts])
        raise Uncapturable(f"the forward returns a {kind.__name__}")


def flattened(result: Any) -> tuple[list[Any], Any]:
    """The tensors of outputs, and what makes such outputs of other tensors: None for one tensor alone."""
    if isinstance(result, Tensor):
        return [result], None
    if type(result) in (tuple, list) and all(isinstance(t, Tensor) for t in result):
        return list(result), type(result)
    tensors: list[Any] = []
    return tensors, _Rebuild(result, tensors)


def _nodes(results: Sequence[Tensor]) -> set[Node]:
    """The operations in the history of results."""
    seen: set[Node] = set()
    stack: list[Any] = [result._node for result in results]
    while stack:
        node = stack.pop()
        if isinstance(node, Node) and node not in seen:
            seen.add(node)
            stack += node.edges
    return seen


def _saved(results: Sequence[Tensor]) -> set[Memory]:
    """The memory that the history of results relies on."""
    saved = [memory for node in _nodes(results) for memory, _, _ in node.saved]
    return {memory.shared if isinstance(memory, Alias) else memory for memory in saved}


def _in_order(edges: list[Any], results: Sequence[Tensor]) -> list[int]:
    """The numbers of these edges in the order in which a backward pass from results reaches them.

    The order is visible to hooks, and determines the order of summation if one tensor is several of the operands.
    Edges that the pass does not reach come first.
    """
    nodes = sorted(_nodes(results), key=lambda node: node.sequence, reverse=True)
    at: dict[int, int] = {}
    for i, edge in enumerate([edge for node in nodes for edge in node.edges]):
        at.setdefault(id(edge), i)
    return sorted(range(len(edges)), key=lambda k: -1 if edges[k] is None else at.get(id(edges[k]), -1))


def _written(program: Program) -> list[np.ndarray]:
    """The arrays that a program writes."""
    return [arrays[i] for kernel, _, arrays, _, _ in program.launches for i in kernel.outputs or ()]


class _Moves:
    """Memory of a recording that a copy of it has for itself: what its launches write, and states of random draws.

    Args:
        shared: arrays that the copies share, or that are replaced in each replay.
    """

    def __init__(self, shared: Sequence[np.ndarray]) -> None:
        self._shared = Spans()
        for array in shared:
            self._shared.add(array)
        # Sorted, apart from each other, with the memory that takes their place.
        self._spans: list[tuple[int, int, np.ndarray]] = []

    def add(self, arrays: Sequence[np.ndarray]) -> None:
        """New memory for these arrays, with the same contents, unless they have some or are shared."""
        own = [a for a in arrays if a.size and not self._shared.holds(a) and self.moved(a) is a]
        merged: list[list[Any]] = []
        for low, high, array in sorted([(*span(a), a) for a in own], key=operator.itemgetter(0)):
            if merged and low < merged[-1][1]:
                merged[-1][1] = max(high, merged[-1][1])
                merged[-1][2].append(array)
            else:
                merged.append([low, high, [array]])
        for low, high, parts in merged:
            # At the same place of a cache line, as kernels may rely on it.
            room = allocation.empty(high - low + 64, np.uint8)
            start = (low - room.ctypes.data) % 64
            self._spans.append((low, high, room[start : start + high - low]))
            for array in parts:
                self.moved(array)[...] = array

    def moved(self, array: np.ndarray) -> np.ndarray:
        """The array in the new memory, or itself."""
        if array.size:
            at = array.ctypes.data
            for low, high, memory in self._spans:
                if low <= at < high:
                    return np.ndarray(array.shape, array.dtype, memory.data, at - low, array.strides)
        return array

    def program(self, program: Program) -> Program:
        """A program over the new memory."""
        made = Program()
        self.add(_written(program))
        made.launches = [
            (kernel, parts, tuple(map(self.moved, arrays)), scalars, waits)
            for kernel, parts, arrays, scalars, waits in program.launches
        ]
        made.build()
        return made

    def inputs(self, inputs: Inputs) -> Inputs:
        """The program of these inputs over the new memory, with the same inputs."""
        for array in inputs.traced:
            self._shared.add(array)
        return Inputs(self.program(inputs.program), inputs.traced[: inputs.count], inputs.traced[inputs.count :])


class Recording:
    """One recording of a forward and its backward, over arrays of its own.

    Args:
        model: the module that is called.
        guards: the conditions for a replay.
        inputs: the tensors of the call that records it.
        most_bytes: the limit for the arrays between input and output.
    """

    title: str
    read_inputs: list[int]
    read_tensors: tuple[Tensor, ...]
    # The outputs that must not change between the passes.
    read_outputs: list[int]
    # Makes several outputs of their tensors; None for one.
    many: Callable[[Iterable[Tensor]], Any] | None
    # Puts inputs and parameters in the order of their gradients; None if they are in that order.
    put_in_order: Callable[[tuple[Any, ...]], tuple[Any, ...]] | None
    _edges: list[Any]
    _read: list[Memory]
    _readers: list[set[int]] | None
    _needs: dict[tuple[int, ...], tuple[set[int], set[int]]]

    def __init__(
        self, model: Module, guards: Guards, inputs: tuple[Tensor, ...], most_bytes: int = MOST_BYTES
    ) -> None:
        self.forward = Program()
        self.backward: Program | None = None
        # Other backward passes, keyed by which parameters' gradients they add to.
        self._others: dict[tuple[bool, ...], Inputs] = {}
        # Of a copy: the recording that it was copied from, and where its memory is.
        self._origin: tuple[Recording, _Moves] | None = None
        # The gradients of inputs from the last trace of a backward pass.
        self._found: dict[int, np.ndarray] = {}
        # Once each: two modules may share a parameter.
        self.trained = list(dict.fromkeys(guards.parameters)) if _mode.enabled else []
        self.trained = [p for p in self.trained if p._requires_grad]
        arrays = [t._data for t in inputs]
        known = Spans()
        for array in (*guards.arrays, *arrays):
            known.add(array)
        results, stand_ins, saved = rolled_back(guards, lambda: self._trace(model, guards, inputs, known))
        outs = [t._data for t in results]
        self.bytes = self._size(outs)
        if self.bytes > most_bytes:
            raise Uncapturable("what lies between input and output is too large to be kept")
        self._draws = self.watch.draws
        self.layouts, self.inputs = [(out.shape, out.dtype) for out in outs], arrays
        # The outputs that are not contiguous.
        self._strided = {i: out for i, out in enumerate(outs) if not out.flags.c_contiguous}
        self.shape, self.dtype = self.layouts[0]
        # The members and attributes of the modules.
        self.guards, self.made_of = guards, list(map(_parts_of, guards.modules))
        self.content_guards = [(self._number_of(array), holds) for array, holds in self.forward.content_guards]
        # Running statistics, which a kernel reads and writes.
        used = [array for _, _, arrays, _, _ in self.forward.launches for array in arrays]
        moves = any(m.training for m in guards.modules)
        read = [t for t in guards.tensors if t._data.size and _overlaps(t._data, used)]
        self.touched = [t for t in read if moves and not isinstance(t, Parameter)]
        # Tensors that it reads in addition to inputs and trained parameters.
        known_to = {id(t) for t in (*self.touched, *self.trained)}
        self.constants = [t for t in read if id(t) not in known_to]
        for out in outs:
            _alone(out, self.forward, self.backward)
        self.first = Inputs(self.forward, arrays, outs)
        if self.backward is not None:
            assert results[0]._node is not None
            self.title = results[0]._node.title
            # Tensors that must not change between the two passes: those that the eager operations would save.
            self.read_inputs = [i for i, t in enumerate(stand_ins) if t._memory in saved]
            self.read_tensors = tuple([t for t in guards.tensors if t._memory in saved])
            self.read_outputs = [i for i, t in enumerate(results) if t._memory in saved]
            tensors = [*[stand_ins[i] for i in self.read_inputs], *self.read_tensors]
            self._read = [t._memory for t in (*tensors, *[results[i] for i in self.read_outputs])]
            edges = [*[t._node for t in stand_ins], *self.trained]
            # The operands of the whole operation (inputs, then parameters) in the order of their gradients.
            order = _in_order(edges, results)
            self._edges = [edges[k] for k in order]
            is_ordered = order == sorted(order)
            self.put_in_order = None if is_ordered else operator.itemgetter(*order)
            self._readers, self._needs = None, {}
            self._prepare_back(guards, outs)

    def copy(self) -> Recording:
        """The same recording over other memory, in a quarter of the time of another trace."""
        if self._origin is not None:
            return self._origin[0].copy()
        made = object.__new__(Recording)
        made.__dict__.update(self.__dict__)
        flat = {id(p._slot.chunk): p._slot.chunk.grads for p in self.trained}
        moves = _Moves([*self.guards.arrays, *flat.values(), *self.watch.constants])
        # The states first: launches read them.
        moves.add([state for state, _ in self.watch.draws])
        made._draws = [(moves.moved(state), draw) for state, draw in self._draws]
        made.first, made._others, made._origin = moves.inputs(self.first), {}, (self, moves)
        made.forward = made.first.program
        if self.backward is not None:
            made.second = moves.inputs(self.second)
            made.backward = made.second.program
        return made

    def _trace(
        self, model: Module, guards: Guards, inputs: tuple[Tensor, ...], known: Spans
    ) -> tuple[list[Tensor], list[Tensor], set[Memory]]:
        """Record both passes; the outputs, the stand-ins of the inputs, and the memory that the backward needs."""
        arrays, before, attributes = [t._data for t in inputs], writes[0], guards.all_attributes()
        with tracing_into(self.forward) as self.watch:
            stand_ins = [stand_in(t, i, self._found) for i, t in enumerate(inputs)]
            result = model.forward(*stand_ins)
            results, self.many = flattened(result)
            if not results or len({id(t) for t in results}) < len(results):
                raise Uncapturable("the forward returns no tensor, or one of them twice")
            self._check_apart([t._data for t in results])
            drawn = [state for state, _ in self.watch.draws]
            for i, t in enumerate(results):
                self._separate(t, [*guards.arrays, *arrays], [*drawn, *[other._data for other in results[:i]]])
        # Another thread may have changed another model.
        if writes[0] != before and not (guards.may_hold() and guards.all_attributes() == attributes):
            raise Uncapturable("an attribute of a module is assigned in the forward")
        self._results, outs = results, [t._data for t in results]
        for array in (*[state for state, _ in self.watch.draws], *self.watch.constants):
            known.add(array)
        for i, out in enumerate(outs):
            if not out.size or not is_roomy(out) or _overlaps(out, [*guards.arrays, *arrays, *outs[:i]]):
                raise Uncapturable("the output is empty, has elements that overlap, or is an input or a parameter")
        if any(_overlaps(a, [*guards.arrays, *arrays[:i]]) for i, a in enumerate(arrays) if a.size):
            raise Uncapturable("an input shares memory with another one, or with the model")
        if any(_overlaps(a, _written(self.forward)) for a in arrays if a.size):
            raise Uncapturable("an input is changed in place")
        fused = fuse_int8_ranges(self.forward.launches)
        if len(fused) < len(self.forward):
            self.forward.launches = fused
            self.forward.build()
        check_complete(self.forward, known)
        written = Spans()
        for array in _written(self.forward):
            written.add(array)
        if not all(map(written.holds, outs)):
            raise Uncapturable("the output was computed outside the kernels")
        saved = _saved(results)
        if any(t._requires_grad for t in results):
            if not all(t._requires_grad and t._node is not None for t in results):
                raise Uncapturable("one output needs a gradient and another does not")
            edges = [edge for node in _nodes(results) for edge in node.edges]
            if any(t._node is not None and edges.count(t._node) > 1 for t in stand_ins):
                # The eager pass adds each gradient to what there is; the sum of them all rounds differently.
                raise Uncapturable("an input that needs a gradient is used more than once")
            self.dys = [allocation.empty(out.shape, out.dtype) for out in outs]
            for dy in self.dys:
                known.add(dy)
            self.backward, self.dxs = self._trace_back()
            for array in self._constants:
                known.add(array)
            self.trained = [p for p in self.trained if p._grad is not None]
            if any(p._grad is not None and p._grad._memory.version for p in self.trained):
                # The kernels add the second gradient to the first; outside the slot the sum rounds differently.
                raise Uncapturable("a parameter is used more than once")
            check_complete(self.backward, known)
            self.trained = [self.trained[k] for k in _in_order(list(self.trained), results)]
            if not all(known.holds(array) for array in self.dxs.values()):
                raise Uncapturable("the gradient of an input was computed outside the kernels")
        return results, stand_ins, saved

    @staticmethod
    def _check_apart(outs: list[np.ndarray]) -> None:
        """Raise Uncapturable if two outputs have a number in common: to change one in place changes the other."""
        for i, out in enumerate(outs):
            for other in outs[:i]:
                try:
                    # NumPy's stubs leave out the limit.
                    is_shared = np.shares_memory(out, other, _MOST_WORK)  # type: ignore[arg-type]  # an int in NumPy
                except np.exceptions.TooHardError:
                    is_shared = True
                if is_shared:
                    raise Uncapturable("two outputs share memory")

    @staticmethod
    def _separate(result: Tensor, shared: list[np.ndarray], others: list[np.ndarray]) -> None:
        """Record a copy of an output that is part of a larger array, with its strides: in a replay it is an array.

        Args:
            shared: arrays that outputs may not share memory with.
            others: random numbers, which no launch writes, and other outputs.
        """
        out, view = result._data, result._view
        is_part = view is not None and view[0]._data.size > out.size
        if not out.size or _overlaps(out, shared):
            return
        if out.flags.c_contiguous and not is_part and not _overlaps(out, others):
            return
        made = room_like(out) if is_roomy(out) else out
        if made is not out and record_loop(np.positive, (out,), made):
            result._data = made

    def _size(self, outs: list[np.ndarray]) -> int:
        """Bytes of the arrays that the recording keeps."""
        written = _written(self.forward) + (_written(self.backward) if self.backward else [])
        return sum({array.ctypes.data: array.nbytes for array in written}.values()) - sum(out.nbytes for out in outs)

    def _number_of(self, array: np.ndarray) -> int:
        return Inputs(self.forward, self.inputs).number_of(array)

    # -- The backward pass --------------------------------------------------------------------

    def _trace_back(self) -> tuple[Program, dict[int, np.ndarray]]:
        """Record the backward pass, which writes gradients into their slots, or adds to them.

        Returns: the launches, and the arrays into which they write the gradients of inputs, by number.
        """
        program = Program()
        self._found.clear()
        for node in _nodes(self._results):
            # Saved numbers may have changed since the forward was recorded; they are not read here.
            node.saved = [(memory, memory.version, shape) for memory, _, shape in node.saved]
        with tracing_into(program) as watch:
            # The graph is retained: the trace may be repeated.
            run_backward(self._results, [_wrap(dy) for dy in self.dys], True)
        if watch.draws or program.content_guards:
            raise Uncapturable("the backward pass draws random numbers, or depends on what an array holds")
        if any(p._grad is not None and p._grad._data is not p._grad_place for p in self.trained):
            raise Uncapturable("the gradient of a parameter does not go into its place")
        self._constants = watch.constants
        return program, dict(self._found)

    def _prepare_back(self, guards: Guards, outs: list[np.ndarray]) -> None:
        assert self.backward is not None
        self._kept = [*self.dys, *outs, *self.inputs, *guards.arrays]
        hold = self._join(self.backward, self.dxs)
        self.places = [hold(p._slot.grad_array) for p in self.trained]
        self.backward.build()
        self.second = Inputs(self.backward, [*self.inputs, *outs, *self.dys], list(self.dxs.values()))

    def _join(self, program: Program, dxs: dict[int, np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
        """Check where a backward pass writes the gradients of inputs, fuse its launches, and rebase gradients.

        Returns: as :func:`rebase_gradients`.
        """
        arrays = list(dxs.values())
        for i, dx in enumerate(arrays):
            if not dx.size or _overlaps(dx, [*self._kept, *arrays[:i]]):
                raise Uncapturable("the gradient of an input is empty, or that of the output or of another input")
            _alone(dx, self.forward, program)
        program.launches = fuse_relu_backward(program.launches, [*self._kept, *arrays])
        return rebase_gradients(program, self.trained)

    def _other(self, adds: tuple[bool, ...]) -> Inputs:
        """The backward pass that adds to some gradients in their slots and writes the others to given arrays.

        It is made on first use. It has its own launches: kernels that add round differently from a sum of
        two gradients.
        """
        found = self._others.get(adds)
        if found is not None:
            return found
        # A trace changes parameters for a moment, and other threads may use the same ones.
        mine = threading.get_ident()
        while _making.setdefault("by", mine) != mine:
            time.sleep(1e-4)
        try:
            return self._make_other(adds)
        finally:
            _making.clear()

    def _make_other(self, adds: tuple[bool, ...]) -> Inputs:
        if adds not in self._others and self._origin is not None:
            origin, moves = self._origin
            self._others[adds] = moves.inputs(origin._make_other(adds))
        elif adds not in self._others:
            assert self.backward is not None
            capture_state.stop("a recorded backward pass is recorded again")
            before = [(p, p._grad, p._requires_grad, p._hooks) for p in self.trained]
            program, dxs, watcher = Program(), self.dxs, launcher.watcher()

            def put_back() -> None:
                launcher.end_trace(watcher)
                capture_state.end()
                for p, *was in before:
                    p._grad, p._requires_grad, p._hooks = was

            try:
                for p, there in zip(self.trained, adds, strict=True):
                    # The parameter may be frozen, or have hooks, for this call only.
                    p._grad, p._requires_grad, p._hooks = p._grad if there else None, True, None
                if any(adds):
                    program, dxs = self._trace_back()
                    self._join(program, dxs)
                else:
                    program.launches = list(self.backward.launches)
                put_back()
            except BaseException:
                # Again, in case Ctrl-C interrupted it.
                put_back()
                raise
            program.build()
            fresh = [place for place, there in zip(self.places, adds, strict=True) if not there]
            read = [*self.inputs, *self.outputs(), *self.dys]
            self._others[adds] = Inputs(program, read, [*dxs.values(), *fresh])
        return self._others[adds]

    def outputs(self) -> list[np.ndarray]:
        """The arrays that the launches were recorded with as outputs."""
        return [t._data for t in self._results]

    def readers(self) -> list[set[int]]:
        """For each memory that must not change between the passes, the operands whose gradients read it."""
        if self._readers is None:
            self._readers = [set() for _ in self._read]
            for i, edge in enumerate(self._edges):
                if edge is None:
                    continue
                saved = {memory for node in on_the_way(self._results, {edge}) for memory, _, _ in node.saved}
                saved = {memory.shared if isinstance(memory, Alias) else memory for memory in saved}
                for memory, readers in zip(self._read, self._readers, strict=True):
                    if memory in saved:
                        readers.add(i)
        return self._readers

    def needs(self, outputs: Iterable[int]) -> tuple[set[int], set[int]]:
        """What the gradients of some outputs read: the positions of memory that must not change, and of operands."""
        key = tuple(sorted(outputs))
        found = self._needs.get(key)
        if found is None:
            results = [self._results[i] for i in key]
            saved = _saved(results)
            # Whether an operand without a gradient is read is not known.
            found = self._needs[key] = (
                {i for i, memory in enumerate(self._read) if memory in saved},
                {i for i, edge in enumerate(self._edges) if edge is None or on_the_way(results, {edge})},
            )
        return found

    # -- Replays ------------------------------------------------------------------------------

    def compute(self, model: Module, inputs: tuple[Tensor, ...]) -> Any:
        """The output recomputed by eager operations, as the last call of :meth:`run` computed it.

        Meanwhile the model has the same members, modes and frozen parameters as then, and no hooks. It draws the
        same random numbers, and its running statistics do not change.
        """
        modules, parameters = self.guards.modules, self.guards.parameters
        states = [state.copy() for state, _ in self._draws]
        buffers = [(b._data, b._data.copy()) for b in self.touched]
        before, flags = [dict(m.__dict__) for m in modules], [p._requires_grad for p in parameters]

        def put_back() -> None:
            for m, attributes in zip(modules, before, strict=True):
                m.__dict__.clear()
                m.__dict__.update(attributes)
            for p, flag in zip(parameters, flags, strict=True):
                p._requires_grad = flag
            for array, values in buffers:
                array[...] = values

        try:
            for m, parts in zip(modules, self.made_of, strict=True):
                m.__dict__.clear()
                m.__dict__.update(parts)
            for p, flag in zip(parameters, self.guards.flags, strict=True):
                p._requires_grad = flag
            with capture_state.repeating(states):
                result = model.forward(*inputs)
            put_back()
        except BaseException:
            # Again, in case Ctrl-C interrupted it.
            put_back()
            raise
        return result

    def run(self, inputs: tuple[Tensor, ...]) -> list[np.ndarray] | None:
        """The outputs for other inputs, new arrays; None if they are invalid, and the eager call must raise."""
        for k, holds in self.content_guards:
            if not holds(np.ascontiguousarray(inputs[k]._data)):
                return None
        outs = [allocation.empty(shape, dtype) for shape, dtype in self.layouts]
        for i, out in self._strided.items():
            outs[i] = room_like(out)
        for state, draw in self._draws:
            state[...] = draw()
        for buffer in self.touched:
            buffer._memory.version += 1
        self.first.replay([*[t._data for t in inputs], *outs])
        return outs

    def is_by_rows(self) -> bool:
        """Whether each row of the output depends only on the same row of the single input."""
        if len(self.inputs) != 1 or self.many is not None or self.shape[:1] != self.inputs[0].shape[:1]:
            return False
        if self.watch.draws or self.content_guards:
            return False
        known, rows = self.inputs[:], self.shape[0]
        for kernel, _, arrays, _, _ in self.forward.launches:
            if kernel.shared is None or kernel.outputs is None:
                return False
            for i, array in enumerate(arrays):
                if i in kernel.outputs:
                    known.append(array)
                elif array.shape[:1] != (rows,) or not _overlaps(array, known):
                    if i not in kernel.shared:
                        return False
                elif i in kernel.shared:
                    return False
        return True

    def run_over(self, x: np.ndarray, out: np.ndarray, times: int) -> None:
        """The outputs for ``times`` batches, one after the other."""
        self.forward.replay_over([(self.inputs[0], x), (self._results[0]._data, out)], times)

    def run_back(
        self, inputs: list[np.ndarray], outs: list[np.ndarray], given: Sequence[Tensor]
    ) -> tuple[Tensor | None, ...]:
        """Gradients of the inputs, and of the parameters unless they were written into their slots."""
        assert self.backward is not None
        dys = [g._data if g._data.flags.c_contiguous else np.ascontiguousarray(g._data) for g in given]
        dxs = [room_like(dx) for dx in self.dxs.values()]
        arrays, trained = [*inputs, *outs, *dys, *dxs], self.trained
        grads: list[Tensor | None] = [None] * len(trained)
        # Other threads may write to the same gradients.
        wait_for(trained)
        try:
            self._write_gradients(arrays, grads)
        finally:
            for p in trained:
                release(p)
        found: list[Tensor | None] = [None] * len(inputs)
        for i, dx in zip(self.dxs, dxs, strict=True):
            found[i] = _wrap(dx)
        return (*found, *grads) if self.put_in_order is None else self.put_in_order((*found, *grads))

    def _write_gradients(self, arrays: list[np.ndarray], grads: list[Tensor | None]) -> None:
        """Replay the backward pass; gradients of parameters that are not written into their slots go into ``grads``."""
        trained = self.trained
        if _mode.direct and _have_no_gradient(trained):
            try:
                for p in trained:
                    p._grad_written()
                self.second.replay(arrays)
            except BaseException:
                # Ctrl-C: the slots may hold incomplete gradients.
                for p in trained:
                    p._grad = None
                raise
        else:
            direct = [
                _mode.direct and p._requires_grad and (p._hooks is None or leaf_hooks(p) is None) for p in trained
            ]
            adds = tuple([
                there and p._grad is not None and p._grad._data is p._grad_place
                for p, there in zip(trained, direct, strict=True)
            ])  # fmt: skip
            other = self._other(adds)
            before = [p._grad for p in trained]
            try:
                for i, p in enumerate(trained):
                    if adds[i]:
                        p._grad_written()
                    elif direct[i] and p._grad is None and p._grad_is_free():
                        p._grad_written()
                        arrays.append(self.places[i])
                    else:
                        arrays.append(room_like(self.places[i]))
                        grads[i] = _wrap(arrays[-1])
                other.replay(arrays)
            except BaseException:
                for p, was in zip(trained, before, strict=True):
                    p._grad = was
                raise


def _have_no_gradient(parameters: list[Any]) -> bool:
    """Whether each gradient can be written directly into its slot, without adding to an earlier one."""
    # One explicit loop: four in a row, or a generator, take twice the time in every step.
    for p in parameters:
        if p._grad is not None or p._hooks is not None or not p._requires_grad or not p._grad_is_free():
            return False
    return True


if hasattr(os, "register_at_fork"):
    # The thread may not exist in the child.
    os.register_at_fork(after_in_child=_making.clear)
