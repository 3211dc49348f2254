"""Runs of the programs, and what they print."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .environments import Environments, python_of
from .table import FOLDER, Library

LIMIT = 600  # Seconds after which a program is stopped.
# One thread for each library, and nothing from the user's settings.
_VARIABLES = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"),
    "FASTNN_QUIET": "1", "PYTHONPATH": str(FOLDER / "support"), "MPLBACKEND": "agg", "TQDM_DISABLE": "1",
}  # fmt: skip


@dataclass
class Run:
    """The output of a program.

    Args:
        error: the last lines of its messages if it failed.
        seconds: how long it trained.
        probes: by name, what it printed and the tolerance.
    """

    error: str = ""
    seconds: float = 0.0
    probes: dict[str, tuple[str, float]] = field(default_factory=dict)


@dataclass
class Recorded:
    """The results of the last comparison with PyTorch."""

    version: str
    fastnn_seconds: float
    torch_seconds: float
    torch_probes: dict[str, str]


def read_output(text: str) -> Run:
    """The probes and the seconds in what a program printed; other lines are the library's.

    >>> read_output("loss 0.25 0.001\\nEpoch 1 of 2\\nseconds 1.5\\nseconds 0.5\\n")
    Run(error='', seconds=2.0, probes={'loss': ('0.25', 0.001)})
    """
    run = Run()
    for line in text.splitlines():
        words = line.split(" ")
        if len(words) == 2 and words[0] == "seconds" and _is_number(words[1]):
            run.seconds += float(words[1])
        elif len(words) == 3 and _is_number(words[2]):
            run.probes[words[0]] = words[1], float(words[2])
    return run


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def run_program(library: Library, environments: Environments, torch: bool = False, echo: bool = False) -> Run:
    """Run the program of a library in a new process and an empty folder, under fastnn or PyTorch."""
    folder = environments.torch_of(library) if torch else environments.of(library)
    # With -P no program shadows its library, whose name it has.
    command = [str(python_of(folder)), "-P", *([] if torch else ["-m", "fastnn", "run"]), str(library.path)]
    with tempfile.TemporaryDirectory() as empty:
        try:
            done = subprocess.run(
                command, cwd=empty, env={**os.environ, **_VARIABLES}, stdin=subprocess.DEVNULL, capture_output=True,
                text=True, check=False, timeout=LIMIT,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return Run(error=f"stopped after {LIMIT} s")
    if echo:
        print(done.stdout + done.stderr, end="", flush=True)
    run = read_output(done.stdout)
    if done.returncode:
        run.error = "\n".join(done.stderr.strip().splitlines()[-5:]) or f"exit status {done.returncode}"
    elif not run.probes:
        run.error = "the program printed no probe"
    return run


def differences(found: Run, expected: dict[str, str]) -> list[str]:
    """What two runs printed differently.

    >>> differences(Run(probes={"loss": ("0.25", 0.01)}), {"loss": "0.5", "lines": "3"})
    ['loss: 0.25 instead of 0.5, tolerance 0.01', 'lines: not printed']
    """
    lines = []
    for name, (value, tolerance) in found.probes.items():
        wanted = expected.get(name)
        if wanted is None:
            lines.append(f"{name}: not printed by PyTorch's run")
        elif not _same(value, wanted, tolerance):
            lines.append(f"{name}: {value} instead of {wanted}, tolerance {tolerance:g}")
    return lines + [f"{name}: not printed" for name in expected if name not in found.probes]


def _same(value: str, wanted: str, tolerance: float) -> bool:
    if not (_is_number(value) and _is_number(wanted)):
        return value == wanted
    a, b = float(value), float(wanted)
    return a == b or (a != a and b != b) or abs(a - b) <= tolerance * max(1.0, abs(b))


def load_recorded(library: Library) -> Recorded | None:
    """The recorded results of this version of a library."""
    if not library.recorded.is_file():
        return None
    recorded = Recorded(**json.loads(library.recorded.read_text()))
    return recorded if recorded.version == library.version else None


def record(library: Library, recorded: Recorded) -> Path:
    """Write the results of a comparison."""
    library.recorded.parent.mkdir(exist_ok=True)
    library.recorded.write_text(json.dumps(asdict(recorded), indent=1) + "\n")
    return library.recorded
