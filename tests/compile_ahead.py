"""Compiles every kernel into the cache that this process shares with others.

The tests start it beside themselves where they are many, as they use one core for most of the time: with an empty cache
a third of their time would be LLVM's.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys

from cross_compile import values_of

from fastnn import kernels
from fastnn.kernels.runtime import compiler


def all_kernels() -> list[compiler.Kernel]:
    """The kernels of all modules, by name backwards: the tests begin with products and activations."""
    for info in pkgutil.walk_packages(kernels.__path__, "fastnn.kernels."):
        importlib.import_module(info.name)
    return sorted(values_of(compiler.Kernel), key=lambda kernel: kernel.name, reverse=True)


def main() -> None:
    """Compile them, as long as the process that has started this one lives."""
    parent = os.getppid()
    if hasattr(os, "nice"):
        os.nice(5)
    for kernel in all_kernels():
        if os.getppid() != parent:
            sys.exit()
        kernel.compile()


if __name__ == "__main__":
    main()
