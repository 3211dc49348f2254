"""The sections of a report, each a list of elements, or an empty one where there is nothing to show."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from fastnn.report import charts, measures
from fastnn.report.charts import Series, bar, histogram, line_chart, reliability_chart, scatter_chart
from fastnn.report.markup import (
    Child,
    append,
    element,
    name,
    number,
    percent,
    plural,
    png,
    seconds,
    shorten,
)
from fastnn.report.results import Classification, Regression, Results
from fastnn.report.scales import is_wide, linear, logarithmic

# What a report shows at most, so that its size is bounded.
_CELLS = 24  # classes of a confusion matrix with numbers
_PIXELS = 250  # points of a side of a larger one
_CLASSES = 100  # rows of the table of classes
_WORST_CLASSES = 30  # ... of more classes
_CONFUSIONS = 12
_WORST = 24
_FEATURES = 10
_DOTS = 1000
_OUTPUTS = 4
_EPOCHS = 200
_UNITS = 60
_HEAT = 64
_KERNELS = 20
_LAYERS = 100
_SETTINGS = 200
_SIDE = 96

# Blue and orange on either scheme: the share of a full colour is its opacity.
_BLUE, _ORANGE = (40, 125, 205), (222, 112, 32)


def _table(
    head: Sequence[Child], rows: Iterable[Sequence[Child]], caption: str | None = None, *, numbers: Sequence[int] = (),
    style: str = "", label: str | None = None, foot: Iterable[Sequence[Child]] = (), codes: Sequence[int] = (),
) -> Element:  # fmt: skip
    """A table in a box of its own that scrolls sideways. The first cell of each row is its header."""

    def cell(tag: str, i: int, content: Child, **attributes: object) -> Element:
        style = "num" if i in numbers else "code" if i in codes and tag == "td" else None
        return content if isinstance(content, Element) and content.tag == "td" else element(
            tag, content, class_=style, **attributes
        )  # fmt: skip

    def line(row: Sequence[Child]) -> Element:
        return element("tr", cell("th", 0, row[0], scope="row"), *(cell("td", i, c) for i, c in enumerate(row) if i))

    table = element("table", class_=style or None)
    if caption:
        append(table, element("caption", caption))
    append(
        table,
        element("thead", element("tr", *(cell("th", i, content, scope="col") for i, content in enumerate(head)))),
        element("tbody", *(line(row) for row in rows)),
    )
    last = [line(row) for row in foot]
    if last:
        append(table, element("tbody", *last))
    return _scrolling(table, label or caption or "table")


def _scrolling(content: Element, label: str) -> Element:
    return element("div", content, class_="scroll", tabindex="0", role="region", aria_label=label)


def _card(title: str, *children: Child, style: str = "card") -> Element:
    return element("section", element("h3", title), *children, class_=style)


def _figure(title: str, chart: Element, note: str | None = None) -> Element:
    caption = element("figcaption", note) if note else None
    return element("figure", element("h3", title), chart, caption, class_="card")


# --------------------------------------------------------------------------------------------
# The head


def tiles(result: Results) -> Element:
    """The figures that matter most."""
    found: list[tuple[str, str, str | None]] = []
    rows = plural(len(result.kept), "row")
    if isinstance(result, Classification):
        f1 = float(result.scores.f1.mean()) if len(result.kept) else math.nan
        wrong = len(result.targets) - int(np.trace(result.matrix))
        found += [
            ("Accuracy", percent(result.accuracy, 2), f"{wrong:,} wrong of {rows}"),
            ("Macro F1", number(f1, 3) if len(result.kept) else "–", f"mean of {plural(len(result.names), 'class', 'classes')}"),
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
            found.append(("Validation loss", number(_float(last.validation_loss)), "after the last epoch"))
        elif isinstance(result, Regression):
            found.append(("Training loss", number(_float(last.loss)), "of the last epoch"))
        stopped = getattr(result.history, "stopped", None)
        note = shorten(str(stopped), 40) if stopped else None
        total = sum(_float(getattr(epoch, "seconds", None)) for epoch in epochs)
        found += [("Epochs", f"{len(epochs):,}", note), ("Training time", seconds(total), "without validation")]
    if result.model is not None:
        count = sum(math.prod(p.shape) for p in result.model.parameters())
        found.append(("Parameters", number(count), None))
    items = [
        element("div", element("dt", key), element("dd", text, element("span", note, class_="note") if note else None))
        for key, text, note in found
    ]
    return element("dl", *items, class_="tiles")


def _score(column: np.ndarray) -> str:
    return number(float(column.mean()), 4) if len(column) and np.isfinite(column).all() else "–"


def _float(value: Any) -> float:
    return math.nan if value is None else float(value)


# --------------------------------------------------------------------------------------------
# Training


def curves(result: Results) -> list[Element]:
    """Losses, accuracy and learning rate by epoch."""
    epochs = result.epochs
    if not epochs:
        return []
    x = np.array([_float(getattr(epoch, "number", i + 1)) for i, epoch in enumerate(epochs)])

    def values(field: str) -> np.ndarray:
        return np.array([_float(getattr(epoch, field, None)) for epoch in epochs])

    best = getattr(result.history, "best_epoch", None)
    best = int(best) if isinstance(best, (int, np.integer)) and not isinstance(best, bool) else None
    found = [
        _curve("Loss", x, {"training": values("loss"), "validation": values("validation_loss")}, best, smallest=True),
        _curve(
            "Accuracy", x,
            {"training": 100 * values("accuracy"), "validation": 100 * values("validation_accuracy")}, best, unit="%",
        ),
        _curve("Learning rate", x, {"learning rate": values("lr")}, None),
    ]  # fmt: skip
    shown = [figure for figure in found if figure is not None]
    return [element("div", *shown, class_="columns charts"), _numbers_of_epochs(epochs, x)]


def _curve(
    title: str, x: np.ndarray, lines: dict[str, np.ndarray], mark: int | None, *, smallest: bool = False, unit: str = "",
) -> Element | None:  # fmt: skip
    # A loss that is never finite is worth a word; a column that was not measured is not.
    present = {key: v for key, v in lines.items() if np.isfinite(v).any()}
    if not present:
        text = "No epoch has a finite value."
        return _card(title, element("p", text, class_="soft")) if smallest else None
    styles = {"training": "first", "validation": "second", "learning rate": "first"}
    series = [Series(key, v, styles[key]) for key, v in present.items()]
    everything = np.concatenate([s.values for s in series])
    log = is_wide(everything) and not unit
    scale = logarithmic(everything) if log else linear(everything, 5, unit=unit)
    notes, texts = [], []
    for s in series:
        finite = s.values[np.isfinite(s.values)]
        last, ends = (
            number(float(s.values[-1])),
            f"{number(float(finite[0]))}{unit} to {number(float(finite[-1]))}{unit}",
        )
        texts.append(f"{s.name} from {ends}")
        if len(x) == 1 or title == "Learning rate":
            continue
        at = int(np.nanargmin(s.values) if smallest else np.nanargmax(s.values))
        notes.append(f"{s.name} {last}{unit} at the end, best {number(float(s.values[at]))}{unit} in epoch {x[at]:.0f}")
    if mark is not None and smallest:
        notes.append(f"the vertical line is epoch {mark}, the best")
    y_label = title.lower() + (" (log scale)" if log else "")
    label = f"{title} by epoch, 1 to {x[-1]:.0f}: " + "; ".join(texts)
    chart = line_chart(label, x, series, scale, y_label, mark=mark)
    text = "; ".join(notes)
    return _figure(title, chart, text[:1].upper() + text[1:] + "." if text else None)


def _numbers_of_epochs(epochs: list[Any], x: np.ndarray) -> Element:
    columns = [
        ("training loss", "loss", number), ("validation loss", "validation_loss", number),
        ("training accuracy", "accuracy", lambda v: percent(v, 2)),
        ("validation accuracy", "validation_accuracy", lambda v: percent(v, 2)),
        ("learning rate", "lr", number), ("time", "seconds", lambda v: "–" if v is None else seconds(v)),
    ]  # fmt: skip
    columns = [c for c in columns if any(getattr(epoch, c[1], None) is not None for epoch in epochs)]
    kept = np.unique(np.linspace(0, len(epochs) - 1, min(len(epochs), _EPOCHS)).astype(int))
    rows = [
        [f"{x[i]:.0f}", *(text(getattr(epochs[i], field, None)) for _, field, text in columns)] for i in kept.tolist()
    ]
    caption = None if len(kept) == len(epochs) else f"{len(kept)} of {plural(len(epochs), 'epoch')}, evenly spaced."
    table = _table(
        ["epoch", *(c[0] for c in columns)],
        rows,
        caption,
        numbers=range(len(columns) + 1),
        label="Numbers of the epochs",
    )
    return element("details", element("summary", "Numbers of the epochs"), element("div", table, class_="card"))


# --------------------------------------------------------------------------------------------
# Classification


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
        right = _table(
            ["true class", "predicted as", "rows", "of the class"], rows, numbers=(2, 3), style="wide",
            label="Most frequent confusions",
        )  # fmt: skip
    return [
        element("div", _card("Confusion matrix", *left), _card("Most frequent confusions", right),
                class_="columns halves"),
    ]  # fmt: skip


def _matrix_of_numbers(matrix: np.ndarray, names: list[str]) -> list[Element]:
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    wrong = shares.copy()
    np.fill_diagonal(wrong, 0)
    worst = wrong.max() or 1.0
    tall = max(map(len, names)) > 4
    head = element("tr", element("td"))
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
    table = element("table", element("thead", top, head), body, class_="matrix")
    note = element(
        "p", element("span", class_="key r"), "right, as a share of the true class (row). ",
        element("span", class_="key w"), "wrong, compared with the most frequent confusion.", class_="soft",
    )  # fmt: skip
    return [note, _scrolling(table, "Confusion matrix: true classes in rows, predicted classes in columns")]


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
    palette[:128, :3], palette[128:, :3] = _ORANGE, _BLUE
    palette[:128, 3] = palette[128:, 3] = 255 * ramp
    label = f"Confusion matrix of {count} classes: true classes downwards, predicted classes to the right"
    # As the classes of the axes, whose last point may join fewer classes.
    chart = charts.image_chart(label, png(levels, palette), side * step, "predicted class", "true class")
    joined = f" A point joins {step} × {step} classes." if step > 1 else ""
    note = element(
        "p", element("span", class_="key r"), "right. ", element("span", class_="key w"), "wrong." + joined,
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
        cell = element("td", bar(f1), _three(f1), class_="num")
        return [first, *(_three(v) for v in (precision, recall)), cell, f"{support:,}"]

    rows = [
        row(name(result.names[i], 48), int(scores.support[i]), scores.precision[i], scores.recall[i], scores.f1[i])
        for i in shown.tolist()
    ]
    total = int(scores.support.sum())
    weights = scores.support / total
    columns = (scores.precision, scores.recall, scores.f1)
    foot = [
        row("mean of the classes", total, *(float(c.mean()) for c in columns)),
        row("mean weighted by rows", total, *(float(c @ weights) for c in columns)),
    ]
    table = _table(
        ["class", "precision", "recall", "F1", "rows"], rows, note, numbers=range(1, 5), style="wide", foot=foot,
        label="Scores of the classes",
    )  # fmt: skip
    return [element("div", table, class_="card")]


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
        f"Expected calibration error {percent(curve.error)}, largest {percent(curve.largest_error)}. On average the "
        f"model is {side}, by {percent(abs(lean))}."
    )
    label = "Reliability diagram: " + "; ".join(
        f"confidence {percent(a)}, right {percent(b)}" for a, b in zip(curve.predicted, curve.observed, strict=True)
    )
    confidence = result.probabilities.max(1)
    edges = np.linspace(0, 1, 21)
    counts = np.histogram(confidence, edges)[0]
    spread = histogram(
        f"Confidence of {plural(len(confidence), 'row')}: median {percent(float(np.median(confidence)))}",
        100 * edges, counts, linear(np.array([0.0, 100.0]), 5, unit="%"), "confidence",
    )  # fmt: skip
    figures = [
        _figure("Reliability", reliability_chart(label, curve), "The dashed line is a calibrated model. " + reading),
        _figure("Confidence", spread, "Rows by the probability of the class that was predicted."),
    ]
    return [element("div", *figures, class_="columns charts")]


# --------------------------------------------------------------------------------------------
# Regression


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
            for i, text in enumerate(result.names[:_CLASSES])
        ]  # fmt: skip
        caption = None if count <= _CLASSES else f"The first {_CLASSES} of {count:,} targets."
        found.append(element("div", _table(
            ["target", "R²", "MAE", "RMSE", "largest error"], rows, caption, numbers=range(1, 5),
            label="Scores of the targets",
        ), class_="card"))  # fmt: skip
    for i in range(min(count, _OUTPUTS)):
        found.append(_fit_of(result, i))
    if count > _OUTPUTS:
        found.append(element("p", f"Charts of the first {_OUTPUTS} of {count:,} targets.", class_="soft"))
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
    direction = "too low" if mean > 0 else "too high"
    figures = [
        _figure(
            "Predicted and true" + which,
            scatter_chart(label, true[shown], predicted[shown], "true value", "predicted value", same=True),
            "On the dashed line a prediction is exact." + some,
        ),
        _figure(
            "Residuals" + which,
            scatter_chart(
                f"Residuals against predictions of {rows}", predicted[shown], residuals[shown], "predicted value",
                "true − predicted", zero=True,
            ),
            f"Mean {number(mean, 3)}: predictions are {direction} by that on average." if mean else "Their mean is 0.",
        ),
        _figure(
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


# --------------------------------------------------------------------------------------------
# Rows


def worst(result: Results) -> list[Element]:
    """The rows with the largest errors: as images, or as a table of features."""
    if not len(result.kept):
        return []
    if isinstance(result, Classification):
        found = measures.worst_errors(result.targets, result.logits, _WORST)
        text = "Wrong rows with the smallest probability of the true class, the worst first."
    else:
        assert isinstance(result, Regression)
        found = measures.worst_errors(result.targets, result.outputs, _WORST, kind="regression")
        text = "Rows with the largest differences of target and prediction, the worst first."
        if len(result.names) > 1:
            text = "Rows with the largest 2-norms of the differences of targets and predictions, the worst first."
    if not len(found.rows):
        return [element("div", element("p", "No row was predicted wrong.", class_="soft"), class_="card")]
    show = _pictures if result.inputs.data is not None and result.inputs.image_shape else _rows_as_table
    return [element("p", text, class_="soft"), element("div", show(result, found.rows), class_="card")]


def _verdict(result: Results, i: int) -> tuple[str, str, str]:
    """Of row ``i`` of the kept ones: what is true, what was predicted, and how sure or far the model was."""
    if isinstance(result, Classification):
        true, predicted = int(result.targets[i]), int(result.predictions[i])
        return result.names[true], result.names[predicted], percent(float(result.probabilities[i, predicted]))
    assert isinstance(result, Regression)
    true_values, values = result.targets[i], result.outputs[i]
    difference = (
        float(np.sqrt(((true_values - values) ** 2).sum())) if len(values) > 1 else float((true_values - values)[0])
    )
    return _list(true_values), _list(values), number(difference)


def _list(values: np.ndarray) -> str:
    return ", ".join(number(float(v)) for v in values[:4]) + (", …" if len(values) > 4 else "")


def _pictures(result: Results, rows: np.ndarray) -> Element:
    data = result.inputs.data
    assert data is not None
    grid = element("div", class_="pictures")
    low, high = _limits(data)
    for i in rows.tolist():
        row = int(result.kept[i])
        true, predicted, sure = _verdict(result, i)
        words = f"{sure} sure" if result.kind == "classification" else f"difference {sure}"
        source = _picture(data[row], result.inputs.image_shape, low, high)
        height, width = result.inputs.image_shape[-2:]
        image = element(
            "img", src=source, width=width, height=height, alt=f"Row {row}: true {true}, predicted {predicted}"
        )
        caption = element(
            "figcaption", "predicted ", element("strong", name(predicted, 24)), element("br"), "true ",
            element("strong", name(true, 24)), element("br"), words, element("br"), f"row {row:,}",
        )  # fmt: skip
        append(grid, element("figure", image, caption))
    return grid


def _limits(data: np.ndarray) -> tuple[float, float]:
    """Black and white of all pictures: 0 and 255 of bytes, otherwise the ends of the values."""
    if data.dtype == np.uint8:
        return 0.0, 255.0
    finite = data[np.isfinite(data)]
    return (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)


def _picture(values: np.ndarray, shape: tuple[int, ...], low: float, high: float) -> str:
    shades = (np.nan_to_num(values.astype(np.float64)) - low) / ((high - low) or 1.0)
    grey = np.round(255 * shades.clip(0, 1)).astype(np.uint8).reshape(shape)
    if grey.ndim == 3:
        grey = grey.transpose(1, 2, 0) if len(grey) == 3 else grey[0]
    # A larger picture than is shown is thinned.
    step = -(-max(grey.shape[:2]) // _SIDE)
    return png(np.ascontiguousarray(grey[::step, ::step]))


def _rows_as_table(result: Results, rows: np.ndarray) -> Element:
    data, names = result.inputs.data, result.inputs.names[:_FEATURES]
    head: list[Child] = ["row", "true", "predicted", "sure" if result.kind == "classification" else "difference"]
    caption, lines = [], []
    numeric = data is not None and data.dtype.kind in "fiub"
    mean = spread = np.zeros(len(names))
    if data is not None:
        head += [name(text, 24) for text in names]
        if len(names) < len(result.inputs.names):
            caption.append(f"The first {len(names)} of {len(result.inputs.names):,} features.")
        if numeric:
            some = data[:, : len(names)].astype(np.float64)
            with np.errstate(invalid="ignore"):
                mean, spread = some.mean(0), some.std(0)
            caption.append("Bold values are more than two standard deviations from the mean of all rows.")
    for i in rows.tolist():
        row = int(result.kept[i])
        true, predicted, sure = _verdict(result, i)
        words = result.kind == "classification"
        line: list[Child] = [
            f"{row:,}", name(true, 32) if words else true, name(predicted, 32) if words else predicted, sure,
        ]  # fmt: skip
        for j, value in enumerate([] if data is None else data[row, : len(names)]):
            if numeric:
                odd = abs(float(value) - mean[j]) > 2 * spread[j] > 0
                line.append(element("td", number(value.item()), class_="num odd" if odd else "num"))
            else:
                line.append(shorten(str(value), 32))
        lines.append(line)
    words = result.kind == "classification"
    aligned = [0, *(() if words else (1, 2)), 3, *(range(4, len(head)) if numeric else ())]
    return _table(head, lines, " ".join(caption) or None, numbers=aligned, style="wide", label="Worst errors")


# --------------------------------------------------------------------------------------------
# The model


def weights(result: Results) -> list[Element]:
    """The weights of the first layer: one image for each unit, or one of all."""
    inputs = result.inputs
    if result.model is None:
        return []
    weight = measures.first_weight(result.model, None if inputs.data is None else inputs.data.shape[1])
    if weight is None or not weight.size:
        return []
    weight = np.nan_to_num(weight.astype(np.float64), posinf=0.0, neginf=0.0)
    norms = np.sqrt((weight**2).sum(1))
    order = np.argsort(-norms, kind="stable")
    limit = float(np.quantile(np.abs(weight), 0.995)) or float(np.abs(weight).max()) or 1.0
    key: list[Child] = [
        element("span", class_="key r"), "positive, ", element("span", class_="key w"), "negative, up to ±",
        number(limit, 3), ". ",
    ]  # fmt: skip
    if inputs.image_shape:
        kept = order[:_UNITS].tolist()
        many = f"The {len(kept)} of {plural(len(weight), 'unit')} with the largest weights, in that order."
        text = many if len(kept) < len(weight) else "Each picture is a unit; those with the largest weights come first."
        grid = element("div", class_="units")
        for i in kept:
            image = weight[i].reshape(inputs.image_shape)
            image = image.mean(0) if image.ndim == 3 else image
            step = -(-max(image.shape) // _SIDE)
            picture = element(
                "img", src=_signed(image[::step, ::step], limit), width=image.shape[1], height=image.shape[0],
                alt=f"Weights of unit {i}",
            )  # fmt: skip
            append(grid, element("figure", picture, element("figcaption", str(i))))
        return [element("p", *key, text, class_="soft"), element("div", grid, class_="card")]
    return [element("p", *key, "Each column of the picture is a unit, each row of it a feature.", class_="soft"),
            element("div", _heat(weight[order[:_HEAT]], inputs, limit), class_="card")]  # fmt: skip


def _heat(weight: np.ndarray, inputs: Any, limit: float) -> Element:
    """Features in rows, which have names, and a strip of all units in each."""
    strength = np.sqrt((weight**2).mean(0))
    names = inputs.names or [f"feature {i}" for i in range(weight.shape[1])]
    order = np.argsort(-strength, kind="stable")[:_HEAT].tolist()
    rows: list[list[Child]] = []
    for i in order:
        strip = element(
            "img", src=_signed(weight[None, :, i], limit), width=weight.shape[0], height=1, class_="strip",
            alt=f"Weights of {names[i]} in {plural(weight.shape[0], 'unit')}",
        )  # fmt: skip
        rows.append([name(names[i], 32), element("td", strip, class_="strips-cell"), number(float(strength[i]), 3)])
    caption = (
        None if len(order) == len(names) else f"The {len(order)} of {len(names):,} features with the largest weights."
    )
    return _table(
        ["feature", f"weights of {plural(weight.shape[0], 'unit')}", "RMS"], rows, caption, numbers=(2,), style="wide heat",
        label="Weights of the first layer",
    )  # fmt: skip


def _signed(values: np.ndarray, limit: float) -> str:
    """An image of signed numbers: blue and orange, with nothing at zero."""
    levels = np.round(127 * (values / limit).clip(-1, 1)).astype(np.int64) + 128
    palette = np.zeros((256, 4), np.uint8)
    palette[:128, :3], palette[128:, :3] = _ORANGE, _BLUE
    palette[:, 3] = np.minimum(np.abs(np.arange(256) - 128) * 2, 255)
    return png(levels.astype(np.uint8), palette)


def timings(result: Results) -> list[Element]:
    """The time of each kernel, from a profile."""
    profile = result.profile
    if profile is None:
        return []
    lines, whole = list(profile.lines()), float(profile.seconds)
    starting = float(getattr(profile, "starting", 0.0))
    python = max(0.0, whole - starting - sum(line.seconds for line in lines))
    rows: list[list[Child]] = []
    # Bars are shares of the longest time.
    longest = max([starting, python, *(line.seconds for line in lines)], default=0.0) or 1.0

    def row(first: Child, time: float, launches: str = "", rate: str = "") -> list[Child]:
        share = percent(time / whole) if whole > 0 else "–"
        long = bar(time / longest)
        long.set("class", "bar long")
        return [first, element("td", long), seconds(time), share, launches, rate]

    for line in lines[:_KERNELS]:
        rows.append(row(element("span", line.kernel, class_="code"), line.seconds, f"{line.calls:,}", _rate(line)))
    others = lines[_KERNELS:]
    if others:
        rest = sum(line.seconds for line in others)
        rows.append(row(plural(len(others), "other kernel"), rest, f"{sum(line.calls for line in others):,}"))
    if starting:
        rows.append(row("starting: compilation and threads", starting))
    rows.append(row("Python, between kernels", python))
    note = f"{seconds(whole)} in all. Rates are of multiplications and additions, or of bytes of the arrays."
    table = _table(
        ["kernel", "", "time", "share", "launches", "rate"],
        rows,
        numbers=(2, 3, 4, 5),
        style="wide",
        label="Timings by kernel",
    )
    return [element("p", note, class_="soft"), element("div", table, class_="card")]


def _rate(line: Any) -> str:
    if not line.seconds:
        return ""
    flops, size = getattr(line, "flops", 0.0), getattr(line, "bytes", 0.0)
    return (
        f"{number(flops / line.seconds / 1e9, 3)} Gflop/s" if flops else f"{number(size / line.seconds / 1e9, 3)} GB/s"
    )


def model(result: Results) -> list[Element]:
    """The layers of the model, their parameters and bytes."""
    if result.model is None:
        return []
    rows: list[list[Child]] = []
    seen: set[int] = set()
    total = trained = size = 0
    for path, module in result.model.named_modules():
        own = [p for p in module._parameters.values() if p is not None and id(p) not in seen]
        seen.update(map(id, own))
        count = sum(math.prod(p.shape) for p in own)
        total += count
        trained += sum(math.prod(p.shape) for p in own if p.requires_grad)
        size += sum(p.detach().numpy().nbytes for p in own)
        if own or not module._modules:
            shapes = ", ".join(" × ".join(map(str, p.shape)) or "1" for p in own)
            text = f"{type(module).__name__}({module.extra_repr()})"
            rows.append([path or "model", shorten(text, 120), shapes or "–", f"{count:,}" if own else "–"])
    caption = None if len(rows) <= _LAYERS else f"The first {_LAYERS} of {len(rows):,} layers."
    foot: list[list[Child]] = [
        ["all", f"{trained:,} trained, {total - trained:,} frozen; {_bytes(size)}", "", f"{total:,}"]
    ]
    table = _table(
        ["layer", "module", "shapes", "parameters"], rows[:_LAYERS], caption, numbers=(3,), codes=(1,), style="wide",
        label="Layers of the model", foot=foot,
    )  # fmt: skip
    return [element("div", table, class_="card")]


def _bytes(size: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{number(size, 3)} {unit}"


def settings(result: Results) -> list[Element]:
    """What the user said about the run, word for word."""
    found = dict(result.settings)
    explanation = getattr(result.history, "explanation", "")
    if explanation:
        found.setdefault("training step", str(explanation))
    if not found:
        return []
    rows = [[name(key), element("td", shorten(value, 2000), class_="text")] for key, value in found.items()]
    caption = None if len(rows) <= _SETTINGS else f"The first {_SETTINGS} of {len(rows):,}."
    return [element("div", _table(["setting", "value"], rows[:_SETTINGS], caption, label="Settings"), class_="card")]


Section = tuple[str, str, Callable[[Results], list[Element]]]
# The address, the heading and the maker of each.
SECTIONS: tuple[Section, ...] = (
    ("training", "Training", curves),
    ("confusion", "Confusion", confusion),
    ("classes", "Classes", classes),
    ("fit", "Fit", fits),
    ("calibration", "Calibration", calibration),
    ("errors", "Worst errors", worst),
    ("weights", "First-layer weights", weights),
    ("timings", "Timings by kernel", timings),
    ("model", "Model", model),
    ("settings", "Settings", settings),
)
