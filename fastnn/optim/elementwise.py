"""Elementwise: base of the optimizers that update each number independently, by a kernel over flat arrays.

A subclass names its state and writes ``_update`` for flat arrays. It is called in each step once per run of
neighbouring parameters, usually once per model.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

import numpy as np

from fastnn._autograd.modes import enable_grad
from fastnn._core.dtypes import FLOATING
from fastnn._core.errors import DTypeError
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.kernels.optim.optimizers import Relaunch
from fastnn.optim.clip import Clip
from fastnn.optim.flat_runs import Entry, Flag, FlatRun, FlatSlice, Layout, ReusableStep, State
from fastnn.optim.optimizer import Optimizer

# Options that must not be negative, as PyTorch names them in its errors.
_LABELS = {
    "lr": "learning rate", "eps": "epsilon value", "weight_decay": "weight_decay value", "momentum": "momentum value",
    "lr_decay": "lr_decay value", "momentum_decay": "momentum_decay value",
    "initial_accumulator_value": "initial_accumulator_value value",
}  # fmt: skip


class Elementwise(Optimizer):
    """Base of the optimizers that update each number independently.

    Args:
        params, defaults: as for :class:`Optimizer`.

    Raises: ValueError for invalid options, also for ``differentiable=True``; RuntimeError for
        ``fused`` and ``foreach`` together.
    """

    # Scalar state of each parameter, in PyTorch's order; the first counts the steps.
    _numbers: tuple[str, ...] = ("step",)
    # Whether it is in the state that a user sees.
    _shows_numbers = True
    # Names of a parameter's state arrays, in the order of `_update`'s arguments.
    _arrays: tuple[str, ...] = ()

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        self._flag = Flag()
        self._layouts: list[Layout] = []
        self._repeats = self._is_repeated()
        self._check(defaults)
        if defaults.get("fused") and defaults.get("foreach"):
            raise RuntimeError("`fused` and `foreach` cannot be `True` together, found both.")
        super().__init__(params, defaults)

    # -- Methods for subclasses -----------------------------------------------------------------

    def _array_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        """Names of the state arrays for a group with these options."""
        return self._arrays

    def _first(self, name: str, group: dict[str, Any]) -> float:
        """The initial value of a number or a state array."""
        return 0.0

    def _update(self, cut: FlatSlice, grads: np.ndarray, group: dict[str, Any]) -> Relaunch | None:
        """Update ``cut.values`` in place; return the launch if the next one differs only in ``lr`` and ``step``.

        A reused step does not call it if it is one of fastnn's own methods.

        Args:
            cut: parameters that have the same numbers; the step count includes this step.
            grads: the gradients, flat; copies if they are not in ``cut.grads``.
        """
        raise NotImplementedError

    def _check(self, group: dict[str, Any]) -> None:
        """Raise for an invalid option."""
        lr = group.get("lr")
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError(f"Tensor lr must be 1-element, found shape {tuple(lr.shape)}")
        for name, label in _LABELS.items():
            if name in group:
                value = group[name]
                if not hasattr(value, "__float__"):
                    raise TypeError(f"{name} must be a number, found {value!r}")
                if not value >= 0.0:
                    raise ValueError(f"Invalid {label}: {value}")
        if "betas" in group:
            betas = group["betas"]
            is_pair = isinstance(betas, (tuple, list)) and len(betas) == 2
            if not is_pair or not all(hasattr(beta, "__float__") for beta in betas):
                raise TypeError(f"betas must be two numbers, found {betas!r}")
            for i, beta in enumerate(betas):
                if not 0.0 <= beta < 1.0:
                    raise ValueError(f"Invalid beta parameter at index {i}: {beta}")
        if group.get("differentiable"):
            raise ValueError("fastnn's optimizers are not differentiable, found differentiable=True")

    @classmethod
    def _is_repeated(cls) -> bool:
        """Whether ``_update`` is one of fastnn's own, whose steps differ only in ``lr`` and the count."""
        return cls._numbers == ("step",) and cls._update.__module__.startswith("fastnn.")

    # -- Groups ---------------------------------------------------------------------------------

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with their own options.

        Raises: TypeError and ValueError, before anything is changed.
        """
        if isinstance(param_group, dict):
            self._check({**self.defaults, **param_group})
        super().add_param_group(param_group)
        self._layouts.append(Layout(self.param_groups[-1]["params"], len(self._numbers)))

    def _check_param(self, p: Any) -> None:
        super()._check_param(p)
        if p._data.dtype.kind not in FLOATING:
            raise DTypeError(f"optimizer can only optimize floating point Tensors, found {p.dtype}")

    def _layout(self, i: int) -> Layout:
        """The runs of group ``i``, rebuilt if memory was replaced or the list was changed."""
        group = self.param_groups[i]
        if i < len(self._layouts) and self._layouts[i].holds(group["params"]):
            return self._layouts[i]
        layout = Layout(group["params"], len(self._numbers))
        self._take_over(layout, group)
        self._layouts[i : i + 1] = [layout]
        return layout

    # -- State ----------------------------------------------------------------------------------

    def _make_state(self) -> State:
        return State(self._flag)

    def _take_over(self, layout: Layout, group: dict[str, Any]) -> None:
        """Move the state of these parameters into their runs."""
        for run in layout.runs:
            run.ready, run.entries, run.repeat = None, [None] * len(run.params), None
            for i, p in enumerate(run.params):
                saved = self.state.get(p)
                if saved:
                    self._begin(run, i, group, saved)

    def _look_at_state(self) -> None:
        """Apply changes of the state by a user, or by ``load_state_dict``."""
        if not isinstance(self.state, State) or self.state.flag is not self._flag:
            state = self._make_state()
            for key, entry in self.state.items():
                dict.__setitem__(state, key, entry)
            self.state = state
        del self._layouts[len(self.param_groups) :]
        for i, group in enumerate(self.param_groups):
            self._take_over(self._layout(i), group)
        self._flag.raised = False

    def _number(self, name: str, group: dict[str, Any], saved: Mapping[str, Any]) -> float:
        return self._first(name, group) if saved.get(name) is None else float(saved[name])

    def _begin(self, run: FlatRun, i: int, group: dict[str, Any], saved: Mapping[str, Any]) -> None:
        """Put the state of a parameter into its run: its saved values, and initial values for the rest."""
        p = run.params[i]
        tensors = dict(saved)
        for row, name in enumerate(self._numbers):
            run.numbers[row, i] = self._number(name, group, saved)
            if self._shows_numbers:
                tensors[name] = _wrap(run.number(row, i))
        for name in dict.fromkeys((*self._array_names(group), *run.state)):
            value = saved.get(name)
            if value is None and name not in self._array_names(group):
                continue
            view = run.view(name, i)
            if value is None:
                view[...] = self._first(name, group)
            elif value._data.shape != view.shape:
                raise RuntimeError(f"state {name} has shape {value._data.shape}, its parameter {view.shape}")
            elif value._data is not view:
                view[...] = value._data
            tensors[name] = _wrap(view)
        entry = self.state.get(p)
        if not isinstance(entry, Entry) or entry.flag is not self._flag:
            entry = Entry(self._flag)
            dict.update(entry, tensors)
            dict.__setitem__(self.state, p, entry)
        # The saved values are in it already: nothing is lost if this is interrupted here.
        dict.update(entry, tensors)
        run.entries[i] = entry

    def __getstate__(self) -> dict[str, Any]:
        """For ``pickle`` and ``copy``: the runs are left out, as the copy has other memory."""
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name not in ("_flag", "_layouts")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.__dict__.setdefault("_flag", Flag())
        self.__dict__.setdefault("_layouts", [])
        self._repeats = self._is_repeated()
        for group in self.param_groups:
            # Options that an older version did not have.
            for name, value in self.defaults.items():
                group.setdefault(name, value)
        self._look_at_state()

    def _check_saved(self, number: Hashable, p: Tensor, entry: Any) -> None:
        for name, value in entry.items():
            if isinstance(value, Tensor) and name not in self._numbers and value._data.shape != p._data.shape:
                raise ValueError(
                    f"state {name} of parameter {number} must have shape {tuple(p.shape)}, found {tuple(value.shape)}"
                )

    def _takes_clip(self) -> bool:
        # A user-defined method, of the class or of this object, or a hook may do anything with the gradients.
        kind = type(self)
        if kind.step is not Elementwise.step or kind.zero_grad is not Optimizer.zero_grad:
            return False
        return not ("step" in self.__dict__ or "zero_grad" in self.__dict__ or self._has_step_hooks())

    def _is_capturable(self) -> bool:
        if not self._takes_clip():
            return False
        return all(run.flat and run.values.dtype.kind == "f" for layout in self._layouts for run in layout.runs)

    # -- Steps ----------------------------------------------------------------------------------

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        Args:
            closure: recomputes the loss and returns it.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        if self._flag.raised or getattr(self.state, "flag", None) is not self._flag:
            self._look_at_state()
        try:
            if self._clip is not None:
                self._clip.measure(self._gradients())
            for i, group in enumerate(self.param_groups):
                layout, names = self._layout(i), self._array_names(group)
                for run in layout.runs:
                    self._step_run(run, group, names)
                for run, k in layout.repeated:
                    run.repeat = None
                    if run.params[k]._grad is not None:
                        self._step_stretch(run, k, k + 1, run.collect_grads(), names, group)
        except BaseException:
            # Ctrl-C, or an option that the kernel rejects.
            self._take_back()
            raise
        return loss

    def _take_back(self) -> bool:
        cuts = [cut for layout in self._layouts for run in layout.runs for cut in run.cuts.values()]
        return any([cut.take_back() for cut in cuts])  # noqa: C419  # all are

    def _gradients(self) -> list[np.ndarray]:
        """All gradients once, as flat arrays: one array for neighbours."""
        groups = range(len(self.param_groups))
        return [stretch for i in groups for run in self._layout(i).runs for stretch in run.stretches()]

    def _repeated(self, clip: Clip | None) -> list[tuple[int, FlatRun]] | None:
        """The runs in the order of their launches, with the numbers of their groups, if the next step repeats the last.

        None if it would launch anything else.
        """
        if self._flag.raised or getattr(self.state, "flag", None) is not self._flag:
            return None
        found = []
        for i, group in enumerate(self.param_groups):
            layout = self._layout(i)
            for run in layout.runs:
                if run.repeat is None or not run.is_whole() or not run.repeat.fits(run, group, clip):
                    return None
                found.append((i, run))
            if layout.repeated:
                return None
        return found

    def _step_run(self, run: FlatRun, group: dict[str, Any], names: tuple[str, ...]) -> None:
        count, repeat = len(run.params), run.repeat
        whole = run.is_whole()
        if whole and repeat is not None and repeat.fits(run, group, self._clip):
            repeat.step(run, group["lr"])
            return
        # `_note` sets both again if this step can be reused.
        run.repeat, before, run.options = None, run.options, None
        if whole:
            if run.ready != names:
                self._begin_all(run, group, names)
            if run.ready == names and (not names or count == 1 or run.is_even()):
                again = self._step_stretch(run, 0, count, run.grads, names, group)
                if again is not None and self._repeats and "_update" not in self.__dict__:
                    self._note(run, run.cut(0, count, names), again, group, before)
                return
        self._begin_all(run, group, names)
        grads, columns, first = run.collect_grads(), run.columns(), 0
        while first < count:
            if run.params[first]._grad is None:
                first += 1
                continue
            # A stretch of parameters with gradients and equal numbers.
            last = first + 1
            while last < count and run.params[last]._grad is not None and columns[last] == columns[first]:
                last += 1
            self._step_stretch(run, first, last, grads, names, group)
            first = last

    def _note(
        self, run: FlatRun, cut: FlatSlice, again: Relaunch, group: dict[str, Any], before: list[Any] | None
    ) -> None:
        """Prepare to reuse a step, if its options are those of the step ``before``."""
        if type(group["lr"]) is not float:
            return
        options = run.options = list(group.values())
        if before is not None and len(before) == len(options) and ReusableStep.is_possible(group):
            lr_at = [*group].index("lr")
            before[lr_at] = options[lr_at]
            if all(map(operator.is_, before, options)):
                run.repeat = ReusableStep(run, cut, again, group, self._clip)

    def _begin_all(self, run: FlatRun, group: dict[str, Any], names: tuple[str, ...]) -> None:
        """Complete the state of the parameters that have a gradient."""
        if not names:
            run.ready = names
            return
        missing = any(name not in run.state for name in names)
        for i, p in enumerate(run.params):
            entry = run.entries[i]
            lacks = missing or entry is None or any(name not in entry for name in names)
            if lacks and (p._grad is not None or entry is not None):
                self._begin(run, i, group, self.state.get(p) or {})
        complete = all(entry is not None and all(name in entry for name in names) for entry in run.entries)
        run.ready = names if complete else None

    def _step_stretch(
        self, run: FlatRun, first: int, last: int, grads: np.ndarray, names: tuple[str, ...], group: dict[str, Any]
    ) -> Relaunch | None:
        cut = run.cut(first, last, names)
        cut.grad_scale = None if self._clip is None else self._clip.factor
        if run.copied:
            run.values[...] = run.arrays[0].reshape(-1)
        grads = cut.grads if grads is run.grads else grads[run.bounds[first][0] : run.bounds[last - 1][1]]
        for p in run.params[first:last]:
            p._memory.version += 1
        cut.begin()
        if names:
            # All are equal; an addition would take 0.8 us.
            cut.steps.fill(cut.steps.item(0) + 1)
        if cut.values.dtype.kind == "V":
            wide = cut.in_float32()
            self._update(wide, grads.astype(np.float32), group)
            cut.round_from(wide)
            again = None
        else:
            again = self._update(cut, grads, group)
        if run.copied:
            run.arrays[0][...] = run.values.reshape(run.arrays[0].shape)
        return again
