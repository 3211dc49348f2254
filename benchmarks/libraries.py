"""Starts each library in a process of its own, and reports its version, threads and BLAS.

The libraries are imported by ``start``, not at the top of this module.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Names of workers, and the modules each needs.
MODULES = {
    "fastnn": ("fastnn",),
    "fastnn_step": ("fastnn",),
    "numpy": ("numpy",),
    "torch": ("torch",),
    "torch_compile": ("torch",),
    "jax": ("jax", "optax"),
    # JAX with blocking calls: see ``registry.Work.worker_of``.
    "jax_waiting": ("jax", "optax"),
    "sklearn": ("sklearn",),
    "onnxruntime": ("onnxruntime", "onnx"),
    "openvino": ("openvino", "onnx"),
    # Not measured: a worker that measures the core-to-core latency.
    "core_latency": ("numba",),
}

# Environment variables that a measuring process does not inherit, so that each library runs with its defaults.
# Each prefix with the library concerned.
UNSET = {
    # How threads wait (spinning or asleep), where they are bound, how many there are.
    "OMP_": "OpenMP",
    "GOMP_": "GNU's",
    "KMP_": "LLVM's and Intel's",
    # A kernel or a cache size forced on a BLAS, the spin time of its threads.
    "OPENBLAS_": "NumPy",
    "GOTO_": "NumPy, an old name of OpenBLAS",
    "MKL_": "PyTorch",
    "DNNL_": "PyTorch",
    "ONEDNN_": "PyTorch",
    "ATEN_": "PyTorch",
    "TORCH": "PyTorch: debugging, and how it compiles",
    "XLA_": "JAX",
    "JAX_": "JAX: debugging, other devices, float64",
    # The threading layer, the compiler's optimisation and its CPU, debugging.
    "NUMBA_": "fastnn",
    # The shape of its kernels; also silences the message at the first compilation, which a target needs.
    "FASTNN_": "fastnn",
    # Checks and fills each block of memory.
    "MALLOC_": "the C library",
    # Recompile every module at each import, or run slower to find errors.
    "PYTHONDONTWRITEBYTECODE": "Python",
    "PYTHONDEVMODE": "Python",
    "PYTHONMALLOC": "Python",
    "PYTHONTRACEMALLOC": "Python",
    "PYTHONPROFILEIMPORTTIME": "Python",
    "PYTHONOPTIMIZE": "Python: without assertions, which others would run",
}
# These only say where files are. FASTNN_DATA is not among them: both libraries train on the bundled MNIST.
KEPT = (
    "FASTNN_CACHE_DIR", "NUMBA_CACHE_DIR", "TORCH_HOME", "TORCHINDUCTOR_CACHE_DIR",
    "JAX_COMPILATION_CACHE_DIR",
)  # fmt: skip
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class MissingLibrary(Exception):
    """A module is not installed; the message names it."""


def environment(threads: int) -> dict[str, str]:
    """The environment of a process that measures with this many threads."""
    env = {name: value for name, value in os.environ.items() if name in KEPT or not name.startswith(tuple(UNSET))}
    return {**env, **dict.fromkeys(_THREAD_VARIABLES, str(threads)), "JAX_PLATFORMS": "cpu", "PYTHONUNBUFFERED": "1"}


def usable_cpus() -> list[int]:
    """One logical CPU per core that this process may use."""
    if not hasattr(os, "sched_getaffinity"):
        return list(range(os.cpu_count() or 1))
    seen: set[str] = set()
    result = []
    for cpu in sorted(os.sched_getaffinity(0)):
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        core = siblings.read_text().strip() if siblings.exists() else str(cpu)
        if core not in seen:
            seen.add(core)
            result.append(cpu)
    return result


def pin(threads: int) -> None:
    """Restrict this process to as many CPUs as it has threads: JAX and others count the CPUs they may use."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, usable_cpus()[:threads])


def start(name: str, threads: int) -> dict[str, Any]:
    """Import a library, give it its threads, and return its version, threads and BLAS.

    Raises: MissingLibrary.
    """
    modules = MODULES[name]
    for module in modules:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise MissingLibrary(error.name or module) from None
    described = {module: str(importlib.import_module(module).__version__) for module in modules}
    count, blas = _START.get(name, _START.get(modules[0], _unknown))(threads)
    return {"versions": described, "threads": count, "blas": blas}


def _unknown(threads: int) -> tuple[int, str]:
    return threads, ""


def _fastnn(threads: int) -> tuple[int, str]:
    import numba

    import fastnn
    from fastnn.kernels.llvm import simd
    from fastnn.kernels.runtime import launcher

    fastnn.set_num_threads(threads)
    vector = 8 * simd.vector_bytes()
    blas = f"its own, {vector}-bit vectors, {launcher.threading_layer()} threads, Numba {numba.__version__}"
    return fastnn.get_num_threads(), blas


def _numpy(threads: int) -> tuple[int, str]:
    import numpy

    blas = numpy.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return threads, f"{blas['name']} {blas['version']}{_openblas_kernel(Path(numpy.__file__).parent)}"


def _openblas_kernel(package: Path) -> str:
    """The kernel chosen for this CPU by the OpenBLAS in NumPy's wheel."""
    import ctypes

    for folder in (package.parent / "numpy.libs", package / ".dylibs"):
        for path in sorted(folder.glob("*openblas*")):
            library = ctypes.CDLL(str(path))
            for name in ("scipy_openblas_get_corename64_", "openblas_get_corename64_", "openblas_get_corename"):
                if hasattr(library, name):
                    function = getattr(library, name)
                    function.restype = ctypes.c_char_p
                    return f", kernel {function().decode()}"
    return ""


def _torch(threads: int) -> tuple[int, str]:
    import torch

    torch.set_num_threads(threads)
    blas = "MKL" if torch.backends.mkl.is_available() else "its own"
    return torch.get_num_threads(), f"{blas}, {torch.backends.cpu.get_cpu_capability()}"


def _jax(threads: int) -> tuple[int, str]:
    # XLA has no setting for the size of its pool: it counts the CPUs that the process may use.
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return count, "XLA's own (Eigen)"


def _jax_waiting(threads: int) -> tuple[int, str]:
    import jax

    jax.config.update("jax_cpu_enable_async_dispatch", False)
    count, blas = _jax(threads)
    return count, f"{blas}, calls that wait"


_START: dict[str, Callable[[int], tuple[int, str]]] = {
    "fastnn": _fastnn, "numpy": _numpy, "torch": _torch, "jax": _jax, "jax_waiting": _jax_waiting,
    "sklearn": _numpy,
}  # fmt: skip
