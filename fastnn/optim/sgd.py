"""SGD."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fastnn._tensor.tensor import Tensor
from fastnn.kernels.optim.optimizers import Relaunch
from fastnn.kernels.optim.sgd import sgd, sgd_momentum
from fastnn.optim.elementwise import Elementwise
from fastnn.optim.flat_runs import FlatSlice


class SGD(Elementwise):
    """Stochastic gradient descent, with momentum as PyTorch defines it.

    With ``g' = g + weight_decay * p`` and ``v = momentum * v + (1 - dampening) * g'`` (``v = g'`` in
    the first step): ``p -= lr * v``, for ``nesterov`` ``p -= lr * (g' + momentum * v)``.

    Args:
        params: tensors or parameter groups.
        lr: learning rate.
        momentum, dampening, weight_decay, nesterov: as above.
        maximize: maximize instead of minimize.
        foreach, fused: accepted and ignored: there is only one implementation.

    Raises: ValueError for invalid options, also for ``differentiable=True``.

    >>> import fastnn
    >>> w = fastnn.nn.Parameter(fastnn.ones(1))
    >>> (3 * w).sum().backward()
    >>> fastnn.optim.SGD([w], lr=0.1).step()
    >>> round(w.item(), 6)
    0.7
    """

    # As in PyTorch, where the first step is the one without a velocity.
    _shows_numbers = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float | Tensor = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        defaults = {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
            "nesterov": nesterov, "maximize": maximize, "foreach": foreach, "differentiable": differentiable,
            "fused": fused,
        }  # fmt: skip
        super().__init__(params, defaults)

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError(
                "Nesterov momentum requires a momentum and zero dampening, found "
                f"momentum={group['momentum']} and dampening={group['dampening']}"
            )

    def _array_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("momentum_buffer",) if group["momentum"] else ()

    def _number(self, name: str, group: dict[str, Any], saved: Mapping[str, Any]) -> float:
        return 0.0 if saved.get("momentum_buffer") is None else 1.0

    def _update(self, cut: FlatSlice, grads: np.ndarray, group: dict[str, Any]) -> Relaunch:
        if not cut.state:
            return sgd(
                cut.values, grads, lr=group["lr"], weight_decay=group["weight_decay"], maximize=group["maximize"],
                hyper=cut.hyper, grad_scale=cut.grad_scale,
            )  # fmt: skip
        return sgd_momentum(
            cut.values, grads, cut.state[0], step=cut.numbers.item(0), lr=group["lr"], momentum=group["momentum"],
            dampening=group["dampening"], weight_decay=group["weight_decay"], nesterov=group["nesterov"],
            maximize=group["maximize"], hyper=cut.hyper, grad_scale=cut.grad_scale,
        )  # fmt: skip
