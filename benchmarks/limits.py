"""The machine's limits: multiply-adds a second and bytes copied a second, on the threads in use.

``python -m benchmarks.limits THREADS`` prints both as one line of JSON. It runs in a process of its
own, like every other measurement.
"""

from __future__ import annotations

import json
import sys
from time import perf_counter
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from benchmarks import libraries
from benchmarks.worker import private_stdout
from fastnn.kernels.llvm import simd
from fastnn.kernels.runtime import launcher

# Independent chains of multiply-adds. Two units with a latency of four cycles need eight; twelve and
# the two factors fit into the sixteen registers of AVX2.
CHAINS = 12
# Size of each of the two arrays of the copy: much larger than the caches.
COPY_BYTES = 128 * 2**20


@intrinsic
def _multiply_adds(typingctx, count, start):
    """Run ``count`` rounds of CHAINS vector multiply-adds in registers; returns a number that depends on all."""

    def codegen(context, builder, signature, values):
        count, start = values
        integer, single = ir.IntType(64), ir.FloatType()
        lanes = simd.lanes(4)
        vector = ir.VectorType(single, lanes)
        factor, addend = (ir.Constant(vector, [number] * lanes) for number in (0.999, 0.001))
        # Every chain has its own start value: equal chains would be merged into one.
        first = builder.insert_element(ir.Constant(vector, [0.0] * lanes), start, ir.IntType(32)(0))
        starts = [builder.fadd(first, ir.Constant(vector, [float(c + 1)] * lanes)) for c in range(CHAINS)]
        multiply_add = simd.declare(builder, "fmuladd", vector, 3)

        entry, loop = builder.block, builder.append_basic_block("loop")
        end = builder.append_basic_block("end")
        builder.branch(loop)
        builder.position_at_end(loop)
        k = builder.phi(integer)
        k.add_incoming(integer(0), entry)
        chains = [builder.phi(vector) for _ in range(CHAINS)]
        after = [builder.call(multiply_add, [chain, factor, addend]) for chain in chains]
        for chain, begin, value in zip(chains, starts, after, strict=True):
            chain.add_incoming(begin, entry)
            chain.add_incoming(value, loop)
        k_next = builder.add(k, integer(1))
        k.add_incoming(k_next, loop)
        builder.cbranch(builder.icmp_signed("<", k_next, count), loop, end)
        builder.position_at_end(end)
        total = after[0]
        for value in after[1:]:
            total = builder.fadd(total, value)
        return builder.extract_element(total, ir.IntType(32)(0))

    return types.float32(types.int64, types.float32), codegen


@njit(parallel=True, nogil=True)
def _arithmetic(results, rounds):
    for t in prange(results.size):
        results[t] = _multiply_adds(rounds, results[t])


@intrinsic
def _stream(typingctx, target, source, size):
    """Copy ``size`` bytes with non-temporal stores; size and addresses are multiples of a vector.

    A plain store reads its cache line first. The limit would be a third lower than the bandwidth
    of a kernel that updates its data in place.
    """

    def codegen(context, builder, signature, values):
        target, source, size = values
        integer, lanes = ir.IntType(64), simd.lanes(4)
        vector = ir.VectorType(ir.FloatType(), lanes)
        past_caches = builder.module.add_metadata([ir.IntType(32)(1)])
        with cgutils.for_range_slice(builder, integer(0), size, integer(4 * lanes)) as (offset, _):
            there, here = (
                builder.inttoptr(builder.add(base, offset), vector.as_pointer()) for base in (target, source)
            )  # fmt: skip
            store = builder.store(builder.load(here, align=4 * lanes), there, align=4 * lanes)
            store.set_metadata("nontemporal", past_caches)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


@njit(parallel=True, nogil=True)
def _copy(target, source, size, threads):
    for t in prange(threads):
        lines = size // 64
        lo, hi = lines * t // threads * 64, lines * (t + 1) // threads * 64
        _stream(target + lo, source + lo, hi - lo)


def _fastest(run: Any, repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = perf_counter()
        run()
        times.append(perf_counter() - start)
    return min(times)


def measured(threads: int) -> dict[str, float]:
    """Multiply-adds (two operations each) and bytes read and written, per second, the best of many tries."""
    launcher.threading_layer()  # fastnn's choice of threads, as for its kernels
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    results, rounds = np.zeros(threads, np.float32), 2_000_000
    _arithmetic(results, 1)
    seconds = _fastest(lambda: _arithmetic(results, rounds), 40)
    flops = 2.0 * threads * CHAINS * simd.lanes(4) * rounds / seconds
    arrays = [np.ones(COPY_BYTES + 64, np.uint8) for _ in range(2)]
    target, source = (-(-array.ctypes.data // 64) * 64 for array in arrays)
    _copy(target, source, COPY_BYTES, threads)
    seconds = _fastest(lambda: _copy(target, source, COPY_BYTES, threads), 20)
    return {"flops": flops, "bytes": 2.0 * COPY_BYTES / seconds}


def main(argv: list[str]) -> int:
    """Print the limits."""
    out, threads = private_stdout(), int(argv[0])
    libraries.pin(threads)
    out.write(json.dumps(measured(threads)) + "\n")
    out.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
