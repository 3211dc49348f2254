"""Rows of the table of operations in float32: values and gradients against those of the same numbers in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from comparison import as_array, assert_matches
from operations import OPERATIONS, Operation, everything

import fastnn


def results(operation: Operation, arrays: list[np.ndarray]) -> dict[str, Any]:
    found = everything(operation, arrays, operation.most != 0, "contiguous")(fastnn)
    return {"out": found["out"], **dict(enumerate(found.get("grads", [])))}


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_operation(operation: Operation) -> None:
    for shapes in operation.shapes:
        arrays = operation.arrays(shapes, np.float32)
        found, expected = results(operation, arrays), results(operation, [a.astype(np.float64) for a in arrays])
        assert found.keys() == expected.keys()
        for name, tensor in found.items():
            reference = as_array(expected[name])
            if reference.dtype.kind == "f":
                reference = reference.astype(as_array(tensor).dtype)
            # The reference is rounded as well.
            assert_matches(
                as_array(tensor), reference, operation.roundings + 1, operation.domain[1] if operation.terms else 0.0
            )
