"""The sections of a classification: confusions, scores of classes, calibration."""

from __future__ import annotations

import math
from xml.etree.ElementTree import Element

import numpy as np

from fastnn.report.charts import (
    Series,
    bar,
    curve_chart,
    histogram,
    image_chart,
    reliability_chart,
)
from fastnn.report.markup import BLUE, ORANGE, Child, append, element, name, number, percent, plural, png
from fastnn.report.results import Classification, Results
from fastnn.report.scales import linear
from fastnn.report.tables import card, figure, key, scrolling, table

# Classes of a matrix with numbers, points of a side of a larger one, confusions.
_CELLS, _PIXELS, _CONFUSIONS = 24, 250, 12
# Rows of the table of classes; of more classes, those with the lowest F1.
_CLASSES, _WORST_CLASSES = 100, 30


def confusion(result: Results) -> list[Element]:
    """The confusion matrix, as numbers or as an image, and the most frequent confusions."""
    if not isinstance(result, Classification) or not len(result.kept):
        return []
    matrix, count = result.matrix, len(result.names)
    small = count <= _CELLS
    left = _matrix_of_numbers(matrix, result.names) if small else _matrix_image(matrix)
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_CONFUSIONS]
    pairs = [(int(i) // count, int(i) % count) for i in order if wrong.flat[i]]
    if not pairs:
        right: Element = element("p", "No row was predicted wrong.", class_="soft")
    else:
        rows: list[list[Child]] = [
            [name(result.names[i], 40), name(result.names[j], 40), number(int(wrong[i, j])),
             percent(wrong[i, j] / matrix[i].sum())]
            for i, j in pairs
        ]  # fmt: skip
        right = table(
            ["true class", "predicted as", "rows", "of the class"], rows, numbers=(2, 3), style="wide",
            label="Most frequent confusions",
        )  # fmt: skip
    return [
        element("div", card("Confusion matrix", *left), card("Most frequent confusions", right),
                class_="columns halves"),
    ]  # fmt: skip


def _matrix_of_numbers(matrix: np.ndarray, names: list[str]) -> list[Element]:
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    wrong = shares.copy()
    np.fill_diagonal(wrong, 0)
    worst = wrong.max() or 1.0
    tall = max(map(len, names)) > 4
    head = element("tr", element("td", "true", class_="side"))
    for text in names:
        cut = name(text, 18)
        append(head, element("th", element("span", cut) if tall else cut, scope="col", class_="tall" if tall else None))
    body = element("tbody")
    for i, text in enumerate(names):
        row = element("tr", element("th", name(text, 18), scope="row"))
        for j, count in enumerate(matrix[i].tolist()):
            kind, share = ("r", shares[i, j]) if i == j else ("w", wrong[i, j] / worst)
            style = f"{kind}{max(1, round(10 * share))}" if count else "z"
            append(row, element("td", str(count), class_=style))
        append(body, row)
    top = element("tr", element("td"), element("th", "predicted", class_="side", colspan=len(names), scope="colgroup"))
    cells = element("table", element("thead", top, head), body, class_="matrix")
    note = element(
        "p", key("r"), "right, as a share of the true class (row). ",
        key("w"), "wrong, compared with the most frequent confusion.", class_="soft",
    )  # fmt: skip
    return [note, scrolling(cells, "Confusion matrix: true classes in rows, predicted classes in columns")]


def _matrix_image(matrix: np.ndarray) -> list[Element]:
    """Large matrices as an image: blue is right, orange wrong; cells are joined if there are more than points."""
    count = len(matrix)
    step = -(-count // _PIXELS)
    places = np.arange(count) // step
    side = int(places[-1]) + 1
    right, wrong = np.zeros((side, side)), np.zeros((side, side))
    off = matrix.astype(np.float64)
    np.fill_diagonal(off, 0)
    starts = np.arange(0, count, step)
    wrong[:] = np.add.reduceat(np.add.reduceat(off, starts, 0), starts, 1)
    total = np.add.reduceat(matrix.sum(1), starts)
    right[np.arange(side), np.arange(side)] = np.add.reduceat(np.diagonal(matrix), starts) / np.maximum(total, 1)
    # The square root keeps rare confusions visible.
    wrong = np.sqrt(wrong / (wrong.max() or 1.0))
    levels = np.where(right > 0, 128 + np.ceil(right * 127), np.ceil(wrong * 127)).astype(np.uint8)
    ramp = np.arange(128) / 127
    palette = np.zeros((256, 4), np.uint8)
    palette[:128, :3], palette[128:, :3] = ORANGE, BLUE
    palette[:128, 3] = palette[128:, 3] = 255 * ramp
    label = f"Confusion matrix of {count} classes: true classes downwards, predicted classes to the right"
    # As the classes of the axes, whose last point may join fewer classes.
    chart = image_chart(label, png(levels, palette), side * step, "predicted class", "true class")
    joined = f" A point joins {step} × {step} classes." if step > 1 else ""
    note = element(
        "p", key("r"), "right. ", key("w"), "wrong." + joined,
        class_="soft",
    )  # fmt: skip
    return [note, chart]


def classes(result: Results) -> list[Element]:
    """Precision, recall and F1 of each class."""
    if not isinstance(result, Classification) or not len(result.kept):
        return []
    scores, count = result.scores, len(result.names)
    shown = np.arange(count)
    note = None
    if count > _CLASSES:
        # Of those that have rows.
        order = np.lexsort((-scores.support, scores.f1, scores.support == 0))
        shown = order[:_WORST_CLASSES]
        note = f"The {len(shown)} classes with the lowest F1, of {count:,}."

    def row(first: Child, support: int, precision: float, recall: float, f1: float) -> list[Child]:
        cells = (element("td", bar(value), _three(value), class_="num") for value in (precision, recall, f1))
        return [first, *cells, f"{support:,}"]

    rows = [
        row(name(result.names[i], 48), int(scores.support[i]), scores.precision[i], scores.recall[i], scores.f1[i])
        for i in shown.tolist()
    ]
    total = int(scores.support.sum())
    weights = scores.support / total
    columns = (scores.precision, scores.recall, scores.f1)
    foot = [
        row("macro mean", total, *(float(c.mean()) for c in columns)),
        row("weighted mean", total, *(float(c @ weights) for c in columns)),
    ]
    scored = table(
        ["class", "precision", "recall", "F1", "rows"], rows, note, numbers=range(1, 5), style="wide", foot=foot,
        label="Scores of the classes",
    )  # fmt: skip
    return [element("div", scored, class_="card")]


def _three(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "–"


def calibration(result: Results) -> list[Element]:
    """Confidence against how often the model is right."""
    if not isinstance(result, Classification) or not len(result.kept) or len(result.names) < 2:
        return []
    curve = result.curve
    lean = float(curve.rows @ (curve.predicted - curve.observed)) / curve.rows.sum()
    side = "more confident than right" if lean > 0 else "less confident than right"
    reading = (
        f"Expected calibration error {percent(curve.error)}; on average the model is {side}, by {percent(abs(lean))}."
    )
    label = "Reliability diagram: " + "; ".join(
        f"confidence {percent(a)}, right {percent(b)}" for a, b in zip(curve.predicted, curve.observed, strict=True)
    )
    confidence = result.probabilities.max(1)
    edges = np.linspace(0, 1, 21)
    counts = np.histogram(confidence, edges)[0]
    sure = float((confidence > 0.95).mean())
    spread = histogram(
        f"Confidence of {plural(len(confidence), 'row')}: median {percent(float(np.median(confidence)))}",
        100 * edges, counts, linear(np.array([0.0, 100.0]), 5, unit="%"), "confidence",
    )  # fmt: skip
    figures = [
        figure("Reliability", reliability_chart(label, curve), "Lines through the dots are 95% intervals. " + reading),
        figure("Confidence", spread, f"Probability of the predicted class: above 95% in {percent(sure)} of the rows."),
        *_selective(result, confidence),
    ]
    return [element("div", *figures, class_="columns charts")]


def _selective(result: Classification, confidence: np.ndarray) -> list[Element]:
    """Accuracy of the rows with the highest confidence, over the share of rows that they are."""
    rows = len(confidence)
    if rows < 20:
        return []
    order = np.argsort(-confidence, kind="stable")
    right = (result.predictions == result.targets)[order]
    kept = np.unique(np.linspace(rows / 20, rows, 60).round().astype(int))
    accuracy = 100 * np.cumsum(right)[kept - 1] / kept
    label = (
        f"Accuracy of the rows with the highest confidence: {percent(accuracy[-1] / 100)} of all, "
        f"{percent(right[: rows // 2].mean())} of half of them"
    )
    chart = curve_chart(label, 100 * kept / rows, Series("accuracy", accuracy), "rows that are kept", "accuracy")
    at = int(np.searchsorted(kept, 0.9 * rows))
    text = (
        f"Without the least confident tenth of the rows the accuracy is {percent(accuracy[at] / 100, 2)}, "
        f"of all it is {percent(accuracy[-1] / 100, 2)}."
    )
    return [figure("Accuracy of the confident rows", chart, text)]
