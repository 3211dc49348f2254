"""Mutated files of every format: a result, or an error of the documented kind, with little memory and nothing else."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import fuzz_files
import pytest
from counts import LEVEL, count

import fastnn
import fastnn.datasets

FORMATS = sorted(fuzz_files._formats())
# Cases of a process: one that ends loses no more.
BATCH = 5000


def read_cases(name: str, first: int, last: int, folder: Path) -> list[str]:
    """Read the cases in a process of its own; what was wrong. ``name``: a format, or "all"."""
    done = subprocess.run(
        [sys.executable, fuzz_files.__file__, name, str(first), str(last), str(folder)],
        capture_output=True, text=True, check=False, timeout=3600,
    )  # fmt: skip
    case = folder / "case"
    assert done.returncode == 0, (
        f"status {done.returncode} at case {case.read_text() if case.exists() else first} of {name}\n"
        f"{done.stderr[-2000:]}"
    )
    found = json.loads(done.stdout)
    print(name, first, last, found)
    return [f"{kind}, {problem}" for kind, facts in found.items() for problem in facts["problems"]]


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is limited on Linux")
@pytest.mark.parametrize("name", ["all"] if LEVEL == "suite" else FORMATS)
def test_mutated_files(name: str, tmp_path: Path) -> None:
    cases, problems = count(80, 2500, 25_000), []
    for first in range(0, cases, BATCH):
        problems += read_cases(name, first, min(cases, first + BATCH), tmp_path)
    assert problems == []


# -- Archives that claim more than they have --------------------------------------------------


def _checkpoint(numbers: Any, compression: int, **records: bytes) -> bytes:
    """A checkpoint, with the records of its archive compressed or replaced."""
    file, packed = io.BytesIO(), io.BytesIO()
    fastnn.save(numbers, file)
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(packed, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, records.get(name.split("/", 1)[1].replace("/", "_"), old.read(name)))
    return packed.getvalue()


def test_a_compressed_checkpoint_is_read() -> None:
    numbers = fastnn.arange(1000.0)
    content = _checkpoint([numbers, fastnn.zeros(100_000)], zipfile.ZIP_DEFLATED)
    found = fastnn.load(io.BytesIO(content))
    assert found[0].tolist() == numbers.tolist()
    assert len(content) < 20_000


def test_a_compressed_checkpoint_of_zeros_is_refused_unless_it_is_trusted() -> None:
    """A file of 4 KB that needs 4 MB: one that is not trusted may need 64 times its size, and 2 MB."""
    content = _checkpoint([fastnn.zeros(1_000_000)], zipfile.ZIP_DEFLATED)
    assert len(content) < 6000
    with pytest.raises(pickle.UnpicklingError, match="weights_only=False has no limit"):
        fastnn.load(io.BytesIO(content))
    with pytest.raises(pickle.UnpicklingError, match="weights_only=False has no limit"):
        fastnn.load(io.BytesIO(_checkpoint([], zipfile.ZIP_DEFLATED, **{"data.pkl": bytes(4_000_000)})))
    assert fastnn.load(io.BytesIO(content), weights_only=False)[0].shape == (1_000_000,)


def _number(value: int) -> bytes:
    return b"J" + value.to_bytes(4, "little")


def _tensor(kind: bytes, size: int, stride: int) -> bytes:
    """A tensor of a storage of 4 elements."""
    storage = b"(X\x07\x00\x00\x00storagectorch\n%sStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ" % kind
    return b"ctorch._utils\n_rebuild_tensor\n(%sK\x00(%st(%sttR" % (storage, _number(size), _number(stride))


def _again(function: bytes, arguments: bytes, times: int = 2000) -> bytes:
    """A list of the results of one call, again and again."""
    return arguments + b"q\x000c" + function + b"\nq\x010](" + b"h\x01h\x00R" * times + b"e"


_NUMBERS = b"](" + b"".join(map(_number, range(4000))) + b"e"
_PAIRS = b"](" + b"".join(_number(i) + b"N\x86" for i in range(4000)) + b"e"
_TEXT = b"X" + (20_000).to_bytes(4, "little") + b"a" * 20_000
# A tensor that repeats one number 100 million times.
_REPEATED = _tensor(b"Float", 10**8, 0)


@pytest.mark.parametrize(
    "instructions",
    [
        _again(b"builtins\nset", _NUMBERS + b"\x85"), _again(b"collections\nCounter", _NUMBERS + b"\x85"),
        _again(b"collections\nOrderedDict", _PAIRS + b"\x85"), _again(b"_codecs\nencode", _TEXT + b"\x85"),
        _again(b"torch\nSize", b"(" + b"".join(map(_number, range(4000))) + b"t\x85"),
        # The attributes of a dictionary; a key whose hash is computed again and again.
        b"}(" + b"".join(b"X\x04\x00\x00\x00%04dN" % i for i in range(4000)) + b"uq\x000ccollections\nOrderedDict\n"
        b"q\x010](" + b"h\x01)Rh\x00b" * 2000 + b"e",
        b"(" + b"K\x01" * 4000 + b"tq\x000}(" + b"h\x00N" * 20_000 + b"u",
        # Objects of one byte of the file.
        b"](" + b"\x8f" * 100_000 + b"e", b"](" + b"]" * 150_000 + b"e", b"N" + b"\x94" * 150_000, b"(" * 150_000,
        b"N" + b"\x85" * 150_000, b"ccollections\nOrderedDict\nq\x00)q\x01](" + b"h\x00h\x01R" * 40_000 + b"e",
        # Memory, and rows, of a tensor that repeats one number.
        b"ctorch._utils\n_rebuild_parameter\n(" + _REPEATED + b"\x89}tR",
        *[b"c%s\n%s\x85R" % (name, _REPEATED) for name in (b"builtins\nset", b"collections\nCounter", b"torch\nSize")],
        b"ccollections\nCounter\n" + _REPEATED + b"R",
        b"ctorch._utils\n_rebuild_tensor\n(" + _REPEATED + b"K\x00" + _REPEATED + b")tR",
    ],
)  # fmt: skip
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_small_pickle_does_not_take_much_memory(instructions: bytes, compression: int) -> None:
    """A few bytes of a pickle that copy what others have made, or make a large object."""
    pickled = b"\x80\x02" + instructions + b"."
    content = _checkpoint([fastnn.zeros(4)], compression, **{"data.pkl": pickled})
    tracemalloc.start()
    try:
        with pytest.raises(pickle.UnpicklingError):
            fastnn.load(io.BytesIO(content))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= fuzz_files.FREE + fuzz_files.TIMES * len(content)


@pytest.mark.parametrize("record", ["data_0", "data.pkl"])
def test_a_record_that_claims_more_than_deflate_can_hold(record: str) -> None:
    content = bytearray(_checkpoint([fastnn.zeros(4000)], zipfile.ZIP_DEFLATED, **{record: bytes(16_000)}))
    # The size in the central directory, 22 bytes before the name.
    place = content.rfind(f"archive/{record.replace('_', '/')}".encode()) - 22
    assert int.from_bytes(content[place : place + 4], "little") == 16_000
    content[place : place + 4] = (2**31 - 16).to_bytes(4, "little")
    with pytest.raises(pickle.UnpicklingError, match=r"more than the archive can hold|has 2147483632 bytes"):
        fastnn.load(io.BytesIO(content))


@pytest.mark.filterwarnings("ignore:the file has pickle protocol 4")
def test_a_read_of_more_than_the_file(tmp_path: Path) -> None:
    """A pickle that claims a text of 1 TB; Python would allocate it before it reads."""
    path = tmp_path / "file"
    path.write_bytes(b"\x80\x02\x8d" + (10**12).to_bytes(8, "little") + b"text.")
    with pytest.raises(pickle.UnpicklingError):
        fastnn.load(path)
    path.write_bytes(b"\x80\x04\x95" + (10**12).to_bytes(8, "little") + b"text.")
    with pytest.raises(pickle.UnpicklingError):
        fastnn.load(path)


def test_tensors_of_an_old_checkpoint_that_claim_the_file_each() -> None:
    def storage(key: int) -> bytes:
        return b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x00%dX\x03\x00\x00\x00cpuI2000\ntQ" % key

    pickles = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    head = b"".join(pickle.dumps(value, 2) for value in pickles)
    content = head + b"\x80\x02(" + b"".join(map(storage, range(9))) + b"t." + bytes(9000)
    with pytest.raises(pickle.UnpicklingError, match="do not fit into a file"):
        fastnn.load(io.BytesIO(content))


def test_memory_that_is_not_there(tmp_path: Path) -> None:
    """Sizes in the header of IDX and safetensors files are compared with the file first."""
    path = tmp_path / "file"
    path.write_bytes(bytes([0, 0, 14, 3]) + b"\x7f\xff\xff\xff" * 3 + bytes(100))
    with pytest.raises(ValueError, match="too short"):
        fastnn.datasets.read_idx(path)
