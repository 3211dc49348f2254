"""SGD and Adam by scikit-learn's rules, as fast as fastnn's, and a step that only computes gradients.

The penalty of the weights depends on the rows of a batch, and Adam's epsilon on the step. Both change at every step
like the learning rate, without the work that a changed option of a group makes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn.kernels.optim.optimizers import Relaunch
from fastnn.optim.adam import Adam
from fastnn.optim.elementwise import Elementwise
from fastnn.optim.flat_runs import FlatSlice
from fastnn.optim.sgd import SGD

# Places of the scalars in the array that the kernels read.
_ADAM_EPSILON, _ADAM_DECAY, _SGD_DECAY = 4, 5, 2


class _Penalties:
    """The penalties of the next steps, which launches read, apart from the optimizer: with it they would be a cycle.

    Attributes:
        values: one for each step, or one for all.
    """

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values = np.zeros(1)


class _Again:
    """A launch that is repeated with the penalty, and with epsilon, of its step.

    Args:
        again: the launch.
        penalty: None for parameters without one.
        decay_at: its place.
        epsilon, beta: scikit-learn's epsilon and beta_2; None for SGD.
    """

    __slots__ = ("again", "beta", "decay_at", "epsilon", "is_current", "penalty")

    def __init__(
        self, again: Relaunch, penalty: _Penalties | None, decay_at: int, epsilon: float | None = None,
        beta: float = 0.0,
    ) -> None:  # fmt: skip
        self.again, self.is_current, self.penalty, self.decay_at = again, again.is_current, penalty, decay_at
        self.epsilon, self.beta = epsilon, beta

    def relaunch(self) -> Relaunch:
        """The launch."""
        return self.again

    def table(self, rates: Sequence[float], step: float) -> np.ndarray:
        """The scalars of the next updates, from step number ``step``: a row for each learning rate."""
        table = self.again.table(rates, step)
        if self.penalty is not None:
            table[:, self.decay_at] = self.penalty.values[: len(rates)]
        if self.epsilon is not None:
            table[:, _ADAM_EPSILON] = [_epsilon(self.epsilon, self.beta, step + i) for i in range(len(rates))]
        return table

    def launch(self, lr: float, step: float) -> None:
        """Repeat the update, as step number ``step``."""
        hyper = self.again.hyper
        if self.penalty is not None:
            hyper[self.decay_at] = self.penalty.values[0]
        if self.epsilon is not None:
            hyper[_ADAM_EPSILON] = _epsilon(self.epsilon, self.beta, step)
        self.again.launch(lr, step)


def _epsilon(epsilon: float, beta: float, step: float) -> float:
    """scikit-learn adds epsilon before it corrects the second moment for its start at 0."""
    return epsilon / math.sqrt(1 - beta**step)


class PenalisedSGD(SGD):
    """SGD with ``penalty`` instead of ``weight_decay`` for groups with ``penalised``."""

    def __init__(self, params: Any, **options: Any) -> None:
        self.penalty = _Penalties()
        super().__init__(params, **options)

    def _update(self, cut: FlatSlice, grads: np.ndarray, group: dict[str, Any]) -> Any:
        penalty = self.penalty if group["penalised"] else None
        decay = 0.0 if penalty is None else penalty.values.item(0)
        return _Again(super()._update(cut, grads, {**group, "weight_decay": decay}), penalty, _SGD_DECAY)


class PenalisedAdam(Adam):
    """Adam with ``penalty`` instead of ``weight_decay`` for groups with ``penalised``, and scikit-learn's epsilon."""

    def __init__(self, params: Any, **options: Any) -> None:
        self.penalty = _Penalties()
        super().__init__(params, **options)

    def _update(self, cut: FlatSlice, grads: np.ndarray, group: dict[str, Any]) -> Any:
        penalty = self.penalty if group["penalised"] else None
        decay = 0.0 if penalty is None else penalty.values.item(0)
        epsilon, beta = group["eps"], group["betas"][1]
        now = {**group, "weight_decay": decay, "eps": _epsilon(epsilon, beta, cut.numbers.item(0))}
        return _Again(super()._update(cut, grads, now), penalty, _ADAM_DECAY, epsilon, beta)


class GradientsOnly(Elementwise):
    """Leaves the parameters as they are: a captured step with it computes the loss and the gradients."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {"lr": 0.0})

    def _update(self, cut: FlatSlice, grads: np.ndarray, group: dict[str, Any]) -> None:
        return None
