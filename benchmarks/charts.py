"""The picture of the README: six figures of fastnn compared with PyTorch and JAX, as SVG.

The same figures give the same file. The colours follow the reader's light or dark mode.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import NamedTuple

# Work, case, and the three lines below the bars.
GROUPS = (
    ("linear_forward", "64x784x256", ("linear + bias + ReLU", "784 to 256", "batch 64")),
    ("softmax_cross_entropy", "512x1000", ("cross entropy", "with its gradient", "512 x 1000")),
    ("adam", "1e6", ("Adam", "one update", "1,000,000 parameters")),
    ("training_step", "S 64", ("training step", "784-128-64-10", "batch 64")),
    ("training_step", "W 512", ("training step", "784-1024-1024-10", "batch 512")),
    ("inference", "batch 256", ("inference", "784-256-128-64-10", "batch 256")),
)
PEERS = {"torch": "PyTorch", "jax": "JAX"}

_WIDTH, _HEIGHT = 840, 350
_LEFT, _TOP, _BOTTOM = 16, 64, 284
_GROUP, _BAR, _GAP = 136, 36, 4
# Okabe and Ito's colours, distinguishable for colour-blind readers; the first is lighter on a dark page.
_STYLE = """
  text { font: 12px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328 }
  .title { font-size: 15px; font-weight: 600 }
  .small { font-size: 11px; fill: #59636e }
  .fastnn { fill: #0072b2 } .torch { fill: #d55e00 } .jax { fill: #009e73 }
  line { stroke: #59636e }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .small { fill: #9198a1 } .fastnn { fill: #56b4e9 } line { stroke: #9198a1 }
  }
"""


class Group(NamedTuple):
    """The bars of one case: fastnn's time as text, and the ratio of each peer's time to it."""

    lines: tuple[str, ...]
    time: str
    ratios: Mapping[str, float]


def picture(groups: list[Group]) -> str:
    """The text of the SVG file."""
    most = max([2.0, *[ratio for group in groups for ratio in group.ratios.values()]])
    unit = (_BOTTOM - _TOP - 20) / most
    body = [f'<text class="title" x="{_LEFT}" y="24">Time of one call over fastnn\'s: shorter is faster</text>']
    x = _LEFT
    for name, label in {"fastnn": "fastnn", **PEERS}.items():
        body.append(f'<rect class="{name}" x="{x}" y="36" width="11" height="11"/>')
        body.append(f'<text x="{x + 16}" y="46">{label}</text>')
        x += 90
    for i, group in enumerate(groups):
        x = _LEFT + i * _GROUP
        bars = [("fastnn", 1.0, group.time)]
        bars += [(peer, group.ratios[peer], f"{group.ratios[peer]:.2f}x") for peer in PEERS if peer in group.ratios]
        for k, (name, ratio, label) in enumerate(bars):
            left, height = x + 10 + k * (_BAR + _GAP), ratio * unit
            body.append(
                f'<rect class="{name}" x="{left}" y="{_BOTTOM - height:.1f}" width="{_BAR}" height="{height:.1f}"/>'
            )
            body.append(
                f'<text class="small" x="{left + _BAR / 2}" y="{_BOTTOM - height - 5:.1f}" text-anchor="middle">'
                f"{escape(label)}</text>"
            )
        middle = x + 10 + (3 * _BAR + 2 * _GAP) / 2
        for k, line in enumerate(group.lines):
            kind, y = (' class="small"' if k else ""), _BOTTOM + 20 + 16 * k
            body.append(f'<text{kind} x="{middle}" y="{y}" text-anchor="middle">{escape(line)}</text>')
    body.append(f'<line x1="{_LEFT}" y1="{_BOTTOM}" x2="{_WIDTH - _LEFT}" y2="{_BOTTOM}"/>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" role="img">\n<title>fastnn beside PyTorch and JAX</title>\n<style>{_STYLE}</style>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )
