"""Adamax."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fastnn._tensor.tensor import Tensor
from fastnn.kernels.optim.adamax import adamax
from fastnn.kernels.optim.optimizers import Relaunch
from fastnn.optim.elementwise import Elementwise
from fastnn.optim.flat_runs import FlatSlice


class Adamax(Elementwise):
    """Adamax (D. P. Kingma and J. Ba, arXiv:1412.6980, section 7.1), with PyTorch's defaults.

    ``m += (1 - beta1) (g - m)``, ``u = max(beta2 u, |g| + eps)``, ``p -= lr / (1 - beta1**t) * m / u``.

    Args:
        params: tensors or parameter groups.
        lr: learning rate.
        betas: decay rates of the first moment and of the largest gradient.
        eps: added to the gradient's size.
        weight_decay: added to the gradient, times the parameter.
        maximize: maximize instead of minimize.
        foreach, capturable: accepted and ignored: there is only one implementation.

    Raises: ValueError for invalid options, also for ``differentiable=True``.

    >>> import fastnn
    >>> w = fastnn.nn.Parameter(fastnn.ones(1))
    >>> (3 * w).sum().backward()
    >>> fastnn.optim.Adamax([w], lr=0.1).step()
    >>> round(w.item(), 6)
    0.9
    """

    _arrays = "exp_avg", "exp_inf"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "capturable": capturable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def _update(self, cut: FlatSlice, grads: np.ndarray, group: dict[str, Any]) -> Relaunch:
        return adamax(
            cut.values, grads, *cut.state, step=cut.numbers.item(0), lr=group["lr"], betas=group["betas"],
            eps=group["eps"], weight_decay=group["weight_decay"], maximize=group["maximize"],
            hyper=cut.hyper, grad_scale=cut.grad_scale,
        )  # fmt: skip
