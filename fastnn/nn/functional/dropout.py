"""Dropout of every kind as functions of tensors. Public under ``fastnn.nn.functional``."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn import kernels
from fastnn._autograd.engine import Node
from fastnn._autograd.modes import is_grad_enabled
from fastnn._tensor.tensor import Tensor, _recorded, _wrap
from fastnn.kernels.runtime import allocation
from fastnn.nn.checks import _check_floating, _check_tensor, _contiguous, _half
from fastnn.random import default_generator

__all__ = ["alpha_dropout", "dropout", "dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout"]


def check_probability(p: Any) -> None:
    """ValueError unless ``p`` is in [0, 1]."""
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def _dropped(
    name: str, input: Tensor, p: float, training: bool, inplace: bool, channels: bool,
    forward: Callable[..., None], backward: Callable[..., None],
) -> Tensor:  # fmt: skip
    """Apply a dropout kernel to ``input``; ``channels``: drop whole channels, dimension 1."""
    _check_tensor("input", input)
    check_probability(p)
    if not training or p == 0 or input._data.size == 0:
        return input
    if p == 1 and input._data.dtype.kind != "f" and not channels:
        nothing = _wrap(np.zeros_like(input._data))
        return input._in_place(nothing) if inplace else nothing
    _check_floating(name, input)
    x = _contiguous(input._data)
    if channels and x.ndim < 2:
        raise RuntimeError(f"Feature dropout requires at least 2 dimensions in the input, found shape {tuple(x.shape)}")
    width = int(np.prod(x.shape[2:])) if channels else 1
    state, out, p = default_generator().kernel_state(), allocation.empty_like(x), float(p)
    try:
        forward(out, x, state, p, width)
    except TypeError as error:
        _half(error, input)
        # The next draw.
        result = _dropped(name, input.float(), p, training, False, channels, forward, backward).half()
        return input._in_place(result) if inplace else result
    if not _recorded(input):
        result = _wrap(out)
    else:

        def run(grad: Tensor) -> tuple[Tensor]:
            dy = _contiguous(grad._data)
            # Linear in the input: if this is to be differentiated, it is a product with the slopes.
            source = np.ones_like(dy) if is_grad_enabled() else dy
            dx = allocation.empty_like(dy)
            backward(dx, source, state, p, width)
            return (grad * _wrap(dx) if is_grad_enabled() else _wrap(dx),)

        result = _wrap(out, Node(name, (input,), run))
    return input._in_place(result) if inplace else result


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero each number with probability ``p`` and divide the others by ``1 - p``; ``input`` itself if not ``training``.

    Args:
        input: any shape, float32 or float64.
        p: in [0, 1].

    Source: N. Srivastava et al., JMLR 15 (2014). Raises: ValueError for a wrong ``p``.

    >>> import fastnn
    >>> out = fastnn.nn.functional.dropout(fastnn.ones(1000), 0.25)
    >>> sorted({round(x, 2) for x in out.tolist()})
    [0.0, 1.33]
    """
    return _dropped(
        "Dropout", input, p, training, inplace, False, kernels.dropout_forward, kernels.dropout_backward
    )  # fmt: skip


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Dropout for SELU: dropped numbers become its saturation, -1.7581, and all are scaled to keep mean and variance.

    Args:
        input: any shape, float32 or float64.
        p: in [0, 1].

    Source: G. Klambauer et al., arXiv:1706.02515.

    >>> import fastnn
    >>> fastnn.nn.functional.alpha_dropout(fastnn.zeros(2), 0.5)
    tensor([0., 0.])
    """
    return _alpha("AlphaDropout", input, p, training, inplace, False)


def _alpha(name: str, input: Tensor, p: float, training: bool, inplace: bool, channels: bool) -> Tensor:
    if training and p == 1 and isinstance(input, Tensor):
        # As in PyTorch everything becomes 0, not the saturation.
        return _dropped(
            name, input, p, training, inplace, channels, kernels.dropout_forward, kernels.dropout_backward
        )  # fmt: skip
    return _dropped(
        name, input, p, training, inplace, channels, kernels.alpha_dropout_forward, kernels.alpha_dropout_backward
    )  # fmt: skip


def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """:func:`alpha_dropout` of whole channels.

    Args:
        input: (batch, channels, ...), float32 or float64.
        p: in [0, 1].
    """
    return _alpha("FeatureAlphaDropout", input, p, training, inplace, True)


def _features(input: Tensor, p: float, training: bool, inplace: bool) -> Tensor:
    return _dropped(
        "FeatureDropout", input, p, training, inplace, True, kernels.dropout_forward, kernels.dropout_backward
    )  # fmt: skip


def _unbatched(input: Tensor, p: float, training: bool, inplace: bool) -> Tensor:
    result = _features(input.unsqueeze(0), p, training, inplace).squeeze(0)
    return input if inplace else result


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """:func:`dropout` of whole channels.

    Args:
        input: (batch, channels, length) or (channels, length), float32 or float64.
        p: in [0, 1].

    Raises: ValueError for a wrong ``p``, RuntimeError for another number of dimensions.
    """
    _check_tensor("input", input)
    check_probability(p)
    if input._data.ndim not in (2, 3):
        raise RuntimeError(f"dropout1d: Expected 2D or 3D input, but received a {input._data.ndim}D input.")
    return (_features if input._data.ndim == 3 else _unbatched)(input, p, training, inplace)


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """:func:`dropout` of whole channels.

    Args:
        input: (batch, channels, height, width); with three dimensions it is taken as (batch, channels, length).
        p: in [0, 1].
    """
    _check_tensor("input", input)
    check_probability(p)
    if input._data.ndim != 4:
        warnings.warn(
            f"dropout2d: Received a {input._data.ndim}-D input to dropout2d; dimension 1 is taken for the channels",
            stacklevel=2,
        )
    return _features(input, p, training, inplace)


def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """:func:`dropout` of whole channels.

    Args:
        input: (batch, channels, depth, height, width), or without batch.
        p: in [0, 1].
    """
    _check_tensor("input", input)
    check_probability(p)
    if input._data.ndim not in (4, 5):
        warnings.warn(f"dropout3d: Received a {input._data.ndim}-D input to dropout3d", stacklevel=2)
    return (_features if input._data.ndim == 5 else _unbatched)(input, p, training, inplace)
