"""Many captured steps in one call: batches are gathered, and the scalars of the optimizer read, by launches.

The launches of a step are preceded by those that gather its batch. What differs from step to step is in tables with
one row for each step: the indices of the rows, the scalars of the optimizer, the states of random draws, the losses.
A replay advances the addresses of these rows (see ``Program.replay_over``), so that Python writes the tables before
the first step and reads the losses after the last one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fastnn import kernels
from fastnn._core.capture_state import Uncapturable
from fastnn.capture.changes import what_is_changed
from fastnn.capture.guards import is_ours, same_launch, span
from fastnn.capture.values import reads_numbers_alone
from fastnn.kernels.optim.optimizers import DONE
from fastnn.kernels.rows.take_rows import SOURCES
from fastnn.kernels.runtime import allocation, launcher
from fastnn.kernels.runtime.compiler import FLOAT32, FLOAT64
from fastnn.kernels.runtime.program import Program
from fastnn.optim.elementwise import Elementwise
from fastnn.optim.flat_runs import FlatRun, ReusableStep
from fastnn.optim.optimizer import Optimizer
from fastnn.random import Generator

if TYPE_CHECKING:
    from fastnn.capture.step import Captured

# The seconds after which Python is entered again, for progress bars and Ctrl-C; and the steps of the first call.
_LONGEST, _FIRST = 0.03, 8
# The most bytes of the random numbers that are drawn ahead.
_MOST_DRAWN = 2**24


class AnyColumn(Protocol):
    """Rows from which batches are gathered.

    Attributes:
        shape: of a row.
        dtype: of a batch.
        is_launched: whether batches are gathered by launches alone.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    is_launched: bool

    def take(self, out: np.ndarray, indices: np.ndarray) -> None:
        """Gather the rows ``indices``, int64, in the array of a batch."""

    def contents(self) -> np.ndarray | None:
        """All rows; None if a batch has other numbers."""


class Column:
    """An array of rows, from which batches are gathered.

    Args:
        data: (rows, ...); copied if it is not C-contiguous.
        scale, shift: if given, a batch is ``data * scale + shift``, float32, of uint8 or float32 data.
        dtype: of a batch; by default that of the data. Without a scale.
    """

    def __init__(
        self, data: np.ndarray, scale: float | None = None, shift: float = 0.0, dtype: np.dtype | None = None
    ) -> None:
        self.data = np.require(data, requirements=("C", "A"))
        self.scale, self.shift = scale, shift
        self.dtype = FLOAT32 if scale is not None else self.data.dtype if dtype is None else dtype
        self._converts = scale is None and self.dtype != self.data.dtype
        self.shape = data.shape[1:]
        width = math.prod(self.shape)
        self.flat = self.data.reshape(len(data), width)
        # Numbers are copied by their bits: any type is rows of words.
        word = {0: FLOAT64, 4: FLOAT32}.get(width * self.dtype.itemsize % 8)
        is_copied = self.data.size > 0 and not self.dtype.hasobject and not self._converts
        self._word: Any = word if is_copied else None
        self._is_converted = self._converts and self.data.size > 0 and self.data.dtype in SOURCES
        self.is_launched = scale is not None or self._is_converted or self._word is not None

    def take(self, out: np.ndarray, indices: np.ndarray) -> None:
        """Gather the rows ``indices``, int64, in the array of a batch.

        Raises: IndexError for an index out of range.
        """
        flat = out.reshape(len(out), self.flat.shape[1])
        if self.scale is not None:
            kernels.gather(flat, self.flat, indices, self.scale, self.shift)
        elif self._word is not None:
            kernels.take_rows(flat.view(self._word), self.flat.view(self._word), indices)
        elif self._is_converted:
            kernels.take_rows(flat, self.flat, indices)
        elif self._converts:
            out[...] = self.data[indices]
        else:
            np.take(self.data, indices, axis=0, out=out)

    def contents(self) -> np.ndarray | None:
        """All rows; None if they are scaled or converted."""
        return None if self.dtype != self.data.dtype or self.scale is not None else self.data


class Source(Protocol):
    """Where a step's batches come from: one array for each input and the target."""

    @property
    def is_launched(self) -> bool:
        """Whether batches are gathered by launches alone."""

    def layout(self, size: int) -> list[tuple[tuple[int, ...], np.dtype]]:
        """Shape and dtype of each array of a batch."""

    def rooms(self, size: int) -> list[np.ndarray]:
        """Arrays for a batch."""

    def take(self, rooms: list[np.ndarray], indices: np.ndarray) -> None:
        """Gather the rows ``indices``, int64."""

    def contents(self, k: int) -> np.ndarray | None:
        """All rows of array ``k``; None if a batch has other numbers."""


class Columns:
    """Arrays of rows as a :class:`Source`.

    Args:
        columns: one for each input and the target.
    """

    def __init__(self, *columns: AnyColumn) -> None:
        self.columns = columns
        self.is_launched = all(column.is_launched for column in columns)

    def layout(self, size: int) -> list[tuple[tuple[int, ...], np.dtype]]:
        """Shape and dtype of each array of a batch."""
        return [((size, *column.shape), column.dtype) for column in self.columns]

    def rooms(self, size: int) -> list[np.ndarray]:
        """New arrays for a batch."""
        return [allocation.empty(shape, dtype) for shape, dtype in self.layout(size)]

    def take(self, rooms: list[np.ndarray], indices: np.ndarray) -> None:
        """Gather the rows ``indices``, int64."""
        for i, (column, room) in enumerate(zip(self.columns, rooms, strict=True)):
            if i:
                launcher.independent()
            column.take(room, indices)

    def contents(self, k: int) -> np.ndarray | None:
        """All rows of array ``k``; None if they are scaled or converted."""
        return self.columns[k].contents()


class Steps:
    """The steps of a captured program, with batches of one size from the same source.

    Args:
        captured: the step. It holds this; a reference back would keep model and data until a garbage collection.
        source: of the batches.
        size: rows in a batch.

    Raises: Uncapturable if they cannot run in one call.
    """

    def __init__(self, captured: Captured, source: Source, size: int) -> None:
        self.source = source
        self._indices = np.zeros(size, np.int64)
        self._rooms = source.rooms(size)
        if not source.is_launched:
            raise Uncapturable("a batch is not gathered by a launch")
        expected = [(room.shape, room.dtype, room.strides) for room in self._rooms]
        if captured.inputs.layouts != expected:
            raise Uncapturable("the step was captured with batches that are not contiguous")
        gathers = Program()
        with gathers.recording():
            source.take(self._rooms, self._indices)
        self._gathers = gathers.launches
        self._program = Program()
        self._source: list[launcher.Launch] = []
        # Time of a step, in seconds; None before the first call.
        self._pace: float | None = None

    def _build(self, captured: Captured, runs: list[tuple[int, FlatRun]], collected: Sequence[np.ndarray]) -> None:
        """Build the program again, if the optimizer's launches have changed."""
        source = captured.program.launches
        if len(source) == len(self._source) and all(a is b for a, b in zip(source, self._source, strict=True)):
            return
        spans = [(*span(array), room) for array, room in zip(captured.inputs.traced, self._rooms, strict=True)]

        def moved(array: np.ndarray) -> np.ndarray:
            at = array.ctypes.data
            for low, high, room in spans:
                if array.size and low <= at < high:
                    memory = room.data
                    return np.ndarray(array.shape, array.dtype, memory, at - low, array.strides)
            return array

        launches = [
            (kernel, parts, tuple(map(moved, arrays)), scalars, waits)
            for kernel, parts, arrays, scalars, waits in source
        ]
        varying = [self._indices, captured.loss, *_states(captured.watch.draws), *_hypers(_repeats(runs)), *collected]
        for array in varying:
            low, high = span(array)
            for _, _, arrays, _, _ in launches:
                for other in arrays:
                    if not other.size:
                        continue
                    first, last = span(other)
                    if first < high and low < last and not (first == low and last <= high):
                        raise Uncapturable("an array that differs from step to step is part of a larger one")
        self._program.launches = [*self._gathers, *launches]
        self._program.build()
        self._source = list(source)

    def count(self, captured: Captured, most: int) -> int:
        """How many of so many steps to do in one call."""
        if self._pace is None:
            return min(most, _FIRST)
        drawn = sum(state.nbytes for state, _ in captured.watch.draws)
        return max(1, min(most, int(_LONGEST / self._pace), _MOST_DRAWN // max(1, drawn)))

    def run(
        self, captured: Captured, optimizer: Optimizer, clip: Any, indices: np.ndarray, schedule: Any, is_checked: bool,
        collected: Sequence[np.ndarray] = (),
    ) -> tuple[np.ndarray, list[np.ndarray]] | None:
        """Do one step for each row of ``indices``; the losses, or None if a single step must be done first.

        Args:
            captured: the step.
            schedule: stepped after each step, if given.
            is_checked: whether the first loss that is not finite ends it; the schedule is not stepped then.
            collected: arrays that the launches write, whose numbers after each step are returned, too.
        """
        runs = repeated_runs(optimizer, clip, captured.program.launches)
        if runs is None:
            return None
        for k, holds in captured.content_guards:
            contents = self.source.contents(k)
            if contents is None:
                return None
            # Of the rows of these steps: a large data set would be read in each call.
            if not holds(contents if indices.size >= len(contents) else contents[indices.reshape(-1)]):
                return None
        self._build(captured, runs, collected)
        began = time.perf_counter()
        count = len(indices)
        draws, generators = captured.watch.draws, captured.generators
        positions = [(g, g.position(of_numpy)) for g, of_numpy in generators.items()]
        ahead = _Schedule(optimizer, schedule)
        losses = allocation.empty((count, *captured.loss.shape), captured.loss.dtype)
        tables: list[np.ndarray] = []
        done = -1
        repeats = _repeats(runs)
        # No comprehension in the try block: in CPython 3.12 and 3.13 an exception raised in one skips the handler.
        try:
            rates = ahead.step(count)
            count = len(rates)
            if not count:
                return None
            losses = losses[:count]
            tables = _tables(repeats, rates)
            states = _draw(draws, count)
            for (_, run), repeat in repeats:
                repeat.begin(run)
            for buffer in captured.guards.buffers:
                buffer._memory.version += 1
            gathered = _rows_of(collected, count)
            batches = [(self._indices, indices[:count]), (captured.loss, losses)]
            batches += zip(_hypers(repeats), tables, strict=True)
            batches += zip(_states(draws), states, strict=True)
            batches += zip(collected, gathered, strict=True)
            done = self._program.replay_over(batches, count, losses if is_checked else None)
            self._finish(repeats, tables, done)
            if is_checked and not np.isfinite(losses[done - 1]).all():
                self._rewind(captured, positions, ahead, done, is_failed=True)
        except BaseException:
            # Ctrl-C may arrive between any two lines, so each of these may be done twice. It does not interrupt the
            # replays, which are one call.
            is_failed = False
            if tables and tables[0][0, DONE]:
                done = int(tables[0][:, DONE].sum())
                self._finish(repeats, tables, done)
                is_failed = is_checked and not np.isfinite(losses[done - 1]).all()
            else:
                done = 0
                optimizer._take_back()
                for p in captured.trained:
                    p._grad = None
            self._rewind(captured, positions, ahead, done, is_failed)
            raise
        # Only the rows that were used have changed; the last state is that after a single step.
        captured.loss[...] = losses[done - 1]
        spent = (time.perf_counter() - began) / done
        self._pace = spent if self._pace is None else 0.5 * (self._pace + spent)
        return losses[:done].reshape(-1), [table[:done] for table in gathered]

    @staticmethod
    def _finish(repeats: Any, tables: list[np.ndarray], done: int) -> None:
        for ((_, run), repeat), table in zip(repeats, tables, strict=True):
            repeat.finish(run, table[done - 1], done)

    @staticmethod
    def _rewind(captured: Captured, positions: Any, ahead: _Schedule, done: int, is_failed: bool) -> None:
        """Put the generators and the schedule where ``done`` single steps would have left them."""
        for generator, position in positions:
            generator.go_to(position)
        if done:
            _draw(captured.watch.draws, done)
        ahead.go_to(done - is_failed)


def _repeats(runs: list[tuple[int, FlatRun]]) -> list[tuple[tuple[int, FlatRun], ReusableStep]]:
    return [((i, run), run.repeat) for i, run in runs if run.repeat is not None]


def _tables(repeats: list[tuple[tuple[int, FlatRun], ReusableStep]], rates: list[list[float]]) -> list[np.ndarray]:
    return [repeat.table([rate[i] for rate in rates]) for (i, _), repeat in repeats]


def _hypers(repeats: list[tuple[tuple[int, FlatRun], ReusableStep]]) -> list[np.ndarray]:
    return [repeat.cut.hyper for _, repeat in repeats]


def _states(draws: list[tuple[np.ndarray, Callable[[], np.ndarray]]]) -> list[np.ndarray]:
    return [state for state, _ in draws]


def _rows_of(arrays: Sequence[np.ndarray], count: int) -> list[np.ndarray]:
    return [allocation.empty((count, *array.shape), array.dtype) for array in arrays]


def repeated_runs(
    optimizer: Optimizer, clip: Any, launches: list[launcher.Launch]
) -> list[tuple[int, FlatRun]] | None:
    """The runs of an optimizer with their groups, if its next step repeats the last of these launches; else None."""
    if not isinstance(optimizer, Elementwise):
        return None
    runs = optimizer._repeated(clip)
    if not runs or len(launches) < len(runs):
        return None
    for (_, run), launch in zip(runs, launches[-len(runs) :], strict=True):
        assert run.repeat is not None
        again = run.repeat.again.relaunch()
        if not same_launch((again.kernel, again.parts, again.arrays, again.scalars, launch[4]), launch):
            return None
    return runs


class _Schedule:
    """A schedule that runs ahead of the steps.

    Args:
        optimizer: whose groups' learning rates it sets.
        schedule: or None.
    """

    def __init__(self, optimizer: Optimizer, schedule: Any) -> None:
        self._optimizer, self._schedule = optimizer, schedule
        self._rates = self._now()
        if schedule is not None:
            self._saved = schedule.state_dict()
            self._options = [_without_params(group) for group in optimizer.param_groups]

    def _now(self) -> list[Any]:
        return [group["lr"] for group in self._optimizer.param_groups]

    def step(self, count: int) -> list[list[float]]:
        """Step so many times; the groups' rates before each.

        Fewer if another option than the rate changes. Also if a step of the schedule raises: the single step before it
        raises the error again, when the steps of the optimizer have been made.
        """
        if self._schedule is None:
            return [self._rates] * count
        rates, options = [self._rates], self._others()
        try:
            for _ in range(count - 1):
                self._schedule.step()
                if self._others() != options:
                    return rates
                rates.append(self._now())
            self._schedule.step()
        except Exception:
            self.go_to(len(rates) - 1)
            rates.pop()
        return rates

    def _others(self) -> list[Any]:
        return [
            [value for name, value in group.items() if name not in ("lr", "params")]
            for group in self._optimizer.param_groups
        ]

    def go_to(self, steps: int) -> None:
        """Go back, then forward by so many steps."""
        if self._schedule is None:
            return
        self._schedule.load_state_dict(self._saved)
        for group, options in zip(self._optimizer.param_groups, self._options, strict=True):
            group.update(options)
        for _ in range(steps):
            self._schedule.step()


def _without_params(group: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name != "params"}


def can_run_ahead(schedule: Any) -> bool:
    """Whether a schedule only sets options by numbers, so that its steps may come before those of the optimizer.

    A function of the user's, as of ``LambdaLR``, must not read a parameter or change anything.
    """
    if not is_ours(type(schedule)) or not hasattr(schedule, "state_dict"):
        return False
    return all(map(_may_run_ahead, vars(schedule).values()))


def _may_run_ahead(part: Any) -> bool:
    """Of an attribute of a schedule: functions, and other schedules, are parts of its step."""
    if isinstance(part, (list, tuple)):
        return all(map(_may_run_ahead, part))
    if hasattr(part, "step") and not isinstance(part, Optimizer):
        return can_run_ahead(part)
    return not callable(part) or is_ours(part) or (reads_numbers_alone(part) and not what_is_changed(part))


def _draw(draws: list[tuple[np.ndarray, Callable[[], np.ndarray]]], count: int) -> list[np.ndarray]:
    """The states of ``count`` steps: for each draw a table with one row for a step, drawn in the order of the steps."""
    tables: list[Any] = [None] * len(draws)
    # Streams of their own: they do not depend on the order of the others.
    of_kernels: dict[Generator, list[int]] = {}
    others = []
    for i, (state, draw) in enumerate(draws):
        if getattr(draw, "__func__", None) is Generator.kernel_state:
            of_kernels.setdefault(draw.__self__, []).append(i)  # type: ignore[attr-defined]  # it is a method
        else:
            tables[i] = allocation.empty((count, *state.shape), state.dtype)
            others.append((tables[i], draw))
    for generator, places in of_kernels.items():
        states = generator.kernel_states(count * len(places)).reshape(count, len(places), 2)
        for k, i in enumerate(places):
            tables[i] = states[:, k].copy()
    for step in range(count if others else 0):
        for table, draw in others:
            table[step] = draw()
    return tables
