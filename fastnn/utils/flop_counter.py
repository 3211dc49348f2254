"""``torch.utils.flop_counter``: the multiplications and additions of matrix products in a block."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from typing import Any

import numpy as np

from fastnn.kernels.runtime import launcher

__all__ = ["FlopCounterMode"]


class FlopCounterMode:
    """Counts the multiplications and additions of matrix products inside a ``with`` block.

    A product of (m, k) and (k, n) counts ``2 m n k``. Products of linear layers, ``matmul``, ``mm`` and ``bmm`` count,
    those of the backward pass as well; other operations do not. A matrix times a vector counts too, unlike PyTorch's.

    Args:
        mods, depth: PyTorch's, about the modules of the table; ignored.
        display: print the table at the end of the block.
        custom_mapping: ignored.

    >>> import fastnn
    >>> with FlopCounterMode(display=False) as counter:
    ...     _ = fastnn.nn.Linear(8, 4)(fastnn.zeros(16, 8))
    >>> counter.get_total_flops()
    1024
    """

    def __init__(self, mods: Any = None, depth: int = 2, display: bool = True, custom_mapping: Any = None) -> None:
        self.depth, self.display = depth, display
        self._flops: Counter[str] = Counter()

    def __enter__(self) -> FlopCounterMode:
        self._flops.clear()
        self._stack = ExitStack()
        self._stack.enter_context(launcher.recording(self._watch))
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()
        if self.display:
            print(self.get_table())

    def _watch(self, kernel: Any, parts: int, arrays: tuple[np.ndarray, ...], scalars: tuple[float, ...]) -> bool:
        if kernel is not None and kernel.operations is not None:
            self._flops[kernel.name] += int(kernel.operations(*scalars))
        # The launch runs as usual.
        return False

    def get_total_flops(self) -> int:
        """The sum of all kernels."""
        return sum(self._flops.values())

    def get_flop_counts(self) -> dict[str, dict[Any, int]]:
        """The count of each kernel, under 'Global'."""
        return {"Global": dict(self._flops)}

    def get_table(self, depth: int | None = None) -> str:
        """The counts as text."""
        total = self.get_total_flops()
        rows = [f"{'Kernel':24s} {'FLOP':>16s} {'% Total':>8s}"]
        rows += [f"{name:24s} {count:>16,d} {count / total:>8.2%}" for name, count in self._flops.most_common()]
        return "\n".join([*rows, f"{'Global':24s} {total:>16,d} {1:>8.2%}"])
