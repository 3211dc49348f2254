"""Tables, cards and figures: the parts of the sections."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from xml.etree.ElementTree import Element

import numpy as np

from fastnn.report.markup import Child, append, element, number


def table(
    head: Sequence[Child], rows: Iterable[Sequence[Child]], caption: str | None = None, *, numbers: Sequence[int] = (),
    style: str = "", label: str | None = None, foot: Iterable[Sequence[Child]] = (),
) -> Element:  # fmt: skip
    """A table in a box of its own that scrolls sideways. The first cell of each row is its header."""

    def cell(tag: str, i: int, content: Child, **attributes: object) -> Element:
        style = "num" if i in numbers else None
        return content if isinstance(content, Element) and content.tag in ("td", "th") else element(
            tag, content, class_=style, **attributes
        )  # fmt: skip

    def line(row: Sequence[Child]) -> Element:
        return element("tr", cell("th", 0, row[0], scope="row"), *(cell("td", i, c) for i, c in enumerate(row) if i))

    result = element("table", class_=style or None)
    if caption:
        append(result, element("caption", element("span", caption)))
    append(
        result,
        element("thead", element("tr", *(cell("th", i, content, scope="col") for i, content in enumerate(head)))),
        element("tbody", *(line(row) for row in rows)),
    )
    last = [line(row) for row in foot]
    if last:
        append(result, element("tbody", *last))
    return scrolling(result, label or caption or "table")


def scrolling(content: Element, label: str) -> Element:
    """A box whose content may be wider than the page; the keyboard reaches it, and so can scroll it."""
    return element("div", content, class_="scroll", tabindex="0", role="region", aria_label=label)


def key(style: str) -> Element:
    """A coloured square of a legend: ``r`` for right or positive, ``w`` for wrong or negative."""
    return element("span", class_=f"key {style}")


def column(values: np.ndarray) -> list[str]:
    """Numbers of a column of a table, with the same number of digits after the point.

    >>> column(np.array([211.0, 94.037])), column(np.array([30.2, 28.0]))
    (['211.00', '94.04'], ['30.2', '28.0'])
    """
    values = np.asarray(values)
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    largest = float(np.abs(finite).max()) if len(finite) else 0.0
    if values.dtype.kind != "f" or (finite == np.round(finite)).all() or not 1e-2 <= largest < 1e6:
        return [
            number(value if value % 1 else int(value)) if np.isfinite(value) else number(value)
            for value in values.tolist()
        ]
    decimals = 4 if largest < 1 else 3 if largest < 10 else 2 if largest < 1000 else 1
    # Not more than they need.
    while decimals > 1 and all(f"{v:.{decimals}f}".endswith("0") for v in finite.tolist()):
        decimals -= 1
    return [f"{v:,.{decimals}f}".replace("-", "−") if np.isfinite(v) else number(v) for v in values.tolist()]


def card(title: str, *children: Child, style: str = "card") -> Element:
    return element("div", element("h3", title), *children, class_=style)


def figure(title: str, chart: Element, note: str | None = None) -> Element:
    caption = element("figcaption", note) if note else None
    return element("figure", element("h3", title), chart, caption, class_="card")
