"""Optimizers compared with PyTorch's: their repr, the layout of saved state, the arguments they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import beside_torch as live
import numpy as np
import pytest
from beside_torch import torch
from cases import OPTIMIZERS as FIRST
from cases_optim import OPTIMIZERS, SCHEDULES, follow, two_groups
from comparison import as_array
from test_optimizer_state import RULES, one

import fastnn

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("rule", [*RULES, "LBFGS"])
def test_text(rule: str) -> None:
    ours, theirs = (repr(getattr(lib.optim, rule)([one(lib)])) for lib in (fastnn, torch))
    assert ours.splitlines() == theirs.splitlines()


def transplanted(value: Any, source: Any, target: Any) -> Any:
    """Nested dictionaries and lists with their tensors converted to the other library."""
    if isinstance(value, source.Tensor):
        return target.tensor(as_array(value))
    if isinstance(value, dict):
        return {key: transplanted(v, source, target) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(transplanted(v, source, target) for v in value)
    return value


def trained(lib: Any, name: str, steps: int = 3) -> tuple[list[Any], Any]:
    rule, options = (FIRST | OPTIMIZERS)[name]
    rng = np.random.default_rng(1)
    params = [lib.nn.Parameter(lib.tensor(rng.standard_normal(s).astype("f4"))) for s in ((3, 2), (4,), ())]
    optimizer = getattr(lib.optim, rule)(params, **options)
    step(lib, params, optimizer, range(steps))
    return params, optimizer


def step(lib: Any, params: list[Any], optimizer: Any, steps: range) -> None:
    for number in steps:
        rng = np.random.default_rng(number)
        for p in params:
            p.grad = lib.tensor(rng.standard_normal(tuple(p.shape)).astype("f4"))
        optimizer.step()


@pytest.mark.parametrize("name", FIRST | OPTIMIZERS)
@pytest.mark.parametrize(("source", "target"), [(fastnn, torch), (torch, fastnn)], ids=["to torch", "from torch"])
def test_saved_state_moves_over(name: str, source: Any, target: Any) -> None:
    """The layout is the same, key by key; training continues in the other library as if it had started there."""
    theirs, old = trained(source, name)
    ours, new = trained(target, name, 1)
    saved, own = old.state_dict(), trained(target, name)[1].state_dict()
    assert list(saved) == list(own)
    assert list(saved["state"]) == list(own["state"])
    for number, entry in saved["state"].items():
        assert list(entry) == list(own["state"][number])
        for key, value in entry.items():
            other = own["state"][number][key]
            assert live.dtype_name(value.dtype) == live.dtype_name(other.dtype)
            assert tuple(value.shape) == tuple(other.shape)
    assert saved["param_groups"] == own["param_groups"]
    new.load_state_dict(transplanted(saved, source, target))
    for p, q in zip(ours, theirs, strict=True):
        p.data = target.tensor(as_array(q))
    step(source, theirs, old, range(3, 6))
    step(target, ours, new, range(3, 6))
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(as_array(p), as_array(q), rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", SCHEDULES)
def test_saved_schedules_have_the_same_entries(name: str) -> None:
    saved = []
    for lib in (fastnn, torch):
        optimizer = two_groups(lib)
        schedule = SCHEDULES[name](lib.optim.lr_scheduler, optimizer)
        follow(optimizer, schedule, 12)
        saved.append(flat(schedule.state_dict()))
        groups = [{n: v for n, v in g.items() if n != "params"} for g in optimizer.param_groups]
        saved[-1].update(flat(groups, "groups"))
    ours, theirs = saved
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        assert ours[key] == (pytest.approx(value, rel=1e-12, abs=1e-15) if isinstance(value, float) else value), key


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """The leaves of nested dictionaries and lists."""
    if isinstance(value, dict):
        return {k: v for key, inner in value.items() for k, v in flat(inner, f"{name}.{key}").items()}
    if isinstance(value, (list, tuple)):
        return {k: v for i, inner in enumerate(value) for k, v in flat(inner, f"{name}.{i}").items()}
    return {name: value}


def make(rule: str, **options: Any) -> Callable[[Any], Any]:
    return lambda lib: getattr(lib.optim, rule)([one(lib)], **options) and None


def scheduled(build: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    return lambda lib: build(lib.optim.lr_scheduler, two_groups(lib)) and None


COMMON = [{"lr": -1.0}, {"lr": float("nan")}, {"lr": "fast"}, {"lr": None}, {"unknown": 1}]
REFUSED: dict[str, Callable[[Any], Any]] = {
    f"{rule}_{i}": make(rule, **options)
    for rule in (*RULES, "LBFGS")
    for i, options in enumerate(COMMON)
    # PyTorch accepts NaN there.
    if not (rule == "SGD" and i == 1)
} | {
    f"{rule}_{name}": make(rule, **{name: value})
    for rule, name, value in [
        *[(rule, "weight_decay", -0.1) for rule in RULES if rule != "Rprop"],
        *[(rule, "eps", -1e-9) for rule in RULES if rule not in ("SGD", "ASGD", "Rprop")],
        *[(rule, "betas", (0.9, 1.0)) for rule in ("Adam", "AdamW", "Adamax", "NAdam", "RAdam")],
        *[(rule, "foreach", True) for rule in RULES],
        *[(rule, "capturable", False) for rule in RULES if rule not in ("SGD", "Adagrad")],
        *[(rule, "fused", True) for rule in ("Adam", "AdamW", "SGD", "Adagrad")],
        ("RMSprop", "momentum", -0.1), ("RMSprop", "alpha", -0.1), ("SGD", "momentum", -0.1),
        ("SGD", "nesterov", True), ("Adagrad", "lr_decay", -1.0), ("Adagrad", "initial_accumulator_value", -1.0),
        ("Adadelta", "rho", 1.5), ("Adadelta", "rho", -0.1), ("NAdam", "momentum_decay", -1.0),
        ("Rprop", "etas", (1.2, 0.5)), ("Rprop", "etas", (0.0, 1.2)), ("Adam", "betas", (0, 0.9)),
        ("LBFGS", "max_iter", 3),
    ]
} | {
    "tensor_lr_of_two": lambda lib: make("Adam", lr=lib.ones(2))(lib),
    "tensor_lr_foreach": lambda lib: make("Adam", lr=lib.tensor(0.1), foreach=True)(lib),
    "tensor_betas": lambda lib: make("Adam", betas=(lib.tensor(0.5), lib.tensor(0.75)))(lib),
    "fused_and_foreach": make("SGD", fused=True, foreach=True),
    "lbfgs_groups": lambda lib: lib.optim.LBFGS([{"params": [one(lib)]}, {"params": [one(lib)]}]),
    "lbfgs_line_search": lambda lib: lib.optim.LBFGS([one(lib)], line_search_fn="armijo").step(lambda: lib.ones(1)),
    "lbfgs_without_closure": lambda lib: lib.optim.LBFGS([one(lib)]).step(),
    "schedule_of_nothing": lambda lib: lib.optim.lr_scheduler.StepLR(None, 1),
    "schedule_of_a_model": lambda lib: lib.optim.lr_scheduler.ReduceLROnPlateau(lib.nn.Linear(1, 1)),
    "schedule_abstract": scheduled(lambda s, o: s.LRScheduler(o)),
    "lambdas": scheduled(lambda s, o: s.LambdaLR(o, [abs])),
    "lambda_number": scheduled(lambda s, o: s.MultiplicativeLR(o, 0.5)),
    "constant_factor": scheduled(lambda s, o: s.ConstantLR(o, 1.5)),
    "linear_start": scheduled(lambda s, o: s.LinearLR(o, 0.0)),
    "linear_end": scheduled(lambda s, o: s.LinearLR(o, 0.5, 2.0)),
    "plateau_factor": scheduled(lambda s, o: s.ReduceLROnPlateau(o, factor=1.0)),
    "plateau_mode": scheduled(lambda s, o: s.ReduceLROnPlateau(o, "most")),
    "plateau_threshold": scheduled(lambda s, o: s.ReduceLROnPlateau(o, threshold_mode="some")),
    "plateau_min": scheduled(lambda s, o: s.ReduceLROnPlateau(o, min_lr=[0.1])),
    "plateau_metric": scheduled(lambda s, o: s.ReduceLROnPlateau(o).step()),
    "restarts_T_0": scheduled(lambda s, o: s.CosineAnnealingWarmRestarts(o, 0)),
    "restarts_T_0_float": scheduled(lambda s, o: s.CosineAnnealingWarmRestarts(o, 1.5)),
    "restarts_T_mult": scheduled(lambda s, o: s.CosineAnnealingWarmRestarts(o, 1, 0)),
    "restarts_eta": scheduled(lambda s, o: s.CosineAnnealingWarmRestarts(o, 1, eta_min="low")),
    "cyclic_mode": scheduled(lambda s, o: s.CyclicLR(o, 0.1, 0.2, mode="round")),
    "cyclic_count": scheduled(lambda s, o: s.CyclicLR(o, [0.1], 0.2)),
    "cyclic_momentum": lambda lib: lib.optim.lr_scheduler.CyclicLR(lib.optim.Adagrad([one(lib)]), 0.1, 0.2),
    "one_cycle_steps": scheduled(lambda s, o: s.OneCycleLR(o, 0.1)),
    "one_cycle_none": scheduled(lambda s, o: s.OneCycleLR(o, 0.1, total_steps=0)),
    "one_cycle_epochs": scheduled(lambda s, o: s.OneCycleLR(o, 0.1, epochs=2, steps_per_epoch=-1)),
    "one_cycle_start": scheduled(lambda s, o: s.OneCycleLR(o, 0.1, 10, pct_start=2.0)),
    "one_cycle_strategy": scheduled(lambda s, o: s.OneCycleLR(o, 0.1, 10, anneal_strategy="log")),
    "chained_none": scheduled(lambda s, o: s.ChainedScheduler([])),
    "chained_plateau": scheduled(lambda s, o: s.ChainedScheduler([s.ReduceLROnPlateau(o)])),
    "chained_others": lambda lib: lib.optim.lr_scheduler.ChainedScheduler(
        [lib.optim.lr_scheduler.StepLR(two_groups(lib), 1) for _ in range(2)]
    ),
    "sequential_none": scheduled(lambda s, o: s.SequentialLR(o, [], [])),
    "sequential_numbers": scheduled(lambda s, o: s.SequentialLR(o, [3], [])),
    "sequential_milestones": scheduled(lambda s, o: s.SequentialLR(o, [s.StepLR(o, 1)], [3])),
    "sequential_plateau": scheduled(lambda s, o: s.SequentialLR(o, [s.ReduceLROnPlateau(o)], [])),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    live.assert_same_outcome(REFUSED[name])
