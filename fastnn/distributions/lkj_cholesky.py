"""The LKJ distribution of Cholesky factors of correlation matrices."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import fastnn
from fastnn._core.dtypes import limits
from fastnn._tensor.tensor import Tensor
from fastnn.distributions import constraints
from fastnn.distributions.beta import Beta
from fastnn.distributions.constraints import Constraint
from fastnn.distributions.distribution import Distribution, broadcast_all, draw


class LKJCholesky(Distribution):
    """Cholesky factors L of correlation matrices ``L @ L.T``, with density proportional to its ``det**(c - 1)``.

    D. Lewandowski, D. Kurowicka and H. Joe, "Generating random correlation matrices based on vines and extended
    onion method", 2009: the density of the matrix; draws by the onion method.

    Args:
        dim: the number of rows, at least 2.
        concentration: c, positive; 1 gives all correlation matrices the same density.

    >>> import fastnn
    >>> from fastnn.distributions import LKJCholesky
    >>> LKJCholesky(2, 1.0).log_prob(fastnn.eye(2))
    tensor(-0.6931)
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {"concentration": constraints.positive}
    support: Constraint = constraints.corr_cholesky

    def __init__(self, dim: int, concentration: Any = 1.0, validate_args: bool | None = None) -> None:
        if dim < 2:
            raise ValueError(f"Expected dim to be an integer greater than or equal to 2. Found dim={dim}.")
        if not hasattr(dim, "__index__"):
            raise TypeError(f"dim must be an integer, found {type(dim).__name__}")
        self.dim = dim
        (self.concentration,) = broadcast_all(concentration)
        # Row i of a draw has the squared length y left of the diagonal, with the beta distribution of i / 2 and
        # c + (dim - 1 - i) / 2. PyTorch's has i - 1/2 instead of i / 2, and its correlations are too large.
        before = fastnn.arange(dim - 1, dtype=self.concentration.dtype)
        before = fastnn.cat([before.new_zeros(1), before])
        free = (self.concentration + 0.5 * (dim - 2)).unsqueeze(-1)
        self._beta = Beta(0.5 * before + 0.5, free - 0.5 * before, validate_args=False)
        super().__init__(self.concentration.shape, (dim, dim), validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = super().expand(batch_shape, _instance)
        new._beta = self._beta.expand((*batch_shape, self.dim))
        return new

    def sample(self, sample_shape: Any = ()) -> Tensor:
        y = self._beta.sample(sample_shape).unsqueeze(-1)
        normal = draw("standard_normal", self._sizes(sample_shape), y._data.dtype).tril(-1)
        # The first row has no direction.
        length = normal.norm(dim=-1, keepdim=True)
        below = y.sqrt() * normal / length.masked_fill(length == 0, 1.0)
        rest = (1 - (below**2).sum(-1)).clamp(min=float(limits(y._data.dtype).tiny)).sqrt()
        return below + rest.diag_embed()

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        n, c = self.dim, self.concentration
        diagonal = value.diagonal(dim1=-1, dim2=-2)[..., 1:]
        powers = 2 * (c - 1).unsqueeze(-1) + n - fastnn.arange(2, n + 1, dtype=c.dtype)
        a = c + 0.5 * (n - 1)
        size = 0.5 * (n - 1) * math.log(math.pi) + (a - 0.5).mvlgamma(n - 1) - a.lgamma() * (n - 1)
        return (powers * diagonal.log()).sum(-1) - size
