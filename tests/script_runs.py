"""The programs of ``tests/scripts``, all in one process: under ``fastnn run`` or under PyTorch."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "tests" / "scripts"
RECORDED = ROOT / "tests" / "golden" / "scripts"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))
# The modules that a script needs in addition to torch and NumPy.
NEEDS = {"policy_gradient": "gymnasium", "tabular_pandas": "pandas"}

RUN = {
    "fastnn": "from fastnn._cli.run import run\n",
    "torch": """
import runpy, torch
torch.set_num_threads(1)
def run(script, module, arguments):
    runpy.run_path(script, run_name="__main__")
    return 0
""",
}
_ALL = """
import contextlib, io, json, sys, traceback
results = {}
for path in sys.argv[1:]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = run(path, None, [])
        except BaseException:
            traceback.print_exc()
            status = 1
    results[path] = status, out.getvalue(), err.getvalue()
json.dump(results, sys.__stdout__)
"""


class Result(NamedTuple):
    """The result of a script: exit status, standard output, standard error."""

    status: int
    out: str
    err: str


def run_scripts(library: str, names: list[str]) -> dict[str, Result]:
    """Run the scripts with ``library``, "fastnn" or "torch", one after the other in a new process."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", RUN[library] + _ALL, *(str(FOLDER / f"{name}.py") for name in names)],
        capture_output=True, text=True, check=False, timeout=240,
        env={**os.environ, "FASTNN_QUIET": "1", "PYTHONPATH": paths},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {Path(path).stem: Result(*result) for path, result in json.loads(done.stdout).items()}


_NUMBER = re.compile(r"[-+]?\d+(?:\.(\d*))?(?:[eE]([-+]?\d+))?")


def assert_same_text(found: str, expected: str) -> None:
    """The texts are the same, except for spaces and one unit in the last digit of numbers that are not integers.

    Two libraries whose results differ slightly, 1.00049 and 1.00051, print 1.000 and 1.001.
    """
    lines = found.splitlines(), expected.splitlines()
    assert len(lines[0]) == len(lines[1]), f"found:\n{found}\nexpected:\n{expected}"
    for number, (line, wanted) in enumerate(zip(*lines, strict=True), 1):
        message = f"line {number}: found {line!r}, expected {wanted!r}"
        words = ["".join(_NUMBER.sub("#", text).split()) for text in (line, wanted)]
        assert words[0] == words[1], message
        for a, b in zip(_NUMBER.finditer(line), _NUMBER.finditer(wanted), strict=True):
            unit = 10.0 ** (int(b[2] or 0) - len(b[1])) if b[1] else 0.0
            assert a[0] == b[0] or abs(float(a[0]) - float(b[0])) < 1.01 * unit, message
