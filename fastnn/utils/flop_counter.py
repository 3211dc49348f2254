"""``torch.utils.flop_counter``: the multiplications and additions of matrix products in a block."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from typing import Any

import numpy as np

from fastnn.kernels.runtime import launcher
from fastnn.nn.hooks import register_module_forward_hook, register_module_forward_pre_hook

__all__ = ["FlopCounterMode"]


class FlopCounterMode:
    """Counts the multiplications and additions of matrix products inside a ``with`` block.

    A product of (m, k) and (k, n) counts ``2 m n k``. Products of linear layers, ``matmul``, ``mm`` and ``bmm`` count,
    those of the backward pass as well; other operations do not. A matrix times a vector counts too, unlike PyTorch's.
    Those of a forward also count for its modules; PyTorch counts those of the backward pass for them, too.

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
        self._by_module: dict[str, Counter[str]] = {}

    def __enter__(self) -> FlopCounterMode:
        self._flops.clear()
        self._by_module = {}
        # The names of modules by identity, and of those whose forward is running.
        self._names: dict[int, str] = {}
        self._running: list[str] = []
        self._stack = ExitStack()
        for handle in (
            register_module_forward_pre_hook(self._begin),
            register_module_forward_hook(self._end, always_call=True),
        ):
            self._stack.callback(handle.remove)
        self._stack.enter_context(launcher.recording(self._watch))
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()
        if self.display:
            print(self.get_table())

    def _begin(self, module: Any, inputs: Any) -> None:
        if id(module) not in self._names:
            root = type(module).__name__
            for name, part in module.named_modules():
                self._names[id(part)] = f"{root}.{name}" if name else root
        self._running.append(self._names[id(module)])

    def _end(self, module: Any, inputs: Any, output: Any) -> None:
        self._running.pop()

    def _watch(self, kernel: Any, parts: int, arrays: tuple[np.ndarray, ...], scalars: tuple[float, ...]) -> bool:
        if kernel is not None and kernel.operations is not None:
            count = int(kernel.operations(*scalars))
            self._flops[kernel.name] += count
            for name in set(self._running):
                self._by_module.setdefault(name, Counter())[kernel.name] += count
        # The launch runs as usual.
        return False

    def get_total_flops(self) -> int:
        """The sum of all kernels."""
        return sum(self._flops.values())

    def get_flop_counts(self) -> dict[str, dict[Any, int]]:
        """The count of each kernel, under 'Global' and under the name of each module, as 'Net.layers.0'."""
        return {"Global": dict(self._flops), **{name: dict(flops) for name, flops in self._by_module.items()}}

    def get_table(self, depth: int | None = None) -> str:
        """The counts as text."""
        total = self.get_total_flops()
        rows = [f"{'Kernel':24s} {'FLOP':>16s} {'% Total':>8s}"]
        rows += [f"{name:24s} {count:>16,d} {count / total:>8.2%}" for name, count in self._flops.most_common()]
        return "\n".join([*rows, f"{'Global':24s} {total:>16,d} {1:>8.2%}"])
