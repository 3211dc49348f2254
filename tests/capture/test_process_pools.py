"""Models in process pools: correct results and capture, with every way to send the class to another process."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import pytest
from grid_search import CAPTURED, GRID, Net, score

import fastnn
from fastnn import nn

ROOT = Path(__file__).resolve().parents[2]


# Like a user's program: the class is defined in the main program, so joblib pickles it by value.
PROGRAM = """
import json, multiprocessing
import joblib
import fastnn
import grid_search
from fastnn import nn
from grid_search import GRID, score

class Net(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.first, self.last = nn.Linear(4, hidden), nn.Linear(hidden, 3)

    def forward(self, x):
        return self.last(fastnn.relu(self.first(x)))

def point(hidden, rate):
    return score(Net, hidden, rate)

def trained(hidden):
    model = Net(hidden)
    x = fastnn.ones(32, 4)
    for _ in range(4):
        model(x)
    return model, fastnn.explain(model)

if __name__ == "__main__":
    found = {"here": [point(*p) for p in GRID]}
    with joblib.parallel_config(n_jobs=2):
        found["loky"] = joblib.Parallel()(joblib.delayed(point)(*p) for p in GRID)
        found["by reference"] = joblib.Parallel()(joblib.delayed(score)(grid_search.Net, *p) for p in GRID)
        [[model, said]] = joblib.Parallel()([joblib.delayed(trained)(8)])
    # The class has come back with the model, and that is what its forward is now.
    kind = type(model)
    found["back"] = [kind is Net, Net.forward.__code__.co_filename == __file__, said, score(kind, 8, 0.1)["said"]]
    for method in METHODS:
        with multiprocessing.get_context(method).Pool(1) as pool:
            found[method] = pool.starmap(point, GRID[:1])
    print(json.dumps(found))
"""
METHODS = ["spawn"] if sys.platform == "win32" else ["spawn", "forkserver", "fork"]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The program's results in each of the pools."""
    program = tmp_path_factory.mktemp("pools") / "program.py"
    program.write_text(PROGRAM.replace("METHODS", repr(METHODS)), encoding="utf-8")
    paths = [str(ROOT), str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, check=False, timeout=240,
        env={**os.environ, "FASTNN_QUIET": "1", "PYTHONPATH": os.pathsep.join(paths)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = json.loads(done.stdout)
    return results


@pytest.mark.parametrize("pool", ["loky", "by reference", *METHODS])
def test_a_search_finds_what_it_finds_without_a_pool(pool: str, found: dict[str, Any]) -> None:
    here, there = found["here"], found[pool]
    assert len(there) == (1 if pool in METHODS else len(GRID))
    assert [(p["loss"], p["bits"]) for p in there] == [(p["loss"], p["bits"]) for p in here[: len(there)]]
    assert {p["said"] for p in (*here, *there)} == {CAPTURED}
    assert not {p["process"] for p in here} & {p["process"] for p in there}


def test_a_class_that_comes_back(found: dict[str, Any]) -> None:
    is_same, has_its_file, there, here = found["back"]
    assert is_same
    # The test is about a function without its file.
    assert not has_its_file
    assert there == here == CAPTURED


def test_threads() -> None:
    """Two threads train, and each changes modules while the other's model is recorded."""
    here = [score(Net, *point) for point in GRID]
    there = joblib.Parallel(n_jobs=2, backend="threading")(joblib.delayed(score)(Net, *point) for point in GRID * 3)
    assert [(p["loss"], p["bits"]) for p in there] == [(p["loss"], p["bits"]) for p in here] * 3
    # A thread may do all its steps while the other one records.
    assert CAPTURED in {p["said"] for p in there}
    busy = "eager for float32 of shape (32, 4): another thread is making a recording"
    assert {p["said"] for p in there} <= {CAPTURED, busy}


def test_another_thread_does_not_stand_against_a_capture() -> None:
    """Each trace changes another model, as a second thread might."""
    # Not a list, whose change would be noticed.
    other, traces = nn.Linear(2, 2), itertools.count(1)

    def disturb() -> float:
        # A function whose result is used: otherwise the criterion is not traced at all.
        if next(traces) < 4:
            other.train()
        return 1.0

    def criterion(out: Any, y: Any) -> Any:
        return nn.functional.cross_entropy(out, y) * disturb()

    model = Net(8)
    step = fastnn.compile_step(model, criterion, fastnn.optim.SGD(model.parameters(), lr=0.1))
    for _ in range(8):
        step(fastnn.ones(32, 4), fastnn.zeros(32).long())
    assert step.explain() == "captured: 1 program"
