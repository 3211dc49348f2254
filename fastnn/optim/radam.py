"""RAdam."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fastnn._tensor.tensor import Tensor
from fastnn.kernels.optim.optimizers import Relaunch
from fastnn.kernels.optim.radam import radam
from fastnn.optim.elementwise import Elementwise
from fastnn.optim.flat_runs import FlatSlice


class RAdam(Elementwise):
    """Adam with a rectified variance (L. Liu et al., arXiv:1908.03265), with PyTorch's defaults.

    With Adam's moments, ``R = 2 / (1 - beta2) - 1`` and ``r = R - 2 t beta2**t / (1 - beta2**t)``:
    ``p -= lr / (1 - beta1**t) * m`` while ``r <= 5``, and afterwards that times
    ``sqrt((r - 4) (r - 2) R / ((R - 4) (R - 2) r)) * sqrt(1 - beta2**t) / (sqrt(v) + eps)``.

    Args:
        params: tensors or parameter groups.
        lr: learning rate.
        betas: decay rates of the two moments.
        eps: added to the denominator.
        weight_decay: added to the gradient, times the parameter.
        decoupled_weight_decay: ``p *= 1 - lr * weight_decay`` instead of the addition to the gradient.
        maximize: maximize instead of minimize.
        foreach, capturable: accepted and ignored: there is only one implementation.

    Raises: ValueError for invalid options, also for ``differentiable=True``.

    >>> import fastnn
    >>> w = fastnn.nn.Parameter(fastnn.ones(1))
    >>> (3 * w).sum().backward()
    >>> fastnn.optim.RAdam([w], lr=0.1).step()
    >>> round(w.item(), 6)
    0.7
    """

    _arrays = "exp_avg", "exp_avg_sq"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
            "foreach": foreach, "capturable": capturable, "decoupled_weight_decay": decoupled_weight_decay,
            "differentiable": differentiable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def _update(self, cut: FlatSlice, grads: np.ndarray, group: dict[str, Any]) -> Relaunch:
        return radam(
            cut.values, grads, *cut.state, step=cut.numbers.item(0), lr=group["lr"], betas=group["betas"],
            eps=group["eps"], weight_decay=group["weight_decay"], decoupled=group["decoupled_weight_decay"],
            maximize=group["maximize"], hyper=cut.hyper, grad_scale=cut.grad_scale,
        )  # fmt: skip
