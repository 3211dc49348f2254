"""Time the programs of ``tests/scripts`` that read ``STEPS``, with fastnn and with PyTorch, one thread each.

    python tests/time_scripts.py [NAME ...]

For each program and library a new process runs it three times: first with 40 steps, for compilation and the like, then
with 40 and with 400. The difference of the last two is the time of 360 steps. The processes run one after the other.
"""

from __future__ import annotations

import os
import subprocess
import sys

from script_runs import FOLDER, NAMES, ROOT, RUN

SHORT, LONG = 40, 400
_TIME = f"""
import contextlib, io, os, sys, time

def seconds(steps):
    os.environ["STEPS"] = str(steps)
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        assert not run(sys.argv[1], None, [])
    return time.perf_counter() - start

path = sys.argv[1]
seconds({SHORT})
sys.argv[1:] = [path]
less = seconds({SHORT})
sys.argv[1:] = [path]
print(seconds({LONG}) - less)
"""


def seconds(library: str, name: str) -> float:
    """The time that ``LONG`` steps take longer than ``SHORT`` ones."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    one_thread = "import fastnn\nfastnn.set_num_threads(1)\n" if library == "fastnn" else ""
    done = subprocess.run(
        [sys.executable, "-c", RUN[library] + one_thread + _TIME, str(FOLDER / f"{name}.py")],
        capture_output=True, text=True, check=True, env={**os.environ, "FASTNN_QUIET": "1", "PYTHONPATH": paths},
    )  # fmt: skip
    return float(done.stdout)


def main(names: list[str]) -> None:
    """Print one line of a table for each program."""
    counted = [name for name in NAMES if '"STEPS"' in (FOLDER / f"{name}.py").read_text(encoding="utf-8")]
    print(f"| program | fastnn, ms for {LONG - SHORT} steps | PyTorch, ms | ratio |\n| --- | ---: | ---: | ---: |")
    for name in names or counted:
        ours, theirs = seconds("fastnn", name), seconds("torch", name)
        print(f"| {name} | {1e3 * ours:.0f} | {1e3 * theirs:.0f} | {theirs / ours:.2f} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
