"""fit and profile: epochs, histories, schedules, callbacks, wrong input; launches counted and timed."""

from __future__ import annotations

import re
import time
from typing import Any

import numpy as np
import pytest

import fastnn
from fastnn import nn
from fastnn.kernels.runtime import compiler, launcher
from fastnn.training.profiling import Limits


def data(rows: int = 100, dtype: Any = np.float32) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 255, (rows, 3, 4)).astype(dtype)
    return x, (x.sum((1, 2)) > x.sum((1, 2)).mean()).astype(np.int64)


def model(features: int = 12) -> nn.Module:
    fastnn.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(features, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 2))


def weights(m: nn.Module) -> list[bytes]:
    return [p.detach().numpy().tobytes() for p in m.parameters()]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64, np.int32])
def test_fit_does_what_the_plain_loop_does(dtype: Any) -> None:
    x, y = data(dtype=dtype)
    fitted, looped = model(), model()
    fastnn.manual_seed(5)
    optimizer = fastnn.optim.Adam(fitted.parameters(), lr=0.01)
    history = fastnn.fit(fitted, x, y, epochs=3, batch_size=32, optimizer=optimizer)
    fastnn.manual_seed(5)
    optimizer, criterion, losses = fastnn.optim.Adam(looped.parameters(), lr=0.01), nn.CrossEntropyLoss(), []
    scale = np.float32(1 / 255) if dtype == np.uint8 else np.float32(1)
    for _ in range(3):
        order, total = fastnn.random.default_generator().permutation(len(x)), 0.0
        for first in range(0, len(x), 32):
            rows = order[first : first + 32]
            optimizer.zero_grad()
            loss = criterion(looped(fastnn.tensor(x[rows].astype(np.float32) * scale)), fastnn.tensor(y[rows]))
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        losses.append(total / len(x))
    assert weights(fitted) == weights(looped)
    assert history["loss"] == losses
    assert history["number"] == [1, 2, 3]
    assert all(seconds > 0 for seconds in history["seconds"])
    assert history.explanation == "captured: 2 programs"


def test_validation_schedules_and_callbacks() -> None:
    x, y = data()
    m = model()
    optimizer = fastnn.optim.SGD(m.parameters(), lr=1e-4)
    seen: list[Any] = []

    def stop_after_three(epoch: Any) -> bool:
        seen.append(epoch)
        return epoch.number == 3

    history = fastnn.fit(
        m, x, y, epochs=9, batch_size=16, optimizer=optimizer, validation=(x[:50], y[:50]), drop_last=True,
        scheduler=fastnn.optim.lr_scheduler.StepLR(optimizer, 1, 0.5), callbacks=[stop_after_three], shuffle=False,
    )  # fmt: skip
    assert len(history) == 3
    assert history.epochs == seen
    assert history["lr"] == [1e-4, 5e-5, 2.5e-5]
    m.eval()
    out = m(fastnn.tensor(x[:50]))
    assert history["validation_loss"][-1] == pytest.approx(nn.CrossEntropyLoss()(out, fastnn.tensor(y[:50])).item())
    assert history["validation_accuracy"][-1] == (out.argmax(1).numpy() == y[:50]).mean()


def test_regression_tensors_and_a_schedule_per_batch() -> None:
    x = fastnn.randn(40, 2)
    m = nn.Linear(2, 1)
    optimizer = fastnn.optim.SGD(m.parameters(), lr=0.1)
    schedule = fastnn.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.5, total_iters=4)
    history = fastnn.fit(
        m, x, x.sum(1, keepdim=True), epochs=2, batch_size=20, criterion=nn.MSELoss(), optimizer=optimizer,
        step_scheduler=schedule, validation=(x, x.sum(1, keepdim=True)),
    )  # fmt: skip
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05)
    assert history["validation_accuracy"] == [None, None]
    assert history["validation_loss"][1] < history["validation_loss"][0]


def test_callbacks_of_an_iterator_are_called_after_each_epoch() -> None:
    x, y = data()
    seen: list[int] = []
    fastnn.fit(model(), x, y, epochs=3, callbacks=(call for call in [lambda epoch: seen.append(epoch.number)]))
    assert seen == [1, 2, 3]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"epochs": -1}, ValueError, "epochs must not be negative, found -1"),
        ({"epochs": 1.5}, TypeError, "epochs must be an integer"),
        ({"batch_size": 0}, ValueError, "batch_size must be positive, found 0"),
        ({"data": [1, 2]}, ValueError, "found shape \\(2,\\)"),
        ({"data": [1, 2]}, RuntimeError, "found shape \\(2,\\)"),
        ({"data": {1: 2}}, TypeError, "data must be a tensor, an array or a list of rows, found dict"),
        ({"data": np.zeros(3, np.float32)}, ValueError, "found shape \\(3,\\)"),
        ({"targets": np.zeros(99, np.int64)}, ValueError, "a row for each of data, 100, found shape \\(99,\\)"),
        ({"validation": (np.zeros((2, 3, 4)), np.zeros(3))}, ValueError, "a row for each of data, 2"),
        ({"optimizer": 3}, TypeError, "optimizer must be an Optimizer"),
        ({"model": len}, TypeError, "model must be a Module, found builtin_function_or_method"),
        ({"callbacks": [3]}, TypeError, "callbacks must be callable, found \\['int'\\]"),
        ({"scheduler": 3}, TypeError, "scheduler must have a method step, found int"),
        ({"step_scheduler": 3}, TypeError, "step_scheduler must have a method step, found int"),
        ({"validation": (np.zeros((0, 3, 4)), np.zeros(0, int))}, ValueError, "validation must have rows, found none"),
        ({"validation": 3}, TypeError, "validation must be a pair of data and targets, found int"),
    ],
)
def test_wrong_arguments_change_nothing(change: dict[str, Any], error: Any, message: str) -> None:
    x, y = data()
    m = model()
    before = weights(m)
    with pytest.raises(error, match=message):
        fastnn.fit(**{"model": m, "data": x, "targets": y, **change})
    assert weights(m) == before


def test_a_model_of_float64_is_trained_on_float64() -> None:
    """Data, scaled or not, and real targets are converted; labels are not."""
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (60, 4)).astype(np.uint8), np.arange(60) % 3
    numbers = rng.random((60, 4))
    scaled: Any = {"scale": 0.5, "shift": -1.0}
    for x, scaling, wide in ((pixels, {}, pixels / 255), (pixels, scaled, pixels * 0.5 - 1), (numbers, {}, numbers)):
        for y, criterion in ((labels, nn.CrossEntropyLoss()), (rng.random((60, 3)), nn.MSELoss())):
            made = []
            for data, options in ((x, scaling), (wide, {})):
                fastnn.manual_seed(0)
                m = nn.Linear(4, 3, dtype=fastnn.float64)
                sgd = fastnn.optim.SGD(m.parameters(), lr=0.01)
                history = fastnn.fit(
                    m, data, y, epochs=3, batch_size=16, criterion=criterion, optimizer=sgd, validation=(data, y),
                    generator=fastnn.Generator().manual_seed(1), **options,
                )  # fmt: skip
                assert history.explanation.startswith("captured")
                made.append((m.weight.detach().numpy(), history["loss"], history["validation_loss"]))
            assert made[0][0].dtype == np.float64
            for a, b in zip(*made, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-12)


def test_no_rows_and_no_epochs() -> None:
    m = model()
    assert len(fastnn.fit(m, *data(), epochs=0)) == 0
    history = fastnn.fit(m, np.zeros((0, 3, 4), np.float32), np.zeros(0, np.int64))
    assert np.isnan(history["loss"]).all()


def test_profile_counts_what_is_launched() -> None:
    m = model()
    optimizer = fastnn.optim.Adam(m.parameters())
    x, y = fastnn.randn(64, 12), fastnn.zeros(64).long()
    step = fastnn.compile_step(m, nn.CrossEntropyLoss(), optimizer)
    for _ in range(3):
        step(x, y)
    with fastnn.profile() as eager:
        nn.CrossEntropyLoss()(m(x), y).backward()
        optimizer.step()
    calls = {line.kernel: line.calls for line in eager.lines()}
    # Two products forward; two weight gradients and one input gradient backward.
    assert calls["gemm.float32"] == 5
    assert calls["adam.float32"] == 1
    products = next(line for line in eager.lines() if line.kernel == "gemm.float32")
    assert products.flops == 2.0 * 64 * (2 * 12 * 16 + 3 * 16 * 2)
    assert 0 < sum(line.seconds for line in eager.lines()) < eager.seconds
    eager.seconds = 0.05
    table = eager.table(Limits(1e9, 1e9))
    assert table.splitlines()[0].split() == ["kernel", "launches", "us", "of", "all", "of", "limit"]
    assert "of multiply-adds" in table
    assert table.splitlines()[-1].startswith("Python")
    for _ in range(2):
        with fastnn.profile() as replayed:
            step(x, y)
    found = {line.kernel: line.calls for line in replayed.lines()}
    assert found["gemm.float32"] == 5
    assert found["adam.float32"] == 1
    # Everything was compiled before the second one; work that is done once has a line of its own.
    assert replayed.starting == 0.0
    replayed.seconds, replayed.starting = 2.0, 0.5
    lines = [line.split() for line in replayed.table(Limits(1e9, 1e9)).splitlines()]
    assert lines[0][2] == "ms"
    assert ["starting", "500.0", "25%"] in lines
    assert lines[-1][0] == "Python"


def test_profile_plots(tmp_path: Any) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    with fastnn.profile() as prof:
        nn.Linear(4, 3)(fastnn.zeros(2, 4))
    prof.plot(tmp_path / "profile.png", Limits(1e9, 1e9))
    assert (tmp_path / "profile.png").read_bytes().startswith(b"\x89PNG")
    # Text as text, not as paths.
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        prof.plot(tmp_path / "profile.svg")
    picture = (tmp_path / "profile.svg").read_text(encoding="utf-8")
    assert re.search(r">\d+% of multiply-adds</text>", picture)
    assert ">gemm.float32</text>" in picture


def test_profile_counts_all_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Including compilation other than of kernels: it is not counted as Python's time."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    kernel = next(iter(compiler.by_dtype("nothing", lambda dtype: _nothing, compiler.Words("a"), outputs="").values()))

    def compile_for_five_seconds() -> int:
        with compiler.starting():
            with compiler._once():
                now[0] += 5
            return address

    address, kernel.address = kernel.compile(), 0
    monkeypatch.setattr(kernel, "compile", compile_for_five_seconds)
    with fastnn.profile() as prof:
        now[0] += 1
        with compiler.starting():
            now[0] += 2
        launcher.launch(kernel, 1, (np.zeros(1, np.float32),))
        now[0] += 3
    assert (prof.seconds, prof.starting) == (11, 7)
    [line] = prof.lines()
    assert line.seconds == 0
    assert prof._bars()[-2:] == [("starting", 7.0), ("Python", 4.0)]
    entry = compiler.Entry(_nothing_at_all, [], compiler.types.void)
    monkeypatch.undo()
    before = compiler.starting_seconds()
    entry.call()
    assert compiler.starting_seconds() > before


def _nothing(args: int, t: int, n: int) -> None:
    pass


def _nothing_at_all() -> None:
    pass


def test_a_batch_may_be_larger_than_any_array():
    x, y = np.zeros((3, 2), np.float32), np.zeros(3, np.int64)
    expected = fastnn.fit(fastnn.nn.Linear(2, 2, bias=False), x, y, batch_size=3)["loss"]
    assert fastnn.fit(fastnn.nn.Linear(2, 2, bias=False), x, y, batch_size=2**70)["loss"] == expected
