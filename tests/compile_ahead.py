"""Compiles every kernel into the cache that this process shares with others.

A large test run starts it as a second process, as tests mostly use one core: with an empty cache a third of their
time would be spent in LLVM.
"""

from __future__ import annotations

import os
import sys

from cross_compile import import_kernels, values_of

from fastnn.kernels.runtime import compiler


def all_kernels() -> list[compiler.Kernel]:
    """The kernels of all modules, in reverse order of names: the tests begin with products and activations."""
    import_kernels()
    return sorted(values_of(compiler.Kernel), key=lambda kernel: kernel.name, reverse=True)


def main() -> None:
    """Compile them, as long as the parent process lives."""
    parent = os.getppid()
    if hasattr(os, "nice"):
        os.nice(5)
    for kernel in all_kernels():
        if os.getppid() != parent:
            sys.exit()
        kernel.compile()


if __name__ == "__main__":
    main()
