"""Data sets, collation and the loader."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np
import pytest
from comparison import as_array

import fastnn
from fastnn._core import dtypes
from fastnn.kernels.runtime import launcher
from fastnn.utils import data
from fastnn.utils.data import DataLoader, ImageDataset, TensorDataset

Point = namedtuple("Point", ["x", "y"])


class Items:
    """A data set as users write it."""

    def __init__(self, items: Any) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: Any) -> Any:
        return self.items[index]


def plain(value: Any) -> Any:
    """Tensors as lists, recursively."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value


def loader(lib: Any, dataset: Any, **options: Any) -> Any:
    return lib.utils.data.DataLoader(dataset, **options)


# -- TensorDataset ----------------------------------------------------------------------------


def test_tensor_dataset(lib):
    d = lib.utils.data.TensorDataset(lib.tensor(np.arange(10.0).reshape(5, 2)), lib.tensor(np.arange(5)))
    assert len(d) == 5
    assert plain(d[1]) == [[2.0, 3.0], 1]
    assert plain(d[-1]) == [[8.0, 9.0], 4]
    assert plain(d[1:3]) == [[[2.0, 3.0], [4.0, 5.0]], [1, 2]]
    assert len(d.tensors) == 2
    with pytest.raises(IndexError):
        d[5]


def test_tensor_dataset_of_what_does_not_fit():
    for tensors, error in (
        ((fastnn.zeros(3), fastnn.zeros(4)), ValueError),
        ((fastnn.tensor(1.0),), IndexError),
        ((np.zeros(3),), TypeError),
    ):
        with pytest.raises(error):
            TensorDataset(*tensors)
    # As in PyTorch, one of no tensor can be made, and has no length.
    with pytest.raises(IndexError):
        len(TensorDataset())


@pytest.mark.parametrize("kind", ["float32", "float64", "uint8", "int64", "bool"])
@pytest.mark.parametrize("shape", [(7,), (7, 3), (7, 2, 3), (7, 0)], ids=str)
def test_batches_of_tensors(lib, shape, kind):
    a = (np.arange(np.prod(shape)) % 2).reshape(shape).astype(kind) if kind == "bool" else (
        np.arange(np.prod(shape)).reshape(shape).astype(kind))  # fmt: skip
    strange = np.asfortranarray(np.repeat(a, 2, axis=0))[::2]
    d = lib.utils.data.TensorDataset(lib.tensor(a), lib.from_numpy(strange))
    order = [6, 0, 3, 3, -1, 2]
    batches = list(loader(lib, d, batch_size=4, sampler=order))
    assert [len(x) for x, _ in batches] == [4, 2]
    for i in (0, 1):
        got = np.concatenate([as_array(b[i]) for b in batches])
        assert got.dtype == a.dtype
        np.testing.assert_array_equal(got, a[order])
    assert isinstance(batches[0], list)


def test_batches_are_copies(lib):
    a = np.zeros((4, 3), np.float32)
    for (x,) in loader(lib, lib.utils.data.TensorDataset(lib.from_numpy(a)), batch_size=2):
        x += 1
    assert not a.any()


def test_a_batch_is_one_gather():
    d = TensorDataset(fastnn.zeros(6, 3))
    seen: list[int] = []
    with launcher.recording(lambda kernel, parts, arrays, scalars: seen.append(arrays[2].size)):
        assert len(list(DataLoader(d, batch_size=4))) == 2
    assert seen == [4, 2]


def test_batches_of_a_tensor_that_needs_a_gradient(lib):
    x = lib.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    for (batch,) in loader(lib, lib.utils.data.TensorDataset(x), batch_size=2, sampler=[1, 1]):
        batch.sum().backward()
    assert x.grad.tolist() == [[0.0, 0.0], [2.0, 2.0]]


@pytest.mark.parametrize("index", [3, -4])
def test_sampler_out_of_range(lib, index):
    for d in (lib.utils.data.TensorDataset(lib.zeros(3, 2)), lib.utils.data.TensorDataset(lib.tensor([1, 2, 3]))):
        with pytest.raises(IndexError):
            list(loader(lib, d, sampler=[0, index], batch_size=2))


class Augmented(TensorDataset):
    """A subclass that changes its items."""

    def __getitem__(self, index: Any) -> Any:
        (x,) = super().__getitem__(index)
        return x * 10, "name"


def test_a_subclass_with_items_of_its_own_is_asked_for_them():
    d = Augmented(fastnn.tensor([[1.0], [2.0]]))
    (x, names), = DataLoader(d, batch_size=2)  # fmt: skip
    assert x.tolist() == [[10.0], [20.0]]
    assert list(names) == ["name", "name"]


def test_an_attribute_named_batch_is_the_users():
    d = Items([1.0, 2.0])
    d.batch = 64
    assert plain(list(DataLoader(d, batch_size=2))) == [[1.0, 2.0]]


# -- ImageDataset -----------------------------------------------------------------------------

IMAGES = np.arange(5 * 2 * 3, dtype=np.uint8).reshape(5, 2, 3) * 8


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.5, 0.25), (0.1307, 0.3081)])
def test_image_dataset(mean, std):
    d = ImageDataset(IMAGES, np.array([3, 1, 4, 1, 5], np.uint8), mean, std)
    assert len(d) == 5
    expected = ((IMAGES.reshape(5, 6) / 255.0 - mean) / std).astype(np.float32)
    x, y = d[2]
    assert (x.dtype, y.dtype, tuple(x.shape), tuple(y.shape), y.item()) == (fastnn.float32, fastnn.int64, (6,), (), 4)
    # Two roundings, of numbers up to 1 / std.
    np.testing.assert_allclose(as_array(x), expected[2], atol=4e-7 / std)
    np.testing.assert_array_equal(as_array(d[-1][0]), as_array(d[4][0]))
    x, y = d.batch([4, 0, 0])
    np.testing.assert_allclose(as_array(x), expected[[4, 0, 0]], atol=4e-7 / std)
    assert y.tolist() == [5, 3, 3]
    batches = list(DataLoader(d, batch_size=2, drop_last=True))
    assert [(tuple(x.shape), y.tolist()) for x, y in batches] == [((2, 6), [3, 1]), ((2, 6), [4, 1])]
    for index in (5, -6):
        with pytest.raises(IndexError):
            d[index]
        with pytest.raises(IndexError):
            d.batch([0, index])


def test_image_dataset_item_equals_batch():
    d = ImageDataset(IMAGES, np.arange(5))
    rows = [as_array(d[i][0]) for i in range(5)]
    np.testing.assert_array_equal(np.stack(rows), as_array(d.batch(np.arange(5))[0]))


def test_image_dataset_keeps_bytes():
    d = ImageDataset(IMAGES, np.arange(5))
    assert d.images.dtype == np.uint8
    assert np.shares_memory(d.images, IMAGES)
    strange = ImageDataset(np.asfortranarray(IMAGES), np.arange(5))
    np.testing.assert_array_equal(as_array(strange[3][0]), as_array(d[3][0]))


@pytest.mark.parametrize(
    ("images", "labels", "options", "error"),
    [
        (IMAGES.astype(np.float32), np.arange(5), {}, TypeError),
        (IMAGES.tolist(), np.arange(5), {}, TypeError),
        (IMAGES.ravel(), np.arange(30), {}, TypeError),
        (IMAGES, np.arange(4), {}, ValueError),
        (IMAGES, np.zeros((5, 1), int), {}, ValueError),
        (IMAGES, np.arange(5.0), {}, ValueError),
        (IMAGES, np.arange(5), {"std": 0.0}, ValueError),
        (IMAGES, np.arange(5), {"std": -1.0}, ValueError),
        (IMAGES, np.arange(5), {"std": float("nan")}, ValueError),
    ],
)
def test_image_dataset_of_what_does_not_fit(images, labels, options, error):
    with pytest.raises(error):
        ImageDataset(images, labels, **options)


def test_image_dataset_of_nothing():
    d = ImageDataset(np.zeros((0, 2, 2), np.uint8), np.zeros(0, np.int64))
    assert len(d) == 0
    assert list(DataLoader(d)) == []
    assert tuple(d.batch([])[0].shape) == (0, 4)


# -- Collation --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("items", "expected", "kinds"),
    [
        ([1, 2], [1, 2], "int64"),
        ([1.5, 2.5], [1.5, 2.5], "float64"),
        ([True, False], [True, False], "bool"),
        ([np.float32(1), np.float32(2)], [1.0, 2.0], "float32"),
        ([np.uint8(1), np.uint8(2)], [1, 2], "uint8"),
        ([np.ones(2), np.zeros(2)], [[1.0, 1.0], [0.0, 0.0]], "float64"),
        ([(1, 2.0), (3, 4.0)], [[1, 3], [2.0, 4.0]], ["int64", "float64"]),
        ([[1, 2], [3, 4]], [[1, 3], [2, 4]], ["int64", "int64"]),
        ([{"a": 1, "b": (2.0,)}, {"a": 3, "b": (4.0,)}], {"a": [1, 3], "b": [[2.0, 4.0]]}, None),
        ([((1, 2), {"k": 3.0})], [[[1], [2]], {"k": [3.0]}], None),
        (["a", "b"], ["a", "b"], None),
        ([b"a", b"b"], [b"a", b"b"], None),
        ([(1, "a"), (2, "b")], [[1, 2], ["a", "b"]], None),
        ([range(2), range(2)], [[0, 0], [1, 1]], ["int64", "int64"]),
    ],
)
def test_default_collate(lib, items, expected, kinds):
    found = lib.utils.data.default_collate(items)
    assert plain(found) == expected
    if isinstance(kinds, str):
        assert found.dtype == getattr(lib, kinds)
    elif kinds:
        assert [f.dtype for f in found] == [getattr(lib, kind) for kind in kinds]


def test_default_collate_of_tensors(lib):
    found = lib.utils.data.default_collate([lib.tensor([1.0, 2.0]), lib.tensor([3.0, 4.0])])
    assert found.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    found = lib.utils.data.default_collate([(lib.ones(2, 2), lib.tensor(1))] * 3)
    assert [tuple(f.shape) for f in found] == [(3, 2, 2), (3,)]


def test_default_collate_passes_gradients(lib):
    x, y = lib.tensor([1.0, 2.0], requires_grad=True), lib.tensor([3.0, 4.0])
    found = lib.utils.data.default_collate([x, y, x * 2])
    (found * lib.tensor([[1.0], [10.0], [100.0]])).sum().backward()
    assert x.grad.tolist() == [201.0, 201.0]


def test_default_collate_of_named_tuples(lib):
    found = lib.utils.data.default_collate([Point(1, 2.0), Point(3, 4.0)])
    assert type(found) is Point
    assert found.x.tolist() == [1, 3]


@pytest.mark.parametrize(
    "items",
    [[None], [{1, 2}], [object()], [np.array(["a"])], [np.array(None)], [[1], [1, 2]], [np.ones(2), np.ones(3)],
     [(1, None)]],
)  # fmt: skip
def test_default_collate_of_what_does_not_fit(lib, items):
    with pytest.raises((TypeError, RuntimeError)):
        lib.utils.data.default_collate(items)


def test_default_collate_of_tensors_of_different_shapes(lib):
    with pytest.raises(RuntimeError, match="equal size"):
        lib.utils.data.default_collate([lib.ones(2), lib.ones(3)])


# -- DataLoader -------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 5, 6, 7])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("own", [False, True])
def test_batches_in_order(lib, count, drop_last, own):
    d = Items(list(range(count))) if own else lib.utils.data.TensorDataset(lib.tensor(np.arange(count)))
    made = loader(lib, d, batch_size=3, drop_last=drop_last)
    batches = [b.tolist() if own else b[0].tolist() for b in made]
    expected = [list(range(i, min(i + 3, count))) for i in range(0, count, 3)]
    assert batches == [e for e in expected if len(e) == 3 or not drop_last]
    assert len(made) == len(batches)
    # A loader can be iterated repeatedly.
    assert [b.tolist() if own else b[0].tolist() for b in made] == batches


@pytest.mark.parametrize("own", [False, True])
def test_shuffle(lib, own):
    d = Items(list(range(40))) if own else lib.utils.data.TensorDataset(lib.tensor(np.arange(40)))
    made = loader(lib, d, batch_size=7, shuffle=True)
    passes = [[i for b in made for i in (b if own else b[0]).tolist()] for _ in range(3)]
    assert all(sorted(p) == list(range(40)) for p in passes)
    assert len({tuple(p) for p in passes}) == 3
    orders = []
    for _ in range(2):
        seeded = loader(lib, d, batch_size=7, shuffle=True, generator=lib.Generator().manual_seed(3))
        orders.append([i for b in seeded for i in (b if own else b[0]).tolist()])
    assert orders[0] == orders[1]


def test_shuffle_gives_tensors_and_items_the_same_order():
    orders = []
    for d in (Items(list(range(20))), TensorDataset(fastnn.tensor(np.arange(20)))):
        fastnn.manual_seed(1)
        orders.append([i for b in DataLoader(d, batch_size=6, shuffle=True) for i in np.ravel(plain(b)).tolist()])
    assert orders[0] == orders[1]


def test_sampler(lib):
    d = Items("abcde")
    made = loader(lib, d, batch_size=2, sampler=[4, 0, 0])
    assert [list(b) for b in made] == [["e", "a"], ["a"]]
    assert len(made) == 2
    keys = Items({"x": 1, "y": 2})
    assert plain(list(loader(lib, keys, batch_size=2, sampler=["y", "x"]))) == [[2, 1]]
    assert plain(list(loader(lib, Items([5, 6]), sampler=list(lib.tensor([1, 0]))))) == [[6], [5]]


def test_batch_sampler(lib):
    d = lib.utils.data.TensorDataset(lib.tensor(np.arange(5)))
    made = loader(lib, d, batch_sampler=[[4, 3], [0], [1, 1, -1]])
    assert plain(list(made)) == [[[4, 3]], [[0]], [[1, 1, 4]]]
    assert len(made) == 3


def test_batch_sampler_without_a_length(lib):
    made = loader(lib, Items([1, 2]), batch_sampler=iter([[0, 1]]))
    with pytest.raises(TypeError):
        len(made)
    assert plain(list(made)) == [[1, 2]]


def test_items_one_by_one(lib):
    d = Items([(np.ones(2, np.float32), 3, "a"), (np.zeros(2, np.float32), 4, "b")])
    first, second = loader(lib, d, batch_size=None)
    assert plain(first) == [[1.0, 1.0], 3, "a"]
    assert isinstance(second[0], lib.Tensor)
    assert type(second[1]) is int
    assert len(loader(lib, d, batch_size=None)) == 2
    assert list(loader(lib, d, batch_size=None, collate_fn=lambda item: item[2])) == ["a", "b"]
    assert plain(list(loader(lib, Items([{"a": np.float64(2)}, Point(1, b"z")]), batch_size=None))) == [
        {"a": 2.0}, [1, b"z"],
    ]  # fmt: skip
    sampled = loader(lib, lib.utils.data.TensorDataset(lib.tensor([7, 8, 9])), batch_size=None, sampler=[2, 0])
    assert plain(list(sampled)) == [[9], [7]]


def test_collate_fn(lib):
    for d in (Items([1, 2, 3]), lib.utils.data.TensorDataset(lib.tensor([1, 2, 3]))):
        batches = list(loader(lib, d, batch_size=2, collate_fn=len))
        assert batches == [2, 1]


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 0}, {"batch_size": -1}, {"batch_size": True}, {"batch_size": 1.5}, {"batch_size": "2"},
        {"batch_size": None, "drop_last": True}, {"sampler": [0], "shuffle": True},
        {"batch_sampler": [[0]], "batch_size": 2}, {"batch_sampler": [[0]], "shuffle": True},
        {"batch_sampler": [[0]], "drop_last": True}, {"batch_sampler": [[0]], "sampler": [0]}, {"num_workers": -1},
    ],
)  # fmt: skip
def test_options_that_do_not_fit(lib, options):
    with pytest.raises((ValueError, TypeError)):
        loader(lib, Items([1, 2, 3]), **options)


def test_nothing_to_shuffle(lib):
    with pytest.raises(ValueError, match="num_samples"):
        loader(lib, Items([]), shuffle=True)


def test_options_of_pytorch_that_change_nothing():
    d = TensorDataset(fastnn.tensor([1, 2, 3]))
    made = DataLoader(
        d, batch_size=2, num_workers=4, pin_memory=True, timeout=1, worker_init_fn=print, prefetch_factor=2,
        persistent_workers=True, in_order=False, multiprocessing_context="fork",
    )  # fmt: skip
    assert plain(list(made)) == [[[1, 2]], [[3]]]
    assert (made.dataset, made.batch_size, made.num_workers) == (d, 2, 4)


def test_two_passes_at_once(lib):
    d = lib.utils.data.TensorDataset(lib.tensor([1, 2, 3]))
    made = loader(lib, d, batch_size=2)
    assert [(a[0].tolist(), b[0].tolist()) for a, b in zip(made, made, strict=True)] == [([1, 2],) * 2, ([3],) * 2]


def test_an_error_of_the_data_set_comes_through(lib):
    class Broken(Items):
        def __getitem__(self, index: Any) -> Any:
            raise OSError("no such image")

    with pytest.raises(OSError, match="no such image"):
        list(loader(lib, Broken([1])))


def test_base_class():
    with pytest.raises(NotImplementedError):
        data.Dataset()[0]


def test_read_only_memory_is_told_of_once_and_never_written_to(monkeypatch):
    array = np.ones(3, np.float32)
    array.setflags(write=False)
    for take in (
        fastnn.from_numpy, fastnn.as_tensor, lambda a: data.default_collate([a]), lambda a: next(iter(DataLoader([a]))),
        lambda a: fastnn.frombuffer(a.tobytes(), dtype=fastnn.float32),
        lambda a: fastnn.fit(fastnn.nn.Linear(1, 2), a[:, None], np.zeros(3, int)),
    ):  # fmt: skip
        monkeypatch.setattr(dtypes, "_told", set())
        with pytest.warns(UserWarning, match="not writable"):
            take(array)
        take(array)
    with pytest.raises((ValueError, RuntimeError)):
        fastnn.from_numpy(array).add_(1)
    assert array.tolist() == [1, 1, 1]


def test_a_data_set_that_stops_ends_the_pass(lib):
    class Stops(Items):
        def __getitem__(self, index: Any) -> Any:
            if index == 2:
                raise StopIteration
            return index

    assert [b.tolist() for b in loader(lib, Stops(range(5)), batch_size=2)] == [[0, 1]]


def test_arrays_that_differ_in_strides_are_all_looked_at():
    for odd in (np.arange(3)[::-1], np.arange(3).astype(">i8")):
        for batch in ([np.arange(3), odd], [odd, np.arange(3)], [odd, odd]):
            with pytest.raises(ValueError, match=r"negative|byte order"):
                data.default_collate(batch)
            with pytest.raises(ValueError, match=r"negative|byte order"):
                list(DataLoader(batch, batch_size=2))
    with pytest.raises(ValueError, match="negative"):
        list(DataLoader(np.zeros((4, 2))[:, ::-1], batch_size=2))
    assert len(list(DataLoader(np.zeros((4, 2))[::-1], batch_size=2))) == 2


def test_a_generator_is_one(lib):
    for make in (
        lambda: loader(lib, [1], generator=3), lambda: lib.utils.data.RandomSampler([1], generator="a"),
        lambda: lib.utils.data.random_split([1], [1], generator=3),
    ):  # fmt: skip
        with pytest.raises(TypeError):
            list(make())


def test_stop_iteration_in_a_generator_of_the_users_is_an_error() -> None:
    class Broken(data.IterableDataset):
        def __iter__(self):
            for i in range(10):
                if i == 5:
                    next(iter([]))
                yield i

    with pytest.raises(RuntimeError, match="generator raised StopIteration"):
        list(DataLoader(Broken(), batch_size=2))
