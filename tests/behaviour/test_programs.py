"""Random programs: replays give the same bits as eager code, and PyTorch's numbers up to rounding.

``FASTNN_PROGRAMS`` is the number of programs of each test (300), ``FASTNN_PROGRAMS_SEED`` a seed for them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from comparison import same_kind_of_error
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from machine import KINDS, LAYERS, LINEAR, OFTEN, OPTIMIZERS, Instruction, Machine, Note, Spec, listing

import fastnn

PROGRAMS = int(os.environ.get("FASTNN_PROGRAMS", "300"))
SEED = int(os.environ.get("FASTNN_PROGRAMS_SEED", "1"))

SPECS = st.builds(
    Spec,
    kind=st.sampled_from(KINDS),
    layers=st.lists(st.sampled_from([*LINEAR, *LINEAR, *LAYERS]), min_size=1, max_size=6).map(tuple),
    width=st.sampled_from([2, 3, 4]),
    # Rows of a weight of 256 numbers map to the same cache sets.
    hidden=st.sampled_from([2, 3, 5, 256]),
    rows=st.tuples(st.sampled_from([1, 2, 4, 70]), st.sampled_from([1, 3, 4])),
    wants=st.tuples(st.booleans(), st.booleans()),
    dtype=st.sampled_from(["float32", "float64"]),
    optimizer=st.sampled_from(sorted(OPTIMIZERS)),
    seed=st.integers(0, 99),
)
SMALL = st.integers(0, 11)
NAMES = st.sampled_from([name for name, times in OFTEN.items() for _ in range(times)])
PROGRAM = st.lists(st.tuples(NAMES, SMALL, SMALL, SMALL), min_size=3, max_size=20)

# Many programs, each one slow for a property test; the same ones in every run.
many = settings(
    max_examples=PROGRAMS, deadline=None, database=None, suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
)  # fmt: skip


@pytest.fixture(autouse=True)
def _on() -> Iterator[None]:
    fastnn.set_capture(True)
    yield
    fastnn.set_capture(True)


def run(spec: Spec, program: list[Instruction], captured: bool, settled: bool = False) -> list[Note]:
    fastnn.set_capture(captured)
    return Machine(fastnn, spec, compiled=captured, settled=settled).run(program)


def is_same(found: Note, expected: Note, exactly: bool = True) -> bool:
    """Whether two notes of fastnn agree, bit by bit or up to rounding."""
    if not exactly:
        return is_near(found, expected)
    if len(found) != len(expected) or found[:-1] != expected[:-1]:
        return False
    f, e = found[-1], expected[-1]
    if isinstance(e, np.ndarray):
        return isinstance(f, np.ndarray) and (f.dtype, f.shape) == (e.dtype, e.shape) and f.tobytes() == e.tobytes()
    if isinstance(e, Exception):
        # The order of several tensors may differ.
        return type(f) is type(e) and str(f)[:40] == str(e)[:40]
    return bool(f == e or (f != f and e != e))


def size_of(note: Note) -> float:
    """The largest absolute value in a note."""
    array = note[-1]
    finite = isinstance(array, np.ndarray) and array.dtype.kind == "f" and array.size and np.isfinite(array).all()
    return float(np.abs(array).max()) if finite else 0.0


def is_near(found: Note, expected: Note, others: Sequence[Note] = (), scale: float = 1.0) -> bool:
    """Whether notes of fastnn and PyTorch agree up to rounding.

    Args:
        others: the same with other roundings. The differences show the effect of rounding on the program.
        scale: the largest number of the program so far: where numbers cancel, its rounding error remains.
    """
    if len(found) != len(expected) or found[:-1] != expected[:-1]:
        return False
    f, e = found[-1], expected[-1]
    if isinstance(e, Exception):
        return isinstance(f, Exception) and same_kind_of_error(f, e)
    if not isinstance(e, np.ndarray):
        return bool(f == e)
    if not isinstance(f, np.ndarray) or f.shape != e.shape:
        return False
    if e.dtype.kind != "f":
        return bool((f == e).all())
    finite = np.isfinite(e)
    if not finite.all():
        return np.array_equal(finite, np.isfinite(f))
    if not e.size:
        return True
    # Optimizers that divide by the magnitude of a gradient amplify one of pure rounding error.
    limit = (1e-8 if e.dtype == np.float64 else 1e-5) * max(scale, np.abs(e).max())
    for other in others:
        limit += 30 * np.abs(e.astype(np.float64) - other[-1]).max()
    return bool((np.abs(f.astype(np.float64) - e) <= limit).all())


IN_PLACE = "modified by an inplace operation"


def is_about_versions(note: Note) -> bool:
    """Whether a backward pass raised because a tensor that it reads was changed in place."""
    return isinstance(note[-1], RuntimeError) and IN_PLACE in str(note[-1])


@seed(SEED)
@many
@given(SPECS, PROGRAM)
def test_captured_as_eager(spec: Spec, program: list[Instruction]) -> None:
    found, expected = run(spec, program, True), run(spec, program, False)
    exactly = True
    for f, e in zip(found, expected, strict=False):
        # A second derivative first sums the contributions of a module, then adds those of other modules.
        exactly = exactly and f[0] != "differentiated"
        if is_about_versions(f) and "through .data" in str(f[-1]):
            # A replay is computed once more for second derivatives, and finds other values.
            return
        if is_about_versions(f) and (e[0] in ("hook", "accumulated") or str(e[-1]) == "interrupted"):
            # A replay raises at once, eager code after the hooks of the first layers.
            return
        if is_about_versions(f) and f[0].endswith(" second"):
            # A replay is computed once more from all its operands; eager operations may not need all of them.
            return
        if is_about_versions(f) and "this gradient is read-only" in str(e[-1]):
            # Both errors are due, and a replay finds the other one first.
            return
        assert is_same(f, e, exactly), f"{f}\ninstead of {e}, in\n{listing(spec, program)}"
    assert len(found) == len(expected), listing(spec, program)


def by_pytorch(torch: Any, spec: Spec, program: list[Instruction]) -> tuple[list[Note], list[list[Note]]]:
    """PyTorch's notes, and its notes with other roundings: in float64, and from slightly perturbed numbers."""
    found = Machine(torch, spec, compiled=False, settled=True).run(program)
    eps = float(np.finfo(spec.dtype).eps)
    others = [
        Machine(torch, spec, compiled=False, settled=True, dtype="float64", nudge=nudge).run(program)
        for nudge in dict.fromkeys([np.finfo(np.float64).eps, 2 * eps])
    ]
    return found, others


# PyTorch says once that a gradient has other strides than its parameter.
@pytest.mark.filterwarnings("ignore:grad and param do not obey the gradient layout contract")
@pytest.mark.torch
@seed(SEED + 1)
@many
@given(SPECS, PROGRAM)
def test_as_pytorch(spec: Spec, program: list[Instruction]) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.set_num_threads(1)
    found = run(spec, program, True, True)
    expected, others = by_pytorch(torch, spec, program)
    scale = 1.0
    for f, e, *rest in zip(found, expected, *others, strict=False):
        scale = max(scale, size_of(e))
        if is_about_versions(f) != is_about_versions(e):
            # Fused operations read other arrays than PyTorch's: other tests check when each of them raises.
            return
        assert is_near(f, e, rest, scale), f"{f}\ninstead of {e}, in\n{listing(spec, program)}"
    assert len(found) == len(expected), listing(spec, program)
