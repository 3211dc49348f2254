"""Every row of the table of operations in bfloat16, beside PyTorch: dtypes, values and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from beside_torch import dtype_name, one_thread, torch  # noqa: F401
from operations import OPERATIONS, Operation

import fastnn

pytestmark = pytest.mark.torch


def results(lib: Any, operation: Operation, arrays: list[np.ndarray]) -> tuple[list[Any], list[Any]]:
    operands = [lib.tensor(a.astype(np.float32)).to(lib.bfloat16).requires_grad_() for a in arrays]
    found = operation.run(lib, *operands)
    found = [t for t in (found if isinstance(found, (tuple, list)) else [found]) if isinstance(t, lib.Tensor)]
    weighted = next((t for t in found if t.requires_grad), None)
    if weighted is None:
        return found, []
    factors = np.random.default_rng(1).uniform(0.5, 1, tuple(weighted.shape)).astype(np.float32)
    weighted.backward(lib.tensor(factors).to(weighted.dtype))
    return found, [t.grad for t in operands]


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_operation(operation: Operation) -> None:
    for shapes in operation.shapes[:4]:
        arrays = operation.arrays(shapes)
        try:
            expected, by_expected = results(torch, operation, arrays)
        except (RuntimeError, NotImplementedError) as error:
            # PyTorch has no kernel for some; fastnn computes them.
            assert any(word in str(error) for word in ("not implemented", "ow precision", "float", "narrow"))  # noqa: PT017
            continue
        found, by_found = results(fastnn, operation, arrays)
        assert [dtype_name(t.dtype) for t in found] == [dtype_name(t.dtype) for t in expected]
        assert [g is None for g in by_found] == [g is None for g in by_expected]
        for f, e in zip([*found, *by_found], [*expected, *by_expected], strict=True):
            if e is None:
                continue
            assert dtype_name(f.dtype) == dtype_name(e.dtype)
            a, b = (np.asarray(t.detach().double().numpy()) for t in (f, e))
            assert a.shape == b.shape
            if operation.name == "matrix_exp":
                # PyTorch's is NaN.
                continue
            # PyTorch rounds the parts of some; where terms cancel, that is much of the result.
            limit = 2.0**-5 * max(1.0, np.abs(b[np.isfinite(b)]).max(initial=0.0))
            np.testing.assert_allclose(a, b, rtol=2.0**-6, atol=limit)
