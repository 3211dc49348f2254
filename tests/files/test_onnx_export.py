"""Exported models: valid, equal in ONNX Runtime, for other batch sizes too; and the errors of what cannot be exported."""

from __future__ import annotations

import gc
import inspect
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastnn
from fastnn import nn
from fastnn._tensor import torch_function

onnx = pytest.importorskip("onnx", reason="the package onnx is not installed")
ort = pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed: it has no wheel here")
F = nn.functional
HAS_ATTENTION = "MultiheadAttention" in nn.__all__


def runtime(model: bytes) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    # One set of operators is enough to test that they are the right ones.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def assert_equal(found: np.ndarray, expected: np.ndarray) -> None:
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected)
    elif expected.size:
        largest = float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * max(largest, 1e-3))


def check(
    model: nn.Module, args: tuple[Any, ...], opset: int = 20, batch: bool = True
) -> Any:
    """Export, run with these inputs and with more rows, by both libraries, and compare; the session."""
    names = [f"x{i}" for i in range(len(args))]
    axes = {n: {0: "batch"} for n, a in zip(names, args, strict=True) if batch and a.dim()}
    file = io.BytesIO()
    assert fastnn.onnx.export(
        model, args, file, input_names=names, dynamic_axes=axes, opset_version=opset, dynamo=False
    ) is None  # fmt: skip
    session, loaded = runtime(file.getvalue()), fastnn.onnx.load(file.getvalue()).eval()
    others = tuple(fastnn.cat([a, a.flip(0)]) if a.dim() else a for a in args)
    was_training = model.training
    model.eval()
    for inputs in (args, others) if axes else (args,):
        results = model(*inputs)
        wanted = [r.detach().numpy() for r in (results if isinstance(results, tuple) else (results,))]
        read = {v.name for v in session.get_inputs()}
        given = {n: a.numpy() for n, a in zip(names, inputs, strict=True) if n in read}
        for found, expected in zip(session.run(None, given), wanted, strict=True):
            assert_equal(found, expected)
        mine = loaded(**{n: a for n, a in zip(names, inputs, strict=True) if n in loaded.input_names})
        for value, expected in zip(mine if isinstance(mine, tuple) else (mine,), wanted, strict=True):
            assert_equal(value.detach().numpy(), expected)
    model.train(was_training)
    return session


class Function(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(fastnn.linspace(-1, 1, 12).reshape(3, 4))
        self.register_buffer("scale", fastnn.tensor([0.5, 1.0, 1.5, 2.0]))

    def forward(self, *args: Any) -> Any:
        return self.function(self, *args)


def x(*shape: int) -> fastnn.Tensor:
    return fastnn.randn(*shape)


def labels(n: int, *shape: int) -> fastnn.Tensor:
    return fastnn.randint(0, n, shape)


def signs(*shape: int) -> fastnn.Tensor:
    return fastnn.randint(0, 2, shape) * 2.0 - 1.0


LAYERS: dict[str, tuple[Callable[[], nn.Module], Callable[[], tuple[Any, ...]]]] = {
    **{
        name: (getattr(nn, name), lambda: (x(5, 6) * 3,))
        for name in (
            "CELU", "ELU", "GELU", "GLU", "SELU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU",
            "LogSigmoid", "Mish", "PReLU", "RReLU", "ReLU", "ReLU6", "SiLU", "Sigmoid", "Softplus", "Softshrink",
            "Softsign", "Tanh", "Tanhshrink", "Identity", "AlphaDropout", "Dropout", "FeatureAlphaDropout", "Flatten",
        )
    },
    "GELU tanh": (lambda: nn.GELU("tanh"), lambda: (x(5, 6),)),
    "Threshold": (lambda: nn.Threshold(0.2, -3.0), lambda: (x(5, 6),)),
    "CELU alpha": (lambda: nn.CELU(0.7), lambda: (x(5, 6),)),
    "ELU inplace": (lambda: nn.Sequential(nn.Linear(6, 3), nn.ELU(0.5, inplace=True)), lambda: (x(5, 6),)),
    "Softplus beta": (lambda: nn.Softplus(2.0, 3.0), lambda: (x(5, 6) * 2,)),
    "PReLU channels": (lambda: nn.PReLU(6), lambda: (x(5, 6, 2),)),
    "Dropout1d": (nn.Dropout1d, lambda: (x(5, 6, 2),)),
    "Dropout2d": (nn.Dropout2d, lambda: (x(5, 6, 2, 2),)),
    "Dropout3d": (nn.Dropout3d, lambda: (x(5, 6, 2, 2, 2),)),
    "Linear": (lambda: nn.Linear(6, 3), lambda: (x(5, 6),)),
    "Linear no bias": (lambda: nn.Linear(6, 3, bias=False), lambda: (x(5, 6),)),
    "Linear 3-D": (lambda: nn.Linear(6, 3), lambda: (x(5, 2, 6),)),
    "Linear float64": (lambda: nn.Linear(6, 3, dtype=fastnn.float64), lambda: (x(5, 6).double(),)),
    "LazyLinear": (lambda: nn.LazyLinear(3), lambda: (x(5, 6),)),
    "Bilinear": (lambda: nn.Bilinear(4, 3, 2), lambda: (x(5, 4), x(5, 3))),
    "Embedding": (lambda: nn.Embedding(9, 4, padding_idx=0), lambda: (labels(9, 5, 3),)),
    **{
        f"EmbeddingBag {mode}": (
            lambda mode=mode: nn.EmbeddingBag(9, 4, mode=mode, padding_idx=2), lambda: (labels(9, 5, 3),)
        )
        for mode in ("sum", "mean", "max")
    },
    "Unflatten": (lambda: nn.Unflatten(1, (2, 3)), lambda: (x(5, 6),)),
    "BatchNorm1d": (lambda: nn.BatchNorm1d(6), lambda: (x(5, 6),)),
    "SyncBatchNorm": (lambda: nn.SyncBatchNorm(6), lambda: (x(5, 6),)),
    "BatchNorm1d 3-D": (lambda: nn.BatchNorm1d(6, affine=False), lambda: (x(5, 6, 2),)),
    "BatchNorm1d own": (lambda: nn.BatchNorm1d(6, track_running_stats=False), lambda: (x(5, 6),)),
    "GroupNorm": (lambda: nn.GroupNorm(3, 6), lambda: (x(5, 6, 4),)),
    "InstanceNorm1d": (lambda: nn.InstanceNorm1d(6, affine=True), lambda: (x(5, 6, 4),)),
    "LayerNorm": (lambda: nn.LayerNorm(6), lambda: (x(5, 6),)),
    "LayerNorm 2-D": (lambda: nn.LayerNorm((2, 6), bias=False), lambda: (x(5, 2, 6),)),
    "LayerNorm plain": (lambda: nn.LayerNorm(6, elementwise_affine=False), lambda: (x(5, 6),)),
    "RMSNorm": (lambda: nn.RMSNorm(6), lambda: (x(5, 6),)),
    "Softmax": (lambda: nn.Softmax(1), lambda: (x(5, 6),)),
    "LogSoftmax": (lambda: nn.LogSoftmax(-1), lambda: (x(5, 6),)),
    "Softmin": (lambda: nn.Softmin(1), lambda: (x(5, 6),)),
    "Softmax2d": (nn.Softmax2d, lambda: (x(5, 3, 2, 2),)),
    "CosineSimilarity": (nn.CosineSimilarity, lambda: (x(5, 6), x(5, 6))),
    "PairwiseDistance": (lambda: nn.PairwiseDistance(3.0), lambda: (x(5, 6), x(5, 6))),
    "CrossEntropyLoss": (
        lambda: nn.CrossEntropyLoss(fastnn.rand(4), ignore_index=1, label_smoothing=0.1), lambda: (x(5, 4), labels(4, 5))
    ),
    "CrossEntropyLoss sum": (lambda: nn.CrossEntropyLoss(reduction="sum"), lambda: (x(5, 4, 2), labels(4, 5, 2))),
    "CrossEntropyLoss soft": (
        lambda: nn.CrossEntropyLoss(fastnn.rand(4), label_smoothing=0.1), lambda: (x(5, 4), x(5, 4).softmax(1))
    ),
    "NLLLoss": (lambda: nn.NLLLoss(fastnn.rand(4)), lambda: (x(5, 4), labels(4, 5))),
    "NLLLoss none": (lambda: nn.NLLLoss(reduction="none"), lambda: (x(5, 4), labels(4, 5))),
    "MultiLabelMarginLoss": (
        nn.MultiLabelMarginLoss, lambda: (x(3, 4), fastnn.tensor([[2, 0, -1, 1], [-1, 0, 0, 0], [3, 2, 1, 0]]))
    ),
    "MultiLabelSoftMarginLoss": (lambda: nn.MultiLabelSoftMarginLoss(fastnn.rand(4)), lambda: (x(5, 4), labels(2, 5, 4))),
    "MultiMarginLoss": (lambda: nn.MultiMarginLoss(2, 0.5, fastnn.rand(4)), lambda: (x(5, 4), labels(4, 5))),
    "CosineEmbeddingLoss": (lambda: nn.CosineEmbeddingLoss(0.2), lambda: (x(5, 4), x(5, 4), signs(5))),
    "MarginRankingLoss": (lambda: nn.MarginRankingLoss(0.3), lambda: (x(5), x(5), signs(5))),
    "TripletMarginLoss": (lambda: nn.TripletMarginLoss(swap=True), lambda: (x(5, 4), x(5, 4), x(5, 4))),
    "TripletMarginWithDistanceLoss": (nn.TripletMarginWithDistanceLoss, lambda: (x(5, 4), x(5, 4), x(5, 4))),
    "BCELoss": (lambda: nn.BCELoss(fastnn.rand(4)), lambda: (x(5, 4).sigmoid(), fastnn.rand(5, 4))),
    "BCEWithLogitsLoss": (
        lambda: nn.BCEWithLogitsLoss(pos_weight=fastnn.rand(4) + 1), lambda: (x(5, 4), fastnn.rand(5, 4))
    ),
    "GaussianNLLLoss": (lambda: nn.GaussianNLLLoss(full=True), lambda: (x(5, 4), x(5, 4), fastnn.rand(5, 4))),
    "HingeEmbeddingLoss": (lambda: nn.HingeEmbeddingLoss(0.5), lambda: (x(5, 4), signs(5, 4))),
    "HuberLoss": (lambda: nn.HuberLoss(delta=0.7), lambda: (x(5, 4), x(5, 4))),
    "KLDivLoss": (lambda: nn.KLDivLoss(reduction="batchmean"), lambda: (x(5, 4).log_softmax(1), x(5, 4).softmax(1))),
    "KLDivLoss log": (lambda: nn.KLDivLoss(reduction="sum", log_target=True), lambda: (x(5, 4).log_softmax(1), x(5, 4).log_softmax(1))),
    "L1Loss": (lambda: nn.L1Loss(reduction="none"), lambda: (x(5, 4), x(5, 4))),
    "MSELoss": (nn.MSELoss, lambda: (x(5, 4), x(5, 4))),
    "PoissonNLLLoss": (lambda: nn.PoissonNLLLoss(full=True), lambda: (x(5, 4), labels(4, 5, 4).float())),
    "SmoothL1Loss": (lambda: nn.SmoothL1Loss(beta=0.5), lambda: (x(5, 4), x(5, 4))),
    "SoftMarginLoss": (nn.SoftMarginLoss, lambda: (x(5, 4), signs(5, 4))),
    "ModuleList": (
        lambda: nn.Sequential(*nn.ModuleList([nn.Linear(6, 6), nn.Tanh()])), lambda: (x(5, 6),)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_layer(name):
    make, inputs = LAYERS[name]
    model = make()
    args = inputs()
    if name.startswith(("BatchNorm", "LazyLinear")):
        model(*args)
    check(model, args)


ATTENTION: dict[str, tuple[Callable[[], nn.Module], Callable[[], tuple[Any, ...]]]] = {
    "MultiheadAttention": (lambda: nn.MultiheadAttention(8, 2, batch_first=True), lambda: (x(3, 4, 8),) * 3),
    "MultiheadAttention cross": (
        lambda: nn.MultiheadAttention(8, 2, batch_first=True, kdim=5, vdim=5), lambda: (x(3, 4, 8), x(3, 6, 5), x(3, 6, 5))
    ),
    "TransformerEncoder": (
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, layer_norm_eps=0.1), 2),
        lambda: (x(3, 4, 8),),
    ),
    "Transformer": (
        lambda: nn.Transformer(8, 2, 1, 1, 16, batch_first=True, layer_norm_eps=0.1), lambda: (x(3, 4, 8), x(3, 5, 8))
    ),
    "causal": (
        lambda: Function(lambda m, q, k: F.scaled_dot_product_attention(q, k, k, is_causal=True)),
        lambda: (x(3, 2, 4, 8), x(3, 2, 4, 8)),
    ),
    "masked": (
        lambda: Function(lambda m, q, k: F.scaled_dot_product_attention(q, k, k, fastnn.ones(4, 4).tril(1) > 0)),
        lambda: (x(3, 2, 4, 8), x(3, 2, 4, 8)),
    ),
}  # fmt: skip


@pytest.mark.skipif(not HAS_ATTENTION, reason="this fastnn computes no attention")
@pytest.mark.parametrize("name", ATTENTION)
def test_attention(name):
    make, inputs = ATTENTION[name]
    check(make().eval(), inputs())


def test_layers_after_a_complex_tensor_was_made():
    """Operations look for subclasses of tensors then, by other code."""
    fastnn.complex(fastnn.ones(1), fastnn.ones(1))
    layers = nn.ELU(inplace=True), nn.Threshold(0.0, 1.0), nn.Hardtanh(), nn.ReLU6()
    check(nn.Sequential(nn.Linear(3, 4), *layers).eval(), (x(2, 3),))


def test_every_module_has_a_row():
    rows = {**LAYERS, **(ATTENTION if HAS_ATTENTION else {})}
    tried = {type(m).__name__ for make, _ in rows.values() for m in make().modules()}
    tried |= {"LazyLinear"}
    # Containers of parameters and modules, which compute nothing.
    others = {"Module", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "DataParallel"}
    # Resizing of images.
    others |= {"Upsample", "UpsamplingNearest2d", "UpsamplingBilinear2d"}
    classes = {n for n in nn.__all__ if isinstance(getattr(nn, n), type) and issubclass(getattr(nn, n), nn.Module)}
    assert classes - tried <= others


# The arguments are the module, with `weight` (3, 4) and `scale` (4,), and inputs of shape (5, 4) and (5, 4).
def assigned(x: Any, index: Any, value: Any) -> Any:
    x = x.clone()
    x[index] = value
    return x


FORWARDS: dict[str, Callable[..., Any]] = {
    "arithmetic": lambda m, a, b: (a + 2) * b - a / 3 + 1 / (b.abs() + 1) - (2 - a) ** 2 + 2**b,
    "rounding": lambda m, a, b: (a.floor(), a.ceil(), (a * 3).round(), a.trunc(), a.frac(), a // 0.3, a % 0.7, -a % 0.7),
    "exponentials": lambda m, a, b: (
        a.exp(), a.expm1(), a.abs().log1p(), a.abs().log2(), a.abs().log10(), a.exp2(), a.abs().sqrt(), a.abs().rsqrt()
    ),
    "trigonometry": lambda m, a, b: (a.sin(), a.cos(), a.tan(), a.tanh().atanh(), a.sinh(), a.cosh(), a.atan(), a.erf()),
    "comparisons": lambda m, a, b: (a > b, a <= 0, a == a, (a != b) & (a < 1) | ~(b > 0), a.isfinite()),
    "integers": lambda m, a, b: (a > b).long() * 3 + (a * 10).int() // 2 - (b * 10).long() % 3,
    "promotion": lambda m, a, b: (a > 0) * b + (b > 0).long(),
    "clamps": lambda m, a, b: (a.clamp(-0.5, 0.5), a.clamp_min(0.1), a.clamp(max=b), fastnn.maximum(a, b), a.minimum(b)),
    "where": lambda m, a, b: fastnn.where(a > 0, a, b) + a.masked_fill(b > 0, -1.0),
    "in place": lambda m, a, b: (a.clone().mul_(2).add_(b).relu_(), F.relu(a * 1, inplace=True)),
    "reductions": lambda m, a, b: (a.sum(), a.mean(1), b.sum(1, keepdim=True), a.prod(1), a.amax(1), a.max(), a.logsumexp(1)),
    "axes": lambda m, a, b: a.sum(axis=-1, keepdims=True) + fastnn.sum(b, dim=1, keepdim=True),
    "moments": lambda m, a, b: (a.var(1), a.std(1, unbiased=False), a.var(0), a.std(), fastnn.var_mean(a, 1)[1]),
    "norms": lambda m, a, b: (a.norm(dim=1), a.norm(1, 1), F.normalize(a), fastnn.linalg.norm(a, dim=1), a.norm(3, 1)),
    "extremes": lambda m, a, b: (a.argmax(1), a.argmin(1, keepdim=True), a.max(1)[0], a.min(dim=1).indices),
    "truths": lambda m, a, b: ((a > 0).all(1), (a > 0).any(), (a > 0).sum(1), fastnn.count_nonzero(a > 0, 1)),
    "order": lambda m, a, b: (a.topk(2, 1)[0], a.sort(1)[0], a.argsort(1, descending=True), a.cumsum(1)),
    "products": lambda m, a, b: (
        a @ m.weight.t(), F.linear(a, m.weight), a.matmul(b[0]), fastnn.einsum("ij,kj->ik", a, m.weight)
    ),
    "addmm": lambda m, a, b: fastnn.addmm(m.scale[:3], a, m.weight.T, beta=0.5, alpha=2.0),
    "batches": lambda m, a, b: a.unsqueeze(1) @ b.unsqueeze(2),
    "views": lambda m, a, b: (a.view(-1, 2, 2).flatten(1), a.reshape(a.size(0), 2, -1), a.view(a.shape[0] * 2, 2)),
    "sizes inside": lambda m, a, b: (lambda y: y.reshape(y.shape[0], 2, y.size(1) // 2).sum(1) / y.numel())(a * b),
    "sizes": lambda m, a, b: a.view(*a.shape[:-1], 2, 2).permute(0, 2, 1).reshape(a.shape) / a.size(0),
    "transposes": lambda m, a, b: (a.t(), a.T.contiguous().mT, a.unsqueeze(0).squeeze(0), a.unflatten(1, (2, 2)).movedim(2, 1)),
    "joins": lambda m, a, b: (fastnn.cat([a, b, a], 1), fastnn.stack([a, b], 1), fastnn.hstack([a, b])),
    "pieces": lambda m, a, b: (*a.split(2, 1), *b.chunk(2, dim=1), *a.unbind(1), a.narrow(1, 1, 2)),
    "indices": lambda m, a, b: (a[:, 0], a[:, 1:3], a[..., -1], a[:, None], a[:, ::2], b[:, [2, 0]], a[0], a[1:, 1]),
    "gathers": lambda m, a, b: (a.gather(1, b.argsort(1)), a.index_select(1, fastnn.tensor([3, 1])), a[:, fastnn.tensor([1, 1])]),
    "expansions": lambda m, a, b: (m.scale.expand(a.size(0), -1) * a, m.scale.expand_as(b), a.repeat(1, 2), a.flip(1)),
    "pads": lambda m, a, b: (F.pad(a, (1, 2), value=3.0), F.pad(a.unsqueeze(1), (1, 1), mode="reflect"), a.roll(1, 1)),
    "fills": lambda m, a, b: fastnn.zeros(a.size(0), 4) + fastnn.ones_like(a) + a.new_full((a.shape[0], 1), 2.0),
    "ranges": lambda m, a, b: fastnn.arange(a.size(0)).unsqueeze(1) * a,
    "one hot": lambda m, a, b: F.one_hot(a.argmax(1), 4) * b,
    "dtypes": lambda m, a, b: (a.double() + 1, (a * 4).to(fastnn.int32), a.type_as(m.scale), a.half().float()),
    "constants": lambda m, a, b: a * fastnn.tensor([1.0, 2.0, 3.0, 4.0]) + m.weight.sum() + fastnn.pi,
    "outputs of inputs": lambda m, a, b: (a, b, m.scale, a),
    "several": lambda m, a, b: {"sum": a + b, "parts": [a - b, (a * b,)]},
    "iteration": lambda m, a, b: sum(row for row in a.T) + fastnn.softmax(b, 1)[:, 0],
    "losses": lambda m, a, b: F.mse_loss(a, b) + F.cross_entropy(a, b.argmax(1)),
    "assignments": lambda m, a, b: (
        assigned(a, (slice(None), 1), 2.0), assigned(a, (slice(1, None), slice(-2, None)), b[1:, :2]), assigned(a, a > 0, 1.0),
        assigned(a, 0, m.scale), assigned(a, (..., slice(None, -1)), b[:, :1]),
    ),
    "scatters": lambda m, a, b: (a.scatter(1, b.argsort(1), b), a.scatter_add(1, b.argsort(1), b), a.scatter(1, b.argmax(1, True), 1.0)),
    "angles": lambda m, a, b: (fastnn.atan2(a, b), a.hypot(b), a.logaddexp(b), a.deg2rad(), a.sigmoid().logit()),
    "lerps": lambda m, a, b: (a.lerp(b, 0.3), a.addcmul(b, b, value=0.5), a.addcdiv(b, b.abs() + 1), a.xlogy(b.abs()), a.nan_to_num()),
    "bilinear": lambda m, a, b: F.bilinear(a, b, m.weight[[0, 1, 2, 0]].unsqueeze(0), m.scale[:1]),
    "triangles": lambda m, a, b: a.tril() + b.triu(1),
    "composed": lambda m, a, b: F.softmin(a, 1) * F.silu(b) + fastnn.column_stack([a[:, 0], b[:, :3]]),
}  # fmt: skip


@pytest.mark.parametrize("name", FORWARDS)
def test_forward(name):
    model = Function(FORWARDS[name])
    if name == "several":
        program = fastnn.onnx.export(model, (x(5, 4), x(5, 4)))
        assert [o.name for o in program.model_proto.graph.output] == ["output_0", "output_1", "output_2"]
        return
    check(model, (x(5, 4), x(5, 4)))


EDGES = [-1e4, -100.0, -20.5, -1.0, -1e-3, -1e-8, 0.0, 1e-8, 1e-3, 1.0, 20.5, 100.0, 1e4]
CURVES = (
    "celu", "elu", "gelu", "hardshrink", "hardsigmoid", "hardswish", "logsigmoid", "mish", "relu6", "selu", "softplus",
    "softshrink", "softsign",
)  # fmt: skip


def test_large_and_small_numbers():
    """Formulas neither overflow nor cancel, for each number by itself."""
    model = Function(lambda m, a: (
        *[getattr(F, name)(a) for name in CURVES], a.expm1(), a.abs().log1p(), a.tanh(), a.nan_to_num(), a.logaddexp(a / 2),
        F.binary_cross_entropy_with_logits(a, (a > 0.1).float(), reduction="none"),
    ))  # fmt: skip
    a = fastnn.tensor(EDGES)
    file = io.BytesIO()
    fastnn.onnx.export(model, (a,), file)
    for results in (
        runtime(file.getvalue()).run(None, {"args_0": a.numpy()}),
        [r.detach().numpy() for r in fastnn.onnx.load(file.getvalue()).eval()(a)],
    ):
        for found, expected in zip(results, model(a), strict=True):
            np.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize("opset", [13, 14, 16, 17, 18, 20, 21, 23])
def test_opset(opset):
    model = nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Dropout(0.3), nn.LayerNorm(8, 0.1), nn.Linear(8, 4), nn.Hardswish(),
        Function(lambda m, a: (a.abs().sum(1, keepdim=True) + a.square().mean(1, True) + a.abs().amax(1, True)) * a.softmax(1)),
    )  # fmt: skip
    model(x(6, 4))
    check(model, (x(5, 4),), opset)


# -- Options ----------------------------------------------------------------------------------


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))


def shapes(values: Any) -> list[list[Any]]:
    return [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values]


def test_the_graph():
    graph = fastnn.onnx.export(mlp(), (x(5, 4),), dynamic_axes={"input": {0: "batch"}}).model_proto.graph
    assert [n.op_type for n in graph.node] == ["Gemm", "Relu", "Gemm"]
    assert [i.name for i in graph.initializer] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert list(graph.initializer[0].dims) == [3, 4]
    assert ([i.name for i in graph.input], [o.name for o in graph.output]) == (["input"], ["output"])
    assert shapes([*graph.input, *graph.output]) == [["batch", 4], ["batch", 2]]


def test_names_and_dynamic_shapes():
    class Two(nn.Module):
        def forward(self, first: Any, second: Any = None, *, third: Any = None) -> Any:
            return first + second, third * 2

    args, third = (x(3, 4), x(3, 4)), x(2)
    program = fastnn.onnx.export(
        Two(), args, kwargs={"third": third}, input_names=["a"], output_names=["sum"],
        dynamic_shapes={"first": {0: "n"}, "second": [fastnn.export.Dim("n"), fastnn.export.Dim.STATIC], "third": None},
    )  # fmt: skip
    graph = program.model_proto.graph
    assert [v.name for v in (*graph.input, *graph.output)] == ["a", "second", "third", "sum", "output_1"]
    assert shapes(graph.input) == [["n", 4], ["n", 4], [2]]
    assert shapes(graph.output) == [["n", 4], [2]]
    # Keyword inputs as a dictionary at the end, as early PyTorch had them; a list of axes.
    early = fastnn.onnx.export(Two(), (*args, {"third": third}), dynamic_axes={"first": [0], "second": [0]})
    assert shapes(early.model_proto.graph.input) == [["first_dim_0", 4], ["second_dim_0", 4], [2]]
    found = early(*args, third)
    assert_equal(found[0].numpy(), (args[0] + args[1]).numpy())


@pytest.mark.parametrize("order", ["evi", "evivev", "vieivie", "eievev"])
def test_exports_leave_other_changes_of_operations(order):
    """Exports, vmap and an idle time of vmap in turns: each replaces the code of operations."""
    model = mlp()

    def export():
        graph = fastnn.onnx.export(model, (x(5, 4),)).model_proto.graph
        assert [i.name for i in graph.input] == ["input"]
        assert [n.op_type for n in graph.node] == ["Gemm", "Relu", "Gemm"]

    def batch():
        assert fastnn.vmap(lambda a: a * 2)(fastnn.ones(2)).tolist() == [2.0, 2.0]

    def collect():
        for _ in range(torch_function._PATIENCE + 1):
            gc.collect(0)

    for letter in order:
        {"e": export, "v": batch, "i": collect}[letter]()
    assert fastnn.vmap(fastnn.sin)(fastnn.zeros(2)).tolist() == [0.0, 0.0]
    assert list(inspect.signature(fastnn.nn.Sequential.forward).parameters) == ["self", "input"]


def test_parameters():
    model = mlp()
    graph = fastnn.onnx.export(model, x(5, 4), export_params=False).model_proto.graph
    assert [i.name for i in graph.input] == ["input", "0.weight", "0.bias", "2.weight", "2.bias"]
    assert not graph.initializer
    graph = fastnn.onnx.export(model, x(5, 4), keep_initializers_as_inputs=True).model_proto.graph
    assert (len(graph.input), len(graph.initializer)) == (5, 4)
    # What depends on parameters only is computed now, or not.
    product = Function(lambda m, a: a @ m.weight.t())
    for folds, names in ((True, ["MatMul"]), (False, ["Transpose", "MatMul"])):
        graph = fastnn.onnx.export(product, x(5, 4), do_constant_folding=folds).model_proto.graph
        assert [n.op_type for n in graph.node] == names


def test_training():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.4))
    mode = fastnn.onnx.TrainingMode
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for training, wanted in ((mode.EVAL, ["Gemm", "BatchNormalization"]), (mode.TRAINING, ["Gemm", "BatchNormalization", "Dropout"])):
        graph = fastnn.onnx.export(model, x(5, 4), training=training).model_proto.graph
        assert [n.op_type for n in graph.node] == wanted
    assert model.training
    assert model[1].training
    assert all(bool((value == before[name]).all()) for name, value in model.state_dict().items())
    model.eval()
    graph = fastnn.onnx.export(model, x(5, 4), training=mode.PRESERVE).model_proto.graph
    assert len(graph.node) == 2


def test_files(tmp_path):
    model, path = nn.Linear(64, 64), tmp_path / "m.onnx"
    program = fastnn.onnx.export(model, (x(1, 64),), path, verify=True, external_data=False)
    assert path.read_bytes() == program.model_proto.SerializeToString()
    program.save(tmp_path / "n.onnx", external_data=True)
    assert (tmp_path / "n.onnx.data").stat().st_size >= 64 * 64 * 4
    copy = fastnn.onnx.load(tmp_path / "n.onnx")
    assert bool((copy.weight == model.weight).all())
    program.save(tmp_path / "o.onnx", include_initializers=False)
    assert (tmp_path / "o.onnx").stat().st_size < 1000
    assert repr(program) == "ONNXProgram(1 nodes, opset 20)"


def test_nothing_stays_changed():
    function, property_, method = F.relu, fastnn.Tensor.shape.fget, fastnn.Tensor.__add__
    codes = [f.__code__ for f in (function, property_, method)]
    with pytest.raises(fastnn.onnx.OnnxExporterError):
        fastnn.onnx.export(Function(lambda m, a: a.sum().item()), x(5, 4))
    fastnn.onnx.export(mlp(), x(5, 4))
    # Random numbers have an operation of their own.
    noise = fastnn.onnx.export(Function(lambda m, a: a + fastnn.randn_like(a) * fastnn.rand(a.shape)), x(5, 4), dynamic_axes={"args_0": [0]})
    assert noise(x(7, 4)).shape == (7, 4)
    assert [f.__code__ for f in (function, property_, method)] == codes
    seen = []
    fastnn.onnx.export(Function(lambda m, a: (seen.append(fastnn.onnx.is_in_onnx_export()), a + 1)[1]), x(5, 4))
    assert all(seen)
    assert not fastnn.onnx.is_in_onnx_export()


def test_a_captured_model_is_exported():
    model = mlp()
    for _ in range(4):
        expected = model(fastnn.ones(5, 4))
    session = check(model, (x(5, 4),))
    [found] = session.run(None, {"x0": np.ones((5, 4), np.float32)})
    assert_equal(found, expected.detach().numpy())
    assert bool((model(fastnn.ones(5, 4)) == expected).all())


# -- Errors -----------------------------------------------------------------------------------

REFUSED: dict[str, tuple[Callable[..., Any], str]] = {
    "an unknown operation": (lambda m, a: fastnn.special.i0e(a), r"no torch operation 'i0e' to ONNX"),
    "linalg": (lambda m, a: fastnn.linalg.qr(a)[0], r"no torch operation 'qr' to ONNX"),
    "a number": (lambda m, a: a * a.sum().item(), r"reads numbers that depend on its inputs, by Tensor\.item"),
    "a branch": (lambda m, a: a if a.sum() > 0 else -a, r"by Tensor\.__bool__"),
    "an array": (lambda m, a: fastnn.from_numpy(a.numpy()), r"by Tensor\.numpy"),
    "a list": (lambda m, a: fastnn.tensor(a.tolist()), r"by Tensor\.tolist"),
    "a size in a branch": (lambda m, a: a[:3] if len(a) > 5 else a[:2], r"depends on the numbers or the sizes"),
    "a size as a number": (lambda m, a: a * (1.0 / int(a.size(0))), r"'__mul__'.* depends on the numbers or the sizes"),
    "a part through which is written": (lambda m, a: (lambda b: (b[:, 0].zero_(), b + 1)[1])(a.clone()), "changed in place through a view"),
    "an assignment by tensors": (lambda m, a: assigned(a, fastnn.tensor([1, 2]), 0.0), r"operation '__setitem__' by tensors"),
    "an operation in place": (lambda m, a: a.clone().index_fill_(1, fastnn.tensor([1]), 0), r"'index_fill_' .* changes a tensor"),
    "no tensor": (lambda m, a: 3, r"must return tensors, found int"),
    "parts of the batch": (lambda m, a: a.split(2, 0)[0], r"'split' of a dimension whose size changes"),
    "out": (lambda m, a: fastnn.add(a, 1, out=fastnn.empty(0)), r"'add' with out="),
    "arguments": (lambda m, a: a.round(decimals=2), r"'round' with decimals"),
    "an export inside": (lambda m, a: fastnn.onnx.export(nn.Identity(), a), "a forward cannot export another model"),
    "sizes": (lambda m, a: a.reshape(5, 4) * 2, r"fails when the dimensions that may change are larger"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    function, text = REFUSED[name]
    with pytest.raises(fastnn.onnx.OnnxExporterError, match=text) as caught:
        fastnn.onnx.export(Function(function), x(5, 4), dynamic_axes={"args_0": {0: "batch"}})
    assert "\n" not in str(caught.value)


def test_wrong_arguments():
    model, a = mlp(), x(5, 4)
    for options, kind, text in (
        ({"opset_version": 12}, ValueError, "opset_version must be 13 to 23, found 12"),
        ({"input_names": ["a", "b"]}, ValueError, r"input names provided \(2\) exceeds number of inputs \(1\)"),
        ({"output_names": ["a", "b"]}, ValueError, r"output names provided \(2\) exceeds"),
        ({"output_names": ["input"]}, ValueError, "names that nothing else has"),
        ({"dynamic_axes": {"input": {2: "n"}}}, ValueError, "input 'input' has 2 dimensions, and no dimension 2"),
        ({"kwargs": {"other": a}}, TypeError, "do not fit the forward of Sequential"),
        ({"dynamic_axes": {}, "dynamic_shapes": ()}, ValueError, "exclude each other"),
    ):  # fmt: skip
        with pytest.raises(kind, match=text):
            fastnn.onnx.export(model, (a,), **options)
    with pytest.raises(TypeError, match="model must be a module, found function"):
        fastnn.onnx.export(lambda a: a, (a,))


def test_the_package_is_missing(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnx", None)
    for call in (lambda: fastnn.onnx.export(mlp(), x(5, 4)), lambda: fastnn.onnx.load("m.onnx")):
        with pytest.raises(ImportError, match=r"fastnn\.onnx needs the package onnx: pip install 'fastnn\[onnx\]'"):
            call()


@pytest.mark.torch
def test_the_arguments_are_those_of_pytorch():
    import inspect

    torch = pytest.importorskip("torch")
    theirs, ours = (inspect.signature(lib.onnx.export).parameters for lib in (torch, fastnn))
    assert set(theirs) <= set(ours)
