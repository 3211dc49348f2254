"""Training step and inference in NumPy, as an experienced user writes them.

Parameters and gradients are views of flat arrays, so that Adam is one pass; products write into
existing arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.registry import Case, Inputs, Job
from benchmarks.work import mlp
from benchmarks.work.batch_norm import EPS, MOMENTUM
from benchmarks.work.update_rules import adam_update


class _Flat:
    """A flat array and views of it in the shapes of a list of arrays."""

    def __init__(self, like: list[np.ndarray]) -> None:
        self.array = np.zeros(sum(a.size for a in like), np.float32)
        ends = np.cumsum([a.size for a in like])
        self.views = [
            self.array[end - a.size : end].reshape(a.shape) for a, end in zip(like, ends, strict=True)
        ]  # fmt: skip


def training_step(inputs: Inputs, case: Case) -> Job:
    """One step of Adam on the model of the case."""
    model = mlp.MODELS[case["model"]]
    hidden = model.widths[1:-1]
    start = [array for layer in mlp.layers(inputs) for array in layer]
    if model.regularized:
        start += [array for n in hidden for array in (np.ones(n, np.float32), np.zeros(n, np.float32))]
    p, g = _Flat(start), _Flat(start)
    for view, array in zip(p.views, start, strict=True):
        view[...] = array
    moment, second_moment, scratch = (np.zeros_like(p.array) for _ in range(3))
    count = len(model.widths) - 1
    norm_p, norm_g = p.views[2 * count :], g.views[2 * count :]
    running = [[np.zeros(n, np.float32), np.ones(n, np.float32)] for n in hidden]
    batch, keep = case["batch"], np.float32(1 - case["dropout"])
    outs = [np.empty((batch, n), np.float32) for n in model.widths[1:]]
    random, rows, pairs = np.random.default_rng(0), np.arange(batch), mlp.batches(inputs, lambda a: a)
    steps = 0

    def normalize(z: np.ndarray, i: int) -> tuple[Any, ...]:
        mean = z.mean(0)
        z -= mean
        var = np.einsum("ij,ij->j", z, z) / np.float32(batch)
        running[i][0] += np.float32(MOMENTUM) * (mean - running[i][0])
        running[i][1] += np.float32(MOMENTUM) * (var * np.float32(batch / (batch - 1)) - running[i][1])
        inverse = 1 / np.sqrt(var + np.float32(EPS))
        z *= inverse
        out = z * norm_p[2 * i]
        out += norm_p[2 * i + 1]
        mask = out > 0
        if keep < 1:
            mask &= random.random(z.shape, dtype=np.float32) < keep
        out *= mask
        out /= keep
        return out, mask, z, inverse

    def normalize_backward(d: np.ndarray, i: int, mask: Any, xhat: Any, inverse: Any) -> None:
        d *= mask
        d /= keep
        dweight, dbias = norm_g[2 * i], norm_g[2 * i + 1]
        np.sum(d, 0, out=dbias)
        np.einsum("ij,ij->j", d, xhat, out=dweight)
        d -= dbias / np.float32(batch)
        d -= xhat * (dweight / np.float32(batch))
        d *= norm_p[2 * i] * inverse

    def run() -> np.ndarray:
        nonlocal steps
        steps += 1
        x, y = next(pairs)
        values, kept = [x], []
        for i in range(count):
            z = np.matmul(values[-1], p.views[2 * i], out=outs[i])
            z += p.views[2 * i + 1]
            if i < count - 1:
                if model.regularized:
                    z, *rest = normalize(z, i)
                    kept.append(rest)
                else:
                    np.maximum(z, 0, out=z)
            values.append(z)
        d = values.pop()
        d -= d.max(1, keepdims=True)
        picked = d[rows, y]
        np.exp(d, out=d)
        sums = d.sum(1)
        loss = (np.log(sums) - picked).mean()
        d /= sums[:, None]
        d[rows, y] -= 1
        d /= np.float32(batch)
        for i in reversed(range(count)):
            np.matmul(values[i].T, d, out=g.views[2 * i])
            np.sum(d, 0, out=g.views[2 * i + 1])
            if i:
                d = d @ p.views[2 * i].T
                if model.regularized:
                    normalize_backward(d, i - 1, *kept[i - 1])
                else:
                    d *= values[i] > 0
        adam_update(p.array, g.array, moment, second_moment, steps, scratch)
        return loss

    return Job(run)


def inference(inputs: Inputs, case: Case) -> Job:
    """Logits of the model of the case."""
    x, layers = inputs["x"], mlp.layers(inputs)
    outs = [np.empty((len(x), len(bias)), np.float32) for _, bias in layers]

    def run() -> np.ndarray:
        h = x
        for i, (weight, bias) in enumerate(layers):
            h = np.matmul(h, weight, out=outs[i])
            h += bias
            if i < len(layers) - 1:
                np.maximum(h, 0, out=h)
        return h

    return Job(run, read=lambda logits: [logits - logits.max(1, keepdims=True)])
