"""Estimators of scikit-learn as modules: the same predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse

import fastnn

pytest.importorskip("sklearn", reason="the package scikit-learn is not installed")
from sklearn.linear_model import LinearRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

RNG = np.random.default_rng(0)
X = RNG.normal(2, 3, (40, 4))
TOTAL = X.sum(1)
THREE = np.digitize(TOTAL, [4, 12])
COMMON: dict[str, Any] = {"hidden_layer_sizes": (7, 5), "max_iter": 5, "random_state": 0}


def fitted(estimator: Any, x: np.ndarray, y: np.ndarray) -> Any:
    with pytest.warns(UserWarning, match="converged"):
        return estimator.fit(x, y)


CLASSIFIERS = {
    "three": (lambda: MLPClassifier(**COMMON), THREE),
    "two": (lambda: MLPClassifier(activation="tanh", **COMMON), TOTAL > 8),
    "text": (lambda: MLPClassifier(activation="logistic", **COMMON), np.array(["a", "bb", "c"])[THREE]),
    "several labels": (lambda: MLPClassifier(**COMMON), np.stack([TOTAL > 5, TOTAL > 9], 1).astype(int)),
    "scaled": (lambda: make_pipeline(StandardScaler(), MLPClassifier(activation="identity", **COMMON)), THREE),
    "scaled in part": (
        lambda: make_pipeline(StandardScaler(with_mean=False), "passthrough", MLPClassifier(**COMMON)), THREE
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_classifier(name, dtype):
    make, y = CLASSIFIERS[name]
    x = X.astype(dtype)
    estimator = fitted(make(), x, y)
    model = fastnn.convert.from_sklearn(estimator)
    limit = 1e-12 if dtype is np.float64 else 1e-6
    np.testing.assert_allclose(model.predict_proba(x), estimator.predict_proba(x), 0, limit)
    labels = model.predict(x)
    np.testing.assert_array_equal(labels, estimator.predict(x))
    assert labels.dtype.kind == estimator.predict(x).dtype.kind
    assert model(fastnn.from_numpy(x)).dtype is next(model.parameters()).dtype


@pytest.mark.parametrize("columns", [1, 2])
def test_regressor(columns):
    y = np.stack([TOTAL, X[:, 0]], 1)[:, :columns].squeeze()
    estimator = fitted(make_pipeline(StandardScaler(), MLPRegressor(**COMMON)), X, y)
    model = fastnn.convert.from_sklearn(estimator)
    expected = estimator.predict(X)
    assert model.predict(X).shape == expected.shape
    np.testing.assert_allclose(model.predict(X), expected, 1e-12, 1e-12)
    assert model(fastnn.from_numpy(X)).shape == (40, columns)


def test_one_class_and_sparse_rows():
    x = scipy.sparse.csr_matrix(X)
    estimator = fitted(MLPClassifier(**COMMON), x, np.full(len(X), "a"))
    model = fastnn.convert.from_sklearn(estimator)
    assert set(model.predict(x)) == {"a"}
    np.testing.assert_allclose(model.predict_proba(x), estimator.predict_proba(x), 0, 1e-12)


def test_scaler():
    estimator = StandardScaler(with_std=False).fit(X)
    model = fastnn.convert.from_sklearn(estimator)
    np.testing.assert_allclose(model.transform(X), estimator.transform(X), 1e-12, 1e-12)
    assert dict(model.named_parameters()) == {}


def test_the_model_can_be_trained():
    model = fastnn.convert.from_sklearn(fitted(make_pipeline(StandardScaler(), MLPClassifier(**COMMON)), X, THREE))
    optimizer = fastnn.optim.SGD(model.parameters(), 0.1)
    x, y = fastnn.from_numpy(X), fastnn.from_numpy(THREE)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = fastnn.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[2] < losses[0]


def test_errors():
    with pytest.raises(TypeError, match=r"LinearRegression cannot be converted"):
        fastnn.convert.from_sklearn(LinearRegression().fit(X, TOTAL))
    with pytest.raises(TypeError, match=r"MinMaxScaler cannot be converted"):
        fastnn.convert.from_sklearn(fitted(make_pipeline(MinMaxScaler(), MLPRegressor(**COMMON)), X, TOTAL))
    for wrong, name in ((3, "int"), (None, "NoneType"), (Pipeline([("a", "passthrough")]), "Pipeline")):
        with pytest.raises(TypeError, match=f"{name} cannot be converted"):
            fastnn.convert.from_sklearn(wrong)
    with pytest.raises(ValueError, match=r"X must have two dimensions"):
        fastnn.convert.from_sklearn(StandardScaler().fit(X)).transform(X[0])
    with pytest.raises(ValueError, match=r"MLPClassifier is not fitted yet"):
        fastnn.convert.from_sklearn(MLPClassifier())
