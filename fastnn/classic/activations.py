"""Activation functions and their derivatives on arrays of any shape, under the textbook's names.

Each takes numbers, lists or arrays, and ``out=``, an array for the result, like NumPy's functions.
float32 and float64 are kept, integers are converted as by ``np.exp`` (int64 to float64); float16 is
computed in float32. NaN stays NaN, also in the derivatives of ReLU.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn import kernels
from fastnn.classic.arrays import KERNEL_DTYPES, as_floats, finished, number, place_for, real_array


def _apply(kernel: Any, name: str, x: Any, out: np.ndarray | None, slope: float = 0.01) -> Any:
    a, result = as_floats("x", x)
    place = place_for(out, a, result)
    kernel(place, a, name, slope)
    return finished(place, out, result)


def sigmoid(x: Any, out: np.ndarray | None = None) -> Any:
    """The logistic function, ``1 / (1 + exp(-x))``: maps to (0, 1).

    Args:
        x: array of any shape.
        out: array of the shape of ``x`` that receives the result, or None for a new one.

    Raises: TypeError, ValueError unless ``x`` is an array of real numbers, and for an unsuitable ``out``.

    >>> from fastnn.classic import sigmoid
    >>> sigmoid([-1000, 0, 1000])
    array([0. , 0.5, 1. ])
    """
    return _apply(kernels.activation_forward, "sigmoid", x, out)


def tanh(x: Any, out: np.ndarray | None = None) -> Any:
    """The hyperbolic tangent: maps to (-1, 1), 0 to 0. Arguments and errors as for :func:`sigmoid`.

    >>> from fastnn.classic import tanh
    >>> float(tanh(0.0))
    0.0
    """
    return _apply(kernels.activation_forward, "tanh", x, out)


def relu(x: Any, out: np.ndarray | None = None) -> Any:
    """The rectifier, ``max(0, x)``. Arguments and errors as for :func:`sigmoid`; integers stay integers.

    >>> import numpy as np
    >>> from fastnn.classic import relu
    >>> relu(np.array([-2.0, 3.0]))
    array([0., 3.])
    """
    if not (type(x) is np.ndarray and x.dtype in KERNEL_DTYPES):
        x = real_array("x", x)
        if x.dtype.kind != "f":
            if out is not None:
                place_for(out, x, x.dtype)
            return np.maximum(0, x, out=out)
    return _apply(kernels.activation_forward, "relu", x, out)


def leaky_relu(x: Any, alpha: float = 0.01, out: np.ndarray | None = None) -> Any:
    """``x`` where it is positive, ``alpha * x`` elsewhere. Arguments and errors as for :func:`sigmoid`.

    >>> import numpy as np
    >>> from fastnn.classic import leaky_relu
    >>> leaky_relu(np.array([-2.0, 3.0]), alpha=0.5)
    array([-1.,  3.])
    """
    return _apply(kernels.activation_forward, "leaky_relu", x, out, number("alpha", alpha))


def softmax(x: Any, out: np.ndarray | None = None) -> Any:
    """``exp(x) / sum(exp(x))`` over the last axis: probabilities that sum to 1.

    The maximum of each row is subtracted first, so finite numbers never overflow. A vector gives the same
    result as the textbook's function; each row of a matrix is one distribution, whereas the textbook
    treats the whole matrix as one. Arguments and errors as for :func:`sigmoid`.

    >>> import numpy as np
    >>> from fastnn.classic import softmax
    >>> softmax(np.array([[0.0, 0.0], [1e4, 0.0]]))
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    a, result = as_floats("x", x)
    place = place_for(out, a, result)
    columns = a.shape[-1] if a.ndim else 1
    rows = a.size // columns if columns else 0
    kernels.probabilities(place.reshape(rows, columns), a.reshape(rows, columns))
    return finished(place, out, result)


def sigmoid_derivative(x: Any, out: np.ndarray | None = None) -> Any:
    """``s * (1 - s)`` with ``s = sigmoid(x)``, without cancellation where ``s`` is near 1.

    Arguments and errors as for :func:`sigmoid`.

    >>> from fastnn.classic import sigmoid_derivative
    >>> float(sigmoid_derivative(0.0))
    0.25
    """
    return _apply(kernels.activation_derivative, "sigmoid", x, out)


def tanh_derivative(x: Any, out: np.ndarray | None = None) -> Any:
    """``1 - tanh(x)**2``, without cancellation for large x. Arguments and errors as for :func:`sigmoid`.

    >>> from fastnn.classic import tanh_derivative
    >>> float(tanh_derivative(0.0))
    1.0
    """
    return _apply(kernels.activation_derivative, "tanh", x, out)


def relu_derivative(x: Any, out: np.ndarray | None = None) -> Any:
    """1 where ``x > 0`` and 0 elsewhere, as floating-point numbers. Arguments and errors as for :func:`sigmoid`.

    >>> import numpy as np
    >>> from fastnn.classic import relu_derivative
    >>> relu_derivative(np.array([-2.0, 0.0, 3.0]))
    array([0., 0., 1.])
    """
    return _apply(kernels.activation_derivative, "relu", x, out)


def leaky_relu_derivative(x: Any, alpha: float = 0.01, out: np.ndarray | None = None) -> Any:
    """1 where ``x > 0`` and ``alpha`` elsewhere. Arguments and errors as for :func:`sigmoid`.

    >>> import numpy as np
    >>> from fastnn.classic import leaky_relu_derivative
    >>> leaky_relu_derivative(np.array([-2.0, 3.0]))
    array([0.01, 1.  ])
    """
    return _apply(kernels.activation_derivative, "leaky_relu", x, out, number("alpha", alpha))


def softmax_derivative(x: Any, out: np.ndarray | None = None) -> Any:
    """The Jacobian matrix of softmax: ``J[..., i, j] = s[i] * ((i == j) - s[j])`` with ``s = softmax(x)``.

    Softmax maps any single number to 1, so its derivative is the single number 0.

    Args:
        x: array of shape (..., n), or zero-dimensional.
        out: array of shape (..., n, n), zero-dimensional for such an ``x``, or None.

    Raises: as for :func:`sigmoid`.

    >>> import numpy as np
    >>> from fastnn.classic import softmax_derivative
    >>> softmax_derivative(np.zeros(2))
    array([[ 0.25, -0.25],
           [-0.25,  0.25]])
    """
    s = np.asarray(softmax(x))
    single = not s.ndim
    rows = s[None] if single else s
    jacobian = -rows[..., :, None] * rows[..., None, :]
    n = rows.shape[-1]
    jacobian[..., np.arange(n), np.arange(n)] += rows
    if single:
        jacobian = jacobian.reshape(())
    if out is None:
        return jacobian[()] if single else jacobian
    place_for(out, jacobian, jacobian.dtype)
    np.copyto(out, jacobian, casting="same_kind")
    return out
