"""``torch.utils.collect_env``: versions of fastnn, Python and the machine, for reports of faults."""

from __future__ import annotations

import os
import platform
import sys
from typing import NamedTuple

import numba
import numpy as np

from fastnn import version
from fastnn.kernels.runtime.thread_count import get_num_threads

__all__ = ["SystemEnv", "get_env_info", "get_pretty_env_info", "main"]


class SystemEnv(NamedTuple):
    """The entries of the report."""

    fastnn_version: str
    torch_version: str
    python_version: str
    numpy_version: str
    numba_version: str
    os: str
    machine: str
    cpu_count: int
    num_threads: int
    is_cuda_available: str


def get_env_info() -> SystemEnv:
    """The versions of this process.

    >>> get_env_info().is_cuda_available
    'False'
    """
    return SystemEnv(
        version.__version__,
        version.TORCH,
        sys.version.partition("\n")[0],
        np.__version__,
        numba.__version__,
        platform.platform(),
        platform.machine(),
        os.cpu_count() or 1,
        get_num_threads(),
        "False",
    )


_LABELS = (
    "fastnn version", "PyTorch whose API it has", "Python version", "NumPy version", "Numba version", "OS", "Machine",
    "CPUs", "Threads of fastnn", "Is CUDA available",
)  # fmt: skip


def get_pretty_env_info() -> str:
    """The versions as text, one a line."""
    return "\n".join(f"{label}: {value}" for label, value in zip(_LABELS, get_env_info(), strict=True))


def main() -> None:
    """Print :func:`get_pretty_env_info`."""
    print("Collecting environment information...")
    print(get_pretty_env_info())


if __name__ == "__main__":
    main()
