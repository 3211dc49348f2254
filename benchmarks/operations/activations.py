"""The elementwise activations, for the table of operations: a row each, for the kernel, the functions and the layers.

``networks`` makes operations of the functions; the tests of kernels and layers read the rows themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import special

Numbers = np.ndarray


@dataclass(frozen=True)
class Activation:
    """An activation with an elementwise kernel.

    Args:
        name: the kernels' name.
        value: of (x, a, b, c), in float64.
        derivative: of (dy, x, a, b, c), times dy, and 0 where it is constant.
        functions: operations by name, of ``nn.functional`` and x.
        layers: cases by name: the layer, of ``nn``, and the roundings allowed.
        constants: those of the kernel in its tests; ``more`` are others.
        smooth: values or derivatives are differences of numbers around 1, which are rounded more often.
        magnitude: the magnitude that is rounded, of ``|x|``: the terms of a difference, or the exponent of a tail.
    """

    name: str
    value: Callable[..., Numbers]
    derivative: Callable[..., Numbers]
    functions: dict[str, Callable[[Any, Any], Any]]
    layers: dict[str, tuple[Callable[[Any], Any], float]] = field(default_factory=dict)
    constants: tuple[float, ...] = ()
    more: tuple[tuple[float, ...], ...] = ()
    smooth: bool = False
    magnitude: Callable[[Numbers], Numbers] = np.ones_like


_sigmoid = special.expit


def _softplus(x: Numbers) -> Numbers:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _tanh_softplus(x: Numbers) -> Numbers:
    return np.tanh(_softplus(x))


def _up_to_1(x: Numbers) -> Numbers:
    return np.minimum(1, x)


def _up_to_110(x: Numbers) -> Numbers:
    return np.minimum(1 + x, 110)


def _mish_backward(dy: Numbers, x: Numbers, a: float, b: float, c: float) -> Numbers:
    t = _tanh_softplus(x)
    return dy * (t + x * _sigmoid(x) * (1 - t * t))


ACTIVATIONS: list[Activation] = [
    Activation(
        "elu", lambda x, a, b, c: np.where(x <= 0, a * np.expm1(np.minimum(c * x, 700)), b * x),
        lambda dy, x, a, b, c: np.where(x <= 0, dy * c * a * np.exp(np.minimum(c * x, 700)), dy * b),
        {
            "elu": lambda F, x: F.elu(x), "elu_alpha": lambda F, x: F.elu(x, 0.3),
            "elu_inplace": lambda F, x: F.elu(x * 1, 0.5, inplace=True), "selu": lambda F, x: F.selu(x),
            "celu": lambda F, x: F.celu(x), "celu_alpha": lambda F, x: F.celu(x, alpha=2.0),
        },
        {
            "elu": (lambda nn: nn.ELU(), 8), "elu_alpha": (lambda nn: nn.ELU(0.3), 8),
            "elu_inplace": (lambda nn: nn.ELU(inplace=True), 8), "selu": (lambda nn: nn.SELU(), 8),
            "celu": (lambda nn: nn.CELU(2.0), 8),
        },
        constants=(0.7, 1.3, 0.5), more=((-1.0, 1.0, 1.0),), smooth=True, magnitude=_up_to_1,
    ),
    Activation(
        "hardshrink", lambda x, a, b, c: np.where(np.abs(x) <= a, 0, x),
        lambda dy, x, a, b, c: np.where(np.abs(x) > a, dy, 0),
        {"hardshrink": lambda F, x: F.hardshrink(x, 1.1)}, {"hardshrink": (lambda nn: nn.Hardshrink(0.3), 1)},
        constants=(0.5,),
    ),
    Activation(
        "hardsigmoid", lambda x, a, b, c: np.clip((x + 3) / 6, 0, 1),
        lambda dy, x, a, b, c: np.where((x > -3) & (x < 3), dy / 6, 0),
        {"hardsigmoid": lambda F, x: F.hardsigmoid(x)},
    ),
    Activation(
        "hardswish", lambda x, a, b, c: x * np.clip(x + 3, 0, 6) / 6,
        lambda dy, x, a, b, c: np.where(x <= -3, 0, np.where(x < 3, dy * (x / 3 + 0.5), dy)),
        {"hardswish": lambda F, x: F.hardswish(x)}, {"hardswish": (lambda nn: nn.Hardswish(), 4)},
    ),
    Activation(
        "hardtanh", lambda x, a, b, c: np.clip(x, a, b), lambda dy, x, a, b, c: np.where((x > a) & (x < b), dy, 0),
        {
            "hardtanh": lambda F, x: F.hardtanh(x, -1.2, 2.1),
            "hardtanh_inplace": lambda F, x: F.hardtanh_(x * 1, -1.2, 2.1), "relu6": lambda F, x: F.relu6(x),
        },
        {
            "hardtanh": (lambda nn: nn.Hardtanh(-0.7, 1.2), 1),
            "hardtanh_inplace": (lambda nn: nn.Hardtanh(-0.7, 1.2, inplace=True), 1),
            "relu6": (lambda nn: nn.ReLU6(), 1),
        },
        constants=(-1.25, 2.5), more=((0.0, 6.0),),
    ),
    Activation(
        "logsigmoid", lambda x, a, b, c: -_softplus(-x), lambda dy, x, a, b, c: dy * _sigmoid(-x),
        {"logsigmoid": lambda F, x: F.logsigmoid(x)}, {"logsigmoid": (lambda nn: nn.LogSigmoid(), 8)}, smooth=True,
    ),
    Activation(
        "mish", lambda x, a, b, c: x * _tanh_softplus(x), _mish_backward,
        {"mish": lambda F, x: F.mish(x)}, {"mish": (lambda nn: nn.Mish(), 8)}, smooth=True, magnitude=_up_to_110,
    ),
    Activation(
        "silu", lambda x, a, b, c: x * _sigmoid(x),
        lambda dy, x, a, b, c: dy * (_sigmoid(x) + x * _sigmoid(x) * _sigmoid(-x)),
        {"silu": lambda F, x: F.silu(x), "silu_inplace": lambda F, x: F.silu(x * 1, inplace=True)},
        # PyTorch's 1 - sigmoid(x) cancels, and is multiplied by x, up to 10 here.
        {"silu": (lambda nn: nn.SiLU(), 18)}, smooth=True, magnitude=_up_to_110,
    ),
    Activation(
        "softplus", lambda x, a, b, c: np.where(a * x > b, x, _softplus(a * x) / a),
        lambda dy, x, a, b, c: np.where(a * x > b, dy, dy * _sigmoid(a * x)),
        {"softplus": lambda F, x: F.softplus(x), "softplus_beta": lambda F, x: F.softplus(x, 3.0, 4.0)},
        {"softplus": (lambda nn: nn.Softplus(), 8), "softplus_beta": (lambda nn: nn.Softplus(0.5, 5.0), 8)},
        constants=(2.0, 15.0), smooth=True,
    ),
    Activation(
        "softshrink", lambda x, a, b, c: np.where(x > a, x - a, np.where(x < -a, x + a, 0 * x)),
        lambda dy, x, a, b, c: np.where(np.abs(x) > a, dy, 0),
        {"softshrink": lambda F, x: F.softshrink(x, 1.1)}, {"softshrink": (lambda nn: nn.Softshrink(0.3), 1)},
        constants=(0.75,),
    ),
    Activation(
        "softsign", lambda x, a, b, c: x / (1 + np.abs(x)),
        lambda dy, x, a, b, c: dy / (1 + np.abs(x)) ** 2 + 0 * x,
        {"softsign": lambda F, x: F.softsign(x)}, {"softsign": (lambda nn: nn.Softsign(), 4)},
    ),
    Activation(
        "tanhshrink", lambda x, a, b, c: x - np.tanh(x), lambda dy, x, a, b, c: dy * np.tanh(x) ** 2,
        {"tanhshrink": lambda F, x: F.tanhshrink(x)}, {"tanhshrink": (lambda nn: nn.Tanhshrink(), 8)},
        smooth=True, magnitude=_up_to_1,
    ),
    Activation(
        "threshold", lambda x, a, b, c: np.where(x <= a, b, x), lambda dy, x, a, b, c: np.where(x <= a, 0, dy),
        {"threshold": lambda F, x: F.threshold(x, 0.7, 20.0)}, {"threshold": (lambda nn: nn.Threshold(0.4, -3.0), 1)},
        constants=(0.3, -7.0),
    ),
]  # fmt: skip
