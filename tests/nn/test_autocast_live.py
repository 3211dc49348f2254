"""Autocast and bfloat16 beside PyTorch: dtypes of every operation, layers and optimizers."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from beside_torch import dtype_name, one_thread, torch  # noqa: F401
from operations import OPERATIONS, Operation
from test_layers_bfloat16 import OPTIMIZERS, steps

import fastnn

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_operation(operation: Operation, kind: str) -> None:

    def dtypes(lib: Any, arrays: list[np.ndarray]) -> list[str]:
        operands = [lib.tensor(a.astype(np.float32)).to(getattr(lib, kind)) for a in arrays]
        with lib.autocast("cpu", dtype=lib.bfloat16):
            found = operation.run(lib, *operands)
        outs = found if isinstance(found, (tuple, list)) else [found]
        return [dtype_name(t.dtype) for t in outs if hasattr(t, "dtype")]

    for shapes in operation.shapes[:2]:
        arrays = operation.arrays(shapes)
        try:
            expected = dtypes(torch, arrays)
        except (RuntimeError, NotImplementedError):
            # PyTorch has no kernel for bfloat16, or mixes dtypes itself.
            continue
        if operation.name == "pinv":
            # A product with a decomposition, which PyTorch converts.
            continue
        assert dtypes(fastnn, arrays) == expected, shapes


# -- Layers --------------------------------------------------------------------------------------------


def _numbers(*shape: int, low: float = -1.0) -> np.ndarray:
    return np.random.default_rng(sum(shape)).uniform(low, 1, shape).astype(np.float32)


_X, _P, _CLASSES = _numbers(6, 8), _numbers(6, 8, low=0.05), np.arange(6)
LAYERS: list[tuple[str, tuple[Any, ...], tuple[Any, ...]]] = [
    *[(kind, (), (_X,)) for kind in (
        "ReLU", "GELU", "SiLU", "Mish", "Tanh", "Sigmoid", "ELU", "SELU", "CELU", "LeakyReLU", "PReLU", "Softplus",
        "Softsign", "Softshrink", "Hardshrink", "Hardtanh", "Hardswish", "Hardsigmoid", "LogSigmoid", "Tanhshrink",
        "GLU", "ReLU6", "Identity",
    )],
    ("Linear", (8, 3), (_X,)), ("Bilinear", (8, 8, 3), (_X, _P)), ("Threshold", (0.1, 0.2), (_X,)),
    ("Softmax", (1,), (_X,)), ("LogSoftmax", (1,), (_X,)), ("BatchNorm1d", (8,), (_X,)), ("LayerNorm", (8,), (_X,)),
    ("RMSNorm", (8,), (_X,)), ("GroupNorm", (2, 8), (_X,)), ("Dropout", (0.0,), (_X,)),
    ("Flatten", (), (_X[:, :, None],)),
    ("CosineSimilarity", (), (_X, _P)), ("PairwiseDistance", (), (_X, _P)), ("Embedding", (10, 4), (_CLASSES,)),
    ("EmbeddingBag", (10, 4), (_CLASSES.reshape(2, 3),)), ("MultiheadAttention", (8, 2), (_X, _X, _P)),
    ("TransformerEncoderLayer", (8, 2, 16, 0.0), (_X[None],)),
    *[(kind, (), (_X, _P)) for kind in (
        "MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "BCEWithLogitsLoss", "PoissonNLLLoss",
    )],
    ("KLDivLoss", (None, None, "batchmean"), (_X, _P)),
    ("BCELoss", (), (_P, _P)), ("CrossEntropyLoss", (), (_X, _CLASSES)), ("NLLLoss", (), (_X, _CLASSES)),
    ("GaussianNLLLoss", (), (_X, _P, _P)), ("HingeEmbeddingLoss", (), (_X, np.sign(_X))),
    ("SoftMarginLoss", (), (_X, np.sign(_X))), ("CosineEmbeddingLoss", (), (_X, _P, np.sign(_X[:, 0]))),
    ("MarginRankingLoss", (), (_X[0], _P[0], np.sign(_X[0]))), ("TripletMarginLoss", (), (_X, _P, _X[::-1].copy())),
]  # fmt: skip


def run_layer(lib: Any, model: Any, operands: tuple[Any, ...], mode: str) -> list[Any]:
    inputs = [lib.tensor(a) for a in operands]
    if mode != "autocast":
        inputs = [t.bfloat16() if t.is_floating_point() else t for t in inputs]
    if mode == "bfloat16":
        model = model.to(lib.bfloat16)
    if inputs[0].is_floating_point():
        inputs[0].requires_grad_()
    with lib.autocast("cpu", dtype=lib.bfloat16, enabled=mode != "bfloat16"):
        found = model(*inputs)
    found = list(found) if isinstance(found, tuple) else [found]
    factors = np.random.default_rng(1).uniform(0.5, 1, tuple(found[0].shape)).astype(np.float32)
    if found[0].requires_grad:
        found[0].backward(lib.tensor(factors).to(found[0].dtype))
    gradients = [inputs[0].grad, *[p.grad for p in model.parameters()]]
    return [t for t in (*found, *gradients, *model.buffers()) if t is not None]


@pytest.mark.parametrize("mode", ["bfloat16", "autocast", "autocast of bfloat16"])
@pytest.mark.parametrize(("kind", "args", "operands"), LAYERS, ids=[row[0] for row in LAYERS])
def test_layer_beside_pytorch(kind: str, args: tuple[Any, ...], operands: tuple[Any, ...], mode: str) -> None:
    theirs = getattr(torch.nn, kind)(*args)
    ours = getattr(fastnn.nn, kind)(*args)
    ours.load_state_dict({key: fastnn.tensor(value.numpy()) for key, value in theirs.state_dict().items()})
    with warnings.catch_warnings():
        # PyTorch has no fused form of some for two dtypes.
        warnings.simplefilter("ignore")
        try:
            expected = run_layer(torch, theirs, operands, mode)
        except RuntimeError as error:
            assert "must have the same dtype" in str(error)  # noqa: PT017
            return
    found = run_layer(fastnn, ours, operands, mode)
    assert [dtype_name(t.dtype) for t in found] == [dtype_name(t.dtype) for t in expected]
    for f, e in zip(found, expected, strict=True):
        a, b = f.detach().double().numpy(), e.detach().double().numpy()
        assert a.shape == b.shape
        # PyTorch rounds the parts of some derivatives, which cancel.
        np.testing.assert_allclose(a, b, rtol=2.0**-6, atol=2.0**-5 * max(0.1, np.abs(b).max(initial=0.0)))


# -- Optimizers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "options"), OPTIMIZERS)
def test_optimizer_beside_pytorch(kind: str, options: dict[str, Any]) -> None:
    (found, state), (expected, theirs) = (steps(lib, kind, options) for lib in (fastnn, torch))
    a, b = found.float().numpy(), expected.float().numpy()
    # Each of the four steps may differ by roundings of the parameter, which PyTorch makes line by line.
    assert np.abs(a - b).max() <= 2.0**-6
    assert np.median(np.abs(a - b) / np.maximum(np.abs(b), 2.0**-6)) <= 2.0**-7
    tensors = {k: dtype_name(v.dtype) for k, v in theirs.items() if isinstance(v, torch.Tensor)}
    assert {k: dtype_name(v.dtype) for k, v in state.items() if isinstance(v, fastnn.Tensor)} == tensors
