"""Averages of weights along training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from comparison import as_array

import fastnn.optim.swa_utils


def utilities(lib: Any) -> Any:
    return __import__(f"{lib.__name__}.optim.swa_utils", fromlist=["swa_utils"])


def counting(lib: Any) -> Any:
    """A layer with a buffer."""

    class Counting(lib.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = lib.nn.Parameter(lib.zeros(2))
            self.register_buffer("seen", lib.zeros(2))
            self.register_buffer("count", lib.tensor(0))

        def forward(self, x: Any) -> Any:
            return x * self.weight

    return Counting()


def path(lib: Any, average: Any, model: Any) -> list[list[float]]:
    found = []
    for value in (1.0, 2.0, 6.0, -1.0):
        model.weight.data.fill_(value)
        model.seen.fill_(10 * value)
        model.count.fill_(int(value))
        average.update_parameters(model)
        module = average.module
        found.append([module.weight[0].item(), module.seen[0].item(), module.count.item()])
    assert average.n_averaged.item() == 4
    return found


def test_mean(lib):
    model = counting(lib)
    average = utilities(lib).AveragedModel(model)
    assert path(lib, average, model) == [[1.0, 10.0, 1], [1.5, 20.0, 2], [3.0, 60.0, 6], [2.0, -10.0, -1]]
    assert average(lib.ones(2)).tolist() == [2.0, 2.0]
    assert set(average.state_dict()) == {"n_averaged", "module.weight", "module.seen", "module.count"}
    assert model.weight.tolist() == [-1.0, -1.0]


@pytest.mark.parametrize("many", [False, True])
def test_exponential(lib, many):
    swa, model = utilities(lib), counting(lib)
    options = {"multi_avg_fn": swa.get_ema_multi_avg_fn(0.5)} if many else {"avg_fn": swa.get_ema_avg_fn(0.5)}
    average = swa.AveragedModel(model, **options)
    assert [row[0] for row in path(lib, average, model)] == [1.0, 1.5, 3.75, 1.375]


def test_with_buffers(lib):
    model = counting(lib)
    average = utilities(lib).AveragedModel(model, use_buffers=True, avg_fn=utilities(lib).get_swa_avg_fn())
    assert [row[:2] for row in path(lib, average, model)] == [[1.0, 10.0], [1.5, 15.0], [3.0, 30.0], [2.0, 20.0]]


def test_own_average(lib):
    model = counting(lib)
    average = utilities(lib).AveragedModel(model, avg_fn=lambda mean, now, count: mean + now * (count + 1))
    assert [row[0] for row in path(lib, average, model)] == [1.0, 5.0, 23.0, 19.0]


def test_refused(lib):
    swa = utilities(lib)
    with pytest.raises(AssertionError, match="Only one"):
        swa.AveragedModel(counting(lib), avg_fn=swa.get_swa_avg_fn(), multi_avg_fn=swa.get_swa_multi_avg_fn())
    for make in (swa.get_ema_avg_fn, swa.get_ema_multi_avg_fn):
        with pytest.raises(ValueError, match="decay"):
            make(1.5)


class Standardize(fastnn.nn.Module):
    """Only the running statistics of a batch normalization."""

    def __init__(self) -> None:
        super().__init__()
        self.momentum = 0.1
        self.register_buffer("running_mean", fastnn.ones(2))
        self.batches = 0

    def reset_running_stats(self) -> None:
        self.running_mean.zero_()
        self.batches = 0

    def forward(self, x: Any) -> Any:
        if self.training:
            self.batches += 1
            share = 1 / self.batches if self.momentum is None else self.momentum
            self.running_mean += (x.mean(0) - self.running_mean) * share
        return x - self.running_mean


def test_update_bn():
    """The mean over all batches; everything else is unchanged."""
    layer = Standardize()
    model = fastnn.nn.Sequential(layer).eval()
    data = np.random.default_rng(0).standard_normal((6, 4, 2)).astype(np.float32)
    fastnn.optim.swa_utils.update_bn([(fastnn.tensor(x), None) for x in data], model)
    np.testing.assert_allclose(as_array(layer.running_mean), data.mean((0, 1)), rtol=1e-5)
    assert (layer.momentum, layer.training, model.training) == (0.1, False, False)
    fastnn.optim.swa_utils.update_bn([fastnn.ones(1, 2)], fastnn.nn.Linear(2, 2))
