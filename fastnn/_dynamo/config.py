"""Options of ``torch._dynamo`` that programs set; none has an effect."""

from __future__ import annotations

from typing import Any

suppress_errors = verbose = capture_scalar_outputs = False
cache_size_limit = recompile_limit = 8
automatic_dynamic_shapes: Any = None
optimize_ddp: Any = True
