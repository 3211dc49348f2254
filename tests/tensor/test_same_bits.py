"""Random programs give the same bits, versions and errors whether NumPy's loops are called directly or by NumPy."""

from __future__ import annotations

import functools
import gc
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import fastnn
from fastnn.kernels.runtime import direct_loops
from fastnn.kernels.runtime.direct_loops import Direct

PROGRAMS, STEPS = 2000, 14
SHAPES = [(), (1,), (4,), (3, 4), (3, 1), (1, 4), (2, 3, 4), (5,), (0, 4)]
NUMBERS = (0.5, -2, 3, 1e-8, 1e30, 0, float("inf"), True)


@functools.cache
def _found() -> list[Any]:
    """Everything that calls loops directly."""
    found = [o for o in gc.get_objects() if type(o) in (Direct, direct_loops._AtFirstCall)]
    assert len(found) > 20
    return found


@contextmanager
def by_numpy() -> Iterator[None]:
    """A block in which no loop is called directly."""
    before = [(o, o.call) for o in _found()]
    try:
        for o, _ in before:
            o.call = direct_loops._ask_numpy
        yield
    finally:
        for o, call in before:
            o.call = call


def arithmetic(rng: random.Random) -> Callable[..., Any]:
    name = rng.choice(["add", "sub", "mul", "div", "add_", "sub_", "mul_", "div_", "eq", "lt", "ge", "ne", "maximum"])
    is_number, number, reflected = rng.random() < 0.4, rng.choice(NUMBERS), rng.random() < 0.3

    def run(a: Any, b: Any, c: Any) -> Any:
        if is_number and reflected and name in ("add", "sub", "mul", "div"):
            return {"add": number + a, "sub": number - a, "mul": number * a, "div": number / a}[name]
        return getattr(a, name)(number if is_number and name != "maximum" else b)

    return run


def function(rng: random.Random) -> Callable[..., Any]:
    name = rng.choice([
        "exp", "log", "sqrt", "tanh", "sigmoid", "relu", "neg", "abs", "sin", "cos", "square", "reciprocal", "log1p",
        "rsqrt", "exp_", "sqrt_", "neg_", "abs_", "tanh_",
    ])  # fmt: skip
    return lambda a, b, c: getattr(a, name)()


def reduction(rng: random.Random) -> Callable[..., Any]:
    name, dim, keep = rng.choice(["sum", "mean"]), rng.choice([None, 0, -1, (0, 1), (-2, -1)]), rng.random() < 0.5
    return lambda a, b, c: getattr(a, name)() if dim is None else getattr(a, name)(dim, keepdim=keep)


def other(rng: random.Random) -> Callable[..., Any]:
    scale = rng.choice([1, 0.1, 2])
    return rng.choice([
        lambda a, b, c: fastnn.where(a > b, a, c), lambda a, b, c: a.masked_fill(b > 0, 0.5),
        lambda a, b, c: a.clamp(min=0), lambda a, b, c: a.clamp(-1, 1), lambda a, b, c: a**2, lambda a, b, c: a**3,
        lambda a, b, c: a.add(b, alpha=scale), lambda a, b, c: a.add_(b, alpha=scale),
        lambda a, b, c: a.sub_(b, alpha=scale), lambda a, b, c: a.addcmul_(b, c, value=scale),
        lambda a, b, c: a.addcdiv_(b, c, value=scale), lambda a, b, c: fastnn.addcmul(a, b, c, value=scale),
        lambda a, b, c: fastnn.lerp(a, b, 0.3), lambda a, b, c: a @ b, lambda a, b, c: a @ b.transpose(-1, -2),
        lambda a, b, c: a.t(), lambda a, b, c: a[0], lambda a, b, c: a[..., 1:], lambda a, b, c: a.detach(),
        lambda a, b, c: a.reshape(-1), lambda a, b, c: a.expand(3, 4), lambda a, b, c: a.double(),
        lambda a, b, c: a.half(), lambda a, b, c: a.long(), lambda a, b, c: fastnn.stack([a, b], -1),
        lambda a, b, c: fastnn.cat([a, c]), lambda a, b, c: a.softmax(-1), lambda a, b, c: a.std(),
    ])  # fmt: skip


def program(seed: int) -> list[Any]:
    """All that can be seen of a random program."""
    rng = random.Random(seed)
    arrays = np.random.default_rng(seed)
    pool: list[Any] = []
    for _ in range(5):
        values = arrays.normal(0, 2, rng.choice(SHAPES)).astype(rng.choice(["f", "f", "f", "d"]))
        pool.append(fastnn.tensor(values, requires_grad=rng.random() < 0.5))
    leaves = list(pool)
    seen: list[Any] = []
    for _ in range(STEPS):
        step = rng.choice([arithmetic, arithmetic, function, reduction, other])(rng)
        operands = [rng.choice(pool) for _ in range(3)]
        recorded = rng.random() < 0.8
        try:
            with fastnn.set_grad_enabled(recorded):
                result = step(*operands)
        except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError) as error:
            seen.append((type(error), str(error)))
            continue
        pool.append(result)
        seen += [state(t) for t in (result, *operands)]
    roots = [t for t in pool if t.requires_grad and t.grad_fn is not None and t.dtype.is_floating_point]
    try:
        if roots:
            fastnn.autograd.backward(roots[-3:], [fastnn.ones_like(t) for t in roots[-3:]])
    except RuntimeError as error:
        seen.append(str(error))
    return seen + [None if t._grad is None else state(t._grad) for t in leaves]


def state(t: Any) -> tuple[Any, ...]:
    """A tensor's numbers, with one NaN for all of them: NumPy's depend on the order of operands."""
    array = np.array(t.detach().numpy())
    if array.dtype.kind == "f":
        array[np.isnan(array)] = np.nan
    name = None if t.grad_fn is None else t.grad_fn.name()
    return array.dtype.str, array.shape, array.tobytes(), t._version, t.requires_grad, name


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", range(10))
def test_random_programs(part: int) -> None:
    for seed in range(part * PROGRAMS // 10, (part + 1) * PROGRAMS // 10):
        with np.errstate(all="ignore"):
            found = program(seed)
            with by_numpy():
                expected = program(seed)
        assert found == expected, f"the program of seed {seed}"
