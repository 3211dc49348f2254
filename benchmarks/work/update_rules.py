"""The update rules: their names in PyTorch, fastnn and optax, and a step of each in plain NumPy.

optax is not imported here: a rule's ``optax`` function receives the module.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

LR = 1e-3


@dataclass(frozen=True)
class Rule:
    """One update rule in four libraries.

    Args:
        name: in the tables.
        api: its name in ``torch.optim`` and ``fastnn.optim``.
        options: their arguments other than the learning rate.
        fused: whether PyTorch has one kernel for it on the CPU.
        states: arrays of state.
        optax: its optax form, from the module; None if optax has no such rule, or a different one of that name.
        update: one NumPy step ``(p, g, *state, t, scratch)`` in place.
        lr: the learning rate.
    """

    name: str
    api: str
    options: dict[str, Any]
    fused: bool
    states: int
    optax: Callable[[Any], Any] | None
    update: Callable[..., None]
    lr: float = LR


def _moments(g: np.ndarray, m: np.ndarray, v: np.ndarray, a: np.ndarray) -> None:
    """Update the averages of the gradient and of its square, by 0.9 and 0.999, in place."""
    np.subtract(g, m, out=a)
    a *= 0.1
    m += a
    v *= 0.999
    np.multiply(g, g, out=a)
    a *= 0.001
    v += a


def adam_update(
    p: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray, t: int, a: np.ndarray, decay: float = 0.0
) -> None:
    """Adam (or AdamW, by ``decay``) in place, without new arrays; ``a`` is scratch of the same size."""
    if decay:
        p *= 1 - LR * decay
    _moments(g, m, v, a)
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


def _plain_sgd_update(p: np.ndarray, g: np.ndarray, t: int, a: np.ndarray) -> None:
    np.multiply(g, LR, out=a)
    p -= a


def _adamax_update(p: np.ndarray, g: np.ndarray, m: np.ndarray, u: np.ndarray, t: int, a: np.ndarray) -> None:
    np.subtract(g, m, out=a)
    a *= 0.1
    m += a
    u *= 0.999
    np.abs(g, out=a)
    a += 1e-8
    np.maximum(u, a, out=u)
    np.divide(m, u, out=a)
    a *= LR / (1 - 0.9**t)
    p -= a


def _nadam_momentum(t: int) -> float:
    return 0.9 * (1 - 0.5 * 0.96 ** (t * 0.004))


@functools.lru_cache(maxsize=2)
def _nadam_product(t: int) -> float:
    """The product of the momenta up to step ``t``; steps call it in order, so the previous product is known."""
    return _nadam_momentum(t) * (_nadam_product(t - 1) if t > 1 else 1.0)


def _nadam_update(p: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray, t: int, a: np.ndarray) -> None:
    _moments(g, m, v, a)
    np.sqrt(v, out=a)
    a *= (1 - 0.999**t) ** -0.5
    a += 1e-8
    product, following = _nadam_product(t), _nadam_momentum(t + 1)
    p -= LR * (1 - _nadam_momentum(t)) / (1 - product) * g / a
    p -= LR * following / (1 - product * following) * m / a


def _radam_update(p: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray, t: int, a: np.ndarray) -> None:
    _moments(g, m, v, a)
    longest = 2 / (1 - 0.999) - 1
    rho = longest - 2 * t * 0.999**t / (1 - 0.999**t)
    if rho > 5:
        rectified = (rho - 4) * (rho - 2) * longest / ((longest - 4) * (longest - 2) * rho)
        np.sqrt(v, out=a)
        a += 1e-8
        np.divide(m, a, out=a)
        a *= LR * (rectified * (1 - 0.999**t)) ** 0.5 / (1 - 0.9**t)
    else:
        np.multiply(m, LR / (1 - 0.9**t), out=a)
    p -= a


def _adadelta_update(p: np.ndarray, g: np.ndarray, s: np.ndarray, d: np.ndarray, t: int, a: np.ndarray) -> None:
    s *= 0.9
    np.multiply(g, g, out=a)
    a *= 0.1
    s += a
    np.divide(d + 1e-6, s + 1e-6, out=a)
    np.sqrt(a, out=a)
    a *= g
    d *= 0.9
    d += 0.1 * a * a
    p -= a


def _rprop_update(p: np.ndarray, g: np.ndarray, before: np.ndarray, size: np.ndarray, t: int, a: np.ndarray) -> None:
    if t == 1:
        size[:] = LR
    np.multiply(g, before, out=a)
    size *= np.where(a > 0, np.float32(1.2), np.where(a < 0, np.float32(0.5), np.float32(1)))
    np.clip(size, 1e-6, 50, out=size)
    before[:] = np.where(a < 0, np.float32(0), g)
    p -= np.sign(before) * size


def _asgd_update(p: np.ndarray, g: np.ndarray, average: np.ndarray, t: int, a: np.ndarray) -> None:
    # The size of step t is computed at the end of step t - 1; averaging begins after a million steps.
    eta = LR if t == 1 else LR / (1 + 1e-4 * LR * (t - 1)) ** 0.75
    p *= 1 - 1e-4 * eta
    np.multiply(g, eta, out=a)
    p -= a
    average[:] = p


RULES = (
    Rule("adam", "Adam", {}, True, 2, lambda optax: optax.adam(LR), adam_update),
    Rule(
        "adamw", "AdamW", {"weight_decay": 0.01}, True, 2, lambda optax: optax.adamw(LR, weight_decay=0.01),
        _adamw_update,
    ),
    Rule("sgd_momentum", "SGD", {"momentum": 0.9}, True, 1, lambda optax: optax.sgd(LR, 0.9), _sgd_update),
    Rule(
        "rmsprop", "RMSprop", {}, False, 1,
        lambda optax: optax.rmsprop(LR, decay=0.99, eps=1e-8, eps_in_sqrt=False), _rmsprop_update,
    ),
    Rule(
        "adagrad", "Adagrad", {}, True, 1,
        lambda optax: optax.adagrad(LR, initial_accumulator_value=0.0, eps=1e-10), _adagrad_update,
    ),
    Rule("sgd", "SGD", {}, True, 0, lambda optax: optax.sgd(LR), _plain_sgd_update),
    Rule("adamax", "Adamax", {}, False, 2, lambda optax: optax.adamax(LR), _adamax_update),
    # Without the momentum's schedule in optax.
    Rule("nadam", "NAdam", {}, False, 2, None, _nadam_update),
    Rule("radam", "RAdam", {}, False, 2, lambda optax: optax.radam(LR), _radam_update),
    Rule(
        "adadelta", "Adadelta", {}, False, 2, lambda optax: optax.adadelta(1.0, rho=0.9, eps=1e-6), _adadelta_update,
        lr=1.0,
    ),
    # In optax the first step already multiplies the step size.
    Rule("rprop", "Rprop", {}, False, 2, None, _rprop_update),
    Rule("asgd", "ASGD", {}, False, 1, None, _asgd_update),
)  # fmt: skip
