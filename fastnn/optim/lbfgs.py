"""LBFGS."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from fastnn._autograd.modes import enable_grad, no_grad
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.optim.line_search import Point, strong_wolfe
from fastnn.optim.optimizer import Optimizer


class LBFGS(Optimizer):
    """The limited-memory method of Broyden, Fletcher, Goldfarb and Shanno, with PyTorch's defaults.

    Each iteration moves along ``-H g``. The last ``history_size`` differences of parameters and gradients give
    ``H``, an estimate of the inverse Hessian (J. Nocedal, Math. Comp. 35, 1980).

    Args:
        params: tensors, or one parameter group.
        lr: the length of a step; with a line search, of its first guess.
        max_iter: iterations of one ``step``.
        max_eval: how often the closure may be called in one ``step``, by default ``max_iter * 1.25``.
        tolerance_grad: stop if no gradient is larger.
        tolerance_change: stop if neither the loss nor a parameter changes by more.
        history_size: how many differences are kept.
        line_search_fn: None, or 'strong_wolfe'.

    Raises: ValueError for more than one group and for a negative ``lr``; RuntimeError for another line search.

    >>> import fastnn
    >>> w = fastnn.nn.Parameter(fastnn.tensor([1.0, 2.0]))
    >>> optimizer = fastnn.optim.LBFGS([w], line_search_fn="strong_wolfe")
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = ((w - 3) * (w - 3)).sum()
    ...     loss.backward()
    ...     return loss
    >>> optimizer.step(closure).item()
    5.0
    >>> [round(x, 5) for x in w.tolist()]
    [3.0, 3.0]
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError(f"Tensor lr must be 1-element, found shape {tuple(lr.shape)}")
        if not lr >= 0.0:
            raise ValueError(f"Invalid learning rate: {lr}")
        defaults = {
            "lr": lr, "max_iter": max_iter, "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change, "history_size": history_size,
            "line_search_fn": line_search_fn,
        }  # fmt: skip
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ValueError(
                f"LBFGS doesn't support per-parameter options (parameter groups), found {len(self.param_groups)} groups"
            )

    @property
    def _params(self) -> list[Tensor]:
        return self.param_groups[0]["params"]

    def _gradient(self) -> np.ndarray:
        """All gradients as one vector."""
        return np.concatenate([np.zeros_like(p._data) if p._grad is None else p._grad._data for p in self._params],
                              axis=None)  # fmt: skip

    def _move(self, distance: Any, direction: np.ndarray) -> None:
        start = 0
        for p in self._params:
            stop = start + p._data.size
            p._memory.version += 1
            p._data += distance * direction[start:stop].reshape(p._data.shape)
            start = stop

    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]  # the closure is required
        """Run up to ``max_iter`` iterations.

        Args:
            closure: clears the gradients, computes the loss and its gradients, and returns the loss.

        Returns: the loss before the first iteration.
        """
        with no_grad():
            return self._step(enable_grad()(closure))

    def _step(self, closure: Callable[[], Any]) -> Any:
        group = self.param_groups[0]
        lr, search = float(group["lr"]), group["line_search_fn"]
        max_iter, max_eval, tolerance = group["max_iter"], group["max_eval"], group["tolerance_change"]
        # As in PyTorch, the first parameter has the state of all.
        state = self.state[self._params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)

        first_loss = closure()
        loss, grad = float(first_loss), self._gradient()
        evaluations = 1
        state["func_evals"] += 1
        if np.abs(grad).max() <= group["tolerance_grad"]:
            return first_loss
        memory = _Memory(state, group["history_size"])
        iteration = 0
        while iteration < max_iter:
            iteration += 1
            state["n_iter"] += 1
            if state["n_iter"] == 1:
                memory.forget()
                direction = -grad
                t: Any = min(1.0, 1.0 / np.abs(grad).sum()) * lr
            else:
                memory.add(grad - memory.grad, memory.direction * memory.t)
                direction = memory.direction_from(grad)
                t = lr
            memory.grad, previous_loss = grad.copy(), loss
            memory.direction, memory.t, memory.loss = direction, t, loss
            slope = grad.dot(direction)
            if slope > -tolerance:
                break
            calls = 0
            if search is not None:
                if search != "strong_wolfe":
                    raise RuntimeError(f"only 'strong_wolfe' is supported, found line_search_fn={search!r}")
                evaluate = self._along(closure, direction)
                start = Point(0, loss, grad, slope)
                best, calls = strong_wolfe(evaluate, direction, start, t, limit=max_eval - evaluations)
                loss, grad, t = best.loss, best.grad, best.t
                self._move(t, direction)
            else:
                self._move(t, direction)
                if iteration != max_iter:
                    # Not needed after the last iteration.
                    loss, grad, calls = float(closure()), self._gradient(), 1
            memory.t = t
            evaluations += calls
            state["func_evals"] += calls
            if (
                iteration == max_iter
                or evaluations >= max_eval
                or np.abs(grad).max() <= group["tolerance_grad"]
                or np.abs(direction * t).max() <= tolerance
                or abs(loss - previous_loss) < tolerance
            ):
                break
        memory.save(state)
        return first_loss

    def _along(self, closure: Callable[[], Any], direction: np.ndarray) -> Callable[[Any], tuple[float, np.ndarray]]:
        """The loss and the gradient as functions of the step length; the parameters are restored each time."""
        before = [p._data.copy() for p in self._params]

        def evaluate(t: Any) -> tuple[float, np.ndarray]:
            self._move(t, direction)
            loss = float(closure())
            grad = self._gradient()
            for p, old in zip(self._params, before, strict=True):
                p._data[...] = old
                p._memory.version += 1
            return loss, grad

        return evaluate


class _Memory:
    """The curvature estimate of LBFGS, and its last step: PyTorch's entries of ``state``.

    Args:
        state: of the first parameter.
        size: how many differences to keep.
    """

    def __init__(self, state: dict[str, Any], size: int) -> None:
        self.size = size
        self.grads = [_array(y) for y in state.get("old_dirs") or []]
        self.steps = [_array(s) for s in state.get("old_stps") or []]
        self.ro = [_number(r) for r in state.get("ro") or []]
        self.scale, self.t = _number(state.get("H_diag", 1)), _number(state.get("t"))
        self.direction, self.grad = _array(state.get("d")), _array(state.get("prev_flat_grad"))
        self.loss: Any = state.get("prev_loss")
        self.weights: list[Any] | None = state.get("al")

    def forget(self) -> None:
        """Reset the history."""
        self.grads, self.steps, self.ro, self.scale = [], [], [], 1

    def add(self, y: np.ndarray, s: np.ndarray) -> None:
        """Add a difference of gradients and one of parameters, if the curvature is positive."""
        ys = y.dot(s)
        if ys > 1e-10:
            if len(self.grads) == self.size:
                for kept in (self.grads, self.steps, self.ro):
                    kept.pop(0)
            self.grads.append(y)
            self.steps.append(s)
            self.ro.append(1.0 / ys)
            self.scale = ys / y.dot(y)

    def direction_from(self, grad: np.ndarray) -> np.ndarray:
        """``-H grad``, by the two-loop recursion."""
        self.weights = [None] * self.size if self.weights is None else self.weights
        q = -grad
        for i in range(len(self.grads) - 1, -1, -1):
            self.weights[i] = self.steps[i].dot(q) * self.ro[i]
            q -= self.weights[i] * self.grads[i]
        q *= self.scale
        for i in range(len(self.grads)):
            q += (self.weights[i] - self.grads[i].dot(q) * self.ro[i]) * self.steps[i]
        return q

    def save(self, state: dict[str, Any]) -> None:
        """Write all entries to ``state``."""
        state["d"], state["t"] = _wrap(self.direction), _kept(self.t)
        state["old_dirs"], state["old_stps"] = list(map(_wrap, self.grads)), list(map(_wrap, self.steps))
        state["ro"], state["H_diag"] = list(map(_kept, self.ro)), _kept(self.scale)
        state["prev_flat_grad"], state["prev_loss"] = _wrap(self.grad), self.loss
        if self.weights is not None:
            state["al"] = list(map(_kept, self.weights))


def _array(value: Any) -> Any:
    return value._data if isinstance(value, Tensor) else value


def _number(value: Any) -> Any:
    return value._data[()] if isinstance(value, Tensor) else value


def _kept(value: Any) -> Any:
    """NumPy numbers as tensors, as in PyTorch."""
    return _wrap(np.array(value)) if isinstance(value, np.generic) else value
