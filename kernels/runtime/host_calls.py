"""Calls of Python between launches: a program returns to Python there, for what no kernel can do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastnn.kernels.runtime.compiler import Kernel, Words


def _nothing(args: int, t: int, n: int) -> None:
    """The slice of a call, which has none."""


class HostCall(Kernel):
    """A function of arrays that a program calls in its place among the launches, after all launches before it.

    Args:
        name: for messages and profiles.
        function: called with the arrays. It may raise: the launches after it do not run then.
        outputs: the indices of the arrays that it writes.

    ``launcher.call`` calls it, or records it. The arrays are fixed: no replay puts others in their place.
    """

    def __init__(self, name: str, function: Callable[..., Any], outputs: tuple[int, ...]) -> None:
        super().__init__(name, _nothing, Words(""))
        self.call, self.outputs = function, outputs
