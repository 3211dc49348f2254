"""One optimizer step over flat parameters: ``adam``, which has targets, and the others.

PyTorch's are the fused ones where it has them, JAX's are optax's under one ``jit`` that donates its
old state (``donate_argnums``). A row of an optimizer that fastnn lacks is measured as soon as
``fastnn.optim`` has it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.registry import Case, Inputs, Job, Setup, Unavailable, Work
from benchmarks.work import need, numbers
from benchmarks.work.update_rules import RULES, Rule


def _inputs(case: Case) -> Inputs:
    g = numbers(2, case["size"])
    # None near zero, where the rules differ by the place of their epsilon.
    return {"p": numbers(1, case["size"]), "g": g + np.copysign(np.float32(0.1), g)}


def _fastnn(rule: Rule) -> Setup:
    def setup(inputs: Inputs, case: Case) -> Job:
        import fastnn

        need(fastnn.optim, rule.api)
        p = fastnn.nn.Parameter(fastnn.from_numpy(inputs["p"]))
        # By a backward pass, which stores the gradient where training stores it.
        (p * fastnn.from_numpy(inputs["g"])).sum().backward()
        optimizer = getattr(fastnn.optim, rule.api)([p], lr=rule.lr, **rule.options)
        return Job(optimizer.step, read=lambda _: [p.detach().numpy().copy()])

    return setup


def _numpy(rule: Rule) -> Setup:
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


def _torch(rule: Rule) -> Setup:
    def setup(inputs: Inputs, case: Case) -> Job:
        import torch

        p = torch.nn.Parameter(torch.tensor(inputs["p"]))
        p.grad = torch.tensor(inputs["g"])
        # PyTorch's default where it has no fused kernel: foreach=True was measured slower on a CPU, ASGD by 1.8 times.
        fused = {"fused": True} if rule.fused else {}
        optimizer = getattr(torch.optim, rule.api)([p], lr=rule.lr, **rule.options, **fused)
        return Job(optimizer.step, read=lambda _: [p.detach().numpy().copy()])

    return setup


def _jax(rule: Rule) -> Setup:
    def setup(inputs: Inputs, case: Case) -> Job:
        import functools

        import jax
        import optax

        if rule.optax is None:
            raise Unavailable("optax has another rule under this name, or none")
        optimizer = rule.optax(optax)
        # Copies: the buffers donated below must not be NumPy's own memory.
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


def _work(rule: Rule) -> Work:
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


WORKS = tuple(_work(rule) for rule in RULES)
