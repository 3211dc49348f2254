"""Dropout and batch normalisation with their own forward and backward, under the textbook's names."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn.classic.arrays import FLOAT32, FLOAT64, as_dtype, as_floats, number, random_state, real_array, whole
from fastnn.kernels.norm.batch_norm import batch_norm_backward, batch_norm_forward
from fastnn.kernels.runtime import allocation


class Dropout:
    """Inverted dropout: training zeroes each number with probability ``drop_rate`` and scales up the rest.

    ``out = x * mask / (1 - drop_rate)`` with a ``mask`` of 0 and 1, so the expected output is ``x``;
    in evaluation ``out = x``. (N. Srivastava et al., JMLR 15, 2014.)

    Args:
        drop_rate: in [0, 1]; at 1 everything is zeroed.
        seed: the seed of the masks; None draws from ``np.random``, which ``np.random.seed`` seeds. The masks
            equal ``np.random.binomial(1, 1 - drop_rate, size)`` with the same seed.

    ``mask`` is the int8 mask of the last forward in training, or None.

    >>> import numpy as np
    >>> from fastnn.classic import Dropout
    >>> dropout = Dropout(0.5, seed=0)
    >>> out = dropout.forward(np.ones(1000))
    >>> sorted(set(out.tolist())), bool((dropout.backward(np.ones(1000)) == out).all())
    ([0.0, 2.0], True)
    """

    def __init__(self, drop_rate: float = 0.5, *, seed: int | None = None) -> None:
        self.drop_rate = number("drop_rate", drop_rate, least=0, most=1)
        self.mask: np.ndarray | None = None
        self._random = None if seed is None else random_state(seed)

    def forward(self, x: Any, training: bool = True) -> Any:
        """The masked and scaled numbers; ``x`` itself in evaluation.

        Args:
            x: array of any shape; float32 stays float32, integers become float64.

        Raises: TypeError unless the values are real numbers.
        """
        if not training:
            return x
        a = _floats("x", x)
        rate = number("drop_rate", self.drop_rate, least=0, most=1)
        self.mask = _binomial(self._random or random_state(None), 1 - rate, a.shape)
        return _masked(a, self.mask, rate)

    def backward(self, grad: Any) -> Any:
        """The gradient of the last forward in training: the same product with the same mask.

        Raises: RuntimeError before a forward in training, ValueError for a shape other than its input's.
        """
        if self.mask is None:
            raise RuntimeError("backward needs the mask of a forward with training=True, and there was none")
        g = _floats("grad", grad)
        if g.shape != self.mask.shape:
            raise ValueError(f"grad must have shape {self.mask.shape}, found {g.shape}")
        return _masked(g, self.mask, number("drop_rate", self.drop_rate, least=0, most=1))


def _floats(name: str, x: Any) -> np.ndarray:
    a, result = as_floats(name, x)
    # as_floats converts integers like np.exp; multiplied by a factor they become float64.
    return a if real_array(name, x).dtype.kind == "f" and a.dtype == result else as_dtype(name, x, FLOAT64)


def _binomial(random: Any, keep: float, shape: tuple[int, ...]) -> np.ndarray:
    """``random.binomial(1, keep, shape)`` as int8, in a tenth of the time.

    NumPy inverts the distribution function of the rarer outcome, with one uniform number per draw, and
    guarantees that this generator's numbers never change.
    """
    uniform = random.random_sample(shape)
    kept = uniform > 1 - keep if keep <= 0.5 else uniform <= keep
    return kept.view(np.int8) if kept.ndim else np.asarray(kept).view(np.int8)


def _masked(a: np.ndarray, mask: np.ndarray, rate: float) -> Any:
    # A product, not a selection: NaN stays NaN, and 0 times infinity becomes NaN.
    with np.errstate(invalid="ignore"):
        out = np.multiply(a, mask, dtype=a.dtype)
    if rate < 1:
        out /= a.dtype.type(1 - rate)
    return out


class BatchNorm:
    """Batch normalisation over the rows of a matrix (S. Ioffe and C. Szegedy, arXiv:1502.03167).

    ``out = gamma * (x - mean) / sqrt(var + epsilon) + beta``, column by column. Training uses the ``mean``
    and ``var`` of ``x`` and updates the running ones: ``running = (1 - momentum) * running + momentum *
    new``; evaluation uses the running ones. Both use the biased variance (divided by the number of rows);
    PyTorch's running variance is unbiased.

    Args:
        num_features: the number of columns.
        epsilon: added to the variance, at least 0.
        momentum: the weight of the new statistics, in [0, 1].
        dtype: the dtype of all attributes, float64 or float32.

    Attributes: ``gamma``, ``beta``, ``running_mean``, ``running_var``, all (num_features,); after
    ``backward`` their gradients ``dgamma`` and ``dbeta``.

    >>> import numpy as np
    >>> from fastnn.classic import BatchNorm
    >>> norm = BatchNorm(1, epsilon=0)
    >>> norm.forward(np.array([[1.0], [3.0]])), norm.running_mean, norm.running_var
    (array([[-1.],
           [ 1.]]), array([0.2]), array([1.]))
    """

    def __init__(
        self, num_features: int, epsilon: float = 1e-5, momentum: float = 0.1, *, dtype: npt.DTypeLike = np.float64
    ) -> None:
        num_features = whole("num_features", num_features, 1)
        dtype = float_dtype(dtype)
        self.gamma, self.beta = np.ones(num_features, dtype), np.zeros(num_features, dtype)
        self.epsilon = number("epsilon", epsilon, least=0)
        self.momentum = number("momentum", momentum, least=0, most=1)
        self.running_mean, self.running_var = np.zeros(num_features, dtype), np.ones(num_features, dtype)
        self.dgamma: np.ndarray | None = None
        self.dbeta: np.ndarray | None = None
        # The input of the last forward in training, and the values that the kernel saved.
        self._last: tuple[np.ndarray, np.ndarray] | None = None

    def forward(self, x: Any, training: bool = True) -> np.ndarray:
        """The normalised rows.

        Args:
            x: (rows, num_features). A single row equals its mean and gives ``beta``; an empty matrix does not
                change the running statistics.

        Returns: an array of the shape of ``x``, in NumPy's common dtype of ``x`` and ``gamma``.

        Raises: ValueError for a wrong shape, TypeError unless the values are real numbers; nothing is changed then.
        """
        x = real_array("x", x)
        columns = np.shape(self.gamma)
        if x.ndim != 2 or x.shape[1:] != columns:
            raise ValueError(f"x must have shape (rows, {', '.join(map(str, columns))}), found {x.shape}")
        dtype = FLOAT32 if np.result_type(x, self.gamma) == FLOAT32 else FLOAT64
        # A copy: the backward needs the current values of x.
        x = np.array(x, dtype, order="C") if training else as_dtype("x", x, dtype)
        gamma, beta, running_mean, running_var = (
            self._column(name, dtype) for name in ("gamma", "beta", "running_mean", "running_var")
        )
        epsilon, momentum = number("epsilon", self.epsilon, least=0), number("momentum", self.momentum)
        out, saved = allocation.empty(x.shape, dtype), allocation.empty((5, x.shape[1]), dtype)
        rows = len(x)
        if not training:
            batch_norm_forward(out, saved, x, gamma, beta, running_mean, running_var, training=False, eps=epsilon)
            return out
        mean, var = np.zeros(columns, dtype), np.zeros(columns, dtype)
        if rows > 1:
            # With a momentum of 1 the running statistics are the new ones, with the unbiased variance.
            batch_norm_forward(out, saved, x, gamma, beta, mean, var, momentum=1.0, eps=epsilon)
            var *= dtype.type((rows - 1) / rows)
        elif rows:
            mean[...] = x[0]
            batch_norm_forward(out, saved, x, gamma, beta, mean, var, training=False, eps=epsilon)
        if rows:
            self.running_mean = (1 - momentum) * running_mean + momentum * mean
            self.running_var = (1 - momentum) * running_var + momentum * var
        self._last = x, saved
        return out

    def backward(self, grad: Any) -> np.ndarray:
        """The gradient for ``x`` of the last forward in training; sets ``dgamma`` and ``dbeta``.

        With xhat the normalised rows: ``dbeta = sum(grad)``, ``dgamma = sum(grad * xhat)`` and
        ``dx = gamma / sqrt(var + epsilon) * (grad - (dbeta + xhat * dgamma) / rows)``.

        Args:
            grad: (rows, num_features), like the output of that forward.

        Raises: RuntimeError before a forward in training, ValueError for a wrong shape.
        """
        if self._last is None:
            raise RuntimeError("backward needs a forward with training=True, and there was none")
        x, saved = self._last
        grad = real_array("grad", grad)
        if grad.shape != x.shape:
            raise ValueError(f"grad must have shape {x.shape}, found {grad.shape}")
        dx, dgamma, dbeta = allocation.empty_like(x), np.zeros(x.shape[1], x.dtype), np.zeros(x.shape[1], x.dtype)
        if len(x):
            batch_norm_backward(dx, dgamma, dbeta, as_dtype("grad", grad, x.dtype), x, saved)
        self.dgamma, self.dbeta = dgamma, dbeta
        return dx

    def _column(self, name: str, dtype: np.dtype) -> np.ndarray:
        """An attribute converted to the form kernels require."""
        a, shape = as_dtype(name, getattr(self, name), dtype), np.shape(self.gamma)
        if a.shape != shape:
            raise ValueError(f"{name} must have shape {shape} as gamma has, found {a.shape}")
        return a


def float_dtype(dtype: npt.DTypeLike) -> np.dtype:
    """float32 or float64 as a NumPy dtype; TypeError for any other."""
    found = np.dtype(dtype)
    if found not in (FLOAT32, FLOAT64):
        raise TypeError(f"dtype must be float32 or float64, found {found}")
    return found
