"""The fully connected layer: ``linear_forward`` and ``linear_backward`` on the matrix kernels.

The weight is (in_features, out_features), of any strides: the modules pass the transpose of PyTorch's
contiguous (out_features, in_features).
"""

from __future__ import annotations

import numpy as np
from numba import types

from fastnn.kernels.activation.fused_activations import (
    BACKWARD,
    BACKWARD_WORDS,
    NONE,
    activation_backward,
    activation_code,
    cost,
    differentiate_apart,
)
from fastnn.kernels.llvm.micro_kernel import ACCUMULATE
from fastnn.kernels.matmul.gemm import ADD_SUMS, GEMM, NO_DOTS, SUM_A, SUM_B, WORDS, fill_block, gemm, launch_product
from fastnn.kernels.norm.column_statistics import TOGETHER
from fastnn.kernels.runtime import allocation, compiler, launcher, program, thread_count
from fastnn.kernels.runtime.checks import check, check_output, is_turned, kernel_for, matrix_shape
from fastnn.kernels.runtime.compiler import Entry, Words, array, both, by_dtype, inline, part, stack_array
from fastnn.kernels.runtime.contract import (
    MATRIX,
    OUTPUT_ROWS,
    OUTPUT_ROWS_OR_COLUMNS,
    OUTPUT_VECTOR,
    STRIDED,
    Contract,
)
from fastnn.kernels.runtime.launcher import launch
from fastnn.kernels.runtime.program import can_run, number_size, parts_of, put_row, run
from fastnn.kernels.runtime.raw_memory import (
    data_of,
    dimension_of,
    integer,
    ndim_of,
    put_integer,
    put_real,
    real,
    stack_words,
    stride_of,
)
from fastnn.kernels.runtime.thread_count import chunks_for

# Columns that a part processes at a time: four cache lines of float32.
_COLUMNS = 64
# Up to this many columns there is one part.
_NARROW = 64


def linear_forward(
    out: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None,
    activation: str = "none",
    slope: float = 0.01,
    z: np.ndarray | None = None,
) -> None:
    """``out = activation(x @ weight + bias)`` in one pass.

    Args:
        out: (batch, out_features), contiguous rows.
        x: (batch, in_features), any strides.
        weight: (in_features, out_features); contiguous rows or columns are fastest.
        bias: (out_features,) contiguous, or None.
        activation, slope: see :mod:`fastnn.kernels.activation.fused_activations`.
        z: (batch, out_features): receives the value before the activation, or None.
    """
    gemm(out, x, weight, bias, activation=activation, slope=slope, z=z)


@inline
def _add_rows(total, dz):
    for j in range(total.size):
        total[j] += dz[j]


_BIAS_WORDS = Words("dz dbias dy saved; batch columns code accumulate; slope")


def _activation_bias_backward(dtype):
    def activation_bias_backward_slice(args, t, n):
        # dz[batch, columns], dbias[columns], dy[batch, columns], saved[batch, columns]
        batch, columns = integer(args, _BIAS_WORDS.batch), integer(args, _BIAS_WORDS.columns)
        code, accumulate = integer(args, _BIAS_WORDS.code), integer(args, _BIAS_WORDS.accumulate)
        slope = dtype(real(args, _BIAS_WORDS.slope))
        dz = array(args, _BIAS_WORDS.dz, (batch, columns), dtype)
        dbias = array(args, _BIAS_WORDS.dbias, (columns,), dtype)
        dy = array(args, _BIAS_WORDS.dy, (batch, columns), dtype)
        saved = array(args, _BIAS_WORDS.saved, (batch, columns), dtype)
        # A part owns whole columns: each sum runs over the rows in order, on one thread.
        if columns <= _NARROW and code != NONE:
            # One loop over the whole matrix: a loop per row of ten columns would cost more than its work.
            differentiate_apart(dz.reshape(-1), dy.reshape(-1), saved.reshape(-1), code, slope)
            dy, code = dz, NONE
        total = stack_array(_COLUMNS, dtype(0))
        first, last = part(-(-columns // _COLUMNS), t, n)
        for block in range(first, last):
            lo, hi = block * _COLUMNS, min(columns, (block + 1) * _COLUMNS)
            if not accumulate:
                dbias[lo:hi] = dtype(0)
            for start in range(0, batch, TOGETHER):
                total[:] = dtype(0)
                for row in range(start, min(batch, start + TOGETHER)):
                    if code == NONE:
                        _add_rows(total[: hi - lo], dy[row, lo:hi])
                    else:
                        differentiate_apart(dz[row, lo:hi], dy[row, lo:hi], saved[row, lo:hi], code, slope)
                        _add_rows(total[: hi - lo], dz[row, lo:hi])
                _add_rows(dbias[lo:hi], total[: hi - lo])

    return activation_bias_backward_slice


_ACTIVATION_BIAS_BACKWARD = by_dtype(
    "activation_bias_backward", _activation_bias_backward, _BIAS_WORDS, outputs="dz dbias"
)


def activation_bias_backward(
    dz: np.ndarray,
    dbias: np.ndarray,
    dy: np.ndarray,
    saved: np.ndarray,
    activation: str,
    slope: float = 0.01,
    accumulate: bool = False,
) -> None:
    """``dz = dy * activation'``, and its sum over the batch ``dbias = sum(dz, 0)``, in one pass.

    Args:
        dz: (batch, features), C-contiguous; not written for activation 'none', where it is ``dy``.
        dbias: (features,), contiguous.
        dy, saved: (batch, features), C-contiguous; see ``activation_backward`` for ``saved``.
        accumulate: add to ``dbias`` instead of overwriting it.
    """
    kernel = kernel_for(_ACTIVATION_BIAS_BACKWARD, "dy", dy)
    code = activation_code(activation)
    dtype = dy.dtype
    shape = batch, columns = matrix_shape("dy", dy)
    check("dy", dy, dtype, shape)
    check("saved", saved, dtype, shape)
    check_output("dbias", dbias, dtype, (columns,))
    if code == NONE:
        dz = dy
    else:
        check_output("dz", dz, dtype, shape)
    parts = min(chunks_for(dy.size * (cost(code) + 1)), -(-columns // _COLUMNS)) or 1
    if columns <= _NARROW:
        parts = 1
    launch(kernel, parts, (dz, dbias, dy, saved), batch, columns, code, accumulate, slope)


def linear_backward(
    dx: np.ndarray | None,
    dweight: np.ndarray | None,
    dbias: np.ndarray | None,
    dy: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray,
    saved: np.ndarray | None = None,
    activation: str = "none",
    slope: float = 0.01,
    accumulate_weight: bool = False,
    accumulate_bias: bool = False,
) -> None:
    """Gradients of ``linear_forward``, with dz = dy * activation'(z):

    ``dx = dz @ weight.T``, ``dweight = x.T @ dz``, ``dbias = sum(dz, 0)``; pass None to skip one.

    Args:
        dx: (batch, in_features), contiguous rows; overwritten.
        dweight: (in_features, out_features), contiguous rows or contiguous columns.
        dbias: (out_features,), contiguous.
        dy: (batch, out_features), C-contiguous.
        x, weight: as in ``linear_forward``.
        saved: the forward's ``out``, or its ``z`` if ``saves_input(activation)``; also its ``z`` for
            leaky ReLU with a slope below zero, as the sign of ``out`` is then not that of ``z``.
        accumulate_weight, accumulate_bias: add to ``dweight``, ``dbias`` instead of overwriting them.
    """
    code = activation_code(activation)
    done = 0
    if not launcher.is_watched():
        done = _ENTER.call(
            program.context, _BACK32.address, _BACK64.address, _BIAS32.address, _BIAS64.address, _GEMM32.address,
            _GEMM64.address,
            id(dx), id(dweight), id(dbias), id(dy), id(x), id(weight), id(saved),
            code, slope, accumulate_weight, accumulate_bias,
            thread_count._threads, thread_count.SERIAL_OPERATIONS, id(program.scratch()),
        )  # fmt: skip
        if done > 1:
            program.grow_scratch(done)
            linear_backward(
                dx, dweight, dbias, dy, x, weight, saved, activation, slope, accumulate_weight, accumulate_bias
            )
            return
    if not done:
        launch_backward(
            dx, dweight, dbias, dy, x, weight, saved, activation, slope, accumulate_weight, accumulate_bias
        )


# All are float32 or all float64.
_CONTRACT = Contract(
    "batch in_features out_features",
    [
        ("dy", MATRIX, "batch out_features"),
        ("x", STRIDED, "batch in_features"),
        ("weight", STRIDED, "in_features out_features"),
        ("dx?", OUTPUT_ROWS, "batch in_features"),
        ("dweight?", OUTPUT_ROWS_OR_COLUMNS, "in_features out_features"),
        ("dbias?", OUTPUT_VECTOR, "out_features"),
        ("saved?", MATRIX, "batch out_features"),
    ],
)
_fits = _CONTRACT.holds


@both
def _can_differentiate(code: int, has_saved: bool) -> bool:
    """Whether the arguments suffice for the derivative of this activation."""
    return code == NONE or has_saved


def launch_backward(
    dx: np.ndarray | None, dweight: np.ndarray | None, dbias: np.ndarray | None, dy: np.ndarray, x: np.ndarray,
    weight: np.ndarray, saved: np.ndarray | None, activation: str, slope: float, accumulate_weight: bool,
    accumulate_bias: bool,
) -> None:
    """As :func:`linear_backward`, launch by launch; raises the errors."""
    # All checks come before the first launch: an error must not leave half of the gradients written.
    kernel_for(_ACTIVATION_BIAS_BACKWARD, "dy", dy)
    batch, out_features = matrix_shape("dy", dy)
    in_features = matrix_shape("weight", weight)[0]
    _CONTRACT.check(dy.dtype, (batch, in_features, out_features), dy, x, weight, dx, dweight, dbias, saved)
    if not _can_differentiate(activation_code(activation), saved is not None):
        raise ValueError(f"saved must be given for activation {activation!r}, found None")
    turned = dweight is not None and is_turned(*dweight.shape, *dweight.strides, dweight.itemsize)
    dz = dy if activation == "none" else allocation.empty_like(dy)
    # The product that reads dz also computes its sums.
    joined = dbias is not None and dweight is not None and bool(batch and in_features)
    if dbias is not None and not joined:
        source = dy if saved is None else saved
        activation_bias_backward(dz, dbias, dy, source, activation, slope, accumulate_bias)
    elif activation != "none":
        assert saved is not None
        activation_backward(dz, dy, saved, activation, slope)
    if dweight is not None:
        y, a, b = (dweight.T, dz.T, x) if turned else (dweight, x.T, dz)
        # Without dot products: the bits of a gradient do not depend on the layout of the input.
        mode = NO_DOTS | (ACCUMULATE if accumulate_weight else 0)
        if joined:
            mode |= (SUM_A if turned else SUM_B) | (ADD_SUMS if accumulate_bias else 0)
        launch_product(y, a, b, mode=mode, sums=dbias if joined else None)
    if dx is not None:
        if dweight is not None:
            launcher.independent()
        launch_product(dx, dz, weight.T)


# --------------------------------------------------------------------------------------------
# The whole backward as one program, checked by compiled code: one call from Python

_weight_block, _input_block = stack_words(len(WORDS)), stack_words(len(WORDS))
_bias_block = stack_words(max(len(_BIAS_WORDS), len(BACKWARD_WORDS)))
_table = stack_words(3 * program.ROW)


def _enter_linear_backward(
    context, back32, back64, bias32, bias64, gemm32, gemm64, dx, dweight, dbias, dy, x, weight, saved,
    code, slope, accumulate_weight, accumulate_bias, threads, serial, scratch,
):  # fmt: skip
    """Check the arrays, given by id, and compute: 1 if done, 0 if Python must check, else the scratch bytes needed."""
    size, none = number_size(context, dy), integer(context, program.NONE)
    derivative, bias_kernel, product = (back64, bias64, gemm64) if size == 8 else (back32, bias32, gemm32)
    # The product that reads dz also computes its sums.
    has_bias_row = dbias != none and dweight == none
    has_derivative_row = code != NONE and not has_bias_row
    if size == 0 or product == 0 or number_size(context, weight) != size:
        return 0
    if (has_bias_row and bias_kernel == 0) or (has_derivative_row and derivative == 0):
        return 0
    if ndim_of(dy) != 2 or ndim_of(weight) != 2:
        return 0
    batch, columns, depth = dimension_of(dy, 0), dimension_of(dy, 1), dimension_of(weight, 0)
    if batch == 0 or columns == 0 or depth == 0:
        return 0
    if not (
        _fits(context, size, (batch, depth, columns), (dy, x, weight, dx, dweight, dbias, saved))
        and _can_differentiate(code, saved != none)
    ):
        return 0
    turned = False
    if dweight != none:
        turned = is_turned(depth, columns, stride_of(dweight, 0), stride_of(dweight, 1), size)
    table, room = _table(), data_of(scratch)
    start, rows, most = room, 0, 1
    dz = data_of(dy)
    if code != NONE:
        dz, room = room, room + -(-batch * columns * size // 64) * 64
    if has_derivative_row:
        parts = parts_of(1.0 * batch * columns * cost(code), threads, serial)
        block = _bias_block()
        put_integer(block, BACKWARD_WORDS.dz, dz)
        put_integer(block, BACKWARD_WORDS.dy, data_of(dy))
        put_integer(block, BACKWARD_WORDS.saved, data_of(saved))
        put_integer(block, BACKWARD_WORDS.size, batch * columns)
        put_integer(block, BACKWARD_WORDS.code, code)
        put_real(block, BACKWARD_WORDS.slope, slope)
        put_row(table, rows, derivative, block, parts, 0)
        rows, most = rows + 1, max(most, parts)
    if has_bias_row:
        parts = min(parts_of(1.0 * batch * columns * (cost(code) + 1), threads, serial), -(-columns // _COLUMNS))
        parts = 1 if columns <= _NARROW else parts
        block = _bias_block()
        put_integer(block, _BIAS_WORDS.dz, dz)
        put_integer(block, _BIAS_WORDS.dbias, data_of(dbias))
        put_integer(block, _BIAS_WORDS.dy, data_of(dy))
        put_integer(block, _BIAS_WORDS.saved, data_of(dy if saved == none else saved))
        put_integer(block, _BIAS_WORDS.batch, batch)
        put_integer(block, _BIAS_WORDS.columns, columns)
        put_integer(block, _BIAS_WORDS.code, code)
        put_integer(block, _BIAS_WORDS.accumulate, accumulate_bias)
        put_real(block, _BIAS_WORDS.slope, slope)
        put_row(table, rows, bias_kernel, block, parts, 0)
        rows, most = rows + 1, max(most, parts)
    # The two products need dz, but not each other.
    wait = rows
    x_row, x_column = stride_of(x, 0) // size, stride_of(x, 1) // size
    if dweight != none:
        block = _weight_block()
        # The bits of a gradient do not depend on the layout of the input.
        mode, sums = NO_DOTS | (ACCUMULATE if accumulate_weight else 0), data_of(dweight)
        if dbias != none:
            mode |= (SUM_A if turned else SUM_B) | (ADD_SUMS if accumulate_bias else 0)
            sums = data_of(dbias)
        # dweight = x.T @ dz, or its transpose.
        a, b, m, width, distance = data_of(x), dz, depth, columns, stride_of(dweight, 0) // size
        a_row, a_column, b_row, b_column = x_column, x_row, columns, 1
        if turned:
            a, b, m, width, distance = dz, data_of(x), columns, depth, stride_of(dweight, 1) // size
            a_row, a_column, b_row, b_column = 1, columns, x_row, x_column
        parts, packed = fill_block(
            block, data_of(dweight), sums, a, b, dz, room, m, width, batch,
            a_row, a_column, b_row, b_column, distance, distance,
            mode, NONE, slope, size, threads, serial,
        )  # fmt: skip
        put_row(table, rows, product, block, parts, wait)
        rows, most, room, wait = rows + 1, max(most, parts), room + -(-packed // 64) * 64, 0
    if dx != none:
        block = _input_block()
        parts, packed = fill_block(
            block, data_of(dx), data_of(dx), dz, data_of(weight), dz, room, batch, depth, columns,
            columns, 1, stride_of(weight, 1) // size, stride_of(weight, 0) // size,
            stride_of(dx, 0) // size, stride_of(dx, 0) // size, 0, NONE, slope, size, threads, serial,
        )  # fmt: skip
        put_row(table, rows, product, block, parts, wait)
        rows, most, room = rows + 1, max(most, parts), room + packed
    if not can_run(context, most) or room - start > program.MOST_SCRATCH:
        return 0
    if room - start > dimension_of(scratch, 0):
        return room - start
    run(context, table, rows, most)
    return 1


_ENTER = Entry(_enter_linear_backward, [types.int64] * 15 + [types.float64] + [types.int64] * 5, types.int64)
_GEMM32, _GEMM64 = GEMM[compiler.FLOAT32], GEMM[compiler.FLOAT64]
_BACK32, _BACK64 = BACKWARD[compiler.FLOAT32], BACKWARD[compiler.FLOAT64]
_BIAS32, _BIAS64 = _ACTIVATION_BIAS_BACKWARD[compiler.FLOAT32], _ACTIVATION_BIAS_BACKWARD[compiler.FLOAT64]
