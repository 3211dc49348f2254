"""The one registry: every piece of work, its cases, and each library's way of doing it.

The entries are written in ``benchmarks.work``, one file per operation; ``all_works`` lists them.
Workers, suites, tables and targets all read from here. A library is imported by its own ``setup``,
inside its own process.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

Inputs = dict[str, np.ndarray]

# The files of benchmarks/work, in the order of the tables.
_FILES = (
    "linear", "softmax_cross_entropy", "optimizers", "lbfgs", "batch_norm", "gather", "training_step", "epoch",
    "inference", "classic", "contended", "whole_process", "speedrun", "eager", "scripts", "estimators",
)  # fmt: skip


# JAX's worker with blocking calls.
WAITING = "jax_waiting"


def row_of(worker: str) -> str:
    """The library that a worker measures."""
    return "jax" if worker == WAITING else worker


class Unavailable(Exception):
    """A library cannot do a piece of work; its row shows the message instead of a figure."""


class NotYet(Unavailable):
    """fastnn cannot do it yet; the message names the missing part. The row is measured once that exists."""

    def __init__(self, what: str) -> None:
        super().__init__(f"not yet: {what}")


@dataclass(frozen=True)
class Case:
    """One size of a piece of work.

    Args:
        name: as in tables, such as '64x784x256'.
        sizes: what ``inputs`` and the setups read.
        flops: floating-point operations of one unit of the work.
        bytes: the minimum that one unit reads and writes.
        target: whether a target uses it; the others are left out of ``--quick``.
    """

    name: str
    sizes: Mapping[str, Any]
    flops: float = 0.0
    bytes: float = 0.0
    target: bool = True

    def __getitem__(self, name: str) -> Any:
        return self.sizes[name]


def as_arrays(result: Any) -> list[np.ndarray]:
    """Copies, as NumPy arrays, of a result that is an array or a sequence of arrays."""
    parts = result if isinstance(result, (tuple, list)) else (result,)
    return [np.array(part) for part in parts]


@dataclass(frozen=True)
class Job:
    """A library ready to work; all setup that is not timed has been done.

    Args:
        run: does one unit of work and returns its result.
        read: turns that result into NumPy arrays.
        wait: blocks until the result is ready, for a library with asynchronous calls.
    """

    run: Callable[[], Any]
    read: Callable[[Any], list[np.ndarray]] = as_arrays
    wait: Callable[[Any], Any] | None = None


Setup = Callable[[Inputs, Case], Job]


@dataclass(frozen=True)
class Work:
    """A piece of work that several libraries can do, repeated in a worker process.

    Args:
        name: as in tables and targets.
        cases: its sizes.
        inputs: the same seeded arrays for every library.
        setups: by library, in the order of the tables.
        tolerance: largest difference from the reference, relative to its largest number.
        limit: the machine's limit for the share, 'arithmetic' or 'copy'.
        check_calls: units of work whose results are compared.
        check_sizes: sizes changed for the comparison of results (dropout off, one batch).
        chained: each unit depends on the previous one, so only the last one is waited for (see ``worker_of``).
        extras: libraries left out of ``--quick``.
        brief: a quick run spends half the time on a figure, as there are many cases of one kind.
        reference: the library whose results are the right ones.
    """

    name: str
    cases: tuple[Case, ...]
    inputs: Callable[[Case], Inputs]
    setups: Mapping[str, Setup]
    tolerance: float
    limit: str = "arithmetic"
    check_calls: int = 1
    check_sizes: Mapping[str, Any] = field(default_factory=dict)
    chained: bool = False
    extras: tuple[str, ...] = ()
    brief: bool = False
    reference: str = "numpy"
    unit = "s"

    def case(self, name: str) -> Case:
        """The case of that name."""
        return next(case for case in self.cases if case.name == name)

    def worker_of(self, library: str) -> str:
        """The worker that measures a library.

        JAX has two. By default a call returns at once and JAX's thread does the work, which suits a chain of
        calls. If each result is waited for, that costs two thread switches of 1 to 25 us, depending on the
        system's state. Blocking calls were measured 1.1 to 5 times as fast, with the same figure in every
        round.
        """
        return WAITING if library == "jax" and not self.chained else library

    def prepare(self, library: str, case: Case) -> Job:
        """Set up a library for a case; raises :class:`Unavailable`."""
        return self.setups[library](self.inputs(case), case)

    def checked(self, case: Case) -> Case:
        """The case with the sizes for the comparison of results."""
        return replace(case, sizes={**case.sizes, **self.check_sizes})

    def results(self, job: Job) -> list[np.ndarray]:
        """The results of a job that was set up for the checked case."""
        return [array for _ in range(self.check_calls) for array in job.read(job.run())]


class Figure(NamedTuple):
    """The result of one process: seconds or bytes, and a score where quality can differ."""

    value: float
    score: float | None = None


@dataclass(frozen=True)
class ProcessWork:
    """A measure of a whole process; each figure is a new process.

    Args:
        name: as in tables and targets.
        cases: its variants.
        libraries: the measured libraries.
        measure: ``measure(library, case, threads, round)`` runs one process and returns the figure;
            raises :class:`Unavailable`.
        unit: 's' or 'bytes'.
        slow: one round is enough, as each takes many seconds.
        goal: the minimum of the median score; a library that misses it has no figure.
    """

    name: str
    cases: tuple[Case, ...]
    libraries: tuple[str, ...]
    measure: Callable[[str, Case, int, int], Figure]
    unit: str = "s"
    slow: bool = False
    goal: float = 0.0
    extras: tuple[str, ...] = ()

    def case(self, name: str) -> Case:
        """The case of that name."""
        return next(case for case in self.cases if case.name == name)


@functools.cache
def all_works() -> dict[str, Work | ProcessWork]:
    """Every piece of work by name."""
    files = [importlib.import_module(f"benchmarks.work.{name}") for name in _FILES]
    return {work.name: work for file in files for work in file.WORKS}


def repeated_work(name: str) -> Work:
    """The work of that name, which must be one repeated in a worker."""
    work = all_works()[name]
    if not isinstance(work, Work):
        raise TypeError(f"{name} is a measure of whole processes")
    return work
