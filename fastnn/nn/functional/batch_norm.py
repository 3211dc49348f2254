"""Batch normalisation as a function of tensors, fused with the layers that follow.

Public under ``fastnn.nn.functional``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn import kernels
from fastnn._autograd.engine import Node
from fastnn._core.errors import DTypeError, ShapeError
from fastnn._tensor.tensor import Tensor, _recorded, _wrap
from fastnn.kernels.runtime import allocation
from fastnn.nn.activation_core import READS_RESULT
from fastnn.nn.checks import _check_floating, _check_tensor, _contiguous
from fastnn.nn.functional.gradient_buffers import _finish_gradient, _gradient_place, _is_wanted
from fastnn.ops.core import also_read, tied
from fastnn.random import default_generator


def _check_vector(name: str, value: Any, like: np.ndarray, size: int) -> None:
    _check_tensor(name, value)
    if value._data.shape != (size,):
        raise ShapeError(f"{name} should contain {size} elements not {tuple(value.shape)}")
    if value._data.dtype != like.dtype:
        raise DTypeError(f"{name} must have the dtype of the input, {like.dtype}, found {value.dtype}")


def _again_behind(z: Tensor, activation: str, slope: float, p: float, state: np.ndarray | None) -> Tensor:
    """Recompute the activation and dropout by recorded operations."""
    from fastnn.nn.functional import _activation

    if activation != "none":
        z = _activation(z, activation, slope)
    if not p:
        return z
    assert state is not None
    factors = np.ones(z._data.shape, z._data.dtype)
    kernels.dropout_forward(factors, factors, state, p)
    return z * _wrap(factors)


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """``(input - mean) / sqrt(var + eps) * weight + bias`` for each channel, over batch and positions.

    Training uses the input's mean and (biased) variance, and updates ``running_mean`` and ``running_var``, if given,
    by ``running += momentum * (new - running)``, with the unbiased variance. Evaluation uses the running ones.

    Args:
        input: (batch, channels) or (batch, channels, ...), float32 or float64.
        running_mean, running_var, weight, bias: (channels,) of the same dtype, or None.

    Source: S. Ioffe and C. Szegedy, arXiv:1502.03167. Raises: ValueError for one value per channel in training.

    >>> import fastnn
    >>> x = fastnn.tensor([[1.0, 5.0], [3.0, 9.0]])
    >>> fastnn.nn.functional.batch_norm(x, None, None, training=True, eps=1e-9)
    tensor([[-1., -1.],
            [ 1.,  1.]])
    """
    return batch_norm_activation(input, running_mean, running_var, weight, bias, training, momentum, eps)


def _batch_norm_of_half(
    input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None, bias: Tensor | None,
    *rest: Any,
) -> Tensor:  # fmt: skip
    """``batch_norm_activation`` of float16: it and the running statistics are computed in float32 and rounded."""
    mean, var, scale, shift = [None if t is None else t.float() for t in (running_mean, running_var, weight, bias)]
    out = batch_norm_activation(input.float(), mean, var, scale, shift, *rest)
    for given, new in ((running_mean, mean), (running_var, var)):
        if given is not None and new is not None and new is not given:
            given._write(..., new._data)
    return out.half()


def batch_norm_activation(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    activation: str = "none",
    slope: float = 0.01,
    p: float = 0.0,
    counter: Tensor | None = None,
) -> Tensor:
    """``dropout(activation(batch_norm(input, ...)), p)`` in one kernel.

    Args:
        activation, slope: see :mod:`fastnn.kernels.activation.fused_activations`.
        p: probability of dropout; for two dimensions only.
        counter: () int64, increased by one in training.
    """
    _check_tensor("input", input)
    x = input._data
    if x.dtype.kind != "f" or x.itemsize == 2:
        _check_floating("batch_norm", input)
        return _batch_norm_of_half(
            input, running_mean, running_var, weight, bias, training, momentum, eps, activation, slope, p, counter
        )  # fmt: skip
    if x.ndim != 2:
        return _batch_norm_channels(
            input, training, p, running_mean, running_var, weight, bias, training, momentum, eps, activation, slope,
            0.0, counter,
        )  # fmt: skip
    batch, columns = x.shape
    if training:
        if batch == 1:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {input.shape}")
        if eps <= 0:
            raise ValueError(f"batch_norm eps must be positive during training, but got {eps}")
    elif eps < 0:
        raise ValueError(f"batch_norm eps must be non-negative, but got {eps}")
    if running_mean is not None:
        _check_vector("running_mean", running_mean, x, columns)
    if running_var is not None:
        _check_vector("running_var", running_var, x, columns)
    if (running_mean is None) != (running_var is None) or (running_mean is None and not training):
        given = [n for n, v in (("running_mean", running_mean), ("running_var", running_var)) if v is not None]
        raise RuntimeError(
            "running_mean and running_var must be defined in evaluation mode, and always both or none: found "
            f"{given[0] if given else 'neither'} with training={training}"
        )
    operands: tuple[Tensor, ...] = (input,)
    if weight is not None:
        _check_vector("weight", weight, x, columns)
        operands += (weight,)
    if bias is not None:
        _check_vector("bias", bias, x, columns)
        operands += (bias,)
    x = _contiguous(x)
    out, saved = allocation.empty_like(x), allocation.empty((5, columns), x.dtype)
    state = default_generator().kernel_state() if p else None
    if training and not batch:
        # Without rows there are no statistics: the running ones are unchanged.
        if counter is not None:
            counter._memory.version += 1
            counter._data[...] += 1
    else:
        if training:
            for buffer in (running_mean, running_var, counter):
                if buffer is not None:
                    buffer._memory.version += 1
        kernels.batch_norm_forward(
            out, saved, x, None if weight is None else _contiguous(weight._data),
            None if bias is None else _contiguous(bias._data),
            None if running_mean is None else running_mean._data, None if running_var is None else running_var._data,
            None if counter is None else counter._data, training=training, momentum=momentum, eps=eps,
            activation=activation, slope=slope, p=p, state=state,
        )  # fmt: skip
    if not _recorded(*operands):
        return _wrap(out)
    wants_dx, wants_dw, wants_db = input._requires_grad, _is_wanted(weight), _is_wanted(bias)

    def run(grad: Tensor) -> tuple[Tensor | None, ...]:
        dx = allocation.empty_like(x) if wants_dx else None
        dw, add_w, w_in_place = _gradient_place(weight, wants_dw, (columns,))
        db, add_b, b_in_place = _gradient_place(bias, wants_db, (columns,))
        kernels.batch_norm_backward(
            dx, dw, db, _contiguous(grad._data), x, saved, training=training, activation=activation, slope=slope, p=p,
            state=state, accumulate_weight=add_w, accumulate_bias=add_b,
        )  # fmt: skip
        grads = [None if dx is None else _wrap(dx)]
        if weight is not None:
            grads.append(_finish_gradient(weight, dw, w_in_place))
        if bias is not None:
            grads.append(_finish_gradient(bias, db, b_in_place))
        return tuple(grads)

    def recompute() -> Tensor:
        if training:
            centred = input - input.mean(0)
            z = centred / ((centred * centred).mean(0) + eps).sqrt()
        else:
            z = (input - _wrap(saved[0])) * _wrap(saved[2])
        z = z if weight is None else z * weight
        return _again_behind(z if bias is None else z + tied(bias, input), activation, slope, p, state)

    read = (input,) if weight is None else (input, weight)
    node = Node("NativeBatchNorm", operands, run, read, keeps=True, recompute=recompute)
    return node.guard(_wrap(out, node)) if activation in READS_RESULT else _wrap(out, node)


def _batch_norm_channels(input: Tensor, training: bool, p: float, *arguments: Any) -> Tensor:
    """Batch normalisation of (batch, channels, ...), with the channels moved last."""
    shape, ndim = input._data.shape, input._data.ndim
    if ndim < 2:
        raise ShapeError(f"Expected input with at least 2 dimensions, found shape {tuple(shape)}")
    if p:
        raise ValueError(f"dropout is fused with batch normalisation for two dimensions only, found {ndim}")
    if training and shape[0] * math.prod(shape[2:]) == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {input.shape}")
    moved = input.permute(0, *range(2, ndim), 1)
    rows = moved.reshape(math.prod(moved._data.shape[:-1]), shape[1])
    out = batch_norm_activation(rows, *arguments)
    result = out.reshape(*moved._data.shape).permute(0, ndim - 1, *range(1, ndim - 1)).contiguous()
    return also_read(result, input) if training else result
