"""Tests of `fastnn.datasets`: the IDX reader against a small writer, damaged files, and the MNIST loader."""

import gzip
import hashlib
import itertools
import os
import re
import struct
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fastnn.datasets
from fastnn.datasets import ImageData, load_mnist, read_idx
from fastnn.datasets import mnist as mnist_module

TYPE_CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
BUNDLED = Path(fastnn.datasets.__file__).parent
FIELDS = {"train-images": 3, "train-labels": 1, "t10k-images": 3, "t10k-labels": 1}

# The published files, uncompressed.
PUBLISHED_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
TRAIN_COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
TEST_COUNTS = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def idx_bytes(array: np.ndarray) -> bytes:
    """Write an array as IDX: a simple inverse of the reader."""
    kind = array.dtype.newbyteorder("=").str[1:]
    header = struct.pack(">BBBB", 0, 0, TYPE_CODES[kind], array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def header(code: int, *shape: int) -> bytes:
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, code, len(shape), *shape)


def write(folder: Path, content: bytes, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def assert_same_bits(found: np.ndarray, expected: np.ndarray) -> None:
    """Compare dtype, shape and every bit: NaN equals the same NaN, -0.0 differs from 0.0."""
    assert found.dtype == expected.dtype
    assert found.dtype.isnative
    assert found.shape == expected.shape
    assert found.tobytes() == expected.tobytes()
    assert found.flags.c_contiguous
    assert found.flags.writeable
    assert found.flags.aligned


SMALL = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


# read_idx: good -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TYPE_CODES)
@pytest.mark.parametrize("shape", [(1,), (7,), (3, 5), (2, 3, 4), (1, 1, 1, 1), (0,), (0, 28, 28), (5, 0)])
@pytest.mark.parametrize("compress", [False, True], ids=["plain", "gzip"])
def test_read_every_type(tmp_path, kind, shape, compress):
    array = (np.arange(np.prod(shape)).reshape(shape) * 37 - 60).astype(kind)
    content = idx_bytes(array)
    assert_same_bits(read_idx(write(tmp_path, gzip.compress(content) if compress else content)), array)


def test_values_are_big_endian_and_signed(tmp_path):
    assert read_idx(write(tmp_path, header(0x0B, 2) + b"\x01\x02\xff\xfe")).tolist() == [258, -2]
    assert read_idx(write(tmp_path, header(0x0C, 1) + b"\x80\x00\x00\x00")).tolist() == [-(2**31)]
    assert read_idx(write(tmp_path, header(0x09, 1) + b"\x80")).tolist() == [-128]
    assert read_idx(write(tmp_path, header(0x0D, 1) + b"\x3f\x80\x00\x00")).tolist() == [1.0]
    assert read_idx(write(tmp_path, header(0x0E, 1) + b"\xc0" + bytes(7))).tolist() == [-2.0]


@pytest.mark.parametrize("compress", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("name", ["data", "data.gz", "data.idx3-ubyte"])
def test_gzip_is_known_by_content_not_by_name(tmp_path, name, compress):
    content = idx_bytes(SMALL)
    path = write(tmp_path, gzip.compress(content) if compress else content, name)
    assert_same_bits(read_idx(path), SMALL)
    assert_same_bits(read_idx(str(path)), SMALL)


def test_gzip_with_several_members_and_a_file_name(tmp_path):
    content = idx_bytes(SMALL)
    members = [gzip.compress(content[:9]), gzip.compress(b""), gzip.compress(content[9:])]
    assert_same_bits(read_idx(write(tmp_path, b"".join(members))), SMALL)
    with gzip.open(tmp_path / "named.gz", "wb") as file:
        file.write(content)
    assert_same_bits(read_idx(tmp_path / "named.gz"), SMALL)


@pytest.mark.parametrize("level", [0, 9], ids=["stored", "best"])
def test_file_larger_than_one_piece(tmp_path, level):
    array = np.random.default_rng(0).integers(0, 256, (3, 70_001), dtype=np.uint8)
    content = idx_bytes(array)
    assert_same_bits(read_idx(write(tmp_path, gzip.compress(content, level))), array)
    # Several members that end inside and at the ends of the reader's pieces.
    halves = gzip.compress(content[:65_500], level) + gzip.compress(content[65_500:], level)
    assert_same_bits(read_idx(write(tmp_path, halves)), array)


def test_gzip_ending_on_a_piece_boundary(tmp_path):
    stored = gzip.compress(idx_bytes(SMALL))
    # A name in the gzip header (flag 08, RFC 1952) pads the file to the desired length.
    name = b"n" * (65_535 - len(stored)) + b"\0"
    stored = stored[:3] + b"\x08" + stored[4:10] + name + stored[10:]
    assert len(stored) == 65_536
    assert_same_bits(read_idx(write(tmp_path, stored)), SMALL)
    with pytest.raises(ValueError, match="1 bytes after the end of the gzip data at byte 65536"):
        read_idx(write(tmp_path, stored + b"x"))


def test_result_is_independent_of_the_file(tmp_path):
    path = write(tmp_path, idx_bytes(SMALL))
    array = read_idx(path)
    array += 1
    assert_same_bits(read_idx(path), SMALL)
    path.unlink()
    assert array[0, 0, 0] == 1


@pytest.mark.parametrize("dtype", [np.uint8, "u1", ">u1", np.dtype("uint8")])
def test_matching_expectations_pass(tmp_path, dtype):
    content = gzip.compress(idx_bytes(SMALL))
    digest = hashlib.sha256(content).hexdigest()
    path = write(tmp_path, content)
    assert_same_bits(read_idx(path, dtype=dtype, ndim=3, sha256=digest), SMALL)
    assert_same_bits(read_idx(path, sha256=digest.upper()), SMALL)


def test_byte_order_of_dtype_does_not_matter(tmp_path):
    array = np.array([1, -2], np.int32)
    path = write(tmp_path, idx_bytes(array))
    for dtype in ("<i4", ">i4", "=i4"):
        assert_same_bits(read_idx(path, dtype=dtype), array)


def test_64_dimensions(tmp_path):
    array = np.full((1,) * 64, 7, np.uint8)
    assert_same_bits(read_idx(write(tmp_path, idx_bytes(array))), array)


# read_idx: bad ------------------------------------------------------------------------------------


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent-idx1-ubyte"):
        read_idx(tmp_path / "absent-idx1-ubyte")


def test_folder_instead_of_file(tmp_path):
    with pytest.raises(IsADirectoryError, match=re.escape(str(tmp_path))):
        read_idx(tmp_path)


@pytest.mark.parametrize("path", [None, 3, b"file"])
def test_path_of_a_wrong_type(path):
    with pytest.raises(TypeError):
        read_idx(path)


BAD_CONTENT = {
    "empty": (b"", "too short, 0 bytes, expected an IDX magic number of 4 bytes"),
    "three bytes": (b"\0\0\x08", "too short, 3 bytes, expected an IDX magic number"),
    "text": (b"<html>404</html>", "magic number is 3c 68 74 6d, expected 00 00 in the first two"),
    "first byte": (b"\x01\0" + idx_bytes(SMALL)[2:], "magic number is 01 00 08 03, expected 00 00"),
    "second byte": (b"\0\x01" + idx_bytes(SMALL)[2:], "magic number is 00 01 08 03, expected 00 00"),
    "little-endian": (struct.pack("<I", 0x803) + bytes(36), "magic number is 03 08 00 00, expected 00 00"),
    "type 0a": (header(0x0A, 1) + b"\0", "element type 0a in magic number 00 00 0a 01, expected one of 08, 09, 0b"),
    "type 0f": (header(0x0F, 1) + bytes(8), "element type 0f .*, expected one of 08, 09, 0b, 0c, 0d, 0e"),
    "no dimension": (header(0x08) + b"\0", "0 dimensions in magic number 00 00 08 00, expected 1 to 64"),
    "65 dimensions": (header(0x08, *[1] * 65) + b"\0", "65 dimensions .*, expected 1 to 64"),
    "no sizes": (header(0x08, 1)[:4], "too short, 4 bytes, expected a header of 8 for 1 dimensions"),
    "partial size": (header(0x08, 2, 3, 4)[:15], "too short, 15 bytes, expected a header of 16 for 3 dimensions"),
    "no elements": (header(0x08, 2, 3, 4), "too short, 0 bytes after the header, expected 24 for uint8"),
    "one byte less": (idx_bytes(SMALL)[:-1], r"too short, 23 bytes .*, expected 24 for uint8 .* shape \(2, 3, 4\)"),
    "one byte more": (idx_bytes(SMALL) + b"\0", "too long, 25 bytes after the header, expected 24"),
    "bytes after nothing": (header(0x08, 0) + b"\0", "too long, 1 bytes after the header, expected 0"),
    "partial element": (header(0x0E, 1) + bytes(7), "too short, 7 bytes .*, expected 8 for float64"),
    "negative size": (header(0x08, 2**31) + b"\0", rf"shape \({2**31},\), expected sizes of at most {2**31 - 1}"),
    "negative size, no elements": (header(0x08, 0, 2**32 - 1), f"expected sizes of at most {2**31 - 1}"),
    "huge": (header(0x08, 2**31 - 1) + bytes(9), f"too short, 9 bytes .*, expected {2**31 - 1}"),
    # Both products overflow 64 bits, the first to exactly the 0 bytes that the file has.
    "wraps to zero": (header(0x08, 2**30, 2**30, 16), f"too short, 0 bytes .*, expected {2**64}"),
    "wraps to eight": (header(0x0E, 2**30, 2**30, 2**30) + bytes(8), f"too short, 8 bytes .*, expected {2**93}"),
    "huge but empty": (header(0x08, *[2**31 - 1] * 3, 0), "expected sizes whose product fits in memory"),
}


@pytest.mark.parametrize("case", BAD_CONTENT)
@pytest.mark.parametrize("compress", [False, True], ids=["plain", "gzip"])
def test_bad_content(tmp_path, case, compress):
    content, message = BAD_CONTENT[case]
    path = write(tmp_path, gzip.compress(content) if compress else content, "digits-idx3-ubyte")
    with pytest.raises(ValueError, match=f"digits-idx3-ubyte: .*{message}"):
        read_idx(path)


def test_huge_header_reserves_no_memory(tmp_path):
    path = write(tmp_path, header(0x0E, 2**31 - 1, 100))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="too short"):
            read_idx(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("compress", [False, True], ids=["plain", "gzip"])
def test_no_memory_beside_the_array(tmp_path, compress):
    # Numbers that do not compress: the file is as large as the array.
    array = np.random.default_rng(0).integers(-(2**31), 2**31, (1 << 20,), dtype=np.int32)
    content = idx_bytes(array)
    path = write(tmp_path, gzip.compress(content, 1) if compress else content)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    tracemalloc.start()
    try:
        found = read_idx(path, sha256=digest)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert_same_bits(found, array)
    assert array.nbytes <= peak < 1.2 * array.nbytes


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("compress", [False, True], ids=["plain", "gzip"])
def test_a_pipe_is_read(tmp_path, compress):
    content = idx_bytes(SMALL)
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=write, args=(tmp_path, gzip.compress(content) if compress else content, "pipe"))
    writer.start()
    assert_same_bits(read_idx(tmp_path / "pipe"), SMALL)
    writer.join()


def gzip_damage() -> dict[str, tuple[bytes, str]]:
    good = gzip.compress(idx_bytes(SMALL), mtime=0)
    wrong_crc = bytearray(good)
    wrong_crc[-8] ^= 1
    wrong_length = bytearray(good)
    wrong_length[-4] ^= 1
    wrong_method = bytearray(good)
    wrong_method[2] = 7
    wrong_block = bytearray(good)
    wrong_block[10] |= 0b110  # deflate block type 3 does not exist
    return {
        "magic only": (good[:2], "gzip data is cut off after 2 bytes"),
        "header only": (good[:10], "gzip data is cut off after 10 bytes"),
        "in the data": (good[:20], "gzip data is cut off after 20 bytes"),
        "no trailer": (good[:-8], "gzip data is cut off"),
        "one byte less": (good[:-1], f"gzip data is cut off after {len(good) - 1} bytes"),
        "second member cut off": (good + good[:-1], f"gzip data is cut off after {2 * len(good) - 1} bytes"),
        "crc": (bytes(wrong_crc), r"damaged gzip data \(.*incorrect data check\)"),
        "length": (bytes(wrong_length), r"damaged gzip data \(.*incorrect length check\)"),
        "method": (bytes(wrong_method), r"damaged gzip data \(.*compression method\)"),
        "block": (bytes(wrong_block), r"damaged gzip data \(.*invalid block type\)"),
        "garbage after": (good + b"junk", f"4 bytes after the end of the gzip data at byte {len(good)}, expected none"),
        "zeros after": (good + bytes(512), "512 bytes after the end of the gzip data"),
        "one byte after": (good + b"\x1f", "1 bytes after the end of the gzip data"),
        "second member": (good + good, "too long, 64 bytes after the header, expected 24"),
        "gzip in gzip": (gzip.compress(good), "magic number is 1f 8b"),
    }


BAD_GZIP = gzip_damage()


@pytest.mark.parametrize("case", BAD_GZIP)
def test_bad_gzip(tmp_path, case):
    content, message = BAD_GZIP[case]
    with pytest.raises(ValueError, match=f"digits.gz: .*{message}"):
        read_idx(write(tmp_path, content, "digits.gz"))


def test_unexpected_dtype(tmp_path):
    path = write(tmp_path, idx_bytes(SMALL))
    with pytest.raises(ValueError, match="file: elements are uint8, expected float32"):
        read_idx(path, dtype=np.float32)
    with pytest.raises(ValueError, match="file: elements are uint8, expected int8"):
        read_idx(path, dtype="i1")


@pytest.mark.parametrize("ndim", [0, 1, 2, 4])
def test_unexpected_ndim(tmp_path, ndim):
    with pytest.raises(ValueError, match=rf"file: 3 dimensions \(2, 3, 4\), expected {ndim}"):
        read_idx(write(tmp_path, idx_bytes(SMALL)), ndim=ndim)


def test_unexpected_sha256(tmp_path):
    content = idx_bytes(SMALL)
    stored = gzip.compress(content, mtime=0)
    path = write(tmp_path, stored)
    # The digest of the uncompressed content is not the digest of the file.
    wrong = hashlib.sha256(content).hexdigest()
    with pytest.raises(ValueError, match=f"file: SHA-256 is {hashlib.sha256(stored).hexdigest()}, expected {wrong}"):
        read_idx(path, sha256=wrong)
    with pytest.raises(ValueError, match=r"expected $"):
        read_idx(path, sha256="")


# read_idx: any content ----------------------------------------------------------------------------

# One path for all examples: the folder is made once per test, every example overwrites the file.
ANY_FILE = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
arrays = st.sampled_from(list(TYPE_CODES)).flatmap(
    lambda kind: hnp.arrays(kind, hnp.array_shapes(min_dims=1, max_dims=5, min_side=0, max_side=6))
)


def assert_names_the_file(error: ValueError, folder: Path) -> None:
    assert str(error).startswith(f"{folder / 'file'}: ")
    assert " expected " in str(error)


@ANY_FILE
@given(array=arrays, level=st.none() | st.integers(0, 9))
def test_round_trip(tmp_path, array, level):
    content = idx_bytes(array)
    path = write(tmp_path, content if level is None else gzip.compress(content, level))
    assert_same_bits(read_idx(path), array)
    assert_same_bits(read_idx(path, dtype=array.dtype, ndim=array.ndim), array)


@ANY_FILE
@given(array=arrays, compress=st.booleans(), data=st.data())
def test_damaged_file_reads_or_raises_value_error(tmp_path, array, compress, data):
    content = idx_bytes(array)
    damaged = bytearray(gzip.compress(content, mtime=0) if compress else content)
    for _ in range(data.draw(st.integers(1, 3), label="flips")):
        damaged[data.draw(st.integers(0, len(damaged) - 1), label="at")] ^= data.draw(st.integers(1, 255), label="by")
    if data.draw(st.booleans(), label="truncate"):
        del damaged[data.draw(st.integers(0, len(damaged)), label="length") :]
    try:
        found = read_idx(write(tmp_path, bytes(damaged)))
    except ValueError as error:
        assert_names_the_file(error, tmp_path)
    else:
        assert isinstance(found, np.ndarray)
        # An undetected flip in a gzip file is in a field that does not affect the content.
        if compress:
            assert_same_bits(found, array)


@ANY_FILE
@given(content=st.binary(max_size=64) | st.binary(max_size=64).map(lambda tail: b"\0\0" + tail))
def test_arbitrary_bytes_read_or_raise_value_error(tmp_path, content):
    for stored in (content, b"\x1f\x8b" + content, gzip.compress(content)):
        try:
            read_idx(write(tmp_path, stored))
        except ValueError as error:
            assert_names_the_file(error, tmp_path)


@pytest.mark.parametrize("compress", [False, True], ids=["plain", "gzip"])
def test_every_truncation_raises(tmp_path, compress):
    content = idx_bytes(SMALL)
    stored = gzip.compress(content) if compress else content
    for length in range(len(stored)):
        with pytest.raises(ValueError, match=r"file: .* expected"):
            read_idx(write(tmp_path, stored[:length]))


# load_mnist: bundled ------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    monkeypatch.delenv("FASTNN_DATA", raising=False)


@pytest.fixture(scope="module")
def mnist() -> ImageData:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("FASTNN_DATA", raising=False)
        return load_mnist()


def test_bundled_shapes_and_types(mnist):
    assert isinstance(mnist, ImageData)
    assert mnist._fields == ("train_images", "train_labels", "test_images", "test_labels")
    assert [array.shape for array in mnist] == [(60_000, 28, 28), (60_000,), (10_000, 28, 28), (10_000,)]
    assert [array.dtype.name for array in mnist] == ["uint8", "int64", "uint8", "int64"]
    for array in mnist:
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert array.dtype.isnative


def test_bundled_label_counts(mnist):
    assert np.bincount(mnist.train_labels).tolist() == TRAIN_COUNTS
    assert np.bincount(mnist.test_labels).tolist() == TEST_COUNTS


def test_bundled_statistics(mnist):
    # The usual mean and deviation for normalising MNIST: 0.1307 and 0.3081.
    assert mnist.train_images.min() == 0
    assert mnist.train_images.max() == 255
    assert mnist.train_images.mean() / 255 == pytest.approx(0.1307, abs=5e-5)
    assert mnist.train_images.std() / 255 == pytest.approx(0.3081, abs=5e-5)


def test_bundled_content_is_the_published_one(mnist):
    for name, array in zip(PUBLISHED_SHA256, mnist, strict=True):
        assert hashlib.sha256(idx_bytes(array.astype(np.uint8))).hexdigest() == PUBLISHED_SHA256[name]


def test_notice_and_module_agree_on_the_digests():
    notice = (BUNDLED / "NOTICE.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([^`]+)` \|.*`([0-9a-f]{64})` \|$", notice, flags=re.MULTILINE))
    bundled = {f"{stem}-idx{ndim}-ubyte.gz": digest for stem, ndim, digest in mnist_module._FILES}
    assert rows == bundled | PUBLISHED_SHA256
    assert {path.name for path in BUNDLED.glob("*.gz")} == set(bundled)


def test_each_call_returns_new_arrays(tmp_path):
    make_folder(tmp_path)
    first, second = load_mnist(tmp_path), load_mnist(tmp_path)
    first.train_images[:] = 255
    assert not np.shares_memory(first.train_images, second.train_images)
    assert second.train_images.max() < 255


def test_changed_bundled_file_is_noticed(tmp_path, monkeypatch):
    for path in BUNDLED.glob("*.gz"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    # A valid file, but not the bundled one.
    labels = read_idx(tmp_path / "t10k-labels-idx1-ubyte.gz")
    labels[0] = 3
    write(tmp_path, gzip.compress(idx_bytes(labels)), "t10k-labels-idx1-ubyte.gz")
    monkeypatch.setattr(mnist_module, "_BUNDLED_FOLDER", tmp_path)
    with pytest.raises(ValueError, match=r"t10k-labels-idx1-ubyte\.gz: SHA-256 is .*, expected b91679a0"):
        load_mnist()
    assert load_mnist(tmp_path).test_labels[0] == 3  # valid as the user's own folder


# load_mnist: a folder -----------------------------------------------------------------------------


def make_folder(
    folder: Path,
    *,
    mark: str = "-",
    ending: str = "",
    train: tuple[int, ...] = (6, 4, 5),
    test: tuple[int, ...] = (3, 4, 5),
    **replacements: np.ndarray,
) -> ImageData:
    """Write a small data set; `replacements` are arrays for single fields of `ImageData`."""
    arrays = {
        "train_images": np.arange(np.prod(train), dtype=np.uint8).reshape(train),
        "train_labels": np.arange(train[0], dtype=np.uint8),
        "test_images": np.arange(np.prod(test), dtype=np.uint8).reshape(test) + 1,
        "test_labels": np.arange(test[0], dtype=np.uint8) + 200,
    } | replacements
    folder.mkdir(exist_ok=True)
    for (stem, ndim), array in zip(FIELDS.items(), arrays.values(), strict=True):
        content = idx_bytes(array)
        name = f"{stem}{mark}idx{ndim}-ubyte{ending}"
        write(folder, gzip.compress(content) if ending else content, name)
    return ImageData(**arrays)


def assert_same_data(found: ImageData, expected: ImageData) -> None:
    for found_array, expected_array, dtype in zip(found, expected, [np.uint8, np.int64] * 2, strict=True):
        assert_same_bits(found_array, expected_array.astype(dtype))


@pytest.mark.parametrize(("mark", "ending"), list(itertools.product("-.", ["", ".gz"])))
def test_names(tmp_path, mark, ending):
    expected = make_folder(tmp_path, mark=mark, ending=ending)
    assert_same_data(load_mnist(tmp_path), expected)
    assert_same_data(load_mnist(str(tmp_path)), expected)


def test_plain_file_comes_before_gzip_and_hyphen_before_dot(tmp_path):
    order = [("-", ""), ("-", ".gz"), (".", ""), (".", ".gz")]
    expected = {}
    for value, (mark, ending) in enumerate(reversed(order)):
        labels = np.full(6, value, np.uint8)
        expected[mark, ending] = make_folder(tmp_path, mark=mark, ending=ending, train_labels=labels)
    for mark, ending in order:
        assert_same_data(load_mnist(tmp_path), expected[mark, ending])
        for stem, ndim in FIELDS.items():
            (tmp_path / f"{stem}{mark}idx{ndim}-ubyte{ending}").unlink()


def test_names_may_be_mixed_and_a_folder_of_that_name_is_passed_over(tmp_path):
    expected = make_folder(tmp_path)
    name = "train-images-idx3-ubyte"
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    write(tmp_path, gzip.compress(content), "train-images.idx3-ubyte.gz")
    assert_same_data(load_mnist(tmp_path), expected)


def test_all_256_labels(tmp_path):
    expected = make_folder(tmp_path, train=(256, 2, 3), test=(1, 2, 3))
    found = load_mnist(tmp_path)
    assert found.train_labels.tolist() == list(range(256))
    assert_same_data(found, expected)


def test_environment_variable(tmp_path, monkeypatch):
    first = make_folder(tmp_path / "first")
    second = make_folder(tmp_path / "second", train=(5, 4, 5))
    monkeypatch.setenv("FASTNN_DATA", str(tmp_path / "first"))
    assert_same_data(load_mnist(), first)
    assert_same_data(load_mnist(tmp_path / "second"), second)  # the argument wins


def test_empty_environment_variable_means_bundled(monkeypatch):
    monkeypatch.setenv("FASTNN_DATA", "")
    assert load_mnist().train_images.shape == (60_000, 28, 28)


def test_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    expected = make_folder(tmp_path / "digits")
    assert_same_data(load_mnist("~/digits"), expected)
    monkeypatch.setenv("FASTNN_DATA", "~/digits")
    assert_same_data(load_mnist(), expected)


def test_missing_folder(tmp_path, monkeypatch):
    absent = tmp_path / "absent"
    with pytest.raises(FileNotFoundError, match=f"^folder {re.escape(str(absent))} does not exist$"):
        load_mnist(absent)
    monkeypatch.setenv("FASTNN_DATA", str(absent))
    with pytest.raises(FileNotFoundError, match=r"absent \(from the environment variable FASTNN_DATA\) does not"):
        load_mnist()


def test_file_instead_of_folder(tmp_path, monkeypatch):
    path = write(tmp_path, b"")
    with pytest.raises(NotADirectoryError, match=rf"^{re.escape(str(path))} is a file, expected a folder"):
        load_mnist(path)
    monkeypatch.setenv("FASTNN_DATA", str(path))
    with pytest.raises(NotADirectoryError, match=r"file \(from the environment variable FASTNN_DATA\) is a file"):
        load_mnist()


def test_empty_string(tmp_path, monkeypatch):
    make_folder(tmp_path)
    monkeypatch.chdir(tmp_path)  # even if the current folder has the files
    with pytest.raises(ValueError, match="folder is '', expected a path"):
        load_mnist("")
    assert len(load_mnist(".").train_images) == 6


@pytest.mark.parametrize("folder", [3, b"folder", ["folder"]])
def test_folder_of_a_wrong_type(folder):
    with pytest.raises(TypeError):
        load_mnist(folder)


def test_missing_files_are_all_named(tmp_path):
    make_folder(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    (tmp_path / "t10k-images-idx3-ubyte").unlink()
    with pytest.raises(FileNotFoundError) as caught:
        load_mnist(tmp_path)
    assert str(caught.value) == (
        f"folder {tmp_path} has no train-labels-idx1-ubyte or train-labels-idx1-ubyte.gz or train-labels.idx1-ubyte or "
        "train-labels.idx1-ubyte.gz; no t10k-images-idx3-ubyte or t10k-images-idx3-ubyte.gz or t10k-images.idx3-ubyte "
        "or t10k-images.idx3-ubyte.gz"
    )


def test_empty_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTNN_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"FASTNN_DATA\) has no train-images-idx3-ubyte or (.* no ){3}t10k"):
        load_mnist()


BAD_SETS = {
    "train counts": (
        {"train_labels": np.zeros(5, np.uint8)},
        "train-images-idx3-ubyte has 6 images, expected the 5 of .*train-labels-idx1-ubyte",
    ),
    "test counts": (
        {"test_labels": np.zeros(4, np.uint8)},
        "t10k-images-idx3-ubyte has 3 images, expected the 4 of .*t10k-labels-idx1-ubyte",
    ),
    "flat images": (
        {"train_images": np.zeros((6, 20), np.uint8)},
        r"train-images-idx3-ubyte: 2 dimensions \(6, 20\), expected 3",
    ),
    "colour images": (
        {"test_images": np.zeros((3, 4, 5, 3), np.uint8)},
        r"t10k-images-idx3-ubyte: 4 dimensions \(3, 4, 5, 3\), expected 3",
    ),
    "float images": (
        {"train_images": np.zeros((6, 4, 5), np.float32)},
        "train-images-idx3-ubyte: elements are float32, expected uint8",
    ),
    "signed images": (
        {"test_images": np.zeros((3, 4, 5), np.int8)},
        "t10k-images-idx3-ubyte: elements are int8, expected uint8",
    ),
    "one-hot labels": (
        {"train_labels": np.zeros((6, 10), np.uint8)},
        r"train-labels-idx1-ubyte: 2 dimensions \(6, 10\), expected 1",
    ),
    "int32 labels": (
        {"test_labels": np.zeros(3, np.int32)},
        "t10k-labels-idx1-ubyte: elements are int32, expected uint8",
    ),
    "no training images": ({"train": (0, 4, 5)}, r"train-images-idx3-ubyte: no pixels in images of shape \(0, 4, 5\)"),
    "no test images": ({"test": (0, 4, 5)}, r"t10k-images-idx3-ubyte: no pixels in images of shape \(0, 4, 5\)"),
    "no rows": ({"train": (6, 0, 5)}, r"train-images-idx3-ubyte: no pixels in images of shape \(6, 0, 5\)"),
    "image sizes": (
        {"test": (3, 5, 4)},
        r"t10k-images-idx3-ubyte: test images are of shape \(5, 4\), expected \(4, 5\) as in .*train-images-idx3-ubyte",
    ),
}


@pytest.mark.parametrize("case", BAD_SETS)
def test_bad_set(tmp_path, case):
    changes, message = BAD_SETS[case]
    make_folder(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        load_mnist(tmp_path)


@pytest.mark.parametrize("index", range(4))
def test_damaged_file_in_a_folder(tmp_path, index):
    make_folder(tmp_path, ending=".gz")
    stem, ndim = list(FIELDS.items())[index]
    path = tmp_path / f"{stem}-idx{ndim}-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match=f"{path.name}: gzip data is cut off"):
        load_mnist(tmp_path)
