"""The errors of tensors, for users of NumPy and of PyTorch alike.

PyTorch raises RuntimeError for operands that do not match; ValueError and TypeError are more precise.
These classes derive from both, so either ``except`` catches them.
"""

from __future__ import annotations

import numpy as np


class ShapeError(ValueError, RuntimeError):
    """Shapes of operands do not match; the message says what was found and what was expected."""


class DTypeError(TypeError, NotImplementedError):
    """Dtypes of operands do not match, or an operation lacks them; the message says what was found and expected.

    PyTorch raises RuntimeError in the first case and NotImplementedError, a RuntimeError, in the second.
    """


class RangeError(IndexError, RuntimeError):
    """An index or dimension is out of range; the message says what was found and how many there are."""


class ArgumentError(ValueError, RuntimeError):
    """An argument of a transformation of functions is not a tensor: PyTorch raises one of both."""


class MismatchError(ValueError, AssertionError):
    """Arguments of data sets do not match, which PyTorch asserts."""


class _LinAlgError(RuntimeError, np.linalg.LinAlgError):
    """A matrix is singular, or its decomposition does not converge."""


class NoTensorError(TypeError, AttributeError):
    """A parameter or a data set is made of something that is not a tensor: PyTorch raises AttributeError."""


class MissingKeyError(KeyError, AttributeError):
    """A dictionary of parameters has no such name: PyTorch raises AttributeError."""


class AnomalyError(FloatingPointError, RuntimeError):
    """A number became NaN or infinite in the mode ``detect_anomaly``; PyTorch raises RuntimeError."""


class OutOfMemoryError(RuntimeError):
    """PyTorch's error of a full device, which programs catch."""


# The class has PyTorch's private name, which differs from the public one.
LinAlgError = _LinAlgError
