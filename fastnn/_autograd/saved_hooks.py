"""Hooks on the tensors that operations save for the backward pass: which ones are on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

Pair = tuple[Callable[[Any], Any], Callable[[Any], Any]]


class _State(threading.local):
    """The pairs of hooks that are on in this thread, and the message of the block that disables them."""

    def __init__(self) -> None:
        self.pairs: list[Pair] = []
        self.disabled: str | None = None


state = _State()
# Once for each block with hooks in any thread: what calls an operation then.
saving_on: list[Callable[..., Any]] = []


def pack(pair: Pair, tensor: Any) -> Callable[[], Any]:
    """Call the first hook with a tensor. Returns a function that calls the second with what the first returned."""
    before, state.pairs = state.pairs, []
    try:
        packed = pair[0](tensor)
    finally:
        state.pairs = before

    def unpacked() -> Any:
        found = pair[1](packed)
        if not hasattr(found, "_data"):
            raise TypeError(
                "Output of saved tensor unpack_hook expected to be a Tensor but got result of type "
                f"{type(found).__name__}"
            )
        return found

    return unpacked
