"""ASGD."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fastnn._tensor.tensor import Tensor
from fastnn.kernels.optim.asgd import asgd
from fastnn.optim.elementwise import Elementwise
from fastnn.optim.flat_runs import FlatSlice


class ASGD(Elementwise):
    """Averaged stochastic gradient descent (B. T. Polyak and A. B. Juditsky, 1992), with PyTorch's defaults.

    ``p = (1 - lambd * eta) p - eta * g``, ``ax += mu (p - ax)``; then ``eta = lr / (1 + lambd lr t)**alpha``
    and ``mu = 1 / max(1, t - t0)``. The average is in ``state[p]['ax']``.

    Args:
        params: tensors or parameter groups.
        lr: learning rate.
        lambd, alpha: of the decay of the learning rate.
        t0: the step at which averaging starts.
        weight_decay: added to the gradient, times the parameter.
        maximize: maximize instead of minimize.
        foreach, capturable: accepted and ignored: there is only one implementation.

    Raises: ValueError for invalid options, also for ``differentiable=True``.

    >>> import fastnn
    >>> w = fastnn.nn.Parameter(fastnn.ones(1))
    >>> (3 * w).sum().backward()
    >>> fastnn.optim.ASGD([w], lr=0.1).step()
    >>> round(w.item(), 6)
    0.69999
    """

    _numbers = "step", "eta", "mu"
    _arrays = ("ax",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "capturable": capturable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def _first(self, name: str, group: dict[str, Any]) -> float:
        return {"eta": float(group["lr"]), "mu": 1.0}.get(name, 0.0)

    def _update(self, cut: FlatSlice, grads: np.ndarray, group: dict[str, Any]) -> None:
        # In float32, as PyTorch keeps them.
        step, eta, mu = (cut.numbers.item(row, 0) for row in range(3))
        # Before the launch: an interrupted step is rolled back with its count, or is complete.
        lr = float(group["lr"])
        cut.numbers[1] = lr / (1 + group["lambd"] * lr * step) ** group["alpha"]
        cut.numbers[2] = 1 / max(1.0, step - group["t0"])
        asgd(
            cut.values, grads, *cut.state, eta=eta, mu=mu, lambd=group["lambd"], weight_decay=group["weight_decay"],
            maximize=group["maximize"], hyper=cut.hyper, grad_scale=cut.grad_scale,
        )  # fmt: skip
