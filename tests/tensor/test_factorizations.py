"""LU, Cholesky and what solves with them: values and gradients on both libraries, and what PyTorch returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import HAS_TORCH

import fastnn


class Data:
    """Matrices in float64, of one library."""

    def __init__(self, lib: Any) -> None:
        draw = np.random.default_rng(0)
        self.lib = lib

        def made(*shape: int) -> Any:
            return lib.tensor(draw.standard_normal(shape), requires_grad=True)

        self.a, self.tall, self.wide, self.batch = made(3, 3), made(4, 2), made(2, 4), made(2, 3, 3)
        self.b, self.many = made(3, 2), made(2, 3, 2)
        self.positive = self.a @ self.a.mT + lib.eye(3, dtype=lib.float64)
        self.singular = lib.tensor([[1.0, 2.0], [2.0, 4.0]], dtype=lib.float64)
        self.cube, self.right = made(2, 3, 6), made(2, 3)
        self.leaves = [self.a, self.tall, self.wide, self.batch, self.b, self.many, self.cube, self.right]


# By name: a function of the data and the library.
CASES: dict[str, Callable[[Data, Any], Any]] = {
    "cholesky_ex": lambda d, lib: lib.linalg.cholesky_ex(d.positive),
    "cholesky_ex upper": lambda d, lib: lib.linalg.cholesky_ex(d.positive, upper=True)[0],
    "cholesky_ex info": lambda d, lib: lib.linalg.cholesky_ex(lib.stack([d.positive, -d.positive])).info,
    "cholesky_ex good": lambda d, lib: lib.linalg.cholesky_ex(lib.stack([d.positive, -d.positive])).L[0],
    "cholesky_ex minor": lambda d, lib: lib.linalg.cholesky_ex(d.singular - lib.tensor([[0.0, 0.0], [0.0, 1.0]])).info,
    "cholesky_solve": lambda d, lib: lib.cholesky_solve(d.b, lib.linalg.cholesky(d.positive)),
    "cholesky_solve upper": lambda d, lib: d.b.cholesky_solve(d.a.triu() + 2 * lib.eye(3), True),
    "cholesky_inverse": lambda d, lib: lib.cholesky_inverse(lib.linalg.cholesky(d.positive)),
    "lu": lambda d, lib: lib.linalg.lu(d.a),
    "lu tall": lambda d, lib: lib.linalg.lu(d.tall),
    "lu wide": lambda d, lib: lib.linalg.lu(d.wide),
    "lu batch": lambda d, lib: lib.linalg.lu(d.batch),
    "lu_factor": lambda d, lib: lib.linalg.lu_factor(d.batch),
    "lu_factor tall": lambda d, lib: lib.linalg.lu_factor_ex(d.tall),
    "lu_factor wide": lambda d, lib: lib.linalg.lu_factor_ex(d.wide),
    "lu_factor singular": lambda d, lib: lib.linalg.lu_factor_ex(d.singular),
    "lu_unpack": lambda d, lib: lib.lu_unpack(*lib.linalg.lu_factor(d.tall)),
    "lu_solve": lambda d, lib: lib.linalg.lu_solve(*lib.linalg.lu_factor(d.batch), d.many),
    "lu_solve right": lambda d, lib: lib.linalg.lu_solve(*lib.linalg.lu_factor(d.a), d.b.mT, left=False),
    "lu_solve adjoint": lambda d, lib: lib.linalg.lu_solve(*lib.linalg.lu_factor(d.a), d.b, adjoint=True),
    "torch.lu_solve": lambda d, lib: lib.lu_solve(d.b, *lib.linalg.lu_factor(d.a)),
    "solve_ex": lambda d, lib: lib.linalg.solve_ex(d.a, d.b),
    "solve_ex singular": lambda d, lib: lib.linalg.solve_ex(d.singular, d.singular).info,
    "inv_ex singular": lambda d, lib: lib.linalg.inv_ex(d.singular).info,
    "inv_ex": lambda d, lib: lib.linalg.inv_ex(d.batch),
    "triangular_solve": lambda d, lib: lib.triangular_solve(d.b, d.a, upper=False, transpose=True)[0],
    "matrix_exp": lambda d, lib: lib.matrix_exp(d.batch),
    "matrix_exp large": lambda d, lib: lib.linalg.matrix_exp(d.a * 4),
    "householder_product": lambda d, lib: lib.linalg.householder_product(d.tall, d.wide[0, :2]),
    "orgqr": lambda d, lib: d.batch.orgqr(d.right),
    "tensorsolve": lambda d, lib: lib.linalg.tensorsolve(d.cube, d.right),
    "tensorsolve dims": lambda d, lib: lib.linalg.tensorsolve(d.cube.movedim(2, 1), d.right, dims=(1,)),
    "tensorinv": lambda d, lib: lib.linalg.tensorinv(d.cube),
    "tensorinv of one": lambda d, lib: lib.linalg.tensorinv(d.cube.reshape(6, 3, 2), ind=1),
    "as_strided": lambda d, lib: lib.as_strided(d.a, (2, 3), (1, 2), 1),
    "as_strided of a copy": lambda d, lib: (d.a * 2).as_strided((2, 2, 2), (3, 1, 1)),
    "as_strided_scatter": lambda d, lib: lib.as_strided_scatter(d.a.detach(), d.b, (3, 2), (3, 1)),
    "unravel_index": lambda d, lib: lib.unravel_index(lib.tensor([[7, 11], [0, 5]]), (3, 2, 2)),
    "svd_lowrank": lambda d, lib: [t.abs() for t in lib.svd_lowrank(d.a, 2, 20)],
}  # fmt: skip


def run(lib: Any, name: str) -> list[Any]:
    """The results, and the gradients of their weighted sum."""
    d = Data(lib)
    found = CASES[name](d, lib)
    found = list(found) if isinstance(found, (tuple, list)) else [found]
    total = sum([(t * lib.arange(1, t.numel() + 1).reshape(t.shape)).sum() for t in found if t.requires_grad])
    if isinstance(total, lib.Tensor):
        total.backward()
    grads = [np.zeros(t.shape) if t.grad is None else t.grad.numpy() for t in d.leaves]
    return [*[(str(t.dtype).split(".")[-1], t.detach().numpy()) for t in found], *[("", g) for g in grads]]


@pytest.mark.torch
@pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_as_in_pytorch(name):
    import torch

    found, expected = run(fastnn, name), run(torch, name)
    assert len(found) == len(expected)
    for (kind, a), (other, b) in zip(found, expected, strict=True):
        assert kind == other
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_factors_multiply_to_the_matrix(lib):
    d = Data(lib)
    for a in (d.a, d.tall, d.wide, d.batch):
        p, lower, upper = lib.linalg.lu(a)
        assert lib.allclose(p @ lower @ upper, a)
        assert lib.allclose(lib.lu_unpack(*lib.linalg.lu_factor(a))[1], lower)
    for x in (lib.lu_solve(d.b, *lib.linalg.lu_factor(d.a)), lib.linalg.solve_ex(d.a, d.b)[0]):
        assert lib.allclose(d.a @ x, d.b)
    factor, info = lib.linalg.cholesky_ex(d.positive)
    assert info.item() == 0
    assert lib.allclose(lib.cholesky_inverse(factor) @ d.positive, lib.eye(3, dtype=lib.float64), atol=1e-8)
    assert lib.allclose(d.positive @ lib.cholesky_solve(d.b, factor), d.b)
    turn = lib.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=lib.float64)
    for angle in (0.1, 3.0, 40.0):
        cos, sin = np.cos(angle), np.sin(angle)
        expected = lib.tensor([[cos, sin], [-sin, cos]], dtype=lib.float64)
        assert lib.allclose(lib.matrix_exp(turn * angle), expected, atol=1e-10)


def test_second_derivatives():
    """By finite differences of the first."""
    a = Data(fastnn).a.detach().requires_grad_()
    for function in (
        lambda t: fastnn.linalg.lu(t)[2].sum(1),
        lambda t: fastnn.matrix_exp(t).sum(),
        lambda t: fastnn.as_strided(t, (3,), (2,)).pow(3),
    ):
        assert fastnn.autograd.gradgradcheck(function, (a,))


def test_a_strided_view_shares_memory(lib):
    x = lib.zeros(2, 3)
    x.as_strided((2,), (2,), 1).fill_(1.0)
    assert x.tolist() == [[0, 1, 0], [1, 0, 0]]


@pytest.mark.filterwarnings("ignore")
def test_refused(lib):
    d = Data(lib)
    for error, call in (
        (lib.linalg.LinAlgError, lambda: lib.linalg.cholesky_ex(-d.positive, check_errors=True)),
        (lib.linalg.LinAlgError, lambda: lib.linalg.solve_ex(d.singular, d.singular, check_errors=True)),
        (RuntimeError, lambda: lib.linalg.lu_factor_ex(d.singular, check_errors=True)),
        (lib.linalg.LinAlgError, lambda: lib.linalg.inv_ex(d.singular, check_errors=True)),
        (RuntimeError, lambda: lib.linalg.lu(d.a, pivot=False)),
        (RuntimeError, lambda: lib.linalg.tensorsolve(d.cube, d.a)),
        (RuntimeError, lambda: lib.linalg.tensorinv(d.cube, ind=1)),
        (RuntimeError, lambda: lib.cholesky_solve(d.b[0], d.a)),
        (RuntimeError, lambda: d.a.as_strided((4, 4), (3, 1))),
        (RuntimeError, lambda: d.a.as_strided((2,), (1, 1))),
    ):
        with pytest.raises(error):
            call()
