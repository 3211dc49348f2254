"""Normalisation layers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn._core import capture_state
from fastnn._core.dtypes import dtype as _dtype
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.nn import functional
from fastnn.nn.checks import _kind
from fastnn.nn.functional.batch_norm import batch_norm_activation
from fastnn.nn.functional.normalization import _normalized, layer_norm_activation
from fastnn.nn.module import Module
from fastnn.nn.parameter import Parameter

__all__ = ["BatchNorm1d", "GroupNorm", "InstanceNorm1d", "LayerNorm", "RMSNorm"]


class _Affine(Module):
    """A layer with an optional weight of ones and bias of zeros."""

    weight: Parameter | None
    bias: Parameter | None

    def _register_affine(self, shape: tuple[int, ...], kind: np.dtype, weight: bool, bias: bool) -> None:
        self.register_parameter("weight", Parameter._empty(shape, kind) if weight else None)
        self.register_parameter("bias", Parameter._empty(shape, kind) if bias else None)

    def reset_parameters(self) -> None:
        """Set the weight to ones and the bias to zeros."""
        if self.weight is not None:
            self.weight._data[...] = 1
        if self.bias is not None:
            self.bias._data[...] = 0


class _RunningNorm(_Affine):
    """Base of the layers with running statistics; its arguments are those of :class:`BatchNorm1d`."""

    # Version 2 added num_batches_tracked.
    _version = 2
    num_batches_tracked: Tensor | None
    running_mean: Tensor | None
    running_var: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: _dtype | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        kind = _kind(dtype, device)
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self._register_affine((num_features,), kind, affine, affine and bias)
        tracked = track_running_stats
        self.register_buffer("running_mean", _wrap(np.zeros(num_features, kind)) if tracked else None)
        self.register_buffer("running_var", _wrap(np.ones(num_features, kind)) if tracked else None)
        self.register_buffer("num_batches_tracked", _wrap(np.zeros((), np.int64)) if tracked else None)
        self.reset_parameters()

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, local_metadata: Any, strict: bool, missing_keys: list[str],
        unexpected_keys: list[str], error_msgs: list[str],
    ) -> None:  # fmt: skip
        key, counter = f"{prefix}num_batches_tracked", self._buffers["num_batches_tracked"]
        # States of version 1 have no counter; the module's own is kept.
        if (local_metadata.get("version") or 0) < 2 and self.track_running_stats and key not in state_dict:
            state_dict[key] = _wrap(np.zeros((), np.int64)) if counter is None else counter
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )

    def reset_running_stats(self) -> None:
        """Set the running mean to 0, the running variance to 1 and the count of batches to 0."""
        for name, value in (("running_mean", 0), ("running_var", 1), ("num_batches_tracked", 0)):
            buffer = self._buffers[name]
            if self.track_running_stats and buffer is not None:
                buffer.fill_(value)

    def reset_parameters(self) -> None:
        """Reset the running statistics, the weight to ones and the bias to zeros."""
        self.reset_running_stats()
        super().reset_parameters()

    def _check_input_dim(self, input: Any) -> None:
        if isinstance(input, Tensor) and input._data.ndim not in (2, 3):
            raise ValueError(f"expected 2D or 3D input (got {input._data.ndim}D input)")

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_RunningNorm):
    """PyTorch's base of its BatchNorm layers, which programs look for by ``isinstance``."""


class BatchNorm1d(_BatchNorm):
    """``(x - mean) / sqrt(var + eps) * weight + bias`` for each channel.

    Training uses the batch's mean and variance and updates the running ones; evaluation uses the running ones.
    In a ``Sequential``, consecutive BatchNorm1d, activation and Dropout are one kernel.

    Args:
        num_features: the number of channels.
        eps: added to the variance.
        momentum: the weight of a new batch in the running statistics; None for the mean over all batches.
        affine: whether there are a weight and, if ``bias``, a bias for each channel.
        track_running_stats: whether there are running statistics; without them the batch's are always used.
        device: None or 'cpu'.
        dtype: float32 (the default) or float64.

    Shape: (batch, num_features) or (batch, num_features, length). Source: S. Ioffe and C. Szegedy, arXiv:1502.03167.

    Raises: ValueError for another number of dimensions, or for one value per channel in training.

    >>> import fastnn
    >>> layer = fastnn.nn.BatchNorm1d(2, eps=1e-9)
    >>> layer(fastnn.tensor([[1.0, 5.0], [3.0, 9.0]])).tolist()
    [[-1.0, -1.0], [1.0, 1.0]]
    >>> layer.running_mean
    tensor([0.2000, 0.7000])
    """

    def forward(self, input: Tensor) -> Tensor:
        """The shape of the input."""
        return self._fused(input, "none", 0.01, 0.0)

    def _fused(self, input: Tensor, activation: str, slope: float, p: float) -> Tensor:
        """This layer, an activation and a dropout in one kernel."""
        self._check_input_dim(input)
        buffers, parameters = self._buffers, self._parameters
        try:
            weight, bias = parameters["weight"], parameters["bias"]
        except KeyError:
            # Computed from others, as when it is pruned.
            weight, bias = self.weight, self.bias
        running_mean, running_var = buffers["running_mean"], buffers["running_var"]
        momentum, counter = 0.0 if self.momentum is None else self.momentum, None
        if not self.training:
            training = running_mean is None and running_var is None
        else:
            training = True
            if not self.track_running_stats:
                running_mean = running_var = None
            else:
                counter = buffers["num_batches_tracked"]
                if counter is not None and self.momentum is None:
                    capture_state.stop("the factor of a cumulative average changes with every batch")
                    momentum = 1.0 / (int(counter._data) + 1)
        try:
            return batch_norm_activation(
                input, running_mean, running_var, weight, bias, training, momentum, self.eps, activation, slope, p,
                counter,
            )  # fmt: skip
        except (ValueError, TypeError, RuntimeError):
            # PyTorch counts a batch before it looks at it.
            if counter is not None:
                counter._memory.version += 1
                counter._data[...] += 1
            raise


class _InstanceNorm(_RunningNorm):
    """PyTorch's base of its InstanceNorm layers, which programs look for by ``isinstance``."""


class InstanceNorm1d(_InstanceNorm):
    """:class:`BatchNorm1d` of each sample separately, by default without parameters and running statistics.

    Args:
        num_features: the number of channels.
        eps, momentum, affine, track_running_stats, device, dtype, bias: as for :class:`BatchNorm1d`.

    Shape: (batch, num_features, length) or (num_features, length). Source: D. Ulyanov et al., arXiv:1607.08022.

    >>> import fastnn
    >>> fastnn.nn.InstanceNorm1d(2, eps=1e-9)(fastnn.tensor([[1.0, 5.0], [3.0, 7.0]]))
    tensor([[-1.,  1.],
            [-1.,  1.]])
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: _dtype | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, local_metadata: Any, strict: bool, missing_keys: list[str],
        unexpected_keys: list[str], error_msgs: list[str],
    ) -> None:  # fmt: skip
        # Before PyTorch 0.4 running statistics were the default.
        old = [name for name in ("running_mean", "running_var") if f"{prefix}{name}" in state_dict]
        if old and local_metadata.get("version") is None and not self.track_running_stats:
            names = " and ".join(f'"{prefix}{name}"' for name in old)
            error_msgs.append(
                f"Unexpected running stats buffer(s) {names} for {type(self).__name__} with track_running_stats=False. "
                "Remove these keys from state_dict, or set track_running_stats=True."
            )
            for name in old:
                del state_dict[f"{prefix}{name}"]
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )

    def forward(self, input: Tensor) -> Tensor:
        """The shape of the input."""
        self._check_input_dim(input)
        batched = input if input._data.ndim == 3 else input.unsqueeze(0)
        if batched._data.shape[1] != self.num_features:
            found = f"expected input's size at dim=1 to match num_features ({self.num_features}), but got: "
            if self.affine:
                raise ValueError(f"{found}{batched._data.shape[1]}.")
            warnings.warn(
                f"input's size at dim=1 does not match num_features. {found}{batched._data.shape[1]}.", stacklevel=2
            )
        out = functional.instance_norm(
            batched, self.running_mean, self.running_var, self.weight, self.bias,
            self.training or not self.track_running_stats, 0.0 if self.momentum is None else self.momentum, self.eps,
        )  # fmt: skip
        return out if batched is input else out.squeeze(0)


class LayerNorm(_Affine):
    """``(x - mean) / sqrt(var + eps) * weight + bias``, mean and variance over the last dimensions.

    In a ``Sequential``, consecutive LayerNorm, activation and Dropout are one kernel.

    Args:
        normalized_shape: the sizes of the last dimensions.
        eps: added to the variance.
        elementwise_affine: whether there is a weight.
        bias: whether there is a bias, if there is a weight.
        device: None or 'cpu'.
        dtype: float32 (the default) or float64.

    Shape: (..., *normalized_shape). Source: J. L. Ba et al., arXiv:1607.06450.

    >>> import fastnn
    >>> fastnn.nn.LayerNorm(2, eps=1e-9)(fastnn.tensor([[1.0, 3.0], [0.0, 8.0]])).tolist()
    [[-1.0, 1.0], [-1.0, 1.0]]
    """

    normalized_shape: tuple[int, ...]

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: _dtype | None = None,
    ) -> None:
        super().__init__()
        kind = _kind(dtype, device)
        self.normalized_shape = _normalized(normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        self._register_affine(self.normalized_shape, kind, elementwise_affine, elementwise_affine and bias)
        self.reset_parameters()

    def forward(self, input: Tensor) -> Tensor:
        """The shape of the input."""
        return self._fused(input, "none", 0.01, 0.0)

    def _fused(self, input: Tensor, activation: str, slope: float, p: float) -> Tensor:
        """This layer, an activation and a dropout in one kernel."""
        parameters = self._parameters
        try:
            weight, bias = parameters["weight"], parameters["bias"]
        except KeyError:
            weight, bias = self.weight, self.bias
        return layer_norm_activation(input, self.normalized_shape, weight, bias, self.eps, activation, slope, p)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
            f"bias={self.bias is not None}"
        )


class RMSNorm(_Affine):
    """``x / sqrt(mean(x**2) + eps) * weight``, the mean over the last dimensions.

    Args:
        normalized_shape: the sizes of the last dimensions.
        eps: added to the mean square; None for the distance from 1 to the next number of the dtype.
        elementwise_affine: whether there is a weight.
        device: None or 'cpu'.
        dtype: float32 (the default) or float64.

    Shape: (..., *normalized_shape). Source: B. Zhang and R. Sennrich, arXiv:1910.07467.

    >>> import fastnn
    >>> fastnn.nn.RMSNorm(2)(fastnn.tensor([[1.0, 7.0]]))
    tensor([[0.2000, 1.4000]], grad_fn=<RmsNormBackward0>)
    """

    normalized_shape: tuple[int, ...]

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: _dtype | None = None,
    ) -> None:
        super().__init__()
        kind = _kind(dtype, device)
        self.normalized_shape = _normalized(normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        self.register_parameter("weight", Parameter._empty(self.normalized_shape, kind) if elementwise_affine else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the weight to ones."""
        if self.weight is not None:
            self.weight._data[...] = 1

    def forward(self, input: Tensor) -> Tensor:
        """The shape of the input."""
        return functional.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(_Affine):
    """``(x - mean) / sqrt(var + eps) * weight + bias``, mean and variance over each group of a sample's channels.

    Args:
        num_groups: divides ``num_channels``.
        num_channels: the size of dimension 1.
        eps: added to the variance.
        affine: whether there are a weight and, if ``bias``, a bias for each channel.
        device: None or 'cpu'.
        dtype: float32 (the default) or float64.

    Shape: (batch, num_channels, ...). Source: Y. Wu and K. He, arXiv:1803.08494.

    >>> import fastnn
    >>> fastnn.nn.GroupNorm(2, 4, eps=1e-9)(fastnn.tensor([[1.0, 3.0, 0.0, 8.0]])).tolist()
    [[-1.0, 1.0, -1.0, 1.0]]
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: _dtype | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        kind = _kind(dtype, device)
        if num_channels % num_groups:
            raise ValueError(f"num_channels ({num_channels}) must be divisible by num_groups ({num_groups})")
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        self._register_affine((num_channels,), kind, affine, affine and bias)
        self.reset_parameters()

    def forward(self, input: Tensor) -> Tensor:
        """The shape of the input."""
        return functional.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        bias = self.bias is not None
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, bias={bias}"


# PyTorch's names of the bases.
_NormBase = _RunningNorm
