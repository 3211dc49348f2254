"""LRScheduler: base of the schedules, including user-defined ones."""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fastnn._tensor.tensor import Tensor
from fastnn.optim.optimizer import Optimizer

EPOCH_DEPRECATION_WARNING = (
    "The epoch parameter in `scheduler.step()` was not necessary and is being deprecated where possible. Please use "
    "`scheduler.step()` to step the scheduler. If epoch is given, the closed form is used instead of the chainable "
    "one, where there is one."
)


def copied(value: Any) -> Any:
    """A number itself, a tensor's copy."""
    return value.clone() if isinstance(value, Tensor) else value


def values(optimizer: Optimizer, key: str) -> list[Any]:
    """An option of each group."""
    return [copied(group[key]) for group in optimizer.param_groups]


def put(group: dict[str, Any], key: str, value: Any) -> None:
    """Set a group's option, in place if it is a tensor."""
    if isinstance(group[key], Tensor):
        group[key].fill_(float(value))
    else:
        group[key] = value


def per_group(name: str, optimizer: Optimizer, given: Any) -> list[Any]:
    """One value for each group, from a list of them or from one for all."""
    count = len(optimizer.param_groups)
    if not isinstance(given, (list, tuple)):
        given = [given] * count
    if len(given) != count:
        raise ValueError(
            f"{name} must have the same length as optimizer.param_groups. {name} has {len(given)} values, "
            f"param_groups has {count}."
        )
    return [copied(value) for value in given]


def check_optimizer(optimizer: Any) -> None:
    """Raise TypeError for anything but an optimizer."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")


def of_functions(functions: list[Any]) -> list[Any]:
    """The saved form of functions: the attributes of callable objects, None for plain functions."""
    return [None if isinstance(f, types.FunctionType) else f.__dict__.copy() for f in functions]


def into_functions(functions: list[Any], saved: list[Any]) -> None:
    """Restore the attributes that ``of_functions`` saved."""
    for f, attributes in zip(functions, saved, strict=True):
        if attributes is not None:
            f.__dict__.update(attributes)


def _function_of(method: Callable[..., Any]) -> Any:
    return getattr(method, "__func__", method)


class LRScheduler:
    """Base of the schedules of the learning rate.

    A subclass writes ``get_lr``, which returns the learning rate of each group for ``last_epoch``. The groups
    have those of the previous epoch, and ``base_lrs`` the initial ones.

    Args:
        optimizer: its groups get the learning rate.
        last_epoch: the epoch before the first one; -1 for a new training, another number to resume one.

    Raises: TypeError for anything but an optimizer; KeyError when resuming without an 'initial_lr' in the groups.

    >>> import fastnn
    >>> class Halving(fastnn.optim.lr_scheduler.LRScheduler):
    ...     def get_lr(self):
    ...         return [base_lr / 2**self.last_epoch for base_lr in self.base_lrs]
    >>> optimizer = fastnn.optim.SGD([fastnn.nn.Parameter(fastnn.ones(1))], lr=1.0)
    >>> schedule = Halving(optimizer)
    >>> for _ in range(3):
    ...     optimizer.step()
    ...     schedule.step()
    >>> schedule.get_last_lr()
    [0.125]
    """

    # True inside the first step, which the constructor takes.
    _is_initial = False
    # Whether `get_lr` was called by `step`, which has counted the epoch.
    _get_lr_called_within_step = False

    optimizer: Optimizer
    base_lrs: list[Any]
    last_epoch: Any
    _last_lr: list[Any]

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", copied(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}] when resuming scheduler with "
                    "last_epoch >= 0: load the optimizer's state first"
                )
        self.base_lrs = values(optimizer, "initial_lr")
        self.last_epoch = last_epoch
        if "_scheduled_step" not in optimizer.__dict__:
            # From now on the optimizer notes whether it has taken a step.
            optimizer.__dict__.update(_scheduled_step=_function_of(optimizer.step), _opt_called=False)
        self._initial_step()

    def _initial_step(self) -> None:
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    @contextmanager
    def _within_step(self) -> Iterator[None]:
        self._get_lr_called_within_step = True
        try:
            yield
        finally:
            self._get_lr_called_within_step = False

    def get_lr(self) -> list[Any]:
        """The learning rate of each group for ``last_epoch``."""
        raise NotImplementedError

    def get_last_lr(self) -> list[Any]:
        """The learning rate of each group since the last step."""
        return self._last_lr

    def step(self, epoch: int | None = None) -> None:
        """Go on to the next epoch, or to ``epoch``.

        Warns: UserWarning if the first step comes before the optimizer's.
        """
        if self._step_count == 1:
            if _function_of(self.optimizer.step) is not self.optimizer.__dict__.get("_scheduled_step"):
                warnings.warn(
                    "Seems like `optimizer.step()` has been overridden after learning rate scheduler initialization. "
                    "Please, make sure to call `optimizer.step()` before `lr_scheduler.step()`.",
                    UserWarning,
                    stacklevel=2,
                )
            elif not self.optimizer._opt_called:
                warnings.warn(
                    "Detected call of `lr_scheduler.step()` before `optimizer.step()`. You should call them in the "
                    "opposite order: `optimizer.step()` before `lr_scheduler.step()`. Otherwise the first value of "
                    "the learning rate schedule is skipped.",
                    UserWarning,
                    stacklevel=2,
                )
        self._step_count += 1
        if epoch is not None:
            warnings.warn(EPOCH_DEPRECATION_WARNING, UserWarning, stacklevel=2)
        self._update_lr(epoch)

    def _update_lr(self, epoch: int | None = None) -> None:
        with self._within_step():
            if epoch is None:
                self.last_epoch += 1
                new = self.get_lr()
            else:
                self.last_epoch = epoch
                closed_form = getattr(self, "_get_closed_form_lr", self.get_lr)
                new = closed_form()
        for group, lr in zip(self.optimizer.param_groups, new, strict=True):
            put(group, "lr", lr)
        self._last_lr = values(self.optimizer, "lr")

    def _warn_outside_step(self) -> None:
        if not self._get_lr_called_within_step:
            warnings.warn(
                "To get the last learning rate computed by the scheduler, please use `get_last_lr()`.",
                UserWarning,
                stacklevel=3,
            )

    def _lrs(self) -> list[Any]:
        """The current learning rates."""
        return values(self.optimizer, "lr")

    def _times(self, factor: Any) -> list[Any]:
        """The current learning rates times a factor."""
        return [group["lr"] * factor for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer."""
        return {name: value for name, value in self.__dict__.items() if name != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what ``state_dict()`` of a schedule of the same kind has returned."""
        self.__dict__.update(state_dict)


class _LRScheduler(LRScheduler):
    """The name of :class:`LRScheduler` in older scripts."""
