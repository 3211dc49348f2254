"""Recorded launches: the same bits as the launches themselves, on any number of threads and in any process."""

import sys
import threading

import numpy as np
import pytest
from helpers import assert_same_bits, cut_in, run_python

from fastnn import kernels
from fastnn.kernels import jit
from fastnn.kernels.recorded import recorded


def work(arrays):
    """Three launches, each of which needs the one before."""
    x, weight, out, bias = arrays
    kernels.linear_forward(out, x, weight, bias, "relu")
    kernels.activation_forward(out, out, "tanh")
    kernels.gemm(weight, x.T, out, accumulate=True)


def arrays():
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape) for shape in ((32, 40), (40, 24), (32, 24), (24,))]


@pytest.mark.parametrize("threads", [1, 2, 3, 8, 100])
def test_replays_have_the_bits_of_the_launches(threads):
    expected, found = arrays(), arrays()
    for _ in range(6):
        work(expected)
    with cut_in(threads):
        with recorded() as step:
            work(found)
        for _ in range(5):
            step.replay()
    for a, b in zip(found, expected, strict=True):
        assert_same_bits(a, b)


def test_a_replay_under_a_watcher_is_seen():
    with recorded() as step:
        work(arrays())
    seen = []
    with jit.recording(lambda kernel, *_: seen.append(kernel)):
        step.replay()
    assert seen == [launch[0] for launch in step.launches]
    assert len(seen) == 3


def test_launches_of_other_threads_are_not_recorded():
    other = np.zeros(3), np.ones(3)
    with recorded() as step:
        thread = threading.Thread(target=lambda: kernels.sgd(*other, lr=1.0))
        thread.start()
        thread.join()
        work(arrays())
    assert len(step.launches) == 3
    step.replay()
    assert other[0].tolist() == [-1, -1, -1]


def test_nothing_recorded_is_nothing_done():
    with recorded() as step:
        pass
    step.replay()


CODE = """
import os
import numpy as np
from fastnn import kernels
from fastnn.kernels import jit
from fastnn.kernels.recorded import recorded
jit.SERIAL_OPERATIONS = 0
jit.set_num_threads(2)
p, g = np.zeros(100), np.ones(100)
with recorded() as step:
    kernels.sgd(p, g, lr=1.0)
step.replay()
if FORK:
    read, write = os.pipe()
    if os.fork() == 0:
        step.replay()
        os.write(write, b"%d" % p.sum())
        os._exit(0)
    os.wait()
    print(os.read(read, 99).decode())
else:
    print(int(p.sum()), jit.threading_layer())
"""


@pytest.mark.parametrize("layer", ["workqueue", "omp", "tbb"])
def test_every_threading_layer(layer):
    code = f"import numba.np.ufunc.{layer}pool\n" if layer != "workqueue" else ""
    options = {"NUMBA_THREADING_LAYER": layer}
    try:
        printed = run_python(CODE.replace("FORK", "False"), **options)
    except AssertionError:
        with pytest.raises(AssertionError):
            run_python("from fastnn.kernels import jit\n" + code + "jit.threading_layer()", **options)
        pytest.skip(f"{layer} cannot be loaded here")
    assert printed.split() == ["-200", layer]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_a_forked_child_replays():
    assert run_python(CODE.replace("FORK", "True")).split() == ["-300"]
