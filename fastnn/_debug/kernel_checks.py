"""A check of every kernel against its formula in NumPy, in float64: the self-test of ``fastnn doctor``.

The matrices are small, odd in both sizes, and each launch is cut into three parts, so that every kernel runs its
vector code, the rest after it, and the pool. A number is right if it differs from the reference by the stated count of
roundings of its magnitude. Derivatives are compared with finite differences of the reference, which are good to
:data:`DIFFERENCES`.

Tests compare the kernels more closely. These checks are for machines where no test has run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from fastnn import kernels
from fastnn.kernels import self_check
from fastnn.kernels.activation.fused_activations import CODES, saves_input
from fastnn.kernels.activation.math_functions import FUNCTIONS
from fastnn.kernels.matmul.int8 import int8_units, pack_int8
from fastnn.kernels.matmul.linear import activation_bias_backward
from fastnn.kernels.matmul.sparse_linear import join_columns, split_columns
from fastnn.kernels.matmul.sparse_rows import batch_of
from fastnn.kernels.reduce.norms import blocks_of
from fastnn.kernels.runtime import numpy_loops

# Relative error of the derivatives of the references: five points with a distance of 1e-3.
DIFFERENCES = 1e-9
_STEP = 1e-3
ROWS, COLUMNS, DEPTH = 23, 37, 29
DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
_STATE = (5, 3)

Array = np.ndarray


class Wrong(NamedTuple):
    """A result that differs from its reference.

    Args:
        check: the name of the check.
        dtype: of the kernel's numbers.
        what: the result, or the exception.
        error: the largest difference, in units of what is allowed.
    """

    check: str
    dtype: str
    what: str
    error: float

    def __str__(self) -> str:
        error = f", {self.error:.3g} times the error allowed" if self.error else ""
        return f"{self.check} ({self.dtype}): {self.what}{error}"


class Numbers:
    """Random operands of one dtype, and the comparison of results.

    Args:
        dtype: float32 or float64.
    """

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype
        self.rng = np.random.default_rng(0)
        self.found: list[tuple[str, float]] = []

    def numbers(self, *shape: int, low: float = -2.0, high: float = 2.0) -> Array:
        """Uniform numbers, at least 0.05 away from 0, where some derivatives jump."""
        a = self.rng.uniform(low, high, shape)
        return np.where(np.abs(a) < 0.05, 0.5, a).astype(self.dtype)

    def matrix(self, low: float = -2.0, high: float = 2.0) -> Array:
        """ROWS times COLUMNS uniform numbers."""
        return self.numbers(ROWS, COLUMNS, low=low, high=high)

    def empty(self, *shape: int) -> Array:
        """An output, full of NaN."""
        return np.full(shape, np.nan, self.dtype)

    def compare(self, what: str, found: Any, expected: Any, roundings: float = 16, size: Any = None,
                differences: bool = False) -> None:  # fmt: skip
        """Compare a result; ``size``: the magnitude that is rounded, else ``1 + |expected|``."""
        found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
        size = 1 + np.abs(expected) if size is None else np.asarray(size, np.float64)
        allowed = (roundings * float(np.finfo(self.dtype).eps) + (DIFFERENCES if differences else 0.0)) * size
        if found.shape != expected.shape:
            self.found.append((f"{what} has shape {found.shape}, expected {expected.shape}", 0.0))
            return
        with np.errstate(all="ignore"):
            error = np.abs(found - expected)
            if not (error <= allowed).all():
                ratio = error / allowed
                self.found.append((what, float(np.max(np.where(np.isnan(ratio), np.inf, ratio)))))

    def compare_gradient(self, what: str, run: Any, x: Array, dx: Array, dy: Array,
                         scale: Any = 1.0) -> None:  # fmt: skip
        """Compare ``sum(dx * v)`` with the derivative of ``sum(dy * run(x))`` in a random direction v.

        ``scale``: the size of each element of v, smaller for operands that are small themselves.
        """
        x, dx, dy = (a.astype(np.float64) for a in (x, dx, dy))
        direction = self.rng.choice([-1.0, 1.0], x.shape) * scale
        expected = _derivative(lambda step: float((dy * run(x + step * direction)).sum()))
        size = np.abs(dx).sum() + np.abs(dy).sum()
        self.compare(what, (dx * direction).sum(), expected, 64, size, differences=True)


def _derivative(f: Any) -> Any:
    """The derivative at 0, by five points, of a function of a number."""
    h = _STEP
    return (8 * (f(h) - f(-h)) - (f(2 * h) - f(-2 * h))) / (12 * h)


CHECKS: dict[str, Callable[[Numbers], None]] = {}


def _check(run: Callable[[Numbers], None]) -> Callable[[Numbers], None]:
    CHECKS[run.__name__.removeprefix("_")] = run
    return run


def wrong(progress: Callable[[str], None] = lambda name: None) -> list[Wrong]:
    """Run all checks; the results that differ, none on a machine that computes as it should.

    Args:
        progress: called with the name of each check before it runs.
    """
    found = [Wrong("launch paths", "float32", what, 0.0) for what in self_check.wrong()]
    for name, run in CHECKS.items():
        progress(name)
        for dtype in DTYPES:
            n = Numbers(dtype)
            try:
                with self_check._cut_in(3):
                    run(n)
            except Exception as error:
                # One kernel that cannot run must not hide the state of the others.
                found.append(Wrong(name, dtype.name, f"{type(error).__name__}: {error}", 0.0))
            found += [Wrong(name, dtype.name, what, size) for what, size in n.found]
    return found


# --------------------------------------------------------------------------------------------
# Activations


def _softplus(x: Array) -> Array:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


# In float64, of x and up to three constants.
_FUSED: dict[str, Callable[[Array], Array]] = {
    "relu": lambda x: np.maximum(x, 0), "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "sigmoid": special.expit, "tanh": np.tanh, "gelu": lambda x: x * special.ndtr(x),
    "gelu_tanh": lambda x: x * special.expit(2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)),
}  # fmt: skip
_ELEMENTWISE: dict[str, tuple[Callable[[Array], Array], tuple[float, ...]]] = {
    "elu": (lambda x: np.where(x <= 0, 0.7 * np.expm1(0.5 * x), 1.3 * x), (0.7, 1.3, 0.5)),
    "hardshrink": (lambda x: np.where(np.abs(x) <= 0.5, 0, x), (0.5,)),
    "hardsigmoid": (lambda x: np.clip((x + 3) / 6, 0, 1), ()),
    "hardswish": (lambda x: x * np.clip(x + 3, 0, 6) / 6, ()),
    "hardtanh": (lambda x: np.clip(x, -1.25, 1.5), (-1.25, 1.5)),
    "logsigmoid": (lambda x: -_softplus(-x), ()),
    "mish": (lambda x: x * np.tanh(_softplus(x)), ()),
    "silu": (lambda x: x * special.expit(x), ()),
    "softplus": (lambda x: np.where(2 * x > 3, x, _softplus(2 * x) / 2), (2.0, 3.0)),
    "softshrink": (lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0), (0.5,)),
    "softsign": (lambda x: x / (1 + np.abs(x)), ()),
    "tanhshrink": (lambda x: x - np.tanh(x), ()),
    "threshold": (lambda x: np.where(x <= 0.3, -0.2, x), (0.3, -0.2)),
}
# Where a function or its slope jumps; operands stay away from these.
_JUMPS = np.array([-1.25, -0.5, 0.3, 0.5, 1.5])


def _away_from_jumps(x: Array) -> Array:
    return np.where(np.abs(x[..., None] - _JUMPS).min(-1) < 0.01, x.dtype.type(0.8), x)


def _slope(f: Callable[[Array], Array], x: Array) -> Array:
    x = x.astype(np.float64)
    return np.asarray(_derivative(lambda h: f(x + h)))


@_check
def _fused_activations(n: Numbers) -> None:
    assert set(_FUSED) | {"none"} == set(CODES)
    for name, f in _FUSED.items():
        z, dy, out, dz = n.matrix(), n.matrix(), n.empty(ROWS, COLUMNS), n.empty(ROWS, COLUMNS)
        summed = n.empty(COLUMNS)
        kernels.activation_forward(out, z, name)
        n.compare(name, out, f(z.astype(np.float64)))
        expected = dy * _slope(f, z)
        saved = z if saves_input(name) else out
        kernels.activation_backward(dz, dy, saved, name)
        n.compare(f"{name} backward", dz, expected, differences=True)
        activation_bias_backward(dz, summed, dy, saved, name)
        n.compare(f"{name} and bias backward", dz, expected, differences=True)
        n.compare(f"{name}, gradient of the bias", summed, expected.sum(0), 16 * ROWS, differences=True)


@_check
def _elementwise_activations(n: Numbers) -> None:
    for name, (f, constants) in _ELEMENTWISE.items():
        x, dy, out, dx = _away_from_jumps(n.matrix()), n.matrix(), n.empty(ROWS, COLUMNS), n.empty(ROWS, COLUMNS)
        kernels.elementwise_forward(out, x, name, *constants)
        n.compare(name, out, f(x.astype(np.float64)))
        kernels.elementwise_backward(dx, dy, x, name, *constants)
        n.compare(f"{name} backward", dx, dy * _slope(f, x), differences=True)


@_check
def _math_functions(n: Numbers) -> None:
    # The kernels have one dtype; the rounding is that of float32.
    roundings = 16 * float(np.finfo(np.float32).eps / np.finfo(n.dtype).eps)
    for name, function in FUNCTIONS.items():
        low, high = {"acosh": (1.1, 2.0), "log2": (0.1, 2.0), "log10": (0.1, 2.0)}.get(name, (-0.9, 0.9))
        operands = [n.matrix(low, high).astype(np.float32) for _ in range(function.operands)]
        out = np.full((ROWS, COLUMNS), np.nan, np.float32)
        kernels.math_function(out, name, *operands)
        exact: Any = getattr(special if name in ("erf", "erfc") else np, name)
        n.compare(name, out, exact(*[a.astype(np.float64) for a in operands]), roundings)


@_check
def _activation_curves(n: Numbers) -> None:
    a, b, d, outs = n.matrix(), n.matrix(), n.matrix(), [n.empty(ROWS, COLUMNS) for _ in range(3)]
    wide = [v.astype(np.float64) for v in (a, b, d)]
    for name in ("sigmoid", "tanh"):
        y = n.matrix(0.05, 0.95)
        exact = y.astype(np.float64)
        curve = (1 - 2 * exact) if name == "sigmoid" else -2 * exact
        slope = exact * (1 - exact) if name == "sigmoid" else 1 - exact**2
        kernels.activation_curve(outs[0], a, b, y, name)
        n.compare(name, outs[0], wide[0] * wide[1] * curve)
        kernels.activation_slope_backward(outs[0], outs[1], d, a, y, name)
        n.compare(f"{name}, slope", outs[0], wide[2] * slope)
        n.compare(f"{name}, slope of the slope", outs[1], wide[2] * wide[0] * curve)
        kernels.activation_curve_backward(outs[0], outs[1], outs[2], d, a, b, y, name)
        for found, expected in zip(
            outs, (wide[2] * wide[1] * curve, wide[2] * wide[0] * curve, -2 * wide[2] * wide[0] * wide[1]), strict=True
        ):
            n.compare(f"{name}, curve backward", found, expected)
        kernels.activation_derivative(outs[0], a, name)
        n.compare(f"{name} derivative", outs[0], _slope(_FUSED[name], a), differences=True)


@_check
def _prelu(n: Numbers) -> None:
    x, dy, weight = n.matrix(), n.matrix(), n.numbers(COLUMNS)
    out, dx, dweight = (n.empty(ROWS, COLUMNS) for _ in range(3))
    kernels.prelu_forward(out, x, weight)
    n.compare("forward", out, np.where(x > 0, x, weight.astype(np.float64) * x))
    kernels.prelu_backward(dx, dweight, dy, x, weight)
    n.compare("backward", dx, np.where(x > 0, dy, weight.astype(np.float64) * dy))
    n.compare("gradient of the weight", dweight, np.where(x > 0, 0, x.astype(np.float64) * dy))


def _kept(size: int, p: float) -> Array:
    """Which numbers dropout keeps: the hash of ``kernels/llvm/random.py``."""
    seed, call = _STATE
    mask = 2**64 - 1
    z = (seed + 0x9E3779B97F4A7C15 * call) & mask
    for _ in range(2):
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        z = ((z ^ (z >> 31)) + seed) & mask
    x = np.arange(size, dtype=np.uint32) + np.uint32(z & 0xFFFFFFFF)
    x = (x ^ (x >> np.uint32(17))) * np.uint32(0xED5AD4BB)
    x = (x ^ (x >> np.uint32(11)) ^ np.uint32(z >> 32)) * np.uint32(0xAC4C1B51)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x31848BAB)
    return x < np.uint32((1 - p) * 2**32)


@_check
def _dropout(n: Numbers) -> None:
    x, out, state, p = n.matrix(), n.empty(ROWS, COLUMNS), np.array(_STATE, np.int64), 0.3
    kept = _kept(x.size, p).reshape(x.shape)
    wide = x.astype(np.float64)
    for run in (kernels.dropout_forward, kernels.dropout_backward):
        run(out, x, state, p)
        n.compare(run.__name__, out, np.where(kept, wide / (1 - p), 0))
    saturated = -1.7580993408473766
    a = ((1 - p) * (1 + p * saturated**2)) ** -0.5
    kernels.alpha_dropout_forward(out, x, state, p)
    n.compare("alpha_dropout_forward", out, a * np.where(kept, wide, saturated) - a * p * saturated)
    kernels.alpha_dropout_backward(out, x, state, p)
    n.compare("alpha_dropout_backward", out, a * np.where(kept, wide, 0))


# --------------------------------------------------------------------------------------------
# Products


@_check
def _products(n: Numbers) -> None:
    a, b, bias, y = n.numbers(ROWS, DEPTH), n.numbers(DEPTH, COLUMNS), n.numbers(COLUMNS), n.empty(ROWS, COLUMNS)
    wide, magnitude = a.astype(np.float64) @ b + bias, np.abs(a).astype(np.float64) @ np.abs(b) + 2
    for layout, right in (("rows", b), ("columns", np.asfortranarray(b)), ("gaps", np.repeat(b, 2, 1)[:, ::2])):
        kernels.gemm(y, a, right, bias)
        n.compare(f"gemm, {layout}", y, wide, DEPTH + 1, magnitude)
    for name, f in _FUSED.items():
        kernels.linear_forward(y, a, b, bias, name)
        n.compare(f"linear and {name}", y, f(wide), 2 * DEPTH, magnitude)
    kernels.gemm(y, a, b)
    kernels.gemm(y, a, b, accumulate=True)
    n.compare("gemm, accumulated", y, 2 * (wide - bias), DEPTH + 2, 2 * magnitude)
    dy, dx, dweight, dbias = n.matrix(), n.empty(ROWS, DEPTH), n.empty(DEPTH, COLUMNS), n.empty(COLUMNS)
    out = n.empty(ROWS, COLUMNS)
    kernels.linear_forward(out, a, b, bias, "relu")
    kernels.linear_backward(dx, dweight, dbias, dy, a, b, out, "relu")
    dz = np.where(out > 0, dy, 0).astype(np.float64)
    n.compare("linear backward, input", dx, dz @ b.T, COLUMNS, np.abs(dz) @ np.abs(b.T) + 1)
    n.compare("linear backward, weight", dweight, a.T @ dz, ROWS, np.abs(a.T) @ np.abs(dz) + 1)
    n.compare("linear backward, bias", dbias, dz.sum(0), ROWS, np.abs(dz).sum(0) + 1)
    left, right = n.numbers(3, 9, DEPTH), n.numbers(3, DEPTH, 11)
    many = n.empty(3, 9, 11)
    kernels.batched_gemm(many, left, right)
    magnitude = np.abs(left).astype(np.float64) @ np.abs(right) + 1
    n.compare("batched_gemm", many, left.astype(np.float64) @ right, DEPTH, magnitude)


@_check
def _sparse_products(n: Numbers) -> None:
    for source in (np.uint8, np.float32, np.float64):
        x = np.abs(n.matrix() * 20).astype(source)
        x[n.rng.random(x.shape) < 0.8] = 0
        chosen = n.rng.integers(0, ROWS, 11)
        rows = kernels.compress_rows(x, 1.0)
        assert rows is not None
        batch = batch_of(rows, len(chosen), n.dtype)
        kernels.sort_columns(batch, rows, chosen)
        weight, bias, spoiled = n.numbers(COLUMNS, 19), n.numbers(19), np.zeros(1, n.dtype)
        error, out, moved = n.numbers(11, 19), n.empty(11, 19), n.empty(COLUMNS, 19)
        panels, dense = split_columns(weight), x[chosen].astype(np.float64)
        kernels.sparse_forward(out, batch, panels, bias, spoiled)
        name = np.dtype(source).name
        n.compare(f"forward, {name}", out, dense @ weight + bias, COLUMNS, dense @ np.abs(weight) + 2)
        kernels.sparse_update(panels, spoiled, batch, error)
        join_columns(moved, panels)
        n.compare(f"update, {name}", moved, weight + dense.T @ error, ROWS, 2 + dense.T @ np.abs(error))


@_check
def _attention(n: Numbers) -> None:
    shape = 2, 3, 7, 5
    q, k, v, dout = n.numbers(*shape), n.numbers(2, 3, 9, 5), n.numbers(2, 3, 9, 5), n.numbers(*shape)
    mask = n.numbers(2, 3, 7, 9)
    out, weights, dscores = n.empty(*shape), n.empty(2, 3, 7, 9), n.empty(2, 3, 7, 9)
    dq, dk, dv = (n.empty(*a.shape) for a in (q, k, v))

    def run(q: Array, k: Array, v: Array, mask: Array) -> Array:
        return np.asarray(special.softmax(0.4 * q @ k.swapaxes(-1, -2) + mask, -1) @ v)

    kernels.attention_forward(out, weights, q, k, v, mask, scale=0.4)
    operands = [a.astype(np.float64) for a in (q, k, v, mask)]
    n.compare("forward", out, run(*operands), 64)
    kernels.attention_backward(dq, dk, dv, dscores, dout, q, k, v, weights, scale=0.4)
    for i, (name, gradient) in enumerate(zip(("q", "k", "v", "mask"), (dq, dk, dv, dscores), strict=True)):
        others = list(operands)

        def moved(a: Array, i: int = i, others: list[Array] = others) -> Array:
            return run(*[a if j == i else b for j, b in enumerate(others)])

        n.compare_gradient(f"backward, {name}", moved, operands[i], gradient, dout)


# --------------------------------------------------------------------------------------------
# Losses

_A = 0.7
# The kernel's name; the loss of x and y (and z); the ranges of x and y.
_LOSSES: dict[str, tuple[Callable[..., Array], tuple[float, float], tuple[float, float]]] = {
    "mse": (lambda x, y: (x - y) ** 2, (-2, 2), (-2, 2)),
    "l1": (lambda x, y: np.abs(x - y), (1, 2), (-2, 0.9)),
    "smooth_l1": (
        lambda x, y: np.where(np.abs(x - y) < _A, 0.5 * (x - y) ** 2 / _A, np.abs(x - y) - 0.5 * _A), (-1, 1), (-2, 2)
    ),
    "huber": (
        lambda x, y: np.where(np.abs(x - y) <= _A, 0.5 * (x - y) ** 2, _A * (np.abs(x - y) - 0.5 * _A)),
        (-1, 1), (-2, 2),
    ),
    "bce": (lambda x, y: -y * np.log(x) - (1 - y) * np.log1p(-x), (0.3, 0.7), (0.1, 0.9)),
    "bce_with_logits": (lambda x, y: _softplus(x) - x * y, (-2, 2), (0.1, 0.9)),
    "soft_margin": (lambda x, y: _softplus(-x * y), (-2, 2), (-1, 1)),
    "kl_div": (lambda x, y: y * (np.log(y) - x), (-2, -0.1), (0.1, 0.9)),
    "kl_div_log": (lambda x, y: np.exp(y) * (y - x), (-2, -0.1), (-2, -0.1)),
    "poisson_nll": (lambda x, y: x - y * np.log(x + _A), (0.3, 2), (0.1, 3)),
    "poisson_nll_log": (lambda x, y: np.exp(x) - y * x, (-2, 2), (0.1, 3)),
    # A label of 1.
    "hinge_embedding": (lambda x, y: x, (-2, 2), (1, 1)),
    "bce_with_logits_pos_weight": (
        lambda x, y, z: (1 - y) * x + (1 + (z - 1) * y) * _softplus(-x), (-2, 2), (0.1, 0.9)
    ),
    "gaussian_nll": (lambda x, y, z: 0.5 * (np.log(z) + (x - y) ** 2 / z), (-2, 2), (-2, 2)),
}  # fmt: skip


@_check
def _elementwise_losses(n: Numbers) -> None:
    for name, (f, of_x, of_y) in _LOSSES.items():
        x, y = n.matrix(*of_x), n.matrix(*of_y)
        losses, dx, dz = (n.empty(ROWS, COLUMNS) for _ in range(3))
        out = n.empty(1).reshape(())
        arrays = [x.astype(np.float64), y.astype(np.float64)]
        more: dict[str, Any] = {}
        if f.__code__.co_argcount == 3:
            z = n.matrix(0.8, 2)
            arrays.append(z.astype(np.float64))
            more = {"z": z, "dz": dz}
        kernels.pointwise_loss(name, out, losses, dx, x, y, a=_A, **more)
        expected = f(*arrays)
        n.compare(name, losses, expected, 32)
        n.compare(f"{name}, sum", out, expected.sum(), 32 * x.size, 1 + np.abs(expected).mean())
        # Away from the places where a slope jumps.
        smooth = np.abs(np.abs(arrays[0] - arrays[1]) - _A) > 0.01
        by_x = _derivative(lambda h, f=f, arrays=arrays: f(arrays[0] + h, *arrays[1:]))
        n.compare(f"{name}, gradient", np.where(smooth, dx, 0), np.where(smooth, by_x, 0), 64, differences=True)
        if more:
            by_z = _derivative(lambda h, f=f, arrays=arrays: f(*arrays[:2], arrays[2] + h))
            n.compare(f"{name}, other gradient", dz, by_z, 64, differences=True)


@_check
def _losses_of_labels(n: Numbers) -> None:
    x, labels = n.matrix(), n.rng.integers(0, COLUMNS, ROWS)
    wide, rows = x.astype(np.float64), np.arange(ROWS)
    losses, dx, out = n.empty(ROWS), n.empty(ROWS, COLUMNS), n.empty(1).reshape(())
    log_p, onehot = special.log_softmax(wide, 1), np.eye(COLUMNS)[labels]
    kernels.softmax_cross_entropy(losses, dx, x, labels, out=out)
    n.compare("softmax_cross_entropy", losses, -log_p[rows, labels], 64)
    n.compare("softmax_cross_entropy, sum", out, -log_p[rows, labels].sum(), 64 * ROWS)
    n.compare("softmax_cross_entropy, gradient", dx, np.exp(log_p) - onehot, 64)
    soft = special.softmax(n.matrix().astype(np.float64), 1).astype(n.dtype)
    kernels.softmax_cross_entropy(losses, dx, x, soft, out=out)
    n.compare("softmax_cross_entropy, probabilities", losses, -(soft * log_p).sum(1), 64)
    share = soft.sum(1, keepdims=True, dtype=np.float64)
    n.compare("softmax_cross_entropy, probabilities, gradient", dx, np.exp(log_p) * share - soft, 64)
    kernels.nll_loss(losses, dx, x, labels, out=out)
    n.compare("nll_loss", losses, -wide[rows, labels])
    n.compare("nll_loss, gradient", dx, -onehot)
    marked = np.full((ROWS, COLUMNS), -1)
    marked[:, 0], marked[:, 1] = labels, (labels + 1) % COLUMNS
    kernels.multilabel_margin(losses, dx, x, marked)
    own = np.eye(COLUMNS)[marked[:, 0]] + np.eye(COLUMNS)[marked[:, 1]]
    gaps = np.maximum(0, 1 - wide[:, :, None] + wide[:, None, :]) * own[:, :, None] * (1 - own)[:, None, :]
    n.compare("multilabel_margin", losses, gaps.sum((1, 2)) / COLUMNS, 64)
    open_ = (gaps > 0).astype(np.float64)
    n.compare("multilabel_margin, gradient", dx, (open_.sum(1) - open_.sum(2)) / COLUMNS, 64)


@_check
def _classic_losses(n: Numbers) -> None:
    y, p, out = n.matrix(0.1, 0.9), n.matrix(0.3, 0.7), n.empty(ROWS, COLUMNS)
    wide = y.astype(np.float64), p.astype(np.float64)
    formulas: dict[str, Callable[[Array, Array], Array]] = {
        "squared_error": lambda y, p: (y - p) ** 2,
        "binary_cross_entropy": lambda y, p: -(y * np.log(p) + (1 - y) * np.log1p(-p)),
        "categorical_cross_entropy": lambda y, p: -y * np.log(p), "square": lambda y, p: p**2,
    }  # fmt: skip
    for name, f in formulas.items():
        n.compare(name, kernels.paired_loss(y, p, name), f(*wide).sum(), 64)
        kernels.paired_loss_gradient(out, y, p, name, 1.5)
        slope = _derivative(lambda h, f=f: f(wide[0], wide[1] + h))
        n.compare(f"{name}, gradient", out, 1.5 * slope, 32, differences=True)
    x, error, losses = n.matrix(), n.empty(ROWS, COLUMNS), np.full(ROWS, np.nan)
    labels = n.rng.integers(0, COLUMNS, ROWS)
    expected = special.softmax(x.astype(np.float64), 1)
    kernels.probabilities_and_error(out, error, losses, x, labels)
    n.compare("probabilities", out, expected, 32)
    n.compare("error", error, expected - np.eye(COLUMNS)[labels], 32)
    n.compare("losses", losses, -np.log(expected[np.arange(ROWS), labels] + 1e-8), 32)
    # A row that is cut into pieces, for several threads.
    long, found = n.numbers(2, 18_002), n.empty(2, 18_002)
    for row, result in ((x, out), (long, found)):
        kernels.probabilities(result, row)
        n.compare("probabilities", result, special.softmax(row.astype(np.float64), 1), 32)


@_check
def _perceptron(n: Numbers) -> None:
    x, weights, state = n.matrix(), n.rng.uniform(-1, 1, COLUMNS), np.array([0.1, 0.0])
    y = (n.rng.random(ROWS) < 0.5).astype(np.float64)
    out, wide = np.zeros(ROWS, np.int64), x.astype(np.float64)
    kernels.perceptron_predict(out, x, weights, 0.1)
    n.compare("predict", out, wide @ weights + 0.1 >= 0)
    expected, bias = weights.copy(), 0.1
    for row, label in zip(wide, y, strict=True):
        error = label - (row @ expected + bias >= 0)
        expected, bias = expected + 0.5 * error * row, bias + 0.5 * error
    kernels.perceptron_train(weights, state, x, y, learning_rate=0.5)
    n.compare("train", weights, expected, 64)
    n.compare("train, bias", state[0], bias)


@_check
def _int8(n: Numbers) -> None:
    # The kernel has real numbers in float32 only.
    for m, largest in ((1, 127), (ROWS, 127), (ROWS, 60)):
        x, bias = n.numbers(m, COLUMNS).astype(np.float32), n.numbers(DEPTH).astype(np.float32)
        out = n.empty(m, DEPTH).astype(np.float32)
        weight = n.rng.integers(-largest, largest + 1, (DEPTH, COLUMNS)).astype(np.int8)
        packed = pack_int8(weight, 0.01, bias)
        ranges = n.empty(int8_units(m, COLUMNS), 2).astype(np.float32)
        kernels.int8_range(ranges, x)
        n.compare("range", [ranges[:, 0].min(), ranges[:, 1].max()], [x.min(), x.max()], 0)
        exact = x.astype(np.float64) @ (0.01 * weight.T.astype(np.float64)) + bias
        # Each number of x is rounded to 127 steps, or 128.
        rounding = (x.max() - x.min()) / 127 * 0.01 * np.abs(weight.astype(np.float64)).sum(1)
        kernels.int8_linear(out, x, packed, ranges)
        n.compare("product", out, exact, 1 / float(np.finfo(n.dtype).eps), rounding)
        by_rows = n.empty(m, DEPTH).astype(np.float32)
        kernels.int8_linear(by_rows, x, packed)
        n.compare("product, rows", by_rows, exact, 1 / float(np.finfo(n.dtype).eps), rounding)


# --------------------------------------------------------------------------------------------
# Normalisation, reductions, rows


@_check
def _normalization(n: Numbers) -> None:
    x, dy, weight, bias = n.matrix(), n.matrix(), n.numbers(COLUMNS), n.numbers(COLUMNS)
    out, dx, dweight, dbias = n.empty(ROWS, COLUMNS), n.empty(ROWS, COLUMNS), n.empty(COLUMNS), n.empty(COLUMNS)
    operands = [a.astype(np.float64) for a in (x, weight, bias)]
    none = {"none": lambda z: z}
    for axis, name in ((0, "batch_norm"), (1, "layer_norm")):
        for activation, f in {**none, "gelu": _FUSED["gelu"]}.items():

            def run(x: Array, weight: Array, bias: Array, axis: int = axis, f: Any = f) -> Array:
                spread = np.sqrt(x.var(axis, keepdims=True) + 1e-5)
                return np.asarray(f((x - x.mean(axis, keepdims=True)) / spread * weight + bias))

            if axis == 0:
                saved = n.empty(5, COLUMNS)
                kernels.batch_norm_forward(out, saved, x, weight, bias, activation=activation)
                kernels.batch_norm_backward(dx, dweight, dbias, dy, x, saved, activation=activation)
            else:
                saved = n.empty(ROWS, 3)
                kernels.layer_norm_forward(out, saved, x, weight, bias, activation=activation)
                kernels.layer_norm_backward(dx, dweight, dbias, dy, x, weight, bias, saved, activation=activation)
            n.compare(f"{name} and {activation}", out, run(operands[0], operands[1], operands[2]), 128)
            for i, (what, gradient) in enumerate((("input", dx), ("weight", dweight), ("bias", dbias))):

                def moved(a: Array, i: int = i, run: Any = run) -> Array:
                    return np.asarray(run(*[a if j == i else b for j, b in enumerate(operands)]))

                n.compare_gradient(f"{name} and {activation} backward, {what}", moved, operands[i], gradient, dy)


@_check
def _reductions(n: Numbers) -> None:
    x, dy, out, dx, one = n.matrix(), n.matrix(), n.empty(ROWS, COLUMNS), n.empty(ROWS, COLUMNS), n.empty(1)
    wide = x.astype(np.float64)
    for logarithm, f in ((False, special.softmax), (True, special.log_softmax)):
        kernels.softmax_forward(out, x, logarithm)
        n.compare(f.__name__, out, f(wide, 1), 32)
        kernels.softmax_backward(dx, dy, out, logarithm)
        n.compare_gradient(f"{f.__name__} backward", lambda x, f=f: f(x, 1), x, dx, dy)
    kernels.total(one, x, 0.5)
    n.compare("total", one[0], 0.5 * wide.sum(), 4, np.abs(wide).sum())
    sums, factor = np.full(blocks_of(x.size), np.nan), np.full(1, np.nan)
    for p in (1.0, 2.0, np.inf):
        norm = np.linalg.norm(wide.ravel(), p)
        kernels.block_norms(sums, x, p)
        kernels.clip_factor(factor, one, sums, p, 0.5)
        n.compare(f"norm {p:g}", one[0], norm, 8)
        n.compare(f"clip_factor {p:g}", factor[0], 0.5 / (norm + 1e-6), 16)
        n.compare(f"power_sum {p:g}", kernels.power_sum(x, p), norm**2 if p == 2 else norm, 8)
    kernels.scale(x, 1.7)
    n.compare("scale", x, 1.7 * wide)


@_check
def _rows(n: Numbers) -> None:
    indices = n.rng.integers(0, ROWS, 31)
    for source in (np.uint8, np.float32, np.float64):
        data, out = np.abs(n.matrix() * 20).astype(source), n.empty(31, COLUMNS)
        kernels.take_rows(out, data, indices)
        n.compare("take_rows", out, data[indices], 1)
        # It has no float64.
        if source is not np.float64 and n.dtype == np.float32:
            kernels.gather(out, data, indices, 0.5, 0.25)
            n.compare("gather", out, data[indices] * 0.5 + 0.25, 2)
    sparse = np.where(n.rng.random((ROWS, COLUMNS)) < 0.2, n.matrix(), 0)
    row, column = np.nonzero(sparse)
    starts, out = np.searchsorted(row, np.arange(ROWS + 1)), n.empty(31, COLUMNS)
    for place in (np.int32, np.int64):
        kernels.dense_rows(out, sparse[row, column], column.astype(place), starts.astype(place), indices)
        n.compare("dense_rows", out, sparse[indices], 0)
    weight, dy, out, dweight = n.matrix(), n.numbers(31, COLUMNS), n.empty(31, COLUMNS), n.empty(ROWS, COLUMNS)
    kernels.embedding_forward(out, weight, indices)
    n.compare("embedding", out, weight[indices], 0)
    kernels.embedding_backward(dweight, dy, indices)
    expected = np.zeros((ROWS, COLUMNS))
    np.add.at(expected, indices, dy.astype(np.float64))
    n.compare("embedding backward", dweight, expected, 64)


@_check
def _categorical(n: Numbers) -> None:
    from fastnn.kernels.rows import categorical

    x, dy, out, dx = n.matrix(0.1, 2), n.matrix(), n.empty(ROWS, COLUMNS), n.empty(ROWS, COLUMNS)
    categorical.normalize_forward(out, x)
    n.compare("normalize", out, x / x.sum(1, keepdims=True, dtype=np.float64), COLUMNS)
    categorical.normalize_backward(dx, dy, x)
    n.compare_gradient("normalize backward", lambda x: x / x.sum(1, keepdims=True), x, dx, dy)
    index, of_rows, slope = n.rng.integers(0, COLUMNS, ROWS), n.empty(ROWS), n.numbers(ROWS)
    rows, p = np.arange(ROWS), out.astype(np.float64)
    for logarithms in (False, True):
        given = np.log(out) if logarithms else out
        wide = given.astype(np.float64)
        kind = "logarithms" if logarithms else "probabilities"
        categorical.categorical_log_prob_forward(of_rows, given, index, logarithms)
        n.compare(f"log_prob of {kind}", of_rows, np.log(p[rows, index]), 32)
        categorical.categorical_log_prob_backward(dx, slope, given, index, logarithms)
        expected = np.zeros((ROWS, COLUMNS))
        expected[rows, index] = slope if logarithms else slope / p[rows, index]
        n.compare(f"log_prob of {kind}, backward", dx, expected, 32)
        categorical.categorical_entropy_forward(of_rows, given, logarithms)
        n.compare(f"entropy of {kind}", of_rows, -(p * np.log(p)).sum(1), 4 * COLUMNS)
        categorical.categorical_entropy_backward(dx, slope, of_rows, given, logarithms)

        def entropy(x: Array, logarithms: bool = logarithms) -> Array:
            # The probabilities of logarithms are their softmax.
            return np.asarray(-(special.softmax(x, 1) * x).sum(1) if logarithms else -(x * np.log(x)).sum(1))

        n.compare_gradient(f"entropy of {kind}, backward", entropy, wide, dx, slope, 1.0 if logarithms else wide)
    drawn, points = np.zeros((ROWS, 5), np.int64), n.rng.random((ROWS, 5))
    categorical.categorical_draw(drawn, x, points)
    ends = np.cumsum(x, 1, dtype=np.float64)
    n.compare("draw", drawn, (ends[:, None, :] <= (points * ends[:, -1:])[:, :, None]).sum(2), 0, np.ones(drawn.shape))


@_check
def _recorded_numpy(n: Numbers) -> None:
    x, y, out, column = n.matrix(), n.matrix(), n.empty(ROWS, COLUMNS), n.empty(COLUMNS)
    if numpy_loops.record_loop(np.add, (x, y), out):
        n.compare("add", out, x + y, 0)
    if numpy_loops.record_total(x, (0,), np.zeros((), n.dtype), column):
        n.compare("sum", column, x.sum(0), 0)
    if numpy_loops.record_where(x > 0, x, y, out):
        n.compare("where", out, np.where(x > 0, x, y), 0)


# --------------------------------------------------------------------------------------------
# Optimizers

_LR, _BETAS, _EPS, _ADAM_STEP = 0.02, (0.9, 0.99), 1e-3, 7


def _moments(g: Array, m: Array, v: Array) -> tuple[Array, Array, Array, Array]:
    """The next moments, and these without their bias."""
    m, v = _BETAS[0] * m + (1 - _BETAS[0]) * g, _BETAS[1] * v + (1 - _BETAS[1]) * g * g
    return m, v, m / (1 - _BETAS[0] ** _ADAM_STEP), v / (1 - _BETAS[1] ** _ADAM_STEP)


def _adam(p: Array, g: Array, m: Array, v: Array, *largest: Array) -> tuple[Array, ...]:
    m, v, mean, square = _moments(g, m, v)
    if largest:
        largest = (np.maximum(largest[0], v),)
        square = largest[0] / (1 - _BETAS[1] ** _ADAM_STEP)
    return p - _LR * mean / (np.sqrt(square) + _EPS), m, v, *largest


def _adamax(p: Array, g: Array, m: Array, u: Array) -> tuple[Array, ...]:
    m, u = _BETAS[0] * m + (1 - _BETAS[0]) * g, np.maximum(_BETAS[1] * u, np.abs(g) + _EPS)
    return p - _LR / (1 - _BETAS[0] ** _ADAM_STEP) * m / u, m, u


def _nadam(p: Array, g: Array, m: Array, v: Array) -> tuple[Array, ...]:
    m, v, _, square = _moments(g, m, v)
    mu, later = (_BETAS[0] * (1 - 0.5 * 0.96 ** (t * 0.004)) for t in (_ADAM_STEP, _ADAM_STEP + 1))
    ahead = (1 - mu) / (1 - 0.5) * g + later / (1 - 0.5 * later) * m
    return p - _LR * ahead / (np.sqrt(square) + _EPS), m, v


def _radam(p: Array, g: Array, m: Array, v: Array) -> tuple[Array, ...]:
    m, v, mean, _ = _moments(g, m, v)
    power, longest = _BETAS[1] ** _ADAM_STEP, 2 / (1 - _BETAS[1]) - 1
    rho = longest - 2 * _ADAM_STEP * power / (1 - power)
    factor = np.sqrt((rho - 4) * (rho - 2) * longest / ((longest - 4) * (longest - 2) * rho) * (1 - power))
    return p - _LR * mean * (factor / (np.sqrt(v) + _EPS) if rho > 5 else 1.0), m, v


def _adagrad(p: Array, g: Array, s: Array) -> tuple[Array, ...]:
    s = s + g * g
    return p - _LR * g / (np.sqrt(s) + _EPS), s


def _adadelta(p: Array, g: Array, s: Array, d: Array) -> tuple[Array, ...]:
    s = 0.9 * s + 0.1 * g * g
    delta = np.sqrt(d + _EPS) / np.sqrt(s + _EPS) * g
    return p - _LR * delta, s, 0.9 * d + 0.1 * delta**2


def _rmsprop(p: Array, g: Array, s: Array, b: Array, a: Array) -> tuple[Array, ...]:
    s, a = 0.9 * s + 0.1 * g * g, a + 0.1 * (g - a)
    b = 0.8 * b + g / (np.sqrt(s - a * a) + _EPS)
    return p - _LR * b, s, b, a


def _rprop(p: Array, g: Array, before: Array, size: Array) -> tuple[Array, ...]:
    size = np.clip(np.where(g * before > 0, 1.2, 0.5) * size, 1e-6, 50.0)
    g = np.where(g * before < 0, 0, g)
    return p - np.sign(g) * size, g, size


def _asgd(p: Array, g: Array, average: Array) -> tuple[Array, ...]:
    p = p * (1 - 1e-4 * 0.1) - 0.1 * g
    return p, average + 0.5 * (p - average)


_STEPPED = {"lr": _LR, "step": _ADAM_STEP}
_ADAM_OPTIONS = {**_STEPPED, "betas": _BETAS, "eps": _EPS}
# The rule, its reference, the number of arrays of state, and options.
_RULES: dict[str, tuple[str, Callable[..., tuple[Array, ...]], int, dict[str, Any]]] = {
    "sgd": ("sgd", lambda p, g: (p - _LR * g,), 0, {"lr": _LR}),
    "sgd_momentum": (
        "sgd_momentum", lambda p, g, v: (p - _LR * (0.8 * v + g), 0.8 * v + g), 1, {**_STEPPED, "momentum": 0.8}
    ),
    "adam": ("adam", _adam, 2, _ADAM_OPTIONS), "amsgrad": ("adam", _adam, 3, _ADAM_OPTIONS),
    "adamax": ("adamax", _adamax, 2, _ADAM_OPTIONS),
    "nadam": ("nadam", _nadam, 2, {**_ADAM_OPTIONS, "mu_product": 0.5}),
    "radam": ("radam", _radam, 2, _ADAM_OPTIONS),
    "adagrad": ("adagrad", _adagrad, 1, {**_STEPPED, "eps": _EPS}),
    "adadelta": ("adadelta", _adadelta, 2, {"lr": _LR, "eps": _EPS}),
    "rmsprop": ("rmsprop", _rmsprop, 3, {"lr": _LR, "alpha": 0.9, "eps": _EPS, "momentum": 0.8}),
    "rprop": ("rprop", _rprop, 2, {}),
    "asgd": ("asgd", _asgd, 1, {"eta": 0.1, "mu": 0.5}),
}  # fmt: skip


@_check
def _optimizers(n: Numbers) -> None:
    assert {rule for rule, *_ in _RULES.values()} == {*kernels.RULES, "sgd_momentum"}
    for name, (rule, reference, states, options) in _RULES.items():
        size = 10_007
        p, g = n.numbers(size), n.numbers(size)
        # Positive: most are mean squares. That of a mean must be larger than the square of the mean.
        state = [n.numbers(size, low=0.5, high=1.0) for _ in range(states)]
        if rule == "rmsprop":
            state[0] += 4
        expected = reference(*[a.astype(np.float64) for a in (p, g, *state)])
        getattr(kernels, rule)(p, g, *state, **options)
        for found, right in zip((p, *state), expected, strict=True):
            n.compare(name, found, right, 64)

