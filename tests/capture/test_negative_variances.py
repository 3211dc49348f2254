"""A negative variance is an error in a captured step too."""

from __future__ import annotations

import pytest

import fastnn
from fastnn.nn import functional as F

CASES = {
    "exp": (lambda b: b.exp(), True), "softplus": (lambda b: 2 * F.softplus(b)[:, :1] + 1e-3, True),
    "the number itself": (lambda b: b, False), "minus exp": (lambda b: -1 * b.exp() + 9, False),
}  # fmt: skip


class Network(fastnn.nn.Module):
    """Expectations, and variances by a function of the other outputs."""

    def __init__(self, variance):
        super().__init__()
        self.layer, self.variance = fastnn.nn.Linear(3, 4), variance
        with fastnn.no_grad():
            self.layer.bias[2:] = 1.0
            self.layer.weight[2:] = 0.0

    def forward(self, x):
        out = self.layer(x)
        return out[:, :2], self.variance(out[:, 2:])


def _step(model):
    optimizer = fastnn.optim.SGD(model.parameters(), lr=1e-4)
    return fastnn.compile_step(model, lambda out, y: F.gaussian_nll_loss(out[0], y, out[1]), optimizer)


@pytest.mark.parametrize("case", CASES)
def test_variances_that_are_computed(case):
    variance, is_positive = CASES[case]
    model = Network(variance)
    step, x, y = _step(model), fastnn.ones(4, 3), fastnn.ones(4, 2)
    for _ in range(4):
        step(x, y)
    assert ("captured: 1 program" in step.explain()) == is_positive
    with fastnn.no_grad():
        model.layer.bias[2:] = 3.0 if case == "minus exp" else -3.0
    before = model.layer.weight.clone()
    if is_positive:
        assert step(x, y).isfinite()
    else:
        with pytest.raises(ValueError, match="negative"):
            step(x, y)
        assert fastnn.equal(model.layer.weight, before)


def test_variances_in_the_batch():
    model = fastnn.nn.Linear(3, 2)
    optimizer = fastnn.optim.SGD(model.parameters(), lr=1e-4)
    step = fastnn.compile_step(model, lambda out, y: F.gaussian_nll_loss(out, y[0], y[1]), optimizer)
    x, y = fastnn.ones(4, 3), fastnn.ones(2, 4, 2)
    for _ in range(4):
        step(x, y)
    assert "captured: 1 program" in step.explain()
    with pytest.raises(ValueError, match="negative"):
        step(x, -y)
    assert step(x, y).isfinite()
