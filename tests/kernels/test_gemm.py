"""Matrix products against NumPy in float64: every size, layout and epilogue, errors and bits."""

import importlib
import inspect
import itertools

import naive
import numpy as np
import pytest
from helpers import (
    DTYPES,
    SIZES,
    Canary,
    assert_close,
    assert_refuses,
    assert_same_bits,
    assert_same_bits_in_any_parts,
    cut_in,
    guarded,
    no_launch,
    run_python,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from fastnn.kernels import activation_forward, gemm
from fastnn.kernels.activation.fused_activations import CODES
from fastnn.kernels.runtime import launcher
from fastnn.kernels.runtime.launcher import aligned

# The module; the function of the same name hides it.
gemm_module = importlib.import_module("fastnn.kernels.matmul.gemm")


def _every_other(a):
    """Columns 0, 2, 4 ... of a matrix of NaN, to detect reads between them."""
    wide = np.full((a.shape[0], 2 * a.shape[1]), np.nan, a.dtype)
    wide[:, ::2] = a
    return wide[:, ::2]


def _padded(a):
    """Rows contiguous, with NaN between them."""
    wide = np.full((a.shape[0], a.shape[1] + 5), np.nan, a.dtype)
    wide[:, : a.shape[1]] = a
    return wide[:, : a.shape[1]]


LAYOUTS = {
    "C": lambda a: a,
    "Fortran": np.asfortranarray,
    "padded rows": _padded,
    "padded columns": lambda a: _padded(np.ascontiguousarray(a.T)).T,
    "every other column": _every_other,
    "rows reversed": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "columns reversed": lambda a: np.ascontiguousarray(a[:, ::-1])[:, ::-1],
    # These two change the values: one row, one column everywhere.
    "one row": lambda a: np.broadcast_to(a[:1], a.shape),
    "one column": lambda a: np.broadcast_to(a[:, :1], a.shape),
}


def matrices(m, k, n, dtype, layout_a="C", layout_b="C", seed=0):
    rng = np.random.default_rng([seed, m, k, n])
    a = LAYOUTS[layout_a](rng.standard_normal((m, k)).astype(dtype))
    b = LAYOUTS[layout_b](rng.standard_normal((k, n)).astype(dtype))
    return a, b, rng.standard_normal(n).astype(dtype)


def assert_product(y, a, b, bias=None, before=None, activation="none", slope=0.01):
    """Every number of y is within K roundings of |a| @ |b|; no activation here amplifies an error."""
    expected, magnitude = naive.gemm(a, b, bias), naive.gemm_magnitude(a, b, bias)
    if before is not None:
        expected, magnitude = expected + before.astype(np.float64), magnitude + np.abs(before)
    expected = naive.activation(expected, activation, slope)
    assert_close(y, expected, y.dtype.type, roundings=a.shape[1] + 2, magnitude=magnitude)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    shape=st.tuples(*[st.sampled_from(SIZES)] * 3),
    layouts=st.tuples(*[st.sampled_from(sorted(LAYOUTS))] * 2),
    dtype=st.sampled_from(DTYPES),
    epilogue=st.sampled_from(["plain", "bias", "relu", "bias and relu", "bias and leaky_relu", "accumulate", "z"]),
    padding=st.sampled_from([0, 3]),
    parts=st.sampled_from([1, 2, 5]),
)
def test_product_of_any_size_and_layout(shape, layouts, dtype, epilogue, padding, parts):
    m, k, n = shape
    a, b, bias = matrices(m, k, n, dtype, *layouts)
    bias = bias if "bias" in epilogue else None
    activation = epilogue.split()[-1] if "relu" in epilogue else "none"
    out, z = Canary((m, n), dtype, padding), Canary((m, n), dtype, padding)
    y = out.array
    y[...] = np.nan
    before = None
    with cut_in(parts):
        if epilogue == "accumulate":
            before = np.random.default_rng(1).standard_normal((m, n)).astype(dtype)
            y[...] = before
            gemm(y, a, b, accumulate=True)
        else:
            gemm(y, a, b, bias, activation=activation, z=z.array if epilogue == "z" else None)
    out.check()
    z.check()
    assert_product(y, a, b, bias, before, activation)
    if epilogue == "z":
        assert_same_bits(z.array, y)


@pytest.mark.parametrize("dtype", DTYPES)
def test_small_integers_are_exact(dtype):
    rng = np.random.default_rng(0)
    for m, k, n in [(1, 1, 1), (13, 7, 33), (12, 64, 32), (25, 100, 67), (3, 1023, 129)]:
        a, b = (rng.integers(-8, 9, shape).astype(dtype) for shape in [(m, k), (k, n)])
        bias = rng.integers(-8, 9, n).astype(dtype)
        y = np.empty((m, n), dtype)
        gemm(y, a, np.asfortranarray(b), bias)
        np.testing.assert_array_equal(y, naive.gemm(a, b, bias))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", CODES)
@pytest.mark.parametrize("keep_z", [False, True])
def test_activation_is_that_of_the_activation_kernel(dtype, activation, keep_z):
    for m, n in [(1, 1), (13, 35), (5, 129)]:
        a, b, bias = matrices(m, 9, n, dtype)
        y, z, expected_z, expected = (np.full((m, n), np.nan, dtype) for _ in range(4))
        gemm(y, a, b, bias, activation=activation, slope=0.2, z=z if keep_z else None)
        gemm(expected_z, a, b, bias)
        activation_forward(expected, expected_z, activation, slope=0.2)
        assert_same_bits(y, expected)
        if keep_z:
            assert_same_bits(z, expected_z)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", CODES)
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("keep_z", [False, True])
def test_empty_sum_is_the_bias(dtype, activation, with_bias, keep_z):
    bias = np.array([-2, -0.5, 0, 0.5, 2], dtype) if with_bias else None
    start = np.broadcast_to(0 if bias is None else bias.astype(np.float64), (3, 5))
    y, z = np.full((3, 5), np.nan, dtype), np.full((3, 5), np.nan, dtype)
    gemm(y, np.empty((3, 0), dtype), np.empty((0, 5), dtype), bias, activation=activation, z=z if keep_z else None)
    assert_close(y, naive.activation(start, activation), dtype, roundings=4)
    if keep_z:
        np.testing.assert_array_equal(z, start)


@pytest.mark.parametrize("dtype", DTYPES)
def test_empty_sum_accumulates_nothing(dtype):
    y = np.full((2, 3), 7, dtype)
    gemm(y, np.empty((2, 0), dtype), np.empty((0, 3), dtype), accumulate=True)
    np.testing.assert_array_equal(y, 7)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["none", "relu", "leaky_relu"])
@pytest.mark.parametrize("keep_z", [False, True])
def test_nan_and_infinity_come_out(dtype, activation, keep_z):
    special = np.array([np.nan, np.inf, -np.inf, 0.0, 1.0, -1.0], dtype)
    a = np.array(list(itertools.product(special, repeat=2)), dtype)
    b = np.repeat(a.T, 2, 1)
    assert b.shape == (2, 72)
    for layout in (b, np.asfortranarray(b)):
        y, z = np.empty((36, 72), dtype), np.empty((36, 72), dtype)
        gemm(y, a, layout, activation=activation, z=z if keep_z else None)
        assert_close(y, naive.activation(naive.gemm(a, b), activation), dtype, magnitude=2.0)
    bias = special.repeat(12)
    gemm(y, np.ones((36, 2), dtype), np.ones((2, 72), dtype), bias, activation=activation)
    expected = np.broadcast_to(naive.activation(bias + 2.0, activation), y.shape)
    assert_close(y, expected, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_overflow_is_infinity(dtype):
    big = np.full((3, 3), np.finfo(dtype).max, dtype)
    y = np.empty((3, 3), dtype)
    gemm(y, big, big)
    np.testing.assert_array_equal(y, np.inf)
    gemm(y, big, -big, activation="relu")
    np.testing.assert_array_equal(y, 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("side", ["start", "end"])
@pytest.mark.parametrize(("m", "k", "n"), [(1, 1, 1), (13, 5, 33), (12, 17, 32), (7, 31, 67), (25, 2, 1)])
def test_nothing_outside_the_arrays_is_touched(dtype, side, m, k, n):
    a, b, bias = matrices(m, k, n, dtype)
    y, z = guarded(np.empty((m, n), dtype), side), guarded(np.empty((m, n), dtype), side)
    for left in (guarded(a, side), guarded(np.ascontiguousarray(a.T), side).T):
        for right in (guarded(b, side), guarded(np.ascontiguousarray(b.T), side).T, guarded(b[::-1], side)[::-1]):
            for parts in (1, 3):
                with cut_in(parts):
                    gemm(y, left, right, guarded(bias, side), activation="leaky_relu", z=z)
                assert_product(y, a, b, bias, activation="leaky_relu")
                with cut_in(parts):
                    gemm(y, left, right, guarded(bias, side), activation="relu")
                assert_product(y, a, b, bias, activation="relu")
                before = y.copy()
                with cut_in(parts):
                    gemm(y, left, right, accumulate=True)
                assert_product(y, a, b, before=before)


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_in_any_parts(dtype):
    for (m, k, n), layout in itertools.product([(129, 67, 100), (3, 257, 1023), (1023, 9, 17)], ["C", "Fortran"]):
        a, b, bias = matrices(m, k, n, dtype, layout, layout)

        def run(a=a, b=b, bias=bias, shape=(m, n)):
            y, z, accumulated = np.empty(shape, dtype), np.empty(shape, dtype), np.ones(shape, dtype)
            gemm(y, a, b, bias, activation="gelu", z=z)
            gemm(accumulated, a, b, accumulate=True)
            return y, z, accumulated

        assert_same_bits_in_any_parts(run)


# By dtype: numbers of rows of A that nearly fill its packed panels, with AVX-512 and with shorter vectors.
SWAPPED = [
    (dtype, m, k, n)
    for dtype, rows in ((np.float32, (16, 29, 32, 61, 64)), (np.float64, (8, 15, 16, 31, 47, 48, 64)))
    for m in rows for k, n in ((301, 200), (1030, 353), (200, 49), (129, 1000))
]  # fmt: skip


@pytest.mark.parametrize(("dtype", "m", "k", "n"), SWAPPED)
def test_few_rows_times_a_transposed_matrix(dtype, m, k, n):
    """The product of the transposes, which packs the smaller matrix, has the same bits as the direct product."""
    rng = np.random.default_rng([m, k, n])
    a, b = _padded(rng.standard_normal((m, k)).astype(dtype)), _padded(rng.standard_normal((n, k)).astype(dtype))
    expected = np.empty((m, n), dtype)
    gemm(expected, a, np.ascontiguousarray(b.T))
    assert_product(expected, a, b.T)
    for parts in (1, 2, 5):
        out = Canary((m, n), dtype, 3)
        out.array[...] = np.nan
        with cut_in(parts):
            gemm(out.array, a, b.T)
        out.check()
        assert_same_bits(out.array, expected)
    y, left, right = (guarded(np.ascontiguousarray(x), "end") for x in (expected, a, b))
    y[...] = np.nan
    gemm(y, left, right.T)
    assert_same_bits(y, expected)
    gemm(y, left, right.T, accumulate=True)
    assert_product(y, a, b.T, before=expected)
    bias, z, apart = (rng.standard_normal(shape).astype(dtype) for shape in (n, (m, n), (m, n)))
    for activation in ("relu", "tanh", "none"):
        for kept in (None, guarded(z, "start")):
            gemm(expected, a, np.ascontiguousarray(b.T), bias, activation=activation, z=None if kept is None else apart)
            for parts in (1, 3):
                with cut_in(parts):
                    gemm(y, left, right.T, guarded(bias, "end"), activation=activation, z=kept)
                assert_same_bits(y, expected)
                if kept is not None:
                    assert_same_bits(kept, apart)


def test_those_shapes_take_that_way():
    """At least on this CPU; and a row of infinities or NaN does not affect the others."""
    seen = []
    a, b = np.ones((64, 400), np.float32), np.ones((404, 400), np.float32)
    a[3], a[7] = np.inf, np.nan
    y = np.zeros((64, 404), np.float32)
    with launcher.recording(lambda kernel, parts, arrays, scalars: seen.append(scalars[9])):
        gemm(y, a, b.T)
    assert seen == [gemm_module._SWAP]
    expected = np.full((64, 404), np.float32(400))
    expected[3], expected[7] = np.inf, np.nan
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["none", "relu"])
def test_what_stays_in_no_cache_is_written_past_them(dtype, activation):
    """Rows of whole vectors, at least 6 MB of them, and the same product with other rows."""
    m, k, n = 1701, 5, 1024
    a, b, bias = matrices(m, k, n, dtype)
    y, other = aligned((m, n), np.dtype(dtype)), np.empty((m, n + 1), dtype)[:, :n]
    assert y.nbytes > gemm_module._STREAM_BYTES
    for parts in (1, 3):
        y[...] = np.nan
        with cut_in(parts):
            gemm(y, a, b, bias, activation=activation)
            gemm(other, a, b, bias, activation=activation)
        assert_same_bits(y, np.ascontiguousarray(other))
    assert_product(y, a, b, bias, activation=activation)


def print_products():
    import hashlib

    import numpy as np

    from fastnn.kernels import gemm

    rng = np.random.default_rng(0)
    a, b, bias = (rng.standard_normal(shape).astype("f4") for shape in [(50, 37), (37, 101), (101,)])
    y = np.empty((50, 101), "f4")
    gemm(y, a, b, bias, activation="relu")
    print(hashlib.sha256(y.tobytes()).hexdigest())
    gemm(y, a, np.asfortranarray(b), bias)
    print(hashlib.sha256(y.tobytes()).hexdigest())
    a, b = (rng.standard_normal(shape).astype("f4") for shape in [(32, 200), (301, 200)])
    y = np.empty((32, 301), "f4")
    gemm(y, a, b.T)
    print(hashlib.sha256(y.tobytes()).hexdigest())


def test_same_bits_in_tiles_of_another_size(capsys):
    print_products()
    code = f"{inspect.getsource(print_products)}\nprint_products()"
    assert run_python(code, FASTNN_GEMM_MR="3", FASTNN_GEMM_NV="1") == capsys.readouterr().out


def good_arguments(dtype):
    a, b, bias = matrices(5, 6, 7, dtype)
    return {"y": np.zeros((5, 7), dtype), "a": a, "b": b, "bias": bias, "z": np.zeros((5, 7), dtype)}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["y", "a", "b", "bias", "z"])
def test_wrong_arrays_are_refused(dtype, name):
    output = name in ("y", "z")
    layout = "rows" if output else "contiguous" if name == "bias" else "strided"
    assert_refuses(gemm, good_arguments(dtype), name, output=output, layout=layout)


@pytest.mark.parametrize(
    ("options", "exception", "message"),
    [
        ({"activation": "swish"}, ValueError, "activation must be one of none, relu.*found 'swish'"),
        ({"activation": None}, ValueError, "activation"),
        ({"activation": []}, TypeError, "unhashable"),
        ({"slope": "0.1"}, TypeError, "scalar argument of gemm.float32"),
        ({"slope": None}, TypeError, "scalar argument"),
        ({"accumulate": True}, ValueError, "accumulate must be False with bias, activation or z"),
    ],
)
def test_wrong_options_are_refused(options, exception, message):
    arguments = good_arguments(np.float32)
    with no_launch(), pytest.raises(exception, match=message):
        gemm(**arguments, **options)
    assert not arguments["y"].any()
    assert not arguments["z"].any()


def test_accumulate_goes_without_the_rest():
    good = good_arguments(np.float32)
    y, a, b = good["y"], good["a"], good["b"]
    for options in ({"bias": good["bias"]}, {"z": good["z"]}, {"activation": "relu"}):
        with no_launch(), pytest.raises(ValueError, match="accumulate must be False with bias, activation or z"):
            gemm(y, a, b, accumulate=True, **options)


def test_nothing_is_launched_for_an_empty_product():
    for m, n in [(0, 3), (3, 0), (0, 0)]:
        with no_launch():
            gemm(np.empty((m, n)), np.ones((m, 4)), np.ones((4, n)), np.ones(n), activation="gelu")
