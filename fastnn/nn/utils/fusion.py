"""Fusion of a linear layer with the batch normalisation that follows."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.nn.parameter import Parameter


def fuse_linear_bn_weights(
    linear_w: Tensor, linear_b: Tensor | None, bn_rm: Tensor, bn_rv: Tensor, bn_eps: float, bn_w: Tensor, bn_b: Tensor
) -> tuple[Parameter, Parameter]:
    """Weight and bias of the layer equivalent to both in evaluation mode."""
    scale = bn_w._data / np.sqrt(bn_rv._data + np.asarray(bn_eps, bn_rv._data.dtype))
    bias = 0 if linear_b is None else linear_b._data
    weight = linear_w._data * scale[:, None]
    made = Parameter._of(weight) if isinstance(linear_w, Parameter) else Parameter(_wrap(weight))
    made.requires_grad_(linear_w.requires_grad)
    return made, Parameter(_wrap((bias - bn_rm._data) * scale + bn_b._data), linear_w.requires_grad)


def fuse_linear_bn_eval(linear: Any, bn: Any) -> Any:
    """A Linear equivalent to ``linear`` followed by ``bn``, both in evaluation mode."""
    if linear.training or bn.training:
        raise AssertionError(
            "Fusion only for eval! linear and bn must be in evaluation mode, found training="
            f"{linear.training} and {bn.training}"
        )
    if bn.num_features not in (linear.out_features, 1):
        raise AssertionError(
            "To fuse, linear.out_features == bn.num_features or bn.num_features == 1, found "
            f"{linear.out_features} and {bn.num_features}"
        )
    fused = copy.deepcopy(linear)
    ones = np.ones(bn.num_features, linear.weight._data.dtype)
    fused.weight, fused.bias = fuse_linear_bn_weights(
        fused.weight, fused.bias, bn.running_mean, bn.running_var, bn.eps,
        _wrap(ones) if bn.weight is None else bn.weight, _wrap(0 * ones) if bn.bias is None else bn.bias,
    )  # fmt: skip
    return fused
