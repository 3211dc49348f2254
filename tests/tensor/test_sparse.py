"""Sparse matrices of coordinates and values."""

from __future__ import annotations

import pytest

import fastnn

CHECKED = {"check_invariants": True}
AT, NUMBERS = [[0, 1, 1, 0], [2, 0, 2, 2]], [3.0, 4.0, 5.0, 1.0]
DENSE = [[0.0, 0.0, 4.0], [4.0, 0.0, 5.0]]


def test_numbers_at_coordinates(lib):
    made = lib.sparse_coo_tensor(AT, NUMBERS, (2, 3), **CHECKED)
    assert made.is_sparse
    assert made.to_dense().tolist() == DENSE
    assert lib.sparse_coo_tensor(AT, NUMBERS, **CHECKED).shape == (2, 3)
    assert made.t().to_dense().tolist() == lib.tensor(DENSE).t().tolist()
    assert made.transpose(0, 1).shape == (3, 2)
    once = made.coalesce()
    assert once.indices().tolist() == [[0, 1, 1], [2, 0, 2]]
    assert once.values().tolist() == [4, 4, 5]
    assert (made.dim(), made.size(1), made._values().dtype) == (2, 3, lib.float32)
    assert lib.sparse_coo_tensor(size=(2, 1), **CHECKED).to("cpu").to_dense().tolist() == [[0], [0]]
    assert made.to(lib.float64).to_dense().dtype == lib.float64
    assert lib.sparse_coo_tensor(AT, NUMBERS, dtype=lib.float64, **CHECKED).dtype == lib.float64


def test_products_and_their_gradients(lib):
    made = lib.sparse_coo_tensor(AT, NUMBERS, (2, 3), **CHECKED)
    x = lib.arange(12.0).reshape(3, 4).requires_grad_()
    expected = lib.tensor(DENSE) @ x
    weights = lib.tensor([[1.0, 2.0, 3.0, 4.0], [0.5, 0.0, 1.0, 2.0]])
    for product in (lib.sparse.mm(made, x), lib.dsmm(made, x), made @ x):
        assert product.tolist() == expected.tolist()
        x.grad = None
        (product * weights).sum().backward()
        assert x.grad.tolist() == (lib.tensor(DENSE).t() @ weights).tolist()


def test_what_does_not_fit(lib):
    for at, numbers, size in (
        ([[0, 3]], [1.0, 2.0], (2,)), ([[0]], [1.0, 2.0], (2,)), ([[-1]], [1.0], (2,)), ([[0], [0]], [1.0], (2,)),
    ):  # fmt: skip
        with pytest.raises(RuntimeError):
            lib.sparse_coo_tensor(at, numbers, size, **CHECKED)
    with pytest.raises(RuntimeError):
        lib.sparse.mm(lib.sparse_coo_tensor(AT, NUMBERS, (2, 3), **CHECKED), lib.ones(2, 2))


    for other in (lib.ones(3, 2, dtype=lib.float64), lib.ones(3, 2).long()):
        with pytest.raises((RuntimeError, TypeError)):
            lib.sparse.mm(lib.sparse_coo_tensor(AT, NUMBERS, (2, 3), **CHECKED), other)


def test_numbers_of_the_same_coordinates(lib):
    made = lib.sparse_coo_tensor(AT, NUMBERS, (2, 3), **CHECKED)
    assert not made.is_coalesced()
    for read in (made.indices, made.values):
        with pytest.raises(RuntimeError, match="uncoalesced"):
            read()
    once = made.coalesce()
    assert once.is_coalesced()
    assert (made._nnz(), once._nnz()) == (len(NUMBERS), 3)


def test_complex_values_are_refused():
    with pytest.raises(NotImplementedError, match="complex64"):
        fastnn.sparse_coo_tensor([[0]], fastnn.tensor([1j]))


def test_gradients_of_values_are_refused():
    with pytest.raises(NotImplementedError, match="gradients of the values"):
        fastnn.sparse_coo_tensor([[0]], fastnn.ones(1, requires_grad=True))
