"""Checkpoints: to and from PyTorch's files, and malicious files."""

from __future__ import annotations

import argparse
import collections
import copy
import datetime
import enum
import fractions
import io
import os
import pathlib
import pickle
import struct
import sys
import types
import uuid
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparison import as_array

import fastnn
from fastnn import serialization

GOLDEN = Path(__file__).parents[1] / "golden"
KINDS = ["float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool", "float16"]


def written(obj: Any, lib: Any = fastnn, **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    lib.save(obj, file, **options)
    file.seek(0)
    return file


def again(obj: Any, **options: Any) -> Any:
    return fastnn.load(written(obj), **options)


# -- To and from PyTorch ----------------------------------------------------------------------


def make_content(lib: Any) -> dict[str, Any]:
    base = lib.tensor(np.arange(12, dtype=np.float32).reshape(3, 4))
    return {
        "base": base, "transposed": base.t(), "part": base[1:, ::2], "row": base[1], "scalar": lib.tensor(2.5),
        "empty": lib.zeros(0, 3), "grad": lib.ones(2, requires_grad=True),
        "kinds": [lib.tensor(np.array([1, 0, 1], kind)) for kind in KINDS],
        "parameter": lib.nn.Parameter(lib.tensor([1.0, 2.0])), "size": base.shape, "dtype": lib.float32,
        "device": lib.device("cpu"), "nested": OrderedDict(a=[(1, 2.5), {"x": None}], b={3, 4}),
        "plain": [True, False, -5, 2**31, 2**70, 1e300, float("inf"), "text", "Ünïcode", b"bytes", 1 + 2j, ()],
    }  # fmt: skip


def assert_equal(found: Any, expected: Any, lib: Any, source: Any) -> None:
    """All values are equal: those of ``lib`` on the left, those of ``source`` on the right."""
    if isinstance(expected, source.Tensor):
        assert isinstance(found, lib.Tensor)
        assert isinstance(found, lib.nn.Parameter) == isinstance(expected, source.nn.Parameter)
        assert str(found.dtype).rpartition(".")[2] == str(expected.dtype).rpartition(".")[2]
        np.testing.assert_array_equal(as_array(found), as_array(expected))
        assert found.requires_grad == expected.requires_grad
        assert found.is_contiguous() == expected.is_contiguous()
    elif isinstance(expected, (source.dtype, source.device)):
        assert str(found).rpartition(".")[2] == str(expected).rpartition(".")[2]
    elif isinstance(expected, source.Size):
        assert type(found) is lib.Size
        assert tuple(found) == tuple(expected)
    elif isinstance(expected, dict):
        assert type(found) is type(expected)
        assert list(found) == list(expected)
        for key in expected:
            assert_equal(found[key], expected[key], lib, source)
    elif isinstance(expected, (list, tuple)):
        assert type(found) is type(expected)
        assert len(found) == len(expected)
        for f, e in zip(found, expected, strict=True):
            assert_equal(f, e, lib, source)
    else:
        assert type(found) is type(expected)
        assert found == expected


def test_there_and_back(lib):
    """From ``lib`` to fastnn, and from fastnn to ``lib``, which loads with ``weights_only=True``."""
    assert_equal(fastnn.load(written(make_content(lib), lib)), make_content(lib), fastnn, lib)
    assert_equal(lib.load(written(make_content(fastnn)), weights_only=True), make_content(fastnn), lib, fastnn)


def test_memory_is_shared_there_and_back(lib):
    for loader, source in ((fastnn, lib), (lib, fastnn)):
        found = loader.load(written(make_content(source), source))
        found["base"][1, 2] = 50.0
        assert found["transposed"][2, 1].item() == 50
        assert found["part"][0, 1].item() == 50
        assert found["row"][2].item() == 50


@pytest.mark.torch
def test_the_old_format():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: tests/golden stands in for it")
    old = written(make_content(torch), torch, _use_new_zipfile_serialization=False)
    assert_equal(fastnn.load(old), make_content(torch), fastnn, torch)


@pytest.mark.torch
def test_pytorch_maps_our_files_into_memory(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    model = fastnn.nn.Linear(5, 3)
    fastnn.save(model.state_dict(), tmp_path / "model.pt")
    mapped = torch.load(tmp_path / "model.pt", mmap=True)
    np.testing.assert_array_equal(mapped["weight"].numpy(), as_array(model.weight))
    assert mapped["weight"].stride() == (5, 1)


@pytest.mark.parametrize("name", ["checkpoint.pt", "checkpoint_legacy.pt"])
def test_recorded_checkpoints_of_pytorch(name):
    found = fastnn.load(GOLDEN / name)
    model = fastnn.nn.Sequential(fastnn.nn.Linear(3, 2), fastnn.nn.ReLU(), fastnn.nn.Linear(2, 1))
    assert str(model.load_state_dict(found["model"])) == "<All keys matched successfully>"
    assert found["optimizer"]["param_groups"][0]["lr"] == 0.01
    state = found["optimizer"]["state"][0]
    assert (state["step"].item(), tuple(state["exp_avg"].shape)) == (1.0, (2, 3))
    base = np.arange(12, dtype=np.float32).reshape(3, 4)
    for key, expected in (("base", base), ("transposed", base.T), ("part", base[1:, ::2])):
        np.testing.assert_array_equal(found[key].numpy(), expected)
        assert np.shares_memory(found[key].numpy(), found["base"].numpy())
    assert found["parameter"].tolist() == [1.0, 2.0]
    assert isinstance(found["parameter"], fastnn.nn.Parameter)
    kinds = ["float64", "int8", "int16", "int32", "int64", "uint8", "bool"]
    assert [t.numpy().dtype.name for t in found["kinds"]] == kinds
    assert [t.tolist() for t in found["kinds"]] == [[1, 0]] * 7
    assert tuple(found["empty"].shape) == (0, 3)
    assert (found["scalar"].item(), found["needs_grad"].requires_grad, found["epoch"]) == (2.5, True, 3)
    assert found["others"] == [
        None, True, 1, -(2**70), 2.5, "text", b"bytes", (1, 2), {1, 2}, 1 + 2j, (1, 2), fastnn.float32,
        fastnn.device("cpu"), OrderedDict(a=1),
    ]  # fmt: skip
    assert type(found["others"][10]) is fastnn.Size


# -- Files ------------------------------------------------------------------------------------


def test_paths_and_files(lib, tmp_path):
    for target in (tmp_path / "a.pt", str(tmp_path / "b.tar"), tmp_path / "Ünï.pt", tmp_path / "noending"):
        lib.save({"a": lib.ones(2)}, target)
        assert lib.load(target)["a"].tolist() == [1.0, 1.0]
        assert fastnn.load(target)["a"].tolist() == [1.0, 1.0]
    with open(tmp_path / "c.pt", "wb") as file:
        lib.save(lib.ones(2), file)
    with open(tmp_path / "c.pt", "rb") as file:
        assert lib.load(file).tolist() == [1.0, 1.0]


def test_files_that_are_no_files(lib, tmp_path):
    for call, error in (
        (lambda: lib.load(tmp_path / "missing.pt"), FileNotFoundError),
        (lambda: lib.save(1, tmp_path / "missing" / "a.pt"), RuntimeError),
        (lambda: lib.load(3), AttributeError),
        (lambda: lib.save(1, 3), AttributeError),
        (lambda: lib.load(io.BytesIO()), EOFError),
        (lambda: lib.load(io.BytesIO(b"garbage file")), pickle.UnpicklingError),
        (lambda: lib.load(io.BytesIO(b"PK\3\4 something else")), RuntimeError),
    ):
        with pytest.raises(error):
            call()
    with pytest.raises(FileNotFoundError):
        fastnn.save(1, tmp_path / "missing" / "a.pt")
    with pytest.raises(IsADirectoryError):
        fastnn.load(tmp_path)


def test_a_failed_save_leaves_the_file_alone(tmp_path):
    path = tmp_path / "a.pt"
    fastnn.save(1, path)
    with pytest.raises((AttributeError, pickle.PicklingError)):
        fastnn.save(lambda: 1, path)
    assert fastnn.load(path) == 1


def test_records_are_aligned():
    file = written([fastnn.ones(n) for n in (1, 5, 33)])
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        for info in archive.infolist():
            name, extra = struct.unpack("<HH", file.getvalue()[info.header_offset + 26 : info.header_offset + 30])
            assert (info.header_offset + 30 + name + extra) % 64 == 0
        assert archive.read("archive/version") == b"3\n"


def test_options(lib):
    file = written(lib.ones(1), lib)
    for options in (
        {"map_location": "cpu"}, {"map_location": lib.device("cpu")}, {"map_location": lambda storage, where: storage},
        {"map_location": {"cuda:0": "cpu"}}, {"weights_only": True}, {"weights_only": False}, {"mmap": False},
    ):  # fmt: skip
        file.seek(0)
        assert lib.load(file, **options).item() == 1
    file.seek(0)
    with pytest.raises((RuntimeError, AssertionError)):
        fastnn.load(file, map_location="cuda")
    with pytest.raises(TypeError, match="unexpected"):
        fastnn.load(file, colour="red")
    fastnn.save(1, io.BytesIO(), pickle, 2, True)


def test_pickle_protocols():
    assert_equal(again_with(2), make_content(fastnn), fastnn, fastnn)
    for protocol in range(3, 6):
        with pytest.warns(UserWarning, match=f"protocol {protocol}"):
            assert_equal(again_with(protocol), make_content(fastnn), fastnn, fastnn)


def test_errors_of_damaged_files_are_of_pytorchs_kinds(tmp_path):
    whole = written({"w": fastnn.ones(100)}).getvalue()
    flipped = whole[:600] + bytes([whole[600] ^ 255]) + whole[601:]
    for contents, kinds in (
        (b"hello world", (KeyError, pickle.UnpicklingError)),
        (whole[:-30], (OSError, RuntimeError)),
        (flipped, (RuntimeError,)),
        (pickle.dumps(3, 2), (RuntimeError, pickle.UnpicklingError)),
    ):
        for kind in kinds:
            with pytest.raises(kind, match=r"file|archive|record"):
                fastnn.load(io.BytesIO(contents))
    for protocol in (2, 4):
        file = written(frozenset([1]), pickle_protocol=protocol).getvalue()
        assert fastnn.load(io.BytesIO(file), weights_only=False) == frozenset([1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(pickle.UnpicklingError, match="frozenset"):
                fastnn.load(io.BytesIO(file))


def test_local_functions_are_not_saved():
    for kind in (pickle.PicklingError, AttributeError):
        with pytest.raises(kind, match="<locals>"):
            written(lambda: 1)


def again_with(protocol: int) -> Any:
    return fastnn.load(written(make_content(fastnn), pickle_protocol=protocol))


def test_a_byteswapped_file():
    data = np.array([1.5, -2.0], ">f4").tobytes()
    file = io.BytesIO()
    with zipfile.ZipFile(written(fastnn.tensor([1.5, -2.0]))) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            new.writestr(name, {"archive/byteorder": b"big", "archive/data/0": data}.get(name, old.read(name)))
    file.seek(0)
    assert fastnn.load(file).tolist() == [1.5, -2.0]


# -- Memory -----------------------------------------------------------------------------------


def test_strides_are_kept():
    base = fastnn.tensor(np.arange(24.0).reshape(2, 3, 4))
    for t in (base.permute(2, 0, 1), base[:, ::2], base[1], base[..., 1:3], base[0, 0, 0]):
        found = again(t)
        assert found.numpy().strides == t.numpy().strides
        np.testing.assert_array_equal(found.numpy(), t.numpy())


@pytest.mark.parametrize(
    "array",
    [
        np.broadcast_to(np.float32(3), (2, 3)), np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.frombuffer(b"\1\2\3\4", np.uint8)[1:], np.arange(6.0).reshape(2, 3)[:0], np.zeros((2, 0, 3), np.int32).T,
        np.arange(12, dtype=np.uint8).view([("a", "u1"), ("b", "<f8", 1)][0][1])[3:],
        np.frombuffer(b"\0" * 9, np.uint8)[1:].view(np.float32),
    ],
)  # fmt: skip
def test_arrays_of_every_layout(array):
    found = again(fastnn.from_numpy(array))
    np.testing.assert_array_equal(found.numpy(), array)
    assert found.numpy().dtype == array.dtype
    assert found.numpy().flags.writeable


def test_the_same_memory_under_two_types():
    a = np.arange(4.0)
    x, y = again([fastnn.from_numpy(a), fastnn.from_numpy(a.view(np.int64))])
    np.testing.assert_array_equal(x.numpy().view(np.int64), y.numpy())


def test_a_parameter_takes_its_own_place_only():
    """Parameters are views of a buffer of many megabytes, which is not saved with them."""
    model = fastnn.nn.Sequential(fastnn.nn.Linear(4, 3), fastnn.nn.Linear(3, 256))
    assert len(written(model.state_dict()).getvalue()) < 12_000
    assert len(written([model[0].weight.t(), model[1].weight[:2]]).getvalue()) < 8_000
    for t in (model[0].weight, model[0].weight.detach().t(), model[1].weight.detach()[1:3, ::2]):
        np.testing.assert_array_equal(as_array(again(t)), as_array(t))


def test_tied_weights_stay_one_storage():
    model = fastnn.nn.Linear(4, 3)
    state = again({"a": model.weight.detach(), "b": model.weight.detach(), "c": model.weight})
    assert np.shares_memory(state["a"].numpy(), state["b"].numpy())
    assert state["c"].requires_grad


def test_identity_is_kept():
    t = fastnn.ones(2)
    a, b, c = again([t, t, [t]])
    assert a is b is c[0]
    ring: list[Any] = [1]
    ring.append(ring)
    found = again(ring)
    assert found[1] is found


def test_a_tensor_with_a_history():
    x = fastnn.ones(2, requires_grad=True)
    found = again(x * 2)
    assert found.requires_grad
    assert found.is_leaf
    assert found.tolist() == [2.0, 2.0]


# -- Whole modules and other objects ----------------------------------------------------------


class Net(fastnn.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = fastnn.nn.Linear(3, 2)
        self.act = fastnn.nn.functional.relu
        self.register_buffer("scale", fastnn.tensor([2.0]))

    def forward(self, x: Any) -> Any:
        return self.act(self.layer(x)) * self.scale


def test_a_whole_module():
    model, x = Net(), fastnn.ones(4, 3)
    file = written({"model": model, "same": model.layer})
    found = fastnn.load(file, weights_only=False)
    assert type(found["model"]) is Net
    assert found["same"] is found["model"].layer
    np.testing.assert_array_equal(as_array(found["model"](x)), as_array(model(x)))
    found["model"](x).sum().backward()
    assert found["model"].layer.weight.grad is not None
    file.seek(0)
    with pytest.raises(pickle.UnpicklingError, match="weights_only=False"):
        fastnn.load(file)


@pytest.mark.torch
def test_a_whole_module_of_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    file = written(torch.nn.Linear(2, 1), torch)
    for trusted in (False, True):
        file.seek(0)
        with pytest.raises(pickle.UnpicklingError, match=r"state_dict|weights_only"):
            fastnn.load(file, weights_only=not trusted)


def test_a_class_that_is_gone(monkeypatch):
    file = written(Net())
    monkeypatch.delattr(sys.modules[__name__], "Net")
    with pytest.raises(pickle.UnpicklingError, match="Net is not allowed"):
        fastnn.load(file, weights_only=False)


class Colour(enum.Enum):
    RED = 1


class Settings:
    def __init__(self) -> None:
        self.rate = 0.1


class Slotted:
    __slots__ = ("a",)


def test_classes_of_the_main_program(monkeypatch):
    main = types.ModuleType("__main__")
    for kind in (Settings, Colour, Slotted):
        monkeypatch.setattr(kind, "__module__", "__main__")
        setattr(main, kind.__name__, kind)
    monkeypatch.setitem(sys.modules, "__main__", main)
    slotted = Slotted()
    slotted.a = 3
    settings, colour, found = again([Settings(), Colour.RED, slotted], weights_only=False)
    assert (settings.rate, colour, found.a) == (0.1, Colour.RED, 3)
    with pytest.raises(pickle.UnpicklingError, match="not allowed"):
        again(Settings())


def test_safe_globals(lib):
    s = lib.serialization
    with pytest.raises(pickle.UnpicklingError):
        lib.load(written(Settings(), lib))
    with s.safe_globals([Settings]):
        assert Settings in s.get_safe_globals()
        assert lib.load(written(Settings(), lib)).rate == 0.1
    assert Settings not in s.get_safe_globals()
    with s.safe_globals([(Settings, f"{__name__}.Settings")]):
        assert lib.load(written(Settings(), lib)).rate == 0.1
    with pytest.raises(pickle.UnpicklingError):
        lib.load(written(Settings(), lib))


def test_safe_globals_until_they_are_cleared():
    serialization.add_safe_globals([Settings])
    assert again(Settings()).rate == 0.1
    serialization.clear_safe_globals()
    assert serialization.get_safe_globals() == []


def test_safe_globals_of_what_does_not_fit():
    for wrong, error in (((Settings,), ValueError), ((Settings, 3), TypeError)):
        with pytest.raises(error):
            serialization.add_safe_globals([wrong])


PLAIN = [
    np.float64(2.5), np.arange(6.0).reshape(2, 3), np.array(["a"]), np.array([None, 1]), np.dtype("f4"),
    argparse.Namespace(a=1), types.SimpleNamespace(b=2), collections.defaultdict(list, {"a": [1]}),
    collections.deque([1, 2]), datetime.datetime(2020, 1, 2), pathlib.PurePosixPath("a/b"), Path("c"), range(3),
    collections.Counter("aab"), frozenset([1]), bytearray(b"abc"),
]  # fmt: skip


@pytest.mark.parametrize("value", PLAIN, ids=lambda v: type(v).__name__)
def test_plain_values_of_other_libraries(value):
    found = again([value], weights_only=False)[0]
    assert type(found) is type(value)
    np.testing.assert_array_equal(found, value)


def test_a_generator_and_an_optimizer():
    g = fastnn.Generator().manual_seed(3)
    found = again(g, weights_only=False)
    assert found.permutation(9).tolist() == g.permutation(9).tolist()
    model = fastnn.nn.Linear(2, 2)
    optimizer = fastnn.optim.Adam(model.parameters())
    model(fastnn.ones(1, 2)).sum().backward()
    optimizer.step()
    state = again(optimizer.state_dict())
    optimizer.load_state_dict(state)
    assert_equal(again(optimizer.state_dict()), state, fastnn, fastnn)


# -- Malicious files --------------------------------------------------------------------------


class Calls:
    """Pickles as the call of a function."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


def zipped(pickled: bytes, **records: bytes) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for key, data in records.items():
            archive.writestr(f"archive/data/{key.removeprefix('r')}", data)
    file.seek(0)
    return file


@pytest.mark.parametrize("weights_only", [True, False])
@pytest.mark.parametrize(
    "harm",
    [
        Calls(os.system, "touch harmed"), Calls(eval, "open('harmed', 'w')"), Calls(exec, "open('harmed', 'w')"),
        Calls(open, "harmed", "w"), Calls(getattr, "a", "upper"), Calls(__import__, "antigravity"),
        Calls(fastnn.save, 1, "harmed"), Calls(np.save, "harmed", 1), Calls(np.load, "harmed"), Calls(map, str, [1]),
        Calls(Path("harmed").write_text, "x"), Calls(type, "T", (), {}), Calls(fastnn.nn.functional.relu, 1),
        Calls(serialization.add_safe_globals, []), Calls(bytearray, 10**12), Calls(Calls, 1),
    ],
    ids=lambda c: getattr(c.call[0], "__name__", "call"),
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:the file has pickle protocol 4")
def test_a_pickle_that_calls(harm, weights_only, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file in (zipped(pickle.dumps(harm, 2)), zipped(pickle.dumps(harm, 4)), io.BytesIO(pickle.dumps(harm, 2))):
        with pytest.raises(pickle.UnpicklingError):
            fastnn.load(file, weights_only=weights_only)
    assert list(tmp_path.iterdir()) == []
    assert "antigravity" not in sys.modules


def harmful(*instructions: bytes) -> bytes:
    return b"\x80\x02" + b"".join(instructions) + b"."


STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"


@pytest.mark.parametrize("weights_only", [True, False])
@pytest.mark.parametrize(
    "pickled",
    [
        # Attributes set on functions and classes, items added to objects that are not containers.
        harmful(b"ctorch._utils\n_rebuild_tensor_v2\n}X\x0c\x00\x00\x00__defaults__)sb"),
        harmful(b"ctorch\nSize\n}X\x03\x00\x00\x00abcK\x01sb"),
        harmful(b"ctorch\nfloat32\n}X\x04\x00\x00\x00nameK\x01sb"),
        harmful(b"ctorch\nTensor\nK\x01K\x02s"), harmful(b"ctorch\nSize\nK\x01a"), harmful(b"ctorch\nTensor\n(K\x01e"),
        # Objects without construction, old-style instances, extensions, persistent names.
        harmful(b"ctorch\nTensor\n)\x81"), harmful(b"cbuiltins\ndict\n)\x81"), harmful(b"(ios\nsystem\n"),
        harmful(b"(cos\nsystem\no"), harmful(b"\x82\x01"), harmful(b"Pstorage\n"), harmful(b"K\x01Q"),
        harmful(b"X\x07\x00\x00\x00storage\x85Q"), harmful(b"ctorch.nn.modules.linear\nLinear\n)R"),
        # Empty and truncated pickles, invalid references.
        b"", b"\x80", b"\x80\x02", harmful(), harmful(b"\x95\xff\xff\xff\xff\xff\xff\xff\x7f"), harmful(b"K"),
        harmful(b"ctorch\n"), harmful(b"h\x05"), harmful(b"0"), harmful(b"("), harmful(b"X\xff\xff\xff\x7fabc"),
        harmful(b"c__main__\n__builtins__\n"), harmful(b"cos.path\njoin\n"), harmful(b"ctorch.nested\nx\n"),
        harmful(b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x03\x00\x00\x00zipctR"),
        harmful(b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86R"),
        harmful(b"ctorch._tensor\n_rebuild_from_type_v2\n(cbuiltins\nset\nctorch\nTensor\n)}tR"),
    ],
)  # fmt: skip
def test_pickles_made_by_hand(pickled, weights_only):
    with pytest.raises(pickle.UnpicklingError):
        fastnn.load(zipped(pickled, r0=bytes(16)), weights_only=weights_only)


def rebuilt(offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """The pickle of a tensor in a storage of four elements."""
    tuples = [b"(" + b"".join(b"I%d\n" % v for v in d) + b"t" for d in (size, stride)]
    return harmful(b"ctorch._utils\n_rebuild_tensor_v2\n(", STORAGE, b"I%d\n" % offset, *tuples, b"I00\n}tR")


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (0, (5,), (1,)), (1, (4,), (1,)), (0, (2, 2), (3, 1)), (-1, (2,), (1,)), (0, (2,), (-1,)), (0, (-2,), (1,)),
        (0, (2, 2), (1,)), (5, (), ()), (0, (2,), (2**62,)), (2**62, (1,), (1,)), (0, (2**40,), (1,)),
    ],
)  # fmt: skip
def test_tensors_beyond_their_storage(offset, size, stride):
    with pytest.raises(pickle.UnpicklingError):
        fastnn.load(zipped(rebuilt(offset, size, stride), r0=bytes(16)))


def test_tensors_within_their_storage():
    data = np.arange(4, dtype=np.float32).tobytes()
    for offset, size, stride, expected in (
        (0, (4,), (1,), [0, 1, 2, 3]), (1, (2,), (2,), [1, 3]), (3, (), (), 3), (0, (2, 2), (0, 3), [[0, 3], [0, 3]]),
        (0, (0, 7), (1, 1), []),
    ):  # fmt: skip
        assert fastnn.load(zipped(rebuilt(offset, size, stride), r0=data)).tolist() == expected


@pytest.mark.parametrize("records", [{}, {"r0": bytes(15)}, {"r0": bytes(20)}, {"r1": bytes(16)}])
def test_storages_that_do_not_fit(records):
    with pytest.raises(pickle.UnpicklingError, match=r"record|bytes"):
        fastnn.load(zipped(rebuilt(0, (4,), (1,)), **records))


def test_truth_values_are_true_or_false():
    pickled = rebuilt(0, (4,), (1,)).replace(b"FloatStorage", b"BoolStorage")
    found = fastnn.load(zipped(pickled, r0=bytes([0, 1, 2, 255])))
    assert found.numpy().view(np.uint8).tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize("kind", ["BFloat16Storage", "ComplexFloatStorage"])
def test_numbers_that_fastnn_has_not(kind):
    pickled = rebuilt(0, (4,), (1,)).replace(b"FloatStorage", kind.encode())
    with pytest.raises(TypeError, match=r"float16|complex64"):
        fastnn.load(zipped(pickled, r0=bytes(8)))


def test_archives_of_something_else():
    for names in (["a.txt"], ["archive/constants.pkl", "archive/data.pkl"]):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for name in names:
                archive.writestr(name, b"x")
        file.seek(0)
        with pytest.raises(RuntimeError, match=r"checkpoint|TorchScript"):
            fastnn.load(file)


@pytest.mark.parametrize("name", ["checkpoint.pt", "checkpoint_legacy.pt"])
def test_damaged_files(name):
    """A truncated file or one with a changed byte gives an error of a known kind or other numbers."""
    whole = (GOLDEN / name).read_bytes()
    rng = np.random.default_rng(0)
    damaged = [whole[:n] for n in rng.integers(1, len(whole), 40)]
    for place in rng.integers(0, len(whole), 300):
        changed = bytearray(whole)
        changed[place] ^= int(rng.integers(1, 256))
        damaged.append(bytes(changed))
    failed = 0
    for content in damaged:
        try:
            fastnn.load(io.BytesIO(content), weights_only=bool(rng.integers(2)))
        except (pickle.UnpicklingError, RuntimeError, EOFError):
            failed += 1
    assert failed >= 40


# -- Whatever can be saved can be loaded ------------------------------------------------------


def _doubled(x):
    return x * 2


def _see(module, *rest):
    module.seen = getattr(module, "seen", 0) + 1


class _Raises:
    def __setstate__(self, state):
        raise KeyError("mine")


class _Slotted(fastnn.nn.Linear):
    __slots__ = ("mark",)


class _OwnState(fastnn.nn.Sequential):
    def __getstate__(self):
        return self.__dict__.copy()

    def __setstate__(self, state):
        self.__dict__.update(state)


def _with_hooks(obj):
    with serialization.safe_globals([_see]):
        return again(obj, weights_only=False)


COPIES = {
    "save": lambda obj: _with_hooks(obj),
    "pickle": lambda obj: pickle.loads(pickle.dumps(obj)),
    "protocol 2": lambda obj: pickle.loads(pickle.dumps(obj, 2)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("kind", [fastnn.nn.Sequential, _OwnState])
def test_models_that_were_called(way, kind):
    nn = fastnn.nn
    model = kind(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Tanh(), kind(nn.Linear(3, 2)))
    x = fastnn.tensor(np.linspace(-1, 1, 8, dtype=np.float32).reshape(4, 2))
    for _ in range(4):
        model(x).sum().backward()
    assert fastnn.explain(model).startswith("captured")
    model.eval()
    found = COPIES[way](model)
    assert fastnn.equal(found(x), model(x))
    assert "_replays" not in COPIES[way](found).__dict__ or kind is _OwnState
    for a, b in zip(found.parameters(), model.parameters(), strict=True):
        assert a.stride() == b.stride() or kind is _OwnState
    # A loaded model is captured like the original, and detects changes like it.
    found.train()
    for _ in range(4):
        found(x)
    found[3] = nn.Linear(3, 5)
    assert found(x).shape == (4, 5)


@pytest.mark.parametrize("way", COPIES)
def test_hooks_and_slots_are_copied(way):
    model = _Slotted(2, 2)
    model.mark = [1]
    handles = [
        model.register_forward_hook(_see), model.register_load_state_dict_pre_hook(_see),
        model.register_load_state_dict_post_hook(_see),
    ]  # fmt: skip
    found = COPIES[way](model)
    assert found.mark == [1]
    found.load_state_dict(model.state_dict())
    found(fastnn.ones(1, 2))
    assert found.seen == 3
    assert not hasattr(model, "seen")
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("name", ["Adam", "SGD", "LBFGS", "Rprop", "ASGD", "Adagrad"])
def test_optimizers_with_their_models(name):
    model, x = fastnn.nn.Linear(2, 1), fastnn.ones(3, 2)

    def train(model, optimizer):
        def closure():
            optimizer.zero_grad()
            loss = model(x).pow(2).sum()
            loss.backward()
            return loss

        optimizer.step(closure)

    optimizer = getattr(fastnn.optim, name)(model.parameters(), lr=0.01)
    train(model, optimizer)
    found = again((model, optimizer), weights_only=False)
    assert found[1].param_groups[0]["params"][0] is found[0].weight
    for pair in ((model, optimizer), found):
        train(*pair)
    assert fastnn.equal(found[0].weight, model.weight)


PLAIN = [
    collections.defaultdict(int, a=1), collections.defaultdict(set), int, str, type, type(None), KeyError, ...,
    NotImplemented, len, pow, np.exp, np.float32, np.ndarray, fastnn.relu, fastnn.nn.functional.mse_loss,
    fastnn.nn.Linear, fastnn.utils.data.default_collate, fractions.Fraction(1, 3), uuid.UUID(int=5),
    collections.UserDict(a=1),
]  # fmt: skip


@pytest.mark.parametrize("value", PLAIN, ids=repr)
@pytest.mark.parametrize("protocol", [2, 4])
def test_types_functions_and_values(value, protocol):
    found = fastnn.load(written({"value": value}, pickle_protocol=protocol), weights_only=False)["value"]
    assert type(found) is type(value)
    assert found == value


def test_functions_of_the_main_program(monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "_doubled", _doubled, raising=False)
    monkeypatch.setattr(_doubled, "__module__", "__main__")
    assert again([_doubled], weights_only=False) == [_doubled]
    # Only as a value: a file cannot call it.
    with pytest.raises(pickle.UnpicklingError, match="not allowed"):
        fastnn.load(io.BytesIO(_legacy(b"c__main__\n_doubled\n(I2\ntR.")), weights_only=False)


@pytest.mark.parametrize("made", [np.random.RandomState(3), np.random.default_rng(3)])
def test_numpy_generators(made):
    made.random()
    found = again(made, weights_only=False)
    assert found.random() == made.random()


def _legacy(program):
    start = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    return b"".join([*start, program, pickle.dumps([], 2)])


@pytest.mark.parametrize(
    "program",
    [
        b"cbuiltins\ntype\n(S'C'\n)(dtR.", b"cbuiltins\nlen\n(S'a'\ntR.", b"cbuiltins\nobject\n)R.",
        b"cnumpy.random._pickle\n__generator_ctor\n(S'eval'\ncbuiltins\neval\ntR.", b"cmath\nsqrt\n(I4\ntR.",
        b"cnumpy.random._pickle\n__bit_generator_ctor\n(S'eval'\ntR.", b"cnumpy\nload\n.", b"cbuiltins\neval\n.",
        b"cbuiltins\ndict\n((I1\nI2\ntltR.", b"cfastnn.serialization\nsave\n.", b"cmath\n__loader__\n.",
    ],
)  # fmt: skip
def test_nothing_of_the_files_choosing_is_called(program):
    with pytest.raises(pickle.UnpicklingError):
        fastnn.load(io.BytesIO(_legacy(program)), weights_only=False)


def test_errors_of_the_users_own_code(monkeypatch, tmp_path):
    monkeypatch.setattr(sys.modules["__main__"], "_Raises", _Raises, raising=False)
    monkeypatch.setattr(_Raises, "__module__", "__main__")
    found = _Raises()
    found.a = 1
    with pytest.raises(KeyError, match="mine"):
        again(found, weights_only=False)

    class File(io.BytesIO):
        def read(self, *args):
            raise ConnectionError("lost")

    with pytest.raises(ConnectionError, match="lost"):
        fastnn.load(File(written([1]).getvalue()))


def test_whole_modules_of_version_0_1_load() -> None:
    # Written by fastnn 0.1, whose modules had other paths.
    saved = fastnn.load(GOLDEN / "modules_0_1.pt", weights_only=False)
    assert saved["model"](saved["x"]).tolist() == saved["y"].tolist()
    nn, F = fastnn.nn, fastnn.nn.functional
    assert [type(loss) for loss in saved["losses"]] == [nn.CrossEntropyLoss, nn.MSELoss, nn.TripletMarginLoss]
    assert saved["functions"] == [
        F.relu, F.cross_entropy, F.batch_norm, F.dropout, F.mse_loss, F.layer_norm, F.softmax, F.normalize,
        F.embedding, fastnn.zeros, fastnn.rand, fastnn.relu, fastnn.sort, fastnn.maximum,
    ]  # fmt: skip
    assert (saved["size"], saved["dtype"], saved["device"]) == (fastnn.Size([2]), fastnn.float64, fastnn.device("cpu"))
def test_methods_of_tensors_are_pickled():
    for method in (fastnn.Tensor.sum, fastnn.Tensor.abs, fastnn.Tensor.max, fastnn.Tensor.relu):
        for protocol in range(2, 6):
            assert pickle.loads(pickle.dumps(method, protocol)) is method
        # A file has the name of the function.
        first, again = fastnn.load(written([method, method]), weights_only=False)
        assert first is again
        assert first(fastnn.tensor([3.0])).tolist() in (3.0, [3.0])
