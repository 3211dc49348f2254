"""One optimizer step over flat parameters: ``adam`` and, beside the targets, the others.

PyTorch's are the fused ones where it has them, JAX's are optax's under one ``jit`` that gives its
old state away (``donate_argnums``). A row of an optimizer that fastnn does not have turns live by
itself once ``fastnn.optim`` has it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.registry import Case, Inputs, Job, Setup, Work
from benchmarks.work import need, numbers

LR = 1e-3


@dataclass(frozen=True)
class _Optimizer:
    """One update rule in four libraries.

    Args:
        name: in the tables.
        api: its name in ``torch.optim`` and ``fastnn.optim``.
        options: their arguments beside the learning rate.
        fused: whether PyTorch has one kernel for it on the CPU.
        states: arrays of state.
        optax: its optax form, from the module.
        update: one NumPy step ``(p, g, *state, t, scratch)`` in place.
    """

    name: str
    api: str
    options: dict[str, Any]
    fused: bool
    states: int
    optax: Callable[[Any], Any]
    update: Callable[..., None]


def adam_update(
    p: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray, t: int, a: np.ndarray, decay: float = 0.0
) -> None:
    """Adam (or AdamW, by ``decay``) in place, without new arrays; ``a`` is scratch of the same size."""
    if decay:
        p *= 1 - LR * decay
    np.subtract(g, m, out=a)
    a *= 0.1
    m += a
    v *= 0.999
    np.multiply(g, g, out=a)
    a *= 0.001
    v += a
    np.sqrt(v, out=a)
    a *= (1 - 0.999**t) ** -0.5
    a += 1e-8
    np.divide(m, a, out=a)
    a *= LR / (1 - 0.9**t)
    p -= a


def _adamw_update(p: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray, t: int, a: np.ndarray) -> None:
    adam_update(p, g, m, v, t, a, decay=0.01)


def _sgd_update(p: np.ndarray, g: np.ndarray, v: np.ndarray, t: int, a: np.ndarray) -> None:
    v *= 0.9
    v += g
    np.multiply(v, LR, out=a)
    p -= a


def _rmsprop_update(p: np.ndarray, g: np.ndarray, v: np.ndarray, t: int, a: np.ndarray) -> None:
    v *= 0.99
    np.multiply(g, g, out=a)
    a *= 0.01
    v += a
    np.sqrt(v, out=a)
    a += 1e-8
    np.divide(g, a, out=a)
    a *= LR
    p -= a


def _adagrad_update(p: np.ndarray, g: np.ndarray, v: np.ndarray, t: int, a: np.ndarray) -> None:
    np.multiply(g, g, out=a)
    v += a
    np.sqrt(v, out=a)
    a += 1e-10
    np.divide(g, a, out=a)
    a *= LR
    p -= a


_OPTIMIZERS = (
    _Optimizer("adam", "Adam", {}, True, 2, lambda optax: optax.adam(LR), adam_update),
    _Optimizer(
        "adamw", "AdamW", {"weight_decay": 0.01}, True, 2, lambda optax: optax.adamw(LR, weight_decay=0.01),
        _adamw_update,
    ),
    _Optimizer("sgd_momentum", "SGD", {"momentum": 0.9}, True, 1, lambda optax: optax.sgd(LR, 0.9), _sgd_update),
    _Optimizer(
        "rmsprop", "RMSprop", {}, False, 1,
        lambda optax: optax.rmsprop(LR, decay=0.99, eps=1e-8, eps_in_sqrt=False), _rmsprop_update,
    ),
    _Optimizer(
        "adagrad", "Adagrad", {}, True, 1,
        lambda optax: optax.adagrad(LR, initial_accumulator_value=0.0, eps=1e-10), _adagrad_update,
    ),
)  # fmt: skip


def _inputs(case: Case) -> Inputs:
    g = numbers(2, case["size"])
    # None near zero: there the rules differ by where they add their epsilon.
    return {"p": numbers(1, case["size"]), "g": g + np.copysign(np.float32(0.1), g)}


def _fastnn(rule: _Optimizer) -> Setup:
    def setup(inputs: Inputs, case: Case) -> Job:
        import fastnn

        need(fastnn.optim, rule.api)
        p = fastnn.nn.Parameter(fastnn.from_numpy(inputs["p"]))
        # By a backward pass, which puts the gradient where training would have it.
        (p * fastnn.from_numpy(inputs["g"])).sum().backward()
        optimizer = getattr(fastnn.optim, rule.api)([p], lr=LR, **rule.options)
        return Job(optimizer.step, read=lambda _: [p.detach().numpy().copy()])

    return setup


def _numpy(rule: _Optimizer) -> Setup:
    def setup(inputs: Inputs, case: Case) -> Job:
        p, g = inputs["p"], inputs["g"]
        state, scratch, steps = [np.zeros_like(p) for _ in range(rule.states)], np.empty_like(p), 0

        def run() -> np.ndarray:
            nonlocal steps
            steps += 1
            rule.update(p, g, *state, steps, scratch)
            return p

        return Job(run)

    return setup


def _torch(rule: _Optimizer) -> Setup:
    def setup(inputs: Inputs, case: Case) -> Job:
        import torch

        p = torch.nn.Parameter(torch.tensor(inputs["p"]))
        p.grad = torch.tensor(inputs["g"])
        fused = {"fused": True} if rule.fused else {"foreach": True}
        optimizer = getattr(torch.optim, rule.api)([p], lr=LR, **rule.options, **fused)
        return Job(optimizer.step, read=lambda _: [p.detach().numpy().copy()])

    return setup


def _jax(rule: _Optimizer) -> Setup:
    def setup(inputs: Inputs, case: Case) -> Job:
        import functools

        import jax
        import optax

        optimizer = rule.optax(optax)
        # Copies: what is given away below must not be NumPy's own memory.
        p, g = jax.numpy.array(inputs["p"]), jax.numpy.array(inputs["g"])
        state = optimizer.init(p)

        @functools.partial(jax.jit, donate_argnums=(0, 1))
        def step(p, state, g):
            updates, state = optimizer.update(g, state, p)
            return optax.apply_updates(p, updates), state

        def run() -> Any:
            nonlocal p, state
            p, state = step(p, state, g)
            return p

        return Job(run, wait=jax.block_until_ready)

    return setup


def _work(rule: _Optimizer) -> Work:
    is_target = rule.name == "adam"
    cases = tuple(
        # The parameters and the state are read and written, the gradient is read.
        Case(
            f"1e{len(str(size)) - 1}", {"size": size}, flops=(4.0 + 4 * rule.states) * size,
            bytes=4.0 * (3 + 2 * rule.states) * size, target=is_target,
        )
        for size in ((10**4, 10**5, 10**6, 10**7) if is_target else (10**5, 10**6))
    )  # fmt: skip
    setups = {"fastnn": _fastnn(rule), "numpy": _numpy(rule), "torch": _torch(rule), "jax": _jax(rule)}
    return Work(
        rule.name, cases, _inputs, setups, tolerance=1e-6, limit="copy", check_calls=3, chained=True,
        extras=("numpy", "jax"),
    )  # fmt: skip


WORKS = tuple(_work(rule) for rule in _OPTIMIZERS)
