"""Each activation with a kernel has a formula in recorded operations."""

from __future__ import annotations

import pytest

from fastnn.kernels.activation.elementwise_activations import FUNCTIONS
from fastnn.nn import activation_formulas


def test_a_kernel_without_a_formula_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    activation_formulas.check_formulas()
    monkeypatch.setitem(FUNCTIONS, "cube", FUNCTIONS["mish"])
    with pytest.raises(RuntimeError, match="found one of the two for cube"):
        activation_formulas.check_formulas()
