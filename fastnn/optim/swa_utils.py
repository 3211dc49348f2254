"""Averages of weights over training: stochastic weight averaging and exponential moving averages."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from fastnn import nn
from fastnn._autograd.modes import no_grad
from fastnn._tensor.tensor import Tensor
from fastnn.ops.creation import tensor
from fastnn.optim.lr_scheduler.scheduler import LRScheduler, per_group
from fastnn.optim.optimizer import Optimizer

__all__ = [
    "SWALR",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]


def get_ema_avg_fn(decay: float = 0.999) -> Callable[[Tensor, Tensor, Any], Tensor]:
    """A function for ``avg_fn``: ``decay * average + (1 - decay) * current``."""
    _check_decay(decay)

    @no_grad()
    def ema_update(ema_param: Tensor, current_param: Tensor, num_averaged: Any) -> Tensor:
        return decay * ema_param + (1 - decay) * current_param

    return ema_update


def get_swa_avg_fn() -> Callable[[Tensor, Tensor, Any], Tensor]:
    """A function for ``avg_fn``: the mean of all weights so far."""

    @no_grad()
    def swa_update(averaged_param: Tensor, current_param: Tensor, num_averaged: Any) -> Tensor:
        return averaged_param + (current_param - averaged_param) / (num_averaged + 1)

    return swa_update


def get_ema_multi_avg_fn(decay: float = 0.999) -> Callable[[Sequence[Tensor], Sequence[Tensor], Any], None]:
    """A function for ``multi_avg_fn``: ``get_ema_avg_fn`` for lists, in place."""
    return _of_lists(get_ema_avg_fn(decay))


def get_swa_multi_avg_fn() -> Callable[[Sequence[Tensor], Sequence[Tensor], Any], None]:
    """A function for ``multi_avg_fn``: ``get_swa_avg_fn`` for lists, in place."""
    return _of_lists(get_swa_avg_fn())


def _check_decay(decay: float) -> None:
    if decay < 0.0 or decay > 1.0:
        raise ValueError(f"Invalid decay value {decay} provided. Please provide a value in [0,1] range.")


def _of_lists(average: Callable[[Tensor, Tensor, Any], Tensor]) -> Callable[..., None]:
    @no_grad()
    def update(averaged: Sequence[Tensor], current: Sequence[Tensor], num_averaged: Any) -> None:
        for a, c in zip(averaged, current, strict=True):
            a.copy_(average(a, c, num_averaged) if a.is_floating_point() else c)

    return update


class AveragedModel(nn.Module):
    """A copy of a model whose parameters are averages of the model's over training.

    By default they are the mean over all calls of ``update_parameters`` (P. Izmailov et al., Averaging weights
    leads to wider optima and better generalization, arXiv:1803.05407).

    Args:
        model: to be copied.
        device: accepted and ignored.
        avg_fn: the next average from (average, current, number so far).
        multi_avg_fn: the same for lists of tensors, in place.
        use_buffers: average the buffers as well; otherwise they are copied from the model.

    >>> import fastnn
    >>> model = fastnn.nn.Linear(1, 1, bias=False)
    >>> average = fastnn.optim.swa_utils.AveragedModel(model)
    >>> for value in (1.0, 2.0, 6.0):
    ...     model.weight.data.fill_(value)
    ...     average.update_parameters(model)
    tensor([[1.]])
    tensor([[2.]])
    tensor([[6.]])
    >>> average.module.weight.item()
    3.0
    """

    n_averaged: Tensor

    def __init__(
        self, model: nn.Module, device: Any = None, avg_fn: Callable[..., Any] | None = None,
        multi_avg_fn: Callable[..., None] | None = None, use_buffers: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided, found both")
        self.module = copy.deepcopy(model)
        self.register_buffer("n_averaged", tensor(np.array(0, np.int64)))
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The result of the copy."""
        return self.module(*args, **kwargs)

    def update_parameters(self, model: nn.Module) -> None:
        """Add the model's current parameters to the average."""
        averaged, current = [p.detach() for p in self.module.parameters()], [p.detach() for p in model.parameters()]
        ours, theirs = [b.detach() for b in self.module.buffers()], [b.detach() for b in model.buffers()]
        if self.use_buffers:
            averaged, current, ours, theirs = averaged + ours, current + theirs, [], []
        if int(self.n_averaged) == 0:
            for a, c in zip(averaged, current, strict=True):
                a.copy_(c)
        elif self.avg_fn is not None:
            for a, c in zip(averaged, current, strict=True):
                a.copy_(self.avg_fn(a, c, self.n_averaged))
        else:
            (self.multi_avg_fn or get_swa_multi_avg_fn())(averaged, current, self.n_averaged)
        for a, c in zip(ours, theirs, strict=True):
            a.copy_(c)
        self.n_averaged += 1


@no_grad()
def update_bn(loader: Iterable[Any], model: nn.Module, device: Any = None) -> None:
    """Recompute the running statistics of batch normalization, in one pass over the data.

    Args:
        loader: batches, tensors or sequences whose first element is the input.
        model: the model to update.
        device: accepted and ignored.
    """
    normalizations = [m for m in model.modules() if hasattr(m, "reset_running_stats") and hasattr(m, "momentum")]
    if not normalizations:
        return
    momenta = [m.momentum for m in normalizations]
    was_training = model.training
    model.train()
    for m in normalizations:
        m.reset_running_stats()
        # The plain mean over the batches.
        object.__setattr__(m, "momentum", None)
    for batch in loader:
        model(batch[0] if isinstance(batch, (list, tuple)) else batch)
    for m, momentum in zip(normalizations, momenta, strict=True):
        object.__setattr__(m, "momentum", momentum)
    model.train(was_training)


class SWALR(LRScheduler):
    """The learning rate anneals to ``swa_lr`` in ``anneal_epochs`` epochs and then stays constant.

    Args:
        optimizer: its groups get the learning rate.
        swa_lr: a number, or a list with one for each group.
        anneal_epochs: as above.
        anneal_strategy: 'cos' or 'linear'.
        last_epoch: see :class:`LRScheduler`.

    Raises: ValueError for invalid options.
    """

    def __init__(
        self, optimizer: Optimizer, swa_lr: float | list[float], anneal_epochs: int = 10,
        anneal_strategy: str = "cos", last_epoch: int = -1,
    ) -> None:  # fmt: skip
        for group, lr in zip(optimizer.param_groups, per_group("swa_lr", optimizer, swa_lr), strict=True):
            group["swa_lr"] = lr
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        self._anneal_strategy, self.anneal_epochs = anneal_strategy, anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _share(self, step: int) -> float:
        """The progress towards ``swa_lr``, from 0 to 1."""
        t = max(0, min(1, step / max(1, self.anneal_epochs)))
        return t if self._anneal_strategy == "linear" else (1 - math.cos(math.pi * t)) / 2

    def get_lr(self) -> list[Any]:
        """The learning rate of each group."""
        self._warn_outside_step()
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._share(step - 1), self._share(step)
        new = []
        for group in self.optimizer.param_groups:
            # The initial value, assuming that only this schedule has changed it.
            lr, target = group["lr"], group["swa_lr"]
            first = target if before == 1 else (lr - before * target) / (1 - before)
            new.append(target * now + first * (1 - now))
        return new
