"""Transforms of random variables, under the names of ``torch.distributions.transforms``.

A transform maps a set (``domain``) to a set (``codomain``), and computes the inverse and the logarithm of the absolute
value of the determinant of its Jacobian matrix. Its methods use recorded tensor operations.
"""

from fastnn.distributions.transforms.composition import (
    ComposeTransform,
    IndependentTransform,
    identity_transform,
)
from fastnn.distributions.transforms.elementwise import (
    AbsTransform,
    AffineTransform,
    CumulativeDistributionTransform,
    ExpTransform,
    PowerTransform,
    SigmoidTransform,
    SoftplusTransform,
    TanhTransform,
)
from fastnn.distributions.transforms.matrices import (
    CorrCholeskyTransform,
    LowerCholeskyTransform,
    PositiveDefiniteTransform,
)
from fastnn.distributions.transforms.parts import (
    CatTransform,
    StackTransform,
)
from fastnn.distributions.transforms.transform import Transform
from fastnn.distributions.transforms.transform import _InverseTransform as _InverseTransform
from fastnn.distributions.transforms.vectors import (
    ReshapeTransform,
    SoftmaxTransform,
    StickBreakingTransform,
)

__all__ = [
    "AbsTransform",
    "AffineTransform",
    "CatTransform",
    "ComposeTransform",
    "CorrCholeskyTransform",
    "CumulativeDistributionTransform",
    "ExpTransform",
    "IndependentTransform",
    "LowerCholeskyTransform",
    "PositiveDefiniteTransform",
    "PowerTransform",
    "ReshapeTransform",
    "SigmoidTransform",
    "SoftmaxTransform",
    "SoftplusTransform",
    "StackTransform",
    "StickBreakingTransform",
    "TanhTransform",
    "Transform",
    "identity_transform",
]
