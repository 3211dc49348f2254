"""Fixtures of all tests, and the rule that a required comparison with PyTorch is not skipped."""

from __future__ import annotations

import gc
import importlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import started

import fastnn

# Programs, not tests: programs/test_scripts.py runs the first, `python -m tests.libraries` the others.
collect_ignore = [
    "scripts", "libraries/programs", "libraries/support", "distributed/scripts", "distributed/programs",
]  # fmt: skip

HAS_TORCH = importlib.util.find_spec("torch") is not None


@pytest.fixture(params=["fastnn", *([pytest.param("torch", marks=pytest.mark.torch)] if HAS_TORCH else [])])
def lib(request: pytest.FixtureRequest) -> Any:
    """fastnn, and PyTorch if it is installed: such a test states PyTorch's behaviour and verifies it."""
    return fastnn if request.param == "fastnn" else importlib.import_module("torch")


@pytest.fixture(autouse=True)
def seeds() -> None:
    """Seed the generators, so that every test draws the same numbers in every run."""
    fastnn.manual_seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Turn a skipped comparison with PyTorch into a failure if FASTNN_REQUIRE_TORCH is set."""
    report = yield
    if report.skipped and item.get_closest_marker("torch") and os.environ.get("FASTNN_REQUIRE_TORCH"):
        report.outcome, report.longrepr = "failed", f"skipped, but FASTNN_REQUIRE_TORCH is set: {report.longrepr}"
    return report


def pytest_collection_modifyitems() -> None:
    # A module that is skipped as a whole makes no reports.
    if os.environ.get("FASTNN_REQUIRE_TORCH") and not HAS_TORCH:
        raise pytest.UsageError("FASTNN_REQUIRE_TORCH is set, and PyTorch is not installed")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Let two processes share the files of the whole suite; not with `-n 0`, nor for files that are named."""
    option = config.option
    # The processes call this, too, and must not start more.
    is_first = "PYTEST_XDIST_WORKER" not in os.environ
    is_whole = config.args_source == pytest.Config.ArgsSource.TESTPATHS and not (option.collectonly or option.usepdb)
    # The option is missing without pytest-xdist.
    if is_first and is_whole and getattr(option, "numprocesses", 0) is None and (os.cpu_count() or 1) > 1:
        option.numprocesses, option.dist = 2, "loadfile"


# With at least this many tests the kernels are compiled ahead: fewer tests do not need all of them.
_MANY = 3000
_ahead: list[subprocess.Popen[bytes]] = []


def pytest_collection_finish(session: pytest.Session) -> None:
    # As `fastnn run`: the graphs of tests are freed without the collector.
    first, *others = gc.get_threshold()
    gc.set_threshold(10 * first, *others)
    # The first of the processes that run the tests, or the only one.
    is_first = os.environ.get("PYTEST_XDIST_WORKER", "gw0") == "gw0"
    is_many = len(session.items) >= _MANY and not session.config.option.collectonly
    if not is_first or not is_many or (os.cpu_count() or 1) < 2:
        return
    command = [sys.executable, str(Path(__file__).with_name("compile_ahead.py"))]
    paths = [str(Path(__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    variables = {**os.environ, "FASTNN_QUIET": "1", "PYTHONPATH": os.pathsep.join(paths)}
    output = subprocess.DEVNULL
    _ahead.append(subprocess.Popen(command, env=variables, stdout=output, stderr=output))


def pytest_sessionfinish() -> None:
    for process in (*_ahead, *started):
        process.kill()
        process.wait()
