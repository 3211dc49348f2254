"""Elementwise losses: value, derivative and sum in one pass over the arrays.

Each loss is one scalar function of x, y and a parameter a, which returns its value and its derivative
by x; a loss of three arrays also has z, and the derivative by it. Its slopes are registered with it:
the derivatives by all operands, for second derivatives and the gradient of a target. The arrays are
processed in blocks; losses and derivatives that are not requested go to the stack, so that each loss is
one loop, compiled at its first use (0.2 to 0.4 s). The sums of the blocks are added in order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastnn.kernels.llvm.math import exp, log
from fastnn.kernels.llvm.row_loops import scratch
from fastnn.kernels.llvm.simd import fabs, multiply_add
from fastnn.kernels.reduce.reductions import (
    COUNTED,
    DIVISOR,
    HEAD,
    WRONG,
    add_up,
    finish,
    finish_parts,
    new_work,
    requested,
)
from fastnn.kernels.runtime.checks import check, check_output, check_scalar, kernel_for
from fastnn.kernels.runtime.compiler import (
    STRICT,
    Kernel,
    Words,
    array,
    array_at,
    by_dtype,
    inline,
    integer,
    part,
    pointer,
    real,
)
from fastnn.kernels.runtime.launcher import guard_contents, is_tracing, launch
from fastnn.kernels.runtime.raw_memory import ahead
from fastnn.kernels.runtime.thread_count import chunks_for

# Numbers in one sum; arrays are cut at multiples of it, and it is the size of the buffers on the stack.
_BLOCK = 512
# Bits of `wanted`: the requested outputs, and whether to take the mean.
_OUT, _LOSSES, _DX, _DZ, _MEAN = 1, 2, 4, 8, 16


# -- The losses, for one number ----------------------------------------------------------------

# Slopes are f(m, x, y, a) or f(m, x, y, z, a) of operands with the operators of numbers. m has functions of them: exp,
# log, sgn, sigmoid, logsigmoid, clamp_min(x, least), clip(x, a), which clamps to [-a, a]; numbers(x), the array; and
# constant(array, x), an operand of the dtype of x. They return a derivative by each operand; None if there is none.


class Loss(NamedTuple):
    value: Callable[..., Any]
    slopes: Callable[..., Any]
    # Floating-point operations per number, to choose a thread count.
    cost: int
    # Three arrays instead of two; whether all numbers must be in [0, 1].
    three: bool
    probabilities: bool


TABLE: dict[str, Loss] = {}


def _register(value: Any, *, slopes: Any, cost: int, three: bool = False, probabilities: bool = False) -> None:
    TABLE[value.py_func.__name__] = Loss(value, slopes, cost, three, probabilities)


@inline(fastmath=STRICT)
def _log1p(x):
    """``log(1 + x)`` for x > -1 to 2 ulp, corrected for the rounding error of 1 + x. -inf at -1."""
    kind = type(x)
    u = kind(1) + x
    lost = x - (u - kind(1))
    return log(u) + (lost / u if u > kind(0) else kind(0))


@inline
def mse(x, y, a):
    d = x - y
    return d * d, d + d


def _mse_slopes(m, x, y, a):
    d = (x - y) * 2
    return d, -d


_register(mse, slopes=_mse_slopes, cost=3)


@inline
def l1(x, y, a):
    d = x - y
    kind = type(d)
    # Without a quotient: 0 for NaN, as in PyTorch.
    return fabs(d), (kind(1) if d > kind(0) else kind(0)) - (kind(1) if d < kind(0) else kind(0))


def _l1_slopes(m, x, y, a):
    d = m.sgn(x - y)
    return d, -d


_register(l1, slopes=_l1_slopes, cost=3)


@inline
def smooth_l1(x, y, a):
    d = x - y
    kind = type(d)
    z = fabs(d)
    inside = z < a
    # LLVM moves this out of the loop.
    inverse = kind(1) / a
    slope = kind(1) if d >= a else kind(-1) if d <= -a else d * inverse
    return (kind(0.5) * z * (z * inverse) if inside else z - kind(0.5) * a), slope


def _smooth_l1_slopes(m, x, y, a):
    slope = m.clip(x - y, a) * (1 / a)
    return slope, -slope


_register(smooth_l1, slopes=_smooth_l1_slopes, cost=8)


@inline
def huber(x, y, a):
    d = x - y
    kind = type(d)
    z = fabs(d)
    slope = a if d > a else -a if d < -a else d
    return (kind(0.5) * z * z if z <= a else a * (z - kind(0.5) * a)), slope


def _huber_slopes(m, x, y, a):
    slope = m.clip(x - y, a)
    return slope, -slope


_register(huber, slopes=_huber_slopes, cost=8)


@inline
def bce(x, y, a):
    kind = type(x)
    log_x, log_rest = log(x), _log1p(-x)
    log_x = kind(-100) if log_x < kind(-100) else log_x
    log_rest = kind(-100) if log_rest < kind(-100) else log_rest
    room = (kind(1) - x) * x
    room = kind(1e-12) if room < kind(1e-12) else room
    return multiply_add(y - kind(1), log_rest, -(y * log_x)), (x - y) / room


def _bce_slopes(m, x, y, a):
    return (x - y) / m.clamp_min((1 - x) * x, 1e-12), m.log(1 - x) - m.log(x)


_register(bce, slopes=_bce_slopes, cost=70, probabilities=True)


@inline
def _logistic(x):
    """``log(1 + exp(-|x|))``, ``sigmoid(x)`` and ``sigmoid(-x)``, each to a few ulp."""
    kind = type(x)
    e = exp(-fabs(x))
    one, zero = kind(1), kind(0)
    inverse = one / (one + e)
    high, low = inverse, e * inverse
    return _log1p(e), (low if x < zero else high), (high if x < zero else low)


@inline
def _parts(x):
    """``max(x, 0)`` and ``max(-x, 0)``; NaN in both if x is NaN, and in the first, as in PyTorch's loss, for -inf."""
    zero = type(x)(0)
    return (x - x if x < zero else x), (zero if x > zero else -x)


@inline
def bce_with_logits(x, y, a):
    kind = type(x)
    above, below = _parts(x)
    rest, p, q = _logistic(x)
    # A sum of terms of one sign, which keeps a small loss precise; p - y would lose a small q.
    no = kind(1) - y
    return multiply_add(no, above, multiply_add(y, below, rest)), multiply_add(no, p, -(y * q))


_register(bce_with_logits, slopes=lambda m, x, y, a: (m.sigmoid(x) - y, -x), cost=70)


@inline
def soft_margin(x, y, a):
    _, below = _parts(x * y)
    rest, _, q = _logistic(x * y)
    return below + rest, -y * q


def _soft_margin_slopes(m, x, y, a):
    p = m.sigmoid(-(x * y))
    return -y * p, -x * p


_register(soft_margin, slopes=_soft_margin_slopes, cost=70)


@inline
def kl_div(x, y, a):
    kind = type(x)
    # 0 log(0) is 0, but 0 times an infinite x is NaN, as in PyTorch.
    own = kind(0) if y == kind(0) else y * log(y)
    return multiply_add(-y, x, own), -y


# y / y: NaN at 0, as in PyTorch's formula.
_register(kl_div, slopes=lambda m, x, y, a: (-y, m.log(y) + y / y - x), cost=30)


@inline
def kl_div_log(x, y, a):
    e = exp(y)
    return e * (y - x), -e


def _kl_div_log_slopes(m, x, y, a):
    e = m.exp(y)
    return -e, e * (y - x + 1)


_register(kl_div_log, slopes=_kl_div_log_slopes, cost=25)


@inline
def poisson_nll(x, y, a):
    kind = type(x)
    return multiply_add(-y, log(x + a), x), kind(1) - y / (x + a)


_register(poisson_nll, slopes=lambda m, x, y, a: (1 - y / (x + a), -m.log(x + a)), cost=30)


@inline
def poisson_nll_log(x, y, a):
    e = exp(x)
    return multiply_add(-y, x, e), e - y


_register(poisson_nll_log, slopes=lambda m, x, y, a: (m.exp(x) - y, -x), cost=25)


@inline
def hinge_embedding(x, y, a):
    kind = type(x)
    one, zero = kind(1), kind(0)
    gap = a - x
    value, slope = zero, zero
    clamped = zero if gap < zero else gap
    value = zero if y == one else clamped
    # Also 0 for NaN, as in PyTorch.
    slope = -one if y != one and gap >= zero else zero
    # For a label other than 1 and -1 both terms count, as in PyTorch.
    return value + (zero if y == -one else x), slope + (zero if y == -one else one)


def _hinge_embedding_slopes(m, x, y, a):
    numbers, label = m.numbers(x), m.numbers(y)
    return m.constant(1.0 * (label != -1) - ((label != 1) & (a - numbers >= 0)), x), None


_register(hinge_embedding, slopes=_hinge_embedding_slopes, cost=6)


@inline
def bce_with_logits_pos_weight(x, y, z, a):
    kind = type(x)
    above, below = _parts(x)
    rest, p, q = _logistic(x)
    no, yes = kind(1) - y, z * y
    value = multiply_add(no, above, multiply_add(yes, below, (no + yes) * rest))
    return value, multiply_add(no, p, -(yes * q)), y * (below + rest)


def _pos_weight_slopes(m, x, y, z, a):
    softplus, p = -m.logsigmoid(x), m.sigmoid(x)
    return (1 - y) * p - z * y * (1 - p), (z - 1) * softplus - x, y * softplus


_register(bce_with_logits_pos_weight, slopes=_pos_weight_slopes, cost=75, three=True)


@inline
def gaussian_nll(x, y, z, a):
    kind = type(x)
    half = kind(0.5)
    v = a if z < a else z
    d = x - y
    inverse = kind(1) / v
    quotient = d * inverse
    square = d * quotient
    # The derivative by z is that by v, even below a, as in PyTorch.
    return half * (log(v) + square), quotient, half * (kind(1) - square) * inverse


def _gaussian_nll_slopes(m, x, y, z, a):
    # Clamped from below; the gradient ignores the clamping.
    numbers = m.numbers(z)
    v = z + m.constant(np.maximum(numbers, numbers.dtype.type(a)) - numbers, z)
    quotient = (x - y) / v
    return quotient, -quotient, (1 - (x - y) * quotient) / v * 0.5


_register(gaussian_nll, slopes=_gaussian_nll_slopes, cost=40, three=True)


# -- The slices ----------------------------------------------------------------------------------


@inline
def _outside(x):
    """The count of numbers outside [0, 1]; NaN counts as outside."""
    wrong = 0
    for i in range(x.size):
        wrong += not (x[i] >= x.dtype.type(0) and x[i] <= x.dtype.type(1))
    return wrong


@inline
def _begin(work, size, mean):
    # Every part writes the same values.
    work[COUNTED] = size
    work[DIVISOR] = size if mean else 1.0
    return 1.0 / work[DIVISOR]


@inline
def _count_wrong(work, blocks):
    """Add up the blocks' counts of wrong numbers, which are stored after the blocks' sums."""
    wrong = 0.0
    for block in range(HEAD + blocks, HEAD + 2 * blocks):
        wrong += work[block]
    work[WRONG] = wrong


_WORDS = Words("out losses dx x y work; size wanted; a")


def _of_two(loss: Callable[..., Any], probabilities: bool) -> Callable[[Any], Callable[..., None]]:
    """The slice of a loss of two arrays; ``probabilities``: both must be in [0, 1]."""

    def build(dtype: Any) -> Callable[..., None]:
        @inline
        def loop(losses, dx, x, y, a, scale):
            for i in range(x.size):
                value, slope = loss(x[i], y[i], a)
                losses[i] = value
                dx[i] = slope * scale

        def pointwise_loss_slice(args, t, n):
            # out[1], losses[size], dx[size], x[size], y[size], work[HEAD + 2 * blocks]
            size, wanted, a = integer(args, _WORDS.size), integer(args, _WORDS.wanted), dtype(real(args, _WORDS.a))
            blocks = (size + _BLOCK - 1) // _BLOCK
            work = array(args, _WORDS.work, (HEAD + 2 * blocks,), np.float64)
            scale = dtype(_begin(work, size, wanted & _MEAN != 0))
            like = dtype(0)
            room_losses, room_dx = scratch(_BLOCK, like), scratch(_BLOCK, like)
            losses_out, dx_out = pointer(args, _WORDS.losses, like), pointer(args, _WORDS.dx, like)
            x_in, y_in = pointer(args, _WORDS.x, like), pointer(args, _WORDS.y, like)
            first, last = part(blocks, t, n)
            for block in range(first, last):
                start = block * _BLOCK
                count = min(_BLOCK, size - start)
                losses = array_at(ahead(losses_out, start) if wanted & _LOSSES else room_losses, (count,))
                dx = array_at(ahead(dx_out, start) if wanted & _DX else room_dx, (count,))
                x = array_at(ahead(x_in, start), (count,))
                y = array_at(ahead(y_in, start), (count,))
                if probabilities:
                    work[HEAD + blocks + block] = _outside(x) + _outside(y)
                else:
                    work[HEAD + blocks + block] = 0.0
                loop(losses, dx, x, y, a, scale)
                work[HEAD + block] = add_up(losses)
            if n == 1:
                _count_wrong(work, blocks)
                if wanted & _OUT:
                    array(args, _WORDS.out, (1,), dtype)[0] = dtype(finish(work, blocks))

        return pointwise_loss_slice

    return build


_WORDS_OF_THREE = Words("out losses dx dz x y z work; size wanted; a")


def _of_three(loss: Callable[..., Any]) -> Callable[[Any], Callable[..., None]]:
    """The slice of a loss of three arrays."""

    def build(dtype: Any) -> Callable[..., None]:
        @inline
        def loop(losses, dx, dz, x, y, z, a, scale):
            for i in range(x.size):
                value, slope, other = loss(x[i], y[i], z[i], a)
                losses[i] = value
                dx[i] = slope * scale
                dz[i] = other * scale

        def pointwise_loss_slice(args, t, n):
            # out[1], losses[size], dx[size], dz[size], x[size], y[size], z[size], work[HEAD + 2 * blocks]
            size, wanted = integer(args, _WORDS_OF_THREE.size), integer(args, _WORDS_OF_THREE.wanted)
            a = dtype(real(args, _WORDS_OF_THREE.a))
            blocks = (size + _BLOCK - 1) // _BLOCK
            work = array(args, _WORDS_OF_THREE.work, (HEAD + 2 * blocks,), np.float64)
            scale = dtype(_begin(work, size, wanted & _MEAN != 0))
            work[WRONG] = 0.0
            like = dtype(0)
            room_losses, room_dx = scratch(_BLOCK, like), scratch(_BLOCK, like)
            room_dz = scratch(_BLOCK, like)
            losses_out, dx_out = pointer(args, _WORDS_OF_THREE.losses, like), pointer(args, _WORDS_OF_THREE.dx, like)
            dz_out = pointer(args, _WORDS_OF_THREE.dz, like)
            x_in, y_in = pointer(args, _WORDS_OF_THREE.x, like), pointer(args, _WORDS_OF_THREE.y, like)
            z_in = pointer(args, _WORDS_OF_THREE.z, like)
            first, last = part(blocks, t, n)
            for block in range(first, last):
                start = block * _BLOCK
                count = min(_BLOCK, size - start)
                losses = array_at(ahead(losses_out, start) if wanted & _LOSSES else room_losses, (count,))
                dx = array_at(ahead(dx_out, start) if wanted & _DX else room_dx, (count,))
                dz = array_at(ahead(dz_out, start) if wanted & _DZ else room_dz, (count,))
                x = array_at(ahead(x_in, start), (count,))
                y = array_at(ahead(y_in, start), (count,))
                z = array_at(ahead(z_in, start), (count,))
                loop(losses, dx, dz, x, y, z, a, scale)
                work[HEAD + block] = add_up(losses)
            if n == 1 and wanted & _OUT:
                array(args, _WORDS_OF_THREE.out, (1,), dtype)[0] = dtype(finish(work, blocks))

        return pointwise_loss_slice

    return build


# Kernels by dtype, cost, and whether all numbers must be in [0, 1].
_KERNELS: dict[str, tuple[dict[np.dtype, Kernel], int, bool]] = {}
for _name, _loss in TABLE.items():
    if _loss.three:
        _facts: Any = _of_three(_loss.value), _WORDS_OF_THREE, "out losses dx dz work"
    else:
        _facts = _of_two(_loss.value, _loss.probabilities), _WORDS, "out losses dx work"
    _slice, _words, _outputs = _facts
    _KERNELS[_name] = by_dtype(f"{_name}_loss", _slice, _words, outputs=_outputs), _loss.cost, _loss.probabilities

LOSSES = tuple(TABLE)
THREE_ARRAYS = tuple([name for name, loss in TABLE.items() if loss.three])


def _is_probability(y: np.ndarray) -> bool:
    return bool(((y >= 0) & (y <= 1)).all())


def pointwise_loss(
    loss: str,
    out: np.ndarray | None,
    losses: np.ndarray | None,
    dx: np.ndarray | None,
    x: np.ndarray,
    y: np.ndarray,
    mean: bool = False,
    a: float = 0.0,
    z: np.ndarray | None = None,
    dz: np.ndarray | None = None,
) -> bool:
    """A loss of each number of ``x`` against that of ``y``, the sum or mean, and its gradient.

    Args:
        loss: one of :data:`LOSSES`.
        out: (), receives the sum or mean; or None.
        losses: receives the loss of each number; or None.
        dx, dz: receive the gradients by ``x`` and ``z``; or None. They may be ``x`` and ``z``.
        x, y: C-contiguous arrays of one shape, both float32 or both float64.
        mean: whether ``out``, ``dx`` and ``dz`` are of the mean; otherwise of the sum.
        a: beta of 'smooth_l1', delta of 'huber', eps of 'poisson_nll', the margin of 'hinge_embedding', the
            least variance of 'gaussian_nll'.
        z: as ``x``, for the losses in :data:`THREE_ARRAYS`: the weights of positive labels, the variances.

    Returns: whether the loss is defined for all numbers: False if one is not in [0, 1] for 'bce'.
    """
    try:
        kernels, cost, probabilities = _KERNELS[loss]
    except (KeyError, TypeError):
        raise ValueError(f"loss must be one of {', '.join(LOSSES)}, found {loss!r}") from None
    kernel = kernel_for(kernels, "x", x)
    dtype, shape = x.dtype, x.shape
    check("x", x, dtype, shape)
    check("y", y, dtype, shape)
    three = kernel.arrays == 8
    arrays = [x, x, x, x, y] if not three else [x, x, x, x, x, y, x]
    if out is not None:
        check_scalar("out", out, dtype)
    for name, output in (("losses", losses), ("dx", dx)):
        if output is not None:
            check_output(name, output, dtype, shape)
    arrays[:3], wanted = requested((out, losses, dx), x)
    wanted |= _MEAN if mean else 0
    if three:
        if z is None:
            raise TypeError(f"z must be given for loss {loss!r}, found None")
        check("z", z, dtype, shape)
        arrays[6] = z
        if dz is not None:
            check_output("dz", dz, dtype, shape)
            arrays[3] = dz
            wanted |= _DZ
    elif z is not None or dz is not None:
        raise TypeError(f"z and dz must be None for loss {loss!r}, found an array")
    size = x.size
    blocks = (size + _BLOCK - 1) // _BLOCK
    work = new_work(2 * blocks)
    parts = min(chunks_for(cost * size), blocks) or 1
    launch(kernel, parts, (*arrays, work), size, wanted, a)
    # A recording has no values. Before a replay the target can be checked; the input, which the model has not yet
    # computed, is not checked.
    is_recorded = guard_contents(y, _is_probability) if probabilities else is_tracing()
    if parts > 1:
        if out is not None:
            finish_parts(out, work, blocks)
        return three or is_recorded or not work[HEAD + blocks :].any()
    return is_recorded or work.item(WRONG) == 0.0
