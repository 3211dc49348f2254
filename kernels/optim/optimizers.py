"""Shared parts of the optimizers' kernels: one pass over flat parameters, gradients and state.

Each rule has its own file (``sgd``, ``adam``, ...). Its loop is in a helper that is called on slices of
the arrays: LLVM does not vectorise it directly in the parallel body (measured: 95 us against 10 for Adam
on 1e5 parameters). Its scalars are in an array, ``hyper``, not in the launch's block of words: a replay
changes the learning rate and the step by writing to it. ``hyper[LR]`` is the learning rate and
``hyper[STEP]`` the number of the step, from 1, in every kernel that has them; each part computes derived
values (bias corrections) itself, in float64. Each kernel sets ``hyper[DONE]`` to 1, so that after an
interrupt it is known whether it has run.

``1 - beta`` is also computed in float64: in float32 its relative error is 1e-5 for 0.999.

Streaming stores were not tried: every array that is written has just been read, so they would save no
read for ownership, and Adam on 1e7 parameters already moves its 28 bytes each at 1.1 times the speed of
a copy.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn.kernels.llvm.simd import multiply_add
from fastnn.kernels.runtime import allocation, launcher, thread_count
from fastnn.kernels.runtime.checks import check, check_output, kernel_for
from fastnn.kernels.runtime.compiler import FLOAT64, Kernel, Words, array, inline, part
from fastnn.kernels.runtime.thread_count import chunks_for

# Numbers in the array `hyper`; a kernel reads the first few.
HYPER = 12
LR, STEP, DONE = 0, 1, HYPER - 1

# Parts begin at multiples of a cache line, so that no two threads write to the same one.
_LINE = 16
_WRITE = [struct.Struct(f"={count}d").pack_into for count in range(HYPER)]
_UNSCALED = np.ones(1)
_UNSCALED.flags.writeable = False


@inline
def bounds(size, t, n):
    """Bounds ``(lo, hi)`` of part ``t`` of ``n`` of ``size`` numbers."""
    first, last = part(-(-size // _LINE), t, n)
    return first * _LINE, min(size, last * _LINE)


@inline
def numbers(args, index):
    """The array ``hyper`` in word ``index`` of the block; sets ``hyper[DONE]``."""
    hyper = array(args, index, (HYPER,), np.float64)
    hyper[DONE] = 1.0
    return hyper


@inline
def factor(args, index):
    """The factor of the gradients, from the array of one number in word ``index``."""
    return array(args, index, (1,), np.float64)[0]


@inline
def gradient(g, p, decay, scale):
    """``scale * g + decay * p``."""
    # Without the test an infinite parameter would become NaN at zero decay; LLVM moves it out of
    # the loop.
    return multiply_add(decay, p, scale * g) if decay != 0 else scale * g


@inline
def stretch(args, index, size, lo, hi, dtype):
    """Numbers ``lo`` to ``hi`` of the flat array in word ``index``."""
    return array(args, index, (size,), dtype)[lo:hi]


# The first words of the rules with Adam's moments.
_MOMENTS = Words("parameters gradients first second")


@inline
def moment_arrays(args, size, lo, hi, dtype):
    """Numbers ``lo`` to ``hi`` of the parameters, the gradients and the two moments."""
    return (
        stretch(args, _MOMENTS.parameters, size, lo, hi, dtype), stretch(args, _MOMENTS.gradients, size, lo, hi, dtype),
        stretch(args, _MOMENTS.first, size, lo, hi, dtype), stretch(args, _MOMENTS.second, size, lo, hi, dtype),
    )  # fmt: skip


@inline
def next_moments(first, second, g, rest1, beta2, rest2):
    """Adam's moments after a step with gradient ``g``."""
    return multiply_add(rest1, g - first, first), multiply_add(beta2, second, rest2 * g * g)


@inline
def moment_numbers(hyper, scale, decoupled, dtype):
    """Of :func:`moment_scalars`, in the loop's dtype: eps, the decay and scale of a gradient, the factor that keeps a
    parameter (of decoupled decay), 1 - beta1, beta2 and 1 - beta2.
    """
    decay, keep = dtype(hyper[5]), dtype(1)
    if decoupled:
        keep, decay = dtype(1 - hyper[0] * hyper[5]), dtype(0)
    rest1, rest2 = dtype(1 - hyper[2]), dtype(1 - hyper[3])
    return dtype(hyper[4]), decay, dtype(hyper[6] * scale), keep, rest1, dtype(hyper[3]), rest2


# The most parameters of an update that runs as the recording before it: Adam's takes 0.1 ms on one thread.
_SMALL = 2**18


class Relaunch:
    """The launch of an update with checked arrays, which can be repeated.

    To check and pack unchanged arguments again takes 4 us, half of a step's time in Python. The arrays must
    belong to the caller alone, as they are not checked again.
    """

    __slots__ = ("arrays", "block", "follows", "hyper", "kernel", "parts", "scalars", "threads")

    def __init__(
        self, kernel: Kernel, parts: int, arrays: tuple[np.ndarray, ...], scalars: tuple[int, ...], hyper: np.ndarray
    ) -> None:
        self.kernel, self.parts, self.arrays, self.scalars, self.hyper = kernel, parts, arrays, scalars, hyper
        self.block = launcher.pack(kernel, arrays, scalars)
        self.follows = arrays[0].size <= _SMALL
        self.threads = thread_count._threads, thread_count.SERIAL_OPERATIONS

    def is_current(self) -> bool:
        """Whether the launch would still have the same parts."""
        return self.threads == (thread_count._threads, thread_count.SERIAL_OPERATIONS)

    def relaunch(self) -> Relaunch:
        """Itself; of a launch that changes more scalars, the launch that it repeats."""
        return self

    def table(self, rates: Sequence[float], step: float) -> np.ndarray:
        """The scalars of the next updates, from step number ``step``: a row for each learning rate."""
        table = np.repeat(self.hyper[None], len(rates), axis=0)
        table[:, LR] = rates
        table[:, STEP] = step + np.arange(len(rates))
        table[:, DONE] = 0.0
        return table

    def launch(self, lr: float, step: float) -> None:
        """Repeat the update with another learning rate, as step number ``step``."""
        self.hyper[LR] = lr
        self.hyper[STEP] = step
        launcher.launch_again(self.kernel, self.parts, self.block, self.arrays, self.scalars, self.follows)


def update(
    table: dict[np.dtype, Kernel],
    operations: int,
    names: tuple[str, ...],
    arrays: tuple[np.ndarray, ...],
    flags: tuple[int, ...],
    scalars: tuple[float, ...],
    grad_scale: np.ndarray | None,
    hyper: np.ndarray | None,
) -> Relaunch:
    """Check the arrays, write the scalars and launch; the returned launch can be repeated.

    Args:
        table: the kernel for each dtype; its block is the arrays, hyper, scale; size, flags.
        operations: per parameter, to choose the number of threads.
        names: of the arrays, for messages.
        arrays: parameters, gradients and state, flat and of one size.
        scalars: the first numbers of ``hyper``.
        grad_scale: an array of one float64 by which the kernel multiplies the gradients.
        hyper: receives the scalars; by default a new array.
    """
    parameters = arrays[0]
    kernel = kernel_for(table, "parameters", parameters)
    dtype, shape = parameters.dtype, parameters.shape
    for a in arrays:
        if type(a) is not np.ndarray or a.dtype is not dtype or a.shape != shape or not a.flags.carray:
            _check_each(names, arrays)
            break
    if len(shape) != 1:
        raise ValueError(f"parameters must be flat, found shape {shape}")
    if grad_scale is None:
        grad_scale = _UNSCALED
    else:
        check("grad_scale", grad_scale, FLOAT64, (1,))
    if hyper is None:
        hyper = allocation.empty(HYPER)
    else:
        check_output("hyper", hyper, FLOAT64, (HYPER,))
    try:
        # Takes a tenth of the time of an assignment from a tuple.
        _WRITE[len(scalars)](hyper, 0, *scalars)  # type: ignore[arg-type]  # arrays are buffers
    except struct.error as error:
        raise TypeError(f"a scalar argument of {kernel.name} does not fit: {error}, found {scalars}") from None
    size = parameters.size
    again = Relaunch(kernel, chunks_for(operations * size), (*arrays, hyper, grad_scale), (size, *flags), hyper)
    launcher.launch_again(kernel, again.parts, again.block, again.arrays, again.scalars, again.follows)
    return again


def _check_each(names: tuple[str, ...], arrays: tuple[np.ndarray, ...]) -> None:
    """Raise for the first unsuitable array, by name; the second array, the gradients, may be read-only."""
    dtype, shape = arrays[0].dtype, arrays[0].shape
    for i, (name, a) in enumerate(zip(names, arrays, strict=True)):
        (check if i == 1 else check_output)(name, a, dtype, shape)


def sign_of(maximize: Any) -> float:
    """The sign that multiplies the gradient."""
    return -1.0 if maximize else 1.0


def check_step(step: float) -> None:
    """Raise ValueError unless ``step`` is at least 1."""
    if not step >= 1:
        raise ValueError(f"step must be at least 1, found {step}")


def moment_scalars(
    lr: float, step: float, betas: tuple[float, float], eps: float, weight_decay: float, maximize: bool
) -> tuple[float, ...]:
    """The first numbers of ``hyper`` for the rules with Adam's moments; ValueError for a wrong step or betas."""
    check_step(step)
    beta1, beta2 = betas
    if not (0 <= beta1 < 1 and 0 <= beta2 < 1):
        raise ValueError(f"betas must be in [0, 1), found {betas}")
    return lr, step, beta1, beta2, eps, weight_decay, sign_of(maximize)
