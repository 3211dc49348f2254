"""Training of an estimator's network: batches, epochs of captured steps, schedules, and L-BFGS by SciPy."""

from __future__ import annotations

import bisect
import functools
import inspect
import math
import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.optimize
import scipy.sparse
import threadpoolctl

from fastnn import optim
from fastnn._autograd.modes import no_grad
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.capture.epoch import AnyColumn, Column, Columns
from fastnn.capture.step import CompiledStep
from fastnn.kernels.matmul.sparse_rows import CompressedRows
from fastnn.kernels.runtime import launcher, thread_count
from fastnn.optim.optimizer import Optimizer
from fastnn.sklearn.losses import Loss
from fastnn.sklearn.network import Network, Objective, Plan, SquaredNorm
from fastnn.sklearn.optimizers import GradientsOnly, PenalisedAdam, PenalisedSGD
from fastnn.sklearn.sparse import SortedRows, SparseColumn, compressed
from fastnn.training import loop

# Optimizers that call a closure, or whose rule has no penalty of the weights.
_WITHOUT_STEPS = {"lbfgs"}
# The solvers by name: every optimizer of fastnn in small letters.
SOLVERS = {
    name.lower(): name for name in optim.__all__ if name[0].isupper() and name != "Optimizer"
    and name.lower() not in _WITHOUT_STEPS
}  # fmt: skip
# Rows that are computed at once without a gradient, and the most numbers of a sparse matrix that are made dense for it.
CHUNK, _MOST_DENSE = 2048, 2**24
# Schedules that change the learning rate at every batch, as factors of the progress from 0 to 1.
_WARM_UP, _FIRST, _LAST = 0.3, 1 / 25, 1 / 25e4


def _cosine(progress: float) -> float:
    return (1 + math.cos(math.pi * progress)) / 2


def _one_cycle(progress: float) -> float:
    """L. N. Smith and N. Topin, arXiv:1708.07120, with PyTorch's numbers: up, then down to almost 0."""
    if progress < _WARM_UP:
        return 1 + (_FIRST - 1) * _cosine(progress / _WARM_UP)
    return _LAST + (1 - _LAST) * _cosine((progress - _WARM_UP) / (1 - _WARM_UP))


BATCH_SCHEDULES: dict[str, Callable[[float], float]] = {"cosine": _cosine, "onecycle": _one_cycle}


@dataclass
class Epoch(loop.Epoch):
    """The results of one epoch, which callbacks are called with.

    Args:
        estimator: with the coefficients of this moment.
        validation_score: None without validation data.
    """

    estimator: Any = None
    validation_score: float | None = None


@contextmanager
def threads_of(threads: int | None) -> Iterator[None]:
    """A block in which launches use up to so many threads."""
    before = thread_count.get_num_threads()
    if threads is not None:
        thread_count.set_num_threads(threads)
    try:
        yield
    finally:
        if threads is not None:
            thread_count.set_num_threads(before)


class Rows:
    """Rows of data, with targets and weights, from which a step's batches are gathered: a :class:`Source`.

    Args:
        x: (rows, features), an array of ``dtype`` or uint8, or a sparse matrix of ``dtype``.
        dtype: of the network.
        target: (rows,) labels or (rows, outputs) numbers.
        weights: (rows,) or None.
    """

    def __init__(
        self, x: Any, dtype: np.dtype, target: np.ndarray | None = None, weights: np.ndarray | None = None
    ) -> None:
        self.is_sparse = scipy.sparse.issparse(x)
        self.x: Any = x.tocsr() if self.is_sparse else np.ascontiguousarray(x)
        self.dtype, self.target, self.weights = dtype, target, weights
        self._rooms: dict[int, list[np.ndarray]] = {}
        # The weights as the loss of a batch reads them, (rows, 1, ...).
        self.shares: np.ndarray | None = None
        # If it is set, batches are sorted.
        self.sorted: SortedRows | None = None

    def __len__(self) -> int:
        return self.x.shape[0]

    def compress(self, units: int, batch_size: int) -> CompressedRows | None:
        """The rows without zeros, if a first layer of so many units is faster then."""
        return compressed(self.x, (self.x.shape[1], units), self.dtype, batch_size)

    @property
    def chunk(self) -> int:
        """How many rows are computed at once without a gradient: few of many columns that are made dense."""
        return max(1, min(CHUNK, _MOST_DENSE // max(1, self.x.shape[1]))) if self.is_sparse else CHUNK

    def inputs(self, first: int, last: int) -> Tensor:
        """Consecutive rows of the data."""
        part = self.x[first:last]
        return _wrap(part.toarray() if self.is_sparse else part.astype(self.dtype, copy=False))

    def share_weights(self, batches: np.ndarray, totals: np.ndarray, scale: float, dimensions: int) -> None:
        """Set the weights that the steps of these batches read: those of each batch add up to ``scale``.

        Args:
            batches: (batches, rows of a batch), each row at most once.
            totals: the sums of the weights of each batch.
            dimensions: of the losses of rows.
        """
        assert self.weights is not None
        if self.shares is None:
            self.shares = np.zeros((len(self),) + (1,) * (dimensions - 1), self.dtype)
        used = totals != 0
        batches = batches[used]
        self.shares.reshape(-1)[batches] = self.weights[batches] * (scale / totals[used])[:, None]

    # -- A source of batches ------------------------------------------------------------------

    @functools.cached_property
    def _columns(self) -> Columns:
        """The target, after the data unless batches of these are sorted, and the weights."""
        assert self.target is not None
        columns: list[AnyColumn] = [Column(self.target)]
        if self.sorted is None:
            columns.insert(0, SparseColumn(self.x, self.dtype) if self.is_sparse else Column(self.x, dtype=self.dtype))
        if self.shares is not None:
            columns.append(Column(self.shares))
        return Columns(*columns)

    @property
    def is_launched(self) -> bool:
        """Whether batches are gathered by launches alone."""
        return self._columns.is_launched

    def layout(self, size: int) -> list[tuple[tuple[int, ...], np.dtype]]:
        """Shape and dtype of each array of a batch."""
        return [(array.shape, array.dtype) for array in self.rooms(size)]

    def rooms(self, size: int) -> list[np.ndarray]:
        """The arrays of a batch, which the next batch of this size reuses."""
        if size not in self._rooms:
            data = [] if self.sorted is None else self.sorted.arrays(size)
            self._rooms[size] = [*data, *self._columns.rooms(size)]
        return self._rooms[size]

    def take(self, rooms: list[np.ndarray], indices: np.ndarray) -> None:
        """Gather the rows ``indices``, int64."""
        first = len(rooms) - len(self._columns.columns)
        if self.sorted is not None:
            self.sorted.batch(indices)
            launcher.independent()
        self._columns.take(rooms[first:], indices)

    def contents(self, k: int) -> np.ndarray | None:
        """All rows of array ``k``."""
        first = 0 if self.sorted is None else len(self.sorted.arrays(1))
        return self._columns.contents(k - first) if k >= first else None


class Trainer:
    """An optimizer of a network, and the captured step that uses it.

    Args:
        network: to train.
        loss: of its results.
        options: of the estimator: ``solver``, ``alpha``, ``learning_rate_init`` and those of the solver.
    """

    def __init__(self, network: Network, loss: Loss, options: Any) -> None:
        self.network, self.loss = network, loss
        self.solver, self.alpha = options.solver, float(options.alpha)
        self.rate = float(options.learning_rate_init)
        kind = _OWN.get(self.solver) or getattr(optim, SOLVERS[self.solver])
        self.optimizer = _optimizer(kind, network, options)
        # A decoupled decay is no part of the loss, and does not depend on the batch.
        self.decoupled = bool(self.optimizer.defaults.get("decoupled_weight_decay"))
        self._norm = SquaredNorm(network.coefs) if self.alpha and not self.decoupled else None
        self._steps: dict[bool, CompiledStep] = {}
        self._dimensions = 1
        # Batches so far, which schedules count.
        self.steps = 0

    def suits(self, plan: Plan, loss: Loss, options: Any) -> bool:
        """Whether this trainer can go on with these parameters of the estimator."""
        return (
            self.network.plan == plan and self.network.sparse is None and self.solver == options.solver
            and self.loss.is_like(loss)
        )  # fmt: skip

    def set_alpha(self, alpha: float) -> None:
        """Change the penalty."""
        if alpha == self.alpha:
            return
        self.alpha = alpha
        if self.decoupled:
            self._set_penalty(alpha)
            return
        self._set_penalty(0.0)
        self._norm = SquaredNorm(self.network.coefs) if alpha else None
        self.forget_steps()

    def forget_steps(self) -> None:
        """Drop the captured steps, which hold the arrays of batches."""
        self._steps.clear()

    def epoch(
        self, rows: Rows, order: np.ndarray, batch_size: int, schedule: Callable[[float], float] | None, epochs: int
    ) -> float:
        """Train on all rows in this order; the mean of the losses, with the penalty.

        Args:
            schedule: the factor of the learning rate from the progress of the training, from 0 to 1.
            epochs: of the whole training.
        """
        count = len(order)
        bounds = list(range(0, count, batch_size))
        if self.network.norms and count - bounds[-1] == 1 and len(bounds) > 1:
            # The variance of one row is not defined: it joins the batch before.
            del bounds[-1]
        step = self._step(rows)
        constants = None if rows.target is None else self.loss.constants(rows.target)
        whole = len(bounds) if bounds[-1] + batch_size == count else len(bounds) - 1
        parts = [order[: whole * batch_size].reshape(whole, batch_size), order[None, whole * batch_size :]]
        rates = None if schedule is None else _Rates(self, schedule, epochs * len(bounds))
        return sum(self._steps_over(step, rows, part, rates, constants) for part in parts if part.size) / count

    def _steps_over(
        self, step: CompiledStep, rows: Rows, batches: np.ndarray, rates: _Rates | None, constants: np.ndarray | None
    ) -> float:
        """Train on batches, one in each row; the sum of the losses of their rows."""
        count, size = batches.shape
        if rows.weights is None:
            totals = np.full(count, float(size))
        else:
            totals = rows.weights[batches].sum(1)
            rows.share_weights(batches, totals, self.loss.weight, self._dimensions)
        # Rows without weight are no rows.
        ends = [*np.flatnonzero(totals == 0).tolist(), count]
        norms = [] if self._norm is None else self._norm.parts
        total, at = 0.0, 0
        while at < count:
            last = ends[bisect.bisect_left(ends, at)]
            if last == at:
                if rates is None:
                    self.steps += 1
                else:
                    rates.step()
                at += 1
                continue
            if self._norm is not None:
                last = at + self._set_penalties(self.alpha / totals[at:last])
            losses, sums = step._advance(rows, batches[at:last], rates, collected=norms)
            if rates is None:
                self.steps += len(losses)
            squares = np.concatenate(sums, axis=1) if sums else None
            for i, value in enumerate(losses.tolist()):
                loss = value * self.loss.reported
                if squares is not None:
                    loss += 0.5 * self.alpha / totals.item(at + i) * float(squares[i].sum())
                if constants is not None:
                    batch = batches[at + i]
                    loss += float(np.average(constants[batch], weights=part_of(rows.weights, batch)))
                total += loss * size
            at += len(losses)
        return total

    def _step(self, rows: Rows) -> CompiledStep:
        weighted = rows.weights is not None
        if weighted not in self._steps:
            if weighted:
                self._dimensions = dimensions_of(self.network, self.loss, rows)
            objective = Objective(self.network.model, self._norm, weighted)
            criterion = self.loss.weighted() if weighted else self.loss.plain()
            self._steps[weighted] = CompiledStep(objective, criterion, self.optimizer)
        self.network.model.train()
        return self._steps[weighted]

    def _set_penalties(self, decays: np.ndarray) -> int:
        """Set the penalties of the next steps; return for how many of them."""
        if isinstance(self.optimizer, (PenalisedAdam, PenalisedSGD)):
            self.optimizer.penalty.values = decays
            return len(decays)
        group, first = self.optimizer.param_groups[0], decays.item(0)
        # An equal number would be another option of the group.
        if group["weight_decay"] != first:
            group["weight_decay"] = first
        others = np.flatnonzero(decays != first)
        return int(others[0]) if len(others) else len(decays)

    def _set_penalty(self, decay: float) -> None:
        self._set_penalties(np.array([decay]))

    def _set_rate(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    @property
    def learning_rate(self) -> float:
        return self.optimizer.param_groups[0]["lr"]

    def change_rate(self, rate: float) -> None:
        """Set the learning rate after an epoch; what momentum has gathered keeps the rate that it was gathered with."""
        before = self.learning_rate
        if rate == before:
            return
        self._set_rate(rate)
        if self.solver != "sgd" or not rate:
            return
        with no_grad():
            for state in self.optimizer.state.values():
                if state.get("momentum_buffer") is not None:
                    state["momentum_buffer"].mul_(before / rate)

    def restore(self, saved: Saved) -> None:
        """Continue where another trainer of the same network was."""
        self.optimizer.load_state_dict(saved.optimizer)
        self.steps = saved.steps
        # The penalty is that of now.
        self._set_penalty(self.alpha if self.decoupled else 0.0)

    def saved(self) -> Saved:
        """The state, for another trainer, whose network is dense."""
        state, sparse = self.optimizer.state_dict(), self.network.sparse
        if sparse is not None:
            shape = sparse.weight.shape
            state["state"] = {**state["state"]}
            if 0 in state["state"]:
                state["state"][0] = {
                    name: _wrap(sparse.joined(value.numpy()).T) if getattr(value, "shape", None) == shape else value
                    for name, value in state["state"][0].items()
                }
        return Saved(self.solver, state, self.steps)

    def __reduce__(self) -> Any:
        # Recordings cannot be pickled; a copy trains on with a trainer of its own.
        return operator.itemgetter(0), ((self.saved(),),)


class _Rates:
    """A schedule of the learning rate at every batch, as a step takes it.

    Args:
        trainer: counts the batches.
        schedule: the factor from the progress of the training, from 0 to 1.
        batches: of the whole training.
    """

    def __init__(self, trainer: Trainer, schedule: Callable[[float], float], batches: int) -> None:
        self._trainer, self._schedule, self._batches = trainer, schedule, batches
        self._set()

    def _set(self) -> None:
        trainer = self._trainer
        trainer._set_rate(trainer.rate * self._schedule(min(1.0, trainer.steps / self._batches)))

    def step(self) -> None:
        """After a batch."""
        self._trainer.steps += 1
        self._set()

    def state_dict(self) -> dict[str, Any]:
        """The batches so far."""
        return {"steps": self._trainer.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back."""
        self._trainer.steps = state["steps"]


@dataclass
class Saved:
    """What remains of a trainer in a pickle, or in a copy."""

    solver: str
    optimizer: dict[str, Any]
    steps: int


_OWN: dict[str, type[Optimizer]] = {"adam": PenalisedAdam, "sgd": PenalisedSGD}


def part_of(array: np.ndarray | None, indices: np.ndarray) -> np.ndarray | None:
    """These rows of an array; None without one."""
    return None if array is None else array[indices]


def dimensions_of(network: Network, loss: Loss, rows: Rows) -> int:
    """Dimensions of the losses of rows, by a first look."""
    assert rows.target is not None
    one = Network(network.plan, network.numbers())
    one.model.eval()
    with no_grad():
        return loss.dimensions_of_rows(one.model(rows.inputs(0, 1)), _wrap(rows.target[:1]))


def _optimizer(kind: type[Optimizer], network: Network, options: Any) -> Optimizer:
    known = inspect.signature(getattr(optim, SOLVERS[options.solver])).parameters
    given: dict[str, Any] = {"lr": float(options.learning_rate_init)}
    if options.solver == "sgd":
        momentum = float(options.momentum)
        given |= {"momentum": momentum, "nesterov": bool(options.nesterovs_momentum) and momentum > 0}
    if "betas" in known:
        given |= {"betas": (float(options.beta_1), float(options.beta_2)), "eps": float(options.epsilon)}
    if "weight_decay" in known:
        given["weight_decay"] = 0.0
    elif options.alpha:
        raise ValueError(f"solver {options.solver!r} has no penalty of weights: alpha must be 0, found {options.alpha}")
    groups = [{"params": network.coefs, "penalised": True}, {"params": network.others, "penalised": False}]
    made = kind(groups, **given)
    if made.defaults.get("decoupled_weight_decay"):
        made.param_groups[0]["weight_decay"] = float(options.alpha)
    return made


def minimize(
    network: Network, loss: Loss, rows: Rows, options: Any, report: Callable[[Any], None] | None
) -> scipy.optimize.OptimizeResult:
    """Train on all rows at once by SciPy's L-BFGS-B; the coefficients are in the network afterwards.

    Args:
        options: of the estimator: ``alpha``, ``tol``, ``max_iter``, ``max_fun``.
        report: called with SciPy's intermediate result after each iteration.
    """
    assert rows.target is not None
    count, alpha, target, weights = len(rows), float(options.alpha), rows.target, rows.weights
    total = float(count if weights is None else weights.sum())
    norm = SquaredNorm(network.coefs) if alpha else None
    step = CompiledStep(
        Objective(network.model, norm, weights is not None),
        loss.plain() if weights is None else loss.weighted(),
        GradientsOnly([*network.coefs, *network.others]),
    )
    shares: np.ndarray | None = None
    if weights is not None:
        shape = (-1,) + (1,) * (dimensions_of(network, loss, rows) - 1)
        shares = (weights * (loss.weight / total)).astype(rows.dtype).reshape(shape)
    constants = loss.constants(target)
    constant = 0.0 if constants is None else float(np.average(constants, weights=weights))
    chunk = rows.chunk
    bounds = [(first, min(first + chunk, count)) for first in range(0, count, chunk)]
    # Parts of one batch are always the same arrays.
    whole = rows.inputs(0, count) if len(bounds) == 1 else None

    # Each parameter with its numbers and its gradient, in the shape of the packed vector's part.
    parts: list[tuple[Any, slice, tuple[int, ...], bool]] = []
    at = 0
    for i, p in enumerate([*network.coefs, *network.others]):
        parts.append((p, slice(at, at + p.numel()), tuple(p.shape[::-1]), i < len(network.coefs)))
        at += p.numel()

    def unpack(packed: np.ndarray) -> None:
        for p, part, shape, _ in parts:
            p._data[...] = packed[part].reshape(shape).T
            p._memory.version += 1

    def function(packed: np.ndarray) -> tuple[float, np.ndarray]:
        unpack(packed)
        value, slopes = 0.0, np.zeros(len(packed))
        for first, last in bounds:
            batch = [rows.inputs(first, last) if whole is None else whole, _wrap(target[first:last])]
            if shares is not None:
                batch.append(_wrap(shares[first:last]))
            # With weights, the parts are sums already.
            share = 1.0 if shares is not None else (last - first) / count
            value += share * step(*batch).item()
            for p, part, shape, _ in parts:
                slopes[part].reshape(shape)[...] += share * p.grad._data.T
        value = value * loss.reported + constant
        if norm is not None:
            value += 0.5 * alpha / total * norm.value()
            for _, part, _, is_penalised in parts:
                if is_penalised:
                    slopes[part] += (alpha / total) * packed[part]
        return value, slopes

    network.model.train()
    numbers = network.numbers()
    # Threads of a BLAS, which spin for a while, keep fastnn's from the cores.
    with threadpoolctl.threadpool_limits(1):
        found = scipy.optimize.minimize(
            function, np.concatenate([*[c.ravel() for c in numbers.coefs], *numbers.intercepts]).astype(np.float64),
            method="L-BFGS-B", jac=True, callback=report,
            options={"maxfun": options.max_fun, "maxiter": options.max_iter, "gtol": options.tol},
        )  # fmt: skip
    unpack(found.x)
    return found
