"""Functions of ``nn.functional``, for the table of operations: activations, softmax, distances, padding."""

# ruff: noqa: E501  A line to each operation reads better than three.

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.operations.activations import ACTIVATIONS
from benchmarks.operations.row import ANY, MATRIX, POSITIVE, Operation, Shape, square, vectors

# Away from the corners of the piecewise functions, which are multiples of 0.5.
_WIDE = (-7.3, 7.3)


def _one(name: str, run: Callable[..., Any], shapes: list[tuple[Shape, ...]] = ANY, **options: Any) -> Operation:
    return Operation(name, run, shapes, group="operations_nn", **options)


def _labels(lib: Any, values: Any) -> Any:
    return lib.tensor(np.array(values))


NETWORKS: list[Operation] = [
    *[
        _one(name, lambda lib, x, run=run: run(lib.nn.functional, x), domain=_WIDE,
             roundings=8 if row.smooth else 4, terms=True)
        for row in ACTIVATIONS for name, run in row.functions.items()
    ],
    _one("rrelu", lambda lib, x: lib.nn.functional.rrelu(x, 0.1, 0.3), domain=_WIDE, roundings=4, terms=True),
    _one("rrelu_one_slope", lambda lib, x: lib.nn.functional.rrelu(x, 0.25, 0.25, training=True), domain=_WIDE,
         roundings=4, terms=True),
    _one("prelu", lambda lib, x, w: lib.nn.functional.prelu(x, w),
         [((2, 3), (1,)), ((2, 3), (3,)), ((2, 3, 4), (3,)), ((0, 3), (3,)), ((5,), (1,)), ((), (1,)),
          ((2, 1, 2), (1,)), ((2, 3, 1), (3,)), ((3,), ()), ((1, 1), (1,))], roundings=8, terms=True, scale=square("MV")),
    _one("glu", lambda lib, x: lib.nn.functional.glu(x), [((4,),), ((2, 6),), ((0, 2),), ((3, 0),), ((2, 3, 2),)],
         roundings=8, terms=True),
    _one("glu_0", lambda lib, x: lib.nn.functional.glu(x, dim=0), [((4,),), ((2, 3),), ((4, 1, 2),)],
         roundings=8, terms=True),
    # Softmax
    *[_one(f"{name}_{label}", lambda lib, x, name=name, dim=dim: getattr(lib.nn.functional, name)(x, dim=dim),
           shapes, roundings=8, terms=True)
      for name in ("softmax", "log_softmax", "softmin")
      for label, dim, shapes in [("last", -1, ANY), ("0", 0, ANY), ("1", 1, [((2, 3),), ((2, 3, 4),), ((2, 0),)])]],
    _one("softmax_double", lambda lib, x: lib.nn.functional.softmax(x, dim=-1, dtype=lib.float64), roundings=8,
         terms=True),
    # Vectors
    _one("normalize", lambda lib, x: lib.nn.functional.normalize(x), MATRIX, domain=POSITIVE, roundings=8, terms=True),
    _one("normalize_1_0", lambda lib, x: lib.nn.functional.normalize(x, p=1, dim=0), [((4,),), *MATRIX],
         roundings=8, terms=True, scale=square("M")),
    _one("cosine_similarity", lambda lib, x, y: lib.nn.functional.cosine_similarity(x, y),
         [((2, 3), (2, 3)), ((1, 4), (3, 4)), ((0, 3), (0, 3)), ((2, 3, 2), (2, 3, 2))], roundings=12, terms=True, scale=square("MM")),
    _one("cosine_similarity_0", lambda lib, x, y: lib.nn.functional.cosine_similarity(x, y, dim=0),
         [((3,), (3,)), ((2, 3), (3,))], roundings=12, terms=True, scale=square("MM")),
    *[_one(f"pairwise_distance_{p}", lambda lib, x, y, p=p: lib.nn.functional.pairwise_distance(x, y, p=p),
           [((2, 3), (2, 3)), ((3,), (3,)), ((2, 3), (1, 3)), ((0, 3), (0, 3))], roundings=12, terms=True, scale=square("MM"))
      for p in (1, 2, 3.0, float("inf"))],
    _one("pairwise_distance_kept", lambda lib, x, y: lib.nn.functional.pairwise_distance(x, y, keepdim=True, eps=0),
         [((2, 3), (2, 3))], roundings=12, terms=True, scale=square("MM")),
    _one("pdist", lambda lib, x: lib.nn.functional.pdist(x), [((4, 3),), ((1, 3),), ((2, 1),)], roundings=12,
         terms=True),
    _one("bilinear", lambda lib, x, y, w, b: lib.nn.functional.bilinear(x, y, w, b),
         [((2, 3), (2, 4), (5, 3, 4), (5,)), ((3,), (4,), (5, 3, 4), (5,)), ((0, 3), (0, 4), (5, 3, 4), (5,)),
          ((2, 2, 3), (2, 2, 4), (1, 3, 4), (1,))], roundings=8, terms=True),
    # Padding
    _one("pad", lambda lib, x: lib.nn.functional.pad(x, (1, 2)), [((3,),), ((2, 3),), ((2, 0),), ((2, 1, 2),)], scale=vectors(1)),
    _one("pad_two", lambda lib, x: lib.nn.functional.pad(x, (1, 0, 2, 1), value=2.5), [((2, 3),), ((2, 1, 2),)]),
    _one("pad_negative", lambda lib, x: lib.nn.functional.pad(x, (-1, 2)), [((3,),), ((2, 3),)]),
    _one("pad_crop", lambda lib, x: lib.nn.functional.pad(x, (-1, -1)), [((3,),), ((2, 4),)]),
    *[_one(f"pad_{mode}", lambda lib, x, mode=mode: lib.nn.functional.pad(x, (2, 1), mode=mode),
           [((2, 4),), ((2, 1, 3),)]) for mode in ("reflect", "replicate", "circular")],
    # Embeddings: the row indices are fixed
    _one("embedding", lambda lib, w: lib.nn.functional.embedding(_labels(lib, [[0, 2, 0], [1, 0, 2]]), w),
         [((3, 4),), ((5, 1),), ((3, 0),)], roundings=4, terms=True),
    _one("embedding_padding", lambda lib, w: lib.nn.functional.embedding(_labels(lib, [0, 2, 2, 1]), w, padding_idx=-1),
         [((3, 4),)], roundings=4, terms=True, smooth=False),
    _one("embedding_freq", lambda lib, w: lib.nn.functional.embedding(
         _labels(lib, [0, 2, 2, 1, 2]), w, scale_grad_by_freq=True), [((3, 4),)], roundings=8, terms=True,
         smooth=False),
    _one("embedding_0d", lambda lib, w: lib.nn.functional.embedding(_labels(lib, 1), w), [((3, 4),)]),
    _one("embedding_none", lambda lib, w: lib.nn.functional.embedding(
         _labels(lib, np.zeros((0, 2), np.int64)), w), [((3, 4),)]),
    *[_one(f"embedding_bag_{mode}", lambda lib, w, mode=mode: lib.nn.functional.embedding_bag(
          _labels(lib, [[0, 2, 0], [1, 0, 2]]), w, mode=mode), [((3, 4),)], roundings=8, terms=True)
      for mode in ("sum", "mean", "max")],
    *[_one(f"embedding_bag_offsets_{mode}", lambda lib, w, mode=mode: lib.nn.functional.embedding_bag(
          _labels(lib, [0, 2, 0, 1, 0, 2]), w, _labels(lib, [0, 2, 2, 5]), mode=mode), [((3, 4),)],
          roundings=8, terms=True) for mode in ("sum", "mean", "max")],
    _one("embedding_bag_weights", lambda lib, w, s: lib.nn.functional.embedding_bag(
         _labels(lib, [[0, 2, 0], [1, 0, 2]]), w, mode="sum", per_sample_weights=s), [((3, 4), (2, 3))],
         roundings=8, terms=True),
    _one("embedding_bag_padding", lambda lib, w: lib.nn.functional.embedding_bag(
         _labels(lib, [0, 2, 0, 1, 0, 2]), w, _labels(lib, [0, 2, 6]), mode="mean", padding_idx=0,
         include_last_offset=True), [((3, 4),)], roundings=8, terms=True),
]  # fmt: skip
