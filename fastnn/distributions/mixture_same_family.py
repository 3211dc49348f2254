"""Mixtures of distributions of one family."""

from __future__ import annotations

from typing import Any, ClassVar

from fastnn._autograd.modes import no_grad
from fastnn._core.size import Size
from fastnn._tensor.tensor import Tensor
from fastnn.distributions import constraints
from fastnn.distributions.categorical import Categorical
from fastnn.distributions.constraints import Constraint, MixtureSameFamilyConstraint
from fastnn.distributions.distribution import Distribution

__all__ = ["MixtureSameFamily"]


class MixtureSameFamily(Distribution):
    """Draws from one of k components, chosen at random: density ``sum of weight[i] * density[i](x)``.

    Args:
        mixture_distribution: :class:`Categorical`, the weights of the components.
        component_distribution: the components; their index is the last dimension of the batch.

    Raises: ValueError for other classes, or for a different number of components or batches.

    >>> import fastnn
    >>> from fastnn.distributions import Categorical, MixtureSameFamily, Normal
    >>> MixtureSameFamily(Categorical(fastnn.ones(2)), Normal(fastnn.tensor([0.0, 4.0]), 1.0)).mean
    tensor(2.)
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {}
    has_rsample = False

    def __init__(
        self, mixture_distribution: Categorical, component_distribution: Distribution,
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        self._mixture_distribution, self._component_distribution = mixture_distribution, component_distribution
        if not isinstance(mixture_distribution, Categorical):
            raise ValueError(
                "The Mixture distribution needs to be an instance of torch.distributions.Categorical, found "
                f"{type(mixture_distribution).__name__}"
            )
        if not isinstance(component_distribution, Distribution):
            raise ValueError(
                "The Component distribution needs to be an instance of torch.distributions.Distribution, found "
                f"{type(component_distribution).__name__}"
            )
        own, batch = mixture_distribution.batch_shape, component_distribution.batch_shape[:-1]
        if any(i not in (1, j) and j != 1 for i, j in zip(reversed(own), reversed(batch), strict=False)):
            raise ValueError(
                f"`mixture_distribution.batch_shape` ({own}) is not compatible with "
                f"`component_distribution.batch_shape`({batch})"
            )
        count, found = mixture_distribution.logits.shape[-1], component_distribution.batch_shape[-1:]
        if tuple(found) != (count,):
            raise ValueError(
                f"`mixture_distribution component` ({count}) does not equal `component_distribution.batch_shape[-1]` "
                f"({', '.join(map(str, found))})"
            )
        self._num_component = count
        event = component_distribution.event_shape
        self._event_ndims = len(event)
        super().__init__(batch, event, validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = self._copy(_instance)
        new._component_distribution = self._component_distribution.expand((*batch_shape, self._num_component))
        new._mixture_distribution = self._mixture_distribution.expand(batch_shape)
        new._batch_shape = Size(batch_shape)
        return new

    @constraints.dependent_property
    def support(self) -> Constraint:
        return MixtureSameFamilyConstraint(self._component_distribution.support)

    @property
    def mixture_distribution(self) -> Categorical:
        """The weights of the components."""
        return self._mixture_distribution

    @property
    def component_distribution(self) -> Distribution:
        """The components."""
        return self._component_distribution

    def _pad(self, x: Tensor) -> Tensor:
        """``x`` with a dimension for the components, before those of an event."""
        return x.unsqueeze(-1 - self._event_ndims)

    def _pad_mixture_dimensions(self, x: Tensor) -> Tensor:
        """``x``, which has no dimensions of events, with as many of them as the components."""
        missing = len(self._component_distribution.batch_shape) - len(self._mixture_distribution.batch_shape) - 1
        shape = tuple(x.shape)
        return x.reshape(*shape[:-1], *[1] * missing, shape[-1], *[1] * self._event_ndims)

    def _weighted(self, values: Tensor) -> Tensor:
        weights = self._pad_mixture_dimensions(self._mixture_distribution.probs)
        return (weights * values).sum(-1 - self._event_ndims)

    @property
    def mean(self) -> Tensor:
        return self._weighted(self._component_distribution.mean)

    @property
    def variance(self) -> Tensor:
        # The law of total variance.
        component = self._component_distribution
        spread = (component.mean - self._pad(self.mean)) ** 2
        return self._weighted(component.variance) + self._weighted(spread)

    def cdf(self, x: Tensor) -> Tensor:
        each = self._component_distribution.cdf(self._pad(x))
        return (each * self._mixture_distribution.probs).sum(-1)

    def log_prob(self, x: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(x)
        each = self._component_distribution.log_prob(self._pad(x))
        return (each + self._mixture_distribution.logits.log_softmax(-1)).logsumexp(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with no_grad():
            mixture = self._mixture_distribution
            if mixture.batch_shape != self._batch_shape:
                # One choice for each distribution.
                mixture = mixture.expand(self._batch_shape)
            chosen = mixture.sample(sample_shape)
            values = self._component_distribution.sample(sample_shape)
            where, sizes = len(sample_shape) + len(self._batch_shape), self._event_shape
            index = chosen.reshape(*chosen.shape, *[1] * (1 + self._event_ndims))
            return values.gather(where, index.expand(*index.shape[: where + 1], *sizes)).squeeze(where)

    def __repr__(self) -> str:
        return f"MixtureSameFamily(\n  {self._mixture_distribution},\n  {self._component_distribution})"
