"""Threads, Python's and the pool's, forks and other CPUs, each in a process of its own."""


import pytest
from helpers import IS_X86, run_python

from fastnn.kernels.llvm import simd

WORK = """
import hashlib, os, sys, threading
import numpy as np
from fastnn import kernels
from fastnn.kernels.runtime import launcher, pool, thread_count

thread_count.SERIAL_OPERATIONS = 0
pool.govern(False)
rng = np.random.default_rng(0)
x, w, b = (rng.standard_normal(shape).astype("f4") for shape in [(67, 45), (45, 90), (90,)])
labels = rng.integers(0, 90, 67)

def work():
    out, losses, dlogits = np.empty((67, 90), "f4"), np.empty(67, "f4"), np.empty((67, 90), "f4")
    kernels.gemm(out, x, w, b, activation="gelu")
    kernels.softmax_cross_entropy(losses, dlogits, out, labels)
    p = dlogits.ravel()
    kernels.adam(p, out.ravel(), np.zeros_like(p), np.zeros_like(p), step=1, lr=0.1)
    return hashlib.sha256(p.tobytes() + losses.tobytes()).hexdigest()
"""

LAYER = """
thread_count.set_num_threads(1)
expected = work()
for n in (2, 5):
    thread_count.set_num_threads(n)
    assert work() == expected
print(launcher.threading_layer())

# Python threads that launch at once.
results = []
threads = [threading.Thread(target=lambda: results.append({work() for _ in range(100)})) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert results == [{expected}] * 3, results

# A child forked after parallel launches.
if hasattr(os, "fork"):
    import warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    child = os.fork()
    if child == 0:
        kernels.total(np.empty(1), np.ones(3))  # A kernel that the parent has not loaded.
        os._exit(0 if work() == expected and launcher.threading_layer() == "serial" else 1)
    assert os.waitpid(child, 0)[1] == 0
assert work() == expected
"""


TRAINING = """
import hashlib
import numpy as np
import fastnn
from fastnn import nn
from fastnn.kernels.runtime import launcher, pool, thread_count
from fastnn.utils.data import DataLoader, TensorDataset

pool.govern(False)
rng = np.random.default_rng(0)
x = fastnn.from_numpy(rng.standard_normal((640, 784), dtype=np.float32))
y = fastnn.from_numpy(rng.integers(0, 10, 640))

def train(threads, fit):
    # T of the targets, 200 steps.
    fastnn.set_num_threads(threads)
    fastnn.manual_seed(1)
    widths, layers = (784, 256, 128, 64), []
    for m, n in zip(widths, widths[1:]):
        layers += [nn.Linear(m, n), nn.BatchNorm1d(n), nn.ReLU(), nn.Dropout(0.3)]
    model, criterion = nn.Sequential(*layers, nn.Linear(64, 10)), nn.CrossEntropyLoss()
    optimizer = fastnn.optim.Adam(model.parameters())
    if fit:
        fastnn.fit(model, x, y, epochs=20, batch_size=64, optimizer=optimizer, criterion=criterion)
    else:
        loader = DataLoader(TensorDataset(x, y), batch_size=64, shuffle=True)
        for _ in range(20):
            for a, b in loader:
                optimizer.zero_grad()
                criterion(model(a), b).backward()
                optimizer.step()
    return hashlib.sha256(b"".join(t.numpy().tobytes() for t in model.state_dict().values())).hexdigest()

for fit in (True, False):
    assert len({train(threads, fit) for threads in (1, 2, 3, 8)}) == 1
fastnn.set_capture(False)
captured = train(2, False)
fastnn.set_capture(True)
assert captured == train(3, False)
print(launcher.threading_layer())
"""


def test_training_gives_the_same_bits_on_any_number_of_threads():
    assert run_python(TRAINING, NUMBA_NUM_THREADS="3").split() == ["fastnn"]


@pytest.mark.parametrize("layer", ["default", "omp", "tbb", "workqueue"])
def test_kernels_run_beside_any_threading_layer_of_numba(layer):
    """Numba's layers are for the user's own loops; the environment may name one that cannot be loaded."""
    assert run_python(WORK + LAYER, "-W", "error::RuntimeWarning", NUMBA_THREADING_LAYER=layer).split() == ["fastnn"]


BESIDE = """
from numba import njit, prange

@njit(parallel=True)
def double(a):
    for i in prange(a.size):
        a[i] *= 2

expected, a = work(), np.ones(100_000)
for _ in range(20):
    double(a)
    assert work() == expected
print(int(a[0]))
"""


def test_a_user_s_parallel_loops_run_between_launches():
    assert run_python(WORK + BESIDE, NUMBA_THREADING_LAYER="workqueue").split() == [str(2**20)]


def test_one_core_needs_no_pool():
    assert run_python(WORK + "work(); print(launcher.threading_layer())", NUMBA_NUM_THREADS="1").split() == ["serial"]


# The function registered first is called last: after the pool has ended.
AT_EXIT = """
import atexit
atexit.register(lambda: print(work() == expected, launcher.threading_layer(), flush=True))
"""

LAUNCHING_FOREVER = """
expected = work()

def forever():
    while True:
        work()

threading.Thread(target=forever, daemon=True).start()
"""


def test_a_process_ends_while_a_thread_launches():
    for _ in range(5):
        assert run_python(AT_EXIT + WORK + LAUNCHING_FOREVER).split() == ["True", "serial"]


def test_more_parts_than_threads():
    assert run_python(WORK + "thread_count.set_num_threads(9); print(work())", NUMBA_NUM_THREADS="1") == run_python(
        WORK + "thread_count.set_num_threads(2); print(work())"
    )


OTHER_CPU = """
import numpy as np
from fastnn import kernels
from fastnn.kernels.llvm import simd
rng = np.random.default_rng(0)
for m, k, n in [(1, 1, 1), (13, 17, 37), (50, 64, 64)]:
    a, b, bias = (rng.standard_normal(shape).astype("f4") for shape in [(m, k), (k, n), (n,)])
    for right in (b, np.asfortranarray(b)):
        y = np.empty((m, n), "f4")
        kernels.gemm(y, a, right, bias, activation="relu")
        exact = np.maximum(a.astype("f8") @ b + bias, 0)
        limit = 1.2e-7 * (k + 2) * (abs(a.astype("f8")) @ abs(b) + abs(bias))
        assert (abs(y - exact) <= limit).all()
print(simd.vector_bytes(), simd.has_fma())
"""


OTHER_CPUS = [("haswell", 32, True), ("nehalem", 16, False)]


def _on(cpu):
    # With the name alone Numba would keep the features of this CPU, such as AVX-512.
    return run_python(OTHER_CPU, NUMBA_CPU_NAME=cpu, NUMBA_CPU_FEATURES="")


@pytest.mark.parametrize(("cpu", "vector_bytes", "fma"), OTHER_CPUS)
def test_other_cpus(cpu, vector_bytes, fma):
    if not IS_X86 or simd.vector_bytes() < vector_bytes:
        pytest.skip(f"this CPU cannot run the code of {cpu}")
    assert _on(cpu).split() == [str(vector_bytes), str(fma)]
