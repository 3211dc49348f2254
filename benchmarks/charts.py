"""Bar charts of the ratios, one panel per piece of work, as SVG. Needs matplotlib; may import ``results``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.results import Results, Row

# Okabe and Ito's colours, told apart by colour-blind readers too.
_COLOURS = {
    "numpy": "#0072B2", "torch": "#D55E00", "jax": "#009E73", "onnxruntime": "#CC79A7", "sklearn": "#E69F00",
    "torch_compile": "#882255", "fastnn_step": "#56B4E9",
}  # fmt: skip
_OTHER = "#777777"


def _bars(rows: list[Row]) -> list[tuple[str, str, Any]]:
    return [
        (row.case, name, row.ratio(name))
        for row in rows if row.is_live("fastnn")
        for name in row.libraries if name != "fastnn" and row.is_live(name)
    ]  # fmt: skip


def draw(results: Results, path: Path) -> bool:
    """Write the charts; False where there is nothing to draw. Raises ModuleNotFoundError without matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    # The same figures give the same file.
    matplotlib.rcParams.update({"svg.hashsalt": "fastnn", "font.size": 8, "svg.fonttype": "none"})
    from matplotlib import pyplot

    panels = {work: bars for work in results.works() if (bars := _bars(results.of(work)))}
    if not panels:
        return False
    heights = [max(3, len(bars)) for bars in panels.values()]
    figure, axes = pyplot.subplots(
        len(panels), 1, figsize=(7, 0.17 * sum(heights) + 0.75 * len(panels)), height_ratios=heights, squeeze=False
    )
    for axis, (work, bars) in zip(axes[:, 0], panels.items(), strict=True):
        _panel(axis, work, bars)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return True


def _panel(axis: Any, work: str, bars: list[tuple[str, str, Any]]) -> None:
    labels = []
    for y, (case, name, ratio) in enumerate(bars):
        # Lengths on a logarithmic scale, from 1: to the left fastnn loses.
        axis.barh(y, ratio.median - 1, left=1, color=_COLOURS.get(name, _OTHER), height=0.8)
        axis.plot([ratio.low, ratio.high], [y, y], color="black", linewidth=0.8)
        axis.annotate(f" {ratio.median:.2f}", (max(ratio.high, 1.0), y), va="center", fontsize=7)
        labels.append(f"{case}  {name}")
    axis.set_xscale("log")
    axis.axvline(1, color="black", linewidth=0.8)
    ticks = [0.25, 0.5, 1, 2, 4, 8, 16, 32]
    axis.set_xticks(ticks, [f"{tick:g}x" for tick in ticks], minor=False)
    axis.minorticks_off()
    low, high = min(r.low for *_, r in bars), max(r.high for *_, r in bars)
    axis.set_xlim(min(0.8, low * 0.9), max(2.0, high * 1.5))
    axis.set_yticks(range(len(bars)), labels)
    axis.invert_yaxis()
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_title(f"{work}: time over fastnn's", loc="left", fontsize=9)
