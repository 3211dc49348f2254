"""Estimators of scikit-learn's kind: multi-layer perceptrons under its names, trained by captured steps.

Needs scikit-learn 1.5 or newer: ``pip install 'fastnn[sklearn]'``.
"""

import importlib.util

# `import sklearn` is scikit-learn, here as everywhere: imports are absolute.
if importlib.util.find_spec("sklearn") is None:
    raise ModuleNotFoundError("fastnn.sklearn needs scikit-learn: pip install 'fastnn[sklearn]'", name="sklearn")

from fastnn.sklearn.estimators import MLPClassifier, MLPRegressor
from fastnn.sklearn.training import Epoch

__all__ = ["Epoch", "MLPClassifier", "MLPRegressor"]
