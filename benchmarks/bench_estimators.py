"""Whole fits of the estimators compared with scikit-learn's."""

from benchmarks.suite import benchmarks_of

test_estimators = benchmarks_of("estimators")
