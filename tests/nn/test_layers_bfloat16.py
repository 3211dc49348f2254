"""Layers, losses and optimizers in bfloat16."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import fastnn


def name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def test_parameters_have_memory_of_their_own(lib: Any) -> None:
    model = lib.nn.Sequential(lib.nn.Linear(3, 2), lib.nn.ReLU(), lib.nn.Linear(2, 1)).to(lib.bfloat16)
    for i, p in enumerate(model.parameters()):
        lib.nn.init.constant_(p, i)
        p.grad = lib.full_like(p, 10 + i)
    assert [p.unique().tolist() for p in model.parameters()] == [[0.0], [1.0], [2.0], [3.0]]
    assert [p.grad.unique().tolist() for p in model.parameters()] == [[10.0], [11.0], [12.0], [13.0]]


def test_conversions(lib: Any) -> None:
    model = lib.nn.BatchNorm1d(2).bfloat16()
    assert {n: name(t.dtype) for n, t in model.state_dict().items()} == {
        "weight": "bfloat16", "bias": "bfloat16", "running_mean": "bfloat16", "running_var": "bfloat16",
        "num_batches_tracked": "int64",
    }  # fmt: skip
    linear = lib.nn.Linear(2, 1).to(dtype=lib.bfloat16)
    linear.load_state_dict({"weight": lib.tensor([[1.0039, 2.0]]), "bias": lib.tensor([0.1])})
    assert linear.weight.tolist() == [[1.0, 2.0]]
    plain = lib.nn.Linear(2, 1)
    plain.load_state_dict(linear.state_dict())
    assert name(plain.bias.dtype) == "float32"
    assert plain.bias.item() == 0.10009765625
    assert name(copy.deepcopy(linear).float().weight.dtype) == "float32"
    assert name(lib.nn.Linear(2, 1, dtype=lib.bfloat16)(lib.ones(1, 2, dtype=lib.bfloat16)).dtype) == "bfloat16"


def test_running_statistics(lib: Any) -> None:
    model = lib.nn.BatchNorm1d(2).bfloat16()
    x = lib.tensor([[1.0, 2.0], [3.0, 5.0]]).bfloat16()
    assert model(x).tolist() == [[-1.0, -1.0], [1.0, 1.0]]
    assert model.running_mean.tolist() == [0.2001953125, 0.349609375]
    assert model.running_var.tolist() == [1.1015625, 1.3515625]
    assert name(model.eval()(x).dtype) == "bfloat16"
    mixed = lib.nn.BatchNorm1d(2)
    assert name(mixed(x).dtype) == "bfloat16"
    assert name(mixed.running_mean.dtype) == "float32"


def test_embedding_renormalizes_its_weight(lib: Any) -> None:
    weight = lib.arange(8.0).view(4, 2).bfloat16().requires_grad_()
    lib.nn.functional.embedding(lib.tensor([0, 1, 1]), weight, max_norm=2.0).sum().backward()
    assert weight[1].tolist() == [1.109375, 1.6640625]
    assert weight.grad.tolist() == [[1.0, 1.0], [2.0, 2.0], [0.0, 0.0], [0.0, 0.0]]


def test_clipping(lib: Any) -> None:
    model = lib.nn.Linear(3, 2).bfloat16()
    for p in model.parameters():
        p.grad = lib.full_like(p, 3.0)
    norm = lib.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    assert (name(norm.dtype), norm.item()) == ("bfloat16", 8.5)
    assert model.bias.grad.tolist() == [0.353515625] * 2


OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}), ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}), ("Adam", {"lr": 0.01}), ("AdamW", {"lr": 0.01}),
    ("Adam", {"lr": 0.01, "amsgrad": True}), ("RMSprop", {"lr": 0.01}), ("Adagrad", {"lr": 0.1}),
    ("Adadelta", {"lr": 1.0}), ("Adamax", {"lr": 0.01}), ("NAdam", {"lr": 0.01}), ("RAdam", {"lr": 0.01}),
    ("Rprop", {"lr": 0.01}), ("ASGD", {"lr": 0.01}),
]  # fmt: skip


def steps(lib: Any, kind: str, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    rng = np.random.default_rng(0)
    start, *grads = rng.uniform(-1, 1, (5, 20, 30)).astype(np.float32)
    p = lib.nn.Parameter(lib.tensor(start).bfloat16())
    optimizer = getattr(lib.optim, kind)([p], **options)
    for grad in grads:
        p.grad = lib.tensor(grad).bfloat16()
        optimizer.step()
    return p.detach(), optimizer.state_dict()["state"].get(0, {})


@pytest.mark.parametrize(("kind", "options"), OPTIMIZERS)
def test_optimizer(kind: str, options: dict[str, Any]) -> None:
    found, state = steps(fastnn, kind, options)
    assert found.dtype is fastnn.bfloat16
    for key, value in (state or {}).items():
        if isinstance(value, fastnn.Tensor) and value.shape == found.shape:
            assert value.dtype is fastnn.bfloat16, key
    start = np.random.default_rng(0).uniform(-1, 1, (5, 20, 30)).astype(np.float32)[0]
    moved = np.abs(found.float().numpy() - start)
    assert 0 < moved.max() < 2


def test_training(lib: Any) -> None:
    rng = np.random.default_rng(0)
    x = lib.tensor(rng.standard_normal((64, 4)).astype(np.float32)).bfloat16()
    y = (x[:, 0] > x[:, 1]).long()
    nn = lib.nn
    model = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2)).bfloat16()
    optimizer, losses = lib.optim.Adam(model.parameters(), lr=0.01), []
    for _ in range(40):
        optimizer.zero_grad()
        loss = lib.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert name(loss.dtype) == "bfloat16"
    assert losses[-1] < 0.4 * losses[0]


def test_compiled_steps_run_eagerly() -> None:
    model = fastnn.nn.Sequential(fastnn.nn.Linear(4, 8), fastnn.nn.ReLU(), fastnn.nn.Linear(8, 2)).bfloat16()
    step = fastnn.compile_step(model, fastnn.nn.CrossEntropyLoss(), fastnn.optim.SGD(model.parameters(), lr=0.1))
    x, y = fastnn.randn(8, 4).bfloat16(), fastnn.randint(2, (8,))
    losses = [step(x, y).item() for _ in range(5)]
    assert losses[-1] < losses[0]
    assert "eager" in step.explain()
    for _ in range(4):
        model(x)
    assert "captured" not in fastnn.explain(model).replace("nothing captured", "")
