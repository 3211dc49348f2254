"""Matrix products: packing and blocking around the micro-kernel.

    C[M, N] = A[M, K] @ B[K, N] (+ C, or + bias[N]), then an activation

The vocabulary is that of BLIS (F. G. Van Zee and R. A. van de Geijn, ACM TOMS 41, 2015, article
14). The micro-kernel computes a *tile* of C in registers. A *panel* is the strip of B as wide as a
tile; it stays in the second-level cache while all tiles below it are computed, and it is *packed*,
copied into contiguous rows, if its own rows are not contiguous or collide in the cache.

A is read one number at a time and broadcast, so any strides work: the same code serves ``X @ W``
and ``X.T @ dY``. Each number of C is one chain of multiply-adds in order of k, so its bits do not
depend on the tile, the block or the thread.

Rejected ideas and their replacements (two cores of an AMD Zen 5, AVX-512, float32):

| idea | figure | replacement | figure |
| --- | --- | --- | --- |
| rows of B 4 KB apart, read in place | 310 to 340 GFLOP/s at 64x1024x1024 | rows a line further apart | 465 to 490 |
| the same packed panel by panel (Zen 4, one thread) | 2.4 ms | a few rows of several panels at a time | 1.8 ms |
| dot products row by row (Zen 4, one thread) | 17.7 us, 4x784 times 128x784.T | up to four rows at once | 9.4 us |
| B packed number by number | 345 GFLOP/s, its input gradient | blocks transposed in registers | 403 to 432 |
| B packed for 32 or 64 rows | 187 us, 32x1024x1024 times B.T | A and C transposed instead | 155 |
| the same for rows that fill no panel, or for more | 114 us, 16x1024x1024; 592, 128x | A and C transposed | 140; 593 |
| two vectors in every tile | 5 multiply-adds in flight for 4 rows | more vectors the fewer rows | 12 x 2 to 1 x 8 |
| prefetching the tile of C | 232 GFLOP/s on one thread | nothing | 237 |
| packing W for the input gradient of 1 row | 37 us, backward of 1x784x256 | dot products along its rows | 13 us |
| checking and cutting in Python | 3.1 us, forward of 7x33x17 | in compiled code | 1.05 us |
| three launches for a backward | 19 us, 64x128x64 | one program of three rows | 8.4 us |
| large A read once for each panel | 478 GFLOP/s at 512x784x256 | once for each group of panels | 493 |
| the same for A.T whose rows are 4 KB apart | 403, weight gradient of 2048x1024x1024 | one panel at a time | 431 |
| and with a tile's rows of A copied together first | 358 | the same | 441 |
| prefetching the rows of the next tile | 435 at 512x1024x1024 | nothing | 475 |
| the ReLU gate next to the floor in the micro-kernel | 3 s more to compile | a pass over the tile after it | as fast |
| the activation in place, row by row | 4.4 ns for each tanh | by way of the stack, tile by tile | 0.6 |
| BatchNorm's statistics, panel by panel | 493 us, 512x784x256 and BatchNorm | a separate pass of BatchNorm | 487 |
"""

from __future__ import annotations

import numpy as np
from numba import types

from fastnn.kernels.activation.fused_activations import (
    NONE,
    RELU,
    activate,
    activate_apart,
    activation_code,
    activation_forward,
)
from fastnn.kernels.llvm.micro_kernel import (
    ACCUMULATE,
    BIAS,
    RELU_FLOOR,
    STREAM,
    copy_block,
    dots,
    gate,
    lanes,
    limits,
    register_bytes,
    register_count,
    row_limit,
    tile,
    transpose_block,
    vector_limit,
    vectors_for,
)
from fastnn.kernels.norm.column_statistics import TOGETHER, sum_rows
from fastnn.kernels.runtime import allocation, compiler, launcher, program, thread_count
from fastnn.kernels.runtime.checks import kernel_for, matrix_shape
from fastnn.kernels.runtime.compiler import (
    Entry,
    Words,
    array_at,
    both,
    by_dtype,
    inline,
    part,
    pointer,
    stack_array,
)
from fastnn.kernels.runtime.contract import OUTPUT_ROWS, STRIDED, VECTOR, Contract
from fastnn.kernels.runtime.launcher import launch
from fastnn.kernels.runtime.program import can_run, number_size, parts_of, put_row, run
from fastnn.kernels.runtime.raw_memory import (
    ahead,
    data_of,
    dimension_of,
    fence,
    integer,
    ndim_of,
    number_at,
    put_integer,
    put_number,
    put_real,
    real,
    stack_words,
    stride_of,
)
from fastnn.kernels.runtime.thread_count import chunks_for

# Bytes of a panel's column in one pass over A: with 32 columns of float32, half a megabyte of panel
# and the rows of a tile stay in a second-level cache of 1 MB.
_DEPTH_BYTES = 4096
# The same if A's numbers for successive k map to the same cache sets.
_COLLIDING_DEPTH_BYTES = 1024
# Bytes of A in one pass over all panels; a larger A is split into blocks, which stay in the
# third-level cache.
_BLOCK_BYTES = 8 * 2**20
# An A larger than this is not expected to stay in a second-level cache together with a panel. Then panels are
# processed in groups, with at most this many panels and bytes.
_NEAR_BYTES, _MOST_TOGETHER, _GROUP_BYTES = 256 * 2**10, 8, 512 * 2**10
# A C larger than this is written with streaming stores (2048x1024x1024: 451 and 459 GFLOP/s, without 426 and 451).
_STREAM_BYTES = 6 * 2**20
# Rows of B this many bytes apart, or a multiple, map to the same few cache sets.
_CONFLICT = 1024
# Packing costs as much as computing about this many rows of C.
_ROWS_WORTH_PACKING = 36
# Rows of B that are copied into a panel before the next panel.
_ROWS_COPIED = 8
_DEPTH_WORTH_PACKING = 192
# Up to this many rows, A @ B.T is computed as dot products along the rows of B, which are read once in
# place: packing would read and write it once more.
_DOT_ROWS = 4
# Bits of `mode` above those of the micro-kernel: such dot products; the sums of B's columns (B's rows are contiguous)
# or of A's rows (A's columns are contiguous) are written to `z`, or added to it; `z` holds the output of ReLU, and C
# becomes 0 where that is not above 0. NO_DOTS excludes dot products.
_DOTS, SUM_B, ADD_SUMS, RELU_GATE, SUM_A, NO_DOTS = 16, 32, 64, 256, 512, 1024
# Each part computes whole rows of C, of the gradient of a weight: an optimizer's part updates about the same rows, and
# the next forward pass multiplies by them, so that they stay in the caches of one core.
_BY_ROWS = 2048
# The fewest rows of C for each part that computes whole rows.
_LEAST_ROWS = 24
# Rows of A that are summed together.
_SUMMED = 128
# Another mode is the product of the transposes, (B.T @ A.T).T, to avoid packing B.T. It is used if A and C together
# are smaller than B by this factor, and A has at most this many rows, nearly fills its panels, and when packed stays
# in a second-level cache.
_SWAP, _SMALLER, _SWAP_ROWS, _SWAP_BYTES = 128, 0.6, 64, 512 * 2**10
# Tiles of B.T, one below the other, that are transposed into C together.
_SWAP_TILES = 4
# Modes of a product that RELU_GATE may be combined with.
PLAIN = 0, _SWAP
# Numbers that are activated together. No tile has more: 32 registers of 16.
_TILE = 512


WORDS = Words(
    "y z packed a b bias; "
    "rows columns depth a_row a_column b_row b_column y_row z_row mode code row_tiles panels row_block depth_block "
    "width group; slope"
)


def _gemm(dtype):
    size = np.dtype(dtype).itemsize

    def gemm_slice(args, t, n):
        # y[m, columns], z[m, columns], packed[n, depth_block, width], a[m, depth], b[depth, columns], bias[columns];
        # with SUM_B z[columns], with SUM_A z[m], with RELU_GATE z is the output of ReLU[m, columns]
        like, step = dtype(0), lanes(dtype(0))
        y, z, packed, a, b, bias = (
            pointer(args, WORDS.y, like), pointer(args, WORDS.z, like), pointer(args, WORDS.packed, like),
            pointer(args, WORDS.a, like), pointer(args, WORDS.b, like), pointer(args, WORDS.bias, like),
        )  # fmt: skip
        z_is_y = integer(args, WORDS.y) == integer(args, WORDS.z)
        m, columns, depth = integer(args, WORDS.rows), integer(args, WORDS.columns), integer(args, WORDS.depth)
        a_row, a_column = integer(args, WORDS.a_row), integer(args, WORDS.a_column)
        b_row, b_column = integer(args, WORDS.b_row), integer(args, WORDS.b_column)
        y_row, z_row = integer(args, WORDS.y_row), integer(args, WORDS.z_row)
        mode, code = integer(args, WORDS.mode), integer(args, WORDS.code)
        row_tiles, panels, row_block, depth_block = (
            integer(args, WORDS.row_tiles), integer(args, WORDS.panels),
            integer(args, WORDS.row_block), integer(args, WORDS.depth_block),
        )  # fmt: skip
        width, group, slope = integer(args, WORDS.width), integer(args, WORDS.group), dtype(real(args, WORDS.slope))
        before, after = stack_array(_TILE, like), stack_array(_TILE, like)

        if mode & _DOTS:
            first, end = part(columns, t, n)
            left, left_row = a, a_row
            if width:
                left, left_row = ahead(packed, t * m * depth), depth
                for i in range(m):
                    for k in range(depth):
                        put_number(left, i * depth + k, number_at(a, i * a_row + k * a_column))
            dots(
                like, ahead(z, first), z_row, left, left_row, m, ahead(b, first * b_column), b_column, end - first,
                depth, mode & ACCUMULATE,
            )  # fmt: skip
            for i in range(m):
                _finish_dots(
                    ahead(y, i * y_row), ahead(z, i * z_row), z_is_y, bias, first, end, mode, code, slope, before,
                    after,
                )  # fmt: skip
            return
        if mode & _SWAP:
            # Columns of C as tiles of B.T @ A.T: only A is packed, and the results are transposed. The rows of A and
            # of B.T are contiguous. b_row is 1, but not a literal: in a separate function LLVM would compile all tiles
            # again (2 s), at half the speed if it knows that number (110 GFLOP/s, not 257).
            packed = ahead(packed, t * group * depth_block * width)
            vectors, pitch, tall = -(-m // step), panels * width, max(_SWAP_TILES * row_limit(), step)
            result = ahead(packed, panels * depth * width)
            for p in range(panels):
                j = vectors * p // panels * step
                rows = min(vectors * (p + 1) // panels * step, m) - j
                _transpose(like, ahead(packed, p * depth * width), width, ahead(a, j * a_row), a_row, rows, depth)
            blocks = -(-2 * depth * size // (3 * _DEPTH_BYTES))
            depth_block = -(-depth // blocks)
            # Blocks of whole vectors, as many for each part.
            width_in_vectors = -(-columns // step)
            blocks = n * -(-width_in_vectors // (n * (tall // step)))
            first, end = part(blocks, t, n)
            before_activation, row_before = (y, y_row) if mode & RELU_GATE else (z, z_row)
            for block in range(first, end):
                left = width_in_vectors * block // blocks * step
                here = min(width_in_vectors * (block + 1) // blocks * step, columns) - left
                if here == 0:
                    continue
                row_tiles = -(-here // row_limit())
                if mode & BIAS:
                    for i in range(here):
                        row = array_at(ahead(result, i * pitch), (pitch,))
                        for j in range(pitch):
                            row[j] = number_at(bias, left + i)
                for k in range(0, depth, depth_block):
                    mode_here = ACCUMULATE if k > 0 or mode & BIAS else 0
                    if k + depth_block >= depth:
                        mode_here |= mode & RELU_FLOOR
                    for p in range(panels):
                        j = vectors * p // panels * step
                        for tile_row in range(row_tiles):
                            i = here * tile_row // row_tiles
                            tile(
                                like, here * (tile_row + 1) // row_tiles - i,
                                min(vectors * (p + 1) // panels * step, m) - j, min(depth_block, depth - k),
                                ahead(b, (left + i) * b_column + k), b_column, b_row,
                                ahead(packed, (p * depth + k) * width), width, ahead(result, i * pitch + j), pitch,
                                b, mode_here,
                            )  # fmt: skip
                # Whole vectors are written; the remaining columns go number by number.
                whole = here // step * step
                _transpose(like, ahead(before_activation, left), row_before, result, pitch, whole, m)
                for i in range(whole, here):
                    for j in range(m):
                        put_number(before_activation, j * row_before + left + i, number_at(result, i * pitch + j))
                if mode & RELU_GATE:
                    gate(like, ahead(y, left), y_row, ahead(z, left), z_row, m, here)
                elif code != NONE or not z_is_y:
                    rows = _TILE // here
                    for j in range(0, m, rows):
                        _activate(
                            ahead(y, j * y_row + left), y_row, ahead(z, j * z_row + left), z_row, z_is_y,
                            min(rows, m - j), here, step, code, slope, before, after,
                        )  # fmt: skip
            return
        other, other_row = z, z_row
        if mode & (SUM_A | SUM_B | RELU_GATE):
            z, z_row, z_is_y = y, y_row, True
        vectors = -(-columns // step)
        packed = ahead(packed, t * group * depth_block * width)
        # An output too large for the caches need not be read into them before it is written.
        streams = m * columns * size > _STREAM_BYTES and z_is_y and code == NONE and mode & RELU_GATE == 0
        streams = streams and (integer(args, WORDS.y) | (z_row * size) | (columns * size)) % register_bytes() == 0
        # Tiles are numbered block by block, in a block panel by panel, in a panel from top to bottom.
        above, tiles = 0, row_tiles
        position, last = part(row_tiles * panels, t, n)
        if mode & _BY_ROWS:
            above, below = part(row_tiles, t, n)
            tiles = below - above
            position, last = 0, tiles * panels
        while position < last:
            top = position // (row_block * panels) * row_block
            rows_here = min(row_block, tiles - top)
            panel = (position - top * panels) // rows_here
            first_tile = above + position - top * panels - panel * rows_here + top
            last_tile = min(above + top + rows_here, first_tile + last - position)
            # Whole panels are processed in groups: each finds the rows of A in the cache after the one before.
            together = 1
            if last_tile - first_tile == rows_here:
                together = min(group, panels - panel, (last - position) // rows_here)
            position += together * (last_tile - first_tile)
            for k in range(0, depth, depth_block):
                panel_depth = min(depth_block, depth - k)
                if width and b_column == 1:
                    # A few rows of all panels, then the next rows: reading is faster along rows that are far apart.
                    for r in range(0, panel_depth, _ROWS_COPIED):
                        for p in range(panel, panel + together):
                            j = vectors * p // panels * step
                            copy_block(
                                like, ahead(packed, ((p - panel) * depth_block + r) * width), width,
                                ahead(b, (k + r) * b_row + j), b_row, min(_ROWS_COPIED, panel_depth - r),
                                min(vectors * (p + 1) // panels * step, columns) - j,
                            )  # fmt: skip
                # Panels split the vectors of a row evenly, and tiles split the rows, so that none is very small.
                for p in range(panel, panel + together):
                    j = vectors * p // panels * step
                    panel_columns = min(vectors * (p + 1) // panels * step, columns) - j
                    b_panel, b_panel_row = ahead(b, k * b_row + j * b_column), b_row
                    if width:
                        target = ahead(packed, (p - panel) * depth_block * width)
                        if b_column != 1:
                            _pack(like, target, width, b_panel, b_row, b_column, panel_depth, panel_columns)
                        b_panel, b_panel_row = target, width
                    if mode & SUM_B and first_tile == 0:
                        # The next tile reads the panel anyway.
                        total = array_at(ahead(other, j), (panel_columns,))
                        sum_rows(total, b_panel, b_panel_row, panel_depth, k == 0 and not mode & ADD_SUMS)
                if mode & SUM_A and panel == 0:
                    # The tiles read these rows of A anyway.
                    i, end = m * first_tile // row_tiles, m * last_tile // row_tiles
                    while i < end:
                        total = array_at(ahead(other, i), (min(_SUMMED, end - i),))
                        sum_rows(
                            total, ahead(a, i + k * a_column), a_column, panel_depth, k == 0 and not mode & ADD_SUMS
                        )
                        i += _SUMMED
                is_last = k + depth_block >= depth
                mode_here = mode if k == 0 else mode & RELU_FLOOR | ACCUMULATE
                if not is_last:
                    mode_here &= ACCUMULATE | BIAS
                elif streams:
                    mode_here |= STREAM
                for tile_row in range(first_tile, last_tile):
                    i = m * tile_row // row_tiles
                    rows = m * (tile_row + 1) // row_tiles - i
                    for p in range(panel, panel + together):
                        j = vectors * p // panels * step
                        panel_columns = min(vectors * (p + 1) // panels * step, columns) - j
                        b_panel, b_panel_row = ahead(b, k * b_row + j * b_column), b_row
                        if width:
                            b_panel, b_panel_row = ahead(packed, (p - panel) * depth_block * width), width
                        tile(
                            like, rows, panel_columns, panel_depth, ahead(a, i * a_row + k * a_column), a_row,
                            a_column, b_panel, b_panel_row, ahead(z, i * z_row + j), z_row, ahead(bias, j), mode_here,
                        )  # fmt: skip
                        if is_last and mode & RELU_GATE:
                            # The tile is still in the first-level cache.
                            gate(
                                like, ahead(z, i * z_row + j), z_row, ahead(other, i * other_row + j), other_row,
                                rows, panel_columns,
                            )  # fmt: skip
                        if is_last and (code != NONE or not z_is_y):
                            # The tile is still in the first-level cache.
                            _activate(
                                ahead(y, i * y_row + j), y_row, ahead(z, i * z_row + j), z_row, z_is_y,
                                rows, panel_columns, step, code, slope, before, after,
                            )  # fmt: skip
        if streams:
            fence()

    return gemm_slice


@inline
def _activate(y, y_row, z, z_row, z_is_y, rows, columns, step, code, slope, before, after):
    """``y = activation(z)`` over a tile; both may be the same.

    Then it goes by way of the stack: a loop over two arrays that may be one runs number by number. So does a tile whose
    rows are not whole vectors: one loop over all of it leaves fewer numbers beyond them.
    """
    direct = not z_is_y and columns % step == 0
    if not direct:
        for i in range(rows):
            for j in range(columns):
                before[i * columns + j] = number_at(z, i * z_row + j)
    for i in range(rows if direct else 1):
        source = array_at(ahead(z, i * z_row), (columns,)) if direct else before[: rows * columns]
        target = array_at(ahead(y, i * y_row), (columns,)) if direct else after[: rows * columns]
        activate_apart(target, source, code, slope)
    if not direct:
        for i in range(rows):
            for j in range(columns):
                put_number(y, i * y_row + j, after[i * columns + j])


@inline
def _finish_dots(y, z, z_is_y, bias, first, end, mode, code, slope, before, after):
    """Bias and activation of columns ``first`` to ``end`` of one row of C."""
    sums = array_at(z, (end,))
    if mode & BIAS:
        sums[first:end] += array_at(bias, (end,))[first:end]
    if mode & RELU_FLOOR:
        activate(sums[first:end], sums[first:end], RELU, slope)
    elif code != NONE or not z_is_y:
        for j in range(first, end, _TILE):
            _activate(
                ahead(y, j), 0, ahead(z, j), 0, z_is_y, 1, min(_TILE, end - j), 1, code, slope, before, after
            )  # fmt: skip


@inline
def _transpose(like, target, target_row, source, source_row, rows, columns):
    """Transpose ``rows`` contiguous rows; the rows of the target are filled up to whole vectors."""
    step = lanes(like)
    for j in range(0, rows, step):
        for k in range(0, columns, step):
            transpose_block(
                like, ahead(target, k * target_row + j), target_row, ahead(source, k + j * source_row), source_row,
                min(step, rows - j), min(step, columns - k),
            )  # fmt: skip


@inline
def _pack(like, packed, width, b, b_row, b_column, depth, columns):
    """Copy a panel of B into rows of ``width`` numbers; columns beyond those of B become zero."""
    if b_row == 1:
        _transpose(like, packed, width, b, b_column, columns, depth)
    else:
        for k in range(depth):
            row = array_at(ahead(packed, k * width), (width,))
            for j in range(columns):
                row[j] = number_at(b, k * b_row + j * b_column)
            row[columns:] = type(like)(0)


GEMM = by_dtype(
    "gemm", _gemm, WORDS,
    outputs="y z packed", stand_in="y", shared="b bias",
    operations=lambda rows, columns, depth, *_: 2.0 * rows * columns * depth,
)  # fmt: skip


def gemm(
    y: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    activation: str = "none",
    slope: float = 0.01,
    z: np.ndarray | None = None,
    accumulate: bool = False,
) -> None:
    """``y = activation(a @ b + bias)``, or ``y += a @ b``, in one pass.

    Args:
        y: (M, N), rows contiguous; must not overlap the other arrays.
        a: (M, K), any strides.
        b: (K, N), any strides; contiguous rows are fastest.
        bias: (N,) contiguous, or None.
        activation, slope: as in :mod:`fastnn.kernels.activation.fused_activations`.
        z: (M, N), rows contiguous: receives ``a @ b + bias`` before the activation, or None.
        accumulate: add to ``y`` instead of overwriting it; then without bias, activation and ``z``.

    All are float32 or all float64. Any of M, N and K may be 0; a product over K = 0 is zero.
    """
    code = activation_code(activation)
    done = 0
    if not launcher.is_watched():
        room = program.scratch()
        done = _ENTER.call(
            program.context, _GEMM32.address, _GEMM64.address, id(y), id(a), id(b), id(bias), id(z), bool(accumulate),
            code, slope, thread_count._threads, thread_count.SERIAL_OPERATIONS, id(room),
        )  # fmt: skip
        if done > 1:
            program.grow_scratch(done)
            gemm(y, a, b, bias, activation=activation, slope=slope, z=z, accumulate=accumulate)
            return
    if done:
        return
    kernel_for(GEMM, "a", a)
    if not _can_accumulate(accumulate, bias is not None, z is not None, code):
        given = [name for name, array in (("bias", bias), ("z", z)) if array is not None]
        given += [f"activation {activation!r}"] if code else []
        raise ValueError(f"accumulate must be False with bias, activation or z, found True with {', '.join(given)}")
    sizes = (*matrix_shape("a", a), matrix_shape("b", b)[1])
    _CONTRACT.check(a.dtype, sizes, a, b, y, bias, z)
    launch_product(y, a, b, bias, activation, slope, z, ACCUMULATE if accumulate else 0)


# All are float32 or all float64.
_CONTRACT = Contract(
    "m depth columns",
    [
        ("a", STRIDED, "m depth"),
        ("b", STRIDED, "depth columns"),
        ("y", OUTPUT_ROWS, "m columns"),
        ("bias?", VECTOR, "columns"),
        ("z?", OUTPUT_ROWS, "m columns"),
    ],
)
_fits = _CONTRACT.holds


@both
def _can_accumulate(accumulate: bool, has_bias: bool, has_z: bool, code: int) -> bool:
    """Whether a product with these arguments may be added to ``y``."""
    return not accumulate or not (has_bias or has_z or code != NONE)


def launch_product(
    y: np.ndarray, a: np.ndarray, b: np.ndarray, bias: np.ndarray | None = None, activation: str = "none",
    slope: float = 0.0, z: np.ndarray | None = None, mode: int = 0, sums: np.ndarray | None = None,
) -> None:  # fmt: skip
    """The product of arrays that keep the contract, as a launch.

    Args:
        mode: ACCUMULATE, SUM_A, SUM_B, ADD_SUMS, NO_DOTS.
        sums: the output of SUM_A or SUM_B; M, N and K must be at least 1, and ``z`` must be None. With SUM_B the
            rows of ``b`` are contiguous, with SUM_A the columns of ``a``.
    """
    kernel, dtype, size = GEMM[a.dtype], a.dtype, a.itemsize
    (m, depth), columns = a.shape, b.shape[1]
    if m == 0 or columns == 0:
        return
    if depth == 0:
        _empty_sum(y, y if z is None else z, bias, activation, slope, mode & ACCUMULATE != 0)
        return
    program.start()
    a_row, a_column = a.strides[0] // size, a.strides[1] // size
    b_row, b_column = b.strides[0] // size, b.strides[1] // size
    y_row = y.strides[0] // size
    z_row = y_row if z is None else z.strides[0] // size
    other = y if z is None else z
    if sums is not None:
        other = sums
    parts, mode, code, b_row, b_column, row_tiles, panels, row_block, depth_block, width, group = _cut(
        m, columns, depth, size, chunks_for(2.0 * m * columns * depth), mode | (0 if bias is None else BIAS),
        activation_code(activation), other is y, a_row, a_column, b_row, b_column, limits(),
    )  # fmt: skip
    packed = allocation.empty(parts * group * depth_block * width, dtype) if width else y
    launch(
        kernel, parts, (y, other, packed, a, b, y if bias is None else bias),
        m, columns, depth, a_row, a_column, b_row, b_column, y_row, z_row, mode, code,
        row_tiles, panels, row_block, depth_block, width, group, slope,
    )  # fmt: skip


@both
def _plan(
    m: int, columns: int, depth: int, size: int, parts: int, collides: bool,
    limits: tuple[int, int, int, int],
) -> tuple[int, int, int, int, int, int, int]:
    """The sizes of a product: parts, tiles in a column, panels, tiles in a block, depth of a block, panel width and
    panels in a group.

    ``collides``: the columns of A are rows of another matrix that map to the same cache sets. Used
    in both Python and compiled code.
    """
    row_limit, registers, widest, register_bytes = limits
    step = register_bytes // size
    row_tiles = -(-m // row_limit)
    nv = vectors_for(-(-m // row_tiles), registers, widest)
    panels = -(-columns // (nv * step))
    depth_bytes = _COLLIDING_DEPTH_BYTES if collides else _DEPTH_BYTES
    depth_block = -(-depth // -(-2 * depth * size // (3 * depth_bytes)))
    row_block = -(-row_tiles // -(-m * depth * size // _BLOCK_BYTES))
    width = min(nv, -(-columns // step)) * step
    # Rows of A that do not stay in a second-level cache are read from a slower one once for each group of panels.
    group = 1
    if m * depth * size > _NEAR_BYTES and not collides:
        group = max(1, min(_MOST_TOGETHER, _GROUP_BYTES // (depth_block * width * size)))
    return min(parts, row_tiles * panels), row_tiles, panels, row_block, depth_block, width, group


@both
def _cut(
    m: int, columns: int, depth: int, size: int, parts: int, mode: int, code: int, z_is_y: bool,
    a_row: int, a_column: int, b_row: int, b_column: int, limits: tuple[int, int, int, int],
) -> tuple[int, int, int, int, int, int, int, int, int, int, int]:
    """All decisions before a product runs, in both Python and compiled code.

    Returns: parts, mode, code, b_row, b_column, row_tiles, panels, row_block, depth_block, width (0
        if panels are not packed), and panels in a group.
    """
    if code == RELU and z_is_y:
        mode, code = mode | RELU_FLOOR, NONE
    if columns == 1:
        b_column = 1
    if depth == 1:
        b_row = 1
    # A product that also computes sums has `z` for them.
    sums, takes_dots = mode & (SUM_A | SUM_B) != 0, mode & (SUM_A | SUM_B | NO_DOTS) == 0
    mode &= ~NO_DOTS
    if m <= _DOT_ROWS and takes_dots and b_row == 1 and b_column != 1:
        # Rows of A that are not contiguous are copied: the bits do not depend on the layout of A.
        copied = 0 if a_column == 1 or depth == 1 else m
        return min(parts, columns), mode | _DOTS, code, b_row, b_column, 1, 1, 1, depth, copied, 1
    most, registers, widest, register_bytes = limits
    if mode & ~(BIAS | RELU_FLOOR) == 0 and b_row == 1 and b_column != 1 and (a_column == 1 or depth == 1):
        width = vectors_for(most, registers, widest) * (register_bytes // size)
        panels, tall = -(-m // width), max(_SWAP_TILES * most, register_bytes // size)
        fits = m <= _SWAP_ROWS and 10 * m >= 9 * panels * width and m * depth * size <= _SWAP_BYTES
        if fits and m * (depth + columns) < _SMALLER * depth * columns:
            parts = min(parts, -(-columns // tall))
            return parts, mode | _SWAP, code, b_row, b_column, 1, panels, 1, depth + tall, width, panels
    collides = a_row == 1 and a_column * size % _CONFLICT == 0
    parts, row_tiles, panels, row_block, depth_block, width, group = _plan(
        m, columns, depth, size, parts, collides, limits
    )
    if sums and depth_block < depth:
        # Rows that are summed together must be in one block.
        depth_block = -(-depth_block // TOGETHER) * TOGETHER
    rows_collide = b_row * size % _CONFLICT == 0 and depth >= _DEPTH_WORTH_PACKING and m >= _ROWS_WORTH_PACKING
    if b_column == 1:
        if rows_collide:
            group = max(group, min(_MOST_TOGETHER, _GROUP_BYTES // (depth_block * width * size)))
        else:
            width = 0
            is_gradient = a_row == 1 and depth > 1 and mode & (BIAS | RELU_GATE | RELU_FLOOR) == 0
            if is_gradient and 1 < parts <= m // _LEAST_ROWS:
                mode |= _BY_ROWS
                # As many tiles for each part.
                row_tiles = -(-row_tiles // parts) * parts
    return parts, mode, code, b_row, b_column, row_tiles, panels, row_block, depth_block, width, group


def _empty_sum(y, z, bias, activation, slope, accumulate):
    """The product over K = 0: only the bias."""
    if accumulate:
        return
    start = np.zeros(y.shape, y.dtype)
    if bias is not None:
        start += bias
    out = allocation.empty_like(start)
    activation_forward(out, start, activation, slope)
    z[...] = start
    y[...] = out  # Written last, as y may be z.


# --------------------------------------------------------------------------------------------
# The same decisions in compiled code: one call from Python for each product

_block, _table = stack_words(len(WORDS)), stack_words(program.ROW)


@inline
def fill_block(
    block, y, z, a, b, bias, packed, m, columns, depth, a_row, a_column, b_row, b_column, y_row, z_row,
    mode, code, slope, size, threads, serial,
):
    """Write the block of a product; return its parts and the bytes of ``packed`` they need."""
    limits = row_limit(), register_count(), vector_limit(), register_bytes()
    parts = parts_of(2.0 * m * columns * depth, threads, serial)
    parts, mode, code, b_row, b_column, row_tiles, panels, row_block, depth_block, width, group = _cut(
        m, columns, depth, size, parts, mode, code, z == y, a_row, a_column, b_row, b_column, limits
    )
    put_integer(block, WORDS.y, y)
    put_integer(block, WORDS.z, z)
    put_integer(block, WORDS.packed, packed)
    put_integer(block, WORDS.a, a)
    put_integer(block, WORDS.b, b)
    put_integer(block, WORDS.bias, bias)
    put_integer(block, WORDS.rows, m)
    put_integer(block, WORDS.columns, columns)
    put_integer(block, WORDS.depth, depth)
    put_integer(block, WORDS.a_row, a_row)
    put_integer(block, WORDS.a_column, a_column)
    put_integer(block, WORDS.b_row, b_row)
    put_integer(block, WORDS.b_column, b_column)
    put_integer(block, WORDS.y_row, y_row)
    put_integer(block, WORDS.z_row, z_row)
    put_integer(block, WORDS.mode, mode)
    put_integer(block, WORDS.code, code)
    put_integer(block, WORDS.row_tiles, row_tiles)
    put_integer(block, WORDS.panels, panels)
    put_integer(block, WORDS.row_block, row_block)
    put_integer(block, WORDS.depth_block, depth_block)
    put_integer(block, WORDS.width, width)
    put_integer(block, WORDS.group, group)
    put_real(block, WORDS.slope, slope)
    return parts, parts * group * depth_block * width * size


def _enter_gemm(
    context, kernel32, kernel64, y, a, b, bias, z, accumulate, code, slope, threads, serial, scratch,
):  # fmt: skip
    """Check the arrays, given by id, and compute: 1 if done, 0 if Python must check, else the scratch bytes needed."""
    size, none = number_size(context, a), integer(context, program.NONE)
    kernel = kernel64 if size == 8 else kernel32
    if size == 0 or kernel == 0 or number_size(context, b) != size or ndim_of(a) != 2 or ndim_of(b) != 2:
        return 0
    m, depth, columns = dimension_of(a, 0), dimension_of(a, 1), dimension_of(b, 1)
    if m == 0 or depth == 0 or columns == 0:
        return 0
    if not (
        _fits(context, size, (m, depth, columns), (a, b, y, bias, z))
        and _can_accumulate(accumulate != 0, bias != none, z != none, code)
    ):
        return 0
    block, table, mode = _block(), _table(), ACCUMULATE if accumulate else 0
    first = y
    if bias != none:
        first, mode = bias, mode | BIAS
    if z == none:
        z = y
    parts, room = fill_block(
        block, data_of(y), data_of(z), data_of(a), data_of(b), data_of(first), data_of(scratch),
        m, columns, depth, stride_of(a, 0) // size, stride_of(a, 1) // size, stride_of(b, 0) // size,
        stride_of(b, 1) // size, stride_of(y, 0) // size, stride_of(z, 0) // size,
        mode, code, slope, size, threads, serial,
    )  # fmt: skip
    if not can_run(context, parts) or room > program.MOST_SCRATCH:
        return 0
    if room > dimension_of(scratch, 0):
        return room
    put_row(table, 0, kernel, block, parts, 0)
    run(context, table, 1, parts)
    return 1


_ENTER = Entry(_enter_gemm, [types.int64] * 10 + [types.float64] + [types.int64] * 3, types.int64)
_GEMM32, _GEMM64 = GEMM[compiler.FLOAT32], GEMM[compiler.FLOAT64]
