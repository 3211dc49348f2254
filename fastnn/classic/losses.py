"""Loss functions and their gradients with respect to the prediction, under the textbook's names.

Targets come first, as in the textbook. Arrays have one shape and any real dtype; two float32 arrays
give float32, everything else float64. Probabilities are clipped to [1e-15, 1 - 1e-15] before the
logarithm, and gradients are taken at the clipped probability, so all of them are finite. The loss of
empty arrays is NaN, like ``np.mean`` of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn import kernels
from fastnn.classic.arrays import class_labels, common_floats, real_array
from fastnn.kernels.runtime import allocation


def _mean(y: np.ndarray, p: np.ndarray, kind: str, count: float) -> Any:
    total = kernels.paired_loss(y, p, kind)
    return p.dtype.type(total / count if count else np.nan)


def _gradient(y: np.ndarray, p: np.ndarray, kind: str, count: float) -> Any:
    out = allocation.empty(p.shape, p.dtype)
    kernels.paired_loss_gradient(out, y, p, kind, 1 / count if count else 1.0)
    return out if out.ndim else out[()]


def mse_loss(y_true: Any, y_pred: Any) -> Any:
    """Mean squared error, ``mean((y_true - y_pred)**2)``, for regression.

    Args:
        y_true, y_pred: arrays of one shape.

    Raises: ValueError for different shapes (NumPy would broadcast (n,) and (n, 1) to n**2 differences),
        TypeError unless the values are real numbers.

    >>> import numpy as np
    >>> from fastnn.classic import mse_loss
    >>> float(mse_loss(np.array([1.0, 2.0]), np.array([1.0, 4.0])))
    2.0
    """
    y, p = common_floats(("y_true", y_true), ("y_pred", y_pred))
    return _mean(y, p, "squared_error", p.size)


def mse_gradient(y_true: Any, y_pred: Any) -> Any:
    """``2 * (y_pred - y_true) / len(y_true)``: the gradient of the squared error, averaged over the rows.

    For one output this is the gradient of :func:`mse_loss`; for k output columns it is k times that,
    because ``mse_loss`` divides by the number of elements. Arguments and errors as there, and ValueError
    for a single number, which has no length.

    >>> import numpy as np
    >>> from fastnn.classic import mse_gradient
    >>> mse_gradient(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    array([0., 2.])
    """
    y, p = common_floats(("y_true", y_true), ("y_pred", y_pred))
    if not y.ndim:
        raise ValueError("y_true must have at least one axis, found a single number")
    return _gradient(y, p, "squared_error", len(y))


def binary_cross_entropy(y_true: Any, y_pred: Any) -> Any:
    """``-mean(y log p + (1 - y) log(1 - p))`` for targets y and probabilities p, clipped.

    Args:
        y_true: 0, 1 or a probability.
        y_pred: probabilities, of the same shape.

    Raises: as for :func:`mse_loss`.

    >>> import numpy as np
    >>> from fastnn.classic import binary_cross_entropy
    >>> round(float(binary_cross_entropy(np.array([1, 0]), np.array([0.5, 0.5]))), 6)
    0.693147
    """
    y, p = common_floats(("y_true", y_true), ("y_pred", y_pred))
    return _mean(y, p, "binary_cross_entropy", p.size)


def binary_cross_entropy_gradient(y_true: Any, y_pred: Any) -> Any:
    """The gradient of :func:`binary_cross_entropy`: ``(p - y) / (p * (1 - p)) / size``, at the clipped p.

    >>> import numpy as np
    >>> from fastnn.classic import binary_cross_entropy_gradient
    >>> binary_cross_entropy_gradient(np.array([1, 0]), np.array([0.5, 0.5]))
    array([-1.,  1.])
    """
    y, p = common_floats(("y_true", y_true), ("y_pred", y_pred))
    return _gradient(y, p, "binary_cross_entropy", p.size)


def _with_classes(y_true: Any, y_pred: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Targets, probabilities, and the labels if the targets are labels."""
    y, p = real_array("y_true", y_true), real_array("y_pred", y_pred)
    if p.ndim < 2:
        raise ValueError(f"y_pred must have one row for each sample, found shape {p.shape}")
    if y.ndim == 1 and p.ndim == 2 and y.dtype.kind in "iu":
        if len(y) != len(p):
            raise ValueError(f"y_true must have {len(p)} labels, one for each row of y_pred, found {len(y)}")
        labels = class_labels("y_true", y, p.shape[1])
        (p,) = common_floats(("y_pred", p))
        return y, p, labels
    y, p = common_floats(("y_true", y), ("y_pred", p))
    return y, p, None


def categorical_cross_entropy(y_true: Any, y_pred: Any) -> Any:
    """``-mean(sum(y_true * log(y_pred), axis=1))`` for rows of probabilities, clipped.

    Args:
        y_true: (samples, classes), one-hot or any weights; or (samples,) integer labels.
        y_pred: (samples, classes), probabilities.

    Raises: as for :func:`mse_loss`, and IndexError for a label outside [0, classes).

    >>> import numpy as np
    >>> from fastnn.classic import categorical_cross_entropy
    >>> p = np.array([[0.25, 0.75], [0.5, 0.5]])
    >>> float(categorical_cross_entropy(np.eye(2), p)) == float(categorical_cross_entropy([0, 1], p))
    True
    """
    y, p, labels = _with_classes(y_true, y_pred)
    if labels is not None:
        picked = p[np.arange(len(labels)), labels]
        return _mean(np.ones_like(picked), picked, "categorical_cross_entropy", len(labels))
    # The sum is over the class axis, the mean over the others.
    return _mean(y, p, "categorical_cross_entropy", p.size / p.shape[1] if p.shape[1] else 0)


def categorical_cross_entropy_gradient(y_true: Any, y_pred: Any) -> Any:
    """The gradient of :func:`categorical_cross_entropy`: ``-y_true / y_pred / samples``, at the clipped y_pred.

    >>> import numpy as np
    >>> from fastnn.classic import categorical_cross_entropy_gradient
    >>> categorical_cross_entropy_gradient(np.array([[1, 0]]), np.array([[0.5, 0.5]]))
    array([[-2., -0.]])
    """
    y, p, labels = _with_classes(y_true, y_pred)
    if labels is not None:
        y = np.zeros_like(p)
        y[np.arange(len(labels)), labels] = 1
    return _gradient(y, p, "categorical_cross_entropy", p.size / p.shape[1] if p.shape[1] else 0)
