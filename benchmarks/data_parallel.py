"""Steps of T in two ranks, against one process with one thread, and against PyTorch's DistributedDataParallel on gloo.

    python -m benchmarks.data_parallel [--rounds N] [--ranks N] [--torch PYTHON]

It needs mpi4py and an MPI; ``--torch`` is a Python with PyTorch. Each round starts the jobs one after the other; a
figure is the median of the rounds. Each rank has one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
# Rows of a rank in a step, steps before the timed ones, and timed.
_ROWS, _WARM, _TIMED = 512, 30, 150


def _net(nn: Any) -> Any:
    layers = []
    for inputs, outputs in ((784, 256), (256, 128), (128, 64)):
        layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(), nn.Dropout(0.3)]
    return nn.Sequential(*layers, nn.Linear(64, 10))


def _child(library: str, is_wrapped: bool) -> None:
    """Time steps; rank 0 prints the median of a step in microseconds."""
    if library == "torch":
        import torch
    else:
        import fastnn as torch  # type: ignore[no-redef]  # the peer is chosen above
    dist, nn = torch.distributed, torch.nn
    torch.set_num_threads(1)
    rank = 0
    model = _net(nn)
    if is_wrapped:
        dist.init_process_group("gloo")
        rank = dist.get_rank()
        model = nn.parallel.DistributedDataParallel(model)
    criterion = nn.CrossEntropyLoss()
    x, y = torch.randn(_ROWS, 784), torch.randint(0, 10, (_ROWS,))
    if library == "torch":
        optimizer = torch.optim.Adam(model.parameters(), fused=True)

        def step() -> Any:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            return loss
    else:
        compiled = torch.compile_step(model, criterion, torch.optim.Adam(model.parameters()))

        def step() -> Any:
            return compiled(x, y)

    times = []
    for i in range(_WARM + _TIMED):
        began = time.perf_counter()
        step().item()
        if i >= _WARM:
            times.append(time.perf_counter() - began)
    if rank == 0:
        print(json.dumps(1e6 * statistics.median(times)), flush=True)
    if is_wrapped:
        dist.barrier()
        dist.destroy_process_group()


def _run(command: list[str]) -> float:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1",
                   "FASTNN_QUIET": "1"}  # fmt: skip
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} has failed: {done.stderr}")
    return float(json.loads(done.stdout.strip().splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.data_parallel", description="steps of T in ranks")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--torch", metavar="PYTHON", help="a Python with PyTorch")
    parser.add_argument("--child", nargs=2, metavar=("LIBRARY", "RANKS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _child(options.child[0], options.child[1] != "1")
        return
    ranks, here = str(options.ranks), [sys.executable, "-m"]
    jobs = {
        "one process": [*here, "benchmarks.data_parallel", "--child", "fastnn", "1"],
        f"{ranks} ranks": [*here, "fastnn", "launch", "--nproc", ranks, __file__, "--child", "fastnn", ranks],
    }
    if options.torch:
        # Threads of gloo may abort a process at its end: the program that ends it at once is that of the tests.
        ender = ROOT / "tests" / "distributed" / "programs" / "on_pytorch.py"
        jobs[f"PyTorch, {ranks} ranks"] = [
            options.torch, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", ranks, str(ender),
            __file__, "--child", "torch", ranks,
        ]  # fmt: skip
    found: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(options.rounds):
        for name, command in jobs.items():
            found[name].append(_run(command))
        print("; ".join(f"{name} {times[-1]:.0f} us" for name, times in found.items()), flush=True)
    one = found["one process"]
    for name, times in found.items():
        ratios = [a / b for a, b in zip(times, one, strict=True)]
        print(f"{name}: {statistics.median(times):.0f} us a step, {statistics.median(ratios):.2f} times one process "
              f"({min(ratios):.2f} to {max(ratios):.2f})")  # fmt: skip
    if options.torch:
        ratios = [a / b for a, b in zip(found[f"PyTorch, {ranks} ranks"], found[f"{ranks} ranks"], strict=True)]
        found_ratio = statistics.median(ratios)
        print(f"against PyTorch: {found_ratio:.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
