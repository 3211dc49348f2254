"""Modules: registration, state, copies; Linear; Sequential and its fusions."""

from __future__ import annotations

import copy
import math
import pickle
from collections import OrderedDict
from typing import Any
from unittest import mock

import numpy as np
import pytest
from cases import ACTIVATIONS
from comparison import as_array

import fastnn
from fastnn import nn
from fastnn.kernels.runtime import launcher


def net(lib: Any) -> Any:
    """A custom module with everything that can be registered."""

    class Net(lib.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = lib.nn.Linear(3, 4)
            self.scale = lib.nn.Parameter(lib.ones(4))
            self.block = lib.nn.Sequential(lib.nn.Linear(4, 4), lib.nn.ReLU())
            self.register_buffer("count", lib.zeros(1))
            self.register_buffer("scratch", lib.zeros(2), persistent=False)
            self.note = "plain"

        def forward(self, x: Any) -> Any:
            return self.block(self.first(x) * self.scale)

    return Net()


# -- Registration -----------------------------------------------------------------------------


def test_walks(lib):
    m = net(lib)
    assert [n for n, _ in m.named_parameters()] == [
        "scale", "first.weight", "first.bias", "block.0.weight", "block.0.bias",
    ]  # fmt: skip
    assert [n for n, _ in m.named_parameters(prefix="p", recurse=False)] == ["p.scale"]
    assert [n for n, _ in m.named_buffers()] == ["count", "scratch"]
    assert [n for n, _ in m.named_modules()] == ["", "first", "block", "block.0", "block.1"]
    assert [n for n, _ in m.named_children()] == ["first", "block"]
    assert list(m.children()) == [m.first, m.block]
    assert next(iter(m.modules())) is m
    assert len(list(m.parameters())) == 5
    assert len(list(m.parameters(recurse=False))) == 1
    assert [b.numel() for b in m.buffers()] == [1, 2]
    assert list(m.state_dict()) == ["scale", "count", "first.weight", "first.bias", "block.0.weight", "block.0.bias"]
    assert next(iter(m.state_dict(prefix="x."))) == "x.scale"
    assert {"scale", "first", "count", "note"} <= set(dir(m))


def test_attributes_move_between_kinds(lib):
    m = lib.nn.Module()
    m.a = 1
    m.a = lib.nn.Parameter(lib.ones(1))
    assert (list(m._parameters), "a" in m.__dict__) == (["a"], False)
    with pytest.raises(TypeError, match="parameter 'a'"):
        m.a = lib.nn.ReLU()
    m.a = None
    assert m.a is None
    del m.a
    m.a = lib.nn.ReLU()
    assert (list(m._parameters), list(m._modules)) == ([], ["a"])
    with pytest.raises(TypeError, match="child module 'a'"):
        m.a = 1
    m.a = None
    m.a = lib.nn.Parameter(lib.ones(1))
    assert (list(m._parameters), list(m._modules)) == (["a"], [])
    del m.a
    with pytest.raises(AttributeError, match="no attribute 'a'"):
        _ = m.a
    with pytest.raises(AttributeError):
        del m.a
    m.register_buffer("b", lib.zeros(1), persistent=False)
    m.b = lib.ones(1)
    assert list(m.state_dict()) == []
    m.register_buffer("b", lib.zeros(1))
    assert list(m.state_dict()) == ["b"]
    m.b = None
    assert list(m.state_dict()) == []
    m.register_buffer("c", lib.zeros(1), persistent=False)
    m.c = lib.nn.Parameter(lib.ones(1))
    assert list(m.state_dict()) == ["c"]
    m.register_parameter("absent", None)
    assert m.absent is None
    assert list(m.parameters()) == [m.c]


def test_new_values_keep_their_place(lib):
    """The order of ``parameters()`` is that of an optimizer's state."""
    layer = lib.nn.Linear(2, 3)
    layer.weight = lib.nn.Parameter(lib.ones(3, 2))
    assert [n for n, _ in layer.named_parameters()] == ["weight", "bias"]
    model = lib.nn.Sequential(lib.nn.Linear(2, 3), lib.nn.ReLU(), lib.nn.Linear(3, 1))
    model[0] = lib.nn.Tanh()
    assert [type(m).__name__ for m in model] == ["Tanh", "ReLU", "Linear"]
    m = net(lib)
    m.first = lib.nn.Linear(3, 4)
    assert [n for n, _ in m.named_children()] == ["first", "block"]


def test_init_that_was_not_called(lib):
    class Forgot(lib.nn.Module):
        def __init__(self) -> None:
            self.layer = lib.nn.ReLU()

    with pytest.raises(AttributeError, match=r"before Module.__init__"):
        Forgot()


def test_shared_module_and_parameter(lib):
    class Tied(lib.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = lib.nn.Linear(2, 2)
            self.b = self.a
            self.c = lib.nn.Linear(2, 2, bias=False)
            self.c.weight = self.a.weight

    m = Tied()
    assert [n for n, _ in m.named_parameters()] == ["a.weight", "a.bias"]
    assert len(list(m.modules())) == 3
    assert list(m.state_dict()) == ["a.weight", "a.bias", "b.weight", "b.bias", "c.weight"]
    assert len(lib.optim.SGD(m.parameters(), lr=0.1).param_groups[0]["params"]) == 2
    d = copy.deepcopy(m)
    assert d.b is d.a
    assert d.c.weight is d.a.weight


def test_train_and_eval(lib):
    m = net(lib)
    assert m.training
    assert m.eval() is m
    assert not any(x.training for x in m.modules())
    assert m.train() is m
    assert all(x.training for x in m.modules())


def test_train_of_a_part_that_resists(lib):
    class Frozen(lib.nn.Linear):
        def train(self, mode: bool = True) -> Any:
            return super().train(False)

    model = lib.nn.Sequential(Frozen(2, 2), lib.nn.ReLU())
    model.train()
    assert [m.training for m in model] == [False, True]


def test_requires_grad_of_a_module(lib):
    m = net(lib)
    assert m.block.requires_grad_(False) is m.block
    assert [p.requires_grad for p in m.parameters()] == [True, True, True, False, False]
    m(lib.ones(2, 3)).sum().backward()
    assert [p.grad is None for p in m.parameters()] == [False, False, False, True, True]


def test_zero_grad(lib):
    m = net(lib)
    m(lib.ones(2, 3)).sum().backward()
    m.zero_grad(set_to_none=False)
    assert all(p.grad.abs().sum().item() == 0 for p in m.parameters())
    m.zero_grad()
    assert all(p.grad is None for p in m.parameters())
    m.zero_grad(set_to_none=False)


def test_apply(lib):
    seen = []
    m = net(lib)
    assert m.apply(lambda module: seen.append(type(module).__name__)) is m
    assert seen == ["Linear", "Linear", "ReLU", "Sequential", "Net"]


def test_call_passes_arguments_on(lib):
    class Sum(lib.nn.Module):
        def forward(self, *args: Any, factor: int = 1) -> int:
            return factor * sum(args)

    assert Sum()(1, 2, factor=10) == 30


# -- State ------------------------------------------------------------------------------------


def test_state_dict_shares_memory(lib):
    m = net(lib)
    state = m.state_dict()
    assert not any(t.requires_grad for t in state.values())
    assert m.state_dict(keep_vars=True)["scale"] is m.scale
    state["scale"].fill_(7)
    assert m.scale.tolist() == [7.0] * 4


def test_load_state_dict(lib):
    a, b = net(lib), net(lib)
    held = b.first.weight
    result = b.load_state_dict(a.state_dict())
    assert (result.missing_keys, result.unexpected_keys) == ([], [])
    for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True):
        np.testing.assert_array_equal(as_array(x), as_array(y))
    assert b.first.weight is held
    a.scale.data.fill_(9)
    assert b.scale.tolist() == [1.0] * 4
    b.load_state_dict({n: t.double() for n, t in a.state_dict().items()})
    assert b.scale.dtype == lib.float32
    assert b.scale.tolist() == [9.0] * 4


def test_load_state_dict_not_strict(lib):
    m = net(lib)
    result = m.load_state_dict({"scale": lib.zeros(4), "other": lib.zeros(1)}, strict=False)
    assert m.scale.tolist() == [0.0] * 4
    assert result.unexpected_keys == ["other"]
    assert result.missing_keys == ["count", "first.weight", "first.bias", "block.0.weight", "block.0.bias"]


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.pop("block.0.bias"),
        lambda s: s.update(other=s["scale"]),
        lambda s: s.update({"block.0.bias": s["block.0.bias"].new_zeros(5)}),
        lambda s: s.update({"block.0.bias": None}),
        lambda s: s.update({"block.0.bias": [1.0] * 4}),
    ],
    ids=["missing", "unexpected", "shape", "none", "list"],
)
def test_load_state_dict_copies_what_fits_before_it_raises(lib, change):
    m = net(lib)
    before = {n: as_array(t) for n, t in m.state_dict().items()}
    state = {n: t + 1 for n, t in m.state_dict().items()}
    change(state)
    with pytest.raises(RuntimeError, match="loading state_dict for Net"):
        m.load_state_dict(state)
    for n, t in m.state_dict().items():
        fits = n != "block.0.bias" or "other" in state
        np.testing.assert_array_equal(as_array(t), before[n] + 1 if fits else before[n])


def test_load_state_dict_names_every_problem():
    state = {"first.weight": fastnn.zeros(1, 1), "extra": fastnn.zeros(1)}
    with pytest.raises(RuntimeError) as caught:
        net(fastnn).load_state_dict(state)
    for text in ("scale", "block.0.bias", "Missing", "Unexpected", "extra", "size mismatch for first.weight", "[4, 3]"):
        assert text in str(caught.value)


def test_saved_best_state_survives_training(lib):
    """``deepcopy(model.state_dict())``, the usual way to keep the best epoch."""
    m = lib.nn.Linear(2, 2)
    best = copy.deepcopy(m.state_dict())
    expected = {n: as_array(t) for n, t in best.items()}
    with lib.no_grad():
        for p in m.parameters():
            p += 1
    for n, t in best.items():
        np.testing.assert_array_equal(as_array(t), expected[n])
    m.load_state_dict(best)
    for n, t in m.state_dict().items():
        np.testing.assert_array_equal(as_array(t), expected[n])


# -- Copies -----------------------------------------------------------------------------------


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["copy", "pickle"])
def test_duplicate_of_a_model(lib, duplicate):
    # Rows of 1,024 bytes, which fastnn stores with gaps.
    model = lib.nn.Sequential(lib.nn.Linear(3, 256), lib.nn.GELU(approximate="tanh"), lib.nn.Linear(256, 2, bias=False))
    model[2].weight.requires_grad_(False)
    model.eval()
    x = lib.tensor(np.random.default_rng(0).standard_normal((5, 3)).astype("f4"))
    model(x).sum().backward()
    twin = duplicate(model)
    assert type(twin) is type(model)
    assert repr(twin) == repr(model)
    assert not twin.training
    for (n, p), (m, q) in zip(model.named_parameters(), twin.named_parameters(), strict=True):
        assert (n, p.requires_grad, type(p)) == (m, q.requires_grad, type(q))
        assert q.grad is None
        np.testing.assert_array_equal(as_array(p), as_array(q))
    np.testing.assert_array_equal(as_array(model(x)), as_array(twin(x)))
    optimizer = lib.optim.SGD(twin.parameters(), lr=0.1)
    before = as_array(model[0].weight)
    twin(x).sum().backward()
    optimizer.step()
    np.testing.assert_array_equal(as_array(model[0].weight), before)
    assert not np.array_equal(as_array(twin[0].weight), before)
    assert twin[2].weight.grad is None


def test_duplicates_lie_side_by_side():
    """A copy is then also updated in one launch."""
    model = fastnn.nn.Sequential(fastnn.nn.Linear(3, 256), fastnn.nn.ReLU(), fastnn.nn.Linear(256, 2))
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        optimizer = fastnn.optim.SGD(twin.parameters(), lr=0.1)
        assert len(optimizer._layouts[0].runs) == 1


def test_parameter_subclass_survives_duplication():
    duplicates = [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))]
    for duplicate in duplicates:
        twin = duplicate(Special(fastnn.ones(2), requires_grad=False))
        assert type(twin) is Special
        assert not twin.requires_grad


class Special(nn.Parameter):
    """A custom parameter class."""


# -- Parameter --------------------------------------------------------------------------------


def test_parameter(lib):
    p = lib.nn.Parameter(lib.tensor([[1.0, 2.0]]))
    assert (p.requires_grad, p.is_leaf, p.grad, tuple(p.shape)) == (True, True, None, (1, 2))
    assert not lib.nn.Parameter(lib.ones(1), requires_grad=False).requires_grad
    assert not isinstance(p * 2, lib.nn.Parameter)
    assert lib.nn.Parameter(lib.ones(2).double()).dtype == lib.float64
    assert lib.nn.Parameter(lib.tensor(3.0)).item() == 3.0
    assert isinstance(p, lib.Tensor)


def test_parameter_of_nothing(lib):
    assert lib.nn.Parameter().numel() == 0
    assert lib.nn.Parameter(lib.zeros(0, 3)).shape == (0, 3)


@pytest.mark.parametrize("data", [[1.0], np.ones(2), 3.0])
def test_parameter_of_no_tensor(data):
    with pytest.raises(TypeError, match="Tensor"):
        nn.Parameter(data)


def test_data_of_a_parameter(lib):
    layer = lib.nn.Linear(2, 2)
    layer.weight.data = lib.tensor([[1.0, 2.0], [3.0, 4.0]])
    layer.bias.data.zero_()
    assert layer(lib.tensor([[1.0, 1.0]])).tolist() == [[3.0, 7.0]]
    layer.weight.data = layer.weight.data * 2
    layer.weight.data *= 2
    layer.weight.data[0, 0] = 0
    assert layer(lib.tensor([[1.0, 1.0]])).tolist() == [[8.0, 28.0]]
    with pytest.raises(TypeError):
        layer.weight.data = [[1.0]]


def test_data_of_another_shape_or_dtype(lib):
    layer = lib.nn.Linear(2, 2, bias=False)
    layer.weight.data = lib.ones(3, 2).double()
    assert (tuple(layer.weight.shape), layer.weight.dtype) == ((3, 2), lib.float64)
    layer(lib.ones(1, 2).double()).sum().backward()
    assert layer.weight.grad.dtype == lib.float64
    assert layer.weight.grad.tolist() == [[1.0, 1.0]] * 3


# -- Linear -----------------------------------------------------------------------------------


@pytest.mark.parametrize("features", [(1, 1), (3, 256), (100, 7)])
def test_linear_starts_as_in_pytorch(lib, features):
    layer = lib.nn.Linear(*features)
    bound = 1 / math.sqrt(features[0])
    assert (layer.in_features, layer.out_features) == features
    assert tuple(layer.weight.shape) == features[::-1]
    assert tuple(layer.bias.shape) == (features[1],)
    for p in layer.parameters():
        a = as_array(p)
        assert np.abs(a).max() <= bound
        assert a.size < 100 or np.abs(a).max() > 0.9 * bound
        # A uniform distribution in [-bound, bound] has the standard deviation bound / sqrt(3).
        assert a.size < 500 or abs(a.std() - bound / 3**0.5) < 0.1 * bound
    before = as_array(layer.weight)
    layer.reset_parameters()
    assert not np.array_equal(as_array(layer.weight), before)


def test_linear_options(lib):
    assert lib.nn.Linear(2, 3, bias=False).bias is None
    assert lib.nn.Linear(2, 3, dtype=lib.float64).weight.dtype == lib.float64
    assert lib.nn.Linear(2, 3, device="cpu")(lib.ones(1, 2)).shape == (1, 3)
    assert list(lib.nn.Linear(2, 3, bias=False).state_dict()) == ["weight"]
    with pytest.raises((RuntimeError, AssertionError)):
        lib.nn.Linear(2, 3, device="cuda")


def test_linear_without_features():
    layer = nn.Linear(0, 2)
    assert layer(fastnn.zeros(3, 0)).tolist() == [[0.0, 0.0]] * 3
    assert nn.Linear(2, 0)(fastnn.ones(3, 2)).shape == (3, 0)


@pytest.mark.parametrize("value", [True, "3", None, 2.0])
def test_linear_features_that_are_no_integers(value):
    with pytest.raises(TypeError, match="in_features must be an integer"):
        nn.Linear(value, 2)
    with pytest.raises(TypeError, match="out_features must be an integer"):
        nn.Linear(2, value)


def test_same_seed_same_weights(lib):
    models = []
    for _ in range(2):
        lib.manual_seed(5)
        models.append(net(lib))
    for p, q in zip(*(m.parameters() for m in models), strict=True):
        np.testing.assert_array_equal(as_array(p), as_array(q))


# -- Sequential ---------------------------------------------------------------------------------


def test_sequential_as_a_list(lib):
    nn = lib.nn
    a, b, c = nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)
    model = nn.Sequential(a, b, c)
    assert (len(model), list(model), model[0], model[-1]) == (3, [a, b, c], a, c)
    head = model[:2]
    assert type(head) is type(model)
    assert list(head) == [a, b]
    model.append(nn.Sigmoid())
    assert list(model.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    del model[1]
    assert [n for n, _ in model.named_children()] == ["0", "1", "2"]
    assert list(model)[:2] == [a, c]
    del model[1:]
    assert list(model) == [a]
    for index in (1, -2):
        with pytest.raises(IndexError):
            _ = model[index]
    with pytest.raises(IndexError):
        model[5] = nn.ReLU()


def test_sequential_of_names(lib):
    model = lib.nn.Sequential(OrderedDict(inner=lib.nn.Linear(2, 3), act=lib.nn.ReLU()))
    assert [n for n, _ in model.named_parameters()] == ["inner.weight", "inner.bias"]
    assert model.inner is model[0]
    assert model(lib.ones(1, 2)).shape == (1, 3)
    assert list(model[1:]._modules) == ["act"]


def test_sequential_of_nothing(lib):
    x = lib.ones(2)
    assert lib.nn.Sequential()(x) is x


def test_sequential_passes_anything(lib):
    class Pair(lib.nn.Module):
        def forward(self, x: Any) -> Any:
            return x, x

    class Add(lib.nn.Module):
        def forward(self, pair: Any) -> Any:
            return pair[0] + pair[1]

    assert lib.nn.Sequential(Pair(), Add())(lib.ones(2)).tolist() == [2.0, 2.0]


# -- Fusing -----------------------------------------------------------------------------------


def launches(function: Any) -> list[str]:
    """The names of the kernels that a call launches."""
    seen: list[str] = []
    with launcher.recording(lambda kernel, parts, arrays, scalars: seen.append(kernel.name.split(".")[0])):
        function()
    return seen


def everything(model: Any, x: np.ndarray, forward: Any) -> list[np.ndarray]:
    model.zero_grad()
    inputs = fastnn.tensor(x, requires_grad=True)
    out = forward(inputs)
    out.backward(fastnn.tensor(np.random.default_rng(3).standard_normal(out.shape).astype(x.dtype)))
    return [as_array(out), as_array(inputs.grad), *[as_array(p.grad) for p in model.parameters()]]


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(9, 5), (5,), (2, 3, 5), (0, 5)], ids=str)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_fused_equals_unfused(name, shape, kind):
    model = nn.Sequential(
        nn.Linear(5, 33, dtype=getattr(fastnn, kind)), ACTIVATIONS[name](nn),
        nn.Linear(33, 4, bias=False, dtype=getattr(fastnn, kind)), ACTIVATIONS[name](nn),
    )  # fmt: skip
    x = np.random.default_rng(0).standard_normal(shape).astype(kind)

    def one_by_one(inputs: Any) -> Any:
        for module in model:
            inputs = module(inputs)
        return inputs

    for fused, plain in zip(everything(model, x, model), everything(model, x, one_by_one), strict=True):
        assert fused.dtype == plain.dtype
        np.testing.assert_array_equal(fused, plain)


def test_fused_is_one_launch():
    model, x = nn.Sequential(nn.Linear(5, 7), nn.ReLU()), fastnn.ones(2, 5)
    assert launches(lambda: model(x)) == ["gemm"]
    assert launches(lambda: model[1](model[0](x))) == ["gemm", "activation_forward"]


class Twice(nn.Linear):
    """A custom layer that looks like a Linear."""

    def forward(self, input: Any) -> Any:
        return 2 * super().forward(input)


class Shifted(nn.ReLU):
    def forward(self, input: Any) -> Any:
        return super().forward(input) - 10


class Called(nn.Linear):
    def __call__(self, input: Any) -> Any:
        return 2 * super().__call__(input)


def test_a_subclass_is_not_fused():
    x = fastnn.ones(3, 2)
    for layer in (Twice(2, 2), Called(2, 2)):
        np.testing.assert_array_equal(
            as_array(nn.Sequential(layer, nn.ReLU())(x)), np.maximum(as_array(layer(x)), 0)
        )
        assert not np.array_equal(as_array(layer(x)), as_array(nn.functional.linear(x, layer.weight, layer.bias)))
    plain = nn.Linear(2, 2)
    np.testing.assert_array_equal(
        as_array(nn.Sequential(plain, Shifted())(x)), np.maximum(as_array(plain(x)), 0) - 10
    )


def test_an_override_on_the_instance_is_not_fused():
    x = fastnn.ones(3, 2)
    for which in (0, 1):
        model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        model[which].forward = lambda input: fastnn.ones(3, 2) * 42
        assert model(x).max().item() == 42


def test_an_override_on_the_class_is_not_fused():
    x = fastnn.ones(3, 2)
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    answer = fastnn.ones(3, 2) * 42
    for kind, name in ((nn.Linear, "forward"), (nn.ReLU, "forward"), (nn.Module, "__call__")):
        with mock.patch.object(kind, name, return_value=answer):
            assert model(x).tolist() == answer.tolist()
    assert launches(lambda: model(x)) == ["gemm"]


def test_a_subclass_that_changes_no_forward_is_fused():
    class Named(nn.Linear):
        """Only a name."""

    model = nn.Sequential(Named(5, 7), nn.ReLU())
    assert launches(lambda: model(fastnn.ones(2, 5))) == ["gemm"]


def test_slope_changed_later_is_used():
    model, x = nn.Sequential(nn.Linear(1, 1, bias=False), nn.LeakyReLU(0.5)), fastnn.tensor([[-1.0]])
    model[0].weight.data.fill_(1)
    assert model(x).item() == -0.5
    model[1].negative_slope = 0.25
    assert model(x).item() == -0.25


def test_inplace_activations(lib):
    nn = lib.nn
    x = lib.tensor([[1.0, -2.0]], requires_grad=True)
    # The second overwrites the values that the first needs for its derivative.
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True), nn.LeakyReLU(0.1, inplace=True))(x).sum().backward()
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True), nn.Linear(2, 1), nn.LeakyReLU(0.1, inplace=True))
    model(x).sum().backward()
    assert x.tolist() == [[1.0, -2.0]]
    assert all(p.grad is not None for p in model.parameters())
    t = lib.tensor([-1.0, 2.0])
    assert nn.ReLU(inplace=True)(t) is t
    assert t.tolist() == [0.0, 2.0]
    h = x * 1
    y = nn.ReLU(inplace=True)(h)
    assert y is h
    x.grad = None
    y.sum().backward()
    assert x.grad.tolist() == [[1.0, 0.0]]
    u = lib.ones(2, 3).t() * -1
    assert nn.LeakyReLU(0.5, inplace=True)(u.t()).tolist() == [[-0.5] * 3] * 2
    assert u.tolist() == [[-0.5] * 2] * 3
