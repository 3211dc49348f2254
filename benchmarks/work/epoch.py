"""One epoch over rows in memory, in a given order: gather, forward, softmax cross-entropy, backward and Adam.

Each library in its best style: ``step.run`` of fastnn's compiled step, JAX's ``lax.scan`` over the epoch inside one
``jit``, PyTorch's loop. Each returns the losses of all steps.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from benchmarks.registry import Case, Inputs, Job, Work
from benchmarks.work import labels, mlp, mlp_jax, numbers, permutations


def _case(name: str, model: str, batch: int, rows: int, steps: int) -> Case:
    described = mlp.MODELS[model]
    return Case(
        name, {"model": model, "batch": batch, "rows": rows, "steps": steps, "orders": 3, "dropout": 0.0},
        flops=steps * described.training_flops(batch), bytes=40.0 * steps * described.parameters(),
    )  # fmt: skip


def _inputs(case: Case) -> Inputs:
    model, rows = mlp.MODELS[case["model"]], case["rows"]
    needed = case["steps"] * case["batch"]
    orders = [np.concatenate([permutations(40 + i + 10 * k, rows) for k in range(-(-needed // rows))])[:needed]
              for i in range(case["orders"])]  # fmt: skip
    return {
        **mlp.weights(model), "x": numbers(1, rows, model.widths[0]), "y": labels(2, model.widths[-1], rows),
        "orders": np.stack(orders).reshape(-1, case["steps"], case["batch"]),
    }  # fmt: skip


def _parts(library: Any, inputs: Inputs, case: Case, **options: Any) -> tuple[Any, Any, Any]:
    model = mlp.modules(library, mlp.MODELS[case["model"]])
    mlp.load_weights(library, model, inputs)
    return model, library.nn.CrossEntropyLoss(), library.optim.Adam(model.parameters(), lr=mlp.LR, **options)


def _fastnn(inputs: Inputs, case: Case) -> Job:
    import fastnn

    step = fastnn.compile_step(*_parts(fastnn, inputs, case))
    x, y = fastnn.from_numpy(inputs["x"]), fastnn.from_numpy(inputs["y"])
    orders = itertools.cycle([fastnn.from_numpy(order) for order in inputs["orders"]])
    return Job(lambda: step.run(x, y, next(orders)), read=lambda losses: [losses.numpy()])


def _torch(inputs: Inputs, case: Case) -> Job:
    import torch

    model, criterion, optimizer = _parts(torch, inputs, case, fused=True)
    x, y = torch.from_numpy(inputs["x"]), torch.from_numpy(inputs["y"])
    orders = itertools.cycle([torch.from_numpy(order) for order in inputs["orders"]])

    def run() -> Any:
        losses = []
        for rows in next(orders):
            optimizer.zero_grad()
            loss = criterion(model(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses)

    return Job(run, read=lambda losses: [losses.numpy()])


WORKS = (
    Work(
        "epoch",
        (
            _case("8-64-64-4 tanh, batch 64", "policy", 64, 6_400, 100),
            _case("4-32-16-4 tanh, batch 64", "tiny", 64, 6_400, 100),
            _case("4-32-16-4 tanh, 10,000 rows", "tiny", 10_000, 10_000, 4),
            _case("784-128-64-10, batch 64", "S", 64, 6_400, 100),
            _case("54-256-256-7, batch 64", "tabular", 64, 6_400, 100),
        ),
        _inputs, tolerance=2e-3,
        setups={"fastnn": _fastnn, "torch": _torch, "jax": mlp_jax.epoch},
        # A first epoch from the same weights.
        check_sizes={"orders": 1, "steps": 4}, chained=True, reference="torch",
    ),
)  # fmt: skip
