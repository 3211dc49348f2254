"""Transforms for constraints, under the names of ``torch.distributions.constraint_registry``.

``biject_to(constraint)`` is a bijection from real numbers to the constraint. ``transform_to(constraint)`` need not be
one, and is cheaper or better conditioned for optimization: several arguments may have the same result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastnn.distributions import constraints, transforms
from fastnn.distributions.constraints import Constraint
from fastnn.distributions.transforms import Transform

__all__ = ["ConstraintRegistry", "biject_to", "transform_to"]

Factory = Callable[[Any], Transform]


class ConstraintRegistry:
    """Functions that make transforms, by the class of the constraint.

    >>> from fastnn.distributions import constraints, transform_to
    >>> transform_to(constraints.unit_interval)
    SigmoidTransform()
    """

    def __init__(self) -> None:
        self._registry: dict[type[Constraint], Factory] = {}
        super().__init__()

    def register(self, constraint: Any, factory: Factory | None = None) -> Any:
        """Use ``factory`` for the constraints of a class, or of the class of an instance; or a decorator for it.

        Raises: TypeError for anything but a constraint.
        """
        if factory is None:
            return lambda function: self.register(constraint, function)
        kind = type(constraint) if isinstance(constraint, Constraint) else constraint
        if not isinstance(kind, type) or not issubclass(kind, Constraint):
            raise TypeError(
                f"Expected constraint to be either a Constraint subclass or instance, but got {constraint}"
            )
        self._registry[kind] = factory
        return factory

    def __call__(self, constraint: Constraint) -> Transform:
        """A transform to a constraint; NotImplementedError if there is none."""
        factory = self._registry.get(type(constraint))
        if factory is None:
            raise NotImplementedError(f"Cannot transform {type(constraint).__name__} constraints")
        return factory(constraint)


biject_to, transform_to = ConstraintRegistry(), ConstraintRegistry()


def _both(*kinds: type[Constraint]) -> Callable[[Factory], Factory]:
    """A decorator: the transform is used by both registries."""

    def register(factory: Factory) -> Factory:
        for kind in kinds:
            biject_to.register(kind, factory)
            transform_to.register(kind, factory)
        return factory

    return register


@_both(constraints._Real)
def _real(constraint: Any) -> Transform:
    return transforms.identity_transform


def _combined(kind: Any, combine: Callable[[Any, ConstraintRegistry], Transform]) -> None:
    """Register a constraint of others, for which the same registry has transforms."""
    biject_to.register(kind, lambda constraint: combine(constraint, biject_to))
    transform_to.register(kind, lambda constraint: combine(constraint, transform_to))


_combined(
    constraints.independent,
    lambda c, to: transforms.IndependentTransform(to(c.base_constraint), c.reinterpreted_batch_ndims),
)
_combined(constraints.cat, lambda c, to: transforms.CatTransform([to(part) for part in c.cseq], c.dim, c.lengths))
_combined(constraints.stack, lambda c, to: transforms.StackTransform([to(part) for part in c.cseq], c.dim))


@_both(constraints.greater_than, constraints.greater_than_eq)
def _greater_than(constraint: Any) -> Transform:
    shift = transforms.AffineTransform(constraint.lower_bound, 1)
    return transforms.ComposeTransform([transforms.ExpTransform(), shift])


@_both(constraints.less_than)
def _less_than(constraint: Any) -> Transform:
    flip = transforms.AffineTransform(constraint.upper_bound, -1)
    return transforms.ComposeTransform([transforms.ExpTransform(), flip])


@_both(constraints.interval, constraints.half_open_interval)
def _interval(constraint: Any) -> Transform:
    low, high = constraint.lower_bound, constraint.upper_bound
    if isinstance(low, (int, float)) and isinstance(high, (int, float)) and low == 0 and high == 1:
        return transforms.SigmoidTransform()
    stretch = transforms.AffineTransform(low, high - low)
    return transforms.ComposeTransform([transforms.SigmoidTransform(), stretch])


@biject_to.register(constraints.simplex)
def _biject_to_simplex(constraint: Any) -> Transform:
    return transforms.StickBreakingTransform()


@transform_to.register(constraints.simplex)
def _transform_to_simplex(constraint: Any) -> Transform:
    return transforms.SoftmaxTransform()


@transform_to.register(constraints.lower_cholesky)
def _lower_cholesky(constraint: Any) -> Transform:
    return transforms.LowerCholeskyTransform()


@transform_to.register(constraints.positive_semidefinite)
@transform_to.register(constraints.positive_definite)
def _positive_definite(constraint: Any) -> Transform:
    return transforms.PositiveDefiniteTransform()


@_both(type(constraints.corr_cholesky))
def _corr_cholesky(constraint: Any) -> Transform:
    return transforms.CorrCholeskyTransform()
