"""NAdam."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fastnn._tensor.tensor import Tensor
from fastnn.kernels.optim.nadam import nadam
from fastnn.optim.elementwise import Elementwise
from fastnn.optim.flat_runs import FlatSlice


class NAdam(Elementwise):
    """Adam with Nesterov's momentum (T. Dozat, ICLR workshop 2016), with PyTorch's defaults.

    With ``mu(t) = beta1 (1 - 0.96**(t * momentum_decay) / 2)``, ``M`` the product of ``mu(1)`` to ``mu(t)``,
    Adam's moments ``m`` and ``v`` and ``d = sqrt(v / (1 - beta2**t)) + eps``:
    ``p -= lr (1 - mu(t)) / (1 - M) g / d + lr mu(t + 1) / (1 - M mu(t + 1)) m / d``.

    Args:
        params: tensors or parameter groups.
        lr: learning rate.
        betas: decay rates of the two moments.
        eps: added to the denominator.
        weight_decay: added to the gradient, times the parameter.
        momentum_decay: as above.
        decoupled_weight_decay: ``p *= 1 - lr * weight_decay`` instead of the addition to the gradient.
        maximize: maximize instead of minimize.
        foreach, capturable: accepted and ignored: there is only one implementation.

    Raises: ValueError for invalid options, also for ``differentiable=True``.

    >>> import fastnn
    >>> w = fastnn.nn.Parameter(fastnn.ones(1))
    >>> (3 * w).sum().backward()
    >>> fastnn.optim.NAdam([w], lr=0.1).step()
    >>> round(w.item(), 6)
    0.894355
    """

    _numbers = "step", "mu_product"
    _arrays = "exp_avg", "exp_avg_sq"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize, "foreach": foreach,
            "capturable": capturable, "differentiable": differentiable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def _first(self, name: str, group: dict[str, Any]) -> float:
        return 1.0 if name == "mu_product" else 0.0

    def _update(self, cut: FlatSlice, grads: np.ndarray, group: dict[str, Any]) -> None:
        step = cut.numbers.item(0, 0)
        # In float32, as PyTorch keeps it.
        products = cut.numbers[1]
        products *= group["betas"][0] * (1.0 - 0.5 * 0.96 ** (step * group["momentum_decay"]))
        nadam(
            cut.values, grads, *cut.state, step=step, mu_product=products.item(0), lr=group["lr"], betas=group["betas"],
            eps=group["eps"], weight_decay=group["weight_decay"], momentum_decay=group["momentum_decay"],
            decoupled=group["decoupled_weight_decay"], maximize=group["maximize"],
            hyper=cut.hyper, grad_scale=cut.grad_scale,
        )  # fmt: skip
