"""pytest in this folder: ``bench_*.py`` are collected and benchmarks are on, unlike elsewhere.

``pytest`` without arguments does not run them: ``testpaths`` in pyproject.toml names the tests only.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.pool import Pool
from benchmarks.session import default_threads
from benchmarks.suite import Runner

# Files that are no suites are neither collected nor searched for doctests.
collect_ignore_glob = ["[!b]*"]


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Switch benchmarks on, unless this command line (not pyproject.toml) switches them off."""
    # This runs before pytest-benchmark reads its options.
    if "--benchmark-disable" not in config.invocation_params.args:
        config.option.benchmark_enable = True


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Collect the suites."""
    # A suite named on the command line is collected without this.
    if file_path.match("bench_*.py") and not parent.session.isinitpath(file_path):
        return pytest.Module.from_parent(parent, path=file_path)
    return None


@pytest.fixture(scope="session")
def runner() -> Iterator[Runner]:
    """The workers of all libraries, started when they are first needed."""
    with Pool(default_threads()) as pool:
        yield Runner(pool)
