"""Data sets made of others, samplers, and their use by the loader."""

from __future__ import annotations

import itertools
from collections import OrderedDict, UserDict
from typing import Any

import numpy as np
import pytest
from test_data import Items, plain

import fastnn
from fastnn.kernels.runtime import launcher
from fastnn.utils.data import ConcatDataset, DataLoader, ImageDataset, Subset, TensorDataset


def numbers(lib: Any, n: int = 10, width: int = 3) -> Any:
    """Rows [i, i, i] with label i."""
    rows = np.repeat(np.arange(n, dtype=np.float32)[:, None], width, axis=1)
    return lib.utils.data.TensorDataset(lib.tensor(rows), lib.tensor(np.arange(n)))


def make_stream(lib: Any, n: int) -> Any:
    class Stream(lib.utils.data.IterableDataset):
        def __iter__(self) -> Any:
            return iter(range(n))

    return Stream()


# -- Data sets --------------------------------------------------------------------------------


def test_subset(lib):
    d = lib.utils.data.Subset(numbers(lib), [7, 2, 2, -1])
    assert len(d) == 4
    assert [int(d[i][1]) for i in range(4)] == [7, 2, 2, 9]
    assert d[[0, 1]][1].tolist() == [7, 2]
    assert [int(y) for _, y in d.__getitems__([1, 0])] == [2, 7]
    assert [y.tolist() for _, y in lib.utils.data.DataLoader(d, batch_size=3)] == [[7, 2, 2], [9]]
    with pytest.raises(IndexError):
        d[4]
    with pytest.raises(IndexError):
        lib.utils.data.DataLoader(lib.utils.data.Subset(numbers(lib), [3, 10]), batch_size=2).__iter__().__next__()


@pytest.mark.parametrize("kind", [list, np.array, range, "tensor"])
def test_subset_with_indices_of_every_kind(lib, kind):
    indices = lib.tensor([4, 5, 6]) if kind == "tensor" else range(4, 7) if kind is range else kind([4, 5, 6])
    d = lib.utils.data.Subset(numbers(lib), indices)
    assert next(iter(lib.utils.data.DataLoader(d, batch_size=3)))[1].tolist() == [4, 5, 6]


def test_concat(lib):
    d = lib.utils.data.ConcatDataset([numbers(lib, 3), numbers(lib, 2), numbers(lib, 4)])
    assert len(d) == 9
    assert d.cumulative_sizes == [3, 5, 9]
    assert [int(d[i][1]) for i in (0, 2, 3, 4, 5, 8, -1, -9)] == [0, 2, 0, 1, 0, 3, 3, 0]
    batches = list(lib.utils.data.DataLoader(d, batch_size=4, sampler=[8, 0, 4, 2, 5, 3]))
    assert [y.tolist() for _, y in batches] == [[3, 0, 1, 2], [0, 0]]
    assert batches[0][0].tolist() == [[3.0] * 3, [0.0] * 3, [1.0] * 3, [2.0] * 3]
    assert isinstance(batches[0], list)
    both = numbers(lib, 2) + Items([1, 2, 3])
    assert len(both) == 5
    assert both[3] == 2
    with pytest.raises(ValueError, match="length"):
        d[-10]
    with pytest.raises(IndexError):
        d[9]


def test_concat_of_what_does_not_fit(lib):
    for wrong in ([], [make_stream(lib, 3)]):
        with pytest.raises((ValueError, AssertionError)):
            lib.utils.data.ConcatDataset(wrong)
    # Parts with items of different shapes are fetched one by one.
    mixed = lib.utils.data.ConcatDataset([
        lib.utils.data.TensorDataset(lib.zeros(2, 3)), lib.utils.data.TensorDataset(lib.zeros(2, 4)),
    ])  # fmt: skip
    shapes = [tuple(x.shape) for (x,) in lib.utils.data.DataLoader(mixed, batch_size=2)]
    assert shapes == [(2, 3), (2, 4)]
    with pytest.raises(RuntimeError, match="equal size"):
        list(lib.utils.data.DataLoader(mixed, batch_size=3))


def test_concat_of_other_dtypes(lib):
    parts = [lib.utils.data.TensorDataset(lib.tensor(np.arange(2, dtype=k))) for k in ("float32", "float32", "int64")]
    d = lib.utils.data.ConcatDataset(parts)
    assert next(iter(lib.utils.data.DataLoader(d, batch_size=4)))[0].tolist() == [0, 1, 0, 1]


def test_stack(lib):
    d = lib.utils.data.StackDataset(numbers(lib, 4), Items("abcd"))
    assert len(d) == 4
    (x, y), letter = d[2]
    assert (x.tolist(), int(y), letter) == ([2.0, 2.0, 2.0], 2, "c")
    d = lib.utils.data.StackDataset(a=lib.tensor([1, 2, 3]), b=numbers(lib, 3))
    assert int(d[1]["a"]) == 2
    batch = next(iter(lib.utils.data.DataLoader(d, batch_size=2, sampler=[2, 0])))
    assert plain(batch) == {"a": [3, 1], "b": [[[2.0] * 3, [0.0] * 3], [2, 0]]}
    pairs = lib.utils.data.StackDataset(lib.tensor([1, 2, 3]), lib.tensor([[4], [5], [6]]))
    assert plain(list(lib.utils.data.DataLoader(pairs, batch_size=3))) == [[[1, 2, 3], [[4], [5], [6]]]]
    for args, kwargs in (((), {}), (([1], [1, 2]), {}), (([1],), {"a": [1]})):
        with pytest.raises(ValueError, match=r"[Dd]ataset|Supported"):
            lib.utils.data.StackDataset(*args, **kwargs)


def test_iterable_and_chain(lib):
    d = make_stream(lib, 5)
    assert [b.tolist() for b in lib.utils.data.DataLoader(d, batch_size=2)] == [[0, 1], [2, 3], [4]]
    assert [b.tolist() for b in lib.utils.data.DataLoader(d, batch_size=2, drop_last=True)] == [[0, 1], [2, 3]]
    assert list(lib.utils.data.DataLoader(d, batch_size=None)) == [0, 1, 2, 3, 4]
    both = d + make_stream(lib, 2)
    assert isinstance(both, lib.utils.data.ChainDataset)
    assert list(both) == [0, 1, 2, 3, 4, 0, 1]
    with pytest.raises(TypeError):
        len(lib.utils.data.DataLoader(d))
    for options in ({"shuffle": True}, {"sampler": [0]}, {"batch_sampler": [[0]]}):
        with pytest.raises(ValueError, match="IterableDataset"):
            lib.utils.data.DataLoader(d, **options)


def test_length_of_an_iterable_with_one(lib):
    class Stream(lib.utils.data.IterableDataset):
        def __iter__(self) -> Any:
            return iter(range(5))

        def __len__(self) -> int:
            return 5

    make = lib.utils.data.DataLoader
    lengths = [len(make(Stream(), batch_size=2, drop_last=d)) for d in (False, True)]
    assert [*lengths, len(make(Stream(), batch_size=None))] == [3, 2, 5]
    assert len(Stream() + Stream()) == 10


def test_bases(lib):
    data = lib.utils.data
    for call in (lambda: data.Dataset()[0], lambda: iter(data.Sampler())):
        with pytest.raises(NotImplementedError):
            call()
    with pytest.raises(TypeError, match="abstract"):
        data.IterableDataset()
    assert data.Dataset[int] is not None
    assert data.get_worker_info() is None
    with pytest.raises((ValueError, AssertionError)):
        list(data.ChainDataset([[1]]))


@pytest.mark.parametrize(
    ("count", "lengths", "expected"),
    [
        (10, [7, 3], [7, 3]), (10, [0.5, 0.3, 0.2], [5, 3, 2]), (10, [0.75, 0.25], [8, 2]), (3, [1, 2, 0], [1, 2, 0]),
        (11, [0.33, 0.33, 0.34], [4, 4, 3]), (1, [1.0], [1]), (0, [0, 0], [0, 0]),
    ],
)  # fmt: skip
def test_random_split(lib, count, lengths, expected):
    data = lib.utils.data
    parts = data.random_split(Items(list(range(count))), lengths, generator=lib.Generator().manual_seed(1))
    assert [len(p) for p in parts] == expected
    assert sorted(itertools.chain(*[list(p) for p in parts])) == list(range(count))
    again = data.random_split(Items(list(range(count))), lengths, lib.Generator().manual_seed(1))
    assert [p.indices for p in parts] == [p.indices for p in again]


def test_random_split_of_what_does_not_fit(lib):
    for lengths in ([1, 1], [5, 6], [-0.5, 1.5]):
        with pytest.raises(ValueError, match=r"Sum|[Ff]raction"):
            lib.utils.data.random_split(Items([1, 2, 3]), lengths)
    with pytest.warns(UserWarning, match="Length of split at index 1 is 0"):
        lib.utils.data.random_split(Items([1, 2]), [0.9, 0.1])


# -- Fast paths -------------------------------------------------------------------------------


def gathers(dataset: Any, **options: Any) -> int:
    """The number of gathers that one pass over the data set launches."""
    seen: list[Any] = []
    with launcher.recording(lambda kernel, parts, arrays, scalars: seen.append(kernel)):
        assert len(list(DataLoader(dataset, batch_size=4, **options))) == 3
    return len(seen)


def test_batches_are_gathered_through_other_data_sets():
    d = numbers(fastnn, 12)
    images = ImageDataset(np.zeros((12, 2, 2), np.uint8), np.arange(12))
    split = fastnn.utils.data.random_split(numbers(fastnn, 20), [12, 8])[0]
    for dataset in (d, images, split, Subset(Subset(d, range(12)), list(range(12))), fastnn.zeros(12, 2)):
        assert gathers(dataset, shuffle=True) == 3
    assert gathers(ConcatDataset([numbers(fastnn, 4), numbers(fastnn, 8)])) == 3
    # Fetched item by item, as the collation is the user's.
    assert gathers(d, collate_fn=list) == 0


class Own(Subset[Any]):
    def __getitem__(self, index: Any) -> Any:
        return index * 10


class OwnBatches(TensorDataset):
    def __getitems__(self, indices: Any) -> Any:
        return [(i * 10,) for i in indices]


def test_a_subclass_is_asked_for_its_items(lib):
    assert plain(list(DataLoader(Own(numbers(fastnn), [1, 2, 3]), batch_size=None))) == [0, 10, 20]
    assert plain(list(DataLoader(OwnBatches(fastnn.zeros(3)), batch_size=3))) == [[[0, 10, 20]]]


def test_arrays_as_data_sets(lib):
    rows = np.arange(6.0).reshape(3, 2)
    for dataset in (rows, lib.tensor(rows), [tuple(r) for r in rows.tolist()], list(zip(rows, [1, 2, 3], strict=True))):
        made = lib.utils.data.DataLoader(dataset, batch_size=2, sampler=[2, 0, 1])
        expected = plain([lib.utils.data.default_collate([dataset[i] for i in b]) for b in ([2, 0], [1])])
        assert plain(list(made)) == expected
    batch = next(iter(lib.utils.data.DataLoader(rows, batch_size=3)))
    assert isinstance(batch, lib.Tensor)
    assert batch.dtype == lib.float64


def test_indices_that_are_no_numbers(lib):
    d = numbers(lib)
    (batch,) = lib.utils.data.DataLoader(d, batch_sampler=[[slice(0, 2), slice(2, 4)]])
    assert batch[1].tolist() == [[0, 1], [2, 3]]
    (_, y), = lib.utils.data.DataLoader(d, batch_size=None, sampler=[slice(1, 3)])  # fmt: skip
    assert y.tolist() == [1, 2]


# -- Samplers ---------------------------------------------------------------------------------


def test_sequential(lib):
    s = lib.utils.data.SequentialSampler("abc")
    assert (list(s), len(s)) == ([0, 1, 2], 3)


@pytest.mark.parametrize("options", [{}, {"num_samples": 3}, {"num_samples": 25}, {"replacement": True},
                                     {"replacement": True, "num_samples": 25}])  # fmt: skip
def test_random_sampler(lib, options):
    data = lib.utils.data
    wanted = options.get("num_samples", 10)
    made = [data.RandomSampler(range(10), generator=lib.Generator().manual_seed(2), **options) for _ in range(2)]
    orders = [list(s) for s in made]
    assert orders[0] == orders[1]
    assert len(made[0]) == made[0].num_samples == len(orders[0]) == wanted
    assert set(orders[0]) <= set(range(10))
    if not options.get("replacement"):
        for start in range(0, wanted, 10):
            part = orders[0][start : start + 10]
            assert len(set(part)) == len(part)
    assert list(made[0]) != orders[0]
    lib.manual_seed(3)
    first = list(data.RandomSampler(range(10)))
    lib.manual_seed(3)
    assert list(data.RandomSampler(range(10))) == first


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda d: d.RandomSampler([], generator=None), ValueError),
        (lambda d: d.RandomSampler([1], num_samples=0), ValueError),
        (lambda d: d.RandomSampler([1], num_samples=1.5), ValueError),
        (lambda d: d.RandomSampler([1], replacement=1), TypeError),
        (lambda d: d.WeightedRandomSampler([1.0], 0), ValueError),
        (lambda d: d.WeightedRandomSampler([1.0], True), ValueError),
        (lambda d: d.WeightedRandomSampler([1.0], 1, 1), ValueError),
        (lambda d: d.BatchSampler([1], 0, False), ValueError),
        (lambda d: d.BatchSampler([1], 1.0, False), ValueError),
        (lambda d: d.BatchSampler([1], True, False), ValueError),
        (lambda d: d.BatchSampler([1], 1, 0), ValueError),
    ],
)
def test_samplers_of_what_does_not_fit(lib, make, error):
    with pytest.raises(error):
        make(lib.utils.data)


def test_weights_of_two_dimensions(lib):
    with pytest.raises(ValueError, match="1d"):
        lib.utils.data.WeightedRandomSampler(lib.ones(2, 2), 1)


def test_subset_random_sampler(lib):
    s = lib.utils.data.SubsetRandomSampler([4, 7, 9], generator=lib.Generator().manual_seed(1))
    assert (sorted(s), len(s)) == ([4, 7, 9], 3)
    d = numbers(lib)
    assert sorted(int(y) for _, y in lib.utils.data.DataLoader(d, sampler=s)) == [4, 7, 9]


def test_weighted_random_sampler(lib):
    data = lib.utils.data
    s = data.WeightedRandomSampler([0.0, 1.0, 3.0, 0.0], 4000, generator=lib.Generator().manual_seed(1))
    drawn = list(s)
    assert len(drawn) == len(s) == 4000
    assert set(drawn) == {1, 2}
    assert abs(drawn.count(2) - 3000) < 5 * np.sqrt(4000 * 0.75 * 0.25)
    without = data.WeightedRandomSampler(lib.tensor([1.0, 5.0, 2.0]), 3, replacement=False)
    assert sorted(without) == [0, 1, 2]
    with pytest.raises(RuntimeError):
        list(data.WeightedRandomSampler([1.0, 2.0], 3, replacement=False))


@pytest.mark.parametrize("drop_last", [False, True])
def test_batch_sampler_class(lib, drop_last):
    data = lib.utils.data
    s = data.BatchSampler(data.SequentialSampler(range(7)), 3, drop_last)
    assert list(s) == [[0, 1, 2], [3, 4, 5]] + ([] if drop_last else [[6]])
    assert len(s) == len(list(s))
    assert [y.tolist() for _, y in data.DataLoader(numbers(lib, 7), batch_sampler=s)] == list(s)


def test_a_sampler_of_the_user(lib):
    class Backwards(lib.utils.data.SequentialSampler):
        def __iter__(self) -> Any:
            return reversed(range(len(self.data_source)))

    d = numbers(lib, 5)
    made = lib.utils.data.DataLoader(d, batch_size=2, sampler=Backwards(d))
    assert [y.tolist() for _, y in made] == [[4, 3], [2, 1], [0]]
    assert len(made) == 3


# -- The loader -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": -1}, {"prefetch_factor": 2}, {"num_workers": 1, "prefetch_factor": -1},
        {"persistent_workers": True}, {"multiprocessing_context": "fork"}, {"drop_last": 1},
    ],
)  # fmt: skip
def test_options_that_exclude_each_other(lib, options):
    with pytest.raises(ValueError, match=r"."):
        lib.utils.data.DataLoader(Items([1, 2]), **options)


def test_attributes(lib):
    data = lib.utils.data
    made = data.DataLoader(numbers(lib), batch_size=4, shuffle=True, drop_last=True)
    assert isinstance(made.sampler, data.RandomSampler)
    assert isinstance(made.batch_sampler, data.BatchSampler)
    assert made.collate_fn is data.default_collate
    assert (made.batch_size, made.drop_last, made.num_workers, made.prefetch_factor) == (4, True, 0, None)
    assert data.DataLoader(numbers(lib), batch_size=None).collate_fn is data.default_convert
    assert data.DataLoader(numbers(lib), batch_sampler=[[0]]).batch_size is None
    for name in ("batch_size", "dataset", "sampler", "batch_sampler", "drop_last", "persistent_workers"):
        with pytest.raises(ValueError, match="should not be set after"):
            setattr(made, name, 1)
    made.generator = None
    assert made.pin_memory is False


def test_workers_load_in_this_process():
    called: list[int] = []
    made = DataLoader(numbers(fastnn, 4), batch_size=2, num_workers=3, worker_init_fn=called.append, timeout=5)
    assert [y.tolist() for _, y in made] == [[0, 1], [2, 3]]
    assert made.prefetch_factor == 2
    assert not called


def test_next(lib):
    it = iter(lib.utils.data.DataLoader(numbers(lib, 3), batch_size=2))
    assert next(it)[1].tolist() == [0, 1]
    assert next(it)[1].tolist() == [2]
    with pytest.raises(StopIteration):
        next(it)


class Special(UserDict):
    """A mapping with an attribute."""

    mark = 1


def test_collation_keeps_classes(lib):
    collate, convert = lib.utils.data.default_collate, lib.utils.data.default_convert
    found = collate([OrderedDict(b=1, a=2), OrderedDict(b=3, a=4)])
    assert type(found) is OrderedDict
    assert list(found) == ["b", "a"]
    special = Special(a=1)
    special.mark = 2
    found = collate([special, Special(a=5)])
    assert type(found) is Special
    assert (found["a"].tolist(), found.mark, special["a"]) == ([1, 5], 2, 1)
    assert type(convert(OrderedDict(a=np.ones(1)))) is OrderedDict
    assert type(collate([[1], [2]])) is list
    assert type(collate([(1,), (2,)])) is list
    with pytest.raises(IndexError):
        collate([])
    for array in (np.array([object()]), np.array(["a"])):
        assert convert(array) is array
    assert convert("a") == "a"
    assert convert(3) == 3


def test_bytes_of_numpy(lib):
    assert lib.utils.data.default_collate([np.str_("a"), np.str_("b")]) == ["a", "b"]
