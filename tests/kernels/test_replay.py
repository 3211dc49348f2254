"""Recorded programs: the same bits as the original launches, on any number of threads and in any process."""

import sys
import threading
from contextlib import nullcontext

import numpy as np
import pytest
from helpers import assert_same_bits, cut_in, run_python

from fastnn import kernels
from fastnn.kernels.runtime import launcher
from fastnn.kernels.runtime.program import Program


def work(arrays):
    """Three launches, each dependent on the previous one."""
    x, weight, out, bias = arrays
    kernels.linear_forward(out, x, weight, bias, "relu")
    kernels.activation_forward(out, out, "tanh")
    kernels.gemm(weight, x.T, out, accumulate=True)


def arrays():
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape) for shape in ((32, 40), (40, 24), (32, 24), (24,))]


def recorded(*given):
    """A program of :func:`work`."""
    step = Program()
    with step.recording():
        work(*given)
    return step


@pytest.mark.parametrize("threads", [1, 2, 3, 8, 100])
def test_replays_have_the_bits_of_the_launches(threads):
    expected, found = arrays(), arrays()
    with cut_in(threads):
        for _ in range(5):
            work(expected)
        step = recorded(found)
        for _ in range(5):
            step.replay()
    for a, b in zip(found, expected, strict=True):
        assert_same_bits(a, b)


def test_a_replay_under_a_watcher_is_seen():
    step = recorded(arrays())
    seen = []
    with launcher.recording(lambda kernel, *_: seen.append(kernel)):
        step.replay()
    assert seen == [launch[0] for launch in step.launches]
    assert len(seen) == 3


def test_launches_of_other_threads_are_not_recorded():
    other = np.zeros(3), np.ones(3)
    step = Program()
    with step.recording():
        thread = threading.Thread(target=lambda: kernels.sgd(*other, lr=1.0))
        thread.start()
        thread.join()
        work(arrays())
    assert len(step) == 3
    step.replay()
    assert other[0].tolist() == [-1, -1, -1]


def test_nothing_recorded_is_nothing_done():
    step = Program()
    with step.recording():
        pass
    step.replay()
    assert len(step) == 0


@pytest.mark.parametrize("threads", [1, 2, 8])
@pytest.mark.parametrize("watched", [False, True])
def test_replays_over_parts_of_arrays(threads, watched):
    """Each replay uses the next part of the input and of the output."""
    whole = np.random.default_rng(1).standard_normal((7 * 32, 40))
    found, expected = np.zeros((7 * 32, 24)), np.zeros((7, 32, 24))
    x, weight, out, bias = arrays()
    with cut_in(threads):
        step = recorded((x, weight, out, bias))
        other, x_before = weight.copy(), x.copy()
        for i in range(7):
            work((whole[32 * i : 32 * i + 32], other, expected[i], bias))
        seen = []
        with launcher.recording(lambda kernel, *_: seen.append(kernel)) if watched else nullcontext():
            step.replay_over([(x, whole), (out, found)], 7)
    assert len(seen) == 21 * watched
    assert_same_bits(found, expected.reshape(-1, 24))
    assert_same_bits(weight, other)
    # Afterwards it uses the recorded arrays again.
    step.replay()
    assert_same_bits(x, x_before)
    work((x, other, expected[0], bias))
    assert_same_bits(out, expected[0])
    assert_same_bits(weight, other)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((6 * 32, 40)), np.zeros((7 * 32, 40), np.float32), np.zeros((40, 7 * 32)).T,
        np.zeros((7 * 32, 80))[:, ::2],
    ],
    ids=["short", "float32", "transposed", "strided"],
)  # fmt: skip
def test_replays_over_arrays_that_do_not_fit_are_refused(wrong):
    given = arrays()
    step, before = recorded(given), [a.copy() for a in given]
    with pytest.raises(ValueError, match="batches for 7 replays must be C-contiguous, of 8960 numbers of float64"):
        step.replay_over([(given[0], wrong)], 7)
    for a, b in zip(given, before, strict=True):
        assert_same_bits(a, b)


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, np.finfo(np.float32).max, 0.0])
def test_replays_end_after_a_number_that_is_not_finite(dtype, value, watched):
    p, g = np.zeros(1, dtype), np.zeros(1, dtype)
    step = Program()
    with step.recording():
        kernels.sgd(p, g, lr=1.0)
    values, gradients = np.zeros(5, dtype), np.array([1, 2, -value, 3, 4], dtype)
    with launcher.recording(lambda *_: None) if watched else nullcontext():
        done = step.replay_over([(p, values), (g, gradients)], 5, values)
    assert done == (5 if np.isfinite(value) else 3)
    # The sign of a NaN is not defined.
    np.testing.assert_array_equal(values, np.where(np.arange(5) < done, -gradients, 0))


def test_numbers_that_are_checked_are_one_for_each_replay():
    given = arrays()
    step, found = recorded(given), np.zeros((7 * 32, 24))
    with pytest.raises(ValueError, match="finite must be 7 floating-point numbers, found 5376 of float64"):
        step.replay_over([(given[2], found)], 7, found)
    assert not found.any()


CODE = """
import os
import numpy as np
from fastnn import kernels
from fastnn.kernels.runtime import launcher, thread_count
from fastnn.kernels.runtime.program import Program
thread_count.SERIAL_OPERATIONS = 0
thread_count.set_num_threads(2)
p, g = np.zeros(100), np.ones(100)
step = Program()
with step.recording():
    kernels.sgd(p, g, lr=1.0)
step.replay()
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
    print(int(p.sum()), launcher.threading_layer())
"""


def test_replays_on_two_threads():
    assert run_python(CODE.replace("FORK", "False"), NUMBA_NUM_THREADS="2").split() == ["-200", "fastnn"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_a_forked_child_replays():
    assert run_python(CODE.replace("FORK", "True")).split() == ["-300"]


def test_what_is_written_is_not_read_only():
    given = arrays()
    step, out = recorded(given), np.zeros((7 * 32, 24))
    out.flags.writeable = False
    with pytest.raises(ValueError, match="may write, found a read-only array"):
        step.replay_over([(given[2], out)], 7)
    assert not out.any()
