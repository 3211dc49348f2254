"""Edge cases of layers and functions of nn compared with PyTorch: shapes, dtypes, options, errors, reprs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from beside_torch import assert_same_outcome, torch

import fastnn

pytestmark = pytest.mark.torch


def table(lib: Any, rows: int = 4) -> Any:
    return lib.tensor(np.arange(3 * rows, dtype="f4").reshape(rows, 3))


def ids(lib: Any, values: Any, kind: Any = "i8") -> Any:
    return lib.tensor(np.array(values, kind))


EDGES: dict[str, Callable[[Any], Any]] = {
    # Activations
    **{
        f"{name}_{label}": lambda lib, name=name, make=make: getattr(lib.nn.functional, name)(make(lib))
        for name in ("elu", "selu", "celu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "logsigmoid", "mish",
                     "relu6", "silu", "softplus", "softshrink", "softsign", "tanhshrink")
        for label, make in {"0d": lambda lib: lib.tensor(0.7), "empty": lambda lib: lib.zeros(0, 3),
                            "bool": lambda lib: lib.tensor([True]),
                            "t": lambda lib: lib.tensor([[1.0, -2.0, 3.0], [0.5, 4.0, -0.3]]).t()}.items()
    },
    "elu_of_list": lambda lib: lib.nn.functional.elu([1.0]),
    "silu_of_none": lambda lib: lib.nn.functional.silu(None),
    "celu_0": lambda lib: lib.nn.functional.celu(lib.ones(1), 0.0),
    "elu_text": lambda lib: lib.nn.functional.elu(lib.ones(1), "a"),
    "elu_negative": lambda lib: lib.nn.functional.elu(lib.tensor([-1.0, 1.0]), -1.0),
    "softshrink_negative": lambda lib: lib.nn.functional.softshrink(lib.ones(1), -1.0),
    "hardtanh_swapped": lambda lib: lib.nn.functional.hardtanh(lib.ones(1), 1.0, -1.0),
    "hardtanh_module_swapped": lambda lib: lib.nn.Hardtanh(1.0, 1.0),
    "hardtanh_leaf_in_place": lambda lib: lib.nn.Hardtanh(inplace=True)(lib.ones(2, requires_grad=True)),
    "elu_in_place": lambda lib: (lambda x: [lib.nn.functional.elu_(x), x])(lib.tensor([-1.0, 1.0])),
    "threshold_in_place": lambda lib: (
        lambda x: [lib.nn.functional.threshold_(x, 0.0, 9.0), x])(lib.tensor([-1.0, 1.0])),
    "rrelu_swapped": lambda lib: lib.nn.functional.rrelu(lib.ones(1), 0.4, 0.1, training=True),
    "glu_odd": lambda lib: lib.nn.functional.glu(lib.ones(3)),
    "glu_0d": lambda lib: lib.nn.functional.glu(lib.tensor(1.0)),
    "glu_dim": lambda lib: lib.nn.functional.glu(lib.ones(2, 2), dim=2),
    "prelu_channels": lambda lib: lib.nn.functional.prelu(lib.ones(2, 3), lib.ones(2)),
    "prelu_matrix": lambda lib: lib.nn.functional.prelu(lib.ones(2, 3), lib.ones(1, 3)),
    "prelu_dtype": lambda lib: lib.nn.functional.prelu(lib.ones(2, 3), lib.ones(3).double()),
    "prelu_1d": lambda lib: lib.nn.functional.prelu(-lib.ones(3), lib.tensor([2.0, 3.0, 4.0])),
    "prelu_0d": lambda lib: lib.nn.functional.prelu(lib.tensor(-1.0), lib.tensor(3.0)),
    "prelu_0d_channels": lambda lib: lib.nn.functional.prelu(lib.tensor(-1.0), lib.ones(2)),
    # Softmax
    "softmax_dim": lambda lib: lib.nn.functional.softmax(lib.ones(2), dim=1),
    "softmax_0d": lambda lib: lib.nn.functional.softmax(lib.tensor(3.0), dim=0),
    "softmax_0d_dim": lambda lib: lib.nn.functional.softmax(lib.tensor(3.0), dim=1),
    "softmax_0d_last": lambda lib: lib.nn.functional.log_softmax(lib.tensor(3.0), dim=-1),
    "softmax_text": lambda lib: lib.nn.functional.softmax(lib.ones(2), dim="x"),
    "softmax_int_to_double": lambda lib: lib.nn.functional.softmax(lib.tensor([1, 2]), dim=0, dtype=lib.float64),
    "softmax_special": lambda lib: lib.nn.functional.softmax(
        lib.tensor([[float("inf"), 0.0], [float("-inf"), 0.0], [float("nan"), 0.0]]), dim=1),
    "log_softmax_special": lambda lib: lib.nn.functional.log_softmax(
        lib.tensor([[float("inf"), 0.0], [float("-inf"), 0.0], [float("-inf"), float("-inf")]]), dim=1),
    "softmax2d": lambda lib: lib.nn.Softmax2d()(lib.ones(2, 3, 1, 2)),
    "softmax2d_matrix": lambda lib: lib.nn.Softmax2d()(lib.ones(2, 3)),
    "gumbel_int": lambda lib: lib.nn.functional.gumbel_softmax(lib.tensor([1, 2])),
    # Embeddings
    "embedding_large": lambda lib: lib.nn.functional.embedding(ids(lib, [4]), table(lib)),
    "embedding_negative": lambda lib: lib.nn.functional.embedding(ids(lib, [-1]), table(lib)),
    "embedding_int32": lambda lib: lib.nn.functional.embedding(ids(lib, [[3, 0]], "i4"), table(lib)),
    "embedding_float": lambda lib: lib.nn.functional.embedding(lib.ones(2), table(lib)),
    "embedding_uint8": lambda lib: lib.nn.functional.embedding(ids(lib, [1], "u1"), table(lib)),
    "embedding_list": lambda lib: lib.nn.functional.embedding([1], table(lib)),
    "embedding_padding": lambda lib: lib.nn.functional.embedding(ids(lib, [1]), table(lib), padding_idx=9),
    "embedding_padding_negative": lambda lib: lib.nn.functional.embedding(ids(lib, [1]), table(lib), padding_idx=-9),
    "embedding_weight_1d": lambda lib: lib.nn.functional.embedding(ids(lib, [1]), lib.ones(3)),
    "embedding_no_rows": lambda lib: lib.nn.functional.embedding(ids(lib, []), lib.zeros(0, 3)),
    "embedding_layer_padding": lambda lib: lib.nn.Embedding(3, 2, padding_idx=3),
    "embedding_layer_weight": lambda lib: lib.nn.Embedding(3, 2, _weight=lib.ones(2, 2)),
    "embedding_padding_row": lambda lib: lib.nn.Embedding(3, 2, padding_idx=-1).weight[2],
    "embedding_pretrained": lambda lib: lib.nn.Embedding.from_pretrained(table(lib), padding_idx=1)(ids(lib, [1, 2])),
    "embedding_pretrained_1d": lambda lib: lib.nn.Embedding.from_pretrained(lib.ones(3)),
    "embedding_pretrained_trained": lambda lib: lib.nn.Embedding.from_pretrained(
        table(lib), freeze=False)(ids(lib, [1])).requires_grad,
    "bag_mode": lambda lib: lib.nn.functional.embedding_bag(ids(lib, [[1]]), table(lib), mode="middle"),
    "bag_max_by_frequency": lambda lib: lib.nn.functional.embedding_bag(
        ids(lib, [[1]]), table(lib), mode="max", scale_grad_by_freq=True),
    "bag_max_sparse": lambda lib: lib.nn.functional.embedding_bag(ids(lib, [[1]]), table(lib), mode="max", sparse=True),
    "bag_2d_offsets": lambda lib: lib.nn.functional.embedding_bag(ids(lib, [[1]]), table(lib), ids(lib, [0])),
    "bag_1d": lambda lib: lib.nn.functional.embedding_bag(ids(lib, [1]), table(lib)),
    "bag_3d": lambda lib: lib.nn.functional.embedding_bag(ids(lib, [[[1]]]), table(lib)),
    "bag_first": lambda lib: lib.nn.functional.embedding_bag(ids(lib, [1, 2]), table(lib), ids(lib, [1])),
    "bag_last": lambda lib: lib.nn.functional.embedding_bag(ids(lib, [1, 2]), table(lib), ids(lib, [0, 3])),
    "bag_weights_mode": lambda lib: lib.nn.functional.embedding_bag(
        ids(lib, [[1]]), table(lib), mode="mean", per_sample_weights=lib.ones(1, 1)),
    "bag_weights_shape": lambda lib: lib.nn.functional.embedding_bag(
        ids(lib, [[1]]), table(lib), mode="sum", per_sample_weights=lib.ones(2, 1)),
    "bag_empty": lambda lib: lib.nn.functional.embedding_bag(ids(lib, []), table(lib), ids(lib, [0, 0]), mode="sum"),
    "bag_large": lambda lib: lib.nn.functional.embedding_bag(ids(lib, [[7]]), table(lib)),
    "one_hot": lambda lib: lib.nn.functional.one_hot(ids(lib, [[0, 2], [1, 1]])),
    "one_hot_classes": lambda lib: lib.nn.functional.one_hot(ids(lib, [0, 2]), 5),
    "one_hot_0d": lambda lib: lib.nn.functional.one_hot(ids(lib, 2)),
    "one_hot_few": lambda lib: lib.nn.functional.one_hot(ids(lib, [0, 2]), 2),
    "one_hot_negative": lambda lib: lib.nn.functional.one_hot(ids(lib, [0, -2])),
    "one_hot_empty": lambda lib: lib.nn.functional.one_hot(ids(lib, [])),
    "one_hot_empty_classes": lambda lib: lib.nn.functional.one_hot(ids(lib, []), 3),
    "one_hot_float": lambda lib: lib.nn.functional.one_hot(lib.ones(2)),
    "one_hot_none": lambda lib: lib.nn.functional.one_hot(ids(lib, [0]), 0),
    # Vectors
    "normalize_zero": lambda lib: lib.nn.functional.normalize(lib.zeros(2, 3)),
    "normalize_1d": lambda lib: lib.nn.functional.normalize(lib.ones(3)),
    "normalize_dims": lambda lib: lib.nn.functional.normalize(lib.ones(2, 3), dim=(0, 1)),
    "normalize_int": lambda lib: lib.nn.functional.normalize(lib.tensor([[1, 2]])),
    "cosine_zero": lambda lib: lib.nn.functional.cosine_similarity(lib.zeros(2, 3), lib.ones(2, 3)),
    "cosine_shapes": lambda lib: lib.nn.functional.cosine_similarity(lib.zeros(2, 3), lib.ones(4, 3)),
    "cosine_int": lambda lib: lib.nn.functional.cosine_similarity(ids(lib, [[1, 2]]), ids(lib, [[1, 2]])),
    "distance_shapes": lambda lib: lib.nn.functional.pairwise_distance(lib.zeros(2, 3), lib.ones(2, 4)),
    "distance_equal": lambda lib: lib.nn.functional.pairwise_distance(lib.ones(2, 3), lib.ones(2, 3)),
    "pdist_1d": lambda lib: lib.nn.functional.pdist(lib.ones(3)),
    "bilinear_features": lambda lib: lib.nn.Bilinear(2, 3, 4)(lib.ones(5, 3), lib.ones(5, 3)),
    "bilinear_batches": lambda lib: lib.nn.Bilinear(2, 3, 4)(lib.ones(5, 2), lib.ones(4, 3)),
    "bilinear_none": lambda lib: lib.nn.Bilinear(0, 3, 4),
    "pad_odd": lambda lib: lib.nn.functional.pad(lib.ones(3), (1, 2, 3)),
    "pad_many": lambda lib: lib.nn.functional.pad(lib.ones(3), (1, 2, 3, 4)),
    "pad_negative": lambda lib: lib.nn.functional.pad(lib.ones(3), (-2, -2)),
    "pad_int": lambda lib: lib.nn.functional.pad(ids(lib, [1, 2]), (1, 1), value=7),
    "pad_mode": lambda lib: lib.nn.functional.pad(lib.ones(3), (1, 2), mode="mirror"),
    "pad_reflect_large": lambda lib: lib.nn.functional.pad(lib.ones(1, 3), (3, 0), mode="reflect"),
    "pad_nothing": lambda lib: lib.nn.functional.pad(lib.ones(3), ()),
    # Lazy
    "lazy_scalar": lambda lib: lib.nn.LazyLinear(3)(lib.tensor(1.0)),
}  # fmt: skip


@pytest.mark.parametrize("name", EDGES)
def test_edge(name: str) -> None:
    assert_same_outcome(EDGES[name], 8, 1.0)


def test_implicit_dimension() -> None:
    for shape in ((), (3,), (2, 3), (2, 3, 4), (2, 2, 2, 2)):
        for lib in (fastnn, torch):
            with pytest.warns(UserWarning, match="Implicit dimension choice for softmax"):
                lib.nn.functional.softmax(lib.ones(shape))
            with pytest.warns(UserWarning, match="Implicit dimension choice for log_softmax"):
                lib.nn.LogSoftmax()(lib.ones(shape))


def test_texts() -> None:
    def text(lib: Any) -> str:
        nn = lib.nn
        return repr(nn.ModuleList([
            nn.ELU(0.5, inplace=True), nn.SELU(), nn.SELU(True), nn.CELU(2.0), nn.Hardshrink(), nn.Softshrink(0.3),
            nn.Hardsigmoid(True), nn.Hardswish(), nn.Hardtanh(-2.0, 3.0, inplace=True), nn.ReLU6(), nn.ReLU6(True),
            nn.LogSigmoid(), nn.SiLU(), nn.SiLU(True), nn.Mish(True), nn.Softplus(2.0, 10.0), nn.Softsign(),
            nn.Tanhshrink(), nn.Threshold(0.1, 20), nn.Threshold(0.1, 20, True), nn.RReLU(), nn.RReLU(0.1, 0.2, True),
            nn.PReLU(), nn.PReLU(4), nn.GLU(1), nn.Softmax(1), nn.LogSoftmax(dim=-1), nn.Softmin(0), nn.Softmax2d(),
            nn.Bilinear(2, 3, 4, bias=False), nn.Embedding(5, 2), nn.Embedding(5, 2, padding_idx=-1, max_norm=2.0),
            nn.Embedding(5, 2, norm_type=1.0, scale_grad_by_freq=True, sparse=True), nn.EmbeddingBag(5, 2, mode="sum"),
            nn.EmbeddingBag(5, 2, max_norm=1.0, padding_idx=2), nn.CosineSimilarity(), nn.PairwiseDistance(),
            nn.LazyLinear(3), nn.LazyLinear(3, bias=False), nn.ModuleDict({"a": nn.Identity(), "b": nn.Flatten()}),
            nn.ParameterList([lib.ones(2, 3), lib.tensor(1.0)]), nn.ParameterDict({"a": lib.ones(1)}), nn.ModuleDict(),
            nn.DataParallel(nn.Linear(1, 1)),
        ]))  # fmt: skip

    assert text(fastnn) == text(torch)
