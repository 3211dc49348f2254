"""Helpers of the tests of the normalisations: the draw of the dropout, its factors, the check of gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from helpers import check_gradient

from fastnn.kernels import dropout_forward

STATE = np.array([7, 3])


def factors_of(x: np.ndarray, p: float) -> np.ndarray:
    """The factors of the dropout."""
    factors = np.ones_like(x)
    if p:
        dropout_forward(factors, factors, STATE, p)
    return factors


def assert_gradients(run: Callable[..., dict[str, np.ndarray]], a: dict[str, np.ndarray], **options: Any) -> None:
    """The gradients that ``run`` returns, of input, weight and bias, against finite differences of its output."""
    found = run(a, state=STATE, **options)
    for name in ("x", "weight", "bias"):

        def loss(value: np.ndarray, name: str = name) -> float:
            out = run({**a, name: value}, backward=False, state=STATE, **options)["out"]
            return float((out * a["dy"]).sum())

        check_gradient(loss, found[f"d{name}"], a[name])
