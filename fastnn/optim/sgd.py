"""SGD. May import ``optimizer`` and ``fastnn.kernels``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fastnn import kernels
from fastnn.optim.optimizer import Optimizer


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum as PyTorch defines it.

    With ``g' = g + weight_decay * p`` and ``v = momentum * v + (1 - dampening) * g'`` (``v = g'`` in
    the first step): ``p -= lr * v``, for ``nesterov`` ``p -= lr * (g' + momentum * v)``.

    Args:
        params: tensors or parameter groups.
        lr: learning rate.
        momentum, dampening, weight_decay, nesterov: as above.
        maximize: climb instead of descend.

    >>> import fastnn
    >>> w = fastnn.nn.Parameter(fastnn.ones(1))
    >>> (3 * w).sum().backward()
    >>> fastnn.optim.SGD([w], lr=0.1).step()
    >>> round(w.item(), 6)
    0.7
    """

    # As in PyTorch, where the velocity that is there or not tells the first step from the others.
    _shows_step = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        if differentiable:
            raise ValueError("fastnn's optimizers are not differentiable")
        super().__init__(
            params,
            {
                "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
                "nesterov": nesterov, "maximize": maximize, "foreach": foreach, "differentiable": False,
                "fused": fused,
            },
        )  # fmt: skip

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")

    def _names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("momentum_buffer",) if group["momentum"] else ()

    def _update(
        self, values: np.ndarray, grads: np.ndarray, state: list[np.ndarray], step: int, group: dict[str, Any]
    ) -> None:
        common = {"lr": group["lr"], "weight_decay": group["weight_decay"], "maximize": group["maximize"]}
        if not state:
            kernels.sgd(values, grads, **common)
            return
        kernels.sgd_momentum(
            values, grads, state[0], momentum=group["momentum"], nesterov=group["nesterov"],
            dampening=0.0 if step == 1 else group["dampening"], **common,
        )  # fmt: skip
