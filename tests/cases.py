"""The cases compared with PyTorch: one registry for the recorded values and for the live comparison.

A case is a function of the library: ``run(fastnn, inputs)`` and ``run(torch, inputs)`` execute the
same lines. ``golden/make_golden.py`` records PyTorch's results, ``tensor/test_golden.py`` compares with
the records, ``tensor/test_torch_live.py`` with PyTorch itself.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from comparison import as_array
from operations import OPERATIONS, Operation, everything

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """A computation in both libraries, with the rounding errors allowed.

    Args:
        group: the file of recorded values.
        inputs: makes the input arrays from a random generator.
        run: computes named arrays from the inputs with a library.
        roundings, least: see ``comparison.assert_matches``.
    """

    group: str
    name: str
    inputs: Callable[[np.random.Generator], Arrays]
    run: Callable[[Any, Arrays], Arrays]
    roundings: float
    least: float | None = None

    def make_inputs(self) -> Arrays:
        """The inputs, the same in every run."""
        return self.inputs(np.random.default_rng(zlib.crc32(f"{self.group}/{self.name}".encode())))

    def __str__(self) -> str:
        return f"{self.group}-{self.name}"


CASES: list[Case] = []


def _add(*args: Any, **options: Any) -> None:
    CASES.append(Case(*args, **options))


def _gradients(lib: Any, module: Any, inputs: Arrays, forward: Callable[[Any], Any]) -> Arrays:
    """Output and all gradients of a module with the parameters and the output gradient in ``inputs``."""
    module.load_state_dict({n: lib.tensor(inputs[f"p.{n}"]) for n in module.state_dict()})
    x = lib.tensor(inputs["x"], requires_grad=True)
    out = forward(x)
    out.backward(lib.tensor(inputs["dy"]))
    found = {"out": as_array(out), "dx": as_array(x.grad)}
    return found | {f"d.{n}": as_array(p.grad) for n, p in module.named_parameters()}


# --------------------------------------------------------------------------------------------
# Layers


def _linear(
    name: str, shape: tuple[int, ...], features: tuple[int, int], *, bias: bool = True, kind: Any = np.float32,
    transposed: bool = False,
) -> None:
    fan_in, fan_out = features

    def inputs(rng: np.random.Generator) -> Arrays:
        made = {"x": rng.standard_normal(shape), "p.weight": rng.standard_normal((fan_out, fan_in))}
        if bias:
            made["p.bias"] = rng.standard_normal(fan_out)
        lead = shape[1:] if transposed else shape[:-1]
        made["dy"] = rng.standard_normal((*lead, fan_out))
        return {n: a.astype(kind) for n, a in made.items()}

    def run(lib: Any, inputs: Arrays) -> Arrays:
        dtype = lib.float64 if kind is np.float64 else lib.float32
        layer = lib.nn.Linear(fan_in, fan_out, bias=bias, dtype=dtype)
        return _gradients(lib, layer, inputs, lambda x: layer(x.t() if transposed else x))

    # Two libraries, each with one rounding per term of the longest sum and one more for the bias.
    longest = max(fan_in, fan_out, int(np.prod(shape)) // fan_in if shape else 1) + 1
    _add("layers", name, inputs, run, roundings=2 * longest**0.5 + 2)


_linear("linear", (5, 7), (7, 4))
_linear("linear_no_bias", (5, 7), (7, 4), bias=False)
_linear("linear_1d", (7,), (7, 4))
_linear("linear_3d", (2, 3, 7), (7, 4))
_linear("linear_3d_no_bias", (2, 3, 7), (7, 4), bias=False)
_linear("linear_one_row", (1, 7), (7, 4))
_linear("linear_one_feature", (5, 1), (1, 1))
_linear("linear_empty_batch", (0, 7), (7, 4))
_linear("linear_not_contiguous", (7, 5), (7, 4), transposed=True)
# Rows of 1,024 bytes map to the same cache sets.
_linear("linear_padded", (4, 3), (3, 256))
_linear("linear_float64", (5, 7), (7, 4), kind=np.float64)
_linear("linear_float64_padded", (2, 2), (2, 128), kind=np.float64)
_linear("linear_ragged", (13, 33), (33, 17))


# --------------------------------------------------------------------------------------------
# Activations, alone and after a linear layer

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "relu": lambda nn: nn.ReLU(),
    "relu_inplace": lambda nn: nn.ReLU(inplace=True),
    "leaky_relu": lambda nn: nn.LeakyReLU(),
    "leaky_relu_0": lambda nn: nn.LeakyReLU(0.0),
    "leaky_relu_steep": lambda nn: nn.LeakyReLU(1.5),
    "leaky_relu_negative": lambda nn: nn.LeakyReLU(-0.5),
    "leaky_relu_inplace": lambda nn: nn.LeakyReLU(0.2, inplace=True),
    "sigmoid": lambda nn: nn.Sigmoid(),
    "tanh": lambda nn: nn.Tanh(),
    "gelu": lambda nn: nn.GELU(),
    "gelu_tanh": lambda nn: nn.GELU(approximate="tanh"),
}
_SPECIAL = [0.0, -0.0, 1e-30, -1e-30, 30.0, -30.0, 1e4, -1e4, np.inf, -np.inf, np.nan]


def _activation(name: str, build: Callable[[Any], Any], kind: Any) -> None:
    def inputs(rng: np.random.Generator) -> Arrays:
        # PyTorch's GELU is NaN at infinity.
        special = [a for a in _SPECIAL if not (np.isinf(a) and name.startswith("gelu"))]
        x = np.concatenate([3 * rng.standard_normal(64 - len(special)), special]).reshape(4, 16)
        # Positive, so that a derivative of zero has a definite sign.
        return {"x": x.astype(kind), "dy": rng.uniform(0.5, 2, x.shape).astype(kind)}

    def run(lib: Any, inputs: Arrays) -> Arrays:
        module = build(lib.nn)
        # A copy inside the graph: PyTorch also refuses to change a leaf in place.
        return _gradients(lib, module, inputs, lambda x: module(x * 1))

    # The derivatives of sigmoid, tanh and GELU are differences of numbers around 1. GELU's
    # approximation multiplies such a difference by up to z * 1.6 * (1 + 0.13 * z**2), 80 at z = 7.
    smooth = name.startswith(("sigmoid", "tanh", "gelu"))
    roundings = 40 if name == "gelu_tanh" else 8 if smooth else 1
    _add("activations", f"{name}_{np.dtype(kind).name}", inputs, run, roundings, 1.0 if smooth else 0.0)


def _fused(name: str, build: Callable[[Any], Any]) -> None:
    def inputs(rng: np.random.Generator) -> Arrays:
        made = {"x": (6, 7), "dy": (6, 5), "p.0.weight": (5, 7), "p.0.bias": (5,)}
        return {n: rng.standard_normal(shape).astype(np.float32) for n, shape in made.items()}

    def run(lib: Any, inputs: Arrays) -> Arrays:
        model = lib.nn.Sequential(lib.nn.Linear(7, 5), build(lib.nn))
        return _gradients(lib, model, inputs, model)

    _add("layers", f"linear_{name}", inputs, run, roundings=12)


for _name, _build in ACTIVATIONS.items():
    for _kind in (np.float32, np.float64):
        _activation(_name, _build, _kind)
    # PyTorch's own backward of this pair raises for a slope below zero.
    _fused(_name, _build)


# --------------------------------------------------------------------------------------------
# Cross-entropy


def _cross_entropy(
    name: str, shape: tuple[int, ...], *, spread: float = 1.0, kind: Any = np.float32, labels: Any = None,
    label_dtype: Any = np.int64, **options: Any,
) -> None:
    def inputs(rng: np.random.Generator) -> Arrays:
        logits = (spread * rng.standard_normal(shape)).astype(kind)
        target = rng.integers(0, shape[-1], shape[:-1]) if labels is None else np.array(labels)
        made = {"x": logits, "target": np.array(target, label_dtype)}
        made["dy"] = np.array(rng.uniform(0.5, 2, shape[:-1] if options.get("reduction") == "none" else ()), kind)
        return made

    def run(lib: Any, inputs: Arrays) -> Arrays:
        loss = lib.nn.CrossEntropyLoss(**options)
        target = lib.tensor(inputs["target"])
        return _gradients(lib, loss, inputs, lambda x: loss(x, target))

    # Sums over the classes and the batch; the logits' own rounding grows with their size.
    longest = shape[-1] + int(np.prod(shape[:-1]))
    _add("losses", name, inputs, run, roundings=4 + longest**0.5)


for _reduction in ("mean", "sum", "none"):
    _cross_entropy(f"cross_entropy_{_reduction}", (9, 10), reduction=_reduction)
    _cross_entropy(f"cross_entropy_{_reduction}_ignore", (4, 5), reduction=_reduction, labels=[1, -100, 4, -100])
    _cross_entropy(f"cross_entropy_{_reduction}_ignore_3", (4, 5), reduction=_reduction, labels=[1, 3, 4, 3],
                   ignore_index=3)  # fmt: skip
    _cross_entropy(f"cross_entropy_{_reduction}_ignore_7", (3, 5), reduction=_reduction, labels=[1, 7, 0],
                   ignore_index=7)  # fmt: skip
    _cross_entropy(f"cross_entropy_{_reduction}_all_ignored", (3, 5), reduction=_reduction, labels=[-100] * 3)
    _cross_entropy(f"cross_entropy_{_reduction}_empty", (0, 5), reduction=_reduction)
    _cross_entropy(f"cross_entropy_{_reduction}_1d", (6,), reduction=_reduction)
    _cross_entropy(f"cross_entropy_{_reduction}_float64", (9, 10), reduction=_reduction, kind=np.float64)
    _cross_entropy(f"cross_entropy_{_reduction}_huge", (5, 7), reduction=_reduction, spread=1e4)
_cross_entropy("cross_entropy_one_row", (1, 10))
_cross_entropy("cross_entropy_one_class", (4, 1))
_cross_entropy("cross_entropy_many_classes", (3, 301))
_cross_entropy("cross_entropy_uint8", (4, 5), label_dtype=np.uint8)
_cross_entropy("cross_entropy_1d_ignored", (6,), labels=-100)


# --------------------------------------------------------------------------------------------
# Optimizers: gradients are given, so that only the update is compared

OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {"lr": 0.1}),
    "sgd_weight_decay": ("SGD", {"lr": 0.1, "weight_decay": 0.05}),
    "sgd_maximize": ("SGD", {"lr": 0.1, "maximize": True}),
    "sgd_momentum": ("SGD", {"lr": 0.1, "momentum": 0.9}),
    "sgd_dampening": ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    "sgd_nesterov": ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "sgd_everything": ("SGD", {"lr": 0.1, "momentum": 0.8, "dampening": 0.5, "weight_decay": 0.1, "maximize": True}),
    "sgd_nesterov_decay": ("SGD", {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1}),
    "adam": ("Adam", {}),
    "adam_lr": ("Adam", {"lr": 0.1}),
    "adam_betas": ("Adam", {"lr": 0.01, "betas": (0.5, 0.7)}),
    "adam_beta_0": ("Adam", {"lr": 0.01, "betas": (0.0, 0.9)}),
    "adam_eps": ("Adam", {"lr": 0.01, "eps": 0.1}),
    "adam_weight_decay": ("Adam", {"lr": 0.01, "weight_decay": 0.1}),
    "adam_amsgrad": ("Adam", {"lr": 0.01, "amsgrad": True}),
    "adam_maximize": ("Adam", {"lr": 0.01, "maximize": True}),
    "adam_everything": ("Adam", {"lr": 0.02, "betas": (0.8, 0.9), "eps": 1e-4, "weight_decay": 0.1, "amsgrad": True,
                                 "maximize": True}),
}  # fmt: skip
STEPS = 15


def _optimizer(name: str, kind: Any) -> None:
    optimizer_name, options = OPTIMIZERS[name]

    def inputs(rng: np.random.Generator) -> Arrays:
        made = {"w": rng.standard_normal((3, 4)), "b": rng.standard_normal(5)}
        # Shrinking gradients, so that AMSGrad's largest moment differs from the last one.
        sizes = np.geomspace(3, 0.01, STEPS)
        for n in ("w", "b"):
            made[f"d.{n}"] = np.stack([s * rng.standard_normal(made[n].shape) for s in sizes])
        return {n: a.astype(kind) for n, a in made.items()}

    def run(lib: Any, inputs: Arrays) -> Arrays:
        params = {n: lib.nn.Parameter(lib.tensor(inputs[n])) for n in ("w", "b")}
        optimizer = getattr(lib.optim, optimizer_name)(params.values(), **options)
        path: dict[str, list[np.ndarray]] = {n: [] for n in params}
        for step in range(STEPS):
            for n, p in params.items():
                p.grad = lib.tensor(inputs[f"d.{n}"][step])
            optimizer.step()
            for n, p in params.items():
                path[n].append(as_array(p))
        return {n: np.stack(values) for n, values in path.items()}

    # Each step rounds the parameter once, and the update, which is smaller, a few times.
    _add("optimizers", f"{name}_{np.dtype(kind).name}", inputs, run, roundings=STEPS)


for _name in OPTIMIZERS:
    _optimizer(_name, np.float32)
for _name in ("sgd_everything", "adam_everything"):
    _optimizer(_name, np.float64)


# --------------------------------------------------------------------------------------------
# Networks of three layers: the first gradient, then the losses of a short training

NETWORK_STEPS = 20
_SIZES = (20, 16, 8, 4)
_NETWORKS: dict[str, tuple[str, Callable[[Any], Any], Any]] = {
    "adam_relu": ("adam_lr", lambda nn: nn.ReLU(), np.float32),
    "adam_gelu": ("adam_amsgrad", lambda nn: nn.GELU(), np.float32),
    "sgd_tanh": ("sgd_nesterov", lambda nn: nn.Tanh(), np.float32),
    "sgd_leaky_relu": ("sgd_dampening", lambda nn: nn.LeakyReLU(0.1), np.float32),
    "adam_sigmoid_float64": ("adam", lambda nn: nn.Sigmoid(), np.float64),
}


def network(nn: Any, activation: Callable[[Any], Any], dtype: Any) -> Any:
    """Three linear layers and an activation between them."""
    a, b, c, d = _SIZES
    return nn.Sequential(
        nn.Linear(a, b, dtype=dtype), activation(nn), nn.Linear(b, c, dtype=dtype), activation(nn),
        nn.Linear(c, d, dtype=dtype),
    )  # fmt: skip


def _network(name: str) -> None:
    optimizer_name, activation, kind = _NETWORKS[name]

    def inputs(rng: np.random.Generator) -> Arrays:
        made: Arrays = {"x": rng.standard_normal((16, _SIZES[0])).astype(kind)}
        for i, (n, m) in enumerate(itertools.pairwise(_SIZES)):
            made[f"p.{2 * i}.weight"] = rng.uniform(-1, 1, (m, n)).astype(kind) / np.array(n**0.5, kind)
            made[f"p.{2 * i}.bias"] = rng.uniform(-0.3, 0.3, m).astype(kind)
        return made | {"target": rng.integers(0, _SIZES[-1], 16)}

    def run(lib: Any, inputs: Arrays) -> Arrays:
        model = network(lib.nn, activation, lib.float64 if kind is np.float64 else lib.float32)
        model.load_state_dict({n: lib.tensor(inputs[f"p.{n}"]) for n in model.state_dict()})
        kind_of, options = OPTIMIZERS[optimizer_name]
        optimizer = getattr(lib.optim, kind_of)(model.parameters(), **options)
        loss_of = lib.nn.CrossEntropyLoss()
        x, target = lib.tensor(inputs["x"]), lib.tensor(inputs["target"])
        losses, found = [], {}
        for step in range(NETWORK_STEPS):
            rows = slice(8 * (step % 2), 8 * (step % 2) + 8)
            optimizer.zero_grad()
            loss = loss_of(model(x[rows]), target[rows])
            loss.backward()
            if step == 0:
                found = {f"d.{n}": as_array(p.grad) for n, p in model.named_parameters()}
            optimizer.step()
            losses.append(loss.item())
        found |= {f"final.{n}": as_array(p) for n, p in model.named_parameters()}
        return found | {"losses": np.array(losses, kind)}

    _add("networks", name, inputs, run, roundings=4 * NETWORK_STEPS)


for _name in _NETWORKS:
    _network(_name)


# --------------------------------------------------------------------------------------------
# Dtypes of results: of two tensors, with and without dimensions, and of a tensor and a Python number

KINDS = ["float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"]
BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda x, y: x + y, "sub": lambda x, y: x - y, "mul": lambda x, y: x * y, "div": lambda x, y: x / y,
    "eq": lambda x, y: x == y, "ne": lambda x, y: x != y, "lt": lambda x, y: x < y, "le": lambda x, y: x <= y,
    "gt": lambda x, y: x > y, "ge": lambda x, y: x >= y,
}  # fmt: skip


def operand(lib: Any, kind: str, dimensions: int) -> Any:
    """A tensor of a dtype, with one dimension or none."""
    values: Any = [1, 0, 100] if dimensions else 3
    return lib.tensor(np.array(values, kind))


def _dtype_number(operate: Callable[[Any, Any], Any], x: Any, y: Any) -> int:
    """Which dtype the result has; -1 where there is none, as for a difference of booleans."""
    try:
        return KINDS.index(as_array(operate(x, y)).dtype.name)
    except RuntimeError:
        return -1


def _dtypes(name: str) -> None:
    operate, numbers = BINARY[name], [2, 1.5, True]

    def run(lib: Any, inputs: Arrays) -> Arrays:
        tensors = [
            [_dtype_number(operate, operand(lib, a, m), operand(lib, b, n)) for a in KINDS for b in KINDS]
            for m in (1, 0)
            for n in (1, 0)
        ]
        scalars = [
            [_dtype_number(operate, operand(lib, a, m), x) for a in KINDS]
            + [_dtype_number(operate, x, operand(lib, a, m)) for a in KINDS]
            for x in numbers
            for m in (1, 0)
        ]
        return {"tensors": np.array(tensors, np.int8), "numbers": np.array(scalars, np.int8)}

    _add("dtypes", name, lambda rng: {}, run, roundings=0)


for _name in BINARY:
    _dtypes(_name)


# --------------------------------------------------------------------------------------------
# Tensor operations


def _operation(operation: Operation) -> None:
    recorded = operation.shapes[: operation.most]

    def inputs(rng: np.random.Generator) -> Arrays:
        made = [operation.arrays(shapes, np.float32) for shapes in recorded]
        return {f"{i}/{j}": a for i, arrays in enumerate(made) for j, a in enumerate(arrays)}

    def run(lib: Any, inputs: Arrays) -> Arrays:
        found = {}
        for i in range(len(recorded)):
            arrays = [a for n, a in inputs.items() if n.startswith(f"{i}/")]
            result = everything(operation, arrays, True, "contiguous")(lib)
            found[f"{i}/out"] = as_array(result["out"])
            found |= {f"{i}/d{j}": as_array(grad) for j, grad in enumerate(result.get("grads", []))}
        return found

    least = operation.domain[1] if operation.terms else 0.0
    _add(operation.group, operation.name, inputs, run, operation.roundings, least)


for _one in OPERATIONS:
    if _one.most != 0:
        _operation(_one)


# More of the registry, one file per family. They add their cases with the functions above, so they come last.
import cases_clip  # noqa: E402, F401
import cases_losses  # noqa: E402, F401
import cases_nn  # noqa: E402, F401
import cases_normalization  # noqa: E402, F401
import cases_optim  # noqa: E402, F401
