"""The worker: one process, one library. ``python -m benchmarks.worker LIBRARY THREADS``.

Two thread pools in one process spin against each other, so every measured library has a process of
its own. Requests are lines of JSON on standard input; each answer is one line of JSON on the
original standard output. The worker makes arrays from the seed and passes results in a file.
Between requests the process sleeps in a read.

    {"do": "hello"}                                       version, threads, BLAS
    {"do": "check", "work": w, "case": c, "file": f}      the results of w, written to f (.npz)
    {"do": "time", "work": w, "case": c, "seconds": s, "warm": s}   seconds per call
    {"do": "forget"}                                      drop what was set up
    {"do": "core_latency"}                                       seconds of a round trip between two cores

Each answer also has "cpu", the processor seconds that the process has used so far.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
from collections.abc import Callable
from itertools import repeat
from threading import get_native_id
from time import perf_counter, perf_counter_ns, process_time, sleep
from typing import Any, TextIO

import numpy as np

from benchmarks import libraries, registry

# A figure is the median of blocks of calls: an interruption spoils one block only.
_BLOCKS, _FEWEST_BLOCKS = 7, 3
# Extra seconds of warm-up for a job that was never timed: its memory is cold, the CPU clock may be low.
_FIRST_WARM = 0.02
_LONGEST_REST = 0.6  # seconds


def timed(job: registry.Job, chained: bool) -> Callable[[int], float]:
    """A function that runs the job a given number of times and returns the seconds it took."""
    run, wait = job.run, job.wait

    def plain(calls: int) -> float:
        start = perf_counter_ns()
        for _ in repeat(None, calls):
            run()
        return (perf_counter_ns() - start) * 1e-9

    def each(calls: int) -> float:
        assert wait is not None
        start = perf_counter_ns()
        for _ in repeat(None, calls):
            wait(run())
        return (perf_counter_ns() - start) * 1e-9

    def last(calls: int) -> float:
        assert wait is not None
        start = perf_counter_ns()
        result = None
        for _ in repeat(None, calls):
            result = run()
        wait(result)
        return (perf_counter_ns() - start) * 1e-9

    return plain if wait is None else last if chained else each


def measure(loop: Callable[[int], float], seconds: float, warm: float) -> float:
    """Seconds per call: run for ``warm`` seconds, then time blocks for about ``seconds``; their median."""
    calls, spent, per_call = 1, 0.0, 0.0
    while spent < warm or calls == 1:
        elapsed = loop(calls)
        spent += elapsed
        per_call = elapsed / calls
        calls *= 2
        if elapsed > max(warm, 0.5):
            break
    calls = max(1, round(seconds / _BLOCKS / max(per_call, 1e-9)))
    blocks = max(_FEWEST_BLOCKS, min(_BLOCKS, round(seconds / max(per_call * calls, 1e-9))))
    return float(np.median([loop(calls) / calls for _ in range(blocks)]))


def rest() -> None:
    """Sleep until the library's threads sleep too.

    Threads that wait for more work spin, and would take a processor from the next measurement. After
    their last product GNU OpenMP's spin for 10 ms, ONNX Runtime's for 35 to 75 and OpenBLAS's for
    100 (measured). So an answer is sent only after two checks found none of them running.
    """
    quiet, end = 0, perf_counter() + _LONGEST_REST
    while quiet < 2 and perf_counter() < end:
        quiet = 0 if _others_run() else quiet + 1
        sleep(0.001)


def _others_run() -> bool:
    """Whether another thread of this process is running or waits for a processor."""
    own = str(get_native_id())
    try:
        threads = [name for name in os.listdir("/proc/self/task") if name != own]
    except OSError:
        # The system counts the processor time of other threads in ticks of up to 4 ms.
        before = process_time()
        sleep(0.006)
        return process_time() - before > 0.001
    return any(_state(name) == "R" for name in threads)


def _state(thread: str) -> str:
    """The system's letter for the state of a thread of this process; empty if it has ended."""
    try:
        with open(f"/proc/self/task/{thread}/stat") as file:
            # After the name in parentheses, which may contain any characters.
            return file.read().rpartition(")")[2].split(maxsplit=1)[0]
    except OSError:
        return ""


class Worker:
    """Answers requests for one library."""

    def __init__(self, name: str, threads: int) -> None:
        self.name, self.threads = name, threads
        # The registry's name of the library.
        self.row = registry.row_of(name)
        self.loops: dict[tuple[str, str], Callable[[int], float]] = {}
        self.timed: set[tuple[str, str]] = set()

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to one request; an error is its 'status'."""
        try:
            return getattr(self, f"do_{request.pop('do')}")(**request)
        except registry.Unavailable as error:
            return {"status": str(error)}
        except libraries.MissingLibrary as error:
            return {"status": f"missing: {error}"}
        except Exception as error:
            text = " ".join(str(error).split())
            return {"status": f"failed: {type(error).__name__}: {text[:200]}"}

    def do_hello(self) -> dict[str, Any]:
        return libraries.start(self.name.partition("@")[0], self.threads)

    def do_check(self, work: str, case: str, file: str) -> dict[str, Any]:
        found = registry.repeated_work(work)
        job = found.prepare(self.row, found.checked(found.case(case)))
        np.savez(file, *found.results(job))
        if not found.check_sizes:
            self._keep(found, case, job)
        rest()
        return {}

    def do_time(self, work: str, case: str, seconds: float, warm: float) -> dict[str, Any]:
        found = registry.repeated_work(work)
        if (work, case) not in self.loops:
            self._keep(found, case, found.prepare(self.row, found.case(case)))
            # The inputs may come from NumPy's matrix products, whose threads still spin.
            rest()
        loop = self.loops[work, case]
        if (work, case) not in self.timed:
            self.timed.add((work, case))
            loop(1)  # compiles and allocates
            warm += _FIRST_WARM
        answer = {"seconds": measure(loop, seconds, warm)}
        rest()
        return answer

    def _keep(self, work: registry.Work, case: str, job: registry.Job) -> None:
        self.loops[work.name, case] = timed(job, work.chained)
        # A garbage collection during the measurement then skips the library's own objects.
        gc.collect()
        gc.freeze()

    def do_forget(self) -> dict[str, Any]:
        self.loops.clear()
        self.timed.clear()
        gc.unfreeze()
        gc.collect()
        return {}

    def do_pulse(self) -> dict[str, Any]:
        from benchmarks import core_latency

        return {"seconds": core_latency.round_trip()}


def private_stdout() -> TextIO:
    """Reserve standard output for the answers: a library's prints go to standard error."""
    private = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return private


def main(argv: list[str]) -> int:
    """Answer until standard input ends."""
    name, threads = argv[0], int(argv[1])
    answers = private_stdout()
    libraries.pin(threads)
    worker = Worker(name, threads)
    for line in sys.stdin:
        answer = {**worker.answer(json.loads(line)), "cpu": process_time()}
        with contextlib.suppress(BrokenPipeError):
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
