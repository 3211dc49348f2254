"""Optimizers and schedules of the learning rate, compared with PyTorch; part of the registry of ``cases``.

The gradients are given, so that only the update is compared. Those of step ``t`` are taken from a pool of numbers,
from position ``3 t`` on, times a shrinking scale.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from cases import CASES, Arrays, Case
from comparison import as_array
from naive_optimizers import RULES

STEPS = 20
# Steps after which the parameters are compared: the first few, as rules begin to apply at different steps.
SEEN = (1, 2, 3, 5, 6, 10, 20)
SHAPES = {"w": (2, 3), "b": (2,)}

OPTIMIZERS = {name: case for rule in RULES for name, case in rule.cases.items()}


def _add(*args: Any, **options: Any) -> None:
    CASES.append(Case(*args, **options))


def _pool(kind: Any) -> Callable[[np.random.Generator], Arrays]:
    def inputs(rng: np.random.Generator) -> Arrays:
        made = {name: rng.standard_normal(shape) for name, shape in SHAPES.items()}
        pool = rng.standard_normal(16)
        # None near zero: the square of such a number is lost in rounding.
        made["pool"] = pool + np.copysign(0.05, pool)
        made["sizes"] = np.geomspace(2, 0.1, STEPS)
        return {name: a.astype(kind) for name, a in made.items()}

    return inputs


def gradients(inputs: Arrays, step: int) -> Arrays:
    """The gradients of a step."""
    pool = np.roll(inputs["pool"], -3 * step) * inputs["sizes"][step]
    return {"w": pool[:6].reshape(2, 3), "b": pool[6:8]}


def _optimizer(name: str, kind: Any) -> None:
    rule, options = OPTIMIZERS[name]

    def run(lib: Any, inputs: Arrays) -> Arrays:
        params = {n: lib.nn.Parameter(lib.tensor(inputs[n])) for n in SHAPES}
        optimizer = getattr(lib.optim, rule)(params.values(), **options)
        found: Arrays = {}
        for step in range(STEPS):
            for n, gradient in gradients(inputs, step).items():
                params[n].grad = lib.tensor(gradient)
            optimizer.step()
            if step + 1 in SEEN:
                for n, p in params.items():
                    found[f"{n}/{step + 1}"] = as_array(p)
        for n, p in params.items():
            for key, value in optimizer.state[p].items():
                found[f"{n}/{key}"] = as_array(value)
        return found

    # Each step rounds the parameter once, and the update, which is smaller, a few times.
    _add("optim", f"{name}_{np.dtype(kind).name}", _pool(kind), run, roundings=STEPS, least=1.0)


for _name in OPTIMIZERS:
    for _kind in (np.float32, np.float64):
        _optimizer(_name, _kind)


# -- LBFGS: two steps on a function of two variables, and on a sum of squares ---------------------


def _lbfgs(name: str, function: Callable[[Any], Any], steps: int = 3, **options: Any) -> None:
    def inputs(rng: np.random.Generator) -> Arrays:
        return {"x": np.array([-1.2, 1.0]), "m": rng.uniform(0.5, 1.5, (2, 2))}

    def run(lib: Any, inputs: Arrays) -> Arrays:
        x = lib.nn.Parameter(lib.tensor(inputs["x"]))
        m = lib.tensor(inputs["m"])
        optimizer = lib.optim.LBFGS([x], **options)
        calls = 0

        def closure() -> Any:
            nonlocal calls
            calls += 1
            optimizer.zero_grad()
            loss = function(m @ x if name.startswith("squares") else x)
            loss.backward()
            return loss

        path, losses, counts = [], [], []
        for _ in range(steps):
            losses.append(optimizer.step(closure).item())
            path.append(as_array(x))
            counts.append([calls, optimizer.state[x]["n_iter"], optimizer.state[x]["func_evals"]])
        return {"path": np.stack(path), "losses": np.array(losses), "counts": np.array(counts)}

    # The path is as ill-conditioned as the function: it amplifies a rounding error a few hundred times.
    _add("optim", f"lbfgs_{name}", inputs, run, roundings=400, least=1.0)


def _rosenbrock(x: Any) -> Any:
    a, b = 1 - x[0], x[1] - x[0] * x[0]
    return a * a + 100 * b * b


def _squares(x: Any) -> Any:
    return (x * x).sum() + (x * x * x * x).sum()


_lbfgs("rosenbrock", _rosenbrock, max_iter=4, line_search_fn="strong_wolfe")
_lbfgs("rosenbrock_short", _rosenbrock, max_iter=7, max_eval=5, history_size=2, line_search_fn="strong_wolfe")
_lbfgs("rosenbrock_far", _rosenbrock, max_iter=3, lr=50.0, line_search_fn="strong_wolfe")
_lbfgs("rosenbrock_near", _rosenbrock, max_iter=3, lr=1e-3, line_search_fn="strong_wolfe")
_lbfgs("squares", _squares, max_iter=2, lr=0.3)
_lbfgs("squares_history", _squares, max_iter=4, lr=0.2, history_size=1)
_lbfgs("squares_done", _squares, steps=2, max_iter=30, tolerance_change=1e-5, line_search_fn="strong_wolfe")


# -- Schedules -------------------------------------------------------------------------------------

EPOCHS = 50
Build = Callable[[Any, Any], Any]
SCHEDULES: dict[str, Build] = {
    "lambda": lambda s, o: s.LambdaLR(o, lambda epoch: 0.95**epoch),
    "lambda_list": lambda s, o: s.LambdaLR(o, [lambda epoch: 0.95**epoch, lambda epoch: 1 / (1 + epoch)]),
    "multiplicative": lambda s, o: s.MultiplicativeLR(o, lambda epoch: 0.9 + epoch / 1000),
    "step": lambda s, o: s.StepLR(o, 7),
    "step_gamma": lambda s, o: s.StepLR(o, step_size=1, gamma=0.9),
    "multi_step": lambda s, o: s.MultiStepLR(o, [3, 10, 10, 31], gamma=0.5),
    "constant": lambda s, o: s.ConstantLR(o),
    "constant_long": lambda s, o: s.ConstantLR(o, factor=0.7, total_iters=30),
    "linear": lambda s, o: s.LinearLR(o),
    "linear_down": lambda s, o: s.LinearLR(o, start_factor=1.0, end_factor=0.1, total_iters=30),
    "exponential": lambda s, o: s.ExponentialLR(o, 0.93),
    "polynomial": lambda s, o: s.PolynomialLR(o, total_iters=30, power=1.5),
    "cosine": lambda s, o: s.CosineAnnealingLR(o, T_max=12, eta_min=0.001),
    "cosine_long": lambda s, o: s.CosineAnnealingLR(o, EPOCHS),
    "cosine_one": lambda s, o: s.CosineAnnealingLR(o, 1),
    "restarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 7),
    "restarts_longer": lambda s, o: s.CosineAnnealingWarmRestarts(o, 3, T_mult=2, eta_min=0.01),
    "cyclic": lambda s, o: s.CyclicLR(o, 0.01, 0.2, step_size_up=6),
    "cyclic_2": lambda s, o: s.CyclicLR(o, [0.01, 0.02], [0.2, 0.4], 5, 8, mode="triangular2", cycle_momentum=False),
    "cyclic_exp": lambda s, o: s.CyclicLR(o, 0.01, 0.2, 5, mode="exp_range", gamma=0.97, base_momentum=0.5),
    "cyclic_own": lambda s, o: s.CyclicLR(o, 0.01, 0.2, 5, scale_fn=lambda x: 1 / x, scale_mode="cycle"),
    "one_cycle": lambda s, o: s.OneCycleLR(o, 0.5, total_steps=EPOCHS + 1),
    "one_cycle_linear": lambda s, o: s.OneCycleLR(
        o, [0.5, 0.2], epochs=6, steps_per_epoch=10, anneal_strategy="linear", pct_start=0.25, div_factor=10.0
    ),
    "one_cycle_three": lambda s, o: s.OneCycleLR(
        o, 0.5, total_steps=60, three_phase=True, final_div_factor=100.0, cycle_momentum=False
    ),
    "chained": lambda s, o: s.ChainedScheduler([s.ConstantLR(o, 0.1, 4), s.ExponentialLR(o, 0.9)]),
    "sequential": lambda s, o: s.SequentialLR(
        o, [s.LinearLR(o, 0.1, total_iters=5), s.CosineAnnealingLR(o, 30), s.ExponentialLR(o, 0.9)], [5, 40]
    ),
    "sequential_chained": lambda s, o: s.SequentialLR(o, [s.ConstantLR(o, 0.5, 3), s.StepLR(o, 4)], milestones=[10]),
    "plateau": lambda s, o: s.ReduceLROnPlateau(o, patience=2),
    "plateau_max": lambda s, o: s.ReduceLROnPlateau(
        o, "max", factor=0.5, patience=1, threshold=0.3, threshold_mode="abs", cooldown=3, min_lr=[0.01, 0.0]
    ),
    "plateau_abs": lambda s, o: s.ReduceLROnPlateau(o, threshold_mode="abs", patience=0, min_lr=0.002, eps=1e-3),
    "plateau_max_rel": lambda s, o: s.ReduceLROnPlateau(o, "max", patience=3, threshold=0.2),
    "swa": lambda s, o: _swa(o).SWALR(o, swa_lr=0.05),
    "swa_linear": lambda s, o: _swa(o).SWALR(o, [0.05, 0.5], anneal_epochs=20, anneal_strategy="linear"),
    "swa_at_once": lambda s, o: _swa(o).SWALR(o, 0.05, anneal_epochs=0),
}


def _swa(optimizer: Any) -> Any:
    import importlib

    library = type(optimizer).__mro__[-2].__module__.partition(".")[0]
    return importlib.import_module(f"{library}.optim.swa_utils")


def two_groups(lib: Any, rule: str = "SGD") -> Any:
    """An optimizer with a learning rate of 0.1 and one of 0.3."""
    p, q = (lib.nn.Parameter(lib.ones(1)) for _ in range(2))
    options = {"momentum": 0.9} if rule == "SGD" else {}
    return getattr(lib.optim, rule)([{"params": [p]}, {"params": [q], "lr": 0.3}], lr=0.1, **options)


def follow(optimizer: Any, schedule: Any, epochs: int, first: int = 0) -> list[list[float]]:
    """A schedule's values of each group, one row per epoch: learning rate, and momentum or first beta."""
    rows = []
    for epoch in range(first, first + epochs):
        row = [float(group["lr"]) for group in optimizer.param_groups]
        row += [group["betas"][0] if "betas" in group else group["momentum"] for group in optimizer.param_groups]
        rows.append(row)
        assert [float(lr) for lr in schedule.get_last_lr()] == row[:2]
        optimizer.step()
        if type(schedule).__name__ == "ReduceLROnPlateau":
            # Falls, stays, and rises.
            schedule.step(max(1.0, 10.0 - epoch) + max(0, epoch - 35) / 3)
        else:
            schedule.step()
    return rows


def _schedule(name: str, rule: str) -> None:
    def run(lib: Any, inputs: Arrays) -> Arrays:
        optimizer = two_groups(lib, rule)
        schedule = SCHEDULES[name](lib.optim.lr_scheduler, optimizer)
        return {"rows": np.array(follow(optimizer, schedule, EPOCHS))}

    # Each epoch rounds the value of the previous one: 2e-14 in all.
    _add("schedules", f"{name}_{rule.lower()}", lambda rng: {}, run, roundings=2 * EPOCHS)


for _name in SCHEDULES:
    for _rule in ("SGD", "Adam") if _name in ("cyclic", "one_cycle", "step") else ("SGD",):
        _schedule(_name, _rule)


# Resumed after some epochs by ``last_epoch``, with the learning rate of that epoch.
RESUMED: dict[str, Callable[[Any, Any, int], Any]] = {
    "step": lambda s, o, last: s.StepLR(o, 2, last_epoch=last),
    "multi_step": lambda s, o, last: s.MultiStepLR(o, [2, 5], last_epoch=last),
    "exponential": lambda s, o, last: s.ExponentialLR(o, 0.5, last_epoch=last),
    "constant": lambda s, o, last: s.ConstantLR(o, 0.5, 6, last_epoch=last),
    "linear": lambda s, o, last: s.LinearLR(o, 1.0, 0.5, 7, last_epoch=last),
    "polynomial": lambda s, o, last: s.PolynomialLR(o, 9, last_epoch=last),
    "multiplicative": lambda s, o, last: s.MultiplicativeLR(o, lambda epoch: 0.9 + epoch / 100, last_epoch=last),
    "lambda": lambda s, o, last: s.LambdaLR(o, lambda epoch: 1 / (1 + epoch), last_epoch=last),
    "cosine": lambda s, o, last: s.CosineAnnealingLR(o, 5, eta_min=0.01, last_epoch=last),
    "restarts": lambda s, o, last: s.CosineAnnealingWarmRestarts(o, 4, last_epoch=last),
    "cyclic": lambda s, o, last: s.CyclicLR(o, 0.01, 0.2, step_size_up=3, last_epoch=last),
    "one_cycle": lambda s, o, last: s.OneCycleLR(o, 0.5, total_steps=20, last_epoch=last),
}


def _resumed(name: str) -> None:
    def run(lib: Any, inputs: Arrays) -> Arrays:
        found: Arrays = {}
        for last in (0, 3, 7):
            optimizer = two_groups(lib)
            first = RESUMED[name](lib.optim.lr_scheduler, optimizer, -1)
            follow(optimizer, first, last)
            groups = [dict(group) for group in optimizer.param_groups]
            optimizer = two_groups(lib)
            for group, before in zip(optimizer.param_groups, groups, strict=True):
                group.update({key: value for key, value in before.items() if key != "params"})
            schedule = RESUMED[name](lib.optim.lr_scheduler, optimizer, last)
            found[f"after {last}"] = np.array(follow(optimizer, schedule, 8))
        return found

    _add("schedules", f"resumed_{name}", lambda rng: {}, run, roundings=2 * EPOCHS)


for _name in RESUMED:
    _resumed(_name)
