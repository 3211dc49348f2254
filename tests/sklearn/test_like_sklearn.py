"""The same numbers as scikit-learn's estimators, from the same seeds."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import sklearn
from sklearn import neural_network
from sklearn.datasets import load_iris
from sklearn.preprocessing import StandardScaler

import fastnn.sklearn

_IRIS = load_iris()
_X = StandardScaler().fit_transform(_IRIS.data)
_WEIGHTS = np.random.default_rng(0).integers(0, 4, len(_X)).astype(float)
# scikit-learn's MLP takes weights, and the Poisson loss, from 1.7 on.
_HAS_WEIGHTS = tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 7)

_TARGETS = {
    "classes": _IRIS.target,
    "names": _IRIS.target_names[_IRIS.target],
    "two": (_IRIS.target == 1).astype(int),
    "labels": np.stack([_IRIS.target == 1, _IRIS.target > 0, _X[:, 0] > 0], 1).astype(int),
    "number": _IRIS.data[:, 3],
    "numbers": _IRIS.data[:, 2:] * [[1.0, 10.0]],
}
_SGD: dict[str, Any] = {"solver": "sgd", "learning_rate_init": 0.3}
_CASES: list[tuple[str, dict[str, Any]]] = [
    ("classes", {}),
    ("classes", _SGD),
    ("classes", {**_SGD, "nesterovs_momentum": False, "learning_rate": "invscaling"}),
    ("classes", {**_SGD, "learning_rate": "adaptive", "n_iter_no_change": 1, "tol": 1e-2}),
    ("classes", {"solver": "sgd", "momentum": 0}),
    ("classes", {"solver": "lbfgs"}),
    ("classes", {"activation": "tanh", "alpha": 0.1, "shuffle": False}),
    ("classes", {"activation": "logistic", "hidden_layer_sizes": (5,)}),
    ("classes", {"activation": "identity", "alpha": 0, "beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3}),
    ("classes", {"hidden_layer_sizes": ()}),
    ("names", {}),
    ("classes", {"early_stopping": True, "n_iter_no_change": 2}),
    ("two", {"early_stopping": True, "n_iter_no_change": 2, "validation_fraction": 0.3}),
    ("labels", {}),
    ("labels", {"solver": "lbfgs"}),
    ("number", {}),
    ("number", {"early_stopping": True}),
    ("numbers", {}),
    ("numbers", {"solver": "lbfgs"}),
    ("number", {"loss": "poisson"}),
]  # fmt: skip


# With weights the losses are other functions, one for each kind of target, and of L-BFGS.
_WEIGHTED = [0, 1, 5, 11, 12, 13, 14, 16, 17, 18, 19]


@pytest.mark.parametrize(
    ("target", "options", "weights"), [(*case, None) for case in _CASES] + [(*_CASES[i], _WEIGHTS) for i in _WEIGHTED],
    ids=lambda value: "weights" if isinstance(value, np.ndarray) else str(value).replace(" ", ""),
)  # fmt: skip
def test_same_numbers(target: str, options: dict[str, Any], weights: np.ndarray | None) -> None:
    if not _HAS_WEIGHTS and (weights is not None or "loss" in options):
        pytest.skip("this scikit-learn has no weights of samples, and no Poisson loss")
    options = {"hidden_layer_sizes": (7, 5), "batch_size": 64, "max_iter": 8, "random_state": 3, **options}
    kind = "MLPRegressor" if target.startswith("number") else "MLPClassifier"
    made: list[Any] = []
    for library in (neural_network, fastnn.sklearn):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            given = {} if weights is None else {"sample_weight": weights}
            made.append(getattr(library, kind)(**options).fit(_X, _TARGETS[target], **given))
    theirs, ours = made
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(ours, name) == getattr(theirs, name)
    # Rounding of float64, amplified by L-BFGS's line search.
    close = {"rtol": 1e-6, "atol": 1e-8} if options.get("solver") == "lbfgs" else {"rtol": 1e-9, "atol": 1e-11}
    for name in ("coefs_", "intercepts_"):
        for a, b in zip(getattr(ours, name), getattr(theirs, name), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, **close)
    names = ("loss_", "best_loss_", "loss_curve_", "validation_scores_", "best_validation_score_")
    for name in names[:1] if options.get("solver") == "lbfgs" else names:
        a, b = getattr(ours, name), getattr(theirs, name)
        if b is None:
            assert a is None
        else:
            np.testing.assert_allclose(a, b, **close)
    for method in ("predict", "predict_proba", "predict_log_proba"):
        if hasattr(theirs, method):
            a, b = getattr(ours, method)(_X), getattr(theirs, method)(_X)
            assert a.shape == b.shape
            assert a.dtype == b.dtype
            if b.dtype.kind == "f":
                np.testing.assert_allclose(a, b, **close)
            else:
                assert (a == b).all()


@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
def test_partial_fit_and_warm_start(kind: str) -> None:
    y = _TARGETS["classes" if kind == "MLPClassifier" else "number"]
    made: list[Any] = []
    for library in (neural_network, fastnn.sklearn):
        solver = "sgd" if kind == "MLPClassifier" else "adam"
        options = {"hidden_layer_sizes": (6,), "random_state": 0, "warm_start": True, "max_iter": 3, "solver": solver}
        model = getattr(library, kind)(**options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(_X, y).fit(_X, y)
            for part in (slice(0, 120), slice(40, 150), slice(0, 120)):
                model.partial_fit(_X[part], y[part])
        made.append(model)
    theirs, ours = made
    assert ours.t_ == theirs.t_
    assert len(ours.loss_curve_) == len(theirs.loss_curve_) == 9
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-9)
    np.testing.assert_allclose(ours.coefs_[0], theirs.coefs_[0], rtol=1e-9, atol=1e-11)


def test_same_parameters() -> None:
    """Every parameter of scikit-learn's, with its default; messages about wrong ones are of its kind."""
    for kind in ("MLPClassifier", "MLPRegressor"):
        theirs, ours = (getattr(library, kind)().get_params() for library in (neural_network, fastnn.sklearn))
        assert {name: ours[name] for name in theirs} == theirs
        for name, wrong in (("solver", "none"), ("alpha", -1), ("activation", "step"), ("max_iter", 0), ("tol", "1")):
            errors = []
            for library in (neural_network, fastnn.sklearn):
                with pytest.raises(ValueError, match=f"The '{name}' parameter of {kind} must be") as caught:
                    getattr(library, kind)(**{name: wrong}).fit(_X, _IRIS.target)
                errors.append(caught.type)
            assert errors[0] is errors[1]
