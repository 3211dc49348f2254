"""Batch normalisation over the batches of all processes."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn._core import capture_state
from fastnn._core.dtypes import dtype as _dtype
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.autograd.function import Function
from fastnn.kernels.runtime import allocation
from fastnn.nn.module import Module
from fastnn.nn.normalization import BatchNorm1d, _BatchNorm

__all__ = ["SyncBatchNorm"]


def _reduced(row: np.ndarray, group: Any) -> np.ndarray:
    """The sum of a row over the ranks, in their order."""
    # Imported where it is needed: most programs work in one process.
    from fastnn.distributed.collectives import gathered

    parts = allocation.empty((group.size(), row.size), row.dtype)
    gathered(row, parts.reshape(-1), group, "SyncBatchNorm")
    return np.add.reduce(parts, axis=0)


class _SyncNorm(Function):
    """``(x - mean) / sqrt(var + eps) * weight + bias`` with the mean and variance of all ranks."""

    @staticmethod
    def forward(ctx: Any, input: Any, weight: Any, bias: Any, layer: Any, momentum: float, group: Any) -> Any:
        x = input._data
        axes = (0, *range(2, x.ndim))
        shape = (1, -1, *[1] * (x.ndim - 2))
        # In float64: the sums over ranks are then those over the whole batch to rounding.
        count = x.size // max(x.shape[1], 1)
        mean = x.mean(axes, dtype=np.float64) if count else np.zeros(x.shape[1])
        square = np.square(x - mean.reshape(shape)).sum(axes)
        own = np.concatenate([[count], mean * count])
        every = _reduced(own, group)
        total = every[0]
        if total <= 1:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {list(x.shape)}")
        whole = every[1:] / total
        # The squares around the mean of all: those around the own mean, and the distance of the means.
        variance = _reduced(square + count * np.square(mean - whole), group) / total
        inverse = 1 / np.sqrt(variance + layer.eps)
        normed = ((x - whole.reshape(shape)) * inverse.reshape(shape)).astype(x.dtype)
        out = normed
        if weight is not None:
            out = out * weight._data.reshape(shape)
        if bias is not None:
            out = out + bias._data.reshape(shape)
        for buffer, value in ((layer.running_mean, whole), (layer.running_var, variance * total / (total - 1))):
            if buffer is not None:
                buffer._memory.version = buffer._memory.version_to_write() + 1
                buffer._data[...] += momentum * (value - buffer._data)
        ctx.save_for_backward(weight)
        ctx.normed, ctx.inverse, ctx.total, ctx.group, ctx.axes, ctx.shape = normed, inverse, total, group, axes, shape
        ctx.has_bias = bias is not None
        return _wrap(out.astype(x.dtype, copy=False))

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (weight,) = ctx.saved_tensors
        dy, normed, axes, shape = grads[0]._data, ctx.normed, ctx.axes, ctx.shape
        # The parameters get the sums of this rank, whose mean DistributedDataParallel takes.
        d_bias = dy.sum(axes, dtype=np.float64)
        d_weight = (dy * normed).sum(axes, dtype=np.float64)
        every = _reduced(np.concatenate([d_bias, d_weight]), ctx.group) / ctx.total
        mean, slope = (part.reshape(shape) for part in np.split(every, 2))
        scale = ctx.inverse if weight is None else ctx.inverse * weight._data
        dx = ((dy - mean - normed * slope) * scale.reshape(shape)).astype(dy.dtype)
        wanted = ctx.needs_input_grad
        of_weight = _wrap(d_weight.astype(dy.dtype)) if weight is not None and wanted[1] else None
        of_bias = _wrap(d_bias.astype(dy.dtype)) if ctx.has_bias and wanted[2] else None
        return _wrap(dx) if wanted[0] else None, of_weight, of_bias, None, None, None


class SyncBatchNorm(_BatchNorm):
    """BatchNorm with the mean and variance of the batches of all processes, which may differ in length.

    In one process, before ``init_process_group`` and in evaluation it is ``BatchNorm1d``.

    Args:
        num_features, eps, momentum, affine, track_running_stats, device, dtype: as for ``BatchNorm1d``.
        process_group: by default all processes.

    Shape: (batch, num_features) or (batch, num_features, length). PyTorch has it on GPUs only.

    Raises: ValueError for another number of dimensions, or for one value per channel in training.

    >>> import fastnn
    >>> layer = fastnn.nn.SyncBatchNorm(2, eps=1e-9)
    >>> layer(fastnn.tensor([[1.0, 5.0], [3.0, 9.0]])).tolist()
    [[-1.0, -1.0], [1.0, 1.0]]
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: Any = None,
        device: Any = None,
        dtype: _dtype | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)
        self.process_group = process_group

    def forward(self, input: Tensor) -> Tensor:
        """The shape of the input."""
        if self._uses_the_batch():
            # In one process too: the recording would outlive it.
            capture_state.stop("SyncBatchNorm communicates")
        group = self._group()
        if not self._uses_the_batch() or group is None or group.size() == 1:
            normed: Tensor = BatchNorm1d._fused(self, input, "none", 0.01, 0.0)  # type: ignore[arg-type]  # same base
            return normed
        self._check_input_dim(input)
        if input._data.shape[1] != self.num_features:
            raise ValueError(f"expected {self.num_features} features, found input of shape {tuple(input.shape)}")
        momentum = 0.0 if self.momentum is None else self.momentum
        counter = self.num_batches_tracked
        if self.training and self.track_running_stats and counter is not None:
            counter.add_(1)
            if self.momentum is None:
                momentum = 1.0 / int(counter._data)
        out: Tensor = _SyncNorm.apply(input, self.weight, self.bias, self, momentum, group)
        return out

    def _uses_the_batch(self) -> bool:
        return self.training or (self.running_mean is None and self.running_var is None)

    def _group(self) -> Any:
        from fastnn.distributed import process_group

        return process_group.member(self.process_group) if process_group.is_initialized() else None

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, process_group: Any = None) -> Module:
        """The module with a SyncBatchNorm in place of each BatchNorm layer, with its parameters and buffers."""
        made: Module = module
        if isinstance(module, _BatchNorm):
            new = cls(
                module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats,
                process_group,
            )  # fmt: skip
            if module.affine:
                new.weight, new.bias = module.weight, module.bias
            new.running_mean, new.running_var = module.running_mean, module.running_var
            new.num_batches_tracked, new.training = module.num_batches_tracked, module.training
            made = new
        for name, child in module.named_children():
            made.add_module(name, cls.convert_sync_batchnorm(child, process_group))
        return made
