"""The arrays of a report: those of scikit-learn where it has them, and plain cases by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastnn
from fastnn import nn, report
from fastnn._core.errors import RangeError, ShapeError
from fastnn.report.charts import wilson

rng = np.random.default_rng(0)
# Class 4 is never predicted, class 5 never true, class 6 neither.
TRUE, PREDICTED = rng.integers(0, 5, 300), np.array([0, 1, 2, 3, 5])[rng.integers(0, 5, 300)]
CASES = [(TRUE, PREDICTED, 7), (TRUE[:1], PREDICTED[:1], 6), (TRUE, TRUE, 5), (np.zeros(4, int), np.zeros(4, int), 1)]


@pytest.mark.filterwarnings("ignore:A single label was found")
@pytest.mark.parametrize(("true", "predicted", "classes"), CASES)
def test_confusions_and_scores_are_those_of_sklearn(true: Any, predicted: Any, classes: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    names = [f"class {i}" for i in range(classes)]
    matrix = report.confusion_matrix(fastnn.tensor(true), predicted.tolist(), classes)
    np.testing.assert_array_equal(matrix, metrics.confusion_matrix(true, predicted, labels=range(classes)))
    found = report.classification_report(true, predicted, names)
    expected = metrics.classification_report(
        true, predicted, labels=range(classes), target_names=names, output_dict=True, zero_division=0.0
    )
    assert found["accuracy"] == (true == predicted).mean()
    for key in (*names, "macro avg", "weighted avg"):
        assert found[key] == pytest.approx(expected[key], rel=1e-14), key


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("constant", [False, True])
def test_scores_of_a_regression_are_those_of_sklearn(outputs: int, constant: bool) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    true = np.ones((50, outputs)) if constant else rng.normal(size=(50, outputs))
    predicted = true + 0.3 * rng.normal(size=(50, outputs)) * (np.arange(outputs) > 0)
    found = report.regression_report(true, predicted)
    assert found["r2"] == pytest.approx(metrics.r2_score(true, predicted), rel=1e-12)
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(true, predicted), rel=1e-12, abs=1e-300)
    rmse = metrics.root_mean_squared_error(true, predicted)
    assert found["rmse"] == pytest.approx(rmse, rel=1e-12, abs=1e-300)
    assert found["max_error"] == np.abs(true - predicted).max()


@pytest.mark.parametrize("bins", [1, 5, 10])
def test_a_calibration_curve_of_two_classes_is_that_of_sklearn(bins: int) -> None:
    calibration = pytest.importorskip("sklearn.calibration")
    # Borders of bins are among them.
    chances = np.append(rng.random(200), [0.0, 0.2, 0.4, 0.5, 1.0])
    true = (rng.random(205) < chances).astype(int)
    observed, predicted = calibration.calibration_curve(true, chances, n_bins=bins)
    curve = report.calibration_curve(true, chances, bins)
    np.testing.assert_allclose(curve.observed, observed, rtol=1e-14)
    np.testing.assert_allclose(curve.predicted, predicted, rtol=1e-13)
    assert curve.rows.sum() == 205
    gaps = np.abs(observed - predicted)
    assert curve.error == pytest.approx((gaps * curve.rows).sum() / 205, rel=1e-12)
    assert curve.largest_error == pytest.approx(gaps.max(), rel=1e-12)


def test_the_calibration_of_several_classes_is_that_of_the_predicted_one() -> None:
    chances = rng.dirichlet(np.ones(4), 300)
    true = rng.integers(0, 4, 300)
    curve = report.calibration_curve(true, chances)
    right = (chances.argmax(1) == true).astype(int)
    other = report.calibration_curve(right, chances.max(1))
    for name in ("predicted", "observed", "rows", "lows", "highs"):
        np.testing.assert_array_equal(getattr(curve, name), getattr(other, name))
    assert curve.error == other.error


def test_a_calibration_curve_without_rows() -> None:
    curve = report.calibration_curve([], np.zeros((0, 3)))
    assert len(curve.rows) == 0
    assert np.isnan(curve.error)


def test_wilsons_intervals() -> None:
    # R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    low, high = wilson(np.array([81 / 263, 15 / 148, 0 / 20, 1 / 29]), np.array([263, 148, 20, 29]))
    np.testing.assert_allclose(low, [0.2553, 0.0624, 0.0, 0.0061], atol=6e-5)
    np.testing.assert_allclose(high, [0.3662, 0.1605, 0.1611, 0.1718], atol=6e-5)


def test_worst_errors_of_a_classification() -> None:
    logits = np.array([[5.0, 0.0, 0.0], [0.0, 9.0, 0.0], [0.0, 1.0, 0.0], [np.nan, 0.0, 0.0], [0.0, 0.0, 2.0]])
    worst = report.worst_errors([0, 0, 0, 0, 1], logits)
    # Row 0 is right; row 3 has no finite loss.
    assert worst.rows.tolist() == [3, 1, 4, 2]
    loss = nn.CrossEntropyLoss(reduction="none")(fastnn.tensor(logits), fastnn.tensor([0, 0, 0, 0, 1])).numpy()
    np.testing.assert_allclose(worst.errors, [np.inf, *loss[[1, 4, 2]]], rtol=1e-12)
    assert report.worst_errors([0, 0, 0, 0, 1], logits, 2).rows.tolist() == [3, 1]


def test_worst_errors_of_a_regression() -> None:
    worst = report.worst_errors([1.0, 2.0, 3.0], [[1.0], [0.0], [np.nan]], kind="regression")
    assert worst.rows.tolist() == [2, 1, 0]
    assert worst.errors.tolist() == [np.inf, 2.0, 0.0]
    assert report.worst_errors([[0.0, 0.0]], [[3.0, 4.0]], kind="regression").errors.tolist() == [5.0]


def test_images_of_weights() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.ReLU(), nn.Linear(3, 2))
    images = report.weight_images(model)
    weight = model[1].weight.detach().numpy()
    np.testing.assert_array_equal(images, weight.reshape(3, 4, 4))
    images[:] = 0
    assert weight.any(), "the images are a copy"
    assert report.weight_images(weight, (4, 2, 2)).shape == (3, 4, 2, 2)
    assert report.weight_images(model[1].weight, (2, 8)).dtype == np.float32


LOGITS = np.zeros((2, 3))
WRONG: list[tuple[Any, type[Exception], str]] = [
    (lambda: report.confusion_matrix([0.5], [1]), TypeError, "targets must be integer labels, found float64"),
    (lambda: report.confusion_matrix([0, 1], [1]), ShapeError, "predictions must have a row for each of the 2"),
    (lambda: report.confusion_matrix([[0]], [[0]]), ShapeError, r"targets must have shape \(rows,\), found \(1, 1\)"),
    (lambda: report.confusion_matrix([-1], [0]), RangeError, "targets must be labels from 0, found -1"),
    (lambda: report.confusion_matrix([0], [3], 3), RangeError, "predictions must be labels from 0 to 2, found 3"),
    (lambda: report.classification_report([0, 1], [0, 1], ["a", "a"]), ValueError, "class_names must differ"),
    (lambda: report.classification_report([0], [0], ["accuracy"]), ValueError, "class_names must differ"),
    (lambda: report.regression_report([1.0], [1.0, 2.0]), ShapeError, "the same shape"),
    (lambda: report.regression_report(["a"], ["b"]), TypeError, "targets must be real numbers"),
    (lambda: report.calibration_curve([0], [1.5]), ValueError, "probabilities must be from 0 to 1"),
    (lambda: report.calibration_curve([0], [np.nan]), ValueError, "probabilities must be from 0 to 1"),
    (lambda: report.calibration_curve([0], [0.5], 0), ValueError, "bins must be positive, found 0"),
    (lambda: report.calibration_curve([0], [0.5], 2.5), TypeError, "bins must be an integer, found 2.5"),
    (lambda: report.worst_errors([0, 1], LOGITS, kind="ranking"), ValueError, "kind must be"),
    (lambda: report.worst_errors([0, 1], LOGITS, -1), ValueError, "count must not be negative"),
    (lambda: report.worst_errors([0, 3], LOGITS), RangeError, "targets must be labels from 0 to 2, found 3"),
    (lambda: report.worst_errors([0, 1], LOGITS[0]), ShapeError, r"outputs must have shape \(rows, classes\)"),
    (lambda: report.weight_images(nn.ReLU()), TypeError, "model must have a Linear layer"),
    (lambda: report.weight_images(nn.Linear(15, 2)), ShapeError, "15 features are not an image"),
    (lambda: report.weight_images(np.zeros(4)), ShapeError, r"\(units, features\)"),
    (lambda: report.plot_confusion_matrix([[1, 2]]), ShapeError, r"matrix must have shape \(classes, classes\)"),
    (lambda: report.plot_confusion_matrix([[1]], ["a", "b"]), ValueError, "class_names must have a name for each of 1"),
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG, ids=range(len(WRONG)))
def test_wrong_arguments(call: Any, error: type[Exception], message: str) -> None:
    if "plot" in str(call.__code__.co_names):
        pytest.importorskip("matplotlib")
    with pytest.raises(error, match=message):
        call()


def test_a_picture_of_a_confusion_matrix(tmp_path: Any) -> None:
    figures = pytest.importorskip("matplotlib.figure")
    path = tmp_path / "matrix.png"
    axes = report.plot_confusion_matrix(np.eye(70, dtype=int), path=path)
    assert path.read_bytes()[:4] == b"\x89PNG"
    assert not axes.texts, "there is no room for numbers"
    own = figures.Figure().subplots()
    assert report.plot_confusion_matrix([[3, 0], [1, 2]], ["long name", "b"], axes=own) is own
    assert [label.get_text() for label in own.get_xticklabels()] == ["long name", "b"]
