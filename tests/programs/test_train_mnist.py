"""examples/train_mnist.py: its output, saved files and exit status, on a small data set."""

import importlib.util
import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "train_mnist.py"


@pytest.fixture(scope="module")
def program():
    specification = importlib.util.spec_from_file_location("train_mnist", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path):
    """200 training and 50 test images of 4x4 pixels, whose brightest row is their class."""
    rng = np.random.default_rng(0)
    for prefix, count in (("train", 200), ("t10k", 50)):
        labels = rng.integers(0, 4, count, dtype=np.uint8)
        images = rng.integers(0, 60, (count, 4, 4), dtype=np.uint8)
        images[np.arange(count), labels] += 190
        for name, array in ((f"{prefix}-images-idx3-ubyte", images), (f"{prefix}-labels-idx1-ubyte", labels)):
            header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            (tmp_path / name).write_bytes(header + array.tobytes())
    return tmp_path


def run(program, folder, *options):
    save = folder / "weights.npz"
    return program.main(["--data", str(folder), "--save", str(save), "--hidden", "16,8", *options]), save


def test_learns_and_reports(program, folder, capsys):
    status, save = run(
        program, folder, "--epochs", "8", "--batch-size", "7", "--lr", "0.02", "--json", str(folder / "r.json")
    )
    out, _ = capsys.readouterr()
    assert status == 0
    assert "16-16-8-4, 200 training images" in out
    assert out.count("test accuracy") == 9
    assert f"weights saved in {save}" in out
    results = json.loads((folder / "r.json").read_text())
    assert results["test_accuracy"] == 1.0
    assert len(results["epochs"]) == 8
    assert results["epochs"][-1]["loss"] < 0.1 < results["epochs"][0]["loss"]
    with np.load(save) as weights:
        assert {name: a.shape for name, a in weights.items()} == {
            "0.weight": (16, 16), "0.bias": (16,), "2.weight": (8, 16), "2.bias": (8,),
            "4.weight": (4, 8), "4.bias": (4,),
        }  # fmt: skip


def test_same_seed_same_weights_on_any_number_of_threads(program, folder):
    results = []
    for threads in ("1", "2", "3"):
        _, save = run(program, folder, "--epochs", "2", "--seed", "3", "--threads", threads)
        with np.load(save) as weights:
            results.append([weights[name].tobytes() for name in weights])
    assert results[0] == results[1] == results[2]
    _, save = run(program, folder, "--epochs", "2", "--seed", "4")
    with np.load(save) as weights:
        assert [weights[name].tobytes() for name in weights] != results[0]


def test_sgd_and_no_hidden_layer(program, folder):
    status, save = run(program, folder, "--optimizer", "sgd", "--hidden", "", "--epochs", "1")
    assert status == 0
    with np.load(save) as weights:
        assert list(weights) == ["0.weight", "0.bias"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epochs", "0"], "must be at least 1, found 0"),
        (["--epochs", "two"], "invalid whole number value: 'two'"),
        (["--lr", "nan"], "must be a positive number, found nan"),
        (["--lr", "-1"], "must be a positive number"),
        (["--hidden", "5,x"], "invalid list of widths"),
        (["--hidden", "5,,3"], "invalid list of widths"),
        (["--seed", "-1"], "must be in [0, 2**64)"),
        (["--optimizer", "lion"], "invalid choice: 'lion'"),
        (["--bogus"], "unrecognized arguments: --bogus"),
        (["--data", "/no/such/folder"], "/no/such/folder"),
        (["--save", "/no/such/folder/w.npz"], "there is no folder"),
        (["--save", "/"], "is a folder"),
        (["--json", "/no/such/folder/r.json"], "there is no folder"),
    ],
)
def test_wrong_options_are_one_line_and_status_2(program, capsys, options, message):
    with pytest.raises(SystemExit) as stop:
        program.main(options)
    _, err = capsys.readouterr()
    assert stop.value.code == 2
    assert message in err
    assert err.count("\n") == 1


def test_broken_data_is_one_line_and_status_2(program, folder, capsys):
    (folder / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03 not images")
    with pytest.raises(SystemExit) as stop:
        run(program, folder)
    _, err = capsys.readouterr()
    assert stop.value.code == 2
    assert "train-images-idx3-ubyte" in err
    assert err.count("\n") == 1


def test_layers_that_do_not_fit_in_memory(program, folder, capsys):
    status, _ = run(program, folder, "--hidden", str(10**13))
    assert status == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_interrupt_saves_and_returns_130(program, folder, capsys, monkeypatch):
    step, calls = program.train_step, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) > 4:
            raise KeyboardInterrupt
        return step(*arguments)

    monkeypatch.setattr(program, "train_step", interrupted)
    status, save = run(program, folder, "--json", str(folder / "r.json"))
    assert status == 130
    assert save.exists()
    assert json.loads((folder / "r.json").read_text())["interrupted"] is True
    assert "interrupted" in capsys.readouterr().err


def test_a_save_that_fails_goes_to_a_temporary_folder(program, folder, capsys, monkeypatch):
    monkeypatch.setattr(program.tempfile, "mkdtemp", lambda prefix: str(folder))
    blocked = folder / "gone"
    blocked.mkdir()
    step = program.train_step

    def remove_folder(*arguments):
        if blocked.exists():
            blocked.rmdir()
        return step(*arguments)

    monkeypatch.setattr(program, "train_step", remove_folder)
    status = program.main(["--data", str(folder), "--save", str(blocked / "w.npz"), "--epochs", "1"])
    assert status == 0
    assert (folder / "w.npz").exists()
    assert "cannot write" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_in_a_process_of_its_own(folder):
    save = folder / "weights.npz"
    command = [sys.executable, str(SCRIPT), "--data", str(folder), "--save", str(save), "--epochs", "1000000"]
    environment = {**os.environ, "FASTNN_QUIET": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        # A test run in the background inherits an ignored SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    for line in process.stdout:
        if line.startswith("epoch 2/"):
            break
    time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "weights saved in" in out
    assert save.exists()
    assert "Traceback" not in err
    # Not a terminal: no progress bar.
    assert "batch/s" not in err


def test_a_reader_that_has_gone_does_not_cost_the_model(program, folder, monkeypatch):
    class Closed:
        def write(self, text):
            raise BrokenPipeError(32, "Broken pipe")

        flush = write

    monkeypatch.setattr(sys, "stdout", Closed())
    status, save = run(program, folder, "--epochs", "1")
    sys.stdout.close()
    assert status == 0
    assert save.exists()


def test_targets_that_cannot_be_written_are_found_before_training(program, folder, capsys):
    fifo = folder / "pipe"
    os.mkfifo(fifo)
    for options in (
        ["--save", str(fifo)],
        ["--save", str(folder / ("x" * 300))],
        ["--json", str(folder / "weights.npz"), "--save", str(folder / "weights.npz")],
    ):
        with pytest.raises(SystemExit) as stop:
            program.main(["--data", str(folder), *options])
        assert stop.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert fifo.is_fifo()


def test_a_link_is_followed(program, folder):
    link = folder / "link.npz"
    link.symlink_to(folder / "target.npz")
    assert program.main(["--data", str(folder), "--save", str(link), "--epochs", "1"]) == 0
    assert link.is_symlink()
    assert (folder / "target.npz").is_file()


def test_a_diverged_loss_is_null_in_json(program, folder):
    status, _ = run(program, folder, "--lr", "1e300", "--epochs", "1", "--json", str(folder / "r.json"))
    assert status == 0
    assert json.loads((folder / "r.json").read_text(), parse_constant=pytest.fail)["epochs"][0]["loss"] is None
