"""``fastnn launch``: run a script in several processes, by MPI's own launcher, with torchrun's options."""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from fastnn._cli.command import Command

# Options of torchrun that say how its processes find each other; MPI knows that. Those with a value.
_IGNORED = (
    "--rdzv-backend", "--rdzv-endpoint", "--rdzv-id", "--rdzv-conf", "--monitor-interval", "--start-method", "--role",
    "--local-addr", "--node-rank", "--local-ranks-filter", "--log-dir", "-r", "--redirects", "-t", "--tee",
    "--signals-to-handle", "--logs-specs",
)  # fmt: skip
_FLAGS = ("--standalone", "--use-env", "--run-path")
_VALUED = ("--nproc", "--nproc-per-node", "--nnodes", "--master-addr", "--master-port", "--max-restarts", "--mpiexec",
           *_IGNORED)  # fmt: skip


def _both(name: str) -> list[str]:
    """An option with dashes, and as older scripts write it."""
    return [name, f"--{name[2:].replace('-', '_')}"] if "-" in name[2:] else [name]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.usage = "%(prog)s [-h] [--nproc N] [torchrun's options] (script | -m module) [arguments ...]"
    parser.allow_abbrev = False
    parser.add_argument("--nproc", *_both("--nproc-per-node"), default="1", metavar="N", dest="nproc",
                        help="number of processes; auto or cpu: one for each core")  # fmt: skip
    parser.add_argument("--nnodes", default="1", metavar="N", help="1; for several hosts, use mpiexec: see the docs")
    parser.add_argument(*_both("--master-addr"), default="127.0.0.1", metavar="HOST", help="for MASTER_ADDR")
    parser.add_argument(*_both("--master-port"), default="29500", metavar="PORT", help="for MASTER_PORT")
    parser.add_argument(*_both("--max-restarts"), default=0, type=int, metavar="N",
                        help="start the job again so many times if it fails")  # fmt: skip
    parser.add_argument("--mpiexec", metavar="PATH", help="MPI's launcher; by default that beside Python, or on PATH")
    parser.add_argument("--no-python", action="store_true", help="the script is a program, not a Python file")
    for name in _IGNORED:
        parser.add_argument(*_both(name), help=argparse.SUPPRESS)
    for name in _FLAGS:
        parser.add_argument(*_both(name), action="store_true", help=argparse.SUPPRESS)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("script", nargs="?", help="a Python program that imports torch; its arguments follow")
    what.add_argument("-m", "--module", metavar="module", help="a module or package, as after python -m")


def until_program(argv: Sequence[str]) -> int:
    """The number of arguments up to the script, or the module after ``-m``."""
    valued = {spelling for name in _VALUED for spelling in _both(name)}
    i = 0
    while i < len(argv):
        if argv[i] in valued:
            i += 2
        elif argv[i] in ("-m", "--module"):
            return i + 2
        elif argv[i].startswith("-"):
            i += 1
        else:
            return i + 1
    return i


def _cores() -> int:
    count = getattr(os, "sched_getaffinity", None)
    return len(count(0)) if count is not None else os.cpu_count() or 1


def _wrong(options: argparse.Namespace) -> str:
    """What is wrong with the options, empty if nothing is."""
    if options.nproc not in ("auto", "cpu") and not (options.nproc.isdigit() and int(options.nproc)):
        return f"--nproc must be a positive number, auto or cpu, found {options.nproc}"
    if options.nnodes not in ("1", "1:1"):
        return "--nnodes must be 1: on several hosts, use 'mpiexec -n N --hosts A,B fastnn run script.py'"
    if options.script is not None and not options.no_python and not Path(options.script).is_file():
        return f"{options.script}: no such file"
    if importlib.util.find_spec("mpi4py") is None:
        return "it needs mpi4py and an MPI: pip install 'fastnn[mpi]'"
    if _mpiexec(options) is None:
        return "no mpiexec beside Python or on PATH: pip install 'fastnn[mpi]', or load the cluster's MPI"
    return ""


def _mpiexec(options: argparse.Namespace) -> str | None:
    if options.mpiexec:
        return shutil.which(options.mpiexec)
    folder = os.path.dirname(os.path.abspath(sys.executable))
    return shutil.which("mpiexec", path=folder) or shutil.which("mpiexec")


def _is_open_mpi(mpiexec: str) -> bool:
    import subprocess

    told = subprocess.run([mpiexec, "--version"], capture_output=True, text=True, check=False).stdout
    return any(name in told for name in ("Open MPI", "OpenRTE", "PRTE", "prte"))


def command(options: argparse.Namespace, mpiexec: str, count: int) -> tuple[list[str], dict[str, str]]:
    """The command line that starts the processes, and its environment."""
    environment = dict(os.environ)
    for name, value in (("MASTER_ADDR", options.master_addr), ("MASTER_PORT", options.master_port)):
        environment[name] = value
    environment["TORCHELASTIC_RUN_ID"] = "none"
    # Ranks on one host share its cores. MPI must not bind a rank to one core if it has several threads.
    threads = environment.setdefault("OMP_NUM_THREADS", str(max(1, _cores() // count)))
    environment.setdefault("NUMBA_NUM_THREADS", threads if threads.isdigit() else "1")
    start = [mpiexec, "-n", str(count)]
    if _is_open_mpi(mpiexec):
        start += ["--map-by", ":OVERSUBSCRIBE", "--bind-to", "none"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            for prefix in ("OMPI", "PRTE"):
                environment[f"{prefix}_ALLOW_RUN_AS_ROOT"] = environment[f"{prefix}_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1"
    if options.no_python:
        return [*start, options.script, *options.rest], environment
    program = ["-m", options.module] if options.module else [options.script]
    return [*start, sys.executable, "-m", "fastnn", "run", *program, *options.rest], environment


def run(options: argparse.Namespace) -> int:
    """Run the job; the exit status is that of MPI's launcher."""
    import subprocess

    wrong = _wrong(options)
    if wrong:
        print(f"fastnn launch: {wrong}", file=sys.stderr)
        return 2
    mpiexec = _mpiexec(options)
    assert mpiexec is not None
    count = _cores() if options.nproc in ("auto", "cpu") else int(options.nproc)
    line, environment = command(options, mpiexec, count)
    status = 1
    for attempt in range(options.max_restarts + 1):
        environment["TORCHELASTIC_RESTART_COUNT"] = str(attempt)
        environment["TORCHELASTIC_MAX_RESTARTS"] = str(options.max_restarts)
        job = subprocess.Popen(line, env=environment)
        try:
            status = job.wait()
        except KeyboardInterrupt:
            # The terminal has told all processes; MPI's launcher ends them.
            status = job.wait()
            raise
        if status == 0:
            return 0
    return status if 0 < status < 256 else 1


COMMANDS = (Command("launch", "run it in several processes that train together", add_arguments, run, until_program),)
