"""Charts as SVG, 360 units wide: their text is about 12 pixels high in a column of a desktop and on a phone.

Colours come from the classes of ``style.css``, so that they follow the light or dark scheme.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

import numpy as np

from fastnn.report.markup import append, element, number, percent, plural
from fastnn.report.measures import CalibrationCurve
from fastnn.report.scales import Scale, epochs, linear, percentages

_WIDTH, _HEIGHT = 360, 250
_TOP, _BOTTOM, _RIGHT = 30, 40, 12
# Widths of characters, those of a wide font; of others _CHARACTER.
_WIDTHS = {
    **dict.fromkeys(",.il", 4.0),
    **dict.fromkeys("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", 5.8),
    "%": 11.5,
    "×": 10.2,
    "−": 10.2,
    "m": 11.7,
}
_CHARACTER = 7.7
# More points of a line would be closer than a pixel.
_POINTS = 400


@dataclass(frozen=True)
class Series:
    """A line: its name in the legend, its values, and its class of colour (``first`` or ``second``)."""

    name: str
    values: np.ndarray
    style: str = "first"


class _Chart:
    """The frame of a chart: axes, grid and labels; ``x`` and ``y`` turn values into coordinates."""

    def __init__(self, label: str, x: Scale, y: Scale, x_label: str, y_label: str, *, vertical: bool = True) -> None:
        self._x, self._y = x, y
        widest = max(_width(text) for text in y.labels)
        self.left, self.right = round(widest + 10), _WIDTH - _RIGHT
        self.top, self.bottom = _TOP, _HEIGHT - _BOTTOM
        self.svg = element(
            "svg", class_="chart", viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img", aria_label=label, focusable="false"
        )
        grid, texts = element("g", class_="grid"), element("g", class_="ticks")
        for place, text in zip(self.y(np.array(y.ticks)), y.labels, strict=True):
            append(grid, element("path", d=f"M{self.left} {_c(place)}H{self.right}"))
            append(texts, element("text", text, x=self.left - 7, y=_c(place + 4), text_anchor="end"))
        last = -1e9
        for place, text in zip(self.x(np.array(x.ticks)), x.labels, strict=True):
            if vertical:
                append(grid, element("path", d=f"M{_c(place)} {self.top}V{self.bottom}"))
            # The last label ends at the edge; one that would touch the label before it is left out.
            width = _width(text)
            start = min(place - width / 2, _WIDTH - 1 - width)
            if start < last + 3:
                continue
            last = start + width
            append(texts, element("text", text, x=_c(start + width / 2), y=self.bottom + 17, text_anchor="middle"))
        axis = element("path", class_="axis", d=f"M{self.left} {self.bottom}H{self.right}")
        middle = (self.left + self.right) / 2
        names = element(
            "g",
            element("text", y_label, x=2, y=14),
            element("text", x_label, x=_c(middle), y=_HEIGHT - 4, text_anchor="middle"),
            class_="names",
        )
        append(self.svg, grid, axis, texts, names)

    def x(self, values: np.ndarray) -> np.ndarray:
        return self.left + self._x.places(values) * (self.right - self.left)

    def y(self, values: np.ndarray) -> np.ndarray:
        return self.bottom - self._y.places(values) * (self.bottom - self.top)

    def line(self, x: np.ndarray, y: np.ndarray, style: str) -> None:
        """A line, interrupted where a value is missing; few points are marked."""
        across, up = self.x(x), self.y(y)
        finite = np.isfinite(across) & np.isfinite(up)
        words, drawn = [], False
        for ok, a, b in zip(finite, across, up, strict=True):
            if ok:
                # The short stroke shows a point without neighbours.
                words.append(f"{'L' if drawn else 'M'}{_c(a)} {_c(b)}" + ("" if drawn else "h.1"))
            drawn = bool(ok)
        append(self.svg, element("path", class_=f"line {style}", d="".join(words)))
        if len(x) <= 30:
            self.dots(x[finite], y[finite], f"marks {style}", 2.6)

    def dots(self, x: np.ndarray, y: np.ndarray, style: str, radius: float) -> None:
        group = element("g", class_=style)
        across, up = self.x(x), self.y(y)
        finite = np.isfinite(across) & np.isfinite(up)
        for a, b in zip(across[finite], up[finite], strict=True):
            append(group, element("circle", cx=_c(a), cy=_c(b), r=radius))
        append(self.svg, group)

    def legend(self, series: Sequence[Series]) -> None:
        """Names of the lines, at the right above the frame."""
        place, group = self.right, element("g", class_="legend")
        for one in reversed(series):
            place -= round(_width(one.name))
            append(group, element("text", one.name, x=place, y=14))
            append(group, element("path", class_=f"line {one.style}", d=f"M{place - 24} 10h18"))
            place -= 36
        append(self.svg, group)

    def strips(self, x: np.ndarray, texts: Iterable[str]) -> None:
        """A text for each x, shown when the pointer is in its strip."""
        places = self.x(x)
        borders = np.concatenate([[self.left], (places[1:] + places[:-1]) / 2, [self.right]])
        group = element("g", class_="strips")
        for place, low, high, text in zip(places, borders[:-1], borders[1:], texts, strict=True):
            box = element("rect", x=_c(low), y=self.top, width=_c(high - low), height=self.bottom - self.top)
            guide = element("path", d=f"M{_c(place)} {self.top}V{self.bottom}")
            append(group, element("g", element("title", text), box, guide))
        append(self.svg, group)


def line_chart(
    label: str, x: np.ndarray, series: Sequence[Series], y: Scale, y_label: str, *, mark: int | None = None,
) -> Element:  # fmt: skip
    """Lines over the epochs ``x``; ``mark`` is the epoch of a vertical line."""
    chart = _Chart(label, epochs(x), y, "epoch", y_label, vertical=False)
    if mark is not None and x[0] <= mark <= x[-1]:
        [place] = chart.x(np.array([mark]))
        append(chart.svg, element("path", class_="mark", d=f"M{_c(place)} {chart.top}V{chart.bottom}"))
    for one in series:
        kept = _thinned(one.values)
        chart.line(x[kept], one.values[kept], one.style)
    if len(series) > 1:
        chart.legend(series)
    if len(x) <= 100:
        unit = "%" if y.labels[0].endswith("%") else ""
        texts = (
            f"epoch {epoch}: " + ", ".join(f"{s.name} {number(float(s.values[i]))}{unit}" for s in series)
            for i, epoch in enumerate(x.astype(int))
        )
        chart.strips(x, texts)
    return chart.svg


def scatter_chart(
    label: str, x: np.ndarray, y: np.ndarray, x_label: str, y_label: str, *, same: bool = False, zero: bool = False,
) -> Element:  # fmt: skip
    """Points; with ``same`` both axes have one scale and a diagonal, with ``zero`` there is a line at y = 0."""
    if same:
        both = np.concatenate([x, y])
        scales = linear(both, 5), linear(both, 5)
    else:
        scales = linear(x, 5), linear(np.append(y, 0.0) if zero else y, 5)
    chart = _Chart(label, *scales, x_label, y_label)
    chart.dots(x, y, "dots", 2.4)
    if same:
        append(chart.svg, element("path", class_="reference",
                                  d=f"M{chart.left} {chart.bottom}L{chart.right} {chart.top}"))  # fmt: skip
    if zero:
        [place] = chart.y(np.array([0.0]))
        append(chart.svg, element("path", class_="reference", d=f"M{chart.left} {_c(place)}H{chart.right}"))
    return chart.svg


def histogram(label: str, edges: np.ndarray, counts: np.ndarray, x: Scale, x_label: str) -> Element:
    """Bars of the counts between the edges."""
    chart = _Chart(label, x, linear(np.append(counts, 0), 5, integers=True), x_label, "rows", vertical=False)
    group = element("g", class_="bars")
    lefts, rights, tops = chart.x(edges[:-1]), chart.x(edges[1:]), chart.y(counts)
    for i, (left, right, top) in enumerate(zip(lefts, rights, tops, strict=True)):
        if counts[i]:
            text = f"{number(float(edges[i]), 3)} to {number(float(edges[i + 1]), 3)}: {plural(int(counts[i]), 'row')}"
            # One unit between bars.
            append(group, element("rect", element("title", text), x=_c(left + 0.5), y=_c(top),
                                  width=_c(max(right - left - 1, 0.5)), height=_c(chart.bottom - top)))  # fmt: skip
    append(chart.svg, group)
    return chart.svg


def curve_chart(label: str, x: np.ndarray, series: Series, x_label: str, y_label: str) -> Element:
    """A line of percentages over percentages."""
    whole = linear(np.array([0.0, 100.0]), 5, unit="%")
    chart = _Chart(label, whole, percentages(series.values), x_label, y_label, vertical=False)
    append(chart.svg, element("path", class_=f"line {series.style}", d=_path(chart.x(x), chart.y(series.values))))
    return chart.svg


def reliability_chart(label: str, curve: CalibrationCurve) -> Element:
    """The share of right rows over the confidence, with intervals, and the diagonal of a calibrated model."""
    whole = linear(np.array([0.0, 100.0]), 5, unit="%")
    chart = _Chart(label, whole, whole, "confidence", "rows that are right")
    append(chart.svg, element("path", class_="reference", d=f"M{chart.left} {chart.bottom}L{chart.right} {chart.top}"))
    x, y = chart.x(100 * curve.predicted), chart.y(100 * curve.observed)
    lows, highs = (chart.y(100 * end) for end in wilson(curve.observed, curve.rows))
    # The area of a dot follows the rows; the smallest ones can still be seen.
    radii = np.maximum(2.2, 6 * np.sqrt(curve.rows / max(int(curve.rows.max(initial=1)), 1)))
    lines, dots = element("g", class_="intervals"), element("g", class_="marks first")
    for i, (a, b, low, high, radius) in enumerate(zip(x, y, lows, highs, radii, strict=True)):
        append(lines, element("path", d=f"M{_c(a)} {_c(low)}V{_c(high)}"))
        text = (
            f"confidence {percent(curve.lows[i], 0)} to {percent(curve.highs[i], 0)}, on average "
            f"{percent(curve.predicted[i])}: right {percent(curve.observed[i])} of {plural(int(curve.rows[i]), 'row')}"
        )
        append(dots, element("circle", element("title", text), cx=_c(a), cy=_c(b), r=_c(radius)))
    return append(chart.svg, lines, dots)


def wilson(share: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ends of the 95% interval of a share that was found in so many rows (E. B. Wilson, 1927)."""
    z = 1.959964
    middle = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * np.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    return middle - half, middle + half


def image_chart(label: str, source: str, classes: int, x_label: str, y_label: str) -> Element:
    """A square image whose axes count classes from 0, downwards."""
    scale = linear(np.array([0.0, classes]), 5, integers=True, pad=False)
    size, left, top = 300, 52, 24
    svg = element(
        "svg", class_="chart", viewBox=f"0 0 {left + size + 20} {top + size + 40}", role="img", aria_label=label
    )
    append(svg, element("image", href=source, x=left, y=top, width=size, height=size, preserveAspectRatio="none"))
    texts = element("g", class_="ticks")
    for place, text in zip(scale.places(np.array(scale.ticks)) * size, scale.labels, strict=True):
        append(texts, element("text", text, x=_c(left + place), y=top + size + 16, text_anchor="middle"))
        append(texts, element("text", text, x=left - 6, y=_c(top + place + 4), text_anchor="end"))
    append(svg, element("rect", class_="frame", x=left, y=top, width=size, height=size), texts)
    names = element(
        "g",
        element("text", y_label, x=2, y=14),
        element("text", x_label, x=left + size // 2, y=top + size + 34, text_anchor="middle"),
        class_="names",
    )
    return append(svg, names)


def bar(share: float) -> Element:
    """A bar in a cell of a table, from nothing to its whole width."""
    width = round(100 * min(max(share, 0.0), 1.0), 1)
    return element(
        "svg",
        element("rect", class_="rest", width=100, height=8),
        element("rect", width=f"{width:g}", height=8),
        class_="bar",
        viewBox="0 0 100 8",
        preserveAspectRatio="none",
        aria_hidden="true",
        focusable="false",
    )


def _width(text: str) -> float:
    return sum(_WIDTHS.get(character, _CHARACTER) for character in text)


def _c(value: float) -> str:
    """A coordinate, to a tenth of a unit."""
    return f"{value:.1f}".removesuffix(".0")


def _path(x: np.ndarray, y: np.ndarray) -> str:
    return "M" + "L".join(f"{_c(a)} {_c(b)}" for a, b in zip(x, y, strict=True)) if len(x) else ""


def _thinned(values: np.ndarray) -> np.ndarray:
    """Indices of at most about ``_POINTS`` values: the smallest and the largest of each part, the first and last."""
    if len(values) <= _POINTS:
        return np.arange(len(values))
    parts = np.array_split(np.arange(len(values)), _POINTS // 2)
    low, high = np.where(np.isnan(values), np.inf, values), np.where(np.isnan(values), -np.inf, values)
    kept = [part[index] for part in parts for index in (low[part].argmin(), high[part].argmax())]
    return np.unique([0, *kept, len(values) - 1])
