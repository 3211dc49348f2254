"""``torch.version``: fastnn's own version, and the libraries it was built with: none."""

from __future__ import annotations

import re
from typing import Any

__version__ = "0.2.0"
# The PyTorch whose behaviour fastnn has.
TORCH = "2.13.0"
cuda: str | None = None
hip: str | None = None
xpu: str | None = None
git_version = "Unknown"
debug = False


class TorchVersion(str):
    """A string that compares as a version with another version, a string or a tuple.

    >>> TorchVersion("2.13.0+fastnn.0.2.0") > "2.4", TorchVersion("2.13.0") >= (2, 13)
    (True, True)
    """

    def __lt__(self, other: Any) -> bool:
        return _order(self, 3) < _order(other, 3)

    def __le__(self, other: Any) -> bool:
        return _order(self, 3) <= _order(other, 3)

    def __gt__(self, other: Any) -> bool:
        return _order(self, 3) > _order(other, 3)

    def __ge__(self, other: Any) -> bool:
        return _order(self, 3) >= _order(other, 3)


def _order(version: Any, length: int) -> tuple[list[int], str]:
    """The sort key: the numbers, padded to ``length``, then the label of a local build."""
    text = ".".join(map(str, version)) if isinstance(version, (tuple, list)) else str(version)
    numbers = re.match(r"[\d.]*", text)
    found = [int(part) for part in numbers[0].split(".") if part] if numbers else []
    return found + [0] * (length - len(found)), text.partition("+")[2]
