"""The programs of examples/ run, in this process and on little data."""

from __future__ import annotations

import ast
import re
import runpy
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

import fastnn

FOLDER = Path(__file__).resolve().parents[2] / "examples"
# Options that make a program short, its expected output, and the packages that it needs.
PROGRAMS = {
    "fashion_mnist": (
        "--epochs 1 --samples 2560 --data nowhere",
        r"no Fashion-MNIST files in 'nowhere'.*\n.*accuracy (8[5-9]|9\d)\.",
        "",
    ),
    "tabular_classification": ("--epochs 3 --folds 2", r"mean: accuracy 9\d\.\d\d%, area 0\.9\d+; logistic", "sklearn"),
    "tabular_regression": ("--epochs 3 --members 2", r"mean: R2 0\.[34]\d+, ridge regression 0\.4\d+; 9", "sklearn"),
    "autoencoder": (
        "--epochs 1 --samples 2560 --picture a.png",
        r"test: 0\.0\d+ from .*, 0\.0\d+ from .*\nPCA .*: 0\.02\d+ ",
        "PIL",
    ),
    "vae": (
        "--epochs 1 --samples 2560 --picture v.png",
        r"epoch 1: \d+\.\d\d nats .*, 2\d\d\.\d\d a test picture",
        "PIL",
    ),
    "gan_ring": ("--steps 20 --picture r.png", r"(step \d+: losses .* of 8 heaps, .* in a heap\n){5}", "matplotlib"),
    "ppo_cartpole": ("--rounds 1", r"1024 steps: mean return \d\d\.\d of .*\n[\d,]+ steps per second", "gymnasium"),
    "physics_informed_ode": (
        "--adam 60 --lbfgs 5",
        r"(Adam, step \d0: .*\n){3}L-BFGS, 5 steps: loss \d.\d+e-0[1-3]",
        "",
    ),
    "distillation": (
        "--epochs 1 --samples 1920",
        r"teacher: 669,706 .* [67]\d\.\d\d%, .*\n.* on labels: 25,450 .* [89]\d.*\n.* of the teacher: 25,450 .* [78]\d",
        "",
    ),
    "optuna_search": (
        "--trials 2 --epochs 2",
        r"2 trials in .*\nbest: .*\n.*: test accuracy [5-9]\d\.\d\d%",
        "optuna sklearn",
    ),
    "int8_accuracy": (
        "--seeds 1 --only diabetes",
        r"float32 \| 17\.\d+ .*\n.*int8 \| 1[78]\.\d+ .*\n.*weights by row \| 1[78]\.\d+ .*\n.*batch by row \| 1[78]\.",
        "sklearn",
    ),
    "onnx_round_trip": (
        "--epochs 2 --file d.onnx",
        r"trained: .* 9\d\.\d\d%\n(ONNX Runtime: .* \d\.\de-0[5-7]|.* pip install.*)\n"
        r"loaded: 17,482 parameters, largest difference (0\.0e\+00|\d\.\de-0[67])\ntrained on: .* 9\d\.\d\d%\n",
        "sklearn onnx",
    ),
}
# The programs that have tests of their own.
OTHERS = {"mnist_recipes", "speedrun_mnist", "train_mnist"}


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run a program in an empty folder and return what it prints."""

    def program(name: str, options: str) -> str:
        monkeypatch.setattr(sys, "argv", [name, *options.split()])
        runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
        out, err = capsys.readouterr()
        assert err == ""
        return out

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FASTNN_DATA", raising=False)
    monkeypatch.setenv("MPLBACKEND", "agg")
    kind, threads = fastnn.get_default_dtype(), fastnn.get_num_threads()
    yield program
    fastnn.set_default_dtype(kind)
    fastnn.set_num_threads(threads)


def test_every_program_is_tested_and_listed_with_its_figures():
    assert {path.stem for path in FOLDER.glob("*.py")} == OTHERS | set(PROGRAMS)
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\((\w+)\.py\)", index)) == OTHERS | set(PROGRAMS)
    for name in PROGRAMS:
        said = ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8")))
        assert said is not None
        assert f"python examples/{name}.py" in said
        assert re.search(r"Measured: .*\bAMD EPYC\b", said, re.DOTALL), name


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name, run, tmp_path):
    options, expected, packages = PROGRAMS[name]
    for package in packages.split():
        pytest.importorskip(package, reason=f"{package} is not installed")
    out = run(name, options)
    assert re.search(expected, out), out
    for file in re.findall(r"\S+\.(?:png|onnx)", options):
        assert (tmp_path / file).stat().st_size > 1000


def test_fashion_mnist_reads_a_folder(run, tmp_path):
    rng = np.random.default_rng(0)
    for prefix, count in (("train", 512), ("t10k", 1000)):
        labels = np.arange(count, dtype=np.uint8) % 10
        images = rng.integers(0, 60, (count, 28, 28), dtype=np.uint8)
        images[np.arange(count), labels] += 190
        for name, array in ((f"{prefix}-images-idx3-ubyte", images), (f"{prefix}-labels-idx1-ubyte", labels)):
            header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            (tmp_path / name).write_bytes(header + array.tobytes())
    out = run("fashion_mnist", f"--epochs 3 --data {tmp_path}")
    assert "no Fashion-MNIST" not in out
    assert "epoch 3: loss 0." in out
    assert re.search(r"most often confused: \S+ taken for \S+", out)
