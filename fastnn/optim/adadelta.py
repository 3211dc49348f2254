"""Adadelta."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fastnn._tensor.tensor import Tensor
from fastnn.kernels.optim.adadelta import adadelta
from fastnn.kernels.optim.optimizers import Relaunch
from fastnn.optim.elementwise import Elementwise
from fastnn.optim.flat_runs import FlatSlice


class Adadelta(Elementwise):
    """Adadelta (M. D. Zeiler, arXiv:1212.5701), with PyTorch's defaults.

    ``s = rho s + (1 - rho) g**2``, ``delta = sqrt(d + eps) / sqrt(s + eps) * g``,
    ``d = rho d + (1 - rho) delta**2``, ``p -= lr * delta``.

    Args:
        params: tensors or parameter groups.
        lr: factor of the step.
        rho: decay rate of the two means, in [0, 1].
        eps: added under the roots.
        weight_decay: added to the gradient, times the parameter.
        maximize: maximize instead of minimize.
        foreach, capturable: accepted and ignored: there is only one implementation.

    Raises: ValueError for invalid options, also for ``differentiable=True``.

    >>> import fastnn
    >>> w = fastnn.nn.Parameter(fastnn.ones(1))
    >>> (3 * w).sum().backward()
    >>> fastnn.optim.Adadelta([w]).step()
    >>> round(w.item(), 6)
    0.996838
    """

    _arrays = "square_avg", "acc_delta"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
            "capturable": capturable, "foreach": foreach, "differentiable": differentiable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        if not 0.0 <= group["rho"] <= 1.0:
            raise ValueError(f"Invalid rho value: {group['rho']}")

    def _update(self, cut: FlatSlice, grads: np.ndarray, group: dict[str, Any]) -> Relaunch:
        return adadelta(
            cut.values, grads, *cut.state, lr=group["lr"], rho=group["rho"], eps=group["eps"],
            weight_decay=group["weight_decay"], maximize=group["maximize"], hyper=cut.hyper, grad_scale=cut.grad_scale,
        )  # fmt: skip
