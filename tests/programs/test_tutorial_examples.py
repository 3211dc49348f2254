"""The programs of examples/tutorial run, each in a process of its own and on little data."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "tutorial"
# The folder is not part of the distribution: measurements need the checkout.
sys.path.append(str(ROOT))

# Options that make a program short, and its expected output.
PROGRAMS = {
    "1_perceptron.py": (["--points", "2000"], r"1 AND 1 = 1\n(.*\n)*.* 100\.00% on the right side"),
    "2_activations.py": ([], r"softmax of .* is .*\[1\.0, 0\.0, 0\.0\]\]"),
    "3_neural_network.py": (["--samples", "6000", "--epochs", "2"], r"epoch 2: loss 0\.\d+, (8[5-9]|9\d)\.\d\d% of"),
    "4_losses.py": ([], r"y = (1\.9|2\.0)\d x (-0\.9|-1\.0)\d"),
    "5_optimizers.py": ([], r"Adam .* at \(1\.000, 1\.000\)"),
    "6_regularization.py": (["--steps", "50"], r"batch normalisation +training error 0"),
    "7_pytorch.py": (["--samples", "6000", "--epochs", "2"], r"epoch 2: loss \d\.\d+, accuracy (8[5-9]|9\d)\.\d\d%"),
}


def test_every_program_is_listed_in_order():
    assert sorted(path.name for path in FOLDER.glob("*.py")) == list(PROGRAMS)
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"\]\((\d\w+\.py)\)", index) == list(PROGRAMS)
    docs = (ROOT / "docs" / "classic.md").read_text(encoding="utf-8")
    assert all(name in docs for name in PROGRAMS)


@pytest.mark.parametrize("name", PROGRAMS)
def test_program_runs(name, tmp_path):
    if name == "7_pytorch.py":
        pytest.importorskip("fastnn.torchvision", reason="not yet: fastnn.torchvision")
    options, expected = PROGRAMS[name]
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-W", "error", str(FOLDER / name), *options],
        capture_output=True, text=True, check=False, cwd=tmp_path, timeout=120,
        env={**os.environ, "FASTNN_QUIET": "1", "PYTHONPATH": paths},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert re.search(expected, done.stdout), done.stdout


def test_the_picture_is_drawn(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, str(FOLDER / "2_activations.py"), "--picture", "a.png"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "FASTNN_QUIET": "1", "PYTHONPATH": paths},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_the_code_of_the_docs_runs(capsys):
    [block] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "classic.md").read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(block, "docs/classic.md", "exec"), {})
    assert float(capsys.readouterr().out.splitlines()[-1].rstrip("%")) > 95


@pytest.mark.parametrize("name", ["classic_train", "classic_train_single"])
def test_the_benchmark_trains_the_same_network_on_both_sides(name):
    # An epoch is too long for the test of all works.
    work = importlib.import_module("benchmarks.registry").repeated_work(name)
    case = work.checked(work.cases[0])
    found, expected = (work.results(work.prepare(library, case)) for library in ("fastnn", "numpy"))
    difference = importlib.import_module("benchmarks.protocol").difference(found, expected)
    assert difference <= work.tolerance
    assert np.isfinite(found[0])
