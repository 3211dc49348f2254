"""Triangular and LU solvers, Cholesky factors of matrices that have none, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import fastnn as torch

linalg = torch.linalg


def matrix(*shape: int) -> torch.Tensor:
    return torch.tensor(np.random.default_rng(0).normal(size=shape))


@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("adjoint", [True, False])
def test_lu_solve_solves(left: bool, adjoint: bool) -> None:
    a, b = matrix(2, 4, 4), matrix(2, 4, 4)
    x = linalg.lu_solve(*linalg.lu_factor(a), b, left=left, adjoint=adjoint)
    whole = a.mT if adjoint else a
    assert torch.allclose(whole @ x if left else x @ whole, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(4, 3), (3, 4), (2, 3, 3)])
def test_factors_of_lu(shape: tuple[int, ...]) -> None:
    a = matrix(*shape)
    p, lower, upper = linalg.lu(a)
    assert torch.allclose(p @ lower @ upper, a, rtol=1e-13, atol=1e-13)
    packed, pivots = linalg.lu_factor(a)
    assert pivots.dtype == torch.int32
    for part, again in zip((p, lower, upper), torch.lu_unpack(packed, pivots), strict=True):
        assert torch.equal(part, again)


def test_status_of_factors() -> None:
    good, bad = torch.eye(2), torch.tensor([[1.0, 2.0], [2.0, 1.0]])
    found = linalg.cholesky_ex(torch.stack([good, bad]))
    assert found.info.tolist() == [0, 2]
    assert torch.equal(found.L[0], good)
    with pytest.raises(linalg.LinAlgError, match="leading minor of order 2"):
        linalg.cholesky_ex(bad, check_errors=True)
    assert linalg.lu_factor_ex(torch.zeros(2, 2)).info.item() == 1
    with pytest.raises(RuntimeError, match=r"U\[1,1\] is zero"):
        linalg.lu_factor(torch.zeros(2, 2))


def test_singular_triangles_raise_nothing() -> None:
    x = linalg.solve_triangular(torch.tensor([[0.0, 1.0], [0.0, 1.0]]), torch.ones(2, 1) * 2, upper=True)
    assert x[1].item() == 2
    assert not torch.isfinite(x[0]).item()


def test_a_half_is_not_read() -> None:
    a, b = matrix(3, 3), matrix(3, 2)
    for upper in (True, False):
        wrong = a.clone()
        wrong[(2, 0) if upper else (0, 2)] = float("nan")
        assert torch.equal(linalg.solve_triangular(wrong, b, upper=upper), linalg.solve_triangular(a, b, upper=upper))


@pytest.mark.parametrize(
    ("solve", "message"),
    [
        (lambda: linalg.solve_triangular(torch.eye(2), torch.ones(2), upper=True), "at least 2 dimensions"),
        (lambda: linalg.solve_triangular(torch.eye(2), torch.ones(3, 1), upper=True), "Incompatible shapes"),
        (lambda: linalg.solve_triangular(torch.ones(2, 3), torch.ones(2, 1), upper=True), "square matrices"),
        (lambda: torch.cholesky_solve(torch.ones(2), torch.eye(2)), "at least 2 dimensions"),
        (lambda: torch.cholesky_solve(torch.ones(3, 1), torch.eye(2)), "Incompatible matrix sizes"),
        (lambda: linalg.matrix_exp(torch.ones(2, 3)), "square matrices"),
    ],
)  # fmt: skip
def test_refused(solve: object, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        solve()  # type: ignore[operator]
