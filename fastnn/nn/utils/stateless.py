"""``torch.nn.utils.stateless``: the old path of :func:`fastnn.func.functional_call`."""

from __future__ import annotations

from typing import Any

from fastnn.nn.module import Module


def functional_call(
    module: Module, parameters_and_buffers: dict[str, Any], args: Any = None, kwargs: dict[str, Any] | None = None, *,
    tie_weights: bool = True, strict: bool = False,
) -> Any:  # fmt: skip
    """Call a module with other tensors in place of its parameters and buffers.

    >>> import fastnn
    >>> from fastnn.nn.utils import stateless
    >>> stateless.functional_call(fastnn.nn.Linear(1, 1, bias=False), {"weight": fastnn.ones(1, 1)}, fastnn.ones(1))
    tensor([1.])
    """
    from fastnn import func

    return func.functional_call(
        module, parameters_and_buffers, args, kwargs, tie_weights=tie_weights, strict=strict
    )
