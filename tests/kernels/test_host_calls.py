"""Calls of Python between the launches of a program, and the barrier of processes that share memory."""

from __future__ import annotations

import numpy as np
import pytest

from fastnn import kernels
from fastnn.kernels.runtime import launcher, meeting
from fastnn.kernels.runtime.host_calls import HostCall
from fastnn.kernels.runtime.program import Program


class Doubled:
    """A program ``y = relu(x)``, ``y *= 2`` by Python, ``z = relu(y)``."""

    def __init__(self, is_last: bool = False) -> None:
        self.x, self.y, self.z = (np.zeros((2, 3), np.float32) for _ in range(3))
        self.calls, self.fails = 0, False
        self.host = HostCall("double", self.double, (0,))
        self.program = Program()
        with self.program.recording():
            kernels.activation_forward(self.y, self.x, "relu")
            launcher.call(self.host, self.y)
            if not is_last:
                kernels.activation_forward(self.z, self.y, "relu")

    def double(self, y: np.ndarray) -> None:
        self.calls += 1
        if self.fails:
            raise ArithmeticError("no")
        y *= 2


def test_a_recording_does_not_call():
    made = Doubled()
    assert made.calls == 0
    assert len(made.program) == 3
    launcher.call(made.host, made.y)
    assert made.calls == 1


@pytest.mark.parametrize("is_last", [False, True])
def test_replay(is_last):
    made = Doubled(is_last)
    made.x[...] = [[-1, 2, 3], [4, -5, 6]]
    for _ in range(2):
        made.program.replay()
        np.testing.assert_array_equal(made.y, [[0, 4, 6], [8, 0, 12]])
        np.testing.assert_array_equal(made.z, 0 if is_last else made.y)
    assert made.calls == 2


def test_an_error_ends_the_program():
    made = Doubled()
    made.x[...], made.fails = 1, True
    with pytest.raises(ArithmeticError):
        made.program.replay()
    assert not made.z.any()
    made.fails = False
    made.program.replay()
    assert (made.z == 2).all()


def test_replays_over_batches():
    made, xs = Doubled(), np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    zs = np.zeros((4, 2, 3), np.float32)
    assert made.program.replay_over([(made.x, xs), (made.z, zs)], 4) == 4
    np.testing.assert_array_equal(zs, 2 * xs)
    assert made.calls == 4
    # The recorded arrays are in their places again.
    made.x[...] = 5
    made.program.replay()
    assert (made.z == 10).all()


def test_an_error_in_replays_over_batches():
    made, xs = Doubled(), np.ones((4, 2, 3), np.float32)
    made.fails = True
    with pytest.raises(ArithmeticError):
        made.program.replay_over([(made.x, xs)], 4)
    made.fails = False
    made.x[...] = 3
    made.program.replay()
    assert (made.z == 6).all()


def test_watched():
    made, seen = Doubled(), []
    made.x[...] = 1

    def watch(kernel, parts, arrays, scalars):
        seen.append(kernel.name)
        launcher.launch_unwatched(kernel, parts, arrays, *scalars)
        return True

    with launcher.recording(watch):
        made.program.replay()
    assert seen[1] == "double"
    assert len(seen) == 3
    assert (made.z == 2).all()


def test_meeting():
    marks = np.zeros(meeting.room(3) // 8, np.int64)
    assert not meeting.arrive(marks, 0, 1, rounds=1)
    assert not meeting.arrive(marks, 2, 1, rounds=1)
    assert meeting.arrive(marks, 1, 1)
    # The others see that all have come, also after one has come to the next meeting.
    assert not meeting.arrive(marks, 1, 2, rounds=0)
    assert meeting.arrive(marks, 0, 1)
    assert meeting.arrive(marks, 2, 1)
