"""``fastnn doctor``: the machine as fastnn sees it, and a self-test of every kernel, for bug reports."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from fastnn._cli.command import Command

# Variables whose values change how fastnn runs; no others are printed.
_PREFIXES = ("FASTNN_", "NUMBA_", "OMP_", "MKL_", "OPENBLAS_", "KMP_")
_PACKAGES = ("numpy", "numba", "llvmlite", "scipy", "tqdm", "torch", "scikit-learn", "onnx", "safetensors")
# Features of x86-64 and arm64 that decide about vectors and micro-kernels.
_FEATURES = (
    "sse4.2", "avx", "avx2", "fma", "avx512f", "avx512vl", "avx512bw", "avx512dq", "avx512bf16", "amx-tile", "neon",
    "sve", "sve2", "bf16", "fp16fml",
)  # fmt: skip


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="without measurements and the self-test")


def _run(options: argparse.Namespace) -> int:
    found = report(quick=options.quick)
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        print(as_text(found))
    test = found.get("self-test")
    return 1 if test and test["wrong"] else 0


COMMANDS = (Command("doctor", "describe this machine and test every kernel on it", _arguments, _run),)


def report(quick: bool = False) -> dict[str, Any]:
    """All facts, by section: numbers, strings and lists.

    Args:
        quick: leave out the measurements and the self-test, which take seconds, or minutes with an empty cache.
    """
    found = {
        "versions": _versions(), "system": _system(), "CPU": _cpu(), "threads": _threads(), "cache": _cache(),
        "environment": {name: os.environ[name] for name in sorted(os.environ) if name.startswith(_PREFIXES)},
    }  # fmt: skip
    if not quick:
        found["measured"] = _measured()
        found["self-test"] = _self_test()
        # The self-test may have filled it.
        found["cache"] = _cache()
    return found


def as_text(found: dict[str, Any]) -> str:
    """The report in lines of ``name: value``, by section."""
    lines: list[str | None] = []
    for section, facts in found.items():
        if not facts:
            continue
        lines += ["" if lines else None, section]
        width = max(map(len, facts))
        for name, value in facts.items():
            items = value if isinstance(value, list) else [value]
            text = [f"{item:.4g}" if isinstance(item, float) else str(item) for item in items or ["none"]]
            joined = ", ".join(text)
            if len(joined) < 90:
                lines.append(f"  {name:<{width}}  {joined}")
            else:
                lines += [f"  {name:<{width}}  {text[0]}", *[f"  {'':<{width}}  {one}" for one in text[1:]]]
    return "\n".join(line for line in lines if line is not None)


# --------------------------------------------------------------------------------------------
# Sections


def _versions() -> dict[str, Any]:
    import fastnn

    found = {"fastnn": fastnn.__version__, "Python": f"{platform.python_implementation()} {platform.python_version()}"}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    found["installed in"] = str(Path(fastnn.__file__).parent)
    return found


def _system() -> dict[str, Any]:
    found: dict[str, Any] = {"platform": platform.platform(), "machine": platform.machine()}
    if hasattr(platform, "libc_ver") and platform.libc_ver()[0]:
        found["C library"] = " ".join(platform.libc_ver())
    with contextlib.suppress(OSError, ValueError, AttributeError):
        found["memory, GiB"] = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return found


def _cpu() -> dict[str, Any]:
    from numba.core import registry

    from fastnn.kernels.llvm import simd
    from fastnn.kernels.runtime import thread_count

    _, target, features = registry.cpu_target.target_context.codegen().magic_tuple()
    enabled = {name[1:] for name in features.split(",") if name.startswith("+")}
    return {
        "name": _cpu_name(), "compiled for": target or "this CPU",
        "features": [name for name in _FEATURES if name in enabled],
        "vector, bytes": simd.vector_bytes(), "lanes, float32": simd.lanes(4), "fused multiply-add": simd.has_fma(),
        "logical CPUs": os.cpu_count() or 1, "usable CPUs": len(_usable()),
        "CPU limit of the container": thread_count.cpu_limit() or "none",
    }  # fmt: skip


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _usable() -> list[int]:
    from fastnn._debug.core_latency import usable_cpus

    return usable_cpus()


def _threads() -> dict[str, Any]:
    import numba

    from fastnn.kernels.runtime import launcher, pool, thread_count

    layer, count = launcher.threading_layer(), thread_count.AVAILABLE
    if "NUMBA_NUM_THREADS" in os.environ:
        reason = f"NUMBA_NUM_THREADS is {count}"
    elif count < int(numba.config.NUMBA_NUM_THREADS):
        reason = f"the container may use {thread_count.cpu_limit():g} CPUs"
    else:
        reason = "one CPU can be used" if count == 1 else f"{count} CPUs can be used"
    return {
        "layer": "fastnn's own pool" if layer == "fastnn" else "none: launches run on the calling thread",
        "reason": reason, "threads of a launch": thread_count.get_num_threads(),
        "quiet for, s": pool.quiet_seconds(), "Numba's layer": f"{numba.config.THREADING_LAYER} (not used by fastnn)",
    }  # fmt: skip


def _cache() -> dict[str, Any]:
    from fastnn.kernels.runtime import cache

    folder = cache.cache_folder()
    if folder is None:
        return {
            "folder": "none: no folder can be written, so every process compiles its kernels",
            "tried": [str(root) for root in cache._roots()],
        }
    files = sorted(folder.glob("*.bin"))
    others = [path for path in folder.parent.glob("kernels-*") if path != folder]
    return {
        "folder": str(folder),
        "chosen by": "FASTNN_CACHE_DIR" if _is_given(folder) else "the first that can be written",
        "kernels": len(files), "MB": sum(path.stat().st_size for path in files) / 1e6,
        "damaged": [path.name for path in files if not _is_whole(path)],
        "unfinished": len(list(folder.glob("*.tmp"))), "folders of other versions": len(others),
    }  # fmt: skip


def _is_given(folder: Path) -> bool:
    given = os.environ.get("FASTNN_CACHE_DIR")
    return bool(given) and folder.parent == Path(given or "")


def _is_whole(path: Path) -> bool:
    """Whether a file is as it was written. A damaged one is compiled again when it is needed."""
    from fastnn.kernels.runtime import cache

    try:
        content = path.read_bytes()
    except OSError:
        return False
    return cache.digest_of(path, content[cache._DIGEST :]) == content[: cache._DIGEST]


def _best(call: Callable[[], object], times: int) -> float:
    best = float("inf")
    for _ in range(times):
        start = perf_counter()
        call()
        best = min(best, perf_counter() - start)
    return best


def _measured() -> dict[str, Any]:
    """Rates of the kernels, the best of several runs, and the latency between two cores."""
    import numpy as np

    from fastnn import kernels
    from fastnn._debug.core_latency import round_trip

    size = 768
    a, b, out = (np.ones((size, size), np.float32) for _ in range(3))
    product = _best(lambda: kernels.gemm(out, a, b), 12)
    long = np.ones(2**24, np.float32)
    pass_ = _best(lambda: kernels.scale(long, 1.0), 6)
    few = np.ones(8, np.float32)

    def many() -> None:
        for _ in range(200):
            kernels.scale(few, 1.0)

    launch = _best(many, 20) / 200
    return {
        f"product of {size} x {size}, GFLOP/s": 2e-9 * size**3 / product,
        "memory read and written, GB/s": 2e-9 * long.nbytes / pass_,
        "a small launch, us": 1e6 * launch,
        "core-to-core round trip, ns": 1e9 * round_trip() or "one core",
    }


def _self_test() -> dict[str, Any]:
    from fastnn._debug import kernel_checks
    from fastnn.kernels.runtime import compiler

    before, start = len(compiler.compilations), perf_counter()
    is_shown = sys.stderr.isatty()

    def show(name: str) -> None:
        if is_shown:
            print(f"\r\x1b[Kself-test: {name}", end="", file=sys.stderr, flush=True)

    wrong = kernel_checks.wrong(show)
    if is_shown:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    return {
        "checks": 1 + 2 * len(kernel_checks.CHECKS), "seconds": perf_counter() - start,
        "compiled": len(compiler.compilations) - before, "wrong": [str(one) for one in wrong],
    }  # fmt: skip
