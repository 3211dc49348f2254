"""The captured training step: forward, loss, backward and update as one list of launches.

A replay writes the addresses of the new batch into the argument blocks, sets the states of the random
draws, lets the optimizer write its scalars, and runs the list.
"""

from __future__ import annotations

import itertools
import operator
import time
import types
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastnn._autograd.engine import anomaly
from fastnn._autograd.modes import enable_grad
from fastnn._core import capture_state
from fastnn._core.autocast import state as autocast
from fastnn._core.capture_state import Uncapturable
from fastnn._core.settings import check_model_precision
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.capture.anomaly import checked
from fastnn.capture.changes import code_of, what_is_changed
from fastnn.capture.epoch import Column, Columns, Source, Steps, can_run_ahead
from fastnn.capture.guards import (
    MOST_PROGRAMS,
    Guards,
    Inputs,
    Name,
    Spans,
    check_complete,
    grads_are_free,
    is_ours,
    outline,
    reason_of,
    rebase_gradients,
    rolled_back,
    same_launch,
    span,
    tracing_into,
)
from fastnn.capture.source_check import find_side_effects
from fastnn.capture.values import Values
from fastnn.kernels.matmul.fusion import fuse_relu_backward
from fastnn.kernels.rows.take_rows import check_indices
from fastnn.kernels.runtime import launcher, thread_count
from fastnn.kernels.runtime.program import Program
from fastnn.nn.module import Module
from fastnn.nn.module_members import changes, writes
from fastnn.nn.utils.clip_grad import clip_grad_norm_, flat_gradients, scale_gradients
from fastnn.ops.creation import from_numpy
from fastnn.optim.clip import Clip
from fastnn.optim.optimizer import Optimizer
from fastnn.random import Numbers

# Allowed traces in which modules outside the model change: another thread may have changed them.
_MOST_DISTURBED = 8
# The most captures in sequence that take longer than what they are for.
_MOST_HASTY = 8


class _Disturbed(Uncapturable):
    """Some module was changed during a trace."""


class Captured:
    """A traced step for one shape and mode."""

    def __init__(
        self, program: Program, watch: capture_state.Watch, inputs: Inputs, loss: np.ndarray, guards: Guards
    ) -> None:
        self.program, self.watch, self.inputs, self.loss, self.guards = program, watch, inputs, loss, guards
        # What its functions read from outside, if they do, and the times of the beginning and end of its capture.
        self.values: Values | None = None
        self.began = self.ended = 0.0
        self.content_guards = [(inputs.number_of(array), holds) for array, holds in program.content_guards]
        # Launches of the forward and backward passes; the optimizer's follow.
        self.head = len(program)
        self.trained = [p for p in guards.parameters if p._requires_grad]
        # The memory of their gradients, once it was asked for.
        self._gradients: list[np.ndarray] | None = None
        # The optimizer's other parameters, with the number of groups that were searched.
        self.others: tuple[int, list[Any]] = 0, []
        # Many steps in one call with batches of the source that it was last asked for.
        self.steps: tuple[Source, Steps | None] | None = None
        # The generators whose draws the replays use, and whether NumPy's numbers are among them.
        self.generators: dict[Any, bool] = {}
        for _, draw in watch.draws:
            of_numpy = isinstance(draw, Numbers)
            # The others are methods of a generator.
            drawn: Any = draw
            generator = draw.generator if isinstance(draw, Numbers) else drawn.__self__
            self.generators[generator] = self.generators.get(generator, False) or of_numpy

    def steps_over(self, source: Source, size: int) -> Steps | None:
        """Many steps in one call, with batches of this source; None if that is not possible."""
        if self.steps is None or self.steps[0] is not source:
            try:
                made = Steps(self, source, size)
            except Uncapturable:
                made = None
            self.steps = source, made
        return self.steps[1]

    def gradients(self) -> list[np.ndarray]:
        """The memory of the gradients that the program writes, after its first replay; neighbours are one array."""
        if self._gradients is None:
            self._gradients = flat_gradients(self.trained)
        return self._gradients

    def drop_gradients(self) -> None:
        for p in self.trained:
            p._grad = None

    def forget_others(self, optimizer: Optimizer) -> None:
        """Drop the gradients that this step does not write, as ``zero_grad`` does: mainly of frozen parameters."""
        groups = optimizer.param_groups
        if len(groups) != self.others[0]:
            trained = {id(p) for p in self.trained}
            self.others = len(groups), [p for group in groups for p in group["params"] if id(p) not in trained]
        for p in self.others[1]:
            p._grad = None

    def append_update(self, launches: list[launcher.Launch]) -> None:
        """Append the optimizer's launches, unless they are there already."""
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


class Refusal:
    """Why steps of a kind run eagerly: because of the code in ``names``, or of a state that may change."""

    def __init__(self, reason: str, guards: Guards | None = None, names: Sequence[Name] = ()) -> None:
        self.reason, self.guards, self.names = reason, guards, names


class CompiledStep:
    """A training step of a model: forward, loss, backward and update, captured for each shape and mode.

    Args:
        model: called on the inputs.
        criterion: ``criterion(model(*inputs), target)`` is the loss.
        optimizer: updates the parameters.
        max_grad_norm: if given, the limit of the norm of all gradients of the optimizer's parameters together;
            not negative.
        norm_type: which norm: 1, 2 or infinity.
        precision: "float32" or "float64", that of the model's parameters; or "medium", also called "bf16", for float32
            with products that may be made in bfloat16, where the CPU does that faster (none does for now). None for
            that of the model.

    Calling it with ``(*inputs, target)`` is equivalent to these lines, with the same numbers::

        optimizer.zero_grad()
        loss = criterion(model(*inputs), target)
        loss.backward()
        clip_grad_norm_(parameters, max_grad_norm, norm_type)  # if there is a limit
        optimizer.step()
        return loss.detach()

    The gradients are clipped as the optimizer's kernels read them: the kernels multiply by
    ``min(1, max_grad_norm / (norm + 1e-6))``. ``p.grad`` is scaled after the update, or before it for an optimizer with
    a user-defined ``step`` or with step hooks. As with ``clip_grad_norm_``, a NaN norm makes every parameter NaN.
    :attr:`grad_norm` is the norm before clipping.

    If the step cannot be captured, these lines run eagerly; :meth:`explain` says why.

    Ctrl-C, or another exception, in a captured step leaves parameters, buffers, the optimizer's state and the random
    draws as they were before the step or as they are after it; in the first case, or with a limit, gradients are None.
    (Under ``fastnn.profile``, and in an eager step, it may interrupt between two of the lines above, or between the
    updates of two groups; each group's step count still matches its parameters.)

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

    def __init__(
        self, model: Module, criterion: Callable[..., Tensor], optimizer: Optimizer, *,
        max_grad_norm: float | None = None, norm_type: float = 2.0, precision: str | None = None,
    ) -> None:  # fmt: skip
        if not isinstance(model, Module):
            raise TypeError(f"model must be a Module, found {type(model).__name__}")
        if not callable(criterion):
            raise TypeError(f"criterion must be callable, found {type(criterion).__name__}")
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer must be an Optimizer, found {type(optimizer).__name__}")
        kinds = [p.dtype for p in model.parameters()]
        check_model_precision(precision, kinds, ("float32", "medium", "bf16", "float64"))
        self.precision = precision
        self.model, self.criterion, self.optimizer = model, criterion, optimizer
        self._clip = None if max_grad_norm is None else Clip(max_grad_norm, norm_type)
        self._has_norm = False
        self._programs: dict[tuple[Any, ...], Captured] = {}
        # Shapes and modes that run eagerly, and why.
        self._refused: dict[tuple[Any, ...], Refusal] = {}
        self._warmed: set[tuple[Any, ...]] = set()
        # Of the last run.
        self._columns = Columns()
        # The last schedule, and whether it can run ahead: to look into its functions takes 0.1 ms.
        self._schedule: tuple[weakref.ref[Any] | None, bool] = None, True
        # Steps under `detect_anomaly`.
        self._checked = 0
        self._last = ""
        self._disturbed = 0
        # The number of captures in sequence that were replaced too early, and the value that changed.
        self._hasty, self._varying = 0, ""

    def explain(self) -> str:
        """Describe what runs captured, and why something does not."""
        count = len(self._programs)
        lines = [f"captured: {count} program{'s' * (count != 1)}"]
        for key, refusal in self._refused.items():
            lines.append(f"eager for {_readable(key)}: {refusal.reason}")
        if self._last:
            lines.append(f"the last step ran eagerly: {self._last}")
        return "\n".join(lines)

    @property
    def grad_norm(self) -> Tensor | None:
        """The norm of the last step's gradients before they were clipped; None without a limit or a step.

        >>> import fastnn
        >>> model = fastnn.nn.Linear(1, 1, bias=False)
        >>> sgd = fastnn.optim.SGD(model.parameters(), lr=0.1)
        >>> step = fastnn.compile_step(model, lambda out, target: (out * target).sum(), sgd, max_grad_norm=1.0)
        >>> before = model.weight.item()
        >>> _ = step(fastnn.tensor([[3.0]]), fastnn.tensor([[4.0]]))
        >>> step.grad_norm, round(before - model.weight.item(), 6)
        (tensor(12.), 0.1)
        """
        return _wrap(self._clip.norm[0, ...].copy()) if self._clip is not None and self._has_norm else None

    def __call__(self, *batch: Any) -> Tensor:
        """One step on ``(*inputs, target)``; the loss, without a gradient."""
        tensors = [t if isinstance(t, Tensor) else _as_tensor(t) for t in batch]
        key = (thread_count._threads, *[(t._data.shape, t._data.dtype, t._requires_grad) for t in tensors])
        captured = self._programs.get(key)
        self._last = ""
        if anomaly["enabled"]:
            return checked(self, tensors)
        if autocast.enabled:
            self._last = "under autocast"
            return self._eager(tensors)
        if captured is not None:
            changed = "" if captured.values is None else captured.values.changed()
            if changed or not captured.guards.hold():
                changed = changed or captured.guards.changed_attribute()
                self._programs.clear()
                self._refused.clear()
                if changed:
                    self._value_changed(captured, changed)
            elif self._is_ready(captured):
                return self._replay(captured, tensors)
            return self._eager(tensors)
        refusal = self._refused.get(key)
        if key not in self._warmed or (refusal is not None and not self._is_over(refusal, tensors)):
            # The first step of a kind is eager: it does the one-time set-up (state, gradients, machine code).
            self._warmed.add(key)
            return self._eager(tensors)
        guards = self._guards()
        reason = self._reason_against(guards, tensors)
        if reason:
            self._refused[key] = Refusal(reason, guards)
            return self._eager(tensors)
        reason, disturbed = "", False
        changed = what_is_changed(self.criterion)
        if self._hasty >= _MOST_HASTY:
            self._refused[key] = Refusal(f"a value that the step reads changes all the time: {self._varying}")
            return self._eager(tensors)
        if changed:
            reason = f"the criterion changes something outside itself: {changed}"
            self._refused[key] = Refusal(reason, names=[*code_of(self.criterion), (self, "criterion", self.criterion)])
            return self._eager(tensors)
        began = time.perf_counter()
        values = Values(guards.classes, [self.criterion])
        try:
            captured = self._capture(tensors, guards)
            captured.values, captured.began, captured.ended = values or None, began, time.perf_counter()
        except Exception as error:
            reason = reason_of(error)
            disturbed = isinstance(error, _Disturbed)
        if captured is None:
            # Not inside the handler: the error holds the trace, and with it the gradient slots. An error of the step
            # itself is raised by the eager step, with the side effects up to that point.
            self._disturbed += disturbed
            if not disturbed or self._disturbed >= _MOST_DISTURBED:
                self._refused[key] = Refusal(reason, names=guards.names)
            return self._eager(tensors)
        self._refused.pop(key, None)
        while len(self._programs) >= MOST_PROGRAMS:
            del self._programs[next(iter(self._programs))]
        self._programs[key] = captured
        return self._replay(captured, tensors)

    def _guards(self) -> Guards:
        """Guards of the step; a criterion of a user, or one with a function of a user, may read any attribute."""
        of: Any = self.criterion
        given: tuple[Any, ...] = ()
        if isinstance(of, Module):
            of, given = type(of), tuple(vars(of).values())
        is_known = isinstance(of, (type, types.FunctionType)) and is_ours(of) and not any(map(callable, given))
        reason, names, reads = find_side_effects(self.model) if is_known else ("unknown", [], {})
        return Guards(self.model, self.criterion, names=names, reads=None if reason else reads)

    def _value_changed(self, captured: Captured, name: str) -> None:
        """Count the captures that took longer than the replays that they were for."""
        used = time.perf_counter() - captured.ended
        self._hasty, self._varying = self._hasty + 1 if used < captured.ended - captured.began else 0, name

    def _eager(self, tensors: list[Tensor]) -> Tensor:
        self.optimizer.zero_grad()
        with enable_grad():
            loss = self.criterion(self.model(*tensors[:-1]), tensors[-1])
        loss.backward()
        self._update()
        return loss.detach()

    def _update(self) -> None:
        """The optimizer's step, with gradient clipping if requested."""
        takes_clip = self._clip is not None and self.optimizer._takes_clip()
        self._launch_update()
        if not takes_clip:
            return
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        try:
            self._scale(flat_gradients(parameters), parameters)
            for p in parameters:
                if p._grad is not None:
                    p._grad._memory.version += 1
        except BaseException:
            for p in parameters:
                p._grad = None
            raise

    def _scale(self, runs: list[np.ndarray], parameters: list[Any]) -> None:
        """Scale the gradients as ``clip_grad_norm_`` does; the kernels of the update have only read the factor."""
        if self._clip is not None:
            grads = [p._grad for p in parameters if p._grad is not None]
            scale_gradients(runs, grads, self._clip.factor.item(0))

    def _launch_update(self) -> None:
        """The optimizer's step; its kernels clip the gradients that they read, without writing them."""
        clip, optimizer = self._clip, self.optimizer
        if clip is None:
            optimizer.step()
            return
        self._has_norm = True
        if not optimizer._takes_clip():
            parameters = {id(p): p for group in optimizer.param_groups for p in group["params"]}
            clip.norm = clip_grad_norm_(parameters.values(), clip.max_norm, clip.norm_type)._data.reshape(1)
            optimizer.step()
            return
        try:
            optimizer._clip = clip
            optimizer.step()
            del optimizer._clip
        except BaseException:
            vars(optimizer).pop("_clip", None)
            raise

    # -- Many steps ---------------------------------------------------------------------------

    def run(self, *batches: Any) -> Tensor:
        """One step for each row of indices, many of them in one compiled call; the losses.

        ``step.run(*inputs, target, indices)`` does the same, with the same numbers, as ::

            fastnn.stack([step(*[t[i] for t in (*inputs, target)]) for i in indices])

        Every 30 ms at most Python is entered, so that Ctrl-C ends the run between two steps.

        Args:
            batches: the inputs and the target, with one row for each sample, and the indices of the samples of each
                batch: (steps, rows of a batch), integers.

        Raises: TypeError, ValueError and IndexError for invalid arguments, before anything is changed.

        >>> import fastnn
        >>> _ = fastnn.manual_seed(0)
        >>> model = fastnn.nn.Linear(1, 1)
        >>> step = fastnn.compile_step(model, fastnn.nn.MSELoss(), fastnn.optim.SGD(model.parameters(), lr=0.5))
        >>> x = fastnn.linspace(-1, 1, 64).reshape(64, 1)
        >>> order = fastnn.stack([fastnn.randperm(64) for _ in range(50)])
        >>> losses = step.run(x, 3 * x + 1, order.reshape(200, 16))
        >>> losses.shape, bool(losses[-1] < 1e-6)
        (torch.Size([200]), True)
        """
        if len(batches) < 3:
            raise TypeError(f"run takes inputs, a target and indices, found {len(batches)} arguments")
        *columns, given = [t if isinstance(t, Tensor) else _as_tensor(t) for t in batches]
        arrays, indices = [t._data for t in columns], given._data
        if indices.dtype.kind not in "iu":
            raise TypeError(f"indices must be integers, found {indices.dtype}")
        if indices.ndim != 2:
            raise ValueError(f"indices must have the shape (steps, rows of a batch), found shape {indices.shape}")
        indices = np.ascontiguousarray(indices, np.int64)
        for i, array in enumerate(arrays):
            name = "the target" if i == len(arrays) - 1 else f"input {i}"
            if not array.ndim or len(array) != len(arrays[0]):
                raise ValueError(f"{name} must have {arrays[0].shape[:1]} rows as input 0, found shape {array.shape}")
        check_indices(indices, len(arrays[0]))
        if any(t._requires_grad for t in columns):
            # Their gradients are summed by the eager steps.
            single = [self(*[t[_wrap(batch)] for t in columns])._data.reshape(-1) for batch in indices]
            return _wrap(np.concatenate(single or [np.zeros(0, np.float32)]))
        # The same columns in each epoch: their program is kept.
        known = [column.contents() for column in self._columns.columns]
        if len(arrays) != len(known) or not all(map(operator.is_, known, arrays)):
            self._columns = Columns(*[Column(array) for array in arrays])
        losses: list[np.ndarray] = []
        at = 0
        while at < len(indices):
            losses.append(self._advance(self._columns, indices[at:])[0])
            at += len(losses[-1])
        return _wrap(np.concatenate(losses) if losses else np.zeros(0, np.float32))

    def _advance(
        self, source: Source, indices: np.ndarray, schedule: Any = None, is_checked: bool = False,
        most: int | None = None, collected: Sequence[np.ndarray] = (),
    ) -> tuple[np.ndarray, list[np.ndarray]]:  # fmt: skip
        """Some steps, at least one, for the first rows of ``indices``, which are valid; their losses.

        Args:
            source: of the inputs and the target.
            schedule: stepped after each step, if given.
            is_checked: whether a loss that is not finite ends it, as the last; the schedule is not stepped then.
            most: the most steps.
            collected: arrays that launches of the step write, whose numbers after each step are returned, too.
        """
        count, size = indices.shape
        count = count if most is None else min(count, most)
        is_plain = not anomaly["enabled"] and not autocast.enabled
        if count > 1 and is_plain and not launcher.is_watched() and self._is_ahead(schedule):
            key = (thread_count._threads, *[(*layout, False) for layout in source.layout(size)])
            captured = self._programs.get(key)
            # Changes are noticed by the next single step.
            if (
                captured is not None
                and not (captured.values is not None and captured.values.changed())
                and captured.guards.hold()
                and self._is_ready(captured)
                and (steps := captured.steps_over(source, size)) is not None
            ):
                # One, if a step takes long: that measures again how long it takes.
                count = steps.count(captured, count)
                captured.forget_others(self.optimizer)
                for p in captured.trained:
                    p._grad_written()
                try:
                    found = steps.run(
                        captured, self.optimizer, self._clip, indices[:count], schedule, is_checked, collected
                    )
                    # Only the gradients of the last step are left.
                    if found is not None and self._clip is not None:
                        self._scale(captured.gradients(), captured.trained)
                except Uncapturable:
                    found, captured.steps = None, (source, None)
                except BaseException:
                    if self._clip is not None:
                        captured.drop_gradients()
                    raise
                if found is not None:
                    self._last = ""
                    return found
        rooms = source.rooms(size)
        source.take(rooms, indices[0])
        loss = self(*map(_wrap, rooms))._data.reshape(-1)
        if schedule is not None and not (is_checked and not np.isfinite(loss).all()):
            schedule.step()
        return loss, [array[None].copy() for array in collected]

    def _is_ahead(self, schedule: Any) -> bool:
        if schedule is None or not is_ours(type(schedule)):
            return schedule is None
        known, _ = self._schedule
        if known is None or known() is not schedule:
            # A weak reference: the schedule may hold what holds this step.
            self._schedule = weakref.ref(schedule), can_run_ahead(schedule)
        return self._schedule[1]

    # -- Tracing ------------------------------------------------------------------------------

    def _capture(self, tensors: list[Tensor], guards: Guards) -> Captured:
        first, watch, loss = self._trace(tensors, guards)
        second, again, _ = self._trace(tensors, guards)
        numbers = [[a.tobytes() for a in w.constants] for w in (watch, again)]
        if outline(first) != outline(second) or numbers[0] != numbers[1]:
            raise Uncapturable("two runs of the same step launched different kernels")
        known = Spans()
        draws = [state for state, _ in watch.draws]
        for array in (*guards.arrays, *[t._data for t in tensors], *draws, *watch.constants):
            known.add(array)
        check_complete(first, known)
        if not known.holds(loss):
            raise Uncapturable("the loss was computed outside the kernels")
        first.launches = fuse_relu_backward(first.launches, [loss, *[t._data for t in tensors], *guards.arrays])
        first.build()
        return Captured(first, watch, Inputs(first, [t._data for t in tensors]), loss, guards)

    def _is_over(self, refusal: Refusal, tensors: list[Tensor]) -> bool:
        """Whether the code or the state that prevented a capture has changed."""
        if any(getattr(owner, name, None) is not value for owner, name, value in refusal.names):
            return True
        if refusal.guards is None:
            return False
        if refusal.guards.seen != changes[0]:
            refusal.guards = self._guards()
        reason = self._reason_against(refusal.guards, tensors)
        refusal.reason = reason or refusal.reason
        return not reason

    def _reason_against(self, guards: Guards, tensors: list[Tensor]) -> str:
        found = guards.reason_against()
        if found:
            return found
        updated = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        if any(t._requires_grad for t in tensors):
            return "an input requires a gradient"
        spans = sorted(span(t._data) for t in tensors if t._data.size)
        if any(after[0] < before[1] for before, after in itertools.pairwise(spans)):
            return "two inputs share memory"
        if any(p._requires_grad and id(p) not in updated for p in guards.parameters):
            return "a parameter that needs a gradient is not the optimizer's"
        if not self.optimizer._is_capturable():
            return f"{type(self.optimizer).__name__} does not update by launches alone"
        if not grads_are_free(guards.parameters):
            return "a gradient of an earlier step is still held"
        return ""

    def _trace(self, tensors: list[Tensor], guards: Guards) -> tuple[Program, capture_state.Watch, np.ndarray]:
        program = Program()
        trained = [p for p in guards.parameters if p._requires_grad]

        def trace() -> tuple[capture_state.Watch, np.ndarray]:
            before = writes[0]
            with tracing_into(program) as watch, enable_grad():
                watch.is_step = True
                loss = self.criterion(self.model(*tensors[:-1]), tensors[-1])
                if not isinstance(loss, Tensor) or loss._data.size != 1 or not loss._requires_grad:
                    raise Uncapturable("the criterion does not return a loss of one element that needs a gradient")
                array = loss._data
                loss.backward()
                if writes[0] != before:
                    alike = guards.may_hold()
                    raise (_Disturbed if alike else Uncapturable)("an attribute of a module is assigned in the step")
                if any(p._grad is None or p._grad._data is not p._grad_place for p in trained):
                    raise Uncapturable("the gradient of a parameter does not go into its place")
            return watch, array

        watch, loss = rolled_back(guards, trace)
        rebase_gradients(program, trained)
        return program, watch, loss

    # -- Replaying ----------------------------------------------------------------------------

    def _is_ready(self, captured: Captured) -> bool:
        """Whether a replay may start: the optimizer only launches, and no gradient to be overwritten is held."""
        if not self.optimizer._is_capturable():
            self._last = f"{type(self.optimizer).__name__} does not update by launches alone"
            return False
        if not grads_are_free(captured.guards.parameters):
            self._last = "a gradient of an earlier step is still held"
            return False
        return True

    def _replay(self, captured: Captured, tensors: list[Tensor]) -> Tensor:
        # Not in the try block: in CPython 3.12 and 3.13 an exception raised in a comprehension there skips the handler.
        inputs, arrays = captured.inputs, [t._data for t in tensors]
        for k, holds in captured.content_guards:
            if not holds(np.ascontiguousarray(tensors[k]._data)):
                # If this is an error, the eager step raises it.
                self._last = "a check of the batch's contents failed"
                return self._eager(tensors)
        launches: list[launcher.Launch] = []

        def keep(*launch: Any) -> bool:
            launches.append((*launch, True))
            return True

        watcher, replaying = launcher.watcher(), False
        draws = [(g, g.position(of_numpy)) for g, of_numpy in captured.generators.items()]
        try:
            captured.forget_others(self.optimizer)
            for p in captured.trained:
                p._grad_written()
            launcher.watch(keep)
            self._launch_update()
            launcher.watch(watcher)
            captured.append_update(launches)
            for state, draw in captured.watch.draws:
                state[...] = draw()
            for buffer in captured.guards.buffers:
                buffer._memory.version += 1
            replaying = True
            inputs.replay(arrays)
            if self._clip is not None:
                self._scale(captured.gradients(), captured.trained)
        except BaseException:
            # Ctrl-C may arrive between any two lines. It does not interrupt the replay, which is one call.
            launcher.watch(watcher)
            vars(self.optimizer).pop("_clip", None)
            if self._clip is not None:
                # They may not have been scaled.
                captured.drop_gradients()
            if self.optimizer._take_back() or not replaying:
                del captured.program.launches[captured.head :]
                captured.drop_gradients()
                for generator, position in draws:
                    generator.go_to(position)
            raise
        return _wrap(captured.loss.copy())


def compile_step(
    model: Module, criterion: Callable[..., Tensor], optimizer: Optimizer, *, max_grad_norm: float | None = None,
    norm_type: float = 2.0, precision: str | None = None,
) -> CompiledStep:  # fmt: skip
    """Make a function of ``(*inputs, target)`` that does one training step: see :class:`CompiledStep`.

    Args:
        model, criterion, optimizer: of the step.
        max_grad_norm, norm_type: if given, limit the norm of all gradients together, as ``clip_grad_norm_`` does.
        precision: "float32", "medium" (or "bf16") or "float64": see :class:`CompiledStep`.

    Raises: TypeError and ValueError for invalid arguments.

    >>> import fastnn
    >>> model = fastnn.nn.Linear(3, 2)
    >>> step = fastnn.compile_step(model, fastnn.nn.CrossEntropyLoss(), fastnn.optim.SGD(model.parameters(), lr=0.1))
    >>> step(fastnn.zeros(4, 3), fastnn.tensor([0, 1, 0, 1])).shape
    torch.Size([])
    """
    return CompiledStep(
        model, criterion, optimizer, max_grad_norm=max_grad_norm, norm_type=norm_type, precision=precision
    )
