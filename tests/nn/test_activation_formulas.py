"""Each activation with a kernel has a formula in recorded operations."""

from __future__ import annotations

import pytest

from fastnn.kernels.activation import elementwise_activations
from fastnn.kernels.activation.fused_activations import CODES
from fastnn.kernels.loss import losses
from fastnn.nn import activation_formulas
from fastnn.nn.loss_core import Pointwise


def test_a_kernel_without_a_formula_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    activation_formulas.check_formulas()
    monkeypatch.setitem(CODES, "cube", 7)
    with pytest.raises(RuntimeError, match="found one of the two for cube"):
        activation_formulas.check_formulas()


@pytest.mark.parametrize("missing", ["value", "derivative", "formula", "cost"])
def test_an_elementwise_activation_that_lacks_a_part_is_not_registered(missing: str) -> None:
    mish = elementwise_activations.FUNCTIONS["mish"]
    parts = {name: part for name, part in mish._asdict().items() if name != missing}
    with pytest.raises(TypeError, match=missing):
        elementwise_activations._register("cube", **parts)
    assert "cube" not in elementwise_activations.FUNCTIONS


def test_a_loss_without_slopes_is_not_registered() -> None:
    before = dict(losses.TABLE)
    with pytest.raises(TypeError, match="slopes"):
        losses._register(losses.mse, cost=3)  # type: ignore[call-arg]  # that is the test
    assert before == losses.TABLE
    with pytest.raises(ValueError, match="a loss with a kernel, found 'cubic'"):
        Pointwise("cubic")
