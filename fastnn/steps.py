"""The captured training step: forward, loss, backward and update as one list of launches.

A replay puts the addresses of the new batch into the blocks, names the random draws, lets the optimizer
write its scalars, and runs the list. May import ``capture``, ``nn``, ``optim``, ``tensor``, ``autograd``,
``functions``, ``tracing`` and ``fastnn.kernels``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn import tracing
from fastnn.autograd import enable_grad
from fastnn.capture import (
    MOST_PROGRAMS,
    Inputs,
    Situation,
    Spans,
    check_complete,
    grads_are_free,
    let_go,
    outline,
    same_launch,
    span,
    tracing_into,
    undone,
)
from fastnn.functions import from_numpy
from fastnn.kernels import jit
from fastnn.kernels.program import Program
from fastnn.nn.module import Module
from fastnn.nn.registry import changes
from fastnn.optim.optimizer import Optimizer
from fastnn.tensor import Tensor, _wrap
from fastnn.tracing import Uncapturable


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
        if len(known) != len(launches) or not all(map(same_launch, known, launches)):
            self.program.launches[self.head :] = launches
            self.program.build()
            self.inputs.find()


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
            elif self._is_ready(captured):
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
        while len(self._programs) >= MOST_PROGRAMS:
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
        if outline(first) != outline(second):
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
        spans = sorted(span(t._data) for t in tensors if t._data.size)
        if any(after[0] < before[1] for before, after in itertools.pairwise(spans)):
            return "two inputs share memory"
        if any(p._requires_grad and id(p) not in updated for p in situation.parameters):
            return "a parameter that needs a gradient is not the optimizer's"
        if not self.optimizer._is_capturable():
            return f"{type(self.optimizer).__name__} does not update by launches alone"
        if not grads_are_free(situation.parameters):
            return "a gradient of an earlier step is still held"
        return ""

    def _trace(self, tensors: list[Tensor], situation: Situation) -> tuple[Program, tracing.Watch, np.ndarray]:
        program = Program()
        trained = [p for p in situation.parameters if p._requires_grad]
        before = changes[0]
        with undone(situation), tracing_into(program) as watch, enable_grad():
            loss = self.criterion(self.model(*tensors[:-1]), tensors[-1])
            if not isinstance(loss, Tensor) or loss._data.size != 1 or not loss._requires_grad:
                raise Uncapturable("the criterion does not return a loss of one element that needs a gradient")
            array = loss._data
            loss.backward()
            if changes[0] != before:
                raise Uncapturable("an attribute of a module is assigned in the step")
            if any(p._grad is None or p._grad._data is not p._grad_place for p in trained):
                raise Uncapturable("the gradient of a parameter does not go into its place")
        let_go(program, trained)
        return program, watch, array

    # -- Replaying ----------------------------------------------------------------------------

    def _is_ready(self, captured: Captured) -> bool:
        """Whether a replay may begin: the optimizer launches only, and nothing is held that would be written over."""
        if not self.optimizer._is_capturable():
            self._last = f"{type(self.optimizer).__name__} does not update by launches alone"
            return False
        if not grads_are_free(captured.situation.parameters):
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


def compile_step(model: Module, criterion: Callable[..., Tensor], optimizer: Optimizer) -> CompiledStep:
    """A function of ``(*inputs, target)`` that does one training step: see :class:`CompiledStep`.

    >>> import fastnn
    >>> model = fastnn.nn.Linear(3, 2)
    >>> step = fastnn.compile_step(model, fastnn.nn.CrossEntropyLoss(), fastnn.optim.SGD(model.parameters(), lr=0.1))
    >>> step(fastnn.zeros(4, 3), fastnn.tensor([0, 1, 0, 1])).shape
    torch.Size([])
    """
    return CompiledStep(model, criterion, optimizer)
