"""Checkpoints that are damaged or malicious, loaded as files that are not trusted."""

from __future__ import annotations

import io
import os
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serialization_helpers import GOLDEN

import fastnn
from fastnn import serialization

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


@pytest.mark.parametrize("weights_only", [True, None])
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


@pytest.mark.parametrize("weights_only", [True, None])
@pytest.mark.parametrize(
    "pickled",
    [
        # Attributes set on functions and classes, items added to objects that are not containers.
        harmful(b"ctorch._utils\n_rebuild_tensor_v2\n}X\x0c\x00\x00\x00__defaults__)sb"),
        harmful(b"ctorch\nSize\n}X\x03\x00\x00\x00abcK\x01sb"),
        harmful(b"ctorch\nfloat32\n}X\x04\x00\x00\x00nameK\x01sb"),
        harmful(b"ctorch\ndevice\nX\x03\x00\x00\x00cpu\x85RN}X\x04\x00\x00\x00typeK\x01s\x86b"),
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


def test_numbers_of_bfloat16():
    pickled = rebuilt(0, (4,), (1,)).replace(b"FloatStorage", b"BFloat16Storage")
    found = fastnn.load(zipped(pickled, r0=b"\x80\x3f" * 4))
    assert (found.dtype, found.tolist()) == (fastnn.bfloat16, [1.0] * 4)


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
            fastnn.load(io.BytesIO(content), weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError):
            failed += 1
    assert failed >= 40


def _call(name: str, *args: bytes) -> bytes:
    module, _, name = name.rpartition(".")
    return f"c{module}\n{name}\n(".encode() + b"".join(args) + b"tR"


def _rebuilt(kind: bytes) -> bytes:
    """A tensor of 4 bytes, by the function that takes the dtype apart from the storage."""
    storage = STORAGE.replace(b"FloatStorage", b"UntypedStorage")
    layout, hooks = b"K\x00(K\x04t(K\x01t", b"ccollections\nOrderedDict\n)R"
    return _call("torch._utils._rebuild_tensor_v3", storage, layout, b"\x89", hooks, b"ctorch\n" + kind + b"\n")


@pytest.mark.parametrize(
    "instructions",
    [
        b"ctorch\ndevice\n)\x81", b"ctorch\nSize\n)\x81", b"c_codecs\nencode\n)\x81",
        _call("torch.Size", b"(X\x01\x00\x00\x00at"), _call("torch.Size", b"X\x01\x00\x00\x00a"),
        _call("torch.Size", b"(G?\xf0\x00\x00\x00\x00\x00\x00t"), _rebuilt(b"complex64"),
    ],
)  # fmt: skip
def test_objects_without_a_value(instructions):
    with pytest.raises(pickle.UnpicklingError):
        fastnn.load(zipped(harmful(instructions), r0=bytes(4)))


def test_bytes_as_bools():
    found = fastnn.load(zipped(harmful(_rebuilt(b"bool")), r0=bytes([0, 1, 2, 255])))
    assert found.numpy().view(np.uint8).tolist() == [0, 1, 1, 1]


def test_an_unknown_byte_order():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", harmful(b"K\x01"))
        archive.writestr("archive/byteorder", b"\xffmiddle")
    file.seek(0)
    with pytest.raises(ValueError, match="endianness"):
        fastnn.load(file)


# Sixty tuples, each with the one before twice.
_DOUBLED = b"(t" + b"".join(b"q" + bytes([k]) + b"h" + bytes([k]) + b"\x86" for k in range(60))


@pytest.mark.parametrize(
    "instructions",
    [
        b"}" + _DOUBLED + b"K\x01s", b"}(" + _DOUBLED + b"K\x01u", b"\x8f(" + _DOUBLED + b"\x90",
        _call("builtins.set", b"](" + _DOUBLED + b"e"), _call("collections.Counter", b"](" + _DOUBLED + b"e"),
        _call("collections.OrderedDict", b"]((" + _DOUBLED + b"K\x01te"), _DOUBLED + b"Q",
        STORAGE.replace(b"X\x01\x00\x00\x000", _DOUBLED), STORAGE.replace(b"K\x04", _DOUBLED),
        _call("torch.Size", b"(" + _DOUBLED + b"t"), b"(" + _DOUBLED + b"t" + b")R",
        _call("torch._utils._rebuild_tensor", STORAGE, b"K\x00", _DOUBLED, b"(t"),
        _call("_codecs.encode", b"X\x01\x00\x00\x00a" + _DOUBLED),
    ],
)  # fmt: skip
def test_objects_without_an_end(instructions):
    """Neither their hashes nor their texts are computed, which would take years."""
    with pytest.raises(pickle.UnpicklingError):
        fastnn.load(zipped(harmful(instructions), r0=bytes(16)))


def test_a_damaged_header_of_a_record():
    """Its name is no text: zipfile raises UnicodeDecodeError, whether classes may be imported or not."""
    data = zipped(harmful(_rebuilt(b"bool")), r0=bytes(4)).getvalue()
    at = data.index(b"archive/data/0")
    # The names are UTF-8 by the flag in both headers; that of the record itself has another byte.
    start = at - 30
    data = data[: start + 6] + b"\x00\x08" + data[start + 8 : at] + b"\xff" + data[at + 1 :]
    for weights_only in (True, False):
        with pytest.raises(pickle.UnpicklingError, match="damaged"):
            fastnn.load(io.BytesIO(data), weights_only=weights_only)
