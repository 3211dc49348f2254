"""Losses, accuracy and learning rate by epoch."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from fastnn.report.charts import Series, line_chart
from fastnn.report.markup import element, number, percent, plural, seconds
from fastnn.report.results import Results, as_float
from fastnn.report.scales import is_wide, linear, logarithmic, percentages
from fastnn.report.tables import card, figure, table

# Rows of the table of numbers, at most.
_EPOCHS = 200


def curves(result: Results) -> list[Element]:
    """Losses, accuracy and learning rate by epoch."""
    epochs = result.epochs
    if not epochs:
        return []
    x = np.array([as_float(getattr(epoch, "number", i + 1)) for i, epoch in enumerate(epochs)])

    def values(field: str) -> np.ndarray:
        return np.array([as_float(getattr(epoch, field, None)) for epoch in epochs])

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
    shown = [one for one in found if one is not None]
    return [element("div", *shown, class_="columns charts"), _numbers_of_epochs(epochs, x)]


def _curve(
    title: str,
    x: np.ndarray,
    lines: dict[str, np.ndarray],
    mark: int | None,
    *,
    smallest: bool = False,
    unit: str = "",
) -> Element | None:
    # A loss that is never finite is worth a word; a column that was not measured is not.
    present = {key: v for key, v in lines.items() if np.isfinite(v).any()}
    if not present:
        text = "No epoch has a finite value."
        return card(title, element("p", text, class_="soft")) if smallest else None
    styles = {"training": "first", "validation": "second", "learning rate": "first"}
    series = [Series(key, v, styles[key]) for key, v in present.items()]
    everything = np.concatenate([s.values for s in series])
    log = is_wide(everything) and not unit
    # A learning rate is compared with 0, from which it may start or where it may end.
    everything = np.append(everything, 0.0) if title == "Learning rate" and not log else everything
    scale = logarithmic(everything) if log else percentages(everything) if unit else linear(everything, 5)
    notes, texts = [], []
    for s in series:
        finite = s.values[np.isfinite(s.values)]
        first, last = number(float(finite[0])) + unit, number(float(s.values[-1])) + unit
        texts.append(f"{s.name} from {first} to {last}")
        if title == "Learning rate":
            notes.append(f"{last} in all epochs" if (finite == finite[0]).all() else f"from {first} to {last}")
            continue
        at = int(np.nanargmin(s.values) if smallest else np.nanargmax(s.values))
        best = f", best {number(float(s.values[at]))}{unit} in epoch {x[at]:,.0f}" if at < len(x) - 1 else ""
        notes.append(f"{s.name} {last} at the end{best}")
    if mark is not None and smallest:
        notes.append(f"the vertical line is epoch {mark}, the best")
    label = f"{title} by epoch, 1 to {x[-1]:.0f}: " + "; ".join(texts)
    chart = line_chart(label, x, series, scale, "log scale" if log else "", mark=mark)
    text = "; ".join(notes)
    return figure(title, chart, text[:1].upper() + text[1:] + "." if text else None)


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
    numbers = table(
        ["epoch", *(c[0] for c in columns)],
        rows,
        caption,
        numbers=range(len(columns) + 1),
        label="Numbers of the epochs",
    )
    return element("details", element("summary", "Numbers of the epochs"), element("div", numbers, class_="card"))
