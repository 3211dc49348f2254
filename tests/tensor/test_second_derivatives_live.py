"""Derivatives of the first three orders compared with PyTorch: layers, in-place changes, views, products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from beside_torch import torch

import fastnn

pytestmark = pytest.mark.torch


def overwritten(z: Any, part: Any) -> Any:
    """``z``, after ``part``, a view of it, was changed in place."""
    assert part is not z
    return z


def view_of(key: Any, change: str) -> Callable[[Any, Any, Any], Any]:
    def run(f: Any, x: Any, w: Any) -> Any:
        z = x * 1
        return overwritten(z, getattr(f, change)(z[key])) @ w.t()

    return run


CASES: dict[str, Callable[[Any, Any, Any], Any]] = {
    **{
        f"fused_{name}": lambda f, x, w, name=name: getattr(f, name)(f.linear(x, w, w[:, 0]))
        for name in (
            "relu", "leaky_relu", "sigmoid", "tanh", "gelu", "silu", "softplus", "mish", "elu", "logsigmoid",
            "tanhshrink", "softsign", "hardswish",
        )
    },
    **{f"in_place_{name}": lambda f, x, w, name=name: getattr(x * 1, name)() @ w.t() for name in ("tanh_", "sigmoid_")},
    "in_place_relu": lambda f, x, w: f.relu_(x * 1) @ w.t(),
    "in_place_leaky_relu": lambda f, x, w: f.leaky_relu_(x * 1, 0.2) @ w.t(),
    "linear_tanh_": lambda f, x, w: f.linear(x, w).tanh_(),
    "linear_silu_": lambda f, x, w: f.silu(f.linear(x, w), inplace=True),
    "linear_leaky_relu_": lambda f, x, w: f.leaky_relu(f.linear(x, w), 0.2, inplace=True) ** 2,
    "view_relu_": view_of((slice(None), slice(1, None)), "relu_"),
    "view_elu_": view_of(0, "elu_"),
    "steep_softplus": lambda f, x, w: f.softplus(f.linear(x, w), 2, 1.5),
    "gelu_tanh": lambda f, x, w: f.gelu(f.linear(x, w), approximate="tanh"),
    "two_layers_of_one_weight": lambda f, x, w: (f.linear(x, w).tanh() * f.linear(x * x, w).sigmoid()) ** 2,
    "one_row": lambda f, x, w: f.linear(x[0], w, w[:, 0]).tanh(),
    "three_dimensions": lambda f, x, w: f.gelu(f.linear(x.reshape(2, 1, 3), w, w[:, 0] * 2)),
    "products": lambda f, x, w: (x @ w.t()) @ (w @ x.t() @ x).tanh() @ x.t(),
    "addmm": lambda f, x, w: w[:, 0].addmm(x, w.t()).tanh() @ w,
}


def derivatives(lib: Any, case: Callable[[Any, Any, Any], Any]) -> list[np.ndarray | None]:
    x = lib.tensor(np.linspace(-1.9, 2.1, 6).reshape(2, 3).astype("f4"), requires_grad=True)
    w = lib.tensor(np.linspace(-1, 1, 12).reshape(4, 3).astype("f4"), requires_grad=True)
    total, found = case(lib.nn.functional, x, w).sum(), []
    for _ in range(3):
        grads = lib.autograd.grad(total, (x, w), create_graph=True, allow_unused=True)
        found += [None if g is None else g.detach().numpy() for g in grads]
        terms = [(g * g).sum() for g in grads if g is not None and g.requires_grad]
        if not terms:
            break
        total = sum(terms)
    return found


@pytest.mark.parametrize("name", CASES)
def test_three_orders(name: str) -> None:
    found, expected = derivatives(fastnn, CASES[name]), derivatives(torch, CASES[name])
    assert [g is None for g in found] == [g is None for g in expected]
    for ours, theirs in zip(found, expected, strict=True):
        if theirs is not None:
            largest = np.abs(theirs).max()
            np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5 * largest)
