"""The tensors that a backward pass reads: a table of operations, and the effect of in-place changes on their gradients.

``tensor/test_saved_tensors.py`` compares with PyTorch live, and with its recorded results in ``golden/saved.json``
(written by ``golden/make_saved.py``). The operations of the registry are part of the table.
"""

# ruff: noqa: E501  A line to each operation reads better than three.

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from comparison import as_array
from operations import OPERATIONS


@dataclass(frozen=True)
class Row:
    """``run(lib, *tensors)`` of tensors over ``arrays``; those of floats are results of an operation on leaves."""

    name: str
    run: Callable[..., Any]
    arrays: tuple[np.ndarray, ...] = field(repr=False)

    def __str__(self) -> str:
        return self.name


_rng = np.random.default_rng(0)


def _normal(*shape: int) -> np.ndarray:
    return _rng.standard_normal(shape).astype(np.float32)


def _share(*shape: int) -> np.ndarray:
    return _rng.uniform(0.1, 0.9, shape).astype(np.float32)


def _signs(*shape: int) -> np.ndarray:
    return np.sign(_normal(*shape))


def _whole(*values: Any) -> np.ndarray:
    return np.array(values, np.int64)


_MASK = np.array([[True, False, True], [False, True, True]])
_PLACES = _whole([0, 2], [1, 1])
_root = _normal(3, 3)
_POSITIVE_DEFINITE = (_root @ _root.T + 3 * np.eye(3)).astype(np.float32)


def _set(x: Any, key: Any, value: Any) -> Any:
    x[key] = value
    return x


def _functional(name: str, *args: Any, **options: Any) -> Callable[..., Any]:
    return lambda lib, *tensors: getattr(lib.nn.functional, name)(*tensors, *args, **options)


def _function(name: str, *args: Any, **options: Any) -> Callable[..., Any]:
    return lambda lib, *tensors: getattr(lib, name)(*tensors, *args, **options)


def _method(name: str, *args: Any, **options: Any) -> Callable[..., Any]:
    return lambda lib, x, *tensors: getattr(x, name)(*tensors, *args, **options)


def _in_place(name: str, *args: Any, **options: Any) -> Callable[..., Any]:
    return lambda lib, x, *tensors: getattr(x * 1, name)(*tensors, *args, **options)


def _linalg(name: str, *args: Any, **options: Any) -> Callable[..., Any]:
    return lambda lib, *tensors: getattr(lib.linalg, name)(*tensors, *args, **options)


def _indexing() -> Iterator[Row]:
    x, rows = _normal(2, 3), _normal(2, 2)
    yield Row("gather", lambda lib, x, j: x.gather(1, j), (x, _PLACES))
    yield Row("index_select", lambda lib, x, j: x.index_select(1, j), (x, _whole(0, 2)))
    yield Row("take", _method("take"), (x, _whole(0, 4)))
    yield Row("take_along_dim", lambda lib, x, j: x.take_along_dim(j, 1), (x, _PLACES))
    yield Row("brackets", lambda lib, x, j: x[j], (_normal(4, 3), _whole(0, 2)))
    yield Row("brackets_mask", lambda lib, x, m: x[m], (x, _MASK))
    yield Row("brackets_two", lambda lib, x, j, k: x[j, k], (x, _whole(0, 1), _whole(2, 1)))
    yield Row("set", lambda lib, x, j, s: _set(x * 1, j, s), (_normal(4, 3), _whole(0, 2), x))
    yield Row("set_number", lambda lib, x, j: _set(x * 1, j, 2.0), (_normal(4, 3), _whole(0, 2)))
    yield Row("set_slice", lambda lib, x, s: _set(x * 1, slice(0, 2), s), (_normal(4, 3), x))
    yield Row("masked_select", _method("masked_select"), (x, _MASK))
    yield Row("masked_fill", _method("masked_fill", 2.0), (x, _MASK))
    yield Row("masked_fill_tensor", _method("masked_fill"), (x, _MASK, _normal()))
    yield Row("masked_fill_", _in_place("masked_fill_", 2.0), (x, _MASK))
    yield Row("masked_scatter", _method("masked_scatter"), (x, _MASK, _normal(6)))
    yield Row("where", _function("where"), (_MASK, x, _normal(2, 3)))
    yield Row("where_number", _function("where", 0.0), (_MASK, x))
    yield Row("scatter", lambda lib, x, j, s: x.scatter(1, j, s), (x, _PLACES, rows))
    yield Row("scatter_number", lambda lib, x, j: x.scatter(1, j, 2.0), (x, _PLACES))
    yield Row("scatter_add", lambda lib, x, j, s: x.scatter_add(1, j, s), (x, _PLACES, rows))
    for reduce in ("sum", "prod", "mean", "amax", "amin"):
        for own in (True, False):
            yield Row(f"scatter_reduce_{reduce}_{own}", lambda lib, x, j, s, reduce=reduce, own=own: x.scatter_reduce(1, j, s, reduce, include_self=own), (x, _PLACES, rows))
            if reduce != "sum":
                yield Row(f"index_reduce_{reduce}_{own}", lambda lib, x, j, s, reduce=reduce, own=own: x.index_reduce(1, j, s, reduce, include_self=own), (x, _whole(0, 0), rows))
    yield Row("index_add", lambda lib, x, j, s: x.index_add(1, j, s), (x, _whole(0, 2), rows))
    yield Row("index_add_alpha", lambda lib, x, j, s: x.index_add(1, j, s, alpha=2), (x, _whole(0, 2), rows))
    yield Row("index_copy", lambda lib, x, j, s: x.index_copy(1, j, s), (x, _whole(0, 2), rows))
    yield Row("index_fill", lambda lib, x, j: x.index_fill(1, j, 2.0), (x, _whole(0, 2)))
    yield Row("index_fill_tensor", lambda lib, x, j, v: x.index_fill(1, j, v), (x, _whole(0, 2), _normal()))
    for accumulate in (False, True):
        yield Row(f"index_put_{accumulate}", lambda lib, x, j, s, accumulate=accumulate: x.index_put((j,), s, accumulate), (_normal(4, 3), _whole(0, 2), x))
        yield Row(f"put_{accumulate}", _method("put", accumulate), (x, _whole(0, 4), _normal(2)))
    yield Row("select_scatter", _method("select_scatter", 0, 1), (x, _normal(3)))
    yield Row("slice_scatter", _method("slice_scatter", 0, 0, 1), (x, _normal(1, 3)))
    yield Row("diagonal_scatter", _method("diagonal_scatter"), (_normal(3, 3), _normal(3)))
    yield Row("copy_", _in_place("copy_"), (x, _normal(3)))
    yield Row("fill_tensor", _in_place("fill_"), (x, _normal()))


def _choices() -> Iterator[Row]:
    x, y = _normal(2, 3), _normal(2, 3)
    for name in ("sort", "max", "min", "median", "nanmedian", "mode", "cummax", "cummin"):
        yield Row(f"{name}_1", _method(name, 1), (x,))
    for name in ("max", "min", "amax", "amin", "median", "nanmedian", "aminmax", "std_mean", "var_mean", "nansum"):
        yield Row(name, _function(name), (x,))
    yield Row("topk", _method("topk", 2, 1), (x,))
    yield Row("kthvalue", _method("kthvalue", 2, 1), (x,))
    yield Row("aminmax_1", _function("aminmax", dim=1), (x,))
    yield Row("std_mean_1", _function("std_mean", 1), (x,))
    yield Row("var_mean_1", _function("var_mean", 1), (x,))
    for name in ("max", "min", "maximum", "minimum", "fmax", "fmin"):
        yield Row(f"{name}_pair", _function(name), (x, y))
    yield Row("clamp_tensors", _method("clamp"), (x, y, y + 1))
    yield Row("clamp_min_tensor", lambda lib, x, low: x.clamp(min=low), (x, _normal(3)))
    yield Row("clamp_max_tensor", lambda lib, x, high: x.clamp(max=high), (x, _normal(3)))
    yield Row("quantile", _method("quantile", 0.4), (_normal(6),))
    yield Row("quantile_1", _method("quantile", 0.4, 1), (x,))
    yield Row("quantile_tensor", _method("quantile"), (_normal(6), np.float32([0.2, 0.7])))
    yield Row("nanquantile", _method("nanquantile", 0.4), (_normal(6),))
    yield Row("logcumsumexp", _method("logcumsumexp", 1), (x,))
    yield Row("prod", _method("prod"), (x,))
    for order in (0, 0.5, 1, 2, 3, math.inf, -math.inf, -1):
        yield Row(f"norm_{order}", _linalg("vector_norm", order), (x,))
        yield Row(f"dist_{order}", _function("dist", order), (x, y))
        if order >= 0:
            yield Row(f"cdist_{order}", _function("cdist", order), (x, _normal(4, 3)))
            yield Row(f"pdist_{order}", _functional("pdist", order), (_normal(4, 3),))


def _arithmetic() -> Iterator[Row]:
    x, y, w = _normal(2, 3), _normal(2, 3), _normal(2, 3)
    p, q = _share(2, 3), _share(2, 3)
    yield Row("lerp_tensor", _function("lerp"), (x, y, w))
    yield Row("lerp", _function("lerp", 0.3), (x, y))
    for name in ("addcmul", "addcdiv"):
        yield Row(name, _function(name), (x, y, w))
        yield Row(f"{name}_value", _function(name, value=2.0), (x, y, w))
    for name, operate in {
        "number_over": lambda lib, x: 2 / x, "one_over": lambda lib, x: 1 / x, "number_minus": lambda lib, x: 1 - x,
        "number_to": lambda lib, x: 2**x, "modulo": lambda lib, x: x % 0.3, "number_modulo": lambda lib, x: lib.remainder(0.3, x),
        "over_number": lambda lib, x: x / 3, "floor_number": lambda lib, x: lib.div(x, 3, rounding_mode="floor"),
        "float_power": lambda lib, x: lib.float_power(x, 2.5), "xlogy_number": lambda lib, x: lib.xlogy(2.0, x),
        "xlogy_by_number": lambda lib, x: lib.xlogy(x, 2.0), "xlog1py_number": lambda lib, x: lib.special.xlog1py(2.0, x),
    }.items():  # fmt: skip
        yield Row(name, operate, (p,))
    yield Row("pow_tensor", lambda lib, x, y: x**y, (p, q))
    yield Row("float_power_tensor", _function("float_power"), (p, q))
    yield Row("xlogy", _function("xlogy"), (p, q))
    yield Row("xlog1py", lambda lib, x, y: lib.special.xlog1py(x, y), (p, q))
    for name in ("add_", "sub_", "mul_", "div_", "remainder_", "fmod_", "atan2_", "hypot_", "copysign_", "ldexp_", "floor_divide_"):
        yield Row(name, _in_place(name), (x, y))
    yield Row("pow_", lambda lib, x, y: x.abs().pow_(y), (x, y))
    yield Row("xlogy_", lambda lib, x, y: (x * 1).xlogy_(y.abs()), (x, y))
    yield Row("lerp_", _in_place("lerp_", 0.3), (x, y))
    yield Row("addcmul_", lambda lib, x, y: (x * 1).addcmul_(y, y), (x, y))
    yield Row("addcdiv_", lambda lib, x, y: (x * 1).addcdiv_(y, y), (x, y))
    for name in (
        "abs", "acos", "asin", "atan", "ceil", "cos", "cosh", "deg2rad", "digamma", "erf", "erfc", "erfinv", "exp", "exp2",
        "expm1", "frac", "lgamma", "log", "log10", "log1p", "log2", "logit", "neg", "rad2deg", "reciprocal", "round", "rsqrt",
        "sigmoid", "sign", "sin", "sinc", "sinh", "sqrt", "square", "tan", "tanh", "trunc", "nan_to_num", "relu", "i0",
    ):  # fmt: skip
        yield Row(f"{name}_", _in_place(f"{name}_"), (p,))
    yield Row("sigmoid", _method("sigmoid"), (p,))
    yield Row("clamp_", _in_place("clamp_", 0.2, 0.6), (p,))
    yield Row("cumsum_", _in_place("cumsum_", 0), (p,))
    yield Row("cumprod_", _in_place("cumprod_", 0), (p,))
    yield Row("renorm_", _in_place("renorm_", 2, 0, 0.5), (p,))
    yield Row("renorm", _function("renorm", 2, 0, 0.5), (p,))
    for name in (
        "entr", "erfcx", "expit", "i0e", "i1", "i1e", "log_ndtr", "ndtr", "ndtri", "psi", "gammaln",
    ):  # fmt: skip
        yield Row(f"special_{name}", lambda lib, x, name=name: getattr(lib.special, name)(x), (p,))


def _matrices() -> Iterator[Row]:
    a, b = _normal(2, 4), _normal(4, 3)
    yield Row("addmm", _function("addmm"), (_normal(3), a, b))
    yield Row("addmm_factors", _function("addmm", beta=2, alpha=3), (_normal(2, 3), a, b))
    yield Row("addmv", _function("addmv"), (_normal(2), a, _normal(4)))
    yield Row("addr", _function("addr"), (a, _normal(2), _normal(4)))
    yield Row("baddbmm", _function("baddbmm"), (_normal(2, 2, 2), _normal(2, 2, 4), _normal(2, 4, 2)))
    yield Row("dot", _function("dot"), (_normal(4), _normal(4)))
    yield Row("bmm", _function("bmm"), (_normal(2, 2, 4), _normal(2, 4, 2)))
    yield Row("matmul_rows", _function("matmul"), (_normal(2, 2, 4), b))
    yield Row("einsum", lambda lib, x, y: lib.einsum("ij,kj->ik", x, y), (a, _normal(3, 4)))
    yield Row("kron", _function("kron"), (_normal(2, 2), _normal(2, 2)))
    yield Row("bilinear", _functional("bilinear"), (_normal(2, 3), _normal(2, 4), _normal(5, 3, 4), _normal(5)))
    yield Row("linear", _functional("linear"), (_normal(2, 3), _normal(4, 3), _normal(4)))
    yield Row("linear_rows", _functional("linear"), (_normal(2, 2, 3), _normal(4, 3), _normal(4)))
    yield Row("linear_without", _functional("linear"), (_normal(2, 3), _normal(4, 3)))
    for name in ("inv", "det", "slogdet", "cholesky", "eigvalsh", "svdvals", "pinv", "cond"):
        yield Row(f"linalg_{name}", _linalg(name), (_POSITIVE_DEFINITE,))
    # Products in which the signs of the vectors cancel: the signs depend on the library.
    yield Row("eigh", lambda lib, x: (lambda w, v: v @ (w.unsqueeze(-1) ** 2 * v.mT))(*lib.linalg.eigh(x)), (_POSITIVE_DEFINITE,))
    yield Row("svd", lambda lib, x: (lambda u, s, v: u @ (s.unsqueeze(-1) ** 2 * v))(*lib.linalg.svd(x)), (_POSITIVE_DEFINITE,))
    yield Row("solve", _linalg("solve"), (_POSITIVE_DEFINITE, _normal(3, 2)))
    yield Row("solve_triangular", _linalg("solve_triangular", upper=True), (_POSITIVE_DEFINITE, _normal(3, 2)))
    yield Row("lstsq", lambda lib, x, y: lib.linalg.lstsq(x, y)[0], (_normal(4, 3), _normal(4, 2)))
    for order in ("fro", "nuc", 1, -1, 2, -2, math.inf):
        yield Row(f"matrix_norm_{order}", _linalg("matrix_norm", order), (_normal(3, 4),))
    yield Row("vander", lambda lib, x: lib.linalg.vander(x), (_normal(3),))
    yield Row("vander_function", _function("vander"), (_normal(3),))


_ACTIVATIONS: dict[str, dict[str, Any]] = {
    **{name: {} for name in ("relu", "relu6", "elu", "selu", "celu", "leaky_relu", "hardtanh", "hardswish", "hardsigmoid", "silu", "mish", "rrelu")},
    "threshold": {"threshold": 0.1, "value": 20.0},
}


def _layers() -> Iterator[Row]:
    x, w = _normal(2, 3), _normal(3)
    for name, options in _ACTIVATIONS.items():
        yield Row(f"F_{name}", _functional(name, **options), (x,))
        yield Row(f"F_{name}_inplace", lambda lib, x, name=name, options=options: getattr(lib.nn.functional, name)(x * 1, inplace=True, **options), (x,))
    for name in ("sigmoid", "tanh", "gelu", "logsigmoid", "softplus", "softsign", "tanhshrink", "hardshrink", "softshrink"):
        yield Row(f"F_{name}", _functional(name), (x,))
    yield Row("rrelu_training", _functional("rrelu", 0.2, 0.2, training=True), (x,))
    yield Row("leaky_relu_negative", _functional("leaky_relu", -0.5), (x,))
    yield Row("leaky_relu_zero", _functional("leaky_relu", 0.0), (x,))
    yield Row("gelu_tanh", _functional("gelu", approximate="tanh"), (x,))
    yield Row("prelu", _functional("prelu"), (x, w))
    yield Row("prelu_one", _functional("prelu"), (x, _normal(1)))
    yield Row("glu", _functional("glu"), (_normal(2, 4),))
    for name in ("softmax", "log_softmax", "softmin"):
        for dim in (0, 1):
            yield Row(f"{name}_{dim}", _functional(name, dim=dim), (x,))
    yield Row("normalize", _functional("normalize"), (x,))
    yield Row("cosine_similarity", _functional("cosine_similarity"), (x, _normal(2, 3)))
    for mode in ("reflect", "replicate", "circular", "constant"):
        yield Row(f"pad_{mode}", _functional("pad", (1, 1), mode=mode), (x,))
    yield Row("dropout_all", _functional("dropout", 1.0), (x,))
    table = _normal(4, 3)
    yield Row("embedding", _functional("embedding"), (_whole(0, 2), table))
    for mode in ("sum", "mean", "max"):
        yield Row(f"embedding_bag_{mode}", _functional("embedding_bag", mode=mode), (_PLACES, table))
        yield Row(f"embedding_bag_offsets_{mode}", lambda lib, j, w, o, mode=mode: lib.nn.functional.embedding_bag(j, w, o, mode=mode), (_whole(0, 2, 1), table, _whole(0, 1)))
    yield Row("embedding_bag_weights", lambda lib, j, w, s: lib.nn.functional.embedding_bag(j, w, per_sample_weights=s, mode="sum"), (_PLACES, table, _normal(2, 2)))
    yield Row("layer_norm", lambda lib, x, w, b: lib.nn.functional.layer_norm(x, (3,), w, b), (x, w, _normal(3)))
    yield Row("layer_norm_alone", _functional("layer_norm", (3,)), (x,))
    yield Row("rms_norm", lambda lib, x, w: lib.nn.functional.rms_norm(x, (3,), w), (x, w))
    yield Row("group_norm", lambda lib, x, w, b: lib.nn.functional.group_norm(x, 2, w, b), (_normal(3, 4), _normal(4), _normal(4)))
    yield Row("group_norm_3d", lambda lib, x, w, b: lib.nn.functional.group_norm(x, 2, w, b), (_normal(3, 4, 2), _normal(4), _normal(4)))
    yield Row("instance_norm", lambda lib, x, w, b: lib.nn.functional.instance_norm(x, weight=w, bias=b), (_normal(3, 4, 3), _normal(4), _normal(4)))
    yield Row("batch_norm", lambda lib, x, w, b: lib.nn.functional.batch_norm(x, None, None, w, b, True), (_normal(4, 3), w, _normal(3)))
    yield Row("batch_norm_3d", lambda lib, x, w, b: lib.nn.functional.batch_norm(x, None, None, w, b, True), (_normal(4, 3, 2), w, _normal(3)))
    mean, var = _normal(3), _share(3)
    yield Row("batch_norm_eval", lambda lib, x, w, b: lib.nn.functional.batch_norm(x, lib.tensor(mean), lib.tensor(var), w, b), (_normal(4, 3), w, _normal(3)))


def _losses() -> Iterator[Row]:
    x, y, p, q, s = _normal(2, 3), _normal(2, 3), _share(2, 3), _share(2, 3), _signs(2, 3)
    labels = _whole(0, 2)
    for reduction in ("none", "mean"):

        def loss(name: str, *arrays: np.ndarray, fixed: int = 0, label: str = "", reduction: str = reduction, **options: Any) -> Row:
            """``fixed``: how many of the operands, from the second on, need no gradient."""

            def run(lib: Any, first: Any, *others: Any) -> Any:
                operands = [t.detach() if i < fixed else t for i, t in enumerate(others)]
                return getattr(lib.nn.functional, name)(first, *operands, reduction=reduction, **options)

            return Row(f"{name}{label}_{reduction}", run, arrays)

        for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "poisson_nll_loss", "binary_cross_entropy_with_logits"):
            yield loss(name, x, y)
            yield loss(name, x, y, fixed=1, label="_fixed")
        for name in ("soft_margin_loss", "hinge_embedding_loss"):
            yield loss(name, x, s, fixed=1)
        yield loss("binary_cross_entropy", p, q)
        yield loss("binary_cross_entropy", p, q, fixed=1, label="_fixed")
        yield Row(f"pos_weight_{reduction}", lambda lib, x, y, w, reduction=reduction: lib.nn.functional.binary_cross_entropy_with_logits(x, y.detach(), pos_weight=w.detach(), reduction=reduction), (x, q, _share(3)))
        yield loss("kl_div", x, q)
        yield loss("kl_div", x, q, fixed=1, label="_fixed")
        yield loss("kl_div", x, y, label="_log", log_target=True)
        yield loss("poisson_nll_loss", p, q, fixed=1, label="_plain", log_input=False)
        yield loss("gaussian_nll_loss", x, y, p)
        yield loss("cross_entropy", x, labels)
        yield loss("cross_entropy", x, labels, _share(3), fixed=2, label="_weight")
        yield loss("cross_entropy", x, labels, label="_smoothing", label_smoothing=0.1)
        yield loss("cross_entropy", x, q, fixed=1, label="_probabilities")
        yield loss("cross_entropy", x, q, label="_probabilities_grad")
        yield loss("nll_loss", x, labels)
        yield loss("nll_loss", x, labels, _share(3), fixed=2, label="_weight")
        yield loss("multi_margin_loss", x, labels)
        yield loss("multilabel_margin_loss", x, _whole([0, -1, 1], [2, 1, -1]))
        yield loss("multilabel_soft_margin_loss", x, q, fixed=1)
        yield Row(f"margin_ranking_loss_{reduction}", lambda lib, x, y, s, reduction=reduction: lib.nn.functional.margin_ranking_loss(x, y, s.detach(), reduction=reduction), (x, y, s))
        yield Row(f"cosine_embedding_loss_{reduction}", lambda lib, x, y, s, reduction=reduction: lib.nn.functional.cosine_embedding_loss(x, y, s.detach(), reduction=reduction), (x, y, _signs(2)))
        yield loss("triplet_margin_loss", x, y, _normal(2, 3))


def _model(*layers: str) -> Callable[..., Any]:
    def run(lib: Any, x: Any) -> Any:
        model = lib.nn.Sequential(*[eval(text, {"nn": lib.nn}) for text in layers])
        rng = np.random.RandomState(0)
        with lib.no_grad():
            for p in model.parameters():
                p.copy_(lib.tensor(rng.standard_normal(tuple(p.shape)).astype("f4")))
        return model(x)

    return run


def _models() -> Iterator[Row]:
    """Layers that are fused inside a Sequential."""
    for activation in (
        "ReLU()", "LeakyReLU()", "LeakyReLU(-0.5)", "Sigmoid()", "Tanh()", "GELU()", "GELU('tanh')", "ReLU(True)", "ELU()",
        "SiLU()", "Tanhshrink()", "PReLU()", "Hardtanh()",
    ):  # fmt: skip
        yield Row(f"linear_{activation}", _model("nn.Linear(3, 4)", f"nn.{activation}"), (_normal(2, 3),))
        yield Row(f"two_{activation}", _model("nn.Linear(3, 4)", f"nn.{activation}", "nn.Linear(4, 2)"), (_normal(2, 3),))
        if not activation.startswith(("E", "P", "H")):
            yield Row(f"batch_norm_{activation}", _model("nn.BatchNorm1d(3)", f"nn.{activation}"), (_normal(4, 3),))
            yield Row(f"layer_norm_{activation}", _model("nn.LayerNorm(3)", f"nn.{activation}"), (_normal(4, 3),))


def _registry() -> Iterator[Row]:
    for operation in OPERATIONS:
        shapes = max(operation.shapes, key=lambda shapes: min(int(np.prod(shape)) for shape in shapes))
        yield Row(f"registry_{operation.name}", operation.run, tuple(operation.arrays(shapes, np.float32)))


OWN = [*_indexing(), *_choices(), *_arithmetic(), *_matrices(), *_layers(), *_losses(), *_models()]
ROWS = [*OWN, *_registry()]


# -- Changes in place ------------------------------------------------------------------------------


def tensors_in(lib: Any, value: Any) -> list[Any]:
    """The tensors of a result, which may be a tuple of them."""
    if isinstance(value, lib.Tensor):
        return [value]
    return [t for v in value for t in tensors_in(lib, v)] if isinstance(value, (list, tuple)) else []


def _gradients(lib: Any, row: Row, change: tuple[str, int] | None) -> Any:
    """The gradients of the leaves after a change of an operand or a result; an exception, or None for no change."""
    leaves = [lib.tensor(a, requires_grad=a.dtype.kind == "f") for a in row.arrays]
    operands = [leaf * 1 if leaf.requires_grad else leaf for leaf in leaves]
    try:
        results = tensors_in(lib, row.run(lib, *operands))
        total: Any = sum((k + 2) * t.sum() for k, t in enumerate([t for t in results if t.requires_grad]))
    except Exception as error:
        return error
    if not isinstance(total, lib.Tensor):
        return RuntimeError("no result needs a gradient")
    if change is not None:
        kind, i = change
        try:
            target = (operands if kind == "operand" else results)[i]
            with lib.no_grad():
                if target.dtype is lib.bool:
                    target.logical_not_()
                elif target.is_floating_point():
                    target.add_(1)
                else:
                    target.mul_(1)
        except (IndexError, RuntimeError):
            return None
    try:
        total.backward()
    except Exception as error:
        return error
    return [None if leaf.grad is None else as_array(leaf.grad) for leaf in leaves if leaf.requires_grad]


def _same(a: list[Any], b: list[Any]) -> bool:
    return all(
        x is y is None or (x is not None and y is not None and np.array_equal(x, y, equal_nan=True))
        for x, y in zip(a, b, strict=True)
    )


def after_changes(lib: Any, row: Row) -> str:
    """A letter for a change of each operand, then of each result.

    ``r``: the backward pass raises. ``k``: the gradients are those without the change. ``w``: they are different.
    ``n``: there is no derivative. ``x``: the change itself raises.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _seed(lib)
        plain = _gradients(lib, row, None)
        changes = [("operand", i) for i in range(len(row.arrays))]
        if not isinstance(plain, Exception):
            operands = [lib.tensor(a) for a in row.arrays]
            changes += [("result", i) for i in range(len(tensors_in(lib, row.run(lib, *operands))))]
        letters = ""
        for change in changes:
            _seed(lib)
            found = _gradients(lib, row, change)
            if isinstance(plain, Exception):
                letters += "n"
            elif found is None:
                letters += "x"
            elif isinstance(found, Exception):
                letters += "r" if "modified by an inplace operation" in str(found) else "n"
            else:
                letters += "k" if _same(found, plain) else "w"
    return letters


def _seed(lib: Any) -> None:
    lib.manual_seed(0)


# -- Derivatives of derivatives ----------------------------------------------------------------------


def derivatives(lib: Any, row: Row, most: int) -> list[Any]:
    """The gradients of the leaves, of the gradients, and so on: a list for each order, or an exception at the end.

    For each leaf: None, or the gradient and whether it has a history.
    """
    leaves = [
        lib.tensor(a.astype(np.float64) if a.dtype.kind == "f" else a, requires_grad=a.dtype.kind == "f")
        for a in row.arrays
    ]
    inputs = [leaf for leaf in leaves if leaf.requires_grad]
    found: list[Any] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _seed(lib)
        try:
            results = [t for t in tensors_in(lib, row.run(lib, *leaves)) if t.requires_grad]
            total: Any = sum((_weights(lib, t, 0) * t).sum() for t in results)
            for order in range(most):
                if not isinstance(total, lib.Tensor):
                    break
                grads = lib.autograd.grad(total, inputs, create_graph=True, allow_unused=True)
                found.append([None if g is None else (np.array(g.detach().numpy(force=True)), g.requires_grad) for g in grads])
                total = sum((_weights(lib, g, order + 1) * g).sum() for g in grads if g is not None and g.requires_grad)
        except Exception as error:
            found.append(error)
    return found


def _weights(lib: Any, t: Any, order: int) -> Any:
    rng = np.random.default_rng(order)
    return lib.tensor(rng.uniform(0.5, 1.5, tuple(t.shape))).to(t.dtype)


def described(orders: list[Any]) -> str:
    """A letter for each leaf, orders separated by spaces.

    ``-`` for one that is not in the graph, ``c`` for a gradient without a history, ``d`` for one that can be
    differentiated; ``!`` for an error.
    """
    return " ".join(
        "!" if isinstance(order, Exception) else "".join("-" if g is None else "d" if g[1] else "c" for g in order)
        for order in orders
    )
