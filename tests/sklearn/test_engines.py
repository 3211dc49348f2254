"""Many small models at once: searches and ensembles by joblib, Dask and Ray, where they are installed."""

from __future__ import annotations

import os
import warnings

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.ensemble import BaggingClassifier
from sklearn.model_selection import GridSearchCV

import fastnn
from fastnn.sklearn import MLPClassifier

_DATA = load_iris()
# Engines that start processes leave sockets and files to be closed at the end of Python.
pytestmark = [pytest.mark.filterwarnings(f"ignore::{kind}Warning") for kind in ("Resource", "Deprecation", "Future")]


def _search(n_jobs=None):
    model = MLPClassifier((8,), max_iter=20, tol=0.0, n_iter_no_change=30, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        grid = {"alpha": [1e-4, 1e-2], "activation": ["relu", "tanh"]}
        found = GridSearchCV(model, grid, cv=3, n_jobs=n_jobs).fit(_DATA.data, _DATA.target)
    return found.cv_results_["mean_test_score"], found.best_estimator_.predict_proba(_DATA.data)


@pytest.fixture(scope="module")
def expected():
    return _search()


def _check(found, expected):
    # The same bits: neither the process nor its number of threads counts.
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def importable():
    """Lets workers import what this process imports."""
    before = os.environ.get("PYTHONPATH")
    root = os.path.dirname(os.path.dirname(fastnn.__file__))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (root, before)))
    yield
    del os.environ["PYTHONPATH"]
    if before is not None:
        os.environ["PYTHONPATH"] = before


def test_loky(expected, importable, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    with joblib.parallel_config("loky", n_jobs=2):
        threads = joblib.Parallel()(joblib.delayed(fastnn.get_num_threads)() for _ in range(4))
        assert set(threads) == {max(1, joblib.cpu_count() // 2)}
        _check(_search(2), expected)
    with joblib.parallel_config("loky", n_jobs=2, inner_max_num_threads=1):
        assert joblib.Parallel()(joblib.delayed(fastnn.get_num_threads)() for _ in range(2)) == [1, 1]


def test_threads(expected):
    """Fits in several threads of one process: one has the pool, the others compute on their own thread."""
    with joblib.parallel_config("threading", n_jobs=2):
        _check(_search(2), expected)


def test_ensemble(importable):
    model = MLPClassifier((8,), max_iter=5, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one, two = (
            BaggingClassifier(model, 4, random_state=0, n_jobs=n).fit(_DATA.data, _DATA.target) for n in (1, 2)
        )
    for a, b in zip(one.estimators_, two.estimators_, strict=True):
        _check(a.coefs_, b.coefs_)
    # Each worker adds up the probabilities of its models.
    np.testing.assert_allclose(one.predict_proba(_DATA.data), two.predict_proba(_DATA.data), rtol=1e-14)


def test_dask(expected, importable):
    # Not the folder of tests of that name.
    pytest.importorskip("dask", reason="Dask is not installed: pip install 'dask[distributed]'")
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "dashboard_address": None, "worker_dashboard_address": None}
    with distributed.LocalCluster(threads_per_worker=1, **options) as cluster, distributed.Client(cluster) as client:
        # A worker is told to use one thread for each task that it runs at once.
        assert set(client.run(fastnn.get_num_threads).values()) == {1}
        with joblib.parallel_config("dask"):
            _check(_search(), expected)


def test_ray(expected, importable):
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install ray")
    from ray.util.joblib import register_ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        threads = ray.remote(fastnn.get_num_threads)
        assert ray.get([threads.remote() for _ in range(2)]) == [1, 1]
        register_ray()
        with joblib.parallel_config("ray", n_jobs=2):
            _check(_search(), expected)
    finally:
        ray.shutdown()
