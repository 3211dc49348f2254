"""``python -m benchmarks.harness_check``: a worker measures the same as a process of its own.

Alternating rounds time the same work (a) in a worker of a pool that has one worker per library,
right after another library was measured, and (b) in a fresh process that imports nothing else,
with the standard library's ``timeit``. For contrast (c) times PyTorch's Adam step in a process
that alternates it with fastnn's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
import timeit

from benchmarks import ROOT, libraries, machine
from benchmarks.pool import Pool
from benchmarks.registry import repeated_work
from benchmarks.session import default_threads
from benchmarks.worker import private_stdout

# The first argument of the processes it starts.
CHILD = "--child"
# Per row; a round disturbed by other programs is repeated.
ROUNDS, TRIES = 5, 25
ROWS = (
    ("linear_forward", "64x784x256", ("fastnn", "numpy", "torch", "jax")),
    ("linear_forward", "512x1024x1024", ("fastnn", "numpy", "torch", "jax")),
    ("softmax_cross_entropy", "512x1000", ("fastnn", "torch", "jax")),
    ("adam", "1e5", ("fastnn", "torch")),
    ("training_step", "S 64", ("fastnn", "torch")),
    ("inference", "batch 256", ("fastnn", "torch", "onnxruntime")),
)


def alone(library: str, work_name: str, case: str) -> float:
    """Seconds per call by ``timeit``, in this process, which does nothing else."""
    work = repeated_work(work_name)
    job = work.prepare(library, work.case(case))
    wait = job.wait
    timer = timeit.Timer(job.run if wait is None else lambda: wait(job.run()))
    # The inputs may come from NumPy's matrix products, whose threads spin for a tenth of a second.
    time.sleep(0.3)
    number, _ = timer.autorange()
    return statistics.median(timer.repeat(7, max(1, number // 7))) / max(1, number // 7)


def together(other: str) -> float:
    """Seconds of PyTorch's Adam step on 1e5 parameters, alternating with another library's."""
    work = repeated_work("adam")
    job, between = work.prepare("torch", work.case("1e5")), work.prepare(other, work.case("1e6"))
    times = []
    for _ in range(300):
        between.run()
        start = time.perf_counter()
        job.run()
        times.append(time.perf_counter() - start)
    return statistics.median(times[50:])


def _process(threads: int, *arguments: str) -> float:
    command = [sys.executable, "-m", "benchmarks.harness_check", CHILD, str(threads), *arguments]
    run = subprocess.run(
        command, cwd=ROOT, env=libraries.environment(threads), stdout=subprocess.PIPE, check=True, text=True
    )  # fmt: skip
    return float(json.loads(run.stdout))


def rounds(
    pool: Pool, others: machine.Others, work: str, case: str, name: str, before: str
) -> list[tuple[float, float]] | str:
    """Seconds per call by the worker and alone, in rounds not disturbed by other programs; or why not."""
    found: list[tuple[float, float]] = []
    found_work = repeated_work(work)
    for _ in range(TRIES):
        pool.ask(found_work.worker_of(before), do="time", work=work, case=case, seconds=0.03, warm=0.01)
        others.share()
        answer = pool.ask(found_work.worker_of(name), do="time", work=work, case=case, seconds=0.1, warm=0.02)
        if "status" in answer:
            return str(answer["status"])
        seconds = _process(pool.threads, "alone", name, work, case)
        if others.share() < machine.DISTURBED:
            found.append((answer["seconds"], seconds))
        if len(found) == ROUNDS:
            return found
    return f"other programs disturbed {TRIES - len(found)} of {TRIES} rounds"


def main(argv: list[str]) -> int:
    """Print the comparison, or run as one of its processes."""
    if argv[:1] == [CHILD]:
        _, count, what, *names = argv
        out, threads = private_stdout(), int(count)
        libraries.pin(threads)
        for name in (repeated_work(names[1]).worker_of(names[0]),) if what == "alone" else ("fastnn", "torch"):
            libraries.start(name, threads)
        out.write(json.dumps(alone(*names) if what == "alone" else together(*names)))
        out.close()
        return 0
    # Handles --help, and reports any other argument as an error in one line.
    argparse.ArgumentParser(
        prog="python -m benchmarks.harness_check",
        description="Compare what a worker measures with a process of its own; takes two minutes.",
    ).parse_args(argv)
    threads = default_threads()
    print(f"{'work':36}{'library':14}{'worker':>10}{'alone':>12}   worker over alone (range of {ROUNDS} rounds)")
    with Pool(threads) as pool:
        others = machine.Others(pool.cpu_seconds)
        for work, case, names in ROWS:
            for i, name in enumerate(names):
                found = rounds(pool, others, work, case, name, names[i - 1])
                if isinstance(found, str):
                    print(f"{f'{work} {case}':36}{name:14}{found}")
                    continue
                ratios = [worker / own for worker, own in found]
                ours, own = (statistics.median(column) * 1e6 for column in zip(*found, strict=True))
                print(
                    f"{f'{work} {case}':36}{name:14}{ours:10.1f}{own:12.1f}   "
                    f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})",
                    flush=True,
                )
            pool.forget()
    print("\nPyTorch's Adam step on 1e5 parameters, microseconds:")
    print(f"  in a process of its own {_process(threads, 'alone', 'torch', 'adam', '1e5') * 1e6:.0f}")
    print(f"  with fastnn's between, in one process {_process(threads, 'together', 'fastnn') * 1e6:.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
