"""Softmax cross-entropy, mean over the batch: the loss and the gradient of the logits."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.registry import Case, Inputs, Job, Work
from benchmarks.work import labels, numbers

SHAPES = ((64, 10), (512, 10), (512, 1000), (4096, 1000))


def _case(batch: int, classes: int) -> Case:
    # An exponential counts as about ten operations; the logits are read and the gradient is written.
    size = batch * classes
    return Case(f"{batch}x{classes}", {"batch": batch, "classes": classes}, flops=16.0 * size, bytes=8.0 * size)


def _inputs(case: Case) -> Inputs:
    batch, classes = case["batch"], case["classes"]
    return {"logits": 3 * numbers(1, batch, classes), "labels": labels(2, classes, batch)}


def _fastnn(inputs: Inputs, case: Case) -> Job:
    import fastnn

    logits = fastnn.from_numpy(inputs["logits"]).requires_grad_()
    target, cross_entropy = fastnn.from_numpy(inputs["labels"]), fastnn.nn.functional.cross_entropy

    def run() -> tuple[Any, Any]:
        logits.grad = None
        loss = cross_entropy(logits, target)
        loss.backward()
        return loss, logits.grad

    return Job(run, read=lambda result: [result[0].detach().numpy().copy(), result[1].numpy().copy()])


def _numpy(inputs: Inputs, case: Case) -> Job:
    logits, target = inputs["logits"], inputs["labels"]
    rows = np.arange(case["batch"])

    def run() -> tuple[np.ndarray, np.ndarray]:
        shifted = logits - logits.max(1, keepdims=True)
        picked = shifted[rows, target]
        gradient = np.exp(shifted, out=shifted)
        sums = gradient.sum(1)
        loss = (np.log(sums) - picked).mean()
        gradient /= sums[:, None]
        gradient[rows, target] -= 1
        gradient /= len(rows)
        return loss, gradient

    return Job(run)


def _torch(inputs: Inputs, case: Case) -> Job:
    import torch

    logits = torch.tensor(inputs["logits"]).requires_grad_()
    target, cross_entropy = torch.tensor(inputs["labels"]), torch.nn.functional.cross_entropy

    def run() -> tuple[Any, Any]:
        logits.grad = None
        loss = cross_entropy(logits, target)
        loss.backward()
        return loss, logits.grad

    return Job(run, read=lambda result: [result[0].detach().numpy(), result[1].numpy().copy()])


def _jax(inputs: Inputs, case: Case) -> Job:
    import jax
    import optax

    def loss(logits, target):
        return optax.softmax_cross_entropy_with_integer_labels(logits, target).mean()

    both = jax.jit(jax.value_and_grad(loss))
    logits, target = jax.numpy.asarray(inputs["logits"]), jax.numpy.asarray(inputs["labels"])
    return Job(lambda: both(logits, target), wait=jax.block_until_ready)


WORKS = (
    Work(
        "softmax_cross_entropy", tuple(_case(*shape) for shape in SHAPES), _inputs, tolerance=2e-6, limit="copy",
        setups={"fastnn": _fastnn, "numpy": _numpy, "torch": _torch, "jax": _jax},
        extras=("numpy",),
    ),
)  # fmt: skip
