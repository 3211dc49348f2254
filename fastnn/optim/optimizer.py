"""Optimizer: parameter groups, state, and runs of neighbouring parameters.

A *run* is a stretch of parameters that lie side by side in a flat buffer (see :mod:`fastnn.flat`).
A subclass writes ``_update`` for flat arrays; it is called once per run and step, which for a
model made in one go means once per step. May import ``tensor``, ``parameter``, ``flat``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from fastnn.autograd import enable_grad, no_grad
from fastnn.errors import DTypeError
from fastnn.flat import Slot
from fastnn.nn.parameter import Parameter
from fastnn.tensor import Tensor, _wrap


class Run:
    """Parameters side by side, with flat arrays over their numbers, their gradients and their state.

    A tensor outside the flat buffers is a run of its own.
    """

    __slots__ = ("arrays", "bounds", "copied", "grads", "params", "slots", "state", "steps", "values")

    def __init__(self, params: list[Tensor]) -> None:
        self.params = params
        self.arrays = [p._data for p in params]
        self.slots: list[Slot | None] = [_slot(p) for p in params]
        first, last = self.slots[0], self.slots[-1]
        if first is not None and last is not None:
            start = first.start
            self.values = first.chunk.values[start : last.stop]
            self.grads = first.chunk.grads[start : last.stop]
            self.bounds = [(s.start - start, s.stop - start) for s in self.slots if s is not None]
        else:
            # Not one of ours: a flat view if it has one, otherwise flat copies at every step.
            data = params[0]._data
            self.values = data.reshape(-1)
            self.grads = self.values
            self.bounds = [(0, data.size)]
        self.copied = first is None and not np.may_share_memory(self.values, self.arrays[0])
        self.state: dict[str, np.ndarray] = {}
        self.steps = [0] * len(params)

    def buffer(self, name: str) -> np.ndarray:
        """A flat array of state, of zeros at first."""
        if name not in self.state:
            self.state[name] = np.zeros(self.values.size, self.values.dtype)
        return self.state[name]

    def view(self, name: str, i: int) -> np.ndarray:
        """The state of parameter ``i`` in its shape, sharing memory."""
        lo, hi = self.bounds[i]
        flat, slot = self.state[name][lo:hi], self.slots[i]
        return flat.reshape(self.arrays[i].shape) if slot is None else slot.over(flat)

    def collect_grads(self) -> np.ndarray:
        """The gradients side by side; what stands in the place of one that is None is of no meaning.

        The flat buffer if they all lie there. Otherwise copies: the buffer's memory may be that of a
        gradient which the user still holds.
        """
        in_place = True
        for p, slot in zip(self.params, self.slots, strict=True):
            if p._grad is not None and (slot is None or p._grad._data is not p._grad_place):  # type: ignore[attr-defined]
                in_place = False
        if in_place:
            return self.grads
        flat = np.zeros(self.values.size, self.values.dtype)
        for p, slot, (lo, hi) in zip(self.params, self.slots, self.bounds, strict=True):
            if p._grad is not None:
                place = flat[lo:hi].reshape(p._data.shape) if slot is None else slot.over(flat[lo:hi])
                place[...] = p._grad._data
        return flat


def _slot(p: Tensor) -> Slot | None:
    return p._slot if isinstance(p, Parameter) and p._slot.array is p._data else None


def _runs(params: list[Tensor]) -> list[Run]:
    runs: list[list[Tensor]] = []
    for p in params:
        slot, before = _slot(p), _slot(runs[-1][-1]) if runs else None
        if slot is not None and before is not None and before.chunk is slot.chunk and before.stop == slot.start:
            runs[-1].append(p)
        else:
            runs.append([p])
    return [Run(group) for group in runs]


class Optimizer:
    """Base of the optimizers.

    Args:
        params: tensors, or dictionaries with a key 'params' and options of their own.
        defaults: options of groups that give none.
    """

    # Names of a parameter's state arrays, in the order of `_update`'s arguments.
    _state_names: tuple[str, ...] = ()
    # Whether a parameter's state includes the number of its steps.
    _shows_step = True

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        if isinstance(params, (Tensor, dict)):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but got "
                f"{type(params).__name__}"
            )
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self._group_runs: list[list[Run]] = []
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, with options of their own."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group).__name__}")
        # The dictionary itself, as in PyTorch: who keeps it may change options through it.
        group = param_group
        params = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        known = {id(p) for g in self.param_groups for p in g["params"]}
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type(p).__name__}")
            if p._node is not None:
                raise ValueError("can't optimize a non-leaf Tensor")
            if p._data.dtype.kind != "f":
                raise DTypeError(f"optimizer can only optimize floating point Tensors, found {p.dtype}")
            if id(p) in known:
                raise ValueError("some parameters appear in more than one parameter group, or twice in one")
            known.add(id(p))
        group["params"] = params
        for name, value in self.defaults.items():
            group.setdefault(name, value)
        self._check(group)
        self.param_groups.append(group)
        self._group_runs.append(_runs(params))

    def _check(self, group: dict[str, Any]) -> None:
        """Raise ValueError for an option of the group that makes no sense."""
        for name in ("lr", "momentum", "dampening", "weight_decay", "eps"):
            if name in group and not hasattr(group[name], "__float__"):
                raise TypeError(f"{name} must be a number, found {group[name]!r}")
            if name in group and name != "dampening" and not group[name] >= 0.0:
                label = {"lr": "learning rate", "eps": "epsilon value"}.get(name, f"{name} value")
                raise ValueError(f"Invalid {label}: {group[name]}")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters (which costs nothing), or set them to zero."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p._grad = None
                elif p._grad is not None:
                    p._grad.zero_()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        Args:
            closure: computes the loss anew and returns it.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        with no_grad():
            for i, group in enumerate(self.param_groups):
                for run in self._current_runs(i):
                    self._step_run(run, group)
        return loss

    def _current_runs(self, i: int) -> list[Run]:
        runs, params = self._group_runs[i], self.param_groups[i]["params"]
        known = [p for run in runs for p in run.params]
        arrays = [a for run in runs for a in run.arrays]
        same = len(known) == len(params) and all(map(operator.is_, known, params))
        if not (same and all(map(operator.is_, [p._data for p in params], arrays))):
            # Memory was replaced, by `p.data = ...`, or the list was changed: find the neighbours anew.
            states = {id(p): s for p, s in self._states(runs)}
            runs = self._group_runs[i] = _runs(params)
            for run in runs:
                for k, p in enumerate(run.params):
                    self._restore(run, k, states.get(id(p), {}))
        return runs

    def _step_run(self, run: Run, group: dict[str, Any]) -> None:
        grads, names = run.collect_grads(), self._names(group)
        first, count = 0, len(run.params)
        if run.copied:
            run.values[...] = run.arrays[0].reshape(-1)
        while first < count:
            if run.params[first]._grad is None:
                first += 1
                continue
            # A stretch of parameters that have a gradient and are equally old.
            last = first + 1
            while last < count and run.params[last]._grad is not None and run.steps[last] == run.steps[first]:
                last += 1
            lo, hi = run.bounds[first][0], run.bounds[last - 1][1]
            step = run.steps[first] + 1
            state = [run.buffer(name)[lo:hi] for name in names]
            self._update(run.values[lo:hi], grads[lo:hi], state, step, group)
            for i in range(first, last):
                if names:
                    run.steps[i] = step
                run.params[i]._memory.version += 1
            first = last
        if run.copied:
            run.arrays[0][...] = run.values.reshape(run.arrays[0].shape)

    def _names(self, group: dict[str, Any]) -> tuple[str, ...]:
        """Names of the state arrays that a group with these options has."""
        return self._state_names

    def _update(
        self, values: np.ndarray, grads: np.ndarray, state: list[np.ndarray], step: int, group: dict[str, Any]
    ) -> None:
        """Update ``values`` in place; all arrays are flat and of one size; ``step`` counts from 1."""
        raise NotImplementedError

    # -- State --------------------------------------------------------------------------------

    def _states(self, runs: list[Run]) -> list[tuple[Tensor, dict[str, Any]]]:
        result = []
        for run in runs:
            for i, p in enumerate(run.params):
                if run.steps[i]:
                    state = {name: _wrap(run.view(name, i)) for name in run.state}
                    step = {"step": _wrap(np.array(run.steps[i], np.float32))} if self._shows_step else {}
                    result.append((p, {**step, **state}))
        return result

    @property
    def state(self) -> Mapping[Tensor, Mapping[str, Any]]:
        """The state of each parameter, in its shape; the arrays share memory with the optimizer.

        Made anew at each call and read-only: change the arrays in place, or use ``load_state_dict``.
        """
        return MappingProxyType(
            {p: MappingProxyType(s) for runs in self._group_runs for p, s in self._states(runs)}
        )

    def _restore(self, run: Run, i: int, state: Mapping[str, Any]) -> None:
        run.steps[i] = int(state["step"]) if "step" in state else int(bool(state))
        for name, value in state.items():
            if isinstance(value, Tensor) and name != "step":
                run.buffer(name)
                run.view(name, i)[...] = value._data

    def __getstate__(self) -> dict[str, Any]:
        """For ``pickle`` and ``copy``: the runs are left out, for they lie over other memory in the copy."""
        state = {name: value for name, value in self.__dict__.items() if name != "_group_runs"}
        return {**state, "state": [self._states(runs) for runs in self._group_runs]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        states = state.pop("state")
        self.__dict__.update(state)
        self._group_runs = [_runs(group["params"]) for group in self.param_groups]
        for runs, old in zip(self._group_runs, states, strict=True):
            by_parameter = {id(p): s for p, s in old}
            for run in runs:
                for i, p in enumerate(run.params):
                    self._restore(run, i, by_parameter.get(id(p), {}))

    def state_dict(self) -> dict[str, Any]:
        """Options and state, with parameters as numbers in the order of the groups."""
        numbers = {id(p): n for n, p in enumerate(p for g in self.param_groups for p in g["params"])}
        groups = [
            {**{k: v for k, v in g.items() if k != "params"}, "params": [numbers[id(p)] for p in g["params"]]}
            for g in self.param_groups
        ]
        state = {numbers[id(p)]: s for runs in self._group_runs for p, s in self._states(runs)}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over options and state from ``state_dict()`` of an optimizer with the same groups.

        Raises: ValueError where groups or shapes differ, before anything is changed.
        """
        saved = state_dict["param_groups"]
        if len(saved) != len(self.param_groups):
            raise ValueError(
                f"loaded state dict has {len(saved)} parameter groups, this optimizer has {len(self.param_groups)}"
            )
        for theirs, ours in zip(saved, self.param_groups, strict=True):
            if len(theirs["params"]) != len(ours["params"]):
                raise ValueError(
                    "loaded state dict contains a parameter group that doesn't match the size of optimizer's group"
                )
            for number, p in zip(theirs["params"], ours["params"], strict=True):
                for name, value in state_dict["state"].get(number, {}).items():
                    if isinstance(value, Tensor) and name != "step" and value._data.shape != p._data.shape:
                        raise ValueError(
                            f"state {name} of parameter {number} must have shape {tuple(p.shape)}, "
                            f"found {tuple(value.shape)}"
                        )
        for i, (theirs, ours) in enumerate(zip(saved, self.param_groups, strict=True)):
            ours.update({k: v for k, v in theirs.items() if k != "params"})
            number_of = {id(p): n for n, p in zip(theirs["params"], ours["params"], strict=True)}
            self._group_runs[i] = _runs(ours["params"])
            for run in self._group_runs[i]:
                for k, p in enumerate(run.params):
                    self._restore(run, k, state_dict["state"].get(number_of[id(p)], {}))

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {k}: {v}" for k, v in sorted(group.items()) if k != "params"]
        return "\n".join([*lines, ")"])
