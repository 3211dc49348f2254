"""Reference optimizers, like ``naive``: plain, slow and obvious, in float64 NumPy.

Each function takes parameters, gradients and state of any dtype and returns the next parameters and state.
"""

from __future__ import annotations

import numpy as np


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
