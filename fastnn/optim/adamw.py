"""AdamW."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastnn._tensor.tensor import Tensor
from fastnn.optim.adam import Adam


class AdamW(Adam):
    """Adam with decoupled weight decay (I. Loshchilov and F. Hutter, arXiv:1711.05101).

    ``p *= 1 - lr * weight_decay``, then Adam's step with the plain gradient.

    Args:
        params: tensors or parameter groups.
        weight_decay: as above.
        lr, betas, eps, amsgrad, maximize, foreach, capturable, fused: see :class:`Adam`.

    Raises: ValueError for invalid options, also for ``differentiable=True``.

    >>> import fastnn
    >>> w = fastnn.nn.Parameter(fastnn.ones(1))
    >>> (3 * w).sum().backward()
    >>> fastnn.optim.AdamW([w], lr=0.1, weight_decay=0.5).step()
    >>> round(w.item(), 6)
    0.85
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize, capturable=capturable,
            differentiable=differentiable, fused=fused, decoupled_weight_decay=True,
        )  # fmt: skip
