"""How many cases the tests of this folder try.

FASTNN_RELIABILITY is "suite" (a second or two for a test), "ci" (`.ci/reliability`, under three minutes) or "full"
(`.ci/reliability --full`, hours).
"""

from __future__ import annotations

import os

LEVELS = ("suite", "ci", "full")
LEVEL = os.environ.get("FASTNN_RELIABILITY", "suite")
if LEVEL not in LEVELS:
    raise ValueError(f"FASTNN_RELIABILITY must be one of {', '.join(LEVELS)}, found {LEVEL!r}")


def count(suite: int, ci: int, full: int) -> int:
    """The number of cases at the level of this process."""
    return (suite, ci, full)[LEVELS.index(LEVEL)]
