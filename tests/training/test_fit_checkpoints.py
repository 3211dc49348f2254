"""Checkpoints of fit: resumed bit for bit, whole after a kill and a full disk, refused by other runs."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import stat
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastnn
from fastnn import nn
from fastnn._core import atomic_file
from fastnn.callbacks import BestWeights, Callback, Checkpoint, EarlyStopping
from fastnn.training.checkpoint import SavedRun

# How often the process is killed in the test of kills; 200 in the complete check.
KILLS = int(os.environ.get("FASTNN_KILLS", "5"))


class Noisy(nn.Module):
    """Has all that a checkpoint must hold: buffers that are not saved usually, generators, a frozen parameter."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.noise, self.numbers = fastnn.Generator().manual_seed(7), np.random.default_rng(7)
        self.register_buffer("calls", fastnn.zeros(1), persistent=False)
        self.scale = nn.Parameter(fastnn.ones(width))
        self.frozen = nn.Parameter(fastnn.ones(width), requires_grad=False)

    def forward(self, x: Any) -> Any:
        if self.training:
            self.calls += 1
            x = x + 0.01 * fastnn.randn(x.shape[-1], generator=self.noise) * float(self.numbers.random())
        return x * self.scale * self.frozen + 0.001 * self.calls


def data(rows: int = 90) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).standard_normal((rows, 6)).astype(np.float32)
    return x, (x.sum(1) > 0).astype(np.int64)


def model(extra: bool = False, width: int = 8) -> nn.Module:
    fastnn.manual_seed(1)
    layers = [nn.Linear(6, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.3), nn.Linear(width, 2)]
    return nn.Sequential(*layers[:3], Noisy(width), *layers[3:]) if extra else nn.Sequential(*layers)


def contents(m: nn.Module) -> list[bytes]:
    return [t.detach().numpy().tobytes() for t in [*m.state_dict().values(), *m.buffers()]]


def adam(m: nn.Module) -> dict[str, Any]:
    optimizer = fastnn.optim.Adam(m.parameters(), lr=0.02)
    schedule = fastnn.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=100)
    return {"optimizer": optimizer, "step_scheduler": schedule, "max_grad_norm": 1.0}


def sgd(m: nn.Module) -> dict[str, Any]:
    groups = [{"params": list(m[0].parameters()), "lr": 0.05}, {"params": list(m[1:].parameters())}]
    optimizer = fastnn.optim.SGD(groups, lr=0.1, momentum=0.9)
    schedule = fastnn.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
    return {"optimizer": optimizer, "scheduler": schedule, "generator": fastnn.Generator().manual_seed(3)}


def warmed(m: nn.Module) -> dict[str, Any]:
    optimizer = fastnn.optim.AdamW(m.parameters(), lr=0.02)
    kinds = fastnn.optim.lr_scheduler
    parts = [kinds.LinearLR(optimizer, 0.1, total_iters=2), kinds.CosineAnnealingLR(optimizer, 4)]
    return {"optimizer": optimizer, "scheduler": kinds.SequentialLR(optimizer, parts, [2]), "drop_last": True}


class Stop(Exception):
    """In the place of a process that ends."""


def stop_in(epoch: int) -> Callable[[Any], None]:
    def stop(found: Any) -> None:
        if found.number == epoch:
            raise Stop

    return stop


def run(make: Callable[[nn.Module], dict[str, Any]], extra: bool, callbacks: tuple[Any, ...] = (), **more: Any) -> Any:
    m = model(extra)
    options = make(m)
    # Other random numbers were drawn before in each run; a resumed run must not depend on them.
    seed = 99 if more.get("resume") else 5
    fastnn.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002  # the state that programs use
    random.seed(seed)
    if "generator" in options:
        options["generator"].manual_seed(seed)
    found = fastnn.fit(
        m, *data(), epochs=6, batch_size=32, validation_data=data(40), callbacks=list(callbacks), **options, **more
    )
    return contents(m), found


@pytest.mark.parametrize(("make", "extra"), [(adam, False), (adam, True), (sgd, True), (warmed, True)])
def test_a_resumed_run_ends_as_one_that_was_not_interrupted(tmp_path: Path, make: Any, extra: bool) -> None:
    path = tmp_path / "run.pt"

    class Draws(Callback):
        def __init__(self) -> None:
            self.drawn: list[float] = []

        def on_epoch_end(self, run: Any, epoch: Any) -> None:
            self.drawn += [random.random(), np.random.random(), fastnn.rand(1).item()]  # noqa: NPY002

        def state_dict(self) -> dict[str, Any]:
            return {"drawn": self.drawn}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.drawn = state["drawn"]

    whole, resumed = Draws(), Draws()
    expected, history = run(make, extra, (whole, EarlyStopping(patience=6)))
    with pytest.raises(Stop) as caught:
        run(make, extra, (Draws(), EarlyStopping(patience=6), stop_in(4)), checkpoint=path)
    assert len(caught.value.history) == 4
    # The fourth epoch was not written: its callbacks had not finished.
    found, again = run(make, extra, (resumed, EarlyStopping(patience=6)), checkpoint=path, resume=True)
    assert found == expected
    assert whole.drawn == resumed.drawn
    for name in ("number", "loss", "lr", "validation_loss", "validation_accuracy"):
        assert again[name] == history[name]
    assert again.best_epoch == history.best_epoch
    assert os.listdir(tmp_path) == ["run.pt"]
    # A run that has ended is not trained further, and has the same end.
    found, again = run(make, extra, (Draws(), EarlyStopping(patience=6)), resume=path)
    assert (found, again["loss"]) == (expected, history["loss"])


def test_a_stopped_run_stays_stopped(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    expected, history = run(sgd, False, (EarlyStopping(patience=2, min_delta=1.0),), checkpoint=path)
    assert history.stopped == "validation_loss was not better for 2 epochs"
    assert len(history) < 6
    found, again = run(sgd, False, (EarlyStopping(patience=2, min_delta=1.0),), resume=path)
    assert (found, again.stopped, again.best_epoch) == (expected, history.stopped, history.best_epoch)


def test_resume_true_begins_without_a_file(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    assert len(run(adam, False, checkpoint=path, resume=True)[1]) == 6
    assert path.exists()


def test_a_file_for_each_epoch(tmp_path: Path) -> None:
    files = Checkpoint(tmp_path / "run-{epoch}.pt", every=4)
    run(adam, False, (files,))
    assert sorted(os.listdir(tmp_path)) == ["run-4.pt", "run-6.pt"]
    assert SavedRun(tmp_path / "run-4.pt").state["epoch"] == 4


# -- Kills --------------------------------------------------------------------------------------


def train(path: Path | None, epochs: int) -> Any:
    m = model(width=64)
    optimizer = fastnn.optim.Adam(m.parameters(), lr=0.01)
    resume = path is not None
    fastnn.fit(m, *data(), epochs=epochs, batch_size=32, optimizer=optimizer, checkpoint=path, resume=resume)
    return m


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the test forks")
def test_a_process_that_is_killed_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    path, epochs = tmp_path / "run.pt", 20 * KILLS + 5
    waits = random.Random(0)
    expected = contents(train(None, epochs))
    reached = []
    for _ in range(KILLS):
        with warnings.catch_warnings():
            # Python's, about threads: those of the pool are stopped around a fork.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                train(path, epochs)
            os._exit(0)
        # Until it has written at least one checkpoint more, and then at any moment of the next ones.
        last, patience = reached[-1] if reached else 0, time.monotonic() + 60
        while not (path.exists() and SavedRun(path).state["epoch"] > last):
            assert time.monotonic() < patience
            time.sleep(0.002)
        time.sleep(waits.uniform(0.0, 0.03))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "it had ended before it was killed"
        reached.append(SavedRun(path).state["epoch"])
    assert len(reached) == KILLS
    assert 0 < reached[0] < reached[-1] < epochs
    assert contents(train(path, epochs)) == expected
    print(f"{KILLS} kills, newest checkpoints of epochs {reached}")


# -- Files that cannot be written ------------------------------------------------------------------


@contextlib.contextmanager
def full_disk(size: int) -> Iterator[None]:
    """A block in which files cannot grow beyond a size."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_model_and_the_file_before(tmp_path: Path) -> None:
    path, m = tmp_path / "run.pt", model(width=2000)
    seen: dict[str, Any] = {}

    class Fills(Callback):
        def on_epoch_end(self, run: Any, epoch: Any) -> None:
            if epoch.number == 3:
                seen["weights"] = contents(m)
                stack.enter_context(full_disk(100_000))

    with contextlib.ExitStack() as stack, pytest.raises(OSError, match=r"run\.pt") as caught:
        fastnn.fit(m, *data(), epochs=5, checkpoint=path, callbacks=[Fills()])
    assert caught.value.filename == str(path)
    assert len(caught.value.history) == 3  # type: ignore[attr-defined]
    assert contents(m) == seen["weights"]
    assert SavedRun(path).state["epoch"] == 2
    assert os.listdir(tmp_path) == ["run.pt"]


def test_a_path_that_cannot_be_written_is_an_error_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    m = model()
    before = contents(m)

    def attempt(path: Path, error: Any, message: str) -> None:
        with pytest.raises(error, match=message):
            fastnn.fit(m, *data(), checkpoint=path)
        assert contents(m) == before

    attempt(tmp_path / "missing" / "run.pt", FileNotFoundError, "missing")
    attempt(tmp_path, IsADirectoryError, "is a folder")

    def refuse(path: Any, *args: Any) -> int:
        raise PermissionError(13, "Permission denied", path)

    with monkeypatch.context() as patch:
        # Permissions do not bind the root user.
        patch.setattr(atomic_file.os, "open", refuse)
        attempt(tmp_path / "run.pt", PermissionError, r"run\.pt'$")


def test_save_replaces_a_file_as_a_whole(tmp_path: Path) -> None:
    path, link = tmp_path / "weights.pt", tmp_path / "link.pt"
    fastnn.save({"w": fastnn.ones(3)}, path)
    path.chmod(0o640)
    link.symlink_to(path)
    with full_disk(10_000), pytest.raises(OSError, match=r"link\.pt"):
        fastnn.save({"w": fastnn.zeros(100_000)}, link)
    assert fastnn.load(path)["w"].tolist() == [1, 1, 1]
    fastnn.save({"w": fastnn.zeros(2)}, link)
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert fastnn.load(path)["w"].tolist() == [0, 0]
    assert sorted(os.listdir(tmp_path)) == ["link.pt", "weights.pt"]
    # Devices are not replaced.
    fastnn.save({"w": fastnn.zeros(2)}, os.devnull)
    assert not os.path.isfile(os.devnull)
    # The old temporary files of a killed process are deleted.
    for name, age in ((".weights.pt.1.tmp", 5000), (".weights.pt.2.tmp", 5)):
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    atomic_file.check_writable(path)
    assert sorted(os.listdir(tmp_path)) == [".weights.pt.2.tmp", "link.pt", "weights.pt"]


# -- Other runs ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "run.pt"
    run(adam, False, checkpoint=path)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": nn.Sequential(nn.Linear(6, 2))}, r"tensors of the model only in the checkpoint: 1.bias"),
        ({"model": lambda: model(width=9)}, r"0.weight of the model: .*shape \(8, 6\) in the checkpoint, .*\(9, 6\)"),
        (
            {"optimizer": lambda m: fastnn.optim.SGD(m.parameters(), lr=1)},
            "optimizer: Adam in the checkpoint, SGD here",
        ),
        (
            {"optimizer": lambda m: fastnn.optim.Adam([{"params": [p]} for p in m.parameters()])},
            r"groups: \[6\] in the checkpoint, \[1, 1, 1, 1, 1, 1\] here",
        ),
        ({"step_scheduler": None}, "schedulers only in the checkpoint: step_scheduler"),
        ({"data": data(91)}, "rows: 90 in the checkpoint, 91 here"),
        ({"data": (data()[0].astype(np.uint8), data()[1])}, "data: 'float32' in the checkpoint, 'uint8' here"),
        ({"batch_size": 16}, "batch_size: 32 in the checkpoint, 16 here"),
        ({"shuffle": False}, "shuffle: True in the checkpoint, False here"),
        ({"generator": fastnn.Generator()}, "generators only in this run: shuffle"),
    ],
)
def test_a_checkpoint_of_another_run_changes_nothing(saved: Path, change: dict[str, Any], message: str) -> None:
    change = dict(change)
    made = change.pop("model", model)
    m = made if isinstance(made, nn.Module) else made()
    options: dict[str, Any] = {"batch_size": 32, **adam(m)}
    if "optimizer" in change:
        options = {"batch_size": 32, "max_grad_norm": 1.0, "optimizer": change.pop("optimizer")(m)}
    x, y = change.pop("data", data())
    before, state = contents(m), options["optimizer"].state_dict()
    drawn = fastnn.get_rng_state().tolist()
    with pytest.raises(ValueError, match=message):
        fastnn.fit(m, x, y, resume=saved, **{**options, **change})
    assert contents(m) == before
    assert options["optimizer"].state_dict() == state
    assert fastnn.get_rng_state().tolist() == drawn


def test_an_error_while_restoring_changes_nothing(saved: Path) -> None:
    class Refuses(nn.Linear):
        def _load_from_state_dict(self, *args: Any) -> None:
            if not self.may_load:
                self.may_load = True
                raise Stop
            super()._load_from_state_dict(*args)

    m = model()
    m[4] = Refuses(8, 2)
    m[4].may_load = False
    options = adam(m)
    before, lr = contents(m), options["optimizer"].param_groups[0]["lr"]
    with pytest.raises(Stop):
        fastnn.fit(m, *data(), batch_size=32, resume=saved, **options)
    assert contents(m) == before
    assert options["optimizer"].param_groups[0]["lr"] == lr
    assert options["step_scheduler"].last_epoch == 0


def test_files_that_are_no_checkpoints(tmp_path: Path, saved: Path) -> None:
    m, path = model(), tmp_path / "file.pt"

    def attempt(error: Any, message: str) -> None:
        with pytest.raises(error, match=message):
            fastnn.fit(m, *data(), resume=path)

    attempt(FileNotFoundError, r"file\.pt")
    fastnn.save(m.state_dict(), path)
    attempt(ValueError, r"file\.pt' is not a checkpoint of fit")
    path.write_bytes(saved.read_bytes()[:-1000])
    attempt(RuntimeError, r"the checkpoint '.*file\.pt' cannot be read")
    path.write_bytes(b"")
    attempt(RuntimeError, r"the checkpoint '.*file\.pt' cannot be read")
    state = SavedRun(saved).state
    fastnn.save({**state, "format": 99}, path)
    attempt(ValueError, "has format 99; this version of fastnn reads 1")


def test_a_callback_that_is_missing_is_said(tmp_path: Path, saved: Path) -> None:
    path = tmp_path / "run.pt"
    run(adam, False, (BestWeights(),), checkpoint=path)
    with pytest.warns(UserWarning, match="state of a callback that is not given here: BestWeights"):
        run(adam, False, resume=path)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"resume": True}, ValueError, "resume=True resumes from checkpoint, which is not given"),
        ({"resume": 3}, TypeError, "resume must be a path, True or False, found int"),
        ({"checkpoint": 3}, TypeError, "the path of a checkpoint must be a string or a path, found int"),
    ],
)
def test_wrong_options(options: dict[str, Any], error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        fastnn.fit(model(), *data(), **options)
