"""Containers of modules and parameters: their interface, the same in fastnn and in PyTorch."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
from comparison import as_array

import fastnn
from fastnn import nn


def layers(lib: Any, count: int = 3) -> list[Any]:
    return [lib.nn.Linear(2, 2), lib.nn.ReLU(), lib.nn.Linear(2, 2), lib.nn.Tanh(), lib.nn.Linear(2, 1)][:count]


def names(module: Any) -> list[str]:
    return [f"{n}:{type(m).__name__}" for n, m in module._modules.items()]


# -- Sequential -------------------------------------------------------------------------------


def test_sequential_as_a_list(lib):
    made = layers(lib, 5)
    model = lib.nn.Sequential(*made)
    assert len(model) == 5
    assert list(model) == made
    assert model[-1] is made[4]
    assert list(model[1:3]) == made[1:3]
    assert list(model[::2]) == made[::2]
    model[1] = lib.nn.Sigmoid()
    assert names(model)[1] == "1:Sigmoid"
    del model[0]
    assert names(model) == ["0:Sigmoid", "1:Linear", "2:Tanh", "3:Linear"]
    del model[1:3]
    assert names(model) == ["0:Sigmoid", "1:Linear"]
    assert model.pop(0).__class__ is lib.nn.Sigmoid
    assert names(model) == ["0:Linear"]
    for wrong in (1, -2):
        with pytest.raises(IndexError, match="out of range"):
            _ = model[wrong]
    with pytest.raises(TypeError):
        _ = model["0"]


def test_sequential_grows(lib):
    a, b, c, d = layers(lib, 4)
    model = lib.nn.Sequential()
    assert model.append(b) is model
    assert model.extend([c]) is model
    assert model.insert(0, a) is model
    model.insert(-1, d)
    assert list(model) == [a, b, d, c]
    assert list(model._modules) == ["0", "1", "2", "3"]
    with pytest.raises(IndexError, match="Index out of range"):
        model.insert(9, a)
    with pytest.raises(AssertionError, match="module should be of type"):
        model.insert(0, "layer")
    with pytest.raises(TypeError, match="is not a Module subclass"):
        model.append(3)


def test_sums_and_products_of_sequentials(lib):
    a, b = lib.nn.Sequential(*layers(lib, 2)), lib.nn.Sequential(lib.nn.Tanh())
    assert list(a + b) == [*a, *b]
    assert names(a * 2) == ["0:Linear", "1:ReLU", "2:Linear", "3:ReLU"]
    assert list(2 * b) == [b[0], b[0]]
    held = list(a)
    a += b
    assert list(a) == [*held, b[0]]
    b *= 3
    assert len(b) == 3
    for wrong, error in ((lambda: a * 0, ValueError), (lambda: a * 1.5, TypeError), (lambda: a + 1, ValueError)):
        with pytest.raises(error):
            wrong()


def test_sequential_with_names(lib):
    made = OrderedDict(first=lib.nn.Linear(2, 3), act=lib.nn.ReLU(), last=lib.nn.Linear(3, 1))
    model = lib.nn.Sequential(made)
    assert model.act is model[1]
    assert names(model[:2]) == ["first:Linear", "act:ReLU"]
    assert list(model.state_dict()) == ["first.weight", "first.bias", "last.weight", "last.bias"]
    assert model(lib.ones(1, 2)).shape == (1, 1)


def test_a_sequential_that_calls_its_own_forward(lib):
    class Residual(lib.nn.Sequential):
        def forward(self, x: Any) -> Any:
            return x + super().forward(x)

    model = Residual(*layers(lib, 3))
    x = lib.ones(1, 2)
    plain = lib.nn.Sequential(*model)
    np.testing.assert_allclose(as_array(model(x)), as_array(plain(x)) + 1, rtol=1e-6)
    assert type(model[:1]) is Residual


def test_own_forward_of_an_inner_module_is_called(lib):
    class Doubled(lib.nn.Linear):
        def forward(self, x: Any) -> Any:
            return 2 * super().forward(x)

    class Shifted(lib.nn.ReLU):
        def forward(self, x: Any) -> Any:
            return super().forward(x) + 1

    linear, x = lib.nn.Linear(2, 2), lib.ones(1, 2)
    doubled = Doubled(2, 2)
    doubled.load_state_dict(linear.state_dict())
    expected = np.maximum(as_array(linear(x)), 0)
    np.testing.assert_array_equal(as_array(lib.nn.Sequential(linear, Shifted())(x)), expected + 1)
    np.testing.assert_array_equal(as_array(lib.nn.Sequential(doubled, lib.nn.ReLU())(x)), 2 * expected)


def test_every_activation_runs_behind_a_linear_layer():
    """Activations fused into the linear kernel and all others give the same as on their own."""
    linear, x = nn.Linear(5, 6), fastnn.tensor(np.random.default_rng(0).standard_normal((4, 5)).astype("f4"))
    for name in ("ELU", "SiLU", "Mish", "ReLU6", "Softplus", "PReLU", "LogSigmoid", "GLU", "GELU", "ReLU", "Hardswish"):
        act = getattr(nn, name)()
        np.testing.assert_allclose(as_array(nn.Sequential(linear, act)(x)), as_array(act(linear(x))), rtol=1e-5)


# -- ModuleList -------------------------------------------------------------------------------


def test_module_list(lib):
    made = layers(lib, 4)
    held = lib.nn.ModuleList(made[:2])
    assert held.append(made[2]) is held
    held.extend(m for m in made[3:])
    assert list(held) == made
    assert made[0] in held
    assert lib.nn.ReLU() not in held
    assert held[-1] is made[3]
    assert type(held[1:]) is lib.nn.ModuleList
    assert list(held[1:]) == made[1:]
    held.insert(1, lib.nn.Sigmoid())
    assert names(held) == ["0:Linear", "1:Sigmoid", "2:ReLU", "3:Linear", "4:Tanh"]
    assert type(held.pop(1)) is lib.nn.Sigmoid
    del held[0]
    held[0] = lib.nn.Identity()
    assert names(held) == ["0:Identity", "1:Linear", "2:Tanh"]
    del held[1:]
    assert len(held) == 1
    assert len(held + lib.nn.ModuleList([lib.nn.ReLU()])) == 2
    held += [lib.nn.ReLU()]
    assert list(held._modules) == ["0", "1"]
    with pytest.raises(IndexError):
        _ = held[2]
    with pytest.raises(TypeError):
        held.extend(3)
    with pytest.raises(NotImplementedError):
        held(1)


def test_repr_of_equal_neighbours(lib):
    held = lib.nn.ModuleList([lib.nn.ReLU(), lib.nn.ReLU(), lib.nn.Tanh(), lib.nn.Sequential(lib.nn.ReLU())])
    assert repr(held) == (
        "ModuleList(\n  (0-1): 2 x ReLU()\n  (2): Tanh()\n  (3): Sequential(\n    (0): ReLU()\n  )\n)"
    )
    assert repr(lib.nn.ModuleList()) == "ModuleList()"


# -- ModuleDict -------------------------------------------------------------------------------


def test_module_dict(lib):
    held = lib.nn.ModuleDict({"a": lib.nn.Linear(1, 1), "b": lib.nn.ReLU()})
    held["c"] = lib.nn.Tanh()
    assert list(held) == list(held.keys()) == ["a", "b", "c"]
    assert [type(m).__name__ for m in held.values()] == ["Linear", "ReLU", "Tanh"]
    assert dict(held.items())["b"] is held["b"]
    assert "a" in held
    assert len(held) == 3
    assert type(held.pop("c")) is lib.nn.Tanh
    del held["b"]
    held.update([("d", lib.nn.ReLU()), ["a", lib.nn.Linear(1, 2)]])
    held.update(lib.nn.ModuleDict({"e": lib.nn.ReLU()}))
    assert list(held.state_dict()) == ["a.weight", "a.bias"]
    assert list(held) == ["a", "d", "e"]
    for wrong, error in (
        (lambda: held.update(3), TypeError), (lambda: held.update([3]), TypeError),
        (lambda: held.update([("x",)]), ValueError), (lambda: held["z"], KeyError),
        (lambda: held.__setitem__("f.g", lib.nn.ReLU()), KeyError), (lambda: held.__setitem__("f", 1), TypeError),
    ):  # fmt: skip
        with pytest.raises(error):
            wrong()
    held.clear()
    assert len(held) == 0


# -- Parameters -------------------------------------------------------------------------------


def test_parameter_list(lib):
    p = lib.nn.Parameter(lib.ones(2))
    held = lib.nn.ParameterList([p, lib.zeros(1)])
    assert held[0] is p
    assert isinstance(held[1], lib.nn.Parameter)
    held.append(lib.nn.Parameter(lib.ones(1)))
    held.extend([lib.ones(3)])
    held += [lib.ones(4)]
    assert [tuple(q.shape) for q in held] == [(2,), (1,), (1,), (3,), (4,)]
    assert len(held) == 5
    assert [n for n, _ in held.named_parameters()] == list("01234")
    assert [tuple(q.shape) for q in held[1:3]] == [(1,), (1,)]
    held[-1] = lib.zeros(7)
    assert tuple(held[4].shape) == (7,)
    assert repr(lib.nn.ParameterList([lib.ones(2, 3)])) == (
        "ParameterList(  (0): Parameter containing: [torch.float32 of size 2x3])"
    )
    with pytest.raises(IndexError):
        _ = held[5]
    for wrong in (3, lib.nn.Parameter(lib.ones(1))):
        with pytest.raises(TypeError):
            held.extend(wrong)
    with pytest.raises(RuntimeError, match="should not be called"):
        held(1)


def test_parameter_dict(lib):
    held = lib.nn.ParameterDict({"a": lib.ones(2), "b": lib.nn.Parameter(lib.zeros(1))})
    held["c"] = lib.ones(3)
    assert list(held) == list(held.keys()) == ["a", "b", "c"]
    assert isinstance(held["a"], lib.nn.Parameter)
    assert [n for n, _ in held.named_parameters()] == ["a", "b", "c"]
    assert held.get("z") is None
    assert held.setdefault("d", lib.ones(1)) is held["d"]
    assert held.pop("d").shape == (1,)
    assert held.popitem()[0] == "c"
    held.update([("e", lib.ones(1))])
    assert len(held | lib.nn.ParameterDict({"f": lib.ones(1)})) == 4
    assert list(reversed(held)) == ["e", "b", "a"]
    assert held.copy()["a"] is held["a"]
    del held["a"]
    assert "a" not in held
    assert [n for n, _ in held.items()] == ["b", "e"]
    assert [tuple(v.shape) for v in held.values()] == [(1,), (1,)]
    with pytest.raises(RuntimeError, match="should not be called"):
        held(1)
    held.clear()
    assert len(held) == 0
    # A plain dictionary is sorted; what has an order keeps it.
    pairs = [(key, lib.ones(1)) for key in "zxy"]
    orders = [list(lib.nn.ParameterDict(given)) for given in (dict(pairs), pairs, OrderedDict(pairs))]
    assert orders == [["x", "y", "z"], ["z", "x", "y"], ["z", "x", "y"]]
    held.update(OrderedDict(pairs))
    for same in (held.copy(), lib.nn.ParameterDict(held), held | lib.nn.ParameterDict()):
        assert list(same) == ["z", "x", "y"]
    held.clear()
    with pytest.raises((KeyError, AttributeError)):
        _ = held["a"]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["copy", "pickle"])
def test_duplicates(lib, duplicate):
    model = lib.nn.Module()
    model.list, model.dict = lib.nn.ModuleList(layers(lib)), lib.nn.ModuleDict({"a": lib.nn.PReLU()})
    model.rows, model.table = lib.nn.ParameterList([lib.ones(2)]), lib.nn.ParameterDict({"b": lib.ones(1)})
    twin = duplicate(model)
    assert repr(twin) == repr(model)
    assert list(twin.state_dict()) == list(model.state_dict())
    assert twin.rows[0] is not model.rows[0]
    assert twin.table["b"].tolist() == [1.0]


# -- Shapes -----------------------------------------------------------------------------------


def test_flatten_and_unflatten(lib):
    x = lib.zeros(2, 3, 4)
    assert lib.nn.Flatten()(x).shape == (2, 12)
    assert lib.nn.Flatten(0)(x).shape == (24,)
    assert lib.nn.Flatten(0, 1)(x).shape == (6, 4)
    assert lib.nn.Unflatten(2, (2, -1))(x).shape == (2, 3, 2, 2)
    assert lib.nn.Unflatten(-2, [3, 1])(x).shape == (2, 3, 1, 4)
    for wrong, error in (
        (lambda: lib.nn.Unflatten(1, (2, 2))(x), RuntimeError), (lambda: lib.nn.Unflatten(7, (2, 2))(x), IndexError),
        (lambda: lib.nn.Unflatten(1, 3), TypeError), (lambda: lib.nn.Unflatten(1, (1.5, 2)), TypeError),
        (lambda: lib.nn.Flatten(5)(x), IndexError),
    ):  # fmt: skip
        with pytest.raises(error):
            wrong()
    model = lib.nn.Sequential(lib.nn.Flatten(), lib.nn.Unflatten(1, (3, 4)), lib.nn.Identity(7, a=3))
    assert repr(model) == (
        "Sequential(\n  (0): Flatten(start_dim=1, end_dim=-1)\n  (1): Unflatten(dim=1, unflattened_size=(3, 4))\n"
        "  (2): Identity()\n)"
    )
    assert model(x).tolist() == x.tolist()
