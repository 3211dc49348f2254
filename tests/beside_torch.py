"""Comparisons of fastnn with a live PyTorch; a test that imports this is skipped where PyTorch is not installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from comparison import as_array, assert_matches, same_kind_of_error

import fastnn

torch = pytest.importorskip("torch", reason="PyTorch is not installed: the values in tests/golden stand in for it")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    # The thread pools of two libraries in one process compete for the cores.
    torch.set_num_threads(1)


def outcome(function: Callable[[Any], Any], lib: Any) -> Any:
    try:
        return function(lib)
    except Exception as error:
        return error


def dtype_name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.").removeprefix("fastnn.")


def assert_same(found: Any, expected: Any, roundings: float = 2, least: float | None = 0.0) -> None:
    """Tensors, numbers, and sequences and dictionaries of them, from fastnn and from PyTorch."""
    if isinstance(expected, torch.Tensor):
        assert isinstance(found, fastnn.Tensor)
        assert dtype_name(found.dtype) == dtype_name(expected.dtype)
        assert tuple(found.shape) == tuple(expected.shape)
        assert found.requires_grad == expected.requires_grad
        assert found.is_leaf == expected.is_leaf
        assert_matches(as_array(found), as_array(expected), roundings, least)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for name in expected:
            assert_same(found[name], expected[name], roundings, least)
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected)
        for f, e in zip(found, expected, strict=True):
            assert_same(f, e, roundings, least)
    elif isinstance(expected, float):
        assert_matches(np.array(found), np.array(expected), roundings, least)
    else:
        assert type(found) is type(expected)
        assert found == expected


def assert_same_outcome(function: Callable[[Any], Any], roundings: float = 2, least: float | None = 0.0) -> None:
    """``function(fastnn)`` returns the same as ``function(torch)``, or raises an error of the same kind."""
    expected, found = outcome(function, torch), outcome(function, fastnn)
    if isinstance(expected, Exception):
        assert isinstance(found, Exception), f"returned {found!r}; PyTorch raises {expected!r}"
        assert same_kind_of_error(found, expected), f"{found!r} is no {expected!r}"
        return
    if isinstance(found, Exception):
        raise AssertionError(f"raised {found!r}; PyTorch returns {expected!r}") from found
    assert_same(found, expected, roundings, least)


# -- The registry -----------------------------------------------------------------------------
