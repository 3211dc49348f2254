"""The section of a regression: predictions against targets, residuals, scores of targets."""

from __future__ import annotations

import math
from xml.etree.ElementTree import Element

import numpy as np

from fastnn.report.charts import histogram, scatter_chart
from fastnn.report.markup import Child, element, name, number, plural, shorten
from fastnn.report.results import Regression, Results
from fastnn.report.scales import linear
from fastnn.report.tables import figure, table

# Targets with charts, targets in the table, points of a scatter.
_OUTPUTS, _TARGETS, _DOTS = 4, 100, 1000


def fits(result: Results) -> list[Element]:
    """Predictions against targets, residuals, and the scores of each target."""
    if not isinstance(result, Regression) or not len(result.kept):
        return []
    found: list[Element] = []
    count = len(result.names)
    if count > 1:
        rows: list[list[Child]] = [
            [name(text, 48), *(number(float(c[i])) if math.isfinite(c[i]) else "–" for c in
                               (result.r2, result.mae, result.rmse, result.largest))]
            for i, text in enumerate(result.names[:_TARGETS])
        ]  # fmt: skip
        caption = None if count <= _TARGETS else f"The first {_TARGETS} of {count:,} targets."
        found.append(element("div", table(
            ["target", "R²", "MAE", "RMSE", "largest error"], rows, caption, numbers=range(1, 5),
            label="Scores of the targets",
        ), class_="card"))  # fmt: skip
    for i in range(min(count, _OUTPUTS)):
        found.append(_fit_of(result, i))
    if count > _OUTPUTS:
        found.append(element("p", f"Charts of the first {_OUTPUTS} of {count:,} targets.", class_="soft after"))
    return found


def _fit_of(result: Regression, i: int) -> Element:
    true, predicted = result.targets[:, i], result.outputs[:, i]
    residuals = true - predicted
    shown = _sample(true, residuals)
    rows = plural(len(true), "row")
    some = "" if len(shown) == len(true) else f" {len(shown):,} of {rows}, the largest errors among them."
    which = "" if len(result.names) == 1 else f": {shorten(result.names[i], 40)}"
    mean, spread = float(residuals.mean()), float(residuals.std())
    label = f"Predicted against true values of {rows}, R² {number(float(result.r2[i]))}"
    edges = _edges(residuals)
    counts = np.histogram(residuals, edges)[0]
    leaning = f"Their mean is {number(mean, 3)}"
    if mean and math.isfinite(mean):
        leaning += f": predictions are too {'low' if mean > 0 else 'high'} by that on average"
    figures = [
        figure(
            "Predicted and true" + which,
            scatter_chart(label, true[shown], predicted[shown], "true value", "predicted value", same=True),
            "On the dashed line a prediction is exact." + some,
        ),
        figure(
            "Residuals" + which,
            scatter_chart(
                f"Residuals against predictions of {rows}", predicted[shown], residuals[shown], "predicted value",
                "true − predicted", zero=True,
            ),
            leaning + ".",
        ),
        figure(
            "Distribution of residuals" + which,
            histogram(
                f"Residuals of {rows}: mean {number(mean, 3)}, standard deviation {number(spread, 3)}", edges, counts,
                linear(edges, 5), "true − predicted",
            ),
            f"Standard deviation {number(spread, 3)}; half of the errors are below "
            f"{number(float(np.median(np.abs(residuals))), 3)}.",
        ),
    ]  # fmt: skip
    return element("div", *figures, class_="columns charts")


def _sample(true: np.ndarray, residuals: np.ndarray) -> np.ndarray:
    """At most ``_DOTS`` rows: evenly spaced in the order of the targets, and those with the largest errors."""
    if len(true) <= _DOTS:
        return np.arange(len(true))
    worst = np.argsort(-np.abs(residuals), kind="stable")[: _DOTS // 20]
    order = np.argsort(true, kind="stable")
    even = order[np.linspace(0, len(true) - 1, _DOTS - len(worst)).astype(int)]
    return np.union1d(even, worst)


def _edges(residuals: np.ndarray) -> np.ndarray:
    """Borders of about 20 bins at round numbers."""
    ticks = np.array(linear(residuals, 20).ticks)
    return ticks if len(ticks) > 1 else np.array([ticks[0] - 1, ticks[0] + 1])
