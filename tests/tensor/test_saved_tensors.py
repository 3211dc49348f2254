"""After an in-place change a backward pass either raises, or gives the gradients of the values before it.

Which of the two, and how often a result can be differentiated, is as in PyTorch: compared live if it is installed,
otherwise with its recorded results.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparison import as_array
from saved import OWN, ROWS, Row, after_changes, derivatives, described

import fastnn

# PyTorch's third derivatives of these contradict its second ones, see `test_third_derivative_of_normalisation`.
WRONG_THIRD = ("layer_norm", "batch_norm", "instance_norm")
# For these PyTorch gives NaN, or ignores the frequencies.
WRONG = ("logcumsumexp", "registry_f_logcumsumexp", "registry_embedding_freq")


@functools.cache
def recorded() -> dict[str, list[str]]:
    return json.loads((Path(__file__).parents[1] / "golden" / "saved.json").read_text())


# The allowed outcomes, by PyTorch's: if PyTorch is silently wrong or has no gradient, raising or keeping is right.
_ALLOWED = {"r": "r", "k": "k", "w": "rk", "n": "rkn", "x": "rkx"}


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_change_in_place(row: Row) -> None:
    found, expected = after_changes(fastnn, row), recorded()[row.name][0]
    assert len(found) >= len(expected)
    assert "w" not in found, f"{found}: a wrong gradient"
    for letter, theirs in zip(found, expected, strict=False):
        assert letter in _ALLOWED[theirs], f"{found}; PyTorch {expected}"


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_derivatives(row: Row) -> None:
    """Leaves in the graph of PyTorch's derivative are in fastnn's, with a history if they have one in PyTorch."""
    expected = recorded()[row.name][1].split()
    if row not in OWN:
        del expected[2:]
    found = described(derivatives(fastnn, row, len(expected))).split()
    for letters, theirs in zip(found, expected, strict=False):
        if theirs == "!":
            return
        assert letters != "!"
        assert all(a in {"-": "-cd", "c": "cd", "d": "d"}[b] for a, b in zip(letters, theirs, strict=True)), (
            f"{found}; PyTorch {expected}"
        )
    assert len(found) >= len(expected)


def test_recorded_are_these_rows() -> None:
    assert list(recorded()) == [row.name for row in ROWS]


# -- With PyTorch -----------------------------------------------------------------------------------

HAS_TORCH = importlib.util.find_spec("torch") is not None


@pytest.mark.torch
@pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed: what it does is recorded")
@pytest.mark.parametrize("row", ROWS if HAS_TORCH else ROWS[:1], ids=str)
def test_recorded_is_pytorchs(row: Row) -> None:
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    changes, orders = recorded()[row.name]
    assert after_changes(torch, row) == changes
    count = 3 if row in OWN else 2
    expected = derivatives(torch, row, count)
    assert described(expected).split() == orders.split()[:count]
    found = derivatives(fastnn, row, count)
    for order, (ours, theirs) in enumerate(zip(found, expected, strict=False)):
        if isinstance(theirs, Exception) or row.name in WRONG or (order == 2 and row.name.startswith(WRONG_THIRD)):
            return
        for mine, other in zip(ours, theirs, strict=True):
            if other is not None:
                np.testing.assert_allclose(mine[0], other[0], 1e-6, 1e-6)
            elif mine is not None:
                # PyTorch reports it as unused.
                assert not mine[0].any()


# -- Further ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["layer_norm", "batch_norm", "instance_norm"])
def test_third_derivative_of_normalisation(name: str) -> None:
    rng = np.random.default_rng(0)
    shape = (4, 3, 2) if name == "instance_norm" else (4, 3)
    x, direction, *weights = (rng.standard_normal(shape) for _ in range(5))

    def normalised(t: Any) -> Any:
        F = fastnn.nn.functional
        if name == "layer_norm":
            return F.layer_norm(t, (3,))
        return F.instance_norm(t) if name == "instance_norm" else F.batch_norm(t, None, None, training=True)

    def second(values: np.ndarray) -> tuple[Any, Any]:
        t = fastnn.tensor(values, requires_grad=True)
        y = normalised(t)
        for weight in weights[:2]:
            (y,) = fastnn.autograd.grad((y * fastnn.tensor(weight)).sum(), t, create_graph=True)
        return (y * fastnn.tensor(weights[2])).sum(), t

    (third,) = fastnn.autograd.grad(*second(x))
    step = 1e-5
    ahead, behind = (second(x + sign * step * direction)[0].item() for sign in (1, -1))
    along = float((as_array(third) * direction).sum())
    assert abs((ahead - behind) / (2 * step) - along) <= 1e-6 * max(1.0, abs(along))


def test_second_derivative_of_a_captured_model_of_gates(lib):
    model = lib.nn.Sequential(lib.nn.Linear(1, 4), lib.nn.ReLU(), lib.nn.Linear(4, 1))
    for _ in range(5):
        x = lib.ones(3, 1, requires_grad=True)
        (first,) = lib.autograd.grad(model(x).sum(), x)
        assert not first.requires_grad
    (first,) = lib.autograd.grad(model(x).sum(), x, create_graph=True)
    (second,) = lib.autograd.grad(first.sum(), x)
    assert second.tolist() == [[0.0]] * 3


@pytest.mark.parametrize("activation", ["LeakyReLU", "GELU", "ReLU"])
def test_result_of_a_captured_model_changed_in_place(lib, activation):
    """As in a residual block: ReLU's backward reads its output, the others read their input."""
    model = lib.nn.Sequential(lib.nn.Linear(2, 2), getattr(lib.nn, activation)())
    x = lib.tensor([[1.0, 2.0], [-3.0, 4.0]])
    for _ in range(5):
        y = model(x)
        y += x
        model.zero_grad()
        if activation == "ReLU":
            with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                y.sum().backward()
            continue
        y.sum().backward()
        changed = as_array(model[0].weight.grad)
        model.zero_grad()
        (model(x) + x).sum().backward()
        np.testing.assert_array_equal(changed, as_array(model[0].weight.grad))


def test_numbers_of_an_index_changed_in_place(lib):
    """Indices are saved without a copy, so they must not change."""
    x = lib.tensor([3.0, 1.0, 2.0], requires_grad=True)
    values, indices = x.sort()
    indices.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        values.sum().backward()
