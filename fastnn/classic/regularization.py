"""Regularisation: the L2 penalty, dropout and batch normalisation, under the textbook's names."""

from __future__ import annotations

from typing import Any

from fastnn import kernels
from fastnn.classic.arrays import common_floats, number
from fastnn.kernels.runtime import allocation


def l2_regularization(weights: Any, lambda_reg: float) -> Any:
    """The L2 penalty, ``lambda_reg * sum(weights**2)``, to be added to the loss.

    Args:
        weights: array of any shape.
        lambda_reg: the strength.

    Raises: TypeError unless the values are real numbers.

    >>> import numpy as np
    >>> from fastnn.classic import l2_regularization
    >>> float(l2_regularization(np.array([1.0, 2.0]), 0.5))
    2.5
    """
    strength = number("lambda_reg", lambda_reg)
    (w,) = common_floats(("weights", weights))
    return w.dtype.type(strength * kernels.paired_loss(w, w, "square"))


def l2_gradient(weights: Any, lambda_reg: float) -> Any:
    """The gradient of :func:`l2_regularization`, ``2 * lambda_reg * weights``, to be added to that of the loss.

    >>> import numpy as np
    >>> from fastnn.classic import l2_gradient
    >>> l2_gradient(np.array([1.0, 2.0]), 0.5)
    array([1., 2.])
    """
    strength = number("lambda_reg", lambda_reg)
    (w,) = common_floats(("weights", weights))
    out = allocation.empty(w.shape, w.dtype)
    kernels.paired_loss_gradient(out, w, w, "square", strength)
    return out if out.ndim else out[()]
