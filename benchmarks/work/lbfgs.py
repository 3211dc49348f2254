"""One iteration of L-BFGS, with its loss and gradient: the only optimizer that calls a closure.

The loss is ``sum(h * p * p) / 2``. Steps are small and tolerances 0, so that the iteration never ends early. optax's
L-BFGS includes a line search and is therefore a different iteration.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.registry import Case, Inputs, Job, Setup, Work
from benchmarks.work import numbers

LR, HISTORY = 1e-3, 10


def _inputs(case: Case) -> Inputs:
    return {"p": numbers(1, case["size"]), "h": 1 + np.abs(numbers(2, case["size"]))}


def _like_torch(name: str) -> Setup:
    """fastnn and PyTorch, by the same lines."""

    def setup(inputs: Inputs, case: Case) -> Job:
        import importlib

        library = importlib.import_module(name)
        p, h = library.nn.Parameter(library.tensor(inputs["p"])), library.tensor(inputs["h"])
        optimizer = library.optim.LBFGS(
            [p], lr=LR, max_iter=1, history_size=HISTORY, tolerance_grad=0.0, tolerance_change=0.0
        )

        def closure() -> Any:
            optimizer.zero_grad()
            loss = (h * p * p).sum() / 2
            loss.backward()
            return loss

        return Job(lambda: optimizer.step(closure), read=lambda _: [p.detach().numpy().copy()])

    return setup


def _numpy(inputs: Inputs, case: Case) -> Job:
    p, h = inputs["p"], inputs["h"]
    pairs: list[tuple[np.ndarray, np.ndarray, Any]] = []
    before, moved, scale = np.zeros_like(p), np.zeros_like(p), 1.0

    def direction(g: np.ndarray) -> np.ndarray:
        d, kept = -g, []
        for y, s, ys in reversed(pairs):
            kept.append(s.dot(d) / ys)
            d -= kept[-1] * y
        d *= scale
        for (y, s, ys), a in zip(pairs, reversed(kept), strict=True):
            d += (a - y.dot(d) / ys) * s
        return d

    def run() -> np.ndarray:
        nonlocal before, moved, scale
        # The loss is part of the work, though it is not read.
        (h * p * p).sum()
        g, t = h * p, LR
        if moved.any():
            y = g - before
            ys = y.dot(moved)
            if ys > 1e-10:
                del pairs[: max(0, len(pairs) + 1 - HISTORY)]
                pairs.append((y, moved, ys))
                scale = ys / y.dot(y)
        else:
            t = LR * min(1.0, 1 / float(np.abs(g).sum()))
        moved = t * direction(g)
        before = g
        np.add(p, moved, out=p)
        return p

    return Job(run)


WORKS = (
    Work(
        "lbfgs",
        # Each pair of the history is read twice.
        tuple(
            Case(name, {"size": size}, flops=8.0 * HISTORY * size, bytes=16.0 * HISTORY * size, target=False)
            for name, size in (("1e4", 10**4), ("1e5", 10**5))
        ),
        _inputs, {"fastnn": _like_torch("fastnn"), "numpy": _numpy, "torch": _like_torch("torch")}, tolerance=1e-6,
        limit="copy", check_calls=15, chained=True,
    ),
)  # fmt: skip
