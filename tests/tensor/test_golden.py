"""Every case of ``cases.py`` against recorded values of PyTorch 2.13.0. Needs no PyTorch."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
from cases import CASES, Arrays, Case
from comparison import assert_matches, relative_error

import fastnn

FOLDER = Path(__file__).parents[1] / "golden"
GROUPS = sorted({case.group for case in CASES})


@functools.cache
def recorded(group: str) -> Arrays:
    with np.load(FOLDER / f"{group}.npz") as file:
        return {name: file[name] for name in file.files}


def fields(record: np.ndarray, prefix: str) -> Arrays:
    """The arrays of a case's record whose names begin with ``prefix``."""
    return {n.removeprefix(prefix): np.array(record[n]) for n in record.dtype.names if n.startswith(prefix)}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    record = recorded(case.group)[case.name]
    found, expected = case.run(fastnn, fields(record, "in/")), fields(record, "out/")
    assert found.keys() == expected.keys()
    for name in expected:
        assert_matches(found[name], expected[name], case.roundings, case.least)


@pytest.mark.parametrize("case", [c for c in CASES if c.group == "networks"], ids=str)
def test_network_gradient_and_losses(case: Case) -> None:
    """The requirement: the first gradient, as one vector, and the losses of training agree to 1e-5."""
    record = recorded(case.group)[case.name]
    found, expected = case.run(fastnn, fields(record, "in/")), fields(record, "out/")
    gradients = [name for name in expected if name.startswith("d.")]
    assert len(gradients) == 6
    assert relative_error([found[n] for n in gradients], [expected[n] for n in gradients]) < 1e-5
    assert len(found["losses"]) >= 10
    np.testing.assert_allclose(found["losses"], expected["losses"], rtol=0, atol=1e-5)
    # This is meaningful only if training changes the loss.
    assert abs(expected["losses"][-1] - expected["losses"][0]) > 1e-3


@pytest.mark.parametrize("group", GROUPS)
def test_recorded_values_are_those_of_the_registry(group: str) -> None:
    """Every case has a record and every record a case, and the inputs are the registry's."""
    stored = dict(recorded(group))
    assert str(stored.pop("torch")) == "2.13.0"
    assert str(stored.pop("numpy"))
    cases = {case.name: case for case in CASES if case.group == group}
    assert stored.keys() == cases.keys()
    for name, case in cases.items():
        made, kept = case.make_inputs(), fields(stored[name], "in/")
        assert {n: (a.dtype, a.shape) for n, a in made.items()} == {n: (a.dtype, a.shape) for n, a in kept.items()}


def test_recorded_values_are_small() -> None:
    files = list(FOLDER.glob("*.npz"))
    # Files of ONNX have tests of their own.
    assert sorted(f.stem for f in files if f.stem != "onnx_files") == GROUPS
    assert sum(f.stat().st_size for f in files) < 1024 * 1024


def test_names_are_unique() -> None:
    assert len({str(case) for case in CASES}) == len(CASES)
