"""Write ``docs/benchmarks.svg`` and the eight rows of the README, from the figures of ``docs/benchmarks.md``.

    python docs/make_speed.py          after python -m benchmarks --readme
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
PAGE = FOLDER / "benchmarks.md"
PICTURE = FOLDER / "benchmarks.svg"
START, END = "<!-- speed:start -->", "<!-- speed:end -->"

# Work, case, and the name of the row.
ROWS = (
    ("linear_forward", "64x784x256", "linear + bias + ReLU, 64x784x256"),
    ("linear_backward", "64x784x256", "its backward pass"),
    ("softmax_cross_entropy", "512x1000", "cross entropy with its gradient, 512x1000"),
    ("adam", "1e6", "Adam, 1,000,000 parameters"),
    ("training_step", "S 64", "training step, 784-128-64-10, batch 64"),
    ("training_step", "T 64", "784-256-128-64-10, BatchNorm, Dropout, 64"),
    ("training_step", "W 512", "784-1024-1024-10, batch 512"),
    ("inference", "batch 256", "inference, 784-256-128-64-10, batch 256"),
)
PEERS = {"numpy": "NumPy", "torch": "PyTorch", "jax": "JAX"}

# A figure with its unit, and its ratio to fastnn's; empty for fastnn itself.
Figures = dict[tuple[str, str, str], tuple[str, float | None]]


def figures(text: str) -> Figures:
    """The entries of a page's tables, by work, case and library."""
    found: Figures = {}
    work = case = ""
    for line in text.splitlines():
        if line.startswith("### "):
            work = line[4:]
        elif line.startswith("| ") and work != "Targets":
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            case = re.sub(r" [!~]+$", "", cells[0]) or case
            ratio = re.match(r"([\d.]+)x", cells[3]) if len(cells) > 3 else None
            found[work, case, cells[1]] = cells[2], float(ratio[1]) if ratio else None
    return found


def rows(found: Figures) -> str:
    """The table of the README."""
    lines = [f"| work | fastnn | {' | '.join(PEERS.values())} |", f"| --- |{' ---: |' * (1 + len(PEERS))}"]
    for work, case, name in ROWS:
        cells = [found[work, case, "fastnn"][0]]
        for peer in PEERS:
            time, ratio = found[work, case, peer]
            cells.append(f"{time}, {ratio:.2f}x")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def picture(found: Figures) -> str:
    """The text of the picture."""
    sys.path.append(str(ROOT))
    from benchmarks import charts

    groups = []
    for work, case, lines in charts.GROUPS:
        ratios = {peer: found[work, case, peer][1] for peer in charts.PEERS}
        known = {peer: ratio for peer, ratio in ratios.items() if ratio is not None}
        groups.append(charts.Group(lines, found[work, case, "fastnn"][0], known))
    return charts.picture(groups)


def main() -> None:
    found = figures(PAGE.read_text(encoding="utf-8"))
    PICTURE.write_text(picture(found), encoding="utf-8")
    readme = ROOT / "README.md"
    before, start, rest = readme.read_text(encoding="utf-8").partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        sys.exit(f"README.md has no lines {START} and {END}")
    readme.write_text(f"{before}{START}\n{rows(found)}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
