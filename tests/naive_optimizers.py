"""The table of optimizers, and their references, like ``naive``: plain, slow and obvious, in float64 NumPy.

Each function takes parameters, gradients and state of any dtype and returns the next parameters and state. A row of
``RULES`` is read by the tests of kernels and by ``cases_optim``.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnn import kernels


def _prepared(arrays, options):
    """Float64 copies; the gradient with its sign, factor and decay, and the parameters after decoupled decay."""
    p, g, *state = (None if a is None else np.asarray(a, np.float64) for a in arrays)
    scale = options.get("grad_scale")
    g = g if scale is None else g * scale[0]
    g = -g if options.get("maximize") else g
    decay = options.get("weight_decay", 0.0)
    if decay and options.get("decoupled"):
        p = p * (1 - options["lr"] * decay)
    elif decay:
        g = g + decay * p
    return p, g, *state


def sgd(*arrays, **options):
    p, g = _prepared(arrays, options)
    return (p - options["lr"] * g,)


def sgd_momentum(*arrays, step, lr, momentum, dampening=0.0, nesterov=False, **options):
    p, g, velocity = _prepared(arrays, options)
    velocity = momentum * velocity + (1 if step == 1 else 1 - dampening) * g
    return p - lr * (g + momentum * velocity if nesterov else velocity), velocity


def _moments(g, m, v, betas):
    return m + (1 - betas[0]) * (g - m), betas[1] * v + (1 - betas[1]) * g * g


def adam(*arrays, step, betas=(0.9, 0.999), eps=1e-8, **options):
    p, g, m, v, *largest = _prepared(arrays, options)
    m, v = _moments(g, m, v, betas)
    largest = [np.maximum(v_max, v) for v_max in largest]
    m_hat, v_hat = m / (1 - betas[0] ** step), (largest[0] if largest else v) / (1 - betas[1] ** step)
    return p - options["lr"] * m_hat / (np.sqrt(v_hat) + eps), m, v, *largest


def adamax(*arrays, step, betas=(0.9, 0.999), eps=1e-8, **options):
    p, g, m, u = _prepared(arrays, options)
    m, u = m + (1 - betas[0]) * (g - m), np.maximum(betas[1] * u, np.abs(g) + eps)
    return p - options["lr"] / (1 - betas[0] ** step) * m / u, m, u


def nadam(*arrays, step, mu_product, betas=(0.9, 0.999), eps=1e-8, momentum_decay=4e-3, **options):
    p, g, m, v = _prepared(arrays, options)
    m, v = _moments(g, m, v, betas)
    mu, mu_next = (betas[0] * (1 - 0.5 * 0.96 ** (t * momentum_decay)) for t in (step, step + 1))
    denominator = np.sqrt(v / (1 - betas[1] ** step)) + eps
    ahead = (1 - mu) / (1 - mu_product) * g + mu_next / (1 - mu_product * mu_next) * m
    return p - options["lr"] * ahead / denominator, m, v


def radam(*arrays, step, betas=(0.9, 0.999), eps=1e-8, **options):
    p, g, m, v = _prepared(arrays, options)
    m, v = _moments(g, m, v, betas)
    longest = 2 / (1 - betas[1]) - 1
    rho = longest - 2 * step * betas[1] ** step / (1 - betas[1] ** step)
    size = options["lr"] / (1 - betas[0] ** step) * m
    if rho > 5:
        rectification = ((rho - 4) * (rho - 2) * longest / ((longest - 4) * (longest - 2) * rho)) ** 0.5
        size = size * rectification * (1 - betas[1] ** step) ** 0.5 / (np.sqrt(v) + eps)
    return p - size, m, v


def adagrad(*arrays, step, lr_decay=0.0, eps=1e-10, **options):
    p, g, total = _prepared(arrays, options)
    total = total + g * g
    return p - options["lr"] / (1 + (step - 1) * lr_decay) * g / (np.sqrt(total) + eps), total


def adadelta(*arrays, rho=0.9, eps=1e-6, **options):
    p, g, s, d = _prepared(arrays, options)
    s = rho * s + (1 - rho) * g * g
    delta = np.sqrt(d + eps) / np.sqrt(s + eps) * g
    return p - options["lr"] * delta, s, rho * d + (1 - rho) * delta * delta


def rmsprop(*arrays, alpha=0.99, eps=1e-8, momentum=0.0, centered=False, **options):
    """State: squares, then momentum if any, then the mean gradient if centred."""
    p, g, s, *others = _prepared(arrays, options)
    s = alpha * s + (1 - alpha) * g * g
    variance = s
    if centered:
        others[-1] = others[-1] + (1 - alpha) * (g - others[-1])
        variance = np.maximum(s - others[-1] ** 2, 0)
    delta = g / (np.sqrt(variance) + eps)
    if len(others) > centered:
        delta = others[0] = momentum * others[0] + delta
    return p - options["lr"] * delta, s, *others


def rprop(*arrays, etas=(0.5, 1.2), step_sizes=(1e-6, 50.0), **options):
    p, g, previous, size = _prepared(arrays, options)
    product = g * previous
    change = np.select([product > 0, product < 0], [etas[1], etas[0]], 1.0)
    size = np.clip(size * change, *step_sizes)
    g = np.where(product < 0, 0, g)
    # NaN has no sign.
    return p - np.where(np.isnan(g), 0, np.sign(g)) * size, g, size


def asgd(*arrays, eta, mu, lambd=1e-4, **options):
    p, g, average = _prepared(arrays, options)
    p = p * (1 - lambd * eta) - eta * g
    return p, p if mu == 1 else average + mu * (p - average)


# -- The table -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rule:
    """An optimizer's rule.

    Args:
        name: in the tests of kernels.
        kernel: its name in ``fastnn.kernels``.
        reference: a function above.
        state: the kernel's arguments after the parameters and the gradients.
        options: of the kernel and the reference, several.
        cases: by name, the class in ``torch.optim`` and its options, for the comparison with PyTorch.
    """

    name: str
    kernel: str
    reference: Callable[..., tuple[np.ndarray, ...]]
    state: tuple[str, ...]
    options: list[dict[str, Any]]
    cases: dict[str, tuple[str, dict[str, Any]]]

    def run(self, parameters: np.ndarray, gradients: np.ndarray, *state: np.ndarray, **options: Any) -> Any:
        """Call the kernel."""
        kernel = getattr(kernels, self.kernel)
        return kernel(parameters, gradients, **dict(zip(self.state, state, strict=True)), **options)


def choices(**options: list[Any]) -> list[dict[str, Any]]:
    """Every combination of the options' values."""
    return [dict(zip(options, values, strict=True)) for values in itertools.product(*options.values())]


COMMON: dict[str, list[Any]] = {"weight_decay": [0.0, 0.3], "maximize": [False, True]}
STEPPED: dict[str, list[Any]] = {
    "lr": [0.01], "step": [1, 2, 1000], "betas": [(0.9, 0.999), (0.0, 0.0), (0.5, 0.9999)],
}  # fmt: skip
MIXED: list[dict[str, Any]] = [
    {"eps": 1e-8, "weight_decay": 0.0, "maximize": False}, {"eps": 1e-3, "weight_decay": 0.3, "maximize": True},
]  # fmt: skip
ADAM = [a | b for a in choices(**STEPPED) for b in MIXED]
DECOUPLED = [a | b | {"decoupled": True} for a in choices(**STEPPED) for b in MIXED]
RMSPROP = choices(lr=[0.1], alpha=[0.99, 0.5], eps=[1e-3], **COMMON)
RMSPROP_MOMENTUM = choices(lr=[0.1], alpha=[0.9], eps=[1e-3], momentum=[0.9], **COMMON)
SOME = {"weight_decay": 0.1, "maximize": True}
RULES = [
    Rule(
        "sgd", "sgd", sgd, (), choices(lr=[0.1, 0.0], **COMMON), {},
    ),
    Rule(
        "sgd_momentum", "sgd_momentum", sgd_momentum, ("velocity",),
        choices(lr=[0.1], step=[1, 2], momentum=[0.9, 0.0], dampening=[0.0, 0.4], nesterov=[False, True], **COMMON),
        {
            "sgd_all": ("SGD", {"lr": 0.1, "momentum": 0.8, "dampening": 0.5, **SOME}),
            "sgd_nesterov_all": ("SGD", {"lr": 0.1, "momentum": 0.8, "nesterov": True, **SOME}),
        },
    ),
    Rule(
        "adam", "adam", adam, ("exp_avg", "exp_avg_sq"), ADAM + DECOUPLED,
        {
            "adam_plain": ("Adam", {}),
            "adam_decoupled": ("Adam", {"lr": 0.02, "weight_decay": 0.2, "decoupled_weight_decay": True}),
            "adamw": ("AdamW", {}),
            "adamw_lr": ("AdamW", {"lr": 0.1, "weight_decay": 0.5}),
        },
    ),
    Rule(
        "amsgrad", "adam", adam, ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"), ADAM,
        {
            "adam_all": ("Adam", {"lr": 0.02, "betas": (0.8, 0.9), "eps": 1e-4, "amsgrad": True, **SOME}),
            "adamw_all": ("AdamW", {"lr": 0.02, "betas": (0.8, 0.9), "eps": 1e-4, "amsgrad": True, **SOME}),
        },
    ),
    Rule(
        "adamax", "adamax", adamax, ("exp_avg", "exp_inf"), ADAM,
        {
            "adamax": ("Adamax", {}),
            "adamax_decay": ("Adamax", {"lr": 0.1, "weight_decay": 0.3}),
            "adamax_all": ("Adamax", {"lr": 0.02, "betas": (0.8, 0.9), "eps": 1e-2, **SOME}),
        },
    ),
    Rule(
        "nadam", "nadam", nadam, ("exp_avg", "exp_avg_sq"),
        [o | {"mu_product": 0.9 ** o["step"], "momentum_decay": 0.1} for o in ADAM + DECOUPLED],
        {
            "nadam": ("NAdam", {}),
            "nadam_lr": ("NAdam", {"lr": 0.1, "momentum_decay": 0.2}),
            "nadam_all": ("NAdam", {"lr": 0.02, "betas": (0.8, 0.9), "eps": 1e-4, **SOME}),
            "nadam_decoupled": ("NAdam", {"lr": 0.02, "weight_decay": 0.3, "decoupled_weight_decay": True}),
        },
    ),
    Rule(
        "radam", "radam", radam, ("exp_avg", "exp_avg_sq"), ADAM + DECOUPLED,
        {
            "radam": ("RAdam", {}),
            "radam_lr": ("RAdam", {"lr": 0.1, "betas": (0.9, 0.99)}),
            "radam_never": ("RAdam", {"lr": 0.1, "betas": (0.5, 0.5)}),
            "radam_all": ("RAdam", {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-4, **SOME}),
            "radam_decoupled": ("RAdam", {"lr": 0.02, "weight_decay": 0.3, "decoupled_weight_decay": True}),
        },
    ),
    Rule(
        "adagrad", "adagrad", adagrad, ("sum_of_squares",),
        choices(lr=[0.1], step=[1, 5], lr_decay=[0.0, 0.2], eps=[1e-10, 1e-3], **COMMON),
        {
            "adagrad": ("Adagrad", {}),
            "adagrad_decay": ("Adagrad", {"lr": 0.1, "lr_decay": 0.2}),
            "adagrad_all": (
                "Adagrad", {"lr": 0.1, "lr_decay": 0.01, "initial_accumulator_value": 0.5, "eps": 1e-3, **SOME}
            ),
        },
    ),
    Rule(
        "adadelta", "adadelta", adadelta, ("square_avg", "acc_delta"),
        choices(lr=[1.0], rho=[0.9, 0.0], eps=[1e-6, 1e-2], **COMMON),
        {
            "adadelta": ("Adadelta", {}),
            "adadelta_all": ("Adadelta", {"lr": 0.7, "rho": 0.8, "eps": 1e-3, **SOME}),
        },
    ),
    Rule(
        "rmsprop", "rmsprop", rmsprop, ("square_avg",), RMSPROP,
        {"rmsprop": ("RMSprop", {})},
    ),
    Rule(
        "rmsprop_momentum", "rmsprop", rmsprop, ("square_avg", "momentum_buffer"), RMSPROP_MOMENTUM,
        {"rmsprop_momentum": ("RMSprop", {"momentum": 0.9})},
    ),
    Rule(
        "rmsprop_centered", "rmsprop", functools.partial(rmsprop, centered=True), ("square_avg", "grad_avg"), RMSPROP,
        {"rmsprop_centered": ("RMSprop", {"lr": 0.002, "alpha": 0.9, "centered": True})},
    ),
    Rule(
        "rmsprop_both", "rmsprop", functools.partial(rmsprop, centered=True),
        ("square_avg", "momentum_buffer", "grad_avg"), RMSPROP_MOMENTUM,
        {
            "rmsprop_all": (
                "RMSprop", {"lr": 0.02, "alpha": 0.9, "eps": 1e-3, "momentum": 0.5, "centered": True, **SOME}
            ),
        },
    ),
    Rule(
        "rprop", "rprop", rprop, ("previous", "step_size"),
        choices(etas=[(0.5, 1.2), (0.3, 2.0)], step_sizes=[(1e-6, 50.0), (0.2, 0.6)], maximize=[False, True]),
        {
            "rprop": ("Rprop", {}),
            "rprop_all": ("Rprop", {"lr": 0.1, "etas": (0.3, 1.7), "step_sizes": (0.01, 0.3), "maximize": True}),
        },
    ),
    Rule(
        "asgd", "asgd", asgd, ("average",),
        choices(eta=[0.1], mu=[1.0, 0.25], lambd=[1e-4, 0.2], **COMMON),
        {
            "asgd": ("ASGD", {}),
            "asgd_average": ("ASGD", {"lr": 0.1, "t0": 3, "lambd": 0.1}),
            "asgd_all": ("ASGD", {"lr": 0.1, "t0": 5, "lambd": 0.2, "alpha": 0.5, **SOME}),
        },
    ),
]  # fmt: skip
