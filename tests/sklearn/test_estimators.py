"""What the estimators do in scikit-learn's tools, and what they add to scikit-learn's."""

from __future__ import annotations

import copy
import importlib
import io
import pickle
import sys
import warnings
from typing import Any

import cloudpickle
import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

import fastnn
import fastnn.sklearn
from fastnn import nn
from fastnn.capture import epoch as epochs
from fastnn.capture.step import CompiledStep
from fastnn.sklearn import Epoch, MLPClassifier, MLPRegressor
from fastnn.sklearn import training as trainers

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

_IRIS = load_iris()
_X, _Y = StandardScaler().fit_transform(_IRIS.data), _IRIS.target
_NUMBER = _IRIS.data[:, 3]
_SMALL: dict[str, Any] = {"hidden_layer_sizes": (8,), "learning_rate_init": 0.02, "max_iter": 40, "random_state": 0}


def small(**options: Any) -> MLPClassifier:
    return MLPClassifier(**{**_SMALL, **options})


# -- scikit-learn's tools --------------------------------------------------------------------


def test_grid_search_and_similar_tools() -> None:
    pipeline = make_pipeline(StandardScaler(), small())
    grid = {"mlpclassifier__activation": ["relu", "silu"], "mlpclassifier__alpha": [1e-4, 1.0]}
    # In threads: what processes need is that estimators can be pickled, which is tested below.
    with joblib.parallel_backend("threading"):
        search = GridSearchCV(pipeline, grid, n_jobs=2, cv=3).fit(_IRIS.data, _Y)
    serial = GridSearchCV(pipeline, grid, cv=3).fit(_IRIS.data, _Y)
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], serial.cv_results_["mean_test_score"])
    assert search.best_score_ > 0.9
    assert cross_val_score(pipeline, _IRIS.data, _Y, cv=3).mean() > 0.9
    assert CalibratedClassifierCV(pipeline, cv=2).fit(_IRIS.data, _Y).score(_IRIS.data, _Y) > 0.9
    found = permutation_importance(search.best_estimator_, _IRIS.data, _Y, n_repeats=2, random_state=0)
    assert found.importances_mean.argmax() in (2, 3)


@pytest.mark.parametrize(
    "options", [{}, {"solver": "sgd"}, {"solver": "lbfgs"}, {"batch_norm": True, "dropout": 0.2}], ids=str
)
def test_copies(options: dict[str, Any]) -> None:
    model = small(**options, max_iter=5).fit(_X, _Y)
    stream = io.BytesIO()
    joblib.dump(model, stream)
    stream.seek(0)
    copies = [
        pickle.loads(pickle.dumps(model)), cloudpickle.loads(cloudpickle.dumps(model)), copy.deepcopy(model),
        joblib.load(stream),
    ]  # fmt: skip
    before = model.predict_proba(_X)
    for made in copies:
        np.testing.assert_array_equal(made.predict_proba(_X), before)
    if options.get("solver") != "lbfgs":
        # A copy trains on as its original does, with the state of the optimizer.
        after = model.partial_fit(_X, _Y).predict_proba(_X)
        for made in copies:
            np.testing.assert_array_equal(made.partial_fit(_X, _Y).predict_proba(_X), after)
        assert np.abs(after - before).max() > 0
    assert not hasattr(clone(model), "coefs_")


def test_frames() -> None:
    names = list("abcd")
    for frame in (pd.DataFrame(_X, columns=names), pl.DataFrame(_X, schema=names)):
        model = small().fit(frame, _Y)
        np.testing.assert_array_equal(model.predict_proba(frame), small().fit(_X, _Y).predict_proba(_X))
        # Older versions of scikit-learn do not find the names of newer frames of polars.
        if not hasattr(StandardScaler().fit(frame), "feature_names_in_"):
            assert isinstance(frame, pl.DataFrame)
            continue
        assert model.feature_names_in_.tolist() == names
        with pytest.raises(ValueError, match="feature names should match"):
            model.predict(pd.DataFrame(_X, columns=names[::-1]))


def test_routed_weights() -> None:
    with sklearn.config_context(enable_metadata_routing=True):
        weights = np.random.default_rng(0).random(len(_X))
        model = small().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        fitted = make_pipeline(scaler, model).fit(_X, _Y, sample_weight=weights)
    expected = small().fit(StandardScaler().fit_transform(_X), _Y, weights)
    np.testing.assert_array_equal(fitted[-1].coefs_[0], expected.coefs_[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sparse_data_are_made_dense_in_parts(dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.where(np.abs(_X) > 0.7, _X, 0).astype(dtype)
    dense = small(early_stopping=True).fit(x, _Y)
    rows: list[int] = []
    for kind in (scipy.sparse.csr_matrix, scipy.sparse.csr_array):
        whole = kind.toarray

        def toarray(self: Any, *args: Any, whole: Any = whole, **options: Any) -> Any:
            rows.append(self.shape[0])
            return whole(self, *args, **options)

        monkeypatch.setattr(kind, "toarray", toarray)
    monkeypatch.setattr("fastnn.sklearn.training.CHUNK", 50)
    for container in (scipy.sparse.csr_matrix, scipy.sparse.csc_array):
        model = small(early_stopping=True).fit(container(x), _Y)
        for a, b in zip(model.coefs_, dense.coefs_, strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(model.predict_proba(container(x)), dense.predict_proba(x), rtol=1e-5)
    # A chunk; a launch makes batches dense.
    assert max(rows) == 50
    assert rows.count(50) >= 2


@pytest.mark.parametrize("container", [np.ascontiguousarray, scipy.sparse.csr_matrix])
@pytest.mark.parametrize(
    "options",
    [{}, {"solver": "sgd", "alpha": 0.1}, {"solver": "adamw"}, {"solver": "rmsprop", "alpha": 0.01},
     {"learning_rate": "onecycle", "dropout": 0.2, "batch_norm": True}],
    ids=str,
)  # fmt: skip
def test_weighted_and_sparse_rows_run_many_steps_in_one_call(
    options: dict[str, Any], container: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bits as one by one. Without a shuffle the second batch has no weight, and is left out."""
    x = container(np.where(np.abs(_X) > 0.7, _X, 0))
    weights = np.random.default_rng(0).integers(0, 4, len(_X)).astype(float)
    weights[20:40] = 0
    counts: list[int] = []
    run = epochs.Steps.run

    def counted(self: Any, *args: Any) -> Any:
        found = run(self, *args)
        counts.append(0 if found is None else len(found[0]))
        return found

    monkeypatch.setattr(epochs.Steps, "run", counted)
    made = []
    for is_ahead in (True, False):
        if not is_ahead:
            monkeypatch.setattr(CompiledStep, "_is_ahead", lambda *_: False)
        for weight in (weights, None):
            model = small(batch_size=20, max_iter=6, shuffle=False, **options).fit(x, _Y, weight)
            made.append((*model.coefs_, *model.intercepts_, np.array(model.loss_curve_)))
        if is_ahead:
            # Of 6 epochs of 7 batches each, and one that is not full. The penalty of rmsprop is an option of a group.
            assert max(counts) >= (2 if options.get("solver") == "rmsprop" else 5)
            counts.clear()
    assert not counts
    for ahead, single in zip(made[:2], made[2:], strict=True):
        for a, b in zip(ahead, single, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_zeros_are_skipped(dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bits as without skipping them, and the same training after a fit."""
    rng = np.random.default_rng(0)
    # No last batch of up to four rows, whose products are made in another order.
    x = (rng.integers(1, 9, (100, 21)) * (rng.random((100, 21)) < 0.1)).astype(dtype)
    y, weights = rng.integers(0, 3, 100), rng.random(100)
    explanations, compressed = explanations_of(monkeypatch), []
    compress = trainers.compressed

    def noted(*args: Any) -> Any:
        compressed.append(compress(*args))
        return compressed[-1]

    monkeypatch.setattr(trainers, "compressed", noted)

    def fitted() -> list[MLPClassifier]:
        options = {"batch_size": 40, "hidden_layer_sizes": (19,), "max_iter": 5}
        return [
            small(**options).fit(x, y).partial_fit(x, y),
            small(**options, solver="sgd", early_stopping=True).fit(x, y, weights),
            small(**options, solver="nadam", dropout=0.3).fit(x, y).partial_fit(x, y),
            small(**options, solver="adamw", batch_norm=True, activation="gelu").fit(x, y).partial_fit(x, y),
        ]

    dense = fitted()
    assert not any(compressed)
    monkeypatch.setattr("fastnn.sklearn.sparse._LEAST_ROW", 1)
    monkeypatch.setattr("fastnn.sklearn.sparse._LEAST_LAYER", 1)
    skipped = fitted()
    if dtype != np.uint8:
        x = scipy.sparse.csr_array(x)
        skipped += fitted()
    for a, b in zip(dense * (len(skipped) // len(dense)), skipped, strict=True):
        # The penalty in the loss is added up in another order.
        np.testing.assert_allclose(a.loss_curve_, b.loss_curve_, rtol=1e-12)
        for p, q in zip((*a.coefs_, *a.intercepts_), (*b.coefs_, *b.intercepts_), strict=True):
            np.testing.assert_array_equal(p, q)
    assert all(compressed[4:])
    assert set(explanations) == {"captured: 2 programs"}


@pytest.mark.parametrize("convert", [np.ascontiguousarray, scipy.sparse.csr_matrix])
def test_rows_of_zeros(convert: Any) -> None:
    x = np.zeros((40, 200), np.float32)
    model = small(hidden_layer_sizes=(200,), batch_size=20, max_iter=2).fit(convert(x), np.arange(40) % 3)
    assert np.isfinite(model.loss_)


def test_bytes_stay_bytes() -> None:
    x = np.random.default_rng(0).integers(0, 256, (60, 5)).astype(np.uint8)
    y = (x[:, 0] > 127).astype(int)
    model = small().fit(x, y)
    assert model.coefs_[0].dtype == np.float32
    np.testing.assert_array_equal(model.coefs_[0], small().fit(x.astype(np.float32), y).coefs_[0])
    np.testing.assert_array_equal(model.predict(x), model.predict(x.astype(float)))
    assert small(precision="float64").fit(x, y).coefs_[0].dtype == np.float64


def test_coefficients_can_be_set() -> None:
    model = small().fit(_X, _Y)
    model.coefs_[0][...] = 0
    model.intercepts_ = [np.zeros_like(array) for array in model.intercepts_]
    np.testing.assert_allclose(model.predict_proba(_X), 1 / 3)
    model.intercepts_ = [np.zeros(8), [0, 0, np.log(2)]]
    np.testing.assert_allclose(model.predict_proba(_X[:1]), [[0.25, 0.25, 0.5]])
    # Arrays of another type, and those of a normalisation, are read at each call too.
    model.coefs_ = [array.astype(np.float32) for array in model.coefs_]
    before = model.predict_proba(_X)
    model.coefs_[0][...] = 1
    model.coefs_[1][:, 0] = 1
    assert np.abs(model.predict_proba(_X) - before).max() > 0.01
    model = small(batch_norm=True).fit(_X, _Y)
    before = model.predict_proba(_X)
    model.batch_norms_[0]["running_mean"] += 1
    assert np.abs(model.predict_proba(_X) - before).max() > 0.01


def test_warm_starts_with_other_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    model = small(solver="lbfgs", warm_start=True, max_iter=3, verbose=True).fit(_X, _Y)
    assert capsys.readouterr().out.count("loss = ") == 3
    model.set_params(solver="adam").fit(_X, _Y)
    model.set_params(early_stopping=True, alpha=0).fit(_X, _Y)
    model.set_params(early_stopping=False, activation="gelu", solver="adamw").partial_fit(_X, _Y)
    assert len(model.loss_curve_) == 7
    assert "Validation score" in capsys.readouterr().out
    with pytest.raises(ValueError, match="layers of the fitted network cannot change"):
        model.set_params(hidden_layer_sizes=(9,)).fit(_X, _Y)
    with pytest.raises(ValueError, match=r"without batch_norm, found .* with$"):
        model.set_params(hidden_layer_sizes=(8,), batch_norm=True).fit(_X, _Y)


def test_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'fastnn\[sklearn\]'"):
        importlib.reload(fastnn.sklearn)


# -- What is added ---------------------------------------------------------------------------


def explanations_of(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that receives the explanation of the step of each fit."""
    explanations: list[str] = []
    saved = trainers.Trainer.saved

    def explain(self: Any) -> Any:
        explanations.extend(step.explain() for step in self._steps.values())
        return saved(self)

    monkeypatch.setattr(trainers.Trainer, "saved", explain)
    return explanations


def test_every_solver_and_activation_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    explanations = explanations_of(monkeypatch)
    activations = sorted(known_activations())
    solvers = sorted(trainers.SOLVERS)
    for i in range(max(len(activations), len(solvers))):
        solver, activation = solvers[i % len(solvers)], activations[i % len(activations)]
        alpha = 0 if solver == "rprop" else 0.1
        model = small(solver=solver, alpha=alpha, max_iter=4, activation=activation).fit(_X, _Y)
        assert model.loss_curve_[-1] != model.loss_curve_[0], (solver, model.activation)
    weights = np.random.default_rng(0).random(len(_X))
    two, many = (_Y == 1).astype(int), np.stack([_Y == 1, _Y == 2], 1).astype(int)
    for target in (_Y, two, many):
        small(max_iter=4).fit(_X, target, weights)
    small(max_iter=4, loss=nn.CrossEntropyLoss(label_smoothing=0.1), class_weight="balanced").fit(_X, _Y)
    small(max_iter=4, batch_norm=True, dropout=0.5).fit(_X, _Y)
    for loss in ("squared_error", "poisson", nn.HuberLoss()):
        for given in (None, weights):
            MLPRegressor(loss, **{**_SMALL, "max_iter": 4}).fit(_X, _NUMBER, given)
    assert len(explanations) >= 30
    assert set(explanations) == {"captured: 1 program"}


def known_activations() -> Any:
    from fastnn.sklearn.network import ACTIVATIONS

    assert {"identity", "logistic", "tanh", "relu", "gelu", "silu", "leaky_relu", "mish", "selu"} <= set(ACTIVATIONS)
    return ACTIVATIONS


def test_activation_and_dropout_of_each_layer() -> None:
    model = small(hidden_layer_sizes=(6, 5), activation=["tanh", "gelu"], dropout=[0.3, 0]).fit(_X, _Y)
    x = np.tanh(_X @ model.coefs_[0] + model.intercepts_[0])
    x = nn.functional.gelu(fastnn.from_numpy(x @ model.coefs_[1] + model.intercepts_[1])).numpy()
    e = np.exp(x @ model.coefs_[2] + model.intercepts_[2])
    np.testing.assert_allclose(model.predict_proba(_X), e / e.sum(1, keepdims=True), rtol=1e-10)
    # Dropout draws from random_state, and leaves the generator alone.
    state = fastnn.get_rng_state()
    again = clone(model).fit(_X, _Y)
    assert (fastnn.get_rng_state() == state).all()
    np.testing.assert_array_equal(again.coefs_[0], model.coefs_[0])
    assert np.abs(clone(model).set_params(dropout=0).fit(_X, _Y).coefs_[0] - model.coefs_[0]).max() > 1e-3


def test_batch_norm() -> None:
    # A last batch of one row joins the batch before.
    model = small(batch_norm=True, batch_size=50).fit(np.r_[_X, _X[:1]], np.r_[_Y, _Y[:1]])
    [norm] = model.batch_norms_
    z = _X @ model.coefs_[0] + model.intercepts_[0]
    z = (z - norm["running_mean"]) / np.sqrt(norm["running_var"] + 1e-5) * norm["weight"] + norm["bias"]
    e = np.exp(np.maximum(z, 0) @ model.coefs_[1] + model.intercepts_[1])
    np.testing.assert_allclose(model.predict_proba(_X), e / e.sum(1, keepdims=True), rtol=1e-10)
    before = norm["running_mean"].copy()
    model.partial_fit(_X, _Y)
    assert np.abs(model.batch_norms_[0]["running_mean"] - before).max() > 0
    with pytest.raises(ValueError, match="more than 1 sample"):
        small(batch_norm=True).fit(_X[:1], _Y[:1])


def test_class_weights_are_sample_weights() -> None:
    for weight in ("balanced", {0: 1.0, 1: 5.0, 2: 0.0}):
        y = np.where(np.arange(len(_Y)) % 3, _Y, 0)
        model = small(class_weight=weight).fit(_X, y)
        expected = small().fit(_X, y, compute_sample_weight(weight, y))
        np.testing.assert_array_equal(model.coefs_[0], expected.coefs_[0])
    assert 2 not in model.predict(_X)
    with pytest.raises(ValueError, match="needs all of y"):
        small(class_weight="balanced").partial_fit(_X, _Y, classes=[0, 1, 2])
    many = np.stack([_Y == 1, _Y == 2], 1).astype(int)
    assert small(class_weight="balanced").fit(_X, many).score(_X, many) > 0.8


def test_losses_of_ones_own() -> None:
    def squares(out: Any, target: Any) -> Any:
        return 0.5 * (out - target) ** 2

    same = [MLPRegressor(loss, **_SMALL).fit(_X, _NUMBER) for loss in ("squared_error", squares)]
    np.testing.assert_allclose(same[0].coefs_[0], same[1].coefs_[0], rtol=1e-9)
    weights = np.random.default_rng(0).random(len(_X))
    same = [clone(model).fit(_X, _NUMBER, weights) for model in same]
    np.testing.assert_allclose(same[0].coefs_[0], same[1].coefs_[0], rtol=1e-9)
    assert same[1].out_activation_ == "identity"
    # Of two classes: a logit for each, or one for BCEWithLogitsLoss.
    two = (_Y == 1).astype(int)
    smooth = small(loss=nn.CrossEntropyLoss(label_smoothing=0.1)).fit(_X, two)
    assert (smooth.out_activation_, smooth.n_outputs_, smooth.predict_proba(_X).shape) == ("softmax", 2, (150, 2))
    names = np.array(["no", "yes"])[two]
    one = small(loss=nn.BCEWithLogitsLoss()).fit(_X, names)
    assert (one.out_activation_, one.n_outputs_) == ("logistic", 1)
    np.testing.assert_array_equal(one.coefs_[0], small().fit(_X, names).coefs_[0])
    assert set(one.predict(_X)) == {"no", "yes"}

    def whole(out: Any, target: Any) -> Any:
        return nn.functional.mse_loss(out, target)

    with pytest.raises(ValueError, match="a number for each row"):
        MLPRegressor(whole, **_SMALL).fit(_X, _NUMBER, weights)
    for wrong, found in (
        (lambda out, target: (out - target).sum(0), r"shape \(1,\)"), (lambda out, target: 3.0, "float"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"a number for each of the 150 rows, found {found}"):
            MLPRegressor(wrong, **_SMALL).fit(_X, _NUMBER)


def test_schedules() -> None:
    rates: dict[str, list[float]] = {}
    for name in ("cosine", "onecycle"):
        seen = rates[name] = []
        model = small(learning_rate=name, n_iter_no_change=40, callbacks=lambda e, seen=seen: seen.append(e.lr))
        model.fit(_X, _Y)
    assert rates["cosine"] == sorted(rates["cosine"], reverse=True)
    assert max(rates["onecycle"]) == pytest.approx(0.02, rel=0.01)
    assert rates["onecycle"][-1] < 0.002
    halved: list[float] = []
    small(learning_rate=lambda epoch: 0.5**epoch, max_iter=4, callbacks=[lambda e: halved.append(e.lr)]).fit(_X, _Y)
    assert halved == [0.02, 0.01, 0.005, 0.0025]
    with pytest.raises(ValueError, match="finite factor"):
        small(learning_rate=lambda epoch: -1).fit(_X, _Y)


def test_callbacks_and_validation() -> None:
    seen: list[Epoch] = []

    def stop(epoch: Epoch) -> bool:
        seen.append(epoch)
        assert epoch.estimator.predict(_X).shape == _Y.shape
        return epoch.number == 3

    weights = np.random.default_rng(0).random(50)
    model = small(callbacks=[stop]).fit(_X[::2], _Y[::2], X_val=_X[1::3], y_val=_Y[1::3], sample_weight_val=weights)
    assert model.n_iter_ == len(seen) == 3
    assert [e.loss for e in seen] == model.loss_curve_
    assert [e.validation_loss for e in seen] == model.validation_loss_curve_
    assert [e.validation_score for e in seen] == model.validation_scores_
    assert model.validation_scores_[-1] == model.score(_X[1::3], _Y[1::3], weights)
    picked = model.predict_log_proba(_X[1::3])[np.arange(50), _Y[1::3]]
    assert model.validation_loss_curve_[-1] == pytest.approx(-np.average(picked, weights=weights))
    assert model.best_validation_score_ is None
    early = small(early_stopping=True, n_iter_no_change=1).fit(_X, _Y, X_val=_X, y_val=_Y)
    assert early.best_validation_score_ == early.score(_X, _Y)
    for targets in (_NUMBER, np.stack([_NUMBER, -_NUMBER], 1)):
        other = MLPRegressor(**_SMALL).fit(_X, targets, X_val=_X, y_val=targets)
        error = ((other.predict(_X) - targets) ** 2).mean() / 2
        assert other.validation_loss_curve_[-1] == pytest.approx(error)
    with pytest.raises(ValueError, match="together"):
        small().fit(_X, _Y, X_val=_X)


def test_interrupt_keeps_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    advance, calls = CompiledStep._advance, [0]

    def interrupted(self: Any, *args: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == 5:
            raise KeyboardInterrupt
        return advance(self, *args, **options)

    monkeypatch.setattr(CompiledStep, "_advance", interrupted)
    with pytest.warns(UserWarning, match="interrupted by user"):
        model = small(batch_size=50).fit(_X, _Y)
    # Three single steps in the first epoch, then an epoch in a call.
    assert (model.n_iter_, calls[0]) == (2, 5)
    assert model.predict(_X).shape == _Y.shape


def test_threads_give_the_same_bits() -> None:
    before = fastnn.get_num_threads()
    made = [small(threads=threads).fit(_X, _Y) for threads in (1, 2)]
    np.testing.assert_array_equal(made[0].coefs_[0], made[1].coefs_[0])
    assert fastnn.get_num_threads() == before


def test_messages() -> None:
    for options, message in (
        ({"precision": "bf16"}, "'precision' parameter"), ({"activation": ["relu", "tanh"]}, "each of the 1 hidden"),
        ({"activation": ["step"]}, "activation must be among"), ({"dropout": [0.1, 0.2]}, "dropout must have a value"),
        ({"dropout": [1.5]}, "dropout"), ({"callbacks": [1]}, "callbacks must be"), ({"threads": 0}, "'threads'"),
        ({"solver": "lbfgs", "dropout": 0.5}, "no dropout"), ({"solver": "rprop"}, "alpha must be 0"),
        ({"loss": "hinge"}, "'loss' parameter"), ({"hidden_layer_sizes": (0,)}, "must be > 0"),
        ({"class_weight": {7: 1.0}}, "class_weight|classes"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            small(**options).fit(_X, _Y)
    with pytest.raises(ValueError, match="zero"):
        small().fit(_X, _Y, np.zeros(len(_X)))
    with pytest.raises(ValueError, match="sample_weight_val needs X_val"):
        small().fit(_X, _Y, sample_weight_val=np.ones(len(_X)))
    with pytest.raises(AttributeError, match="partial_fit"):
        small(solver="lbfgs").partial_fit(_X, _Y)
    with pytest.raises(ValueError, match="must not be negative"):
        MLPRegressor("poisson").fit(_X, -_NUMBER)
    with pytest.raises(ValueError, match="early_stopping"):
        small(early_stopping=True).partial_fit(_X, _Y, classes=[0, 1, 2])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match="infinity or a value too large"):
            small(precision="float32").fit(_X * 1e300, _Y)
        with pytest.raises(ValueError, match="non-finite"):
            MLPRegressor(solver="sgd", learning_rate_init=1e3, max_iter=50).fit(_X * 1e10, _NUMBER * 1e10)
    with pytest.warns(ConvergenceWarning, match="Maximum iterations"):
        small(max_iter=2).fit(_X, _Y)
    with pytest.warns(ConvergenceWarning, match="lbfgs failed to converge"):
        small(solver="lbfgs", max_iter=2).fit(_X, _Y)
