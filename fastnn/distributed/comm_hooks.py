"""``torch.distributed.algorithms.ddp_comm_hooks``: gradients with fewer bits on the way between the ranks."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn.distributed.collectives import gathered, reduced, to_all
from fastnn.distributed.process_group import ProcessGroup, world
from fastnn.futures import Future
from fastnn.kernels.runtime import allocation

__all__ = ["DDPCommHookType", "allreduce_hook", "bf16_compress_hook", "fp16_compress_hook", "register_ddp_comm_hook"]

_NAME = "a communication hook of DistributedDataParallel"


def _to_bfloat16(numbers: np.ndarray) -> np.ndarray:
    """The bits of the nearest bfloat16 of float32 numbers, as uint16; ties go to even, NaN stays NaN."""
    bits = numbers.view(np.uint32)
    # Half of the last kept place, less one unless that place is odd.
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
    return np.where(np.isnan(numbers), (bits >> 16) | 0x40, rounded).astype(np.uint16)


def _from_bfloat16(bits: np.ndarray) -> np.ndarray:
    """The float32 numbers of bfloat16 bits."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _to_float16(numbers: np.ndarray) -> np.ndarray:
    # A number that is too large becomes infinite, as in PyTorch.
    with np.errstate(over="ignore"):
        return numbers.astype(np.float16)


def _from_float16(numbers: np.ndarray) -> np.ndarray:
    return numbers.astype(np.float32)


def _group_of(state: Any) -> ProcessGroup:
    return state if isinstance(state, ProcessGroup) else world()


def _done(bucket: Any) -> Any:
    future: Any = Future()
    future.set_result(bucket.buffer())
    return future


def _mean_by(
    state: Any, bucket: Any, shorten: Callable[[np.ndarray], np.ndarray], lengthen: Callable[[np.ndarray], np.ndarray]
) -> Any:
    """The mean of all ranks' rows, whose numbers are sent short: to the rank that adds them up, and back."""
    group, row = _group_of(state), bucket.buffer()._data
    size, length = group.size(), -(-row.size // group.size())
    sent = np.zeros(length * size, np.float32)
    np.divide(row, size, out=sent[: row.size], casting="same_kind")
    short = shorten(sent)
    if size == 1:
        row[...] = lengthen(short)
        return _done(bucket)
    parts = allocation.empty((size, length), short.dtype)
    to_all(short, parts.reshape(-1), group, _NAME)
    # Added up with the bits of float32, in the order of the ranks.
    total = lengthen(parts[0])
    for part in parts[1:]:
        total += lengthen(part)
    gathered(shorten(total), short, group, _NAME)
    row[...] = lengthen(short)[: row.size]
    return _done(bucket)


def allreduce_hook(process_group: Any, bucket: Any) -> Any:
    """The mean of the gradients, as without a hook.

    Args:
        process_group: of the ranks; all of them for None.
        bucket: of the gradients.
    """
    group, row = _group_of(process_group), bucket.buffer()._data
    if group.size() > 1:
        np.divide(row, group.size(), out=row)
        reduced(row, "SUM", group, _NAME)
    return _done(bucket)


def bf16_compress_hook(process_group: Any, bucket: Any) -> Any:
    """The mean of gradients that are sent as bfloat16, half as many bytes.

    Each rank's gradients are divided and rounded to the nearest bfloat16, added up in float32 in the order of the
    ranks, and the sum is rounded again; PyTorch rounds it after each addition. The error of a mean is at most
    ``2**-7`` of the mean of the absolute values.

    >>> import fastnn
    >>> from fastnn.distributed.algorithms.ddp_comm_hooks import default_hooks
    >>> fastnn.distributed.init_process_group("gloo", rank=0, world_size=1)
    >>> model = fastnn.nn.parallel.DistributedDataParallel(fastnn.nn.Linear(1, 1, bias=False))
    >>> model.register_comm_hook(None, default_hooks.bf16_compress_hook)
    >>> model(fastnn.tensor([[1.001]])).sum().backward()
    >>> model.module.weight.grad
    tensor([[1.]])
    >>> fastnn.distributed.destroy_process_group()
    """
    return _mean_by(process_group, bucket, _to_bfloat16, _from_bfloat16)


def fp16_compress_hook(process_group: Any, bucket: Any) -> Any:
    """As :func:`bf16_compress_hook`, as float16: more digits, but nothing above 65504."""
    return _mean_by(process_group, bucket, _to_float16, _from_float16)


class DDPCommHookType(enum.Enum):
    """The hooks that ``register_ddp_comm_hook`` knows."""

    ALLREDUCE = enum.member(staticmethod(allreduce_hook))
    FP16_COMPRESS = enum.member(staticmethod(fp16_compress_hook))
    BF16_COMPRESS = enum.member(staticmethod(bf16_compress_hook))


def register_ddp_comm_hook(comm_hook_type: DDPCommHookType, model: Any, state: Any = None) -> None:
    """``model.register_comm_hook(state, hook)`` of a known hook.

    Args:
        comm_hook_type: a member of :class:`DDPCommHookType`.
        model: a ``DistributedDataParallel``.
        state: passed to the hook: a process group, or None for all ranks.
    """
    if not isinstance(comm_hook_type, DDPCommHookType):
        raise TypeError(f"comm_hook_type must be a DDPCommHookType, found {type(comm_hook_type).__name__}")
    model.register_comm_hook(state, comm_hook_type.value.__func__)
