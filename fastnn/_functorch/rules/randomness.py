"""Rules of random operations."""

from __future__ import annotations

from typing import Any

from fastnn._functorch.batched import (
    RANDOM,
    Level,
    looped,
    refuse_random,
    wrapped,
)
from fastnn._functorch.rules.table import Args, Options, _argument, _outside, pointwise, rule
from fastnn._tensor.tensor import Tensor

_RANDOM = """alpha_dropout bernoulli bernoulli_ cauchy_ dropout dropout1d dropout2d dropout3d exponential_
feature_alpha_dropout binomial geometric_ gumbel_softmax log_normal_ multinomial normal normal_ poisson rand rand_like
randint randint_like randn randn_like randperm random_ rrelu rrelu_ uniform_"""
RANDOM.update(_RANDOM.split())
DROPOUTS = ("dropout", "alpha_dropout", "feature_alpha_dropout", "dropout1d", "dropout2d", "dropout3d")


def is_quiet(name: str, args: Args, kwargs: Options) -> bool:
    """Whether a dropout drops nothing."""
    default = "alpha" not in name
    return not _argument(args, kwargs, 2, "training", default) or _argument(args, kwargs, 1, "p", 0.5) == 0


@rule(*DROPOUTS)
def _dropout(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    x = args[0]
    if is_quiet(func.__name__, args, kwargs):
        return x
    if level.randomness == "error":
        refuse_random()
    if func.__name__ != "dropout":
        return looped(func, level, args, kwargs)
    p, inplace = _argument(args, kwargs, 1, "p", 0.5), _argument(args, kwargs, 3, "inplace", False)
    if level.randomness == "different":
        made = wrapped(_outside(level, func, x._value, p, True), level)
    else:
        made = x * _outside(level, func, x._value.select(0, 0).detach().new_ones(x.shape), p, True)
    return x.copy_(made) if inplace else made


@rule("rand_like", "randn_like", "randint_like")
def _random_like(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    if level.randomness == "error":
        refuse_random()
    x, *rest = args
    if level.randomness == "different":
        return wrapped(_outside(level, func, x._value, *rest, **kwargs), level)
    return _outside(level, func, x._value.select(0, 0), *rest, **kwargs)


@rule("uniform_", "normal_", "exponential_", "bernoulli_", "cauchy_", "log_normal_", "geometric_", "random_")
def _random_in_place(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    if level.randomness == "error":
        refuse_random()
    x, *rest = args
    if level.randomness == "same" or any(isinstance(a, Tensor) for a in rest):
        return looped(func, level, args, kwargs)
    _outside(level, func, x._value, *rest, **kwargs)
    return x


@rule("bernoulli", "binomial", "multinomial", "normal", "poisson", "gumbel_softmax", "rrelu", "rrelu_")
def _random_loop(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    if func.__name__.startswith("rrelu") and not _argument(args, kwargs, 3, "training", False):
        return pointwise(func, level, args, kwargs)
    return looped(func, level, args, kwargs)
