"""Layer, root-mean-square, group and instance normalisation as functions of tensors.

Layer normalisation is fused with the layers that follow. Public under ``fastnn.nn.functional``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn import kernels
from fastnn._autograd.engine import Node
from fastnn._core.errors import DTypeError, ShapeError
from fastnn._tensor.tensor import Tensor, _recorded, _wrap
from fastnn.kernels.runtime import allocation
from fastnn.nn.activation_core import READS_RESULT
from fastnn.nn.checks import _check_floating, _check_tensor, _contiguous, _half
from fastnn.nn.functional.batch_norm import _again_behind, _check_vector, batch_norm
from fastnn.nn.functional.gradient_buffers import _finish_gradient, _gradient_place, _is_wanted
from fastnn.ops.core import tied
from fastnn.random import default_generator

__all__ = ["batch_norm", "group_norm", "instance_norm", "layer_norm", "rms_norm"]

# The fused layers after a normalisation: activation, its slope, probability of dropout.
_NOTHING = ("none", 0.01, 0.0)


def layer_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """``(input - mean) / sqrt(var + eps) * weight + bias``, mean and var over the last dimensions.

    Args:
        input: (..., *normalized_shape), float32 or float64.
        weight, bias: of shape ``normalized_shape``, or None.

    Source: J. L. Ba et al., arXiv:1607.06450. Raises: ShapeError for mismatched shapes.

    >>> import fastnn
    >>> fastnn.nn.functional.layer_norm(fastnn.tensor([[1.0, 3.0], [0.0, 8.0]]), (2,), eps=1e-9)
    tensor([[-1.,  1.],
            [-1.,  1.]])
    """
    return layer_norm_activation(input, normalized_shape, weight, bias, eps)


def layer_norm_activation(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    activation: str = "none",
    slope: float = 0.01,
    p: float = 0.0,
) -> Tensor:
    """``dropout(activation(layer_norm(input, ...)), p)`` in one kernel."""
    shape = _normalized(normalized_shape)
    try:
        _check_rows("layer_norm", input, shape, weight, bias)
        return _normalise_rows(
            "NativeLayerNorm", input, math.prod(shape), 1, True, weight, bias, eps, activation, slope, p
        )  # fmt: skip
    except TypeError as error:
        _half(error, input)
        wide = _as_float(input, weight, bias)
        return layer_norm_activation(wide[0], shape, wide[1], wide[2], eps, activation, slope, p).half()


def rms_norm(
    input: Tensor, normalized_shape: int | Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """``input / sqrt(mean(input**2) + eps) * weight``, the mean over the last dimensions.

    Args:
        input: (..., *normalized_shape), float32 or float64.
        weight: of shape ``normalized_shape``, or None.
        eps: None for the distance from 1 to the next number of the dtype.

    Source: B. Zhang and R. Sennrich, arXiv:1910.07467.

    >>> import fastnn
    >>> fastnn.nn.functional.rms_norm(fastnn.tensor([[1.0, 7.0]]), (2,))
    tensor([[0.2000, 1.4000]])
    """
    shape = _normalized(normalized_shape)
    try:
        _check_rows("rms_norm", input, shape, weight, None)
        small = float(np.finfo(input._data.dtype).eps) if eps is None else eps
        return _normalise_rows("RmsNorm", input, math.prod(shape), 1, False, weight, None, small, *_NOTHING)
    except TypeError as error:
        _half(error, input)
        wide = _as_float(input, weight)
        return rms_norm(wide[0], shape, wide[1], float(np.finfo(np.float32).eps) if eps is None else eps).half()


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """``(input - mean) / sqrt(var + eps) * weight + bias``, mean and var over each group of channels of a sample.

    Args:
        input: (batch, channels, ...), float32 or float64.
        num_groups: divides channels.
        weight, bias: (channels,), or None.

    Source: Y. Wu and K. He, arXiv:1803.08494.

    >>> import fastnn
    >>> fastnn.nn.functional.group_norm(fastnn.tensor([[1.0, 3.0, 0.0, 8.0], [1.0, 3.0, 0.0, 8.0]]), 2, eps=1e-9)
    tensor([[-1.,  1., -1.,  1.],
            [-1.,  1., -1.,  1.]])
    """
    _check_floating("group_norm", input)
    if input._data.itemsize == 2:
        wide = _as_float(input, weight, bias)
        return group_norm(wide[0], num_groups, wide[1], wide[2], eps).half()
    shape = input._data.shape
    if len(shape) < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received {len(shape)}")
    if num_groups < 1 or shape[1] % num_groups:
        raise ShapeError(
            f"Expected number of channels in input to be divisible by num_groups, but got input of shape "
            f"{list(shape)} and num_groups={num_groups}"
        )
    if shape[0] * (shape[1] // num_groups) * math.prod(shape[2:]) == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {list(shape)}")
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None:
            _check_vector(name, value, input._data, shape[1])
    columns = math.prod(shape[1:])
    if len(shape) == 2:
        return _normalise_rows("NativeGroupNorm", input, columns, num_groups, True, weight, bias, eps, *_NOTHING)
    # A row holds several channels, so plain operations apply scale and shift.
    out = _normalise_rows("NativeGroupNorm", input, columns, num_groups, True, None, None, eps, *_NOTHING)
    return _per_channel(out, weight, bias)


def _as_float(*tensors: Tensor | None) -> list[Any]:
    return [None if t is None else t.float() for t in tensors]


def _per_channel(out: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    column = (-1, *(1,) * (out._data.ndim - 2))
    out = out if weight is None else out * weight.reshape(*column)
    return out if bias is None else out + bias.reshape(*column)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """:func:`batch_norm` of each sample separately.

    Args:
        input: (batch, channels, length, ...), float32 or float64.
        running_mean, running_var: (channels,), updated with the batch means of the samples' statistics; used
            instead of those if not ``use_input_stats``.
        weight, bias: (channels,), or None.

    Raises: ValueError for a single position. Source: D. Ulyanov et al., arXiv:1607.08022.
    """
    _check_floating("instance_norm", input)
    shape = input._data.shape
    if not use_input_stats:
        if running_mean is None or running_var is None:
            missing = "running_mean" if running_mean is None else "running_var"
            raise RuntimeError(
                "Expected running_mean and running_var to be defined when use_input_stats is false: "
                f"{missing} is None"
            )
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    positions = math.prod(shape[2:])
    if positions == 1:
        raise ValueError(f"Expected more than 1 spatial element when training, got input size {list(shape)}")
    vectors = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    for name, value in vectors.items():
        if value is not None:
            _check_vector(name, value, input._data, shape[1])
    if not input._data.size:
        return _per_channel(input.clone(), weight, bias)
    out = _normalise_rows("NativeBatchNorm", input, shape[1] * positions, shape[1], True, None, None, eps, *_NOTHING)
    over = tuple(range(2, len(shape)))
    for running, sample in ((running_mean, np.mean), (running_var, _unbiased)):
        if running is not None:
            new = sample(input._data.astype(np.float64), axis=over).mean(0)
            running._memory.version += 1
            running._data[...] += (momentum * (new - running._data)).astype(running._data.dtype)
    # Copies, as in PyTorch: they may change before the backward pass.
    scale = None if weight is None else weight.clone()
    return _per_channel(out, scale, None if bias is None else tied(bias.clone(), input))


def _unbiased(x: np.ndarray, axis: tuple[int, ...]) -> np.ndarray:
    return np.var(x, axis=axis, ddof=1)


def _normalized(shape: int | Sequence[int]) -> tuple[int, ...]:
    return (int(shape),) if isinstance(shape, (int, np.integer)) else tuple(shape)


def _check_rows(
    function: str, input: Tensor, shape: tuple[int, ...], weight: Tensor | None, bias: Tensor | None
) -> None:
    _check_floating(function, input)
    if not shape:
        raise ShapeError("Expected normalized_shape to be at least 1-dimensional, but got normalized_shape = []")
    found = input._data.shape
    if found[len(found) - len(shape) :] != shape or len(found) < len(shape):
        raise ShapeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [*, {', '.join(map(str, shape))}], but "
            f"got input of size{list(found)}"
        )
    for name, value in (("weight", weight), ("bias", bias)):
        if value is None:
            continue
        _check_tensor(name, value)
        if value._data.shape != shape:
            raise ShapeError(
                f"Expected {name} to be of same shape as normalized_shape, but got {name} of shape "
                f"{list(value.shape)} and normalized_shape = {list(shape)}"
            )
        if value._data.dtype != input._data.dtype:
            raise DTypeError(f"{name} must have the dtype of the input, {input.dtype}, found {value.dtype}")


def _flat(value: Tensor | None) -> np.ndarray | None:
    return None if value is None else _contiguous(value._data).reshape(-1)


def _normalise_rows(
    name: str,
    input: Tensor,
    columns: int,
    groups: int,
    centred: bool,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    activation: str,
    slope: float,
    p: float,
) -> Tensor:
    """The row kernel over ``input`` as a matrix with this many columns; weight and bias as its rows."""
    shape = input._data.shape
    rows = math.prod(shape) // columns if columns else 0
    x = _contiguous(input._data).reshape(rows, columns)
    out, saved = allocation.empty_like(x), allocation.empty((rows * groups, 3), x.dtype)
    w, b = _flat(weight), _flat(bias)
    state = default_generator().kernel_state() if p else None
    options: dict[str, Any] = {
        "groups": groups, "centred": centred, "activation": activation, "slope": slope, "p": p, "state": state,
    }  # fmt: skip
    short_is_nan = name != "NativeBatchNorm"
    kernels.layer_norm_forward(out, saved, x, w, b, eps=eps, short_is_nan=short_is_nan, **options)
    result = out.reshape(shape)
    operands = (input, *[t for t in (weight, bias) if t is not None])
    if not _recorded(*operands):
        return _wrap(result)
    wants_dx, wants_dw, wants_db = input._requires_grad, _is_wanted(weight), _is_wanted(bias)

    def place(t: Tensor | None, wanted: bool) -> tuple[np.ndarray | None, bool, bool]:
        if not wanted or t is None or t._data.ndim == 1:
            return _gradient_place(t, wanted, (columns,))
        return allocation.empty(columns, t._data.dtype), False, False

    def run(grad: Tensor) -> tuple[Tensor | None, ...]:
        dy = _contiguous(grad._data).reshape(rows, columns)
        dx = allocation.empty_like(x) if wants_dx else None
        places = place(weight, wants_dw), place(bias, wants_db)
        (dw, add_w, _), (db, add_b, _) = places
        kernels.layer_norm_backward(
            dx, dw, db, dy, x, w, b, saved, accumulate_weight=add_w, accumulate_bias=add_b, **options
        )  # fmt: skip
        grads = [None if dx is None else _wrap(dx.reshape(shape))]
        for t, (array, _, in_place) in zip((weight, bias), places, strict=True):
            if t is not None:
                grads.append(
                    _finish_gradient(t, array if array is None else array.reshape(t._data.shape), in_place)
                )
        return tuple(grads)

    def recompute() -> Tensor:
        grouped = input.reshape(rows, groups, columns // groups if groups else 0)
        if centred:
            grouped = grouped - grouped.mean(-1, keepdim=True)
        grouped = grouped / ((grouped * grouped).mean(-1, keepdim=True) + eps).sqrt()
        z = grouped.reshape(rows, columns)
        z = z if weight is None else z * weight.reshape(columns)
        if bias is not None:
            shift = bias.reshape(columns)
            z = z + (tied(shift, input) if name == "NativeLayerNorm" else shift)
        return _again_behind(z, activation, slope, p, state).reshape(*shape)

    read = operands if activation != "none" or name == "NativeLayerNorm" else operands[: 2 if weight is not None else 1]
    node = Node(name, operands, run, read, keeps=True, recompute=recompute)
    return node.guard(_wrap(result, node)) if activation in READS_RESULT else _wrap(result, node)
