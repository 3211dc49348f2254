"""Checkpoints: to and from PyTorch's files, paths, options and shared memory."""

from __future__ import annotations

import io
import pickle
import struct
import warnings
import zipfile
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
from comparison import as_array
from serialization_helpers import GOLDEN, again, assert_equal, written

import fastnn

KINDS = ["float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool", "float16"]

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
