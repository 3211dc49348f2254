"""The sections of the run: timings, the model, settings."""

from __future__ import annotations

import math
import re
from typing import Any
from xml.etree.ElementTree import Element

from fastnn.report.charts import bar
from fastnn.report.markup import Child, append, element, name, number, percent, plural, seconds, shorten
from fastnn.report.results import Results
from fastnn.report.tables import table

_KERNELS, _LAYERS, _SETTINGS = 20, 100, 200


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
        return [first, element("td", long, class_="long-bars"), seconds(time), share, launches, rate]

    for line in lines[:_KERNELS]:
        rows.append(row(_code(line.kernel), line.seconds, f"{line.calls:,}", _rate(line)))
    others = lines[_KERNELS:]
    if others:
        rest = sum(line.seconds for line in others)
        rows.append(row(plural(len(others), "other kernel"), rest, f"{sum(line.calls for line in others):,}"))
    if starting:
        rows.append(row("starting: compilation and threads", starting))
    rows.append(row("Python, between kernels", python))
    note = f"{seconds(whole)} in all. Rates are of multiplications and additions, or of bytes of the arrays."
    timed = table(
        [
            "kernel",
            element("th", "of the longest", scope="col", class_="long-bars"),
            "time",
            "share",
            "launches",
            "rate",
        ],
        rows,
        numbers=(2, 3, 4, 5),
        style="wide",
        label="Timings by kernel",
    )
    return [element("p", note, class_="soft"), element("div", timed, class_="card")]


def _code(text: str) -> Element:
    """A name of the program, which may be broken after its points, commas and underscores."""
    result = element("code")
    for part in re.split(r"(?<=[._,(])", text):
        append(result, part, element("wbr"))
    return result


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
            rows.append([path or "model", _code(shorten(text, 120)), shapes or "–", f"{count:,}" if own else "–"])
    caption = None if len(rows) <= _LAYERS else f"The first {_LAYERS} of {len(rows):,} layers."
    foot: list[list[Child]] = [
        ["all", f"{trained:,} trained, {total - trained:,} frozen; {_bytes(size)}", "", f"{total:,}"]
    ]
    layers = table(
        ["layer", "module", "shapes", "parameters"], rows[:_LAYERS], caption, numbers=(3,), style="wide",
        label="Layers of the model", foot=foot,
    )  # fmt: skip
    return [element("div", layers, class_="card")]


def _bytes(size: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{number(size, 3)} {unit}"


def settings(result: Results) -> list[Element]:
    """The user's text about the run, word for word."""
    found = dict(result.settings)
    explanation = getattr(result.history, "explanation", "")
    if explanation:
        found.setdefault("training step", str(explanation))
    if not found:
        return []
    rows = [[name(key), element("td", shorten(value, 2000), class_="text")] for key, value in found.items()]
    caption = None if len(rows) <= _SETTINGS else f"The first {_SETTINGS} of {len(rows):,}."
    return [
        element(
            "div", table(["setting", "value"], rows[:_SETTINGS], caption, label="Settings", style="top"), class_="card"
        )
    ]
