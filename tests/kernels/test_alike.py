"""Elementwise kernels by one call: which arrays it takes, and that the general way computes the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastnn import kernels
from fastnn.kernels.activation import elementwise_activations, fused_activations
from fastnn.kernels.runtime import launcher, thread_count


def _calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of kernels that are launched the general way."""
    names: list[str] = []

    def launch(kernel: Any, *args: Any) -> None:
        names.append(kernel.name)
        launcher.launch(kernel, *args)

    for module in (fused_activations, elementwise_activations):
        monkeypatch.setattr(module, "launch", launch)
    return names


def _warm() -> None:
    # A kernel that is not compiled goes the general way.
    for dtype in (np.float32, np.float64):
        a = np.ones(1, dtype)
        kernels.activation_forward(a.copy(), a, "tanh")
        kernels.activation_backward(a.copy(), a, a, "tanh")
        kernels.elementwise_forward(a.copy(), a, "elu", 1.0, 1.0, 1.0)
        kernels.elementwise_backward(a.copy(), a, a, "elu", 1.0, 1.0, 1.0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (7,), (3, 0), (2, 3, 5), (33, 65)])
def test_the_same_bits_as_the_general_way(
    shape: tuple[int, ...], dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _warm()
    rng = np.random.default_rng(0)
    x, dy = [np.asarray(rng.standard_normal(shape), dtype) for _ in range(2)]
    names = _calls(monkeypatch)

    def run() -> list[np.ndarray]:
        outs = [np.full_like(x, 9) for _ in range(4)]
        kernels.activation_forward(outs[0], x, "tanh")
        kernels.activation_backward(outs[1], dy, outs[0], "tanh")
        kernels.elementwise_forward(outs[2], x, "elu", 0.5, 1.5, 2.0)
        kernels.elementwise_backward(outs[3], dy, x, "elu", 0.5, 1.5, 2.0)
        return outs

    found = run()
    assert names == []
    # One of a watcher is not run by the entry.
    with launcher.recording(lambda *args: False):
        expected = run()
    assert len(names) == 4
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_large_arrays_go_the_general_way(monkeypatch: pytest.MonkeyPatch) -> None:
    _warm()
    names = _calls(monkeypatch)
    monkeypatch.setattr(thread_count, "SERIAL_OPERATIONS", 1000)
    x = np.ones(100, np.float32)
    kernels.activation_forward(np.empty_like(x), x, "tanh")
    assert names == ["activation_forward.float32"]


def _readonly(a: np.ndarray) -> np.ndarray:
    a.flags.writeable = False
    return a


class _Kind(np.ndarray):
    pass


def _misaligned() -> np.ndarray:
    return np.zeros(33, np.uint8)[1:].view(np.float64)


_GOOD = np.ones((2, 4), np.float32)


@pytest.mark.parametrize(
    ("out", "x"),
    [
        (_GOOD.copy(), np.ones((4, 2), np.float32)),
        (_GOOD.copy(), np.ones(8, np.float32)),
        (_GOOD.copy(), np.ones((2, 4))),
        (_GOOD.copy(), np.ones((2, 4), np.int32)),
        (_GOOD.copy(), np.ones((2, 8), np.float32)[:, ::2]),
        (_GOOD.copy(), np.asfortranarray(_GOOD)),
        (np.asfortranarray(_GOOD), _GOOD),
        (_readonly(_GOOD.copy()), _GOOD),
        (_GOOD.copy(), _GOOD.view(_Kind)),
        (_GOOD.copy(), _GOOD.astype(">f4")),
        (np.ones(4), _misaligned()),
        (_GOOD.copy(), None),
        ("out", _GOOD),
        (_GOOD.copy(), [[1.0] * 4] * 2),
    ],
)
def test_other_arguments_are_refused(out: Any, x: Any) -> None:
    _warm()
    before = np.array(out) if isinstance(out, np.ndarray) else None
    for run in (
        lambda: kernels.activation_forward(out, x, "tanh"),
        lambda: kernels.activation_backward(out, x, x, "tanh"),
        lambda: kernels.elementwise_forward(out, x, "elu", 1.0, 1.0, 1.0),
        lambda: kernels.elementwise_backward(out, x, x, "elu", 1.0, 1.0, 1.0),
    ):
        with pytest.raises((TypeError, ValueError)):
            run()
    assert before is None or np.array_equal(out, before)
