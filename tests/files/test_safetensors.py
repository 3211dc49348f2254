"""Files of the safetensors format: the same bytes as PyTorch's library writes, and its errors."""

from __future__ import annotations

import hashlib
import importlib
import json
import struct
import sys
from typing import Any

import numpy as np
import pytest

import fastnn

library = pytest.importorskip("safetensors", reason="the package safetensors is not installed")
from fastnn import safetensors  # noqa: E402  after the check

DTYPES = (
    "float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool", "uint16", "uint32", "uint64",
)  # fmt: skip


def tensors(lib: Any) -> dict[str, Any]:
    """Each dtype as a matrix, a scalar and an empty one, in an order that is not the file's."""
    made = {}
    for i, name in enumerate(DTYPES):
        made[f"{name} matrix"] = lib.from_numpy((np.arange(6).reshape(2, 3) * (i + 1)).astype(name))
        made[f"scalar.{name}"] = lib.from_numpy(np.array(i).astype(name))
        made[f"empty.{name}"] = lib.from_numpy(np.zeros((0, 3), name))
    return made


@pytest.fixture
def module(lib: Any) -> Any:
    """The module with the functions, of each library."""
    return safetensors if lib is fastnn else importlib.import_module("safetensors.torch")


def header(**tensors: Any) -> bytes:
    text = json.dumps(tensors).encode()
    return struct.pack("<Q", len(text)) + text


def test_values_come_back(tmp_path):
    given = tensors(fastnn)
    path = tmp_path / "x.safetensors"
    safetensors.save_file(given, path, {"made": "here"})
    for found in (safetensors.load_file(path), safetensors.load(path.read_bytes()), safetensors.load_file(str(path))):
        assert set(found) == set(given)
        for name, tensor in given.items():
            assert found[name].dtype is tensor.dtype
            assert found[name].shape == tensor.shape
            assert found[name].numpy().tobytes() == tensor.numpy().tobytes()
            found[name].zero_()
    assert safetensors.save(given, {"made": "here"}) == path.read_bytes()


def test_special_numbers_keep_their_bits():
    bits = np.array([0x7FC00001, 0xFFC12345, 0x80000000, 0x00000001, 0x7F800000], np.uint32)
    found = safetensors.load(safetensors.save({"x": fastnn.from_numpy(bits.view(np.float32).copy())}))["x"]
    assert found.numpy().tobytes() == bits.tobytes()


# SHA-256 of what PyTorch 2.13.0 and safetensors 0.8.0 write for `tensors`.
RECORDED = "63aaec46259edf008c0cb63e8a12a86375fd18a3d589f38216fffca2214ede70"


def test_the_bytes_are_as_recorded():
    assert hashlib.sha256(safetensors.save(tensors(fastnn), {"a": "b"})).hexdigest() == RECORDED


@pytest.mark.torch
def test_the_bytes_are_those_of_pytorch(tmp_path):
    torch, theirs = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch")
    ours = safetensors.save(tensors(fastnn), {"a": "b"})
    assert ours == theirs.save(tensors(torch), {"a": "b"})
    theirs.save_file(tensors(torch), tmp_path / "x.safetensors")
    assert safetensors.save(safetensors.load_file(tmp_path / "x.safetensors")) == theirs.save(tensors(torch))
    model = fastnn.nn.Sequential(fastnn.nn.Linear(5, 3), fastnn.nn.BatchNorm1d(3), fastnn.nn.PReLU())
    other = torch.nn.Sequential(torch.nn.Linear(5, 3), torch.nn.BatchNorm1d(3), torch.nn.PReLU())
    safetensors.save_model(model, tmp_path / "m.safetensors")
    theirs.load_model(other, tmp_path / "m.safetensors")
    assert theirs.save(other.state_dict()) == safetensors.save(model.state_dict())
    theirs.save_model(other, tmp_path / "n.safetensors")
    assert (tmp_path / "n.safetensors").read_bytes() == (tmp_path / "m.safetensors").read_bytes()


def test_weights_are_outputs_by_inputs():
    """Whatever the sizes are."""
    for sizes in ((3, 2), (1, 1024), (1024, 2)):
        layer = fastnn.nn.Linear(*sizes)
        found = safetensors.load(safetensors.save(layer.state_dict()))
        assert found["weight"].shape == sizes[::-1]
        assert bool((found["weight"] == layer.weight).all())


class Tied:
    def __new__(cls, lib: Any) -> Any:
        class Tied(lib.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.a, self.b = lib.nn.Linear(3, 3), lib.nn.Linear(3, 3)
                self.b.weight = self.a.weight

        return Tied()


def test_tied_weights(lib, module, tmp_path):
    model, path = Tied(lib), tmp_path / "m.safetensors"
    with pytest.raises(RuntimeError, match="Some tensors share memory") as caught:
        module.save_file(model.state_dict(), path)
    assert "a.weight" in str(caught.value)
    module.save_model(model, path, {"mine": "kept"})
    with safetensors.safe_open(path, framework="pt") as file:
        assert sorted(file.keys()) == ["a.bias", "a.weight", "b.bias"]
        assert file.metadata() == {"b.weight": "a.weight", "mine": "kept"}
    copy = Tied(lib)
    assert module.load_model(copy, path) == (set(), [])
    assert bool((copy.b.weight == model.a.weight).all())
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "bias", "weight"'):
        module.load_model(lib.nn.Linear(3, 3), path)
    missing, unexpected = module.load_model(lib.nn.Linear(3, 3), path, strict=False)
    assert (missing, sorted(unexpected)) == ({"weight", "bias"}, ["a.bias", "a.weight", "b.bias"])


def test_what_is_not_saved(lib, module):
    x = lib.ones(3, 4)
    for bad, kind, text in (
        ({"a": x, "b": x}, RuntimeError, "share memory"), ({"a": x[:2], "b": x[1:]}, RuntimeError, "share memory"),
        ({"a": x.t()}, ValueError, "You are trying to save a non contiguous tensor: `a`"),
        ({"a": x[:, 1:]}, ValueError, "non contiguous"), ([x], ValueError, r"Expected a dict of \[str, torch.Tensor\]"),
        ({"a": 1}, ValueError, "Key `a` is invalid, expected torch.Tensor"),
    ):  # fmt: skip
        with pytest.raises(kind, match=text):
            module.save(bad)
    # Parts of one storage that do not overlap.
    assert len(module.load(module.save({"a": x[:2], "b": x[2:]}))) == 2


def test_parts_are_read(lib, tmp_path):
    path = tmp_path / "x.safetensors"
    safetensors.save_file({"x": fastnn.arange(12.0).reshape(3, 4)}, path)
    opened = safetensors.safe_open if lib is fastnn else library.safe_open
    with opened(path, framework="pt", device="cpu") as file:
        part = file.get_slice("x")
        assert (part.get_shape(), part.get_dtype()) == ([3, 4], "F32")
        assert part[1:, :2].tolist() == [[4.0, 5.0], [8.0, 9.0]]
        whole = fastnn.arange(12.0).reshape(3, 4)
        for index in (
            -1, slice(-2, None), (..., slice(-3, -1)), slice(2, 1), (slice(9, None), 0),
            slice(None, None, 2), None, [0, 2],
        ):  # fmt: skip
            assert part[index].tolist() == whole[index].tolist()
        for wrong in (3, (0, 0, 0)):
            with pytest.raises(IndexError):
                part[wrong]
        assert file.get_tensor("x").sum().item() == 66
        with pytest.raises(library.SafetensorError, match="File does not contain tensor y"):
            file.get_tensor("y")
    with safetensors.safe_open(path, framework="np") as file:
        assert type(file.get_tensor("x")) is np.ndarray


GOOD = header(x={"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}) + bytes(8)
DAMAGED = {
    "empty": b"", "short": b"1234", "cut": GOOD[:-1], "cut header": GOOD[:30], "longer": GOOD + b"0",
    "huge header": struct.pack("<Q", 2**62) + b"{}", "no JSON": struct.pack("<Q", 4) + b"abcd",
    "zip": b"PK\x03\x04" + bytes(60), "pickle": b"\x80\x02}q\x00." + bytes(60),
    "negative": header(x={"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}) + bytes(8),
    "other size": header(x={"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}) + bytes(8),
    "overlap": header(
        x={"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        y={"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
    ) + bytes(12),
    "dtype": header(x={"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}) + bytes(8),
    "overflow": header(x={"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 8]}) + bytes(8),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file(name, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(DAMAGED[name])
    with pytest.raises(library.SafetensorError, match=r"x\.safetensors: .*\w"):
        safetensors.load_file(path)
    with pytest.raises(library.SafetensorError, match=r"data: .*\w"):
        safetensors.load(DAMAGED[name])


def test_other_errors(tmp_path, monkeypatch):
    for code, name in (("C64", "complex64"), ("F8_E4M3", "F8_E4M3")):
        size = {"C64": 16, "F8_E4M3": 2}[code]
        data = header(x={"dtype": code, "shape": [2], "data_offsets": [0, size]}) + bytes(size)
        with pytest.raises(TypeError, match=f"tensor 'x' has dtype {name}, and fastnn has no tensors of it"):
            safetensors.load(data)
        (tmp_path / "x").write_bytes(data)
        with pytest.raises(TypeError, match=name):
            safetensors.load_file(tmp_path / "x")
    with pytest.raises(FileNotFoundError):
        safetensors.load_file(tmp_path / "none")
    with pytest.raises(TypeError, match="data must be bytes, found str"):
        safetensors.load("x")
    with pytest.raises(RuntimeError, match="CUDA"):
        safetensors.load_file(tmp_path / "x", device="cuda")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ImportError, match=r"pip install 'fastnn\[safetensors\]'"):
        safetensors.save({})


def test_the_names_under_fastnn_run():
    from fastnn._cli.run import Finder

    spec = Finder().find_spec("safetensors.torch")
    assert spec is not None
    assert spec.loader.module is safetensors
    made = Finder().find_spec("safetensors").loader.create_module(Finder().find_spec("safetensors"))
    assert made is None or made.__name__ == "safetensors"
