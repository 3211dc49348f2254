"""Forks and SIGKILL while a kernel is compiled, many processes on an empty cache, and damaged files of the cache.

More about processes: `capture/test_fork.py` (each lock held while the process forks), `capture/test_process_pools.py`
(fork, spawn, forkserver, joblib), `kernels/test_cache.py` (damaged files, folders that cannot be written, no home).
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from counts import LEVEL, count
from helpers import output_of, start_python

import fastnn
from fastnn import kernels, nn
from fastnn.kernels.runtime import cache, compiler, launcher
from fastnn.kernels.runtime.compiler import Kernel, Words, array, integer

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    # Python 3.12 warns of a fork with threads, and these tests do that.
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]
WORDS = Words("out; number")
# Seconds after which a child counts as one that never ends.
PATIENCE = 90


def make_kernel(name: str) -> Kernel:
    """A kernel that compiles in about a tenth of a second."""

    def fill_slice(args, t, n):  # type: ignore[no-untyped-def]
        array(args, 0, (n,), np.int64)[t] = integer(args, 1)

    return Kernel(name, fill_slice, WORDS)


def fill(name: str) -> bool:
    """Compile or load a kernel and run it; whether the result is right."""
    out = np.zeros(1, np.int64)
    launcher.launch(make_kernel(name), 1, (out,), 7)
    return bool(out[0] == 7)


def compile_new_kernel() -> bool:
    """Compile a kernel without the cache and run it; whether the result is right."""
    kernel, out = make_kernel("test.overwrite"), np.zeros(1, np.int64)
    with compiler.starting():
        code = kernel.build()
        code.compile()
    kernel._code, kernel.address = code, code.address
    launcher.launch(kernel, 1, (out,), 7)
    return bool(out[0] == 7)


def in_child(work: Callable[[], bool], seconds: float = PATIENCE) -> int:
    """Run ``work`` in a forked child: 0 if it returned true, 1 if not, -9 if it had to be killed."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if work() else 1
        finally:
            os._exit(status)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    kernels.scale(np.ones(3), 2.0)
    monkeypatch.setattr(cache, "cache_folder", lambda: tmp_path)
    return tmp_path


@pytest.fixture
def compiling() -> Iterator[list[int]]:
    """A thread that compiles one kernel after the other; the count of them."""
    kernels.scale(np.ones(3), 2.0)
    done, is_over = [0], threading.Event()

    def work() -> None:
        while not is_over.is_set():
            compile_new_kernel()
            done[0] += 1

    thread = threading.Thread(target=work)
    thread.start()
    yield done
    is_over.set()
    thread.join()


# -- Forks ------------------------------------------------------------------------------------


def test_a_child_of_a_process_that_compiles_can_compile(compiling: list[int]) -> None:
    rng = random.Random(0)
    forks = count(4, 30, 200)
    for _ in range(forks):
        time.sleep(rng.uniform(0, 0.1))
        assert in_child(compile_new_kernel) == 0
    assert compiling[0] > 0
    # The locks that the fork took are free again.
    assert not compiler._taken
    assert compiler._compile_lock.acquire(timeout=PATIENCE)
    compiler._compile_lock.release()


def train() -> list[float]:
    """A few steps of training; the weights."""
    fastnn.manual_seed(3)
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 2))
    optimizer = fastnn.optim.Adam(model.parameters(), lr=0.1)
    x = fastnn.linspace(-1, 1, 40).reshape(8, 5)
    for _ in range(4):
        optimizer.zero_grad()
        (model(x) ** 2).sum().backward()
        optimizer.step()
    return [number for p in model.parameters() for number in p.flatten().tolist()]


def test_servers_that_fork_workers_after_the_model_was_used(compiling: list[int]) -> None:
    """As gunicorn with ``preload_app``: the parent infers, forks, and each worker answers on several threads."""
    expected = train()
    model = nn.Linear(6, 3)
    x = fastnn.ones(4, 6)
    answer = model(x).tolist()

    def serve() -> bool:
        answers: list[bool] = []
        threads = [threading.Thread(target=lambda: answers.append(model(x).tolist() == answer)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return answers == [True] * 4 and train() == expected and launcher.threading_layer() == "serial"

    for _ in range(count(2, 20, 100)):
        assert in_child(serve) == 0
    # A child of a child, as a daemon makes.
    assert in_child(lambda: in_child(serve) == 0) == 0
    assert model(x).tolist() == answer
    assert train() == expected


def test_a_fork_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "FORK_PATIENCE", 0.05)
    held, is_over = threading.Event(), threading.Event()

    def hold() -> None:
        with compiler._compile_lock:
            held.set()
            is_over.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        assert in_child(lambda: compiler._compile_lock.acquire(timeout=1)) == 0
    finally:
        is_over.set()
        thread.join()


# -- SIGKILL, and the files of the cache --------------------------------------------------------


def test_a_process_that_is_killed_while_it_compiles_leaves_whole_files(folder: Path) -> None:
    rng = random.Random(1)
    for turn in range(count(2, 20, 100)):
        # The child is killed in the middle, wherever that is: no child compiles so many.
        names = [f"test.{turn}.{i}" for i in range(500)]
        found = in_child(lambda names=names: all(fill(name) for name in names), rng.uniform(0.05, 0.6))
        assert found == -signal.SIGKILL
        for path in folder.glob("*.bin"):
            assert cache._read(path) is not None
    # Cached kernels are loaded, the rest is compiled.
    assert all(fill(name) for name in names[:3])


def test_damaged_files_of_the_cache_are_never_read(folder: Path) -> None:
    path, rng = folder / "kernel-1.bin", random.Random(2)
    cache._write(path, ("code", bytes(3000)))
    whole = path.read_bytes()
    for _ in range(count(200, 2000, 20_000)):
        content = bytearray(whole)
        kind = rng.randrange(4)
        if kind == 0:
            del content[rng.randrange(len(content)) :]
        elif kind == 1:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        elif kind == 2:
            content += rng.randbytes(rng.randrange(1, 9))
        else:
            content = bytearray(rng.randbytes(rng.randrange(100)))
        path.write_bytes(content)
        assert cache._read(path) is None
    path.write_bytes(whole)
    assert cache._read(path)[0] == "code"
    other = folder / "kernel-2.bin"
    other.write_bytes(whole)
    assert cache._read(other) is None


COLD = """
import numpy as np
from fastnn import kernels
p, total = np.ones(3), np.zeros(1)
kernels.sgd(p, np.full(3, 2.0), lr=0.25)
kernels.total(total, p)
kernels.scale(p, 3.0)
print(total[0], p[0])
"""


if LEVEL != "suite":  # Minutes of compilation.

    def test_eight_processes_on_an_empty_cache(tmp_path: Path) -> None:
        processes = [start_python(COLD, FASTNN_CACHE_DIR=str(tmp_path)) for _ in range(8)]
        found = {output_of(process, 900) for process in processes}
        assert found == {"1.5 1.5\n"}
        [folder] = tmp_path.iterdir()
        assert not list(folder.glob("*.tmp"))
        assert all(cache._read(path) is not None for path in folder.glob("*.bin"))
