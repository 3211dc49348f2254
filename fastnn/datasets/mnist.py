"""MNIST, and data sets with the same four files, such as Fashion-MNIST.

Part of `fastnn.datasets`; uses only its IDX reader, NumPy and the standard library.
"""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fastnn.datasets.idx import read_idx

_ENVIRONMENT_VARIABLE = "FASTNN_DATA"
_BUNDLED_FOLDER = Path(__file__).parent
# In the order of ImageData's fields: the distinguishing part of the file name, the number of dimensions, and the
# SHA-256 of the bundled .gz file (also in NOTICE.md).
_FILES = (
    ("train-images", 3, "0b367032e93c5d0cea0925647cfdb18614af8ee15f83e6f2fc2ad904a6835971"),
    ("train-labels", 1, "1787548bbe0bff1ec2ecdc0ef292b02df999e2d1a6002d27500982c652b17203"),
    ("t10k-images", 3, "1a1a05eab793c14bb050b398624a11b0ffd1a2953baed553b1b9bd079e2a20be"),
    ("t10k-labels", 1, "b91679a0acfe4ba0e50a2437a903084cba1f5f92592b016a25a7dfd00455798b"),
)


class ImageData(NamedTuple):
    """Training and test images with their labels.

    Shapes: N training and M test images of H x W pixels (MNIST: 60,000, 10,000, 28 x 28). Images stay uint8, 0 to 255,
    a quarter of the memory of float32; labels are int64, the type of class indices in losses.

    Example:
        >>> import numpy as np
        >>> from fastnn.datasets import ImageData
        >>> images, labels = np.zeros((2, 28, 28), np.uint8), np.array([3, 8])
        >>> ImageData(images, labels, images[:1], labels[:1]).test_labels
        array([3])
    """

    train_images: npt.NDArray[np.uint8]
    """(N, H, W) uint8"""
    train_labels: npt.NDArray[np.int64]
    """(N,) int64"""
    test_images: npt.NDArray[np.uint8]
    """(M, H, W) uint8"""
    test_labels: npt.NDArray[np.int64]
    """(M,) int64"""


def load_mnist(folder: str | os.PathLike[str] | None = None) -> ImageData:
    """Load MNIST, or a data set of the same form from another folder.

    The folder contains four IDX files, plain or gzipped, named like the MNIST files: `train-images-idx3-ubyte`, or with
    `.gz`, or `train-images.idx3-ubyte`, or that with `.gz`, the first that exists; likewise for `train-labels`
    (`idx1`), `t10k-images` and `t10k-labels`. Fashion-MNIST has this form. Labels may be from 0 to 255.

    Args:
        folder: the folder of the files; `~` is the home folder. None uses the folder in the environment variable
            FASTNN_DATA, or if that is unset or empty, the MNIST files bundled with the package, which are then
            checked against their SHA-256.

    Returns:
        `ImageData`: uint8 images of shape (N, H, W) and int64 labels of shape (N,), for training and for test. Each
        call returns new, writeable arrays. Reading the bundled files takes about 0.15 s.

    Raises:
        FileNotFoundError: the folder, or a file in it, is missing. The message lists the names that were tried.
        NotADirectoryError: `folder` is a file.
        ValueError: `folder` is an empty string; a file is damaged; images are not uint8 with three dimensions, or
            labels not uint8 with one; there are no images; the numbers of images and labels differ; or the sizes of
            training and test images differ. The message names the file.

    Source: Y. LeCun, C. Cortes and C. J. C. Burges, "The MNIST database of handwritten digits",
    <http://yann.lecun.com/exdb/mnist/>; licence and changes in `NOTICE.md` next to the bundled files.

    Example:
        >>> from fastnn.datasets import load_mnist
        >>> data = load_mnist()
        >>> data.train_images.shape, data.train_images.dtype
        ((60000, 28, 28), dtype('uint8'))
        >>> data.test_labels.shape, data.test_labels.dtype
        ((10000,), dtype('int64'))
    """
    origin = ""
    if folder is None:
        folder = os.environ.get(_ENVIRONMENT_VARIABLE) or None
        origin = f" (from the environment variable {_ENVIRONMENT_VARIABLE})" if folder else ""
    elif not os.fspath(folder):  # Path would treat it as the current folder
        raise ValueError(f"folder is {folder!r}, expected a path, or None for the bundled MNIST")
    bundled = folder is None
    paths = _find_files(_BUNDLED_FOLDER if folder is None else Path(os.path.expanduser(folder)), origin)

    arrays = [
        read_idx(path, dtype=np.uint8, ndim=ndim, sha256=digest if bundled else None)
        for path, (_, ndim, digest) in zip(paths, _FILES, strict=True)
    ]
    for images, labels, images_path, labels_path in zip(
        arrays[::2], arrays[1::2], paths[::2], paths[1::2], strict=True
    ):
        if images.size == 0:
            raise ValueError(f"{images_path}: no pixels in images of shape {images.shape}, expected at least one")
        if len(images) != len(labels):
            raise ValueError(f"{images_path} has {len(images)} images, expected the {len(labels)} of {labels_path}")
    train_images, train_labels, test_images, test_labels = arrays
    if train_images.shape[1:] != test_images.shape[1:]:
        raise ValueError(
            f"{paths[2]}: test images are of shape {test_images.shape[1:]}, "
            f"expected {train_images.shape[1:]} as in {paths[0]}"
        )
    return ImageData(train_images, train_labels.astype(np.int64), test_images, test_labels.astype(np.int64))


def bundled(train: bool) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """One half of the MNIST that comes with the package: images (n, 28, 28) uint8 and labels (n,) int64.

    Example:
        >>> from fastnn.datasets.mnist import bundled
        >>> bundled(train=False)[0].shape
        (10000, 28, 28)
    """
    half = slice(0, 2) if train else slice(2, 4)
    paths = _find_files(_BUNDLED_FOLDER, "")[half]
    images, labels = (
        read_idx(path, dtype=np.uint8, ndim=ndim, sha256=digest)
        for path, (_, ndim, digest) in zip(paths, list(_FILES)[half], strict=True)
    )
    return images, labels.astype(np.int64)


def _find_files(folder: Path, origin: str) -> list[Path]:
    """Return the paths of the four files in the order of `_FILES`; one error names all that are missing."""
    if not folder.exists():
        raise FileNotFoundError(f"folder {folder}{origin} does not exist")
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder}{origin} is a file, expected a folder with the four MNIST files")
    paths: list[Path] = []
    missing: list[str] = []
    for stem, ndim, _ in _FILES:
        names = [f"{stem}{mark}idx{ndim}-ubyte{ending}" for mark in "-." for ending in ("", ".gz")]
        # is_file: some archives unpack each file into a folder of the same name.
        path = next((folder / name for name in names if (folder / name).is_file()), None)
        if path is None:
            missing.append(" or ".join(names))
        else:
            paths.append(path)
    if missing:
        raise FileNotFoundError(f"folder {folder}{origin} has no {'; no '.join(missing)}")
    return paths
