"""Training step and inference in JAX: one jitted step with optax, old parameters and state donated."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.registry import Case, Inputs, Job
from benchmarks.work import mlp
from benchmarks.work.batch_norm import jax_dropout, jax_norm


def _trained(inputs: Inputs, case: Case) -> tuple[Any, Callable[..., Any]]:
    """The first state, and one step of Adam: ``step(state, x, y, number)`` returns the next state and the loss."""
    import jax
    import optax
    from jax import numpy as jnp

    model = mlp.MODELS[case["model"]]
    hidden = model.widths[1:-1]
    activate = {"ReLU": jax.nn.relu, "Tanh": jnp.tanh}[model.activation]
    # Copies: the buffers donated below must not be NumPy's own memory.
    params: Any = {"linear": [(jnp.array(w), jnp.array(b)) for w, b in mlp.layers(inputs)]}
    running: Any = []
    if model.regularized:
        params["norm"] = [(jnp.ones(n), jnp.zeros(n)) for n in hidden]
        running = [(jnp.zeros(n), jnp.ones(n)) for n in hidden]
    optimizer = optax.adam(mlp.LR)
    state: Any = (params, optimizer.init(params), running)
    key = jax.random.key(0)

    def loss_of(params, running, x, y, step):
        new_running = []
        for i, (weight, bias) in enumerate(params["linear"]):
            x = x @ weight + bias
            if i == len(hidden):
                break
            if model.regularized:
                x, mean, var = jax_norm(x, *params["norm"][i], *running[i])
                new_running.append((mean, var))
            x = activate(x)
            if model.regularized:
                x = jax_dropout(jax.random.fold_in(jax.random.fold_in(key, step), i), x, case["dropout"])
        return optax.softmax_cross_entropy_with_integer_labels(x, y).mean(), new_running

    def step(state, x, y, number):
        params, moments, running = state
        (loss, running), grads = jax.value_and_grad(loss_of, has_aux=True)(params, running, x, y, number)
        updates, moments = optimizer.update(grads, moments, params)
        return (optax.apply_updates(params, updates), moments, running), loss

    return state, step


def training_step(inputs: Inputs, case: Case) -> Job:
    """One step of Adam on the model of the case."""
    import jax
    from jax import numpy as jnp

    state, function = _trained(inputs, case)
    step, steps = jax.jit(function, donate_argnums=0), 0
    pairs = mlp.batches(inputs, jnp.asarray)

    def run() -> Any:
        nonlocal state, steps
        steps += 1
        x, y = next(pairs)
        state, loss = step(state, x, y, steps)
        return loss

    return Job(run, wait=lambda loss: jax.block_until_ready((state, loss)))


def epoch(inputs: Inputs, case: Case) -> Job:
    """All steps of an epoch in one call, by ``lax.scan`` inside one ``jit``."""
    import jax
    from jax import numpy as jnp

    state, step = _trained(inputs, case)
    x, y = jnp.asarray(inputs["x"]), jnp.asarray(inputs["y"].astype(np.int32))
    orders = itertools.cycle([jnp.asarray(order.astype(np.int32)) for order in inputs["orders"]])

    @functools.partial(jax.jit, donate_argnums=0)
    def steps(state, order):
        return jax.lax.scan(lambda state, rows: step(state, x[rows], y[rows], 0), state, order)

    def run() -> Any:
        nonlocal state
        state, losses = steps(state, next(orders))
        return losses

    return Job(run, wait=lambda losses: jax.block_until_ready((state, losses)))


def inference(inputs: Inputs, case: Case) -> Job:
    """Logits of the model of the case."""
    import jax
    from jax import numpy as jnp

    params = [(jnp.asarray(weight), jnp.asarray(bias)) for weight, bias in mlp.layers(inputs)]
    x = jnp.asarray(inputs["x"])

    @jax.jit
    def logits(params, x):
        for weight, bias in params[:-1]:
            x = jax.nn.relu(x @ weight + bias)
        weight, bias = params[-1]
        return x @ weight + bias

    def read(result: Any) -> list[np.ndarray]:
        array = np.asarray(result)
        return [array - array.max(1, keepdims=True)]

    return Job(lambda: logits(params, x), read, jax.block_until_ready)
