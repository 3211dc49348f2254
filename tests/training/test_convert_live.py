"""``fastnn.convert``: every layer and loss of ``fastnn.nn`` to PyTorch and back."""

from __future__ import annotations

import importlib
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

import fastnn
from fastnn import convert, nn

torch = pytest.importorskip("torch", reason="PyTorch is not installed: there is nothing to convert to")
pytestmark = pytest.mark.torch

# Makers of the modules that take arguments; the others are made without any.
MODULES: dict[str, list[Any]] = {
    "AlphaDropout": [lambda nn: nn.AlphaDropout(0.2)],
    "SyncBatchNorm": [lambda nn: nn.SyncBatchNorm(5, momentum=0.3), lambda nn: nn.SyncBatchNorm(5, affine=False)],
    "BatchNorm1d": [
        lambda nn: nn.BatchNorm1d(5, momentum=0.3, eps=1e-3),
        lambda nn: nn.BatchNorm1d(5, affine=False, momentum=None),
        lambda nn: nn.BatchNorm1d(5, track_running_stats=False),
    ],
    "BCEWithLogitsLoss": [lambda nn: nn.BCEWithLogitsLoss(pos_weight=library(nn).tensor([2.0, 3.0]))],
    "Bilinear": [lambda nn: nn.Bilinear(2, 3, 4), lambda nn: nn.Bilinear(2, 3, 4, bias=False)],
    "CELU": [lambda nn: nn.CELU(0.7)],
    "CrossEntropyLoss": [
        lambda nn: nn.CrossEntropyLoss(library(nn).tensor([1.0, 2.0]), reduction="sum", label_smoothing=0.1),
    ],
    "ELU": [lambda nn: nn.ELU(0.5, inplace=True)],
    "Embedding": [lambda nn: nn.Embedding(6, 3, padding_idx=2, max_norm=1.5)],
    "EmbeddingBag": [lambda nn: nn.EmbeddingBag(6, 3, mode="sum")],
    "Flatten": [lambda nn: nn.Flatten(0, 1)],
    "GELU": [lambda nn: nn.GELU("tanh")],
    "GroupNorm": [lambda nn: nn.GroupNorm(2, 6)],
    "Hardtanh": [lambda nn: nn.Hardtanh(-2, 0.5)],
    "InstanceNorm1d": [lambda nn: nn.InstanceNorm1d(4, affine=True, track_running_stats=True)],
    "LayerNorm": [lambda nn: nn.LayerNorm((2, 3), bias=False), lambda nn: nn.LayerNorm(4, elementwise_affine=False)],
    "Linear": [
        lambda nn: nn.Linear(4, 3),
        lambda nn: nn.Linear(300, 70, bias=False),
        lambda nn: nn.Linear(2, 2, dtype=library(nn).float64),
    ],
    "LogSoftmax": [lambda nn: nn.LogSoftmax(dim=1)],
    "ModuleDict": [lambda nn: nn.ModuleDict({"a": nn.Linear(1, 2), "b": nn.ReLU()})],
    "ModuleList": [lambda nn: nn.ModuleList([nn.Linear(1, 2), nn.Dropout(0.1)])],
    "MultiMarginLoss": [lambda nn: nn.MultiMarginLoss(p=2, margin=0.5)],
    "PReLU": [lambda nn: nn.PReLU(3, init=0.1)],
    "MultiheadAttention": [
        lambda nn: nn.MultiheadAttention(6, 2, dropout=0.1, bias=False, kdim=3, add_zero_attn=True),
        lambda nn: nn.MultiheadAttention(6, 3, add_bias_kv=True, batch_first=True, dtype=library(nn).float64),
    ],
    "Transformer": [
        lambda nn: nn.Transformer(
            4, 2, custom_encoder=nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 5), 1, None, False),
            custom_decoder=nn.TransformerDecoder(nn.TransformerDecoderLayer(4, 2, 5), 2), batch_first=True,
        ),
    ],
    "TransformerDecoder": [lambda nn: nn.TransformerDecoder(nn.TransformerDecoderLayer(4, 2, 5), 2, nn.LayerNorm(4))],
    "TransformerDecoderLayer": [lambda nn: nn.TransformerDecoderLayer(4, 2, 5, norm_first=True, bias=False)],
    "TransformerEncoder": [
        lambda nn: nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 5, batch_first=True), 2, nn.LayerNorm(4)),
    ],
    "TransformerEncoderLayer": [
        lambda nn: nn.TransformerEncoderLayer(4, 2, 5, 0.2, "gelu", 1e-3, dtype=library(nn).float64),
        lambda nn: nn.TransformerEncoderLayer(4, 2, 5, activation=nn.ELU(0.5)),
        lambda nn: nn.TransformerEncoderLayer(4, 2, 5, activation=nn.functional.silu),
    ],
    "ParameterDict": [lambda nn: nn.ParameterDict({"w": nn.Parameter(library(nn).ones(2))})],
    "ParameterList": [lambda nn: nn.ParameterList([nn.Parameter(library(nn).ones(2)) for _ in range(3)])],
    "RMSNorm": [lambda nn: nn.RMSNorm(3)],
    "Sequential": [
        lambda nn: nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Sequential(nn.Dropout(0.25), nn.Linear(3, 2))),
        lambda nn: nn.Sequential(OrderedDict(first=nn.Linear(2, 2), last=nn.LeakyReLU(0.3))),
    ],
    "Softmax": [lambda nn: nn.Softmax(dim=-1)],
    "Threshold": [lambda nn: nn.Threshold(0.1, 20)],
    "TripletMarginWithDistanceLoss": [
        lambda nn: nn.TripletMarginWithDistanceLoss(distance_function=nn.PairwiseDistance(p=1), margin=0.5),
    ],
    "Unflatten": [lambda nn: nn.Unflatten(1, (2, 3))],
}
# Classes that are not converted: a base class, parameters, a wrapper, a module without a shape.
OTHERS = {"Module", "Parameter", "Buffer", "UninitializedParameter", "DataParallel", "LazyLinear"}
CLASSES = sorted(name for name in nn.__all__ if isinstance(getattr(nn, name), type) and name not in OTHERS)


def library(nn: Any) -> Any:
    return importlib.import_module(nn.__name__.partition(".")[0])


def assert_equal(found: Any, expected: Any) -> None:
    """Two modules of two libraries have the same repr, names, values, dtypes and flags."""
    assert str(found) == str(expected)
    a, b = found.state_dict(), expected.state_dict()
    assert list(a) == list(b)
    for name in a:
        x, y = (np.asarray(t.detach().numpy()) for t in (a[name], b[name]))
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)
    assert [m.training for m in found.modules()] == [m.training for m in expected.modules()]
    assert [(n, p.requires_grad) for n, p in found.named_parameters()] == [
        (n, p.requires_grad) for n, p in expected.named_parameters()
    ]


@pytest.mark.parametrize("name", CLASSES)
def test_there_and_back(name: str) -> None:
    for make in MODULES.get(name, [lambda nn: getattr(nn, name)()]):
        for module, there, back in (
            (make(fastnn.nn), convert.to_torch, convert.from_torch),
            (make(torch.nn), convert.from_torch, convert.to_torch),
        ):
            other = there(module)
            assert type(other).__module__.partition(".")[0] != type(module).__module__.partition(".")[0]
            assert_equal(other, module)
            assert_equal(back(other), module)
            # Arguments of the constructor that are not parameters.
            for attribute in ("eps", "momentum", "p", "reduction", "margin", "ignore_index", "dim", "swap"):
                assert getattr(other, attribute, None) == getattr(module, attribute, None)


def test_a_model_computes_the_same() -> None:
    model = torch.nn.Sequential(
        torch.nn.Linear(20, 16), torch.nn.BatchNorm1d(16), torch.nn.ReLU(), torch.nn.Dropout(0.5),
        torch.nn.Linear(16, 3), torch.nn.LogSoftmax(dim=1),
    )  # fmt: skip
    model[0].bias.requires_grad_(False)
    x = np.random.default_rng(0).standard_normal((30, 20)).astype(np.float32)
    model(torch.from_numpy(x))
    model.eval()
    model[4].train()
    found = convert.from_torch(model)
    assert_equal(found, model)
    np.testing.assert_allclose(
        found(fastnn.from_numpy(x)).detach().numpy(), model(torch.from_numpy(x)).detach().numpy(), atol=1e-6
    )
    # Copies: training one does not change the other.
    before = found[0].weight.detach().numpy().copy()
    with torch.no_grad():
        model[0].weight.zero_()
    np.testing.assert_array_equal(found[0].weight.detach().numpy(), before)


def test_what_is_shared_stays_shared() -> None:
    layer, tied = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
    tied.weight = layer.weight
    found = convert.from_torch(torch.nn.Sequential(layer, torch.nn.ReLU(), layer, tied))
    assert found[0] is found[2] is not found[3]
    assert found[3].weight is found[0].weight
    assert len(list(found.parameters())) == 3


def test_tensors() -> None:
    a = np.arange(6.0).reshape(2, 3)
    for array in (a.T, a[:0], a.astype(np.float32)[:, ::2], np.array(3), np.array([True, False]), np.uint8([1])):
        found = convert.from_torch(torch.from_numpy(array))
        assert isinstance(found, fastnn.Tensor)
        assert found.numpy().dtype == array.dtype
        np.testing.assert_array_equal(found.numpy(), array)
        back = convert.to_torch(found)
        assert isinstance(back, torch.Tensor)
        np.testing.assert_array_equal(back.numpy(), array)
    assert convert.from_torch(torch.ones(2, requires_grad=True)).requires_grad
    parameter = convert.from_torch(torch.nn.Parameter(torch.ones(2), requires_grad=False))
    assert isinstance(parameter, fastnn.nn.Parameter)
    assert not parameter.requires_grad
    found = convert.from_torch(torch.tensor([1.0, 2.5], dtype=torch.bfloat16))
    assert (found.dtype, found.tolist()) == (fastnn.bfloat16, [1.0, 2.5])
    back = convert.to_torch(found)
    assert (back.dtype, back.tolist()) == (torch.bfloat16, [1.0, 2.5])


def test_state_of_an_optimizer() -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    x = torch.ones(4, 3)
    for _ in range(3):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
    ours = convert.from_torch(model)
    our_optimizer = fastnn.optim.Adam(ours.parameters())
    our_optimizer.load_state_dict(convert.from_torch(optimizer.state_dict()))
    for lib, net, opt in ((torch, model, optimizer), (fastnn, ours, our_optimizer)):
        opt.zero_grad()
        net(lib.ones(4, 3)).square().sum().backward()
        opt.step()
    np.testing.assert_allclose(ours.weight.detach().numpy(), model.weight.detach().numpy(), atol=1e-6)
    assert our_optimizer.param_groups[0]["lr"] == 0.1


def test_into_a_module_of_ones_own() -> None:
    def model(lib: Any) -> Any:
        class Net(lib.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = lib.nn.Linear(2, 2)
                self.register_buffer("count", lib.zeros(1))

        return Net()

    theirs, ours = model(torch), model(fastnn)
    with pytest.raises(TypeError, match=r"Net is no class of torch\.nn: .* into="):
        convert.from_torch(theirs)
    with pytest.raises(TypeError, match=r"Net is no class of fastnn\.nn"):
        convert.to_torch(fastnn.nn.Sequential(ours))
    assert convert.from_torch(theirs, into=ours) is ours
    assert_equal(ours, theirs)
    fresh = model(torch)
    assert convert.to_torch(ours.state_dict(), into=fresh) is fresh
    assert_equal(ours, fresh)
    with pytest.raises(RuntimeError, match="Missing key"):
        convert.from_torch({}, into=ours)
    with pytest.raises(TypeError, match="into must be a fastnn module"):
        convert.from_torch(theirs, into=theirs)
    with pytest.raises(TypeError, match="module or a state dict"):
        convert.from_torch(torch.ones(1), into=ours)


def test_what_there_is_not() -> None:
    with pytest.raises(TypeError, match=r"fastnn has no nn\.Conv2d"):
        convert.from_torch(torch.nn.Sequential(torch.nn.Conv2d(1, 1, 3)))
    for wrong in (object(), fastnn.ones(1), fastnn.nn.ReLU(), [object()]):
        with pytest.raises(TypeError, match="no equal of an object"):
            convert.from_torch(wrong)
    with pytest.raises(TypeError, match="no equal of an object"):
        convert.to_torch(torch.ones(1))
