"""BatchNorm, ReLU and Dropout 0.3 in sequence, forward and backward, in training mode.

Results are compared without dropout, whose random numbers differ by library: the output, the three
gradients and both running statistics.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.registry import Case, Inputs, Job, Work
from benchmarks.work import need, numbers

SHAPES = ((64, 256), (512, 256), (512, 1024), (4096, 1024))
MOMENTUM, EPS = 0.1, 1e-5


def _case(batch: int, features: int) -> Case:
    # Forward: x in, output out. Backward: the gradient and x in, the gradient out.
    size = batch * features
    return Case(
        f"{batch}x{features}", {"batch": batch, "features": features, "dropout": 0.3}, flops=25.0 * size,
        bytes=20.0 * size,
    )  # fmt: skip


def _inputs(case: Case) -> Inputs:
    batch, features = case["batch"], case["features"]
    return {
        "x": 2 * numbers(1, batch, features) + 1,
        "dout": numbers(2, batch, features),
        "weight": 1 + numbers(3, features) / 4,
        "bias": numbers(4, features),
    }


def _module_job(library: Any, inputs: Inputs, case: Case) -> Job:
    """The same lines for fastnn and PyTorch, which share their names."""
    nn, tensor = library.nn, library.from_numpy
    norm = nn.BatchNorm1d(case["features"], eps=EPS, momentum=MOMENTUM)
    norm.weight.data, norm.bias.data = tensor(inputs["weight"]), tensor(inputs["bias"])
    model = nn.Sequential(norm, nn.ReLU(), nn.Dropout(case["dropout"]))
    x, dout = tensor(inputs["x"]).requires_grad_(), tensor(inputs["dout"])

    def run() -> tuple[Any, ...]:
        x.grad = norm.weight.grad = norm.bias.grad = None
        out = model(x)
        out.backward(dout)
        return out, x.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var

    return Job(run, read=lambda result: [np.array(part.detach().numpy()) for part in result])


def _fastnn(inputs: Inputs, case: Case) -> Job:
    import fastnn

    need(fastnn.nn, "BatchNorm1d", "Dropout")
    return _module_job(fastnn, inputs, case)


def _torch(inputs: Inputs, case: Case) -> Job:
    import torch

    return _module_job(torch, inputs, case)


def _numpy(inputs: Inputs, case: Case) -> Job:
    x, dout, weight, bias = (inputs[name] for name in ("x", "dout", "weight", "bias"))
    batch, features = x.shape
    mean_, var_ = np.zeros(features, np.float32), np.ones(features, np.float32)
    keep = np.float32(1 - case["dropout"])
    random = np.random.default_rng(0)

    def run() -> tuple[np.ndarray, ...]:
        mean = x.mean(0)
        xhat = x - mean
        var = np.einsum("ij,ij->j", xhat, xhat) / np.float32(batch)
        inverse = 1 / np.sqrt(var + np.float32(EPS))
        xhat *= inverse
        mean_[...] += np.float32(MOMENTUM) * (mean - mean_)
        var_[...] += np.float32(MOMENTUM) * (var * np.float32(batch / (batch - 1)) - var_)
        out = xhat * weight
        out += bias
        mask = out > 0
        if keep < 1:
            mask &= random.random(x.shape, dtype=np.float32) < keep
        out *= mask
        out /= keep
        dz = dout * mask
        dz /= keep
        dbias, dweight = dz.sum(0), np.einsum("ij,ij->j", dz, xhat)
        dz -= dbias / np.float32(batch)
        xhat_part = xhat * (dweight / np.float32(batch))
        dz -= xhat_part
        dz *= weight * inverse
        return out, dz, dweight, dbias, mean_, var_

    return Job(run)


def jax_norm(x: Any, weight: Any, bias: Any, mean_: Any, var_: Any) -> tuple[Any, Any, Any]:
    """Normalized batch and the new running statistics, for jitted functions."""
    from jax import numpy as jnp

    mean, var = x.mean(0), x.var(0)
    out = (x - mean) * (weight / jnp.sqrt(var + EPS)) + bias
    batch = x.shape[0]
    return out, mean_ + MOMENTUM * (mean - mean_), var_ + MOMENTUM * (var * (batch / (batch - 1)) - var_)


def jax_dropout(key: Any, x: Any, p: float) -> Any:
    """Dropout for jitted functions, with JAX's usual random numbers (the others were measured slower)."""
    import jax

    return jax.numpy.where(jax.random.bernoulli(key, 1 - p, x.shape), x / (1 - p), 0) if p else x


def _jax(inputs: Inputs, case: Case) -> Job:
    import jax
    from jax import numpy as jnp

    x, dout, weight, bias = (jnp.asarray(inputs[name]) for name in ("x", "dout", "weight", "bias"))
    mean_, var_, steps = jnp.zeros(x.shape[1]), jnp.ones(x.shape[1]), 0
    key = jax.random.key(0)

    @jax.jit
    def both(x, weight, bias, mean_, var_, dout, step):
        def forward(x, weight, bias):
            out, new_mean, new_var = jax_norm(x, weight, bias, mean_, var_)
            out = jax_dropout(jax.random.fold_in(key, step), jax.nn.relu(out), case["dropout"])
            return out, (new_mean, new_var)

        out, pull_back, (new_mean, new_var) = jax.vjp(forward, x, weight, bias, has_aux=True)
        return out, *pull_back(dout), new_mean, new_var

    def run() -> Any:
        nonlocal mean_, var_, steps
        steps += 1
        result = both(x, weight, bias, mean_, var_, dout, steps)
        mean_, var_ = result[-2:]
        return result

    return Job(run, wait=jax.block_until_ready)


WORKS = (
    Work(
        "batch_norm_relu_dropout", tuple(_case(*shape) for shape in SHAPES), _inputs, tolerance=1e-5, limit="copy",
        setups={"fastnn": _fastnn, "numpy": _numpy, "torch": _torch, "jax": _jax},
        check_calls=2, check_sizes={"dropout": 0.0}, extras=("numpy",),
    ),
)  # fmt: skip
