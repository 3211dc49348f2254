"""Files of other exporters, operations of ONNX one by one, round trips of random modules, and damaged files."""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastnn
from fastnn import nn

onnx = pytest.importorskip("onnx", reason="the package onnx is not installed")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402  after the check

GOLDEN = Path(__file__).parents[1] / "golden" / "onnx_files.npz"
# Modules of a round trip; 200 at a release.
EXAMPLES = int(os.environ.get("FASTNN_ONNX_EXAMPLES", "20"))


@functools.cache
def recorded() -> dict[str, dict[str, np.ndarray]]:
    found: dict[str, dict[str, np.ndarray]] = {}
    with np.load(GOLDEN) as file:
        for key in file.files:
            name, _, part = key.rpartition("/")
            found.setdefault(name, {})[part] = file[key]
    return found


def names() -> list[str]:
    with np.load(GOLDEN) as file:
        return [key.removesuffix("/file") for key in file.files if key.endswith("/file")]


def assert_equal(found: Any, expected: np.ndarray, least: float = 1e-6) -> None:
    """Equal to 1e-6 of the largest number, or of ``least``."""
    if expected.dtype.kind == "U":
        assert found.astype(str).tolist() == expected.tolist()
        return
    array = found.detach().numpy()
    assert (array.dtype, array.shape) == (expected.dtype, expected.shape)
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(array, expected)
    elif expected.size:
        np.testing.assert_allclose(array, expected, rtol=0, atol=1e-6 * max(float(np.abs(expected).max()), least))


# -- Files of others --------------------------------------------------------------------------


@pytest.mark.parametrize("name", names())
def test_file_of_another_exporter(name):
    parts = recorded()[name]
    model = fastnn.onnx.load(parts["file"].tobytes())
    inputs = [fastnn.from_numpy(parts[p].copy()) for p in sorted(parts) if p.startswith("input")]
    wanted = [parts[p] for p in sorted(parts) if p.startswith("output")]
    model.eval()
    found = model(*inputs)
    found = found if isinstance(found, tuple) else (found,)
    for value, expected in zip(found, wanted, strict=True):
        assert_equal(value, expected)
    for shift in (1, 2, 1, 2, 0):
        # Some calls are replays.
        again = model(*[i.roll(shift, 0) for i in inputs])
    for value, expected in zip(again if isinstance(again, tuple) else (again,), wanted, strict=True):
        assert_equal(value, expected)
    by_name = model(**dict(zip(model.input_names, inputs, strict=True)))
    assert_equal(by_name[0] if isinstance(by_name, tuple) else by_name, wanted[0])
    # A step of training.
    parameters = list(model.parameters())
    if parameters:
        before = [p.detach().clone() for p in parameters]
        model.train()
        results = model(*inputs)
        results = results if isinstance(results, tuple) else (results,)
        loss = sum((r * r).sum() for r in results if isinstance(r, fastnn.Tensor) and r.is_floating_point())
        optimizer = fastnn.optim.SGD(parameters, 0.01)
        loss.backward()
        optimizer.step()
        assert any(bool((a != b).any()) for a, b in zip(before, parameters, strict=True))


def test_there_are_enough_files():
    assert len(names()) >= 20
    assert sum(name.startswith("sklearn") for name in names()) >= 6
    assert all(parts["file"].size < 16_000 for parts in recorded().values())


# -- Single operations ------------------------------------------------------------------------


def model_of(
    op: str, inputs: list[np.ndarray], outputs: int = 1, opset: int = 20, domain: str = "", constants: int = 0, **attributes: Any
) -> Any:
    """A model of one node; the last ``constants`` inputs are initializers."""
    names = [f"x{i}" for i in range(len(inputs))]
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op, names, results, name="the_node", domain=domain, **attributes)
    count = len(inputs) - constants
    given = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), None)
        for n, a in zip(names[:count], inputs, strict=False)
    ]
    fixed = [numpy_helper.from_array(a, n) for n, a in zip(names[count:], inputs[count:], strict=True)]
    graph = helper.make_graph(
        [node], "g", given, [helper.make_tensor_value_info(r, TensorProto.FLOAT, None) for r in results], fixed
    )
    versions = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
    made = helper.make_model(graph, opset_imports=versions)
    made.ir_version = 8
    return made


RNG = np.random.default_rng(0)
A = RNG.standard_normal((3, 4)).astype(np.float32)
B = RNG.standard_normal((3, 4)).astype(np.float32)
W = RNG.standard_normal((4, 2)).astype(np.float32)
V = RNG.standard_normal(4).astype(np.float32)
C = RNG.standard_normal((2, 4, 3)).astype(np.float32)
N = np.array([[3, -7, 5], [2, 9, -4]])
I64 = np.int64


def ints(*values: int) -> np.ndarray:
    return np.array(values, I64)


# What the reference of the package onnx computes: inputs, attributes, and how many outputs.
OPERATIONS: list[tuple[str, list[np.ndarray], dict[str, Any]]] = [
    *[(op, [np.abs(A) + 1 if op in ("Log", "Sqrt", "Acosh") else A / 4], {}) for op in (
        "Abs", "Acos", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Cos", "Cosh", "Erf", "Exp", "Floor", "Identity", "Log",
        "Neg", "Reciprocal", "Relu", "Round", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Tan",
        "Tanh", "HardSwish", "Mish", "Acosh", "Celu", "Elu", "Selu", "Gelu", "HardSigmoid", "LeakyRelu", "Shrink",
        "ThresholdedRelu", "IsNaN", "IsInf", "LpNormalization", "Softmax", "LogSoftmax", "Hardmax", "Flatten", "Transpose",
        "Shape", "Size", "Trilu", "ReduceSum", "ReduceMean", "ArgMax", "ArgMin",
    )],
    *[(op, [A, B], {}) for op in (
        "Add", "Sub", "Mul", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min", "Sum",
        "Mean", "PRelu",
    )],
    *[(op, [A > 0, B > 0], {}) for op in ("And", "Or", "Xor")],
    ("Not", [A > 0], {}), ("Where", [A > 0, A, B], {}), ("Pow", [np.abs(A), B], {}), ("Div", [N, np.array(2)], {}),
    ("Mod", [N, np.array([3, 4, -3])], {}), ("Mod", [A, B], {"fmod": 1}), ("Max", [A, B, A + 1], {}),
    ("Celu", [A], {"alpha": 0.7}), ("Elu", [A], {"alpha": 0.7}), ("Selu", [A], {"alpha": 1.2, "gamma": 1.1}),
    ("Gelu", [A], {"approximate": "tanh"}), ("HardSigmoid", [A], {"alpha": 0.3, "beta": 0.4}),
    ("LeakyRelu", [A], {"alpha": 0.3}), ("Shrink", [A], {"lambd": 0.3, "bias": 0.2}),
    ("Clip", [A, np.float32(-0.5), np.float32(0.5)], {}), ("Clip", [A, np.float32(0)], {}),
    ("Gemm", [A, W], {}), ("Gemm", [A, W, V[:2]], {"alpha": 0.5, "beta": 2.0}),
    ("Gemm", [A, W.T.copy(), V[:2]], {"transB": 1}), ("Gemm", [A.T.copy(), W, np.float32(2)], {"transA": 1}),
    ("Gemm", [A, W, np.ones((3, 1), np.float32)], {}), ("MatMul", [C, A.T.copy()[:3]], {}), ("MatMul", [A, V], {}),
    ("Einsum", [A, B], {"equation": "ij,kj->ik"}), ("LayerNormalization", [A, V, V], {}),
    ("LayerNormalization", [C, C[0], C[1]], {"axis": 1, "epsilon": 1e-3}),
    ("BatchNormalization", [A, V, V, V, np.abs(V) + 0.1], {"epsilon": 1e-3}),
    ("InstanceNormalization", [C, V, V], {}), ("MeanVarianceNormalization", [C[None]], {}),
    ("Cast", [A], {"to": TensorProto.INT32}), ("Cast", [N], {"to": TensorProto.DOUBLE}), ("CastLike", [N, A], {}),
    ("Concat", [A, B], {"axis": -1}), ("Reshape", [C, ints(0, -1)], {}), ("Reshape", [C, ints(-1, 2, 3)], {}),
    ("Flatten", [C], {"axis": 2}), ("Flatten", [C], {"axis": 0}), ("Flatten", [C], {"axis": -1}),
    ("Transpose", [C], {"perm": [1, 0, 2]}), ("Squeeze", [A[:, None], ints(1)], {}), ("Squeeze", [A[None]], {}),
    ("Unsqueeze", [A, ints(0, -1)], {}), ("Gather", [A, ints(2, -1)], {}), ("Gather", [C, np.array([[0, -1]])], {"axis": 1}),
    ("Gather", [A, np.array(1)], {"axis": 1}), ("GatherElements", [A, np.array([[0, -1], [1, 1], [2, -2]])], {"axis": 1}),
    ("GatherND", [C, np.array([[0, 1], [1, 3]])], {}), ("Slice", [A, ints(1), ints(3), ints(1)], {}),
    ("Slice", [C, ints(-1, 0), ints(-9, 9), ints(1, 2), ints(-2, 2)], {}), ("Slice", [C, ints(1, 0), ints(2, -1)], {}),
    ("Split", [A, ints(1, 3)], {"axis": 1}), ("Split", [A], {"axis": 1, "num_outputs": 2}), ("Expand", [V, ints(2, 1)], {}),
    ("Tile", [A, ints(2, 1)], {}), ("Pad", [A, ints(0, 1, 1, 2), np.float32(3)], {}), ("Shape", [C], {"start": 1}),
    ("Pad", [A, ints(1, 1), np.float32(0), ints(1)], {}), ("Pad", [A, ints(1, 1, 1, 1)], {"mode": "reflect"}),
    ("ConstantOfShape", [ints(2, 3)], {"value": numpy_helper.from_array(np.array([7], I64))}),
    ("Range", [np.array(1), np.array(9), np.array(3)], {}), ("CumSum", [A, np.array(1)], {}), ("NonZero", [A > 0], {}),
    ("OneHot", [ints(1, -1, 0), np.array(3), np.array([2.0, 5.0], np.float32)], {}), ("TopK", [A, ints(2)], {"axis": 1}),
    *[(op, [np.abs(C), ints(0, -1)], {"keepdims": k}) for k in (0, 1) for op in (
        "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare",
        "ReduceLogSum", "ReduceLogSumExp",
    )],
    ("ReduceSum", [N], {"keepdims": 0}), ("ArgMax", [C], {"axis": 1, "keepdims": 0}), ("Softmax", [C], {"axis": 1}),
    # Each element by itself.
    ("ReduceSumSquare", [A], {"noop_with_empty_axes": 1}), ("ReduceL1", [A], {"noop_with_empty_axes": 1}),
    ("ReduceLogSum", [np.abs(A)], {"noop_with_empty_axes": 1}), ("ReduceMax", [A], {"noop_with_empty_axes": 1}),
    ("Dropout", [A], {}),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(OPERATIONS)), ids=lambda i: f"{i}-{OPERATIONS[i][0]}")
def test_operation(number):
    from onnx.reference import ReferenceEvaluator

    op, inputs, attributes = OPERATIONS[number]
    inputs = [np.asarray(a) for a in inputs]
    outputs = {"Split": 2, "TopK": 2}.get(op, 1)
    proto = model_of(op, inputs, outputs, **attributes)
    expected = ReferenceEvaluator(proto).run(None, {f"x{i}": a for i, a in enumerate(inputs)})
    found = fastnn.onnx.load(proto).eval()(*[fastnn.from_numpy(a.copy()) for a in inputs])
    for value, wanted in zip(found if isinstance(found, tuple) else (found,), expected, strict=True):
        assert_equal(value, np.asarray(wanted))


OLD: list[tuple[str, list[np.ndarray], dict[str, Any], int, np.ndarray]] = [
    ("Softmax", [C], {}, 11, (lambda e: e / e.sum((1, 2), keepdims=True))(np.exp(C))),
    ("Clip", [A], {"min": -0.5, "max": 0.5}, 6, A.clip(-0.5, 0.5)),
    ("Squeeze", [A[:, None]], {"axes": [1]}, 11, A), ("Unsqueeze", [A], {"axes": [1]}, 11, A[:, None]),
    ("ReduceMean", [C], {"axes": [1], "keepdims": 0}, 13, C.mean(1)), ("Slice", [A], {"starts": [1], "ends": [3]}, 9, A[1:3]),
    ("Split", [A], {"axis": 1, "split": [4]}, 11, A), ("Pad", [A], {"pads": [0, 1, 0, 0], "value": 2.0}, 10,
     np.pad(A, ((0, 0), (1, 0)), constant_values=2.0)), ("Dropout", [A], {"ratio": 0.3}, 10, A),
]  # fmt: skip


@pytest.mark.parametrize("row", OLD, ids=lambda row: row[0])
def test_operation_of_an_old_version(row):
    op, inputs, attributes, opset, expected = row
    proto = model_of(op, inputs, 1, opset, **attributes)
    assert_equal(fastnn.onnx.load(proto).eval()(*[fastnn.from_numpy(a.copy()) for a in inputs]), expected.astype(np.float32))


def test_mean_of_integers():
    # As ONNX Runtime has it: towards zero.
    found = fastnn.onnx.load(model_of("ReduceMean", [N, ints(0)], keepdims=0))(fastnn.from_numpy(N), fastnn.tensor([0]))
    assert found.tolist() == [2, 1, 0]


def test_extremes_of_no_numbers():
    for op, dtype, expected in (
        ("ReduceMax", np.float32, -np.inf), ("ReduceMin", np.float32, np.inf), ("ReduceMin", np.int32, 2**31 - 1),
        ("ReduceMax", np.int64, -(2**63)),
    ):  # fmt: skip
        model = fastnn.onnx.load(model_of(op, [np.zeros((0, 2), dtype), ints(0)], keepdims=0))
        assert model(fastnn.from_numpy(np.zeros((0, 2), dtype)), fastnn.tensor([0])).tolist() == [expected] * 2


@pytest.mark.parametrize("training", [False, True])
def test_mask_of_dropout(training):
    model = fastnn.onnx.load(model_of("Dropout", [A], 2, opset=12)).train(training)
    found, mask = model(fastnn.from_numpy(A.copy()))
    assert mask.dtype == fastnn.bool
    assert bool(mask.all()) is not training
    assert_equal(found, np.where(mask.numpy(), A * (1 + training), 0).astype(np.float32))


def test_results_without_a_name_are_dropped():
    proto = model_of("Split", [A], 2, axis=1, num_outputs=2)
    proto.graph.node[0].output[0] = ""
    del proto.graph.output[0]
    assert_equal(fastnn.onnx.load(proto)(fastnn.from_numpy(A.copy())), A[:, 2:])


def test_operations_of_classical_models():
    def run(op: str, *inputs: np.ndarray, **attributes: Any) -> Any:
        proto = model_of(op, list(inputs), 1, domain="ai.onnx.ml", **attributes)
        return fastnn.onnx.load(proto)(*[fastnn.from_numpy(np.array(a)) for a in inputs])

    assert_equal(run("Scaler", A, offset=[1.0, 2.0, 3.0, 4.0], scale=[0.5]), (A - np.float32([1, 2, 3, 4])) * np.float32(0.5))
    assert_equal(run("Normalizer", A, norm="L2"), A / np.sqrt((A * A).sum(1, keepdims=True)))
    assert_equal(run("Normalizer", A, norm="L1"), A / np.abs(A).sum(1, keepdims=True))
    assert_equal(run("Binarizer", A, threshold=0.1), (A > 0.1).astype(np.float32))
    assert_equal(run("FeatureVectorizer", A, A, inputdimensions=[4, 4]), np.concatenate([A, A], 1))
    assert_equal(run("ArrayFeatureExtractor", A, ints(2, 0)), A[:, [2, 0]])
    assert_equal(run("LabelEncoder", ints(1, 5, 2), keys_int64s=[1, 2], values_floats=[0.5, 1.5], default_float=9.0), np.float32([0.5, 9, 1.5]))
    texts = run("LabelEncoder", ints(1, 5), keys_int64s=[1, 2], values_strings=["a", "b"])
    assert texts.tolist() == ["a", "_Unused"]
    assert_equal(run("ZipMap", A, classlabels_int64s=[0, 1, 2, 3]), A)


def test_training_of_what_was_loaded():
    """Batch normalisation and dropout work as in training, and the parameters have the names of the file."""
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    x, y = fastnn.randn(16, 4), fastnn.randint(0, 3, (16,))
    model(x)
    program = fastnn.onnx.export(model, (x,), dynamic_axes={"input": {0: "batch"}})
    assert program is not None
    copy = fastnn.onnx.load(program.model_proto)
    assert not copy.training
    model.eval()
    assert_equal(program(x), model(x).detach().numpy())
    assert fastnn.onnx.export(model, (x,), verify=True) is not None
    for_training = fastnn.onnx.export(model, (x,), training=fastnn.onnx.TrainingMode.TRAINING)
    assert fastnn.onnx.load(for_training.model_proto).training
    assert set(copy.state_dict()) == set(model.state_dict()) - {"1.num_batches_tracked"}
    assert {n for n, _ in copy.named_parameters()} == {n for n, _ in model.named_parameters()}
    for net in (model, copy):
        net.train()
        optimizer = fastnn.optim.SGD(net.parameters(), 0.1)
        for _ in range(3):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()
    for name, value in copy.state_dict().items():
        assert_equal(value, model.state_dict()[name].numpy())
    again = fastnn.onnx.export(copy, (x,))
    assert_equal(fastnn.onnx.load(again.model_proto).eval()(x), copy.eval()(x).detach().numpy())


# -- Round trips ------------------------------------------------------------------------------

ACTIVATIONS = (
    nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.ELU, nn.Mish, nn.Softplus, nn.LeakyReLU, nn.Hardswish, nn.PReLU,
    nn.SELU, nn.CELU, nn.LogSigmoid, nn.Softsign, nn.Hardtanh, nn.Tanhshrink, nn.Identity,
)  # fmt: skip


class Sum(nn.Module):
    """Branches on one input, added."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Any) -> Any:
        return sum(branch(x) for branch in self.branches)


class Join(Sum):
    """Branches on one input, side by side."""

    def forward(self, x: Any) -> Any:
        return fastnn.cat([branch(x) for branch in self.branches], 1)


@st.composite
def trees(draw: Any, width: int, out: int, depth: int = 3) -> nn.Module:
    kind = draw(st.sampled_from(("layer", "layer", "chain", "sum", "join") if depth else ("layer",)))
    if kind == "chain":
        middle = draw(st.integers(1, 6))
        return nn.Sequential(draw(trees(width, middle, depth - 1)), draw(trees(middle, out, depth - 1)))
    if kind == "sum":
        return Sum(draw(trees(width, out, depth - 1)), draw(trees(width, out, depth - 1)))
    if kind == "join" and out > 1:
        first = draw(st.integers(1, out - 1))
        return Join(draw(trees(width, first, depth - 1)), draw(trees(width, out - first, depth - 1)))
    layers: list[nn.Module] = [nn.Linear(width, out, bias=draw(st.booleans()))]
    norm = draw(st.sampled_from((None, None, nn.BatchNorm1d, nn.LayerNorm, nn.RMSNorm)))
    if norm is not None and (out > 2 or norm is nn.BatchNorm1d):
        # A small eps would amplify the rounding of rows that are nearly constant.
        layers.append(norm(out, eps=0.1))
    layers.append(draw(st.sampled_from(ACTIVATIONS))())
    if draw(st.booleans()):
        layers.append(nn.Dropout(0.2))
    return nn.Sequential(*layers)


@settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True
)
@given(
    model=trees(4, 3), rows=st.integers(1, 7), opset=st.sampled_from((13, 17, 18, 20, 21)), seed=st.integers(0, 2**16)
)
def test_round_trip(model, rows, opset, seed):
    fastnn.manual_seed(seed)
    model(fastnn.randn(12, 4))
    model.eval()
    program = fastnn.onnx.export(
        model, (fastnn.randn(3, 4),), input_names=["x"], dynamic_axes={"x": {0: "batch"}}, opset_version=opset
    )
    copy = fastnn.onnx.load(program.model_proto.SerializeToString()).eval()
    x = fastnn.randn(rows, 4)
    expected = model(x).detach().numpy()
    # The numbers inside are about 1, and may cancel.
    assert_equal(copy(x), expected, 1.0)
    assert {n for n, _ in copy.named_parameters()} <= {n for n, _ in model.named_parameters()}
    try:
        import onnxruntime as ort
    except ImportError:
        return
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(program.model_proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    [found] = session.run(None, {"x": x.numpy()})
    assert_equal(fastnn.from_numpy(found), expected, 1.0)


# -- Errors -----------------------------------------------------------------------------------


def good() -> Any:
    return model_of("Gemm", [A, W, V[:2]], constants=2)


def test_an_unknown_operation_is_named():
    for op, domain, text in (
        ("Conv", "", r"fastnn does not compute the ONNX operation Conv \(node 'the_node'\)"),
        ("TreeEnsembleRegressor", "ai.onnx.ml", r"operation ai\.onnx\.ml\.TreeEnsembleRegressor \(node 'the_node'\)"),
    ):
        proto = model_of(op, [C, C][: 2 if op == "Conv" else 1], domain=domain)
        with pytest.raises(fastnn.onnx.errors.UnsupportedOperatorError, match=text):
            fastnn.onnx.load(proto)
    with pytest.raises(RuntimeError, match=r"GatherND with batch_dims \(node 'the_node'\)"):
        fastnn.onnx.load(model_of("GatherND", [C, ints(0)], batch_dims=1))
    proto = good()
    proto.graph.initializer[0].CopyFrom(helper.make_tensor("x1", TensorProto.FLOAT8E5M2, [4, 2], [1.0] * 8))
    with pytest.raises(RuntimeError, match=r"tensors of dtype float8_e5m2, which the file has, are not read"):
        fastnn.onnx.load(proto)
    with pytest.raises(RuntimeError, match=r"Cast to the dtype FLOAT8E5M2 \(node 'the_node'\)"):
        fastnn.onnx.load(model_of("Cast", [A], to=TensorProto.FLOAT8E5M2))


def test_bfloat16(tmp_path):
    assert fastnn.onnx.load(model_of("Cast", [A], to=TensorProto.BFLOAT16))(fastnn.tensor(A)).dtype is fastnn.bfloat16
    model, x = fastnn.nn.Linear(3, 2).to(fastnn.bfloat16), fastnn.ones(4, 3, dtype=fastnn.bfloat16)
    fastnn.onnx.export(model, (x,), tmp_path / "model.onnx")
    found = fastnn.onnx.load(tmp_path / "model.onnx")(x)
    assert found.dtype is fastnn.bfloat16
    assert found.tolist() == model(x).tolist()


def test_damaged_files(tmp_path):
    data = good().SerializeToString()
    for cut in (*range(1, len(data), 7), len(data) - 1):
        with pytest.raises((ValueError, RuntimeError), match=r"\w"):
            fastnn.onnx.load(data[:cut])
    path = tmp_path / "m.onnx"
    for bad in (b"", b"\xff" * 50, b"PK\x03\x04" + bytes(30), b"\x80\x02}q\x00."):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=r"m\.onnx is no valid ONNX model: \w"):
            fastnn.onnx.load(path)
    with pytest.raises(FileNotFoundError):
        fastnn.onnx.load(tmp_path / "none.onnx")
    # 0 is the number of an open file.
    for wrong in (None, 0):
        with pytest.raises(TypeError, match=r"f must be a path, a file, bytes"):
            fastnn.onnx.load(wrong)
    path.write_bytes(data)
    x = fastnn.from_numpy(A.copy())
    for source in (path, str(path), io.BytesIO(data), data, good()):
        assert_equal(fastnn.onnx.load(source)(x), A @ W + V[:2])


def test_malicious_graphs(tmp_path):
    rng = np.random.default_rng(1)
    data = good().SerializeToString()
    for _ in range(60):
        array = np.frombuffer(data, np.uint8).copy()
        array[rng.integers(0, array.size, 3)] = rng.integers(0, 256, 3)
        # Some are valid.
        with contextlib.suppress(ValueError, fastnn.onnx.errors.UnsupportedOperatorError):
            fastnn.onnx.load(array.tobytes())
    # A constant that claims more numbers than it has, and one in a file elsewhere.
    proto = good()
    proto.graph.initializer[0].dims[0] = 2**40
    with pytest.raises(ValueError, match="the model"):
        fastnn.onnx.load(proto)
    proto = good()
    weight = proto.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(ValueError, match=r"m\.onnx is no valid ONNX model"):
        fastnn.onnx.load(path)
    # Nodes in a circle, and a name that is computed twice.
    for pairs in ((("a", "b"), ("b", "a")), (("x0", "a"), ("x0", "a"))):
        proto = model_of("Relu", [A])
        for read, made in pairs:
            proto.graph.node.insert(0, helper.make_node("Relu", [read], [made]))
        with pytest.raises(ValueError, match="is no valid ONNX model"):
            fastnn.onnx.load(proto)


def test_names_that_python_has():
    """Names of constants that are no attributes, or those of a module."""
    proto = good()
    for new, initializer in zip(("forward.training", "a/b:0"), proto.graph.initializer, strict=True):
        for node in proto.graph.node:
            for i, name in enumerate(node.input):
                if name == initializer.name:
                    node.input[i] = new
        initializer.name = new
    model = fastnn.onnx.load(proto)
    assert len(list(model.parameters())) == 2
    assert_equal(model(fastnn.from_numpy(A.copy())), A @ W + V[:2])


def test_calls():
    model = fastnn.onnx.load(good())
    assert repr(model) == "ONNXModule(inputs=['x0'], outputs=['y0'], nodes=1)"
    x = fastnn.from_numpy(A.copy())
    for call, text in (
        (lambda: model(), r"the graph has 1 inputs, \['x0'\], and 0 were given"), (lambda: model(x, x), "2 were given"),
        (lambda: model(y=x), r"no \(other\) input 'y'"), (lambda: model(A), "input 'x0' must be a Tensor, found ndarray"),
    ):  # fmt: skip
        with pytest.raises(TypeError, match=text):
            call()
    with pytest.raises(ValueError, match="shapes") as caught:
        model(fastnn.ones(2, 3))
    assert caught.value.__notes__ == ["in the node Gemm (the_node)"]
    other = copy.deepcopy(model)
    for again in (other, pickle.loads(pickle.dumps(model))):
        assert_equal(again(x), A @ W + V[:2])
    with fastnn.no_grad():
        next(other.parameters()).zero_()
    assert_equal(model(x), A @ W + V[:2])
    assert bool((other(x) != model(x)).any())
