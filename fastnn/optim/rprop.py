"""Rprop."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fastnn._tensor.tensor import Tensor
from fastnn.kernels.optim.optimizers import Relaunch
from fastnn.kernels.optim.rprop import rprop
from fastnn.optim.elementwise import Elementwise
from fastnn.optim.flat_runs import FlatSlice


class Rprop(Elementwise):
    """Resilient propagation (M. Riedmiller and H. Braun, 1993), with PyTorch's defaults.

    Each number has a step size, initially ``lr``. It is multiplied by ``etas[1]`` if the gradient keeps its sign
    and by ``etas[0]`` if the sign changes, within ``step_sizes``. ``p -= sign(g) * step size``, except that ``p``
    does not move after a change of sign, and the gradient then counts as 0.

    Args:
        params: tensors or parameter groups.
        lr: initial step size.
        etas: the two factors, below and above 1.
        step_sizes: smallest and largest step size.
        maximize: maximize instead of minimize.
        foreach, capturable: accepted and ignored: there is only one implementation.

    Raises: ValueError for invalid options, also for ``differentiable=True``.

    >>> import fastnn
    >>> w = fastnn.nn.Parameter(fastnn.ones(1))
    >>> (3 * w).sum().backward()
    >>> fastnn.optim.Rprop([w], lr=0.1).step()
    >>> round(w.item(), 6)
    0.9
    """

    _arrays = "prev", "step_size"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "etas": etas, "step_sizes": step_sizes, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable, "capturable": capturable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        shrink, grow = group["etas"]
        if not 0.0 < shrink < 1.0 < grow:
            raise ValueError(f"Invalid eta values: {shrink}, {grow}")

    def _first(self, name: str, group: dict[str, Any]) -> float:
        return float(group["lr"]) if name == "step_size" else 0.0

    def _update(self, cut: FlatSlice, grads: np.ndarray, group: dict[str, Any]) -> Relaunch:
        return rprop(
            cut.values, grads, *cut.state, etas=group["etas"], step_sizes=group["step_sizes"],
            maximize=group["maximize"], hyper=cut.hyper, grad_scale=cut.grad_scale,
        )  # fmt: skip
