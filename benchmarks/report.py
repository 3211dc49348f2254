"""Tables of the results: on the screen, in the README and in docs/benchmarks.md.

Each of the two files has a pair of markers; the text between them is written by this module only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import check
from benchmarks.machine import DISTURBED
from benchmarks.protocol import HIGH_LATENCY
from benchmarks.results import Results, Row

START, END = "<!-- benchmarks:start -->", "<!-- benchmarks:end -->"


def amount(value: float, unit: str) -> str:
    """A figure with its unit, in three digits or so."""
    if unit == "bytes":
        return f"{value / 1e6:.0f} MB"
    for scale, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if value >= scale:
            return f"{value / scale:.3g} {name}" if value < 1000 * scale else f"{value / scale:.0f} {name}"
    return f"{value * 1e9:.0f} ns"


def header(results: Results) -> list[str]:
    """The machine and the libraries that were measured, as lines."""
    about, limits = results.header, results.limits
    lines = [
        f"{about['cpu']}, {about['cores']} cores, {about['threads']} threads; {about['system']}",
        f"{about['date']}, {'quick' if about['quick'] else 'full'} run, {about['rounds']} alternating rounds, "
        "more where they disagree",
    ]
    if limits:
        lines.append(
            f"limits measured in this run: {limits['flops'] / 1e9:.0f} GFLOP/s of float32 multiply-adds, "
            f"{limits['bytes'] / 1e9:.1f} GB/s copied (read and written)"
        )
    disturbed = [row for row in results.rows if row.busy > DISTURBED]
    if disturbed:
        lines.append(
            f"other programs had up to {max(row.busy for row in disturbed):.0%} of the processors beside "
            f"{len(disturbed)} of {len(results.rows)} rows, marked !: run those again on a quiet machine"
        )
    if about.get("low_latency"):
        high = [row for row in results.rows if row.apart[1] > HIGH_LATENCY * about["low_latency"]]
        trips = f"a round trip between two cores took {about['low_latency'] * 1e9:.0f} ns while latency was low"
        if high:
            most = max(row.apart[1] for row in high)
            trips += f" and up to {most * 1e9:.0f} in {len(high)} of {len(results.rows)} rows, marked ~"
        lines.append(trips)
    for name, library in about["libraries"].items():
        if "status" in library:
            lines.append(f"{name}: {library['status']}")
        else:
            versions = ", ".join(f"{module} {version}" for module, version in library["versions"].items())
            blas = f", arithmetic: {library['blas']}" if library["blas"] else ""
            lines.append(f"{name}: {versions}, {library['threads']} threads{blas}")
    return lines


def _cells(results: Results, row: Row, name: str) -> tuple[str, str, str]:
    """Amount, ratio with its range, and share of the limit."""
    if not row.is_live(name):
        return row.status(name), "", ""
    ratio = ""
    if name != "fastnn" and row.is_live("fastnn"):
        found = row.ratio(name)
        ratio = f"{found.median:.2f}x ({found.low:.2f} to {found.high:.2f})"
    return amount(row.median(name), row.unit), ratio, _last_cell(results, row, name)


def _last_cell(results: Results, row: Row, name: str) -> str:
    """The share of the limit or the score, as named by :func:`_limit_name`."""
    share, score = results.share(row, name), row.score(name)
    return f"{score:.2%}" if score is not None else "" if share is None else f"{share:.0%}"


def _case_name(results: Results, row: Row) -> str:
    """The case, marked if other programs were at work (!) or core-to-core latency was high (~)."""
    low = results.header.get("low_latency", 0.0)
    marks = "!" * (row.busy > DISTURBED) + "~" * bool(low and row.apart[1] > HIGH_LATENCY * low)
    return f"{row.case} {marks}".strip()


def _limit_name(row: Row) -> str:
    if any("scores" in library for library in row.libraries.values()):
        return "reached"
    return {"arithmetic": "of multiply-adds", "copy": "of copying"}.get(row.limit, "")


def screen(results: Results) -> str:
    """All results, in aligned columns; a ratio is the peer's figure over fastnn's, so fastnn wins above 1."""
    lines = header(results)
    for work in results.works():
        rows = results.of(work)
        lines += ["", f"{work:30}{'':16}{'median':>10}  {'over fastnn (range)':24}{_limit_name(rows[0])}"]
        for row in rows:
            for i, name in enumerate(row.libraries):
                figure, ratio, share = _cells(results, row, name)
                label = f"  {_case_name(results, row) if i == 0 else '':28}{name:16}"
                figure = f"{figure:>10}" if row.is_live(name) else f"  {figure}"
                lines.append(f"{label}{figure}  {ratio:24}{share:>6}".rstrip())
    return "\n".join(lines)


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    head = [f"| {' | '.join(columns)} |", f"| {' | '.join(['---'] + ['---:'] * (len(columns) - 1))} |"]
    return [*head, *(f"| {' | '.join(row)} |" for row in rows)]


def _versions(results: Results) -> str:
    versions: dict[str, Any] = {}
    for library in results.header["libraries"].values():
        versions.update(library.get("versions", {}))
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def docs_tables(results: Results) -> str:
    """The targets, and every figure with the range of its rounds and its share of the limit."""
    lines = [f"- {line}" for line in header(results)]
    found = check.verdicts(results)
    lines += ["", "### Targets", ""]
    lines += _markdown(
        ["demand", "state", "figure", "more"], [[v.demand, v.state, v.figure, v.detail] for v in found]
    )  # fmt: skip
    for work in results.works():
        rows = results.of(work)
        lines += ["", f"### {work}", ""]
        table = []
        for row in rows:
            for i, name in enumerate(row.libraries):
                table.append([_case_name(results, row) if i == 0 else "", name, *_cells(results, row, name)])
        lines += _markdown(["case", "library", "median", "over fastnn (range)", _limit_name(rows[0]) or "-"], table)
    return "\n".join(lines) + "\n"


def replace_between(path: Path, body: str) -> bool:
    """Put ``body`` between the markers of a file; False, and nothing written, if it has no markers."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        return False
    path.write_text(f"{before}{START}\n{body.strip()}\n{END}{after}", encoding="utf-8")
    return True
