"""The one place from which arrays come that are not filled: ``empty`` and ``empty_like``, which are NumPy's.

With ``FASTNN_POISON=1`` in the environment, which is read once, they come full of what must not be seen: NaN, and
integers far out of every range. Who reads a number that nobody has written then finds out, where it would else
depend on what the memory was used for before. It is for tests; whoever keeps memory to write over it later has it
filled again with :func:`poison`.
"""

from __future__ import annotations

import functools
import os
from typing import Any

import numpy as np

IS_POISONED = os.environ.get("FASTNN_POISON", "0") == "1"


def poison(array: np.ndarray) -> np.ndarray:
    """Fill an array with what must not be seen; return it."""
    kind = array.dtype.kind
    if kind in "fc":
        array.fill(np.nan)
    elif kind in "iu" and array.dtype.itemsize > 1:
        array.fill(np.iinfo(array.dtype).max // 3)
    elif kind == "u":
        # Raw bytes that are read as other types: all bits set is NaN in float32 and float64, and -1 in integers.
        array.fill(255)
    return array


def unfilled(make: Any) -> Any:
    """Wrap a function that returns zeros which its callers must not rely on."""
    return make


empty, empty_like = np.empty, np.empty_like

if IS_POISONED:

    def unfilled(make: Any) -> Any:
        @functools.wraps(make)
        def made(*args: Any, **options: Any) -> Any:
            result = make(*args, **options)
            # An array, or a tensor over one.
            poison(getattr(result, "_data", result))
            return result

        return made

    def _empty(*args: Any, **options: Any) -> np.ndarray:
        return poison(np.empty(*args, **options))

    def _empty_like(*args: Any, **options: Any) -> np.ndarray:
        return poison(np.empty_like(*args, **options))

    empty, empty_like = _empty, _empty_like  # type: ignore[assignment]  # of fewer overloads
