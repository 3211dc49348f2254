"""``torch.utils.checkpoint``: activations are kept, because multi-layer perceptrons need little memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


def checkpoint(
    function: Callable[..., Any], *args: Any, use_reentrant: bool | None = None, preserve_rng_state: bool = True,
    context_fn: Any = None, determinism_check: str = "default", debug: bool = False, early_stop: bool = True,
    **kwargs: Any,
) -> Any:  # fmt: skip
    """``function(*args, **kwargs)``: its activations are kept for the backward pass and not recomputed.

    >>> from fastnn.utils.checkpoint import checkpoint
    >>> checkpoint(max, 1, 2, use_reentrant=False)
    2
    """
    return function(*args, **kwargs)


def checkpoint_sequential(functions: Iterable[Callable[..., Any]], segments: int, input: Any, **options: Any) -> Any:
    """Call the functions in order."""
    for function in functions:
        input = function(input)
    return input
