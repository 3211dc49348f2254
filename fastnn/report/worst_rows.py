"""The rows with the largest errors."""

from __future__ import annotations

from xml.etree.ElementTree import Element

import numpy as np

from fastnn.report.markup import Child, append, element, name, number, percent, png, shorten
from fastnn.report.measures import worst_errors
from fastnn.report.results import Classification, Regression, Results
from fastnn.report.tables import column, table

# Rows, and features of each in a table; pixels of a side of a picture.
_WORST, _FEATURES, _SIDE = 24, 10, 96


def worst(result: Results) -> list[Element]:
    """The rows with the largest errors: as images, or as a table of features."""
    if not len(result.kept):
        return []
    if isinstance(result, Classification):
        found = worst_errors(result.targets, result.logits, _WORST)
        text = "Wrong rows with the smallest probability of the true class, the worst first."
    else:
        assert isinstance(result, Regression)
        found = worst_errors(result.targets, result.outputs, _WORST, kind="regression")
        text = "Rows with the largest differences of target and prediction, the worst first."
        if len(result.names) > 1:
            text = "Rows with the largest 2-norms of the differences of targets and predictions, the worst first."
    rows = found.rows[found.errors > 0]
    if not len(rows):
        text = "No row was predicted wrong." if result.kind == "classification" else "All predictions are exact."
        return [element("div", element("p", text, class_="soft"), class_="card")]
    show = _pictures if result.inputs.data is not None and result.inputs.image_shape else _rows_as_table
    return [element("p", text, class_="soft"), element("div", show(result, rows), class_="card")]


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
    words = result.kind == "classification"
    head: list[Child] = ["row", "true", "predicted", "sure" if words else "difference"]
    verdicts = [_verdict(result, i) for i in rows.tolist()]
    columns: list[list[Child]] = [[f"{row:,}" for row in result.kept[rows].tolist()]]
    if isinstance(result, Regression) and len(result.names) == 1:
        true, predicted = result.targets[rows, 0], result.outputs[rows, 0]
        columns += [[*column(values)] for values in (true, predicted, true - predicted)]
    else:
        for texts in zip(*verdicts, strict=True):
            columns.append([name(text, 32) for text in texts] if words and len(columns) < 3 else [*texts])
    aligned = [0, 3] if words else [0, 1, 2, 3]
    caption = []
    data, names = result.inputs.data, result.inputs.names[:_FEATURES]
    if data is not None:
        head += [name(text, 24) for text in names]
        some = data[:, : len(names)]
        if len(names) < len(result.inputs.names):
            caption.append(f"The first {len(names)} of {len(result.inputs.names):,} features.")
        if data.dtype.kind in "fiub":
            columns += _features(some, result.kept[rows])
            aligned += range(4, len(head))
            caption.append("Bold values are more than two standard deviations from the mean of all rows.")
        else:
            columns += [[shorten(str(value), 32) for value in values] for values in some[result.kept[rows]].T]
    return table(
        head, list(zip(*columns, strict=True)), " ".join(caption) or None, numbers=aligned, style="wide",
        label="Worst errors",
    )  # fmt: skip


def _features(data: np.ndarray, rows: np.ndarray) -> list[list[Child]]:
    """Cells of each feature; those that are unusual are bold."""
    values = data.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        far = np.abs(values[rows] - values.mean(0)) > 2 * values.std(0)
    return [
        [
            element("td", text, class_="num odd" if odd else "num")
            for text, odd in zip(column(v), far[:, j], strict=True)
        ]
        for j, v in enumerate(data[rows].T)
    ]
