"""The kernels of fastnn.classic: the bytes they touch, threads, and rejected arguments.

Their numbers are compared in programs/test_classic_functions.py and programs/test_classic_network.py.
"""

import numpy as np
import pytest
from helpers import (
    DTYPES,
    assert_refuses,
    assert_same_bits,
    assert_same_bits_in_any_parts,
    cut_in,
    guarded,
    no_launch,
)

from fastnn import kernels

ROWS, COLUMNS = 9, 5


def arrays(dtype):
    """Good arguments by kernel: outputs first, as in the signatures."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((ROWS, COLUMNS)).astype(dtype), rng.random((ROWS, COLUMNS)).astype(dtype)
    labels = np.arange(ROWS) % COLUMNS
    empty = np.zeros_like(x)
    return {
        "activation_derivative": {"out": empty, "x": x, "activation": "tanh"},
        "paired_loss": {"y": y, "p": y, "kind": "binary_cross_entropy"},
        "paired_loss_gradient": {"out": empty, "y": y, "p": y, "kind": "binary_cross_entropy"},
        "perceptron_predict": {"out": np.zeros(ROWS, np.int64), "x": x, "weights": np.ones(COLUMNS), "bias": 0.0},
        "perceptron_train": {
            "weights": np.ones(COLUMNS), "state": np.zeros(2), "x": x, "y": np.ones(ROWS), "learning_rate": 0.1,
        },
        "probabilities": {"out": empty, "x": x},
        "probabilities_and_error": {"out": empty, "error": empty.copy(), "losses": np.zeros(ROWS), "x": x, "y": y},
        "take_rows": {"out": np.zeros((4, COLUMNS), dtype), "data": x, "indices": labels[:4].copy()},
    }  # fmt: skip


OUTPUTS = {"out", "error", "losses", "weights", "state"}
CASES = [
    (kernel, name)
    for kernel, good in arrays(np.float64).items() for name, a in good.items() if isinstance(a, np.ndarray)
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kernel", "name"), CASES)
def test_wrong_arrays_are_refused(kernel, name, dtype):
    good = arrays(dtype)[kernel]
    free = {
        # For these another length or dtype is valid as well.
        ("take_rows", "indices"): ("a row more", "a row less"),
        ("take_rows", "data"): ("a row more", "a row less", "another dtype"),
        ("take_rows", "out"): ("another dtype",),
        ("perceptron_predict", "x"): ("another dtype",),
        ("perceptron_train", "x"): ("another dtype",),
    }.get((kernel, name), ())
    if kernel == "take_rows" and name in ("data", "out"):
        good = good | {"indices": np.zeros(4, np.int64)}
    is_output = name in OUTPUTS and (kernel, name) != ("perceptron_predict", "weights")
    assert_refuses(getattr(kernels, kernel), good, name, output=is_output, except_for=free)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", arrays(np.float64))
@pytest.mark.parametrize("side", ["start", "end"])
def test_nothing_outside_the_arrays_is_touched(kernel, side, dtype):
    call, good = getattr(kernels, kernel), arrays(dtype)[kernel]
    fenced = {name: guarded(a, side) if isinstance(a, np.ndarray) else a for name, a in good.items()}
    with cut_in(3):
        found, expected = call(**fenced), call(**good)
    assert found == expected
    for name, a in good.items():
        if isinstance(a, np.ndarray):
            assert_same_bits(fenced[name].copy(), a)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", [name for name in arrays(np.float64) if name != "perceptron_train"])
def test_same_bits_in_any_parts(kernel, dtype):
    def run():
        good = arrays(dtype)[kernel]
        if kernel.startswith("paired_loss"):
            y = np.random.default_rng(1).random(60_000).astype(dtype)
            good |= {name: y.copy() for name in ("out", "y", "p") if name in good}
        result = getattr(kernels, kernel)(**good)
        return [np.array(result)] if kernel == "paired_loss" else [good["out"]]

    assert_same_bits_in_any_parts(run, parallel=kernel != "take_rows")


def test_take_rows_converts_and_refuses_bad_indices():
    data = np.arange(12, dtype=np.uint8).reshape(4, 3)
    for source in (np.uint8, np.float32, np.float64):
        for kind in DTYPES:
            out = np.zeros((2, 3), kind)
            kernels.take_rows(out, data.astype(source), np.array([3, 0]))
            assert out.tolist() == [[9, 10, 11], [0, 1, 2]]
    for bad in ([4, 0], [0, -1]):
        with no_launch(), pytest.raises(IndexError, match="out of range for 4 rows"):
            kernels.take_rows(out, data, np.array(bad))
    kernels.take_rows(np.empty((0, 3)), data, np.empty(0, np.int64))


def test_labels_out_of_range_touch_nothing_else():
    x, losses = np.zeros((2, 3)), np.full(2, 7.0)
    out, error = np.empty_like(x), np.empty_like(x)
    kernels.probabilities_and_error(out, error, losses, x, np.array([5, -1]))
    np.testing.assert_allclose(error, 1 / 3)
    assert losses.tolist() == [7, 7]


def test_unknown_names_are_refused():
    a = np.ones(3)
    with no_launch(), pytest.raises(ValueError, match="activation must be one of relu, leaky_relu, sigmoid, tanh"):
        kernels.activation_derivative(a, a, "gelu")
    for call in (lambda: kernels.paired_loss(a, a, "hinge"), lambda: kernels.paired_loss_gradient(a, a, a, "hinge")):
        with no_launch(), pytest.raises(ValueError, match="kind must be one of squared_error"):
            call()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("columns", [8, 10, 17, 33])
@pytest.mark.parametrize("softmax", [kernels.probabilities, kernels.softmax_forward])
def test_same_bits_wherever_the_arrays_lie(softmax, columns, dtype):
    """In place, adjacent, and far apart in memory: a compiler may test for that at run time."""
    room = np.empty(1 << 15, np.uint8)
    room = room[-room.ctypes.data % 64 :]
    size = columns * np.dtype(dtype).itemsize
    for logits in np.random.default_rng(columns).standard_normal((20, 1, columns)).astype(dtype):
        found = set()
        for gap in (0, size, -(-size // 64) * 64, 256, 512, 8192):
            if 0 < gap < size:
                continue
            x, out = (room[at : at + size].view(dtype).reshape(1, columns) for at in (0, gap))
            x[...] = logits
            softmax(out, x)
            found.add(out.tobytes())
        assert len(found) == 1
