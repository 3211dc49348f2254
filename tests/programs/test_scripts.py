"""Typical PyTorch scripts run unchanged under ``fastnn run`` and print PyTorch's numbers.

The random draws are NumPy's, with a fixed seed, in the scripts themselves. The output of PyTorch 2.13.0 is
recorded in ``tests/golden/scripts``; if PyTorch is installed, its output is compared as well.
"""

from __future__ import annotations

import importlib.util

import pytest
from conftest import HAS_TORCH
from script_runs import FOLDER, NAMES, NEEDS, RECORDED, Result, assert_same_text, run_scripts

RUNNABLE = [name for name in NAMES if name not in NEEDS or importlib.util.find_spec(NEEDS[name])]
EACH = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.skipif(name not in RUNNABLE, reason=f"{NEEDS.get(name)} is not installed"))
        for name in NAMES
    ],
)


@pytest.fixture(scope="module")
def found() -> dict[str, Result]:
    return run_scripts("fastnn", RUNNABLE)


@pytest.fixture(scope="module")
def from_torch() -> dict[str, Result]:
    return run_scripts("torch", RUNNABLE)


def recorded(name: str) -> str:
    return (RECORDED / f"{name}.txt").read_text(encoding="utf-8")


def test_every_script_is_recorded() -> None:
    assert len(NAMES) >= 60
    assert sorted(path.stem for path in RECORDED.glob("*.txt")) == NAMES
    for name in NAMES:
        # Unmodified programs: they do not mention fastnn.
        assert "fastnn" not in (FOLDER / f"{name}.py").read_text(encoding="utf-8")


@EACH
def test_script_prints_the_recorded_numbers(name: str, found: dict[str, Result]) -> None:
    result = found[name]
    assert (result.status, result.err) == (0, "")
    assert_same_text(result.out, recorded(name))


@pytest.mark.torch
@pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed: tests/golden/scripts stands in for it")
def test_scripts_under_pytorch(found: dict[str, Result], from_torch: dict[str, Result]) -> None:
    for name in RUNNABLE:
        assert (from_torch[name].status, from_torch[name].err) == (0, ""), name
        assert_same_text(from_torch[name].out, recorded(name))
        assert_same_text(found[name].out, from_torch[name].out)


@pytest.mark.parametrize(
    ("found", "expected"),
    [("loss 0.123", "loss 0.124"), ("-1.0e-05 a", "-1.1e-05  a"), ("[ 1.00, 2]", "[1.01, 2]"), ("", "")],
)
def test_texts_of_the_same_numbers(found: str, expected: str) -> None:
    assert_same_text(found, expected)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ("0.123", "0.125"), ("12", "13"), ("1.", "2."), ("1.0e-05", "1.2e-05"), ("a 1", "b 1"), ("1\n2", "1"),
        ("1.0", "1"), ("nan", "1.0"),
    ],
)  # fmt: skip
def test_texts_of_other_numbers(found: str, expected: str) -> None:
    with pytest.raises(AssertionError):
        assert_same_text(found, expected)
