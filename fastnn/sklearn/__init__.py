"""Estimators of scikit-learn's kind: multi-layer perceptrons under its names, trained by captured steps.

Needs scikit-learn 1.5 or newer: ``pip install 'fastnn[sklearn]'``.
"""

from importlib import import_module

try:
    # `import sklearn` would bind the name in this package, which is called so too.
    import_module("sklearn")
except ModuleNotFoundError as error:
    if error.name != "sklearn":
        raise
    raise ModuleNotFoundError(
        "fastnn.sklearn needs scikit-learn: pip install 'fastnn[sklearn]'", name="sklearn"
    ) from error

from fastnn.sklearn.estimators import MLPClassifier, MLPRegressor
from fastnn.sklearn.training import Epoch

__all__ = ["Epoch", "MLPClassifier", "MLPRegressor"]
