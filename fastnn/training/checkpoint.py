"""The whole state of a training run in one file, from which the run goes on bit for bit."""

from __future__ import annotations

import copy
import dataclasses
import os
import pickle
import random
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._tensor.tensor import Tensor
from fastnn.nn.module import Module
from fastnn.random import Generator, default_generator
from fastnn.training.history import Epoch, History

if TYPE_CHECKING:
    from fastnn.training.loop import Run

# The version of the contents of a file.
_FORMAT = 1
_MARK = "fastnn.fit"


def write(run: Run, path: str | os.PathLike[str]) -> None:
    """Write the state of a run after an epoch; the file is replaced as a whole.

    Raises: OSError, naming the file.
    """
    # On first use: most scripts need no files.
    from fastnn.serialization import save

    save(state_of(run), path)


def state_of(run: Run) -> dict[str, Any]:
    """The state of a run between two epochs."""
    return {
        "kind": _MARK,
        "format": _FORMAT,
        "epoch": run.epoch,
        "settings": _settings(run),
        "history": _of_history(run.history),
        "modules": {name: of_module(module) for name, module in _modules(run)},
        "optimizer": (type(run.optimizer).__name__, run.optimizer.state_dict()),
        "schedulers": {name: (type(s).__name__, s.state_dict()) for name, s in _schedulers(run)},
        "generators": {name: g.get_state() for name, g in _generators(run)},
        "numpy_generators": {name: g.bit_generator.state for name, g in _numpy_generators(run)},
        "random": random.getstate(),
        "numpy_random": np.random.get_state(legacy=False),  # noqa: NPY002  # programs use it
        "callbacks": [(name, call.state_dict()) for name, call in _stateful(run)],
    }


class SavedRun:
    """The state of a run in a file.

    Args:
        path: of the file.

    Raises: FileNotFoundError; RuntimeError for a damaged file; ValueError for a file with other contents.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        from fastnn.serialization import load

        self.path = os.fspath(path)
        try:
            state = load(path, weights_only=False)
        except Exception as error:
            # A damaged file can be an OSError too; the others name the file.
            if isinstance(error, (OSError, MemoryError)) and not isinstance(error, pickle.UnpicklingError):
                raise
            raise RuntimeError(f"the checkpoint {self.path!r} cannot be read: {error}") from error
        if not isinstance(state, dict) or state.get("kind") != _MARK:
            raise ValueError(f"{self.path!r} is not a checkpoint of fit: it was written by something else")
        if state["format"] != _FORMAT:
            raise ValueError(
                f"the checkpoint {self.path!r} has format {state['format']}; this version of fastnn reads {_FORMAT}"
            )
        self.state: dict[str, Any] = state

    def check(self, run: Run) -> None:
        """Raise ValueError, with all differences, unless a run can go on from this state."""
        state, found = self.state, _Differences()
        saved = state["settings"]
        for name, value in _settings(run).items():
            found.compare(name, repr(saved.get(name)), repr(value))
        found.compare_names("modules", state["modules"], dict(_modules(run)))
        for name, module in _modules(run):
            if name in state["modules"]:
                found.compare_modules(name, state["modules"][name], of_module(module))
        kind, options = state["optimizer"]
        found.compare("optimizer", kind, type(run.optimizer).__name__)
        theirs, ours = [[len(g["params"]) for g in gs] for gs in (options["param_groups"], run.optimizer.param_groups)]
        found.compare("parameters in the optimizer's groups", theirs, ours)
        schedulers = dict(_schedulers(run))
        found.compare_names("schedulers", state["schedulers"], schedulers)
        for name, (kind, _) in state["schedulers"].items():
            if name in schedulers:
                found.compare(name, kind, type(schedulers[name]).__name__)
        found.compare_names("generators", state["generators"], dict(_generators(run)))
        found.compare_names("generators of NumPy", state["numpy_generators"], dict(_numpy_generators(run)))
        if found:
            lines = "\n".join(f"  {line}" for line in found)
            raise ValueError(f"the checkpoint {self.path!r} is of another run:\n{lines}")

    def restore(self, run: Run) -> None:
        """Put the state into a run, except that of the callbacks. After an error, everything is as before."""
        state = self.state
        undo: list[Callable[[], Any]] = []
        try:
            old: Any = run.optimizer.state_dict()
            undo.append(lambda: run.optimizer.load_state_dict(old))
            run.optimizer.load_state_dict(state["optimizer"][1])
            for name, scheduler in _schedulers(run):
                before = copy.deepcopy(scheduler.state_dict())
                undo.append(lambda s=scheduler, b=before: s.load_state_dict(b))  # type: ignore[misc]
                scheduler.load_state_dict(state["schedulers"][name][1])
            for name, module in _modules(run):
                before = copy.deepcopy(of_module(module))
                undo.append(lambda m=module, b=before: into_module(m, b))  # type: ignore[misc]
                into_module(module, state["modules"][name])
        except BaseException:
            for step in reversed(undo):
                step()
            raise
        for name, generator in _generators(run):
            generator.set_state(state["generators"][name])
        for name, numpy_generator in _numpy_generators(run):
            numpy_generator.bit_generator.state = state["numpy_generators"][name]
        random.setstate(state["random"])
        np.random.set_state(state["numpy_random"])  # noqa: NPY002
        run.epoch = state["epoch"]
        history = state["history"]
        run.history.epochs[:] = [Epoch(**epoch) for epoch in history["epochs"]]
        run.history.stopped, run.history._best = history["stopped"], history["best"]

    def restore_callbacks(self, run: Run) -> None:
        """Give each callback its state: the first of a class gets the first state of that class, and so on."""
        saved: dict[str, list[Any]] = {}
        for name, theirs in self.state["callbacks"]:
            saved.setdefault(name, []).append(theirs)
        for name, callback in _stateful(run):
            if saved.get(name):
                callback.load_state_dict(saved[name].pop(0))
        for name in [name for name, left in saved.items() if left]:
            message = f"the checkpoint has the state of a callback that is not given here: {name}"
            warnings.warn(message, stacklevel=3)


class _Differences(list[str]):
    """What differs between a checkpoint and a run, as lines for a message."""

    def compare(self, name: str, saved: Any, ours: Any) -> None:
        """Note a value that differs."""
        if saved != ours:
            self.append(f"{name}: {saved} in the checkpoint, {ours} here")

    def compare_names(self, what: str, saved: Any, ours: Any) -> None:
        """Note keys that only one dictionary has."""
        missing, added = saved.keys() - ours.keys(), ours.keys() - saved.keys()
        for where, names in (("the checkpoint", missing), ("this run", added)):
            if names:
                self.append(f"{what} only in {where}: {', '.join(map(str, sorted(names)))}")

    def compare_modules(self, name: str, saved: dict[str, Any], ours: dict[str, Any]) -> None:
        """Note tensors that only one state has, and those of other shapes or dtypes."""
        for part in ("state", "buffers"):
            self.compare_names(f"tensors of the {name}", saved[part], ours[part])
            for key, value in ours[part].items():
                theirs = saved[part].get(key)
                if isinstance(value, Tensor) and isinstance(theirs, Tensor):
                    a, b = (f"{t.dtype} of shape {tuple(t.shape)}" for t in (theirs, value))
                    self.compare(f"{key} of the {name}", a, b)


# -- Parts of a run -----------------------------------------------------------------------------


def _settings(run: Run) -> dict[str, Any]:
    """What has to be the same for the run to go on as if it had not been interrupted."""
    rows = run.rows
    return {
        "rows": len(rows),
        "features": tuple(rows.data.shape[1:]),
        "data": str(rows.data.dtype),
        "targets": (*rows.targets.shape[1:], str(rows.targets.dtype)),
        "scale": rows.scale,
        "shift": rows.shift,
        **run.settings,
    }


def _of_history(history: History) -> dict[str, Any]:
    epochs = [dataclasses.asdict(epoch) for epoch in history.epochs]
    return {"epochs": epochs, "stopped": history.stopped, "best": history._best}


def _modules(run: Run) -> Iterator[tuple[str, Module]]:
    yield "model", run.model
    if isinstance(run.criterion, Module):
        yield "criterion", run.criterion


def _schedulers(run: Run) -> Iterator[tuple[str, Any]]:
    for name in ("scheduler", "step_scheduler"):
        schedule = getattr(run, name)
        if hasattr(schedule, "state_dict"):
            yield name, schedule


def _stateful(run: Run) -> Iterator[tuple[str, Any]]:
    for callback in run.callbacks:
        if hasattr(callback, "state_dict") and hasattr(callback, "load_state_dict"):
            yield type(getattr(callback, "function", callback)).__qualname__, callback


def generators_of(modules: Iterable[tuple[str, Module]], kind: type) -> Iterator[tuple[str, Any]]:
    """The generators that are attributes of modules, by their paths; ``kind`` is fastnn's or NumPy's."""
    for name, module in modules:
        for path, part in module.named_modules():
            for attribute, value in vars(part).items():
                if isinstance(value, kind):
                    yield ".".join(filter(None, (name, path, attribute))), value


def _generators(run: Run) -> Iterator[tuple[str, Generator]]:
    """The generators of a run: the default one, the one that shuffles, and attributes of modules."""
    yield "default", default_generator()
    if run.generator is not default_generator():
        yield "shuffle", run.generator
    yield from generators_of(_modules(run), Generator)


def _numpy_generators(run: Run) -> Iterator[tuple[str, np.random.Generator]]:
    yield from generators_of(_modules(run), np.random.Generator)


def of_module(module: Module) -> dict[str, Any]:
    """The state of a module, with the buffers that are not saved usually, and which parameters are frozen."""
    state = dict(module.state_dict())
    others = {name: b for name, b in module.named_buffers() if name not in state}
    frozen = [name for name, p in module.named_parameters() if not p.requires_grad]
    return {"state": state, "buffers": others, "frozen": frozen}


def into_module(module: Module, saved: dict[str, Any]) -> None:
    """Restore what :func:`of_module` has returned."""
    module.load_state_dict(saved["state"])
    buffers = dict(module.named_buffers())
    for name, values in saved["buffers"].items():
        buffers[name].copy_(values)
    for name, p in module.named_parameters():
        p.requires_grad_(name not in saved["frozen"])
