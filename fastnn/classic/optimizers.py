"""Optimizers: new parameters from parameters and gradients, under the textbook's names.

Nothing is changed in place: ``update`` returns a new array and keeps its state in the optimizer.
Each array of parameters needs its own optimizer. Two float32 arrays give float32, everything else
float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn import kernels
from fastnn.classic.arrays import common_floats, number


def _pair(params: Any, grads: Any) -> tuple[np.ndarray, np.ndarray]:
    """A copy of the parameters, and the gradients."""
    p, g = common_floats(("params", params), ("grads", grads))
    return p.copy(), g


def _state(name: str, state: np.ndarray | None, p: np.ndarray) -> np.ndarray:
    """A copy of a state array in the dtype of the parameters, or zeros for the first update."""
    if state is None:
        return np.zeros(p.shape, p.dtype)
    if np.shape(state) != p.shape:
        raise ValueError(
            f"params must have the shape of the first update, {np.shape(state)}, found {p.shape}: "
            f"{name} belongs to one array of parameters"
        )
    return np.array(state, p.dtype, order="C")


def _result(p: np.ndarray) -> Any:
    return p if p.ndim else p[()]


def sgd_update(params: Any, grads: Any, learning_rate: float) -> Any:
    """Gradient descent: ``params - learning_rate * grads``.

    Args:
        params, grads: arrays of one shape.
        learning_rate: the size of the step.

    Raises: ValueError for different shapes, TypeError unless the values are real numbers.

    >>> import numpy as np
    >>> from fastnn.classic import sgd_update
    >>> sgd_update(np.array([1.0, 2.0]), np.array([0.5, -0.5]), 1.0)
    array([0.5, 2.5])
    """
    lr = number("learning_rate", learning_rate)
    p, g = _pair(params, grads)
    kernels.sgd(p.reshape(-1), g.reshape(-1), lr=lr)
    return _result(p)


class SGDMomentum:
    """Gradient descent with momentum: ``v = momentum * v - learning_rate * g``, then ``params + v``.

    The state is ``velocity``, None before the first update. (B. T. Polyak, USSR Computational
    Mathematics and Mathematical Physics 4, 1964.)

    Args:
        learning_rate: at least 0; ``lr`` may be changed between updates.
        momentum: the factor of the previous step.

    >>> import numpy as np
    >>> from fastnn.classic import SGDMomentum
    >>> optimizer = SGDMomentum(learning_rate=0.5)
    >>> optimizer.update(np.array([1.0]), np.array([1.0]))
    array([0.5])
    """

    def __init__(self, learning_rate: float = 0.01, momentum: float = 0.9) -> None:
        self.lr = number("learning_rate", learning_rate, least=0)
        self.momentum = number("momentum", momentum)
        self.velocity: np.ndarray | None = None

    def update(self, params: Any, grads: Any) -> Any:
        """The updated parameters.

        Args:
            params, grads: arrays of one shape, the same in every update.

        Raises: ValueError for a wrong shape, TypeError unless the values are real numbers.
        """
        p, g = _pair(params, grads)
        v = _state("velocity", self.velocity, p)
        lr, momentum = number("lr", self.lr), number("momentum", self.momentum)
        # The kernel's velocity accumulates gradients and is subtracted; this one accumulates steps and is added.
        step = np.multiply(g, -lr, dtype=p.dtype)
        kernels.sgd_momentum(p.reshape(-1), step.reshape(-1), v.reshape(-1), step=1, lr=-1.0, momentum=momentum)
        self.velocity = v
        return _result(p)


class Adam:
    """Adam (D. P. Kingma and J. Ba, arXiv:1412.6980).

    ``m = beta1 m + (1 - beta1) g``, ``v = beta2 v + (1 - beta2) g**2``, and the step is
    ``lr * m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + epsilon)`` with t counted from 1.

    Args:
        learning_rate: at least 0; ``lr`` may be changed between updates.
        beta1, beta2: in [0, 1).
        epsilon: at least 0.

    >>> import numpy as np
    >>> from fastnn.classic import Adam
    >>> Adam(learning_rate=0.5).update(np.array([1.0]), np.array([3.0])).round(6)
    array([0.5])
    """

    def __init__(
        self, learning_rate: float = 0.001, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8
    ) -> None:
        self.lr = number("learning_rate", learning_rate, least=0)
        self.beta1, self.beta2 = number("beta1", beta1), number("beta2", beta2)
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), found {getattr(self, name)}")
        self.epsilon = number("epsilon", epsilon, least=0)
        self.m: np.ndarray | None = None
        self.v: np.ndarray | None = None
        self.t = 0

    def update(self, params: Any, grads: Any) -> Any:
        """The updated parameters.

        Args:
            params, grads: arrays of one shape, the same in every update.

        Raises: ValueError for a wrong shape, TypeError unless the values are real numbers.
        """
        p, g = _pair(params, grads)
        m, v = _state("m", self.m, p), _state("v", self.v, p)
        kernels.adam(
            p.reshape(-1), g.reshape(-1), m.reshape(-1), v.reshape(-1), step=self.t + 1,
            lr=number("lr", self.lr), betas=(self.beta1, self.beta2), eps=number("epsilon", self.epsilon),
        )  # fmt: skip
        self.m, self.v, self.t = m, v, self.t + 1
        return _result(p)
