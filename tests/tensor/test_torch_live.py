"""fastnn compared with PyTorch 2.13.0 in one process: the registry's cases, every operation, dtypes, errors, training.

All tests with the fixture ``lib`` also run with PyTorch. Without PyTorch, ``tensor/test_golden.py`` replaces
this module with recorded values.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from beside_torch import assert_same, assert_same_outcome, dtype_name, one_thread, outcome, torch  # noqa: F401
from cases import ACTIVATIONS, BINARY, CASES, KINDS, Case, operand
from comparison import as_array, assert_matches, relative_error
from operations import OPERATIONS, PLAIN, Operation, everything

import fastnn

pytestmark = pytest.mark.torch


def test_version() -> None:
    assert torch.__version__.split("+")[0] == "2.13.0"


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    inputs = case.make_inputs()
    found, expected = case.run(fastnn, inputs), case.run(torch, inputs)
    assert found.keys() == expected.keys()
    for name in expected:
        assert_matches(found[name], expected[name], case.roundings, case.least)


# -- Training ------------------------------------------------------------------------------------


def make_network(lib: Any, sizes: tuple[int, ...], activation: str, dtype: str) -> Any:
    nn, layers = lib.nn, []
    for n, m in itertools.pairwise(sizes):
        layers += [nn.Linear(n, m, dtype=getattr(lib, dtype)), ACTIVATIONS[activation](nn)]
    return nn.Sequential(*layers[:-1])


def same_networks(sizes: tuple[int, ...], activation: str, dtype: str) -> tuple[Any, Any]:
    ours, theirs = (make_network(lib, sizes, activation, dtype) for lib in (fastnn, torch))
    ours.load_state_dict({n: fastnn.tensor(as_array(p)) for n, p in theirs.state_dict().items()})
    return ours, theirs


def random_batch(rng: np.random.Generator, batch: int, features: int, classes: int, dtype: str) -> tuple[Any, Any]:
    return rng.standard_normal((batch, features)).astype(dtype), rng.integers(0, classes, batch)


NETWORKS = [((20, 16, 8, 4), 8), ((784, 128, 64, 10), 64), ((33, 256, 1, 3), 7), ((5, 4, 4, 2), 1)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "sigmoid", "tanh", "gelu", "gelu_tanh"])
@pytest.mark.parametrize(("sizes", "batch"), NETWORKS, ids=str)
def test_gradient_of_three_layers(sizes, batch, activation, dtype):
    ours, theirs = same_networks(sizes, activation, dtype)
    x, target = random_batch(np.random.default_rng(0), batch, sizes[0], sizes[-1], dtype)
    losses = []
    for lib, model in ((fastnn, ours), (torch, theirs)):
        loss = lib.nn.CrossEntropyLoss()(model(lib.tensor(x)), lib.tensor(target))
        loss.backward()
        losses.append(loss.item())
    bar = 1e-5 if dtype == "float32" else 1e-13
    assert abs(losses[0] - losses[1]) < bar
    gradients = [[as_array(p.grad) for p in model.parameters()] for model in (ours, theirs)]
    assert len(gradients[0]) == 6
    assert relative_error(*gradients) < bar


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize(("sizes", "batch"), NETWORKS, ids=str)
@pytest.mark.parametrize(
    ("optimizer", "options"),
    [("Adam", {}), ("Adam", {"lr": 0.003, "amsgrad": True, "weight_decay": 0.01}),
     ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True})],
    ids=["adam", "amsgrad", "sgd"],
)  # fmt: skip
def test_ten_steps(sizes, batch, activation, optimizer, options):
    """The same weights, the same batches: the same losses."""
    ours, theirs = same_networks(sizes, activation, "float32")
    losses: list[list[float]] = []
    for lib, model in ((fastnn, ours), (torch, theirs)):
        rng = np.random.default_rng(1)
        optimize = getattr(lib.optim, optimizer)(model.parameters(), **options)
        losses.append([])
        for _ in range(10):
            x, target = random_batch(rng, batch, sizes[0], sizes[-1], "float32")
            loss = lib.nn.functional.cross_entropy(model(lib.tensor(x)), lib.tensor(target))
            optimize.zero_grad()
            loss.backward()
            optimize.step()
            losses[-1].append(loss.item())
    np.testing.assert_allclose(losses[0], losses[1], rtol=0, atol=1e-5)
    ours_dict, theirs_dict = ours.state_dict(), theirs.state_dict()
    assert list(ours_dict) == list(theirs_dict)
    # Adam's first steps are lr * sign(gradient), whatever the gradient's size: weights may differ
    # by one step where a gradient is only rounding error, and by no more.
    for name, p in theirs_dict.items():
        np.testing.assert_allclose(ours_dict[name].numpy(), p.numpy(), rtol=0, atol=1e-3)


# -- Operations ---------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["contiguous", "transposed", "gaps"])
@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_operation(operation: Operation, kind: str, layout: str) -> None:
    if operation.name == "view" and layout != "contiguous":
        return  # PyTorch raises, fastnn returns a read-only view.
    if operation.name in ("f_digamma", "m_digamma_", "f_polygamma") and kind == "float64":
        return  # PyTorch's trigamma has float32 precision; finite differences are the reference.
    if operation.name == "hardsigmoid" and kind == "float64":
        return  # PyTorch divides by 6 through a float32; test_elementwise_activations.py has float64.
    for shapes in operation.shapes:
        run = everything(operation, operation.arrays(shapes, kind), True, layout)
        assert_same_outcome(run, operation.roundings, operation.domain[1] if operation.terms else 0.0)


# PyTorch has matrix products of integers; fastnn's kernels have only floating-point ones.
FLOATING = (
    "matmul", "matmul_function", "linear", "linear_no_bias", "relu", "sigmoid", "tanh", "relu_inplace", "bilinear",
    # For these PyTorch does not support booleans.
    "pad_reflect", "pad_replicate",
    # For these PyTorch's error depends on the sizes, or on the mask that it converts first.
    "attention", "multi_head_attention_weights", "multi_head_attention_other",
)  # fmt: skip


@pytest.mark.parametrize("kind", ["int64", "uint8", "bool", "int8"])
@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.name not in FLOATING], ids=str)
def test_operation_on_integers(operation: Operation, kind: str) -> None:
    for shapes in operation.shapes:
        arrays = [np.abs(3 * a).astype(kind) for a in operation.arrays(shapes)]
        assert_same_outcome(everything(operation, arrays, False, "contiguous"), 8)


@pytest.mark.parametrize("kind", ["float32", "float64", "int64", "uint8"])
@pytest.mark.parametrize("operation", PLAIN, ids=str)
def test_plain_operation(operation: Operation, kind: str) -> None:
    for shapes, layout in itertools.product(operation.shapes, ["contiguous", "transposed", "gaps"]):
        # Rounded to quarters, so that some are equal.
        arrays = [np.abs(np.round(4 * a) / 4).astype(kind) for a in operation.arrays(shapes)]
        assert_same_outcome(everything(operation, arrays, kind.startswith("float"), layout), 0)


# -- Dtypes -----------------------------------------------------------------------------------

NUMBERS = [2, 0, -1, 300, 1.5, -0.5, 1e300, float("inf"), float("nan"), True, False]


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("dimensions", [(1, 1), (1, 0), (0, 1), (0, 0)], ids=str)
def test_promotion_of_tensors(name: str, dimensions: tuple[int, int]) -> None:
    left, right = dimensions
    for a, b in itertools.product(KINDS, KINDS):
        assert_same_outcome(lambda lib, a=a, b=b: BINARY[name](operand(lib, a, left), operand(lib, b, right)))


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("dimensions", [1, 0])
@pytest.mark.parametrize("number", NUMBERS, ids=str)
def test_promotion_of_numbers(name: str, dimensions: int, number: Any) -> None:
    for kind in KINDS:
        assert_same_outcome(lambda lib, kind=kind: BINARY[name](operand(lib, kind, dimensions), number))
        assert_same_outcome(lambda lib, kind=kind: BINARY[name](number, operand(lib, kind, dimensions)))


@pytest.mark.parametrize("name", ["__iadd__", "__isub__", "__imul__", "__itruediv__"])
def test_promotion_in_place(name: str) -> None:
    for a, b in itertools.product(KINDS, KINDS):
        assert_same_outcome(lambda lib, a=a, b=b: getattr(operand(lib, a, 1), name)(operand(lib, b, 0)))
        assert_same_outcome(lambda lib, a=a, b=b: getattr(operand(lib, a, 1), name)(operand(lib, b, 1)))


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 0.5, 2.0, -1, -1.5])
def test_promotion_of_powers(exponent: float) -> None:
    for kind in KINDS:
        assert_same_outcome(lambda lib, kind=kind: operand(lib, kind, 1) ** exponent, 4)


def test_conversions_of_special_values() -> None:
    values = [0.0, -0.0, 1.9, -1.9, 1e-320, 100.5]
    for a, b in itertools.product(["float32", "float64"], KINDS):
        if b == "uint8":
            continue  # A negative number has no uint8: the result depends on the machine.
        assert_same_outcome(lambda lib, a=a, b=b: lib.tensor(np.array(values, a)).to(getattr(lib, b)), 0)


@pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh", "exp", "log", "sqrt", "abs"])
def test_special_values(name: str) -> None:
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e30, -1e30, 1e-40], np.float32)

    def run(lib: Any) -> Any:
        t = lib.tensor(x, requires_grad=True)
        y = getattr(lib, name)(t) if name in ("relu", "sigmoid", "tanh") else getattr(t, name)()
        y.backward(lib.ones(8))
        return y, t.grad

    assert_same_outcome(run, 2)


# -- Errors -----------------------------------------------------------------------------------


def layer(lib: Any, **options: Any) -> Any:
    made = lib.nn.Linear(3, 2, **options)
    with lib.no_grad():
        made.weight.copy_(lib.tensor(np.arange(6.0).reshape(2, 3)))
        if made.bias is not None:
            made.bias.fill_(0.5)
    return made


def loss(lib: Any, logits: Any, target: Any, **options: Any) -> Any:
    x = lib.tensor(logits, requires_grad=np.asarray(logits).dtype.kind == "f")
    value = lib.nn.CrossEntropyLoss(**options)(x, lib.tensor(target))
    value.backward(lib.ones(*value.shape, dtype=value.dtype) if value.shape else None)
    return value, x.grad


ZEROS = np.zeros((3, 10), np.float32)
EDGES: dict[str, Callable[[Any], Any]] = {
    # Inputs of layers
    "features": lambda lib: layer(lib)(lib.zeros(4, 5)),
    "features_1d": lambda lib: layer(lib)(lib.zeros(2)),
    "features_3d": lambda lib: layer(lib)(lib.zeros(4, 3, 2)),
    "scalar": lambda lib: layer(lib)(lib.tensor(1.0)),
    "float64_input": lambda lib: layer(lib)(lib.zeros(4, 3, dtype=lib.float64)),
    "float32_input_to_float64": lambda lib: layer(lib, dtype=lib.float64)(lib.zeros(4, 3)),
    "int_input": lambda lib: layer(lib)(lib.zeros(4, 3, dtype=lib.int64)),
    "uint8_input": lambda lib: layer(lib)(lib.zeros(4, 3, dtype=lib.uint8)),
    "bool_input": lambda lib: layer(lib)(lib.zeros(4, 3, dtype=lib.bool)),
    "array_input": lambda lib: layer(lib)(np.zeros((4, 3), np.float32)),
    "list_input": lambda lib: layer(lib)([[1.0, 2.0, 3.0]]),
    "none_input": lambda lib: layer(lib)(None),
    "not_contiguous": lambda lib: layer(lib)(lib.ones(3, 4).t()),
    "not_contiguous_gaps": lambda lib: layer(lib)(lib.ones(8, 6)[::2, 1::2]),
    "empty_batch": lambda lib: layer(lib)(lib.zeros(0, 3)),
    "single_row": lambda lib: layer(lib)(lib.ones(1, 3)),
    "no_dimensions_but_features": lambda lib: layer(lib)(lib.ones(3)),
    "two_arguments": lambda lib: layer(lib)(lib.ones(3), 1),
    "sequential_features": lambda lib: lib.nn.Sequential(layer(lib), lib.nn.ReLU())(lib.zeros(4, 5)),
    "sequential_dtype": lambda lib: lib.nn.Sequential(layer(lib), lib.nn.ReLU())(lib.zeros(4, 3).double()),
    "sequential_layers": lambda lib: lib.nn.Sequential(layer(lib), layer(lib))(lib.zeros(4, 3)),
    "bias_shape": lambda lib: lib.nn.functional.linear(lib.zeros(2, 3), lib.zeros(4, 3), lib.zeros(3)),
    "bias_dtype": lambda lib: lib.nn.functional.linear(lib.zeros(2, 3), lib.zeros(4, 3), lib.zeros(4).double()),
    "bias_broadcast": lambda lib: lib.nn.functional.linear(lib.ones(2, 3), lib.ones(4, 3), lib.ones(1)),
    "weight_3d": lambda lib: lib.nn.functional.linear(lib.zeros(2, 3), lib.zeros(4, 3, 1)),
    "negative_features": lambda lib: lib.nn.Linear(-1, 2),
    "float_features": lambda lib: lib.nn.Linear(1.5, 2),
    "int_layer": lambda lib: lib.nn.Linear(1, 2, dtype=lib.int64),
    "gelu_approximation": lambda lib: lib.nn.functional.gelu(lib.ones(1), approximate="sometimes"),
    "gelu_int": lambda lib: lib.nn.functional.gelu(lib.tensor([1])),
    "leaky_relu_int": lambda lib: lib.nn.functional.leaky_relu(lib.tensor([1])),
    "relu_of_a_list": lambda lib: lib.relu([1.0]),
    # Inputs of losses
    "label_too_large": lambda lib: loss(lib, ZEROS, [1, 10, 0]),
    "label_negative": lambda lib: loss(lib, ZEROS, [1, -1, 0]),
    "label_very_negative": lambda lib: loss(lib, ZEROS, [1, -(2**63), 0]),
    "label_very_large": lambda lib: loss(lib, ZEROS, [1, 2**62, 0]),
    "label_too_large_sum": lambda lib: loss(lib, ZEROS, [1, 10, 0], reduction="sum"),
    "label_too_large_1d": lambda lib: loss(lib, ZEROS[0], 10),
    "label_at_other_ignore_index": lambda lib: loss(lib, ZEROS, [1, -100, 0], ignore_index=3),
    "label_out_of_range_ignored": lambda lib: loss(lib, ZEROS, [1, 77, 0], ignore_index=77),
    "label_count": lambda lib: loss(lib, ZEROS, [1, 2]),
    "label_matrix": lambda lib: loss(lib, ZEROS, [[1], [2], [3]]),
    "label_scalar": lambda lib: loss(lib, ZEROS, 1),
    "label_int32": lambda lib: loss(lib, ZEROS, np.array([1, 2, 3], np.int32)),
    "label_bool": lambda lib: loss(lib, ZEROS, [True, False, True]),
    "label_uint8": lambda lib: loss(lib, ZEROS, np.array([1, 2, 3], np.uint8)),
    "logits_int": lambda lib: loss(lib, ZEROS.astype(int), [1, 2, 3]),
    "logits_scalar": lambda lib: loss(lib, np.float32(1), 0),
    "no_classes": lambda lib: loss(lib, np.zeros((2, 0), np.float32), [0, 0]),
    "no_classes_ignored": lambda lib: loss(lib, np.zeros((2, 0), np.float32), [-100, -100]),
    "no_rows": lambda lib: loss(lib, np.zeros((0, 4), np.float32), np.zeros(0, np.int64)),
    "no_rows_sum": lambda lib: loss(lib, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), reduction="sum"),
    "infinite_logit": lambda lib: loss(lib, np.array([[np.inf, 0, 1]], np.float32), [1]),
    "minus_infinite_logit": lambda lib: loss(lib, np.array([[-np.inf, 0, 1]], np.float32), [0]),
    "all_minus_infinite": lambda lib: loss(lib, np.full((1, 3), -np.inf, np.float32), [0]),
    "nan_logit": lambda lib: loss(lib, np.array([[np.nan, 0, 1], [0, 0, 0]], np.float32), [0, 1], reduction="none"),
    "reduction": lambda lib: loss(lib, ZEROS, [1, 2, 3], reduction="average"),
    "target_list": lambda lib: lib.nn.functional.cross_entropy(lib.zeros(1, 2), [1]),
    # Modules
    "no_forward": lambda lib: lib.nn.Module()(1),
    "assign_tensor_to_parameter": lambda lib: setattr(layer(lib), "weight", lib.zeros(2, 3)),
    "assign_list_to_module": lambda lib: setattr(lib.nn.Sequential(layer(lib)), "0", []),
    "missing_attribute": lambda lib: layer(lib).weights,
    "missing_index": lambda lib: lib.nn.Sequential(layer(lib))[1],
    "not_a_module": lambda lib: lib.nn.Sequential([layer(lib)]),
    "none_module": lambda lib: lib.nn.Sequential(None)(lib.ones(1)),
    "name_with_dot": lambda lib: lib.nn.Module().add_module("a.b", layer(lib)),
    "name_empty": lambda lib: lib.nn.Module().add_module("", layer(lib)),
    "name_taken": lambda lib: layer(lib).register_buffer("forward", None),
    "name_not_a_string": lambda lib: lib.nn.Module().register_parameter(1, None),
    "register_tensor_as_parameter": lambda lib: lib.nn.Module().register_parameter("a", lib.ones(1)),
    "register_list_as_buffer": lambda lib: lib.nn.Module().register_buffer("a", [1]),
    "register_tensor_as_module": lambda lib: lib.nn.Module().add_module("a", lib.ones(1)),
    "train_with_number": lambda lib: layer(lib).train(1),
    "integer_parameter": lambda lib: lib.nn.Parameter(lib.tensor([1])),
    "load_missing": lambda lib: layer(lib).load_state_dict({"weight": lib.zeros(2, 3)}),
    "load_unexpected": lambda lib: layer(lib).load_state_dict({**layer(lib).state_dict(), "w": lib.zeros(1)}),
    "load_shape": lambda lib: layer(lib).load_state_dict({"weight": lib.zeros(3, 2), "bias": lib.zeros(2)}),
    "load_shape_not_strict": lambda lib: layer(lib).load_state_dict({"weight": lib.zeros(3, 2)}, strict=False),
    "load_number": lambda lib: layer(lib).load_state_dict({"weight": 3, "bias": lib.zeros(2)}),
    "load_none": lambda lib: layer(lib).load_state_dict({"weight": None, "bias": lib.zeros(2)}),
    "load_list": lambda lib: layer(lib).load_state_dict([1]),
    # Optimizers
    "no_parameters": lambda lib: lib.optim.SGD([], lr=0.1),
    "no_parameters_generator": lambda lib: lib.optim.Adam(p for p in ()),
    "parameters_tensor": lambda lib: lib.optim.SGD(lib.nn.Parameter(lib.ones(1)), lr=0.1),
    "parameters_number": lambda lib: lib.optim.SGD([1.0], lr=0.1),
    "parameters_result": lambda lib: lib.optim.SGD([lib.nn.Parameter(lib.ones(1)) * 2], lr=0.1),
    "parameters_in_two_groups": lambda lib: (lambda p: lib.optim.SGD([{"params": [p]}, {"params": [p]}]))(
        lib.nn.Parameter(lib.ones(1))
    ),
    "group_without_parameters": lambda lib: lib.optim.SGD([{"lr": 1}]),
    "group_list": lambda lib: lib.optim.SGD(layer(lib).parameters()).add_param_group([1]),
    **{
        f"option_{name}_{i}": lambda lib, name=name, options=options: getattr(lib.optim, name)(
            layer(lib).parameters(), **options
        )
        for i, (name, options) in enumerate([
            ("SGD", {"lr": -0.1}), ("SGD", {"momentum": -1}), ("SGD", {"weight_decay": -1}),
            ("SGD", {"nesterov": True}), ("SGD", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}),
            ("Adam", {"lr": -1}),
            ("Adam", {"betas": (1.0, 0.9)}), ("Adam", {"betas": (0.9, -0.1)}), ("Adam", {"eps": -1}),
            ("Adam", {"weight_decay": -0.1}),
        ])
    },
    "load_other_groups": lambda lib: lib.optim.SGD(layer(lib).parameters()).load_state_dict(
        {"state": {}, "param_groups": []}
    ),
    "load_other_sizes": lambda lib: lib.optim.SGD(layer(lib).parameters()).load_state_dict(
        {"state": {}, "param_groups": [{"params": [0]}]}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EDGES)
def test_edge(name: str) -> None:
    assert_same_outcome(EDGES[name], 4, None)


# -- Representations --------------------------------------------------------------------------


def test_repr_of_a_model() -> None:
    def text(lib: Any) -> str:
        nn = lib.nn
        inner = nn.Sequential(nn.Linear(4, 2, bias=False), nn.GELU(), nn.GELU(approximate="tanh"))
        return repr(
            nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.ReLU(inplace=True), nn.LeakyReLU(0.2, inplace=True), inner,
                          nn.Sigmoid(), nn.Tanh(), nn.Sequential(), nn.CrossEntropyLoss())
        )  # fmt: skip

    assert text(fastnn) == text(torch)


def test_result_of_load_state_dict() -> None:
    for lib in (fastnn, torch):
        assert repr(layer(lib).load_state_dict(layer(lib).state_dict())) == "<All keys matched successfully>"
        result = layer(lib).load_state_dict({"bias": lib.zeros(2), "x": lib.zeros(1)}, strict=False)
        assert (result.missing_keys, result.unexpected_keys) == (["weight"], ["x"])
