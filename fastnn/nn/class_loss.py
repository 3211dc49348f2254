"""Losses of rows of scores against class labels, as modules."""

from __future__ import annotations

from fastnn._tensor.tensor import Tensor
from fastnn.nn.functional import class_loss as functional
from fastnn.nn.functional.class_loss import _index
from fastnn.nn.loss import _Loss, _WeightedLoss
from fastnn.nn.loss_core import _check_tensors

__all__ = ["CrossEntropyLoss", "MultiLabelMarginLoss", "MultiLabelSoftMarginLoss", "MultiMarginLoss", "NLLLoss"]


class CrossEntropyLoss(_WeightedLoss):
    """``-log(softmax(input)[target])``, mean or sum over the batch.

    Args:
        weight: (classes,), the weight of each class.
        size_average, reduce: older names of the reduction.
        ignore_index: rows with this label are ignored.
        reduction: 'mean' over the rows that are not ignored, weighted by their labels; 'sum' or 'none'.
        label_smoothing: from 0 to 1, how much of the target is spread evenly over all classes.

    Shape: input (batch, classes), (classes,) or (batch, classes, d1, ...); target of int64 without the
    dimension of the classes, or probabilities of the shape of the input.

    >>> import fastnn
    >>> fastnn.nn.CrossEntropyLoss()(fastnn.tensor([[0.0, 0.0]]), fastnn.tensor([1])).item()
    0.6931471824645996
    """

    def __init__(
        self, weight: Tensor | None = None, size_average: bool | None = None, ignore_index: int = -100,
        reduce: bool | None = None, reduction: str = "mean", label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        self.ignore_index = _index("ignore_index", ignore_index)
        self.label_smoothing = label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of logits ``input`` against labels or probabilities ``target``."""
        return functional.cross_entropy(
            input, target, self._buffers["weight"], None, self.ignore_index, None, self.reduction, self.label_smoothing
        )


class NLLLoss(_WeightedLoss):
    """``-input[target]`` of rows of log-probabilities, such as those from ``log_softmax``.

    Args:
        weight, size_average, ignore_index, reduce, reduction: as for :class:`CrossEntropyLoss`; so are the shapes.

    >>> import fastnn
    >>> fastnn.nn.NLLLoss()(fastnn.tensor([[-1.0, -2.0]]), fastnn.tensor([1]))
    tensor(2.)
    """

    def __init__(
        self, weight: Tensor | None = None, size_average: bool | None = None, ignore_index: int = -100,
        reduce: bool | None = None, reduction: str = "mean",
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        self.ignore_index = _index("ignore_index", ignore_index)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of log-probabilities ``input`` against labels ``target``."""
        return functional.nll_loss(
            input, target, self._buffers["weight"], None, self.ignore_index, None, self.reduction
        )


class MultiMarginLoss(_WeightedLoss):
    """``sum(max(0, margin - input[target] + input[i])**p for i != target) / classes`` of each row.

    Args:
        p: 1 or 2.
        margin: the required lead of the score of the right class.
        weight: (classes,), multiplies the loss of a row by the weight of its label.
        size_average, reduce, reduction: as for :class:`CrossEntropyLoss`.

    >>> import fastnn
    >>> fastnn.nn.MultiMarginLoss()(fastnn.tensor([[0.0, 0.5]]), fastnn.tensor([1])).item()
    0.25
    """

    def __init__(
        self, p: int = 1, margin: float = 1.0, weight: Tensor | None = None, size_average: bool | None = None,
        reduce: bool | None = None, reduction: str = "mean",
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        if p not in (1, 2):
            raise ValueError(f"only p == 1 and p == 2 supported, found {p}")
        if weight is not None:
            _check_tensors(weight=weight)
            if weight.ndim != 1:
                raise ValueError(f"weight must be one-dimensional, found shape {tuple(weight.shape)}")
        self.p, self.margin = p, margin

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of scores ``input`` against labels ``target``."""
        return functional.multi_margin_loss(
            input, target, self.p, self.margin, self._buffers["weight"], reduction=self.reduction
        )


class MultiLabelMarginLoss(_Loss):
    """``sum(max(0, 1 - input[j] + input[i]) for labels j, for i no label) / classes`` of each row.

    Args:
        size_average, reduce, reduction: as for :class:`CrossEntropyLoss`.

    Shape: input and target (batch, classes) or (classes,); a row starts with its labels, and -1 ends them.

    >>> import fastnn
    >>> x = fastnn.tensor([[0.1, 0.2, 0.4, 0.8]])
    >>> round(fastnn.nn.MultiLabelMarginLoss()(x, fastnn.tensor([[3, 0, -1, 1]])).item(), 4)
    0.85
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of scores ``input`` against lists of labels ``target``."""
        return functional.multilabel_margin_loss(input, target, reduction=self.reduction)


class MultiLabelSoftMarginLoss(_WeightedLoss):
    """The binary cross-entropy of ``sigmoid(input)``, averaged over the classes.

    Args:
        weight: multiplies the loss of each class.
        size_average, reduce, reduction: as for :class:`CrossEntropyLoss`.

    >>> import fastnn
    >>> fastnn.nn.MultiLabelSoftMarginLoss()(fastnn.zeros(1, 2), fastnn.tensor([[0.0, 1.0]]))
    tensor(0.6931)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of logits ``input`` against ``target``, 0 or 1 for each class."""
        return functional.multilabel_soft_margin_loss(
            input, target, self._buffers["weight"], reduction=self.reduction
        )
