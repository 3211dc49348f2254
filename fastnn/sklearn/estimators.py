"""MLPClassifier and MLPRegressor: the estimators of ``sklearn.neural_network``, with more parameters."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, _fit_context, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from fastnn import random as _random
from fastnn._autograd.modes import no_grad
from fastnn._tensor.tensor import _wrap
from fastnn.ops.creation import from_numpy
from fastnn.sklearn.compat import validate_data
from fastnn.sklearn.losses import Loss, wants_one_logit
from fastnn.sklearn.network import ACTIVATIONS, Network, Numbers, Plan
from fastnn.sklearn.sparse import SortedRows
from fastnn.sklearn.training import (
    BATCH_SCHEDULES,
    SOLVERS,
    Epoch,
    Rows,
    Saved,
    Trainer,
    dimensions_of,
    minimize,
    part_of,
    threads_of,
)

_DTYPES: dict[str, np.dtype] = {"float32": np.dtype(np.float32), "float64": np.dtype(np.float64)}
_EPOCH_SCHEDULES = ("constant", "invscaling", "adaptive")


class _Inference:
    """The network that predicts, over the memory of the estimator's arrays; made again if these are others.

    It is no part of the estimator's state: pickles and copies are empty.
    """

    def __init__(self) -> None:
        self._made: tuple[Plan, list[np.ndarray], Network] | None = None

    def network(self, plan: Plan, numbers: Numbers) -> Network:
        """The network of these arrays."""
        arrays = _arrays_of(numbers)
        made = self._made
        if made is None or made[0] != plan or len(made[1]) != len(arrays) or any(
            a is not b for a, b in zip(made[1], arrays, strict=True)
        ):  # fmt: skip
            usable = _usable(plan, numbers)
            network = Network(plan, usable)
            network.model.eval()
            # A network of copies would miss what is written into the arrays later.
            is_shared = all(np.shares_memory(a, b) for a, b in zip(arrays, _arrays_of(usable), strict=True))
            self._made = (plan, arrays, network) if is_shared else None
            return network
        return made[2]

    def __reduce__(self) -> Any:
        return _Inference, ()


def _arrays_of(numbers: Numbers) -> list[np.ndarray]:
    return [*numbers.coefs, *numbers.intercepts, *[array for norm in numbers.norms for array in norm.values()]]


def _usable(plan: Plan, numbers: Numbers) -> Numbers:
    """The arrays, or copies of those that a user has set and that are of another type or order."""

    def usable(array: Any) -> np.ndarray:
        # Not a subclass, such as a memory map.
        return np.ascontiguousarray(array, plan.dtype).view(np.ndarray)

    norms = [{name: usable(array) for name, array in norm.items()} for norm in numbers.norms]
    return Numbers(list(map(usable, numbers.coefs)), list(map(usable, numbers.intercepts)), norms)


class _MLP(BaseEstimator):
    """What the classifier and the regressor have in common."""

    _plan: Plan
    _inference: _Inference
    _trainer: Trainer | Saved
    coefs_: list[np.ndarray]
    intercepts_: list[np.ndarray]
    batch_norms_: list[dict[str, np.ndarray]]

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS)), "array-like"],
        "solver": [StrOptions({"lbfgs", *SOLVERS})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({*_EPOCH_SCHEDULES, *BATCH_SCHEDULES}), callable],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left"), "array-like"],
        "batch_norm": ["boolean"],
        "callbacks": [callable, "array-like", None],
        "precision": [StrOptions({"auto", "float32", "float64"})],
        "threads": [Interval(Integral, 1, None, closed="left"), None],
    }

    # -- Fitting --------------------------------------------------------------------------------

    def _fit(
        self, x: Any, y: Any, sample_weight: Any, incremental: bool, validation: tuple[Any, Any, Any] = (None,) * 3
    ) -> Any:
        hidden = _sizes(self.hidden_layer_sizes)
        first = not hasattr(self, "coefs_") or (not self.warm_start and not incremental)
        x, y = self._validate(x, y, self._accepted(x, first), incremental, first)
        dtype = self._choose_dtype(x, first)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, x, dtype=np.float64)
        if self.solver == "lbfgs" and (self.batch_norm or np.any(np.asarray(self.dropout) != 0)):
            raise ValueError("solver 'lbfgs' computes no batch statistics and no dropout: use another solver")
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        target = self._encode(y, dtype)
        weights = self._weights(sample_weight, y, incremental)
        if weights is not None and not weights.any():
            raise ValueError("the weights of the samples are all zero: no sample is left to fit on")
        outputs = self._count_outputs(target)
        self._set_output(outputs)
        plan = Plan(
            (x.shape[1], *hidden, outputs), _per_layer("activation", self.activation, hidden, str),
            _per_layer("dropout", self.dropout, hidden, float), self.batch_norm, dtype,
        )  # fmt: skip
        _check_activations(plan.activations)
        self._random_state = check_random_state(self.random_state)
        if first:
            self._initialize(plan)
        elif plan.sizes != self._plan.sizes or plan.batch_norm != self._plan.batch_norm:
            was, now = ((p.sizes, "with" if p.batch_norm else "without") for p in (self._plan, plan))
            raise ValueError(
                f"the layers of the fitted network cannot change: it has {was[0]} units {was[1]} batch_norm, found "
                f"{now[0]} {now[1]}"
            )
        self._plan = plan
        loss = Loss(self.out_activation_, outputs, self.loss if callable(self.loss) else None)
        self._loss = loss
        with threads_of(self.threads), self._seeded(plan):
            if self.solver == "lbfgs":
                self._fit_lbfgs(Rows(x, dtype, target, weights), loss)
            else:
                self._fit_steps(x, y, target, weights, sample_weight, loss, incremental, validation)
        if not all(np.isfinite(array).all() for array in (*self.coefs_, *self.intercepts_)):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
                "preprocessed."
            )
        return self

    def _accepted(self, x: Any, first: bool) -> list[Any]:
        """The types of data that are not converted; others are converted to the first one."""
        known: list[Any]
        if self.precision != "auto":
            known = [_DTYPES[self.precision]]
        elif first:
            known = [_DTYPES["float64"], _DTYPES["float32"]]
        else:
            known = [self._plan.dtype]
        # Sparse rows are made dense without a conversion.
        return known if hasattr(x, "tocsr") else [*known, np.uint8]

    def _choose_dtype(self, x: Any, first: bool) -> np.dtype:
        """The type that the network computes in: by default that of the data, and float32 for uint8."""
        if self.precision != "auto":
            return _DTYPES[self.precision]
        if first:
            return _DTYPES["float64" if x.dtype == np.float64 else "float32"]
        return self._plan.dtype

    @contextlib.contextmanager
    def _seeded(self, plan: Plan) -> Iterator[None]:
        """A block in which dropout draws from ``random_state``."""
        if not any(plan.dropouts):
            yield
            return
        with _random.fork_rng():
            _random.manual_seed(int(self._random_state.randint(np.iinfo(np.int32).max)))
            yield

    def _initialize(self, plan: Plan) -> None:
        """Draw coefficients and intercepts by Glorot's law, as scikit-learn does, and the same numbers."""
        self.n_iter_ = self.t_ = 0
        self.n_layers_ = len(plan.sizes)
        self.coefs_, self.intercepts_ = [], []
        activations = [*plan.activations, *plan.activations[-1:]] or [self.activation]
        for fan_in, fan_out, activation in zip(plan.sizes, plan.sizes[1:], activations, strict=False):
            bound = np.sqrt((2 if activation in ("logistic", "sigmoid") else 6) / (fan_in + fan_out))
            for arrays, shape in ((self.coefs_, (fan_in, fan_out)), (self.intercepts_, (fan_out,))):
                arrays.append(self._random_state.uniform(-bound, bound, shape).astype(plan.dtype, copy=False))
        self.__dict__.pop("batch_norms_", None)
        if plan.batch_norm:
            initial = {"weight": 1, "bias": 0, "running_mean": 0, "running_var": 1}
            self.batch_norms_ = [
                {name: np.full(size, value, plan.dtype) for name, value in initial.items()} for size in plan.sizes[1:-1]
            ]
        self.__dict__.pop("_trainer", None)
        self._inference = _Inference()
        if self.solver != "lbfgs":
            self._begin_curves()

    def _begin_curves(self) -> None:
        self.loss_curve_: list[float] = []
        self._no_improvement_count = 0
        self.validation_scores_: list[float] | None = None
        self.validation_loss_curve_: list[float] | None = None
        self.best_validation_score_: float | None = None
        self.best_loss_: float | None = None

    def _numbers(self) -> Numbers:
        return Numbers(self.coefs_, self.intercepts_, self.batch_norms_ if self._plan.batch_norm else [])

    def _set_numbers(self, numbers: Numbers) -> None:
        self.coefs_, self.intercepts_ = numbers.coefs, numbers.intercepts
        if self._plan.batch_norm:
            self.batch_norms_ = numbers.norms

    def _fit_lbfgs(self, rows: Rows, loss: Loss) -> None:
        network = Network(self._plan)
        network.load(self._numbers())

        def report(intermediate_result: Any) -> None:
            print(f"loss = {intermediate_result.fun:.8f}")

        found = minimize(network, loss, rows, self, report if self.verbose else None)
        self.loss_, self.n_iter_ = float(found.fun), min(int(found.nit), self.max_iter)
        self._set_numbers(network.numbers())
        if found.status:
            warnings.warn(
                f"lbfgs failed to converge after {found.nit} iterations (status {found.status}): {found.message}. "
                "Increase max_iter, or scale the data.",
                ConvergenceWarning,
                stacklevel=2,
            )

    def _trainer_for(self, loss: Loss, incremental: bool, rows: Rows, batch_size: int) -> Trainer:
        """The trainer of earlier calls of ``partial_fit``, or a new one, with the estimator's numbers."""
        before: Any = self.__dict__.get("_trainer") if incremental else None
        if isinstance(before, Trainer) and before.suits(self._plan, loss, self):
            trainer = before
            trainer.set_alpha(float(self.alpha))
        else:
            # A later call of partial_fit may get rows with fewer zeros.
            compressed = None if incremental else rows.compress(self._plan.sizes[1], batch_size)
            if compressed is not None:
                rows.sorted = SortedRows(compressed, self._plan.dtype)
            trainer = Trainer(Network(self._plan, rows=compressed), loss, self)
            if isinstance(before, Trainer):
                before = before.saved()
            if isinstance(before, Saved) and before.solver == self.solver:
                trainer.restore(before)
        trainer.network.load(self._numbers())
        self._trainer = trainer
        return trainer

    def _fit_steps(
        self, x: Any, y: Any, target: np.ndarray, weights: np.ndarray | None, sample_weight: np.ndarray | None,
        loss: Loss, incremental: bool, validation: tuple[Any, Any, Any],
    ) -> None:  # fmt: skip
        dtype = self._plan.dtype
        held_out: _HeldOut | None = None
        if validation[0] is not None:
            held_out = self._given_validation(*validation, dtype)
        elif self.early_stopping:
            stratify = target if is_classifier(self) and self.n_outputs_ == 1 else None
            kept, out = train_test_split(
                np.arange(len(target)), random_state=self._random_state, test_size=self.validation_fraction,
                stratify=stratify,
            )  # fmt: skip
            if len(out) < 2:
                raise ValueError(
                    "The validation set is too small. Increase 'validation_fraction' or the size of your dataset: "
                    f"found {len(out)} of {len(target)} samples, expected at least 2."
                )
            part = Rows(x[out], dtype, target[out], part_of(weights, out))
            held_out = _HeldOut(part, y[out], part_of(sample_weight, out))
            x, target, weights = x[kept], target[kept], part_of(weights, kept)
        rows = Rows(x, dtype, target, weights)
        count = len(rows)
        if self._plan.batch_norm and count == 1:
            raise ValueError("batch_norm needs more than 1 sample, found n_samples = 1")
        batch_size = min(200, count) if self.batch_size == "auto" else self.batch_size
        if batch_size > count:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped", stacklevel=2
            )
            batch_size = count
        if not hasattr(self, "loss_curve_"):
            # A warm start after another solver.
            self._begin_curves()
        if self.early_stopping and self.best_validation_score_ is None:
            self.best_validation_score_ = -np.inf
        if not self.early_stopping and self.best_loss_ is None:
            self.best_loss_ = np.inf
        trainer = self._trainer_for(loss, incremental, rows, int(batch_size))
        callbacks = _callbacks(self.callbacks)
        schedule = BATCH_SCHEDULES.get(self.learning_rate) if isinstance(self.learning_rate, str) else None
        order = np.arange(count)
        best: Numbers | None = None
        self.n_iter_ = 0
        try:
            while self.n_iter_ < (1 if incremental else self.max_iter):
                start = time.perf_counter()
                if callable(self.learning_rate):
                    trainer.change_rate(self._rate(len(self.loss_curve_) if incremental else self.n_iter_))
                rate = trainer.learning_rate
                if self.shuffle:
                    permutation = np.arange(count)
                    self._random_state.shuffle(permutation)
                    order = order[permutation]
                self.loss_ = trainer.epoch(rows, order, int(batch_size), schedule, self.max_iter)
                seconds = time.perf_counter() - start
                self.n_iter_ += 1
                self.t_ += count
                self.loss_curve_.append(self.loss_)
                if self.verbose:
                    print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
                if held_out is not None:
                    self._validate_epoch(trainer.network, loss, held_out)
                improved = self._note_improvement()
                if improved and self.early_stopping:
                    best = trainer.network.numbers()
                if self.solver == "sgd" and self.learning_rate == "invscaling":
                    trainer.change_rate(float(self.learning_rate_init / (self.t_ + 1) ** self.power_t))
                if callbacks:
                    self._set_numbers(trainer.network.numbers())
                    epoch = Epoch(self.n_iter_, self.loss_, seconds, rate, estimator=self)
                    if held_out is not None:
                        epoch.validation_loss = _last(self.validation_loss_curve_)
                        epoch.validation_score = _last(self.validation_scores_)
                    if _is_stopped_by(callbacks, epoch):
                        break
                if self._no_improvement_count > self.n_iter_no_change and self._stops(trainer):
                    break
            else:
                if not incremental:
                    warnings.warn(
                        f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the optimization "
                        "hasn't converged yet.",
                        ConvergenceWarning,
                        stacklevel=2,
                    )
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=2)
        if best is not None:
            trainer.network.load(best)
        self._set_numbers(trainer.network.numbers())
        if not incremental:
            # Later calls of partial_fit begin with the state of the optimizer.
            self._trainer = trainer.saved()

    def _rate(self, epoch: int) -> float:
        factor = self.learning_rate(epoch)
        if not (isinstance(factor, Real) and 0 <= float(factor) < np.inf):
            raise ValueError(f"learning_rate must return a finite factor that is not negative, found {factor!r}")
        return float(self.learning_rate_init * factor)

    def _given_validation(self, x: Any, y: Any, weight: Any, dtype: np.dtype) -> _HeldOut:
        x, y = self._validate(x, y, self._accepted(x, False), True, False)
        weight = None if weight is None else _check_sample_weight(weight, x, dtype=np.float64)
        return _HeldOut(Rows(x, dtype, self._encode(y, dtype), self._weights(weight, y, False)), y, weight)

    def _validate_epoch(self, network: Network, loss: Loss, held_out: _HeldOut) -> None:
        """Append the loss and the score of held-out rows."""
        if self.validation_scores_ is None or self.validation_loss_curve_ is None:
            self.validation_scores_, self.validation_loss_curve_ = [], []
        raw = network.outputs(held_out.rows)
        self.validation_loss_curve_.append(held_out.loss(raw, loss, network))
        predicted = self._decode(self._activate(raw))
        finite = predicted.dtype.kind != "f" or np.isfinite(predicted).all()
        score = self._score_of(held_out.y, predicted, held_out.sample_weight) if finite else np.nan
        self.validation_scores_.append(score)
        if self.verbose:
            print(f"Validation score: {score:f}")

    def _note_improvement(self) -> bool:
        """Count the epochs without improvement; whether the last one is the best so far."""
        if self.early_stopping:
            score, best = _last(self.validation_scores_), self.best_validation_score_
            assert best is not None
            self._no_improvement_count = self._no_improvement_count + 1 if score < best + self.tol else 0
            if score > best:
                self.best_validation_score_ = score
            return score > best
        loss, least = self.loss_, self.best_loss_
        assert least is not None
        self._no_improvement_count = self._no_improvement_count + 1 if loss > least - self.tol else 0
        self.best_loss_ = min(loss, least)
        return loss < least

    def _stops(self, trainer: Trainer) -> bool:
        """Whether to stop as nothing improves any more; the schedule 'adaptive' first tries smaller learning rates."""
        what = "Validation score" if self.early_stopping else "Training loss"
        message = f"{what} did not improve more than tol={self.tol:f} for {self.n_iter_no_change} consecutive epochs."
        stops = True
        if self.solver != "sgd" or self.learning_rate != "adaptive":
            message += " Stopping."
        elif trainer.learning_rate <= 1e-6:
            message += " Learning rate too small. Stopping."
        else:
            trainer.change_rate(trainer.learning_rate / 5)
            message += f" Setting learning rate to {trainer.learning_rate:f}"
            self._no_improvement_count, stops = 0, False
        if self.verbose:
            print(message)
        return stops

    # -- Prediction -----------------------------------------------------------------------------

    def _outputs(self, x: Any) -> np.ndarray:
        """The results with the output's activation, (rows, outputs)."""
        check_is_fitted(self)
        dtype = self._plan.dtype
        accepted = [dtype] if hasattr(x, "tocsr") else [dtype, np.uint8]
        x = validate_data(self, x, accept_sparse="csr", dtype=accepted, reset=False)
        numbers = self._numbers()
        with threads_of(self.threads):
            return self._activate(self._inference.network(self._plan, numbers).outputs(Rows(x, dtype)))

    def _activate(self, raw: np.ndarray) -> np.ndarray:
        functions: dict[str, Callable[[Any], Any]] = {
            "softmax": lambda t: t.softmax(1), "logistic": lambda t: t.sigmoid(), "exp": lambda t: t.exp(),
        }  # fmt: skip
        function = functions.get(self.out_activation_)
        if function is None:
            return raw
        with no_grad():
            return function(_wrap(raw)).numpy()

    # -- What scikit-learn asks for --------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Any:  # fmt: skip
        """Fit the model to data.

        Args:
            X: (samples, features), an array, a frame or a sparse matrix; uint8 stays uint8 in memory.
            y: (samples,) or (samples, outputs).
            sample_weight: (samples,), or None for equal weights.
            X_val, y_val, sample_weight_val: data to evaluate after each epoch. With ``early_stopping`` they take the
                place of a part of ``X``.

        Returns: the estimator.

        Raises: ValueError for data that do not fit together, or that are not finite.
        """
        if (X_val is None) != (y_val is None):
            found = "X_val" if y_val is None else "y_val"
            raise ValueError(f"X_val and y_val must be given together, found only {found}")
        if sample_weight_val is not None and X_val is None:
            raise ValueError("sample_weight_val needs X_val and y_val")
        if X_val is not None and self.solver == "lbfgs":
            raise ValueError("solver 'lbfgs' has no epochs, after which X_val could be evaluated")
        return self._fit(X, y, sample_weight, False, (X_val, y_val, sample_weight_val))

    def _has_epochs(self) -> bool:
        if self.solver == "lbfgs":
            raise AttributeError("partial_fit is only available for solvers with epochs, not for 'lbfgs'")
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class _HeldOut:
    """Rows that are evaluated after each epoch.

    Args:
        rows: with encoded targets, and with the weights of the loss.
        y: as the user gave it.
        sample_weight: of the score.
    """

    def __init__(self, rows: Rows, y: Any, sample_weight: np.ndarray | None) -> None:
        self.rows, self.y, self.sample_weight = rows, y, sample_weight

    def loss(self, raw: np.ndarray, loss: Loss, network: Network) -> float:
        """The loss of the network's results, without the penalty."""
        rows = self.rows
        assert rows.target is not None
        out, target, weights = _wrap(raw), _wrap(rows.target), rows.weights
        constants = loss.constants(rows.target)
        constant = 0.0 if constants is None else float(np.average(constants, weights=weights))
        with no_grad():
            if weights is None:
                return loss.plain()(out, target).item() * loss.reported + constant
            shape = (-1,) + (1,) * (dimensions_of(network, loss, rows) - 1)
            shares = (weights * (loss.weight / weights.sum())).astype(rows.dtype).reshape(shape)
            return loss.weighted()((out, target), from_numpy(shares)).item() * loss.reported + constant


def _last(values: list[float] | None) -> float:
    assert values is not None
    return values[-1]


def _sizes(hidden: Any) -> list[int]:
    sizes = [hidden] if isinstance(hidden, Integral) else list(hidden)
    if not all(isinstance(size, Integral) and int(size) > 0 for size in sizes):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
    return [int(size) for size in sizes]


def _per_layer(name: str, value: Any, hidden: list[int], kind: Callable[[Any], Any]) -> tuple[Any, ...]:
    """One value for each hidden layer, given as one for all or as a list."""
    if isinstance(value, (str, Real)):
        return (kind(value),) * len(hidden)
    values = tuple(map(kind, value))
    if len(values) != len(hidden):
        raise ValueError(f"{name} must have a value for each of the {len(hidden)} hidden layers, found {len(values)}")
    return values


def _check_activations(names: Iterable[str]) -> None:
    for name in names:
        if name not in ACTIVATIONS:
            raise ValueError(f"activation must be among {sorted(ACTIVATIONS)}, found {name!r}")


def _callbacks(given: Any) -> tuple[Callable[[Epoch], Any], ...]:
    callbacks = () if given is None else (given,) if callable(given) else tuple(given)
    if not all(map(callable, callbacks)):
        wrong = [type(callback).__name__ for callback in callbacks if not callable(callback)]
        raise ValueError(f"callbacks must be callable, found {wrong}")
    return callbacks


def _is_stopped_by(callbacks: Sequence[Callable[[Epoch], Any]], epoch: Epoch) -> bool:
    """Call all callbacks; return whether one returns True."""
    return any([callback(epoch) is True for callback in callbacks])  # noqa: C419  # all are called


class MLPClassifier(ClassifierMixin, _MLP):
    """Multi-layer perceptron classifier with the parameters and attributes of scikit-learn's, and more.

    Args:
        hidden_layer_sizes, alpha, batch_size, learning_rate_init, power_t, max_iter, shuffle, random_state, tol,
            verbose, warm_start, momentum, nesterovs_momentum, early_stopping, validation_fraction, beta_1, beta_2,
            epsilon, n_iter_no_change, max_fun: as in scikit-learn.
        activation: of the hidden layers: 'identity', 'logistic', 'tanh', 'relu', or an elementwise function of
            ``fastnn.nn.functional`` by name, such as 'gelu' or 'silu'; or a list with one for each layer.
        solver: 'lbfgs', 'sgd', 'adam', or another optimizer of ``fastnn.optim`` in small letters. The optimizers get
            ``learning_rate_init``, those of Adam's family also ``beta_1``, ``beta_2`` and ``epsilon``. For 'adamw'
            ``alpha`` is the decoupled weight decay.
        learning_rate: 'constant', 'invscaling' or 'adaptive' (the latter two for 'sgd' only, as in scikit-learn);
            'cosine' or 'onecycle', over ``max_iter`` epochs; or a function of the epoch, from 0, that returns the
            factor of ``learning_rate_init``.
        loss: 'log_loss', or a function of result and target that returns a mean, or a number for each row (which
            weights need), such as a loss of ``fastnn.nn``.
            It gets logits and class labels; float targets for several labels, and for BCEWithLogitsLoss.
        class_weight: a dictionary of weights by class, or 'balanced'.
        dropout: the probability of dropping after each hidden layer, or a list.
        batch_norm: normalise each hidden layer by batch before its activation.
        callbacks: a function, or a list, called with an :class:`Epoch` after each epoch; training ends if one returns
            True.
        precision: 'float32', 'float64', or 'auto', that of the data (float32 for uint8).
        threads: the most threads, or None for the process's number.

    The fitted attributes are scikit-learn's, and ``validation_loss_curve_``, and ``batch_norms_`` with ``batch_norm``.

    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import train_test_split
    >>> from fastnn.sklearn import MLPClassifier
    >>> X, X_test, y, y_test = train_test_split(*load_digits(return_X_y=True), random_state=0)
    >>> model = MLPClassifier((64,), activation="gelu", learning_rate_init=0.01, early_stopping=True, random_state=0)
    >>> model.fit(X / 16, y).score(X_test / 16, y_test) > 0.9
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **_MLP._parameter_constraints,
        "loss": [StrOptions({"log_loss"}), callable],
        "class_weight": [StrOptions({"balanced"}), dict, list, None],
    }

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: Any = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        loss: Any = "log_loss",
        class_weight: Any = None,
        dropout: Any = 0.0,
        batch_norm: bool = False,
        callbacks: Any = None,
        precision: str = "auto",
        threads: int | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.loss = loss
        self.class_weight = class_weight
        self.dropout = dropout
        self.batch_norm = batch_norm
        self.callbacks = callbacks
        self.precision = precision
        self.threads = threads

    def _validate(self, x: Any, y: Any, accepted: list[Any], incremental: bool, first: bool) -> tuple[Any, np.ndarray]:
        x, y = validate_data(
            self, x, y, accept_sparse="csr", multi_output=True, dtype=accepted, reset=first
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if not hasattr(self, "classes_") or (not self.warm_start and not incremental):
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
            return x, y
        classes = unique_labels(y)
        if self.warm_start and not incremental and set(classes) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. Previously "
                f"got {self.classes_}, `y` has {classes}"
            )
        if len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {classes}."
            )
        return x, y

    @property
    def _is_multilabel(self) -> bool:
        return self._label_binarizer.y_type_.startswith("multilabel")

    def _encode(self, y: np.ndarray, dtype: np.dtype) -> np.ndarray:
        many = self._label_binarizer.y_type_ == "multiclass"
        own = callable(self.loss) and not self._is_multilabel and not wants_one_logit(self.loss)
        if many or own:
            return np.searchsorted(self.classes_, y).astype(np.int64, copy=False)
        return self._label_binarizer.transform(y).astype(dtype)

    def _count_outputs(self, target: np.ndarray) -> int:
        return target.shape[1] if target.ndim == 2 else max(2, len(self.classes_))

    def _set_output(self, outputs: int) -> None:
        self.n_outputs_ = outputs
        own = callable(self.loss) and not self._is_multilabel and not wants_one_logit(self.loss)
        many = self._label_binarizer.y_type_ == "multiclass"
        self.out_activation_ = "softmax" if many or own else "logistic"

    def _weights(self, sample_weight: np.ndarray | None, y: Any, incremental: bool) -> np.ndarray | None:
        if self.class_weight is None:
            return sample_weight
        if incremental and isinstance(self.class_weight, str):
            raise ValueError(
                "class_weight 'balanced' needs all of y: for partial_fit compute the weights by "
                "sklearn.utils.class_weight.compute_class_weight, and pass a dictionary"
            )
        weights = compute_sample_weight(self.class_weight, y)
        return weights if sample_weight is None else weights * sample_weight

    def _decode(self, values: np.ndarray) -> np.ndarray:
        if self.out_activation_ == "softmax":
            return self.classes_[values.argmax(1)]
        return self._label_binarizer.inverse_transform(values.ravel() if self.n_outputs_ == 1 else values)

    def _score_of(self, y: Any, predicted: np.ndarray, sample_weight: Any) -> float:
        return float(accuracy_score(y, predicted, sample_weight=sample_weight))

    def predict(self, X: Any) -> np.ndarray:
        """The class of each row, (samples,), or 0 and 1 for each label, (samples, labels)."""
        return self._decode(self._outputs(X))

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, in the order of ``classes_``, or of each label: (samples, classes)."""
        values = self._outputs(X)
        if self.n_outputs_ == 1:
            return np.concatenate([1 - values, values], axis=1)
        return values

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """The logarithm of :meth:`predict_proba`."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    @available_if(lambda self: self._has_epochs())
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> MLPClassifier:
        """One epoch over these data, from the present coefficients and the state of the optimizer.

        Args:
            X, y, sample_weight: as for ``fit``.
            classes: all classes of all calls; needed in the first one.
        """
        if _check_partial_fit_first_call(self, classes):
            self._label_binarizer = LabelBinarizer()
            self._label_binarizer.fit(y if type_of_target(y).startswith("multilabel") else classes)
        return self._fit(X, y, sample_weight, True)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def _more_tags(self) -> dict[str, Any]:
        return {"multilabel": True}


class MLPRegressor(RegressorMixin, _MLP):
    """Multi-layer perceptron regressor with the parameters and attributes of scikit-learn's, and more.

    Args:
        hidden_layer_sizes, alpha, batch_size, learning_rate_init, power_t, max_iter, shuffle, random_state, tol,
            verbose, warm_start, momentum, nesterovs_momentum, early_stopping, validation_fraction, beta_1, beta_2,
            epsilon, n_iter_no_change, max_fun: as in scikit-learn.
        activation: of the hidden layers: 'identity', 'logistic', 'tanh', 'relu', or an elementwise function of
            ``fastnn.nn.functional`` by name, such as 'gelu' or 'silu'; or a list with one for each layer.
        solver: 'lbfgs', 'sgd', 'adam', or another optimizer of ``fastnn.optim`` in small letters. The optimizers get
            ``learning_rate_init``, those of Adam's family also ``beta_1``, ``beta_2`` and ``epsilon``. For 'adamw'
            ``alpha`` is the decoupled weight decay.
        learning_rate: 'constant', 'invscaling' or 'adaptive' (the latter two for 'sgd' only, as in scikit-learn);
            'cosine' or 'onecycle', over ``max_iter`` epochs; or a function of the epoch, from 0, that returns the
            factor of ``learning_rate_init``.
        loss: 'squared_error' or 'poisson', or a function of result and target that returns a mean, or a number for
            each row (which weights need), such as a loss of ``fastnn.nn``.
        dropout: the probability of dropping after each hidden layer, or a list.
        batch_norm: normalise each hidden layer by batch before its activation.
        callbacks: a function, or a list, called with an :class:`Epoch` after each epoch; training ends if one returns
            True.
        precision: 'float32', 'float64', or 'auto', that of the data (float32 for uint8).
        threads: the most threads, or None for the process's number.

    The fitted attributes are scikit-learn's, and ``validation_loss_curve_``, and ``batch_norms_`` with ``batch_norm``.

    >>> import numpy as np
    >>> from fastnn.sklearn import MLPRegressor
    >>> X = np.linspace(-1, 1, 200).reshape(-1, 1)
    >>> y = np.sin(3 * X[:, 0])
    >>> model = MLPRegressor(hidden_layer_sizes=(50,), activation="silu", solver="lbfgs", max_iter=2000, random_state=0)
    >>> model.fit(X, y).score(X, y) > 0.99
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **_MLP._parameter_constraints,
        "loss": [StrOptions({"squared_error", "poisson"}), callable],
    }

    def __init__(
        self,
        loss: Any = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: Any = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dropout: Any = 0.0,
        batch_norm: bool = False,
        callbacks: Any = None,
        precision: str = "auto",
        threads: int | None = None,
    ) -> None:
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.dropout = dropout
        self.batch_norm = batch_norm
        self.callbacks = callbacks
        self.precision = precision
        self.threads = threads

    def _validate(self, x: Any, y: Any, accepted: list[Any], incremental: bool, first: bool) -> tuple[Any, np.ndarray]:
        x, y = validate_data(
            self, x, y, accept_sparse="csr", multi_output=True, y_numeric=True, dtype=accepted, reset=first
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return x, y

    def _encode(self, y: np.ndarray, dtype: np.dtype) -> np.ndarray:
        if self.loss == "poisson" and (y < 0).any():
            raise ValueError("Some value(s) of y are out of the range of the loss 'poisson': y must not be negative")
        return np.ascontiguousarray(y.reshape(len(y), -1), dtype)

    def _count_outputs(self, target: np.ndarray) -> int:
        return target.shape[1]

    def _set_output(self, outputs: int) -> None:
        self.n_outputs_ = outputs
        self.out_activation_ = "exp" if isinstance(self.loss, str) and self.loss == "poisson" else "identity"

    def _weights(self, sample_weight: np.ndarray | None, y: Any, incremental: bool) -> np.ndarray | None:
        return sample_weight

    def _decode(self, values: np.ndarray) -> np.ndarray:
        return values.ravel() if self.n_outputs_ == 1 else values

    def _score_of(self, y: Any, predicted: np.ndarray, sample_weight: Any) -> float:
        return float(r2_score(y, predicted, sample_weight=sample_weight))

    def predict(self, X: Any) -> np.ndarray:
        """The predicted values, (samples,) or (samples, outputs)."""
        return self._decode(self._outputs(X))

    @available_if(lambda self: self._has_epochs())
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPRegressor:
        """One epoch over these data, from the present coefficients and the state of the optimizer."""
        return self._fit(X, y, sample_weight, True)
