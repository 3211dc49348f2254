"""Tensors made from containers of numbers of Python, NumPy and pandas, and indices of those kinds.

Also run with PyTorch if it is installed. One-liners are in ``expressions``.
"""

from __future__ import annotations

from collections import deque, namedtuple

import numpy as np
import pytest

import fastnn


@pytest.fixture
def pandas():
    return pytest.importorskip("pandas", reason="pandas is not installed")


def test_a_series_keeps_its_dtype(lib, pandas):
    for values, kind in (([1.5, 2.5], lib.float64), ([1, 2], lib.int64), ([True, False], lib.bool)):
        series = pandas.Series(values)
        for made in (lib.tensor(series), lib.as_tensor(series), lib.asarray(series), lib.zeros(1).new_tensor(series)):
            assert made.tolist() == [float(v) for v in values] or made.tolist() == values
        assert lib.tensor(series).dtype == kind
        assert lib.Tensor(series).dtype == lib.float32
        assert lib.tensor(series, dtype=lib.float32).dtype == lib.float32
    assert lib.tensor(pandas.Series([1.0], dtype="float32")).dtype == lib.float32
    assert lib.LongTensor(pandas.Series([1.0, 2.0])).tolist() == [1, 2]
    assert lib.tensor([pandas.Series([1.0, 2.0])] * 2).dtype == lib.float64
    with pytest.raises(ValueError, match="str"):
        lib.tensor(pandas.Series(["a", "b"]))


def test_a_series_is_an_index(lib, pandas):
    x = lib.arange(4.0)
    assert x[pandas.Series([1, 0])].tolist() == [1.0, 0.0]
    assert x[pandas.Series([1.0, 2.0, 3.0, 4.0]) > 2].tolist() == [2.0, 3.0]
    assert x[pandas.Index([1, 0])].tolist() == [1.0, 0.0]
    assert lib.arange(8.0).reshape(2, 4)[:, pandas.Series([1, 0])].tolist() == [[1.0, 0.0], [5.0, 4.0]]
    x[pandas.Series([3, 2])] = 9.0
    x[pandas.Series([True, False, False, False])] = 7.0
    assert x.tolist() == [7.0, 1.0, 9.0, 9.0]


def test_a_series_with_numbers_of_its_own_goes_by_its_order(pandas):
    """PyTorch raises, as the series has no index 0."""
    series = pandas.Series([2, 1], index=[7, 8])
    assert fastnn.tensor(series).tolist() == [2, 1]
    assert fastnn.arange(4)[series].tolist() == [2, 1]


def test_many_numpy_scalars():
    numbers = list(np.linspace(0, 1, 1000))
    assert fastnn.tensor(numbers).dtype is fastnn.float64
    assert fastnn.tensor([[n] for n in numbers]).shape == (1000, 1)
    numbers[500] = 3
    assert fastnn.tensor(numbers).dtype is fastnn.float64


@pytest.mark.parametrize("key", [
    [[0, 0, 1], [0, 0, 1]], [[0, 1]], [slice(0, 1), 1], [None, 0], [..., 0], [[True, False], [True, False, True]],
    [np.array([0, 1]), [1, 0]], [range(2), range(2)], [(0, 1), 1],
])  # fmt: skip
def test_a_list_of_more_than_numbers_is_a_tuple_and_warns(lib, key):
    x = lib.arange(24.0).reshape(2, 3, 4)
    with pytest.warns(UserWarning, match="non-tuple sequence"):
        found = x[key]
    assert found.tolist() == x[tuple(key)].tolist()
    y = x.clone()
    with pytest.warns(UserWarning, match="non-tuple sequence"):
        x[key] = -1.0
    y[tuple(key)] = -1.0
    assert x.tolist() == y.tolist()


def test_tensors_in_a_list_are_an_index_a_dimension(lib):
    x = lib.arange(6.0).reshape(2, 3)
    x.requires_grad_()
    with pytest.warns(UserWarning, match="non-tuple sequence"):
        found = x[[lib.tensor([0, 0]), lib.tensor([2, 2])]]
    found.sum().backward()
    assert x.grad.tolist() == [[0.0, 0.0, 2.0], [0.0, 0.0, 0.0]]


def test_a_long_list_of_lists_is_an_index_of_rows(lib):
    x = lib.arange(4.0)
    assert tuple(x[[[0, 1]] * 32].shape) == (32, 2)
    x.requires_grad_()
    x[(0, 1, 1),].sum().backward()
    assert x.grad.tolist() == [1.0, 2.0, 0.0, 0.0]


def test_bytes_are_a_mask(lib):
    """In NumPy they are integer indices."""
    with pytest.warns(UserWarning, match="deprecated"):
        assert lib.arange(2)[np.array([0, 1], np.uint8)].tolist() == [1]


def test_a_bool_of_numpy_is_no_index():
    with pytest.raises(IndexError, match="bool"):
        fastnn.zeros(2)[np.bool_(True)]


def test_one_number_of_another_dtype_under_a_mask_has_a_gradient(lib):
    v = lib.tensor([5.0], dtype=lib.float64, requires_grad=True)
    x = lib.zeros(3)
    x[lib.tensor([True, False, True])] = v
    x.sum().backward()
    assert x.tolist() == [5.0, 0.0, 5.0]
    assert v.grad.dtype == lib.float64
    assert v.grad.tolist() == [2.0]
    w = lib.tensor([[5.0]], requires_grad=True)
    y = lib.zeros(3)
    y[1] = w
    y.sum().backward()
    assert w.grad.tolist() == [[1.0]]


@pytest.mark.parametrize(("key", "value"), [
    ([0, 1], 3), ([True, True, False], [3, 4]), ([[True, True, False], [True, False, False]], [3]),
])  # fmt: skip
def test_other_dtypes_are_refused_and_change_nothing(lib, key, value):
    x = lib.zeros(2, 3) if isinstance(key[0], list) else lib.zeros(3)
    index = (lib.tensor([0, 1]), lib.tensor([1, 2])) if isinstance(key[0], list) else lib.tensor(key)
    with pytest.raises(RuntimeError, match="dtypes match"):
        x[index] = lib.tensor(value)
    assert not x.any()


def test_numbers_that_do_not_fit_change_nothing(lib):
    x = lib.zeros(2, dtype=lib.uint8)
    mask = lib.tensor([True, False])
    for change in (lambda v: x.__setitem__(mask, v), lambda v: x.masked_fill_(mask, v)):
        with pytest.raises(RuntimeError, match="without overflow"):
            change(lib.tensor(300))
    assert x.tolist() == [0, 0]


def test_a_tensor_of_a_tensor_is_a_view_of_it(lib):
    x = lib.ones(2, requires_grad=True)
    y = x * 1
    z = lib.Tensor(y)
    z.mul_(3)
    y.sum().backward()
    assert y.tolist() == [3.0, 3.0]
    assert x.grad.tolist() == [3.0, 3.0]
    with pytest.raises(TypeError):
        lib.LongTensor(lib.ones(1))


@pytest.mark.parametrize("kind", ["Int64", "Float32", "boolean"])
def test_a_column_with_gaps_is_refused(lib, kind, pandas):
    full, gaps = [1, 0, 1], [1, None, 0]
    assert lib.tensor(pandas.Series(full, dtype=kind)).tolist() == full
    for make in (lib.tensor, lib.as_tensor, lambda data: lib.tensor(data, dtype=lib.float32), lib.Tensor):
        with pytest.raises((RuntimeError, TypeError), match="NAType"):
            make(pandas.Series(gaps, dtype=kind))


def test_other_sequences(lib, pandas):
    assert lib.tensor(bytearray(b"ab")).tolist() == [97, 98]
    assert lib.tensor(memoryview(b"ab")).dtype == lib.int64
    assert lib.tensor(pandas.Series([1, 2.5], dtype=object)).dtype == lib.float32
    if np.dtype(np.longdouble).itemsize > 8:
        for make in (lib.tensor, lib.Tensor, lambda a: lib.tensor(a, dtype=lib.float32)):
            with pytest.raises(TypeError, match="float64"):
                make(np.ones(2, np.longdouble))
    for options in ({"offset": 4}, {"count": 0}):
        with pytest.raises(ValueError, match="buffer length"):
            lib.frombuffer(bytearray(4), dtype=lib.int32, **options)
    with pytest.raises(ValueError, match="must not be 0"):
        lib.frombuffer(bytearray(), dtype=lib.int32)


def test_asarray_takes_the_memory_of_a_buffer(lib):
    buffer = bytearray(4)
    made, copied = lib.asarray(buffer, dtype=lib.uint8), lib.asarray(buffer, dtype=lib.uint8, copy=True)
    buffer[0] = 7
    assert made.tolist() == [7, 0, 0, 0]
    assert copied.tolist() == [0, 0, 0, 0]
    assert lib.asarray(buffer).dtype == lib.float32
    assert lib.as_tensor(buffer).tolist() == [7, 0, 0, 0]


def test_sequences_of_other_classes(lib):
    Pair = namedtuple("Pair", "x y")
    assert lib.tensor([Pair(1, 2), Pair(3, 4)]).tolist() == [[1, 2], [3, 4]]
    assert lib.tensor([Pair(np.float32(1), 2), (3, 4)]).dtype == lib.float32
    assert lib.tensor([Pair(lib.tensor(1), 2), [3, 4]]).tolist() == [[1, 2], [3, 4]]
    assert lib.tensor([deque([1.0, 2.0]), [3.0, 4.0]]).dtype == lib.float32
    assert lib.tensor([lib.ones(1, 2).shape]).tolist() == [[1, 2]]
