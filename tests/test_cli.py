"""The command line: what it does, and that it never answers a mistake with a traceback."""

import subprocess
import sys

import numpy as np
import pytest

from fastnn import __version__, cli


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


def test_plot_activations(capsys, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
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
