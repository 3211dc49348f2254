"""HTML and SVG by the standard library's element trees, which escape all text; images as PNG; numbers as text."""

from __future__ import annotations

import base64
import math
import re
import struct
import zlib
from collections.abc import Iterable
from xml.etree.ElementTree import Element, tostring

import numpy as np

# Characters that HTML does not allow: controls, halves of surrogate pairs and non-characters.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")

# Of images, whose opacity is the share of a full colour: so they suit a light and a dark page.
BLUE, ORANGE = (40, 125, 205), (222, 112, 32)

Child = Element | str | None


def element(tag: str, *children: Child | Iterable[Child], **attributes: object) -> Element:
    """An element with children, elements or texts; those that are None, and such attributes, are left out.

    ``class_`` becomes ``class``, and other underscores become hyphens.

    >>> to_html(element("p", "a < b", element("br"), "c", class_="note", aria_label=None))
    '<p class="note">a &lt; b<br>c</p>'
    """
    result = Element(tag, {k.rstrip("_").replace("_", "-"): clean(v) for k, v in attributes.items() if v is not None})
    for child in children:
        append(result, *([child] if child is None or isinstance(child, (str, Element)) else child))
    return result


def append(parent: Element, *children: Child) -> Element:
    """Add elements and texts to an element, which is returned."""
    for child in children:
        if isinstance(child, Element):
            parent.append(child)
        elif child and len(parent):
            parent[-1].tail = (parent[-1].tail or "") + clean(child)
        elif child:
            parent.text = (parent.text or "") + clean(child)
    return parent


def clean(value: object) -> str:
    """A value as text, without characters that HTML does not allow."""
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", str(value))


def to_html(root: Element) -> str:
    return tostring(root, encoding="unicode", method="html")


def name(text: str, limit: int = 60) -> Element:
    """A name of the user's. Its writing direction does not reach the text around it, and a long one is cut."""
    short = shorten(text, limit) if text.strip() else "(no name)"
    return element("bdi", short, title=text[:500] if len(text) > limit else None)


def shorten(text: str, limit: int) -> str:
    """At most ``limit`` characters of a text.

    >>> shorten("a long name", 7)
    'a long…'
    """
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


# --------------------------------------------------------------------------------------------
# Numbers


def number(value: float | None, digits: int = 4) -> str:
    """A number for people: ``digits`` significant digits, a true minus sign, no long powers of ten.

    >>> number(1234567), number(-0.00012345), number(float("nan")), number(None), number(2.5e-9)
    ('1,234,567', '−0.0001234', 'NaN', '–', '2.5×10⁻⁹')
    """
    if value is None:
        return "–"
    if isinstance(value, (int, np.integer)) and abs(value) < 10**15:
        return f"{value:,}".replace("-", "−")
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else "−∞"
    if value and not 1e-4 <= abs(value) < 1e6:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return power(mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa, int(exponent))
    text = f"{value:.{digits}g}"
    if "e" in text:
        text = f"{float(text):.0f}"
    return (f"{int(text):,}" if re.fullmatch(r"-?\d+", text) else text).replace("-", "−")


def power(mantissa: str, exponent: int) -> str:
    digits = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    factor = "" if mantissa == "1" else mantissa.replace("-", "−") + "×"
    return f"{factor}10{digits}"


def percent(share: float | None, decimals: int = 1) -> str:
    """A share as a percentage, which is 100% or 0% only if it is so exactly.

    >>> percent(0.9762), percent(0.99999), percent(1.0), percent(0.0001), percent(float("nan"))
    ('97.6%', '>99.9%', '100%', '<0.1%', '–')
    """
    if share is None or not math.isfinite(share):
        return "–"
    text, unit = f"{100 * share:.{decimals}f}", 10.0**-decimals
    if share in (0, 1):
        return f"{share:.0%}"
    if 0 < share < 1 and float(text) in (0.0, 100.0):
        return f"<{unit:.{decimals}f}%" if share < 0.5 else f">{100 - unit:.{decimals}f}%"
    return text.replace("-", "−") + "%"


def seconds(value: float) -> str:
    """A duration.

    >>> seconds(0.00042), seconds(3.21), seconds(400)
    ('420 µs', '3.21 s', '6 min 40 s')
    """
    if not math.isfinite(value):
        return number(value)
    if value >= 60:
        whole = round(value)
        hours, minutes = divmod(whole // 60, 60)
        return f"{hours} h {minutes} min" if hours else f"{minutes} min {whole % 60} s"
    scale, unit = (1.0, "s") if value >= 1 or value <= 0 else (1e3, "ms") if value >= 1e-3 else (1e6, "µs")
    return f"{number(value * scale, 3)} {unit}"


def plural(count: int, one: str, many: str | None = None) -> str:
    """A count with its noun.

    >>> plural(1, "class", "classes"), plural(2000, "row")
    ('1 class', '2,000 rows')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


# --------------------------------------------------------------------------------------------
# Images


def png(pixels: np.ndarray, palette: np.ndarray | None = None) -> str:
    """A PNG as an address for ``src``.

    Args:
        pixels: uint8, (height, width) of grey or of indices of the palette, or (height, width, 3) of red, green, blue.
        palette: (colours, 4), uint8: red, green, blue and opacity.
    """
    height, width = pixels.shape[:2]
    colour = 2 if pixels.ndim == 3 else 0 if palette is None else 3
    lines = np.zeros((height, 1 + pixels[0].size), np.uint8)
    lines[:, 1:] = pixels.reshape(height, -1)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))]
    if palette is not None:
        chunks += [(b"PLTE", palette[:, :3].tobytes()), (b"tRNS", palette[:, 3].tobytes())]
    chunks += [(b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return "data:image/png;base64," + base64.b64encode(data).decode("ascii")
