"""fastnn.classic's functions against the textbook's formulas in float64 NumPy."""

import numpy as np
import pytest
import textbook
from helpers import assert_close, assert_same_bits, assert_same_bits_in_any_parts, no_launch

from fastnn import classic

DTYPES = [np.float32, np.float64]
ELEMENTWISE = ["sigmoid", "tanh", "relu", "leaky_relu"]
DERIVATIVES = [f"{name}_derivative" for name in ELEMENTWISE]
ALL = [*ELEMENTWISE, *DERIVATIVES, "softmax"]
SHAPES = [(), (0,), (1,), (7,), (3, 5), (1, 4), (0, 3), (3, 0), (2, 3, 4)]


def numbers(dtype, shape=(1003,)):
    """Random numbers of every magnitude, and the extremes."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape) * 10.0 ** rng.integers(-6, 5, shape)
    edges = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e4, -1e4, 1e30, -1e30, 700, -700, 20, -20, 88, -88]
    if x.size > len(edges):
        x.reshape(-1)[: len(edges)] = edges
    return x.astype(dtype)


def allowed(name, x, dtype):
    """If the formula itself loses digits, this many roundings of 1 are the best possible error."""
    return 4 * np.finfo(dtype).eps if name in ("sigmoid_derivative", "tanh_derivative") else np.finfo(dtype).tiny * 4


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [*ELEMENTWISE, *DERIVATIVES])
def test_elementwise(name, dtype):
    x = numbers(dtype)
    found, expected = getattr(classic, name)(x), getattr(textbook, name)(x)
    assert_close(found, expected, dtype, roundings=5, floor=allowed(name, x, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["sigmoid_derivative", "tanh_derivative"])
def test_derivatives_keep_their_digits_in_the_tails(name, dtype):
    x = np.linspace(-30, 30, 1001).astype(dtype)
    e = np.exp(-np.abs(x.astype(np.float64)) * (2 if name.startswith("tanh") else 1))
    expected = e / (1 + e) ** 2 * (4 if name.startswith("tanh") else 1)
    assert_close(getattr(classic, name)(x), expected, dtype, roundings=6)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_derivatives_against_finite_differences(name):
    x = np.linspace(-3, 3, 50)
    f, h = getattr(classic, name), 1e-6
    difference = (f(x + h) - f(x - h)) / (2 * h)
    np.testing.assert_allclose(getattr(classic, f"{name}_derivative")(x), difference, atol=2e-9)


@pytest.mark.parametrize("alpha", [0.0, 0.2, 1.0, -0.5])
def test_slope_of_leaky_relu(alpha):
    x = np.linspace(-3, 3, 51)
    assert_close(classic.leaky_relu(x, alpha), textbook.leaky_relu(x, alpha), np.float64)
    assert_close(classic.leaky_relu_derivative(x, alpha=alpha), textbook.leaky_relu_derivative(x, alpha), np.float64)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(7,), (1, 9), (33, 10), (4, 5, 6), (3, 20_000)])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_softmax(dtype, shape, scale):
    x = (np.random.default_rng(1).standard_normal(shape) * scale).astype(dtype)
    found = classic.softmax(x)
    assert_close(found, textbook.softmax(x), dtype, roundings=12, floor=4 * np.finfo(dtype).tiny)
    np.testing.assert_allclose(found.sum(-1), 1, rtol=20 * np.finfo(dtype).eps)


@pytest.mark.parametrize("columns", [5, 20_000])
def test_softmax_of_what_is_not_finite(columns):
    x = np.zeros((6, columns))
    x[0, 1], x[1, 2], x[2, :] = np.nan, np.inf, -np.inf
    x[3, : columns // 2] = -np.inf
    x[4, 0] = 1e308
    assert_close(classic.softmax(x), textbook.softmax(x), np.float64, roundings=8)


@pytest.mark.parametrize("shape", [(4,), (3, 5), (0, 2)])
def test_softmax_derivative(shape):
    x = np.random.default_rng(2).standard_normal(shape)
    found = classic.softmax_derivative(x)
    assert_close(found, textbook.softmax_derivative(x), np.float64, floor=1e-16)
    out = np.empty_like(found)
    assert classic.softmax_derivative(x, out=out) is out
    assert_same_bits(out, found)
    for i in range(shape[-1] if x.size else 0):
        step = np.zeros(shape)
        step[..., i] = 1e-6
        difference = (classic.softmax(x + step) - classic.softmax(x - step)) / 2e-6
        np.testing.assert_allclose(found[..., i], difference, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_softmax_derivative_of_a_single_number(dtype):
    """The same as for a row of one number, but a scalar, as the other functions return it."""
    for x in (dtype(3), np.array(-2, dtype)):
        found = classic.softmax_derivative(x)
        assert type(found) is dtype
        assert found == 0
    assert type(classic.softmax_derivative(3)) is np.float64
    assert np.isnan(classic.softmax_derivative(dtype(np.nan)))
    out = np.ones((), dtype)
    assert classic.softmax_derivative(dtype(1), out=out) is out
    assert out == 0
    with pytest.raises(ValueError, match="out must have shape"):
        classic.softmax_derivative(dtype(1), out=np.ones((1, 1), dtype))


# -- Shapes, dtypes, out ---------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(name, shape, dtype):
    x = np.linspace(-2, 2, int(np.prod(shape))).reshape(shape).astype(dtype)
    found = getattr(classic, name)(x)
    assert isinstance(found, np.ndarray if shape else dtype)
    expected = getattr(textbook, name)(x)
    assert_close(np.asarray(found), expected, dtype, roundings=5, floor=allowed(name, x, dtype))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("layout", ["F", "strided", "reversed", "read-only", "swapped", "misaligned"])
def test_layouts(name, layout):
    x = np.linspace(-2, 2, 24).reshape(4, 6)
    raw = np.zeros(x.nbytes + 1, np.uint8)
    other = {
        "F": np.asfortranarray(x), "strided": np.repeat(x, 2, 1)[:, ::2],
        "reversed": x[::-1, ::-1].copy()[::-1, ::-1], "read-only": x.copy(),
        "swapped": x.astype(x.dtype.newbyteorder()), "misaligned": raw[1:].view(x.dtype).reshape(4, 6),
    }[layout]  # fmt: skip
    if layout == "misaligned":
        other[...] = x
    other.flags.writeable = layout != "read-only"
    np.testing.assert_array_equal(getattr(classic, name)(other), getattr(classic, name)(x))


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, np.uint8, np.bool_, np.float16])
@pytest.mark.parametrize("name", ["sigmoid", "tanh", "leaky_relu", "softmax", *DERIVATIVES])
def test_other_dtypes_become_what_numpys_exp_makes_of_them(name, dtype):
    x = np.array([0, 1, 1, 0, 1], dtype)
    found = getattr(classic, name)(x)
    kind = np.exp(x).dtype
    assert_close(found, getattr(textbook, name)(x), kind, roundings=2, floor=np.finfo(kind).eps)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.bool_])
def test_relu_of_integers_is_integers(dtype):
    x = np.array([0, 1, 100], np.int64).astype(dtype)
    found = classic.relu(x)
    expected = np.maximum(0, x)
    assert (found.dtype, found.tolist()) == (expected.dtype, expected.tolist())
    assert classic.relu([-3, 4]).tolist() == [0, 4]
    out = np.empty(3)
    assert classic.relu(x, out=out) is out


@pytest.mark.parametrize("name", ALL)
def test_python_numbers_and_lists(name):
    f = getattr(classic, name)
    assert isinstance(f(0.5), np.float64)
    assert f([0.5, -1.0]).tolist() == f(np.array([0.5, -1.0])).tolist()


@pytest.mark.parametrize("name", ALL)
def test_out(name):
    f, x = getattr(classic, name), np.linspace(-2, 2, 12).reshape(3, 4)
    expected = f(x)
    out = np.empty_like(x)
    assert f(x, out=out) is out
    assert_same_bits(out, expected)
    single = np.empty(x.shape, np.float32)
    assert f(x, out=single) is single
    np.testing.assert_array_equal(single, expected.astype(np.float32))
    strided = np.zeros((3, 8))
    f(x, out=strided[:, ::2])
    np.testing.assert_array_equal(strided[:, ::2], expected)
    np.testing.assert_array_equal(strided[:, 1::2], 0)
    in_place = x.copy()
    assert f(in_place, out=in_place) is in_place
    assert_same_bits(in_place, expected)
    shared = np.zeros(13)
    shared[:12] = x.reshape(-1)
    f(shared[:12].reshape(3, 4), out=shared[1:].reshape(3, 4))
    assert_same_bits(shared[1:].reshape(3, 4), expected)
    point = np.empty(())
    assert f(np.float64(0.25), out=point) is point


@pytest.mark.parametrize("name", ALL)
def test_what_is_refused(name):
    f, x = getattr(classic, name), np.ones(3)
    frozen = np.empty(3)
    frozen.flags.writeable = False
    for exception, arguments in [
        (TypeError, (np.ones(3, complex),)),
        (TypeError, ("word",)),
        (TypeError, (None,)),
        (TypeError, (np.array([1, None]),)),
        (TypeError, (np.ones(3, np.longdouble),)) if np.longdouble(1).nbytes > 8 else (TypeError, ("",)),
    ]:
        with no_launch(), pytest.raises(exception):
            f(*arguments)
    for exception, out in [
        (ValueError, np.empty(4)), (ValueError, frozen), (TypeError, [0, 0, 0]), (TypeError, np.empty(3, np.int64)),
    ]:  # fmt: skip
        with no_launch(), pytest.raises(exception, match="out must"):
            f(x, out=out)
    with pytest.raises(TypeError, match="alpha must be a number"):
        classic.leaky_relu(x, alpha="steep")


def test_same_bits_in_any_parts():
    x = np.random.default_rng(3).standard_normal((3, 20_011))
    for name in ALL:
        assert_same_bits_in_any_parts(lambda name=name: [getattr(classic, name)(x)])
    y, p = (x > 0).astype(float), classic.sigmoid(x)
    assert_same_bits_in_any_parts(lambda: [np.array(classic.binary_cross_entropy(y, p))])


# -- Losses ----------------------------------------------------------------------------------


LOSSES = ["mse", "binary_cross_entropy", "categorical_cross_entropy"]


def names_of(loss):
    return ("mse_loss", "mse_gradient") if loss == "mse" else (loss, f"{loss}_gradient")


def pairs(loss, shape, dtype):
    """Targets and predictions, including the extremes."""
    rng = np.random.default_rng(4)
    y, p = rng.random(shape), rng.random(shape)
    if loss == "mse":
        y, p = y * 20 - 10, p * 20 - 10
    else:
        y = (y > 0.5).astype(float)
        p = np.where(rng.random(shape) < 0.2, rng.integers(0, 2, shape), p)
    return y.astype(dtype), p.astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (33, 10), (0, 3), (5000, 3), (2, 3, 4)])
@pytest.mark.parametrize("loss", LOSSES)
def test_losses_and_gradients(loss, shape, dtype):
    y, p = pairs(loss, shape, dtype)
    value, gradient = (getattr(classic, name) for name in names_of(loss))
    expected, expected_gradient = (getattr(textbook, name) for name in names_of(loss))
    if len(shape) == 3 and loss == "categorical_cross_entropy":
        right = -(y * np.log(textbook.clipped(p))).sum(1).mean()
        assert_close(np.asarray(value(y, p)), right, dtype, roundings=8)
        return
    assert isinstance(value(y, p), dtype)
    assert_close(np.asarray(value(y, p)), np.asarray(expected(y, p)), dtype, roundings=40)
    assert_close(gradient(y, p), expected_gradient(y, p), dtype, roundings=6)


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_against_finite_differences(loss):
    rng = np.random.default_rng(5)
    y, p, d = rng.random((6, 1)), rng.uniform(0.2, 0.8, (6, 1)), rng.standard_normal((6, 1))
    value, gradient = (getattr(classic, name) for name in names_of(loss))
    difference = (value(y, p + 1e-6 * d) - value(y, p - 1e-6 * d)) / 2e-6
    np.testing.assert_allclose((gradient(y, p) * d).sum(), difference, rtol=1e-7)


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_of_nan_and_of_mixed_dtypes(loss):
    value, gradient = (getattr(classic, name) for name in names_of(loss))
    y, p = np.array([[1, 0], [0, 1]]), np.array([[0.5, 0.5], [np.nan, 0.5]], np.float32)
    assert np.isnan(value(y, p))
    assert np.isnan(gradient(y, p)).tolist() == [[False, False], [True, False]]
    assert value(y, p[:1].repeat(2, 0)).dtype == np.float64
    assert value(y.astype(np.float16), p).dtype == np.float32


def test_one_dimension_and_single_numbers():
    y, p = [1, 0, 1], [0.5, 0.25, 1.0]
    assert_close(np.asarray(classic.mse_loss(y, p)), textbook.mse_loss(y, p), np.float64)
    assert_close(classic.mse_gradient(y, p), textbook.mse_gradient(y, p), np.float64)
    assert_close(
        np.asarray(classic.binary_cross_entropy(y, p)), textbook.binary_cross_entropy(y, p), np.float64, roundings=8
    )
    assert classic.mse_loss(1.0, 3.0) == 4.0
    with pytest.raises(ValueError, match="y_true must have at least one axis"):
        classic.mse_gradient(1.0, 3.0)
    assert np.isnan(classic.mse_loss([], []))


def test_integer_labels_stand_for_one_hot_rows():
    labels, p = np.array([2, 0, 1, 2]), classic.softmax(np.random.default_rng(6).standard_normal((4, 3)))
    one_hot = np.eye(3)[labels]
    for given in (labels, labels.astype(np.uint8), labels.tolist()):
        found = classic.categorical_cross_entropy(given, p)
        assert_close(np.asarray(found), textbook.categorical_cross_entropy(one_hot, p), np.float64)
        gradient = classic.categorical_cross_entropy_gradient(given, p)
        assert_close(gradient, textbook.categorical_cross_entropy_gradient(one_hot, p), np.float64)
    for wrong in ([0, 1, 2, 3], [0, 1, 2, -1]):
        with no_launch(), pytest.raises(IndexError, match=r"expected labels in \[0, 3\)"):
            classic.categorical_cross_entropy(wrong, p)
    with pytest.raises(ValueError, match="4 labels"):
        classic.categorical_cross_entropy([0, 1], p)


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_refuse_two_shapes(loss):
    for function in (getattr(classic, name) for name in names_of(loss)):
        with no_launch(), pytest.raises(ValueError, match="must have the same shape"):
            function(np.ones((3, 1)), np.ones((3, 2)))
        with no_launch(), pytest.raises(TypeError, match="must hold real numbers"):
            function(np.ones((3, 1), complex), np.ones((3, 1)))
    if loss == "categorical_cross_entropy":
        with pytest.raises(ValueError, match="one row for each sample"):
            classic.categorical_cross_entropy([1.0], [0.5])
    else:
        with pytest.raises(ValueError, match="must have the same shape"):
            getattr(classic, names_of(loss)[0])(np.ones(3), np.ones((3, 1)))


# -- Regularization and optimizers -----------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (5,), (100, 130)])
def test_l2(shape, dtype):
    w = np.random.default_rng(7).standard_normal(shape).astype(dtype)
    value = classic.l2_regularization(w, 0.01)
    assert isinstance(value, dtype)
    assert_close(np.asarray(value), np.asarray(0.01 * (w.astype(float) ** 2).sum()), dtype, roundings=8)
    assert_close(np.asarray(classic.l2_gradient(w, 0.01)), 0.02 * w.astype(float), dtype)
    assert np.isnan(classic.l2_regularization([1.0, np.nan], 0.5))


OPTIMIZERS = {
    "momentum": (lambda: classic.SGDMomentum(0.05, 0.8), lambda: textbook.Momentum(0.05, 0.8)),
    "adam": (lambda: classic.Adam(0.05, 0.8, 0.95, 1e-6), lambda: textbook.Adam(0.05, 0.8, 0.95, 1e-6)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 5), (70,)])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name, shape, dtype):
    ours, theirs = (make() for make in OPTIMIZERS[name])
    rng = np.random.default_rng(8)
    p = rng.standard_normal(shape).astype(dtype)
    q = p.astype(np.float64)
    for _ in range(20):
        g = (rng.standard_normal(shape) * 10).astype(dtype)
        before = np.array(p)
        updated = ours.update(p, g)
        np.testing.assert_array_equal(p, before, "changed in place")
        p, q = updated, theirs.update(q, g)
        assert_close(np.asarray(p), np.asarray(q), dtype, magnitude=np.abs(q) + 1, roundings=60)
    state = (ours.velocity, theirs.velocity) if name == "momentum" else (ours.v, theirs.v)
    assert_close(state[0], np.broadcast_to(state[1], shape), dtype, magnitude=np.abs(state[1]) + 1, roundings=60)


def test_sgd_update():
    p, g = np.array([1.0, 2.0, np.nan]), np.array([0.5, -0.5, 1.0])
    before = p.copy()
    assert_close(classic.sgd_update(p, g, 0.1), p - 0.1 * g, np.float64)
    assert_same_bits(p, before)
    assert classic.sgd_update(1.0, 0.5, 0.5) == 0.75
    assert classic.sgd_update(np.ones(2, int), np.ones(2, int), 0.5).tolist() == [0.5, 0.5]


def test_the_learning_rate_of_an_optimizer_may_change():
    ours, theirs = classic.SGDMomentum(0.1), textbook.Momentum(0.1, 0.9)
    p, g = np.ones(3), np.full(3, 2.0)
    for lr in (0.1, 1e-7, 0.3):
        ours.lr = theirs.lr = lr
        p, q = ours.update(p, g), theirs.update(p, g)
        assert_close(p, q, np.float64)
        assert_close(ours.velocity, theirs.velocity, np.float64)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_refuse_another_shape_and_stay_as_they_were(name):
    optimizer = OPTIMIZERS[name][0]()
    optimizer.update(np.ones(3), np.ones(3))
    before = {key: np.copy(value) for key, value in vars(optimizer).items()}
    for exception, message, p, g in [
        (ValueError, "must have the same shape", np.ones(3), np.ones((3, 1))),
        (ValueError, "shape of the first update", np.ones(4), np.ones(4)),
        (TypeError, "real numbers", np.ones(3, complex), np.ones(3)),
    ]:
        with no_launch(), pytest.raises(exception, match=message):
            optimizer.update(p, g)
    for key, value in vars(optimizer).items():
        np.testing.assert_array_equal(value, before[key])


@pytest.mark.parametrize(
    ("make", "exception"),
    [
        (lambda: classic.SGDMomentum(learning_rate="fast"), TypeError),
        (lambda: classic.SGDMomentum(learning_rate=-0.1), ValueError),
        (lambda: classic.SGDMomentum(learning_rate=float("nan")), ValueError),
        (lambda: classic.Adam(beta1=1.0), ValueError),
        (lambda: classic.Adam(beta2=-0.1), ValueError),
        (lambda: classic.Adam(epsilon=-1), ValueError),
        (lambda: classic.sgd_update(np.ones(2), np.ones(2), None), TypeError),
        (lambda: classic.sgd_update(np.ones(2), np.ones(2), True), TypeError),
        (lambda: classic.l2_regularization(np.ones(2), "strong"), TypeError),
    ],
)
def test_wrong_settings_are_refused(make, exception):
    with pytest.raises(exception, match="must be"):
        make()
