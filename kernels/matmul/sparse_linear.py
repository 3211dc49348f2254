"""A linear layer over a batch of mostly zeros, which are skipped.

    z[i, :] = bias + sum_k x[i, k] * weight[k, :]        weight[k, :] += sum_i x[i, k] * error[i, :]

The batch is sorted by column (``sparse_rows``), so that each row of the weight is read once for all samples that
are nonzero there. Each number is one chain of multiply-adds in order of ``k``, or of ``i``, as in ``gemm``. Skipped
terms add nothing, so the bits are the same, except for the sign of a zero, as long as the weights are finite.
``spoiled`` becomes NaN when they are not: 0 * inf is NaN.

The weight is stored in *panels*, strips of columns one after the other, one or more for each thread: a processor
prefetches the lines after the one that it reads, and with whole rows another thread writes these.
"""

from __future__ import annotations

import numpy as np

from fastnn.kernels.activation.fused_activations import activate_apart, activation_code
from fastnn.kernels.llvm.simd import vector_bytes
from fastnn.kernels.llvm.sparse_tile import MOST_VECTORS, add_products, add_to_rows
from fastnn.kernels.matmul.sparse_rows import SortedBatch, check_batch
from fastnn.kernels.runtime.checks import check, check_output, kernel_for, matrix_shape
from fastnn.kernels.runtime.compiler import Words, array, by_dtype, inline, integer, part, pointer, real
from fastnn.kernels.runtime.launcher import aligned, launch
from fastnn.kernels.runtime.raw_memory import ahead
from fastnn.kernels.runtime.thread_count import chunks_for, get_num_threads


def split_columns(weight: np.ndarray) -> np.ndarray:
    """A copy of a weight (features, columns) in panels: (panels, features, width), with zeros after the last column."""
    features, columns = matrix_shape("weight", weight)
    kernel_for(_FORWARD, "weight", weight)
    lanes = vector_bytes() // weight.itemsize
    vectors = max(1, -(-columns // lanes))
    width = -(-vectors // max(-(-vectors // MOST_VECTORS), min(get_num_threads(), vectors))) * lanes
    panels = aligned((-(-columns // width), features, width), weight.dtype)
    panels[-1] = 0
    copy_columns(panels, weight)
    return panels


def copy_columns(panels: np.ndarray, weight: np.ndarray) -> None:
    """Write a weight into its panels."""
    width = panels.shape[2]
    for i, panel in enumerate(panels):
        here = weight[:, i * width : (i + 1) * width]
        panel[:, : here.shape[1]] = here


def join_columns(weight: np.ndarray, panels: np.ndarray) -> None:
    """Write panels back into their weight."""
    width = panels.shape[2]
    for i, panel in enumerate(panels):
        here = weight[:, i * width : (i + 1) * width]
        here[...] = panel[:, : here.shape[1]]


def _check_panels(panels: np.ndarray, columns: int, output: bool = False) -> tuple[int, int, int]:
    """Raise unless these are panels for ``columns`` columns; return their shape."""
    if type(panels) is not np.ndarray or panels.ndim != 3:
        raise ValueError(f"panels must have 3 dimensions, found {getattr(panels, 'shape', type(panels).__name__)}")
    (check_output if output else check)("panels", panels, panels.dtype, panels.shape)
    count, features, width = panels.shape
    if not 0 < width <= MOST_VECTORS * vector_bytes() // panels.itemsize or count != -(-columns // width):
        raise ValueError(f"panels must hold {columns} columns, found shape {panels.shape}")
    return count, features, width


@inline
def _start(z, bias, spoiled):
    for j in range(z.size):
        z[j] = bias[j] + spoiled


_FORWARD_WORDS = Words(
    "out z sums ends samples values weight bias spoiled; batch columns width features room code; slope"
)


def _forward(dtype):
    def sparse_forward_slice(args, t, n):
        # out[batch, columns], z[batch, columns], sums[n, batch, width], ends[pairs], samples[room], values[room, 2],
        # weight[panels, features, width], bias[columns], spoiled[1]
        batch, columns = integer(args, _FORWARD_WORDS.batch), integer(args, _FORWARD_WORDS.columns)
        width = integer(args, _FORWARD_WORDS.width)
        features, room = integer(args, _FORWARD_WORDS.features), integer(args, _FORWARD_WORDS.room)
        code, slope = integer(args, _FORWARD_WORDS.code), dtype(real(args, _FORWARD_WORDS.slope))
        out = array(args, _FORWARD_WORDS.out, (batch, columns), dtype)
        z = array(args, _FORWARD_WORDS.z, (batch, columns), dtype)
        sums = array(args, _FORWARD_WORDS.sums, (n, batch, width), dtype)[t]
        bias = array(args, _FORWARD_WORDS.bias, (columns,), dtype)
        spoiled = array(args, _FORWARD_WORDS.spoiled, (1,), dtype)[0]
        like, place = dtype(0), np.int32(0)
        first, last = part(-(-columns // width), t, n)
        for panel in range(first, last):
            j, end = panel * width, min(columns, (panel + 1) * width)
            for i in range(batch):
                _start(sums[i, : end - j], bias[j:end], spoiled)
            # Into an array of this part: directly in z two threads took as long as one, as each prefetches the lines
            # after its own columns, which the other one writes (16.2 us of 32 x 784 x 128 float64).
            add_products(
                like, ahead(pointer(args, _FORWARD_WORDS.sums, like), t * batch * width), width,
                ahead(pointer(args, _FORWARD_WORDS.weight, like), panel * features * width), width, end - j,
                pointer(args, _FORWARD_WORDS.ends, place), pointer(args, _FORWARD_WORDS.samples, place),
                pointer(args, _FORWARD_WORDS.values, like), features, room, batch,
            )  # fmt: skip
            for i in range(batch):
                z[i, j:end] = sums[i, : end - j]
                if code:
                    activate_apart(out[i, j:end], sums[i, : end - j], code, slope)

    return sparse_forward_slice


_FORWARD = by_dtype("sparse_forward", _forward, _FORWARD_WORDS, outputs="out z sums")


def sparse_forward(
    out: np.ndarray,
    x: SortedBatch,
    panels: np.ndarray,
    bias: np.ndarray,
    spoiled: np.ndarray,
    activation: str = "none",
    slope: float = 0.01,
    z: np.ndarray | None = None,
) -> None:
    """``out = activation(x @ weight + bias + spoiled)``.

    Args:
        out: (batch, out_features), C-contiguous.
        x: as ``sort_columns`` leaves it.
        panels: the weight, from :func:`split_columns`.
        bias: (out_features,), contiguous.
        spoiled: (1,), 0 while the weights are finite, else NaN.
        activation, slope: see :mod:`fastnn.kernels.activation.fused_activations`.
        z: (batch, out_features), C-contiguous: receives the value before the activation; must be given with one.
    """
    kernel, dtype = kernel_for(_FORWARD, "panels", panels), panels.dtype
    code, columns = activation_code(activation), matrix_shape("out", out)[1]
    count, features, width = _check_panels(panels, columns)
    check("bias", bias, dtype, (columns,))
    check("spoiled", spoiled, dtype, (1,))
    room = check_batch(x, features, dtype)
    check_output("out", out, dtype, (x.batch, columns))
    if z is None:
        if code:
            raise ValueError(f"z must be given for activation {activation!r}, found None")
        z = out
    else:
        check_output("z", z, dtype, (x.batch, columns))
        if not code:
            raise ValueError("z must be None for activation 'none', found an array")
    parts = _parts(room, columns, count)
    sums = aligned((parts, x.batch, width), dtype)
    arrays = out, z, sums, x.ends, x.samples, x.values, panels, bias, spoiled
    launch(kernel, parts, arrays, x.batch, columns, width, features, room, code, slope)


def _parts(room: int, columns: int, panels: int) -> int:
    return max(1, min(chunks_for(2.0 * room * columns), panels))


_UPDATE_WORDS = Words("weight spoiled ends samples values error; batch columns width features room")


def _update(dtype):
    def sparse_update_slice(args, t, n):
        # weight[panels, features, width], spoiled[1], ends[pairs], samples[room], values[room, 2],
        # error[batch, columns]
        batch, columns = integer(args, _UPDATE_WORDS.batch), integer(args, _UPDATE_WORDS.columns)
        width = integer(args, _UPDATE_WORDS.width)
        features, room = integer(args, _UPDATE_WORDS.features), integer(args, _UPDATE_WORDS.room)
        spoiled = array(args, _UPDATE_WORDS.spoiled, (1,), dtype)
        # The same parts as in the forward: each finds the weights that it has written in its own cache.
        like, place = dtype(0), np.int32(0)
        first, last = part(-(-columns // width), t, n)
        for panel in range(first, last):
            j, end = panel * width, min(columns, (panel + 1) * width)
            found = add_to_rows(
                like, ahead(pointer(args, _UPDATE_WORDS.error, like), j), columns,
                ahead(pointer(args, _UPDATE_WORDS.weight, like), panel * features * width), width, end - j,
                pointer(args, _UPDATE_WORDS.ends, place), pointer(args, _UPDATE_WORDS.samples, place),
                pointer(args, _UPDATE_WORDS.values, like), features, room, batch,
            )  # fmt: skip
            if found:
                # All threads write the same value.
                spoiled[0] = np.nan

    return sparse_update_slice


_UPDATE = by_dtype("sparse_update", _update, _UPDATE_WORDS, outputs="weight spoiled")


def sparse_update(panels: np.ndarray, spoiled: np.ndarray, x: SortedBatch, error: np.ndarray) -> None:
    """``weight += x.T @ error``, in the rows of the weight whose column of the batch is not all zero.

    Args:
        panels: the weight, from :func:`split_columns`.
        spoiled: (1,); set to NaN if a weight has become NaN or infinite.
        x: as ``sort_columns`` leaves it.
        error: (batch, out_features), C-contiguous.
    """
    kernel, dtype = kernel_for(_UPDATE, "panels", panels), panels.dtype
    columns = matrix_shape("error", error)[1]
    count, features, width = _check_panels(panels, columns, output=True)
    check_output("spoiled", spoiled, dtype, (1,))
    room = check_batch(x, features, dtype)
    check("error", error, dtype, (x.batch, columns))
    arrays = panels, spoiled, x.ends, x.samples, x.values, error
    launch(kernel, _parts(room, columns, count), arrays, x.batch, columns, width, features, room)
