"""MNIST, which comes with fastnn, and similar data sets from the user's files.

Nothing is downloaded.
"""

from __future__ import annotations

import os
import string
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fastnn import datasets
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.datasets import read_idx
from fastnn.torchvision.datasets.vision import VisionDataset
from fastnn.torchvision.image import as_image
from fastnn.torchvision.transforms.fold import scale_and_shift
from fastnn.utils.data.dataset import Reader, _positions, scaled_rows


class MNIST(VisionDataset):
    """Images of handwritten digits, 28 x 28 pixels: 60,000 for training, 10,000 for testing.

    The files are those in ``root/MNIST/raw`` or in ``root``, plain or gzipped, or else those bundled with
    fastnn; ``download=True`` needs no network. An item is an image and its label.

    If ``transform`` is ``ToTensor()``, possibly followed by ``Normalize``, a loader reads a whole batch in one pass,
    with the same numbers as the items: each pixel times a factor plus a shift, within two roundings of the
    formulas of the transforms.

    Args:
        root: a folder.
        train: the training images, otherwise the test images.
        transform: of the image, a PIL image, or an array image if PIL is not installed.
        target_transform: of the label, an int.
        download: accepted and ignored.

    Attributes: ``data`` (n, 28, 28) uint8 and ``targets`` (n,) int64, tensors; ``classes``; ``class_to_idx``.

    Raises: RuntimeError if there are no files, listing the names that were tried.

    >>> from fastnn import torchvision
    >>> data = torchvision.datasets.MNIST("data", train=False, transform=torchvision.transforms.ToTensor())
    >>> image, label = data[0]
    >>> len(data), image.shape, label
    (10000, torch.Size([1, 28, 28]), 7)
    """

    classes: ClassVar[list[str]] = [
        "0 - zero", "1 - one", "2 - two", "3 - three", "4 - four", "5 - five", "6 - six", "7 - seven", "8 - eight",
        "9 - nine",
    ]  # fmt: skip
    # Prefix of the file names; MNIST's start with "train" or "t10k".
    _prefix = ""
    _bundled = True

    def __init__(
        self,
        root: str | os.PathLike[str],
        train: bool = True,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        download: bool = False,
    ) -> None:
        super().__init__(root, transform=transform, target_transform=target_transform)
        self.train = train
        images, labels = self._load()
        self.data: Tensor = _wrap(images)
        self.targets: Tensor = _wrap(labels)

    @property
    def raw_folder(self) -> str:
        """The first folder searched for the files."""
        return os.path.join(str(self.root), type(self).__name__, "raw")

    @property
    def processed_folder(self) -> str:
        """The folder where torchvision used to store tensors; not used."""
        return os.path.join(str(self.root), type(self).__name__, "processed")

    @property
    def class_to_idx(self) -> dict[str, int]:
        """The index of each class."""
        return {name: i for i, name in enumerate(self.classes)}

    def _stems(self) -> tuple[str, str]:
        split = "train" if self.train else "t10k"
        return f"{self._prefix}{split}-images-idx3-ubyte", f"{self._prefix}{split}-labels-idx1-ubyte"

    def _load(self) -> tuple[np.ndarray, np.ndarray]:
        folders = [Path(self.raw_folder), Path(str(self.root))]
        for folder in folders:
            pixels, classes = (_file(folder, stem) for stem in self._stems())
            if pixels is not None and classes is not None:
                images, labels = read_idx(pixels, dtype=np.uint8, ndim=3), read_idx(classes, dtype=np.uint8, ndim=1)
                if len(images) != len(labels):
                    raise RuntimeError(f"{pixels} has {len(images)} images, {classes} has {len(labels)} labels")
                return images, labels.astype(np.int64)
        if self._bundled:
            return datasets.mnist.bundled(self.train)
        stems = " and ".join(self._stems())
        raise RuntimeError(
            f"Dataset not found: neither {' nor '.join(map(str, folders))} has the files {stems}, plain or with .gz. "
            f"fastnn downloads nothing: put the files of {type(self).__name__} there"
        )

    def _whole_transform(self) -> tuple[float, float] | None:
        """Factor and shift of the pixels, if the transforms do nothing else."""
        ready = isinstance(self.data, Tensor) and isinstance(self.targets, Tensor) and self.target_transform is None
        if not ready or self.targets._data.ndim != 1:
            return None
        pixels = self.data._data
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or not pixels.flags.c_contiguous:
            return None
        return scale_and_shift(self.transform)

    def _read(self, positions: np.ndarray, scale: float, shift: float) -> Tensor:
        pixels = self.data._data
        rows = scaled_rows(pixels.reshape(len(pixels), -1), positions, scale, shift)
        return _wrap(rows._data.reshape(len(positions), 1, *pixels.shape[1:]))

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        label: Any = int(self.targets[index])
        fast = self._whole_transform()
        if fast is not None:
            position = _positions([index], len(self.data))
            return _wrap(self._read(position, *fast)._data[0]), label
        pixels = np.asarray(self.data[index])
        if pixels.dtype != np.uint8:
            raise TypeError(f"data must be uint8 to be images, found {pixels.dtype}; they are scaled by transforms")
        image = as_image(pixels)
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            label = self.target_transform(label)
        return image, label

    def __len__(self) -> int:
        return len(self.data)

    def _batch_reader(self) -> Reader | None:
        fast = self._whole_transform()
        if fast is None or self.targets._data.dtype.kind not in "iu" or len(self.targets) < len(self.data):
            return None

        def read(indices: np.ndarray) -> Any:
            positions = _positions(indices, len(self.data))
            return [self._read(positions, *fast), _wrap(self.targets._data[positions].astype(np.int64, copy=False))]

        return read

    def extra_repr(self) -> str:
        """Whether this is the training or the test part."""
        return f"Split: {'Train' if self.train else 'Test'}"

    def _renamed(self, old: str, new: str) -> Any:
        warnings.warn(f"{old} has been renamed {new}", stacklevel=3)
        return getattr(self, new)

    train_data = property(lambda self: self._renamed("train_data", "data"))
    test_data = property(lambda self: self._renamed("test_data", "data"))
    train_labels = property(lambda self: self._renamed("train_labels", "targets"))
    test_labels = property(lambda self: self._renamed("test_labels", "targets"))


def _file(folder: Path, stem: str) -> Path | None:
    names = (stem, f"{stem}.gz", stem.replace("-idx", ".idx"), stem.replace("-idx", ".idx") + ".gz")
    return next((folder / name for name in names if (folder / name).is_file()), None)


class FashionMNIST(MNIST):
    """Images of clothes, from the user's files in MNIST's format (H. Xiao, K. Rasul and R. Vollgraf, 2017).

    The files are those in ``root/FashionMNIST/raw`` or in ``root``. Otherwise as :class:`MNIST`.
    """

    classes: ClassVar[list[str]] = [
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ]  # fmt: skip
    _bundled = False


class KMNIST(MNIST):
    """Images of Japanese characters, from the user's files in MNIST's format (T. Clanuwat et al., 2018).

    The files are those in ``root/KMNIST/raw`` or in ``root``. Otherwise as :class:`MNIST`.
    """

    classes: ClassVar[list[str]] = ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"]
    _bundled = False


class EMNIST(MNIST):
    """Images of handwritten letters and digits, from the user's files (G. Cohen et al., 2017).

    The files are those in ``root/EMNIST/raw`` or in ``root``, with names such as
    ``emnist-letters-train-images-idx3-ubyte``.

    Args:
        split: "byclass", "bymerge", "balanced", "letters", "digits" or "mnist".

    Otherwise as :class:`MNIST`.
    """

    splits = ("byclass", "bymerge", "balanced", "letters", "digits", "mnist")
    _bundled = False
    _merged = frozenset("cijklmopsuvwxyz")
    _every = tuple(string.digits + string.ascii_letters)
    classes_split_dict: ClassVar[dict[str, list[str]]] = {
        "byclass": sorted(_every),
        "bymerge": sorted(set(_every) - _merged),
        "balanced": sorted(set(_every) - _merged),
        "letters": ["N/A", *string.ascii_lowercase],
        "digits": list(string.digits),
        "mnist": list(string.digits),
    }

    def __init__(self, root: str | os.PathLike[str], split: str, **kwargs: Any) -> None:
        if split not in self.splits:
            raise ValueError(f"Unknown value '{split}' for argument split. Valid values are {self.splits}.")
        self.split, self._prefix = split, f"emnist-{split}-"
        self.classes = self.classes_split_dict[split]  # type: ignore[misc]  # of this object only
        super().__init__(root, **kwargs)

    def _stems(self) -> tuple[str, str]:
        split = "train" if self.train else "test"
        return f"{self._prefix}{split}-images-idx3-ubyte", f"{self._prefix}{split}-labels-idx1-ubyte"
