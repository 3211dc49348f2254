"""Random bits inside kernels: a function of seed, call and position, never of thread or order.

A generator with state gives its numbers in one order, so that threads and vector lanes wait for each
other. Here the number at a position is a hash of the position and of a 64-bit key, and the key is a
hash of seed and call:

- the key is the finisher of SplitMix64 (G. L. Steele, D. Lea and C. H. Flood, OOPSLA 2014) over the
  Weyl sequence of calls, a bijection for each seed: no two calls share their key;
- the bits are a permutation of the 32-bit numbers in three multiplications, which C. Wellons found by search
  for the least bias under flips of single bits (github.com/skeeto/hash-prospector, "triple32"). Half of the
  key is added to the position before it and the other half put in between its multiplications, so that the
  numbers of one call are not those of another one shifted.

Philox-4x32-7, the cheapest generator of J. K. Salmon et al. (SC 2011) that passes all of BigCrush, has two
products of 32 by 32 bits to 64 in each of seven rounds for four numbers, and a vector unit makes such a
product in two halves: measured with AVX-512, 0.54 ns a number against 0.09. The permutation of two
multiplications of the same source ("lowbias32") failed the birthday spacings and the plane of neighbours in
``tests/kernels/test_random_bits.py``.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastnn.kernels.runtime.checks import check
from fastnn.kernels.runtime.compiler import inline

_STATE = np.dtype(np.int64)
_U32 = ir.IntType(32)


def check_state(state: np.ndarray) -> None:
    """Raise unless ``state`` is (seed, call), int64."""
    check("state", state, _STATE, (2,))


@inline
def random_keys(state):
    """Two 32-bit keys of the draw ``state``, (seed, call)."""
    z = np.uint64(state[0]) + np.uint64(0x9E3779B97F4A7C15) * np.uint64(state[1])
    # Twice: seeds and calls are small numbers, and a seed is not to be another one's later call.
    for _ in range(2):
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = (z ^ (z >> np.uint64(31))) + np.uint64(state[0])
    return np.uint32(z), np.uint32(z >> np.uint64(32))


@intrinsic
def random_bits(typingctx, position, key0, key1):
    """32 bits for ``position``, as uint32; the upper ones are the best. Vectorised by the loop around it."""
    if not isinstance(position, types.Integer) or key0 != types.uint32 or key1 != types.uint32:
        return None

    def codegen(context, builder, signature, values):
        position, key0, key1 = values
        if position.type != _U32:
            position = builder.trunc(position, _U32)
        x = builder.add(position, key0)
        x = builder.xor(x, builder.lshr(x, _U32(17)))
        x = builder.mul(x, _U32(0xED5AD4BB))
        x = builder.xor(builder.xor(x, builder.lshr(x, _U32(11))), key1)
        x = builder.mul(x, _U32(0xAC4C1B51))
        x = builder.xor(x, builder.lshr(x, _U32(15)))
        # The published last step, an exclusive or with the bits shifted right by 14, would change lower bits only.
        return builder.mul(x, _U32(0x31848BAB))

    return types.uint32(position, key0, key1), codegen


@inline
def random_threshold(probability):
    """The bits below which a number is drawn with this probability, in [0, 1]."""
    return np.uint32(min(probability * 4294967296.0, 4294967295.0))
