"""Children forked while other threads are at work do not wait for a lock that such a thread held."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Each lock in turn is held by another thread while the program forks; the child then needs that lock.
HELD = """
import os, signal, threading
import llvmlite.binding.ffi as llvm
from numba.core.compiler_lock import global_compiler_lock
import fastnn
from fastnn._core import flat_storage as flat, capture_state
from fastnn import random
from fastnn.kernels.runtime import compiler, launcher, pool

# A thread that holds a lock for ever is not waited for.
compiler.FORK_PATIENCE = 0.1
generator = fastnn.Generator().manual_seed(3)
layer = fastnn.nn.Linear(2, 2)
pool.start()
locks = {
    "flat": flat._lock, "gradients": flat._grads_lock, "compilation": compiler._compile_lock,
    "Numba": global_compiler_lock._lock, "llvmlite": llvm.lib._lock._lock,
    "generator": generator.numpy.bit_generator.lock,
    "default generator": fastnn.default_generator.numpy.bit_generator.lock,
}

def work():
    fastnn.nn.Linear(3, 3)
    model = fastnn.nn.Linear(2, 2, dtype=fastnn.float64)
    model(fastnn.ones(1, 2, dtype=fastnn.float64)).sum().backward()
    fastnn.rand(3), fastnn.randperm(4), fastnn.randperm(4, generator=generator)
    with compiler.starting():
        pass
    with global_compiler_lock:
        str(llvm.lib.LLVMPY_GetDefaultTargetTriple)
    with llvm.lib._lock:
        pass
    assert not capture_state.active and not launcher._recorders

work()
for name, lock in locks.items():
    taken, done = threading.Event(), threading.Event()

    def hold():
        with lock, capture_state.watching(capture_state.Watch()):
            taken.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        try:
            work()
        except BaseException as error:
            print(name, repr(error), flush=True)
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    done.set()
    thread.join()
    print(name, status, flush=True)
work()
"""

# Threads that take the locks continuously.
BUSY = """
import os, signal, threading, time
import fastnn

stop = False

def busy():
    while not stop:
        fastnn.nn.Linear(3, 3)
        fastnn.randperm(1000)

for _ in range(2):
    threading.Thread(target=busy, daemon=True).start()
for i in range(12):
    time.sleep(0.003)
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        fastnn.nn.Linear(2, 2)
        fastnn.randperm(10)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    print(i, status, flush=True)
    if status:
        break
stop = True
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize(("program", "count"), [(HELD, 7), (BUSY, 12)], ids=["held", "busy"])
def test_children_do_not_wait_for_threads_of_the_parent(program, count):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT), "FASTNN_QUIET": "1"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == count
    assert [line for line in lines if not line.endswith(" 0")] == []
