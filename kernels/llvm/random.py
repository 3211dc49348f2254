"""Random bits inside kernels: a function of seed, call and position, independent of thread and order.

A generator with state produces its numbers in sequence, so threads and vector lanes would wait for each
other. Here the number at a position is a hash of the position and of a 64-bit key, and the key is a
hash of seed and call:

- the key is the finisher of SplitMix64 (G. L. Steele, D. Lea and C. H. Flood, OOPSLA 2014) over the
  Weyl sequence of calls, a bijection for each seed: no two calls share a key;
- the bits are a permutation of the 32-bit numbers with three multiplications, which C. Wellons found by search
  for the least bias under flips of single bits (github.com/skeeto/hash-prospector, "triple32"). Half of the
  key is added to the position first, and the other half is mixed in between the multiplications, so that the
  numbers of one call are not a shifted copy of another call's.

Philox-4x32-7, the cheapest generator of J. K. Salmon et al. (SC 2011) that passes all of BigCrush, needs two
products of 32 by 32 bits to 64 in each of seven rounds for four numbers, and a vector unit computes such a
product in two halves: measured with AVX-512, 0.54 ns a number against 0.09. The permutation with two
multiplications from the same source ("lowbias32") failed the birthday spacings and the plane of neighbours in
``tests/kernels/test_random_bits.py``.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastnn.kernels.runtime.checks import check
from fastnn.kernels.runtime.compiler import INT64, inline

_U32 = ir.IntType(32)


def check_state(state: np.ndarray) -> None:
    """Raise unless ``state`` is (seed, call), int64."""
    check("state", state, INT64, (2,))


@inline
def random_keys(state):
    """Two 32-bit keys of the draw ``state``, (seed, call)."""
    z = np.uint64(state[0]) + np.uint64(0x9E3779B97F4A7C15) * np.uint64(state[1])
    # Two rounds: seeds and calls are small numbers, and one seed must not equal a later call of another.
    for _ in range(2):
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = (z ^ (z >> np.uint64(31))) + np.uint64(state[0])
    return np.uint32(z), np.uint32(z >> np.uint64(32))


def write_bits(builder: ir.IRBuilder, position: ir.Value, key0: ir.Value, key1: ir.Value) -> ir.Value:
    """The bits for positions of 32 bits: one, or a vector of them with vectors of the keys."""
    kind = position.type

    def number(value: int) -> ir.Constant:
        return ir.Constant(kind, [value] * kind.count) if isinstance(kind, ir.VectorType) else kind(value)

    x = builder.add(position, key0)
    x = builder.xor(x, builder.lshr(x, number(17)))
    x = builder.mul(x, number(0xED5AD4BB))
    x = builder.xor(builder.xor(x, builder.lshr(x, number(11))), key1)
    x = builder.mul(x, number(0xAC4C1B51))
    x = builder.xor(x, builder.lshr(x, number(15)))
    # The published last step, an exclusive or with the bits shifted right by 14, would change only low bits.
    return builder.mul(x, number(0x31848BAB))


@intrinsic
def random_bits(typingctx, position, key0, key1):
    """32 bits for ``position``, as uint32; the high bits are the best. The surrounding loop is vectorised."""
    if not isinstance(position, types.Integer) or key0 != types.uint32 or key1 != types.uint32:
        return None

    def codegen(context, builder, signature, values):
        position, key0, key1 = values
        if position.type != _U32:
            position = builder.trunc(position, _U32)
        return write_bits(builder, position, key0, key1)

    return types.uint32(position, key0, key1), codegen


@inline
def random_threshold(probability):
    """The threshold that random bits are below with this probability, in [0, 1]."""
    return np.uint32(min(probability * 4294967296.0, 4294967295.0))
