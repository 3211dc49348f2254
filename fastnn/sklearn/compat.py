"""The differences between the versions of scikit-learn, from 1.5 on."""

from __future__ import annotations

from typing import Any

from sklearn.utils import validation

if hasattr(validation, "validate_data"):
    validate_data = validation.validate_data
else:

    def validate_data(estimator: Any, *args: Any, **options: Any) -> Any:
        """Check the data, and set or check ``n_features_in_`` and ``feature_names_in_``."""
        return estimator._validate_data(*args, **options)
