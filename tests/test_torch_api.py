"""docs/torch-api.md says what is true of this fastnn."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent.parent / "docs"


def _script() -> Any:
    spec = importlib.util.spec_from_file_location("make_torch_api", DOCS / "make_torch_api.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_script_writes() -> None:
    script = _script()
    assert (DOCS / "torch-api.md").read_text(encoding="utf-8") == script.page(), "run docs/make_torch_api.py"


def test_what_differs_is_there() -> None:
    script = _script()
    for path in script.DIFFERS:
        owner, _, name = path.rpartition(".")
        assert hasattr(script.resolve(owner, "fastnn"), name), path
