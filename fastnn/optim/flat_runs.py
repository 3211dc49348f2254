"""Runs of neighbouring parameters, and state that is stored in flat arrays but reads like PyTorch's.

A *run* is a stretch of parameters that are contiguous in a flat buffer (see :mod:`fastnn._core.flat_storage`): one
launch updates them all. Their state is in flat arrays of the same layout; ``optimizer.state[p]`` holds
tensors over its part of them.
"""

from __future__ import annotations

import functools
import operator
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastnn._core.errstate import quiet
from fastnn._core.flat_storage import Slot
from fastnn._tensor.tensor import Tensor
from fastnn.kernels.optim.optimizers import DONE, HYPER, Relaunch
from fastnn.nn.parameter import Parameter, settle
from fastnn.optim.clip import Clip


class Flag:
    """Whether a user has changed the state since the optimizer last checked."""

    __slots__ = ("raised",)

    def __init__(self) -> None:
        self.raised = False


def _noting(name: str) -> Callable[..., Any]:
    method = getattr(dict, name)

    @functools.wraps(method)
    def noting(self: Any, *args: Any, **kwargs: Any) -> Any:
        self.flag.raised = True
        return method(self, *args, **kwargs)

    return noting


class Entry(dict[str, Any]):
    """The state of one parameter: a dictionary that raises a flag when it is changed.

    Comparing all tensors of a model in every step would cost 3 us.
    """

    __slots__ = ("flag",)

    def __init__(self, flag: Flag, items: Any = ()) -> None:
        super().__init__(items)
        self.flag = flag

    __setitem__, __delitem__, __ior__ = _noting("__setitem__"), _noting("__delitem__"), _noting("__ior__")
    clear, pop, popitem = _noting("clear"), _noting("pop"), _noting("popitem")
    setdefault, update = _noting("setdefault"), _noting("update")

    def __reduce__(self) -> Any:
        return dict, (dict(self),)


class State(defaultdict[Any, Any]):
    """The states of all parameters by parameter, as in PyTorch; it also raises the flag when it is changed."""

    def __init__(self, flag: Flag) -> None:
        super().__init__(dict)
        self.flag = flag

    def __missing__(self, key: Any) -> Any:
        entry = Entry(self.flag)
        dict.__setitem__(self, key, entry)
        return entry

    __setitem__, __delitem__, __ior__ = _noting("__setitem__"), _noting("__delitem__"), _noting("__ior__")
    clear, pop, popitem = _noting("clear"), _noting("pop"), _noting("popitem")
    setdefault, update = _noting("setdefault"), _noting("update")

    def __reduce__(self) -> Any:
        return defaultdict, (dict, dict(self))

    def copy(self) -> Any:
        """The same entries in a dictionary without a flag."""
        return defaultdict(dict, self)

    __copy__ = copy


class FlatSlice:
    """The arrays of a stretch of a run, as a launch takes them.

    Args:
        hyper: the kernel's scalars, in a separate array for this stretch (see ``fastnn.kernels.optim.optimizers``).
        numbers: the numbers of each parameter, one row per name, one column per parameter.
        before: the numbers before this step; ``hyper`` shows whether the kernel has run since.
        grad_scale: an array of one number by which the kernel multiplies the gradients, or None.
    """

    __slots__ = ("before", "grad_scale", "grads", "hyper", "numbers", "state", "steps", "values")

    def __init__(self, run: FlatRun, first: int, last: int, names: tuple[str, ...]) -> None:
        lo, hi = run.bounds[first][0], run.bounds[last - 1][1]
        self.values, self.grads = run.values[lo:hi], run.grads[lo:hi]
        self.state = [run.state[name][lo:hi] for name in names]
        self.numbers = run.numbers[:, first:last]
        self.steps = self.numbers[0]
        self.hyper = np.zeros(HYPER)
        self.grad_scale: np.ndarray | None = None
        self.before: np.ndarray | None = None

    def in_float32(self) -> FlatSlice:
        """A copy in float32 of a slice in bfloat16, which no kernel takes; the numbers of the step are shared."""
        wide = FlatSlice.__new__(FlatSlice)
        for name in ("grad_scale", "hyper", "numbers", "steps", "before"):
            setattr(wide, name, getattr(self, name))
        wide.values = wide.grads = self.values.astype(np.float32)
        wide.state = [array.astype(np.float32) for array in self.state]
        return wide

    def round_from(self, wide: FlatSlice) -> None:
        """Round the result of a step back from its copy in float32."""
        for array, source in zip((self.values, *self.state), (wide.values, *wide.state), strict=True):
            quiet(np.copyto, array, source)

    def begin(self) -> None:
        """Remember the numbers before a step, in case it is rolled back."""
        self.before = self.numbers.copy()
        self.hyper[DONE] = 0.0

    def take_back(self) -> bool:
        """Restore the numbers if a step was started and its kernel has not run; whether that was so."""
        if self.before is None or self.hyper[DONE]:
            return False
        self.numbers[...] = self.before
        self.before = None
        return True


class ReusableStep:
    """A step of a whole run that can be reused, with another learning rate, while nothing else has changed.

    Args:
        again: its launch.
        cut: all of the run.
        group: the options that it was made with.
        clip: the limit of the gradients.
    """

    # Not the run, which holds this: a cycle would keep the memory until a garbage collection.
    __slots__ = ("again", "clip", "counts", "cut", "lr_at", "names", "numbers", "values")

    def __init__(self, run: FlatRun, cut: FlatSlice, again: Relaunch, group: dict[str, Any], clip: Clip | None) -> None:
        self.cut, self.again, self.clip, self.counts = cut, again, clip, bool(cut.state)
        self.names, self.values = [*group], [*group.values()]
        self.lr_at = self.names.index("lr")
        self.values[self.lr_at] = None
        self.numbers = run.numbers.tobytes()

    @staticmethod
    def is_possible(group: dict[str, Any]) -> bool:
        """Whether all options are immutable, so that identity implies equality."""
        rest = [value for name, value in group.items() if name != "params"]
        return all(isinstance(part, _FIXED) for v in rest for part in (v if type(v) is tuple else (v,)))

    def fits(self, run: FlatRun, group: dict[str, Any], clip: Clip | None) -> bool:
        """Whether another step would launch the same kernel with the same arguments."""
        values = [*group.values()]
        if len(values) != len(self.values) or type(values[self.lr_at]) is not float:
            return False
        values[self.lr_at] = None
        return (
            all(map(operator.is_, values, self.values))
            and [*group] == self.names
            and clip is self.clip
            and run.numbers.tobytes() == self.numbers
            and self.again.is_current()
        )

    def step(self, run: FlatRun, lr: float) -> None:
        """Repeat the step."""
        cut = self.cut
        for p in run.params:
            p._memory.version += 1
        cut.begin()
        steps = cut.steps.item(0) + 1
        if self.counts:
            cut.steps.fill(steps)
        self.again.launch(lr, steps)
        self.numbers = run.numbers.tobytes()

    def table(self, rates: Sequence[float]) -> np.ndarray:
        """The kernel's scalars in the next steps, one row for the learning rate of each."""
        return self.again.table(rates, self.cut.steps.item(0) + 1)

    def begin(self, run: FlatRun) -> None:
        """Remember the numbers before some steps, whose launches another program makes."""
        for p in run.params:
            p._memory.version += 1
        self.cut.begin()

    def finish(self, run: FlatRun, scalars: np.ndarray, count: int) -> None:
        """Count these steps; ``scalars``: the row of the table of the last one.

        It may be called again: Ctrl-C can arrive inside it.
        """
        cut = self.cut
        assert cut.before is not None
        cut.hyper[...] = scalars
        if self.counts and count:
            cut.steps.fill(cut.before.item(0) + count)
        self.numbers = run.numbers.tobytes()


# Types of immutable options.
_FIXED = (float, int, str, type(None))


class FlatRun:
    """Contiguous parameters, with flat arrays over their numbers, their gradients and their state.

    A tensor outside the flat buffers is a separate run.

    Args:
        params: neighbours, of one dtype.
        count: how many numbers the optimizer keeps for each parameter, in addition to its state arrays.
    """

    __slots__ = (
        "arrays", "bounds", "copied", "cuts", "entries", "flat", "grads", "numbers", "options", "owns_place", "params",
        "ready", "repeat", "slots", "state", "values",
    )  # fmt: skip

    def __init__(self, params: list[Tensor], count: int) -> None:
        self.params = params
        self.arrays = [p._data for p in params]
        self.slots: list[Slot | None] = [_slot(p) for p in params]
        first, last = self.slots[0], self.slots[-1]
        # Whether the gradient may be in a slot of the flat buffer though the numbers are not.
        self.owns_place = False
        if first is not None and last is not None:
            start = first.start
            self.values = first.chunk.values[start : last.stop]
            self.grads = first.chunk.grads[start : last.stop]
            self.bounds = [(s.start - start, s.stop - start) for s in self.slots if s is not None]
        else:
            # Outside the flat buffers: a flat view if possible, otherwise flat copies in every step.
            data = params[0]._data
            self.values = _numbers(data)
            self.grads = self.values
            self.bounds = [(0, data.size)]
            home = params[0]._slot if isinstance(params[0], Parameter) else None
            is_view = np.may_share_memory(data, self.values)
            if home is not None and data.flags.c_contiguous and is_view:
                # The gradient's slot has the layout of the numbers.
                self.grads = home.chunk.grads[home.start : home.start + data.size]
                self.owns_place = True
        self.flat = first is not None or self.owns_place
        self.copied = first is None and not np.may_share_memory(self.values, self.arrays[0])
        self.state: dict[str, np.ndarray] = {}
        self.numbers = np.zeros((count, len(params)), np.float32)
        # The state dictionary of each parameter that has one, and the names that all of them have.
        self.entries: list[Entry | None] = [None] * len(params)
        self.ready: tuple[str, ...] | None = None
        self.cuts: dict[tuple[int, int, tuple[str, ...]], FlatSlice] = {}
        # The last step, if it updated all parameters in one launch, and the options of the step before.
        self.repeat: ReusableStep | None = None
        self.options: list[Any] | None = None

    def cut(self, first: int, last: int, names: tuple[str, ...]) -> FlatSlice:
        """The arrays of parameters ``first`` to ``last``, cached."""
        key = first, last, names
        if key not in self.cuts:
            self.cuts[key] = FlatSlice(self, first, last, names)
        return self.cuts[key]

    def view(self, name: str, i: int) -> np.ndarray:
        """The state array of parameter ``i`` in its shape, sharing memory; initially zeros."""
        if name not in self.state:
            self.state[name] = np.zeros(self.values.size, self.values.dtype)
        lo, hi = self.bounds[i]
        return self._over(self.state[name][lo:hi], i)

    def _over(self, flat: np.ndarray, i: int) -> np.ndarray:
        """An array like parameter ``i`` over its part of a flat array."""
        slot, like = self.slots[i], self.arrays[i]
        if slot is not None:
            return slot.over(flat)
        return flat.reshape(like.shape[::-1]).T if _is_reversed(like) else flat.reshape(like.shape)

    def number(self, row: int, i: int) -> np.ndarray:
        """One of the numbers of parameter ``i``, a 0-d array that shares memory."""
        return self.numbers[row, i : i + 1].reshape(())

    def is_whole(self) -> bool:
        """Whether every parameter has a gradient, in its slot of the flat buffer."""
        if not self.flat:
            return False
        for p in self.params:
            grad = p._grad
            if grad is None or grad._data is not p._grad_place:
                return False
        return True

    def collect_grads(self) -> np.ndarray:
        """The gradients as one flat array; the numbers of a gradient that is None are undefined.

        The flat buffer if they are all there. Otherwise copies: the buffer's memory may belong to a
        gradient that the user still holds.
        """
        in_place = True
        for p, slot in zip(self.params, self.slots, strict=True):
            if p._grad is not None and (
                (slot is None and not self.owns_place) or p._grad._data is not p._grad_place
            ):
                in_place = False
        if in_place:
            return self.grads
        flat = np.zeros(self.values.size, self.values.dtype)
        for i, (p, (lo, hi)) in enumerate(zip(self.params, self.bounds, strict=True)):
            if p._grad is not None:
                self._over(flat[lo:hi], i)[...] = p._grad._data
        return flat

    def stretches(self) -> list[np.ndarray]:
        """The gradients as flat arrays, split at parameters without a gradient."""
        if self.is_whole():
            return [self.grads]
        grads, found, first = self.collect_grads(), [], 0
        for i, p in enumerate(self.params):
            if p._grad is None:
                first = i + 1
            elif i + 1 == len(self.params) or self.params[i + 1]._grad is None:
                found.append(grads[self.bounds[first][0] : self.bounds[i][1]])
        return found

    def is_even(self) -> bool:
        """Whether all parameters have the same numbers."""
        columns = self.columns()
        return columns.count(columns[0]) == len(columns)

    def columns(self) -> list[tuple[float, ...]]:
        """The numbers of each parameter: parameters with equal ones can be updated together."""
        return list(zip(*self.numbers.tolist(), strict=True))


class Layout:
    """The runs of a group.

    Args:
        params: of the group, possibly with duplicates.
        count: see :class:`FlatRun`.
    """

    __slots__ = ("arrays", "params", "repeated", "runs")

    def __init__(self, params: list[Tensor], count: int) -> None:
        settle(params)
        self.params, self.arrays = list(params), [p._data for p in params]
        runs: list[list[Tensor]] = []
        known: set[int] = set()
        again: list[Tensor] = []
        for p in params:
            if id(p) in known:
                again.append(p)
                continue
            known.add(id(p))
            slot, before = _slot(p), _slot(runs[-1][-1]) if runs else None
            if slot is not None and before is not None and before.chunk is slot.chunk and before.stop == slot.start:
                runs[-1].append(p)
            else:
                runs.append([p])
        self.runs = [FlatRun(neighbours, count) for neighbours in runs]
        places = {id(p): (run, i) for run in self.runs for i, p in enumerate(run.params)}
        # The positions of duplicate parameters.
        self.repeated = [places[id(p)] for p in again]

    def holds(self, params: list[Tensor]) -> bool:
        """Whether these are still the same parameters, in the same memory."""
        return (
            len(params) == len(self.params)
            and all(map(operator.is_, params, self.params))
            and all(map(operator.is_, map(_data_of, params), self.arrays))
        )


def _is_reversed(array: np.ndarray) -> bool:
    """Whether the array is column-major only."""
    return array.flags.f_contiguous and not array.flags.c_contiguous


def _numbers(array: np.ndarray) -> np.ndarray:
    """The numbers of an array, flat: a view if they are contiguous and aligned."""
    dense = array.T if _is_reversed(array) else array
    return dense.reshape(-1) if dense.flags.c_contiguous and dense.flags.aligned else array.flatten()


_data_of = operator.attrgetter("_data")


def _slot(p: Tensor) -> Slot | None:
    return p._slot if isinstance(p, Parameter) and p._slot.array is p._data else None
