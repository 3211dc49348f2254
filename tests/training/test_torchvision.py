"""torchvision's part: data sets, transforms and pictures, against their formulas."""

from __future__ import annotations

import gzip
import io
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparison import as_array

import fastnn
from fastnn import datasets as arrays
from fastnn import torchvision
from fastnn.kernels.runtime import launcher
from fastnn.torchvision import datasets, transforms
from fastnn.torchvision.image import ArrayImage, as_image, is_image
from fastnn.torchvision.transforms import functional as F
from fastnn.torchvision.transforms import v2
from fastnn.torchvision.transforms.fold import scale_and_shift
from fastnn.utils.data import DataLoader, Subset, default_collate, random_split

GRAY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
COLOURS = np.arange(24, dtype=np.uint8).reshape(2, 4, 3) * 10


@pytest.fixture(scope="module")
def mnist() -> Any:
    return datasets.MNIST("nowhere", train=False)


def write_idx(path: Path, array: np.ndarray) -> None:
    content = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


# -- MNIST ------------------------------------------------------------------------------------


def test_mnist(mnist):
    data = arrays.load_mnist()
    np.testing.assert_array_equal(as_array(mnist.data), data.test_images)
    np.testing.assert_array_equal(as_array(mnist.targets), data.test_labels)
    assert (mnist.data.dtype, mnist.targets.dtype, len(mnist)) == (fastnn.uint8, fastnn.int64, 10_000)
    image, label = mnist[0]
    assert (image.size, image.mode, label, type(label)) == ((28, 28), "L", 7, int)
    np.testing.assert_array_equal(np.asarray(image), data.test_images[0])
    assert mnist.classes[7] == "7 - seven"
    assert mnist.class_to_idx["0 - zero"] == 0
    assert repr(mnist).splitlines() == [
        "Dataset MNIST", "    Number of datapoints: 10000", "    Root location: nowhere", "    Split: Test",
    ]  # fmt: skip
    with pytest.warns(UserWarning, match="renamed data"):
        assert mnist.test_data is mnist.data
    with pytest.warns(UserWarning, match="renamed targets"):
        assert mnist.train_labels is mnist.targets
    with pytest.raises(IndexError):
        mnist[10_000]


def test_mnist_for_training():
    d = datasets.MNIST(Path("nowhere"), download=True, transform=transforms.ToTensor())
    assert len(d) == 60_000
    assert "Split: Train" in repr(d)


@pytest.mark.parametrize("folder", ["", "FashionMNIST/raw"])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_given_files(tmp_path, folder, ending):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (5, 4, 3), np.uint8), np.arange(5, dtype=np.uint8)
    for train, stem in ((True, "train"), (False, "t10k")):
        write_idx(tmp_path / folder / f"{stem}-images-idx3-ubyte{ending}", images[: 5 if train else 2])
        write_idx(tmp_path / folder / f"{stem}-labels-idx1-ubyte{ending}", labels[: 5 if train else 2])
    d = datasets.FashionMNIST(str(tmp_path))
    np.testing.assert_array_equal(as_array(d.data), images)
    assert d.targets.tolist() == [0, 1, 2, 3, 4]
    assert d.classes[9] == "Ankle boot"
    assert len(datasets.FashionMNIST(tmp_path, train=False)) == 2
    if not folder:
        # The user's files take precedence over the bundled ones.
        assert len(datasets.MNIST(tmp_path)) == 5
        write_idx(tmp_path / f"t10k-labels-idx1-ubyte{ending}", labels)
        with pytest.raises(RuntimeError, match="5 labels"):
            datasets.MNIST(tmp_path, train=False)


@pytest.mark.parametrize("kind", [datasets.FashionMNIST, datasets.KMNIST])
def test_missing_files(kind, tmp_path):
    with pytest.raises(RuntimeError, match="downloads nothing"):
        kind(tmp_path, download=True)


def test_emnist(tmp_path):
    for name, array in (("images-idx3", np.zeros((2, 4, 4), np.uint8)), ("labels-idx1", np.array([1, 26], np.uint8))):
        write_idx(tmp_path / f"EMNIST/raw/emnist-letters-train-{name}-ubyte.gz", array)
    d = datasets.EMNIST(tmp_path, split="letters")
    assert [d.classes[t] for t in d.targets.tolist()] == ["a", "z"]
    assert {s: len(c) for s, c in datasets.EMNIST.classes_split_dict.items()} == {
        "byclass": 62, "bymerge": 47, "balanced": 47, "letters": 27, "digits": 10, "mnist": 10,
    }  # fmt: skip
    with pytest.raises(ValueError, match="split"):
        datasets.EMNIST(tmp_path, split="none")


NORMALIZED = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
WHOLE: list[Callable[[Any], Any]] = [
    transforms.ToTensor(), NORMALIZED, transforms.Compose([transforms.ToTensor()]),
    transforms.Compose([v2.ToImage(), v2.ToDtype(fastnn.float32, scale=True), v2.Normalize([0.5], [0.5])]),
]  # fmt: skip


@pytest.mark.parametrize("transform", WHOLE, ids=lambda t: type(t).__name__)
def test_batches_of_transformed_images_are_one_gather(transform, mnist):
    d = datasets.MNIST("nowhere", train=False, transform=transform)
    order = [5, 0, 9_999, 5]
    seen: list[Any] = []
    with launcher.recording(lambda kernel, parts, arrays, scalars: seen.append(kernel)):
        ((x, y),) = DataLoader(d, batch_size=4, sampler=order)
    assert len(seen) == 1
    items = default_collate([d[i] for i in order])
    assert (x.dtype, tuple(x.shape), y.dtype) == (fastnn.float32, (4, 1, 28, 28), fastnn.int64)
    np.testing.assert_array_equal(as_array(x), as_array(items[0]))
    assert y.tolist() == items[1].tolist()
    # The result of the transforms: two roundings here, three there, of numbers up to 1 / std.
    expected = np.stack([as_array(transform(mnist[i][0])) for i in order])
    np.testing.assert_allclose(as_array(x), expected, rtol=0, atol=4 * 1.2e-7 / 0.3081)


def test_other_transforms_are_applied_item_by_item(mnist):
    class Doubled(transforms.ToTensor):
        def __call__(self, pic: Any) -> Any:
            return super().__call__(pic) * 2

    flat = transforms.Compose([transforms.ToTensor(), transforms.Lambda(lambda t: t.reshape(-1))])
    for transform, shape in ((flat, (2, 784)), (Doubled(), (2, 1, 28, 28)), (transforms.PILToTensor(), (2, 1, 28, 28))):
        assert scale_and_shift(transform) is None
        (x, _), *_ = DataLoader(datasets.MNIST("", train=False, transform=transform), batch_size=2)
        assert tuple(x.shape) == shape
        np.testing.assert_array_equal(as_array(x)[0], as_array(transform(mnist[0][0])))
    d = datasets.MNIST("", train=False, transform=transforms.ToTensor(), target_transform=lambda y: y + 100)
    assert next(iter(DataLoader(d, batch_size=3)))[1].tolist() == [107, 102, 101]
    three = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)])
    assert scale_and_shift(three) is None
    assert scale_and_shift(None) is None


def test_a_transform_and_data_may_be_exchanged():
    d = datasets.MNIST("", train=False)
    with pytest.raises(TypeError, match="ArrayImage" if "PIL" not in sys.modules else "Image"):
        next(iter(DataLoader(d)))
    d.transform = transforms.ToTensor()
    assert next(iter(DataLoader(d)))[0].max().item() == 1.0
    d.data, d.targets = d.data[:10], d.targets[:10]
    train, test = random_split(d, [0.8, 0.2])
    batches = list(DataLoader(train, batch_size=3)), list(DataLoader(Subset(test, [1]), batch_size=3))
    assert [len(b) for b in batches] == [3, 1]
    d.data = d.data.float()
    with pytest.raises(TypeError, match="uint8"):
        d[0]


# -- Other data sets --------------------------------------------------------------------------


def test_fake_data():
    d = datasets.FakeData(5, (3, 4, 6), 7, transform=transforms.ToTensor())
    x, y = d[2]
    assert (tuple(x.shape), len(d)) == ((3, 4, 6), 5)
    assert 0 <= y < 7
    np.testing.assert_array_equal(as_array(x), as_array(d[2][0]))
    assert not np.array_equal(as_array(x), as_array(d[3][0]))
    with pytest.raises(IndexError):
        d[5]
    assert next(iter(DataLoader(d, batch_size=5)))[0].shape == (5, 3, 4, 6)


def test_folders(tmp_path):
    for name in ("dog/2.txt", "cat/1.txt", "cat/deep/3.TXT", "cat/skip.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    d = datasets.DatasetFolder(tmp_path, lambda p: Path(p).read_text(), (".txt",), target_transform=str)
    assert (d.classes, d.class_to_idx, d.targets) == (["cat", "dog"], {"cat": 0, "dog": 1}, [0, 0, 1])
    assert [d[i] for i in range(3)] == [("cat/1.txt", "0"), ("cat/deep/3.TXT", "0"), ("dog/2.txt", "1")]
    chosen = datasets.DatasetFolder(tmp_path, str, is_valid_file=lambda p: p.endswith("2.txt"), allow_empty=True)
    assert len(chosen) == 1
    with pytest.raises(FileNotFoundError, match="cat"):
        datasets.ImageFolder(tmp_path)
    with pytest.raises(FileNotFoundError, match="class folder"):
        datasets.DatasetFolder(tmp_path / "dog", str, (".txt",))
    for options in ({}, {"extensions": (".txt",), "is_valid_file": bool}):
        with pytest.raises(ValueError, match="extensions"):
            datasets.DatasetFolder(tmp_path, str, **options)


def test_image_folder_without_pil(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").write_bytes(b"")
    monkeypatch.setattr("fastnn.torchvision.datasets.folder.pil", lambda: None)
    with pytest.raises(ImportError, match="pip install pillow"):
        datasets.ImageFolder(tmp_path)[0]


def test_vision_dataset():
    with pytest.raises(ValueError, match="transforms"):
        datasets.VisionDataset("a", transforms=lambda x, y: (x, y), transform=abs)
    made = datasets.VisionDataset("a", transform=abs, target_transform=str)
    assert made.transforms(-1, 2) == (1, "2")
    assert "Target transform" in repr(made.transforms)
    with pytest.raises(NotImplementedError):
        len(made)


# -- Conversion -------------------------------------------------------------------------------


@pytest.fixture(params=["array", "tensor"])
def wrap(request: pytest.FixtureRequest) -> Any:
    """From a (channels, height, width) array of bytes to an image or tensor, and back."""
    if request.param == "tensor":
        return lambda a: fastnn.tensor(a), as_array

    def back(image: ArrayImage) -> np.ndarray:
        return np.asarray(image).reshape(image.height, image.width, -1).transpose(2, 0, 1)

    return lambda a: ArrayImage(a.transpose(1, 2, 0)), back


def test_to_tensor():
    for source in (GRAY, ArrayImage(GRAY), GRAY[:, :, None]):
        x = F.to_tensor(source)
        assert (x.dtype, tuple(x.shape)) == (fastnn.float32, (1, 3, 4))
        np.testing.assert_array_equal(as_array(x)[0], GRAY.astype(np.float32) / np.float32(255))
    x = transforms.ToTensor()(COLOURS)
    np.testing.assert_array_equal(as_array(x), COLOURS.transpose(2, 0, 1).astype(np.float32) / np.float32(255))
    assert F.to_tensor(np.ones((2, 2))).dtype is fastnn.float64
    assert F.to_tensor(np.ones((2, 2), np.int32)).tolist() == [[[1, 1], [1, 1]]]
    for wrong, error in ((fastnn.ones(2, 2), TypeError), ([1], TypeError), (np.ones(2), ValueError)):
        with pytest.raises(error):
            F.to_tensor(wrong)


def test_pil_to_tensor():
    x = transforms.PILToTensor()(ArrayImage(COLOURS))
    assert x.dtype is fastnn.uint8
    np.testing.assert_array_equal(as_array(x), COLOURS.transpose(2, 0, 1))
    with pytest.raises(TypeError):
        F.pil_to_tensor(COLOURS)
    assert v2.ToImage()(COLOURS).tolist() == x.tolist()
    assert v2.ToImage()("label") == "label"
    assert v2.ToDtype(fastnn.float64)(x).dtype is fastnn.float64
    assert v2.ToDtype(fastnn.float64)("label") == v2.Identity()("label") == "label"


def test_to_image():
    for source in (fastnn.tensor(COLOURS.transpose(2, 0, 1)), COLOURS):
        np.testing.assert_array_equal(np.asarray(transforms.ToPILImage()(source)), COLOURS)
    assert np.asarray(F.to_pil_image(fastnn.tensor([[[0.0, 0.5, 1.0]]]))).tolist() == [[0, 127, 255]]
    assert F.to_pil_image(GRAY).mode == "L"
    assert F.to_pil_image(GRAY, "RGB").mode == "RGB"
    # Through a tensor and back.
    np.testing.assert_array_equal(np.asarray(F.to_pil_image(F.to_tensor(GRAY))), GRAY)
    for wrong, error in (
        ("a", TypeError), (np.ones((2, 2)), TypeError), (np.ones(2, np.uint8), ValueError),
        (fastnn.ones(2), ValueError), (np.ones((2, 2, 5), np.uint8), ValueError),
    ):  # fmt: skip
        with pytest.raises(error):
            F.to_pil_image(wrong)


def test_array_image():
    image = ArrayImage(COLOURS)
    assert (image.size, image.width, image.height) == ((4, 2), 4, 2)
    assert (image.mode, image.getbands()) == ("RGB", ("R", "G", "B"))
    assert np.asarray(image, np.float32).dtype == np.float32
    assert image == image.copy()
    assert image != ArrayImage(COLOURS + 1)
    assert image.convert("L").mode == "L"
    assert image.convert("L").array[0, 3] == round(0.299 * 90 + 0.587 * 100 + 0.114 * 110)
    assert image.convert("RGB") is image
    assert ArrayImage(GRAY).convert("RGB").array[2, 3].tolist() == [220] * 3
    assert ArrayImage(GRAY[:, :, None]).array.shape == (3, 4)
    assert is_image(as_image(GRAY))
    assert "4x2" in repr(image)
    for wrong in (np.zeros(3, np.uint8), np.zeros((2, 2)), np.zeros((2, 2, 5), np.uint8)):
        with pytest.raises(TypeError):
            ArrayImage(wrong)
    with pytest.raises(ValueError, match="mode"):
        image.convert("CMYK")


def test_normalize():
    x = np.random.default_rng(0).random((2, 3, 4, 5)).astype(np.float32)
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.25, 2.0]
    expected = (x - np.float32(mean)[:, None, None]) / np.float32(std)[:, None, None]
    np.testing.assert_array_equal(as_array(F.normalize(fastnn.tensor(x), mean, std)), expected)
    t = fastnn.tensor(x[0])
    assert transforms.Normalize(mean, std, inplace=True)(t) is t
    np.testing.assert_array_equal(as_array(t), expected[0])
    assert repr(transforms.Normalize((0.5,), (0.5,))) == "Normalize(mean=(0.5,), std=(0.5,))"
    for call, error in (
        (lambda: F.normalize(fastnn.tensor([[[1]]]), [0], [1]), TypeError),
        (lambda: F.normalize(GRAY, [0], [1]), TypeError),
        (lambda: F.normalize(fastnn.ones(2, 2), [0], [1]), ValueError),
        (lambda: F.normalize(fastnn.ones(1, 2, 2), [0], [0]), ValueError),
    ):
        with pytest.raises(error):
            call()


@pytest.mark.parametrize(
    ("values", "source", "target", "expected"),
    [
        ([0, 255], "uint8", "float32", [0.0, 1.0]), ([0.0, 0.5, 1.0], "float32", "uint8", [0, 127, 255]),
        ([0.25], "float32", "float64", [0.25]), ([255], "uint8", "int32", [255 * 2**23]),
        ([255 * 2**23], "int32", "uint8", [255]), ([7], "uint8", "uint8", [7]),
        ([1.0], "float64", "int32", [2**31 - 1]),
    ],
)  # fmt: skip
def test_convert_image_dtype(values, source, target, expected):
    x = fastnn.tensor(np.array(values, source))
    found = transforms.ConvertImageDtype(getattr(fastnn, target))(x)
    assert (found.tolist(), found.dtype) == (expected, getattr(fastnn, target))


def test_convert_image_dtype_that_is_not_safe():
    with pytest.raises(RuntimeError, match="safely"):
        F.convert_image_dtype(fastnn.ones(1), fastnn.int32)


# -- Geometry ---------------------------------------------------------------------------------

PICTURE = np.random.default_rng(1).integers(0, 256, (3, 5, 7), np.uint8)


def test_flips(wrap):
    make, back = wrap
    np.testing.assert_array_equal(back(F.hflip(make(PICTURE))), PICTURE[:, :, ::-1])
    np.testing.assert_array_equal(back(F.vflip(make(PICTURE))), PICTURE[:, ::-1])
    for kind in (transforms.RandomHorizontalFlip, transforms.RandomVerticalFlip):
        assert np.array_equal(back(kind(p=0.0)(make(PICTURE))), PICTURE)
        assert not np.array_equal(back(kind(p=1.0)(make(PICTURE))), PICTURE)


@pytest.mark.parametrize(
    ("padding", "mode", "widths"),
    [
        (2, "constant", ((2, 2), (2, 2))), ([1, 2], "edge", ((2, 2), (1, 1))),
        ([1, 2, 3, 0], "reflect", ((2, 0), (1, 3))), ([1], "symmetric", ((1, 1), (1, 1))),
    ],
)  # fmt: skip
def test_pad(wrap, padding, mode, widths):
    make, back = wrap
    options = {"constant_values": 9} if mode == "constant" else {}
    expected = np.pad(PICTURE, ((0, 0), *widths), mode, **options)
    np.testing.assert_array_equal(back(transforms.Pad(padding, 9, mode)(make(PICTURE))), expected)


def test_crops(wrap):
    make, back = wrap
    np.testing.assert_array_equal(back(F.crop(make(PICTURE), 1, 2, 3, 4)), PICTURE[:, 1:4, 2:6])
    outside = back(F.crop(make(PICTURE), -1, 5, 3, 4))
    np.testing.assert_array_equal(outside[:, 1:, :2], PICTURE[:, :2, 5:])
    assert not outside[:, 0].any()
    assert not outside[:, :, 2:].any()
    np.testing.assert_array_equal(back(transforms.CenterCrop(3)(make(PICTURE))), PICTURE[:, 1:4, 2:5])
    np.testing.assert_array_equal(back(F.center_crop(make(PICTURE), [7, 3]))[:, 1:6], PICTURE[:, :, 2:5])
    seen = {back(transforms.RandomCrop((2, 6))(make(PICTURE))).tobytes() for _ in range(60)}
    assert seen == {PICTURE[:, i : i + 2, j : j + 6].tobytes() for i in range(4) for j in range(2)}
    assert back(transforms.RandomCrop(9, padding=2)(make(PICTURE))).shape == (3, 9, 9)
    assert back(transforms.RandomCrop(9, pad_if_needed=True)(make(PICTURE))).shape == (3, 9, 9)
    with pytest.raises(ValueError, match="larger"):
        transforms.RandomCrop(9)(make(PICTURE))


@pytest.mark.parametrize("turns", range(4))
def test_right_angles(wrap, turns):
    make, back = wrap
    square = PICTURE[:, :, :5]
    np.testing.assert_array_equal(back(F.rotate(make(square), 90 * turns)), np.rot90(square, turns, (1, 2)))


def test_affine(wrap):
    make, back = wrap
    moved = back(F.affine(make(PICTURE), 0, (2, 1), 1.0, 0.0, fill=7))
    np.testing.assert_array_equal(moved[:, 1:, 2:], PICTURE[:, :-1, :-2])
    assert (moved[:, 0] == 7).all()
    assert (moved[:, :, :2] == 7).all()
    # Twice the size: each pixel is a square of four, cut at the borders.
    large = back(F.affine(make(PICTURE[:, :4, :4]), 0, (0, 0), 2.0, (0, 0)))
    np.testing.assert_array_equal(large, np.repeat(np.repeat(PICTURE[:, 1:3, 1:3], 2, 1), 2, 2))
    # Clockwise, while rotate is counterclockwise.
    np.testing.assert_array_equal(back(F.affine(make(PICTURE), 30, (0, 0), 1, 0)), back(F.rotate(make(PICTURE), -30)))


def reference_affine(image: np.ndarray, angle: float, translate: Any, scale: float, shear: Any) -> np.ndarray:
    """Nearest pixels by a loop, from the matrices of torchvision's documentation."""
    a, sx, sy = np.radians([angle, *shear])
    c = np.array([image.shape[1] / 2, image.shape[0] / 2])
    rotation = np.array([
        [np.cos(a - sy) / np.cos(sy), -np.cos(a - sy) * np.tan(sx) / np.cos(sy) - np.sin(a)],
        [np.sin(a - sy) / np.cos(sy), -np.sin(a - sy) * np.tan(sx) / np.cos(sy) + np.cos(a)],
    ])  # fmt: skip
    out = np.zeros_like(image)
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            place = np.array([column + 0.5, row + 0.5])
            x, y = np.linalg.solve(scale * rotation, place - c - translate) + c
            if 0 <= x < image.shape[1] and 0 <= y < image.shape[0]:
                out[row, column] = image[int(y), int(x)]
    return out


@pytest.mark.parametrize("case", [(20, (1, -2), 1.0, (0, 0)), (0, (0, 0), 0.7, (15, 0)), (-50, (2, 1), 1.3, (10, -20))])
def test_affine_against_its_formula(case):
    image = np.random.default_rng(3).integers(0, 256, (9, 12), np.uint8)
    found = np.asarray(F.affine(ArrayImage(image), *case))
    np.testing.assert_array_equal(found, reference_affine(image, *case))


def test_linear_interpolation():
    image = fastnn.tensor([[[0.0, 1.0, 2.0, 3.0]]])
    found = F.affine(image, 0, (0.25, 0), 1.0, 0, F.InterpolationMode.BILINEAR)
    np.testing.assert_allclose(as_array(found), [[[0.0, 0.75, 1.75, 2.75]]])
    with pytest.raises(NotImplementedError):
        F.affine(image, 0, (0, 0), 1.0, 0, F.InterpolationMode.BICUBIC)
    with pytest.raises(NotImplementedError):
        F.rotate(image, 10, expand=True)
    with pytest.raises(ValueError, match="scale"):
        F.affine(image, 0, (0, 0), 0, 0)


def test_resize(wrap):
    make, back = wrap
    for size, shape in ((10, (10, 14)), ((2, 9), (2, 9)), ([5], (5, 7))):
        assert back(transforms.Resize(size)(make(PICTURE))).shape[1:] == shape
    assert back(F.resize(make(PICTURE), 10, max_size=12)).shape[1:] == (8, 12)
    np.testing.assert_array_equal(back(F.resize(make(PICTURE), (5, 7))), PICTURE)
    nearest = back(F.resize(make(PICTURE), (10, 14), F.InterpolationMode.NEAREST))
    np.testing.assert_array_equal(nearest, np.repeat(np.repeat(PICTURE, 2, 1), 2, 2))
    flat = back(F.resize(make(np.full((1, 6, 6), 77, np.uint8)), 4))
    assert (flat == 77).all()
    # Half the size: a mean with weights 1 3 3 1.
    row = np.tile(np.array([10, 20, 30, 40, 50, 60, 70, 80], np.uint8), (1, 2, 1))
    assert back(F.resize(make(row), (2, 4)))[0, 0, 1] == round((20 + 3 * 30 + 3 * 40 + 50) / 8)


def test_grayscale(wrap):
    make, back = wrap
    found = back(transforms.Grayscale(3)(make(PICTURE)))
    assert found.shape == (3, 5, 7)
    expected = np.tensordot([0.2989, 0.587, 0.114], PICTURE.astype(float), 1)
    assert np.abs(found - expected).max() <= 1
    with pytest.raises(ValueError, match="num_output_channels"):
        F.rgb_to_grayscale(make(PICTURE), 2)


# -- Random transforms ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "transform",
    [
        transforms.RandomRotation(30), transforms.RandomAffine(10, (0.2, 0.2), (0.8, 1.2), 15),
        transforms.RandomAffine((-5, 5), shear=(-5, 5, -3, 3)), transforms.RandomCrop(4),
        transforms.RandomErasing(p=1.0), transforms.RandomErasing(p=1.0, value="random"),
        transforms.RandomErasing(p=1.0, value=(1, 2, 3)), transforms.RandomHorizontalFlip(),
        transforms.RandomApply([transforms.RandomRotation(90)]), transforms.RandomOrder([F.hflip, F.vflip]),
        transforms.RandomChoice([F.hflip, F.vflip]), transforms.RandomChoice([F.hflip, F.vflip], p=[1, 3]),
    ],
    ids=lambda t: type(t).__name__,
)  # fmt: skip
def test_random_transforms_depend_on_the_seed(transform):
    x, results = fastnn.tensor(PICTURE.astype(np.float32)), []
    for _ in range(2):
        fastnn.manual_seed(3)
        results.append([as_array(transform(x)) for _ in range(8)])
    np.testing.assert_array_equal(results[0], results[1])
    assert not np.array_equal(as_array(x), PICTURE * 0)
    assert transform.__class__.__name__ in repr(transform)


def test_erasing_erases_one_rectangle():
    x = fastnn.ones(2, 20, 30)
    for _ in range(20):
        erased = as_array(transforms.RandomErasing(p=1.0, scale=(0.1, 0.3), value=5.0)(x)) == 5
        rows, columns = np.nonzero(erased.any((0, 2)))[0], np.nonzero(erased.any((0, 1)))[0]
        assert erased[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert erased.sum() == 2 * len(rows) * len(columns)
        assert 0.07 < len(rows) * len(columns) / 600 < 0.36
    assert transforms.RandomErasing(p=0.0)(x) is x
    assert (as_array(x) == 1).all()
    assert transforms.RandomErasing(p=1.0, inplace=True)(x) is x
    assert not (as_array(x) == 1).all()


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: transforms.RandomRotation(-1), ValueError), (lambda: transforms.RandomRotation([1]), ValueError),
        (lambda: transforms.RandomAffine(0, (0, 2)), ValueError),
        (lambda: transforms.RandomAffine(0, scale=(0, 1)), ValueError),
        (lambda: transforms.RandomErasing(p=2), ValueError),
        (lambda: transforms.RandomErasing(scale=(0, 2)), ValueError),
        (lambda: transforms.RandomErasing(value="red"), ValueError),
        (lambda: transforms.RandomErasing(value=None), TypeError),
        (lambda: transforms.RandomErasing(1, value=(1, 2))(fastnn.ones(3, 4, 4)), ValueError),
        (lambda: transforms.Lambda(3), TypeError), (lambda: transforms.CenterCrop((1, 2, 3)), ValueError),
        (lambda: F.pad(fastnn.ones(1, 2, 2), [1, 2, 3]), ValueError), (lambda: F.pad(3, 1), TypeError),
        (lambda: F.pad(fastnn.ones(1, 2, 2), 1, padding_mode="round"), ValueError),
        (lambda: F.erase(3, 0, 0, 1, 1, 0), TypeError),
        (lambda: F.resize(fastnn.ones(1, 2, 2), 3, F.InterpolationMode.LANCZOS), NotImplementedError),
    ],
)  # fmt: skip
def test_what_does_not_fit(make, error):
    with pytest.raises(error):
        make()


def test_names_of_v2():
    assert transforms.v2 is v2
    assert all(hasattr(v2, name) for name in v2.__all__)
    assert F.get_image_size(fastnn.ones(3, 4, 5)) == [5, 4]
    assert F.get_dimensions(fastnn.ones(4, 5)) == [1, 4, 5]
    with pytest.raises(AttributeError):
        transforms.v3  # noqa: B018  # the access raises


# -- Pictures ---------------------------------------------------------------------------------


def reference_grid(images: np.ndarray, nrow: int, padding: int, pad_value: float) -> np.ndarray:
    """Pixel by pixel."""
    n, channels, height, width = images.shape
    columns = min(nrow, n)
    rows = -(-n // columns)
    out = np.full((channels, rows * (height + padding) + padding, columns * (width + padding) + padding), pad_value)
    for k in range(n):
        for i in range(height):
            for j in range(width):
                top, left = (k // columns) * (height + padding), (k % columns) * (width + padding)
                out[:, top + padding + i, left + padding + j] = images[k, :, i, j]
    return out.astype(images.dtype)


GRIDS = [(5, 3, 2, 0.0), (8, 8, 1, 0.5), (2, 8, 0, 1.0), (3, 1, 3, 0.0)]


@pytest.mark.parametrize(("count", "nrow", "padding", "value"), GRIDS)
def test_make_grid(count, nrow, padding, value):
    images = np.random.default_rng(0).random((count, 3, 4, 5)).astype(np.float32)
    expected = reference_grid(images, nrow, padding, value)
    for source in (fastnn.tensor(images), [fastnn.tensor(i) for i in images]):
        found = torchvision.utils.make_grid(source, nrow, padding, pad_value=value)
        assert found.dtype is fastnn.float32
        np.testing.assert_array_equal(as_array(found), expected)


def test_make_grid_of_one_channel_and_one_image():
    make = torchvision.utils.make_grid
    assert tuple(make(fastnn.ones(2, 1, 3, 3)).shape) == (3, 7, 12)
    for shape in ((4, 5), (1, 4, 5), (1, 1, 4, 5)):
        assert as_array(make(fastnn.ones(*shape))).tolist() == np.ones((3, 4, 5)).tolist()


def test_make_grid_normalizes():
    images = np.array([[[[0.0, 2.0]]], [[[4.0, 8.0]]]], np.float32)
    make = torchvision.utils.make_grid
    for options, expected in (
        ({}, [0, 0.25, 0.5, 1]), ({"scale_each": True}, [0, 1, 0, 1]), ({"value_range": (2, 6)}, [0, 0, 0.5, 1]),
    ):  # fmt: skip
        found = as_array(make(fastnn.tensor(images), padding=0, normalize=True, **options))
        np.testing.assert_allclose(found[0, 0], expected)
    for wrong in ({"tensor": 3}, {"tensor": [1]}, {"tensor": fastnn.ones(1, 1, 2, 2), "value_range": [0, 1]}):
        with pytest.raises(TypeError):
            make(normalize=True, **wrong)


def read_png(content: bytes) -> np.ndarray:
    """The pixels of an unfiltered PNG with eight bits."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    at, data = 8, b""
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        kind, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        assert struct.unpack(">I", content[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + body)
        if kind == b"IHDR":
            width, height, depth, colours = struct.unpack(">IIBB", body[:10])
        data += body if kind == b"IDAT" else b""
        at += 12 + length
    channels = {0: 1, 4: 2, 2: 3, 6: 4}[colours]
    rows = np.frombuffer(zlib.decompress(data), np.uint8).reshape(height, 1 + width * channels)
    assert depth == 8
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, channels)


def test_save_image(tmp_path, monkeypatch):
    monkeypatch.setattr("fastnn.torchvision.utils.pil", lambda: None)
    images = np.random.default_rng(0).random((2, 3, 4, 5)).astype(np.float32) * 1.2 - 0.1
    grid = reference_grid(images, 8, 2, 0.0)
    expected = np.clip(grid * 255 + 0.5, 0, 255).astype(np.uint8).transpose(1, 2, 0)
    file = io.BytesIO()
    for target in (tmp_path / "a.png", str(tmp_path / "b"), file):
        named = None if target == tmp_path / "a.png" else "png"
        torchvision.utils.save_image(fastnn.tensor(images), target, format=named)
        content = file.getvalue() if target is file else Path(target).read_bytes()
        np.testing.assert_array_equal(read_png(content), expected)
    with pytest.raises(ValueError, match="Pillow"):
        torchvision.utils.save_image(fastnn.tensor(images), tmp_path / "a.jpg")


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png(channels, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, channels), np.uint8)
    ArrayImage(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_png((tmp_path / "a.png").read_bytes()), pixels)
