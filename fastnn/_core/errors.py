"""The errors of tensors that are both what NumPy and what PyTorch users expect.

PyTorch raises RuntimeError for operands that do not fit; ValueError and TypeError say it better.
These are both, so either ``except`` catches them.
"""

from __future__ import annotations

import numpy as np


class ShapeError(ValueError, RuntimeError):
    """Shapes of operands that do not go together; names what was found and what was expected."""


class DTypeError(TypeError, NotImplementedError):
    """Dtypes of operands that do not go together, or that an operation lacks; names what was found and expected.

    NotImplementedError, which PyTorch raises for the second kind, is a RuntimeError, which it raises for the first.
    """


class RangeError(IndexError, RuntimeError):
    """A number of an element, or of a dimension, that is not there; says what was found and how many there are."""


class MismatchError(ValueError, AssertionError):
    """Arguments of data sets that do not go together, which PyTorch asserts."""


class _LinAlgError(RuntimeError, np.linalg.LinAlgError):
    """A matrix that is singular, or for which a decomposition does not converge."""


class NoTensorError(TypeError, AttributeError):
    """What is no tensor where a parameter or a data set is made of it: PyTorch misses an attribute of tensors."""


# The class has PyTorch's name for it, which differs from the public one.
LinAlgError = _LinAlgError
