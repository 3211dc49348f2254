"""Captured forward and backward passes: the plain training loop and inference, without Python in between.

Calls of a module with submodules are counted by kind (the same shapes, dtypes and mode). The third call of a
kind records its forward and backward, or a later one if there have been many kinds; later calls replay both. This is
automatic where the user cannot notice it: the forward must be straight-line (see ``source_check``), and the trace must
be complete (see ``guards``). Everything else runs eagerly; :func:`explain` says why. Writes to ``module.__dict__`` that
bypass ``__setattr__`` are not noticed.

A recording owns the intermediate arrays. A second call before the backward pass of the first gets another
recording, a copy with its own arrays. There are at most ``_MOST_RECORDINGS``; further calls run eagerly. The
output is a new array each time, and so are the gradients of inputs.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from fastnn._autograd.engine import Memory, Node, Parts, anomaly, by_method, differentiated, part_node, run_backward
from fastnn._autograd.modes import _mode, enable_grad
from fastnn._core import capture_state
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.capture.guards import MOST_PROGRAMS, Guards, reason_of
from fastnn.capture.recording import MOST_BYTES, Recording, flattened, stand_in
from fastnn.capture.source_check import find_side_effects
from fastnn.kernels.runtime import allocation, thread_count
from fastnn.nn import module as modules
from fastnn.nn.module import Module
from fastnn.nn.module_members import changes

# Eager calls of a kind before one is recorded.
_EAGER_CALLS = 2
# After so many kinds, the calls before a recording are doubled, and so on.
_FEW_KINDS = 4
# Recordings of one kind, for outputs whose backward has not run yet; fewer if they are large. A policy keeps one for
# each step of an episode.
_MOST_RECORDINGS = 512
# A copy costs as much as ten eager calls (1 ms for three layers), and may be needed once only: after the first ones,
# one for so many calls.
_COPIED_AT_ONCE, _CALLS_PER_COPY = 4, 4

# Only the eager operations can be differentiated twice.
_AGAIN = "backward passes are differentiated again"

# A backward pass from some of the outputs leaves parameters of the others without a gradient.
_SOME = "some of the outputs get no gradient"

_CHANGED = (
    "one of the variables needed for gradient computation has been modified by an inplace operation through .data, or "
    "through an array: a captured forward pass runs again to be differentiated twice, and gives another output now; "
    "change parameters under no_grad(), or call set_capture(False)"
)

# The next call tries again.
_BUSY = "another thread is making a recording"

# Rows in a piece of a large batch without gradients, and in the smallest batch that is split.
_PIECE, _LARGE = 2048, 4096

_switch = {"on": True}


def set_capture(on: bool) -> None:
    """Switch the recording of modules' forward passes on (the default) or off, for the whole process.

    The numbers are the same either way. A step of :func:`fastnn.compile_step` is always recorded.

    >>> import fastnn
    >>> fastnn.set_capture(False)
    >>> fastnn.set_capture(True)
    """
    if not isinstance(on, bool):
        raise TypeError(f"on must be True or False, found {type(on).__name__}")
    _switch["on"] = on


def explain(model: Module) -> str:
    """Describe which calls of a module are replayed from recordings, and why others are not.

    >>> import fastnn
    >>> model = fastnn.nn.Sequential(fastnn.nn.Linear(2, 3), fastnn.nn.ReLU())
    >>> for _ in range(3):
    ...     y = model(fastnn.ones(4, 2))
    >>> fastnn.explain(model)
    'captured for float32 of shape (4, 2)'
    """
    if not isinstance(model, Module):
        raise TypeError(f"model must be a Module, found {type(model).__name__}")
    kept = model.__dict__.get("_replays")
    lines = [] if kept is None else kept.lines()
    return "\n".join(lines) or f"nothing captured: fewer than {_EAGER_CALLS + 1} calls of a kind"


# Making a recording changes modules for a moment, so only one is made at a time. The owner stores a token here
# instead of taking a lock: after Ctrl-C nobody could tell whether a lock was held.
_recording: dict[str, object] = {}


class _Return(weakref.ref):
    """Appends itself, with its recording, to a list when a checkout is freed.

    All of it runs in C: a Ctrl-C that arrives in a Python finalizer is lost.
    """

    __slots__ = ("recording",)

    recording: Recording


# 0.4 us faster than a constructor written in Python.
_made = weakref.ref.__new__


class _Checkout:
    """A recording in use; it is free again when its last user is freed."""

    __slots__ = ("__weakref__", "_return", "recording")

    def __init__(self, recording: Recording, free: list[Any]) -> None:
        self.recording = recording
        back = _made(_Return, self, free.append)
        back.recording = recording
        self._return = back


class _CallSite:
    """Calls of one kind: counted, then recorded or refused."""

    # The limit for the arrays of a recording.
    most_bytes = MOST_BYTES

    def __init__(self) -> None:
        self.calls, self.retry, self.reason = 0, _EAGER_CALLS + 1, ""
        # How often a parameter or buffer moved to other memory.
        self.moves = 0
        # The code of the refused forward: a reload may replace it.
        self.code: Any = None
        self.differentiated = differentiated[0]
        self.guards: Guards | None = None
        # Set while hooks or the like prevent a recording.
        self.blocked: Guards | None = None
        self.free: list[Recording | _Return] = []
        # The recordings that exist; one lost to Ctrl-C in a call makes room for another.
        self.made: list[weakref.ref[Recording]] = []
        self.most = _MOST_RECORDINGS
        # Calls that came while all recordings were in use.
        self.wanted = 0

    def recording(self, model: Module, inputs: tuple[Tensor, ...]) -> Recording | None:
        """A free recording, or a new one; None if this call must run eagerly."""
        guards = self.guards
        if guards is not None:
            if guards.hold():
                try:
                    recording = None
                    while recording is None:
                        found = self.free.pop()
                        # None if Ctrl-C interrupted the creation of a checkout.
                        recording = getattr(found, "recording", None) if isinstance(found, _Return) else found
                    return recording
                except IndexError:
                    pass
                return self._another(model, guards, inputs)
            moves = self.moves + (not guards.is_in_place())
            self.__init__()  # type: ignore[misc]  # reset
            # If memory is replaced repeatedly, as by `p.data = p.data - lr * p.grad`, it is recorded ever more rarely.
            self.moves, self.retry = moves, self.retry << min(max(moves - 1, 0), 5)
            return None
        self.calls += 1
        if self.blocked is not None:
            if self.blocked.seen != changes[0]:
                self.blocked = Guards(model, is_held=False, reads={})
            if self.blocked.obstacle():
                return None
            self.blocked = None
        elif self.calls < self.retry:
            if self.code is not None and getattr(type(model).forward, "__code__", None) is not self.code:
                self.__init__()  # type: ignore[misc]  # reset
            return None
        # The obstacle may disappear, but each attempt costs as much as several calls.
        self.retry, self.code = 8 * self.calls, getattr(type(model).forward, "__code__", None)
        before, self.differentiated = self.differentiated, differentiated[0]
        self.reason, names, reads = find_side_effects(model) if before == differentiated[0] else (_AGAIN, [], {})
        if not self.reason:
            guards = Guards(model, is_held=False, names=names, reads=reads)
            self.reason = guards.reason_against()
            if not self.reason:
                return self._record(model, guards, inputs)
            self.blocked = guards if guards.obstacle() else None
        return None

    def _another(self, model: Module, guards: Guards, inputs: tuple[Tensor, ...]) -> Recording | None:
        """A copy of a recording that is in use, now and then; None in between, or if there are enough."""
        alive = [recording for reference in self.made if (recording := reference()) is not None]
        self.made = list(map(weakref.ref, alive))
        if not alive:
            return self._record(model, guards, inputs)
        self.wanted += 1
        if len(alive) >= self.most or (len(alive) >= _COPIED_AT_ONCE and self.wanted % _CALLS_PER_COPY):
            return None
        copy = alive[0].copy()
        self.made.append(weakref.ref(copy))
        return copy

    def _record(self, model: Module, guards: Guards, inputs: tuple[Tensor, ...]) -> Recording | None:
        """A new recording; None if another thread is making one, or if it cannot be made."""
        mark = object()
        try:
            if _recording.setdefault("by", mark) is not mark:
                self.reason, self.retry = _BUSY, self.calls + 1
                return None
            recording = Recording(model, guards, inputs, self.most_bytes)
            del _recording["by"]
        except BaseException as error:
            if _recording.get("by") is mark:
                del _recording["by"]
            if not isinstance(error, Exception):
                raise
            # An error of the call itself is raised by the eager call, with the side effects up to that point.
            self.reason, self.guards = reason_of(error), None
            return None
        self.made.append(weakref.ref(recording))
        self.most = max(1, min(_MOST_RECORDINGS, MOST_BYTES // max(1, recording.bytes)))
        self.guards = guards
        return recording

    def give_up(self, reason: str) -> None:
        """Run eagerly from now on."""
        self.__init__()  # type: ignore[misc]  # reset
        self.reason, self.retry = reason, 2**62


class _Replays:
    """The call sites of a module. Copies of the module start with none."""

    def __init__(self, model: Module) -> None:
        self.owner = weakref.ref(model)
        self.kinds: dict[tuple[Any, ...], _CallSite] = {}
        # The kinds that there have been.
        self.seen = 0
        # For the pieces of large batches.
        self.pieces: dict[tuple[Any, ...], _CallSite] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        return None

    def __reduce__(self) -> Any:
        return type(None), ()

    def lines(self) -> list[str]:
        """One line for each kind of call that was recorded or refused."""
        found = []
        for (_, records, training, *inputs), kind in (*self.kinds.items(), *self.pieces.items()):
            shapes = ", ".join(f"{dtype} of shape {shape}" for shape, dtype, _ in inputs)
            mode = ("" if training else " in evaluation mode") + ("" if records else " without gradients")
            if kind.guards is not None:
                found.append(f"captured for {shapes}{mode}")
            elif kind.reason:
                found.append(f"eager for {shapes}{mode}: {kind.reason}")
        return found

    def kind(self, key: tuple[Any, ...]) -> _CallSite:
        """The call site of this kind; the oldest is dropped to make room.

        A batch that has another size in each call, as the rows of one expert of several, is recorded ever more rarely.
        """
        kind = self.kinds.get(key)
        if kind is None:
            while len(self.kinds) >= MOST_PROGRAMS:
                self.kinds.pop(next(iter(self.kinds)), None)
            kind = self.kinds[key] = _CallSite()
            kind.retry <<= min(self.seen // _FEW_KINDS, 5)
            self.seen += 1
        return kind


def call(model: Module, args: tuple[Any, ...]) -> Any:
    """``model.forward(*args)``, replayed if the result is the same."""
    if not _switch["on"] or anomaly["enabled"] or capture_state.is_mine() or capture_state.repeated:
        return model.forward(*args)
    kinds = []
    for t in args:
        if type(t) is not Tensor:
            return model.forward(*args)
        # The property, not `_requires_grad`: a view may need to take over the history of its base first.
        kinds.append((t._data.shape, t._data.dtype, _mode.enabled and t.requires_grad))
    kept = model.__dict__.get("_replays")
    if kept is None or kept.owner() is not model:
        kept = model.__dict__["_replays"] = _Replays(model)
    if len(args) == 1 and not _mode.enabled and not model.training and len(args[0]._data) >= _LARGE:
        return _in_pieces(model, args[0], kept)
    key = (thread_count._threads, _mode.enabled, model.training, *kinds)
    kind = kept.kinds.get(key) or kept.kind(key)
    recording = kind.recording(model, args)
    if recording is None:
        return model.forward(*args)
    if recording.backward is not None:
        lease = _Checkout(recording, kind.free)
        outs = recording.run(args)
        return model.forward(*args) if outs is None else _recorded(model, args, lease, kind, outs)
    try:
        outs = recording.run(args)
    finally:
        kind.free.append(recording)
    if outs is None:
        return model.forward(*args)
    return _wrap(outs[0]) if recording.many is None else recording.many(map(_wrap, outs))


def _in_pieces(model: Module, input: Tensor, kept: _Replays) -> Any:
    """The output for a large batch, computed in pieces of rows if the result is the same.

    Activations are then not allocated and stay in the caches: 10,000 rows through 784-256-128-64-10 take
    0.9 of the time (13.3 ms and 12.0; 512 at a time 12.9).
    """
    x = input._data
    piece = x[:_PIECE]
    recording = None
    if x.flags.c_contiguous and x.flags.aligned and x.ndim == 2:
        key = thread_count._threads, False, False, (piece.shape, x.dtype, False)
        kind = kept.pieces.get(key) or kept.pieces.setdefault(key, _CallSite())
        recording = kind.recording(model, (_wrap(piece),))
    if recording is None:
        return model.forward(input)
    try:
        if not recording.is_by_rows():
            kind.give_up("rows of a large batch may depend on each other")
            return model.forward(input)
        return run_in_pieces(recording, x, lambda rest: call(model, (rest,)))
    finally:
        kind.free.append(recording)


def run_in_pieces(recording: Recording, x: np.ndarray, rest: Callable[[Tensor], Tensor]) -> Tensor:
    """The output for a large batch, from a recording of a piece; ``rest`` computes that of the last rows."""
    times = len(x) // _PIECE
    out, end = allocation.empty((len(x), *recording.shape[1:]), recording.dtype), times * _PIECE
    recording.run_over(x[:end], out[:end], times)
    if end < len(x):
        # At least 64: products of very few rows may use another kernel, and round differently.
        first = min(end, len(x) - 64)
        out[end:] = rest(_wrap(x[first:]))._data[end - first :]
    return _wrap(out)


class _ReplayNode(Node):
    """The operation of a whole module; it checks only the saved memory that the requested gradients read.

    Its state is in slots rather than in functions: an episode of a policy keeps many of these, and each object more is
    one more for the garbage collector.
    """

    __slots__ = ("arrays", "inputs", "lease", "memories", "model", "outs", "site")

    selective = True

    model: Module
    site: _CallSite
    # These are None after the pass.
    inputs: tuple[Tensor, ...]
    arrays: list[np.ndarray]
    outs: list[np.ndarray]
    lease: Any
    # Of the outputs, not the outputs themselves, which hold the node.
    memories: list[Memory]

    def backward(self, grad: Any) -> tuple[Tensor | None, ...]:
        if type(grad) is Parts and self.run is not None and not self._is_whole(grad):
            # What only other outputs need may have changed.
            return self.gradients(grad)
        return super().backward(grad)

    def gradients(self, grad: Any) -> tuple[Tensor | None, ...]:
        if type(grad) is Parts and (_mode.enabled or not self._is_whole(grad)):
            # By eager operations: some outputs have no gradient, or the gradients are to be differentiated.
            self._check_some(grad)
            return self._from_some(grad)
        return super().gradients(grad) if _mode.enabled else self._replay(grad)

    def _check_some(self, parts: Parts) -> None:
        """RuntimeError if what the gradients of these outputs need has been written to."""
        memories, operands = self.lease.recording.needs(parts.grads)
        self.check([entry for i, entry in enumerate(self.saved) if i in memories])
        self.check_read(operands | set(range(len(self.edges), len(self.read[0]))))

    def _replay(self, grad: Any) -> tuple[Tensor | None, ...]:
        given = (grad,) if type(grad) is not Parts else grad.by_position(len(self.outs))
        recording: Recording = self.lease.recording
        return recording.run_back(self.arrays, self.outs, given)

    def _is_whole(self, parts: Parts) -> bool:
        """Whether the recorded backward pass can run: it needs the gradients of all outputs."""
        return len(parts.grads) == len(self.outs)

    def release(self) -> None:
        super().release()
        self.lease = self.inputs = self.arrays = self.outs = self.memories = None  # type: ignore[assignment]  # freed

    def backward_for(self, grad: Any, wants: list[bool]) -> tuple[Tensor | None, ...]:
        if self.run is None or _mode.enabled or (type(grad) is Parts and not self._is_whole(grad)):
            return self.backward(grad)
        if any(memory.version != version for memory, version, _ in self.saved):
            wanted, readers = {i for i, want in enumerate(wants) if want}, self.lease.recording.readers()
            self.check([entry for entry, at in zip(self.saved, readers, strict=True) if at & wanted])
        return self._replay(grad)

    def _computed(self, inputs: tuple[Tensor, ...], outputs: Iterable[int] = (0,)) -> Sequence[Tensor]:
        """The outputs, by eager operations of these inputs; some of them must be the same as before."""
        self.site.give_up(_AGAIN if _mode.enabled else _SOME)
        recording: Recording = self.lease.recording
        with enable_grad():
            result = recording.compute(self.model, inputs)
        results: list[Tensor] = flattened(result)[0]
        # What lies between input and output was computed from numbers that may have changed without a version.
        for i in outputs:
            is_unchanged = not self.memories[i].version
            if is_unchanged and not np.allclose(results[i]._data, self.outs[i], rtol=1e-5, equal_nan=True):
                raise RuntimeError(_CHANGED)
        return results

    def _differentiated(self, recompute: Any, grad: Any) -> tuple[Tensor | None, ...]:
        return super()._differentiated(lambda: self._computed(self.inputs)[0], grad)

    def _from_some(self, parts: Parts) -> tuple[Tensor | None, ...]:
        given, recording, inputs = sorted(parts.grads.items()), self.lease.recording, self.inputs
        found: dict[int, np.ndarray] = {}
        if _mode.direct:
            # Parameters without hooks get their gradients directly, as in an eager pass, which rounds otherwise than a
            # sum.
            with enable_grad():
                leaves = tuple([stand_in(t, i, found) for i, t in enumerate(inputs)])
            results = self._computed(leaves, parts.grads)
            roots = [results[i] for i, _ in given]
            hooked = run_backward(roots, [g for _, g in given], True, False, None, inner=True)
            of_inputs = [_wrap(found[i]) if i in found else None for i in range(len(inputs))]
            grads = (*of_inputs, *map(hooked.get, recording.trained))
            return grads if recording.put_in_order is None else recording.put_in_order(grads)
        differentiated[0] += _mode.enabled
        results = self._computed(inputs, parts.grads)
        wanted = {edge for edge in self.edges if edge is not None}
        roots = [results[i] for i, _ in given]
        by_edge = run_backward(roots, [g for _, g in given], True, _mode.enabled, wanted, inner=True)
        return tuple([None if edge is None else by_edge.pop(edge, None) for edge in self.edges])


def _recorded(
    model: Module, args: tuple[Tensor, ...], lease: _Checkout, kind: _CallSite, outs: list[np.ndarray]
) -> Any:
    """The output, or the outputs, with a history of one operation."""
    recording = lease.recording
    saved = (*[args[i] for i in recording.read_inputs], *recording.read_tensors)
    operands = (*args, *recording.trained)
    if recording.put_in_order is not None:
        operands = recording.put_in_order(operands)
    node = _ReplayNode(recording.title, operands, by_method, saved, True, by_method)
    node.model, node.inputs, node.lease, node.site, node.outs = model, args, lease, kind, outs
    node.arrays = [t._data for t in args]
    if recording.constants:
        # It is computed again from them too.
        operands, versions = node.read
        constants = [0 if t._memory.inference else t._memory.version for t in recording.constants]
        node.read = (*operands, *recording.constants), [*versions, *constants]
    if recording.many is None:
        results = [_wrap(outs[0], node)]
    else:
        node.width = len(outs)
        results = [_wrap(out, part_node(node, i)) for i, out in enumerate(outs)]
    node.memories = [t._memory for t in results]
    for i in recording.read_outputs:
        node.guard(results[i])
    return results[0] if recording.many is None else recording.many(results)


def _after_fork_in_child() -> None:
    # Another thread of the parent may have been recording.
    if not capture_state.is_mine():
        _recording.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)

modules.runner[:] = [call]
