"""VisionDataset: the base class of image data sets."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from fastnn.utils.data import Dataset


class StandardTransform:
    """A transform of the image and one of the target, applied to pairs."""

    def __init__(
        self, transform: Callable[[Any], Any] | None = None, target_transform: Callable[[Any], Any] | None = None
    ) -> None:
        self.transform, self.target_transform = transform, target_transform

    def __call__(self, input: Any, target: Any) -> tuple[Any, Any]:
        if self.transform is not None:
            input = self.transform(input)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return input, target

    def __repr__(self) -> str:
        lines = [type(self).__name__]
        for title, transform in (("Transform: ", self.transform), ("Target transform: ", self.target_transform)):
            if transform is not None:
                lines.append(title + repr(transform).replace("\n", "\n" + " " * len(title)))
        return "\n".join(lines)


class VisionDataset(Dataset[Any]):
    """A data set with a folder and transforms; a subclass defines ``__getitem__`` and ``__len__``.

    Args:
        root: the folder of the files.
        transforms: of image and target together, instead of the next two.
        transform: of the image.
        target_transform: of the target.

    Raises: ValueError for ``transforms`` together with ``transform`` or ``target_transform``.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        transforms: Callable[[Any, Any], Any] | None = None,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        self.root = os.path.expanduser(root) if isinstance(root, str) else root
        if transforms is not None and (transform is not None or target_transform is not None):
            raise ValueError("Only transforms or transform/target_transform can be passed as argument, found both")
        self.transform, self.target_transform = transform, target_transform
        if transform is not None or target_transform is not None:
            transforms = StandardTransform(transform, target_transform)
        self.transforms = transforms

    def __len__(self) -> int:
        raise NotImplementedError

    def extra_repr(self) -> str:
        """A line for ``repr``."""
        return ""

    def __repr__(self) -> str:
        body = [f"Number of datapoints: {len(self)}"]
        if self.root is not None:
            body.append(f"Root location: {self.root}")
        body += self.extra_repr().splitlines()
        if self.transforms is not None:
            body += repr(self.transforms).splitlines()
        return "\n".join([f"Dataset {type(self).__name__}", *("    " + line for line in body)])
