"""Callbacks of fit, its history, divergence, and what it takes as data."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastnn
from fastnn import nn
from fastnn.callbacks import BestWeights, Callback, Checkpoint, CSVLogger, EarlyStopping, TensorBoard
from fastnn.training.loop import DivergenceError, Run


def data(rows: int = 40) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).standard_normal((rows, 3)).astype(np.float32)
    return x, (x.sum(1) > 0).astype(np.int64)


def fit(callbacks: Any = (), **options: Any) -> tuple[nn.Module, fastnn.History]:
    fastnn.manual_seed(0)
    model = options.pop("model", None) or nn.Linear(3, 2)
    options = {"epochs": 4, "batch_size": 16, "validation_data": data(), "callbacks": callbacks, **options}
    return model, fastnn.fit(model, *options.pop("data", data()), **options)


class Log(Callback):
    """Notes the calls of its methods."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def on_fit_begin(self, run: Run) -> None:
        self.calls.append(f"begin {run.epoch} of {run.epochs}")

    def on_epoch_begin(self, run: Run) -> None:
        self.calls.append(f"epoch {run.epoch}")

    def on_batch_end(self, run: Run) -> None:
        assert math.isfinite(run.loss)
        self.calls.append(f"batch {run.batch} of {run.batches}")

    def on_epoch_end(self, run: Run, epoch: Any) -> None:
        assert run.loss == epoch.loss
        assert run.history.epochs[-1] is epoch
        assert epoch.validation_loss is not None
        self.calls.append(f"end {epoch.number}")

    def on_fit_end(self, run: Run) -> None:
        self.calls.append(f"done {type(run.error).__name__}")


EPOCH = ["batch 1 of 3", "batch 2 of 3", "batch 3 of 3"]


def test_the_methods_are_called_in_their_order() -> None:
    log = Log()
    fit([log], epochs=2)
    whole = ["begin 0 of 2", "epoch 1", *EPOCH, "end 1", "epoch 2", *EPOCH, "end 2", "done NoneType"]
    assert log.calls == whole

    class Alike:
        """A callback of no class of the library's."""

        on_epoch_begin, calls = Log.on_epoch_begin, log.calls

    log.calls.clear()
    fit([Alike()], epochs=2)
    assert log.calls == ["epoch 1", "epoch 2"]
    log.calls.clear()
    # One callback need not be in a list.
    fit(log, epochs=0)
    assert log.calls == ["begin 0 of 0", "done NoneType"]


def test_methods_that_do_nothing_are_not_called_for_each_batch() -> None:
    class Looks(Callback):
        def on_epoch_end(self, run: Run, epoch: Any) -> None:
            self.run = run

    looks = Looks()
    fit([looks, EarlyStopping()])
    assert looks.run.after_batch == []


def test_a_run_is_stopped_in_an_epoch_and_ends_with_an_error() -> None:
    class Stops(Callback):
        def on_batch_end(self, run: Run) -> None:
            if run.epoch == 2 and run.batch == 2:
                run.stop("enough")
                run.stop("another reason")

    log = Log()
    history = fit([Stops(), log])[1]
    assert history.stopped == "enough"
    assert log.calls[-4:] == ["batch 1 of 3", "batch 2 of 3", "end 2", "done NoneType"]

    def interrupt(epoch: Any) -> None:
        raise KeyboardInterrupt

    log.calls.clear()
    with pytest.raises(KeyboardInterrupt) as caught:
        fit([log, interrupt])
    assert log.calls[-2:] == ["end 1", "done KeyboardInterrupt"]
    assert len(caught.value.history) == 1  # type: ignore[attr-defined]


def drive(callback: Any, values: list[float], monitor: str = "validation_loss") -> tuple[list[float], Any, Any]:
    """Epochs with the given values: the weights after each are its number. The weight at the end, and the history."""
    model = nn.Linear(1, 1)

    class Sets(Callback):
        def on_epoch_end(self, run: Run, epoch: Any) -> None:
            setattr(epoch, monitor, values[epoch.number - 1])
            model.weight.data.fill_(float(epoch.number))

    _, history = fit(
        [Sets(), callback], model=model, epochs=len(values), data=(np.zeros((4, 1)), np.zeros(4, np.int64)),
        validation_data=(np.zeros((4, 1)), np.zeros(4, np.int64)), check_finite=False,
        criterion=lambda out, y: (out * 0).sum(),
    )  # fmt: skip
    return model.weight.item(), len(history), history


@pytest.mark.parametrize(
    ("options", "values", "epochs", "best"),
    [
        ({"patience": 2}, [3, 2, 2.5, 2.2, 1], 4, 2),
        ({"patience": 2}, [3, 2, 2.5, 1.9, 2, 2, 0], 6, 4),
        ({"patience": 3}, [3, 2, 1], 3, 3),
        ({"patience": 2, "min_delta": 0.5}, [3, 2.6, 2.2, 2, 1.9, 0], 5, 3),
        ({"patience": 1, "mode": "max"}, [3, 4, 3.5, 9], 3, 2),
        ({"patience": 2, "monitor": "validation_accuracy"}, [0.5, 0.7, 0.6, 0.7, 0.9], 4, 2),
        ({"patience": 2}, [math.nan, 2, math.nan, math.nan, 1], 4, 2),
        ({"patience": 2}, [math.nan, math.nan, 1], 2, 0),
    ],
)
def test_early_stopping(options: dict[str, Any], values: list[float], epochs: int, best: int) -> None:
    monitor = options.get("monitor", "validation_loss")
    stopping = EarlyStopping(**options)
    weight, count, history = drive(stopping, values, monitor)
    assert (weight, count) == (best or epochs, epochs)
    assert history.stopped == (f"{monitor} was not better for {stopping.patience} epoch" + "s" * (stopping.patience > 1)
                               if epochs < len(values) else "")  # fmt: skip
    if best:
        assert (history.best_epoch, stopping.epoch, stopping.value) == (best, best, values[best - 1])
    assert drive(EarlyStopping(**options, restore_best=False), values, monitor)[0] == epochs


def test_best_weights_and_errors() -> None:
    best = BestWeights()
    assert drive(best, [3, 1, 2])[0] == 2

    class Fails(BestWeights):
        def on_epoch_end(self, run: Run, epoch: Any) -> None:
            super().on_epoch_end(run, epoch)
            self.run = run
            if epoch.number == 3:
                raise KeyboardInterrupt

    fails = Fails()
    with pytest.raises(KeyboardInterrupt):
        drive(fails, [3, 1, 2])
    weight = fails.run.model.weight
    assert weight.item() == 3
    fails.restore(fails.run)
    assert weight.item() == 2


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: EarlyStopping(patience=0), ValueError, "patience must be positive, found 0"),
        (lambda: EarlyStopping(patience=1.5), TypeError, "patience must be an integer, found 1.5"),
        (lambda: EarlyStopping("val_loss"), ValueError, "monitor must be one of loss, .*found 'val_loss'"),
        (lambda: EarlyStopping(mode="most"), ValueError, "mode must be 'auto', 'min' or 'max', found 'most'"),
        (lambda: BestWeights(min_delta=-1), ValueError, "min_delta must not be negative, found -1"),
        (lambda: Checkpoint("a", every=0), ValueError, "every must be positive, found 0"),
        (lambda: Checkpoint(3), TypeError, "path of a checkpoint must be a string or a path, found int"),
        (lambda: fit([EarlyStopping()], validation_data=None), ValueError, "which needs validation data"),
        (
            lambda: fit(
                [EarlyStopping("validation_accuracy")], model=nn.Linear(3, 1), criterion=nn.MSELoss(),
                data=(data()[0], data()[0][:, :1]), validation_data=(data()[0], data()[0][:, :1]),
            ),
            ValueError, "validation_accuracy, which is for class labels only",
        ),
        (lambda: fit([Callback]), TypeError, "callbacks must be callable, found \\['type'\\]"),
        (lambda: fit(validation=data()), TypeError, "validation and validation_data are two names"),
        (
            lambda: fit(data=(fastnn.utils.data.DataLoader(fastnn.utils.data.TensorDataset(fastnn.ones(2, 3))), None)),
            TypeError, "found DataLoader; fit makes the batches itself: give it the tensors of the data set",
        ),
        (
            lambda: fit(data=(fastnn.utils.data.TensorDataset(fastnn.ones(2, 3)), None)),
            ValueError, "must have two tensors, data and targets, found 1",
        ),
        (lambda: fit(data=(data()[0], None)), TypeError, "targets must be a tensor, .*found NoneType"),
    ],
)  # fmt: skip
def test_wrong_arguments(make: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_a_tensor_data_set() -> None:
    x, y = map(fastnn.tensor, data())
    pairs = fastnn.utils.data.TensorDataset(x, y)
    assert fit(data=(pairs,), validation_data=pairs)[1]["loss"] == fit()[1]["loss"]


# -- Logs and pictures --------------------------------------------------------------------------


def test_the_csv_logger_goes_on_after_a_resume(tmp_path: Path) -> None:
    log, run = tmp_path / "log.csv", tmp_path / "run.pt"

    def lines() -> list[list[str]]:
        with open(log, encoding="utf-8", newline="") as file:
            return list(csv.reader(file))

    sizes: list[int] = []

    def stop_after_two(epoch: Any) -> None:
        sizes.append(len(lines()))
        if epoch.number == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit([CSVLogger(log), stop_after_two], checkpoint=run)
    assert sizes == [2, 3, 4]
    history = fit([CSVLogger(log)], resume=run)[1]
    names, *rows = lines()
    assert names == ["number", "loss", "seconds", "lr", "validation_loss", "validation_accuracy"]
    assert [float(row[1]) for row in rows] == history["loss"]
    assert [row[0] for row in rows] == ["1", "2", "3", "4"]
    history.to_csv(tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == log.read_bytes()


def test_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Any] = []

    class Writer:
        def __init__(self, folder: str) -> None:
            written.append(folder)

        def add_scalar(self, tag: str, value: float, step: int) -> None:
            written.append((tag, value, step))

        def flush(self) -> None:
            pass

        def close(self) -> None:
            written.append("closed")

    monkeypatch.setattr("fastnn.utils.tensorboard.SummaryWriter", Writer)
    history = fit([TensorBoard(tmp_path)], epochs=1)[1]
    [epoch] = history.epochs
    assert written == [
        str(tmp_path), ("loss/training", epoch.loss, 1), ("loss/validation", epoch.validation_loss, 1),
        ("accuracy/validation", epoch.validation_accuracy, 1), ("lr", epoch.lr, 1), "closed",
    ]  # fmt: skip


def test_history_as_columns_and_as_a_picture(tmp_path: Path) -> None:
    history = fit()[1]
    columns = history.to_dict()
    assert list(columns) == ["number", "loss", "seconds", "lr", "validation_loss", "validation_accuracy"]
    assert all(len(column) == 4 for column in columns.values())
    assert history.best_epoch == 1 + int(np.argmin(history["validation_loss"]))
    plain = fit(validation_data=None)[1]
    assert list(plain.to_dict()) == ["number", "loss", "seconds", "lr"]
    assert plain.best_epoch == 1 + int(np.argmin(plain["loss"]))
    assert fit(epochs=0)[1].best_epoch is None
    pytest.importorskip("matplotlib")
    figure = history.plot(tmp_path / "history.png")
    assert (tmp_path / "history.png").read_bytes().startswith(b"\x89PNG")
    losses, accuracy = figure.axes
    assert [line.get_label() for line in losses.get_lines()][:2] == ["training", "validation"]
    assert list(losses.get_lines()[0].get_ydata()) == history["loss"]
    assert list(accuracy.get_lines()[0].get_ydata()) == history["validation_accuracy"]
    assert len(plain.plot().axes) == 1


# -- Divergence -----------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_ends_training(bad: float) -> None:
    x, y = data()
    x[20] = bad
    seen: list[Any] = []

    class Ends(Callback):
        def on_fit_end(self, run: Run) -> None:
            seen.append(run.error)

    with pytest.raises(
        FloatingPointError, match=r"the loss became nan in epoch 1, batch 2 of 3: the learning"
    ) as caught:
        fit([Ends()], data=(x, y), shuffle=False)
    error = caught.value
    assert isinstance(error, DivergenceError)
    assert (error.epoch, error.batch, math.isnan(error.loss), len(error.history)) == (1, 2, True, 0)
    assert seen == [error]
    assert all(map(math.isnan, fit(data=(x, y), shuffle=False, check_finite=False)[1]["loss"]))


def test_divergence_of_a_learning_rate_and_of_the_validation() -> None:
    x, y = data()[0], data()[0][:, :1]
    model = nn.Linear(3, 1)
    options = {"data": (x, y), "criterion": nn.MSELoss(), "model": model, "epochs": 100}
    with pytest.raises(FloatingPointError, match=r"became inf in epoch \d+, batch \d") as caught:
        fit(optimizer=fastnn.optim.SGD(model.parameters(), lr=10.0), validation_data=None, **options)
    history = caught.value.history  # type: ignore[attr-defined]
    assert history["loss"] == sorted(history["loss"])
    with pytest.raises(FloatingPointError, match="the validation loss became nan in epoch 1"):
        fit(validation_data=(x * np.nan, y), **{**options, "model": nn.Linear(3, 1)})


class Root(nn.Module):
    def forward(self, x: Any) -> Any:
        return x.sqrt()


def test_fit_names_the_layer_under_detect_anomaly() -> None:
    fastnn.manual_seed(0)
    x = np.abs(data()[0]) + 1
    x[20] = -1
    model = nn.Sequential(nn.Sequential(nn.Identity(), nn.Identity()), Root(), nn.Linear(3, 2))
    with fastnn.autograd.set_detect_anomaly(True), pytest.raises(RuntimeError) as caught:
        fit(model=model, data=(x, data()[1]), shuffle=False)
    assert str(caught.value) == "epoch 1, batch 2, step 2: layer '1' (Root) made NaN in the forward pass"
    assert isinstance(caught.value, FloatingPointError)
    # A run without NaN has the same numbers inside of the block and after it.
    expected = fit()[1]["loss"]
    with fastnn.autograd.set_detect_anomaly(True):
        assert fit()[1]["loss"] == expected
    assert fit()[1]["loss"] == expected


def nan_weight(net: Any) -> None:
    net.b[1].weight.data[0, 0] = math.nan


def huge_weight(net: Any) -> None:
    net.b[1].weight.data.fill_(3e38)


class Net(nn.Module):
    def __init__(self, between: Any = None) -> None:
        super().__init__()
        self.a, self.b, self.between = nn.Linear(3, 4), nn.Sequential(nn.ReLU(), nn.Linear(4, 2)), between
        fastnn.nn.init.constant_(self.a.weight, 0.5)
        fastnn.nn.init.constant_(self.b[1].weight, 0.5)

    def forward(self, x: Any) -> Any:
        x = self.a(x)
        return self.b(x if self.between is None else self.between(x))


@pytest.mark.parametrize(
    ("change", "criterion", "x", "lr", "message"),
    [
        (nan_weight, None, 1.0, 0.1, "layer 'b.1' (Linear) made NaN in the forward pass"),
        (huge_weight, None, 1.0, 0.1, "layer 'b.1' (Linear) made infinity in the forward pass"),
        (None, None, math.inf, 0.1, "the input of Net has infinity"),
        (lambda net: setattr(net, "between", lambda x: (x - 100).log()), None, 1.0, 0.1,
         "Net made NaN before it called layer 'b' (Sequential)"),
        (None, lambda out, y: (out * 1e30).sum() * 1e30, 1.0, 0.1, "<lambda> made infinity"),
        (None, lambda out, y: (out.sum() * 0).sqrt(), 1.0, 0.1,
         "Function 'SqrtBackward0' returned infinite values in its 0th output."),
        (lambda net: setattr(net, "between", lambda x: (x * 0).sqrt() + x), None, 1.0, 0.1,
         "Function 'SqrtBackward0' returned infinite values in its 0th output. The operation belongs to Net."),
        (None, None, 1.0, 1e39, "the update by SGD made infinity in the parameter a.weight"),
        (None, None, 1.0, 0.1, ""),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Error detected in")
def test_a_compiled_step_names_what_made_the_number(
    change: Any, criterion: Any, x: float, lr: float, message: str
) -> None:
    net = Net()
    step = fastnn.compile_step(net, criterion or nn.CrossEntropyLoss(), fastnn.optim.SGD(net.parameters(), lr=0.0))
    batch = fastnn.ones(8, 3), fastnn.zeros(8).long()
    for _ in range(3):
        if criterion is None:
            step(*batch)
    if change is not None:
        change(net)
    step.optimizer.param_groups[0]["lr"] = lr
    batch[0].fill_(x)
    with fastnn.autograd.set_detect_anomaly(True):
        if not message:
            step(*batch)
            return
        with pytest.raises(FloatingPointError) as caught:
            step(*batch)
    assert str(caught.value) == f"step 1: {message}"


def test_a_backward_pass_names_the_layer() -> None:
    model = nn.Sequential(nn.Linear(3, 3), Root(), nn.Linear(3, 1))
    model[0].bias.data.zero_()

    def train() -> None:
        with fastnn.autograd.set_detect_anomaly(True):
            (model(fastnn.zeros(2, 3)) * 0).sum().backward()

    warned = r"Error detected in SqrtBackward0. The operation belongs to layer '1' \(Root\)"
    with (
        pytest.warns(UserWarning, match=warned),
        pytest.raises(RuntimeError, match="Function 'SqrtBackward0' returned nan values in its 0th output") as caught,
    ):
        train()
    assert caught.value.__notes__ == ["The operation belongs to layer '1' (Root)."]
    assert not isinstance(caught.value, FloatingPointError)
    # A call that has failed is forgotten, and without check_nan nothing is an error.
    net = nn.Sequential(nn.Linear(3, 3), Root())
    sgd = fastnn.optim.SGD(net.parameters(), lr=0.1)
    step = fastnn.compile_step(net, nn.MSELoss(), sgd)
    with fastnn.autograd.set_detect_anomaly(True):
        with pytest.raises(RuntimeError, match=r"shapes|size"):
            model(fastnn.zeros(2, 5))
        with pytest.raises(RuntimeError, match=r"step 1: the input of Sequential has NaN"):
            step(fastnn.full((2, 3), math.nan), fastnn.zeros(2, 3))
    with fastnn.autograd.set_detect_anomaly(True, check_nan=False):
        assert math.isnan(step(fastnn.full((2, 3), -9.0), fastnn.full((2, 3), math.nan)).item())
    # Nothing is left of the mode.
    assert not fastnn.nn.hooks.EVERYWHERE
