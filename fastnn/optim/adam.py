"""Adam."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fastnn._tensor.tensor import Tensor
from fastnn.kernels.optim.adam import adam
from fastnn.kernels.optim.optimizers import Relaunch
from fastnn.optim.elementwise import Elementwise
from fastnn.optim.flat_runs import FlatSlice


class Adam(Elementwise):
    """Adam (D. P. Kingma and J. Ba, arXiv:1412.6980), with PyTorch's defaults.

    ``m += (1 - beta1) (g - m)``, ``v = beta2 v + (1 - beta2) g**2``,
    ``p -= lr * m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + eps)``.

    Args:
        params: tensors or parameter groups.
        lr: learning rate.
        betas: decay rates of the two moments.
        eps: added to the denominator.
        weight_decay: added to the gradient, times the parameter.
        amsgrad: use the largest second moment so far (S. J. Reddi et al., ICLR 2018).
        maximize: maximize instead of minimize.
        decoupled_weight_decay: shrink the parameter instead, as :class:`AdamW` does.
        foreach, capturable, fused: accepted and ignored: there is only one implementation.

    Raises: ValueError for invalid options, also for ``differentiable=True``.

    >>> import fastnn
    >>> w = fastnn.nn.Parameter(fastnn.ones(1))
    >>> (3 * w).sum().backward()
    >>> fastnn.optim.Adam([w], lr=0.1).step()
    >>> round(w.item(), 6)
    0.9
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
            "maximize": maximize, "foreach": foreach, "capturable": capturable, "differentiable": differentiable,
            "fused": fused, "decoupled_weight_decay": decoupled_weight_decay,
        }  # fmt: skip
        self._check(defaults)
        if isinstance(lr, Tensor) and foreach and not capturable:
            raise ValueError("lr as a Tensor is not supported for capturable=False and foreach=True")
        if not (all(isinstance(beta, float) for beta in betas) or all(isinstance(beta, Tensor) for beta in betas)):
            raise ValueError(
                f"betas must be either both floats or both Tensors, found {[type(beta).__name__ for beta in betas]}"
            )
        defaults["betas"] = tuple(map(float, betas))
        super().__init__(params, defaults)

    def _array_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq", "max_exp_avg_sq") if group["amsgrad"] else ("exp_avg", "exp_avg_sq")

    def _update(self, cut: FlatSlice, grads: np.ndarray, group: dict[str, Any]) -> Relaunch:
        return adam(
            cut.values, grads, *cut.state, step=cut.numbers.item(0), lr=group["lr"], betas=group["betas"],
            eps=group["eps"], weight_decay=group["weight_decay"], decoupled=group["decoupled_weight_decay"],
            maximize=group["maximize"], hyper=cut.hyper, grad_scale=cut.grad_scale,
        )  # fmt: skip
