"""Whole fits of scikit-learn's estimators and of fastnn's at equal settings: the same epochs from the same numbers.

Both compute in the type of the data, float32 or float64. A fit of fastnn's includes making and capturing its network.
``estimators`` repeats fits in one process, ``estimators_first`` takes the first one, with the compilation of kernels.
"""

from __future__ import annotations

import functools
import itertools
import tempfile
import time
import warnings
from typing import Any

import numpy as np

from benchmarks.pool import run_child
from benchmarks.registry import Case, Figure, Inputs, Job, ProcessWork, Setup, Work

# Data set, estimator, its options, type of the data, rows, and whether a target uses it.
_CASES = (
    ("mnist", "MLPClassifier", {"max_iter": 2}, "float32", 20_000, True),
    ("digits", "MLPClassifier", {"max_iter": 40}, "float32", 1_797, True),
    ("mnist float64", "MLPClassifier", {"max_iter": 2}, "float64", 20_000, True),
    ("digits float64", "MLPClassifier", {"max_iter": 40}, "float64", 1_797, True),
    ("digits lbfgs", "MLPClassifier", {"max_iter": 40, "solver": "lbfgs"}, "float64", 1_797, True),
    ("cancer", "MLPClassifier", {"max_iter": 100}, "float32", 569, True),
    ("wine", "MLPClassifier", {"max_iter": 200}, "float32", 178, True),
    ("diabetes", "MLPRegressor", {"max_iter": 100, "solver": "sgd"}, "float32", 442, True),
    ("housing", "MLPRegressor", {"max_iter": 5, "hidden_layer_sizes": (64, 64)}, "float32", 20_640, True),
)  # fmt: skip
_FEATURES = {"mnist": 784, "digits": 64, "cancer": 30, "wine": 13, "diabetes": 10, "housing": 8}
_OUTPUTS = {"mnist": 10, "digits": 10, "wine": 3}


def _case(name: str, kind: str, options: dict[str, Any], dtype: str, rows: int, target: bool) -> Case:
    data = name.split()[0]
    units = [_FEATURES[data], *options.get("hidden_layer_sizes", (100,)), _OUTPUTS.get(data, 1)]
    products = sum(m * n for m, n in itertools.pairwise(units))
    # Forward, weight gradient and, after the first layer, input gradient.
    flops = 2.0 * rows * options["max_iter"] * (3 * products - units[0] * units[1])
    sizes = {"data": data, "kind": kind, "options": options, "dtype": dtype, "size": rows, "epochs": 0}
    return Case(name, sizes, flops=flops, bytes=float(rows * units[0] * np.dtype(dtype).itemsize), target=target)


@functools.cache
def _data(name: str, rows: int) -> tuple[np.ndarray, np.ndarray]:
    if name == "mnist":
        from fastnn.datasets import load_mnist

        mnist = load_mnist()
        return mnist.train_images[:rows].reshape(rows, -1) / 255, mnist.train_labels[:rows].astype(np.int64)
    if name == "housing":
        # Of the size of the California housing data.
        rng = np.random.default_rng(0)
        x = rng.standard_normal((rows, _FEATURES[name]))
        return x, np.sin(x[:, 0]) + x[:, 1] * x[:, 2] + 0.1 * rng.standard_normal(rows)
    from sklearn import datasets

    loaders = {"cancer": "breast_cancer"}
    x, y = getattr(datasets, f"load_{loaders.get(name, name)}")(return_X_y=True)
    x = (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1)
    return x, (y - y.mean()) / y.std() if name == "diabetes" else y.astype(np.int64)


def _inputs(case: Case) -> Inputs:
    x, y = _data(case["data"], case["size"])
    return {"x": x.astype(case["dtype"]), "y": y}


def _estimator(module: str) -> Setup:
    def setup(inputs: Inputs, case: Case) -> Job:
        import importlib

        options = {"random_state": 0, "tol": 0.0, "n_iter_no_change": 10**6, **case["options"]}
        if case["epochs"]:
            options["max_iter"] = case["epochs"]
        kind = getattr(importlib.import_module(module), case["kind"])

        def run() -> Any:
            with warnings.catch_warnings():
                # All epochs are meant to run.
                warnings.simplefilter("ignore")
                return kind(**options).fit(inputs["x"], inputs["y"])

        return Job(run, read=lambda model: [array.copy() for array in model.coefs_])

    return setup


def seconds_of_first_fit(library: str, name: str) -> float:
    """Seconds of the first fit of this process."""
    case = WORKS[0].case(name)
    job = WORKS[0].prepare(library, case)
    start = time.perf_counter()
    job.run()
    return time.perf_counter() - start


def _first_fit(library: str, case: Case, threads: int, number: int) -> Figure:
    """With an empty cache of kernels, so that fastnn compiles."""
    with tempfile.TemporaryDirectory(prefix="fastnn-cold-", ignore_cleanup_errors=True) as folder:
        return Figure(run_child(["first-fit", library, case.name], threads, {"FASTNN_CACHE_DIR": folder}).value)


WORKS: tuple[Any, ...] = (
    Work(
        "estimators", tuple(_case(*case) for case in _CASES), _inputs,
        {"fastnn": _estimator("fastnn.sklearn"), "sklearn": _estimator("sklearn.neural_network")},
        # After two epochs; rounding of float32.
        tolerance=2e-3, check_sizes={"epochs": 2}, reference="sklearn",
    ),
    ProcessWork(
        "estimators_first", tuple(Case(name, {}, target=False) for name, *_ in _CASES), ("fastnn", "sklearn"),
        _first_fit, slow=True,
    ),
)  # fmt: skip
