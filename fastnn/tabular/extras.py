"""Packages that tables need, and pictures do not."""

from __future__ import annotations

import importlib
from typing import Any


def optional(name: str, purpose: str) -> Any:
    """Import a module of an optional package.

    Raises: ModuleNotFoundError with the command that installs it.

    >>> optional("json", "an example").loads("1")
    1
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise ModuleNotFoundError(f"{purpose} needs {package}: pip install 'fastnn[cli]'", name=package) from error
