"""fastnn's results of the probes are PyTorch's, except for the differences in docs/differences.md."""

from __future__ import annotations

import contextlib
import functools
import gzip
import importlib
import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from probes import GROUPS, agrees, outcome
from probes.differences import BY_PROCESSOR, DIFFERENCES, ROUNDING

import fastnn

ROOT = Path(__file__).resolve().parent.parent.parent
RECORDED = ROOT / "tests" / "golden" / "probes.json.gz"
PAGE = ROOT / "docs" / "differences.md"


@functools.cache
def recorded() -> dict[str, dict[str, str]]:
    return json.loads(gzip.decompress(RECORDED.read_bytes()))


@functools.cache
def found(group: str) -> dict[str, str]:
    return {expression: outcome(fastnn, expression) for expression in GROUPS[group]}


@functools.cache
def reason(expression: str) -> str | None:
    """The known reason why this probe differs, if any."""
    return next((why for why, patterns in DIFFERENCES for p in patterns if re.search(p, expression)), None)


def by_processor(expression: str) -> bool:
    """Whether PyTorch's own answer depends on the processor."""
    return any(re.search(pattern, expression) for pattern in BY_PROCESSOR)


def differing(expected: dict[str, str], group: str) -> Iterator[tuple[str, str, str]]:
    """The results of a group that differ, with the expected ones."""
    for expression, answer in found(group).items():
        if expression in expected and not agrees(answer, expected[expression]):
            yield expression, answer, expected[expression]


def listing(differences: list[tuple[str, str, str]]) -> str:
    return "\n".join([f"{e}\n    fastnn:  {f[:300]}\n    PyTorch: {t[:300]}" for e, f, t in differences])


def test_there_are_ten_thousand() -> None:
    expressions = [expression for group in GROUPS.values() for expression in group]
    assert len(expressions) == len(set(expressions)) > 10_000
    assert {name: set(group) for name, group in recorded().items()} == {n: set(g) for n, g in GROUPS.items()}


@pytest.mark.parametrize("group", GROUPS)
def test_recorded(group: str) -> None:
    unexplained = [d for d in differing(recorded()[group], group) if reason(d[0]) is None]
    assert not unexplained, f"{len(unexplained)} of {len(GROUPS[group])} differ:\n{listing(unexplained)}"


def test_few_differ() -> None:
    count = sum(len(list(differing(recorded()[group], group))) for group in GROUPS)
    total = sum(map(len, GROUPS.values()))
    assert count <= total / 100, f"{count} of {total}"


def test_differences_are_different_and_written_down() -> None:
    """No reason and no pattern is left for probes that agree."""
    differ = [expression for group in GROUPS for expression, _, _ in differing(recorded()[group], group)]
    page = " ".join(PAGE.read_text(encoding="utf-8").split())
    for why, patterns in DIFFERENCES:
        assert why in page, why
        alive = [pattern for pattern in patterns if any(re.search(pattern, expression) for expression in differ)]
        stale = set(patterns) - set(alive)
        assert not stale or (why == ROUNDING and alive), f"nothing differs that these are about: {stale}"


@pytest.mark.torch
def test_live() -> None:
    """PyTorch's results are the recorded ones, and fastnn agrees with them."""
    changed, unexplained = [], []
    with _torch() as torch:
        for group, expressions in GROUPS.items():
            answers = {e: outcome(torch, e) for e in expressions if not by_processor(e)}
            # For a known difference PyTorch's own result may depend on the processor.
            changed += [
                (e, a, recorded()[group][e]) for e, a in answers.items()
                if not agrees(a, recorded()[group][e]) and reason(e) is None
            ]  # fmt: skip
            unexplained += [d for d in differing(answers, group) if reason(d[0]) is None]
    assert not changed, f"PyTorch answers other than recorded:\n{listing(changed)}"
    assert not unexplained, listing(unexplained)


@contextlib.contextmanager
def _torch() -> Iterator[Any]:
    """PyTorch on one thread, as more threads split sums differently; warnings are repeated every time."""
    if importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed: what it answered is recorded")
    torch = importlib.import_module("torch")
    threads, always = torch.get_num_threads(), torch.is_warn_always_enabled()
    torch.set_num_threads(1)
    torch.set_warn_always(True)
    try:
        yield torch
    finally:
        torch.set_num_threads(threads)
        torch.set_warn_always(always)
