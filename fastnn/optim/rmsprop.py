"""RMSprop."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fastnn._tensor.tensor import Tensor
from fastnn.kernels.optim.optimizers import Relaunch
from fastnn.kernels.optim.rmsprop import rmsprop
from fastnn.optim.elementwise import Elementwise
from fastnn.optim.flat_runs import FlatSlice


class RMSprop(Elementwise):
    """RMSprop (T. Tieleman and G. Hinton, 2012; centred: A. Graves, arXiv:1308.0850), with PyTorch's defaults.

    ``s = alpha s + (1 - alpha) g**2``, ``delta = g / (sqrt(s) + eps)``, ``p -= lr * delta``. ``centered``:
    ``a += (1 - alpha) (g - a)`` and ``sqrt(s - a**2)`` instead of ``sqrt(s)``. With ``momentum``:
    ``b = momentum b + delta`` instead of ``delta``.

    Args:
        params: tensors or parameter groups.
        lr: learning rate.
        alpha: decay rate of the means.
        eps: added to the denominator.
        weight_decay: added to the gradient, times the parameter.
        momentum, centered: as above.
        maximize: maximize instead of minimize.
        foreach, capturable: accepted and ignored: there is only one implementation.

    Raises: ValueError for invalid options, also for ``differentiable=True``.

    >>> import fastnn
    >>> w = fastnn.nn.Parameter(fastnn.ones(1))
    >>> (3 * w).sum().backward()
    >>> fastnn.optim.RMSprop([w], lr=0.05).step()
    >>> round(w.item(), 6)
    0.5
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
            "weight_decay": weight_decay, "capturable": capturable, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        if not group["alpha"] >= 0.0:
            raise ValueError(f"Invalid alpha value: {group['alpha']}")

    def _array_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        momentum = ("momentum_buffer",) if group["momentum"] > 0 else ()
        return ("square_avg", *momentum, "grad_avg") if group["centered"] else ("square_avg", *momentum)

    def _update(self, cut: FlatSlice, grads: np.ndarray, group: dict[str, Any]) -> Relaunch:
        state, with_momentum, centered = cut.state, group["momentum"] > 0, group["centered"]
        return rmsprop(
            cut.values, grads, state[0], state[1] if with_momentum else None, state[-1] if centered else None,
            lr=group["lr"], alpha=group["alpha"], eps=group["eps"], weight_decay=group["weight_decay"],
            momentum=group["momentum"], maximize=group["maximize"], hyper=cut.hyper, grad_scale=cut.grad_scale,
        )  # fmt: skip
