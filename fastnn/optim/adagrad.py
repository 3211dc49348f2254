"""Adagrad."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fastnn._tensor.tensor import Tensor
from fastnn.kernels.optim.adagrad import adagrad
from fastnn.kernels.optim.optimizers import Relaunch
from fastnn.optim.elementwise import Elementwise
from fastnn.optim.flat_runs import FlatSlice


class Adagrad(Elementwise):
    """Adagrad (J. Duchi, E. Hazan and Y. Singer, JMLR 12, 2011), with PyTorch's defaults.

    ``s += g**2``, ``p -= lr / (1 + (t - 1) lr_decay) * g / (sqrt(s) + eps)``.

    Args:
        params: tensors or parameter groups.
        lr: learning rate.
        lr_decay: as above.
        weight_decay: added to the gradient, times the parameter.
        initial_accumulator_value: the initial ``s``.
        eps: added to the denominator.
        maximize: maximize instead of minimize.
        foreach, fused: accepted and ignored: there is only one implementation.

    Raises: ValueError for invalid options, also for ``differentiable=True``.

    >>> import fastnn
    >>> w = fastnn.nn.Parameter(fastnn.ones(1))
    >>> (3 * w).sum().backward()
    >>> fastnn.optim.Adagrad([w], lr=0.1).step()
    >>> round(w.item(), 6)
    0.9
    """

    _arrays = ("sum",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        defaults = {
            "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable, "fused": fused,
        }  # fmt: skip
        super().__init__(params, defaults)
        # As in PyTorch, which creates the state of Adagrad in the constructor.
        for group, layout in zip(self.param_groups, self._layouts, strict=True):
            for run in layout.runs:
                for i in range(len(run.params)):
                    self._begin(run, i, group, {})

    def _first(self, name: str, group: dict[str, Any]) -> float:
        return self.defaults["initial_accumulator_value"] if name == "sum" else 0.0

    def _update(self, cut: FlatSlice, grads: np.ndarray, group: dict[str, Any]) -> Relaunch:
        return adagrad(
            cut.values, grads, *cut.state, step=cut.numbers.item(0), lr=group["lr"], lr_decay=group["lr_decay"],
            eps=group["eps"], weight_decay=group["weight_decay"], maximize=group["maximize"],
            hyper=cut.hyper, grad_scale=cut.grad_scale,
        )  # fmt: skip
