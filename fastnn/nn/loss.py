"""Elementwise losses, as modules."""

from __future__ import annotations

from fastnn._tensor.tensor import Tensor
from fastnn.nn.functional import loss as functional
from fastnn.nn.functional.loss_core import _reduction
from fastnn.nn.module import Module


class _Loss(Module):
    """A loss with a reduction; ``size_average`` and ``reduce`` are older names of it."""

    def __init__(self, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean") -> None:
        super().__init__()
        if size_average is not None or reduce is not None:
            # An unknown name is an error when the loss is used, as in PyTorch.
            reduction = _reduction("mean", size_average, reduce, stacklevel=5)
        self.reduction = reduction


class _WeightedLoss(_Loss):
    """A loss with a weight for each class or element, kept as a buffer."""

    def __init__(
        self, weight: Tensor | None = None, size_average: bool | None = None, reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)


class MSELoss(_Loss):
    """``(input - target)**2``, its mean or sum.

    Args:
        size_average, reduce: older names of the reduction.
        reduction: 'mean', 'sum' or 'none'.

    Shape: input and target of one shape; others are broadcast, with a warning.

    >>> import fastnn
    >>> fastnn.nn.MSELoss()(fastnn.tensor([1.0, 2.0]), fastnn.tensor([0.0, 4.0])).item()
    2.5
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of ``input`` against ``target``."""
        return functional.mse_loss(input, target, reduction=self.reduction)


class L1Loss(_Loss):
    """``|input - target|``, its mean or sum; arguments and shapes as for :class:`MSELoss`.

    >>> import fastnn
    >>> fastnn.nn.L1Loss()(fastnn.tensor([1.0, 2.0]), fastnn.tensor([0.0, 4.0])).item()
    1.5
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of ``input`` against ``target``."""
        return functional.l1_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(_Loss):
    """``d**2 / (2 beta)`` where ``d = |input - target|`` is below ``beta``, ``d - beta / 2`` elsewhere.

    Args:
        size_average, reduce, reduction: as for :class:`MSELoss`; so are the shapes.
        beta: the loss is linear from here on.

    >>> import fastnn
    >>> fastnn.nn.SmoothL1Loss()(fastnn.tensor([3.0]), fastnn.zeros(1)).item()
    2.5
    """

    def __init__(
        self, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean", beta: float = 1.0
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.beta = beta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of ``input`` against ``target``."""
        return functional.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class HuberLoss(_Loss):
    """``d**2 / 2`` where ``d = |input - target|`` is up to ``delta``, ``delta (d - delta / 2)`` elsewhere.

    Args:
        reduction: as for :class:`MSELoss`; so are the shapes.
        delta: the loss is linear from here on.

    >>> import fastnn
    >>> fastnn.nn.HuberLoss(delta=2.0)(fastnn.tensor([3.0]), fastnn.zeros(1)).item()
    4.0
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction=reduction)
        self.delta = delta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of ``input`` against ``target``."""
        return functional.huber_loss(input, target, self.reduction, self.delta)


class BCELoss(_WeightedLoss):
    """``-(target log(input) + (1 - target) log(1 - input))``, its mean or sum.

    Args:
        weight: multiplies the losses, broadcast to them.
        size_average, reduce, reduction: as for :class:`MSELoss`.

    Shape: input and target of one shape, all values in [0, 1].

    >>> import fastnn
    >>> fastnn.nn.BCELoss()(fastnn.tensor([0.5]), fastnn.tensor([1.0]))
    tensor(0.6931)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of probabilities ``input`` against ``target``."""
        return functional.binary_cross_entropy(input, target, self._buffers["weight"], reduction=self.reduction)


class BCEWithLogitsLoss(_Loss):
    """:class:`BCELoss` of ``sigmoid(input)``, for logits of any size.

    Args:
        weight: multiplies the losses, broadcast to them.
        size_average, reduce, reduction: as for :class:`MSELoss`.
        pos_weight: multiplies the term of the positive targets, broadcast to the input.

    Shape: input and target of one shape.

    >>> import fastnn
    >>> fastnn.nn.BCEWithLogitsLoss()(fastnn.tensor([1000.0]), fastnn.tensor([0.0]))
    tensor(1000.)
    """

    def __init__(
        self, weight: Tensor | None = None, size_average: bool | None = None, reduce: bool | None = None,
        reduction: str = "mean", pos_weight: Tensor | None = None,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of logits ``input`` against ``target``."""
        buffers = self._buffers
        return functional.binary_cross_entropy_with_logits(
            input, target, buffers["weight"], reduction=self.reduction, pos_weight=buffers["pos_weight"]
        )


class KLDivLoss(_Loss):
    """``target (log(target) - input)``, the Kullback-Leibler divergence of log-probabilities.

    Args:
        size_average, reduce: older names of the reduction.
        reduction: 'batchmean' (over the number of rows), 'mean', 'sum' or 'none'.
        log_target: whether the target is given as logarithms.

    >>> import fastnn
    >>> p = fastnn.tensor([[0.5, 0.5]])
    >>> fastnn.nn.KLDivLoss(reduction="batchmean")(p.log(), p).item()
    0.0
    """

    def __init__(
        self, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
        log_target: bool = False,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.log_target = log_target

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The divergence of ``input`` from ``target``."""
        return functional.kl_div(input, target, reduction=self.reduction, log_target=self.log_target)


class PoissonNLLLoss(_Loss):
    """``exp(input) - target input``: the negative log-likelihood of a Poisson target.

    Args:
        log_input: whether the input is the logarithm of the expectation.
        full: add Stirling's approximation of ``log(target!)``.
        size_average, reduce, reduction: as for :class:`MSELoss`.
        eps: added to an input whose logarithm is taken.

    >>> import fastnn
    >>> fastnn.nn.PoissonNLLLoss()(fastnn.tensor([0.0]), fastnn.tensor([2.0]))
    tensor(1.)
    """

    def __init__(
        self, log_input: bool = True, full: bool = False, size_average: bool | None = None, eps: float = 1e-8,
        reduce: bool | None = None, reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.log_input, self.full, self.eps = log_input, full, eps

    def forward(self, log_input: Tensor, target: Tensor) -> Tensor:
        """The loss of ``log_input`` against ``target``."""
        return functional.poisson_nll_loss(
            log_input, target, self.log_input, self.full, eps=self.eps, reduction=self.reduction
        )


class GaussianNLLLoss(_Loss):
    """``(log(var) + (input - target)**2 / var) / 2``: the negative log-likelihood of a normal target.

    Args:
        full: add ``log(2 pi) / 2``.
        eps: the lower bound of the variances.
        reduction: as for :class:`MSELoss`.

    Shape: input and target of one shape; var too, or with a last dimension of size 1 or none.

    >>> import fastnn
    >>> one = fastnn.ones(1)
    >>> fastnn.nn.GaussianNLLLoss()(one, 2 * one, one).item()
    0.5
    """

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.full, self.eps = full, eps

    def forward(self, input: Tensor, target: Tensor, var: Tensor | float) -> Tensor:
        """The loss of expectations ``input`` with variances ``var`` against ``target``."""
        return functional.gaussian_nll_loss(input, target, var, self.full, self.eps, self.reduction)


class SoftMarginLoss(_Loss):
    """``log(1 + exp(-target input))`` for targets 1 and -1; arguments as for :class:`MSELoss`.

    >>> import fastnn
    >>> fastnn.nn.SoftMarginLoss()(fastnn.tensor([0.0]), fastnn.tensor([-1.0]))
    tensor(0.6931)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of ``input`` against ``target``."""
        return functional.soft_margin_loss(input, target, reduction=self.reduction)


class HingeEmbeddingLoss(_Loss):
    """``input`` where the target is 1, ``max(0, margin - input)`` where it is -1.

    Args:
        margin: the required distance between dissimilar pairs.
        size_average, reduce, reduction: as for :class:`MSELoss`.

    >>> import fastnn
    >>> fastnn.nn.HingeEmbeddingLoss()(fastnn.tensor([0.25]), fastnn.tensor([-1.0])).item()
    0.75
    """

    def __init__(
        self, margin: float = 1.0, size_average: bool | None = None, reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.margin = margin

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of distances ``input`` against ``target``."""
        return functional.hinge_embedding_loss(input, target, self.margin, reduction=self.reduction)
