"""Images in folders, one folder per class. ``ImageFolder`` reads them with PIL."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from fastnn.torchvision.datasets.vision import StandardTransform, VisionDataset
from fastnn.torchvision.image import pil

IMG_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


class DatasetFolder(VisionDataset):
    """Files in folders named after the classes: ``root/cat/1.png``, ``root/dog/2.png``.

    Args:
        root: the folder that contains the class folders.
        loader: reads the file at a path.
        extensions: extensions of the files to read; or ``is_valid_file``, called with the path.
        transform, target_transform: of the result of ``loader``, and of the class index.
        is_valid_file: whether to read a file.
        allow_empty: whether a class may have no files.

    Attributes: ``classes``, ``class_to_idx``, ``samples`` (pairs of path and class index), ``targets``.

    Raises: FileNotFoundError if there are no folders or a class has no files; ValueError for both
        ``extensions`` and ``is_valid_file``, and for neither.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        loader: Callable[[str], Any],
        extensions: tuple[str, ...] | None = None,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
    ) -> None:
        super().__init__(root, transform=transform, target_transform=target_transform)
        if (extensions is None) == (is_valid_file is None):
            raise ValueError(
                "Both extensions and is_valid_file cannot be None or not None at the same time: found "
                f"{'neither' if extensions is None else 'both'}"
            )
        endings = tuple(e.lower() for e in extensions or ())
        valid = is_valid_file or (lambda path: path.lower().endswith(endings))
        folder = str(self.root)
        self.classes = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
        if not self.classes:
            raise FileNotFoundError(f"Couldn't find any class folder in {folder}.")
        self.class_to_idx = {name: i for i, name in enumerate(self.classes)}
        self.samples: list[tuple[str, int]] = []
        for name, number in self.class_to_idx.items():
            before = len(self.samples)
            for place, _, files in sorted(os.walk(os.path.join(folder, name), followlinks=True)):
                paths = [os.path.join(place, file) for file in sorted(files)]
                self.samples += [(path, number) for path in paths if valid(path)]
            if len(self.samples) == before and not allow_empty:
                raise FileNotFoundError(f"Found no valid file for the class {name} in {folder}.")
        self.loader, self.extensions = loader, extensions
        self.targets = [number for _, number in self.samples]

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        path, target = self.samples[index]
        item = self.loader(path)
        return StandardTransform(self.transform, self.target_transform)(item, target)

    def __len__(self) -> int:
        return len(self.samples)


def default_loader(path: str) -> Any:
    """The image in a file, read by PIL, in RGB. Raises: ImportError if PIL is not installed."""
    library = pil()
    if library is None:
        raise ImportError("reading image files needs Pillow: pip install pillow")
    with open(path, "rb") as file:
        return library.open(file).convert("RGB")


class ImageFolder(DatasetFolder):
    """Images in folders named after the classes; needs PIL. See :class:`DatasetFolder`."""

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        loader: Callable[[str], Any] = default_loader,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
    ) -> None:
        extensions = IMG_EXTENSIONS if is_valid_file is None else None
        super().__init__(root, loader, extensions, transform, target_transform, is_valid_file, allow_empty)
        self.imgs = self.samples
