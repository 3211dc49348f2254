"""scikit-learn's own checks of estimators, all of them, none expected to fail."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sklearn.utils import estimator_checks

from fastnn.sklearn import MLPClassifier, MLPRegressor

_SMALL: dict[str, Any] = {"hidden_layer_sizes": (16,), "max_iter": 60, "learning_rate_init": 0.02}


def checks() -> Iterator[Any]:
    """The checks of both estimators, not by ``parametrize_with_checks``, whose generator newer pytests refuse."""
    for kind in (MLPClassifier, MLPRegressor):
        if hasattr(estimator_checks, "estimator_checks_generator"):
            found = estimator_checks.estimator_checks_generator(kind(**_SMALL))
        else:
            found = estimator_checks.check_estimator(kind(**_SMALL), generate_only=True)
        for estimator, check in found:
            name, options = getattr(check, "func", check).__name__, getattr(check, "keywords", {})
            yield pytest.param(estimator, check, id="-".join([kind.__name__, name, *map(str, options.values())]))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("estimator", "check"), list(checks()))
def test_check(estimator: Any, check: Any) -> None:
    check(estimator)
