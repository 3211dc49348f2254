"""``torch._higher_order_ops`` as names: operations of compiled graphs, which libraries import."""

from __future__ import annotations

import sys

from fastnn._core.absent import absent_modules

_WHY = "fastnn compiles no graphs, so {} cannot be used"
# So that the modules below are found.
__path__: list[str] = []
_MODULES = {
    "associative_scan": "associative_scan",
    "cond": "cond",
    "flex_attention": "flex_attention flex_attention_backward",
    "map": "map",
    "scan": "scan",
    "while_loop": "while_loop",
}
absent_modules(sys.modules[__name__], _MODULES, _WHY, {})
