"""The contents of a report as arrays: confusions, scores of classes, calibration, worst errors, images of weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import log_softmax

from fastnn._core.errors import RangeError, ShapeError
from fastnn._tensor.tensor import Tensor
from fastnn.nn.linear import Linear
from fastnn.nn.module import Module

# The keys of a classification report that are not classes.
_AVERAGES = ("accuracy", "macro avg", "weighted avg")


def confusion_matrix(targets: Any, predictions: Any, classes: int | None = None) -> np.ndarray:
    """Count the rows of each true class (first index) that were predicted as each class (second index).

    ``matrix[i, j]`` is the number of rows with target i and prediction j, as in scikit-learn.

    Args:
        targets, predictions: (rows,), integer labels from 0.
        classes: their number; by default one more than the largest label.

    Returns: (classes, classes), int64.

    Raises: TypeError for labels that are not integers; ShapeError, a ValueError, for other shapes; RangeError, an
        IndexError, for a label out of range.

    >>> confusion_matrix([0, 0, 1, 1, 1], [0, 1, 1, 1, 0])
    array([[1, 1],
           [1, 2]])
    """
    true, predicted = labels("targets", targets, classes), labels("predictions", predictions, classes)
    _same_rows("predictions", predicted, true)
    count = number_of_classes(classes, true, predicted)
    return np.bincount(true * count + predicted, minlength=count * count).reshape(count, count)


@dataclass(frozen=True)
class ClassScores:
    """Scores of each class, (classes,) each: 0 where nothing was predicted or nothing is true, as in scikit-learn."""

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray


def class_scores(matrix: np.ndarray) -> ClassScores:
    """Precision, recall, F1 and rows of each class of a confusion matrix.

    >>> class_scores(confusion_matrix([0, 0, 1, 1], [0, 1, 1, 1])).recall
    array([0.5, 1. ])
    """
    right, predicted, support = np.diagonal(matrix), matrix.sum(0), matrix.sum(1)
    return ClassScores(
        _ratio(right, predicted), _ratio(right, support), _ratio(2 * right, predicted + support), support
    )


def classification_report(
    targets: Any, predictions: Any, class_names: Sequence[object] | None = None, classes: int | None = None
) -> dict[str, Any]:
    """Precision, recall, F1 and rows of each class, their averages, and the accuracy.

    The dict has the keys of scikit-learn's ``classification_report(..., output_dict=True)``.
    ``precision = right / predicted``, ``recall = right / support``, and F1 is their harmonic mean; a division by zero
    gives 0.

    Args:
        targets, predictions: (rows,), integer labels from 0.
        class_names: a name for each class; by default the numbers.
        classes: their number; by default that of the names, or one more than the largest label.

    Returns: ``{class: {"precision", "recall", "f1-score", "support"}, "accuracy": ..., "macro avg": {...},
        "weighted avg": {...}}``; the averages are NaN without rows.

    Raises: TypeError, ShapeError and RangeError as :func:`confusion_matrix`; ValueError if names are not different
        or not as many as the classes.

    >>> report = classification_report([0, 0, 1, 1], [0, 1, 1, 1], ["cat", "dog"])
    >>> report["dog"]["recall"], report["cat"]["recall"], report["accuracy"]
    (1.0, 0.5, 0.75)
    """
    if classes is None and class_names is not None:
        classes = len(class_names)
    matrix = confusion_matrix(targets, predictions, classes)
    names = names_of_classes(class_names, len(matrix))
    if len({*names, *_AVERAGES}) < len(names) + len(_AVERAGES):
        raise ValueError(f"class_names must differ from each other and from {_AVERAGES}")
    scores = class_scores(matrix)
    columns = {"precision": scores.precision, "recall": scores.recall, "f1-score": scores.f1}
    result: dict[str, Any] = {
        name: {**{key: float(column[i]) for key, column in columns.items()}, "support": int(scores.support[i])}
        for i, name in enumerate(names)
    }
    rows = int(matrix.sum())
    weights = scores.support / rows if rows else np.full(len(matrix), np.nan)
    result["accuracy"] = float(np.trace(matrix) / rows) if rows else math.nan
    mean = {key: float(column.mean()) if rows else math.nan for key, column in columns.items()}
    result["macro avg"] = {**mean, "support": rows}
    result["weighted avg"] = {**{key: float(column @ weights) for key, column in columns.items()}, "support": rows}
    return result


def regression_report(targets: Any, outputs: Any) -> dict[str, float]:
    """R2, mean absolute error, root of the mean squared error and largest error of predictions.

    ``r2 = 1 - sum((y - p)**2) / sum((y - mean(y))**2)``; of several outputs, R2, MAE and RMSE are means over them.
    R2 of a constant target is 1 if it is predicted exactly, and otherwise 0, as in scikit-learn.

    Args:
        targets, outputs: (rows,) or (rows, outputs), numbers.

    Returns: ``{"r2", "mae", "rmse", "max_error"}``, NaN without rows; R2 needs two.

    Raises: TypeError for values that are not numbers; ShapeError if the shapes differ.

    >>> regression_report([1.0, 2.0, 3.0], [1.0, 2.0, 4.0])["r2"]
    0.5
    """
    true, predicted = columns_of(targets, outputs)
    r2, mae, rmse, largest = regression_scores(true, predicted)
    if not len(true):
        return dict.fromkeys(("r2", "mae", "rmse", "max_error"), math.nan)
    return {
        "r2": float(r2.mean()), "mae": float(mae.mean()), "rmse": float(rmse.mean()), "max_error": float(largest.max()),
    }  # fmt: skip


def regression_scores(true: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """R2, MAE, RMSE and the largest error of each column of (rows, outputs); NaN without rows."""
    if not len(true):
        nothing = np.full(true.shape[1], np.nan)
        return nothing, nothing, nothing, nothing
    # Squares of large numbers overflow: R2 is NaN then, and RMSE infinite.
    with np.errstate(over="ignore", invalid="ignore"):
        residuals = true - predicted
        squares, spread = (residuals**2).sum(0), ((true - true.mean(0)) ** 2).sum(0)
        constant = spread == 0
        r2 = np.where(constant, np.where(squares == 0, 1.0, 0.0), 1 - squares / np.where(constant, 1.0, spread))
        if len(true) < 2:
            r2 = np.full_like(r2, np.nan)
        return r2, np.abs(residuals).mean(0), np.sqrt((residuals**2).mean(0)), np.abs(residuals).max(0)


@dataclass(frozen=True)
class CalibrationCurve:
    """How often predictions of a given confidence are right.

    Args:
        predicted: mean probability of each bin that has rows; ``observed``: share of its rows that are right.
        rows: number of rows of each of these bins.
        lows, highs: their borders.
        error: the expected calibration error: the mean of ``|observed - predicted|``, weighted by rows.
        largest_error: the largest of these differences.
    """

    predicted: np.ndarray
    observed: np.ndarray
    rows: np.ndarray
    lows: np.ndarray
    highs: np.ndarray
    error: float
    largest_error: float


def calibration_curve(targets: Any, probabilities: Any, bins: int = 10) -> CalibrationCurve:
    """Compare the probabilities of a classifier with how often it is right, in bins of equal width.

    A row goes into the bin of the probability of its predicted class; for probabilities of one dimension, those of
    class 1, into the bin of that probability, as in scikit-learn's ``calibration_curve``.

    Args:
        targets: (rows,), integer labels.
        probabilities: (rows, classes) or (rows,), from 0 to 1.
        bins: number of bins between 0 and 1.

    Returns: the bins that have rows, and the expected calibration error, NaN without rows.

    Raises: TypeError for values that are not numbers; ValueError for numbers out of range; ShapeError for shapes that
        do not match; RangeError for a label out of range.

    >>> curve = calibration_curve([1, 0, 1, 1], [0.9, 0.1, 0.8, 0.3], bins=2)
    >>> curve.observed, round(curve.error, 3)
    (array([0.5, 1. ]), 0.225)
    """
    if isinstance(bins, bool) or not isinstance(bins, (int, np.integer)):
        raise TypeError(f"bins must be an integer, found {bins!r}")
    if bins < 1:
        raise ValueError(f"bins must be positive, found {bins}")
    chances = numbers("probabilities", probabilities)
    if chances.ndim not in (1, 2):
        raise ShapeError(f"probabilities must have shape (rows,) or (rows, classes), found {chances.shape}")
    # Not `any(... < 0)`: NaN is out of range, too. Rounding may leave a sum of parts just above 1.
    if not np.all((chances >= 0) & (chances <= 1 + 1e-6)):
        raise ValueError("probabilities must be from 0 to 1")
    chances = np.minimum(chances, 1.0)
    classes = 2 if chances.ndim == 1 else chances.shape[1]
    true = labels("targets", targets, classes)
    _same_rows("probabilities", chances, true)
    if chances.ndim == 2:
        best = chances.argmax(1) if len(chances) else true
        confidence, right = np.take_along_axis(chances, best[:, None], 1)[:, 0], best == true
    else:
        confidence, right = chances, true == 1
    edges = np.linspace(0, 1, bins + 1)
    places = np.searchsorted(edges[1:-1], confidence)
    rows = np.bincount(places, minlength=bins)
    some = rows > 0
    counts = rows[some]
    predicted = np.bincount(places, confidence, bins)[some] / counts
    observed = np.bincount(places, right, bins)[some] / counts
    gaps = np.abs(observed - predicted)
    error, largest = (float(gaps @ counts / counts.sum()), float(gaps.max())) if len(gaps) else (math.nan, math.nan)
    return CalibrationCurve(predicted, observed, counts, edges[:-1][some], edges[1:][some], error, largest)


@dataclass(frozen=True)
class WorstErrors:
    """Rows with the largest errors, the worst first.

    Args:
        rows: their indices, int64.
        errors: of classification ``-log(probability of the true class)``; of regression ``|target - output|``, or
            the 2-norm of several outputs' differences.
    """

    rows: np.ndarray
    errors: np.ndarray


def worst_errors(targets: Any, outputs: Any, count: int = 24, *, kind: str = "classification") -> WorstErrors:
    """Find the rows where a model is most wrong.

    Of a classification these are the wrong rows with the smallest probability of the true class.

    Args:
        targets: (rows,), integer labels; for ``kind="regression"`` (rows,) or (rows, outputs), numbers.
        outputs: (rows, classes), logits; for ``kind="regression"`` predictions of the targets' shape.
        count: number of rows at most.
        kind: ``"classification"`` or ``"regression"``.

    Returns: indices and errors; a row with an output that is not finite has an infinite error.

    Raises: ValueError for another kind or a negative count; TypeError, ShapeError and RangeError as for
        :func:`confusion_matrix`.

    >>> worst = worst_errors([0, 1, 1], [[0.0, 3.0], [0.0, 2.0], [1.0, 0.0]])
    >>> worst.rows, worst.errors.round(2)
    (array([0, 2]), array([3.05, 1.31]))
    """
    if kind not in ("classification", "regression"):
        raise ValueError(f"kind must be 'classification' or 'regression', found {kind!r}")
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)):
        raise TypeError(f"count must be an integer, found {count!r}")
    if count < 0:
        raise ValueError(f"count must not be negative, found {count}")
    if kind == "regression":
        true, predicted = columns_of(targets, outputs)
        with np.errstate(invalid="ignore", over="ignore"):
            errors = np.sqrt(((true - predicted) ** 2).sum(1))
        candidates = np.arange(len(true))
    else:
        logits = numbers("outputs", outputs)
        if logits.ndim != 2 or not logits.shape[1]:
            raise ShapeError(f"outputs must have shape (rows, classes), found {logits.shape}")
        labelled = labels("targets", targets, logits.shape[1])
        _same_rows("outputs", logits, labelled)
        with np.errstate(invalid="ignore"):
            errors = -np.take_along_axis(log_softmax(logits, 1), labelled[:, None], 1)[:, 0]
        candidates = np.flatnonzero((logits.argmax(1) != labelled) | ~np.isfinite(errors))
    errors = np.nan_to_num(errors, nan=np.inf, posinf=np.inf)
    order = np.argsort(-errors[candidates], kind="stable")[:count]
    return WorstErrors(candidates[order], errors[candidates[order]])


def weight_images(model: Any, image_shape: Sequence[int] | None = None) -> np.ndarray:
    """The weights of the first layer as images: one for each of its units.

    Args:
        model: a module, whose first Linear is taken, or a weight of shape (units, features).
        image_shape: of the data, (height, width) or (channels, height, width); by default a square picture.

    Returns: (units, \\*image_shape), a copy with the weight's dtype.

    Raises: TypeError if there is no such weight; ShapeError if its features do not make an image.

    >>> from fastnn import nn
    >>> weight_images(nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.ReLU(), nn.Linear(5, 2))).shape
    (5, 8, 8)
    """
    if isinstance(model, Module):
        weight = first_weight(model)
        if weight is None:
            raise TypeError("model must have a Linear layer, found none")
    else:
        weight = numbers("weight", model, np.floating)
    if weight.ndim != 2:
        raise ShapeError(f"a weight must have shape (units, features), found {weight.shape}")
    features = weight.shape[1]
    if image_shape is None:
        side = math.isqrt(features)
        image_shape = (side, side)
    if len(image_shape) not in (2, 3) or math.prod(image_shape) != features:
        raise ShapeError(f"{features} features are not an image of shape {tuple(image_shape)}")
    return np.array(weight).reshape(len(weight), *image_shape)


def first_weight(model: Module, features: int | None = None) -> np.ndarray | None:
    """The weight of the first Linear (with as many features), or None."""
    for module in model.modules():
        if isinstance(module, Linear):
            weight = np.asarray(module.weight.detach().numpy())
            if weight.ndim == 2 and features in (None, weight.shape[1]):
                return weight
    return None


# --------------------------------------------------------------------------------------------
# Arguments


def array(value: Any) -> np.ndarray:
    """A tensor, an array or a sequence as an array."""
    return np.asarray(value.detach().numpy() if isinstance(value, Tensor) else value)


def numbers(name: str, value: Any, kind: Any = np.float64) -> np.ndarray:
    """An array of real numbers: float64, or with ``kind=np.floating`` of the dtype that it has."""
    result = array(value)
    if result.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be real numbers, found {result.dtype}")
    return result if kind is np.floating else result.astype(np.float64)


def labels(name: str, value: Any, classes: int | None) -> np.ndarray:
    """Integer labels (rows,) as int64, each from 0 to below ``classes``."""
    result = array(value)
    if not result.size and result.ndim == 1:
        return np.zeros(0, np.int64)
    if result.dtype.kind not in "iub":
        raise TypeError(f"{name} must be integer labels, found {result.dtype}")
    if result.ndim != 1:
        raise ShapeError(f"{name} must have shape (rows,), found {result.shape}")
    low, high = int(result.min()), int(result.max())
    if low < 0 or (classes is not None and high >= classes):
        limit = "" if classes is None else f" to {classes - 1}"
        raise RangeError(f"{name} must be labels from 0{limit}, found {low if low < 0 else high}")
    return result.astype(np.int64)


def number_of_classes(classes: int | None, *found: np.ndarray) -> int:
    return max((int(a.max()) + 1 for a in found if len(a)), default=0) if classes is None else classes


def names_of_classes(names: Sequence[object] | None, classes: int) -> list[str]:
    if names is None:
        return [str(i) for i in range(classes)]
    if len(names) != classes:
        raise ValueError(f"class_names must have a name for each of {classes} classes, found {len(names)}")
    return [str(name) for name in names]


def columns_of(targets: Any, outputs: Any) -> tuple[np.ndarray, np.ndarray]:
    """Targets and predictions as (rows, outputs), float64."""
    true, predicted = numbers("targets", targets), numbers("outputs", outputs)
    # A model may give a column of predictions for targets of one dimension, or the other way round.
    true, predicted = (a[:, None] if a.ndim == 1 else a for a in (true, predicted))
    if true.ndim != 2 or true.shape != predicted.shape:
        raise ShapeError(
            f"targets and outputs must have the same shape, (rows,) or (rows, outputs), found {array(targets).shape} "
            f"and {array(outputs).shape}"
        )
    return true, predicted


def _same_rows(name: str, value: np.ndarray, targets: np.ndarray) -> None:
    if len(value) != len(targets):
        raise ShapeError(f"{name} must have a row for each of the {len(targets)} targets, found {len(value)}")


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.zeros(len(a)), where=b > 0)
