"""The checked arguments of a report, and values that are computed from them once."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import softmax

from fastnn._core.errors import ShapeError
from fastnn.nn.module import Module
from fastnn.report import measures
from fastnn.report.markup import plural

# A square of features is taken for a picture from this side on.
_LEAST_SIDE = 8


@dataclass
class Inputs:
    """The rows that a model was evaluated on: their features, or pictures, or neither.

    Args:
        data: (rows, features), or None.
        image_shape: (height, width) or (channels, height, width) of its rows, or () if they are not pictures.
        names: of the features.
        is_named: whether the user gave the names.
    """

    data: np.ndarray | None
    image_shape: tuple[int, ...]
    names: list[str]
    is_named: bool = False


@dataclass
class Results:
    """Values that several sections of a report use."""

    kind: str
    model: Module | None
    history: Any
    profile: Any
    settings: dict[str, str]
    inputs: Inputs
    rows: int
    # Indices of the rows whose outputs are finite.
    kept: np.ndarray
    notices: list[str] = field(default_factory=list)

    @property
    def epochs(self) -> list[Any]:
        return list(getattr(self.history, "epochs", None) or [])


@dataclass
class Classification(Results):
    """Targets, predictions and probabilities are those of the kept rows."""

    targets: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    logits: np.ndarray = field(default_factory=lambda: np.zeros((0, 1)))
    names: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        classes = self.logits.shape[1]
        self.probabilities = softmax(self.logits, 1) if len(self.logits) else np.zeros((0, classes))
        self.predictions = self.logits.argmax(1) if len(self.logits) else np.zeros(0, np.int64)
        self.matrix = measures.confusion_matrix(self.targets, self.predictions, classes)
        self.scores = measures.class_scores(self.matrix)
        self.accuracy = float(np.trace(self.matrix) / len(self.targets)) if len(self.targets) else math.nan
        self.curve = measures.calibration_curve(self.targets, self.probabilities)


@dataclass
class Regression(Results):
    """Targets and outputs (rows, outputs) are those of the kept rows."""

    targets: np.ndarray = field(default_factory=lambda: np.zeros((0, 1)))
    outputs: np.ndarray = field(default_factory=lambda: np.zeros((0, 1)))
    names: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.r2, self.mae, self.rmse, self.largest = measures.regression_scores(self.targets, self.outputs)


def checked(
    model: Any, history: Any, kind: str, targets: Any, outputs: Any, data: Any, class_names: Any, feature_names: Any,
    target_name: Any, settings: Any, profile: Any, image_shape: Any,
) -> Classification | Regression:  # fmt: skip
    """Check the arguments of :func:`fastnn.report.write_report`."""
    if kind not in ("classification", "regression"):
        raise ValueError(f"kind must be 'classification' or 'regression', found {kind!r}")
    if model is not None and not isinstance(model, Module):
        raise TypeError(f"model must be a Module or None, found {type(model).__name__}")
    if history is not None and not hasattr(history, "epochs"):
        raise TypeError(f"history must be the History of fit, or None, found {type(history).__name__}")
    if profile is not None and not (hasattr(profile, "lines") and hasattr(profile, "seconds")):
        raise TypeError(f"profile must be a fastnn.profile or None, found {type(profile).__name__}")
    if settings is not None and not isinstance(settings, Mapping):
        raise TypeError(f"settings must be a dict or None, found {type(settings).__name__}")
    texts = {str(key): str(value) for key, value in (settings or {}).items()}
    if kind == "regression":
        true, predicted = measures.columns_of(targets, outputs)
        finite = np.isfinite(true).all(1) & np.isfinite(predicted).all(1)
        names = _target_names(target_name, true.shape[1])
    else:
        logits, true = _logits_and_labels(outputs, targets, class_names)
        predicted = logits
        # A logit of minus infinity is a probability of 0.
        with np.errstate(invalid="ignore"):
            finite = np.isfinite(logits.max(1, initial=-np.inf)) & ~np.isnan(logits).any(1)
        names = measures.names_of_classes(_sequence("class_names", class_names), logits.shape[1])
    inputs = _inputs(data, len(true), feature_names, image_shape)
    kept = np.flatnonzero(finite)
    common = (kind, model, history, profile, texts, inputs, len(true), kept)
    result: Classification | Regression
    if kind == "regression":
        result = Regression(*common, targets=true[kept], outputs=predicted[kept], names=names)
    else:
        result = Classification(*common, targets=true[kept], logits=predicted[kept], names=names)
    _add_notices(result)
    return result


def _add_notices(result: Results) -> None:
    lost = result.rows - len(result.kept)
    if not result.rows:
        result.notices.append("There are no rows to evaluate: this report has no measured results.")
    elif lost:
        result.notices.append(
            f"The outputs of {plural(lost, 'row')} of {result.rows:,} are not finite. The results leave them out."
        )
    losses = np.array([as_float(epoch.loss) for epoch in result.epochs])
    bad = int((~np.isfinite(losses)).sum())
    if bad:
        first = result.epochs[int(np.flatnonzero(~np.isfinite(losses))[0])].number
        result.notices.append(
            f"The training loss is not finite in {plural(bad, 'epoch')}, first in epoch {first}. "
            "A smaller learning rate or a limit of the gradients' norm may help."
        )


def as_float(value: Any) -> float:
    return math.nan if value is None else float(value)


def _logits_and_labels(outputs: Any, targets: Any, class_names: Any) -> tuple[np.ndarray, np.ndarray]:
    logits, true = measures.numbers("outputs", outputs), measures.array(targets)
    if logits.ndim == 1:
        logits = logits[:, None]
    if logits.ndim != 2 or not logits.shape[1]:
        raise ShapeError(f"outputs must have shape (rows, classes), found {measures.array(outputs).shape}")
    if true.ndim == 2 and true.shape[1] == 1:
        true = true[:, 0]
    one = logits.shape[1] == 1
    if true.ndim == 2 and true.shape == logits.shape and not one:
        if len(true) and not (np.isin(true, (0, 1)).all() and (true.sum(1) == 1).all()):
            raise ValueError("targets of shape (rows, classes) must have a single 1 in each row")
        true = true.argmax(1) if len(true) else np.zeros(0, np.int64)
    elif one and true.dtype.kind == "f":
        if not np.isin(true, (0, 1)).all():
            raise ValueError("targets of a model with one output must be 0 or 1")
        true = true.astype(np.int64)
    # One output is the logit of class 1, unless there is only one class.
    named = len(class_names) if isinstance(class_names, Sequence) else 0
    if one and named != 1 and (named == 2 or np.any(true == 1) or measures.array(targets).dtype.kind == "f"):
        logits = np.concatenate([np.zeros_like(logits), logits], 1)
    true = measures.labels("targets", true, logits.shape[1])
    if len(true) != len(logits):
        raise ShapeError(f"outputs must have a row for each of the {len(true)} targets, found {len(logits)}")
    return logits, true


def _inputs(data: Any, rows: int, feature_names: Any, image_shape: Any) -> Inputs:
    given = _sequence("feature_names", feature_names)
    if data is None:
        return Inputs(None, (), [])
    values = measures.array(data)
    if values.ndim < 2 or len(values) != rows:
        raise ShapeError(f"data must have a row for each of the {rows} targets, found shape {values.shape}")
    shape, count = values.shape[1:], math.prod(values.shape[1:])
    if given is not None and len(given) != count:
        raise ValueError(f"feature_names must have a name for each of {count} features, found {len(given)}")
    names = [f"feature {i}" for i in range(count)] if given is None else [str(name) for name in given]
    if image_shape is None:
        image_shape = _guessed_shape(shape, count, names)
    else:
        image_shape = tuple(image_shape)
        if image_shape and (len(image_shape) not in (2, 3) or math.prod(image_shape) != count):
            raise ShapeError(f"image_shape must have {count} numbers, those of a row, found {image_shape}")
    if values.dtype.kind not in "fiub":
        image_shape = ()
    if len(image_shape) == 3 and image_shape[0] == 1:
        image_shape = image_shape[1:]
    return Inputs(values.reshape(rows, count), image_shape, names, given is not None)


def _guessed_shape(shape: tuple[int, ...], count: int, names: list[str]) -> tuple[int, ...]:
    """The shape of pictures, or () if rows do not look like pictures."""
    if len(shape) == 2 or (len(shape) == 3 and shape[0] in (1, 3)):
        return shape
    side = math.isqrt(count)
    # The names of a picture's features differ in their numbers only.
    alike = len({re.sub(r"\d+", "", name) for name in names}) == 1
    return (side, side) if len(shape) == 1 and side >= _LEAST_SIDE and side * side == count and alike else ()


def _target_names(target_name: Any, outputs: int) -> list[str]:
    if target_name is None:
        return ["target"] if outputs == 1 else [f"target {i}" for i in range(outputs)]
    names = [target_name] if isinstance(target_name, str) else list(target_name)
    if len(names) != outputs:
        raise ValueError(f"target_name must have a name for each of {outputs} outputs, found {len(names)}")
    return [str(name) for name in names]


def _sequence(name: str, value: Any) -> Sequence[object] | None:
    if value is None or (isinstance(value, Sequence) and not isinstance(value, (str, bytes))):
        return value
    if isinstance(value, np.ndarray) or hasattr(value, "to_list"):
        return list(value)
    raise TypeError(f"{name} must be a list of names, found {type(value).__name__}")
