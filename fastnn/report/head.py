"""The figures at the head of a report."""

from __future__ import annotations

import math
from xml.etree.ElementTree import Element

import numpy as np

from fastnn.report.markup import element, number, percent, plural, seconds, shorten
from fastnn.report.results import Classification, Regression, Results, as_float


def tiles(result: Results) -> Element:
    """The figures that matter most."""
    found: list[tuple[str, str, str | None]] = []
    rows = plural(len(result.kept), "row")
    if isinstance(result, Classification):
        classes = plural(len(result.names), "class", "classes")
        f1 = float(result.scores.f1.mean()) if len(result.kept) else math.nan
        wrong = len(result.targets) - int(np.trace(result.matrix))
        found += [
            ("Accuracy", percent(result.accuracy, 2), f"{wrong:,} wrong of {rows}"),
            ("Macro F1", f"{f1:.3f}" if len(result.kept) else "–", f"mean of {classes}"),
            ("Calibration error", percent(result.curve.error), "ECE, 0% is best"),
        ]  # fmt: skip
    elif isinstance(result, Regression):
        several = None if len(result.names) == 1 else f"mean of {plural(len(result.names), 'target')}"
        texts = [_score(column) for column in (result.r2, result.mae, result.rmse)]
        notes = ("1 is best", "mean absolute error", "root of the mean squared error")
        found += [
            (key, text, several or note) for key, text, note in zip(("R²", "MAE", "RMSE"), texts, notes, strict=True)
        ]
    epochs = result.epochs
    if epochs:
        last, note = epochs[-1], None
        if getattr(last, "validation_loss", None) is not None:
            found.append(("Validation loss", number(as_float(last.validation_loss), 3), "after the last epoch"))
        elif isinstance(result, Regression):
            found.append(("Training loss", number(as_float(last.loss), 3), "of the last epoch"))
        stopped = getattr(result.history, "stopped", None)
        note = shorten(str(stopped), 40) if stopped else None
        total = sum(as_float(getattr(epoch, "seconds", None)) for epoch in epochs)
        found += [("Epochs", f"{len(epochs):,}", note), ("Training time", seconds(total), "without validation")]
    if result.model is not None:
        count = sum(math.prod(p.shape) for p in result.model.parameters())
        found.append(("Parameters", number(count), None))
    items = [
        element(
            "div",
            element("dt", key),
            element(
                "dd",
                text,
                element("span", note, class_="note") if note else None,
                class_="long" if len(text) > 8 else None,
            ),
        )
        for key, text, note in found
    ]
    return element("dl", *items, class_="tiles")


def _score(column: np.ndarray) -> str:
    return number(float(column.mean()), 4) if np.isfinite(column).all() else "–"
