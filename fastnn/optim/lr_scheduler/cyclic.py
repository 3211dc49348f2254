"""Cyclic schedules of the learning rate; some also cycle the momentum."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from fastnn.optim.lr_scheduler.scheduler import (
    LRScheduler,
    check_optimizer,
    into_functions,
    of_functions,
    per_group,
    put,
    values,
)
from fastnn.optim.optimizer import Optimizer


class _WithMomentum(LRScheduler):
    """A schedule that may cycle the momentum, or Adam's first beta, inversely to the learning rate."""

    use_beta1: bool

    def _begin_momentum(self, base: Any, largest: Any, last_epoch: int) -> tuple[list[Any], list[Any]]:
        """Store the range of the momentum, which starts at its largest value."""
        defaults = self.optimizer.defaults
        if "momentum" not in defaults and "betas" not in defaults:
            raise ValueError(
                "optimizer must support momentum or beta1 with `cycle_momentum` option enabled, found "
                f"{type(self.optimizer).__name__}"
            )
        self.use_beta1 = "betas" in defaults
        bases = per_group("base_momentum", self.optimizer, base)
        maxima = per_group("max_momentum", self.optimizer, largest)
        if last_epoch == -1:
            for group, low, high in zip(self.optimizer.param_groups, bases, maxima, strict=True):
                self._put_momentum(group, high)
                group["max_momentum"], group["base_momentum"] = high, low
        return bases, maxima

    def _put_momentum(self, group: dict[str, Any], momentum: Any) -> None:
        if self.use_beta1:
            group["betas"] = (momentum, *group["betas"][1:])
        else:
            group["momentum"] = momentum


class CosineAnnealingWarmRestarts(LRScheduler):
    """Cosine annealing that restarts after ``T_0`` epochs, then after ``T_mult`` times as many, and so on.

    ``lr = eta_min + (base_lr - eta_min) (1 + cos(pi * T_cur / T_i)) / 2`` (I. Loshchilov and F. Hutter,
    arXiv:1608.03983), where ``T_cur`` counts the epochs since the last restart and ``T_i`` is the period.

    Args:
        optimizer: its groups get the learning rate.
        T_0, T_mult, eta_min: as above.
        last_epoch: see :class:`LRScheduler`.
    """

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        if not isinstance(T_0, int) or T_0 <= 0:
            raise ValueError(f"Expected positive integer T_0, but got {T_0}")
        if not isinstance(T_mult, int) or T_mult < 1:
            raise ValueError(f"Expected integer T_mult >= 1, but got {T_mult}")
        if not isinstance(eta_min, (float, int)):
            raise ValueError(f"Expected float or int eta_min, but got {eta_min} of type {type(eta_min)}")
        self.T_0, self.T_i, self.T_mult, self.eta_min = T_0, T_0, T_mult, eta_min
        self.T_cur: Any = last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """The learning rate of each group."""
        self._warn_outside_step()
        height = 1 + math.cos(math.pi * self.T_cur / self.T_i)
        return [self.eta_min + (base_lr - self.eta_min) * height / 2 for base_lr in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:
        """Go on to the next epoch, or to ``epoch``, which may be a fraction inside one."""
        if epoch is None and self.last_epoch < 0:
            epoch = 0
        if epoch is None:
            epoch = self.last_epoch + 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur %= self.T_i
                self.T_i *= self.T_mult
        elif epoch < 0:
            raise ValueError(f"Expected non-negative epoch, but got {epoch}")
        elif epoch < self.T_0:
            self.T_cur, self.T_i = epoch, self.T_0
        elif self.T_mult == 1:
            self.T_cur = epoch % self.T_0
        else:
            # The restarts are at T_0 (T_mult**n - 1) / (T_mult - 1).
            n = int(math.log(epoch / self.T_0 * (self.T_mult - 1) + 1, self.T_mult))
            self.T_cur = epoch - self.T_0 * (self.T_mult**n - 1) / (self.T_mult - 1)
            self.T_i = self.T_0 * self.T_mult**n
        self.last_epoch = math.floor(epoch)
        with self._within_step():
            new = self.get_lr()
        for group, lr in zip(self.optimizer.param_groups, new, strict=True):
            put(group, "lr", lr)
        self._last_lr = values(self.optimizer, "lr")


def _constant(gamma: float, x: float) -> float:
    return 1.0


def _halved(gamma: float, x: float) -> float:
    return 1 / 2.0 ** (x - 1)


def _exponential(gamma: float, x: float) -> float:
    return gamma**x


# For each mode, the height of a cycle, and the counter that it depends on.
_MODES: dict[str, tuple[Callable[[float, float], float], str]] = {
    "triangular": (_constant, "cycle"),
    "triangular2": (_halved, "cycle"),
    "exp_range": (_exponential, "iterations"),
}


class CyclicLR(_WithMomentum):
    """The learning rate rises linearly from ``base_lr`` to ``max_lr`` and falls again (arXiv:1506.01186).

    Args:
        optimizer: its groups get the learning rate.
        base_lr, max_lr: numbers, or lists with one for each group.
        step_size_up, step_size_down: steps of the rise and the fall; the same number by default.
        mode: 'triangular', 'triangular2' (each cycle half as high), 'exp_range' (by ``gamma**steps``).
        gamma: as above.
        scale_fn, scale_mode: the height of a cycle as a function of 'cycle' or 'iterations', instead of ``mode``.
        cycle_momentum, base_momentum, max_momentum: whether to cycle the momentum inversely, between these.
        last_epoch: see :class:`LRScheduler`.

    Raises: ValueError for an unknown mode, and for ``cycle_momentum`` with an optimizer without momentum.
    """

    def __init__(
        self, optimizer: Optimizer, base_lr: float | list[float], max_lr: float | list[float],
        step_size_up: int = 2000, step_size_down: int | None = None, mode: str = "triangular", gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None, scale_mode: str = "cycle", cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.8, max_momentum: float | list[float] = 0.9, last_epoch: int = -1,
    ) -> None:  # fmt: skip
        check_optimizer(optimizer)
        self.optimizer = optimizer
        base_lrs = per_group("base_lr", optimizer, base_lr)
        if last_epoch == -1:
            for group, lr in zip(optimizer.param_groups, base_lrs, strict=True):
                put(group, "lr", lr)
        self.max_lrs = per_group("max_lr", optimizer, max_lr)
        up = float(step_size_up)
        down = up if step_size_down is None else float(step_size_down)
        self.total_size = up + down
        self.step_ratio = up / self.total_size
        if scale_fn is None and mode not in _MODES:
            raise ValueError(f"mode {mode!r} is invalid and scale_fn is None: expected one of {', '.join(_MODES)}")
        self.mode, self.gamma = mode, gamma
        self._scale_fn_custom: Any = scale_fn
        self.scale_mode = scale_mode if scale_fn is not None else _MODES[mode][1]
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self.base_momentums, self.max_momentums = self._begin_momentum(base_momentum, max_momentum, last_epoch)
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def scale_fn(self, x: float) -> float:
        """The height of a cycle."""
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(x)
        return _MODES[self.mode][0](self.gamma, x)

    def get_lr(self) -> list[Any]:
        """The learning rate of each group; the momentum is written at once."""
        self._warn_outside_step()
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1.0 + self.last_epoch / self.total_size - cycle
        share = x / self.step_ratio if x <= self.step_ratio else (x - 1) / (self.step_ratio - 1)
        scale = self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            ranges = zip(self.optimizer.param_groups, self.base_momentums, self.max_momentums, strict=True)
            for group, low, high in ranges:
                self._put_momentum(group, high - (high - low) * share * scale)
        return [low + (high - low) * share * scale for low, high in zip(self.base_lrs, self.max_lrs, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer; for ``scale_fn``, its attributes if it is an object."""
        f = self._scale_fn_custom
        return {**super().state_dict(), "_scale_fn_custom": None if f is None else of_functions([f])[0]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what ``state_dict()`` has returned, except the function itself."""
        super().load_state_dict({name: value for name, value in state_dict.items() if name != "_scale_fn_custom"})
        into_functions([self._scale_fn_custom], [state_dict["_scale_fn_custom"]])


def _along_cosine(start: Any, end: Any, share: float) -> Any:
    return end + (start - end) / 2.0 * (math.cos(math.pi * share) + 1)


def _straight(start: Any, end: Any, share: float) -> Any:
    return (end - start) * share + start


_STRATEGIES: dict[str, Callable[[Any, Any, float], Any]] = {"cos": _along_cosine, "linear": _straight}


class OneCycleLR(_WithMomentum):
    """The learning rate rises once, then falls to almost zero (L. N. Smith and N. Topin, arXiv:1708.07120).

    It starts at ``max_lr / div_factor``, reaches ``max_lr`` after the fraction ``pct_start`` of the steps and ends
    at ``max_lr / div_factor / final_div_factor``.

    Args:
        optimizer: its groups get the learning rate.
        max_lr: a number, or a list with one for each group.
        total_steps: total number of steps; or ``epochs`` and ``steps_per_epoch``.
        pct_start, div_factor, final_div_factor: as above.
        anneal_strategy: 'cos' or 'linear'.
        cycle_momentum, base_momentum, max_momentum: whether to cycle the momentum inversely, between these.
        three_phase: fall to the initial value in as many steps as the rise, and only then further.
        last_epoch: see :class:`LRScheduler`.

    Raises: ValueError for invalid options, and for a step after the last.
    """

    def __init__(
        self, optimizer: Optimizer, max_lr: float | list[float], total_steps: int | None = None,
        epochs: int | None = None, steps_per_epoch: int | None = None, pct_start: float = 0.3,
        anneal_strategy: str = "cos", cycle_momentum: bool = True, base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95, div_factor: float = 25.0, final_div_factor: float = 1e4,
        three_phase: bool = False, last_epoch: int = -1,
    ) -> None:  # fmt: skip
        check_optimizer(optimizer)
        self.optimizer = optimizer
        if total_steps is not None:
            self.total_steps = self._count("total_steps", total_steps)
        elif epochs is not None and steps_per_epoch is not None:
            self.total_steps = self._count("epochs", epochs) * self._count("steps_per_epoch", steps_per_epoch)
        else:
            raise ValueError(
                "You must define either total_steps OR (epochs AND steps_per_epoch), found "
                f"epochs={epochs} and steps_per_epoch={steps_per_epoch}"
            )
        if pct_start < 0 or pct_start > 1 or not isinstance(pct_start, float):
            raise ValueError(f"Expected float between 0 and 1 pct_start, but got {pct_start}")
        if anneal_strategy not in _STRATEGIES:
            raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
        self._anneal_func_type = anneal_strategy
        up = float(pct_start * self.total_steps) - 1
        self._schedule_phases = [self._phase(up, "initial_lr", "max_lr", "max_momentum", "base_momentum")]
        if three_phase:
            down = float(2 * pct_start * self.total_steps) - 2
            self._schedule_phases += [
                self._phase(down, "max_lr", "initial_lr", "base_momentum", "max_momentum"),
                self._phase(self.total_steps - 1, "initial_lr", "min_lr", "max_momentum", "max_momentum"),
            ]
        else:
            self._schedule_phases.append(
                self._phase(self.total_steps - 1, "max_lr", "min_lr", "base_momentum", "max_momentum")
            )
        max_lrs = per_group("max_lr", optimizer, max_lr)
        if last_epoch == -1:
            for group, largest in zip(optimizer.param_groups, max_lrs, strict=True):
                group["initial_lr"] = largest / div_factor
                group["max_lr"], group["min_lr"] = largest, group["initial_lr"] / final_div_factor
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self._begin_momentum(base_momentum, max_momentum, last_epoch)
        super().__init__(optimizer, last_epoch)

    @staticmethod
    def _count(name: str, value: Any) -> int:
        if not isinstance(value, int) or value <= 0:
            raise ValueError(f"Expected positive integer {name}, but got {value}")
        return value

    @staticmethod
    def _phase(end: float, start_lr: str, end_lr: str, start_momentum: str, end_momentum: str) -> dict[str, Any]:
        return {
            "end_step": end, "start_lr": start_lr, "end_lr": end_lr, "start_momentum": start_momentum,
            "end_momentum": end_momentum,
        }  # fmt: skip

    def get_lr(self) -> list[Any]:
        """The learning rate of each group; the momentum is written at once."""
        self._warn_outside_step()
        step = self.last_epoch
        if step > self.total_steps:
            raise ValueError(f"Tried to step {step} times. The specified number of total steps is {self.total_steps}")
        between = _STRATEGIES[self._anneal_func_type]
        start, last = 0.0, self._schedule_phases[-1]
        for phase in self._schedule_phases:
            if step <= phase["end_step"] or phase is last:
                break
            start = phase["end_step"]
        share = (step - start) / (phase["end_step"] - start)
        lrs = []
        for group in self.optimizer.param_groups:
            lrs.append(between(group[phase["start_lr"]], group[phase["end_lr"]], share))
            if self.cycle_momentum:
                ends = group[phase["start_momentum"]], group[phase["end_momentum"]]
                self._put_momentum(group, between(*ends, share))
        return lrs
