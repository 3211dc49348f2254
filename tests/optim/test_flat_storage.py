"""Flat storage: placement of parameters, the end of a chunk, release of memory."""

from __future__ import annotations

import copy
import gc
import itertools
import weakref
from typing import Any

import numpy as np
import pytest
from comparison import as_array

import fastnn
from fastnn import nn
from fastnn._core import flat_storage as flat
from fastnn._core.flat_storage import Slot


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> int:
    """Chunks of 1,024 bytes, so that every model crosses a boundary."""
    monkeypatch.setattr(flat, "_CHUNK", 1024)
    monkeypatch.setattr(flat, "_chunks", {})
    return 1024


def address(a: np.ndarray) -> int:
    return a.ctypes.data


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(), (1,), (0,), (16,), (17,), (3, 5), (0, 5), (2, 3, 4)], ids=str)
def test_slot(shape, kind):
    slot = Slot(shape, np.dtype(kind))
    for array in (slot.array, slot.grad_array):
        assert (array.shape, array.dtype) == (shape, np.dtype(kind))
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert address(array) % 64 == 0
        assert not array.any()
    # Whole cache lines.
    line = 64 // slot.array.itemsize
    assert slot.stop - slot.start == -(-slot.array.size // line) * line
    assert not np.shares_memory(slot.array, slot.grad_array)
    slot.array[...] = 1
    assert slot.chunk.values[slot.start : slot.stop].sum() == slot.array.size


@pytest.mark.parametrize(
    ("size", "error"), [(-1, ValueError), (-100, RuntimeError), (3.5, TypeError), ("a", TypeError)]
)
def test_an_invalid_size_leaves_the_books_as_they_were(size, error):
    """It once moved the end of the used memory back, or made it a float: later layers overlapped earlier ones."""
    before = nn.Linear(3, 4)
    before.weight.data.fill_(7)
    with pytest.raises(error):
        nn.BatchNorm1d(size)
    with pytest.raises(error):
        Slot((2, size), np.dtype(np.float32))
    after = [nn.Linear(16, 16) for _ in range(4)]
    for layer in after:
        layer.weight.data.fill_(1)
    assert (before.weight == 7).all()
    assert after[0](fastnn.ones(2, 16)).shape == (2, 16)


def test_slots_do_not_overlap():
    rng = np.random.default_rng(0)
    slots = []
    for i in range(60):
        shape = tuple(rng.integers(0, 40, rng.integers(0, 3)))
        kind = np.dtype([np.float32, np.float64][i % 2])
        slots.append(Slot(shape, kind))
    for i, slot in enumerate(slots):
        slot.array[...] = i
        slot.grad_array[...] = -i
    for i, slot in enumerate(slots):
        assert (slot.array == i).all()
        assert (slot.grad_array == -i).all()
    for a, b in itertools.combinations(slots, 2):
        assert a.chunk is not b.chunk or a.stop <= b.start or b.stop <= a.start


def test_neighbours_touch():
    layer = nn.Linear(3, 5)
    assert layer.weight._slot.chunk is layer.bias._slot.chunk
    assert layer.weight._slot.stop == layer.bias._slot.start


def test_end_of_a_chunk(small_chunks):
    """A parameter that does not fit begins a new chunk; one larger than half a chunk has its own."""
    kind = np.dtype(np.float32)
    first = [Slot((100,), kind), Slot((100,), kind)]
    assert first[0].chunk is first[1].chunk
    assert first[1].stop == 224
    exactly = Slot((32,), kind)
    assert exactly.chunk is first[0].chunk
    assert exactly.stop == 256 == first[0].chunk.values.size
    over = Slot((1,), kind)
    assert over.chunk is not first[0].chunk
    assert over.start == 0
    half, large = Slot((128,), kind), Slot((129,), kind)
    assert half.chunk is over.chunk
    assert large.chunk not in (over.chunk, first[0].chunk)
    assert large.chunk.values.size == 144
    assert Slot((1,), kind).chunk is over.chunk
    assert Slot((1,), np.dtype(np.float64)).chunk is not over.chunk


def train(model: Any, optimizer: Any, steps: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    for _ in range(steps):
        x = fastnn.tensor(rng.standard_normal((4, 6)).astype("f4"))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), fastnn.tensor([0, 1, 2, 0])).backward()
        optimizer.step()
    return [as_array(p) for p in model.parameters()]


def make() -> Any:
    fastnn.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 9), nn.Tanh(), nn.Linear(9, 3))


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_a_model_over_several_chunks(kind, monkeypatch):
    """The same numbers as in one chunk, with one run per contiguous group of parameters; also in a copy."""

    def optimizer(model: Any) -> Any:
        options = {"momentum": 0.9, "weight_decay": 0.1} if kind == "SGD" else {"lr": 0.01, "amsgrad": True}
        return getattr(fastnn.optim, kind)(model.parameters(), **options)

    model = make()
    whole = optimizer(model)
    assert len(whole._layouts[0].runs) == 1
    expected = train(model, whole, 5)
    monkeypatch.setattr(flat, "_CHUNK", 512)
    monkeypatch.setattr(flat, "_chunks", {})
    model = make()
    parts = optimizer(model)
    # The middle weight is larger than half a chunk; the last bias no longer fits into the first.
    chunks = [p._slot.chunk for p in model.parameters()]
    assert [chunks.index(c) for c in chunks] == [0, 0, 2, 0, 0, 5]
    assert [len(run.params) for run in parts._layouts[0].runs] == [2, 1, 2, 1]
    twin, other = copy.deepcopy((model, parts))
    for m, o in ((model, parts), (twin, other)):
        for found, e in zip(train(m, o, 5), expected, strict=True):
            np.testing.assert_array_equal(found, e)


def test_values_survive_the_chunk_change(small_chunks):
    parameters = [nn.Parameter(fastnn.ones(50) * i) for i in range(20)]
    for i, p in enumerate(parameters):
        assert p.tolist() == [float(i)] * 50


# -- Memory -----------------------------------------------------------------------------------


def test_hundreds_of_models_made_and_freed(small_chunks):
    """There are never more chunks than the live model needs, plus the one being filled."""
    made: list[weakref.ref[Any]] = []
    original = flat._Chunk.__init__

    class Counted(flat._Chunk):
        __slots__ = ()

        def __init__(self, *args: Any) -> None:
            original(self, *args)
            made.append(weakref.ref(self))

    flat._Chunk, plain = Counted, flat._Chunk
    try:
        for _ in range(300):
            model = make()
            optimizer = fastnn.optim.Adam(model.parameters())
            train(model, optimizer, 1)
            del optimizer
            needed = len({id(p._slot.chunk) for p in model.parameters()})
            alive = sum(ref() is not None for ref in made)
            assert alive <= needed + 1
        del model
        assert len(made) >= 300
        # Without the garbage collector.
        assert sum(ref() is not None for ref in made) <= 1
    finally:
        flat._Chunk = plain


def test_room_is_used_again(monkeypatch):
    """A search that keeps some models only needs their memory; the rest is zeroed and reused."""
    monkeypatch.setattr(flat, "_chunks", {})

    def candidate() -> Any:
        model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
        for p in model.parameters():
            _, grad = p._data.fill(1), p._slot.grad_array
            assert not grad.any()
            grad.fill(1)
        return model

    kept = [candidate()]
    for i in range(1200):
        model = candidate()
        if i % 100 == 0:
            kept.append(model)
    slots = [p._slot for m in kept for p in m.parameters()]
    assert len({(id(s.chunk), s.start, s.stop) for s in slots}) == 4 * len(kept)
    assert all((s.array == 1).all() for s in slots)
    # Without reuse it would be 1,200 models of 38 kB.
    assert sum(c.reached * 4 for c in {s.chunk for s in slots}) < 6 * 2**20


def test_room_that_somebody_holds_is_not_used_again(small_chunks):
    """An array over the numbers or the gradient of a deleted parameter keeps both its slots."""
    kind = np.dtype(np.float32)
    held = []
    for i in range(40):
        slot = Slot((3, 5), kind)
        array = (slot.array.T, slot.grad_array[1:])[i % 2]
        array[...] = i
        held.append(array)
        del slot
    for i, array in enumerate(held):
        assert (array == i).all()
    assert not any(np.shares_memory(a, b) for a, b in itertools.combinations(held, 2))


def test_a_freed_model_frees_its_memory():
    """A large parameter has a chunk of its own, which is freed with it."""
    layer = nn.Linear(3000, 2000)
    memory = weakref.ref(layer.weight._slot.chunk.values.base)
    layer(fastnn.ones(1, 3000)).sum().backward()
    gc.disable()
    try:
        assert memory() is not None
        del layer
        assert memory() is None
    finally:
        gc.enable()


def test_a_view_keeps_its_memory():
    """The numbers of a deleted parameter stay valid in views of them."""
    layer = nn.Linear(3, 2)
    array, tensor, expected = layer.weight.detach().numpy(), layer.bias.detach(), as_array(layer.bias)
    before = array.copy()
    del layer
    for _ in range(50):
        nn.Linear(30, 20)
    np.testing.assert_array_equal(array, before)
    np.testing.assert_array_equal(tensor.numpy(), expected)


def test_gradients_cost_nothing_before_they_are_asked_for(small_chunks):
    layer = nn.Linear(3, 2)
    assert layer.weight._slot.chunk._grads is None
    layer(fastnn.ones(1, 3))
    assert layer.weight._slot.chunk._grads is None
    layer(fastnn.ones(1, 3)).sum().backward()
    assert layer.weight._slot.chunk._grads is not None
