"""The command line: its commands, and no traceback for a user's error."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastnn import __version__
from fastnn._cli import main as cli

ROOT = Path(__file__).resolve().parents[2]


def run(capsys, *argv):
    """Exit status, standard output, standard error."""
    try:
        status = cli.main(argv)
    except SystemExit as stop:
        status = stop.code
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.parametrize(
    "argv",
    [
        (), ("--nonesuch",), ("nonesuch",), ("plot",), ("plot", "nonesuch", "-o", "a.png"), ("plot", "activations"),
        ("plot", "activations", "-o"), ("plot", "activations", "-o", "a.png", "more"),
        ("profile",), ("profile", "-o"), ("profile", "-o", "a.png"), ("profile", "nonesuch.py"), ("profile", "tests"),
        ("profile", "-o", "a.txt", "x.py"), ("profile", "-o", "/nonesuch/a.png", "x.py"), ("profile", "-m"),
        ("profile", "-o", "x" * 300 + ".png", "x.py"),
        ("profile", "-q", "x.py"), ("profile", "--out", "a.png", "x.py"), ("profile", "-o", "a.png", "nonesuch.py"),
        ("run",), ("run", "-m"), ("run", "-"), ("bench", "--nonesuch"), ("bench", "--only", "nonesuch"),
    ],
)  # fmt: skip
def test_wrong_arguments_give_one_line(capsys, argv):
    status, out, err = run(capsys, *argv)
    assert (status, out) == (2, "")
    assert err.startswith("fastnn")
    assert err.count("\n") == 1


def test_help_names_every_command(capsys):
    status, out, err = run(capsys, "--help")
    assert (status, err) == (0, "")
    assert all(command.name in out and command.summary in out for command in cli.COMMANDS)
    for command in cli.COMMANDS:
        assert run(capsys, command.name, "--help")[0] == 0


def test_version(capsys):
    assert run(capsys, "--version") == (0, f"{__version__}\n", "")


def test_what_a_command_raises_is_one_line(capsys, monkeypatch):
    for error, status, message in [
        (cli.Failure("no\nluck"), 1, "fastnn: no luck\n"),
        (FileNotFoundError(2, "No such file", "a.png"), 1, "fastnn: a.png: No such file\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ]:

        def fail(options, error=error):
            raise error

        monkeypatch.setattr(cli, "COMMANDS", (cli.Command("fail", "fails", lambda parser: None, fail),))
        assert run(capsys, "fail") == (status, "", message)


def test_without_matplotlib(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.delitem(sys.modules, "matplotlib")

    class Blocker:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] == "matplotlib":
                raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")

    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Blocker(), *sys.meta_path])
    status, out, err = run(capsys, "plot", "activations", "-o", str(tmp_path / "a.png"))
    assert (status, out) == (1, "")
    assert err == "fastnn: plots need matplotlib: pip install 'fastnn[plot]'\n"


def test_plot_activations(capsys, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    # With a cold cache the kernels are compiled here, which would print a message on stderr.
    monkeypatch.setenv("FASTNN_QUIET", "1")
    from fastnn.classic import plot_activations

    path = tmp_path / "activations.png"
    assert run(capsys, "plot", "activations", "-o", str(path)) == (0, f"wrote {path}\n", "")
    assert path.read_bytes().startswith(b"\x89PNG")
    bare = tmp_path / "bare"
    plot_activations(bare)
    assert bare.read_bytes().startswith(b"\x89PNG")
    figure = plot_activations()
    assert [axes.get_title() for axes in figure.axes] == ["Sigmoid", "Tanh", "ReLU", "Leaky ReLU"]
    for axes in figure.axes:
        _, _, function, derivative = axes.get_lines()
        x, y = function.get_data()
        slope = np.gradient(y, x)
        corner = np.abs(x) > 0.02
        np.testing.assert_allclose(derivative.get_ydata()[1:-1][corner[1:-1]], slope[1:-1][corner[1:-1]], atol=1e-4)
    for bad in (tmp_path / "none" / "a.png", tmp_path / "a.nonesuch", tmp_path):
        status, out, err = run(capsys, "plot", "activations", "-o", str(bad))
        assert (status, out) == (1, "")
        assert err.startswith("fastnn: ")
        assert err.count("\n") == 1


def test_as_a_module():
    done = subprocess.run([sys.executable, "-m", "fastnn", "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{__version__}\n", "")


@pytest.mark.parametrize(
    ("argv", "own"),
    [
        ("a.py -o b -m c", "a.py"), ("-m a -o b", "-m a"), ("-ma b", "-ma"), ("-o p.png a.py -o b", "-o p.png a.py"),
        ("--output p.png -m a b", "--output p.png -m a"), ("--output=p.png a.py b", "--output=p.png a.py"),
        ("-op.png a.py b", "-op.png a.py"), ("- a", "-"), ("-h a.py b", "-h a.py"), ("-o p.png", "-o p.png"), ("", ""),
    ],
)  # fmt: skip
def test_what_is_behind_the_program_is_its_own(argv, own):
    (command,) = (command for command in cli.COMMANDS if command.name == "profile")
    words = argv.split()
    assert words[: command.own(words)] == own.split()


# Two products forward and two weight gradients, with both biases, a step.
SCRIPT = """
import sys, torch
from torch import nn
model = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
for _ in range(5):
    nn.functional.cross_entropy(model(torch.ones(64, 784)), torch.zeros(64).long()).backward()
print(sys.argv[1:])
if sys.argv[1:] == ["exit"]:
    sys.exit(3)
if sys.argv[1:] == ["fail"]:
    1 / 0
"""


def profiled(tmp_path, *argv):
    """Exit status, standard output and standard error of ``fastnn profile`` in a process of its own."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "fastnn", "profile", *argv], capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "FASTNN_QUIET": "1", "PYTHONPATH": paths},
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_profile_prints_where_the_time_goes(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    argv, last = ["script.py", "-o", "x"], ""
    if importlib.util.find_spec("matplotlib") is not None:
        argv, last = ["-o", "picture.svg", *argv], f"wrote {tmp_path / 'picture.svg'}\n"
    status, out, err = profiled(tmp_path, *argv)
    assert (status, err) == (0, "")
    assert out.startswith("['-o', 'x']\n\nscript.py: ")
    assert out.endswith(last)
    table = {line.split()[0]: line.split()[1] for line in out.splitlines() if line}
    # For the second layer, also the gradient of its input.
    assert table["gemm.float32"] == "25"
    assert table["softmax_cross_entropy.float32"] == "5"
    assert {"kernel", "starting", "Python"} <= table.keys()
    assert not last or "gemm.float32" in (tmp_path / "picture.svg").read_text()


@pytest.mark.parametrize(("argument", "expected", "error"), [("exit", 3, ""), ("fail", 1, "ZeroDivisionError")])
def test_profile_of_a_program_that_ends_otherwise(tmp_path, argument, expected, error):
    (tmp_path / "script.py").write_text(SCRIPT)
    status, out, err = profiled(tmp_path, "-m", "script", argument)
    assert status == expected
    assert "gemm.float32" in out
    frames = [line for line in err.splitlines() if line.startswith("  File")]
    assert [f'"{tmp_path / "script.py"}"' in frame for frame in frames] == [True] * bool(error)
    assert error in err


def test_profile_of_a_module_that_is_not_there(tmp_path):
    assert profiled(tmp_path, "-m", "nonesuch") == (1, "", "fastnn profile: No module named nonesuch\n")


def test_bench_is_the_benchmarks_of_the_checkout(capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", sys.path[:])
    status, out, err = run(capsys, "bench", "--list")
    assert (status, err) == (0, "")
    assert "training_step: fastnn, fastnn_step, numpy, torch" in out
    status, out, err = run(capsys, "bench", "--quick", "--threads", "0")
    assert (status, out) == (2, "")
    assert err.startswith("fastnn bench: argument --threads: ")


def test_bench_without_a_checkout(capsys, monkeypatch, tmp_path):
    # A folder of that name in another project is not used.
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__main__.py").write_text("raise AssertionError")
    monkeypatch.setattr("fastnn.__file__", str(tmp_path / "fastnn" / "__init__.py"))
    message = "fastnn bench: the benchmarks are part of the repository, not of the installed package\n"
    assert run(capsys, "bench", "--quick") == (2, "", message)
