"""``torch.backends.opt_einsum``: the order of products of ``einsum``, which fastnn chooses itself."""

from __future__ import annotations

enabled = False
strategy: str | None = None


def is_available() -> bool:
    """False."""
    return False
