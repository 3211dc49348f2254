"""Batch normalisation fused with the activation and the dropout after it, forward and backward.

The arithmetic is in ``batch_norm_slices``; this module checks arrays and splits launches.
"""

from __future__ import annotations

import numpy as np

from fastnn.kernels.activation.fused_activations import COSTS
from fastnn.kernels.norm.batch_norm_slices import (
    APPLY,
    BACKWARD_WORDS,
    COUNTER,
    FORWARD_WORDS,
    RUNNING,
    SUM,
    TRAINING,
    backward_slice,
    forward_slice,
)
from fastnn.kernels.norm.column_statistics import COLUMNS, rows_of_chunk
from fastnn.kernels.norm.normalization import (
    check_affine,
    check_following,
    check_gradients,
    check_input,
    kernels_of,
)
from fastnn.kernels.runtime import allocation
from fastnn.kernels.runtime.checks import check, check_output
from fastnn.kernels.runtime.compiler import INT64, Kernel
from fastnn.kernels.runtime.launcher import launch
from fastnn.kernels.runtime.thread_count import chunks_for

_ALL = SUM | APPLY
# The fewest columns of a part, if a launch is cut by columns.
_FEWEST = 64
# Floating-point operations per number, without those of the activation.
_COST = 12

_FORWARD = kernels_of("batch_norm", "forward", forward_slice, FORWARD_WORDS, outputs="out saved sums", stand_in="saved")
_BACKWARD = kernels_of("batch_norm", "backward", backward_slice, BACKWARD_WORDS, outputs="dx dweight dbias sums")


def _launch_phases(
    kernel: Kernel, phases: int, operations: float, batch: int, columns: int, arrays: tuple[np.ndarray, ...],
    flags: int, code: int, *reals: float,
) -> None:  # fmt: skip
    """One launch for each phase, cut by rows; or one for both, cut by columns, if there are too few rows.

    Cut by columns, two parts have neighbouring cache lines in every row, and a part's lines map to few sets of its
    caches: forward and backward of 256x256 in the captured step take three times as long with high core-to-core
    latency, and a step of T of ``benchmarks`` takes 2 to 4% longer with low latency.
    """
    rows, parts = rows_of_chunk(batch), chunks_for(operations)
    chunks = -(-batch // rows)
    # The width does not change the values of numbers.
    width = min(columns, COLUMNS)
    if parts == 1 or chunks == 1 or (phases & SUM and chunks < parts and columns >= chunks * _FEWEST):
        if parts > 1:
            width = min(width, max(_FEWEST, -(-columns // (16 * parts)) * 16))
        parts = min(parts, -(-columns // width))
        launch(kernel, parts, arrays, batch, columns, chunks, rows, phases, False, width, flags, code, *reals)
        return
    for phase in (SUM, APPLY):
        if phases & phase:
            cut = min(parts, chunks)
            launch(kernel, cut, arrays, batch, columns, chunks, rows, phase, True, width, flags, code, *reals)


def batch_norm_forward(
    out: np.ndarray,
    saved: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    running_mean: np.ndarray | None = None,
    running_var: np.ndarray | None = None,
    counter: np.ndarray | None = None,
    *,
    training: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    activation: str = "none",
    slope: float = 0.01,
    p: float = 0.0,
    state: np.ndarray | None = None,
) -> None:
    """``out = dropout(activation((x - mean) / sqrt(var + eps) * weight + bias))`` over the columns of ``x``.

    In training, mean and (biased) variance are those of ``x``, and the running ones are updated by
    ``running += momentum * (new - running)``, with the unbiased variance; otherwise the running ones are used.
    Source: S. Ioffe and C. Szegedy, arXiv:1502.03167.

    Args:
        out, x: (batch, columns), C-contiguous, float32 or float64; at least 2 rows in training. They may be the
            same if no backward follows.
        saved: (5, columns), for the backward: mean (as two numbers), 1 / sqrt(var + eps), scale and shift.
        weight, bias: (columns,), or None for 1 and 0.
        running_mean, running_var: (columns,) both or neither; updated in training.
        counter: (1,) or () int64, increased by one in training, or None.
        activation, slope: see :mod:`fastnn.kernels.activation.fused_activations`.
        p, state: probability of zeroing a number, and the draw (seed, call), needed if ``p`` > 0.
    """
    kernel, code, batch, columns = check_input(_FORWARD, activation, x)
    dtype = x.dtype
    check_output("out", out, dtype, x.shape)
    check_output("saved", saved, dtype, (5, columns))
    flags = check_affine(weight, bias, dtype, columns) | (TRAINING if training else 0)
    if running_mean is not None and running_var is not None:
        (check_output if training else check)("running_mean", running_mean, dtype, (columns,))
        (check_output if training else check)("running_var", running_var, dtype, (columns,))
        flags |= RUNNING
    elif running_mean is not None or running_var is not None or not training:
        found = ", ".join(
            f"{name} {'None' if a is None else 'given'}"
            for name, a in (("running_mean", running_mean), ("running_var", running_var))
        )
        either = "both be given or both be None" if training else "be given for training=False"
        raise ValueError(f"running_mean and running_var must {either}, found {found}")
    if counter is not None:
        check_output("counter", counter, INT64, counter.shape if getattr(counter, "size", 0) == 1 else (1,))
        flags |= COUNTER
    flags |= check_following(activation, p, state)
    if training and batch < 2:
        raise ValueError(f"x must have more than one row in training, found shape {x.shape}")
    sums = allocation.empty((-(-batch // rows_of_chunk(batch)) if training else 0, 3, columns), dtype)
    if not batch or not columns:
        return
    _launch_phases(
        kernel, _ALL if training else APPLY, x.size * (_COST + COSTS[code]), batch, columns,
        (out, x, saved if weight is None else weight, saved if bias is None else bias,
         saved if running_mean is None else running_mean, saved if running_var is None else running_var,
         saved if counter is None else counter, saved, sums, saved if state is None else state),
        flags, code, slope, 1.0 - p, momentum, eps,
    )  # fmt: skip


def batch_norm_backward(
    dx: np.ndarray | None,
    dweight: np.ndarray | None,
    dbias: np.ndarray | None,
    dy: np.ndarray,
    x: np.ndarray,
    saved: np.ndarray,
    *,
    training: bool = True,
    activation: str = "none",
    slope: float = 0.01,
    p: float = 0.0,
    state: np.ndarray | None = None,
    accumulate_weight: bool = False,
    accumulate_bias: bool = False,
) -> None:
    """Gradients of :func:`batch_norm_forward`; pass None to skip one.

    With dz the gradient before activation and dropout and xhat the normalised input: ``dbias = sum(dz)``,
    ``dweight = sum(dz * xhat)``, and ``dx = weight / sqrt(var + eps) * (dz - (dbias + xhat * dweight) / batch)``,
    without the subtracted term if the statistics are not those of ``x``.

    Args:
        dx: (batch, columns), C-contiguous; not ``dy`` or ``x``.
        dweight, dbias: (columns,).
        dy, x: (batch, columns), C-contiguous.
        saved: from the forward.
        training, activation, slope, p, state: as in the forward.
        accumulate_weight, accumulate_bias: add to ``dweight``, ``dbias`` instead of overwriting them.
    """
    kernel, code, batch, columns = check_input(_BACKWARD, activation, x)
    dtype = x.dtype
    check("dy", dy, dtype, x.shape)
    check("saved", saved, dtype, (5, columns))
    flags = check_gradients(dx, dweight, dbias, x, accumulate_weight, accumulate_bias)
    flags |= check_following(activation, p, state, backward=True) | (TRAINING if training else 0)
    chunks = -(-batch // rows_of_chunk(batch))
    if not chunks or not columns:
        for gradient, accumulate in ((dweight, accumulate_weight), (dbias, accumulate_bias)):
            if gradient is not None and not accumulate:
                gradient[...] = 0
        return
    sums = allocation.empty((chunks, 2, columns), dtype)
    _launch_phases(
        kernel, _ALL, x.size * (_COST + COSTS[code]), batch, columns,
        (allocation.empty_like(x) if dx is None else dx, saved if dweight is None else dweight,
         saved if dbias is None else dbias, dy, x, saved, sums, saved if state is None else state),
        flags, code, slope, 1.0 - p,
    )  # fmt: skip
